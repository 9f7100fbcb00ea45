"""The judge of leak hunts on literal records; and refmap.hunt().

All but the last classes run in any interpreter that can import refmap.
"""

import io
import pydoc
import random
import sys
import time
import unittest

import refmap
from refmap import details, history, judge, report, saferepr
from test.libregrtest import refmap_methods as methods

try:
    import _testrefmap
except ImportError:
    _testrefmap = None

A, B, C = 0x10000, 0x20000, 0x30000


def judge_runs(*runs, **options):
    """Judge runs given as (living, died)."""
    return judge.judge(history.histories(runs), len(runs), **options)


def new(address, count=1, name='list'):
    return (address, name, 0, count)


def from_counts(*columns):
    """Make the runs in which objects had these counts.

    Each column is the type and the counts of an object; a count of 0 is no
    object.
    """
    length = len(columns[0][1])
    runs = []
    for k in range(1, length):
        living, died = [], []
        for index, (name, counts) in enumerate(columns):
            address = A + 16 * index
            before, after = counts[k - 1], counts[k]
            if before and not after:
                died.append((address, name, before))
            elif before != after:
                living.append((address, name, before, after))
        runs.append((living, died))
    return runs


def patterns(result):
    return {(f['type'], f['pattern']): f['refs'] for f in result['types']}


class HistoryTests(unittest.TestCase):
    def test_new_object(self):
        [found] = history.histories([([], []), ([new(A, 2)], []), ([], [])])
        self.assertEqual(found.counts(A), [0, 0, 2, 2])
        self.assertEqual(found.born, 2)
        self.assertTrue(found.is_alive())

    def test_old_object(self):
        [found] = history.histories([([], []), ([(A, 'str', 5, 7)], []),
                                     ([(A, 'str', 7, 4)], [])])
        self.assertEqual(found.counts(A), [5, 5, 7, 4])
        self.assertEqual(found.born, 0)

    def test_old_object_dies(self):
        runs = [([], []), ([], [(A, 'str', 5)]), ([], [])]
        [found] = history.histories(runs)
        self.assertEqual(found.levels, [0, 0, -5, -5])
        self.assertFalse(found.is_alive())
        # Only of objects that somebody watches the address is kept.
        self.assertEqual(found.addresses, [])
        [found] = history.histories(runs, watched=[A])
        self.assertEqual(found.counts(A), [5, 5, 0, 0])

    def test_another_object_at_the_address(self):
        found = history.histories([
            ([new(A)], []), ([new(A, 3, 'dict')], [(A, 'list', 1)]), ([], [])])
        found.sort(key=lambda h: h.born)
        self.assertEqual([(h.type, h.levels) for h in found],
                         [('list', [0, 1, 0, 0]), ('dict', [0, 0, 3, 3])])

    def test_reborn_in_the_run_of_a_change(self):
        # Alive, changed, dead and followed by a newborn in later runs.
        found = history.histories([
            ([(A, 'str', 1, 2)], []), ([new(A)], [(A, 'str', 2)])], [A])
        old, young = sorted(found, key=lambda h: h.born)
        self.assertEqual(old.counts(A), [1, 2, 0])
        self.assertEqual(young.counts(A), [0, 0, 1])

    def test_reborn_without_a_death(self):
        # A foreign binary took the references: alive, but nothing is counted.
        found = history.histories([([(A, 'str', 1, 0)], []), ([new(A)], []),
                                   ([], [])])
        self.assertEqual(sorted(h.levels for h in found),
                         [[0, -1, -1, -1], [0, 0, 1, 1]])

    def test_retained(self):
        # The example of the masked leak, as the count of one object.
        counts = [1, 7, 1, 2, 8, 2, 3]
        [found] = history.histories(from_counts(('x', counts)))
        self.assertEqual(found.counts(A), counts)
        self.assertEqual(found.steps(), [6, -6, 1, 6, -6, 1])
        self.assertEqual(found.retained(), [0, 0, 1, 0, 0, 1])

    def test_objects_that_do_the_same_share_a_history(self):
        runs = [([new(base + 16 * k) for k in range(1000)], [])
                for base in (A, B, C)]
        found = history.histories(runs)
        self.assertEqual([h.number for h in found], [1000] * 3)
        # Older ones too, whatever their counts were at first.
        found = history.histories([([(A + 16 * k, 'x', k + 1, k + 2)
                                     for k in range(1000)], [])])
        self.assertEqual([h.number for h in found], [1000])

    def test_many_objects(self):
        # 3 * 200,000 records. One object at a time took 13 s.
        runs = [([new(A + 16 * k + run * 0x1000000, 1 + k % 3)
                  for k in range(200_000)], []) for run in range(3)]
        start = time.process_time()
        result = judge_runs(*runs)
        seconds = time.process_time() - start
        self.assertEqual(result['types'][0]['refs'], [399_999] * 3)
        self.assertLess(seconds, 10)


class Object:
    """One object of a random test: its type, address and counts."""

    def __init__(self, type_name, counts):
        self.type = type_name
        self.counts = counts
        self.first = next(k for k, count in enumerate(counts) if count)
        self.born = self.first

    def end(self):
        """The first snapshot at which it is dead, or the number of them."""
        for k in range(self.first, len(self.counts)):
            if not self.counts[k]:
                return k
        return len(self.counts)

    def is_alive(self):
        return self.counts[-1] != 0

    def changes(self):
        return history.steps(self.counts)

    def retained(self):
        """Per run: the least that is left from then on, less that before."""
        return [min(self.counts[k:]) - min(self.counts[k - 1:])
                for k in range(1, len(self.counts))]

    def passing(self):
        last = len(self.counts) - 2
        return self.counts[last] if self.born == last and not self.is_alive() \
            else 0


def place(rng, objects):
    """Give each object an address; one may follow another that died."""
    free, address = [], A
    for obj in sorted(objects, key=lambda obj: obj.first):
        usable = [entry for entry in free if entry[0] <= obj.first]
        if obj.first and usable and rng.random() < 0.7:
            entry = rng.choice(usable)
            free.remove(entry)
            obj.address = entry[1]
        else:
            obj.address = address = address + 16
        free.append((obj.end(), obj.address))


def records_of(objects, nruns):
    """The runs as a list of (living, died)."""
    runs = []
    for k in range(1, nruns + 1):
        living, died = [], []
        for obj in objects:
            before, after = obj.counts[k - 1:k + 1]
            if before and not after:
                died.append((obj.address, obj.type, before))
            elif before != after:
                living.append((obj.address, obj.type, before, after))
        runs.append((living, died))
    return runs


