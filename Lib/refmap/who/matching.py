"""Which token a release consumed.

A decref names an object and no owner. So each release is weighed against the
tokens that are left, and gets the one it fits best, the surest first.
"""

import itertools

from .calls import (CALL_CLEARING, EVAL, FRAME_CLEARING,
                    GENERATOR_CLEARING)
from .recording import is_burial
from .roles import CONTAINERS

# How sure it is, the surest first. What follows in the tuple of strength()
# chooses among equals: the younger token, as most code gives back in the
# reverse order.
FRAME = 8           # taken for a frame of Python code, which is cleared
CLEARED = 7         # its field was set to something else right before
SAME = 6            # taken, or received, by the activation that gives it back
CONTAINER = 6       # it was in the object that is dying
IN_FRAME = 5.5      # it was in the generator whose frame is cleared, perhaps
TAKEN_OUT = 5       # its field changed since the last change of the count
BURIED = 4.5        # its container was freed, by who gives it back
BURIED_NEXT = 4.4   # its block is freed next, by who gives it back
KEPT = 4            # as SAME, though it is in memory as well
LOOSE = 3           # something dies, and it is in memory that is no object's
HANDED = 2.5        # who called the function that gives it back has it
MOVED = 2.2         # who emptied its field called who gives it back
STORED = 2          # nobody on the stack has it
TAKEN_AWAY = 1.5    # its field changed before who gives it back was called
CALLER = 1          # a caller has it: whose it may be to give back
IN_PLACE = 0.5      # a field of a living object has it, and keeps it
ELSEWHERE = 0       # a caller has it, and it is in memory, and another dies
FORGOTTEN = -1      # what held it gave up what it held, without this one

SURE = SAME

# Who gives up the items of a tuple, and what may be in front of an object in
# its block of memory, in bytes.
TUPLE_CLEARING = 'tupledealloc'
MAX_HEADER = 32


class Release:
    """One reference that was given back.

    event -- the Change; index: of it among the events
    calls -- the stack
    giver -- slot of the activation that gave it back
    extents -- [(start, end)]: where the dying objects are that give it up
    generators -- the addresses of types, if a frame is cleared that is in an
                  object of one of them
    token -- the Token it consumed, or None; strength: how sure that is
    candidates -- [(strength, Token)]: what it may have consumed
    """

    __slots__ = ('index', 'event', 'calls', 'giver', 'slots', 'extents',
                 'clears_frame', 'generators', 'token', 'strength',
                 'candidates')

    def __init__(self, index, event, calls, types, generators=frozenset()):
        self.index = index
        self.event = event
        self.calls = calls
        self.giver = giving_slot(calls)
        self.slots = [frame.slot for frame in event.frames]
        self.extents = [(death.address, death.address + (
            types[death.type].basicsize if death.type in types else 0))
            for death in event.deaths]
        self.clears_frame = bool(
            calls and FRAME_CLEARING.match(calls[0].function))
        self.generators = (generators if self.clears_frame and any(
            call.function == GENERATOR_CLEARING for call in calls)
            else frozenset())
        self.token = None
        self.strength = None
        self.candidates = []

    def may_be_from(self, base):
        """May what dies hold the items in a block of memory at `base`?

        Those of a tuple are in itself. That was taken for a block, perhaps,
        as long as it was not complete.
        """
        if not self.calls or self.calls[0].function != TUPLE_CLEARING:
            return True
        return base <= self.extents[0][0] <= base + MAX_HEADER

    def may_be_of_frame(self, token):
        """May it be the frame that is cleared for which a token was taken?

        The code that calls is the current one when the frame is made, and when
        it is cleared. That of a generator is cleared wherever that ends.
        """
        made, cleared = token.taken.code, self.event.code
        return (not made or not cleared or made == cleared
                or all(call.function != CALL_CLEARING for call in self.calls))

    def is_last(self, life):
        """Was it the last change of the object's count?"""
        return not life.tokens or life.tokens[-1].index < self.index

    def is_in(self, calls):
        """Was the activation that gives it back on another stack?

        Another function at the same slot is another activation.
        """
        then = [call for call in calls if call.slot == self.giver]
        now = [call for call in self.calls if call.slot == self.giver]
        return bool(then) and then[-1].function == now[-1].function


def giving_slot(calls):
    """Return the slot of the activation that gives a reference back."""
    if not calls:
        return None
    if FRAME_CLEARING.match(calls[0].function):
        for call in calls:
            if call.function == EVAL:
                return call.slot
    return calls[0].slot


