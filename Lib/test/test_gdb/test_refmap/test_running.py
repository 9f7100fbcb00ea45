"""Commands that let the program go on."""

import re
import subprocess
import sys
import unittest

from ..util import clean_environment
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


class BirthTests(RefmapTestCase):
    """py-refmap-break-birth"""

    SOURCE = '''
import sys
class Victim: pass
def function():
    return [Victim() for _ in range(100)]
victims = function()
hash(victims[0])
later = function()
print([sys._refmap_birth(id(victim)) for victim in victims + later])
'''

    def setUp(self):
        self.program = Program(self.SOURCE)
        self.addCleanup(self.program.remove)

    def births(self):
        """Return the births of the victims in a run outside of gdb."""
        env = clean_environment() | {'PYTHONHASHSEED': '0'}
        pipe = subprocess.PIPE      # as gdb's, whose streams the program gets
        for _ in range(2):          # the first may have files to compile
            done = subprocess.run([sys.executable, self.program.script], env=env,
                                  stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
        return [int(birth) for birth in re.findall(r'\d+', done.stdout)]

    def session(self, setup, commands):
        return Session(['set startup-with-shell off', *setup], commands,
                       '--args', sys.executable, self.program.script,
                       PYTHONHASHSEED='0')

    def test_before_the_start(self):
        births = self.births()
        first, second = births[20], births[-1]
        session = self.session(
            [f'py-refmap-break-birth {second}',
             f'py-refmap-break-birth {first}', 'run', 'continue', 'continue',
             # Each run begins anew.
             'run', 'delete', 'continue'], [])
        output = session.stdout
        found = re.findall(r'^birth (\d+): 0x[0-9a-f]+ \((.+)\)$', output, re.M)
        self.assertEqual(found, [(str(first), 'Victim'), (str(second), 'Victim'),
                                 (str(first), 'Victim')], output)
        self.assertRegex(output, r'(?m)^  Python function at .*program\.py:5$')
        self.assertRegex(output, r'(?m)^  C      PyType_GenericAlloc at ')
        self.assertNotRegex(output, r'(?m)^  C      \w*(refmap|Refmap|RefMap)')
        # It was as undisturbed as it was without gdb.
        self.assertEqual(output.count(str(births)), 2, output)

    def test_in_a_process(self):
        births = self.births()
        session = self.session(
            [*Program.STOP,
             f'python refmap_try("py-refmap-break-birth {births[3]}")',
             f'py-refmap-break-birth {births[150]}', 'delete 1', 'continue',
             'continue'], [])
        output = session.stdout
        self.assertIn(f'Birth {births[3]} was before, the last one is ', output)
        self.assertEqual(re.findall(r'^birth (\d+)', output, re.M),
                         [str(births[150])], output)
        self.assertEqual(output.count(str(births)), 1, output)

    def test_before_the_first_interpreter(self):
        birth = self.births()[20]
        session = self.session(
            ['break main', 'run', f'py-refmap-break-birth {birth}',
             'py-refmap-break-birth 7 --interp 5', 'continue', 'continue'], [])
        output = session.stdout
        self.assertIn(f'There is no interpreter 0; there are: none. Birth {birth} '
                      'is waited for in one to come.', output)
        self.assertEqual(re.findall(r'^birth (\d+)', output, re.M), [str(birth)],
                         output)

    def test_wrong_arguments(self):
        commands = [f'py-refmap-break-birth{rest}' for rest in
                    ('', ' x', ' 0', f' {1 << 28}', ' 5 --interp x')]
        session = self.session([], commands)
        for command in commands:
            self.assertIn('Usage: py-refmap-break-birth N',
                          session[command].error)

    def test_other_interpreter(self):
        source = '''
import _interpreters
interpreter = _interpreters.create('isolated')
script = 'class Victim: pass\\nx = [Victim() for _ in range(100)]\\n'
_interpreters.run_string(interpreter, script + """if True:
    import sys
    print(sys._refmap_birth(id(x[50])), flush=True)
    hash(x)
    """)
'''
        self.program.remove()
        self.program = Program(source)
        [birth] = self.births()
        session = self.session([f'py-refmap-break-birth {birth} --interp 1',
                                'run', 'continue'], [])
        self.assertEqual(re.findall(r'^birth (\d+): 0x[0-9a-f]+ \((.+)\)$',
                                    session.stdout, re.M),
                         [(str(birth), 'Victim')], session.stdout)


if __name__ == '__main__':
    unittest.main()
