"""refmap.unhooked, and hunts by true counts."""

import os
import struct
import sys
import tempfile
import textwrap
import types
import unittest

import _testrefmap
from refmap import unhooked
from test.libregrtest import refmap_hunt
from test.support import swap_attr, swap_item

from .helpers import run_script

CORE = {'Py_BuildValue', 'PyList_New'}


class RuleTest(unittest.TestCase):
    """From the symbols of a binary to whether it counts behind the map's back."""

    def check(self, expected, imported, exported=('PyInit_x',), **kwargs):
        self.assertIs(unhooked.is_unhooked(set(imported), set(exported), **kwargs),
                      expected)

    def test_stock(self):
        self.check(True, CORE | {'_Py_Dealloc'})

    def test_hooked(self):
        self.check(False, CORE | {'_Py_IncRef', '_Py_DecRef'})

    def test_limited_api(self):
        # Of today it calls functions; until 3.9 it counted in line.
        self.check(False, CORE | {'Py_IncRef', 'Py_DecRef'})
        self.check(True, CORE | {'_Py_Dealloc'})

    def test_stock_code_linked_into_a_hooked_module(self):
        self.check(True, CORE | {'_Py_IncRef', '_Py_DecRef', '_Py_Dealloc'})

    def test_library(self):
        # It need be no module.
        self.check(True, CORE | {'_Py_Dealloc'}, ())
        self.check(False, CORE, ())
        self.check(False, (), ())

    def test_only_increfs(self):
        # Nothing tells whether it has any; those of the interpreter have none.
        self.check(True, CORE)
        self.check(False, CORE, is_own=True)

    def test_the_interpreter(self):
        self.check(False, (), ('_Py_Dealloc', 'PyInit__abc'))
        self.check(False, {'_Py_Dealloc', '_PyRefMap_Incref'})


class FileTest(unittest.TestCase):

    def test_own_extension(self):
        imported, exported = unhooked._symbols_of(_testrefmap.__file__)
        self.assertIn('PyInit__testrefmap', exported)
        self.assertTrue(any(name.startswith('_PyRefMap_') for name in imported))

    def test_damaged_files(self):
        with open(_testrefmap.__file__, 'rb') as file:
            data = file.read()
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'x.so')
            for damaged in (b'', b'\x7fELF', data[:64], data[:1000],
                            data[:32] + struct.pack('<Q', 2**63) + data[40:],
                            data[:54] + b'\x01\x00' + data[56:],
                            data[:56] + b'\0\0' + data[58:],
                            data.replace(data[0x200:0x1000], bytes(0xe00))):
                with open(path, 'wb') as file:
                    file.write(damaged)
                self.assertIn(unhooked._symbols_of(path), (None, (set(), set())))
        self.assertIsNone(unhooked._symbols_of('/nonexistent'))

    def test_loaded_or_file(self):
        # All that is loaded says the same by both ways.
        for path, start in unhooked._loaded().items():
            if os.path.exists(path):
                with self.subTest(path):
                    self.assertIsNotNone(start)
                    self.assertEqual(unhooked._symbols_of('/nonexistent', start),
                                     unhooked._symbols_of(path))

    def test_unreadable(self):
        # Nothing tells what an extension imported: it may do anything.
        own = os.path.dirname(os.path.realpath(_testrefmap.__file__))
        with swap_item(sys.modules, 'gone', types.SimpleNamespace(
                __file__='/site/gone.so')):
            for path, expected in (('/site/gone.so (deleted)', True),
                                   ('/site/libother.so (deleted)', False),
                                   (own + '/gone.so (deleted)', False)):
                with self.subTest(path):
                    self.assertIs(unhooked._may_be_unhooked(path, None, own), expected)

    def test_none_here(self):
        # All that the test suite loads was built with the hooks, or is no Python.
        own = os.path.dirname(os.path.realpath(_testrefmap.__file__))
        self.assertEqual([path for path in unhooked.modules()
                          if os.path.dirname(path) == own], [])

    def test_names(self):
        with swap_attr(sys, 'path', ['', '/usr/site', '/usr/site/deep']):
            paths = ['/usr/site/a/_x.cpython-313.so', '/usr/site/a/b/_y.so',
                     '/usr/site/deep/_z.so', '/usr/lib/libw.so.1']
            self.assertEqual([unhooked.name_of(path) for path in paths],
                             ['a/_x', 'a/b/_y', '_z', '/usr/lib/libw'])
            self.assertEqual(unhooked.names(paths), '_z, a, usr/lib/libw')
            many = [f'/usr/site/m{i}.so' for i in range(9)]
            self.assertEqual(unhooked.names(many), 'm0, m1, m2, m3, 5 more')


