"""refmap.watch(), refmap.no_leaks(), refmap.unittest, and the filters."""

import asyncio
import gc
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest
from xml.etree import ElementTree

from test.support import import_helper
from test.test_refmap.helpers import MapTestCase, run_script

_testrefmap = import_helper.import_module('_testrefmap')

import refmap
import refmap.unittest
from refmap import filters

kept = []


class Plain:
    pass


class Other:
    pass


class Forget(MapTestCase):

    def setUp(self):
        kept.clear()
        self.addCleanup(kept.clear)


class WatchTests(Forget):

    def test_nothing(self):
        # The default clean-up makes some types of ctypes anew.
        for _ in range(2):
            with refmap.watch() as w:
                pass
            self.assertEqual(w.diff.total, 0, str(w.diff))
        for _ in range(2):
            with refmap.watch(cleanup=gc.collect) as w:
                pass
            self.assertFalse(w.diff, str(w.diff))
        self.assertEqual(w.diff.total, 0)
        self.assertEqual(str(w.diff), 'total ref change 0')

    def test_diff(self):
        gc.collect()
        with refmap.watch() as w:
            kept.append(Plain())
        diff = w.diff
        address = id(kept[0])
        self.assertIn((address, 'Plain', 0, 1), diff.living)
        self.assertEqual(diff.types['Plain'], 1)
        self.assertEqual(diff.total, sum(diff.types.values()))
        self.assertIn(f'ref change of living {address:#x} (Plain): 1,  0 -> 1',
                      str(diff))
        self.assertTrue(diff)
        with refmap.watch() as w:
            kept.clear()
        self.assertIn((address, 'Plain', 1), w.diff.died)

    def test_filters(self):
        def change(**options):
            with refmap.watch(**options) as w:
                kept.append((Plain(), Other(), ['a list']))
            return w.diff

        names = {'Plain', 'Other', 'list', 'tuple'}
        self.assertLessEqual(names, set(change().types))
        self.assertEqual(change(include='Plain').types, {'Plain': 1})
        self.assertEqual(change(include=['P*', 'Oth?r']).types,
                         {'Other': 1, 'Plain': 1})
        self.assertEqual(change(include=['P*', 'O*'], exclude='Plain').types,
                         {'Other': 1})
        self.assertNotIn('Plain', change(exclude='Plain').types)
        self.assertEqual(change(include='plain').types, {})

    def test_nested(self):
        with refmap.watch(include=['Plain', 'Other', 'Watch']) as outer:
            kept.append(Plain())
            with refmap.watch(include='Plain') as inner:
                kept.append(Plain())
            with refmap.watch(include='Plain') as another:
                kept.append(Other())
            inner.diff, another.diff
        self.assertEqual(inner.diff.types, {'Plain': 1})
        self.assertEqual(another.diff.types, {})
        self.assertEqual(outer.diff.types, {'Other': 1, 'Plain': 2})

    def test_limit(self):
        with refmap.watch(include='Plain', limit=2) as w:
            kept.extend(Plain() for _ in range(10))
        lines = str(w.diff).splitlines()
        self.assertEqual(len(lines), 5)
        self.assertEqual(lines[2], 'ref change of 8 more living (Plain): 8')
        self.assertEqual(lines[-1], 'total ref change 10')
        self.assertEqual(len(w.diff.living), 10)

    def test_exception(self):
        w = refmap.watch(include='Plain')
        with self.assertRaises(ZeroDivisionError):
            with w:
                kept.append(Plain())
                1 / 0
        self.assertEqual(w.diff.types, {'Plain': 1})

    def test_again(self):
        w = refmap.watch(include='Plain')
        for number in 1, 3:
            with w:
                kept.extend(Plain() for _ in range(number))
            self.assertEqual(w.diff.types, {'Plain': number})

    def test_not_over(self):
        with refmap.watch() as w:
            with self.assertRaisesRegex(RuntimeError, 'not over yet'):
                w.diff

    def test_arguments(self):
        with self.assertRaises(ValueError):
            refmap.watch(limit=-1)
        for bad in 3, [3], [b'list']:
            with self.assertRaises(TypeError):
                refmap.watch(include=bad)

    def test_cleanup(self):
        calls = []
        with refmap.watch(cleanup=lambda: calls.append(1)):
            self.assertEqual(len(calls), 1)
        self.assertEqual(len(calls), 2)
        with refmap.watch(include='Plain', cleanup=None) as w:
            kept.append(Plain())
        self.assertEqual(w.diff.types, {'Plain': 1})

    def test_hostile_name(self):
        with refmap.watch(include='hostile*') as w:
            kept.append(type('hostile\n::error::\x1b', (), {})())
        self.assertNotIn('\x1b', str(w.diff))
        self.assertEqual(len(str(w.diff).splitlines()), 3)


