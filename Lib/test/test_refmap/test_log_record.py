"""python -m refmap log record: a program is run, and its log is what happened."""

import subprocess
import sys
import textwrap
import unittest

from refmap.log import format

from .log_case import LogTestCase, environment, is_object, tell

NODES = '''
import os, sys
class Node: pass
kept = [Node() for _ in range(3)]
del kept[0]
'''


class RecordTests(LogTestCase):

    def record(self, source, *arguments, program=('script.py',), status=0):
        """Run a program; return what it printed and what was said."""
        with open(self.file('script.py'), 'w') as file:
            file.write(textwrap.dedent(source))
        done = subprocess.run(
            [sys.executable, '-m', 'refmap', 'log', 'record', '-o', self.path,
             *arguments, *program], cwd=self.directory, text=True,
            env=environment(), stdin=subprocess.DEVNULL, capture_output=True)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout, done.stderr

    def objects(self, path=None):
        return tell([event for event in self.read(path) if is_object(event)])

    def test_script(self):
        _, said = self.record(NODES, '--include', 'Node')
        # What is global at the end is alive.
        self.assertEqual(self.objects(), ['NEW Node 1', 'NEW Node 2', 'NEW Node 3',
                                          'DEL Node 1'])
        self.assertIn(f'{self.path} was written', said)

    def test_module_and_arguments(self):
        printed, _ = self.record(NODES + 'print(sys.argv[1:])\n', '--include', 'Node',
                                 program=('-m', 'script', 'x', '-y'))
        self.assertEqual(printed, "['x', '-y']\n")
        self.assertEqual(len(self.objects()), 4)

    def test_exit_code(self):
        for source, status in (('raise SystemExit(3)', 1), ('raise SystemExit', 0),
                               ('1 / 0', 2)):
            with self.subTest(source):
                self.record(source, status=status)
                self.assertEqual(tell(self.read())[-1], 'END closed')

    def test_child(self):
        self.record(NODES + textwrap.dedent('''
            if os.fork() == 0:
                kept.append(Node())
                sys.exit()
            os.wait()
            '''), '--include', 'Node')
        [child] = [name for name in self.files() if name.startswith('x.log.')]
        self.assertEqual(self.objects(self.file(child))[0], 'NEW Node 1')
        self.assertEqual(len(self.objects()), 4)

    def test_profile_and_trace(self):
        for option, kind in (('--profile', format.RETURN), ('--trace', format.LINE)):
            with self.subTest(option):
                self.record('def call():\n    pass\ncall()\n', option,
                            '--d-rss-trigger', '0')
                self.assertIn('call', [event.place.where.function
                                       for event in self.read()
                                       if event.kind == kind])

    def test_bad_usage(self):
        for arguments in (['--stack', '65'], ['--d-rss-trigger', '-2'],
                          ['--profile', '--trace'], ['-o', 'no/such/directory']):
            with self.subTest(arguments):
                printed, said = self.record('print("ran")', *arguments, status=2)
                self.assertEqual(printed, '')
                self.assertNotIn('Traceback', said)


if __name__ == '__main__':
    unittest.main()
