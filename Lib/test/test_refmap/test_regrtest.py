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
            r"      0x[0-9a-f]+ \(birth \d+\) x[23]: 0 -> 1, "
            r"born in runs 1, 2(, 3)?, \d+ bytes: "
            r"\['leaked'\]",
            r'          no container holds 1 reference',
            r'  test methods that leak on their own:',
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

    def test_over_decref(self):
        # The sums see nothing wrong.
        output, findings = self.hunt('drift', exitcode=2)
        self.assertEqual(findings['sums']['references'], [-1, -1, -1])
        self.assertFalse(findings['sums_failed'])
        self.assertEqual(findings['verdict'], 'error')
        self.assertEqual(self.types(findings),
                         {('Plain', 'over-decref'): [-1, -1, -1]})
        [method] = findings['methods']
        self.assertEqual(method['name'], 'test_drift.Test.test_drift')
        self.assertIn('refmap: errors: test_drift\n', output)

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
        _, findings = self.hunt('second_run', counts='3:4')
        self.assertEqual(findings['verdict'], 'suspicious')
        output, findings = self.hunt('second_run', '--refmap-strict',
                                     counts='3:4', exitcode=2)
        self.assertEqual(findings['verdict'], 'suspicious')
        self.assertIn('test_second_run failed (reference leak)', output)

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

    def test_json_on_a_full_disk(self):
        name = write_test(self.directory, 'one', LEAKS['one'])
        for more in [], ['-j1']:
            output = self.regrtest('--refmap-json', '/dev/full', *more, name,
                                   exitcode=2)
            self.assertIn('refmap: cannot write /dev/full: No space left on '
                          'device; the findings of 1 test file are lost',
                          output)
            # The run goes on to its end.
            self.assertIn('test_one leaked [1, 1, 1] references', output)
            self.assertIn('Result: FAILURE', output)
            self.assertNotIn('Traceback', output)

    def test_html_that_cannot_be_written(self):
        output = self.regrtest('--refmap-html', '/dev/null/dir', exitcode=2)
        self.assertIn('error: refmap: ', output)
        name = write_test(self.directory, 'one', LEAKS['one'])
        os.makedirs(self.path('reports/index.html'))
        os.makedirs(self.path(f'reports/{name}.html'))
        output = self.regrtest('--refmap-html', self.path('reports'), name,
                               exitcode=2)
        self.assertRegex(output, 'refmap: cannot write .*/reports: .*; the '
                                 'findings of 1 test file are lost')
        self.assertIn('Result: FAILURE', output)
        self.assertNotIn('Traceback', output)

    def test_too_many_runs(self):
        name = write_test(self.directory, 'one', LEAKS['one'])
        output = self.regrtest(name, counts='3:99999999999', exitcode=2)
        self.assertIn('refmap: more than 10000 runs', output)
        self.assertNotIn('Traceback', output)

    def test_names_make_no_lines(self):
        with open(self.path('rules'), 'w') as file:
            file.write('list in test_\x1b[2K # unused\n')
        name = write_test(self.directory, 'one', LEAKS['one'])
        output = self.regrtest('--refmap-suppress', self.path('rules'), name,
                               exitcode=2)
        self.assertIn(r'list in test_\x1b[2K  # unused', output)


