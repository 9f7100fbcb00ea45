"""A script or module that runs again and again in one process."""

import io
import os
import runpy
import sys
import threading
import traceback
import types

from . import hunting, report, saferepr, suppress
from .cli import Failed, open_output

# How long to wait for a thread of the program, in seconds.
THREAD_TIMEOUT = 30.0


def script_runner(path):
    """Return a function that runs a script, as often as it is called, and returns
    its globals.

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
            return module.__dict__
        finally:
            sys.modules['__main__'] = before

    return run


def module_runner(name):
    """Return a function that runs a module like python -m does, and returns its
    globals."""
    def run():
        return runpy.run_module(name, run_name='__main__', alter_sys=True)

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


def prepare(options, messages, outputs):
    """Return (Program, its name, rules) of the options.

    outputs -- names of the options that are files to be written; the paths in
               `options` are absolute afterwards
    Raise Failed for what can't be read or written. All files are opened before
    anything runs.
    """
    try:
        for name in outputs:
            path = getattr(options, name)
            if path:
                setattr(options, name, open_output(path))
        path = getattr(options, 'suppress', None)
        rules = suppress.read(path) if path else []
        return (*load(options, messages), rules)
    except (OSError, SyntaxError, ValueError, suppress.Error) as exc:
        raise Failed(str(exc)) from None


def say_status(program, messages):
    """Say what a Program gave to sys.exit(), if that was a failure."""
    if program.status is not None:
        messages.say(report.escape('refmap: the program exited with '
                                   f'{program.status}'))