def strength(token, release):
    """Return how well a release fits a token; tuples compare."""
    order = token.index
    if (release.clears_frame and token.is_of_frame()
            and release.may_be_of_frame(token)):
        return (FRAME, 0, 0, order)
    if token.vanished is not None and is_burial(token.vanished):
        if release.is_in(token.vanished_in):
            return (BURIED, 0, 0, order)
    elif token.vanished is not None:
        if token.vanished.object == release.event.address:
            return (CLEARED, 0, 0, order)
        if release.is_in(token.vanished_in):
            return (TAKEN_OUT, 0, 0, order)
        if token.forgotten:
            return (FORGOTTEN, 0, 0, order)
        return (MOVED if is_moved(token, release) else TAKEN_AWAY, 0, 0, order)
    # What clears a frame gives back what others took, and what it took itself.
    holds = any(token.is_held_by(slot, release.calls)
                for slot in {call.slot for call in release.calls[:1]}
                | {release.giver})
    if holds and not token.places:
        return (SAME, 0, 0, order)
    if any(place.base_type in release.generators
           for place in token.places.values()):
        return (IN_FRAME, 0, 0, order)
    bases = [place.base for place in token.places.values()]
    extents = release.extents if bases else ()
    for depth, (container, end) in enumerate(extents):
        # An object that was not complete yet was taken for a block.
        if container in bases or any(
                not place.base_type and container <= place.location < end
                for place in token.places.values()):
            return (CONTAINER, -depth, 0, order)
    if holds:
        return (KEPT, 0, 0, order)
    if token.forgotten and not token.places:
        return (FORGOTTEN, 0, 0, order)
    if release.extents and may_be_loose(token, release):
        # Before what the evaluation loop moved comes what was stored by the
        # file of who gives it back.
        near = 2 if same_file(token, release) else is_loop(token)
        return (LOOSE, near, 0, order)
    if token.holder is None or token.holder not in release.slots:
        if any(place.base_type for place in token.places.values()):
            return (IN_PLACE, 0, same_file(token, release), order)
        return (STORED, bool(bases), same_file(token, release), order)
    if is_handed(token, release):
        return (HANDED, 0, 0, order)
    if release.extents and bases:
        return (ELSEWHERE, 0, 0, order)
    if release.extents and is_loop(token):
        # The evaluation loop moves references into what it builds without any
        # event; whatever that is gives them back when it dies. It loses none.
        return (LOOSE, 1, 0, order)
    return (CALLER, -release.slots.index(token.holder), 0, order)


def is_moved(token, release):
    """Was the field that had it changed by a function that is still running,
    and called who gives the reference back? Not if that is the evaluation
    loop, which calls everything."""
    writer = token.vanished_in[0] if token.vanished_in else None
    return (writer is not None and writer.function != EVAL
            and release.giver is not None and writer.slot > release.giver
            and any(call.slot == writer.slot
                    and call.function == writer.function
                    for call in release.calls))


def may_be_loose(token, release):
    """Is it in memory that is no object's, for all that is known?

    The items of a list, say, lie in a block of their own. Where memory was not
    searched, those who take references in the file of a container that gives
    them back have stored them.
    """
    if token.places:
        return any(not place.base_type and release.may_be_from(place.base)
                   for place in token.places.values())
    return (token.holder is None and token.was_not_searched()
            and same_file(token, release)
            and release.calls[0].file in CONTAINERS)


def is_handed(token, release):
    """Was the function that gives it back called by the one that has it?

    It took an argument over then. Not while something dies: that gives up what
    it holds; and the evaluation loop calls everything.
    """
    if release.extents or is_loop(token):
        return False
    outwards = [call for call in release.calls if call.slot > release.giver]
    # A function may give back in a helper, which is in the same file.
    helped = itertools.dropwhile(
        lambda call: call.file == release.calls[0].file, outwards)
    callers = outwards[:1] + list(itertools.islice(helped, 1))
    return (any(call.slot == token.holder for call in callers)
            and token.is_on(token.holder, release.calls))


def same_file(token, release):
    """Is the token's last holder defined where the release is?"""
    held = token.at(token.last_slot()) or token.calls[:1]
    return bool(held and release.calls
                and held[0].file == release.calls[0].file)


def is_loop(token):
    """Does the evaluation loop have the token?"""
    return any(call.function == EVAL for call in token.at(token.holder))


def keeping_functions(lives):
    """Return the names of the functions that store what they take: one of
    their tokens was found in memory when they ended."""
    return {calls[-1].function
            for life in lives for token in life.tokens
            for step in token.steps
            if step.what == 'memory' and (calls := token.at(step.slot))}


def refined(pair, release, keeping):
    """Return a pair (strength, token) for which it matters, too, what came
    later, and whether the function that ended with the token is one of
    keeping_functions().

    A function that never stored anything is not believed to have stored this
    one, as long as there is the token of another one that does.
    """
    strength, token = pair
    if strength[0] < BURIED_NEXT and release in token.buriers:
        return (BURIED_NEXT, 0, 0, strength[-1]), token
    if strength[0] != STORED:
        return pair
    level, in_memory, near, order = strength
    calls = token.at(token.last_slot())
    keeps = bool(calls) and calls[-1].function in keeping
    return (level, in_memory, (keeps, near), order), token


def settle(life, keeping=frozenset()):
    """Let the releases that were not sure consume tokens, in place.

    Not in the order of time, but the surest first: a release that fits nothing
    well must not take the token of which a later one is sure.
    keeping -- as of keeping_functions()
    """
    waiting = [release for release in life.releases if release.token is None]
    for release in waiting:
        release.candidates = sorted(
            (refined(pair, release, keeping) for pair in release.candidates),
            key=lambda pair: pair[0], reverse=True)
    while waiting:
        best = None
        for release in waiting:
            found = next((pair for pair in release.candidates
                          if pair[1].released is None), None)
            if found is not None and (best is None or found[0] > best[0]):
                best = (found[0], release, found[1])
        if best is None:
            break
        consume(best[2], best[1], best[0])
        waiting.remove(best[1])
    life.unmatched = waiting


def consume(token, release, strength):
    release.token = token
    release.strength = strength
    token.released = release
