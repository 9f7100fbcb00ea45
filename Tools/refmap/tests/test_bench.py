"""Tests of what `make bench` and hunt-suite do with their numbers. No timing is
asserted.

usage: python3 Tools/refmap/tests/test_bench.py
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import shutil
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.join(HERE, '..')
BENCH = os.path.join(TOOLS, 'bench')
HUNT = os.path.join(TOOLS, 'hunt')
sys.dont_write_bytecode = True
sys.path.insert(0, BENCH)

import bench
import heap
import kinds
import machine
import plot
import process
import report
import sections
import stats
import visiting
from process import Failure


def load_script(name, directory=BENCH):
    """A module made of a script whose name does not end in .py."""
    loader = importlib.machinery.SourceFileLoader(
        name, os.path.join(directory, name))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def visited(factor):
    return {order: [factor * 1e-8, factor * 1.1e-8] for order in (
        'in order', 'random order', 'attributes, random order')}


def heap_figures(factor, *values):
    """The figures of a heap: seconds per object, in two rounds."""
    return {figure: [factor * value, factor * value * 1.1] for figure, value in
            zip(('build', 'first pass', 'in order', 'random order', 'rss'),
                values or (5e-8, 2e-8, 1e-8, 8e-8, 1e9))}


def sample(**changes):
    """Raw results of a made-up run; a section can be replaced or left out."""
    factors = {'stock-release': 1, 'release': 1.1, 'stock-debug': 4,
               'debug': 4.2, 'stock-trace-refs': 6, 'stock-release-lto': 0.8,
               'release-lto': 0.9}
    pairs = [['release', 'stock-release'], ['debug', 'stock-debug'],
             ['release-lto', 'stock-release-lto']]
    small = {'calls': 0.2, 'json': 0.4}
    live = {'stock-release': visited(1),
            'release': {**visited(1.4), 'map bytes': 440, 'map objects': 10}}
    results = {
        'command': 'make bench', 'version': '3.13', 'skipped': [],
        'machine': {
            'model': 'A processor', 'cores': 2, 'memory': 1 << 33,
            'caches': {'L2': 1 << 19}, 'system': 'Linux 1', 'compiler': 'GCC 1',
            'python': '3.13.5', 'commit': 'abc', 'date': '2026-01-01 00:00 UTC',
            'load': 0.1, 'busy': 0.01, 'others': 0.02, 'stolen': 0.0,
            'seconds': 60},
        'a': {v: {'user': [f * 70, f * 75], 'rss': [f * 2e8, f * 2e8],
                  'status': [0, 0]} for v, f in factors.items()},
        'b': {v: {w: [f * t, f * t * 1.2] for w, t in small.items()}
              for v, f in {**factors, 'stock-release-tuned': 0.96,
                           'tracemalloc-1': 2, 'tracemalloc-25': 5}.items()},
        'c': {'heaps': {n: {'collect': [int(n) * 4e-8],
                            'snapshot': [int(n) * 1e-10], 'drop': [1e-5],
                            'diff': {'0': [1e-5], '10': [2e-5]}}
                        for n in ('10000', '1000000')},
              'blocks': {'objects': 300_000, 'untouched': [2e-3, 1.5e-3],
                         'touched': [0.08, 0.09]}},
        'd': {'objects': 10**6, 'variants': {
            'stock-release': {'rss': [10**8]},
            'release': {'rss': [2 * 10**8], 'map bytes': 440,
                        'map objects': 10}}},
        'e': {v: {'python -c pass': [f * 0.01]} for v, f in factors.items()},
        'f': {'rounds': 2, 'passes': 3, 'pairs': pairs, 'heaps': {
            kind: {n: {v: heap_figures(factors[v]) for pair in pairs
                       for v in pair} for n in ('10000', '4000000')}
            for kind in ('lists', 'floats')}},
        'g': {v: {'lists': {'10000': {
            'objects': 10_000, 'mapped': 1e-5, 'agree': 1e-4,
            'touched': 1e-4, 'differ': 2e-4,
            'bytes agree': 0, 'bytes differ': 80_000, 'bytes of another': 100}}}
            for v in ('release', 'debug')},
        'h': {v: {'lists': {
            '': {'seconds': [0.01, 0.02]},
            **{way: {'seconds': [0.03, 0.02], 'bytes': 24_000, 'events': 2000}
               for way in ('NEW and DEL of all types', 'the same, of one type',
                           'references of one type', 'Profile, all events')},
            'pymemtrace: all types': {'seconds': [1], 'bytes': 10**6}}}
            for v in ('release', 'debug')},
        'scale': {
            'live': {n: live for n in ('10000', '100000', '1000000')},
            'retained': {'objects': 10**6, 'changed': 100, 'drop all': 0.1,
                         'counts': {
                             '0': {'first pass': 1e-8, 'second pass': 1e-8,
                                   'bytes': 10**7},
                             '1': {'snapshot': 1e-5, 'first pass': 8e-8,
                                   'second pass': 1e-8, 'bytes': 10**7},
                             '10': {'snapshot': 1e-5, 'first pass': 8e-8,
                                    'second pass': 1e-8, 'bytes': 10**8}}}}}
    results.update(changes)
    return {name: value for name, value in results.items()
            if value is not None}


class StatisticsTests(unittest.TestCase):
    slow = {'a': [4.0, 2.0], 'b': [8.0, 9.0], 'only here': [1.0, 1.0]}
    fast = {'a': [1.0, 1.0], 'b': [1.0, 1.0]}

    def test_summary(self):
        self.assertEqual(stats.summary([3, 1, 5]), (1, 3))

    def test_ratio_is_of_minima(self):
        self.assertEqual(stats.ratio([4, 3], [2, 9]), 1.5)
        self.assertEqual(stats.ratio([4, 4], [2, 2], of=max), 2)

    def test_geomean_of_common_workloads(self):
        self.assertAlmostEqual(stats.geomean_ratio(self.slow, self.fast), 4.0)

    def test_geomean_spread_is_of_rounds(self):
        low, high = stats.geomean_spread(self.slow, self.fast)
        self.assertAlmostEqual(low, 18 ** 0.5)
        self.assertAlmostEqual(high, 32 ** 0.5)

    def test_geomean_spread_with_a_round_missing(self):
        short = {'a': [4.0], 'b': [8.0, 9.0]}
        low, high = stats.geomean_spread(short, self.fast)
        self.assertEqual(low, high)

    def test_spread(self):
        self.assertEqual(stats.spread([2, 6], [1, 2]), (2, 3))

    def test_worst(self):
        self.assertEqual(stats.worst(self.slow, self.fast), ('b', 8.0))


class BoundTests(unittest.TestCase):
    def judge(self, results):
        return {what: (value, met)
                for what, _, value, met in report.judged(results)}

    def test_all_are_computed(self):
        for what, (value, _) in self.judge(sample()).items():
            with self.subTest(what):
                self.assertIsNotNone(value)

    def test_met_and_missed(self):
        judged = self.judge(sample())
        value, met = judged['(b) release / stock-release, geometric mean']
        self.assertAlmostEqual(value, 1.1)
        self.assertTrue(met)
        value, met = judged['(b) release / stock-debug, geometric mean']
        self.assertAlmostEqual(value, 0.275)
        self.assertFalse(met)
        value, met = judged['(c) snapshot / gc.collect(), 10^6 objects']
        self.assertAlmostEqual(value, 1 / 400)
        self.assertTrue(met)

    def test_tuned_and_lto(self):
        judged = {what: (limit, value)
                  for what, limit, value, _ in report.judged(sample())}
        for what, limit, value in (
                ('(b) release / stock-release-tuned', 1.15, 1.1 / 0.96),
                ('(b) release-lto / stock-release-lto', 1.12, 0.9 / 0.8)):
            found = judged[what + ', geometric mean']
            self.assertEqual(found[0], limit)
            self.assertAlmostEqual(found[1], value)

    def test_not_measured(self):
        judged = self.judge(sample(b=None, c={}, f=None))
        for what, (value, met) in judged.items():
            if what.startswith(('(b)', '(c)', '(f)')):
                with self.subTest(what):
                    self.assertIsNone(value)
                    self.assertFalse(met)


class ReportTests(unittest.TestCase):
    def test_formats(self):
        self.assertEqual(report.as_ratio(1.1199), '1.120')
        self.assertEqual(report.as_ratio(1 / 200), '1/200')
        self.assertEqual(report.as_ratio(None), '-')
        self.assertEqual([report.as_time(t) for t in (2, 0.0151, 3e-6, 4e-9)],
                         ['2 s', '15.1 ms', '3 µs', '4 ns'])

    def test_tables_are_rectangular(self):
        for block in report.document(sample()).split('\n\n'):
            if block.startswith('|'):
                columns = {row.count('|') for row in block.splitlines()}
                self.assertEqual(len(columns), 1, block)

    def test_all_sections(self):
        text = report.document(sample())
        for title in report.TITLES.values():
            self.assertIn('## ' + title, text)
        self.assertNotIn('Not measured in this run', text)
        self.assertNotRegex(text, r'\| None|\bnan\b')

    def test_each_section_may_be_missing(self):
        for name in report.TITLES:
            with self.subTest(name):
                text = report.document(sample(**{name: None}))
                self.assertEqual(text.count('Not measured in this run'), 1)
                plot.figure(sample(**{name: None}))

    def test_two_variants_only(self):
        results = sample()
        for name in 'ab':
            results[name] = {v: results[name][v]
                             for v in ('stock-release', 'release')}
        self.assertIn('| not measured |', report.document(results))

    def test_busy_machine(self):
        results = sample()
        self.assertNotIn('Warning', report.document(results))
        results['machine']['others'] = 0.3
        self.assertIn('**Warning: the machine was busy',
                      report.document(results))

    def test_unknown_machine(self):
        results = sample()
        results['machine'].update(memory=None, caches={}, commit=None,
                                  busy=None, others=None, stolen=None)
        self.assertIn('| memory | unknown |', report.document(results))

    def test_failed_tests_are_named(self):
        results = sample()
        results['a']['debug']['status'] = [0, 2]
        self.assertIn('Some tests failed in: debug.',
                      report.document(results))

    def test_suite(self):
        results = sample()
        results['a']['release'].update(user=[70, 90], rss=[3e8, 2.2e8])
        self.assertIn('| release / stock-release | 1.000 | 1.103 |'
                      ' 1.00 to 1.20 | 1.100 |', report.document(results))

    def test_left_out(self):
        self.assertTrue(report.document(sample(skipped=['no memory'])).endswith(
            '## Left out\n\n* no memory\n'))

    def test_notes_are_linked_not_copied(self):
        path = '../Tools/refmap/bench/notes.md'
        self.assertIn(f']({path})', report.document(sample()))
        self.assertTrue(os.path.exists(os.path.join(BENCH, '../../../Doc', path)))

    def test_document_of_the_repository(self):
        with open(os.path.join(BENCH, '../../../Doc/benchmarks.md')) as file:
            text = file.read()
        self.assertEqual(text[:len(report.INTRODUCTION)], report.INTRODUCTION)
        with open(os.path.join(BENCH, 'notes.md')) as file:
            notes = set(re.findall(r'.{60,}', file.read()))
        self.assertEqual(notes & set(text.splitlines()), set())

    def test_both_stocks(self):
        text = report.document(sample())
        self.assertIn('| release / stock-release | 1.100 | 1.100 |', text)
        self.assertIn('| release / stock-release-tuned | 1.146 | 1.146 |', text)

    def test_logs(self):
        text = report.document(sample())
        self.assertIn('| NEW and DEL of all types | lists | 10 ms | 2.00 | 12.0 |', text)
        self.assertIn('| pymemtrace: all types | lists | 10 ms | 100.00 | - |', text)
        self.assertIn('(h) release, references of one type, worst program', text)

    def test_blocks(self):
        self.assertIn('| 300,000 | 1.5 ms | 80 ms |', report.document(sample()))
        results = sample()
        results['c']['blocks'] = None
        self.assertNotIn('3 kB', report.document(results))


class PlotTests(unittest.TestCase):
    def texts(self, results):
        root = ElementTree.fromstring(plot.figure(results))
        return [e for e in root.iter() if e.tag.endswith('}text')]

    def test_five_panels(self):
        root = ElementTree.fromstring(plot.figure(sample()))
        self.assertEqual(len(root.findall('{*}g')), 5)

    def test_nothing_measured(self):
        self.assertEqual(self.texts({}), [])

    def test_inside_the_panel(self):
        for text in self.texts(sample()):
            width = len(text.text) * float(text.get('font-size')) * 0.6
            x, y = float(text.get('x')), float(text.get('y'))
            before = {'start': 0, 'middle': 0.5, 'end': 1}[
                text.get('text-anchor')]
            with self.subTest(text.text):
                self.assertGreaterEqual(x - before * width, 0)
                self.assertLessEqual(x + (1 - before) * width, plot.WIDTH)
                self.assertLessEqual(y, plot.HEIGHT)

    def test_ticks_surround_the_values(self):
        for low, high in ((0, 1.3), (0, 19), (1e-8, 8e-8), (5, 5), (0, 0)):
            ticks = plot.linear_ticks(low, high)
            with self.subTest((low, high)):
                self.assertLessEqual(ticks[0], low)
                self.assertGreaterEqual(ticks[-1], high)
                self.assertLessEqual(len(ticks), 9)
        self.assertEqual(plot.log_ticks(20, 2000), [10, 100, 1000, 10000])


class VisitingTests(unittest.TestCase):
    """Heaps and their ratios, from literal figures."""

    results = {
        'lists': {'10': {
            'debug': heap_figures(1, 10, 6, 3, 8, 300),
            'stock-debug': heap_figures(1, 5, 2, 3, 4, 200)}},
        'floats': {'20': {
            'debug': heap_figures(1, 1, 1, 4, 2, 1),
            'stock-debug': heap_figures(1, 1, 1, 2, 1, 1)}}}

    def test_only_steady_passes_are_judged(self):
        self.assertEqual(
            visiting.ratios(self.results, 'debug', 'stock-debug'),
            {('lists', 10, 'in order'): 1, ('lists', 10, 'random order'): 2,
             ('floats', 20, 'in order'): 2, ('floats', 20, 'random order'): 2})
        self.assertAlmostEqual(
            visiting.geomean(self.results, 'debug', 'stock-debug'), 8 ** 0.25)
        self.assertEqual(
            visiting.worst(self.results, 'debug', 'stock-debug'),
            (('lists', 10, 'random order'), 2))

    def test_by_size(self):
        results = {**self.results, 'bytes-512': {'100000': self.results[
            'lists']['10']}}
        self.assertEqual(visiting.by_size(results, 'debug', 'stock-debug'),
                         {10: [1, 2], 20: [2, 2]})

    def test_minimum_of_the_rounds(self):
        results = {'lists': {'10': {
            'a': {'in order': [9, 3]}, 'b': {'in order': [2, 4]}}}}
        self.assertEqual(visiting.ratios(results, 'a', 'b', ['in order']),
                         {('lists', 10, 'in order'): 1.5})

    def test_lines(self):
        lines = report.heap_lines({
            'rounds': 1, 'passes': 3, 'pairs': [['debug', 'stock-debug']],
            'heaps': self.results})
        self.assertIn('debug / stock-debug: geometric mean 1.682, worst 2.000 '
                      '(10 lists, random order), 3 of 4 above 1.5.', lines)
        self.assertIn('| 10 lists | 3 s | 1.000 | 4 s | **2.000** | 3.000 | 2.000 '
                      '| 1.500 |', lines)

    def test_a_missing_variant_is_not_judged(self):
        with self.assertRaises(KeyError):
            visiting.worst(self.results, 'release', 'stock-release')

    def test_pairs(self):
        self.assertEqual(
            visiting.pairs(['release', 'stock-debug', 'debug', 'release-lto',
                            'stock-release-tuned', 'stock-release']),
            [('release', 'stock-release'), ('debug', 'stock-debug')])

    def test_plan(self):
        self.assertEqual(visiting.plan(['lists', 'bytes-512', 'slots'], [7, 9]),
                         [('lists', 7), ('lists', 9), ('bytes-512', 100_000),
                          ('slots', 7), ('slots', 9)])

    def test_shortage_of_memory(self):
        skipped = []
        self.assertEqual(
            visiting.fitting([('lists', 10), ('lists', 10**15)], skipped.append),
            [('lists', 10)])
        self.assertEqual(len(skipped), 1)
        self.assertIn('1,000,000,000,000,000 lists', skipped[0])
        self.assertIsNone(machine.shortage('a heap', 1 << 30, 1 << 30))
        self.assertEqual(machine.shortage('a heap', 3 << 30, 1 << 30),
                         'a heap: 3,072 MiB may be needed, 1,024 MiB are free')

    def test_order_is_a_permutation(self):
        with tempfile.TemporaryDirectory() as directory:
            path = visiting.write_order(directory, 1000)
            order = list(kinds.read_order(path, 1000))
        self.assertNotEqual(order, sorted(order))
        self.assertEqual(sorted(order), list(range(1000)))

    def test_rounds_are_interleaved(self):
        calls = []

        def visit(command, kind, n, passes, directory):
            calls.append((*command, kind))
            return {'in order': len(calls)}
        with mock.patch.object(visiting, 'visit', visit):
            results = visiting.measure(
                {'one': ['1'], 'other': ['2']}, [('lists', 5), ('slots', 5)],
                2, 3, None, lambda text: None)
        self.assertEqual(calls, [
            ('1', 'lists'), ('2', 'lists'), ('1', 'slots'), ('2', 'slots'),
            ('2', 'lists'), ('1', 'lists'), ('2', 'slots'), ('1', 'slots')])
        self.assertEqual(results['lists'], {'5': {'one': {'in order': [1, 6]},
                                                  'other': {'in order': [2, 5]}}})

    def test_costly_peers_have_the_first_rounds(self):
        calls = []

        def check(command, scratch):
            calls.append((command[0], command[-2]))
            return SimpleNamespace(output='1.5')
        run = SimpleNamespace(rounds=5, workload_scale=1, scratch=None, variants=[],
                              say=lambda text: None)
        commands = {'release': ['r'], 'debug': ['d'], 'tracemalloc-25': ['t']}
        with mock.patch.object(sections, 'check', check), \
                mock.patch.object(sections, 'peers', lambda run: commands), \
                mock.patch.object(sections.workloads, 'WORKLOADS', ['calls']):
            result = sections.small_workloads(run)
        self.assertEqual(''.join(peer for peer, _ in calls), 'rdt' 'dtr' 'rd' 'r' 'r')
        self.assertEqual({peer: len(times['calls']) for peer, times in result.items()},
                         {'release': 5, 'debug': 3, 'tracemalloc-25': 2})

    def test_rounds_that_are_fewer_are_said(self):
        self.assertEqual(report.said_rounds({'release': 5, 'debug': 5}), '5 rounds')
        self.assertEqual(report.said_rounds({'release': 5, 'debug': 3, 'other': 2}),
                         '5 rounds (the first 3 of debug, 2 of other)')

    def test_large_heaps_have_one_round_less_but_one(self):
        with mock.patch.object(visiting, 'LARGE', 5), \
                mock.patch.object(visiting, 'visit',
                                  lambda *args: {'in order': 1}):
            for rounds, small, large in (1, 1, 1), (2, 2, 1), (3, 3, 2):
                results = visiting.measure(
                    {'one': []}, [('lists', 5), ('lists', 6)], rounds, 2, None,
                    lambda text: None)['lists']
                self.assertEqual([len(results[n]['one']['in order'])
                                  for n in ('5', '6')], [small, large])

    def test_every_kind(self):
        """Objects of their own each, which their pass can read."""
        for name, kind in kinds.KINDS.items():
            with self.subTest(name):
                objects = kind.build(5)
                self.assertEqual(len({id(o) for o in objects}), 5)
                kind.visit(objects)

    def test_a_heap_in_a_process(self):
        with tempfile.TemporaryDirectory() as directory:
            found = visiting.visit([sys.executable], 'dicts', 100, 1, directory)
        self.assertEqual(list(found), ['build', 'first pass', 'in order',
                                       'random order', 'rss'])
        self.assertTrue(all(value > 0 for value in found.values()))

    def test_size_of_the_order_is_checked(self):
        with tempfile.TemporaryDirectory() as directory:
            path = visiting.write_order(directory, 10)
            with self.assertRaises(EOFError):
                kinds.read_order(path, 11)

    def test_passes(self):
        """Short passes are repeated, and the result is of one."""
        passes = []
        with mock.patch.object(kinds, 'VISITS', 50), \
                mock.patch.object(kinds.time, 'process_time',
                                  side_effect=[1.0, 11.0, 2.0, 8.0]):
            self.assertEqual(kinds.steady(passes.append, [None] * 10, 3), 2.0)
            self.assertEqual(len(passes), 5)
            self.assertEqual(kinds.steady(passes.append, [None] * 100, 3), 2.0)
            self.assertEqual(len(passes), 8)


class HeapsScriptTests(unittest.TestCase):
    def setUp(self):
        self.script = load_script('heaps')

    def parse(self, *args):
        return self.script.parse_arguments(list(args))

    def test_defaults(self):
        options = self.parse()
        self.assertEqual((options.kinds, options.sizes, options.rounds),
                         (list(kinds.KINDS), visiting.SIZES, 3))
        options = self.parse('--quick')
        self.assertEqual((options.sizes, options.rounds), ((10**5, 10**6), 2))

    def test_lists(self):
        options = self.parse('--kinds', 'slots,lists', '--sizes', '1e4,300',
                             '--quick', '--rounds', '7')
        self.assertEqual((options.kinds, options.sizes, options.rounds),
                         (['slots', 'lists'], [10_000, 300], 7))

    def test_bad_values(self):
        for args in (['--kinds', 'lists,nonsense'], ['--sizes', '0'],
                     ['--sizes', '-1'], ['--sizes', 'x'], ['--sizes', 'inf'],
                     ['--sizes', ''], ['--rounds', '0'], ['--passes', '0'],
                     ['--python', 'a'], ['--vs', 'a'], ['nonsense']):
            with self.subTest(args), self.assertRaises(SystemExit) as caught, \
                    contextlib.redirect_stderr(io.StringIO()):
                self.parse(*args)
            self.assertEqual(caught.exception.code, 2)

    def fails(self, *args):
        """What the script says when it ends with status 1."""
        with contextlib.redirect_stderr(io.StringIO()) as error:
            self.assertEqual(self.script.main(list(args)), 1)
        return error.getvalue()

    def test_no_interpreter(self):
        for path in ('/nonexistent/python', '/', '/dev/null'):
            with self.subTest(path):
                self.assertEqual(
                    self.fails('--python', sys.executable, '--vs', path),
                    f'heaps: {path} is no interpreter\n')

    def test_no_memory(self):
        with mock.patch.object(visiting, 'measure', side_effect=AssertionError):
            self.assertIn('heaps: there is memory for none', self.fails(
                '--python', sys.executable, '--vs', sys.executable,
                '--kinds', 'lists', '--sizes', '1e15'))

    def test_an_unwritable_file_shows_before_the_measurement(self):
        with mock.patch.object(visiting, 'measure') as measure:
            self.assertIn('heaps: [Errno', self.fails(
                '--python', sys.executable, '--vs', sys.executable,
                '--json', '/nonexistent/file'))
        measure.assert_not_called()

    def test_a_full_disk_loses_no_table(self):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            self.assertIn('heaps: [Errno 28]', self.fails(
                '--python', sys.executable, '--vs', sys.executable, '--kinds',
                'lists', '--sizes', '10', '--rounds', '1', '--json', '/dev/full'))
        self.assertIn('| 10 lists |', output.getvalue())

    def test_two_interpreters(self):
        with contextlib.redirect_stderr(io.StringIO()), \
                contextlib.redirect_stdout(io.StringIO()) as output, \
                tempfile.TemporaryDirectory() as directory:
            raw = os.path.join(directory, 'raw.json')
            self.assertEqual(self.script.main([
                '--python', sys.executable, '--vs', sys.executable, '--kinds',
                'lists', '--sizes', '100', '--rounds', '2', '--json', raw]), 0)
            with open(raw) as file:
                section = json.load(file)
        self.assertRegex(output.getvalue(), r'(?m)^one / other: geometric mean ')
        self.assertRegex(output.getvalue(), r'(?m)^\| 100 lists \| ')
        found = section['heaps']['lists']['100']
        self.assertEqual([len(found[name]['rss']) for name in ('one', 'other')],
                         [2, 2])


class TunedTests(unittest.TestCase):
    def test_same_flags(self):
        """The tuned stock variants have the evaluation loop's flags of ours."""
        root = os.path.join(TOOLS, '..', '..')
        script = os.path.join(TOOLS, 'build')
        if os.path.isdir(script):
            script = os.path.join(script, 'build')
        with open(script) as file:
            tuned, = re.findall(r'ceval_flags="(.+)"', file.read())
        with open(os.path.join(root, 'configure-overlay/refcount_map.m4')) as file:
            text = file.read()
        ours = (re.findall(r'\[REFMAP_CEVAL_CFLAGS=([^\s\]]+)', text)
                + re.findall(r'AS_VAR_APPEND\(\[REFMAP_CEVAL_CFLAGS\], '
                             r'\[" ([^"]+)"\]', text))
        self.assertEqual(tuned.split(), ours)

    def test_measured_in_b_only(self):
        self.assertEqual(
            sections.untuned(['stock-release', 'stock-release-tuned', 'debug']),
            ['stock-release', 'debug'])


