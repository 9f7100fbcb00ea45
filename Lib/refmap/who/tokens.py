"""The way of each reference: the flow of tokens through a recording.

Each +1 of a watched object makes a token. It belongs to the activation that
took the reference, goes to a caller when the function returns the object or
leaves it in a word of the caller's stack, and to a place in memory when it was
stored. Each -1 consumes one token. Which one is not recorded: it follows from
where the tokens are, and from who gives the reference back. A token that
nothing consumed is a reference that nobody gave back.

Everything here works on literal records; it says what happened to references,
and accuses nobody.
"""

import re
from collections import namedtuple

from . import fields
from .recording import (ABANDONED, DIED, MEMORY, NOWHERE, RETURNED,
                        STACK, Change, Death, Gone, Move, Return, Shifted,
                        Stored, is_burial)
from .roles import is_transparent

# A function that was running. Inlined functions have the slot of the function
# that they are part of.
Call = namedtuple('Call', 'function file line slot')
# What happened to a token, and by which event. `slot`: the activation that has
# it since, or that lost it.
Step = namedtuple('Step', 'what event slot')

# A release has more than this many tokens to choose from only in objects that
# everybody uses (types, say). They are not weighed against each other then.
MAX_WEIGHED = 64

# What a Step says of a function that ended with a token.
WAYS_TO_END = {RETURNED: 'kept', NOWHERE: 'nowhere', ABANDONED: 'abandoned'}
# Blocks that this function frees were no container's any more.
FREE_LIST = re.compile(r'\w*(FreeList|free_?list)', re.I)

EVAL = '_PyEval_EvalFrameDefault'
# Clearing a frame of Python code gives back what the evaluation loop took, and
# what those took who made the frame.
FRAME_CLEARING = re.compile(r'_PyFrame_Clear|clear_(thread|gen)_frame$')
FRAME_MAKING = frozenset('''
    _PyEval_Vector _PyFrame_Initialize _PyFrame_Copy initialize_locals
    _PyEvalFramePushAndInit _PyEvalFramePushAndInit_Ex _PyFrame_PushUnchecked
    _PyFrame_PushTrampolineUnchecked
    '''.split())


# Objects that have a frame of Python code in themselves, by the names of their
# types; and who clears such a frame when it has come to its end.
GENERATORS = frozenset(('generator', 'coroutine', 'async_generator'))
GENERATOR_CLEARING = 'clear_gen_frame'


class Calls:
    """The stacks of a recording as functions."""

    def __init__(self, symbols):
        self._symbols = symbols
        self._known = {}

    def of(self, frames):
        """Return the functions of a stack, innermost first, as tuple of Call.

        Those that only pass references on for their callers are left out:
        Py_INCREF() holds nothing.
        """
        # A recording has each stack once. It is kept, so that its id is its
        # own.
        known = self._known.get(id(frames))
        if known is None:
            calls = tuple(call for call in self.whole(frames)
                          if not is_transparent(call.function))
            known = self._known[id(frames)] = frames, calls
        return known[1]

    def whole(self, frames):
        """Return all functions of a stack, innermost first, as list of
        Call."""
        return list(self._expand(frames))

    def hands_out(self, function):
        """Can a function hand an object to its caller? See Symbols."""
        return self._symbols.hands_out(function)

    def _expand(self, frames):
        outer = 0
        for pc, slot in frames:
            if slot <= outer:       # stacks grow down: no stack any more
                break
            outer = slot
            for site in self._symbols.at(pc):
                yield Call(site.function, site.file, site.line, slot)


class Token:
    """One reference to a watched object.

    taken -- the event that took it; calls: the stack there
    holder -- slot of the activation that has it, or None
    places -- {location: Place}: the words in memory that hold it
    gone -- events Gone of places that held it, and which no release followed
    steps -- what happened to it, a list of Step
    claimed -- the Step by which it is in a place that was not new when its
               holder ended, or None
    ended -- the event Return in which its last holder ended, or None
    released -- the Release that consumed it, or None
    """

    __slots__ = ('number', 'life', 'index', 'taken', 'calls', 'holder',
                 'places', 'gone', 'vanished', 'steps', 'claimed', 'ended',
                 'released')

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
        self.steps = []
        self.claimed = None
        self.ended = None
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

    def is_lost(self):
        """Did a function return the object, and keep this reference?"""
        return any(step.what == 'kept' for step in self.steps)

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

    def is_of_frame(self):
        """Was it taken for a frame of Python code, by who made that?"""
        return any(call.function in FRAME_MAKING
                   for call in self.at(self.last_slot()))

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


    def is_last(self, life):
        """Was it the last change of the object's count?"""
        return not life.tokens or life.tokens[-1].index < self.index

    def is_in(self, frames):
        """Was the activation that gives it back on another stack?"""
        return any(frame.slot == self.giver for frame in frames)


