"""Every kind of leak that C can make is diagnosed: the function, and the kind.

The functions are in misbehaving/who_kinds.c.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest

from test import support
from test.support import import_helper
from test.test_refmap import who_build

import refmap
from refmap.who import batch

RECORDS = refmap.available() and batch.obstacle() is None

LOST = 'lost in C'
HIDDEN = 'hidden from the collector'

# Name of a method of Scenes: (who is guilty, the kind, the rule).
KINDS = {
    'error_path': ('error_path', LOST, 'missing-decref'),
    'out_parameter': ('out_parameter', LOST, 'missing-decref'),
    'drops_exception': ('drops_exception', LOST, 'missing-decref'),
    'drops_error': ('drops_error', LOST, 'missing-decref'),
    'keeps_buffer': ('keeps_buffer', LOST, 'missing-decref'),
    'believes_stolen': ('believes_stolen', LOST, 'missing-decref'),
    'resized': ('resized', LOST, 'missing-decref'),
    'in_callback': ('compare', LOST, 'missing-decref'),
    'in_thread': ('error_path', LOST, 'missing-decref'),
    'in_foreign_thread': ('thread_body', LOST, 'missing-decref'),
    'in_subinterpreter': ('error_path', LOST, 'missing-decref'),
    'overwritten': ('overwriting_set', LOST, 'overwritten-field'),
    'container': ('careless_dealloc', LOST, 'container-not-released'),
    'type': ('typeless_dealloc', LOST, 'container-not-released'),
    'no_visit': ('blind_traverse', HIDDEN, 'missing-visit'),
    'no_gc': ('unseen_set', HIDDEN, 'no-gc'),
    'untracked': ('untracked', 'untracked', 'untracked'),
    'over_decref': ('over_decref', 'over-decref', 'over-decref'),
    'forgets_memory': ('forgets_memory', 'raw memory', 'raw-memory'),
}

# Without call frame information a stack ends at such a function.
END_OF_STACK = 'which has neither frame pointers nor call frame information'


class Scenes:
    """What is diagnosed, in a process of its own."""

    def __init__(self, path):
        self.path = path
        self.ext = who_build.load(path)
        # A float: the collector would come across the wrong count.
        self.victim = 1234.5
        self.held = [self.victim] * 10000
        self.Typeless = type('Typeless', (self.ext.Typeless,), {})

    def error_path(self):
        try:
            self.ext.error_path('no number')
        except TypeError:
            pass

    def out_parameter(self):
        self.ext.out_parameter()

    def drops_exception(self):
        self.ext.drops_exception({}.popitem)
        self.ext.drops_exception(self.raises)

    @staticmethod
    def raises():
        raise LookupError('no such thing')

    def drops_error(self):
        self.ext.drops_error('no number')

    def keeps_buffer(self):
        try:
            self.ext.keeps_buffer(bytearray(b'long'))
        except ValueError:
            pass

    def believes_stolen(self):
        self.ext.believes_stolen()

    def resized(self):
        self.ext.resized()

    def in_callback(self):
        self.ext.in_callback()

    def in_thread(self):
        thread = threading.Thread(target=self.error_path)
        thread.start()
        thread.join()

    def in_foreign_thread(self):
        self.ext.in_foreign_thread()

    def in_subinterpreter(self):
        # One that shares the GIL, and so the map.
        interpreter = import_helper.import_module('_interpreters')
        name = interpreter.create('legacy')
        code = (f'import sys; sys.path[:] = {sys.path!r}\n'
                'from test.test_refmap import who_build\n'
                f'ext = who_build.load({self.path!r})\n'
                'try: ext.error_path("no number")\n'
                'except TypeError: pass\n')
        try:
            self.failed = interpreter.exec(name, code)
        finally:
            interpreter.destroy(name)

    def overwritten(self):
        holder = self.ext.Overwriting()
        holder.set(['first'])
        holder.set(['second'])

    def container(self):
        self.ext.Careless().set(['value'])

    def type(self):
        self.Typeless()

    def no_visit(self):
        holder = self.ext.Blind()
        holder.set([holder])

    def no_gc(self):
        holder = self.ext.Unseen()
        holder.set([holder])

    def untracked(self):
        value = []
        value.append(self.ext.untracked(value))

    def over_decref(self):
        self.ext.over_decref(self.victim)

    def forgets_memory(self):
        self.ext.forgets_memory()


def diagnose(path, kinds):
    """Print what diagnose() says of each kind, a line of JSON for each; exit."""
    import refmap
    scenes = Scenes(path)
    for kind in kinds:
        found = refmap.diagnose(getattr(scenes, kind))
        print(json.dumps([kind, str(found), [
            [s.function, s.kind, s.rule, s.file] for s in found.suspects]]),
            flush=True)
    # The victim of the over-decref must not be destroyed.
    os._exit(0)


CHILD = '''
import sys
from test.test_refmap import test_who_kinds as t
with t.support.SuppressCrashReport():
    t.diagnose(sys.argv[1], sys.argv[2:])
'''


@unittest.skipUnless(RECORDS, 'needs an interpreter that records')
@unittest.skipUnless(who_build.compiler('c'), 'there is no C compiler')
@support.requires_subprocess()
class KindsTest(unittest.TestCase):
    """One process for each way to build the extension."""

    def diagnoses(self, path):
        """Return {kind: (report, suspects)}."""
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', CHILD, path, *KINDS],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            self.fail(f'exit {done.returncode}\n{done.stdout[-3000:]}\n'
                      f'{done.stderr[-3000:]}')
        return {kind: (report, suspects) for kind, report, suspects in
                map(json.loads, done.stdout.splitlines())}

    def found(self, way):
        with tempfile.TemporaryDirectory() as directory:
            path = who_build.build('who_kinds.c', way, directory)
            if path is None:
                self.skipTest('there is no compiler')
            return self.diagnoses(path)

    def check(self, way, kinds):
        found = self.found(way)
        self.assertEqual(found.keys(), KINDS.keys())
        for name in kinds:
            with self.subTest(name):
                report, suspects = found[name]
                self.assertTrue(suspects, report)
                self.assertEqual(tuple(suspects[0][:3]), KINDS[name], report)

    def test_c(self):
        self.check('C', KINDS)

    def test_cpp(self):
        self.check('C++', KINDS)

    def test_c_without_frame_pointers(self):
        self.check('C without frame pointers', KINDS)

    def test_cpp_without_frame_pointers(self):
        self.check('C++ without frame pointers', KINDS)

    def test_c_without_frame_information(self):
        # The right function, or none and the reason.
        for name, (report, suspects) in self.found(
                'C without frame information').items():
            with self.subTest(name):
                if suspects:
                    self.assertEqual(tuple(suspects[0][:3]), KINDS[name], report)
                else:
                    self.assertIn(END_OF_STACK, report)


if __name__ == '__main__':
    unittest.main()
