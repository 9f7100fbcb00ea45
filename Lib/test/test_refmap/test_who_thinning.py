"""What is taken out of a recording. Runs in any interpreter."""

import unittest

from refmap.who import thinning
from refmap.who.recording import (Change, Death, Gone, Move, Return, Shifted,
                                  Stored, decode)
from test.support import swap_attr

from .who_records import Tape


def lives(data):
    """The births that a recording has changes of, as a set."""
    return {event.birth for event in decode(data).events
            if isinstance(event, Change)}


class ThinTests(unittest.TestCase):
    def thin(self, tape, leaked, addresses=(), few=0):
        with swap_attr(thinning, 'FEW_RECORDS', few):
            return thinning.thin(tape.bytes(), leaked, addresses)

    def live(self, tape, birth, stack='f:1 g:2'):
        """An object is born, returned, stored, moved, released, and dies."""
        address, token = 0x100000 + 16 * birth, 10 * birth
        tape.birth(address, stack, token, birth=birth)
        tape.ret(1, stack, [(token, 1, 2)])
        tape.change(address, 2, stack, token + 1, birth=birth)
        tape.stored(token + 1, address, 0x200000)
        tape.shifted(token + 1, address, 0x200000, 0x300000, 0x300000)
        tape.gone(token + 2, address, 0x200008, 0, stack, stack)
        tape.move(address, address + 8, birth=birth)
        tape.death(address + 8, stack, birth=birth)

    def test_a_short_recording_stays(self):
        tape = Tape()
        self.live(tape, 1)
        self.assertEqual(self.thin(tape, [], few=thinning.FEW_RECORDS),
                         tape.bytes())

    def test_all_of_a_life(self):
        tape = Tape()
        for birth in 1, 2, 3:
            self.live(tape, birth)
        with swap_attr(thinning, 'ALIKE', 0):
            found = decode(self.thin(tape, [2])).events
        alone = Tape()
        alone._pcs = tape._pcs
        self.live(alone, 2)
        self.assertEqual(found, alone.recording().events)
        self.assertEqual([type(event) for event in found],
                         [Change, Return, Change, Stored, Shifted, Gone, Move,
                          Death])

    def test_a_return_with_several_tokens(self):
        tape = Tape()
        tape.birth(0x1000, 'f:1', 1, birth=1)
        tape.birth(0x2000, 'h:1', 2, birth=2)
        tape.ret(1, 'f:1 g:2', [(2, 1, 2), (1, 2, 3)],
                 [(2, 8, 9, 10), (1, 4, 5, 6), (1, 7, 5, 6)])
        with swap_attr(thinning, 'OTHERS', 1):
            [*_, returned] = decode(self.thin(tape, [1])).events
            self.assertEqual(len(returned.outcomes), 2)
        with swap_attr(thinning, 'sample', lambda *args: set()):
            [born, returned] = decode(self.thin(tape, [1])).events
        self.assertEqual([o.token for o in returned.outcomes], [1])
        self.assertEqual([p.location for p in returned.places], [4, 7])
        self.assertEqual(len(returned.frames), 2)

    def test_the_sample(self):
        tape = Tape()
        for birth in range(1, 1001):
            # Each tenth is born as those that leak.
            self.live(tape, birth, 'f:1 g:2' if birth % 10 == 0 else
                      f'other{birth}:1')
        found = lives(self.thin(tape, [500, 510]))
        self.assertLessEqual({500, 510}, found)
        alike = {birth for birth in found if birth % 10 == 0}
        self.assertEqual(len(alike), 2 + thinning.ALIKE)
        self.assertLessEqual(len(found), 2 + thinning.ALIKE + thinning.OTHERS)
        self.assertGreater(len(found - alike), thinning.OTHERS // 2)

    def test_containers_that_died(self):
        tape = Tape()
        tape.birth(0x1000, 'f:1', 1, birth=1)
        for birth in range(2, 200):
            tape.birth(0x1000 * birth, f'f{birth}:1', birth, birth=birth)
        tape.change(0x1000, -1, 'f:1', birth=1,
                    deaths=[(0x2000, 0x9000, 150, 0x500),
                            (0x3000, 0x9000, 0, 0x600)])
        with swap_attr(thinning, 'sample', lambda *args: set()):
            self.assertEqual(lives(self.thin(tape, [1])), {1, 150})

    def test_places_that_were_set_before_they_were_counted(self):
        tape = Tape()
        for birth in 1, 2:
            address, place = 0x1000 * birth, 0x9000 + 8 * birth
            tape.birth(address, 'f:1', birth, birth=birth)
            tape.stored(0, address, place)
            tape.change(address, 1, 'f:1', birth + 10, birth=birth)
            tape.shifted(0, address, place, place + 64, 0x9000)
            tape.gone(0, address, place + 64, 0, 'f:1', 'f:1')
        # Another object where one that is kept was.
        tape.death(0x1000, 'f:1', birth=1)
        tape.birth(0x1000, 'f:1', 20, birth=3)
        tape.stored(0, 0x1000, 0x9100)
        tape.stored(0, 0x8000, 0x9108)
        with swap_attr(thinning, 'sample', lambda *args: set()):
            found = decode(self.thin(tape, [1], [0x8000])).events
        self.assertEqual(
            [(type(event), event.address) for event in found],
            [(Change, 0x1000), (Stored, 0x1000), (Change, 0x1000),
             (Shifted, 0x1000), (Gone, 0x1000), (Death, 0x1000),
             (Stored, 0x8000)])

    def test_older_objects(self):
        tape = Tape()
        for birth in range(1, 100):
            tape.change(0x1000 * birth, 1, 'f:1', birth, birth=birth)
        tape.change(0x5000, 1, 'f:1', 500, birth=5)
        tape.change(0x8000, 1, 'f:1', 501, birth=0)     # static
        found = decode(self.thin(tape, [], [0x5000, 0x8000])).events
        self.assertEqual([event.token for event in found], [5, 8, 500, 501])

    def test_an_older_object_that_moves(self):
        tape = Tape()
        tape.change(0x5000, 1, 'f:1', 1, birth=0)
        tape.stored(0, 0x5000, 0x9000)
        tape.move(0x5000, 0x6000, birth=0)
        tape.stored(0, 0x5000, 0x9008)      # no object of ours any more
        tape.stored(0, 0x6000, 0x9010)
        tape.change(0x6000, 1, 'f:1', 2, birth=0)
        tape.move(0x7000, 0x7100, birth=3)
        found = decode(self.thin(tape, [], [0x5000])).events
        self.assertEqual([type(event) for event in found],
                         [Change, Stored, Move, Stored, Change])
        self.assertEqual(found[3].location, 0x9010)
        self.assertEqual(found[4].token, 2)

    def test_what_is_no_event_is_kept(self):
        tape = Tape()
        for birth in range(1, 100):
            self.live(tape, birth)
        tape.code(1, 5, 'name', 'file.py')
        tape.module(1, 2, 3, '/bin/x')
        tape.lost(7, 8)
        found = decode(self.thin(tape, []))
        self.assertEqual(found.codes, {1: ('name', 'file.py', 5)})
        self.assertEqual(found.modules, [(1, 2, 3, '/bin/x')])
        self.assertEqual(found.lost.records, 7)
        self.assertIn('T', [known.name for known in found.types.values()])

    def test_no_recording(self):
        with self.assertRaisesRegex(ValueError, 'no recording'):
            thinning.thin(bytes(8), [])
        with self.assertRaisesRegex(ValueError, 'no recording'):
            thinning.thin(b'\x01\0\0\0\x09\0\0\0', [])


if __name__ == '__main__':
    unittest.main()
