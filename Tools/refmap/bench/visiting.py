"""Visit heaps of many kinds and sizes in interpreters, side by side: section (f)
of `make bench` and the script heaps.

The figures of a heap are those of kinds.py. Results are {kind: {n: {interpreter:
{figure: [one per round]}}}}, n as a string, since JSON knows no other keys.
"""

import array
import json
import os
import random
from statistics import geometric_mean

import machine
import stats
from kinds import KINDS
from process import check, rotated

HERE = os.path.dirname(os.path.abspath(__file__))

SIZES = (10**4, 10**5, 10**6, 4 * 10**6)
QUICK_SIZES = (10**5, 10**6)
# Heaps of more objects take a minute in debug builds: they have one round less.
LARGE = 10**6
# What has a bound; 'first pass', 'build' and 'rss' are only published.
STEADY = ('in order', 'random order')


def plan(kinds, sizes):
    """[(kind, n)]; a kind that has a size of its own is there once."""
    return [(kind, n) for kind in kinds
            for n in ([KINDS[kind].only] if KINDS[kind].only else sizes)]


def fitting(heaps, skip):
    """The heaps, [(kind, n)], for which there is memory; skip(sentence) for each
    other one."""
    result = []
    for kind, n in heaps:
        sentence = machine.shortage(f'(f) {n:,} {kind}', n * KINDS[kind].size)
        if sentence:
            skip(sentence)
        else:
            result.append((kind, n))
    return result


def write_order(directory, n):
    """The path of a file with a random permutation, the same for everybody."""
    path = os.path.join(directory, f'order-{n}')
    if not os.path.exists(path):
        order = array.array('I', range(n))
        random.Random(n).shuffle(order)
        with open(path, 'wb') as file:
            order.tofile(file)
    return path


def visit(command, kind, n, passes, directory):
    """The figures of one heap in a process of its own."""
    usage = check([*command, os.path.join(HERE, 'kinds.py'), kind, str(n),
                   str(passes), write_order(directory, n)], directory)
    return json.loads(usage.output)


def measure(commands, heaps, rounds, passes, directory, say):
    """The results of heaps, [(kind, n)], in commands, {name: argv}. Files are
    left in directory; say(text) reports progress."""
    results = {}
    for i in range(rounds):
        for kind, n in heaps:
            if n > LARGE and 0 < i == rounds - 1:
                continue
            entry = results.setdefault(kind, {}).setdefault(
                str(n), {name: {} for name in commands})
            for name in rotated(commands, i):
                found = visit(commands[name], kind, n, passes, directory)
                for figure, value in found.items():
                    entry[name].setdefault(figure, []).append(value)
            say(f'round {i + 1} of {rounds}: {n:,} {kind}')
    return results


def pairs(names):
    """[(variant, its stock one)] of those that are both there."""
    return [(name, 'stock-' + name) for name in names
            if 'stock-' + name in names]


def each(results):
    """Yield (kind, n, {interpreter: figures}) of all heaps."""
    for kind, sizes in results.items():
        for n, found in sizes.items():
            yield kind, int(n), found


def ratios(results, one, other, figures=STEADY):
    """{(kind, n, figure): ratio of minima}; KeyError if one is not there."""
    return {(kind, n, figure): stats.ratio(found[one][figure],
                                           found[other][figure])
            for kind, n, found in each(results) for figure in figures}


def by_size(results, one, other):
    """{n: [ratio]}, of the kinds that all sizes have."""
    found = {}
    for (kind, n, _), ratio in ratios(results, one, other).items():
        if KINDS[kind].only is None:
            found.setdefault(n, []).append(ratio)
    return found


def geomean(results, one, other, figures=STEADY):
    return geometric_mean(ratios(results, one, other, figures).values())


def worst(results, one, other):
    """((kind, n, figure), ratio) of the largest ratio that has a bound."""
    return max(ratios(results, one, other).items(), key=lambda item: item[1])
