"""What the commands of python -m refmap share: messages, options, exit codes.

A command is a module with

    add_parser(commands)    adds its parser, whose defaults are `run`, `check`
                            and `noun`, what it does as a noun
    check(parser, options)  refuses bad usage by parser.error()
    run(options, messages)  returns (exit code, why it is EXIT_USAGE or None,
                            the verdict of a hunt or None); may raise Failed
"""

import argparse
import os
import time

import refmap
from . import hunting, saferepr

EXIT_CLEAN = 0
EXIT_LEAK = 1
EXIT_USAGE = 2


class Failed(Exception):
    """There is no verdict; str() is one sentence that says why."""


class Messages:
    """Where a command says something: stderr, whatever is done to sys.stderr.

    stream -- a text file, or None
    """

    def __init__(self, stream):
        self.stream = stream

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


# --- options -----------------------------------------------------------------

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


def add_runs(parser):
    """Add the option -R, how often the program runs."""
    parser.add_argument('-R', dest='counts', type=run_counts, default=(3, 3),
                        metavar='WARMUPS:RUNS', help='default: 3:3')


def add_common(parser, what):
    """Add the options that each command has which runs a program: --json and
    --html, for `what` it finds, --suppress and -q."""
    parser.add_argument('--json', metavar='FILE',
                        help=f'append the {what} to FILE, as one line')
    parser.add_argument('--html', metavar='FILE',
                        help=f'write the {what} to FILE, for a browser')
    parser.add_argument('--suppress', metavar='FILE',
                        help='rules for findings that are not to be reported')
    parser.add_argument('-q', '--quiet', action='store_true',
                        help='print nothing when there is no leak')


def add_program(parser):
    """Add what says which program runs. It takes all arguments that follow."""
    parser.add_argument('-m', dest='module', nargs=argparse.REMAINDER,
                        metavar='MODULE', help='a module and its arguments')
    parser.add_argument('script', nargs=argparse.REMAINDER, metavar='SCRIPT',
                        help='a file and its arguments')


def check_program(parser, options):
    """Refuse a command line without a program, or without a map."""
    if options.script[:1] == ['--']:
        del options.script[0]
    if options.script[:1] == ['-m']:
        # After '--' all is a script to argparse.
        options.module, options.script = options.script[1:], []
    if bool(options.module) == bool(options.script):
        parser.error(f'{options.command} needs a script or -m MODULE')
    if not refmap.available():
        parser.error('this interpreter was not configured '
                     '--with-refcount-map')


# --- while it runs -----------------------------------------------------------

def open_output(path):
    """Return the absolute path of a file that can be appended to.

    Raise OSError. It is closed again: the program must not come across it.
    """
    with open(path, 'a', encoding='utf-8'):
        return os.path.abspath(path)


def append(path, text):
    """Append text to a file. Raise OSError."""
    with open(path, 'a', encoding='utf-8') as file:
        file.write(text)


def overwrite(path, text):
    """Write text to a file, in place of what it has. Raise OSError."""
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def replace(path, text):
    """Write text to a file as a whole, or leave it as it was. Raise OSError."""
    replace_by(path, lambda file: file.write(text.encode()))


def replace_by(path, write):
    """Call write(a binary file) to write a file as a whole. If that raises
    anything the file is left as it was. Raise OSError."""
    import tempfile     # not part of programs that are hunted
    if os.path.exists(path) and not os.path.isfile(path):
        # A device or a pipe must stay what it is.
        with open(path, 'wb') as file:
            write(file)
        return
    path = os.path.realpath(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    except OSError as exc:
        exc.filename = path         # not the name that it would have had
        raise
    try:
        with open(handle, 'wb') as file:
            write(file)
        os.chmod(temporary, mode_of(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def mode_of(path):
    """Return the permissions that a file has, or would be created with."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def html_text(found):
    """Return the report of a hunt or diagnosis, as --json writes it."""
    from .html import reports
    return reports.document(found)


def write(options, files, *found):
    """Write what was found; return why a file can't be written, or None.

    files -- [(option, the function that makes its text, the one that writes
             it)]; the first is called with `found`
    """
    for name, text_of, put in files:
        path = getattr(options, name)
        if not path:
            continue
        try:
            put(path, text_of(*found))
        except OSError as exc:
            return str(exc)
    return None


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
