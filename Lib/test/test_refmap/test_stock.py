"""Hunts and diagnoses with an extension that was built for a stock interpreter.

The environment variable REFMAP_STOCK_RELEASE names the executable of that one, whose
headers are used. Its Py_INCREF() and Py_DECREF() are in line, so that the map does not
hear of them.
"""

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import unittest

import refmap
from refmap.who import batch, unseen
from refmap.who.recording import Change, Move, Recording
from refmap.who.suspects import Leaked

from test.support import os_helper

from . import who_build
from .helpers import run_script
from .test_regrtest import RegrtestCase

if not refmap.available():
    raise unittest.SkipTest('needs an interpreter --with-refcount-map')

STOCK = os.environ.get('REFMAP_STOCK_RELEASE')
RECORDS = batch.obstacle() is None

_directory = None


def setUpModule():
    global _directory
    stack = contextlib.ExitStack()
    unittest.addModuleCleanup(stack.close)
    _directory = stack.enter_context(tempfile.TemporaryDirectory())
    if STOCK and who_build.compiler('c'):
        build(_directory)


def stock_includes():
    done = subprocess.run(
        [STOCK, '-c', 'import os, sysconfig\n'
         'print(sysconfig.get_path("include"))\n'
         'print(os.path.dirname(sysconfig.get_config_h_filename()))'],
        stdout=subprocess.PIPE, text=True, check=True)
    return [f'-I{line}' for line in done.stdout.splitlines()]


