"""A crash must not cost the hunt: what was measured before it is reported."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import unittest

import refmap
from refmap import measure
from refmap.who import batch
from refmap.witness import Witness
from test.libregrtest import refmap as libregrtest
from test.support import import_helper, os_helper, script_helper, swap_attr

from . import html_findings
from .test_regrtest import RegrtestCase, write_test

if not refmap.available():
    raise unittest.SkipTest('needs an interpreter --with-refcount-map')

# The program leaks in each run and crashes in the last one.
LEAK_AND = '''\
import _testrefmap, faulthandler, os, signal, sys
sys.run = getattr(sys, 'run', 0) + 1
_testrefmap.leak_reference(['leaked'])
if sys.run == 6:
    {}
'''

OVER_DECREF = '''\
import _testrefmap, os, sys
if not hasattr(sys, 'old'):
    sys.run, sys.old = 0, object()
    sys.holders = [[sys.old] for _ in range(20)]
sys.run += 1
_testrefmap.over_decref(sys.old)
if sys.run == 5:
    os.abort()
'''


class ProgramTest(unittest.TestCase):
    command = None

    def setUp(self):
        self.directory = self.enterContext(os_helper.temp_dir())

    def path(self, name):
        return os.path.join(self.directory, name)

    def hunt(self, script, *options, cwd=None):
        """Return (exit code, stdout, stderr)."""
        script = script_helper.make_script(self.directory, 'script',
                                           textwrap.dedent(script))
        done = subprocess.run(
            [sys.executable, '-W', 'default', '-I', '-m', 'refmap', self.command, '-q',
             *options, script],
            text=True, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done.returncode, done.stdout, done.stderr

    def check_leak(self, err, where, runs='3 runs after 2 warm-ups'):
        self.assertIn(f'refmap: the process {where} of ', err)
        self.assertIn(f'script.py: leak ({runs})', err)
        self.assertIn('list: 1 a run; new objects: 1 a run', err)


class HuntTest(ProgramTest):
    """python -m refmap hunt."""

    command = 'hunt'

    def test_signals(self):
        import_helper.import_module('ctypes')
        for signum, crash in (
                (signal.SIGSEGV, 'import ctypes; ctypes.string_at(0)'),
                (signal.SIGABRT, 'faulthandler._fatal_error_c_thread()'),
                (signal.SIGBUS, 'os.kill(os.getpid(), signal.SIGBUS)')):
            with self.subTest(crash):
                code, _, err = self.hunt(LEAK_AND.format(crash))
                self.assertEqual(code, -signum, err)
                self.check_leak(err, 'died in run 6 of 6')
                self.assertIn('py-refmap-diff', err)

    def test_killed(self):
        code, _, err = self.hunt(
            LEAK_AND.format('os.kill(os.getpid(), signal.SIGKILL)'))
        self.assertEqual(code, -signal.SIGKILL)
        self.check_leak(err, 'ended in run 6 of 6')
        self.assertNotIn('py-refmap', err)

    def test_exit(self):
        # An exit code that says that nothing leaked would be wrong.
        for status in '0', 'status=7':
            code, _, err = self.hunt(LEAK_AND.format(f'os._exit({status})'))
            self.assertEqual(code, 2, err)
            self.check_leak(err, 'ended in run 6 of 6')

    def test_over_decref(self):
        code, _, err = self.hunt(OVER_DECREF)
        self.assertEqual(code, -signal.SIGABRT)
        self.assertIn('died in run 5 of 6', err)
        self.assertIn('script.py: error (3 runs after 1 warm-up)', err)
        self.assertIn('object: -1 a run\n', err)

    def test_too_early(self):
        for run in 1, 2:
            _, _, err = self.hunt(LEAK_AND.replace('6', str(run)).format('os.abort()'))
            self.assertIn(f'refmap: the process died in run {run} of 6 of ', err)
            self.assertIn('py-refmap-diff', err)
            self.assertNotIn('leak', err)

    def test_files(self):
        _, _, err = self.hunt(LEAK_AND.format('os.abort()'), '--json',
                              self.path('json'), '--html', self.path('html'))
        with open(self.path('json'), encoding='utf-8') as file:
            findings = json.loads(file.read())
        self.assertEqual(findings['died'], 'in run 6 of 6')
        self.assertEqual(findings['verdict'], 'leak')
        [found] = findings['types']
        self.assertEqual((found['type'], found['refs']), ('list', [1, 1, 1]))
        with open(self.path('html'), encoding='utf-8') as file:
            self.assertIn('The process died in run 6 of 6.', file.read())

    def test_file_that_cannot_be_written(self):
        _, _, err = self.hunt(LEAK_AND.format('os.abort()'), '--json', '/dev/full')
        self.assertEqual(err.splitlines()[-1],
                         'refmap: the findings cannot be written: '
                         '[Errno 28] No space left on device')

    def test_program_sees_nothing_of_it(self):
        # Neither a child to be waited for, nor its files in another process.
        code, out, err = self.hunt('''
            import os, sys
            sys.run = getattr(sys, 'run', 0) + 1
            try:
                os.wait()
            except ChildProcessError:
                print('no child')
            child = os.fork()
            if not child:
                os._exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            if sys.run > 1:
                os.close(sys.pipe[1])
                print(os.read(sys.pipe[0], 1))
                os.close(sys.pipe[0])
            sys.pipe = os.pipe()
            ''')
        self.assertEqual((code, err), (0, ''))
        self.assertEqual(out.splitlines(),
                         ['no child', '3'] + ['no child', '3', "b''"] * 5)


    def test_program_closes_all_files(self):
        # And gets the same numbers again.
        code, out, err = self.hunt('''
            import os
            os.closerange(3, 100)
            files = [os.open(os.devnull, os.O_RDWR) for _ in range(10)]
            os.closerange(3, 100)
            kept = [os.open('kept', os.O_CREAT | os.O_RDWR) for _ in range(10)]
            ''', cwd=self.directory)
        self.assertEqual((code, err), (0, ''))
        self.assertEqual(os.path.getsize(self.path('kept')), 0)

    def test_other_interpreters(self):
        # CPython aborts in a child of a fork while there is another interpreter.
        import_helper.import_module('_interpreters')
        code, out, err = self.hunt('''\
            import _interpreters
            _interpreters.create()
            ''')
        self.assertEqual((code, out), (0, ''), err)
        self.assertNotIn('Fatal', err)

    def test_closed_streams(self):
        # The pipe must not take their place, nor the witness wait for itself.
        script = script_helper.make_script(self.directory, 'script', 'print("text")')
        done = subprocess.run(
            ['/bin/sh', '-c', 'exec "$@" <&- >&-', 'sh', sys.executable, '-I', '-m',
             'refmap', 'hunt', script], stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(b'ended', done.stderr)

    def test_threads(self):
        # Python warns of a fork then, which is none of the program's business.
        code, _, err = self.hunt('''
            import sys, threading
            if not hasattr(sys, 'thread'):
                sys.thread = threading.Thread(target=threading.Event().wait, daemon=True)
                sys.thread.start()
            ''')
        self.assertEqual((code, err), (0, ''))


class DiagnoseTest(ProgramTest):
    """python -m refmap diagnose, which calls the program again after the hunt."""

    command = 'diagnose'

    def test_in_the_hunt(self):
        for crash, code in ('os.abort()', -signal.SIGABRT), ('os._exit(0)', 2):
            found, _, err = self.hunt(LEAK_AND.format(crash))
            self.assertEqual(found, code, err)
            self.check_leak(err, f'{"ended" if code > 0 else "died"} in run 6 of 6')

    @unittest.skipIf(batch.obstacle(), 'needs an interpreter that records')
    def test_in_a_recorded_run(self):
        code, _, err = self.hunt(LEAK_AND.replace('6', '7').format('os.abort()'),
                                 '--json', self.path('json'))
        self.assertEqual(code, -signal.SIGABRT, err)
        self.check_leak(err, 'died while it was recorded', '3 runs after 3 warm-ups')
        with open(self.path('json'), encoding='utf-8') as file:
            found = json.loads(file.read())
        self.assertEqual((found['verdict'], found['suspects']), ('leak', []))
        self.assertEqual(found['findings']['died'], 'while it was recorded')
        self.assertEqual(found['notes'], [
            'the process died while it was recorded, so nobody was found'])

    def test_nobody_dies(self):
        code, _, err = self.hunt('pass')
        self.assertEqual((code, err), (0, ''))


class WitnessTest(unittest.TestCase):

    def test_dismissed(self):
        # However late it runs. stderr ends when the last one of them has.
        done = subprocess.run(
            [sys.executable, '-c', textwrap.dedent('''
                import sys
                from refmap.witness import Witness
                witness = Witness(lambda *args: print('spoke', file=sys.stderr))
                for _ in range(50):
                    witness.renew()
                    witness.dismiss()
                ''')], stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    def test_no_witness(self):
        def fail(*args):
            raise OSError

        for module, name in (os, 'pipe'), (sys, '_refmap_fork'):
            with swap_attr(module, name, fail):
                witness = Witness(self.fail)
                witness.renew()
                witness.dismiss()
                witness.dismiss()


class CutTest(unittest.TestCase):
    """Recorder.cut(): which runs are judged."""

    def check(self, warmups, runs, done, expected):
        recorder = measure.Recorder(warmups, runs)
        for i in range(-1, done):
            recorder.snapshot(i)
        self.assertIs(recorder.cut(done), expected is not None)
        if expected is not None:
            self.assertEqual((recorder.warmups, recorder.runs), expected)
            result = measure.examine(recorder)
            self.assertEqual(len(result['total']), expected[1])
            self.assertEqual(len(recorder.block_changes()), expected[1])
        recorder.drop()

    def test_cut(self):
        self.check(3, 3, 0, None)
        self.check(3, 3, 2, None)
        self.check(3, 3, 3, (1, 2))
        self.check(3, 3, 4, (1, 3))
        self.check(3, 3, 5, (2, 3))
        self.check(3, 9, 8, (3, 5))
        self.check(9, 3, 6, None)
        self.check(9, 3, 8, (6, 2))
        self.check(0, 3, 2, (0, 2))
        self.check(1, 5, 4, (1, 3))


class RegrtestTest(RegrtestCase):
    """python -m test -R."""

    BODY = '''
        def test_a(self):
            _testrefmap.leak_reference(['leaked'])

        def test_b(self):
            import os
            self.runs.append(None)
            if len(self.runs) == {}:
                os.abort()

        runs = []
        '''

    def crash(self, run, *args, exitcode):
        """Return (output, the findings)."""
        name = write_test(self.directory, 'crash', self.BODY.format(run))
        output = self.regrtest('--refmap-json', self.path('json'), '--refmap-html',
                               self.path('html'), *args, name, exitcode=exitcode)
        self.assertIn('test_crash.html', os.listdir(self.path('html')))
        self.assertNotIn('.died', os.listdir(self.path('html')))
        with open(self.path('html/index.html'), encoding='utf-8') as file:
            self.assertEqual(file.read().count('href="test_crash.html"'), 1)
        [findings] = self.findings()
        return output, findings

    def test_in_a_run(self):
        output, findings = self.crash(6, exitcode=-signal.SIGABRT)
        self.assertIn('refmap: the process died in run 6 of 6 of test_crash', output)
        self.assertIn('py-refmap-diff', output)
        self.assertEqual(self.types(findings), {('list', 'every run'): [1, 1, 1]})
        self.assertEqual(findings['died'], 'in run 6 of 6')

    def test_in_a_run_of_a_worker(self):
        output, findings = self.crash(6, '-j1', exitcode=2)
        self.assertIn('refmap: the process died in run 6 of 6 of test_crash', output)
        self.assertEqual(self.types(findings), {('list', 'every run'): [1, 1, 1]})

    def test_in_one_of_several_files(self):
        # The list of an earlier run that was stopped is none of this one.
        os.mkdir(self.path('html'))
        with open(self.path('html/.died'), 'w') as file:
            file.write('["test_old", "error", [1], null]\n')
        write_test(self.directory, 'crash', self.BODY.format(6))
        names = ['test_crash', write_test(self.directory, 'clean', '''
            def test_a(self):
                pass
            ''')]
        self.regrtest('--refmap-html', self.path('html'), '-j2', *names,
                      exitcode=2)
        with open(self.path('html/index.html'), encoding='utf-8') as file:
            index = file.read()
        for text in '2 test files', '1 leak, 1 clean', 'href="test_crash.html"':
            self.assertIn(text, index)
        self.assertNotIn('test_old', index)
        self.assertEqual(sorted(os.listdir(self.path('html'))),
                         ['index.html', 'test_crash.html'])

    def test_line_that_was_cut_off(self):
        whole = ['test_one', 'leak', [1, 1, 1], 'test_one.html']
        findings = {**html_findings.test_file(), 'test': 'test_two',
                    'rerun': False}
        with open(self.path(libregrtest.DIED), 'w') as file:
            file.write(f'{json.dumps(whole)}\n["test_t\n')
        libregrtest.write_died(self.directory, findings)
        one, two = libregrtest.died_entries(self.directory)
        self.assertEqual([*one], whole)
        self.assertEqual((two.name, two.file), ('test_two', 'test_two.html'))

    def test_in_the_search(self):
        output, findings = self.crash(8, exitcode=-signal.SIGABRT)
        _, died, rest = output.partition('refmap: the process died in the search')
        self.assertTrue(died, output)
        self.assertIn('test_crash.Test.test_a', rest)
        self.assertEqual([method['name'] for method in findings['methods']],
                         ['test_crash.Test.test_a'])
        self.assertIn('search', findings['died'])


if __name__ == '__main__':
    unittest.main()