class HeapTests(unittest.TestCase):
    def test_number_of_objects(self):
        for n in (1, 2, 7, 10):
            objects = heap.build(n)
            self.assertEqual(len({id(o) for o in objects}), n)
            self.assertNotIn(None, objects)

    def test_blocks(self):
        """Each snapshot but every second one follows a pass over all objects."""
        calls = []
        with mock.patch.object(heap.sys, 'refmap_snapshot', create=True,
                               side_effect=lambda: calls.append('snapshot')), \
                mock.patch.object(heap, 'iterate', lambda objects: calls.append(
                    f'pass over {len(objects)}')):
            found = heap.blocks(7, 2)
        self.assertEqual(calls, ['snapshot'] + 2 * [
            'pass over 7', 'snapshot', 'snapshot'])
        self.assertEqual([len(found[name]) for name in ('touched', 'untouched')],
                         [2, 2])

    def test_spaced(self):
        for n, k in ((10, 0), (10, 3), (10, 10), (1000, 999)):
            indices = heap.spaced(n, k)
            self.assertEqual(len(set(indices)), k)
            self.assertTrue(all(0 <= i < n for i in indices))


class CommandLineTests(unittest.TestCase):
    def parse(self, *args):
        return bench.parse_arguments(['3.13', '--build', '/tmp/b', *args])

    def test_lists(self):
        options = self.parse('--only', 'scale,a', '--variants', 'debug')
        self.assertEqual(options.only, ['a', 'scale'])
        self.assertEqual(options.variants, ['debug'])

    def test_more_variants(self):
        self.assertNotIn('release-lto', self.parse().variants)
        options = self.parse('--variants', 'release-lto,release')
        self.assertEqual(options.variants, ['release', 'release-lto'])
        self.assertEqual(bench.command_of(options),
                         'Tools/refmap/bench/run 3.13 '
                         '--variants release,release-lto')

    def test_bad_values(self):
        for args in (['--only', 'z'], ['--variants', 'off'], ['--rounds', '0'],
                     ['--nonsense']):
            with self.subTest(args), self.assertRaises(SystemExit), \
                    contextlib.redirect_stderr(io.StringIO()):
                self.parse(*args)

    def test_command_without_paths(self):
        self.assertEqual(bench.command_of(self.parse()), 'make bench')
        self.assertEqual(
            bench.command_of(self.parse('--json', '/x/y', '--rounds', '3',
                                        '--only', 'a', '--quick')),
            'Tools/refmap/bench/run 3.13 --rounds 3 --only a --quick')

    def test_only_a_whole_run_is_documented(self):
        more = ','.join(bench.sections.VARIANTS + bench.sections.MORE_VARIANTS)
        for args in ['--rounds', '9'], ['--variants', more]:
            self.assertTrue(bench.is_whole(self.parse(*args)))
        for args in (['--quick'], ['--only', 'a'], ['--variants', 'debug']):
            self.assertFalse(bench.is_whole(self.parse(*args)))

    def test_missing_variant(self):
        with tempfile.TemporaryDirectory() as directory:
            run = bench.Run(bench.parse_arguments(
                ['3.13', '--build', directory]))
            with self.assertRaisesRegex(Failure, 'debug is missing; build it '
                                        'by Tools/refmap/build/build 3.13 debug$'):
                run.python('debug')

    def test_report_only(self):
        with tempfile.TemporaryDirectory() as directory:
            raw = os.path.join(directory, 'raw.json')
            with open(raw, 'w') as file:
                json.dump(sample(), file)
            with contextlib.redirect_stderr(io.StringIO()):
                self.assertEqual(bench.main(['--report-only', raw]), 0)
                self.assertEqual(bench.main(['--report-only', raw + 'x']), 1)
            self.assertEqual(sorted(os.listdir(directory)),
                             ['benchmarks.md', 'benchmarks.svg', 'raw.json'])

    def test_side_by_side(self):
        variants = sections.VARIANTS + sections.MORE_VARIANTS
        self.assertEqual(
            sections.side_by_side(sections.untuned(variants)),
            [['stock-release', 'release'], ['stock-debug', 'debug'],
             ['stock-trace-refs'], ['stock-release-lto', 'release-lto']])
        self.assertEqual(sections.side_by_side(['debug', 'release']),
                         [['debug'], ['release']])

    def test_rotation(self):
        self.assertEqual(process.rotated('abc', 1), ['b', 'c', 'a'])
        self.assertEqual(process.rotated('abc', 3), ['a', 'b', 'c'])