class VerifyTests(RegrtestCase):
    """--refmap-verify, on maps that are right and wrong."""

    # The tests pass, and the process is all right otherwise.
    WRONG = {
        'inexact': ('_testrefmap.forge_total(3)',
                    r'the map holds \d+ references and -?\d+ are unattributed, '
                    r'but the total is \d+'),
        'untrue': ('type(self).old = Plain()\n'
                   '    _testrefmap.write_refcnt(self.old, 5)',
                   r'0x[0-9a-f]+ \(Plain\): the map counts 1, ob_refcnt is 6'),
    }

    def verify(self, name, statement, *args, exitcode):
        name = write_test(self.directory, name,
                          f'def test_wrong(self):\n    {statement}\n')
        return self.regrtest('--refmap-verify', *args, name, counts=None,
                             exitcode=exitcode)

    def test_healthy(self):
        output = self.verify('healthy', 'pass', exitcode=0)
        self.assertNotIn('refmap: ', output)

    def test_leak(self):
        # A leak is no reason to mistrust the map.
        output = self.verify('leak', '_testrefmap.leak_reference([1])',
                             exitcode=0)
        self.assertNotIn('refmap: ', output)

    def test_wrong(self):
        for name, (statement, problem) in self.WRONG.items():
            for more in [], ['-j1']:
                with self.subTest(name=name, more=more):
                    output = self.verify(name, statement, *more, exitcode=2)
                    self.assertRegex(output, f'test_{name}: refmap: {problem}')
                    self.assertEqual(output.count('refmap: '), 1, output)
                    self.assertIn(f'test_{name} failed (1 error)', output)

    def test_wrong_without_the_option(self):
        for name, (statement, _) in self.WRONG.items():
            write_test(self.directory, name,
                       f'def test_wrong(self):\n    {statement}\n')
        self.regrtest(*(f'test_{name}' for name in self.WRONG), counts=None)

    def test_with_a_hunt(self):
        _, findings = self.hunt('one', '--refmap-verify', exitcode=2)
        self.assertEqual(findings['verdict'], 'leak')


