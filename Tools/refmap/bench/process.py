"""Run a command and learn what it used. POSIX only."""

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


def run(argv, cwd=None):
    """Run argv to its end and return its Usage.

    The kernel's figures for a waited-for process include the children that it
    waited for: sums of the times, the maximum of the resident sets. No process
    is smaller than this one, whose memory it had before exec().
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            argv, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors)
        with process.stdout:
            output = process.stdout.read().decode(errors='replace')
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            output += errors.read().decode(errors='replace')
    return Usage(usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024,
                 process.returncode, output)


def check(argv, cwd=None):
    """Like run(), but raise Failure when the exit status is not 0."""
    usage = run(argv, cwd)
    if usage.status:
        last = usage.output.strip().splitlines()[-1:] or ['no output']
        command = ' '.join(os.path.basename(arg) for arg in argv[:6])
        raise Failure(f'{command!r} ended with status {usage.status}: {last[0]}')
    return usage
