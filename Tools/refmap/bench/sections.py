"""What `make bench` measures. Each section is a function that takes a Run and
returns what goes into the raw results; all times in them are seconds.

The variants, and the other peers, are interleaved: each round runs all of them,
beginning with another one each time. Of the test suite, which takes minutes, the
kernel interleaves a variant and its stock one by the millisecond.
"""

import itertools
import json
import os

import machine
import visiting
import workloads
from process import Failure, check, rotated, run_together

HERE = os.path.dirname(os.path.abspath(__file__))

VARIANTS = ('stock-release', 'stock-release-tuned', 'release', 'stock-debug',
            'debug', 'stock-trace-refs')
# Measured when they are named: they take half an hour to build.
MORE_VARIANTS = ('stock-release-lto', 'stock-release-lto-tuned', 'release-lto')
# Peers that are an option of stock-release.
TRACEMALLOC = {'tracemalloc-1': '-Xtracemalloc=1',
               'tracemalloc-25': '-Xtracemalloc=25'}
# Peers of (b) that take four to forty times as long as the optimised builds, and so
# have the first rounds only: one of so many.
ROUNDS_PER_TURN = {'stock-debug': 2, 'debug': 2, 'stock-trace-refs': 4,
                   'tracemalloc-1': 4, 'tracemalloc-25': 4}

STARTUP = {
    'python -S -c pass': ('-S', '-c', 'pass'),
    'python -c pass': ('-c', 'pass'),
    'python -c "import ..."': (
        '-c', 'import asyncio, json, re, unittest, email.message, http.client'),
}

CHANGED = (0, 10, 1000, 1_000_000)
# An upper limit of the memory that heap.py needs per object, with snapshots.
BYTES_PER_OBJECT = 300
# The same of its objects of 3 kB.
BYTES_PER_BLOCK = 6000


def heap(run, variant, *args):
    """What heap.py measured in an interpreter."""
    usage = check([run.python(variant), os.path.join(HERE, 'heap.py'),
                   *map(str, args)], run.scratch)
    return json.loads(usage.output)


def fits(run, what, needed):
    """Whether there is memory; if not, that is noted."""
    sentence = machine.shortage(what, needed)
    if sentence:
        run.skip(sentence)
    return not sentence


def sizes_that_fit(run, section):
    return [n for n in run.sizes
            if fits(run, f'({section}) {n:,} objects', n * BYTES_PER_OBJECT)]


def untuned(variants):
    """Those without the variants that differ in the flags of the evaluation loop
    alone, which are measured where that loop is: in (b)."""
    return [v for v in variants if not v.endswith('-tuned')]


def side_by_side(variants):
    """[[variant...]]: each with the stock one that it is compared with, if both
    are there. More at once would have the caches to themselves too rarely."""
    groups = {}
    for variant in variants:
        groups.setdefault(variant.removeprefix('stock-'), []).append(variant)
    return list(groups.values())


def test_suite(run):
    """{variant: {'user', 'rss', 'status': [one per round]}}"""
    variants = untuned(run.variants)
    result = {v: {'user': [], 'rss': [], 'status': []} for v in variants}
    groups = side_by_side(variants)
    for i, group in itertools.product(range(run.suite_rounds), groups):
        usages = run_together(
            {v: [run.python(v), '-m', 'test', '--pgo', *run.suite_tests]
             for v in rotated(group, i)}, run.scratch)
        for variant, usage in usages.items():
            for name, values in result[variant].items():
                values.append(getattr(usage, name))
            run.say(f'round {i + 1} {variant}: {usage.user:.1f} s, '
                    f'{usage.rss >> 20} MiB, status {usage.status}')
    return result


def peers(run):
    """The variants, and stock-release with options: {name: [command...]}"""
    commands = {v: [run.python(v)] for v in run.variants}
    if 'stock-release' in commands:
        for name, option in TRACEMALLOC.items():
            commands[name] = commands['stock-release'] + [option]
    return commands


