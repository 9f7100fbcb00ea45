"""What the tests of the writer of event logs share."""

import os
import subprocess
import sys
import tempfile
import textwrap

import refmap
from refmap import logs
from refmap.log import events, fields, format
from test import support

from .helpers import MapTestCase


def environment():
    """Return the environment of a script: with the package that is tested."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith('PYTHON')}
    env['PYTHONPATH'] = os.path.dirname(os.path.dirname(refmap.__file__))
    return env


def read(path):
    """Return the events of a log, after which its file has to be at its end."""
    with events.Log(path) as log:
        found = list(log.events())
        if log.cut_off:
            raise AssertionError(f'{path} is cut off')
        return found


def is_object(event):
    return isinstance(event, format.ObjectEvent)


def tell(found):
    """Return a list of str, one for each event: 'NEW A 1', 'INC A 1 +1=2', 'END closed',
    'C_CALL f len', 'LINE f'. Objects are numbered by their first events."""
    numbers, told = {}, []
    for event in found:
        kind = format.KIND_NAMES[event.kind]
        if is_object(event):
            if event.kind == format.NEW:
                numbers.pop(event.address, None)
            number = numbers.setdefault(event.address, len(told) + 1)
            text = f'{kind} {event.type.name} {number}'
            if event.kind in (format.INC, format.DEC):
                text += f' {event.change:+}={event.count}'
        elif isinstance(event, format.CallEvent):
            text = f'{kind} {event.place.where.function}'
            if event.callable is not None:
                text += f' {event.callable.name}'
        else:
            text = f'{kind} {event.text}'.rstrip()
        told.append(text)
    return told


class LogTestCase(MapTestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = self.file('x.log')

    def tearDown(self):
        self.assertFalse(any(logs._begun.values()), 'a log is still open')
        # A cache of the reader, which regrtest -R would see grow.
        fields.numbers_of.clear()
        super().tearDown()

    def file(self, name):
        return os.path.join(self.directory, name)

    def files(self):
        """The names of the files that were written."""
        return sorted(os.listdir(self.directory))

    def read(self, path=None):
        return read(path or self.path)

    def tell(self, path=None):
        """The events of a log without its end, which is as it should be."""
        told = tell(self.read(path))
        self.assertEqual(told[-1], 'END closed')
        return told[:-1]

    def script(self, script, *args, status=0):
        """Run a script, in which `path` is that of the log and A is a class; return its
        output as two str.

        status -- what it has to exit with; negative: the signal
        """
        head = (f'import os, sys, refmap, _testrefmap\npath = {self.path!r}\n'
                'class A: pass\n')
        with support.SuppressCrashReport():
            found = subprocess.run(
                [sys.executable, *args, '-c', head + textwrap.dedent(script)],
                capture_output=True, text=True, env=environment(),
                cwd=self.directory, timeout=support.LONG_TIMEOUT)
        self.assertEqual(found.returncode, status, found.stderr)
        return found.stdout, found.stderr

    def tell_of(self, function):
        """The events in a function alone."""
        return tell([event for event in self.read() if is_object(event)
                     and event.place.where.function == function.__qualname__])

    def lines_of(self, function, found=None):
        """The lines of events in a function, from its first one on."""
        first = function.__code__.co_firstlineno
        return [event.place.where.line - first
                for event in (self.read() if found is None else found)
                if hasattr(event, 'place')
                and event.place.where.function == function.__qualname__]
