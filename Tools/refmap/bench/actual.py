"""What snapshots of true counts cost on a heap of one kind, in the interpreter that
runs this, which must have a refcount map and the extension _testrefmap.

usage: actual.py KIND N REPEAT      KIND is one of those of kinds.py

One line of JSON is printed: how many objects live by the map; the least CPU
seconds of a snapshot of the map and of one of true counts, with the objects as they
are, after a pass over them since the snapshot before, and after each of the N got a
reference that the map does not know; and the bytes that the latter retain: one, and
one more when nothing has changed. The collector is off.
"""

import gc
import json
import os
import sys
import time

import _testrefmap

import kinds


def seconds(repeat, touch=lambda: None, **kwargs):
    """The least CPU seconds of a snapshot that replaces the one before, with
    touch() called in between."""
    times = []
    for _ in range(repeat):
        touch()
        start = time.process_time()
        sys.refmap_snapshot(**kwargs)
        times.append(time.process_time() - start)
    return min(times)


def size(**kwargs):
    """(the bytes that a snapshot retains, the snapshot)"""
    before = sys.refmap_info().bytes
    snapshot = sys.refmap_snapshot(**kwargs)
    return sys.refmap_info().bytes - before, snapshot


def retained():
    """(bytes of a snapshot of true counts that one of the map has not, the same of
    one more of them)"""
    size()              # the baseline's are given back
    plain, _kept = size()
    first, _first = size(actual=True)
    second, _second = size(actual=True)
    return max(0, first - plain), max(0, second - plain)


def measure(kind, n, repeat):
    build, visit, *_ = kinds.KINDS[kind]
    objects = build(n)
    visit(objects)
    result = {'objects': sys.refmap_info().objects,
              'mapped': seconds(repeat), 'agree': seconds(repeat, actual=True),
              'touched': seconds(repeat, lambda: visit(objects), actual=True),
              'bytes agree': retained()[0]}
    for op in objects:
        _testrefmap.foreign_incref(op, 1)
    before = sys.refmap_snapshot(actual=True)
    result['differ'] = seconds(repeat, actual=True)
    found = sys.refmap_diff(before, None, file=None)
    if abs(found.total) > 100:
        sys.exit(f'{found.total} references changed, and nobody did anything')
    del before, found
    result['bytes differ'], result['bytes of another'] = retained()
    return result


def main(argv):
    if len(argv) != 3 or argv[0] not in kinds.KINDS:
        print(f'usage: actual.py {"|".join(kinds.KINDS)} N REPEAT', file=sys.stderr)
        return 2
    gc.disable()
    print(json.dumps(measure(argv[0], int(argv[1]), int(argv[2]))), flush=True)
    # The references of nobody stay.
    os._exit(0)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
