"""Tests of what judge-hooks takes for a hook, and of what it says.

usage: python3 Tools/refmap/tests/test_judge.py
"""

import importlib.machinery
import importlib.util
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
SCRIPT = Path(__file__).with_name('judge-hooks')
loader = importlib.machinery.SourceFileLoader('judge_hooks', str(SCRIPT))
judge_hooks = importlib.util.module_from_spec(
    importlib.util.spec_from_loader('judge_hooks', loader))
loader.exec_module(judge_hooks)

STOCK = '''\
#include <a.h>
static int f(PyObject *op)
{
    _Py_IncRefTotal(state());
    first();
#ifdef Py_DEBUG
    other();
#endif
    return 0;
}
'''

PATCHED = '''\
#include <a.h>
#include <refmap.h>
#define HOOK(op) \\
    _PyRefMap_Add(op, 1)
void _PyRefMap_Declared(void);
static int f(PyObject *op)
{
    _Py_IncRefTotal(state(), op);
    first();
#if defined(Py_DEBUG) || defined(MAP)
    other();
#endif
    // _PyRefMap_Comment(op)
    if (x < 0
        && _PyRefMap_Try(op,
                         g(1)) < 0)
        _PyRefMap_Last(op);
#ifdef MAP
    x = 1;
#else
    x = 2;
#endif
    return 0;
}
'''

HOOKS = [
    (2, 'take back: #include <refmap.h>'),
    (8, '_Py_IncRefTotal(state(), op)'),
    (10, 'take back: #if defined(Py_DEBUG) || defined(MAP)'),
    (15, '_PyRefMap_Try(op, g(1))'),
    (17, '_PyRefMap_Last(op)'),
]


class TreesTest(unittest.TestCase):
    """A file, stock and patched, and the hooks in it."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        for name, text in ('stock', STOCK), ('patched', PATCHED):
            place = Path(self.directory.name, name)
            place.mkdir()
            (place / 'a.c').write_text(text)
        self.hooks = list(judge_hooks.hooks_of_file(
            Path(self.directory.name, 'stock'), Path(self.directory.name, 'patched'),
            'a.c', lambda line: '0010'))


class HooksTest(TreesTest):

    def test_found(self):
        self.assertEqual([(hook.line, hook.text) for hook in self.hooks], HOOKS)

    def test_taken_out(self):
        without = {hook.text: hook.replacement for hook in self.hooks}
        for text, old, new in [
                (HOOKS[0][1], '#include <refmap.h>\n#define HOOK(op) \\\n'
                              '    _PyRefMap_Add(op, 1)\n'
                              'void _PyRefMap_Declared(void);\n', ''),
                (HOOKS[1][1], '_Py_IncRefTotal(state(), op)', '(void)0'),
                (HOOKS[2][1], '#if defined(Py_DEBUG) || defined(MAP)',
                              '#ifdef Py_DEBUG'),
                (HOOKS[4][1], '_PyRefMap_Last(op)', '(void)0')]:
            with self.subTest(text):
                self.assertEqual(without[text], PATCHED.replace(old, new))

    def test_expression_becomes_zero(self):
        self.assertIn('&& (__typeof__(_PyRefMap_Try(op,\n'
                      '                         g(1)))){0} < 0)\n',
                      self.hooks[3].replacement)

    def test_key(self):
        hook = self.hooks[0]
        self.assertEqual(hook.key, hook._replace(patch='0020').key)
        self.assertNotEqual(hook.key, hook._replace(replacement='').key)
        self.assertEqual(len({hook.key for hook in self.hooks}), len(HOOKS))


class Rehearsal(judge_hooks.Judge):
    """Builds nothing: a variant compiles what `compiles` says, and the tests of a
    variant miss the hook when `misses` says so."""

    compiles = {'debug', 'release'}
    misses = {'debug', 'release'}

    def run(self, words, log, seconds, cwd=None, **variables):
        text = (self.tree / 'a.c').read_text()
        if cwd is None:
            variant, *targets = words[2:]
            self.calls.append((variant, *targets))
            return int(bool(targets) and '#error' in text and variant in self.compiles)
        variant = cwd.name.partition('-')[2]
        if text == PATCHED or variant not in self.misses:
            return 0
        log.write_text('FAIL: test_a (test.T.test_a)\n')
        return 2


class JudgeTest(TreesTest):

    def rehearse(self, **changes):
        build = Path(self.directory.name)
        (build / 'patched').rename(build / 'src-3.13')
        self.judge = Rehearsal('3.13', build, ['test_a'])
        self.judge.calls = []
        vars(self.judge).update(changes)
        self.judge.baseline([(1, self.hooks[1])])
        del self.judge.calls[:]
        self.judge.judge(1, self.hooks[1])
        self.assertEqual((build / 'src-3.13/a.c').read_text(), PATCHED)
        # What was judged is found again by the next call.
        again = Rehearsal('3.13', build, ['test_a'])
        return again.results[again.key(self.hooks[1])]

    def test_noticed_in_debug(self):
        self.assertEqual(self.rehearse(), {'debug': ['test_a (test.T.test_a)']})
        self.assertEqual(self.judge.calls, [('debug', 'a.o'), ('debug',)])

    def test_noticed_in_release(self):
        self.assertEqual(self.rehearse(misses={'release'}),
                         {'debug': [], 'release': ['test_a (test.T.test_a)']})

    def test_compiled_in_release(self):
        self.assertEqual(self.rehearse(compiles={'release'}),
                         {'debug': None, 'release': ['test_a (test.T.test_a)']})

    def test_noticed_by_nobody(self):
        self.assertEqual(self.rehearse(misses=set()), {'debug': [], 'release': []})

    def test_tests_that_fail_anyway(self):
        (Path(self.directory.name) / 'patched/a.c').write_text(PATCHED + '\n')
        with self.assertRaisesRegex(SystemExit, 'with all hooks debug fails: test_a'):
            self.rehearse()


class ResultTest(unittest.TestCase):

    def test_failures(self):
        log = ('FAIL: test_a (test.test_dict.T.test_a) (n=1)\n'
               'FAIL: test_a (test.test_dict.T.test_a) (n=2)\n'
               'ERROR: test_b (test.test_dict.T.test_b)\n'
               '0:00:05 load avg: 1.0 [2/3/1] test_gc crashed (Exit code -6)\n'
               '0:00:06 load avg: 1.0 [3/3/1] test_str passed\n')
        self.assertEqual(judge_hooks.failures(log),
                         ['test_a (test.test_dict.T.test_a)',
                          'test_b (test.test_dict.T.test_b)',
                          'test_gc crashed (Exit code -6)'])

    def test_verdict(self):
        for result, missed, text in [
                ({'debug': ['a', 'b', 'c', 'd', 'e']}, True, 'debug: a, b, c and 2 more'),
                ({'debug': [], 'release': ['a']}, True, 'release: a'),
                ({'debug': None, 'release': ['a']}, True, 'release: a'),
                ({'debug': [], 'release': []}, False, '**nobody**'),
                ({'debug': None, 'release': []}, False, '**nobody**'),
                ({'debug': None, 'release': None}, True, 'not compiled in any variant')]:
            with self.subTest(result):
                self.assertIs(judge_hooks.is_missed(result), missed)
                self.assertEqual(judge_hooks.verdict(result), text)


if __name__ == '__main__':
    unittest.main()
