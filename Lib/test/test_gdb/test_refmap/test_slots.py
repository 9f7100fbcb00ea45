"""What the words of a slot mean."""

import ast
import unittest

from .support import (RefmapTestCase, SCRIPT, Session, setUpModule,
                      tearDownModule)


class SlotTests(RefmapTestCase):
    """What the words of a slot mean, without a process."""

    # even word, odd word: count, birth, whether the object is odd
    BORN, KEYS, DEAD = 0x8000_0007, 0xc000_0007, 0xa000_0007
    SLOTS = [
        (0, 0, 0, 0, False),
        (3, BORN, 3, BORN, False),
        (1, KEYS, 1, KEYS, False),
        (0, BORN, 0, BORN, False),
        (0xffff_ffff, BORN, -1, BORN, False),
        (BORN, 3, 3, BORN, True),
        (BORN, 0, 0, BORN, True),
        (BORN, 0xffff_fffe, -2, BORN, True),
        # An object without a birth.
        (2, 0, 2, 0, False),
        (0xe000_0000, 0, -0x2000_0000, 0, False),
        (0x7fff_ffff, 0, 0x7fff_ffff, 0, False),
        (0, 2, 2, 0, True),
        (2, 1, 3, 0, True),
        # One that died, and one that has resurrected.
        (0, DEAD, 0, 0, False),
        (DEAD, 0, 0, 0, True),
        (2, DEAD, 2, BORN, False),
        (DEAD, 2, 2, BORN, True),
    ]
    SETUP = """python
import random
from refmap_gdb.layout import Layout
from refmap_gdb.slots import Block, decode
layout = Layout.__new__(Layout)
vars(layout).update(slots=256, slot_bits=4, page_bits=12, lanes=2,
                    birth_born=1 << 31, birth_keys=1 << 30,
                    birth_dead=1 << 29, birth_own=1 << 28,
                    count_min=-1 << 29)

def blocks(pairs):
    'Blocks of these slots: of each lane, and packed'
    for lane in range(2):
        block = Block.__new__(Block)
        words = [random.randrange(1 << 32) for _ in range(4 * len(pairs))]
        words[lane::4] = [even for even, odd in pairs]
        words[lane + 2::4] = [odd for even, odd in pairs]
        vars(block).update(layout=layout, lane=lane, odd=set(), page=5)
        block.take_slots(words)
        yield block
    used = sum(1 << i for i, pair in enumerate(pairs) if any(pair))
    block = Block.__new__(Block)
    vars(block).update(layout=layout, odd=set(), page=5)
    block.take_packed(used, [word for pair in pairs if any(pair)
                             for word in pair])
    yield block

def differing(words):
    'Pairs of which a block, or its slot(), says something else than decode()'
    pairs = [tuple(random.choices(words, k=2)) for _ in range(256)]
    for block in blocks(pairs):
        for i, pair in enumerate(pairs):
            count, birth, odd = decode(layout, *pair)
            address = 0x5000 + 16 * i + 8 * odd
            if ((block.counts[i], block.births[i], i in block.odd)
                    != (count, birth, odd)
                    or block.slot_address(i) != address
                    or block.slot(address) != (count, birth)
                    or block.slot(address ^ 8) != (0, 0)):
                yield [hex(word) for word in pair]
end"""

    def test_decode(self):
        pairs = [row[:2] for row in self.SLOTS]
        command = f'python print([decode(layout, *p) for p in {pairs}])'
        session = Session([self.SETUP], [command], load=SCRIPT)
        self.assertEqual(ast.literal_eval(session[command].output),
                         [row[2:] for row in self.SLOTS])

    def test_blocks(self):
        words = sorted({word for row in self.SLOTS for word in row[:2]})
        commands = ['python random.seed(1)',
                    f'python print(list(differing({words})))',
                    f'python print(list(differing({words[:3]})))']
        session = Session([self.SETUP], commands, load=SCRIPT)
        for command in commands[1:]:
            self.assertEqual(session[command].output, '[]\n')


if __name__ == '__main__':
    unittest.main()
