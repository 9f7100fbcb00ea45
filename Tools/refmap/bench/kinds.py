"""Build a heap of objects of one kind and visit all of them, in the interpreter
that runs this.

usage: kinds.py KIND N PASSES ORDER     KIND is one of KINDS below

ORDER is a file with a permutation of 0 to N-1, as native unsigned ints. One line
of JSON is printed: CPU seconds per object (user and system) of the build, of the
first pass after it, and of later passes in order and in random order; and the
peak memory in bytes. The cyclic collector is off.
"""

import array
import gc
import json
import os
import sys
import time
from collections import namedtuple

import heap

# Immortal, as is None: what is counted is the object, not what it holds.
ITEM = 7
# Short passes are repeated until that many objects were visited.
VISITS = 1_000_000


class Instance:
    def __init__(self):
        self.item = ITEM


class Slotted:
    __slots__ = ('item',)

    def __init__(self):
        self.item = ITEM


# Passes over a list of objects. Each reads something of each object, so that
# stock CPython has to load it, too.

def first_items(objects):
    for x in objects:
        y = x[0]


def values(objects):
    for x in objects:
        y = x['item']


def attributes(objects):
    for x in objects:
        y = x.item


def comparisons(objects):
    for x in objects:
        y = x > 0.5


# build(n) returns a list of n objects, visit is a pass. size is an upper limit of
# the bytes per object in a debug build, with its map and the lists of the objects.
# only: the one size of the heap, or None.
Kind = namedtuple('Kind', 'build visit size only', defaults=(None,))

KINDS = {
    'lists': Kind(lambda n: [[ITEM] for _ in range(n)], first_items, 400),
    'tuples': Kind(lambda n: [(ITEM,) for _ in range(n)], first_items, 300),
    'dicts': Kind(lambda n: [{'item': ITEM} for _ in range(n)], values, 600),
    'instances': Kind(lambda n: [Instance() for _ in range(n)], attributes, 500),
    'slots': Kind(lambda n: [Slotted() for _ in range(n)], attributes, 300),
    'floats': Kind(lambda n: [i + 1.5 for i in range(n)], comparisons, 200),
    'lists-of-100': Kind(lambda n: [[ITEM, None] * 50 for _ in range(n)],
                         first_items, 1800),
    # 33 bytes of it are the object's own.
    'bytes-512': Kind(lambda n: [bytes(512 - 33) for _ in range(n)],
                      first_items, 1000, only=100_000),
    'bytes-3000': Kind(lambda n: [bytes(3000) for _ in range(n)],
                       first_items, 5000, only=300_000),
}


def timed(function, *args):
    """(CPU seconds, result)"""
    start = time.process_time()
    result = function(*args)
    return time.process_time() - start, result


def steady(visit, objects, passes):
    """Seconds of a pass: the mean of several, since memory that is packed and
    unpacked may make every second pass slow, which a minimum would hide."""
    passes = max(passes, VISITS // len(objects))
    start = time.process_time()
    for _ in range(passes):
        visit(objects)
    return (time.process_time() - start) / passes


def measure(kind, n, passes, order):
    """{figure: seconds per object}, and 'rss': bytes."""
    build, visit, *_ = KINDS[kind]
    found = {}
    found['build'], objects = timed(build, n)
    found['first pass'], _ = timed(visit, objects)
    found['in order'] = steady(visit, objects, passes)
    objects = list(map(objects.__getitem__, order))
    found['random order'] = steady(visit, objects, passes)
    return {**{name: seconds / n for name, seconds in found.items()},
            'rss': heap.peak()}


def read_order(path, n):
    order = array.array('I')
    with open(path, 'rb') as file:
        order.fromfile(file, n)
    return order


def main(argv):
    if len(argv) != 4 or argv[0] not in KINDS:
        print(f'usage: kinds.py {"|".join(KINDS)} N PASSES ORDER',
              file=sys.stderr)
        return 2
    kind, n, passes = argv[0], int(argv[1]), int(argv[2])
    gc.disable()
    print(json.dumps(measure(kind, n, passes, read_order(argv[3], n))),
          flush=True)
    # The end of such a heap takes longer than a pass, and is not measured.
    os._exit(0)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
