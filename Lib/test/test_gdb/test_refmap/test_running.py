"""Commands that let the program go on."""

import re
import sys
import unittest

from .support import (Program, RefmapTestCase, Session, setUpModule,
                      tearDownModule)


class RunningTests(RefmapTestCase):
    """Commands that let the program go on."""

    WATCHED = '''
class Victim: pass
victim = Victim()
hash(victim)
def function(argument):
    pair = [argument, argument]
function(victim)
del victim
id(2)
'''

    def run_program(self, source, *commands):
        program = Program(source)
        self.addCleanup(program.remove)
        session = Session([*commands], [], '--args', sys.executable, '-S',
                          '-E', program.script)
        return session.stdout + session.stderr

    def test_watch(self):
        output = self.run_program(self.WATCHED, *Program.STOP,
                                  'py-refmap-watch obj', 'delete 1',
                                  'continue')
        if 'no hardware watchpoint' in output:
            self.skipTest('this machine offers no hardware watchpoint')
        changes = [tuple(map(int, change)) for change in re.findall(
            r'^0x[0-9a-f]+ \(Victim\): (\d+) -> (\d+)$', output, re.M)]
        self.assertGreaterEqual(len(changes), 4)
        for (_, new), (old, _) in zip(changes, changes[1:]):
            self.assertEqual(new, old)
        self.assertEqual(changes[-1], (1, 0))
        self.assertIn('(Victim) dies; it is not watched any more', output)
        self.assertRegex(output, r'(?m)^  C      \w+')
        self.assertIn('exited normally', output)
        self.assertRegex(output,
                         r'(?m)^  Python function at .*program.py:6$')

    def test_watch_immortal(self):
        output = self.run_program(
            self.WATCHED, *Program.STOP,
            'python refmap_try("py-refmap-watch &_Py_NoneStruct")')
        self.assertIn('is immortal', output)

    def test_freed_while_counted(self):
        output = self.run_program(
            'import _testrefmap\n_testrefmap.free_counted("object", 3)\n',
            'py-refmap-break-negative', 'run')
        if "No module named '_testrefmap'" in output:
            self.skipTest('there is no module _testrefmap')
        self.assertRegex(output, r'the memory of 0x[0-9a-f]+ is freed while '
                                 r'the map counts 3')
        self.assertRegex(output, r'(?m)^  Python <module> at .*program.py:2$')

    def test_below_zero(self):
        output = self.run_program(
            'import _testrefmap\n'
            'x = object()\n'
            '_testrefmap.write_refcnt(x, -3)\n',
            'py-refmap-break-negative', 'run')
        if "No module named '_testrefmap'" in output:
            self.skipTest('there is no module _testrefmap')
        self.assertRegex(output, r'the reference count of 0x[0-9a-f]+ drops '
                                 r'below zero')


if __name__ == '__main__':
    unittest.main()
