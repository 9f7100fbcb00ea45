"""Names that pretend to be something else."""

import unittest

from .support import (Program, RefmapTestCase, setUpModule, tearDownModule)


class NamesTests(RefmapTestCase):
    """Names that pretend to be something else."""

    SOURCE = r'''
import json, sys

class Victim: pass
victim = Victim()
facts = {'victim': id(victim), 'holders': {}}

# Each begins another line, or does what a terminal is told by it.
FORGED = ['A%stotal ref change 666' % char for char in
          ('\n', '\r', '\r\n', '\x85', '\u2028', '\x1b[2J', '\x7f', '\0',
           '\N{RIGHT-TO-LEFT OVERRIDE}', '\udc80')]
forged = []
before = sys.refmap_snapshot()
for name in FORGED:
    try:
        forged.append(type(name, (), {})())
    except (ValueError, UnicodeEncodeError):
        continue            # no type can have it
    forged[-1].attribute = victim
facts['forged'] = len(forged)
after = sys.refmap_snapshot()

# Classes with the names of types whose memory gdb knows.
for name in ('int', 'str', 'dict keys', 'cell', 'set', 'frame', 'generator',
             'code', 'list', 'sys.refmap_snapshot_type', '?'):
    holder = type(name, (), {'__slots__': ('a', 'b', 'c')})()
    holder.c = victim
    facts['holders'][name] = id(holder)
    forged.append(holder)

def function(inside):
    global running
    running = hash
    with open(sys.argv[1], 'w') as file:
        json.dump(facts, file)
    running(inside)
function.__code__ = function.__code__.replace(
    co_name='f\ntotal ref change 1', co_qualname='f\ntotal ref change 1',
    co_filename='f\ntotal ref change 1')
function(victim)
'''
    COMMANDS = ['py-refmap', 'py-refmap-types', 'py-refmap-types A*',
                'py-refmap-top 100', 'py-refmap-objects --type A*',
                'py-refmap-diff 1 2', 'py-refmap-diff', 'py-refmap-refs obj',
                'py-refmap-verify', 'py-refmap obj', 'py-refmap $forged',
                'py-refmap $forged + 8', 'py-refmap-refs $forged',
                'py-refmap-types \'x\ntotal ref change 1\'']

    @classmethod
    def setUpClass(cls):
        cls.program = Program(cls.SOURCE)
        cls.addClassCleanup(cls.program.remove)
        cls.session = cls.program.live(cls.COMMANDS + ['py-refmap-watch obj'],
                                       setup=cls.find_forged())
        cls.facts = cls.program.facts

    @staticmethod
    def find_forged():
        """gdb commands that make $forged of the first object listed, and one
        whose count differs."""
        return ["""python
import gdb, re
text = gdb.execute('py-refmap-objects --type A*', to_string=True)
gdb.execute('set $forged = ' + re.match('0x[0-9a-f]+', text)[0])
gdb.execute('set var ((PyObject *) $forged)->ob_refcnt = 9')
end"""]

    def test_no_line_is_forged(self):
        for command in self.COMMANDS:
            answer = self.session[command]
            lines = [line for line in answer.lines + [answer.error or '']
                     if line.startswith('total ref change')]
            with self.subTest(command=command):
                expected = command.startswith('py-refmap-diff')
                self.assertEqual(len(lines), expected)
                self.assertNotIn('total ref change 666', lines)
                text = answer.output.replace('\n', '') + (answer.error or '')
                self.assertTrue(text.isprintable(), ascii(text))

    def test_names_are_shown(self):
        output = self.session['py-refmap-types A*'].output
        self.assertIn(r'A\x0atotal ref change 666', output)
        self.assertIn(r'A\x1b[2Jtotal ref change 666', output)
        self.assertEqual(output.count('total ref change 666'),
                         self.facts['forged'])
        self.assertGreater(self.facts['forged'], 6)

    def test_names_are_not_believed(self):
        lines = self.session['py-refmap-refs obj'].lines
        for name, holder in self.facts['holders'].items():
            with self.subTest(name=name):
                self.assertIn(f"{holder:#x} ({name}): slot 'c'", lines)
        self.assertTrue([line for line in lines
                         if r"(running f\ntotal ref change 1()): local "
                            r"'inside'" in line])

    def test_any_locale(self):
        program = Program("T = type('T\u00e9\u4e2d\U0001f600', (), {})\n"
                          "x = T()\nhash(x)\n")
        self.addCleanup(program.remove)
        commands = ['py-refmap obj', 'py-refmap-objects --type T*']
        for locale in 'C', 'C.UTF-8':
            with self.subTest(locale=locale):
                session = program.live(commands, LC_ALL=locale)
                for command in commands:
                    self.assertIn('T\u00e9\u4e2d\U0001f600',
                                  session[command].output)


if __name__ == '__main__':
    unittest.main()