class LimitTests(Forget):
    """sys.refmap_diff(limit=N)."""

    def setUp(self):
        super().setUp()
        before = sys.refmap_snapshot()
        kept.extend([Plain() for _ in range(5)] + [Other() for _ in range(3)])
        _testrefmap.leak_reference(kept[2])
        self.addCleanup(_testrefmap.release, id(kept[2]))
        self.snapshots = before, sys.refmap_snapshot()

    def lines(self, limit):
        text = str(sys.refmap_diff(*self.snapshots, file=None, limit=limit))
        return [line for line in text.splitlines()
                if re.search(r'living.*\((Plain|Other)\)', line)]

    def test_limit(self):
        self.assertEqual(len(self.lines(None)), 8)
        self.assertEqual(len(self.lines(5)), 8)
        lines = self.lines(1)
        # The largest change first.
        self.assertIn(f'{id(kept[2]):#x} (Plain): 2,  0 -> 2', lines[0])
        self.assertEqual(lines[2:], [
            'ref change of 2 more living (Other): 2',
            'ref change of 4 more living (Plain): 4'])
        self.assertEqual(self.lines(0), [
            'ref change of 5 more living (Plain): 6',
            'ref change of 3 more living (Other): 3'])

    def test_died(self):
        kept.clear()
        diff = sys.refmap_diff(self.snapshots[1], file=None, limit=1)
        self.assertIn('ref change of 2 more died (Other): -2\n', str(diff))

    def test_attributes_have_all(self):
        diff = sys.refmap_diff(*self.snapshots, file=None, limit=0)
        self.assertEqual(len([r for r in diff.living if r[1] == 'Plain']), 5)
        self.assert_adds_up(diff)

    def test_adds_up(self):
        for limit in None, 0, 1, 3, 100:
            text = str(sys.refmap_diff(*self.snapshots, file=None, limit=limit))
            total = int(text.rpartition(' ')[2])
            changes = re.findall(
                r'^ref change of (?:\d+ more )?(?:living|died|unattributed)'
                r'[^:]*: (-?\d+)', text, re.M)
            self.assertEqual(sum(map(int, changes)), total, text)

    def test_arguments(self):
        with self.assertRaisesRegex(ValueError, 'must not be negative'):
            sys.refmap_diff(*self.snapshots, file=None, limit=-1)
        for bad in 1.5, '3':
            with self.assertRaises(TypeError):
                sys.refmap_diff(*self.snapshots, file=None, limit=bad)
        sys.refmap_diff(*self.snapshots, file=None, limit=1 << 80)

    def test_invisible(self):
        limit = 100_000
        sys.refmap_snapshot()
        diff = sys.refmap_diff(file=None, limit=limit)
        self.assertEqual((diff.living, diff.died), ([], []))


def leak():
    kept.append(Plain())


def clean(*args, **kwargs):
    return args, kwargs