def random_counts(rng, nruns):
    kind = rng.randrange(6)
    born = rng.randrange(1, nruns + 1)
    first = rng.randrange(1, 5)
    if kind == 0:                                       # leaks
        return [0] * born + [first] * (nruns + 1 - born)
    if kind == 1:                                       # lives for one run
        return [0] * born + [first] + [0] * (nruns - born)
    if kind == 2:                                       # old, and grows
        return [first + k for k in range(nruns + 1)]
    if kind == 3:                                       # old, and shrinks
        return [first + nruns - k for k in range(nruns + 1)]
    if kind == 4:                                       # old, and dies
        return [first] * born + [0] * (nruns + 1 - born)
    counts = [rng.randrange(1, 5) for _ in range(nruns + 1)]
    old = rng.random() < 0.5
    end = rng.randrange(born + 1, nruns + 2)
    return [count if (old or k >= born) and k < end else 0
            for k, count in enumerate(counts)]


def plain_findings(objects, nruns):
    """What judge.judge() is to say of the types, one object at a time.

    {(type, pattern): (refs, born)}; and {type: once}.
    """
    findings, once = {}, {}
    deaths = [0] * nruns
    for obj in objects:
        if not obj.born and not obj.is_alive() and obj.type not in ('str', 'int'):
            deaths[obj.end() - 1] += 1
    for name in {obj.type for obj in objects}:
        group = [obj for obj in objects if obj.type == name]
        refs = [sum(column) for column in zip(*(o.retained() for o in group))]
        born = [sum(1 for o in group if o.born == run and o.is_alive())
                for run in range(1, nruns + 1)]
        refs[-1] = max(0, refs[-1] - sum(o.passing() for o in group))
        born[-1] = max(0, born[-1] - sum(1 for o in group if o.passing()))
        kept = 0
        if judge.classify(refs) in (judge.EVERY_RUN, judge.SOME_RUNS):
            findings[name, judge.classify(refs)] = refs, born
            kept += sum(refs)
        lost = {}
        for obj in group:
            falls = [run for run, change in enumerate(obj.changes(), 1)
                     if change < 0]
            if obj.born or not obj.is_alive() or max(obj.changes()) > 0:
                continue
            pattern = judge.classify_losses(falls, nruns, deaths)
            if pattern:
                judge.add(lost.setdefault(pattern, [0] * nruns), obj.changes())
        for pattern, refs in lost.items():
            findings[name, pattern] = refs, [0] * nruns
            kept += sum(refs)
        change = sum(o.counts[-1] - o.counts[0] for o in group) - kept
        if change:
            once[name] = change
    return findings, once


class RandomTests(unittest.TestCase):
    """Histories that objects share, against one object at a time."""

    def test_histories(self):
        for seed in range(300):
            rng = random.Random(seed)
            nruns = rng.randrange(1, 10)
            objects = [Object(rng.choice(['list', 'str', 'x']),
                              random_counts(rng, nruns))
                       for _ in range(rng.randrange(1, 25))]
            objects = [o for o in objects if any(o.changes())]
            place(rng, objects)
            runs = records_of(objects, nruns)
            watched = {obj.address for obj in objects}
            with self.subTest(seed=seed):
                found = history.histories(runs, watched)
                self.assertEqual(
                    sorted((h.type, h.watched, h.born, h.counts(h.watched))
                           for h in found),
                    sorted((o.type, o.address, o.born, o.counts)
                           for o in objects))
                self.check(runs, objects, nruns)

    def check(self, runs, objects, nruns):
        result = judge_runs(*runs, limit=3)
        self.assertEqual(
            result['total'],
            [sum(column) for column in zip(*(o.changes() for o in objects))]
            or [0] * nruns)
        findings, once = plain_findings(objects, nruns)
        self.assertEqual({(f['type'], f['pattern']): (f['refs'], f['born'])
                          for f in result['types']}, findings)
        self.assertEqual(result['once'], once)
        # What is shown is true of an object, and no other result if all
        # objects have histories of their own.
        counts = {(o.address, o.born): o.counts for o in objects}
        for finding in result['types']:
            for record in finding['objects']:
                key = record['address'], record['born']
                self.assertEqual(record['counts'], counts[key])
        alone = judge.judge(
            history.histories(runs, {o.address for o in objects}), nruns,
            limit=3)
        self.assertEqual(result, alone)


class ClassifyTests(unittest.TestCase):
    def test_every_run(self):
        for retained in [1], [1, 1, 1], [1, 2, 3], [10, 1, 1]:
            self.assertEqual(judge.classify(retained), judge.EVERY_RUN)

    def test_some_runs(self):
        for retained in [1, 0, 1], [1, 1, 0], [0, 1, 0, 1], [2, 0, 0, 0, 1]:
            self.assertEqual(judge.classify(retained), judge.SOME_RUNS)

    def test_once(self):
        for retained in [3, 0, 0], [0, 0, 5], [0, 1, 1], [0, 1, 0, 0]:
            self.assertEqual(judge.classify(retained), judge.ONCE)

    def test_nothing(self):
        self.assertIsNone(judge.classify([0, 0, 0]))


