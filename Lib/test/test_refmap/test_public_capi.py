"""cpython/refmap.h, used from an extension that is compiled for the test."""

import atexit
import errno
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
import unittest

from test import support

from .helpers import MapTestCase, run_script
from .test_abi import compiler

SOURCE = r'''
#include "Python.h"
#ifndef Py_REFCOUNT_MAP
#  error "the interpreter has no map"
#endif
#include "cpython/refmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static PyUnstable_RefMap_Snapshot *kept[2];

static PyObject *
snapshot(PyObject *self, PyObject *arg)
{
    long i = PyLong_AsLong(arg);
    (void)self;
    PyUnstable_RefMap_FreeSnapshot(kept[i]);
    kept[i] = PyUnstable_RefMap_TakeSnapshot();
    if (kept[i] == NULL) {
        return PyErr_NoMemory();
    }
    return PyLong_FromSsize_t(PyUnstable_RefMap_SnapshotTotal(kept[i]));
}

static PyObject *
drop(PyObject *self, PyObject *arg)
{
    (void)self, (void)arg;
    PyUnstable_RefMap_FreeSnapshot(kept[0]);
    PyUnstable_RefMap_FreeSnapshot(kept[1]);
    PyUnstable_RefMap_FreeSnapshot(NULL);
    kept[0] = kept[1] = NULL;
    Py_RETURN_NONE;
}

/* Records in memory of their own, so that collecting them changes nothing. */
typedef struct {
    PyUnstable_RefMap_Record records[10000];
    int len, limit;
} collected_t;

static int
collect(const PyUnstable_RefMap_Record *record, void *arg)
{
    collected_t *all = (collected_t *)arg;
    if (all->len < 10000) {
        all->records[all->len++] = *record;
    }
    return all->len == all->limit ? 7 : 0;
}

static PyObject *
as_list(Py_ssize_t result, collected_t *all)
{
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < all->len; i++) {
        const PyUnstable_RefMap_Record *r = &all->records[i];
        PyObject *item = Py_BuildValue(
            "iKznn", (int)r->kind, (unsigned long long)(size_t)r->address, r->type,
            r->before, r->after);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    free(all);
    return list ? Py_BuildValue("nN", result, list) : NULL;
}

static PyObject *
visit_diff(PyObject *self, PyObject *args)
{
    int now;
    collected_t *all = (collected_t *)calloc(1, sizeof(*all));
    (void)self;
    if (!PyArg_ParseTuple(args, "ii", &now, &all->limit)) {
        return NULL;
    }
    int result = PyUnstable_RefMap_VisitDiff(kept[0], now ? NULL : kept[1],
                                             collect, all);
    return as_list(result, all);
}

static PyObject *
verify(PyObject *self, PyObject *arg)
{
    collected_t *all = (collected_t *)calloc(1, sizeof(*all));
    (void)self, (void)arg;
    Py_ssize_t n = PyUnstable_RefMap_Verify(NULL, NULL);
    Py_ssize_t result = PyUnstable_RefMap_Verify(collect, all);
    if (n != result) {
        result = -99;
    }
    return as_list(result, all);
}

/* print(what, path, object): what the functions print to a file; the result of what
   was called, and errno. */
static PyObject *
print(PyObject *self, PyObject *args)
{
    const char *what, *path;
    PyObject *op;
    (void)self;
    if (!PyArg_ParseTuple(args, "ssO", &what, &path, &op)) {
        return NULL;
    }
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    int result = 0, number;
    errno = 0;
    if (strcmp(what, "diff") == 0) {
        result = PyUnstable_RefMap_PrintDiff(kept[0], kept[1], file);
    }
    else if (strcmp(what, "describe") == 0) {
        result = PyUnstable_RefMap_Describe(op, file);
    }
    else if (strcmp(what, "address") == 0) {
        result = PyUnstable_RefMap_Describe((PyObject *)PyLong_AsVoidPtr(op), file);
    }
    else {
        _Py_CountReferences(file);
    }
    number = errno;
    fclose(file);
    return Py_BuildValue("ii", result, number);
}

static PyObject *
count(PyObject *self, PyObject *op)
{
    (void)self;
    return PyLong_FromSsize_t(PyUnstable_RefMap_Count(op));
}

static PyObject *
total(PyObject *self, PyObject *arg)
{
    (void)self, (void)arg;
    return PyLong_FromSsize_t(PyUnstable_RefMap_Total());
}

static PyObject *
error_text(PyObject *self, PyObject *arg)
{
    (void)self;
    return PyUnicode_FromString(PyUnstable_RefMap_ErrorText((int)PyLong_AsLong(arg)));
}

static PyObject *
without_gil(PyObject *self, PyObject *op)
{
    Py_ssize_t results[5];
    collected_t all;
    (void)self;
    memset(&all, 0, sizeof(all));
    Py_BEGIN_ALLOW_THREADS
    results[0] = PyUnstable_RefMap_TakeSnapshot() == NULL;
    results[1] = PyUnstable_RefMap_VisitDiff(kept[0], kept[1], collect, &all);
    results[2] = PyUnstable_RefMap_PrintDiff(kept[0], NULL, stderr);
    results[3] = PyUnstable_RefMap_Verify(collect, &all);
    results[4] = PyUnstable_RefMap_Count(op);
    PyUnstable_RefMap_FreeSnapshot(NULL);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("nnnnni", results[0], results[1], results[2], results[3],
                         results[4], all.len);
}

/* An exception of the caller's is neither lost nor replaced. */
static PyObject *
with_exception(PyObject *self, PyObject *path)
{
    (void)self;
    FILE *file = fopen(PyUnicode_AsUTF8(path), "w");
    PyErr_SetString(PyExc_KeyError, "mine");
    PyUnstable_RefMap_Snapshot *now = PyUnstable_RefMap_TakeSnapshot();
    PyUnstable_RefMap_PrintDiff(now, NULL, file);
    PyUnstable_RefMap_Verify(NULL, NULL);
    PyUnstable_RefMap_Describe(path, file);
    PyUnstable_RefMap_FreeSnapshot(now);
    fclose(file);
    return NULL;
}

static PyMethodDef methods[] = {
    {"snapshot", snapshot, METH_O, NULL},
    {"drop", drop, METH_NOARGS, NULL},
    {"visit_diff", visit_diff, METH_VARARGS, NULL},
    {"verify", verify, METH_NOARGS, NULL},
    {"print", print, METH_VARARGS, NULL},
    {"count", count, METH_O, NULL},
    {"total", total, METH_NOARGS, NULL},
    {"error_text", error_text, METH_O, NULL},
    {"without_gil", without_gil, METH_O, NULL},
    {"with_exception", with_exception, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "capi_ext", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_capi_ext(void)
{
    return PyModule_Create(&module);
}
'''

