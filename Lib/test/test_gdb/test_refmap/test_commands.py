"""What each command says of a process, and of its cores."""

import re
import sys
import unittest
from refmap import report

from .support import (Program, ProgramTests, RefmapTestCase, setUpModule,
                      tearDownModule)


class AllCommands(ProgramTests):
    """What each command must say of the program; mixed into test cases."""

    COMMANDS = ['py-refmap', 'py-refmap --interp 0', 'py-refmap --interp 7',
                'py-refmap-types', 'py-refmap-types Vict*',
                'py-refmap-types nothing_of_the_kind',
                'py-refmap-top', 'py-refmap-top 3 --type Victim',
                'py-refmap-objects --type Victim',
                'py-refmap-objects --type Victim --limit 1',
                'py-refmap-objects --type object --born-after 536870911',
                'py-refmap-snapshots', 'py-refmap-diff', 'py-refmap-diff 2 3',
                'py-refmap-diff 1 3', 'py-refmap-diff 3 $after',
                'py-refmap-diff 9', 'py-refmap-diff now 3',
                'py-refmap-verify', 'py-refmap $victim',
                'py-refmap (PyObject *) $survivor', 'py-refmap $slots',
                'py-refmap $victim + 16', 'py-refmap-refs $victim']

    def test_summary(self):
        answer = self.say('py-refmap')
        self.assertEqual(answer.field('exact'), 'yes')
        mapped, unattributed, total, objects = (
            int(answer.field(name)) for name in
            ('mapped', 'unattributed', 'total', 'objects'))
        self.assertEqual(mapped + unattributed, total)
        self.assertGreater(mapped, objects)
        self.assertGreater(objects, 1000)
        fields = [name for name in sys.refmap_info().__match_args__
                  if name != 'bytes'] + ['exact']
        self.assertEqual([line.split()[0] for line in answer.lines[:-11]],
                         fields)
        self.assertEqual(answer.output,
                         self.say('py-refmap --interp 0').output)
        self.assertEqual(self.session['py-refmap --interp 7'].error,
                         'There is no interpreter 7; there are: 0.')

    def test_object(self):
        answer = self.say('py-refmap $victim')
        facts = self.facts
        self.assertEqual(answer.field('object'), hex(facts['victim']))
        self.assertEqual(answer.field('type'), 'Victim')
        self.assertEqual(answer.field('references'), answer.field('ob_refcnt'))
        # Those that the program counted are there, and some on the stack.
        count = int(answer.field('references'))
        self.assertIn(count, range(facts['count'], facts['count'] + 4))
        self.assertGreater(int(answer.field('birth')), 0)
        self.assertEqual(answer.field('immortal'), 'no')
        self.assertIn('of interpreter 0', answer.field('block'))
        self.assertIn(f'snapshot      2: {facts["count"]} references',
                      answer.lines)
        self.assertIn('snapshot      1: not there', answer.lines)
        self.assertIn('Victim', answer.field('value'))

    def test_object_by_expression(self):
        answer = self.say('py-refmap (PyObject *) $survivor')
        self.assertEqual(answer.field('object'), hex(self.facts['survivor']))
        self.assertIn('snapshot      2: not there', answer.lines)
        self.assertIn('snapshot      3 (baseline): 1 reference', answer.lines)

    def test_inside_of_object(self):
        self.assertIn('16 bytes inside the Victim',
                      self.session['py-refmap $victim + 16'].error)

    def test_types(self):
        rows = self.say('py-refmap-types').lines[1:-1]
        counts = [int(row.split()[0]) for row in rows]
        self.assertEqual(counts, sorted(counts, reverse=True))
        rows = self.say('py-refmap-types Vict*').lines
        self.assertEqual(rows[1].split()[1:], ['2', 'Victim'])
        self.assertEqual(self.say('py-refmap-types nothing_of_the_kind').lines,
                         ['No object is of a type like nothing_of_the_kind.'])

    def test_top(self):
        lines = self.say('py-refmap-top').lines
        counts = [int(re.search(r'\): (-?\d+) ref', line)[1])
                  for line in lines]
        self.assertEqual(len(counts), 10)
        self.assertEqual(counts, sorted(counts, reverse=True))
        lines = self.say('py-refmap-top 3 --type Victim').lines
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].startswith(f'{self.facts["victim"]:#x} '))

    def test_objects(self):
        lines = self.say('py-refmap-objects --type Victim').lines
        self.assertEqual(len(lines), 3)
        self.assertIn(f'{self.facts["victim"]:#x} (Victim): ', lines[0])
        self.assertIn(f'{self.facts["survivor"]:#x} (Victim): ', lines[1])
        self.assertIn('2 objects', lines[2])
        lines = self.say('py-refmap-objects --type Victim --limit 1').lines
        self.assertEqual(len(lines), 2)
        self.assertIn('1 of them shown', lines[1])
        self.assertEqual(self.say('py-refmap-objects --type object '
                                  '--born-after 536870911').lines,
                         ['0 objects with 0 references.'])

    def test_snapshots(self):
        lines = self.say('py-refmap-snapshots').lines
        self.assertEqual([line.split(':')[0] for line in lines],
                         ['1', '2', '3'])
        self.assertEqual([line.endswith(', baseline') for line in lines],
                         [False, False, True])
        # gdb compares by the map; see test_diff_in_the_words_of_sys().
        self.assertEqual(['true counts' in line for line in lines],
                         [True, False, False])

    def test_diff_in_the_words_of_sys(self):
        self.assertEqual(self.say('py-refmap-diff 2 3').lines,
                         self.facts['diff'])
        self.assertEqual(self.say('py-refmap-diff 1 3').lines,
                         self.facts['diff_oldest'])

    def test_diff_in_the_words_of_the_library(self):
        self.assertEqual(self.say('py-refmap-diff 2 3').lines,
                         report.raw_lines(self.facts['living'],
                                          self.facts['died']))

    def test_diff_with_now(self):
        lines = self.say('py-refmap-diff').lines
        total = int(re.fullmatch(r'total ref change (-?\d+)', lines[-1])[1])
        types = [int(line.rpartition(' ')[2]) for line in lines
                 if line.startswith('ref change of type')]
        self.assertEqual(sum(types), total)
        back = self.say('py-refmap-diff now 3').lines
        self.assertEqual(back[-1], f'total ref change {-total}')

    def test_diff_of_snapshot_object(self):
        self.assertEqual(self.say('py-refmap-diff 3 $after').lines,
                         ['total ref change 0'])
        self.assertEqual(self.session['py-refmap-diff 9'].error,
                         'There is no snapshot 9: see py-refmap-snapshots.')

    def test_verify(self):
        lines = self.say('py-refmap-verify').lines
        self.assertRegex(lines[-1],
                         r'^\d+ objects compared, none with another ob_refcnt')
        self.assertEqual(len(lines), 1)

    def test_refs(self):
        answer = self.say('py-refmap-refs $victim')
        for where, holder in self.facts['holders'].items():
            with self.subTest(where=where):
                self.assertRegex(answer.output,
                                 fr'(?m)^{holder:#x} \(.*\): '
                                 + re.escape(where.strip()) + '$')
        self.assertRegex(answer.output, r"\(dict\): value of 'victim'")
        # What else is counted can only be on the stack of a running frame.
        match = re.fullmatch(r'(\d+) references found(?: and perhaps (\d+) on '
                             r'stacks)?, the map counts (\d+)\.',
                             answer.lines[-1])
        found, perhaps, count = (int(group or 0) for group in match.groups())
        self.assertLessEqual(found, count)
        self.assertLessEqual(count, found + perhaps)


