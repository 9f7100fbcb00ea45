"""Whom a reference that was left accuses: functions, from one token.

Works on literal records, in any interpreter. The functions come in the order
of how probable it is that they forgot the reference; what that order is, and
why, is written beside each rule.
"""

from collections import namedtuple

from . import cuts
from .calls import EVAL
from .contracts import KEPT
from .functions import is_allocator, is_machinery, is_wrapper, ordered
from .heirs import FETCHES, Heirs
from .holding import fate, file_of, holders, last_holder, overwriters, was_seen
from .recording import THREAD_STATE
from .roles import CONTAINERS

# How direct the evidence for a rule is. A function seen to end with the
# reference is as direct as it gets; a place in memory is found by its
# contents, so it may be a stale word; who stored something in a visible owner
# may well have meant it.
DIRECTNESS = {
    'missing-decref': 0.9,
    'overwritten-field': 0.9,
    'container-not-released': 0.8,
    'missing-visit': 1.0,
    'no-gc': 0.9,
    'untracked': 0.8,
    'over-decref': 0.7,
    'raw-memory': 0.7,
    'held': 0.2,
}
# The part of it that is left where something speaks against it: a word in
# memory has the object, but nobody owns it by that; an activation that did not
# end before the recording did has the reference, which may be a variable of
# the running program; there was no time to search memory, or the object was in
# many places before; the evaluation loop had it, which stores references
# without any event; a field was overwritten, and who ran then is not in the
# file of its type.
STORED, HELD, UNSEEN, IN_LOOP, NEARBY = 0.7, 0.4, 0.6, 0.1, 0.4
# Who takes references in the file of a container is no suspect if memory was
# not searched.
IN_CONTAINER = 0.2

# Who makes and clears the state of a thread.
STATE_FILE, CLEARS_STATE = 'Python/pystate.c', 'PyThreadState_Clear'

# Nobody was seen to write a field, but its code says that the function does.
WRITES = 'writes'
# A function that a leaked reference accuses. weight: see above; token: the
# Token, or None; how: what else the evidence needs: an owners.Holder, a
# Release, WRITES.
Accusation = namedtuple('Accusation', 'call rule weight token how')