class ShadowTests(RegrtestCase):
    """A refmap.py of somebody else is none of regrtest's business."""

    def run_beside(self, *args, exitcode=0):
        for name in 'refmap.py', 'regrtest_hunt.py':
            with open(self.path(name), 'w') as file:
                file.write('raise ZeroDivisionError\n')
        write_test(self.directory, 'one', LEAKS['one'])
        # Without -I: the working directory comes first in sys.path.
        process = subprocess.run(
            [sys.executable, '-m', 'test', '--testdir', '.', *args, 'test_one'],
            cwd=self.directory, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONPATH': self.directory})
        self.assertEqual(process.returncode, exitcode, process.stdout)
        self.assertNotIn('ZeroDivisionError', process.stdout)
        return process.stdout

    def test_no_hunt(self):
        self.run_beside()
        self.run_beside('--refmap-verify')
        self.run_beside('-j1', '--refmap-verify')

    def test_hunt(self):
        for more in [], ['-j1']:
            output = self.run_beside('-R', '3:3:', *more, exitcode=2)
            self.assertIn('refmap: test_one: leak', output)

    def test_nothing_is_imported_at_start(self):
        script = '''if True:
            import sys
            if %r:
                del sys.refmap_info         # as in a build without the map
            from test.libregrtest import main, cmdline, refleak, results, single
            import test.bisect_cmd
            cmdline._parse_args(['test_one'])
            print([name for name in sys.modules if 'refmap' in name])
            '''
        _, out, _ = script_helper.assert_python_ok('-c', script % True)
        self.assertEqual(out.decode().strip(), '[]')
        _, out, _ = script_helper.assert_python_ok('-c', script % False)
        self.assertEqual(out.decode().strip(), "['test.libregrtest.refmap']")

    def test_module_name_is_known(self):
        self.assertIn('refmap', sys.stdlib_module_names)
        self.assertNotIn('_testrefmap', sys.stdlib_module_names)


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
                          'test_drift': 'error',
                          'test_cache_fills': 'clean'})
        self.assertIn('refmap: test_one: leak', output)
        self.assertIn('refmap: errors: test_drift', output)

    def test_rerun(self):
        name = write_test(self.directory, 'one', LEAKS['one'])
        output = self.regrtest('-w', '--refmap-json', self.path('json'), name,
                               exitcode=2)
        self.assertEqual([f['rerun'] for f in self.findings()], [False, True])
        self.assertEqual(output.count('refmap: test_one: leak'), 2)

    def test_html(self):
        names = [write_test(self.directory, kind, LEAKS[kind])
                 for kind in ('method', 'cache_fills')]
        for more in [], ['-j2', '-w']:
            self.regrtest(*more, '--refmap-html', self.path('new/reports'),
                          *names, exitcode=2)
        self.assertEqual(sorted(os.listdir(self.path('new/reports'))),
                         ['index.html', 'test_method-rerun.html',
                          'test_method.html'])
        with open(self.path('new/reports/index.html')) as file:
            index = file.read()
        for text in ('href="test_method.html"', 'href="test_method-rerun.html"',
                     'test_cache_fills', '2 leak, 1 clean'):
            self.assertIn(text, index)
        with open(self.path('new/reports/test_method.html')) as file:
            self.assertIn('Test methods that leak on their own', file.read())

    def test_junit(self):
        self.hunt('one', '--junit-xml', self.path('xml'), exitcode=2)
        root = ET.parse(self.path('xml')).getroot()
        self.assertEqual(root.get('failures'), '1')
        [failure] = root.iter('failure')
        self.assertIn('refmap: test_one: leak', failure.get('message'))
        self.assertIn('list: 1 a run', failure.text)
        self.assertIn('test_one.Test.test_leak', failure.text)
        # The suite that has the failure counts it.
        [suite] = [suite for suite in root if suite.get('failures') != '0']
        self.assertEqual(int(suite.get('tests')),
                         len(suite.findall('testcase')))
        self.assertEqual(len(suite.findall('testcase/failure')), 1)

    def test_junit_of_a_suspicious_file(self):
        self.hunt('second_run', '--junit-xml', self.path('xml'), counts='3:4')
        root = ET.parse(self.path('xml')).getroot()
        self.assertEqual(root.get('failures'), '0')
        texts = [element.text or '' for element in root.iter('system-err')]
        self.assertIn('test_second_run: suspicious', ''.join(texts))

    def test_junit_of_workers(self):
        self.hunt('one', '--junit-xml', self.path('xml'), '-j1', exitcode=2)
        with open(self.path('xml'), encoding='utf-8') as file:
            text = file.read()
        self.assertIn('refmap: test_one: leak', text)
        self.assertIn('failures="1"', text)

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

    def test_bisect_cmd_without_a_hunt(self):
        # It is also for tests that fail.
        name = write_test(self.directory, 'fails', '''
            def test_a(self): pass
            def test_culprit(self): self.fail()
            ''')
        process = subprocess.run(
            [sys.executable, '-I', '-m', 'test.bisect_cmd', '--max-iter', '40',
             '-o', self.path('bisect'), '--testdir', self.directory, name],
            cwd=self.directory, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.assertEqual(process.returncode, 0, process.stdout)
        with open(self.path('bisect')) as file:
            self.assertEqual(file.read(), 'test_fails.Test.test_culprit\n')
        self.assertNotIn('need -R', process.stdout)

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

    OVER = ('''if True:
        import _testrefmap, atexit, os, sys
        if not hasattr(sys, "old"):
            sys.old = object()
            sys.holders = [[sys.old] for _ in range(20)]
            atexit.register(print, "bye")
            class Last:
                def __del__(self, write=os.write):
                    write(1, b"torn down")
            sys.last = Last()
        _testrefmap.over_decref(sys.old)
        ''')

    def test_over_decref(self):
        # Without the references the interpreter might crash in its teardown.
        code, out, err = self.hunt(self.script(self.OVER))
        self.assertEqual(code, 1, err)
        self.assertIn('script.py: error (3 runs', err)
        self.assertIn('object: -1 a run\n', err)
        self.assertRegex(err, r'containers hold \d+ references, 6 more than '
                              r'are counted')
        self.assertEqual(out, 'bye\n')
        # Nor does it crash when something else goes wrong.
        code, _, err = self.hunt('--json', '/dev/full', self.script(self.OVER))
        self.assertEqual(code, 2, err)
        self.assertIn('the findings cannot be written', err.splitlines()[-1])

    def test_strict(self):
        script = self.script(
            'import sys\n'
            'sys.kept = getattr(sys, "kept", [])\n'
            'sys.runs = getattr(sys, "runs", 0) + 1\n'
            'if sys.runs % 2: sys.kept.append({sys.runs})\n')
        code, _, err = self.hunt('-R', '3:4', script)
        self.assertEqual(code, 0)
        self.assertIn('suspicious', err)
        code, _, _ = self.hunt('-R', '3:4', '--strict', script)
        self.assertEqual(code, 1)

    def test_module(self):
        code, out, _ = self.hunt('-m', 'json.tool', '--help')
        self.assertEqual(code, 0)
        self.assertIn('usage: ', out)

    def test_pytest(self):
        # Installed or not, another command is the better one.
        _, _, err = self.hunt('-m', 'pytest', '--version')
        self.assertIn('python -m pytest -p refmap.pytest_plugin', err)

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
        for status in '0', 'False', 'None', 'E.OK':
            code, _, err = self.hunt(self.script(
                'import enum\n'
                'class E(enum.IntEnum):\n'
                '    OK = 0\n'
                f'raise SystemExit({status})'))
            self.assertEqual(code, 0)
            self.assertNotIn('exited', err)

    def test_exit_status_that_misbehaves(self):
        script = self.script('''if True:
            class Status:
                def fail(self, *args): raise SystemExit(1)
                __eq__ = __str__ = __repr__ = __bool__ = fail
            raise SystemExit(Status())
            ''')
        code, _, err = self.hunt(script)
        self.assertEqual(code, 0, err)
        self.assertIn('exited with <__main__.Status object>', err)
        code, _, err = self.hunt(self.script('exit("a\\nrefmap: x: leak")'))
        self.assertIn('exited with a\\nrefmap: x: leak\n', err)

    def test_no_verdict(self):
        # Exit code 1 is for leaks only, whatever happens.
        for text, sentence in [
            ('raise KeyboardInterrupt', 'the program failed: KeyboardInterrupt'),
            ('raise GeneratorExit', 'the program failed: GeneratorExit'),
            ('raise BaseException("x\\ny")', 'the program failed: '),
            ('1 / 0', 'the program failed: ZeroDivisionError: division by zero'),
            ('raise MemoryError', 'the program failed: MemoryError'),
            ('def f(): f()\nf()', 'the program failed: RecursionError'),
            ('import sys; print(1); sys.stdout.close(); print(2)',
             'the program failed: ValueError'),
            ('# -*- coding: nope -*-', 'unknown encoding: nope'),
            ('a b', 'invalid syntax'),
            ('(' * 5000, 'too many nested parentheses'),
            ('import sys\nclass S:\n flush = write = sys.exit\nsys.stdout = S()',
             'the hunt failed: <SystemExit'),
        ]:
            with self.subTest(text=text[:50]):
                code, _, err = self.hunt(self.script(text))
                self.assertEqual(code, 2, err)
                self.assertIn(f'refmap: {sentence}', err)
                if not sentence.startswith('the program'):
                    self.assertNotIn('Traceback', err)

    def test_streams_that_are_gone(self):
        for text in ('import sys; sys.stderr = None',
                     'import sys; sys.stdout = sys.stderr = object()',
                     'import sys; sys.stdout = None',
                     'import sys; sys.argv[0]; sys.argv = None'):
            with self.subTest(text=text):
                script = self.script('import _testrefmap\n'
                                     '_testrefmap.leak_reference([1])\n' + text)
                code, _, err = self.hunt(script)
                self.assertEqual(code, 1, err)
                self.assertIn('list: 1 a run', err)

    def shell(self, redirection, text):
        """Return the exit code of a hunt with redirected output, and stderr."""
        process = subprocess.run(
            ['/bin/sh', '-c', f'exec "$0" -I -m refmap hunt "$1" {redirection}',
             sys.executable, self.script(text)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return process.returncode, process.stderr

    def test_output_that_cannot_be_written(self):
        leak = 'import _testrefmap; _testrefmap.leak_reference([1])'
        for redirection in '2>/dev/full', '2>&-', '>&- 2>&- <&-':
            with self.subTest(redirection=redirection):
                self.assertEqual(self.shell(redirection, leak)[0], 1)
                self.assertEqual(self.shell(redirection, 'pass')[0], 0)
        code, err = self.shell('>/dev/full', 'print(1)')
        self.assertEqual(code, 2)
        self.assertIn('No space left on device', err.splitlines()[-1])
        # What is printed at the end only.
        code, err = self.shell('>/dev/full', 'import sys; sys.stdout = None')
        self.assertEqual(code, 0)
        # What waits in a buffer that nobody flushed, and no descriptor left.
        code, err = self.shell('>/dev/full', textwrap.dedent('''
            import os, resource, sys
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
            sys.__stdout__.write("x")
            sys.stdout = None
            '''))
        self.assertEqual(code, 2, err)
        self.assertEqual(err.splitlines()[-1],
                         'refmap: the output of the program cannot be written: '
                         "<OSError(28, 'No space left on device')>")

    def test_fork_without_exec(self):
        script = self.script('import os\n'
                             'pid = os.fork()\n'
                             'if pid: os.waitpid(pid, 0)\n')
        code, _, err = self.hunt(script)
        self.assertEqual(code, 0)
        self.assertEqual(err.count('clean (3 runs'), 1)

    def test_json_is_opened_first(self):
        script = self.script('print("run")')
        for path in os.path.join(script, 'no', 'where'), os.path.dirname(script):
            code, out, err = self.hunt('--json', path, script)
            self.assertEqual((code, out), (2, ''), err)
            self.assertEqual(len(err.splitlines()), 1)
            self.assertIn(path, err)

    def test_json_on_a_full_disk(self):
        script = self.script('import _testrefmap, os\n'
                             '_testrefmap.leak_reference([1])\n')
        code, _, err = self.hunt('--json', '/dev/full', script)
        self.assertEqual(code, 2)
        # The report is there all the same.
        self.assertIn('list: 1 a run', err)
        self.assertEqual(err.splitlines()[-1],
                         'refmap: the findings cannot be written: '
                         '[Errno 28] No space left on device')
        self.assertNotIn('Traceback', err)

    def test_html(self):
        report = os.path.join(os.path.dirname(self.script('1')), 'html')
        for text, exitcode, verdict in ((self.OVER, 1, 'error'),
                                        ('1', 0, 'clean')):
            code, _, err = self.hunt('--html', report, self.script(text))
            self.assertEqual(code, exitcode, err)
            with open(report, encoding='utf-8') as file:
                self.assertIn(f'data-verdict="{verdict}"', file.read())

    def test_json_of_a_relative_path(self):
        script = self.script('import os; os.chdir("/")')
        directory = os.path.dirname(script)
        process = subprocess.run(
            [sys.executable, '-I', '-m', 'refmap', 'hunt', '-q', '--json',
             'here.json', script], cwd=directory)
        self.assertEqual(process.returncode, 0)
        with open(os.path.join(directory, 'here.json')) as file:
            self.assertEqual(json.load(file)['verdict'], 'clean')

    def test_bad_usage(self):
        missing = os.path.join(os.path.dirname(self.script('1')), 'missing.py')
        for args in [], ['-R', 'x', 'y'], ['-R', '3:0', 'y'], [missing], \
                ['-m'], ['-m', 'no_such_module'], \
                ['-R', '99999999999:3', 'y'], ['-R', f'{"9" * 5000}:3', 'y'], \
                ['--suppress', missing, 'x'], ['--suppress', '/dev/zero', 'x']:
            with self.subTest(args=args):
                code, _, err = self.hunt(*args)
                self.assertEqual(code, 2, err)
                self.assertTrue(err)


if __name__ == '__main__':
    unittest.main()