class LiveTests(AllCommands, RefmapTestCase):
    """On a process that is stopped."""

    PACKED = 'print main_map.nblocks - main_map.nloose'
    EXTRA = ['py-refmap obj', 'py-refmap-refs obj', 'py-refmap (long)getpid()',
             PACKED]

    @classmethod
    def open(cls):
        return cls.program.live(cls.COMMANDS + cls.EXTRA,
                                setup=cls.program.variables())

    def test_variable(self):
        answer = self.say('py-refmap obj')
        self.assertEqual(answer.field('object'), hex(self.facts['victim']))

    def test_some_pages_are_packed(self):
        packed = int(self.session[self.PACKED].output.split()[-1])
        self.assertGreater(packed, 10)

    def test_running_frame(self):
        answer = self.say('py-refmap-refs obj')
        self.assertRegex(answer.output,
                         r"\(running stop\(\)\): local 'argument'")

    def test_nothing_is_called(self):
        self.assertIn('may-call-functions',
                      self.session['py-refmap (long)getpid()'].error)


class GcoreTests(AllCommands, RefmapTestCase):
    """On the core that gcore writes of it."""

    RUNNING = ['py-refmap-watch $victim', 'py-refmap-break-negative']

    @classmethod
    def open(cls):
        core = cls.program.path('gcore')
        cls.program.live([f'gcore {core}'])
        return cls.program.core(core, cls.COMMANDS + cls.RUNNING,
                                setup=cls.program.variables())

    def test_core_does_not_run(self):
        for command in self.RUNNING:
            self.assertEqual(self.session[command].error,
                             'A core dump does not run: this needs a process.')


class AbortTests(AllCommands, RefmapTestCase):
    """On the core of an abort()."""

    @classmethod
    def open(cls):
        core = cls.program.abort()
        return cls.program.core(core, cls.COMMANDS,
                                setup=cls.program.variables())


class VerifyTests(RefmapTestCase):
    def test_difference(self):
        program = Program()
        self.addCleanup(program.remove)
        session = program.live(['py-refmap-verify', 'py-refmap obj'], setup=[
            'set var obj->ob_refcnt = obj->ob_refcnt + 5'])
        first, last = session['py-refmap-verify'].lines
        address = program.facts['victim']
        self.assertRegex(first, fr'^{address:#x} \(Victim\): the map counts '
                                r'\d+, ob_refcnt is \d+$')
        count, refcnt = map(int, re.findall(r' (\d+)', first))
        self.assertEqual(refcnt - count, 5)
        self.assertIn('1 with another ob_refcnt', last)
        self.assertIn('differs from the map',
                      session['py-refmap obj'].field('ob_refcnt'))


if __name__ == '__main__':
    unittest.main()
