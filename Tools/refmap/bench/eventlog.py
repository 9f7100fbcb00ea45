"""What an event log costs: programs with and without one, in the interpreter that runs
this, which must have a refcount map.

usage: eventlog.py SCALE ROUNDS [--seed-tool DIRECTORY]

One line of JSON is printed: {program: {way of logging: {'seconds': [of each round],
'events': number, 'bytes': of the file}}}; the way '' is without a log. A round runs a
program once in each way, and without a log before each of them: a virtual machine is
slow or fast for a second or so, and only what is measured side by side meets the same.
Seconds are CPU time. The seed tool is pymemtrace, whose directory goes to sys.path; it
takes seconds where others take milliseconds, and has SEED_ROUNDS rounds at most.
"""

import contextlib
import json
import os
import sys
import tempfile
import time


SEED_ROUNDS = 2


class Point:
    def __init__(self, x):
        self.x = x


MANY = [type(f'Type{i}', (), {}) for i in range(20)]
ONE = MANY[7]


# --- programs ------------------------------------------------------------------

def lists(n):
    """A list and an int each: nothing else."""
    for i in range(n):
        [i]


def instances(n):
    """Two objects with an attribute each, and what they need."""
    for i in range(n):
        Point(Point(i))


def many_types(n):
    """Instances of twenty types, of which one is logged where there is a filter."""
    for _ in range(n // 20):
        for cls in MANY:
            cls()


def text(n):
    """Strings, tuples and dicts as programs have them."""
    for i in range(n // 4):
        words = f'{i} and {i + 1} make {2 * i + 1}'.split()
        pairs = list(zip(words, words[1:]))
        dict(pairs)


def errands(n):
    """A little text for each object of one type, which is passed on twice."""
    waiting = []
    for i in range(n // 10):
        one = ONE()
        one.name = ' '.join(str(i + k) for k in range(5))
        waiting.append(one)
        if len(waiting) > 10:
            waiting.pop(0).name.split()


def handed_around(n):
    """Nothing but references to objects of one type that come and go: each of them is
    an event."""
    objects = [ONE() for _ in range(100)]
    for i in range(n // 100):
        other = list(objects)
        other.reverse()
        for op in other:
            op.seen = i


def identity(x):
    return x


def calls(n):
    """Calls of a function of Python."""
    for i in range(n):
        identity(i)


def recursion(n):
    """Fibonacci numbers: nothing but calls."""
    fib(n.bit_length() + 5)


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def calls_of_c(n):
    """Calls of Python and of C that do a little each."""
    for i in range(n // 10):
        sorted([3, 2, 1])
        len(str(identity(i)))


# --- ways of logging ---------------------------------------------------------------

def ours(path):
    """{way: (programs, function that returns a context manager)}"""
    import refmap
    lifetimes = (lists, instances, many_types, text)
    return {
        'NEW and DEL of all types':
            (lifetimes, lambda: refmap.EventLog(path, builtins=True)),
        'the same, of one type':
            (lifetimes, lambda: refmap.EventLog(path, include=ONE)),
        'the same, of a hot type':
            ((instances,), lambda: refmap.EventLog(path, include=Point)),
        'references of one type':
            ((many_types, errands),
             lambda: refmap.EventLog(path, include=ONE, references=True)),
        'references of a hot type':
            ((handed_around,),
             lambda: refmap.EventLog(path, include=ONE, references=True)),
        'Profile, all events':
            ((calls, recursion, calls_of_c),
             lambda: refmap.Profile(path, d_rss_trigger=0)),
        'Trace, all events':
            ((calls, recursion, calls_of_c),
             lambda: refmap.Trace(path, d_rss_trigger=0)),
    }


def the_seed_tool(path):
    from pymemtrace import cPyMemTrace
    lifetimes = (lists, instances, many_types, text)
    return {
        'pymemtrace: all types':
            (lifetimes, lambda: cPyMemTrace.ReferenceTracing(
                filepath=path, include_builtins=True)),
        'pymemtrace: Profile, all events':
            ((calls, recursion, calls_of_c),
             lambda: cPyMemTrace.Profile(d_rss_trigger=0, filepath=path)),
    }


def timed(program, n, context):
    """(CPU seconds of the program alone, the log)"""
    with context as log:
        start = time.process_time()
        program(n)
        return time.process_time() - start, log


def measure(ways, path, n, rounds, result):
    """Add to `result` what main() prints of these ways."""
    programs = []
    for chosen, _ in ways.values():
        programs += [p for p in chosen if p not in programs]
    for program in programs:
        program(n // 10)
        found = result.setdefault(program.__name__, {'': {'seconds': []}})
        chosen = {way: make for way, (of, make) in ways.items() if program in of}
        for way, make in list(chosen.items()) * rounds:
            found['']['seconds'].append(
                timed(program, n, contextlib.nullcontext())[0])
            seconds, log = timed(program, n, make())
            one = found.setdefault(way, {'seconds': []})
            one['seconds'].append(seconds)
            one['bytes'] = os.path.getsize(path)
            if hasattr(log, '_counts'):
                one['events'] = log._counts()[0][2]


def main(argv):
    if len(argv) not in (2, 4):
        print('usage: eventlog.py SCALE ROUNDS [--seed-tool DIRECTORY]',
              file=sys.stderr)
        return 2
    n, rounds = int(argv[0]), int(argv[1])
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'log')
        result = {}
        measure(ours(path), path, n, rounds, result)
        if len(argv) == 4:
            sys.path.insert(0, argv[3])
            measure(the_seed_tool(path), path, n, min(rounds, SEED_ROUNDS), result)
        print(json.dumps(result), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
