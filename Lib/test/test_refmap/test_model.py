"""A model of the map, a dict, sees the same random operations as the map.

The objects are Cells in the arena of _testrefmap, so that their addresses are
the test's choice and are used again and again. Of a diff only what lies in the
arena is compared. REFMAP_SEED=number in the environment repeats a run.
"""

import os
import random
import sys
import unittest

from test import support
from test.support import import_helper

from .helpers import MapTestCase, run_script

_testrefmap = import_helper.import_module('_testrefmap')

PAGE = 4096
PAGES = 24
STEPS = 20_000
CELL = '_testrefmap.Cell'


class Model:
    """What the map should know of the arena, by address."""

    def __init__(self):
        self.counts = {}        # address -> count
        self.births = {}        # address -> serial number
        self.last_birth = 0
        # Objects without a birth, by address. ob_refcnt is their count + 1.
        self.by_hand = set()
        self.freed = 0          # references that became unattributed

    def birth(self, address):
        # What is still counted there belongs to an object that is gone.
        self.freed += self.counts.get(address, 0)
        self.last_birth += 1
        self.counts[address] = 1
        self.births[address] = self.last_birth

    def add(self, address, n):
        self.counts[address] += n
        if self.counts[address] == 0:
            del self.counts[address], self.births[address]

    def add_by_hand(self, address, n):
        count = self.counts.pop(address, 0) + n
        if count == -1:
            # The reference that nobody counted.
            self.freed -= 1
            self.by_hand.discard(address)
        if count in (-1, 0):
            self.births.pop(address, None)
        else:
            self.counts[address] = count
            self.births[address] = 'by hand'

    def move(self, address, to):
        self.counts[to] = self.counts.pop(address)
        self.births[to] = self.births.pop(address)

    def free(self, address):
        self.freed += self.counts.pop(address, 0)
        self.births.pop(address, None)

    def snapshot(self):
        return self.counts.copy(), self.births.copy(), self.freed


def model_diff(before, after):
    """What a diff of two Model.snapshot() should say: living, died."""
    counts_before, births_before, _ = before
    counts_after, births_after, _ = after
    living, died = {}, {}
    for address, count in counts_before.items():
        if births_after.get(address) != births_before[address]:
            died[address] = count
    for address, count in counts_after.items():
        old = 0
        if births_before.get(address) == births_after[address]:
            old = counts_before[address]
        if old != count:
            living[address] = old, count
    return living, died


