"""This interpreter is what its ABI says, for binaries and for the library.

What is built for it runs in a stock one of its kind, and back. The environment
variable STOCK_VARIABLE names the executable of a stock CPython that is a debug
build if this one is. Without it only what concerns this interpreter is tested.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import unittest

from test import pythoninfo, support
from test.libregrtest import utils
from test.support.script_helper import assert_python_ok

STOCK_VARIABLE = ('REFMAP_STOCK_DEBUG' if 'd' in sys.abiflags
                  else 'REFMAP_STOCK_RELEASE')
STOCK = os.environ.get(STOCK_VARIABLE)

SOURCE = r'''
#include "Python.h"
#ifdef LATE_CORE
/* As Cython's generated code does. */
#  undef NDEBUG
#  define Py_BUILD_CORE 1
#  include "internal/pycore_frame.h"
#  include "internal/pycore_object.h"
#endif

static PyObject *
take(PyObject *Py_UNUSED(self), PyObject *op)
{
    Py_INCREF(op);
    Py_RETURN_NONE;
}

static PyObject *
give(PyObject *Py_UNUSED(self), PyObject *op)
{
    Py_DECREF(op);
    Py_RETURN_NONE;
}

#ifndef Py_LIMITED_API
static PyObject *
give_too_much(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(op))
{
    PyObject *list = PyList_New(0);
    Py_SET_REFCNT(list, 0);
    Py_DECREF(list);    // GIVE
    Py_RETURN_NONE;
}
#endif

/* Every way to count in the public API, and deaths of objects and of what they
   hold. */
static PyObject *
churn(PyObject *Py_UNUSED(self), PyObject *op)
{
    int i;
    for (i = 0; i < 1000; i++) {
        PyObject *list = PyList_New(0);
        PyObject *tuple = PyTuple_Pack(2, op, Py_None);
        if (list == NULL || tuple == NULL || PyList_Append(list, op) < 0) {
            Py_XDECREF(list);
            Py_XDECREF(tuple);
            return NULL;
        }
        Py_INCREF(op);
        Py_XINCREF(op);
        Py_INCREF(Py_None);
        Py_DECREF(Py_None);
        Py_XDECREF(op);
        Py_DECREF(op);
        Py_XINCREF((PyObject *)NULL);
        Py_XDECREF((PyObject *)NULL);
#if !defined(Py_LIMITED_API) || Py_LIMITED_API+0 >= 0x030a0000
        Py_DECREF(Py_NewRef(op));
        Py_XDECREF(Py_XNewRef(op));
#endif
#ifndef Py_LIMITED_API
        Py_SETREF(tuple, Py_NewRef(op));
        Py_XSETREF(tuple, PyFloat_FromDouble(i));
#endif
        Py_CLEAR(tuple);
        Py_DECREF(list);
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"take", take, METH_O, NULL},
    {"give", give, METH_O, NULL},
    {"churn", churn, METH_O, NULL},
#ifndef Py_LIMITED_API
    {"give_too_much", give_too_much, METH_O, NULL},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "abi_ext", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_abi_ext(void)
{
    return PyModule_Create(&module);
}
'''

# How an extension may be built: the compiler's language and options.
WAYS = {
    'plain': ('c', ['-Wall', '-Wextra', '-Wredundant-decls', '-Werror']),
    'optimised': ('c', ['-O2', '-DNDEBUG']),
    'C++': ('c++', ['-O1', '-Wall', '-Wextra', '-Werror']),
    'limited API 3.9': ('c', ['-DPy_LIMITED_API=0x03090000']),
    'limited API 3.12': ('c', ['-DPy_LIMITED_API=0x030c0000']),
    'limited API 3.9, C++': ('c++', ['-DPy_LIMITED_API=0x03090000']),
    'core headers': ('c', ['-DLATE_CORE', '-O1']),
}

LOADER = r'''
import importlib.machinery, importlib.util, sys
path = sys.argv[1]
loader = importlib.machinery.ExtensionFileLoader('abi_ext', path)
spec = importlib.util.spec_from_loader('abi_ext', loader)
ext = importlib.util.module_from_spec(spec)
loader.exec_module(ext)

class Victim:
    pass
'''

# In any interpreter.
USE = LOADER + r'''
victim = Victim()
before = sys.getrefcount(victim)
ext.churn(victim)
assert sys.getrefcount(victim) == before
ext.take(victim)
assert sys.getrefcount(victim) == before + 1
ext.give(victim)
assert sys.getrefcount(victim) == before
if hasattr(sys, 'refmap_info'):
    info = sys.refmap_info()
    assert info.mapped + info.unattributed == info.total, info
print('used')
'''

# In this one, with an extension that was built for it.
USE_EXACTLY = LOADER + r'''
def check(count):
    info = sys.refmap_info()
    assert info.mapped + info.unattributed == info.total, info
    assert info.unattributed == start.unattributed, (start, info)
    assert sys.refmap_verify() == [], sys.refmap_verify()
    assert sys.refmap_count(victim) == count, sys.refmap_count(victim)
    assert sys.getrefcount(victim) == count

victim = Victim()
before = sys.refmap_count(victim)
start = sys.refmap_info()
check(before)
ext.churn(victim)
check(before)
for i in range(1, 100):
    ext.take(victim)
    check(before + i)
for i in range(99):
    ext.give(victim)
check(before)

snapshot = sys.refmap_snapshot()
ext.take(victim)
diff = sys.refmap_diff(snapshot, file=None)
assert [r[3] - r[2] for r in diff.living if r[:2] == (id(victim), 'Victim')] == [1], diff
print('used')
'''

OVERDECREF = LOADER + r'''
from test import support
with support.SuppressCrashReport():
    ext.give_too_much(None)
'''

ASK = r'''
import json, sys, sysconfig
print(json.dumps({
    'include': [sysconfig.get_path('include'), sysconfig.get_path('platinclude'),
                sysconfig.get_config_h_filename().rpartition('/')[0]],
    'suffix': sysconfig.get_config_var('EXT_SUFFIX'),
    'abiflags': sys.abiflags,
    'version': sys.version_info[:2],
    'map': hasattr(sys, 'refmap_info'),
}))
'''


def compiler(language):
    """The command of a compiler as a list; None if there is none."""
    command = sysconfig.get_config_var('CXX' if language == 'c++' else 'CC')
    command = shlex.split(command or '')
    return command if command and shutil.which(command[0]) else None


def run(command, **kwargs):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **kwargs)


def symbols(path, which):
    """The names in the dynamic symbol table of a file: defined or undefined."""
    done = run(['nm', '-D', '-P', f'--{which}-only', path])
    if done.returncode:
        raise AssertionError(done.stdout)
    return {line.split()[0] for line in done.stdout.splitlines()}


class Interpreter:
    """One of the two, and the extensions that were built for it."""

    def __init__(self, executable, directory):
        self.executable = executable
        self.directory = directory
        done = self.run(ASK)
        if done.returncode:
            raise AssertionError(f'{executable}: {done.stdout}')
        self.facts = json.loads(done.stdout)

    def run(self, script, *args):
        return run([self.executable, '-E', '-s', '-c', script, *args])

    def build(self, way):
        """Compile the extension, once; return its path. None: no compiler."""
        language, options = WAYS[way]
        command = compiler(language)
        if command is None:
            return None
        name = re.sub(r'\W', '_', way) + self.facts['suffix']
        path = os.path.join(self.directory, name)
        if os.path.exists(path):
            return path
        source = os.path.join(self.directory, 'abi_ext.c')
        with open(source, 'w', encoding='utf-8') as file:
            file.write(SOURCE)
        include = self.facts['include']
        if '-DLATE_CORE' in options:
            include = include + [f'{directory}/internal{more}'
                                 for directory in include
                                 for more in ('', '/mimalloc')]
        done = run([*command, '-x', language, '-shared', '-fPIC', *options,
                    *(f'-I{directory}' for directory in include),
                    source, '-o', path])
        if done.returncode:
            raise AssertionError(f'{way}:\n{done.stdout}')
        return path


@unittest.skipUnless(compiler('c'), 'there is no C compiler')
@support.requires_subprocess()
class AbiTestCase(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.ours = cls.interpreter(sys.executable, directory.name, 'ours')
        cls.stock = STOCK and cls.interpreter(STOCK, directory.name, 'stock')

    @staticmethod
    def interpreter(executable, directory, name):
        directory = os.path.join(directory, name)
        os.mkdir(directory)
        return Interpreter(executable, directory)

    def each_way(self, interpreter, test):
        """Call test with each extension of an interpreter, in a subtest."""
        for way, (language, _) in WAYS.items():
            with self.subTest(way):
                path = interpreter.build(way)
                if path is None:
                    self.skipTest(f'there is no {language} compiler')
                test(path)

    def assert_used(self, interpreter, script, path):
        done = interpreter.run(script, path)
        self.assertEqual((done.returncode, done.stdout), (0, 'used\n'))

    def assert_overdecref_is_told(self, interpreter, path):
        done = interpreter.run(OVERDECREF, path)
        self.assertNotEqual(done.returncode, 0)
        line = 1 + SOURCE[:SOURCE.index('// GIVE')].count('\n')
        self.assertIn(f'abi_ext.c:{line}: _Py_NegativeRefcount: Assertion failed: '
                      f'object has negative ref count', done.stdout)


class OwnTest(AbiTestCase):

    def test_counted_exactly(self):
        self.each_way(self.ours,
                      lambda path: self.assert_used(self.ours, USE_EXACTLY, path))

    @unittest.skipUnless(shutil.which('nm'), 'there is no nm')
    def test_no_symbols_of_ours(self):
        def test(path):
            needed = symbols(path, 'undefined')
            self.assertIn('PyModule_Create2', needed)
            self.assertEqual([name for name in needed if 'refmap' in name.lower()],
                             [])
        self.each_way(self.ours, test)

    def test_overdecref_names_the_line(self):
        self.assert_overdecref_is_told(self.ours, self.ours.build('plain'))


@unittest.skipUnless(STOCK, f'{STOCK_VARIABLE} names no stock interpreter')
class StockTest(AbiTestCase):

    def test_same_kind(self):
        # The others say little otherwise.
        self.assertFalse(self.stock.facts['map'])
        for fact in 'abiflags', 'suffix', 'version':
            self.assertEqual(self.stock.facts[fact], self.ours.facts[fact])

    @unittest.skipUnless(shutil.which('nm'), 'there is no nm')
    def test_stock_exports_what_ours_needs(self):
        exported = symbols(STOCK, 'defined')
        self.assertIn('PyModule_Create2', exported)

        def test(path):
            needed = {name for name in symbols(path, 'undefined')
                      if re.match('_?Py', name)}
            self.assertEqual(needed - exported, set())
        self.each_way(self.ours, test)

    def test_ours_runs_in_stock(self):
        self.each_way(self.ours,
                      lambda path: self.assert_used(self.stock, USE, path))

    def test_stock_runs_in_ours(self):
        self.each_way(self.stock,
                      lambda path: self.assert_used(self.ours, USE, path))

    def test_overdecref_names_the_line(self):
        self.assert_overdecref_is_told(self.stock, self.ours.build('plain'))


class DebugTest(unittest.TestCase):
    """A debug build is one --with-pydebug, not one that counts references."""

    DEBUG = bool(sysconfig.get_config_var('Py_DEBUG'))

    def test_support(self):
        self.assertIs(support.Py_DEBUG, self.DEBUG)
        self.assertEqual(self.DEBUG, 'd' in sys.abiflags)

    def test_build_info(self):
        info = utils.get_build_info()
        self.assertEqual('debug' in info, self.DEBUG, info)
        self.assertEqual('release' in info, not self.DEBUG, info)
        self.assertNotIn('without_assert', info)

    def test_pythoninfo(self):
        found = {}
        pythoninfo.collect_sys(found.__setitem__)
        self.assertEqual(found['build.Py_DEBUG'],
                         f'{"Yes" if self.DEBUG else "No"} '
                         f'(sys.gettotalrefcount() present)')

    def test_pyio(self):
        import _pyio
        self.assertEqual(_pyio._CHECK_ERRORS, self.DEBUG or sys.flags.dev_mode)

    def test_warnings(self):
        # In C and in Python: a release build ignores some, a debug build none.
        script = ('import sys; {}; import warnings; '
                  'print(any(f[0] == "ignore" for f in warnings.filters))')
        for first in 'pass', 'sys.modules["_warnings"] = None':
            with self.subTest(first):
                _, out, _ = assert_python_ok('-S', '-c', script.format(first))
                self.assertEqual(out.strip().decode(), str(not self.DEBUG))

    @unittest.skipUnless(sysconfig.is_python_build(), 'needs the build directory')
    def test_build_directory(self):
        path = os.path.join(sysconfig.get_config_var('abs_builddir'),
                            'pybuilddir.txt')
        with open(path, encoding='utf-8') as file:
            self.assertEqual(file.read().endswith('-pydebug'), self.DEBUG)


if __name__ == '__main__':
    unittest.main()