def build(directory, includes=None):
    """Compile planted.c; return the path of the extension.

    includes -- options for other headers than those of a stock interpreter
    """
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    path = os.path.join(directory, 'planted' + suffix)
    done = subprocess.run(
        [*who_build.compiler('c'), '-g', '-O2', '-fPIC', '-shared', *(includes or stock_includes()),
         os.path.join(who_build.SOURCES, 'planted.c'), '-o', path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(done.stdout)
    return path


# Item is older than any hunt, and held often enough to lose references.
BEGINNING = '''
import sys
sys.path.insert(0, {directory!r})
import _testrefmap, planted, refmap

class Item:
    """A class of which one instance is watched."""

ITEM = Item()
HELD = [ITEM] * 50

def clean():
    planted.pair(ITEM)
    planted.borrow(ITEM)
    planted.error_path(4)

def new_object():
    planted.new_object()
    planted.new_object()

def keep_argument():
    for _ in range(3):
        planted.keep_argument(ITEM)

def over_decref():
    planted.over_decref(ITEM)

def error_path():
    try:
        planted.error_path(ITEM)
    except TypeError:
        pass

def hooked():
    item = [ITEM]
    planted.borrow(item)
    _testrefmap.leak_reference(item)

def both():
    _testrefmap.leak_reference({{'leaked'}})
    planted.keep_argument(ITEM)

def exchanged():
    # One of the two who leak has what the other one lost.
    item = Item()
    _testrefmap.leak_reference(item)
    planted.over_decref(item)
    planted.keep_argument(item)
'''


@unittest.skipUnless(STOCK, 'REFMAP_STOCK_RELEASE names no stock interpreter')
@unittest.skipUnless(who_build.compiler('c'), 'there is no C compiler')
class StockTest(RegrtestCase):

    def run_script(self, script):
        run_script(BEGINNING.format(directory=_directory) + textwrap.dedent(script))

    def test_hunts(self):
        self.run_script('''
            def hunt(function, verdict, leaks={}, errors={}):
                result = refmap.hunt(function)
                assert result.verdict == verdict, str(result)
                assert result.leaks() == leaks, str(result)
                assert result.errors() == errors, str(result)
                assert 'built without the hooks: planted' in str(result), str(result)
                check_exact()

            hunt(clean, 'clean')
            hunt(new_object, 'leak', {'list': [2, 2, 2]})
            hunt(keep_argument, 'leak', {'Item': [3, 3, 3]})
            hunt(error_path, 'leak', {'tuple': [1, 1, 1], 'Item': [1, 1, 1]})
            hunt(over_decref, 'error', errors={'Item': [-1, -1, -1]})
            hunt(clean, 'clean')
            ''')

    def test_deleted_or_replaced(self):
        # What was loaded counts, whatever has become of its file.
        for includes in None, who_build.includes():
            for replaced in False, True:
                with self.subTest(includes=includes, replaced=replaced):
                    directory = self.enterContext(os_helper.temp_dir(None))
                    path = build(directory, includes)
                    other = os.path.join(directory, 'other')
                    os.mkdir(other)
                    script = BEGINNING.format(directory=directory) + f'''
import os
from refmap import unhooked
os.unlink({path!r})
if {replaced}:
    os.rename({build(other, None if includes else who_build.includes())!r}, {path!r})
expected = [] if {bool(includes)} else [{path!r} + unhooked.DELETED]
assert unhooked.modules() == expected, unhooked.modules()
result = refmap.hunt(keep_argument)
assert result.leaks() == {{'Item': [3, 3, 3]}}, str(result)
assert ('without the hooks: planted' in str(result)) == bool(expected), str(result)
assert refmap.hunt(clean).verdict == 'clean'
'''
                    run_script(script)

    def test_command_line(self):
        path = self.path('script.py')
        for function, code in ('clean', 0), ('keep_argument', 1):
            with open(path, 'w') as file:
                file.write('import sys\nif not hasattr(sys, "space"):\n'
                           '    exec(sys.argv[1], vars(sys).setdefault("space", {}))\n'
                           f'sys.space["{function}"]()\n')
            done = subprocess.run(
                [sys.executable, '-I', '-m', 'refmap', 'hunt', '--json',
                 self.path('json'), path, BEGINNING.format(directory=_directory)],
                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, code, done.stdout)
            self.assertIn('built without the hooks: planted', done.stdout)
        with open(self.path('json'), encoding='utf-8') as file:
            clean, leak = map(json.loads, file)
        self.assertEqual(clean['types'], [])
        self.assertEqual(self.types(leak), {('Item', 'every run'): [3, 3, 3]})

    def test_regrtest(self):
        with open(self.path('test_stock_use.py'), 'w') as file:
            file.write(BEGINNING.format(directory=_directory) + textwrap.dedent('''
                import unittest

                class Test(unittest.TestCase):
                    def test_clean(self):
                        clean()
                    def test_keep(self):
                        keep_argument()
                    def test_new(self):
                        new_object()
                '''))
        output = self.regrtest('--refmap-json', self.path('json'), 'test_stock_use',
                               exitcode=2)
        [findings] = self.findings()
        self.assertEqual(findings['verdict'], 'leak', output)
        self.assertEqual(self.types(findings), {('Item', 'every run'): [3, 3, 3],
                                                ('list', 'every run'): [2, 2, 2]})
        self.assertEqual(
            [(method['name'], [f['refs'] for f in method['types']])
             for method in findings['methods']],
            [('test_stock_use.Test.test_keep', [[3, 3, 3]]),
             ('test_stock_use.Test.test_new', [[2, 2, 2]])])
        output = self.regrtest('-m', 'test_clean', 'test_stock_use')
        self.assertIn('test_stock_use', output)

    @unittest.skipUnless(RECORDS, 'this interpreter cannot record')
    def test_who(self):
        # Accused is whose leak all that counts the object tells of.
        self.run_script('''
            def diagnose(function, accused, unknown=''):
                diagnosis = refmap.diagnose(function)
                text = str(diagnosis)
                first = [suspect.function for suspect in diagnosis.suspects[:1]]
                assert first == accused, text
                assert (f'unknown who, of {unknown}: references were counted without '
                        f'hooks, as these do: planted' in text) == bool(unknown), text
                assert diagnosis.roots, text
                return diagnosis

            diagnosis = diagnose(new_object, ['new_object'])
            assert diagnosis.suspects[0].references == 2, str(diagnosis)
            diagnosis = diagnose(hooked, ['leak_reference'])
            assert diagnosis.suspects[0].references == 1, str(diagnosis)
            diagnose(both, ['leak_reference'], 'Item')
            diagnose(keep_argument, [], 'Item')
            diagnose(over_decref, [], 'Item')
            diagnosis = diagnose(exchanged, [], 'Item')
            assert 'Item' in diagnosis.births, str(diagnosis)
            assert not refmap.diagnose(clean).suspects
            ''')

    def test_owners_without_a_recorder(self):
        # They need no hooks.
        self.run_script('''
            from refmap.who import batch
            batch.obstacle = lambda: 'it can not'
            diagnosis = refmap.diagnose(new_object)
            assert [root.kind for root in diagnosis.roots] == ['lost in C'] * 6
            assert not diagnosis.suspects
            ''')


def change(n, refcnt, address=16, kind='change', birth=0):
    return Change(kind, 0, address, n, birth, 32, refcnt, 0, 0, 0, (), ())


class UnseenTest(unittest.TestCase):
    """From literal records: did the recorder see all that counted an object?"""

    def check(self, expected, item, *events, debug=False):
        recording = Recording()
        recording.events = list(events)
        self.assertEqual(unseen.whole(recording, [item], debug),
                         {item.address} if expected else set())

    def test_older(self):
        grown = Leaked(16, 'T', 3, 4, 0)
        events = change(1, 4), change(2, 4), change(-1, 5), change(-1, 4)
        self.check(True, grown, *events)
        self.check(True, grown, change(1, 4), change(2, 4), change(-1, 6),
                   change(-1, 5), debug=True)
        self.check(False, grown, *events, debug=True)
        self.check(False, Leaked(16, 'T', 3, 5, 0), *events)
        self.check(False, Leaked(16, 'T', 2, 4, 0), *events)
        self.check(False, grown)
        self.check(True, Leaked(16, 'T', 3, 3, 0))

    def test_undone_too_late(self):
        # The sum is right, but in between somebody else had a part in it.
        self.check(False, Leaked(16, 'T', 3, 4, 0),
                   change(1, 4), change(1, 4), change(-1, 3))

    def test_born(self):
        item = Leaked(16, 'T', 0, 1, 7)
        birth = change(1, 0xdd, kind='birth', birth=7)
        self.check(True, item, birth, change(1, 2, birth=7), change(-1, 1, birth=7))
        self.check(False, item, birth, change(1, 2, birth=7))
        # Who was at the address before does not matter.
        self.check(True, item, change(1, 9), birth)

    def test_moved(self):
        self.check(True, Leaked(64, 'T', 0, 2, 7),
                   change(1, 0, kind='birth', birth=7), Move(0, 16, 64, 7, ()),
                   change(1, 2, 64, birth=7))

    def test_others(self):
        self.check(True, Leaked(16, 'T', 1, 2, 0), change(1, 7, 64), change(1, 2))


if __name__ == '__main__':
    unittest.main()