def giving_slot(calls):
    """Return the slot of the activation that gives a reference back."""
    if not calls:
        return None
    if FRAME_CLEARING.match(calls[0].function):
        for call in calls:
            if call.function == EVAL:
                return call.slot
    return calls[0].slot


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
        self.open = []              # tokens that nothing consumed for sure

    def left(self):
        """Return the tokens that nothing consumed."""
        return [token for token in self.tokens if token.released is None]


# --- which token a release consumed ------------------------------------------

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
KEPT = 4            # as SAME, though it is in memory as well
LOOSE = 3           # something dies, and it is in memory that is no object's
HANDED = 2.5        # who called the function that gives it back has it
STORED = 2          # nobody on the stack has it
TAKEN_AWAY = 1.5    # its field changed before who gives it back was called
CALLER = 1          # a caller has it: whose it may be to give back
IN_PLACE = 0.5      # a field of a living object has it, and keeps it
ELSEWHERE = 0       # a caller has it, and it is in memory, and another dies

SURE = SAME


def strength(token, release):
    """Return how well a release fits a token; tuples compare."""
    order = token.index
    if release.clears_frame and token.is_of_frame():
        return (FRAME, 0, 0, order)
    if token.vanished is not None and is_burial(token.vanished):
        if release.is_in(token.vanished.frames):
            return (BURIED, 0, 0, order)
    elif token.vanished is not None:
        if token.vanished.object == release.event.address:
            return (CLEARED, 0, 0, order)
        return (TAKEN_OUT if release.is_in(token.vanished.frames)
                else TAKEN_AWAY, 0, 0, order)
    holds = token.is_held_by(release.giver, release.calls)
    if holds and not token.places:
        return (SAME, 0, 0, order)
    if any(place.base_type in release.generators
           for place in token.places.values()):
        return (IN_FRAME, 0, 0, order)
    bases = [place.base for place in token.places.values()]
    for depth, (container, end) in enumerate(release.extents):
        # An object that was not complete yet was taken for a block.
        if container in bases or any(
                not place.base_type and container <= place.location < end
                for place in token.places.values()):
            return (CONTAINER, -depth, 0, order)
    if holds:
        return (KEPT, 0, 0, order)
    if release.extents and not all(place.base_type
                                      for place in token.places.values()):
        # The items of a list, say, lie in a block of their own.
        return (LOOSE, 1, 0, order)
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
        # event; whatever that is gives them back when it dies.
        return (LOOSE, 0, 0, order)
    return (CALLER, -release.slots.index(token.holder), 0, order)


def is_handed(token, release):
    """Was the function that gives it back called by the one that has it?

    It took an argument over then. Not while something dies: that gives up what
    it holds; and the evaluation loop calls everything.
    """
    if release.extents or is_loop(token):
        return False
    outwards = [call.slot for call in release.calls
                if call.slot > release.giver]
    return token.holder in outwards[:1] and token.is_on(token.holder,
                                                        release.calls)


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


def refined(pair, keeping):
    """Return a pair (strength, token) for which it matters, too, whether the
    function that ended with the token is one of keeping_functions().

    A function that never stored anything is not believed to have stored this
    one, as long as there is the token of another one that does.
    """
    strength, token = pair
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
            (refined(pair, keeping) for pair in release.candidates),
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


def homeless(life):
    """Yield the tokens that may be in memory, for all that is known: those
    that no function holds first, the newest first."""
    open = [token for token in reversed(life.open) if not token.places]
    yield from (token for token in open if token.holder is None)
    yield from (token for token in open if token.holder is not None)


# --- the flow ----------------------------------------------------------------