def turns(peer, rounds):
    """In how many of the rounds of (b), the first ones, a peer takes part."""
    return -(-rounds // ROUNDS_PER_TURN.get(peer, 1))


def small_workloads(run):
    """{peer: {workload: [seconds per round]}}; lists of costly peers are shorter"""
    commands = peers(run)
    result = {p: {w: [] for w in workloads.WORKLOADS} for p in commands}
    script = os.path.join(HERE, 'workloads.py')
    for i in range(run.rounds):
        due = [p for p in commands if i < turns(p, run.rounds)]
        for workload in workloads.WORKLOADS:
            for peer in rotated(due, i):
                usage = check([*commands[peer], script, workload,
                               str(run.workload_scale)], run.scratch)
                result[peer][workload].append(float(usage.output))
        sums = (f'{p} {sum(times[-1] for times in result[p].values()):.1f} s'
                for p in due)
        run.say(f'round {i + 1} of {run.rounds}: ' + ', '.join(sums))
    return result


def repeats(run, n):
    """How often something is done with n objects: the shorter, the more often."""
    return max(run.repeat, min(50, 1_000_000 // n))


def snapshots(run):
    """{'heaps': {objects: {'collect', 'snapshot', 'drop': [s],
    'diff': {changed: [s]}}}, 'blocks': as of heap.py}"""
    if 'release' not in run.variants:
        return {}
    result = {}
    for n in sizes_that_fit(run, 'c'):
        changed = [k for k in CHANGED if k <= n]
        result[str(n)] = heap(run, 'release', 'collect', n, repeats(run, n), *changed)
        run.say(f'{n:,} objects')
    blocks, n = None, run.block_objects
    if fits(run, f'(c) {n:,} objects of 3 kB', n * BYTES_PER_BLOCK):
        blocks = heap(run, 'release', 'blocks', n, run.repeat)
        run.say(f'{n:,} objects of 3 kB')
    return {'heaps': result, 'blocks': blocks}


def memory(run):
    """{'objects': n, 'variants': {variant: {'rss': [bytes per round], ...}}}"""
    n = run.memory_objects
    result = {v: {'rss': []} for v in untuned(run.variants)
              if v != 'stock-trace-refs'}
    for i in range(run.repeat):
        for variant in rotated(result, i):
            found = heap(run, variant, 'memory', n)
            result[variant]['rss'].append(found.pop('rss'))
            result[variant].update(found)
    run.say(f'{n:,} objects')
    return {'objects': n, 'variants': result}


def startup(run):
    """{variant: {command: [seconds of user and system CPU]}}"""
    variants = untuned(run.variants)
    result = {v: {name: [] for name in STARTUP} for v in variants}
    for i in range(run.startup_rounds + 1):
        for name, args in STARTUP.items():
            for variant in rotated(variants, i):
                usage = check([run.python(variant), *args], run.scratch)
                # The first round fills the caches.
                if i > 0:
                    result[variant][name].append(usage.user + usage.system)
    run.say(f'{run.startup_rounds} times each')
    return result


def visits(run, n, variants, rounds, passes):
    """{variant: {order: [seconds per object, the best pass of each round]}}"""
    result = {v: {} for v in variants}
    for i in range(rounds):
        for variant in rotated(variants, i):
            found = heap(run, variant, 'visit', n, passes)
            for name, value in found.items():
                if isinstance(value, list):
                    result[variant].setdefault(name, []).append(min(value))
                else:
                    result[variant][name] = value
    run.say(f'{n:,} objects visited by {", ".join(variants)}')
    return result


def optimised(run):
    return [v for v in ('stock-release', 'release') if v in run.variants]


def heaps(run):
    """{'rounds', 'passes', 'pairs': [[variant, its stock one]], 'heaps': as of
    visiting.measure()}, or {} without a pair"""
    pairs = visiting.pairs(run.variants)
    plan = visiting.fitting(visiting.plan(visiting.KINDS, run.heap_sizes),
                            run.skip)
    commands = {v: [run.python(v), '-B'] for pair in pairs for v in pair}
    if not plan or not commands:
        return {}
    return {'rounds': run.heap_rounds, 'passes': run.heap_passes, 'pairs': pairs,
            'heaps': visiting.measure(commands, plan, run.heap_rounds,
                                      run.heap_passes, run.scratch, run.say)}


def actual(run):
    """{variant: {kind: {n: as of actual.py}}} of snapshots of true counts"""
    plan = visiting.fitting(visiting.plan(visiting.KINDS, run.actual_sizes), run.skip)
    result = {}
    for variant in [v for v in ('release', 'debug') if v in run.variants]:
        result[variant] = {}
        for kind, n in plan:
            usage = check([run.python(variant), '-B', os.path.join(HERE, 'actual.py'),
                           kind, str(n), str(repeats(run, n))], run.scratch)
            result[variant].setdefault(kind, {})[str(n)] = json.loads(usage.output)
        run.say(f'true counts in {variant}')
    return result


def seed_tool(run):
    """[the options by which eventlog.py measures pymemtrace, too], or []"""
    target = os.path.join(run.scratch, 'seed-tool')
    # Without its environment an interpreter that was not installed has no headers.
    python = os.path.join(run.scratch, 'seed-venv', 'bin', 'python')
    commands = ([run.python('release'), '-m', 'venv', os.path.join(run.scratch, 'seed-venv')],
                [python, '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet',
                 '--no-deps', '--require-hashes', '--retries', '1', '--timeout', '20',
                 '--target', target, '-r', os.path.join(HERE, 'requirements.txt')])
    try:
        for command in commands:
            check(command, run.scratch)
    except Failure as exc:
        run.skip(f'pymemtrace cannot be installed, so it is not measured: {exc}')
        return []
    return ['--seed-tool', target]


def logs(run):
    """{variant: as of eventlog.py}"""
    result = {}
    for variant in [v for v in ('release', 'debug') if v in run.variants]:
        beside = seed_tool(run) if variant == 'release' else []
        usage = check([run.python(variant), '-B', os.path.join(HERE, 'eventlog.py'),
                       str(run.log_objects), str(run.log_rounds), *beside], run.scratch)
        result[variant] = json.loads(usage.output)
        run.say(f'event logs in {variant}')
    return result


def scale(run):
    """{'live': {objects: as of visits()}, 'retained': as of heap.py}"""
    live = {str(n): visits(run, n, optimised(run), 2, 3)
            for n in sizes_that_fit(run, 'scale')}
    retained = {}
    if 'release' in run.variants:
        n, changed = run.retained_objects, 100
        found = heap(run, 'release', 'retain', n, changed, *run.retained)
        retained = {'objects': n, 'changed': changed, **found}
        run.say(f'{run.retained[-1]:,} snapshots')
    return {'live': live, 'retained': retained}


SECTIONS = {'a': test_suite, 'b': small_workloads, 'c': snapshots, 'd': memory,
            'e': startup, 'f': heaps, 'g': actual, 'h': logs, 'scale': scale}