class NoLeaksTests(Forget):

    def test_clean(self):
        calls = []

        @refmap.no_leaks(warmups=2, runs=3)
        def function(first, *, second):
            """Doc."""
            calls.append(0)
            calls.pop() if len(calls) > 1 else None
            return first, second

        self.assertEqual(function(1, second=2), (1, 2))
        self.assertEqual((function.__name__, function.__doc__),
                         ('function', 'Doc.'))

    def test_number_of_calls(self):
        calls = [0]

        @refmap.no_leaks(warmups=2, runs=4)
        def function():
            calls[0] += 1

        function()
        self.assertEqual(calls, [6])

    def test_leak(self):
        with self.assertRaisesRegex(refmap.LeakError, 'Plain: 1 a run') as caught:
            refmap.no_leaks(leak)()
        self.assertIsInstance(caught.exception, AssertionError)
        result = caught.exception.result
        self.assertEqual(result.verdict, 'leak')
        self.assertEqual(result.findings['warmups'], 3)

    def test_filters(self):
        refmap.no_leaks(exclude=['Plain', 'type'])(leak)()
        refmap.no_leaks(include='Other*')(leak)()
        with self.assertRaises(refmap.LeakError):
            refmap.no_leaks(include='P*')(leak)()

    def test_methods(self):
        class Class:
            @refmap.no_leaks
            def method(self):
                return self

            @classmethod
            @refmap.no_leaks
            def of_class(cls):
                return cls

            @staticmethod
            @refmap.no_leaks
            def static(value):
                kept.append(Plain())

        instance = Class()
        self.assertIs(instance.method(), instance)
        self.assertIs(Class.of_class(), Class)
        with self.assertRaises(refmap.LeakError):
            Class.static(1)

    def test_async(self):
        @refmap.no_leaks
        async def good(value):
            await asyncio.sleep(0)
            return value

        @refmap.no_leaks
        async def bad():
            await asyncio.sleep(0)
            kept.append(Plain())

        async def both():
            self.assertEqual(await good(3), 3)
            with self.assertRaisesRegex(refmap.LeakError, 'Plain: 1 a run'):
                await bad()

        asyncio.run(both())
        asyncio.set_event_loop_policy(None)

    def test_nested(self):
        @refmap.no_leaks(warmups=1, runs=2)
        def inner():
            return clean(1)

        @refmap.no_leaks(warmups=1, runs=2)
        def outer():
            return inner()

        self.assertEqual(outer(), ((1,), {}))

    def test_exception(self):
        @refmap.no_leaks
        def function():
            raise KeyError('passed on')

        with self.assertRaises(KeyError):
            function()

    def test_arguments(self):
        for options in {'runs': 0}, {'warmups': 0}, {'warmups': -1}, \
                {'runs': 10_001}:
            with self.assertRaises(ValueError):
                refmap.no_leaks(**options)
        with self.assertRaisesRegex(TypeError, 'below @classmethod'):
            refmap.no_leaks(classmethod(leak))
        with self.assertRaisesRegex(TypeError, 'generator'):
            @refmap.no_leaks
            def generator():
                yield