class ProcessTests(unittest.TestCase):
    def python(self, code):
        return [sys.executable, '-c', code]

    def test_output(self):
        fails = self.python('import sys; print("a"); sys.exit("b")')
        usage = process.run(fails)
        self.assertEqual((usage.status, usage.output), (1, 'a\nb\n'))
        self.assertGreater(usage.rss, 1 << 20)
        with self.assertRaisesRegex(Failure, 'ended with status 1: b$'):
            process.check(fails)
        warns = self.python('import sys; print("a"); sys.stderr.write("b")')
        self.assertEqual(process.check(warns).output, 'a\n')

    def test_together(self):
        # Each ends only after it has heard of the other.
        code = ('import os, sys, time\n'
                'open(sys.argv[1], "w").close()\n'
                'while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n'
                'print(os.sched_getaffinity(0), sys.argv[1])')
        allowed = os.sched_getaffinity(0)
        with tempfile.TemporaryDirectory() as directory:
            usages = process.run_together(
                {'one': [*self.python(code), '1', '2'],
                 'other': [*self.python(code), '2', '1']}, directory)
        self.assertEqual({name: (usage.status, usage.output)
                          for name, usage in usages.items()},
                         {'one': (0, f'{ {max(allowed)} } 1\n'),
                          'other': (0, f'{ {max(allowed)} } 2\n')})
        self.assertEqual(os.sched_getaffinity(0), allowed)

    def test_together_one_fails(self):
        usages = process.run_together(
            {'good': self.python('pass'), 'bad': self.python('1/0')})
        self.assertEqual(usages['good'].status, 0)
        self.assertEqual(usages['bad'].status, 1)
        self.assertIn('ZeroDivisionError', usages['bad'].output)