class JudgeTests(unittest.TestCase):
    def test_nothing(self):
        result = judge_runs(([], []), ([], []), ([], []))
        self.assertEqual(result['verdict'], 'clean')
        self.assertEqual(result['types'], [])
        self.assertEqual(result['once'], {})
        self.assertEqual(result['total'], [0, 0, 0])

    def test_one_object_a_run(self):
        result = judge_runs(([new(A)], []), ([new(B)], []), ([new(C)], []))
        self.assertEqual(result['verdict'], 'leak')
        [finding] = result['types']
        self.assertEqual(finding['type'], 'list')
        self.assertEqual(finding['pattern'], 'every run')
        self.assertEqual(finding['refs'], [1, 1, 1])
        self.assertEqual(finding['born'], [1, 1, 1])
        self.assertEqual([o['address'] for o in finding['objects']], [A, B, C])
        self.assertEqual([o['born'] for o in finding['objects']], [1, 2, 3])
        self.assertEqual(finding['objects'][1]['counts'], [0, 0, 1, 1])
        self.assertEqual(finding['more'], 0)

    def test_two_types(self):
        result = judge_runs(*[([new(A * k), new(B * k + 16, 2, 'dict')], [])
                              for k in (1, 2, 3)])
        self.assertEqual(patterns(result), {('list', 'every run'): [1, 1, 1],
                                            ('dict', 'every run'): [2, 2, 2]})

    def test_count_of_an_old_object(self):
        result = judge_runs(*from_counts(('type', [5, 6, 7, 8])))
        self.assertEqual(patterns(result), {('type', 'every run'): [1, 1, 1]})
        self.assertEqual(result['types'][0]['born'], [0, 0, 0])

    def test_every_second_run(self):
        result = judge_runs(([new(A)], []), ([], []), ([new(B)], []))
        self.assertEqual(result['verdict'], 'suspicious')
        self.assertEqual(patterns(result), {('list', 'some runs'): [1, 0, 1]})

    def test_masked_by_negative_deltas(self):
        # The sums are [6, -6, 1, 6, -6, 1], which reads as noise.
        passing = [('str', [0, 6, 0, 0, 0, 0, 0]),
                   ('str', [0, 0, 0, 0, 6, 0, 0])]
        leaked = [('list', [0, 0, 0, 1, 1, 1, 1]),
                  ('list', [0, 0, 0, 0, 0, 0, 1])]
        result = judge_runs(*from_counts(*passing, *leaked))
        self.assertEqual(result['total'], [6, -6, 1, 6, -6, 1])
        self.assertEqual(result['verdict'], 'suspicious')
        self.assertEqual(patterns(result),
                         {('list', 'some runs'): [0, 0, 1, 0, 0, 1]})

    def test_masked_by_a_cache_that_empties(self):
        # Sums of zero: each run leaks an object, and an old one dies.
        result = judge_runs(*from_counts(
            ('dict', [0, 1, 1, 1]), ('dict', [0, 0, 1, 1]),
            ('dict', [0, 0, 0, 1]),
            ('str', [1, 0, 0, 0]), ('str', [1, 1, 0, 0]),
            ('str', [1, 1, 1, 0])))
        self.assertEqual(result['total'], [0, 0, 0])
        self.assertEqual(patterns(result), {('dict', 'every run'): [1, 1, 1]})
        self.assertEqual(result['once'], {'str': -3})

    def test_cache_that_fills(self):
        result = judge_runs(([new(A, 4)], []), ([], []), ([], []))
        self.assertEqual(result['verdict'], 'clean')
        self.assertEqual(result['once'], {'list': 4})

    def test_cache_that_fills_and_empties(self):
        result = judge_runs(*from_counts(
            ('str', [0, 3, 0, 0, 0]), ('str', [0, 0, 2, 2, 0]),
            ('dict', [4, 9, 4, 6, 4])))
        self.assertEqual(result['verdict'], 'clean')
        self.assertEqual(result['once'], {})

    def test_state_that_is_replaced(self):
        # Each run makes three objects, which the next one drops.
        result = judge_runs(([new(A), new(A + 16), new(A + 32)], []),
                            ([new(B), new(B + 16), new(B + 32)],
                             [(A, 'list', 1), (A + 16, 'list', 1),
                              (A + 32, 'list', 1)]),
                            ([new(C), new(C + 16), new(C + 32)],
                             [(B, 'list', 1), (B + 16, 'list', 1),
                              (B + 32, 'list', 1)]))
        self.assertEqual(result['verdict'], 'clean')

    def test_replaced_state_and_a_leak_of_one_type(self):
        result = judge_runs(*from_counts(
            ('list', [1, 0, 0, 0]), ('list', [0, 1, 0, 0]),
            ('list', [0, 0, 1, 0]), ('list', [0, 0, 0, 1]),
            ('list', [0, 1, 1, 1]), ('list', [0, 0, 1, 1]),
            ('list', [0, 0, 0, 1])))
        [finding] = result['types']
        self.assertEqual(finding['refs'], [1, 1, 1])
        self.assertEqual(finding['born'], [1, 1, 1])
        # Which one of the last run is the leak can't be told.
        self.assertEqual([o['born'] for o in finding['objects']], [1, 2])
        self.assertEqual(result['once'], {})

    def test_leak_and_a_cache_of_one_type(self):
        result = judge_runs(([new(A + 16 * k) for k in range(4)], []),
                            ([new(B)], []), ([new(C)], []))
        self.assertEqual(patterns(result), {('list', 'every run'): [4, 1, 1]})

    def test_growing_leak(self):
        result = judge_runs(([new(A, 1)], []), ([new(B, 2)], []),
                            ([new(C, 3)], []))
        self.assertEqual(patterns(result), {('list', 'every run'): [1, 2, 3]})

    def test_over_decref(self):
        result = judge_runs(*from_counts(('object', [9, 8, 7, 6])))
        self.assertEqual(result['verdict'], 'error')
        self.assertEqual(patterns(result),
                         {('object', 'over-decref'): [-1, -1, -1]})
        self.assertEqual(result['once'], {})
        [record] = result['types'][0]['objects']
        self.assertEqual(record['address'], A)
        self.assertEqual(record['counts'], [9, 8, 7, 6])

    def over_decrefs(self, *changes, **more):
        """Judge an older object that changes like that."""
        counts = [40]
        for change in changes:
            counts.append(counts[-1] + change)
        result = judge_runs(*from_counts(('object', counts)), **more)
        return [f['pattern'] for f in result['types']]

    def test_over_decref_in_some_runs(self):
        for changes in ([-1, 0, 0, -1, 0, -1, 0, 0, -1],
                        [0, -2, 0, -1, 0, -3, 0],
                        [-1, -1, 0, -1], [0, 0, -1, -1, -1]):
            with self.subTest(changes=changes):
                self.assertEqual(self.over_decrefs(*changes), ['over-decref'])

    def test_caches_that_shrink(self):
        for changes in ([-1, 0, 0], [-5, -3, 0], [0, -1, -1], [-1, 0, -1],
                        # emptied step by step, and then at rest
                        [-3, -2, -1, 0, 0, 0], [-1, -1, -1, 0],
                        [0, -1, 0, -1, 0, -1, 0, 0, 0, 0],
                        # three of twenty runs
                        [-1, *[0] * 8, -1, *[0] * 9, -1]):
            with self.subTest(changes=changes):
                self.assertEqual(self.over_decrefs(*changes), [])

    def test_falls_and_rises(self):
        for changes in ([-1, 1, -1, 1, -1], [-1, -1, -1, 3],
                        [-2, 1, -1, -1, -1], [-1, -1, 2, -1, -1, -1]):
            with self.subTest(changes=changes):
                self.assertEqual(self.over_decrefs(*changes), [])

    def test_too_few_runs_to_tell(self):
        self.assertEqual(self.over_decrefs(-1), ['shrinking'])
        self.assertEqual(self.over_decrefs(-1, -1), ['shrinking'])
        self.assertEqual(self.over_decrefs(-1, 0), [])

    def test_losses_that_deaths_explain(self):
        # A pool is used up: each run lets an item die, and its class shrinks.
        pool = [('Item', [1, 0, 0, 0]), ('Item', [1, 1, 0, 0]),
                ('Item', [1, 1, 1, 0])]
        result = judge_runs(*from_counts(('type', [9, 8, 7, 6]), *pool))
        self.assertEqual(result['verdict'], 'suspicious')
        self.assertEqual(patterns(result), {('type', 'shrinking'): [-1, -1, -1]})
        # Strings hold no references.
        pool = [('str', counts) for _, counts in pool]
        result = judge_runs(*from_counts(('type', [9, 8, 7, 6]), *pool))
        self.assertEqual(result['verdict'], 'error')
        # One run without a death is one that nothing explains.
        result = judge_runs(*from_counts(('type', [9, 8, 7, 6]),
                                         ('Item', [1, 0, 0, 0]),
                                         ('Item', [1, 1, 0, 0])))
        self.assertEqual(result['verdict'], 'error')

    def test_an_object_that_dies_is_no_over_decref(self):
        result = judge_runs(*from_counts(('object', [3, 2, 1, 0])))
        self.assertEqual(result['verdict'], 'clean')

    def test_settle(self):
        # All that is counted is held by containers: one of them let go.
        for holders, pattern in (6, 'shrinking'), (5, 'over-decref'), \
                (9, 'over-decref'), (None, 'over-decref'):
            result = judge_runs(*from_counts(('object', [9, 8, 7, 6])))
            if holders:
                result['types'][0]['objects'][0]['holders'] = holders
            judge.settle(result['types'])
            self.assertEqual(result['types'][0]['pattern'], pattern)

    def test_no_negative_drift(self):
        result = judge_runs(*from_counts(('object', [9, 8, 8, 7]),
                                         ('object', [9, 5, 6, 2])))
        self.assertEqual(result['verdict'], 'clean')
        self.assertEqual(result['once'], {'object': -9})

    def test_impossible_counts(self):
        for counts in [1, -1, 3, 4], [1, 1, 1, 1 << 31], [-1, -2, -3, -4]:
            with self.subTest(counts=counts):
                result = judge_runs(*from_counts(
                    ('?', counts), ('list', [0, 1, 1, 1])))
                self.assertEqual(result['verdict'], 'error')
                [finding] = result['types']
                self.assertEqual(finding['pattern'], 'impossible count')
                self.assertEqual(finding['objects'][0]['counts'], counts)
                # No sum contains them.
                self.assertEqual(finding['refs'], [0, 0, 0])
                self.assertEqual(result['total'], [1, 0, 0])
                self.assertEqual(result['once'], {'list': 1})

    def test_impossible_and_possible_counts_of_one_type(self):
        for first, second in (0, 1), (1, 0):
            columns = ('?', [-1, -2, -3, -4]), ('?', [4, 5, 6, 7])
            result = judge_runs(*from_counts(columns[first], columns[second]))
            self.assertEqual(patterns(result),
                             {('?', 'impossible count'): [0, 0, 0],
                              ('?', 'every run'): [1, 1, 1]})
            self.assertEqual([len(f['objects']) for f in result['types']],
                             [1, 1])

    def test_impossible_count_of_an_object_that_died(self):
        result = judge_runs(*from_counts(('?', [3, -2, 0, 0])))
        [finding] = result['types']
        self.assertEqual(finding['objects'][0]['counts'], [3, -2, 0, 0])
        self.assertEqual(result['total'], [0, 0, 0])

    def test_tables_that_are_replaced(self):
        # In each run a dict of the run before gets another table.
        keys = judge.KEYS
        result = judge_runs(([new(A, 1, keys)], [(0x40000, keys, 1)]),
                            ([new(B, 1, keys)], [(0x40010, keys, 1)]),
                            ([new(C, 1, keys)], [(0x40020, keys, 1)]))
        self.assertEqual(result['verdict'], 'clean')
        self.assertEqual(result['once'], {})

    def test_tables_that_leak(self):
        keys = judge.KEYS
        result = judge_runs(
            ([new(A, 1, keys), new(B, 1, keys)], [(0x40000, keys, 1)]),
            ([new(C, 1, keys)], []),
            ([(C, keys, 1, 2)], []))
        self.assertEqual(patterns(result), {(keys, 'every run'): [1, 1, 1]})

    def test_unattributed(self):
        nothing = ([], [])
        result = judge_runs(nothing, nothing, nothing, unattributed=[2, 2, 2])
        self.assertEqual(patterns(result),
                         {('(unattributed)', 'every run'): [2, 2, 2]})
        result = judge_runs(nothing, nothing, nothing, unattributed=[2, -2, 1])
        self.assertEqual(result['verdict'], 'clean')
        self.assertEqual(result['total'], [2, -2, 1])

    def test_freed(self):
        result = judge_runs(([], []), freed=[(A, 'Plain', 2)])
        self.assertEqual(result['verdict'], 'suspicious')
        self.assertEqual(result['freed'], [[A, 'Plain', 2]])

    def test_more_objects_than_shown(self):
        runs = [([new(base + 16 * k) for k in range(10)], [])
                for base in (A, B, C)]
        [finding] = judge_runs(*runs, limit=4)['types']
        self.assertEqual(len(finding['objects']), 4)
        self.assertEqual(finding['more'], 26)
        # Neither the caches of the first run nor the state of the last.
        self.assertEqual({o['born'] for o in finding['objects']}, {2})

    def test_order(self):
        result = judge_runs(*from_counts(
            ('some', [0, 1, 1, 1]), ('some', [0, 0, 0, 1]),
            ('type', [5, 9, 13, 17]), ('new', [0, 1, 2, 3]),
            ('dict keys', [0, 1, 2, 3])))
        self.assertEqual([f['type'] for f in result['types']],
                         ['new', 'type', 'dict keys', 'some'])
        result['types'][1]['objects'][0]['unheld'] = 1
        judge.sort_findings(result['types'])
        self.assertEqual([f['type'] for f in result['types']],
                         ['type', 'new', 'dict keys', 'some'])

    def test_total_adds_up(self):
        result = judge_runs(*from_counts(
            ('a', [0, 1, 1, 1]), ('a', [0, 0, 1, 1]), ('a', [0, 0, 0, 1]),
            ('b', [3, 2, 1, 0]), ('c', [9, 8, 7, 6]), ('d', [2, 4, 3, 3])))
        leaked = sum(sum(f['refs']) for f in result['types'])
        self.assertEqual(leaked + sum(result['once'].values()),
                         sum(result['total']))

    def test_suppressed_findings_do_not_count(self):
        result = judge_runs(([new(A)], []), ([new(B)], []), ([new(C)], []))
        result['types'][0]['suppressed'] = 'known'
        self.assertEqual(judge.verdict_of(result['types']), 'clean')


