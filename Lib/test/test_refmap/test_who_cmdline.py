"""The command line `python -m refmap diagnose`."""

import json
import os
import subprocess
import sys
import unittest
import xml.etree.ElementTree as ET

import refmap
from refmap.who import batch
from test.support import import_helper, os_helper, script_helper

import_helper.import_module('_testrefmap')
if not refmap.available():
    raise unittest.SkipTest('needs an interpreter --with-refcount-map')

OBSTACLE = batch.obstacle()
RECORDS = OBSTACLE is None

LEAK = 'import _testrefmap\n_testrefmap.leak_reference([1])\n'


class CommandTestCase(unittest.TestCase):
    def diagnose(self, *args, cwd=None):
        """Return the exit code, stdout and stderr of the command."""
        process = subprocess.run(
            [sys.executable, '-I', '-m', 'refmap', 'diagnose', *args],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd)
        return process.returncode, process.stdout, process.stderr

    def script(self, text):
        return script_helper.make_script(
            self.enterContext(os_helper.temp_dir()), 'script', text)

    def path(self, name):
        return os.path.join(self.enterContext(os_helper.temp_dir()), name)


class DiagnoseTests(CommandTestCase):
    def test_clean(self):
        script = self.script('import sys; print(sys.argv[1:], __name__)')
        code, out, err = self.diagnose('-R', '3:4', '--', script, 'a', '-b')
        self.assertEqual((code, out), (0, "['a', '-b'] __main__\n" * 7))
        self.assertIn('clean (4 runs after 3 warm-ups): no suspects', err)

    def test_quiet(self):
        code, out, err = self.diagnose('-q', self.script('1'))
        self.assertEqual((code, out, err), (0, '', ''))
        code, out, err = self.diagnose('-q', self.script(LEAK))
        self.assertEqual((code, out), (1, ''))
        self.assertIn('script.py: leak (3 runs', err)

    def test_leak(self):
        code, _, err = self.diagnose(self.script(LEAK))
        self.assertEqual(code, 1, err)
        self.assertIn('script.py: leak (3 runs after 3 warm-ups)\n  who:', err)
        if RECORDS:
            self.assertRegex(err, r'    1\. leak_reference\(\), '
                                  r'Modules/_testrefmap\.c:\d+\n'
                                  r'       missing-decref: .*\.\n'
                                  r'       list, lost in C: 1 reference a run;')
        else:
            self.assertIn(f'  not known: {OBSTACLE}\n', err)

    def test_module(self):
        for before in [], ['--']:
            code, out, _ = self.diagnose(*before, '-m', 'json.tool', '--help')
            self.assertEqual(code, 0)
            self.assertIn('usage: ', out)

    def test_suppress(self):
        rules = self.path('rules')
        with open(rules, 'w') as file:
            file.write('list # known\n')
        code, _, err = self.diagnose('--suppress', rules, self.script(LEAK))
        self.assertEqual(code, 0, err)
        self.assertIn('clean (3 runs after 3 warm-ups): no suspects', err)

    def test_exit_status_of_the_program(self):
        code, _, err = self.diagnose(self.script('raise SystemExit(3)'))
        self.assertEqual(code, 0)
        self.assertIn('the program exited with 3', err)

    def test_the_program_fails(self):
        code, _, err = self.diagnose(self.script('1 / 0'))
        self.assertEqual(code, 2)
        self.assertEqual(err.splitlines()[-1],
                         'refmap: the program failed: ZeroDivisionError: '
                         'division by zero')

    def test_the_program_fails_while_it_is_recorded(self):
        # The runs before leak, and all seems well.
        script = self.script(
            'import sys\n'
            'sys.runs = getattr(sys, "runs", 0) + 1\n'
            'if sys.runs > 7: raise KeyError(1)\n' + LEAK)
        code, _, err = self.diagnose(script)
        if RECORDS:
            self.assertEqual(code, 2, err)
            self.assertEqual(err.splitlines()[-1],
                             'refmap: the program failed: KeyError: 1')
        else:
            self.assertEqual(code, 1, err)

    @unittest.skipUnless(RECORDS, 'needs an interpreter that records')
    def test_the_program_records(self):
        for text, sentence in [
            ('import sys\nsys.refmap_record()',
             'the program failed: ValueError'),
            ('import sys\nif getattr(sys, "runs", 0) > 6: '
             'sys.refmap_record_stop()\n', 'the diagnosis failed: '),
        ]:
            with self.subTest(text=text):
                script = self.script(
                    'import sys\nsys.runs = getattr(sys, "runs", 0) + 1\n'
                    + LEAK + text)
                code, _, err = self.diagnose(script)
                self.assertEqual(code, 2, err)
                self.assertIn(f'refmap: {sentence}', err.splitlines()[-1])

    def test_fork_without_exec(self):
        script = self.script('import os\n'
                             'pid = os.fork()\n'
                             'if pid: os.waitpid(pid, 0)\n' + LEAK)
        code, _, err = self.diagnose(script)
        self.assertEqual(code, 1, err)
        self.assertEqual(err.count('leak (3 runs'), 1)

    def test_bad_usage(self):
        missing = os.path.join(os.path.dirname(self.script('1')), 'missing.py')
        for args in [], ['-R', 'x', 'y'], ['-R', '3:0', 'y'], [missing], \
                ['-m'], ['-m', 'no_such_module'], ['--raw', 'y'], \
                ['--'], ['--', '-m'], \
                ['-R', '99999999999:3', 'y'], ['--sarif'], \
                ['--suppress', missing, 'x'], ['--suppress', '/dev/zero', 'x']:
            with self.subTest(args=args):
                code, out, err = self.diagnose(*args)
                self.assertEqual((code, out), (2, ''), err)
                self.assertTrue(err)