class Flow:
    """The lives of all watched objects of a recording.

    lives -- a list of Life, in the order of their births
    calls -- the recording's stacks as functions, a Calls
    """

    def __init__(self, recording, symbols):
        self.recording = recording
        self.calls = Calls(symbols)
        self.lives = []
        self._living = {}           # address -> Life
        self._tokens = {}           # number -> Token
        # address -> {location: (index, Stored)}: words that are no token's for
        # sure. index: of the event if it was given to a token for want of a
        # better one, else -1.
        self._unclaimed = {}
        self._generators = frozenset(
            address for address, type in recording.types.items()
            if type.name in GENERATORS)
        handlers = {Change: self._change, Death: self._death, Move: self._move,
                    Return: self._return, Stored: self._stored,
                    Gone: self._gone, Shifted: self._shifted}
        symbols.resolve(recording.pcs())
        for index, event in enumerate(recording.events):
            handler = handlers.get(type(event))
            if handler is not None:
                handler(index, event)
        keeping = keeping_functions(self.lives)
        for life in self.lives:
            settle(life, keeping)
        fields.adopt(recording.events, self.lives)

    def life(self, address, birth=0):
        """Return the Life of the object that is at an address at the end."""
        for life in reversed(self.lives):
            if life.address == address and (not birth or life.birth == birth):
                return life
        return None

    def _find(self, event, index):
        """Return the Life that a Change is about."""
        life = self._living.get(event.address)
        if event.kind == 'birth' or life is None or life.birth != event.birth:
            born = index if event.kind == 'birth' else None
            life = Life(event.address, event.birth, event.type, born)
            self.lives.append(life)
            self._living[event.address] = life
        return life

    def _change(self, index, event):
        life = self._find(event, index)
        calls = self.calls.of(event.frames)
        for k in range(event.n):
            # A token that was not followed has no number.
            number = event.token + k if event.token else -len(self._tokens) - 1
            token = Token(number, life, index, event, calls)
            self._tokens[number] = token
            life.tokens.append(token)
            life.open.append(token)
        for _ in range(-event.n):
            self._release(life, Release(index, event, calls,
                                        self.recording.types,
                                        self._generators))
        for token in life.open:
            token.vanished = None

    def _release(self, life, release):
        life.releases.append(release)
        pairs = [(strength(token, release), token) for token in life.open]
        pairs.sort(key=lambda pair: pair[0], reverse=True)
        spent = self._tokens.get(release.event.token)
        if pairs and (pairs[0][0][0] >= SURE or len(pairs) > MAX_WEIGHED):
            self._consume(pairs[0], release, spent)
        elif spent in life.open:
            self._consume((strength(spent, release), spent), release, spent)
        else:
            release.candidates = pairs

    def _consume(self, pair, release, spent):
        """Let a release consume the token of a pair.

        spent -- the token that the recorder took for it, and follows no more
        """
        token = pair[1]
        consume(token, release, pair[0])
        token.life.open.remove(token)
        if (spent is not None and spent is not token
                and spent.holder == token.holder is not None):
            # Two tokens of one activation: what is told of one is true of the
            # other.
            self._tokens[token.number] = spent
            self._tokens[spent.number] = token

    def _death(self, index, event):
        life = self._living.get(event.address)
        if life is not None:
            life.died = index

    def _move(self, index, event):
        life = self._living.pop(event.source, None)
        if life is not None:
            life.address = event.to
            life.moved = True
            self._living[event.to] = life

    def _return(self, index, event):
        places = {}
        for place in event.places:
            places.setdefault(place.token, []).append(place)
        value = self._value(event)
        ending = [(token, number, outcome, to)
                  for number, outcome, to in event.outcomes
                  if (token := self._tokens.get(number)) is not None
                  and token.released is None and outcome != DIED
                  # The recorder may still think that one went on.
                  and not token.is_lost()]
        shared = self._share(ending, places)
        for token, number, outcome, to in ending:
            if outcome in (RETURNED, STACK) and (outcome == STACK
                                                 or token is value):
                token.holder = to or None
                token.add('returned' if token is value else 'stack', event, to)
            elif outcome == MEMORY and number in places and not (
                    token.life.born is None and self._copied(token)):
                self._end(token, 'memory', event)
                for place in places[number]:
                    self._place(token, place)
            elif token in shared:
                self._end(token, 'memory', event)
                self._place(token, shared[token])
            elif (stored := self._claim(token)) is not None:
                token.holder, token.ended = None, event
                self._place(token, stored)
                token.claimed = Step('stored', stored, None)
                token.steps.append(token.claimed)
            else:
                self._end(token, WAYS_TO_END.get(outcome, 'unknown'), event)

    def _share(self, ending, places):
        """Let references that an activation ends with share the places in one
        container that were found for one of them: each is in one place. Return
        {token: Place}, and take these out of `places`.

        ending -- [(token, its number, outcome, activation it went to)]
        places -- {number of a token: Places}
        """
        shared = {}
        for token, number, *_ in ending:
            found = places.get(number, ())
            for other, its_number, how, _ in ending:
                if (how == NOWHERE and other.life is token.life
                        and other not in shared and len(found) > 1
                        and found[-1].base == found[0].base != 0):
                    shared[other] = found.pop()._replace(token=its_number)
        return shared

    def _value(self, event):
        """Return the token that a function's value is.

        A value is one reference, though the function had several to the
        object: it kept the others. What it stored it did not give away.
        """
        returned = [token for number, outcome, _ in event.outcomes
                    if outcome == RETURNED
                    and (token := self._tokens.get(number)) is not None
                    and token.released is None and not token.is_lost()]
        return min(returned, default=None,
                   key=lambda token: (bool(token.places), token.index))

    def _end(self, token, what, event):
        token.holder = None
        token.ended = event
        token.add(what, event, event.slot)

    def _claim(self, token):
        """Return the Stored of a place that the function which ends with a
        token left it in, though it is no new one at the end; or None.

        It was found while the function had the token, and given to another one
        for want of a better. Or it was set right before the token was taken:
        a table is copied as a whole, and then counted item by item.
        """
        unclaimed = self._unclaimed.get(token.life.address, {})
        copied = self._copied(token)
        for index, stored in reversed(unclaimed.values()):
            if index > token.index or stored in copied:
                del unclaimed[stored.location]
                return stored
        return None

    def _copied(self, token):
        """Return the unclaimed places that were set right before a token was
        taken, a list of Stored."""
        unclaimed = self._unclaimed.get(token.life.address, {})
        return [stored for stored in
                fields.found_with(self.recording.events, token)
                if unclaimed.get(stored.location, (0, None))[1] is stored]

    def _place(self, token, place):
        if token.places and place.location not in token.places:
            # One reference is in one place: this is that of another token.
            token = next(homeless(token.life), token)
        self._unclaimed.get(token.life.address, {}).pop(place.location, None)
        # A place is found for one of the object's tokens, and may have been
        # known for another.
        old = token.life.by_location.get(place.location)
        if old is not None and old is not token:
            old.places.pop(place.location, None)
        token.life.by_location[place.location] = token
        token.places[place.location] = place

    def _stored(self, index, event):
        token = self._tokens.get(event.token)
        guessed = token is not None and token.released is not None
        if guessed:
            # Found for the newest token: another one has it.
            token = next(homeless(token.life), None)
        if token is not None:
            self._place(token, event)
            token.add('stored', event)
        is_block = event.base and not event.base_type
        if guessed or is_block and (token is None or token.holder is None):
            # Somebody else may claim it; see _claim().
            places = self._unclaimed.setdefault(event.address, {})
            places[event.location] = index if guessed else -1, event

    def _shifted(self, index, event):
        """What was in memory that grows is elsewhere, and whose it was."""
        unclaimed = self._unclaimed.get(event.address, {})
        if event.before in unclaimed:
            found, _ = unclaimed.pop(event.before)
            unclaimed[event.location] = found, event
        life = self._living.get(event.address)
        token = life and (life.by_location.pop(event.before, None)
                          or self._tokens.get(event.token))
        if token:
            token.places.pop(event.before, None)
            life.by_location[event.location] = token
            token.places[event.location] = event
            token.add('shifted', event)

    def _gone(self, index, event):
        self._unclaimed.get(event.address, {}).pop(event.location, None)
        life = self._living.get(event.address)
        token = life and (life.by_location.pop(event.location, None)
                          or self._tokens.get(event.token))
        if token:
            token.places.pop(event.location, None)
            last = life.releases[-1] if life.releases else None
            if (last is not None and last.token is None and last.is_last(life)
                    and token.released is None
                    and event.previous_object == event.address):
                # Given back first, and then cleared.
                consume(token, last, (CLEARED, 0, 0, token.index))
                life.open.remove(token)
                return
            if is_burial(event) and any(
                    FREE_LIST.match(call.function)
                    for call in self.calls.of(event.frames)):
                return          # it held a stale word since its object died
            token.vanished = event
            if (token.claimed is not None and not is_burial(event)
                    and token.claimed.event.location == event.location):
                token.disclaim()
                return
            token.gone.append(event)
            token.add('gone', event)