class ReportTests(unittest.TestCase):
    def result(self, **more):
        result = judge_runs(([new(A)], []), ([new(B)], []),
                            ([new(C)], [(0x40000, 'str', 2)]))
        result.update(test='test_x', warmups=3, **more)
        return result

    def test_lines(self):
        self.assertEqual(report.lines(self.result()), [
            'refmap: test_x: leak (3 runs after 3 warm-ups)',
            '  references by the objects: [1, 1, 1] leaked, [1, 1, -1] in all',
            '  leaked in every run:',
            '    list: 1 a run; new objects: 1 a run',
            '      0x10000 x3: 0 -> 1, born in runs 1, 2, 3',
            '  changed once (caches, state of the last run): -2 (str -2)',
        ])

    def test_described_object(self):
        result = self.result()
        del result['types'][0]['objects'][1:]
        result['types'][0]['objects'][0].update(
            repr='[1]', size=48, birth=77, held_by=['{1: 2}'], unheld=1)
        self.assertEqual(report.lines(result)[4:7], [
            '      0x10000 (birth 77): 0 -> 1, born in run 1, 48 bytes: [1]',
            '          held by {1: 2}',
            '          no container holds 1 reference',
        ])

    def test_births(self):
        # What a recording told of the objects of a type.
        finding = {**self.result()['types'][0], 'births': [
            {'count': count, 'text': f'f{count}() (f.c:{count})'}
            for count in (9, 4, 3, 2, 1)]}
        self.assertEqual(list(report.finding_lines(finding, 1))[2:], [
            '  9 objects born in f9() (f.c:9)',
            '  4 objects born in f4() (f.c:4)',
            '  3 objects born in f3() (f.c:3)',
            '  3 objects born elsewhere'])

    def test_objects_that_look_the_same(self):
        objects = [
            {'address': A + 16 * k, 'born': 1 + k % 2, 'counts': [0, 1],
             'repr': '[1]', 'size': 48, 'held_by': [f'{B + k:#x} <x object>'],
             'unheld': 0} for k in range(3)]
        objects.append({**objects[0], 'address': C, 'repr': '[2]'})
        old = {'address': B, 'born': 0, 'counts': [5, 6]}
        objects += [old, {**old, 'address': B + 16}]
        finding = {'type': 'list', 'refs': [6], 'born': [4], 'objects': objects,
                   'more': 7}
        self.assertEqual(list(report.finding_lines(finding)), [
            'list: 6 a run; new objects: 4 a run',
            '  0x10000 x3: 0 -> 1, born in runs 1, 2, 48 bytes: [1]',
            '      held by 0x20000 <x object>',
            '  0x30000: 0 -> 1, born in run 1, 48 bytes: [2]',
            '      held by 0x20000 <x object>',
            '  0x20000: 5 -> 6, older',
            '  0x20010: 5 -> 6, older',
            '  ... and 7 more objects',
        ])
        self.assertEqual(list(report.finding_lines(finding, 1))[-1],
                         '  ... and 10 more objects')

    def test_names_make_no_lines(self):
        name = 'x\n  leak: y\r\x1b[2K\u2028\u202e\udc80'
        result = judge_runs(*[([new(A * k, 1, name)], []) for k in (1, 2, 3)],
                            ([], []), freed=[(A, name, 1)])
        result.update(
            test=name, warmups=3, methods_note=name, raw=[name],
            methods=[{'name': name, 'types': result['types']}])
        result['types'][0]['suppressed'] = name
        result['types'] += [{**result['types'][0], 'suppressed': ''}]
        result['types'][1]['objects'][0].update(
            repr=name, size=1, held_by=[name], unheld=1)
        result['once'] = {name: 1}
        text = report.lines(result)
        for line in text:
            self.assertTrue(line.isprintable(), line)
            self.assertFalse(line.startswith('  leak: y'), line)
        self.assertIn(r'x\n  leak: y\r\x1b[2K\u2028\u202e\udc80: leak',
                      text[0].replace('suspicious', 'leak'))
        for line in report.raw_lines([(A, name, 0, 1)], [(B, name, 1)]):
            self.assertTrue(line.isprintable(), line)

    def test_escape(self):
        for text in '', 'a b', '\xfcber', "it's \\n", '\u4e2d':
            self.assertEqual(report.escape(text), text)
        self.assertEqual(report.escape('a\tb\0\x7f\x9b'), r'a\tb\x00\x7f\x9b')

    def test_sums(self):
        result = self.result(sums={'references': [1, 1, -1],
                                   'memory blocks': [2, 2, 0],
                                   'file descriptors': [0, 0, 0]})
        self.assertEqual(report.lines(result)[1:3],
                         ['  references by the sums: [1, 1, -1]',
                          '  memory blocks by the sums: [2, 2, 0]'])

    def test_suppressed(self):
        result = self.result()
        result['types'][0]['suppressed'] = 'issue 5'
        self.assertIn('    list: 1 a run; new objects: 1 a run '
                      '-- suppressed: issue 5', report.lines(result))
        self.assertFalse([line for line in report.lines(result)
                          if '0x10000' in line])

    def test_methods(self):
        result = self.result()
        result['methods'] = [{'name': 'test_x.T.test_a',
                              'types': result['types']}]
        result['methods_note'] = 'stopped'
        text = report.lines(result)
        begin = text.index('  test methods that leak on their own:')
        self.assertEqual(text[begin + 1:], [
            '    test_x.T.test_a',
            '      list: 1 a run; new objects: 1 a run',
            '        0x10000 x3: 0 -> 1, born in runs 1, 2, 3',
            '    stopped',
        ])

    def test_no_methods(self):
        text = report.lines(self.result(methods=[], methods_note=None))
        self.assertEqual(text[-1], '    none')

    def test_freed_and_lost(self):
        result = self.result()
        result.update(freed=[[A, 'Plain', 1]], lost=2)
        text = report.lines(result)
        self.assertIn('  freed with 1 reference 0x10000 (Plain)', text)
        self.assertIn('  not exact: memory was short, 2 pages are not compared',
                      text)

    def test_few_runs(self):
        result = judge_runs(([new(A)], []))
        result.update(test='t', warmups=0)
        self.assertEqual(report.lines(result)[0],
                         'refmap: t: leak (1 run after 0 warm-ups)')
        self.assertIn('less than three runs', report.lines(result)[2])

    def test_raw(self):
        lines = report.raw_lines(
            [(0x7fc23b577b60, 'StgDict', 0, 1), (A, 'list', 3, 1)],
            [(B, 'list', 1), (C, 'StgDict', 1)])
        self.assertEqual(lines, [
            'ref change of living 0x7fc23b577b60 (StgDict): 1,  0 -> 1',
            'ref change of living 0x10000 (list): -2,  3 -> 1',
            'ref change of died   0x20000 (list): -1',
            'ref change of died   0x30000 (StgDict): -1',
            'ref change of type list: -3',
            'total ref change -3',
        ])