class FileTests(CommandTestCase):
    OPTIONS = ('--json', '--sarif', '--junit', '--html')

    def test_json(self):
        path = self.path('json')
        for _ in range(2):
            code, _, err = self.diagnose('--json', path, self.script(LEAK))
            self.assertEqual(code, 1, err)
        with open(path, encoding='utf-8') as file:
            first, second = map(json.loads, file)
        for found in first, second:
            self.assertEqual(found['verdict'], 'leak')
            self.assertEqual(found['findings']['types'][0]['type'], 'list')
        if RECORDS:
            self.assertEqual(first['suspects'][0]['function'], 'leak_reference')
            self.assertEqual(first['suspects'][0]['rule'], 'missing-decref')

    def test_sarif(self):
        # Written anew, whatever was there.
        path = self.path('sarif')
        with open(path, 'w') as file:
            file.write('old')
        for text, exitcode in (LEAK, 1), ('1', 0):
            code, _, err = self.diagnose('--sarif', path, self.script(text))
            self.assertEqual(code, exitcode, err)
            with open(path, encoding='utf-8') as file:
                found = json.load(file)
            self.assertEqual(found['version'], '2.1.0')
            [run] = found['runs']
            if not exitcode:
                self.assertEqual(run['results'], [])
            elif RECORDS:
                self.assertEqual(run['results'][0]['ruleId'], 'missing-decref')

    def test_junit(self):
        path = self.path('xml')
        code, _, err = self.diagnose('--junit', path, self.script(LEAK))
        self.assertEqual(code, 1, err)
        root = ET.parse(path).getroot()
        [failure] = root.iter('failure')
        if RECORDS:
            self.assertIn('leak_reference()', failure.get('message'))
            self.assertIn('Modules/_testrefmap.c:', failure.text)
        code, _, err = self.diagnose('--junit', path, self.script('1'))
        self.assertEqual(code, 0, err)
        self.assertEqual(list(ET.parse(path).getroot().iter('failure')), [])

    def test_html(self):
        # Written anew, whatever was there.
        path = self.path('html')
        for text, exitcode, verdict in (LEAK, 1, 'leak'), ('1', 0, 'clean'):
            code, _, err = self.diagnose('--html', path, self.script(text))
            self.assertEqual(code, exitcode, err)
            with open(path, encoding='utf-8') as file:
                found = file.read()
            self.assertTrue(found.startswith('<!DOCTYPE html>'))
            self.assertIn(f'data-verdict="{verdict}"', found)
            if exitcode and RECORDS:
                self.assertIn('leak_reference()', found)

    @unittest.skipUnless(RECORDS, 'needs an interpreter that records')
    def test_github(self):
        code, _, err = self.diagnose('--github', self.script(LEAK))
        self.assertEqual(code, 1, err)
        [first, *_] = [line for line in err.splitlines()
                       if line.startswith('::')]
        self.assertRegex(first, r'^::(error|warning) .*'
                                r'file=Modules/_testrefmap\.c')

    def test_files_are_opened_first(self):
        script = self.script('print("run")')
        for option in self.OPTIONS:
            for path in (os.path.join(script, 'no', 'where'),
                         os.path.dirname(script)):
                with self.subTest(option=option, path=path):
                    code, out, err = self.diagnose(option, path, script)
                    self.assertEqual((code, out), (2, ''), err)
                    self.assertEqual(len(err.splitlines()), 1)
                    self.assertIn(path, err)

    def test_full_disk(self):
        for option in self.OPTIONS:
            with self.subTest(option=option):
                code, _, err = self.diagnose(option, '/dev/full',
                                             self.script(LEAK))
                self.assertEqual(code, 2)
                # The report is there all the same.
                self.assertIn('script.py: leak (3 runs', err)
                self.assertEqual(err.splitlines()[-1],
                                 'refmap: the diagnosis cannot be written: '
                                 '[Errno 28] No space left on device')
                self.assertNotIn('Traceback', err)

    def test_relative_paths(self):
        script = self.script('import os; os.chdir("/")')
        directory = os.path.dirname(script)
        for option in self.OPTIONS:
            code, _, err = self.diagnose('-q', option, 'here' + option, script,
                                         cwd=directory)
            self.assertEqual(code, 0, err)
            self.assertTrue(
                os.path.getsize(os.path.join(directory, 'here' + option)))


if __name__ == '__main__':
    unittest.main()
