"""refmap_debug.h: compiled in each way that it promises, and run.

Compilers: those of sysconfig, and each of gcc, g++, clang and clang++ that is there.
The environment variable of test_abi names a stock interpreter of the same kind: what
was compiled with the map must load there, and do nothing.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest

from test import support

from .helpers import MapTestCase
from .test_abi import STOCK, STOCK_VARIABLE

SOURCE = r'''
#include "Python.h"
#include "refmap_debug.h"

#include <stdio.h>
#include <string.h>

static PyObject *
plain(PyObject *self, PyObject *op)
{
    char text[] = "text";
    const char *none = NULL;
    int number = -1;
    unsigned char byte = 255;
    size_t size = 42;
    long long big = 1LL << 40;
    double half = 0.5;
    float quarter = 0.25f;
    PyObject *nothing = NULL;
    static long memory[4];
    (void)self;
    MARKER();
    COUNTREFS();
    DESCRIBE(op);
    DESCRIBE_HEX(op);
    DESCRIBE(Py_None);
    DESCRIBE(Py_TYPE(op));
    DESCRIBE(nothing);
    DESCRIBE((PyObject *)memory);
    DESCRIBE((void *)16);
    DESCRIBE(text);
    DESCRIBE(none);
    DESCRIBE(number);
    DESCRIBE_HEX(number);
    DESCRIBE_HEX(byte);
    DESCRIBE(size);
    DESCRIBE(big);
    DESCRIBE_HEX(big);
    DESCRIBE(half);
    DESCRIBE(quarter);
    DESCRIBE_HEX(half);
    DESCRIBE('a');
    DESCRIBE(1 == 1);
    Py_RETURN_NONE;
}

/* Leaves the block in three ways: 0 return, 1 goto, 2 with an exception. */
static PyObject *
scope(PyObject *self, PyObject *args)
{
    PyObject *op;
    int how, leaked, i;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oii", &op, &how, &leaked)) {
        return NULL;
    }
    {
        REFMAP_SCOPE("block");
        for (i = 0; i < leaked; i++) {
            Py_INCREF(op);
        }
        if (how == 0) {
            return PyLong_FromLong(0);
        }
        if (how == 2) {
            PyErr_SetString(PyExc_KeyError, "mine");
            return NULL;
        }
        goto done;
    }
done:
    Py_RETURN_NONE;
}

static PyObject *
expect(PyObject *self, PyObject *args)
{
    PyObject *op;
    int expected, leaked, i;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oii", &op, &expected, &leaked)) {
        return NULL;
    }
    REFMAP_EXPECT(expected);
    REFMAP_EXPECT(leaked);
    for (i = 0; i < leaked; i++) {
        Py_INCREF(op);
    }
    Py_RETURN_NONE;
}

/* By an exception of C++, where there are any. */
static PyObject *
thrown(PyObject *self, PyObject *op)
{
    (void)self;
#ifdef __cplusplus
    try {
        REFMAP_SCOPE("thrown");
        Py_INCREF(op);
        throw 1;
    }
    catch (int) {
        Py_DECREF(op);
    }
#else
    (void)op;
#endif
    Py_RETURN_NONE;
}

static PyObject *
no_gil(PyObject *self, PyObject *op)
{
    (void)self;
    Py_BEGIN_ALLOW_THREADS
    REFMAP_SCOPE("without");
    DESCRIBE(op);
    COUNTREFS();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"plain", plain, METH_O, NULL},
    {"scope", scope, METH_VARARGS, NULL},
    {"expect", expect, METH_VARARGS, NULL},
    {"thrown", thrown, METH_O, NULL},
    {"no_gil", no_gil, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "debug_ext", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_debug_ext(void)
{
    return PyModule_Create(&module);
}
'''

STRICT = ['-Wall', '-Wextra', '-Werror', '-pedantic', '-g']
LANGUAGES = {'c': ['-x', 'c', '-std=c11'], 'c++': ['-x', 'c++', '-std=c++17']}
APIS = {'full API': [], 'limited API 3.9': ['-DPy_LIMITED_API=0x03090000'],
        'limited API 3.13': ['-DPy_LIMITED_API=0x030d0000']}
# Where the version of the limited API makes no difference.
FEW_APIS = {name: APIS[name] for name in ('full API', 'limited API 3.9')}
# The ways besides: what the compiler is told more.
OFF = ['-DREFMAP_NDEBUG']
OPTIMISED = ['-O2', '-DNDEBUG']

LOADER = r'''
import importlib.machinery, importlib.util, sys
path = sys.argv[1]
loader = importlib.machinery.ExtensionFileLoader('debug_ext', path)
spec = importlib.util.spec_from_loader('debug_ext', loader)
ext = importlib.util.module_from_spec(spec)
loader.exec_module(ext)
victim = [1]
def say(text):
    print(text, file=sys.stderr, flush=True)
'''

USE = LOADER + r'''
assert ext.plain(victim) is None
say('-- scopes')
before = sys.getrefcount(victim)
for how in 0, 1:
    ext.scope(victim, how, 2)
try:
    ext.scope(victim, 2, 2)
except KeyError as exc:
    assert exc.args == ('mine',), exc
assert sys.getrefcount(victim) == before + 6
say('-- no change')
ext.scope(victim, 1, 0)
say('-- expected')
ext.expect(victim, 3, 3)
say('-- not expected')
ext.expect(victim, 2, 3)
say('-- thrown')
ext.thrown(victim)
say('-- no GIL')
ext.no_gil(victim)
say('-- end')
if hasattr(sys, 'refmap_info'):
    info = sys.refmap_info()
    assert info.mapped + info.unattributed == info.total, info
'''


def compilers():
    """{name of a compiler: (its command, language)}."""
    found = {}
    for name, language in [(sysconfig.get_config_var('CC'), 'c'),
                           (sysconfig.get_config_var('CXX'), 'c++'),
                           ('gcc', 'c'), ('g++', 'c++'), ('clang', 'c'),
                           ('clang++', 'c++')]:
        command = (name or '').split()
        if command and shutil.which(command[0]):
            found[command[0]] = command, language
    return found


def run(command, **kwargs):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, **kwargs)


@unittest.skipUnless(compilers(), 'there is no C compiler')
@support.requires_subprocess()
class HeaderTestCase(MapTestCase):

    maxDiff = None

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.source = os.path.join(self.directory, 'debug_ext.c')
        with open(self.source, 'w', encoding='utf-8') as file:
            file.write(SOURCE)

    def build(self, command, language, *options, include=None):
        """Compile the extension strictly; return its path."""
        paths = include or [sysconfig.get_path('include'),
                            sysconfig.get_config_h_filename().rpartition('/')[0]]
        path = os.path.join(self.directory,
                            f'debug_ext{len(os.listdir(self.directory))}.so')
        # CPython's own headers are not compiled with -pedantic.
        done = run([*command, *LANGUAGES[language], '-shared', '-fPIC', *STRICT,
                    *options, *(f'-isystem{path}' for path in paths),
                    '-I' + self.header_directory(), self.source, '-o', path])
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        return path

    def header_directory(self):
        """A directory with nothing but a copy of the header, as in an extension."""
        directory = os.path.join(self.directory, 'own')
        if not os.path.exists(directory):
            os.mkdir(directory)
            shutil.copy(os.path.join(sysconfig.get_path('include'),
                                     'refmap_debug.h'), directory)
        return directory

    def use(self, path, executable=sys.executable, script=USE):
        """Run the script; return what it printed, by its parts."""
        done = run([executable, '-E', '-s', '-c', script, path])
        self.assertEqual((done.returncode, done.stdout), (0, ''), done.stderr)
        parts = re.split(r'^(-- .*)\n', done.stderr, flags=re.M)
        return dict(zip(['-- plain', *parts[1::2]], parts[::2]))

    def line_of(self, text, nth=0):
        lines = [number for number, line in enumerate(SOURCE.split('\n'), 1)
                 if text in line]
        return lines[nth]

    def assert_silent(self, parts):
        self.assertEqual(set(parts.values()), {''})

    def assert_speaks(self, parts, language):
        self.check_values(parts['-- plain'])
        self.check_scopes(parts)
        thrown = ('' if language == 'c' else
                  f'{self.source}:{self.line_of("REFMAP_SCOPE(", 1)}: scope thrown: '
                  f'+1 refs\n')
        self.assertEqual(parts['-- thrown'][:len(thrown) or None], thrown)

    def check_values(self, text):
        where = re.escape(self.source)
        lines = text.splitlines()
        head = f'{where}:{self.line_of("MARKER();")}:'
        self.assertRegex(lines[0], f'^{head}$')
        self.assertRegex(lines[1], rf'^{where}:\d+: \d{{4,}} refs$')
        for line, expected in zip(lines[2:], [
                r'op = 0x\w+ \(list\), [2-4] references',
                r'op = 0x\w+ \(list\), [2-4] references',
                r'.* = 0x\w+ \(NoneType\), immortal',
                r'.* = 0x\w+ \(type\), immortal',
                r'nothing = NULL',
                r'\(PyObject \*\)memory = 0x\w+, no living object that the map knows',
                r'\(void \*\)16 = 0x10, no living object that the map knows',
                'text = "text"', 'none = NULL', 'number = -1',
                'number = 0xffffffff', 'byte = 0xff', 'size = 42',
                'big = 1099511627776', 'big = 0x10000000000', 'half = 0.5',
                'quarter = 0.25', r'half = 0x1p-1', "'a' = 97", '1 == 1 = 1'],
                strict=True):
            self.assertRegex(line, rf'^{where}:\d+: {expected}$')

    def check_scopes(self, parts):
        where = f'{self.source}:{self.line_of("REFMAP_SCOPE(")}:'
        lines = parts['-- scopes'].splitlines()
        begins = [i for i, line in enumerate(lines) if line.startswith(where)]
        self.assertEqual(len(begins), 3, parts['-- scopes'])
        for begin, change in zip(begins, (2, 2, None)):
            # A new exception changes more than the list does.
            if change is not None:
                self.assertEqual(lines[begin], f'{where} scope block: +2 refs')
            self.assertRegex(lines[begin + 1],
                             r'^ref change of living 0x\w+ \(.*\): \d')
        self.assertIn('(list): 2,', parts['-- scopes'])
        self.assertEqual(parts['-- no change'],
                         f'{where} scope block: +0 refs\ntotal ref change 0\n')
        self.assertEqual(parts['-- expected'], '')
        where = f'{self.source}:{self.line_of("REFMAP_EXPECT(")}:'
        lines = parts['-- not expected'].splitlines()
        self.assertEqual(lines[0], f'{where} expected +2 refs, got +3')
        self.assertRegex(lines[1], r'^ref change of living 0x\w+ \(list\): 3,')
        self.assertEqual(lines[2:], ['ref change of type list: 3',
                                     'total ref change 3'])
        self.assertRegex(
            parts['-- no GIL'],
            r'^\S+ no snapshot: no memory, or not the GIL\n'
            r'\S+ op = 0x\w+, not looked at without the GIL\n\S+ \d+ refs\n$')


class DebugHeaderTest(HeaderTestCase):

    def test_every_way(self):
        for name, (command, language) in compilers().items():
            for api, options in APIS.items():
                with self.subTest(compiler=name, api=api):
                    path = self.build(command, language, *options)
                    self.assert_speaks(self.use(path), language)

    def test_optimised(self):
        for name, (command, language) in compilers().items():
            with self.subTest(compiler=name):
                path = self.build(command, language, *OPTIMISED)
                self.assert_speaks(self.use(path), language)

    def test_off(self):
        for name, (command, language) in compilers().items():
            for api, options in FEW_APIS.items():
                with self.subTest(compiler=name, api=api):
                    path = self.build(command, language, *options, *OFF)
                    self.assert_silent(self.use(path))
                    with open(path, 'rb') as file:
                        self.assertNotIn(b'RefMap', file.read())

    @unittest.skipUnless(shutil.which('clang'), 'there is no clang')
    def test_clang(self):
        # Said apart, so that a run without it is seen.
        self.assertIn('clang', compilers())

    def test_abort(self):
        [command] = [command for command, language in compilers().values()
                     if language == 'c'][:1]
        path = self.build(command, 'c', '-DREFMAP_ABORT')
        script = LOADER + ('from test import support\n'
                           'with support.SuppressCrashReport():\n'
                           '    ext.expect(victim, {}, 1)\n')
        done = run([sys.executable, '-E', '-s', '-c', script.format(1), path])
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        done = run([sys.executable, '-E', '-s', '-c', script.format(0), path])
        self.assertLess(done.returncode, 0)
        self.assertIn('expected +0 refs, got +1\n', done.stderr)

    def test_needs_python_h(self):
        with open(self.source, 'w', encoding='utf-8') as file:
            file.write('#include "refmap_debug.h"\n')
        for command, _ in compilers().values():
            done = run([*command, '-fsyntax-only', '-I' + self.header_directory(),
                        self.source])
            self.assertNotEqual(done.returncode, 0)
            self.assertIn('include Python.h before refmap_debug.h', done.stderr)


@unittest.skipUnless(STOCK, f'{STOCK_VARIABLE} names no stock interpreter')
class StockTest(HeaderTestCase):

    def test_built_here_loads_there(self):
        for name, (command, language) in compilers().items():
            for api, options in FEW_APIS.items():
                with self.subTest(compiler=name, api=api):
                    path = self.build(command, language, *options)
                    self.assert_silent(self.use(path, STOCK))

    def test_built_there(self):
        done = run([STOCK, '-c', 'import sysconfig; print(sysconfig.get_path("include"));'
                    'print(sysconfig.get_config_h_filename().rpartition("/")[0])'])
        include = done.stdout.split()
        for name, (command, language) in compilers().items():
            with self.subTest(compiler=name):
                path = self.build(command, language, include=include)
                for executable in STOCK, sys.executable:
                    self.assert_silent(self.use(path, executable))


if __name__ == '__main__':
    unittest.main()
