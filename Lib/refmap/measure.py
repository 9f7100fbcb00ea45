"""Run code again and again with a snapshot after each run.

The loop must not see itself: everything it needs is allocated before the first
run, and between two snapshots it leaves nothing behind. Diffs and reports are
made when all runs are over.
"""

import array
import sys

from . import judge, report
from .history import Histories

# How many integers of the caller's a snapshot is told of.
OWN = 4
# So many runs are wanted for a verdict; warm-ups are taken to be such runs where the
# process died too early. An over-decref does not wait until the warm-ups are over.
WANTED = judge.MIN_LOSSES


class Recorder:
    """The snapshots of `warmups` + `runs` runs of some code.

    Call snapshot() after each run, when everything is cleaned up; then
    examine().
    """

    def __init__(self, warmups, runs):
        self.warmups = warmups
        self.runs = runs
        self._own = array.array('Q', [0] * (OWN * (warmups + runs + 1)))
        self._blocks = array.array('q', [0] * (warmups + runs + 1))
        self._births = array.array('q', [0] * (warmups + runs + 1))
        # A snapshot takes the place of another one, so that the number of
        # memory blocks stays what it was. The first is that before run 0.
        self._snapshots = [sys.refmap_snapshot()
                           for _ in range(warmups + runs + 1)]

    def snapshot(self, i, own0=None, own1=None, own2=None, own3=None):
        """Take the snapshot after run `i`, counted from 0, warm-ups included.

        own0 ... own3 -- integers that the caller's loop holds now
        """
        # No loop and no tuple here: they would be objects.
        self._own[OWN * i + OWN] = id(own0)
        self._own[OWN * i + OWN + 1] = id(own1)
        self._own[OWN * i + OWN + 2] = id(own2)
        self._own[OWN * i + OWN + 3] = id(own3)
        self._blocks[i + 1] = sys.getallocatedblocks()
        youngest = object()
        self._births[i + 1] = sys._refmap_birth(id(youngest))
        del youngest
        # The last warm-up's is where the first run starts from, if the process
        # does not die; see cut(). Whether true counts are needed is known when all
        # runs are over.
        if i >= self.warmups - 1 - WANTED:
            self._snapshots[i + 1] = sys.refmap_snapshot(actual=True)

    def own_addresses(self):
        """Return, per snapshot of the runs, the addresses of own integers."""
        first = self.warmups
        return [set(self._own[OWN * k:OWN * (k + 1)])
                for k in range(first, first + self.runs + 1)]

    def block_changes(self):
        """Return, per run, the change of the number of memory blocks."""
        taken = self._blocks[self.warmups:]
        return [after - before for before, after in zip(taken, taken[1:])]

    def birth_changes(self):
        """Return, per run, how many objects were born."""
        taken = self._births[self.warmups:]
        return [after - before for before, after in zip(taken, taken[1:])]

    def diffs(self, actual):
        """Generate the diff of each run.

        actual -- by true counts, or else by those in the map
        """
        taken = self._snapshots[self.warmups:]
        for before, after in zip(taken, taken[1:]):
            yield sys.refmap_diff(before, after, file=None, actual=actual)

    def last(self):
        """Return the snapshot after the last run."""
        return self._snapshots[-1]

    def cut(self, done):
        """Only the first `done` runs were completed, warm-ups included: measure the
        last of them. Return True if there are two: one tells no leak from a cache."""
        first = min(self.warmups,
                    max(self.warmups - WANTED, done - WANTED, 1))
        for taken in self._blocks, self._births, self._snapshots:
            del taken[done + 1:]
        self.warmups, self.runs = first, done - first
        return self.runs > 1

    def drop(self):
        """Forget the snapshots."""
        self._snapshots.clear()


def without_own(found, own, pooled):
    """Return the histories without those of the measuring loop's integers.

    own -- per snapshot, the addresses of integers that the loop held then
    pooled -- addresses of integers that it keeps until the end
    """
    def is_own(history):
        address = history.watched
        if history.type != 'int' or address is None:
            return False
        if history.is_alive() and address in pooled:
            return True
        return any(count and address in addresses for count, addresses
                   in zip(history.counts(address), own))

    return [history for history in found if not is_own(history)]


def examine(recorder, pooled=(), raw=False, actual=False):
    """Judge what a Recorder recorded.

    pooled -- integers that the caller's loop created and still holds
    raw -- add the raw report of the last run
    actual -- by true counts, or else by those in the map
    Return a dict as of judge.judge(), with the keys 'warmups' and 'raw'.
    """
    own = recorder.own_addresses()
    pooled = {id(number) for number in pooled}
    histories = Histories(pooled.union(*own))
    unattributed, freed, lost = [], [], 0
    for diff in recorder.diffs(actual):
        # A list is made anew each time that somebody looks.
        living, died = diff.living, diff.died
        histories.add_run(living, died)
        unattributed.append(diff.unattributed)
        freed.extend(diff.freed)
        lost += diff.lost
    found = histories.finish()
    kept = without_own(found, own, pooled)
    result = judge.judge(kept, recorder.runs, unattributed, freed, lost)
    result['warmups'] = recorder.warmups
    if raw:
        hidden = {h.watched for h in found} - {h.watched for h in kept}
        living, died = ([r for r in records if r[0] not in hidden
                         or r[1] != 'int'] for records in (living, died))
        living.sort(key=lambda r: (-abs(r[3] - r[2]), r[1], r[0]))
        died.sort(key=lambda r: (-abs(r[2]), r[1], r[0]))
        result['raw'] = report.raw_lines(living, died)
    return result
