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

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.join(HERE, '..')
BENCH = os.path.join(TOOLS, 'bench')
HUNT = os.path.join(TOOLS, 'hunt')
sys.dont_write_bytecode = True
sys.path.insert(0, BENCH)

import bench
import heap
import machine
import plot
import process
import report
import sections
import stats
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


def sample(**changes):
    """Raw results of a made-up run; a section can be replaced or left out."""
    factors = {'stock-release': 1, 'release': 1.1, 'stock-debug': 4,
               'debug': 4.2, 'stock-trace-refs': 6}
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
              for v, f in {**factors, 'tracemalloc-1': 2,
                           'tracemalloc-25': 5}.items()},
        'c': {n: {'collect': [int(n) * 4e-8], 'snapshot': [int(n) * 1e-10],
                  'drop': [1e-5], 'diff': {'0': [1e-5], '10': [2e-5]}}
              for n in ('10000', '1000000')},
        'd': {'objects': 10**6, 'variants': {
            'stock-release': {'rss': [10**8]},
            'release': {'rss': [2 * 10**8], 'map bytes': 440,
                        'map objects': 10}}},
        'e': {v: {'python -c pass': [f * 0.01]} for v, f in factors.items()},
        'f': {'objects': 4 * 10**6, 'variants': live},
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

    def test_not_measured(self):
        judged = self.judge(sample(b=None, c={}))
        for what, (value, met) in judged.items():
            if what.startswith(('(b)', '(c)')):
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

    def test_notes_and_left_out(self):
        text = report.document(sample(skipped=['no memory']), 'Why it is so.')
        self.assertIn('* no memory\n', text)
        self.assertTrue(text.endswith('## Notes\n\nWhy it is so.\n'))


class PlotTests(unittest.TestCase):
    def texts(self, results):
        root = ElementTree.fromstring(plot.figure(results))
        return [e for e in root.iter() if e.tag.endswith('}text')]

    def test_four_panels(self):
        root = ElementTree.fromstring(plot.figure(sample()))
        self.assertEqual(len(root.findall('{*}g')), 4)

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


class HeapTests(unittest.TestCase):
    def test_number_of_objects(self):
        for n in (1, 2, 7, 10):
            objects = heap.build(n)
            self.assertEqual(len({id(o) for o in objects}), n)
            self.assertNotIn(None, objects)

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
            sections.side_by_side(variants),
            [['stock-release', 'release'], ['stock-debug', 'debug'],
             ['stock-trace-refs'], ['stock-release-lto', 'release-lto']])
        self.assertEqual(sections.side_by_side(['debug', 'release']),
                         [['debug'], ['release']])

    def test_rotation(self):
        self.assertEqual(sections.rotated('abc', 1), ['b', 'c', 'a'])
        self.assertEqual(sections.rotated('abc', 3), ['a', 'b', 'c'])


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