class UnittestTests(Forget):
    """Test cases within test cases: only these are looked at."""

    def run_case(self, cls, name='test'):
        result = unittest.TestResult()
        cls(name).run(result)
        return result

    def test_leak(self):
        class Test(refmap.unittest.TestCase):
            def test(self):
                leak()

        result = self.run_case(Test)
        self.assertEqual((result.testsRun, len(result.failures)), (1, 1))
        self.assertIn('Plain: 1 a run', result.failures[0][1])

    def test_clean(self):
        downs = [0]

        class Test(refmap.unittest.TestCase):
            refmap_options = {'warmups': 1, 'runs': 2}

            def setUp(self):
                self.items = [Plain()]
                self.addCleanup(self.items.clear)

            def tearDown(self):
                downs[0] += 1

            def test(self):
                self.assertEqual(len(self.items), 1)

        result = self.run_case(Test)
        self.assertTrue(result.wasSuccessful(), result.failures)
        self.assertEqual(downs, [3])

    def test_failures_are_not_hunted(self):
        calls = []

        class Test(refmap.unittest.TestCase):
            def test(self):
                calls.append(1)
                self.fail('this one')

            def test_skip(self):
                calls.append(1)
                self.skipTest('why')

            @unittest.expectedFailure
            def test_expected(self):
                calls.append(1)
                self.fail()

        self.assertIn('this one', self.run_case(Test).failures[0][1])
        self.assertEqual(len(self.run_case(Test, 'test_skip').skipped), 1)
        self.assertEqual(
            len(self.run_case(Test, 'test_expected').expectedFailures), 1)
        self.assertEqual(len(calls), 3)

    def test_not_repeatable(self):
        calls = []

        class Test(refmap.unittest.TestCase):
            def test(self):
                calls.append(1)
                self.assertEqual(len(calls), 1)

        self.assertTrue(self.run_case(Test).wasSuccessful())
        self.assertEqual(len(calls), 2)

    def test_options(self):
        class Test(refmap.unittest.TestCase):
            refmap_options = {'exclude': ('Plain', 'type')}

            def test(self):
                leak()

        self.assertTrue(self.run_case(Test).wasSuccessful())
        Test.refmap_options, Test.refmap_skip = {}, 'why'
        self.assertTrue(self.run_case(Test).wasSuccessful())

    def test_decorator(self):
        @refmap.unittest.hunted(warmups=1, runs=2)
        class Test(unittest.TestCase):
            def test(self):
                leak()

        self.assertEqual(len(self.run_case(Test).failures), 1)
        self.assertEqual(Test.__name__, 'Test')
        with self.assertRaises(TypeError):
            refmap.unittest.hunted(Plain)
        with self.assertRaises(TypeError):
            refmap.unittest.hunted(nothing=3)

    def test_async_case(self):
        class Test(refmap.unittest.Mixin, unittest.IsolatedAsyncioTestCase):
            async def test(self):
                await asyncio.sleep(0)
                leak()

            async def test_clean(self):
                await asyncio.sleep(0)

        self.addCleanup(asyncio.set_event_loop_policy, None)
        self.assertEqual(len(self.run_case(Test).failures), 1)
        self.assertTrue(self.run_case(Test, 'test_clean').wasSuccessful())

    def test_without_result(self):
        class Test(refmap.unittest.TestCase):
            def test(self):
                leak()

        self.assertEqual(len(Test('test').run().failures), 1)

    def test_assert_no_leaks(self):
        refmap.unittest.assertNoLeaks(clean, 1, 2)
        self.assertEqual(refmap.unittest.assertNoLeaks(clean, 1), ((1,), {}))
        with self.assertRaises(AssertionError):
            refmap.unittest.assertNoLeaks(leak)
        refmap.unittest.assertNoLeaks(leak, exclude=['Plain', 'type'])

        class Test(refmap.unittest.Mixin, unittest.TestCase):
            refmap_skip = 'only what it says'

            def test(self):
                self.assertNoLeaks(clean, 1)
                with self.assertRaises(refmap.LeakError):
                    self.assertNoLeaks(leak, warmups=1, runs=2)

        self.assertTrue(self.run_case(Test).wasSuccessful())

    def test_name_shadows_nothing(self):
        self.assertNotEqual(refmap.unittest, unittest)
        out, _ = run_script('''
            import refmap.unittest, unittest
            print(unittest.TestCase.__module__)
            ''')
        self.assertEqual(out, 'unittest.case\n')