class SearchTests(unittest.TestCase):
    """The search for leaking methods."""

    def search(self, count, leaking, budget=1000):
        """Search where `leaking` are the sets of methods that leak when all
        of them run."""
        self.tried = []

        def try_group(group):
            if len(self.tried) == budget:
                raise methods.OutOfTime
            self.tried.append(group)
            return [sorted(one) for one in leaking if one <= set(group)]

        search = methods.Search(try_group)
        search.run(list(range(count)))
        return search

    def test_one_of_many(self):
        search = self.search(1000, [{700}])
        self.assertEqual(search.found, [(700, [[700]])])
        self.assertEqual(search.unresolved, [])
        self.assertLess(len(self.tried), 30)

    def test_several(self):
        search = self.search(100, [{0}, {50}, {99}])
        self.assertEqual([index for index, _ in search.found], [0, 50, 99])

    def test_single_method(self):
        search = self.search(1, [{0}])
        self.assertEqual([index for index, _ in search.found], [0])

    def test_together_only(self):
        search = self.search(64, [{3, 40}])
        self.assertEqual(search.found, [])
        self.assertEqual(search.unresolved, [list(range(64))])
        names = [f'test_{k}' for k in range(64)]
        self.assertEqual(methods.note(search, names),
                         'together only: 64 methods from test_0 to test_63')

    def test_out_of_time(self):
        search = self.search(64, [{3}, {60}], budget=3)
        self.assertEqual(search.found, [])
        pending = {index for group in search.pending for index in group}
        self.assertLessEqual({3, 60}, pending)
        self.assertRegex(methods.note(search, []),
                         r'stopped: no time for \d+ more methods')


