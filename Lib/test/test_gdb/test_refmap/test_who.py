"""What was recorded of an object, by sys.refmap_record()."""

import re
import sys
import unittest

from .support import (Program, ProgramTests, RefmapTestCase, Session,
                      setUpModule, tearDownModule)

RECORDED = '''
import json, sys

class Victim: pass
class Other: pass

def make():
    return Victim()

def hold(victim):
    return [victim, victim]

sys.refmap_record(types=['Victim'])
victim = make()
held = hold(victim)
del held[0]
dead = make()
grown = []
grown.append(victim)
grown.extend(range(1000))
facts = {'victim': id(victim), 'dead': id(dead), 'keep': id(Other),
         'birth': sys._refmap_birth(id(victim))}
del dead
with open(sys.argv[1], 'w') as file:
    json.dump(facts, file)
def stop(argument):
    hash(argument)
stop(victim)
'''


@unittest.skipUnless(hasattr(sys, 'refmap_record'),
                     'this interpreter can not record')
class RecordedTests(ProgramTests):
    """py-refmap-who; mixed into test cases."""

    SOURCE = RECORDED

    COMMANDS = ['py-refmap-who $victim', 'py-refmap-who $victim --frames 0',
                'py-refmap-who $victim --limit 1 --frames 30',
                'py-refmap-who $victim --from 2 --limit 1 --frames 1',
                'py-refmap-who $dead', 'py-refmap-who $keep', 'py-refmap-who',
                'py-refmap-who 5', 'py-refmap-break-birth 5']

    def heads(self, command):
        """Return the lines about records, by their numbers."""
        return dict(re.findall(r'(?m)^(\d+): (.*)$', self.say(command).output))

    def test_title(self):
        title = self.say('py-refmap-who $victim').lines[0]
        self.assertEqual(
            re.sub(r'\d+ records$', 'N records', title),
            f'{self.facts["victim"]:#x} (Victim), birth {self.facts["birth"]}: '
            f'N records')

    def test_life(self):
        output = self.say('py-refmap-who $victim').output
        heads = self.heads('py-refmap-who $victim')
        self.assertEqual(sorted(map(int, heads)),
                         list(range(1, len(heads) + 1)))
        program = re.escape(self.program.script)
        self.assertRegex(heads['1'], rf'^born: reference 1, make at {program}:8$')
        self.assertRegex(output, r'(?m)^\d+: \+1: reference 2, <module> at '
                                 rf'{program}:14$')
        self.assertRegex(output, rf'(?m)^\d+: -1, <module> at {program}:16$')
        # The function that took it, and the line, not those of the map.
        self.assertRegex(output, r'(?m)^  C      PyType_GenericAlloc at .*'
                                 r'typeobject.c:\d+$')
        self.assertRegex(output, r'(?m)^  C      _PyEval_EvalFrameDefault at .*:\d+$')
        self.assertNotRegex(output, r'(?m)^  C      \w*(refmap|RefMap|Py_INCREF)')
        # Where the references went.
        self.assertRegex(output, r'(?m)^\d+: reference \d+: \w+ returns, '
                                 r'_PyEval_EvalFrameDefault has it on its stack$')
        self.assertRegex(output, r'reference \d+ is (found )?at 0x[0-9a-f]+, '
                                 r'\d+ bytes inside ')
        # No further than to the Python code.
        self.assertNotIn('PyEval_EvalCode', output)

    def test_memory_that_moves(self):
        # The items of a list that grows.
        output = self.say('py-refmap-who $victim').output
        places = re.findall(r'reference \d+ is (?:found |now )?at 0x[0-9a-f]+, \d+ '
                            r'bytes inside (?:the \S+ at )?(0x[0-9a-f]+)', output)
        moves = re.findall(r'(?m)^\d+: what was in memory at (0x[0-9a-f]+) is at '
                           r'0x[0-9a-f]+ now$', output)
        self.assertTrue(set(moves) & set(places), output)

    def test_numbers_of_lines(self):
        all_heads = self.heads('py-refmap-who $victim')
        answer = self.say('py-refmap-who $victim --frames 0')
        self.assertNotIn('  C  ', answer.output)
        answer = self.say('py-refmap-who $victim --limit 1 --frames 30')
        self.assertRegex(answer.output, '(?m)^  C      main at ')
        answer = self.say('py-refmap-who $victim --from 2 --limit 1 --frames 1')
        self.assertEqual(answer.lines[1], f'2: {all_heads["2"]}')
        self.assertEqual(answer.lines[-1], f'... {len(all_heads) - 2} more (see '
                                           f'--from and --limit)')
        self.assertLessEqual(answer.output.count('  C  '), 1)

    def test_dead(self):
        self.assertRegex(self.say('py-refmap-who $dead').output,
                         r'(?m)^\d+: dies, <module> at .*:\d+$')

    def test_errors(self):
        self.assertEqual(
            self.session['py-refmap-who $keep'].error,
            f'The recording has nothing of an object at {self.facts["keep"]:#x}: '
            f'it was not watched.')
        self.assertIn('Usage: py-refmap-who', self.session['py-refmap-who'].error)
        self.assertEqual(self.session['py-refmap-who 5'].error,
                         'No object can be at 0x5.')


class LiveTests(RecordedTests, RefmapTestCase):

    @classmethod
    def open(cls):
        return cls.program.live(cls.COMMANDS, cls.program.variables())


class CoreTests(RecordedTests, RefmapTestCase):

    @classmethod
    def open(cls):
        core = cls.program.path('gcore')
        Session([*Program.STOP, f'gcore {core}'], [], '--args', sys.executable,
                '-S', '-E', *cls.program.args)
        return cls.program.core(core, cls.COMMANDS, cls.program.variables())

    def test_does_not_run(self):
        self.assertEqual(self.session['py-refmap-break-birth 5'].error,
                         'A core dump does not run: this needs a process.')


class NothingTests(RefmapTestCase):

    def test_no_recording(self):
        program = Program('hash(print)\n')
        self.addCleanup(program.remove)
        command = 'py-refmap-who obj'
        session = Session(Program.STOP, [command], '--args', sys.executable, '-S',
                          '-E', program.script)
        self.assertIn('see sys.refmap_record().', session[command].error)


if __name__ == '__main__':
    unittest.main()
