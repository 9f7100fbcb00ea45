"""Watched objects and the references to them: who had each, from when it was
taken to when it was given back.
"""

from collections import namedtuple

from .calls import EVAL, FRAME_MAKING

# What happened to a token, and by which event. `slot`: the activation that has
# it since, or that lost it.
Step = namedtuple('Step', 'what event slot')


class Token:
    """One reference to a watched object.

    taken -- the event that took it; calls: the stack there
    holder -- slot of the activation that has it, or None
    places -- {location: Place}: the words in memory that hold it
    gone -- events Gone of places that held it, and which no release followed
    taken_out -- if it was in a field of an object that became NULL, the
                 innermost Call that was running all the time, which did it or
                 called who did; else None
    forgotten -- did the object that held it give up what it held since?
    steps -- what happened to it, a list of Step
    claimed -- the Step by which it is in a place that was not new when its
               holder ended, or None
    supposed -- the event Return at which it was not seen to be nowhere, but
                taken to be, or None
    buriers -- Releases by the activation that freed the block it was in right
               afterwards
    ended -- the event Return in which its last holder ended, or None;
             ended_at: its index
    released -- the Release that consumed it, or None
    """

    __slots__ = ('number', 'life', 'index', 'taken', 'calls', 'holder',
                 'places', 'gone', 'vanished', 'vanished_in', 'taken_out',
                 'forgotten', 'steps', 'claimed', 'supposed', 'buriers', 'ended',
                 'ended_at', 'released')

    def __init__(self, number, life, index, taken, calls):
        self.number = number
        self.life = life
        self.index = index          # of `taken` among the events
        self.taken = taken
        self.calls = calls
        self.holder = calls[0].slot if calls else None
        self.places = {}
        self.gone = []
        self.vanished = None        # the Gone since the object's last change
        self.vanished_in = ()       # the stack there
        self.taken_out = None
        self.forgotten = False
        self.steps = []
        self.claimed = self.supposed = None
        self.buriers = ()
        self.ended = self.ended_at = None
        self.released = None

    def add(self, what, event, slot=None):
        self.steps.append(Step(what, event, slot))

    def disclaim(self):
        """Let it not have been in the place that it claimed, as that got
        another value: items of a table move, and then it is not known whose
        place it was."""
        self.steps[self.steps.index(self.claimed)] = Step(
            'nowhere', self.ended, self.ended.slot)
        self.claimed = None

    def forget(self, event):
        """Let it not have been in the place that an event says: another one
        was."""
        self.steps = [step for step in self.steps if step.event is not event]

    def is_lost(self):
        """Did a function return the object, and keep this reference?"""
        return any(step.what == 'kept' for step in self.steps)

    def was_not_searched(self):
        """Is it unknown where it was when its last holder ended?"""
        return bool(self.steps) and self.steps[-1].what == 'unknown'

    def last_gone(self):
        """Return the Gone of the place that was found last: what was copied
        from one place to another is in the first one still, as a stale
        word."""
        found = {}
        for number, step in enumerate(self.steps):
            if step.what == 'memory':
                found.update((place.location, number)
                             for place in step.event.places)
            elif step.what in ('stored', 'shifted'):
                found[step.event.location] = number
        return max(reversed(self.gone),
                   key=lambda gone: found.get(gone.location, -1))

    def last_slot(self):
        """Return the slot of the activation that has it, or had it last."""
        if self.holder is not None:
            return self.holder
        if self.ended is not None:
            return self.ended.slot
        return self.calls[0].slot if self.calls else None

    def at(self, slot):
        """Return the calls in an activation when the reference was taken."""
        return [call for call in self.calls if call.slot == slot]

    def is_takers(self, slot):
        """Is the activation at a slot the one that took it?"""
        return bool(self.calls) and self.calls[0].slot == slot

    def is_of_frame(self):
        """Was it taken for a frame of Python code, by who made that?"""
        return any(call.function in FRAME_MAKING
                   for call in self.at(self.last_slot()))

    def is_of_loop(self):
        """Did the evaluation loop have it last, or was it taken for a frame?"""
        return self.is_of_frame() or any(
            call.function == EVAL for call in self.at(self.last_slot()))

    def is_held_by(self, slot, calls):
        """Is the holder the activation at a slot of another stack?"""
        if self.holder is None or self.holder != slot:
            return False
        return self.is_on(slot, calls)

    def is_on(self, slot, calls):
        """Has another stack the activation that had this slot?

        Another function at the same slot is another activation.
        """
        then, now = self.at(slot), [c for c in calls if c.slot == slot]
        return not then or bool(now) and then[-1].function == now[-1].function


class Life:
    """A watched object from its birth, or from the start of the recording.

    address -- the last one, if it was moved
    born -- the index of its birth among the events, None if it is older
    died -- the index of its death, None if it lives
    moved -- was it, by a realloc()?
    tokens, releases -- in their order
    unmatched -- releases of references that no token is known of
    """

    def __init__(self, address, birth, type, born):
        self.address = address
        self.birth = birth
        self.type = type
        self.born = born
        self.died = None
        self.moved = False
        self.tokens = []
        self.releases = []
        self.unmatched = []
        self.by_location = {}
        # (function that took a token, slot) -> Token, the last one that the
        # function left in a variable of the activation at the slot.
        self.variables = {}
        self.open = []              # tokens that nothing consumed for sure

    def left(self):
        """Return the tokens that nothing consumed."""
        return [token for token in self.tokens if token.released is None]


def homeless(life, calls=None):
    """Yield the tokens that may be in memory, for all that is known: those
    that no function holds first, the newest first. Last come those which
    somebody took out of a field: he has them, though that was not seen, as
    long as he runs; and those whose block was freed by who gave references to
    the object back.

    calls -- the stack now; None: whoever took one out runs, perhaps
    """
    def is_had(token):
        by = token.taken_out
        return bool(token.buriers) or by is not None and (
            calls is None or any(call.slot == by.slot
                                 and call.function == by.function
                                 for call in calls))

    open = [token for token in reversed(life.open) if not token.places]
    yield from sorted(open, key=lambda token: (is_had(token),
                                               token.holder is not None))