class Nasty(type):
    """All that a repr could call raises."""

    def fail(cls, *args):
        raise AssertionError('called')

    __repr__ = __hash__ = __eq__ = __instancecheck__ = fail
    __subclasscheck__ = __getattribute__ = fail


class NastyObject(metaclass=Nasty):
    def fail(self, *args):
        raise AssertionError('called')

    __repr__ = __str__ = __sizeof__ = __len__ = __iter__ = fail
    __hash__ = __eq__ = __getattribute__ = __format__ = fail


class SafeReprTests(unittest.TestCase):
    def test_atoms(self):
        for value in None, ..., True, 1, -5, 1.5, 2j, 'text', b'bytes':
            self.assertEqual(saferepr.safe_repr(value), repr(value))

    def test_long_values(self):
        self.assertEqual(saferepr.safe_repr('x' * 80),
                         repr('x' * 50) + '... (80 long)')
        self.assertEqual(saferepr.safe_repr(10 ** 5000),
                         '<int of 16610 bits>')
        self.assertEqual(saferepr.safe_repr('x' * (1 << 21)),
                         f'<str of {1 << 21}>')

    def test_text_of_every_kind(self):
        for value in '', 'a\n', 'caf\xe9', '\u20ac', '\U0001f600', '\ud800', "'\"":
            self.assertEqual(saferepr.safe_repr(value), repr(value))

    def test_text_that_was_never_completed(self):
        # As the buffer of a writer: its characters are none that it may have.
        import _testrefmap
        for largest in 127, 255, 0xffff, sys.maxunicode:
            for length in 5, 80:
                with self.subTest(largest=largest, length=length):
                    value = _testrefmap.unfinished_str(length, largest)
                    text = saferepr.safe_repr(value)
                    self.assertRegex(text, "^'.+'(... .80 long.)?$")
                    self.assertIn('[', saferepr.safe_repr([value]))

    def test_containers(self):
        for value, text in [
            ([], '[]'), ((), '()'), ({}, '{}'), ([1, 2], '[1, 2]'),
            ((1, [2, 3]), '(1, <list of 2>)'),
            ({'a': {}, 'b': 1}, "{'a': <dict of 0>, 'b': 1}"),
            (list(range(9)), '[0, 1, 2, ... 9 items]'),
            (frozenset([1]), 'frozenset({1})'), ({1}, '{1}'),
        ]:
            self.assertEqual(saferepr.safe_repr(value), text)

    def test_code(self):
        self.assertEqual(saferepr.safe_repr(judge_runs),
                         '<function judge_runs>')
        self.assertEqual(saferepr.safe_repr(len), '<built-in len>')
        self.assertEqual(saferepr.safe_repr(unittest), "<module 'unittest'>")
        self.assertRegex(saferepr.safe_repr(judge_runs.__code__),
                         r'<code judge_runs in .*test_hunt.py:\d+>')

    def test_classes_and_instances(self):
        self.assertEqual(saferepr.safe_repr(int), '<class int>')
        self.assertEqual(saferepr.safe_repr(self),
                         f'<{__name__}.SafeReprTests object>')
        self.assertEqual(saferepr.safe_repr(ValueError('x', [1])),
                         "<ValueError('x', <list of 1>)>")

    def test_what_was_cleared(self):
        # As by the collector, from which it then leaked.
        import functools
        import types
        import _testrefmap

        def numbers():
            yield 1

        started = numbers()
        next(started)
        values = [ValueError('x', [1]), OSError(2, 'no'), lambda: 0, started,
                  numbers(), [1], {1: 2}, {1}, types.ModuleType('m'),
                  types.SimpleNamespace(a=1), functools.partial(print, 1),
                  staticmethod(len), property(len), iter([1]), NastyObject(),
                  self.assertEqual, types.CellType(1)]
        for value in values:
            with self.subTest(type(value)):
                _testrefmap.clear(value)
                self.assertTrue(saferepr.safe_repr(value))
                self.assertTrue(saferepr.safe_repr([value]))
                self.assertGreater(saferepr.safe_size(value), 0)

    def test_no_code_is_run(self):
        value = NastyObject()
        for nasty in value, NastyObject, [value], {1: value}, (NastyObject,):
            self.assertIn('NastyObject', saferepr.safe_repr(nasty))
            self.assertGreater(saferepr.safe_size(nasty), 0)

    def test_size(self):
        self.assertEqual(saferepr.safe_size('text'), 'text'.__sizeof__())
        self.assertEqual(saferepr.safe_size([1, 2]), [1, 2].__sizeof__())