class Judge:
    """Names the functions that tokens accuse.

    flow -- a tokens.Flow
    """

    def __init__(self, flow, contracts):
        self.flow = flow
        self.recording = flow.recording
        self.calls = flow.calls
        self.contracts = contracts
        self.slots = flow.slots
        self.heirs = Heirs(flow, contracts)
        self.ways_out = set()   # return addresses, see cuts.py

    def leads_away(self, token):
        """Does the way of a token lead out of what is known? Then nobody can
        be accused, and it is noted."""
        return self.note_way_out(cuts.way_out_of(token.life))

    def is_cut(self, frames):
        """Does a stack end early? Then it is noted."""
        return self.note_way_out(cuts.end_of(frames))

    def note_way_out(self, pc):
        if pc is not None:
            self.ways_out.add(pc)
        return pc is not None

    def fate(self, token):
        """Return how a token was lost; see fate()."""
        how = fate(token)
        if how == 'stored' and token.life.born is None:
            # What was found is one of the places that the object was in before
            # the recording, perhaps.
            how = 'missing-decref'
        if (how == 'missing-decref' and token.ended is not None
                and any(map(self.keeps, token.at(token.ended.slot)))):
            # It takes a reference for what it stores the object in, though
            # that was not found in memory.
            return 'stored'
        return how

    def keeps(self, call):
        """Does a function by contract take a reference for what it stores an
        object in?"""
        contract = self.contracts.get(call.function)
        return contract is not None and KEPT in contract.effects

    def holders(self, token):
        """Return who may have lost a token; see holders()."""
        return holders(token, self.calls, self.keeps)

    def storers(self, token):
        """The same of a token that was stored: those who by contract store an
        object for their caller come last, as they did so."""
        return sorted(self.holders(token), key=self.is_by_contract)

    def is_by_contract(self, call):
        """Does a function by contract take a reference, or its caller's, for
        what it stores an object in?"""
        return (self.keeps(call)
                or bool(self.contracts.stolen(call.function)))

    def storing(self, token):
        """Return who stored a reference: those who do it for others, by
        contract, come last."""
        if self.leads_away(token):
            return []
        return self.storers(token)

    def accuse(self, token):
        """Return the accusations of one token that was left."""
        if self.leads_away(token):
            return []
        how = self.fate(token)
        if (token.life.address in self.recording.types and token.calls
                and is_allocator(token.calls[0])):
            # A type: an instance took the reference when it was allocated, and
            # died.
            owners = self.slots.last_owners(token.life.address)
            return self.weighed(owners, 'container-not-released', 1, token)
        if how == 'overwritten-field':
            return self.accuse_overwriting(token)
        if how == 'container-not-released':
            calls = self.slots.undertakers(token) + self.storers(token)
            return self.weighed(calls, how, 1, token)
        if any(place.base_type == THREAD_STATE
               for place in token.places.values()):
            # No state of a living thread has it: that was cleared.
            calls = self.slots.named(CLEARS_STATE)
            calls += self.holders(token)
            return self.weighed(calls, 'container-not-released', 1, token)
        finders = self.heirs.finders(token)
        if (not finders and self.heirs.was_raised(token)
                and self.is_cut(token.taken.frames)):
            return []           # who fetched it may be out of what is known
        calls = finders + self.heirs.of(token)
        factor = self.directness(token, how)
        if finders:
            factor = max(factor, UNSEEN)
        elif self.heirs.was_raised(token):
            factor = min(factor, UNSEEN)        # who fetched it is not known
        if not calls and (receivers := self.heirs.receivers(token)):
            calls, factor = receivers, min(factor, UNSEEN)
        calls += self.holders(token)
        calls[1:1] = self.helpers(calls[:1])
        return self.weighed(calls, 'missing-decref', factor, token)

    def accuse_overwriting(self, token):
        """Return the accusations of a token whose field got another value."""
        how = 'overwritten-field'
        gone = token.last_gone()
        base_type = self.slots.base_type(token, gone)
        if base_type == THREAD_STATE:
            return self.accuse_taking_out(token, gone)
        structure = self.slots.structure(token, gone)
        home = self.slots.file_of(structure) or file_of(token)
        seen = self.slots.of_the_type(overwriters(gone, home, self.calls),
                                      home, structure)
        calls = self.slots.clearers(token, gone)
        if not calls and not (seen and seen[0].file == home):
            unseen = self.slots.unseen(token)
            if unseen:
                return self.weighed(unseen + seen, how, UNSEEN, token, WRITES)
        cleared = bool(calls)
        seen = self.slots.writers_first(token, seen)
        called = [] if cleared else self.slots.called_writers(token, seen)
        if called:
            return self.weighed(called + seen, how, UNSEEN, token, WRITES)
        calls += seen
        if cleared or calls and calls[0].function in self.slots.slots_of(
                base_type):
            how = 'container-not-released'      # cleared, but not released
        known = calls and (calls[0].file == home or not calls[0].slot)
        if known:
            calls[1:1] = self.helpers(calls[:1])
        calls += self.storers(token)
        return self.weighed(calls, how, 1 if known else NEARBY, token)

    def helpers(self, calls):
        """Return the function that the first of some functions calls to give
        something up, in a list, if it is the only one; it should have done so,
        perhaps."""
        found = self.slots.helpers(calls[0]) if calls else []
        return found if len(found) == 1 else []

    def accuse_taking_out(self, token, gone):
        """Return the accusations of a token that was in the state of a thread:
        of who took it out, or put something else there. Those who fetch an
        exception come first: they have to release it."""
        if self.is_cut(gone.frames):
            return []
        calls = overwriters(gone, STATE_FILE, self.calls)
        fetching = []
        if not gone.now:
            calls = [call for call in calls if call.function not in FETCHES]
            if self.heirs.is_exception(token.life):
                fetching = [call for call in calls if self.heirs.fetches(call)]
        if fetching:
            # What Python code does with an exception is not its matter.
            factor = IN_LOOP if is_machinery(fetching[0]) else 1
        else:
            factor = 1 if calls and calls[0].file == STATE_FILE else UNSEEN
        # The compiler may fold equal code of two functions; who was on the
        # stack when the reference was taken is known by its own name.
        folded = [call for other in fetching[:1] for call in token.calls
                  if call.slot == other.slot and self.heirs.fetches(call)]
        calls = folded + fetching + calls + self.holders(token)
        return self.weighed(calls, 'missing-decref', factor, token)

    def directness(self, token, how):
        """Return how direct it is that the last holder lost a token, 0 to
        1."""
        last = token.at(token.last_slot())
        if token.is_of_frame() or last and last[-1].function == EVAL:
            return IN_LOOP
        if how in ('stored', 'held'):
            return {'stored': STORED, 'held': HELD}[how]
        if was_seen(token):
            return 1
        in_container = last and last[0].file in CONTAINERS
        return IN_CONTAINER if in_container else UNSEEN

    def weighed(self, calls, rule, factor, token=None, how=None):
        weight = DIRECTNESS[rule] * factor
        found = []
        surely = token and last_holder(token)
        # What a wrapper has it gives back itself, if its code does that.
        owner = (surely if surely and is_wrapper(surely)
                 and self.slots.gives_up(surely) else None)
        for position, call in enumerate(ordered(calls, surely, owner)):
            if is_machinery(call) and call != surely:
                weight = min(weight, 0.1)
            found.append(Accusation(call, rule, weight / (position + 1), token,
                                    how))
        return found
