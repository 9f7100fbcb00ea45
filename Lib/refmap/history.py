"""What each object did during repeated runs, from the records of diffs.

The same code ran R times, with a snapshot before the first run and one after
each. Two neighbouring snapshots differ by records as of sys.refmap_diff():

    living  (address, type name, count before, count after)
    died    (address, type name, count before)

From these the history of each object that changed is put together: its count
at each of the R + 1 snapshots.

A run may leak a million objects, but they hardly do a million different things.
So objects of one type that did the same share one History. While the records of
run after run come in, an object walks down a tree of histories.
"""

# From this count on CPython takes an object for immortal, and does not count.
COUNT_LIMIT = 1 << 31

# What the objects of a History came to.
_ALIVE, _GONE, _UNSOUND = range(3)


class History:
    """What one or more objects of a type did, all of them the same.

    type      -- as in the records
    born      -- the number of the run that created them, from 1; 0: they are
                 older
    levels    -- R + 1 integers: the reference count of each at each snapshot,
                 for older objects less what it was at first
    number    -- how many objects there are
    addresses -- of those that are alive; where a count was impossible or the
                 address is watched, of the dead, too
    watched   -- the address, if the caller of histories() asked for it
    """

    __slots__ = ('type', 'born', 'levels', 'number', 'addresses', 'watched',
                 '_state', '_next', '_first')

    def __init__(self, type, born, levels, state, watched, first):
        self.type = type
        self.born = born
        self.levels = levels
        self.number = 0
        self.addresses = []
        self.watched = watched
        self._state = state
        self._next = None       # {(run, change, state): History}
        self._first = first     # {address: first count}, shared by all

    def __repr__(self):
        return (f'<History of {self.number} {self.type} born={self.born} '
                f'{self.levels}>')

    def counts(self, address):
        """Return the counts of the object at `address`, one of .addresses."""
        base = 0 if self.born else self._first[address]
        return [base + level for level in self.levels]

    def is_alive(self):
        """Are the objects alive at the last snapshot?"""
        return self._state == _ALIVE

    def is_sound(self):
        """Were all counts such as an object can have?"""
        return self._state != _UNSOUND

    def steps(self):
        """Return, per run, the change of the count of each object."""
        return steps(self.levels)

    def retained(self):
        """Return, per run, the references of each object that no later run
        took back."""
        return steps(lower_envelope(self.levels))

    def passing(self):
        """Return the references of a life from the last run but one to the
        last: 0 for all other objects."""
        run = len(self.levels) - 2
        if self.born == run and not self.is_alive():
            return self.levels[run] - self.levels[-1]
        return 0

    def losses(self):
        """Return the numbers of the runs in which an older, living object lost
        references; none if it ever got one."""
        changes = self.steps()
        if self.born or not self.is_alive() or max(changes) > 0:
            return []
        return [run for run, change in enumerate(changes, 1) if change]

    def _then(self, run, change, state):
        """Return the History of those that do this next, in that run."""
        if self._next is None:
            self._next = {}
        key = run, change, state
        history = self._next.get(key)
        if history is None:
            levels = self._until(run)
            levels.append(levels[-1] + change)
            history = self._next[key] = History(
                self.type, self.born, levels, max(state, self._state),
                self.watched, self._first)
        return history

    def _until(self, run):
        """Return the levels before that run."""
        return self.levels + self.levels[-1:] * (run - len(self.levels))


def lower_envelope(counts):
    """Return the least of each count and those that follow it."""
    envelope = list(counts)
    for i in reversed(range(len(envelope) - 1)):
        envelope[i] = min(envelope[i], envelope[i + 1])
    return envelope


def steps(values):
    """Return the differences of neighbours."""
    return [b - a for a, b in zip(values, values[1:])]


def state_of(count):
    """Return the state of an object with such a count."""
    if 0 < count < COUNT_LIMIT:
        return _ALIVE
    return _GONE if count == 0 else _UNSOUND


class Histories:
    """Puts histories together from the records of one run after another.

    watched -- addresses whose objects get a History of their own
    """

    def __init__(self, watched=()):
        self.watched = frozenset(watched)
        self.run = 0
        self._roots = {}        # (type, born, watched, state) -> History
        self._now = {}          # address -> History of who lives there
        self._first = {}        # address -> first count of an older object

    def _older(self, address, type_name, count):
        """The History of an older object, before it changed."""
        self._first[address] = count
        return self._root(address, type_name, 0, state_of(count))

    def _root(self, address, type_name, born, state):
        watched = address if address in self.watched else None
        key = type_name, born, watched, state
        history = self._roots.get(key)
        if history is None:
            history = self._roots[key] = History(
                type_name, born, [0] * max(born, 1), state, watched,
                self._first)
        return history

    def _close(self, address, history):
        """The object's life is over."""
        history.number += 1
        if history.watched is not None or not history.is_sound():
            history.addresses.append(address)

    def add_run(self, living, died):
        """Take the records of the next run."""
        self.run += 1
        run, now = self.run, self._now
        for address, type_name, before in died:
            history = now.pop(address, None)
            if history is None:
                history = self._older(address, type_name, before)
            self._close(address, history._then(run, -before, _GONE))
        newborn = {}            # (type, count) -> History of the unwatched
        for address, type_name, before, after in living:
            if before:
                history = now.get(address)
                if history is None:
                    history = self._older(address, type_name, before)
                now[address] = history._then(run, after - before,
                                             state_of(after))
                continue
            if address in now:
                self._close(address, now.pop(address))
            history = newborn.get((type_name, after))
            if history is None or address in self.watched:
                history = self._root(address, type_name, run, _ALIVE)
                history = history._then(run, after, state_of(after))
                if history.watched is None:
                    newborn[type_name, after] = history
            now[address] = history

    def finish(self):
        """Return a list of History, those of dead objects included."""
        for address, history in self._now.items():
            history.number += 1
            history.addresses.append(address)
        found, ahead = [], list(self._roots.values())
        while ahead:
            history = ahead.pop()
            if history._next is not None:
                ahead.extend(history._next.values())
                history._next = None
            if history.number:
                history.levels = history._until(self.run + 1)
                found.append(history)
        return found


def histories(runs, watched=()):
    """Put the histories of all objects that changed together.

    runs -- [(living, died)], the records of each run in order
    watched -- addresses whose objects get a History of their own
    Return a list of History, those of dead objects included.
    """
    builder = Histories(watched)
    for living, died in runs:
        builder.add_run(living, died)
    return builder.finish()