class Plain:
    pass


@unittest.skipUnless(refmap.available() and _testrefmap,
                     'needs an interpreter --with-refcount-map')
class HuntTests(unittest.TestCase):
    def test_clean(self):
        result = refmap.hunt(lambda: [Plain() for _ in range(100)])
        self.assertEqual(result.verdict, 'clean')
        self.assertEqual(result.findings['types'], [])
        self.assertEqual(result.findings['total'], [0, 0, 0])

    def test_leak(self):
        result = refmap.hunt(lambda: _testrefmap.leak_reference([1]))
        self.assertEqual(result.verdict, 'leak')
        self.assertEqual(result.leaks(), {'list': [1, 1, 1]})
        self.assertIn('list: 1 a run', str(result))
        [finding] = result.findings['types']
        for record in finding['objects']:
            self.assertEqual(record['repr'], '[1]')
            self.assertEqual(record['size'], [1].__sizeof__())
            self.assertEqual(record['unheld'], 1)
            self.assertEqual(record['held_by'], [])
            self.assertEqual(record['birth'],
                             sys._refmap_birth(record['address']))
            self.assertIn(f'(birth {finding["objects"][0]["birth"]})',
                          str(result))

    def test_what_a_leaked_object_holds(self):
        def leak():
            plain = Plain()
            plain.value = [1]
            _testrefmap.leak_reference(plain)

        result = refmap.hunt(leak)
        leaks = result.leaks()
        self.assertEqual(leaks['Plain'], [1, 1, 1])
        self.assertEqual(leaks['list'], [1, 1, 1])
        self.assertEqual(leaks['type'], [1, 1, 1])
        # What nobody holds is named first, and holds the rest.
        first = result.findings['types'][0]
        self.assertEqual(first['type'], 'Plain')
        [finding] = [f for f in result.findings['types']
                     if f['type'] == 'list']
        for record in finding['objects']:
            self.assertEqual(record['unheld'], 0)
            self.assertIn('Plain', record['held_by'][0])

    def test_old_object(self):
        old = Plain()
        result = refmap.hunt(lambda: _testrefmap.leak_reference(old))
        [finding] = result.findings['types']
        [record] = finding['objects']
        self.assertEqual(record['address'], id(old))
        self.assertEqual(record['born'], 0)
        self.assertEqual(judge.steps(record['counts']), [1, 1, 1])

    def test_negative_drift(self):
        old = Plain()
        for _ in range(10):
            _testrefmap.leak_reference(old)
        result = refmap.hunt(lambda: _testrefmap.over_decref(old))
        self.assertEqual(result.verdict, 'error')
        self.assertEqual(result.errors(), {'Plain': [-1, -1, -1]})
        self.assertEqual(result.leaks(), {})
        [finding] = result.findings['types']
        self.assertEqual(finding['pattern'], 'over-decref')
        self.assertEqual(finding['objects'][0]['address'], id(old))

    def test_over_decref_in_four_of_nine_runs(self):
        old = Plain()
        for _ in range(20):
            _testrefmap.leak_reference(old)
        plan = iter([0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1])

        def sometimes():
            if next(plan):
                _testrefmap.over_decref(old)

        result = refmap.hunt(sometimes, runs=9)
        self.assertEqual(result.errors(),
                         {'Plain': [-1, 0, 0, -1, 0, -1, 0, 0, -1]})

    def test_over_decref_of_what_containers_hold(self):
        # Not an instance: of these a debug build's garbage collector counts
        # the holders, too, and aborts.
        old = object()
        holders = [[old] for _ in range(10)]
        result = refmap.hunt(lambda: _testrefmap.over_decref(old))
        for _ in range(6):
            _testrefmap.leak_reference(old)
        self.assertEqual(result.verdict, 'error')
        [record] = result.findings['types'][0]['objects']
        self.assertGreaterEqual(record['holders'], len(holders))
        self.assertRegex(str(result), r'containers hold 1\d references, '
                                      r'\d more than are counted')

    def test_pool_that_is_used_up(self):
        # Each run takes an item out of a list: nothing is wrong with that.
        pool = [Plain()] * 20
        result = refmap.hunt(pool.pop)
        self.assertEqual(result.verdict, 'suspicious')
        self.assertEqual(result.errors(), {})

    def test_caches_of_the_library(self):
        # They have a bound; new keys are none the less kept in each run.
        import fractions
        import ipaddress
        import _strptime
        numbers = iter(range(1, 10**6))

        def fill():
            for _ in range(3):
                n = next(numbers)
                hash(fractions.Fraction(n, 10**7 + n))
                ipaddress.ip_address(n).is_private
                _strptime._strptime_time(f'2026 {n % 9}', f'%Y {n % 9}')

        result = refmap.hunt(fill)
        self.assertEqual(result.verdict, 'clean', str(result))

    def test_births_of_a_clean_up(self):
        # They come between those of two runs, whose numbers are looked for. In a
        # process of its own: in that of all tests one more came, why is not known.
        from .helpers import run_script
        run_script('''
            import fractions, ipaddress, json, typing, unittest
            from refmap import hunting
            births = []
            for _ in range(10):
                before = object()
                hunting.clean_up()
                after = object()
                births.append(sys._refmap_birth(id(after))
                              - sys._refmap_birth(id(before)))
            assert len(set(births[2:])) == 1, births
            assert births[-1] < 100, births
            ''')

    def test_a_new_module_in_each_run(self):
        import types
        names = iter([f'refmap_test_{i}' for i in range(100)])
        old = []

        def work():
            # The last one is there until the next run.
            for name in old:
                del sys.modules[name]
            old[:] = [next(names)]
            sys.modules[old[0]] = types.ModuleType(old[0])

        result = refmap.hunt(work)
        del sys.modules[old[0]]
        self.assertEqual(result.verdict, 'clean', str(result))

    def test_odd_modules(self):
        import functools
        import types
        import fractions
        from refmap import caches
        from test.support import swap_attr
        odd = types.ModuleType('json.odd')
        odd.own = functools._lru_cache_wrapper(len, 5, False, tuple)
        odd.cached = functools.lru_cache(5)(lambda n: [n])
        odd.unbounded = functools.lru_cache(None)(lambda n: [n])
        del odd.__name__
        modules = {'json.odd': odd, 'json.int': 1, 1: odd, 'mine': odd}
        for function in odd.cached, odd.unbounded:
            function(1)
        hash(fractions.Fraction(1, 12345))
        with swap_attr(sys, 'modules', sys.modules | modules):
            self.assertEqual(list(caches.lru_caches()).count(odd.cached), 1)
            caches.clear()
        self.assertEqual(odd.cached.cache_info().currsize, 0)
        self.assertEqual(odd.unbounded.cache_info().currsize, 1)
        self.assertEqual(fractions._hash_algorithm.cache_info().currsize, 0)

    def test_cache_of_a_user(self):
        # Whoever made it may want to know.
        import functools
        numbers = iter(range(10**6, 2 * 10**6))
        cached = functools.lru_cache(lambda n: [n])
        result = refmap.hunt(lambda: cached(next(numbers)))
        self.assertEqual(result.leaks()['list'], [1, 1, 1])

    def test_half_built_tuple(self):
        import ctypes
        tuple_new = ctypes.pythonapi.PyTuple_New
        tuple_new.restype = ctypes.c_void_p     # so nobody owns the result
        result = refmap.hunt(lambda: tuple_new(3))
        self.assertEqual(result.leaks(), {'tuple': [1, 1, 1]})
        self.assertIn('(), 3 of 3 never set', str(result))

    def test_freed_while_counted(self):
        result = refmap.hunt(lambda: _testrefmap.free_counted('object'))
        self.assertNotEqual(result.verdict, 'clean')
        self.assertEqual(len(result.findings['freed']), 3)
        self.assertIn('freed with 1 reference 0x', str(result))

    def test_counts(self):
        calls = []
        result = refmap.hunt(lambda: calls.append(None), warmups=1, runs=5)
        self.assertEqual(len(calls), 6)
        self.assertEqual(result.findings['runs'], 5)
        self.assertEqual(result.findings['warmups'], 1)
        for warmups, runs in (-1, 3), (3, 0), (3, -1):
            with self.assertRaises(ValueError):
                refmap.hunt(print, warmups, runs)

    def test_no_warmup(self):
        result = refmap.hunt(lambda: _testrefmap.leak_reference([]), warmups=0)
        self.assertEqual(result.leaks()['list'], [1, 1, 1])

    def test_exception(self):
        with self.assertRaises(ZeroDivisionError):
            refmap.hunt(lambda: 1 / 0)

    def test_raw(self):
        raw = refmap.hunt(lambda: _testrefmap.leak_reference([]),
                          raw=True).findings['raw']
        self.assertRegex('\n'.join(raw),
                         r'ref change of living 0x[0-9a-f]+ \(list\): 1,  0 -> 1')
        self.assertEqual(raw[-1], 'total ref change 1')

    def test_too_many_runs(self):
        for counts in (10 ** 6, 3), (3, 10 ** 12), (5000, 5001):
            with self.assertRaisesRegex(ValueError, 'more than 10000 runs'):
                refmap.hunt(print, *counts)

    def test_one_leaked_object_of_many_holders(self):
        # The class is held by each instance: a report names a few of them.
        def leak():
            for _ in range(2000):
                _testrefmap.leak_reference(Plain())

        result = refmap.hunt(leak)
        [record] = [f for f in result.findings['types']
                    if f['type'] == 'type'][0]['objects']
        self.assertLessEqual(len(record['held_by']), details.MAX_NAMED + 1)
        self.assertRegex(record['held_by'][0], r'^0x[0-9a-f]+ <.*Plain object> '
                                               r'x20$')
        self.assertGreaterEqual(record['holders'], 6000)

    def test_many_holders(self):
        item = Plain()
        holders = [[item] for _ in range(1000)]
        last = sys.refmap_snapshot()
        found = details.find_holders({id(item): item}, last)
        self.assertEqual(found[id(item)].count, len(holders))
        self.assertEqual(len(found[id(item)].some), details.MAX_HOLDERS)

    def test_names_of_holders(self):
        leaked, other, alike = [1], {'a': 1}, [1]
        names = details.name_holders([leaked, other, other, alike], 7,
                                     {id(leaked): leaked})
        self.assertEqual(names, [f'{id(leaked):#x} [1]', "{'a': 1} x2", '[1]',
                                 '3 more'])

    def test_help(self):
        text = pydoc.render_doc(refmap.hunting.hunt, renderer=pydoc.plaintext)
        self.assertIn('warmups, runs -- how often', text)
        self.assertIn('Call something repeatedly and find the objects',
                      pydoc.render_doc(refmap, renderer=pydoc.plaintext))

    def test_streams_that_cannot_be_flushed(self):
        class Stream:
            def flush(self):
                raise ZeroDivisionError

        from test.support import swap_attr
        for stream in None, io.StringIO(), Stream(), object():
            if isinstance(stream, io.StringIO):
                stream.close()
            with swap_attr(sys, 'stdout', stream):
                result = refmap.hunt(lambda: None)
            self.assertEqual(result.verdict, 'clean')

    def test_suppressions(self):
        rules = [['list', '*', 'known']]
        result = refmap.hunt(lambda: _testrefmap.leak_reference([]),
                             suppressions=rules)
        self.assertEqual(result.verdict, 'clean')
        self.assertEqual(result.leaks(), {})
        self.assertEqual(result.findings['rules'], [0])

    def test_nothing_of_the_hunt_is_seen(self):
        # The raw report of nothing has nothing, apart from what clean_up()
        # makes anew each time.
        result = refmap.hunt(lambda: None, raw=True, cleanup=lambda: None)
        self.assertEqual(result.findings['raw'], ['total ref change 0'])


@unittest.skipIf(refmap.available(), 'this interpreter has a map')
class NoMapTests(unittest.TestCase):
    def test_hunt(self):
        with self.assertRaisesRegex(RuntimeError, 'with-refcount-map'):
            refmap.hunt(lambda: None)


if __name__ == '__main__':
    unittest.main()
