"""python -m refmap hunt: find the objects that a program leaks."""

import argparse
import atexit
import io
import json
import os
import runpy
import sys
import threading
import time
import traceback
import types

import refmap
from refmap import hunting, judge, report, saferepr, suppress

EXIT_CLEAN = 0
EXIT_LEAK = 1
EXIT_USAGE = 2

# How long to wait for a thread of the program, in seconds.
THREAD_TIMEOUT = 30.0


class Failed(Exception):
    """There is no verdict; str() is one sentence that says why."""


# --- output ------------------------------------------------------------------

class Messages:
    """Where the hunt says something: stderr, whatever is done to sys.stderr."""

    def __init__(self):
        self.stream = sys.stderr

    def say(self, text, end='\n'):
        """Write text. What can't be written is lost."""
        encoding = getattr(self.stream, 'encoding', None) or 'utf-8'
        try:
            data = (text + end).encode(encoding, 'backslashreplace')
            self.stream.write(data.decode(encoding))
            self.stream.flush()
        except Exception:
            pass            # closed, a full disk; the exit code remains

    def isatty(self):
        """Is somebody looking?"""
        try:
            return self.stream.isatty()
        except Exception:
            return False


def drain(stream, fd):
    """Flush a stream of the interpreter, the last thing before it exits.

    Return (the stream, None), or (None, why that can't be). Then what it holds
    goes nowhere: the interpreter would try again, and change the exit code.
    """
    try:
        if stream is not None and not stream.closed:
            stream.flush()
        return stream, None
    except Exception as exc:
        reason = saferepr.safe_repr(exc)
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    except OSError:
        pass
    return None, reason


# --- programs --------------------------------------------------------------

def script_runner(path):
    """Return a function that runs a script, as often as it is called.

    Raise OSError, SyntaxError or ValueError if it can't be read.
    """
    with io.open_code(path) as file:
        code = compile(file.read(), path, 'exec')

    def run():
        module = types.ModuleType('__main__')
        module.__file__ = path
        module.__builtins__ = __builtins__
        before = sys.modules['__main__']
        sys.modules['__main__'] = module
        try:
            exec(code, module.__dict__)
        finally:
            sys.modules['__main__'] = before

    return run


def module_runner(name):
    """Return a function that runs a module like python -m does."""
    def run():
        runpy.run_module(name, run_name='__main__', alter_sys=True)

    return run


