"""Which test methods of a leaking test file leak.

Halves that do not leak are left out, halves that do are halved again, until
single methods are left. So the cost grows with the number of methods that
leak, and only with the logarithm of how many there are.
"""

import io
import time
import unittest

from refmap import hunting, judge

# Runs of each group. The file has been run before: its caches are filled.
WARMUPS = 1
RUNS = 3

# With so many methods or fewer, each is tried without halving.
FEW = 4


class OutOfTime(Exception):
    """The next group would take too long."""


def flatten(suite):
    """Return the test cases of a suite, in order, as a list."""
    cases = []
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            cases.extend(flatten(item))
        else:
            cases.append(item)
    return cases


def names_of(module, match):
    """Return the names of the test methods of a module that match."""
    loaded = unittest.TestLoader().loadTestsFromModule(module)
    return [case.id() for case in flatten(loaded) if match(case)]


def runner_of(module, match, indexes):
    """Return a function that runs a few of a module's test methods.

    match -- called with a test case: does it belong to the run at all?
    indexes -- positions among the test cases that match
    """
    wanted = set(indexes)

    def run():
        # Loaded anew each time: a test case keeps what its test stored in it.
        loaded = unittest.TestLoader().loadTestsFromModule(module)
        cases = [case for case in flatten(loaded) if match(case)]
        suite = unittest.TestSuite(case for index, case in enumerate(cases)
                                   if index in wanted)
        result = unittest.TextTestResult(
            unittest.runner._WritelnDecorator(io.StringIO()), False, 0)
        result.buffer = True
        suite.run(result)

    return run


def leaking(result, types):
    """Return the findings of `result` that fail it, of the given types.

    types -- type names; any type will do if there are none
    """
    return [finding for finding in result['types']
            if finding['pattern'] in judge.FAILING
            and not finding.get('suppressed')
            and (not types or finding['type'] in types)]


def split(group):
    """Return the groups to be tried when `group` leaks."""
    if len(group) <= FEW:
        return [[index] for index in group]
    middle = len(group) // 2
    return [group[:middle], group[middle:]]


class Search:
    """The search for those members of range(count) that leak.

    try_group -- called with a list of indexes; returns what leaks, something
                 false for nothing. May raise OutOfTime.

    found      -- [(index, what leaks)]
    unresolved -- groups that leak though none of their parts does
    pending    -- groups that there was no time for
    """

    def __init__(self, try_group):
        self.try_group = try_group
        self.found = []
        self.unresolved = []
        self.pending = []

    def run(self, group):
        """Search in `group`, which is known to leak."""
        known = len(self.found), len(self.unresolved)
        parts = split(group)
        for position, part in enumerate(parts):
            try:
                what = self.try_group(part)
            except OutOfTime:
                self.pending.extend(parts[position:])
                return
            if what and len(part) == 1:
                self.found.append((part[0], what))
            elif what:
                self.run(part)
        if known == (len(self.found), len(self.unresolved)) and not self.pending:
            self.unresolved.append(group)


def note(search, names):
    """Return what a search could not find out, as a line, or None."""
    if search.pending:
        count = sum(map(len, search.pending))
        return f'stopped: no time for {count} more methods'
    if search.unresolved:
        first, last = search.unresolved[0][0], search.unresolved[0][-1]
        return (f'together only: {len(search.unresolved[0])} methods from '
                f'{names[first]} to {names[last]}')
    return None


def find(module, match, types, found, *, rules=(), cleanup=hunting.clean_up,
         seconds=60.0, first=0.0, progress=None, name=''):
    """Find the test methods of a module that leak.

    module -- a test module; it has just been found to leak
    match -- called with a test case: does it belong to the run at all?
    types -- names of the types that leaked; any if empty
    found -- called with each method that leaks, {'name': ..., 'types': [finding,
             ...]}, as soon as it is known
    rules, name -- as of hunting.conclude()
    cleanup -- called after each run of a group
    seconds -- how long it may take
    first -- how long the first group is expected to take, in seconds
    progress -- called with the number of methods in the next group
    Return a note, why the search ended early, or None.
    """
    names = names_of(module, match)
    end = time.monotonic() + seconds
    per_method = first / max(1, len(names))

    def try_group(indexes):
        if time.monotonic() + per_method * len(indexes) > end:
            raise OutOfTime
        if progress is not None:
            progress(len(indexes))
        recorder = hunting.record(runner_of(module, match, indexes),
                                  WARMUPS, RUNS, cleanup)
        result = hunting.conclude(recorder, name, rules,
                                  describe=len(indexes) == 1)
        what = leaking(result, types)
        if what and len(indexes) == 1:
            found({'name': names[indexes[0]], 'types': what})
        return what

    search = Search(try_group)
    if names:
        search.run(list(range(len(names))))
    return note(search, names)
