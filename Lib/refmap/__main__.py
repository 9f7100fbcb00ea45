"""python -m refmap hunt: find the objects that a program leaks."""

import argparse
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
from refmap import hunting, judge, report, suppress

EXIT_CLEAN = 0
EXIT_LEAK = 1
EXIT_USAGE = 2

# How long to wait for a thread of the program, in seconds.
THREAD_TIMEOUT = 30.0


class Failed(Exception):
    """The program ended with an exception; it has been printed."""


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


class Program:
    """A script or module with its arguments, to be called again and again.

    status -- what it gave to sys.exit(), if that was a failure
    """

    def __init__(self, run, argv):
        self.run = run
        self.argv = argv
        self.status = None

    def __call__(self):
        # Programs change their arguments.
        sys.argv[:] = self.argv
        try:
            self.run()
        except SystemExit as exc:
            if exc.code not in (None, 0, False):
                self.status = str(exc.code)
        except Exception:
            traceback.print_exc()
            raise Failed from None
        join_threads()


def load(options):
    """Return (Program, its name) for the command line's options.

    Raise as script_runner() does.
    """
    if options.module:
        name, *args = options.module
        sys.path.insert(0, os.getcwd())
        return Program(module_runner(name), [name, *args]), name
    path, *args = options.script
    run = script_runner(path)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    return Program(run, [path, *args]), path


# --- the command line --------------------------------------------------------

def run_counts(text):
    """Return (warmups, runs) of an argument like 3:3."""
    warmups, separator, runs = text.partition(':')
    try:
        counts = int(warmups), int(runs) if separator else 3
        hunting.check_counts(*counts)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f'{text!r}: {exc}') from None
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
        epilog='Exit code: 0 no leak, 1 a leak, 2 bad usage or the program '
               'failed.')
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
    """Return (parser, options) for the arguments `argv`. May exit."""
    parser = make_parser()
    options = parser.parse_args(argv)
    if options.script[:1] == ['--']:
        del options.script[0]
    if bool(options.module) == bool(options.script):
        parser.error('hunt needs a script or -m MODULE')
    if not refmap.available():
        parser.error('this interpreter was not configured '
                     '--with-refcount-map')
    return parser, options


def progress_of(options):
    """Return a function that shows the finished runs, or None."""
    if options.quiet:
        return None
    start = time.monotonic()
    count = sum(options.counts)

    def progress(done):
        if sys.stderr.isatty():
            seconds = time.monotonic() - start
            print(f'\rrefmap: {done} of {count} runs, {seconds:.0f} s ',
                  end='\n' if done == count else '',
                  file=sys.stderr, flush=True)
        else:
            print('.', end='\n' if done == count else '', file=sys.stderr,
                  flush=True)

    return progress


def show(result, options, program, rules):
    """Print what there is to say about a result."""
    if options.quiet and result['verdict'] == judge.CLEAN:
        return
    if program.status is not None:
        print(f'refmap: the program exited with {program.status}',
              file=sys.stderr)
    print('\n'.join(report.lines(result)), file=sys.stderr)
    unused = suppress.unused(rules, result['rules'])
    if unused:
        print('refmap: suppressions that matched nothing:', file=sys.stderr)
        print('\n'.join(f'  {line}' for line in unused), file=sys.stderr)


def hunt(parser, options):
    """Run the command `hunt`; return the exit code."""
    try:
        rules = suppress.read(options.suppress) if options.suppress else []
        program, name = load(options)
    except (OSError, SyntaxError, ValueError, suppress.Error) as exc:
        parser.error(str(exc))
    try:
        recorder = hunting.record(program, *options.counts,
                                  progress=progress_of(options))
    except (Failed, ImportError) as exc:
        print(f'refmap: the program failed {exc}'.rstrip(), file=sys.stderr)
        return EXIT_USAGE
    result = hunting.conclude(recorder, name, rules, raw=options.raw)
    show(result, options, program, rules)
    if options.json:
        with open(options.json, 'a', encoding='utf-8') as file:
            file.write(json.dumps(result) + '\n')
    failing = {judge.LEAK} | ({judge.SUSPICIOUS} if options.strict else set())
    return EXIT_LEAK if result['verdict'] in failing else EXIT_CLEAN


def main(argv=None):
    """Run the command line; return the exit code."""
    parser, options = parse(argv)
    return hunt(parser, options)


if __name__ == '__main__':
    sys.exit(main())
