"""python -m test -R goes on to who leaked."""

import textwrap
import time
import unittest
import xml.etree.ElementTree as ET

from refmap.who import batch, search
from test.libregrtest import refmap_who as who
from test.support import swap_attr

from .test_regrtest import RegrtestCase, write_test

OBSTACLE = batch.obstacle()

MEMORY = '''
    def test_memory(self):
        import ctypes
        malloc = ctypes.pythonapi.PyMem_Malloc
        malloc.restype = ctypes.c_void_p
        malloc(100)
    '''


class WhoTests(RegrtestCase):
    def test_leak(self):
        output, findings = self.hunt('one', exitcode=2)
        self.assertIn('  who leaked in test_one.Test.test_leak:\n', output)
        self.assertIsNone(findings['who_note'])
        [found] = findings['who']
        self.assertEqual(found['test'], 'test_one.Test.test_leak')
        self.assertEqual(found['verdict'], 'leak')
        self.assertEqual({root['type'] for root in found['roots']}, {'list'})
        self.assertNotIn('findings', found)
        if OBSTACLE:
            self.assertEqual(found['suspects'], [])
            self.assertIn(f'    not known: {OBSTACLE}\n', output)
            return
        self.assertEqual(found['suspects'][0]['function'], 'leak_reference')
        self.assertRegex(output, r'      1\. leak_reference\(\), '
                                 r'Modules/_testrefmap\.c:\d+\n')
        [finding] = findings['methods'][0]['types']
        self.assertIn('Test.test_leak', finding['births'][0]['text'])

    def test_clean(self):
        output, findings = self.hunt('cache_fills')
        self.assertNotIn('who', findings)
        self.assertNotIn('who leaked', output)

    def test_options(self):
        for option in '--refmap-no-who', '--refmap-no-bisect':
            output, findings = self.hunt('one', option, exitcode=2)
            self.assertEqual('methods' in findings,
                             option == '--refmap-no-who')
            self.assertNotIn('who', findings)
            self.assertNotIn('who leaked', output)
        output = self.regrtest('--refmap-no-who', counts=None, exitcode=2)
        self.assertIn('need -R', output)

    def test_workers_and_junit(self):
        output, findings = self.hunt('one', '-j1', '--junit-xml',
                                     self.path('xml'), exitcode=2)
        self.assertIn('who leaked in test_one.Test.test_leak:\n', output)
        self.assertEqual(len(findings['who']), 1)
        [failure] = ET.parse(self.path('xml')).getroot().iter('failure')
        self.assertIn('who leaked in test_one.Test.test_leak:', failure.text)

    def test_over_decref(self):
        output, findings = self.hunt('drift', exitcode=2)
        self.assertIn('who leaked in test_drift.Test.test_drift:', output)
        [found] = findings['who']
        self.assertEqual(found['verdict'], 'error')
        if not OBSTACLE:
            self.assertEqual(found['suspects'][0]['rule'], 'over-decref')
            self.assertEqual(found['suspects'][0]['function'], 'over_decref')

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
        output = self.regrtest('--refmap-json', self.path('json'), name,
                               exitcode=2)
        self.assertIn('who leaked in test_together:\n', output)
        [findings] = self.findings()
        self.assertEqual(findings['who'][0]['roots'][0]['type'], 'set')

    def test_memory(self):
        name = write_test(self.directory, 'memory', textwrap.dedent(MEMORY))
        output = self.regrtest('--refmap-json', self.path('json'), name,
                               exitcode=2)
        [findings] = self.findings()
        self.assertEqual(findings['types'], [])
        self.assertNotIn('methods', findings)
        [found] = findings['who']
        self.assertEqual(found['verdict'], 'leak')
        if not OBSTACLE:
            self.assertIn('memory, raw memory: 1 block a run', output)
            self.assertEqual(found['suspects'][0]['rule'], 'raw-memory')

    def test_a_test_that_fails_alone(self):
        # Once it has leaked in the hunt and the search, it raises.
        body = '''
            runs = []
            def test_leak(self):
                self.runs.append(None)
                if len(self.runs) > 12:
                    raise SystemExit
                _testrefmap.leak_reference(['leaked'])
            '''
        name = write_test(self.directory, 'fails', body)
        output = self.regrtest('--refmap-json', self.path('json'), name,
                               exitcode=2)
        self.assertIn('test_fails leaked [', output)
        self.assertNotIn('Traceback', output)


class BoundsTests(unittest.TestCase):
    def diagnoses(self, seconds):
        return who.Diagnoses(lambda: None, (), seconds)

    def test_time_is_up(self):
        diagnoses = self.diagnoses(0.0)
        self.assertIsNone(diagnoses.try_one('test_x', self.fail))
        self.assertEqual(who.lines(diagnoses),
                         ['who leaked: no time for test_x'])

    def test_a_long_run(self):
        diagnoses = self.diagnoses(1.0)
        self.assertIsNone(diagnoses.try_one('test_x',
                                            lambda: time.sleep(0.11)))
        [note] = diagnoses.notes
        self.assertRegex(note, r'test_x is not recorded: it takes \d\.\d seconds')

    def test_seconds(self):
        self.assertEqual(who.seconds_for_who(None), who.SECONDS)
        self.assertEqual(who.seconds_for_who(10.0), 2.0)
        self.assertEqual(who.seconds_for_who(10 ** 6), who.SECONDS)

    def test_many_methods(self):
        names = [f'test_{i}' for i in range(who.MAX_METHODS + 3)]
        leaking = [{'name': name, 'types': []} for name in names]
        diagnoses = self.diagnoses(60.0)
        tried = []
        with (swap_attr(who.methods, 'names_of', lambda *args: names),
              swap_attr(diagnoses, 'try_one',
                        lambda name, run: tried.append(name))):
            who.diagnose_file(None, 'test_file', leaking, diagnoses)
        self.assertEqual(tried, names[:who.MAX_METHODS])
        self.assertEqual(diagnoses.notes, ['3 more methods are not diagnosed'])

    def test_an_object_that_would_die(self):
        finding = {'type': 'x', 'pattern': 'over-decref',
                   'objects': [{'counts': [9, 8, 7, 6]}]}
        diagnoses = self.diagnoses(60.0)
        with (swap_attr(who.methods, 'names_of', lambda *args: ['test_a']),
              swap_attr(diagnoses, 'try_one', self.fail)):
            who.diagnose_file(None, 'test_file',
                              [{'name': 'test_a', 'types': [finding]}],
                              diagnoses)
        self.assertEqual(diagnoses.notes, [f'test_a: {search.DYING}'])

    def test_names_make_no_lines(self):
        diagnoses = self.diagnoses(0.0)
        diagnoses.try_one('x\n\x1b[2K', self.fail)
        for line in who.lines(diagnoses, 'y\n'):
            self.assertTrue(line.isprintable())


if __name__ == '__main__':
    unittest.main()
