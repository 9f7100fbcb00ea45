"""Lines of code, against what code objects say. Runs in any interpreter."""

import asyncio.base_events
import dis
import glob
import os
import random
import types
import unittest

from refmap.log.lines import LineTable, entries
from test.test_refmap import log_records

# Lines that go back, and far ahead; statements over several lines; code
# without lines; columns too large for the short forms.
SOURCE = '''\
def f(a, b=[x for x in range(3)]):
    try:
        with a as c, b as d:
            return (a +
                    b
                    .c(1,
                       2))
    except* ValueError:
        pass
    finally:
        for i in a: yield i if b else c; continue
    async def g():
        async with a: await b
    class C[T]:
        x: int = lambda: (yield)
''' + '\n' * 5000 + 'def h(): return [' + 'a, ' * 300 + '\n\n b]\n'


def all_code(code):
    """Yield a code object, and those in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from all_code(const)


def lines_of(code):
    """The line of each code unit, as the interpreter has it."""
    found = []
    for start, end, line in code.co_lines():
        found += [line] * ((end - start) // 2)
    return found


class CodeTests(unittest.TestCase):

    def check(self, code):
        table = LineTable(code.co_linetable, code.co_firstlineno)
        expected = lines_of(code)
        found = [table.line(2 * i) for i in range(len(expected))]
        self.assertEqual(found, expected, code)
        # In the middle of a code unit, too.
        self.assertEqual(table.line(2 * len(expected) - 1), expected[-1])
        self.assertIsNone(table.line(2 * len(expected)))
        self.assertEqual([position[0] for position in code.co_positions()],
                         found, code)

    def test_source(self):
        for code in all_code(compile(SOURCE, '<test>', 'exec')):
            self.check(code)

    def test_standard_library(self):
        directory = os.path.dirname(os.path.dirname(
            asyncio.base_events.__file__))
        paths = sorted(glob.glob(os.path.join(directory, '*.py')))
        for path in random.Random(3).sample(paths, min(40, len(paths))):
            with open(path, 'rb') as file:
                source = file.read()
            for code in all_code(compile(source, path, 'exec')):
                self.check(code)

    def test_without_columns(self):
        code = compile('x = 1\ny = 2\n', '<test>', 'exec')
        units = len(code.co_code) // 2
        lines = [1 + 100 * (i % 3) for i in range(units)]
        self.check(code.replace(co_linetable=log_records.table(*lines)))

    def test_of_instructions(self):
        code = asyncio.base_events.BaseEventLoop.run_forever.__code__
        table = LineTable(code.co_linetable, code.co_firstlineno)
        for instruction in dis.get_instructions(code):
            self.assertEqual(table.line(instruction.offset),
                             instruction.positions.lineno)


class TableTests(unittest.TestCase):

    def test_out_of_range(self):
        table = LineTable(log_records.table(5, 6), 1)
        self.assertEqual([table.line(i) for i in range(-1, 5)],
                         [None, 5, 5, 6, 6, None])
        self.assertIsNone(table.line(1 << 70))
        self.assertIsNone(LineTable(b'', 1).line(0))

    def test_cut_off(self):
        code = asyncio.base_events.BaseEventLoop.run_forever.__code__
        whole = list(entries(code.co_linetable, 7))
        for length in range(len(code.co_linetable)):
            found = list(entries(code.co_linetable[:length], 7))
            # The last one may lack a part of its number.
            self.assertEqual(found[:-1], whole[:max(0, len(found) - 1)])

    def test_garbage(self):
        rng = random.Random(4)
        for _ in range(500):
            data = rng.randbytes(rng.randrange(60))
            table = LineTable(data, rng.randrange(1000))
            for i in range(0, 500, 7):
                table.line(i)


if __name__ == '__main__':
    unittest.main()
