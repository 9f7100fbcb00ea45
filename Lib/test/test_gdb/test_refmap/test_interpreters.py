"""Several interpreters, and several maps."""

import unittest

from .support import (Program, RefmapTestCase, setUpModule, tearDownModule)


class InterpretersTests(RefmapTestCase):
    """Subinterpreters with and without a GIL of their own."""

    SOURCE = '''
import _interpreters, sys
own = _interpreters.create('isolated')
shared = _interpreters.create('legacy')
_interpreters.exec(own, """if True:
    import sys
    class Own: pass
    kept = [Own() for i in range(5)]
    snapshot = sys.refmap_snapshot()
    del kept[2:]
""")
_interpreters.exec(shared, """if True:
    class Shared: pass
    kept = [Shared() for i in range(7)]
""")
hash(4)
'''

    @classmethod
    def setUpClass(cls):
        cls.program = Program(cls.SOURCE)
        cls.addClassCleanup(cls.program.remove)
        cls.session = cls.program.live([
            'py-refmap', 'py-refmap --interp 0', 'py-refmap --interp 1',
            'py-refmap --interp 2', 'py-refmap-types Own --interp 0',
            'py-refmap-types Own --interp 1', 'py-refmap-types Own',
            'py-refmap-types Shared --interp 0', 'py-refmap-diff',
            'py-refmap-diff --interp 1', 'py-refmap-diff --interp 0',
            'py-refmap-snapshots', 'py-refmap-verify'])

    def test_each_map_is_exact(self):
        parts = []
        for command in 'py-refmap', 'py-refmap --interp 0', \
                       'py-refmap --interp 1':
            answer = self.session[command]
            self.assertEqual(answer.field('exact'), 'yes', command)
            parts.append(int(answer.field('mapped')))
        self.assertEqual(parts[0], parts[1] + parts[2])
        output = self.session['py-refmap'].output
        self.assertIn('of interpreter 0, 2: ', output)
        self.assertIn('of interpreter 1: ', output)

    def test_shared_gil_shares_the_map(self):
        self.assertEqual(self.session['py-refmap --interp 2'].output,
                         self.session['py-refmap --interp 0'].output)
        self.assertIn('7 objects of 1 type',
                      self.session['py-refmap-types Shared --interp 0'].output)

    def test_types_of_one(self):
        def last(command):
            return self.session[command].lines[-1]
        self.assertIn('No object', last('py-refmap-types Own --interp 0'))
        self.assertIn('2 objects', last('py-refmap-types Own --interp 1'))
        self.assertIn('2 objects', last('py-refmap-types Own'))

    def test_diff(self):
        one = self.session['py-refmap-diff --interp 1']
        self.assertEqual(one.output.count('(Own): -1'), 3)
        both = self.session['py-refmap-diff'].lines
        self.assertRegex(both[0], '^map 0x[0-9a-f]+ of interpreter 1:$')
        self.assertEqual(both[1:], one.lines)
        self.assertIn('There is no baseline',
                      self.session['py-refmap-diff --interp 0'].error)

    def test_verify(self):
        self.assertIn('none with another ob_refcnt',
                      self.session['py-refmap-verify'].output)


if __name__ == '__main__':
    unittest.main()