LIVING, DIED, FREED, TYPE, UNATTRIBUTED, LOST, TOTAL = range(1, 8)
NO_MEMORY, NO_GIL, OTHER_MAP, NOT_WRITTEN = range(-1, -5, -1)


def build(directory, language='c', *options):
    """Compile the extension; return its path."""
    source = os.path.join(directory, 'capi_ext.c')
    with open(source, 'w', encoding='utf-8') as file:
        file.write(SOURCE)
    path = os.path.join(directory, f'capi_ext_{language[-1]}.so')
    include = [sysconfig.get_path('include'),
               sysconfig.get_config_h_filename().rpartition('/')[0]]
    done = subprocess.run(
        [*compiler(language), '-x', language, '-shared', '-fPIC', '-Wall', '-Wextra',
         '-Werror', *options, *(f'-I{name}' for name in include), source, '-o', path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(done.stdout)
    return path


def load(path):
    loader = importlib.machinery.ExtensionFileLoader('capi_ext', path)
    spec = importlib.util.spec_from_loader('capi_ext', loader)
    ext = importlib.util.module_from_spec(spec)
    loader.exec_module(ext)
    return ext


@unittest.skipUnless(compiler('c'), 'there is no C compiler')
@support.requires_subprocess()
class PublicTest(MapTestCase):

    @classmethod
    def setUpClass(cls):
        # To the end of the process: what is in a loaded file that is gone can't be
        # told, so that nothing would be recorded any more.
        directory = tempfile.TemporaryDirectory()
        atexit.register(directory.cleanup)
        cls.directory = directory.name
        cls.path = build(cls.directory)
        cls.ext = load(cls.path)
        cls.addClassCleanup(cls.ext.drop)

    def printed(self, what, op=None):
        """What a function prints about an object, and its result."""
        path = os.path.join(self.directory, 'printed')
        result, _ = self.ext.print(what, path, op)
        with open(path, encoding='utf-8') as file:
            return file.read(), result

    def test_cplusplus(self):
        if compiler('c++') is None:
            self.skipTest('there is no C++ compiler')
        build(self.directory, 'c++', '-std=c++17')

    def test_count_and_total(self):
        victim = object()
        references = [victim] * 1000
        self.assertEqual(self.ext.count(victim), sys.refmap_count(victim))
        self.assertGreater(self.ext.count(victim), 1000)
        # Between two of the calls nothing is looked up, as types cache names, and
        # nothing is collected. What else may happen does not happen each time.
        total, real_total = self.ext.total, sys.gettotalrefcount
        with support.disable_gc():
            for _ in range(5):
                before = total(), real_total()
                references.extend([victim] * 100)
                after = total(), real_total()
                if after[0] - before[0] == after[1] - before[1]:
                    break
        self.assertEqual(after[0] - before[0], after[1] - before[1])
        del references

    def test_count_references(self):
        text, _ = self.printed('count')
        self.assertRegex(text, r'^\d{4,} refs\n$')

    def test_describe(self):
        victim = type('Bad\nname', (), {})()
        text, result = self.printed('describe', victim)
        self.assertRegex(text, rf'^{id(victim):#x} \(Bad\\x0aname\), \d references\n$')
        self.assertEqual(result, 1)
        self.assertEqual(self.printed('describe', None),
                         (f'{id(None):#x} (NoneType), immortal\n', 1))
        self.assertEqual(self.printed('address', 0), ('NULL\n', 0))
        unknown = '{:#x}, no living object that the map knows\n'
        # Not mapped, not aligned, inside of an object, dead.
        dead = id(object())
        for address in 8, 1 << 46, id(victim) + 1, id(victim) + 16, dead:
            with self.subTest(hex(address)):
                self.assertEqual(self.printed('address', address),
                                 (unknown.format(address), 0))

    def test_diff_is_that_of_sys(self):
        keep = []
        died = [{'a': 1} for _ in range(3)]
        snapshot, of_sys = self.ext.snapshot, sys.refmap_snapshot
        first = of_sys()
        total = snapshot(0)
        self.assertEqual(total, first.total)
        keep.extend(([], {}, 1.5))
        died.clear()
        snapshot(1)
        second = of_sys()
        diff = sys.refmap_diff(first, second, file=None)
        result, records = self.ext.visit_diff(0, 0)
        self.assertEqual(result, 0)
        mine = {address: (name, before, after) for kind, address, name, before, after
                in records if kind == LIVING}
        theirs = {address: rest for address, *rest in diff.living}
        for op in keep:
            self.assertEqual(mine[id(op)], tuple(theirs[id(op)]))
        self.assert_records_add_up(records)
        text, result = self.printed('diff')
        self.assertEqual(result, 0)
        self.assert_same_lines(text, records)

    def assert_records_add_up(self, records):
        kinds = [record[0] for record in records]
        self.assertEqual(kinds, sorted(kinds))
        self.assertEqual(kinds[-1], TOTAL)

        def changes(*wanted):
            return sum(r[4] - r[3] for r in records if r[0] in wanted)
        self.assertEqual(changes(LIVING, DIED), changes(TYPE))
        self.assertEqual(changes(TYPE, UNATTRIBUTED), changes(TOTAL))

    def assert_same_lines(self, text, records):
        """The text has a line for each record, in the format of sys.refmap_diff()."""
        formats = {
            LIVING: 'ref change of living {a:#x} ({t}): {d},  {b} -> {e}',
            DIED: 'ref change of died   {a:#x} ({t}): {d}',
            TYPE: 'ref change of type {t}: {d}',
            UNATTRIBUTED: 'ref change of unattributed: {d}',
            TOTAL: 'total ref change {d}'}
        expected = [formats[kind].format(a=a, t=t, b=b, e=e, d=e - b)
                    for kind, a, t, b, e in records]
        self.assertEqual(sorted(text.splitlines()), sorted(expected))

    def test_text_is_that_of_sys(self):
        # Nothing happens between the snapshots of both kinds.
        keep = []
        snapshot, of_sys = self.ext.snapshot, sys.refmap_snapshot
        snapshot(0), of_sys()
        for _ in range(2):
            a = of_sys()
            snapshot(0)
            keep.append([])
            snapshot(1)
            b = of_sys()
        text, _ = self.printed('diff')
        theirs = str(sys.refmap_diff(a, b, file=None)).splitlines()
        for line in text.splitlines()[:-1]:
            if '(list)' in line or ' list:' in line:
                self.assertIn(line, theirs)
        self.assertIn('(list): 1,  0 -> 1\n', text)

    def test_callback_stops(self):
        self.ext.snapshot(0)
        keep = [[] for _ in range(5)]
        result, records = self.ext.visit_diff(1, 3)
        self.assertEqual((result, len(records)), (7, 3))
        del keep

    def test_nothing_changed(self):
        # Not even by the snapshots and diffs themselves.
        snapshot, visit = self.ext.snapshot, self.ext.visit_diff
        for _ in range(3):
            snapshot(0)
            snapshot(1)
        result, records = visit(0, 0)
        self.assertEqual((result, [r for r in records if r[0] != TOTAL]), (0, []))

    def test_freed(self):
        import _testrefmap
        self.leaves_unattributed()
        self.ext.snapshot(0)
        address = _testrefmap.free_counted('object', 5)
        _, records = self.ext.visit_diff(1, 0)
        self.assertIn((FREED, address, '_testrefmap.Plain', 5, 0), records)
        self.assert_records_add_up([r for r in records if r[0] != FREED])

    def test_verify(self):
        import _testrefmap
        self.assertEqual(self.ext.verify(), (0, []))
        victim = [object()][0]
        # Bound before, as what an attribute is looked up in keeps caches.
        _testrefmap.write_refcnt(victim, 3)
        try:
            result, records = self.ext.verify()
        finally:
            _testrefmap.write_refcnt(victim, -3)
        [(kind, address, name, before, after)] = records
        self.assertEqual((result, kind, address, name, after - before),
                         (1, LIVING, id(victim), 'object', 3))

    def test_not_written(self):
        if not os.path.exists('/dev/full'):
            self.skipTest('there is no /dev/full')
        self.ext.snapshot(0)
        self.ext.snapshot(1)
        self.assertEqual(self.ext.print('diff', '/dev/full', None),
                         (NOT_WRITTEN, errno.ENOSPC))

    def test_without_gil(self):
        self.ext.snapshot(0)
        self.ext.snapshot(1)
        self.assertEqual(self.ext.without_gil(object()),
                         (1, NO_GIL, NO_GIL, NO_GIL, 0, 0))

    def test_exception_stays(self):
        with self.assertRaisesRegex(KeyError, 'mine') as caught:
            self.ext.with_exception(os.path.join(self.directory, 'exception'))
        self.assertIsNone(caught.exception.__context__)

    def test_no_memory(self):
        # In a process of its own, as its map lost track of some pages.
        run_script(f'''
            from test.test_refmap import test_public_capi as test
            ext = test.load({self.path!r})
            ext.snapshot(0)
            results = set()
            for n in range(40):
                _testrefmap.limit_allocations(n)
                try:
                    result, _ = ext.visit_diff(1, 0)
                finally:
                    _testrefmap.limit_allocations(-1)
                results.add(result)
            assert results == {{0, test.NO_MEMORY}}, results
            ''')

    def test_error_text(self):
        texts = {self.ext.error_text(error) for error in
                 (NO_MEMORY, NO_GIL, OTHER_MAP, NOT_WRITTEN, 0)}
        self.assertEqual(len(texts), 5)


if __name__ == '__main__':
    unittest.main()
