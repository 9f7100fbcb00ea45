"""python -m test -R on leaking test files, each in an interpreter of its own."""

import json
import os
import re
import subprocess
import sys
import textwrap
import unittest
import xml.etree.ElementTree as ET

import refmap
from test.support import import_helper, os_helper, script_helper

import_helper.import_module('_testrefmap')
if not refmap.available():
    raise unittest.SkipTest('needs an interpreter --with-refcount-map')

HEADER = '''\
import unittest
import _testrefmap

class Plain:
    pass

class Test(unittest.TestCase):
    def test_innocent(self):
        self.value = [Plain() for _ in range(10)]

'''

# A test file for each kind of leak: its body in class Test, or all of it.
LEAKS = {
    'one': '''
        def test_leak(self):
            _testrefmap.leak_reference(['leaked'])
        ''',
    'two_types': '''
        def test_leak(self):
            _testrefmap.leak_object()
            _testrefmap.leak_reference({})
        ''',
    'second_run': '''
        runs = []
        def test_leak(self):
            self.runs.append(None)
            if len(self.runs) % 2 == 0:
                _testrefmap.leak_reference({1})
            self.runs[:] = self.runs[-1:] * (2 - len(self.runs) % 2)
        ''',
    'old_object': '''
        old = Plain()
        def test_leak(self):
            _testrefmap.leak_reference(self.old)
        ''',
    'cache_fills': '''
        cache = {}
        def test_cache(self):
            # Full after the first run that is measured.
            if len(self.cache) < 4:
                self.cache[len(self.cache)] = Plain()
        ''',
    'cache_empties': '''
        cache = []
        def test_cache(self):
            if len(self.cache) == 2:
                self.cache.clear()
            else:
                self.cache.append(Plain())
        ''',
    'drift': '''
        old = Plain()
        for _ in range(20):
            _testrefmap.leak_reference(old)
        def test_drift(self):
            _testrefmap.over_decref(self.old)
        ''',
    'method': '''
        def test_a(self): pass
        def test_b(self): pass
        def test_c(self): pass
        def test_culprit(self):
            _testrefmap.leak_reference(bytearray(3))
        def test_d(self): pass
        def test_e(self): pass
        ''',
    'subinterpreter': '''
        def test_leak(self):
            import _interpreters
            ident = _interpreters.create('legacy')
            _interpreters.run_string(ident, "import ctypes\\n"
                "def leak(): pass\\n"
                "ctypes.pythonapi.Py_IncRef(ctypes.py_object(leak.__code__))")
            _interpreters.destroy(ident)
        ''',
    'thread': '''
        def test_leak(self):
            import threading
            thread = threading.Thread(
                target=lambda: _testrefmap.leak_reference({'thread'}))
            thread.start()
            thread.join()
        ''',
}


def write_test(directory, name, body):
    """Write the test file test_NAME.py; return its name without .py."""
    with open(os.path.join(directory, f'test_{name}.py'), 'w') as file:
        file.write(HEADER)
        file.write(textwrap.indent(textwrap.dedent(body), '    '))
    return f'test_{name}'


