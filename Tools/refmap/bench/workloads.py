"""The small workloads of `make bench`, each stressing something else.

usage: workloads.py NAME [SCALE]     run one; SCALE multiplies its loops
       workloads.py --list           print the names

Printed is the CPU time (user + system, seconds) of the workload alone, without
start-up. A SCALE of 1 takes about 25 ms in a release build, of 10 (the default)
0.25 s; 0 only prepares the data. Any CPython can run this file.
"""

import asyncio
import json
import pickle
import random
import re
import sys
import time

DEFAULT_SCALE = 10


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def moved(self, dx, dy):
        return Point(self.x + dx, self.y + dy)


class Slotted:
    __slots__ = ('left', 'right')

    def __init__(self, left, right):
        self.left = left
        self.right = right


def attributes(scale):
    points = [Point(i, i) for i in range(1000)]
    for _ in range(120 * scale):
        for p in points:
            p.x = p.y
            p.y = p.x + 1
            q = p.moved(1, 2)
            q.x += q.y


def calls(scale):
    def add(a, b=1, *, c=2):
        return a + b + c

    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    for _ in range(3 * scale):
        fib(19)
        for i in range(40000):
            add(i)
            add(i, b=3, c=4)


def dicts(scale):
    keys = [f'key{i}' for i in range(2000)]
    for _ in range(70 * scale):
        d = {}
        for k in keys:
            d[k] = k
        for k in keys:
            d.get(k)
        for k, v in d.items():
            pass
        e = {k: [v] for k, v in d.items()}
        e.update(d)


def floats(scale):
    x = total = 0.5
    values = [i * 0.25 for i in range(1000)]
    for _ in range(400 * scale):
        total = 0.0
        for v in values:
            total += v * x - v / 3.0
            x = x * 1.0000001 + 0.0
    return total


def strings(scale):
    words = ['alpha', 'beta', 'gamma', 'delta'] * 50
    for _ in range(500 * scale):
        text = ' '.join(words)
        parts = text.split()
        out = []
        for w in parts:
            out.append(w.upper() + '-' + w[1:3])
        ''.join(out).replace('-', '+')
        f'{len(out)} {text[:10]!r}'


def json_roundtrip(scale):
    data = {'list': list(range(200)), 'floats': [i / 7 for i in range(200)],
            'nested': [{'name': f'n{i}', 'value': i, 'flag': bool(i % 2)}
                       for i in range(200)]}
    for _ in range(80 * scale):
        json.loads(json.dumps(data))


def regex(scale):
    pattern = re.compile(r'(\w+)@(\w+)\.(com|org)')
    text = 'x1 foo@bar.com some text here baz@example.org, ' * 60
    for _ in range(110 * scale):
        for match in pattern.finditer(text):
            match.group(1), match.groups()
        re.sub(r'\d', 'n', text)
        pattern.findall(text)


def pickling(scale):
    data = [(i, str(i), {'a': [i, i + 1]}, Point(i, i)) for i in range(300)]
    for _ in range(40 * scale):
        pickle.loads(pickle.dumps(data))


def generators(scale):
    def tree(n):
        if n:
            yield from tree(n - 1)
            yield n
            yield from tree(n - 1)

    def evens(items):
        for i in items:
            if not i & 1:
                yield i

    for _ in range(45 * scale):
        sum(tree(10))
        sum(i * 2 for i in evens(range(4000)))


def coroutines(scale):
    async def leaf(i):
        await asyncio.sleep(0)
        return i

    async def main():
        for _ in range(44 * scale):
            await asyncio.gather(*(leaf(i) for i in range(100)))

    asyncio.run(main())


def sorting(scale):
    rng = random.Random(1)
    numbers = [rng.random() for _ in range(6000)]
    pairs = [Slotted(rng.random(), i) for i in range(3000)]
    for _ in range(16 * scale):
        sorted(numbers)
        sorted(pairs, key=lambda p: p.left)
        sorted((n, -n) for n in numbers[:1500])


def trees(scale):
    def build(depth):
        if depth == 0:
            return Slotted(None, None)
        return Slotted(build(depth - 1), build(depth - 1))

    def count(node):
        if node.left is None:
            return 1
        return 1 + count(node.left) + count(node.right)

    for _ in range(4 * scale):
        count(build(13))


WORKLOADS = {
    f.__name__: f
    for f in (attributes, calls, dicts, floats, strings, json_roundtrip, regex,
              pickling, generators, coroutines, sorting, trees)
}


def main(argv):
    if argv == ['--list']:
        print('\n'.join(WORKLOADS))
        return 0
    if not argv or argv[0] not in WORKLOADS:
        print(f'usage: workloads.py {"|".join(WORKLOADS)} [SCALE]',
              file=sys.stderr)
        return 2
    scale = int(argv[1]) if len(argv) > 1 else DEFAULT_SCALE
    function = WORKLOADS[argv[0]]
    start = time.process_time()
    function(scale)
    print(time.process_time() - start)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
