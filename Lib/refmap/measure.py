"""Run code again and again with a snapshot after each run.

The loop must not see itself: everything it needs is allocated before the first
run, and between two snapshots it leaves nothing behind. Diffs and reports are
made when all runs are over.
"""

import array
import gc
import sys
import unittest

from . import judge
from .saferepr import safe_repr, safe_size, shorten

# How many integers of the caller's a snapshot is told of.
OWN = 4
# How many objects a report looks at more closely, and how many of those that
# refer to one of them it names.
MAX_DESCRIBED = 200
MAX_REFERRERS = 3
MAX_REFERRER_TEXT = 60


class Recorder:
    """The snapshots of `warmups` + `runs` runs of some code.

    Call keep() after each run, and snapshot() when everything is cleaned up;
    then examine().
    """

    def __init__(self, warmups, runs):
        self.warmups = warmups
        self.runs = runs
        self.complete = False
        self._stats = array.array('q', [0, 0, 0, 0])
        self._own = array.array('Q', [0] * (OWN * (warmups + runs + 1)))
        # A snapshot takes the place of another one, so that the number of
        # memory blocks stays what it was. The first is that before run 0.
        self._snapshots = [sys.refmap_snapshot()
                           for _ in range(warmups + runs + 1)]

    def keep(self, result):
        """Take what a run returned and give back what the loop may hold.

        The result of a unittest run is made anew in each run. Its numbers are
        kept where no object is needed for them; see result().
        """
        if not isinstance(result, unittest.TestResult):
            return result
        self._stats[0] = 1
        self._stats[1] = result.testsRun
        self._stats[2] = len(result.failures)
        self._stats[3] = len(result.skipped)
        return None

    def result(self, result, make_stats):
        """Return what the last run returned.

        result -- what keep() gave back
        make_stats -- called with the numbers of tests, failures and skips
        """
        return make_stats(*self._stats[1:]) if self._stats[0] else result

    def snapshot(self, i, own0=None, own1=None, own2=None, own3=None):
        """Take the snapshot after run `i`, counted from 0, warm-ups included.

        own0 ... own3 -- integers that the caller's loop holds now
        """
        # No loop and no tuple here: they would be objects.
        self._own[OWN * i + OWN] = id(own0)
        self._own[OWN * i + OWN + 1] = id(own1)
        self._own[OWN * i + OWN + 2] = id(own2)
        self._own[OWN * i + OWN + 3] = id(own3)
        # The last warm-up's is where the first run starts from.
        if i >= self.warmups - 1:
            self._snapshots[i + 1] = sys.refmap_snapshot()

    def finish(self):
        """All runs are over."""
        self.complete = True

    def own_addresses(self):
        """Return, per snapshot of the runs, the addresses of own integers."""
        first = self.warmups
        return [set(self._own[OWN * k:OWN * (k + 1)])
                for k in range(first, first + self.runs + 1)]

    def diffs(self):
        """Return the diff of each run."""
        taken = self._snapshots[self.warmups:]
        return [sys.refmap_diff(before, after, file=None)
                for before, after in zip(taken, taken[1:])]

    def last(self):
        """Return the snapshot after the last run."""
        return self._snapshots[-1]

    def drop(self):
        """Forget the snapshots."""
        self._snapshots.clear()


def without_own(found, own, pooled):
    """Return the histories without those of the measuring loop's integers.

    own -- per snapshot, the addresses of integers that the loop held then
    pooled -- addresses of integers that it keeps until the end
    """
    def is_own(history):
        if history.type != 'int':
            return False
        if history.is_alive() and history.address in pooled:
            return True
        return any(count and history.address in addresses
                   for count, addresses in zip(history.counts, own))

    return [history for history in found if not is_own(history)]