class MachineTests(unittest.TestCase):
    def test_description_has_no_path(self):
        text = json.dumps(machine.describe(HERE))
        self.assertNotIn(HERE, text)

    def test_field(self):
        self.assertEqual(machine.field('a: 1\nb : 2\n', 'b'), '2')
        self.assertIsNone(machine.field('a: 1\n', 'b'))


class InstructionsTests(unittest.TestCase):
    profile = '''\
events: Ir

fl=(1) a.c
fn=(1) main
10 5
cfn=(2) callee
calls=3 20
11 600
12 7

fn=(2)
20 600

fn=(1)
13 1
summary: 613
'''

    def test_own_instructions(self):
        instructions = load_script('instructions')
        costs = instructions.read_profile(self.profile.splitlines(True))
        self.assertEqual(costs, {'main': 13, 'callee': 600})


class HuntSummaryTests(unittest.TestCase):
    """hunt-summary, from literal parts."""

    def record(self, test, **fields):
        return {'test': test, 'verdict': 'clean', 'sums_failed': False,
                'sums': {'references': [0, 0, 0], 'memory blocks': [0, 0, 0]},
                'total': [0, 0, 0], 'once': {}, 'types': [], 'lost': 0,
                'freed': [], 'seconds': 1.5, 'rerun': False, **fields}

    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)

    def write(self, name, text):
        with open(os.path.join(self.directory, name), 'w') as file:
            file.write(text)

    def test_parts(self):
        leak = {'type': 'list', 'refs': [1, 1, 1]}
        records = [
            self.record('test_a'),
            self.record('test.test_b.test_c', verdict='leak', sums_failed=True,
                        types=[leak], sums={'references': [1, 1, 1]}),
            self.record('test_d', sums={'references': [0, -1, 1]},
                        total=[0, -1, 1], once={'str': 0}),
            self.record('test_d', verdict='leak', rerun=True)]
        self.write('all', 'test_a\ntest.test_b.test_c\ntest_d\ntest_e\ntest_f\n')
        self.write('00.json', ''.join(json.dumps(r) + '\n' for r in records))
        self.write('00.log', '0:00:01 [1/4] test_a passed\n'
                             '0:00:02 load avg: 1.00 [2/4/1] test.test_b.test_c '
                             'failed (reference leak)\n'
                             '0:00:03 [3/4/1] test_d passed in 30.1 sec\n'
                             '0:00:03 [4/4/1] test_e skipped\n')
        summary = load_script('hunt-summary', HUNT).summarise(self.directory)
        self.assertEqual(summary['outcomes'], {'passed': 2, 'failed': 1,
                                               'skipped': 1, 'not run': 1})
        self.assertEqual(summary['measured'], 3)
        self.assertEqual(list(summary['failed']), ['test_b.test_c'])
        self.assertEqual(summary['judged'], {'test_b.test_c': {
            'verdict': 'leak', 'sums_failed': True,
            'sums': {'references': [1, 1, 1]}, 'retained': {'list': [1, 1, 1]}}})
        self.assertEqual(list(summary['moved']), ['test_d'])

    def test_no_parts(self):
        script = load_script('hunt-summary', HUNT)
        error = io.StringIO()
        with contextlib.redirect_stderr(error):
            self.assertEqual(script.main([self.directory]), 2)
        self.assertIn('has no parts of hunt-suite', error.getvalue())


class FileTests(unittest.TestCase):
    def test_no_machine_paths(self):
        for name in os.listdir(BENCH):
            if name.startswith('__'):
                continue
            with open(os.path.join(BENCH, name), encoding='utf-8') as file:
                self.assertIsNone(re.search(r'/(work|home|root)/', file.read()),
                                  name)


if __name__ == '__main__':
    unittest.main()