class ModelTest(MapTestCase):

    def setUp(self):
        self.leaves_unattributed()
        self.base = _testrefmap.arena_open(PAGES)
        self.addCleanup(_testrefmap.arena_close)
        self.addCleanup(self.empty)
        self.model = Model()
        self.snapshots = []     # [(snapshot, model snapshot)]

    def start(self):
        self.seed = int(os.environ.get('REFMAP_SEED') or
                        random.SystemRandom().getrandbits(32))
        self.random = random.Random(self.seed)
        print(f'REFMAP_SEED={self.seed}', end=' ', file=sys.stderr, flush=True)

    def empty(self):
        """Let all objects of the arena die."""
        for address in list(self.model.counts.keys() | self.model.by_hand):
            self.die(address)
        self.snapshots.clear()

    def die(self, address):
        """Take all references from an object."""
        n = self.model.counts.get(address, 0)
        if address in self.model.by_hand:
            _testrefmap.arena_add(address, -n - 1)
            self.model.add_by_hand(address, -n - 1)
        else:
            _testrefmap.arena_add(address, -n)
            self.model.add(address, -n)

    # Operations. Each is called with a random number generator in self.random.

    def free_place(self, odd=True):
        """An address of no object; some are 8 bytes into their 16."""
        while True:
            # Few places on each page, so that they are used again soon.
            page = self.random.randrange(PAGES)
            slot = self.random.choice((0, 1, 7, 128, 254, 255))
            # An object that is 8 bytes into the last 16 of the arena leaves it.
            shift = 8 if odd and slot % 4 == 3 and page < PAGES - 1 else 0
            address = self.base + page * PAGE + slot * 16 + shift
            # Odd objects reach into the next 16 bytes.
            if not {address, address - 24, address - 8, address + 8} & {
                    *self.model.counts, *self.model.by_hand}:
                return address

    def born(self):
        return list(self.model.counts.keys() - self.model.by_hand)

    def an_object(self):
        return self.random.choice(sorted(self.born()))

    def do_birth(self):
        if len(self.model.counts) < PAGES * 4:
            address = self.free_place()
            _testrefmap.arena_birth(address)
            self.model.birth(address)

    def do_incref(self):
        address, n = self.an_object(), self.random.choice((1, 1, 2, 5, 40))
        _testrefmap.arena_add(address, n)
        self.model.add(address, n)

    def do_decref(self):
        address = self.an_object()
        n = min(self.random.choice((1, 1, 2, 5)), self.model.counts[address])
        _testrefmap.arena_add(address, -n)
        self.model.add(address, -n)

    def do_death(self):
        address = self.an_object()
        n = self.model.counts[address]
        _testrefmap.arena_add(address, -n)
        self.model.add(address, -n)

    def do_rebirth(self):
        address = self.an_object()
        n = self.model.counts[address]
        _testrefmap.arena_add(address, -n)
        self.model.add(address, -n)
        _testrefmap.arena_birth(address)
        self.model.birth(address)
        if n > 1:
            _testrefmap.arena_add(address, n - 1)
            self.model.add(address, n - 1)

    def do_repeat(self):
        address, n = self.an_object(), self.random.randrange(1, 100)
        many = _testrefmap.arena_repeat(address, n)
        self.model.add(address, n)
        self.compare_count(address)
        many.clear()
        self.model.add(address, -n)

    def do_move(self):
        # What realloc() gets and returns is 16-aligned.
        address = self.an_object()
        if address % 16:
            return
        if self.random.random() < 0.1:
            self.assertFalse(_testrefmap.arena_move(address, None))
            return
        to = self.free_place(odd=False)
        self.assertTrue(_testrefmap.arena_move(address, to))
        self.model.move(address, to)

    def do_by_hand(self):
        # Often in the other half of 16 bytes in which another one was born.
        if len(self.model.by_hand) < PAGES:
            address = self.free_place()
            _testrefmap.arena_by_hand(address)
            self.model.by_hand.add(address)
            n = self.random.choice((0, 1, 2, 5))
            _testrefmap.arena_add(address, n)
            if n:
                self.model.add_by_hand(address, n)

    def do_change_by_hand(self):
        if self.model.by_hand:
            address = self.random.choice(sorted(self.model.by_hand))
            n = self.model.counts.get(address, 0)
            change = self.random.choice((1, 2, 5, -n))
            _testrefmap.arena_add(address, change)
            if change:
                self.model.add_by_hand(address, change)

    def do_die_by_hand(self):
        if self.model.by_hand:
            self.die(self.random.choice(sorted(self.model.by_hand)))

    def do_free(self):
        address = self.an_object()
        _testrefmap.arena_object_free(address)
        self.model.free(address)

    def do_birth_over(self):
        # Its memory was freed, and nobody told the map.
        address = self.an_object()
        _testrefmap.arena_birth(address)
        self.model.birth(address)

    def do_snapshot(self):
        if len(self.snapshots) < 40:
            # In this order: the model's own dicts are not of the arena.
            expected = self.model.snapshot()
            self.snapshots.append((sys.refmap_snapshot(), expected))

    def do_drop(self):
        if self.snapshots:
            del self.snapshots[self.random.randrange(len(self.snapshots))]

    def do_drop_many(self):
        if self.random.random() < 0.1:
            self.random.shuffle(self.snapshots)
            del self.snapshots[len(self.snapshots) // 3:]

    def do_diff(self):
        if self.snapshots:
            before = self.random.choice(self.snapshots)
            after = self.random.choice(self.snapshots)
            self.compare(before, after)

    def do_diff_now(self):
        if self.snapshots:
            before = self.random.choice(self.snapshots)
            self.compare(before, (None, self.model.snapshot()))

    def do_sweep(self):
        # What is not touched until the next sweep is packed there.
        _testrefmap.sweep()

    def do_compare_counts(self):
        for address in self.born():
            self.compare_count(address)
        # Objects without a birth have one reference more than is counted.
        differing = self.in_arena(sys.refmap_verify())
        self.assertEqual(differing, {})

    WEIGHTS = {
        do_birth: 20, do_incref: 20, do_decref: 15, do_death: 8, do_rebirth: 5,
        do_repeat: 5, do_move: 8, do_free: 2, do_birth_over: 2,
        do_by_hand: 8, do_change_by_hand: 4, do_die_by_hand: 6,
        do_snapshot: 6, do_drop: 4, do_drop_many: 2, do_diff: 3,
        do_diff_now: 2, do_sweep: 8, do_compare_counts: 0.2,
    }

    # Comparisons.

    def compare_count(self, address):
        # One Cell is looked at through a list with one reference.
        held = _testrefmap.arena_repeat(address, 1)
        self.assertEqual(sys.refmap_count(held[0]),
                         self.model.counts[address] + 2, hex(address))

    def in_arena(self, records):
        end = self.base + PAGES * PAGE
        return {r[0]: r[1:] for r in records if self.base <= r[0] < end}

    def compare(self, before, after):
        diff = sys.refmap_diff(before[0], after[0], file=None)
        expected_living, expected_died = model_diff(before[1], after[1])
        living = self.in_arena(diff.living)
        died = self.in_arena(diff.died)
        self.assertEqual({a: r[1:] for a, r in living.items()}, expected_living)
        self.assertEqual({a: r[1] for a, r in died.items()}, expected_died)
        for address, record in (living | died).items():
            self.assertEqual(record[0], CELL, hex(address))
        self.assertEqual(diff.lost, 0)
        self.assert_adds_up(diff)
        self.assertEqual(diff.unattributed, after[1][2] - before[1][2])

    def run_steps(self, steps, weights):
        self.start()
        operations = list(weights)
        chosen = self.random.choices(operations, weights.values(), k=steps)
        for i, operation in enumerate(chosen):
            if not self.born():
                operation = ModelTest.do_birth
            try:
                operation(self)
                if i % 500 == 0:
                    self.assert_exact()
                    ModelTest.do_compare_counts(self)
            except AssertionError as e:
                e.add_note(f'step {i}, {operation.__name__}; '
                           f'repeat with REFMAP_SEED={self.seed}')
                raise
        for before in self.snapshots:
            for after in self.snapshots[:5]:
                self.compare(before, after)

    def test_everything(self):
        self.run_steps(STEPS, self.WEIGHTS)

    def test_no_snapshots(self):
        weights = {op: w for op, w in self.WEIGHTS.items()
                   if op not in (ModelTest.do_snapshot, ModelTest.do_diff)}
        self.run_steps(STEPS // 2, weights)

    def test_many_snapshots(self):
        weights = self.WEIGHTS | {ModelTest.do_snapshot: 60,
                                  ModelTest.do_drop: 50}
        self.run_steps(STEPS // 4, weights)

    def test_pages_come_and_go(self):
        # The whole arena dies often enough that its blocks are given back,
        # because others come between.
        self.start()
        for i in range(30):
            for _ in range(self.random.randrange(100)):
                self.do_birth()
            self.do_snapshot()
            self.do_snapshot()
            for address, count in list(self.model.counts.items()):
                if self.random.random() < 0.95:
                    self.die(address)
            # Some hundred pages of other objects.
            other = [[None] for _ in range(20_000)]
            del other
            self.do_drop()
            try:
                self.do_diff()
                self.do_diff_now()
            except AssertionError as e:
                e.add_note(f'round {i}; repeat with REFMAP_SEED={self.seed}')
                raise

    def test_findings(self):
        snapshot = sys.refmap_snapshot()
        addresses = [self.base + i * PAGE for i in range(5)]
        for i, address in enumerate(addresses):
            _testrefmap.arena_birth(address)
            if i:
                _testrefmap.arena_add(address, i)
            _testrefmap.arena_object_free(address)
        diff = sys.refmap_diff(snapshot, file=None)
        self.assertEqual(diff.freed, [(address, CELL, i + 1)
                                      for i, address in enumerate(addresses)])
        self.assertEqual(diff.unattributed, 15)
        self.assert_adds_up(diff)

    def test_more_findings_than_are_kept(self):
        snapshot = sys.refmap_snapshot()
        for i in range(1000):
            _testrefmap.arena_birth(self.base)
            _testrefmap.arena_object_free(self.base)
        diff = sys.refmap_diff(snapshot, file=None)
        self.assertEqual(diff.freed, [(self.base, CELL, 1)] * 256)
        self.assertEqual(diff.unattributed, 1000)
        self.assert_adds_up(diff)

    @support.requires_resource('cpu')
    def test_huge_counts(self):
        # Beyond the 32 bits of a slot; ob_refcnt stays as it is.
        run_script('''
            limit = 2**31
            op = object()
            start = sys.refmap_count(op)
            before = sys.refmap_snapshot()
            _testrefmap.incref_often(op, limit - start - 10)
            check_exact()
            assert sys.refmap_count(op) == limit - 10
            for n in 5, 6, 100:
                # Over the edge, by single steps and by an addition.
                _testrefmap.incref_often(op, n)
                check_exact()
                many = [op] * 300
                check_exact()
                check_diff(sys.refmap_diff(before, file=None))
                many.clear()
                check_exact()
            diff = sys.refmap_diff(before, file=None)
            check_diff(diff)
            assert diff.total > limit, diff.total
            # ob_refcnt knows nothing of them.
            assert [x[0] for x in sys.refmap_verify()] == [id(op)]
            _testrefmap.incref_often(op, -200)
            check_exact()
            check_diff(sys.refmap_diff(before, file=None))
            ''')


if __name__ == '__main__':
    unittest.main()