class RegrtestCase(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.directory = self.enterContext(os_helper.temp_dir())

    def path(self, name):
        return os.path.join(self.directory, name)

    def regrtest(self, *args, exitcode=0, counts='3:3'):
        """Run `python -m test -R` on test files in self.directory.

        Return its stdout and stderr as one text. Fail if the exit code is not
        `exitcode`.
        """
        command = [sys.executable, '-X', 'faulthandler', '-I', '-u',
                   '-m', 'test', '--testdir', self.directory, *args]
        if counts:
            command += ['-R', f'{counts}:{self.path("reflog")}']
        process = subprocess.run(
            command, text=True, encoding='utf-8', errors='backslashreplace',
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self.directory)
        self.assertEqual(process.returncode, exitcode, process.stdout)
        return process.stdout

    def hunt(self, kind, *args, **options):
        """Run one of LEAKS; return (output, findings)."""
        name = write_test(self.directory, kind, LEAKS[kind])
        output = self.regrtest('--refmap-json', self.path('json'), *args, name,
                               **options)
        [findings] = self.findings()
        self.assertEqual(findings['test'], name)
        return output, findings

    def findings(self):
        with open(self.path('json'), encoding='utf-8') as file:
            return [json.loads(line) for line in file]

    def types(self, findings):
        return {(f['type'], f['pattern']): f['refs'] for f in findings['types']}


class LeakTests(RegrtestCase):
    def test_one_a_run(self):
        output, findings = self.hunt('one', exitcode=2)
        self.assertIn('test_one leaked [1, 1, 1] references, sum=3', output)
        self.assertEqual(findings['verdict'], 'leak')
        self.assertEqual(findings['sums']['references'], [1, 1, 1])
        self.assertEqual(findings['total'], [1, 1, 1])
        self.assertEqual(self.types(findings), {('list', 'every run'): [1, 1, 1]})
        # Those of the last run are named unless other lists came with it.
        self.assertRegex(output, '\n'.join([
            r'refmap: test_one: leak \(3 runs after 3 warm-ups\)',
            r'  references by the sums: \[1, 1, 1\]',
            r'  memory blocks by the sums: \[\d, \d, \d\]',
            r'  references by the objects: \[1, 1, 1\] leaked, '
            r'\[1, 1, 1\] in all',
            r'  leaked in every run:',
            r'    list: 1 a run; new objects: 1 a run',
            r"      0x[0-9a-f]+: 0 -> 1, born in run 1, \d+ bytes: \['leaked'\]",
            r'          no container holds 1 reference',
            r'      0x[0-9a-f]+: 0 -> 1, born in run 2, .*',
            r'          no container holds 1 reference',
            r'(?:.*\n.*\n)?  test methods that leak on their own:',
            r'    test_one.Test.test_leak',
            r'      list: 1 a run; new objects: 1 a run',
        ]))

    def test_two_types(self):
        _, findings = self.hunt('two_types', exitcode=2)
        types = self.types(findings)
        self.assertEqual(types['_testrefmap.Plain', 'every run'], [1, 1, 1])
        self.assertEqual(types['dict', 'every run'], [1, 1, 1])
        # The class of the leaked object got a reference, too.
        self.assertEqual(types['type', 'every run'], [1, 1, 1])
        self.assertEqual([f['type'] for f in findings['types'][:2]],
                         ['_testrefmap.Plain', 'dict'])

    def test_every_second_run(self):
        output, findings = self.hunt('second_run', counts='3:4')
        self.assertIn('(this is fine)', output)
        self.assertEqual(findings['verdict'], 'suspicious')
        refs = self.types(findings)['set', 'some runs']
        self.assertIn(refs, ([1, 0, 1, 0], [0, 1, 0, 1]))
        self.assertIn('refmap: suspicious: test_second_run', output)

    def test_old_object(self):
        _, findings = self.hunt('old_object', exitcode=2)
        self.assertEqual(self.types(findings),
                         {('Plain', 'every run'): [1, 1, 1]})
        [record] = findings['types'][0]['objects']
        self.assertEqual(record['born'], 0)
        self.assertEqual(record['counts'][-1] - record['counts'][0], 3)

    def test_cache_that_fills(self):
        output, findings = self.hunt('cache_fills')
        self.assertEqual(findings['verdict'], 'clean')
        self.assertEqual(findings['types'], [])
        self.assertEqual(findings['once']['Plain'], 1)
        self.assertNotIn('refmap:', output)

    def test_cache_that_empties(self):
        _, findings = self.hunt('cache_empties', counts='3:6')
        self.assertEqual(findings['verdict'], 'clean')
        self.assertTrue(any(delta < 0 for delta in findings['total']))

    def test_negative_drift(self):
        _, findings = self.hunt('drift')
        self.assertEqual(findings['sums']['references'], [-1, -1, -1])
        self.assertEqual(findings['verdict'], 'suspicious')
        self.assertEqual(self.types(findings),
                         {('Plain', 'shrinking'): [-1, -1, -1]})

    def test_one_method(self):
        output, findings = self.hunt('method', exitcode=2)
        [method] = findings['methods']
        self.assertEqual(method['name'], 'test_method.Test.test_culprit')
        self.assertEqual([f['type'] for f in method['types']], ['bytearray'])
        self.assertIsNone(findings['methods_note'])
        self.assertIn('    test_method.Test.test_culprit\n', output)

    def test_subinterpreter(self):
        _, findings = self.hunt('subinterpreter', exitcode=2)
        types = self.types(findings)
        self.assertEqual(types['code', 'every run'], [1, 1, 1])
        [method] = findings['methods']
        self.assertEqual(method['name'],
                         'test_subinterpreter.Test.test_leak')

    def test_thread(self):
        _, findings = self.hunt('thread', exitcode=2)
        self.assertEqual(self.types(findings)['set', 'every run'], [1, 1, 1])
        self.assertIn("'thread'", findings['types'][0]['objects'][0]['repr'])


class OptionTests(RegrtestCase):
    def test_raw(self):
        output, findings = self.hunt('one', '--refmap-raw', exitcode=2)
        self.assertEqual(findings['raw'][-1], 'total ref change 1')
        self.assertIn('ref change of type list: 1', findings['raw'])
        self.assertRegex(output, r' ref change of living 0x[0-9a-f]+ \(list\): 1')

    def test_raw_has_nothing_of_the_runner(self):
        body = '''
            def test_nothing(self):
                self.skipTest('so that the result has something to keep')
            '''
        name = write_test(self.directory, 'nothing', body)
        self.regrtest('--refmap-raw', '--refmap-json', self.path('json'), name)
        [findings] = self.findings()
        self.assertEqual(findings['total'], [0, 0, 0])
        # Emptied caches of ABCs are all that comes and goes.
        names = {re.search(r'\((.*)\)', line)[1] for line in findings['raw']
                 if ' living ' in line or ' died ' in line}
        self.assertFalse(
            names & {'int', 'str', 'frame', 'tuple', 'unittest.TestResult',
                     'RegressionTestResult', 'TextTestResult'}, names)

    def test_many_references(self):
        # The runner keeps the large deltas that it computes.
        body = '''
            def test_many(self):
                for _ in range(2000):
                    _testrefmap.leak_object()
            '''
        name = write_test(self.directory, 'many', body)
        self.regrtest('--refmap-json', self.path('json'), name, exitcode=2)
        [findings] = self.findings()
        self.assertEqual(
            self.types(findings),
            {('_testrefmap.Plain', 'every run'): [2000, 2000, 2000],
             ('type', 'every run'): [2000, 2000, 2000]})
        [plain, _] = findings['types']
        self.assertEqual(len(plain['objects']), 20)
        self.assertEqual(plain['more'], 5980)

    def test_large_delta_of_the_last_warmup(self):
        # The runner stores it after the snapshot that the first run starts
        # from: its sums see integers of its own.
        body = '''
            runs = []
            def test_warm(self):
                self.runs.append(None)
                if len(self.runs) == 3:
                    for _ in range(500):
                        _testrefmap.leak_object()
            '''
        name = write_test(self.directory, 'warm', body)
        self.regrtest('--refmap-json', self.path('json'), name)
        [findings] = self.findings()
        self.assertGreater(findings['sums']['references'][0], 0)
        self.assertEqual(findings['total'], [0, 0, 0])
        self.assertEqual(findings['verdict'], 'clean')

    def test_no_bisect(self):
        output, findings = self.hunt('one', '--refmap-no-bisect', exitcode=2)
        self.assertNotIn('methods', findings)
        self.assertNotIn('test methods', output)

    def test_strict(self):
        output, findings = self.hunt('drift', '--refmap-strict', exitcode=2)
        self.assertEqual(findings['verdict'], 'suspicious')
        self.assertIn('test_drift failed (reference leak)', output)

    def test_suppress(self):
        with open(self.path('rules'), 'w') as file:
            file.write('list in test_one # known\n'
                       'dict in test_one # not needed\n')
        output, findings = self.hunt(
            'one', '--refmap-suppress', self.path('rules'))
        self.assertEqual(findings['verdict'], 'clean')
        self.assertEqual(findings['types'][0]['suppressed'], 'known')
        self.assertIn('-- suppressed: known', output)
        self.assertRegex(output, r'(?m)^refmap: suppressions that matched '
                                 r'nothing:\n    dict in test_one  # not needed$')

    def test_suppress_one_of_two(self):
        with open(self.path('rules'), 'w') as file:
            file.write('dict in test_two* # known\n')
        output, findings = self.hunt(
            'two_types', '--refmap-suppress', self.path('rules'), exitcode=2)
        self.assertEqual(findings['verdict'], 'leak')
        self.assertNotIn('matched nothing', output)
        [method] = findings['methods']
        self.assertNotIn('dict', [f['type'] for f in method['types']])

    def test_bad_rules(self):
        with open(self.path('rules'), 'w') as file:
            file.write('list in test_one\n')
        name = write_test(self.directory, 'one', LEAKS['one'])
        output = self.regrtest('--refmap-suppress', self.path('rules'), name,
                               exitcode=2)
        self.assertRegex(output, r'error: refmap: .*rules:1: .*says why')

    def test_options_need_a_hunt(self):
        output = self.regrtest('--refmap-strict', counts=None, exitcode=2)
        self.assertIn('need -R', output)

    def test_json_that_cannot_be_written(self):
        output = self.regrtest('--refmap-json', self.path('no/such/file'),
                               exitcode=2)
        self.assertIn('error: refmap: ', output)

    def test_verify(self):
        _, findings = self.hunt('one', '--refmap-verify', exitcode=2)
        self.assertEqual(findings['verdict'], 'leak')


class RegrtestOptionTests(RegrtestCase):
    """The report in company of regrtest's own options."""

    def test_workers(self):
        names = [write_test(self.directory, kind, LEAKS[kind])
                 for kind in ('one', 'method', 'drift', 'cache_fills')]
        output = self.regrtest('-j2', '--refmap-json', self.path('json'),
                               *names, exitcode=2)
        findings = {f['test']: f for f in self.findings()}
        self.assertEqual(set(findings), set(names))
        self.assertEqual({name: f['verdict'] for name, f in findings.items()},
                         {'test_one': 'leak', 'test_method': 'leak',
                          'test_drift': 'suspicious',
                          'test_cache_fills': 'clean'})
        self.assertIn('refmap: test_one: leak', output)
        self.assertIn('refmap: suspicious: test_drift', output)

    def test_rerun(self):
        name = write_test(self.directory, 'one', LEAKS['one'])
        output = self.regrtest('-w', '--refmap-json', self.path('json'), name,
                               exitcode=2)
        self.assertEqual([f['rerun'] for f in self.findings()], [False, True])
        self.assertEqual(output.count('refmap: test_one: leak'), 2)

    def test_junit(self):
        self.hunt('one', '--junit-xml', self.path('xml'), exitcode=2)
        root = ET.parse(self.path('xml')).getroot()
        texts = [element.text for element in root.iter('system-err')
                 if element.text]
        [text] = [text for text in texts if 'refmap: test_one: leak' in text]
        self.assertIn('list: 1 a run', text)
        self.assertIn('test_one.Test.test_leak', text)

    def test_junit_of_workers(self):
        self.hunt('one', '--junit-xml', self.path('xml'), '-j1', exitcode=2)
        with open(self.path('xml'), encoding='utf-8') as file:
            self.assertIn('refmap: test_one: leak', file.read())

    def test_quiet_and_verbose(self):
        for option in '-q', '-v', '-uall':
            with self.subTest(option=option):
                output, findings = self.hunt('one', option, exitcode=2)
                self.assertIn('refmap: test_one: leak', output)
                self.assertEqual(findings['total'], [1, 1, 1])

    def test_verbose3(self):
        # regrtest refuses -W with -R, unless there are workers.
        output, _ = self.hunt('one', '-W', '-j1', exitcode=2)
        self.assertIn('refmap: test_one: leak', output)

    def test_match(self):
        name = write_test(self.directory, 'method', LEAKS['method'])
        self.regrtest(name, '-m', 'test_[abc]')
        output = self.regrtest(name, '-m', 'test_[abc]*', exitcode=2)
        self.assertIn('test_method.Test.test_culprit', output)

    def test_bisect_cmd(self):
        name = write_test(self.directory, 'method', LEAKS['method'])
        process = subprocess.run(
            [sys.executable, '-I', '-m', 'test.bisect_cmd', '--max-iter', '40',
             '-o', self.path('bisect'), '-R', '1:2:', '--testdir',
             self.directory, name], cwd=self.directory,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(process.returncode, 0, process.stdout)
        with open(self.path('bisect')) as file:
            self.assertEqual(file.read(), 'test_method.Test.test_culprit\n')
        self.assertNotIn('test methods that leak', process.stdout)

    def test_a_failing_test(self):
        body = '''
            def test_fails(self):
                self.fail('expected')
            '''
        name = write_test(self.directory, 'fails', body)
        output = self.regrtest('--refmap-json', self.path('json'), name,
                               exitcode=2)
        self.assertNotIn('refmap: test_fails', output)
        self.assertEqual(self.findings(), [])

    def test_file_descriptors_only(self):
        body = '''
            def test_open(self):
                import os
                os.dup(0)
            '''
        name = write_test(self.directory, 'fds', body)
        output = self.regrtest('--refmap-json', self.path('json'), name,
                               exitcode=2)
        [findings] = self.findings()
        self.assertEqual(findings['verdict'], 'leak')
        self.assertEqual(findings['sums']['file descriptors'], [1, 1, 1])
        self.assertEqual(findings['types'], [])
        self.assertIn('file descriptors by the sums: [1, 1, 1]', output)
        self.assertNotIn('test methods', output)

    def test_module_and_class_fixtures(self):
        body = '''
            @classmethod
            def setUpClass(cls):
                cls.value = [1]
            def test_culprit(self):
                _testrefmap.leak_reference(bytearray(self.value))
            '''
        name = write_test(self.directory, 'fixtures', body)
        output = self.regrtest(name, exitcode=2)
        self.assertIn('test_fixtures.Test.test_culprit', output)

    def test_methods_that_leak_together_only(self):
        body = '''
            seen = []
            def test_a(self):
                self.seen.append('a')
            def test_b(self):
                if self.seen:
                    _testrefmap.leak_reference(set())
                self.seen.clear()
            '''
        name = write_test(self.directory, 'together', body)
        output = self.regrtest(name, exitcode=2)
        self.assertRegex(output, r'together only: 3 methods from .*test_a to '
                                 r'.*test_innocent')


class CommandLineTests(unittest.TestCase):
    """The command line `python -m refmap hunt`."""

    def hunt(self, *args):
        process = subprocess.run(
            [sys.executable, '-I', '-m', 'refmap', 'hunt', *args], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return process.returncode, process.stdout, process.stderr

    def script(self, text):
        return script_helper.make_script(
            self.enterContext(os_helper.temp_dir()), 'script', text)

    def test_clean(self):
        script = self.script('import sys; print(sys.argv[1:], __name__)')
        code, out, err = self.hunt('-R', '3:4', '--', script, 'a', '-b')
        self.assertEqual((code, out), (0, "['a', '-b'] __main__\n" * 7))
        self.assertIn('clean (4 runs after 3 warm-ups)', err)

    def test_quiet(self):
        code, out, err = self.hunt('-q', self.script('1'))
        self.assertEqual((code, out, err), (0, '', ''))

    def test_leak(self):
        script = self.script('import _testrefmap\n'
                             '_testrefmap.leak_reference([1])\n')
        code, _, err = self.hunt('--raw', script)
        self.assertEqual(code, 1)
        self.assertIn('list: 1 a run; new objects: 1 a run', err)
        self.assertIn('total ref change 1', err)

    def test_strict(self):
        script = self.script(
            'import _testrefmap, sys\n'
            'if not hasattr(sys, "old"):\n'
            '    sys.old = object()\n'
            '    for _ in range(20):\n'
            '        _testrefmap.leak_reference(sys.old)\n'
            '_testrefmap.over_decref(sys.old)\n')
        code, _, err = self.hunt(script)
        self.assertEqual(code, 0)
        self.assertIn('suspicious', err)
        code, _, _ = self.hunt('--strict', script)
        self.assertEqual(code, 1)

    def test_module(self):
        code, out, _ = self.hunt('-m', 'json.tool', '--help')
        self.assertEqual(code, 0)
        self.assertIn('usage: ', out)

    def test_json_and_suppress(self):
        script = self.script('import _testrefmap\n'
                             '_testrefmap.leak_reference([1])\n')
        directory = os.path.dirname(script)
        rules = os.path.join(directory, 'rules')
        with open(rules, 'w') as file:
            file.write('list # known\ndict # unused\n')
        findings = os.path.join(directory, 'json')
        code, _, err = self.hunt('--json', findings, '--suppress', rules,
                                 script)
        self.assertEqual(code, 0)
        self.assertIn('  dict in *  # unused', err)
        with open(findings, encoding='utf-8') as file:
            self.assertEqual(json.load(file)['verdict'], 'clean')

    def test_threads_are_waited_for(self):
        script = self.script(
            'import threading, time, _testrefmap\n'
            'def run():\n'
            '    time.sleep(0.05)\n'
            '    _testrefmap.leak_reference({1})\n'
            'threading.Thread(target=run).start()\n')
        code, _, err = self.hunt(script)
        self.assertEqual(code, 1)
        self.assertIn('set: 1 a run', err)

    def test_exit_status(self):
        code, _, err = self.hunt(self.script('raise SystemExit(3)'))
        self.assertEqual(code, 0)
        self.assertIn('the program exited with 3', err)

    def test_bad_usage(self):
        missing = os.path.join(os.path.dirname(self.script('1')), 'missing.py')
        for args in [], ['-R', 'x', 'y'], ['-R', '3:0', 'y'], [missing], \
                ['-m'], [self.script('a b')], [self.script('1 / 0')], \
                ['-m', 'no_such_module'], ['--suppress', missing, 'x']:
            with self.subTest(args=args):
                code, _, err = self.hunt(*args)
                self.assertEqual(code, 2, err)
                self.assertTrue(err)


if __name__ == '__main__':
    unittest.main()