class CommandTests(unittest.TestCase):
    """python -m refmap.unittest"""

    TESTS = '''
        import unittest, _testrefmap
        class Test(unittest.TestCase):
            def test_clean(self):
                pass
            def test_leaks(self):
                _testrefmap.leak_reference(['leaked'])
            def test_fails(self):
                self.fail('\\x1b[31m')
            def test_skipped(self):
                self.skipTest('why')
    '''

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = temporary.name
        with open(os.path.join(self.path, 'test_it.py'), 'w') as file:
            file.write(textwrap.dedent(self.TESTS))

    def run_command(self, *args):
        return subprocess.run([sys.executable, '-m', 'refmap.unittest', *args],
                              cwd=self.path, encoding='utf-8',
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def test_junit(self):
        done = self.run_command('-R', '1:3', '--junit', 'out.xml', 'test_it')
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('FAILED (failures=2, skipped=1)', done.stderr)
        self.assertIn('list: 1 a run', done.stderr)
        suite = ElementTree.parse(os.path.join(self.path, 'out.xml')).getroot()[0]
        self.assertEqual([suite.get(name) for name in
                          ('tests', 'failures', 'errors', 'skipped')],
                         ['4', '2', '0', '1'])
        texts = [failure.text for failure in suite.iter('failure')]
        self.assertTrue(any('leaked in every run' in text for text in texts))

    def test_exclude(self):
        done = self.run_command('-R', '1:3', '--exclude', 'list',
                                'test_it.Test.test_leaks')
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_bad_usage(self):
        for args in (['-R', '0:3'], ['-R', 'x'],
                     ['--junit', '/nonexistent/out.xml']):
            done = self.run_command(*args, 'test_it')
            self.assertEqual(done.returncode, 2)
            self.assertNotIn('Traceback', done.stderr)

    @unittest.skipUnless(os.path.exists('/dev/full'), 'needs /dev/full')
    def test_full_disk(self):
        done = self.run_command('--junit', '/dev/full',
                                'test_it.Test.test_clean')
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn('the results cannot be written', done.stderr)


class FilterTests(unittest.TestCase):
    """Literal findings; runs in any interpreter."""

    def test_verdict(self):
        findings = {'types': [{'type': 'list', 'pattern': 'every run'},
                              {'type': 'dict', 'pattern': 'some runs'}],
                    'freed': []}
        filters.Filter(exclude='list').apply(findings)
        self.assertEqual(findings['verdict'], 'suspicious')
        filters.Filter(include=['x']).apply(findings)
        self.assertEqual(findings['verdict'], 'clean')
        self.assertEqual(findings['types'][0]['suppressed'], filters.EXCLUDED)

    def test_patterns(self):
        chosen = filters.Filter(include=['a*', 'b'], exclude='ab*')
        self.assertEqual([name for name in ('a', 'ab', 'abc', 'b', 'A')
                          if chosen.keeps(name)], ['a', 'b'])


class LastWordsTests(unittest.TestCase):
    """sys._refmap_last_words()."""

    def crash(self, script):
        done = subprocess.run([sys.executable, '-c', textwrap.dedent(script)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done.returncode, done.stderr.decode()

    def test_signals(self):
        for name in 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT':
            code, err = self.crash(f'''
                import os, signal, sys
                sys._refmap_last_words(b'old')
                sys._refmap_last_words(b'the last words\\n')
                os.kill(os.getpid(), signal.{name})
                ''')
            import signal
            self.assertEqual(code, -getattr(signal, name))
            self.assertEqual(err, 'the last words\n')

    def test_faulthandler(self):
        # Before and after, on and off again.
        for script in ('faulthandler.enable(); say(b"words\\n")',
                       'say(b"words\\n"); faulthandler.enable()',
                       'say(b"words\\n"); faulthandler.enable(); say(None);'
                       'say(b"words\\n")',
                       'faulthandler.enable(); say(b"words\\n");'
                       'faulthandler.disable(); faulthandler.enable();'
                       'say(None); say(b"words\\n")'):
            code, err = self.crash(f'''
                import faulthandler, sys
                say = sys._refmap_last_words
                {script}
                faulthandler._sigsegv()
                ''')
            self.assertEqual(code, -11, script)
            self.assertEqual(err.count('words'), 1, (script, err))
            self.assertIn('Fatal Python error', err)

    def test_forgotten(self):
        code, err = self.crash('''
            import os, sys
            sys._refmap_last_words(b'words')
            sys._refmap_last_words(None)
            sys._refmap_last_words(None)
            os.abort()
            ''')
        self.assertEqual((code, err), (-6, ''))

    def test_child(self):
        code, err = self.crash('''
            import os, sys
            sys._refmap_last_words(b'words\\n')
            pid = os.fork()
            if not pid:
                os.abort()
            os.waitpid(pid, 0)
            ''')
        self.assertEqual((code, err), (0, ''))

    def test_closed(self):
        code, _ = self.crash('''
            import os, sys
            sys._refmap_last_words(b'words', 999)
            os.abort()
            ''')
        self.assertEqual(code, -6)

    def test_arguments(self):
        for args in (), ('text',), (3,), (b'', 'x'):
            with self.assertRaises(TypeError):
                sys._refmap_last_words(*args)

    def test_hunt(self):
        with tempfile.NamedTemporaryFile('w', suffix='.py') as file:
            file.write('import os\ntry: os.n += 1\nexcept AttributeError: '
                       'os.n = 1\nif os.n == 3: os.abort()\n')
            file.flush()
            done = subprocess.run(
                [sys.executable, '-m', 'refmap', 'hunt', '-q', file.name],
                stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, -6)
        self.assertIn(b'refmap: the process died in run 3 of 6 of ',
                      done.stderr)
        self.assertIn(b'py-refmap-diff', done.stderr)


if __name__ == '__main__':
    unittest.main()