class RegrtestTest(unittest.TestCase):
    """-R: the sums of references decide nothing any more."""

    def test_other_sums(self):
        for sums, expected in (
                ({'references': [9, 9, 9]}, False),
                ({'memory blocks': [1, 1, 2]}, True),
                ({'memory blocks': [1, 0, 2]}, False),
                ({'memory blocks': [0], 'file descriptors': [0, 1]}, True)):
            with self.subTest(sums):
                self.assertIs(refmap_hunt.fails_without_references(sums),
                              expected)

    def test_state(self):
        for unhooked_, sums_failed, verdict, strict, before, after in (
                (True, True, 'clean', False, 'REFLEAK', 'PASSED'),
                (True, True, 'suspicious', False, 'REFLEAK', 'PASSED'),
                (True, True, 'suspicious', True, 'REFLEAK', 'REFLEAK'),
                (True, False, 'leak', False, 'PASSED', 'REFLEAK'),
                (True, False, 'error', False, 'PASSED', 'REFLEAK'),
                (True, False, 'leak', False, 'FAILED', 'FAILED'),
                (False, True, 'clean', False, 'REFLEAK', 'PASSED'),
                (False, True, 'leak', False, 'REFLEAK', 'REFLEAK'),
                (False, False, 'suspicious', False, 'PASSED', 'PASSED')):
            with self.subTest((unhooked_, sums_failed, verdict, strict)):
                result = types.SimpleNamespace(state=before)
                findings = {'verdict': verdict, 'sums_failed': sums_failed,
                            'unhooked': ['/x.so'] if unhooked_ else []}
                refmap_hunt.settle_state(result, findings, {'strict': strict})
                self.assertEqual(result.state, after)


# As if the process had loaded a binary without hooks. Its counts are wrong after that.
BEGINNING = '''
import refmap
from refmap import unhooked

class Thing:
    """Older than any hunt."""

THING = Thing()
unhooked.modules = lambda: ['/x/stock.so']

def hunt(function, verdict, **kwargs):
    result = refmap.hunt(function, **kwargs)
    assert result.findings['unhooked'] == unhooked.modules(), result.findings
    assert result.verdict == verdict, result
    check_exact()
    return result
'''


class HuntTest(unittest.TestCase):

    def run_script(self, script):
        run_script(BEGINNING + textwrap.dedent(script))

    def test_says_so(self):
        self.run_script('''
            lines = str(hunt(lambda: None, 'clean')).splitlines()
            [line] = [line for line in lines if 'hooks' in line]
            assert 'x/stock' in line, line
            unhooked.modules = lambda: []
            assert 'hooks' not in str(hunt(lambda: None, 'clean'))
            ''')

    def test_clean(self):
        # In line here, and with a hook there: the count in the map drifts.
        self.run_script('''
            def balanced():
                _testrefmap.foreign_incref(THING, 3)
                for _ in range(3):
                    _testrefmap.over_decref(THING)
                item = object()
                _testrefmap.foreign_incref(item, 1)
                _testrefmap.over_decref(item)

            result = hunt(balanced, 'clean')
            assert result.findings['total'] == [0, 0, 0], result.findings
            unhooked.modules = lambda: []
            hunt(balanced, 'error')
            ''')

    def test_leak_of_an_argument(self):
        self.run_script('''
            result = hunt(lambda: _testrefmap.foreign_incref(THING, 2), 'leak')
            assert result.leaks() == {'Thing': [2, 2, 2]}, result
            assert '1 bytes' not in str(result) and 'Thing object' in str(result)
            ''')

    def test_leak_of_new_objects(self):
        self.run_script('''
            def leak():
                thing = Thing()
                _testrefmap.foreign_incref(thing, 1)

            result = hunt(leak, 'leak')
            [finding] = [f for f in result.findings['types'] if f['type'] == 'Thing']
            assert finding['refs'] == finding['born'] == [1, 1, 1], finding
            ''')

    def test_over_decref(self):
        self.run_script('''
            held = [THING] * 50
            _testrefmap.foreign_incref(THING, 20)
            result = hunt(lambda: _testrefmap.foreign_decref(THING), 'error')
            assert result.errors() == {'Thing': [-1, -1, -1]}, result
            ''')

    def test_freed(self):
        # What the map counted for it is no reference that was lost.
        self.run_script('''
            class Last:
                def __del__(self):
                    _testrefmap.foreign_incref(self, 1)
                    _testrefmap.over_decref(self)

            def drop():
                Last()

            assert not hunt(drop, 'clean').findings['freed']
            ''')

    def test_groups(self):
        # What verification finds, by the package that may have done it.
        self.run_script('''
            Thing.__module__ = 'stock.things'
            text = 'abc' * 5
            number = 10**30
            for op in THING, text, number:
                _testrefmap.foreign_incref(op, 1)
            records = sys.refmap_verify()

            def groups(*paths):
                return [(package, how, sorted(r[0] for r in found)) for
                        package, how, found in unhooked.group(records, paths)]

            both = sorted([id(text), id(number)])
            assert groups('/stock/_x.so', '/other.so') == [
                (None, unhooked.UNKNOWN, both),
                ('stock', unhooked.BY_TYPE, [id(THING)])], groups()
            assert groups('/stock/_x.so', '/stock/_y.so') == [
                ('stock', unhooked.BY_EXCLUSION, both),
                ('stock', unhooked.BY_TYPE, [id(THING)])]
            assert groups() == [
                (None, unhooked.UNKNOWN, sorted([*both, id(THING)]))]
            assert unhooked.group([(8, '?', 1, -1)], []) == [
                (None, unhooked.UNKNOWN, [(8, '?', 1, -1)])]
            ''')

    def test_nobody_is_accused(self):
        # The recorder does not see what is counted in line; test_stock has more.
        self.run_script('''
            diagnosis = refmap.diagnose(
                lambda: _testrefmap.foreign_incref(THING, 2))
            assert diagnosis.verdict == 'leak', diagnosis
            assert not diagnosis.suspects, str(diagnosis)
            assert 'x/stock' in str(diagnosis), str(diagnosis)
            ''')


if __name__ == '__main__':
    unittest.main()
