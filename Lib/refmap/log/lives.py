"""The objects of a process, while its events are read.

What is found out goes to a Findings, which all processes of an analysis share.
"""

import heapq
from itertools import count

# How many of the longest lived objects, and of those whose address was reused,
# are kept.
KEPT = 1000


class Span:
    """How long objects lived, in seconds."""

    __slots__ = 'count', 'total', 'shortest', 'longest'

    def __init__(self):
        self.count = 0
        self.total = 0.0
        self.shortest = float('inf')
        self.longest = 0.0

    def add(self, seconds):
        self.count += 1
        self.total += seconds
        self.shortest = min(self.shortest, seconds)
        self.longest = max(self.longest, seconds)

    def merge(self, other):
        self.count += other.count
        self.total += other.total
        self.shortest = min(self.shortest, other.shortest)
        self.longest = max(self.longest, other.longest)


class Findings:
    """What the processes found.

    Keys are (type, place) of a birth unless something else is said.
    born -- {key: count}
    died -- {(type, place of the birth, place of the death): Span}
    deaths -- {(type, place of the death): count} of all of them
    unseen -- {(type, place of the death): count}: made before the log began,
              or while it did not look
    reclassed -- {(type at birth, type at death, place of the death): count}
    reused -- [(birth, birth of the next at that address)], of objects that
              must have died unseen; of an older one its first event; n_reused:
              how many there were
    missed -- of these, how many may have died while nothing was logged
    moved -- resizes that moved an object
    unexplained -- {type: changes of counts that no event tells of}
    """

    def __init__(self):
        self.born = {}
        self.died = {}
        self.deaths = {}
        self.unseen = {}
        self.reclassed = {}
        self.reused = []
        self.n_reused = self.missed = self.moved = 0
        self.unexplained = {}
        self._longest = []          # heap of (seconds, serial, birth, death)
        self._serial = count()

    def note_death(self, birth, death):
        """Note the events of birth and death of an object."""
        seconds = death.clock - birth.clock
        key = birth.type, birth.place, death.place
        span = self.died.get(key)
        if span is None:
            span = self.died[key] = Span()
        span.add(seconds)
        longest = self._longest
        if len(longest) < KEPT:
            heapq.heappush(longest, self._lived(seconds, birth, death))
        elif seconds > longest[0][0]:
            heapq.heapreplace(longest, self._lived(seconds, birth, death))
        if birth.type is not death.type and birth.type.name != death.type.name:
            add(self.reclassed, (birth.type, death.type, death.place))

    def _lived(self, seconds, birth, death):
        # Those that lived equally long are not compared any further.
        return seconds, next(self._serial), birth, death

    def note_reuse(self, birth, event, missed):
        """Note that a birth was where another object still lived."""
        self.n_reused += 1
        self.missed += missed
        if len(self.reused) < KEPT and not missed:
            self.reused.append((birth, event))

    def longest(self):
        """Return [(seconds, birth, death)], the longest lived first."""
        found = sorted(self._longest, key=lambda one: (-one[0], one[1]))
        return [(seconds, birth, death) for seconds, _, birth, death in found]


def add(counts, key, number=1):
    """Add to a count in a dict."""
    counts[key] = counts.get(key, 0) + number


class Process:
    """The living objects of a process.

    findings -- a Findings
    chooses -- says of an event, the first one of its object, whether that is
               wanted
    living -- {address: the NEW of the object; None: not wanted}
    older -- {address: its first event, or None}: born before
    ledgers -- {address: {place: [references taken, given back]}}
    """

    def __init__(self, findings, chooses):
        self.findings = findings
        self.living = {}
        self.older = {}
        self.ledgers = {}
        self._counts = {}           # address -> count after the last event
        self._chooses = chooses
        self._ancestors = {}        # of a fork's child: living of its parent
        self._blind = float('-inf')     # until when something was not logged
        self._last = None           # (birth, death) of the last death

    def fork(self):
        """Return the Process of a child that is made now."""
        self.settle()
        child = Process(self.findings, self._chooses)
        child._ancestors = {**self._ancestors, **self.living}
        child.older = dict(self.older)
        child._blind = self._blind
        return child

    def lose_sight(self, clock):
        """Up to now something was not logged."""
        self._blind = clock

    def settle(self):
        """The last object that died was not moved."""
        if self._last is not None:
            birth, death = self._last
            self._last = None
            self.findings.note_death(birth, death)

    def new(self, event):
        """An object is born, or was moved by a resize."""
        address = event.address
        last = self._last
        if last is not None:
            if event.birth and event.birth == last[1].birth:
                self._last = None
                self.findings.moved += 1
                self.living[address] = last[0]
                return
            self.settle()
        before = self.living.get(address) or self.older.pop(address, None)
        if before is not None:
            missed = before.clock <= self._blind
            self.findings.note_reuse(before, event, missed)
        if address in self.ledgers:
            self._forget(address)
        if self._chooses(event):
            self.living[address] = event
            add(self.findings.born, (event.type, event.place))
        else:
            self.living[address] = None

    def delete(self, event):
        """An object dies, or is about to be moved."""
        self.settle()
        address = event.address
        if address in self.ledgers:
            self._forget(address)
        try:
            birth = self.living.pop(address)
        except KeyError:
            try:
                birth = self._ancestors.pop(address)
            except KeyError:
                self._delete_older(event)
                return
        if birth is not None:
            add(self.findings.deaths, (event.type, event.place))
            self._last = birth, event

    def _delete_older(self, event):
        first = self.older.pop(event.address, event)
        if first is not None and (first is not event or self._chooses(event)):
            key = event.type, event.place
            add(self.findings.deaths, key)
            add(self.findings.unseen, key)

    def _forget(self, address):
        del self.ledgers[address]
        del self._counts[address]

    def change(self, event):
        """An object's count changes."""
        self.settle()
        if not self._wants(event):
            return
        address = event.address
        ledger = self.ledgers.get(address)
        if ledger is None:
            ledger = self.ledgers[address] = {}
            # A birth is the first reference.
            before = (1 if address in self.living
                      else event.count - event.change)
        else:
            before = self._counts[address]
        if before + event.change != event.count:
            add(self.findings.unexplained, event.type)
        self._counts[address] = event.count
        sums = ledger.setdefault(event.place, [0, 0])
        sums[event.change < 0] += abs(event.change)

    def _wants(self, event):
        address = event.address
        for known in self.living, self._ancestors, self.older:
            if address in known:
                return known[address] is not None
        wanted = self._chooses(event)
        self.older[address] = event if wanted else None
        return wanted