def join_threads():
    """Wait for the threads that the program started."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(THREAD_TIMEOUT)


def status_of(code):
    """Return what an argument of sys.exit() says as text; None: success."""
    if code is None:
        return None
    if saferepr.has_base(type(code), int):      # also an IntEnum, as pytest's
        number = int.__int__(code)
        return saferepr.safe_repr(number) if number else None
    return code if type(code) is str else saferepr.safe_repr(code)


class Program:
    """A script or module with its arguments, to be called again and again.

    status -- what it gave to sys.exit(), if that was a failure
    """

    def __init__(self, run, argv, messages):
        self.run = run
        self.argv = argv
        self.messages = messages
        self.status = None
        self._list = sys.argv
        self._process = os.getpid()

    def __call__(self):
        # Programs change their arguments, and the list that holds them.
        self._list[:] = self.argv
        sys.argv = self._list
        try:
            self.run_once()
        finally:
            if os.getpid() != self._process:
                # It forked, and this is the child: it hunts nothing.
                hunting.flush(sys.stdout)
                os._exit(0 if self.status is None else 1)
        join_threads()

    def run_once(self):
        """Run it. Raise Failed for any exception but SystemExit."""
        try:
            self.run()
        except SystemExit as exc:
            self.status = status_of(exc.code) or self.status
        except BaseException:
            self.status = 'an exception'
            text = traceback.format_exc()
            self.messages.say(text, end='')
            last = text.rstrip().rpartition('\n')[2]
            raise Failed(f'the program failed: {last}') from None


def load(options, messages):
    """Return (Program, its name) for the command line's options.

    Raise as script_runner() does.
    """
    if options.module:
        name, *args = options.module
        sys.path.insert(0, os.getcwd())
        return Program(module_runner(name), [name, *args], messages), name
    path, *args = options.script
    run = script_runner(path)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    return Program(run, [path, *args], messages), path


# --- the command line --------------------------------------------------------

def run_counts(text):
    """Return (warmups, runs) of an argument like 3:3."""
    warmups, separator, runs = text.partition(':')
    try:
        counts = int(warmups), int(runs) if separator else 3
        hunting.check_counts(*counts)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f'{saferepr.safe_repr(text)}: {exc}') from None
    return counts


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m refmap', description=refmap.__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    hunt = commands.add_parser(
        'hunt', help='run a program repeatedly and find what it leaks',
        usage='python -m refmap hunt [options] [--] SCRIPT [ARG...]\n'
              '       python -m refmap hunt [options] -m MODULE [ARG...]',
        description='Run a program several times in one process, and report '
                    'the objects that it leaks.',
        epilog='Exit code: 0 no leak, 1 a leak or an over-decref, 2 no '
               'verdict: bad usage, or the program failed.')
    hunt.add_argument('-R', dest='counts', type=run_counts, default=(3, 3),
                      metavar='WARMUPS:RUNS', help='default: 3:3')
    hunt.add_argument('--raw', action='store_true',
                      help='list all references that changed in the last run')
    hunt.add_argument('--strict', action='store_true',
                      help='exit with 1 for suspicious objects, too')
    hunt.add_argument('--json', metavar='FILE',
                      help='append the findings to FILE, as one line')
    hunt.add_argument('--suppress', metavar='FILE',
                      help='rules for findings that are not to be reported')
    hunt.add_argument('-q', '--quiet', action='store_true',
                      help='print nothing when there is no leak')
    hunt.add_argument('-m', dest='module', nargs=argparse.REMAINDER,
                      metavar='MODULE', help='a module and its arguments')
    hunt.add_argument('script', nargs=argparse.REMAINDER, metavar='SCRIPT',
                      help='a file and its arguments')
    return parser


def parse(argv):
    """Return the options for the arguments `argv`. May exit."""
    parser = make_parser()
    options = parser.parse_args(argv)
    if options.script[:1] == ['--']:
        del options.script[0]
    if bool(options.module) == bool(options.script):
        parser.error('hunt needs a script or -m MODULE')
    if not refmap.available():
        parser.error('this interpreter was not configured '
                     '--with-refcount-map')
    return options


def progress_of(options, messages):
    """Return a function that shows the finished runs, or None."""
    if options.quiet:
        return None
    start = time.monotonic()
    count = sum(options.counts)

    def progress(done):
        end = '\n' if done == count else ''
        if messages.isatty():
            seconds = time.monotonic() - start
            messages.say(f'\rrefmap: {done} of {count} runs, {seconds:.0f} s ',
                         end)
        else:
            messages.say('.', end)

    return progress


def show(result, options, program, rules, messages):
    """Print what there is to say about a result."""
    if options.quiet and result['verdict'] == judge.CLEAN:
        return
    if program.status is not None:
        messages.say(report.escape('refmap: the program exited with '
                                   f'{program.status}'))
    messages.say('\n'.join(report.lines(result)))
    unused = suppress.unused(rules, result['rules'])
    if unused:
        messages.say('refmap: suppressions that matched nothing:')
    for line in unused:
        messages.say(report.escape(f'  {line}'))


def open_json(path):
    """Return the absolute path of a file that can be appended to.

    Raise OSError. It is closed again: the program must not come across it.
    """
    with open(path, 'a', encoding='utf-8'):
        return os.path.abspath(path)


def write_json(path, result):
    """Append a result to a file, as one line; return why that can't be, or
    None."""
    try:
        with open(path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(result) + '\n')
    except OSError as exc:
        return f'the findings cannot be written: {exc}'
    return None


def prepare(options, messages):
    """Return (Program, its name, rules) of the options.

    Raise Failed for what can't be read or written.
    """
    try:
        if options.json:
            options.json = open_json(options.json)
        rules = suppress.read(options.suppress) if options.suppress else []
        return (*load(options, messages), rules)
    except (OSError, SyntaxError, ValueError, suppress.Error) as exc:
        raise Failed(str(exc)) from None


def hunt(options, messages):
    """Run the command `hunt`. Raise Failed if there is no verdict.

    Return (exit code, why it is EXIT_USAGE or None, the verdict).
    """
    program, name, rules = prepare(options, messages)
    recorder = hunting.record(program, *options.counts,
                              progress=progress_of(options, messages))
    result = hunting.conclude(recorder, name, rules, raw=options.raw)
    verdict = result['verdict']
    show(result, options, program, rules, messages)
    if options.json:
        reason = write_json(options.json, result)
        if reason:
            return EXIT_USAGE, reason, verdict
    failing = {judge.ERROR, judge.LEAK}
    if options.strict:
        failing.add(judge.SUSPICIOUS)
    return EXIT_LEAK if verdict in failing else EXIT_CLEAN, None, verdict


def main(argv=None):
    """Run the command line; return the exit code. May exit for bad usage."""
    messages = Messages()
    options = parse(argv)
    verdict = None
    try:
        code, reason, verdict = hunt(options, messages)
    except Failed as exc:
        code, reason = EXIT_USAGE, str(exc)
    except BaseException as exc:
        # Such as MemoryError, or Ctrl-C.
        code, reason = EXIT_USAGE, f'the hunt failed: {saferepr.safe_repr(exc)}'
    if verdict == judge.ERROR:
        atexit._run_exitfuncs()
    sys.stdout, lost = drain(sys.__stdout__, 1)
    if lost and not reason:
        code = EXIT_USAGE
        reason = f'the output of the program cannot be written: {lost}'
    if reason:
        messages.say(report.escape(f'refmap: {reason}'))
    sys.stderr, _ = drain(sys.__stderr__, 2)
    if verdict == judge.ERROR:
        # Objects that lost references are not safe to destroy: the interpreter
        # might crash, and the exit code say something else.
        os._exit(code)
    return code


if __name__ == '__main__':
    sys.exit(main())