def raw_records(found):
    """Return what a diff of the last run would say about the histories.

    Two lists as of a diff's `living` and `died`.
    """
    living, died = [], []
    for history in found:
        before, after = history.counts[-2:]
        if before and not after:
            died.append((history.address, history.type, before))
        elif before != after:
            living.append((history.address, history.type, before, after))
    living.sort(key=lambda r: (-abs(r[3] - r[2]), r[1], r[0]))
    died.sort(key=lambda r: (-abs(r[2]), r[1], r[0]))
    return living, died


def examine(recorder, pooled=()):
    """Judge what a Recorder recorded.

    pooled -- integers that the caller's loop created and still holds
    Return (verdict as of judge.judge(), living, died): the latter two for a
    raw report of the last run.
    """
    diffs = recorder.diffs()
    runs = [(diff.living, diff.died) for diff in diffs]
    found = without_own(judge.histories(runs), recorder.own_addresses(),
                        {id(number) for number in pooled})
    freed = [record for diff in diffs for record in diff.freed]
    result = judge.judge(found, recorder.runs,
                         [diff.unattributed for diff in diffs], freed,
                         sum(diff.lost for diff in diffs))
    result['warmups'] = recorder.warmups
    return (result, *raw_records(found))


# --- a closer look at the objects that leaked -----------------------------

def fetch(findings, last):
    """Return {address: object} of the objects in the findings.

    Those that died since the snapshot `last` are left out.
    """
    since = sys.refmap_diff(last, None, file=None)
    dead = {record[0] for record in since.died}
    objects = {}
    for finding in findings:
        for record in finding['objects']:
            address = record['address']
            if address in dead or len(objects) >= MAX_DESCRIBED:
                continue
            try:
                objects[address] = sys._refmap_object(address)
            except LookupError:
                pass        # a dict keys table, or memory that is gone
    return objects


def referrers(objects, last):
    """Find which containers hold the objects.

    objects -- {address: object}
    last -- a snapshot; containers that are newer are not looked at
    Return {address: [container, ...]}; a container that holds an object twice
    is there twice.
    """
    targets = list(objects.values())
    holders = {address: [] for address in objects}
    found = {id(holder): holder for holder in gc.get_referrers(*targets)}
    # After the line above, whose argument tuple it found too.
    since = sys.refmap_diff(last, None, file=None)
    ours = {record[0] for record in since.living if record[2] == 0}
    # The garbage collector does not know tuples and dicts of atoms.
    found.update((id(target), target) for target in targets)
    for address, holder in found.items():
        if address in ours:
            continue
        for item in gc.get_referents(holder):
            if id(item) in holders:
                holders[id(item)].append(holder)
    return holders


def describe(findings, last):
    """Add to each object of the findings what is known of it, in place.

    findings -- the list judge.judge()['types']
    last -- the snapshot after the last run
    New keys of an object's dict: 'repr' and 'size' (bytes); for a new object
    'held_by', a list of strings, and 'unheld', the references that no container
    known to the garbage collector holds.
    """
    objects = fetch(findings, last)
    if not objects:
        return
    holders = referrers(objects, last)
    for finding in findings:
        for record in finding['objects']:
            if record['address'] in objects:
                describe_object(record, objects[record['address']],
                                holders[record['address']], objects)


def describe_object(record, value, holders, leaked):
    """Add what is known of one object to its dict; see describe()."""
    record['repr'] = safe_repr(value)
    record['size'] = safe_size(value)
    if record['born']:
        record['held_by'] = name_holders(holders, leaked)
        record['unheld'] = max(0, record['counts'][-1] - len(holders))
        return
    # For an old object only the references it got are of interest.
    new = [holder for holder in holders if id(holder) in leaked]
    record['held_by'] = name_holders(new, leaked)


def name_holders(holders, leaked):
    """Return a few strings that name the containers."""
    names = []
    for holder in holders:
        name = shorten(safe_repr(holder), MAX_REFERRER_TEXT)
        if id(holder) in leaked:
            name = f'{id(holder):#x} {name}'
        if name not in names:
            names.append(name)
    if len(names) > MAX_REFERRERS:
        names[MAX_REFERRERS:] = [f'{len(names) - MAX_REFERRERS} more']
    return names
