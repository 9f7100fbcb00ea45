"""The judge of leak hunts on literal records; and refmap.hunt().

All but the last classes run in any interpreter that can import refmap.
"""

import unittest

import refmap
from refmap import judge, methods, report, saferepr

try:
    import _testrefmap
except ImportError:
    _testrefmap = None

A, B, C = 0x10000, 0x20000, 0x30000


def judge_runs(*runs, **options):
    """Judge runs given as (living, died)."""
    return judge.judge(judge.histories(runs), len(runs), **options)


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
        [history] = judge.histories([([], []), ([new(A, 2)], []), ([], [])])
        self.assertEqual(history.counts, [0, 0, 2, 2])
        self.assertEqual(history.born, 2)
        self.assertTrue(history.is_alive())

    def test_old_object(self):
        [history] = judge.histories([([], []), ([(A, 'str', 5, 7)], []),
                                     ([(A, 'str', 7, 4)], [])])
        self.assertEqual(history.counts, [5, 5, 7, 4])
        self.assertEqual(history.born, 0)

    def test_old_object_dies(self):
        [history] = judge.histories([([], []), ([], [(A, 'str', 5)]), ([], [])])
        self.assertEqual(history.counts, [5, 5, 0, 0])
        self.assertFalse(history.is_alive())

    def test_another_object_at_the_address(self):
        first, second = judge.histories([
            ([new(A)], []), ([new(A, 3, 'dict')], [(A, 'list', 1)]), ([], [])])
        self.assertEqual((first.type, first.counts), ('list', [0, 1, 0, 0]))
        self.assertEqual((second.type, second.counts), ('dict', [0, 0, 3, 3]))

    def test_reborn_in_the_run_of_a_change(self):
        # Alive, changed, dead and followed by a newborn in later runs.
        old, young = judge.histories([
            ([(A, 'str', 1, 2)], []), ([new(A)], [(A, 'str', 2)])])
        self.assertEqual(old.counts, [1, 2, 0])
        self.assertEqual(young.counts, [0, 0, 1])

    def test_retained(self):
        # The example of the masked leak, as the count of one object.
        counts = [1, 7, 1, 2, 8, 2, 3]
        history = judge.History(A, 'x', 0, counts)
        self.assertEqual(judge.steps(counts), [6, -6, 1, 6, -6, 1])
        self.assertEqual(history.retained(), [0, 0, 1, 0, 0, 1])


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

    def test_negative_drift(self):
        result = judge_runs(*from_counts(('object', [9, 8, 7, 6])))
        self.assertEqual(result['verdict'], 'suspicious')
        self.assertEqual(patterns(result),
                         {('object', 'shrinking'): [-1, -1, -1]})
        self.assertEqual(result['once'], {})

    def test_no_negative_drift(self):
        result = judge_runs(*from_counts(('object', [9, 8, 8, 7]),
                                         ('object', [9, 5, 6, 2])))
        self.assertEqual(result['verdict'], 'clean')
        self.assertEqual(result['once'], {'object': -9})

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
            '      0x10000: 0 -> 1, born in run 1',
            '      0x20000: 0 -> 1, born in run 2',
            '      0x30000: 0 -> 1, born in run 3',
            '  changed once (caches, state of the last run): -2 (str -2)',
        ])

    def test_described_object(self):
        result = self.result()
        del result['types'][0]['objects'][1:]
        result['types'][0]['objects'][0].update(
            repr='[1]', size=48, held_by=['{1: 2}'], unheld=1)
        self.assertEqual(report.lines(result)[4:7], [
            '      0x10000: 0 -> 1, born in run 1, 48 bytes: [1]',
            '          held by {1: 2}',
            '          no container holds 1 reference',
        ])

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
            '        0x10000: 0 -> 1, born in run 1',
            '        ... and 2 more objects',
            '    stopped',
        ])

    def test_no_methods(self):
        text = report.lines(self.result(methods=[], methods_note=None))
        self.assertEqual(text[-1], '    none')

    def test_freed_and_lost(self):
        result = self.result()
        result.update(freed=[[A, 'Plain', 1]], lost=2)
        text = report.lines(result)
        self.assertIn('  freed with 1 reference: 0x10000 (Plain)', text)
        self.assertIn('  not exact: memory was short, 2 pages not compared',
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
        self.assertEqual(result.verdict, 'suspicious')
        [finding] = result.findings['types']
        self.assertEqual(finding['pattern'], 'shrinking')
        self.assertEqual(finding['objects'][0]['address'], id(old))

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
        self.assertIn('freed with 1 reference', str(result))

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
