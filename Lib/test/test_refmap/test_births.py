"""Objects without a birth, where others were born before.

A static object, or one that was made by hand, is counted from its first incref
on. What was born, and died, in its memory must not be taken for it, whichever
half of the 16 bytes of a slot either of them starts at.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest

from test import support
from test.support import import_helper

from .helpers import MapTestCase, PREAMBLE, run_script

_testrefmap = import_helper.import_module('_testrefmap')

HALVES = {'even': 0, 'odd': 8}


class ArenaTest(MapTestCase):

    def setUp(self):
        self.leaves_unattributed()
        self.base = _testrefmap.arena_open(2)
        self.addCleanup(_testrefmap.arena_close)

    def live(self, address):
        """An object is born, used, and dies, and its memory is given back."""
        _testrefmap.arena_birth(address)
        _testrefmap.arena_add(address, 2)
        self.assert_healthy()
        _testrefmap.arena_add(address, -3)
        self.assert_healthy()
        _testrefmap.arena_object_free(address)
        self.assert_healthy()

    def use_by_hand(self, address):
        """The same for one that is made by hand, with each of its references."""
        before = sys.refmap_info().unattributed
        _testrefmap.arena_by_hand(address)
        for n in 1, 1, -1, 5, -6, 3, -3:
            _testrefmap.arena_add(address, n)
            self.assert_healthy()
        many = _testrefmap.arena_repeat(address, 10)
        self.assertEqual(sys.refmap_count(many[0]), sys.getrefcount(many[0]) - 1)
        self.assert_healthy()
        many.clear()
        # It dies, of the reference that nobody counted.
        _testrefmap.arena_add(address, -1)
        self.assert_healthy()
        self.assertEqual(sys.refmap_info().unattributed, before - 1)

    def test_after_births(self):
        lives = ('even',), ('odd',), ('even', 'odd'), ('odd', 'even')
        for slot, born in enumerate(lives):
            for name, half in HALVES.items():
                with self.subTest(born=born, by_hand=name):
                    # Each slot has but one history.
                    place = self.base + 64 * slot + (1024 if half else 0)
                    for other in born:
                        self.live(place + HALVES[other])
                    self.use_by_hand(place + half)
                    for other in born:
                        self.live(place + HALVES[other])

    def test_in_diffs(self):
        # It is another object than the one that was born there.
        for name, half in HALVES.items():
            with self.subTest(by_hand=name):
                address = self.base + 2048 + half
                _testrefmap.arena_birth(address)
                before = sys.refmap_snapshot()
                _testrefmap.arena_add(address, -1)
                _testrefmap.arena_by_hand(address)
                _testrefmap.arena_add(address, 4)
                diff = sys.refmap_diff(before, file=None)
                self.assert_adds_up(diff)
                self.assertIn((address, '_testrefmap.Cell', 1), diff.died)
                self.assertIn((address, '_testrefmap.Cell', 0, 4), diff.living)
                _testrefmap.arena_add(address, -5)
                self.assert_healthy()


class SerialTest(MapTestCase):
    """sys._refmap_birth()"""

    def setUp(self):
        self.leaves_unattributed()
        self.base = _testrefmap.arena_open(2)
        self.addCleanup(_testrefmap.arena_close)

    def test_objects(self):
        old, new = object(), object()
        birth = sys._refmap_birth(id(old))
        self.assertGreater(birth, 0)
        self.assertGreater(sys._refmap_birth(id(new)), birth)
        # Other references make no difference.
        many = [old] * 3
        self.assertEqual(sys._refmap_birth(id(old)), birth)
        del many

    def test_no_birth(self):
        op = object()
        for address in (0, 1, 8, -8, id(op) + 1, id(op) + 4, id(op) + 8, 2**47,
                        2**62, 2**64 - 8, id(None), id(type)):
            with self.subTest(hex(address)):
                self.assertEqual(sys._refmap_birth(address), 0)
        with self.assertRaises(OverflowError):
            sys._refmap_birth(2**64)
        with self.assertRaises(TypeError):
            sys._refmap_birth('x')

    def test_life(self):
        for name, half in HALVES.items():
            with self.subTest(half=name):
                address = self.base + 1024 + 64 * half + half
                _testrefmap.arena_birth(address)
                birth = sys._refmap_birth(address)
                self.assertGreater(birth, 0)
                if half == 0:
                    # What realloc() moves is 16-aligned.
                    _testrefmap.arena_move(address, address + 256)
                    self.assertEqual(sys._refmap_birth(address), 0)
                    address += 256
                    self.assertEqual(sys._refmap_birth(address), birth)
                # It is dead, though its memory is not given back yet.
                _testrefmap.arena_add(address, -1)
                self.assertEqual(sys._refmap_birth(address), 0)
                # Another one there is no older.
                _testrefmap.arena_birth(address)
                self.assertGreater(sys._refmap_birth(address), birth)
                _testrefmap.arena_add(address, -1)
                _testrefmap.arena_by_hand(address)
                _testrefmap.arena_add(address, 1)
                self.assertEqual(sys._refmap_birth(address), 0)
                _testrefmap.arena_add(address, -2)

    def test_resurrection(self):
        kept = []

        class Item:
            def __del__(self):
                kept.append(self)

        item = Item()
        address = id(item)
        birth = sys._refmap_birth(address)
        del item
        self.assertEqual(id(kept[0]), address)
        self.assertEqual(sys._refmap_birth(address), birth)

    def test_numbers_begin_anew(self):
        run_script('''
            _testrefmap.set_last_birth(2**28 - 500)
            before = sys.refmap_snapshot()
            items = [[i] for i in range(1000)]
            diff = sys.refmap_diff(before, file=None)
            # None is marked by a bit that the number has no room for.
            assert not {*map(id, items)} - {record[0] for record in diff.living}
            births = [sys._refmap_birth(id(item)) for item in items]
            low = births.index(min(births))
            assert 0 < low < 1000 and births[low] < 500, births
            assert births[:low] == sorted(births[:low]), births
            assert births[low:] == sorted(births[low:]), births
            assert births[0] > 2**28 - 500 and max(births) < 2**28, births
            check_exact()
            check_true()
            ''')

    def test_table_of_a_dict(self):
        before = sys.refmap_snapshot()
        kept = {i: i for i in range(100)}
        diff = sys.refmap_diff(before, file=None)
        births = [sys._refmap_birth(address) for address, name, _, _ in diff.living
                  if name == 'dict keys']
        del kept, diff, before
        self.assertTrue(births)
        self.assertNotIn(0, births)

    def test_same_from_run_to_run(self):
        script = '''
class Item: pass
items = [Item() for i in range(1000)]
print([sys._refmap_birth(id(item)) for item in items[::100]])
'''
        # The first run may have files to compile.
        first, *runs = [run_script(script, PYTHONHASHSEED='0')[0]
                        for _ in range(3)]
        self.assertEqual(*runs)


class HiddenTest(MapTestCase):
    """Objects to which refmap lets no diff show references."""

    def test_born(self):
        op = object()
        before = sys.refmap_snapshot()
        many = [op] * 3
        _testrefmap.hide(op)
        diff = sys.refmap_diff(before, file=None)
        self.assertNotIn(id(op), [record[0] for record in diff.living])
        self.assert_healthy()
        del many

    def test_without_a_birth(self):
        # It can't be marked, whatever the reason is that it has none.
        for odd in False, True:
            with self.subTest(odd=odd):
                op = _testrefmap.static_object(odd)
                _testrefmap.hide(op)
                self.assert_healthy()
                before = sys.refmap_snapshot()
                many = [op] * 3
                diff = sys.refmap_diff(before, file=None)
                self.assertEqual([after - count for address, _, count, after
                                  in diff.living if address == id(op)], [3])
                self.assert_adds_up(diff)
                del many


class EmbeddedTest(MapTestCase):

    def test_made_by_hand(self):
        # PyObject_Malloc(24) + 8: pools and C++ classes have such objects.
        for pooled in False, True:
            with self.subTest(pooled=pooled):
                run_script(f'pooled = {pooled}\n' + '''
for i in range(1000):
    op = _testrefmap.embedded(pooled)
    assert id(op) % 16 == 8, hex(id(op))
    check_exact()
    if i % 100 == 0:
        check_true()
    many = [op] * 5
    assert sys.refmap_count(op) == sys.getrefcount(op) - 1
    check_exact()
    if i % 100 == 0:
        check_true()
    many.clear()
    check_exact()
check_true()
''')


EXTENSION = r'''
#include <Python.h>

/* Mortal, as extensions older than Python 3.12 initialise them. */
static struct {
    void *before;
    PyObject odd __attribute__((aligned(8)));
    void *after[3];
    PyObject even __attribute__((aligned(16)));
} __attribute__((aligned(16))) objects;

static PyObject *
get(PyObject *Py_UNUSED(self), PyObject *arg)
{
    PyObject *op = PyObject_IsTrue(arg) ? &objects.odd : &objects.even;
    if (op->ob_type == NULL) {
        op->ob_refcnt = 1;
        op->ob_type = &PyBaseObject_Type;
    }
    Py_INCREF(op);
    return op;
}

static PyMethodDef methods[] = {
    {"get", get, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* Large enough to be mapped where memory of objects was. */
char static_births_room[1 << 20] = {1};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "static_births", NULL, -1, methods, NULL, NULL, NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit_static_births(void)
{
    return PyModule_Create(&module);
}
'''

LOAD = PREAMBLE + r'''
import importlib.machinery, importlib.util
objects = [object() for _ in range(600_000)]
low, high = min(map(id, objects)), max(map(id, objects))
del objects
check_exact()
loader = importlib.machinery.ExtensionFileLoader('static_births', sys.argv[1])
spec = importlib.util.spec_from_loader('static_births', loader)
module = importlib.util.module_from_spec(spec)
loader.exec_module(module)
for odd in True, False:
    op = module.get(odd)
    assert id(op) % 16 == (8 if odd else 0), hex(id(op))
    for n in 1, 7, 100:
        many = [op] * n
        check_exact()
        check_true()
        assert sys.refmap_count(op) == sys.getrefcount(op) - 1
        many.clear()
        check_exact()
    del op
    check_exact()
    check_true()
print('used')
'''


def compiler():
    command = shlex.split(sysconfig.get_config_var('CC') or '')
    return command if command and shutil.which(command[0]) else None


@unittest.skipUnless(compiler(), 'there is no C compiler')
@support.requires_subprocess()
class ExtensionTest(unittest.TestCase):

    def build(self, directory):
        source = os.path.join(directory, 'static_births.c')
        path = source[:-1] + 'so'
        with open(source, 'w', encoding='utf-8') as file:
            file.write(EXTENSION)
        include = {sysconfig.get_path('include'), sysconfig.get_path('platinclude'),
                   os.path.dirname(sysconfig.get_config_h_filename())}
        done = subprocess.run(
            [*compiler(), '-shared', '-fPIC', *(f'-I{name}' for name in include),
             source, '-o', path],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        return path

    def test_static_objects(self):
        with tempfile.TemporaryDirectory() as directory:
            path = self.build(directory)
            done = subprocess.run(
                [sys.executable, '-E', '-s', '-c', LOAD, path], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=support.LONG_TIMEOUT)
        self.assertEqual((done.returncode, done.stdout), (0, 'used\n'))


if __name__ == '__main__':
    unittest.main()
