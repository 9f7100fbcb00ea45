"""Measurements on a heap of N live objects, in the interpreter that runs this.

usage: heap.py memory N
       heap.py visit N REPEAT
       heap.py collect N REPEAT CHANGED...     (needs a refcount map)
       heap.py retain N CHANGED COUNT...       (needs a refcount map)
       heap.py blocks N REPEAT                 (needs a refcount map)

One line of JSON is printed. Half of the objects are instances, which the cyclic
collector knows, and half the floats that they hold, which it does not; those of
'blocks' are bytes. Times are CPU seconds of this process, except those of snapshots
and diffs, which are too short for that clock and are elapsed seconds. The collector
runs only when it is measured.
"""

import gc
import json
import random
import sys
import time

# Of an optimised build: nodes of 48 bytes and floats of 32, and the list.
OBJECT_BYTES = 40 + 8
# Short passes are repeated until that many objects were visited.
VISITS = 1_000_000


class Node:
    __slots__ = ('value',)


def build(n):
    """A list of n objects in the order of their creation: node, its value, ..."""
    objects = [None] * n
    for i in range(0, n - 1, 2):
        objects[i] = node = Node()
        objects[i + 1] = node.value = i + 0.5
    if n % 2:
        objects[n - 1] = Node()
        objects[n - 1].value = None
    return objects


def timed(function, *args, clock=time.process_time):
    start = clock()
    function(*args)
    return clock() - start


def iterate(objects):
    """Two references to each object come and go."""
    for o in objects:
        pass


def attributes(nodes):
    """References to each node, and to the float in it, come and go."""
    for o in nodes:
        o.value


def per_object(function, items, n):
    """Seconds per object of one pass over items, which visits n objects."""
    passes = max(1, VISITS // n)
    start = time.process_time()
    for _ in range(passes):
        function(items)
    return (time.process_time() - start) / passes / n


def visit(n, repeat):
    """Seconds per object of visiting all objects: {order: [one per repeat]}."""
    objects = build(n)
    nodes = objects[::2]
    result = {'in order': [per_object(iterate, objects, n)
                           for _ in range(repeat)]}
    random.Random(1).shuffle(objects)
    random.Random(2).shuffle(nodes)
    result['random order'] = [per_object(iterate, objects, n)
                              for _ in range(repeat)]
    result['attributes, random order'] = [per_object(attributes, nodes, n)
                                          for _ in range(repeat)]
    result.update(map_size())
    return result


def map_size():
    """Bytes of map and of the objects in it, or nothing without a map."""
    if not hasattr(sys, 'refmap_info'):
        return {}
    info = sys.refmap_info()
    return {'map bytes': info.bytes, 'map objects': info.objects}


def peak():
    """The largest resident set so far, in bytes, since exec() where the system
    says that; getrusage() includes what ran in this process before."""
    try:
        with open('/proc/self/status') as file:
            for line in file:
                if line.startswith('VmHWM:'):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory(n):
    """The size of a heap that is only built and looked at once."""
    objects = build(n)
    iterate(objects)
    return {'rss': peak(), **map_size()}


def spaced(n, k):
    """k different indices below n, spread evenly: as many pages as possible."""
    return [i * n // k for i in range(k)]


def time_snapshots(objects, repeat):
    """Snapshots after all objects were touched, and the time to drop one of
    which every page was copied. {'snapshot': [s], 'drop': [s]}

    The older snapshot must outlive the call, which would else drop it: it is
    the baseline until then.
    """
    result = {'snapshot': [], 'drop': []}
    old = None
    for _ in range(repeat + 1):
        iterate(objects)
        start = time.perf_counter()
        new = sys.refmap_snapshot()
        result['snapshot'].append(time.perf_counter() - start)
        start = time.perf_counter()
        old = None
        result['drop'].append(time.perf_counter() - start)
        old = new
        del new
    # In the first pass there was nothing to drop.
    return {name: times[1:] for name, times in result.items()}


def time_diff(objects, indices):
    """(seconds, change of the total) of a diff after the objects at indices got
    one reference more."""
    kept = [None] * len(indices)
    before = sys.refmap_snapshot()
    for i, k in enumerate(indices):
        kept[i] = objects[k]
    start = time.perf_counter()
    diff = sys.refmap_diff(before, None, file=None)
    return time.perf_counter() - start, diff.total


def collect(n, repeat, *changed):
    """gc.collect(), snapshots and diffs with that many objects changed."""
    objects = build(n)
    result = {'collect': [timed(gc.collect) for _ in range(repeat)]}
    result.update(time_snapshots(objects, repeat))
    result['diff'] = {}
    for k in changed:
        indices = spaced(n, k)
        times = []
        for _ in range(repeat):
            seconds, total = time_diff(objects, indices)
            if not k <= total <= k + 100:
                sys.exit(f'the diff says {total} references after {k} changes')
            times.append(seconds)
        result['diff'][str(k)] = times
    result.update(map_size())
    return result


def blocks(n, repeat):
    """Snapshots of n objects of 3 kB, nearly each of which is on a page of its
    own: the time of one that replaces the baseline, with and without a pass over
    all objects since that was taken. {'objects': n, 'touched': [s], ...}
    """
    objects = [bytes(3000) for _ in range(n)]
    result = {'objects': n, 'touched': [], 'untouched': []}
    sys.refmap_snapshot()
    for _ in range(repeat):
        iterate(objects)
        for name in ('touched', 'untouched'):
            start = time.perf_counter()
            # Not kept: the baseline holds the only reference to each.
            sys.refmap_snapshot()
            result[name].append(time.perf_counter() - start)
    return result


def newest_snapshot(objects, kept):
    """Take the newest snapshot in kept three times: the least seconds.

    Each time all pages are the map's own, as in a program at work.
    """
    times = []
    for _ in range(3):
        iterate(objects)
        start = time.perf_counter()
        snapshot = sys.refmap_snapshot()
        times.append(time.perf_counter() - start)
        kept[-1] = snapshot
    return min(times)


def retain(n, changed, *counts):
    """The cost of retained snapshots: {count: {...}}, seconds and bytes.

    Between two snapshots that many objects change. Then, with the newest
    snapshot just taken, all objects are visited: the first pass copies every
    page, later ones are as fast as ever. The passes are seconds per object; the
    bytes are those before the first pass.
    """
    objects = build(n)
    some = [objects[i] for i in spaced(n, changed)]
    kept, result = [], {}
    for count in counts:
        row = {}
        while len(kept) < count:
            iterate(some)
            kept.append(sys.refmap_snapshot())
        if kept:
            row['snapshot'] = newest_snapshot(objects, kept)
        row['bytes'] = sys.refmap_info().bytes
        row['first pass'] = timed(iterate, objects) / n
        row['second pass'] = min(timed(iterate, objects) for _ in range(5)) / n
        result[str(count)] = row
    return {'counts': result, 'drop all': timed(kept.clear)}


COMMANDS = {f.__name__: f for f in (memory, visit, collect, retain, blocks)}


def main(argv):
    if len(argv) < 2 or argv[0] not in COMMANDS:
        print(f'usage: heap.py {"|".join(COMMANDS)} N ...', file=sys.stderr)
        return 2
    gc.disable()
    print(json.dumps(COMMANDS[argv[0]](*map(int, argv[1:]))))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
