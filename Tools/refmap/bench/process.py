"""Run commands, in turns, and learn what they used. POSIX only."""

import contextlib
import os
import subprocess
import tempfile
from collections import namedtuple

# user, system: seconds of CPU of the command and its children; rss: the largest
# resident set of any of these processes, in bytes; status: exit status, negative
# for a signal; output: what it wrote to stdout.
Usage = namedtuple('Usage', 'user system rss status output')


class Failure(Exception):
    """A command that had to succeed did not; the message is one sentence."""


def environment():
    """The environment of measured interpreters: no PYTHON* variable of the
    user, and the same hashes in every run."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith('PYTHON')}
    env['PYTHONHASHSEED'] = '0'
    return env


def rotated(items, i):
    """The items in their order, beginning with number i."""
    items = list(items)
    i %= len(items)
    return items[i:] + items[:i]


class Command:
    """A command that runs.

    The kernel's figures for a waited-for process include the children that it
    waited for: sums of the times, the maximum of the resident sets. No process
    is smaller than this one, whose memory it had before exec().
    """

    def __init__(self, argv, cwd=None):
        self.files = [tempfile.TemporaryFile() for _ in range(2)]
        self.process = subprocess.Popen(
            argv, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL,
            stdout=self.files[0], stderr=self.files[1])

    def wait(self):
        """Wait for its end and return its Usage."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in self.files:
            with file:
                file.seek(0)
                texts.append(file.read().decode(errors='replace'))
        output, errors = texts
        if self.process.returncode:
            output += errors
        return Usage(usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024,
                     self.process.returncode, output)


def run(argv, cwd=None):
    """Run argv to its end and return its Usage."""
    return Command(argv, cwd).wait()


@contextlib.contextmanager
def one_cpu():
    """Have this process, and those that it starts, on one CPU: the last it may
    use, as interrupts tend to go to the first. Linux only; elsewhere nothing."""
    if not hasattr(os, 'sched_setaffinity'):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def run_together(commands, cwd=None):
    """Run commands, {name: argv}, at once on one CPU; return {name: Usage}.

    The kernel alternates between them every few milliseconds. Whatever makes the
    machine slower for seconds or minutes does so to all of them.
    """
    with one_cpu():
        running = {name: Command(argv, cwd) for name, argv in commands.items()}
    try:
        return {name: command.wait() for name, command in running.items()}
    except BaseException:
        for command in running.values():
            command.process.kill()
        raise


def check(argv, cwd=None):
    """Like run(), but raise Failure when the exit status is not 0."""
    usage = run(argv, cwd)
    if usage.status:
        last = usage.output.strip().splitlines()[-1:] or ['no output']
        command = ' '.join(os.path.basename(arg) for arg in argv[:6])
        raise Failure(f'{command!r} ended with status {usage.status}: {last[0]}')
    return usage
