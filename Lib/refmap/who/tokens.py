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

import itertools
import re

from . import fields
from .calls import EVAL, Calls
from .functions import is_allocator
from .lives import Life, Step, Token, homeless
from .matching import (CLEARED, SURE, Release, consume, keeping_functions,
                       settle, strength)
from .recording import (ABANDONED, DIED, MEMORY, NOWHERE, RETURNED,
                        STACK, UNKNOWN, Change, Death, Gone, Move, Return,
                        Shifted, Stored, is_burial)
from .roles import ALLOCATORS, CALLS
from .slots import Slots
from .weak import WeakPlaces

# A release has more than this many tokens to choose from only in objects that
# everybody uses (types, say). They are not weighed against each other then.
MAX_WEIGHED = 64

# So many fields are set at once, and counted afterwards.
MAX_FIELDS = 16

# What a Step says of a function that passed a token on.
PASSES = 'stack', 'returned'
# What a Step says of a function that ended with a token.
WAYS_TO_END = {RETURNED: 'kept', NOWHERE: 'nowhere', ABANDONED: 'abandoned'}
# Blocks that this function frees were no container's any more.
# free_list_items() frees those of a list.
FREE_LIST = re.compile(r'\w*(freelist|free_lists?$)', re.I)

# The offset of ob_type in an object, in bytes.
OB_TYPE = 8

# Objects that have a frame of Python code in themselves, by the names of their
# types.
GENERATORS = frozenset(('generator', 'coroutine', 'async_generator'))


def is_head(token, stored, types):
    """Is the object a type, and the place the ob_type of a new instance, which
    was not complete when the place was found?"""
    return (not stored.base_type and bool(token.calls)
            and token.calls[0].function in ALLOCATORS
            and token.life.address in types)


class Flow:
    """The lives of all watched objects of a recording.

    lives -- a list of Life, in the order of their births
    calls -- the recording's stacks as functions, a Calls
    """

    def __init__(self, recording, symbols):
        self.recording = recording
        self.calls = Calls(symbols)
        self.slots = Slots(self, symbols)
        self._weak = WeakPlaces(recording, symbols)
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
            self._index = index
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

    def _places(self, event):
        """Return {number of a token: its Places} of a Return, without those
        that own nothing, and the set of the numbers of these."""
        places, weak = {}, set()
        for place in event.places:
            token = self._tokens.get(place.token)
            if self._is_claimed(place):
                continue
            if token is not None and self._weak.add(place, token.life):
                weak.add(place.token)
            else:
                places.setdefault(place.token, []).append(place)
        return places, weak - places.keys()

    def _ending(self, event, weak):
        """Return [(token, its number, outcome, activation it went to)] of the
        tokens that an activation ends with.

        weak -- numbers of tokens that are in no place but weak references
        """
        def seen(token, number, outcome, to):
            if (outcome == STACK
                    and self._is_word_of_another(token, event, to)):
                token.supposed = event
                return NOWHERE
            return NOWHERE if number in weak else outcome

        return [(token, number, seen(token, number, outcome, to), to)
                for number, outcome, to in event.outcomes
                if (token := self._tokens.get(number)) is not None
                and token.released is None and outcome != DIED]

    def _is_word_of_another(self, token, event, to):
        """Has the activation at `to` a reference to the same object already,
        and can what ends not hand it another one? Then it is that reference
        of which a word of its stack tells."""
        if not any(other is not token and other.holder == to
                   for other in token.life.open):
            return False
        ending = token.at(event.slot)
        return (bool(ending)
                and self.calls.hands_out(ending[-1].function) is False)

    def _return(self, index, event):
        places, weak = self._places(event)
        value = self._value(event)
        ending = self._ending(event, weak)
        shared = self._share(ending, places)
        # The recorder thinks that a lost one went on.
        lost = [item for item in ending if item[0].is_lost()]
        ending = [item for item in ending if not item[0].is_lost()]
        for token, number, outcome, to in ending:
            if outcome == STACK and self._is_set_before(token, event):
                self._claim_for(token, event)
            elif outcome in (RETURNED, STACK) and (outcome == STACK
                                                   or token is value):
                self._pass(token, 'returned' if token is value else 'stack',
                           event, to)
            elif (outcome in (NOWHERE, UNKNOWN)
                  and (step := self._way_before(token, event))):
                self._pass(token, step.what, event, step.slot)
            elif outcome == MEMORY and number in places and not (
                    token.life.born is None and self._set_before(token)):
                self._end(token, 'memory', event)
                for place in places[number]:
                    self._place(token, place)
            elif token in shared:
                self._end(token, 'memory', event)
                self._place(token, shared[token])
            elif not self._claim_for(token, event):
                self._end(token, WAYS_TO_END.get(outcome, 'unknown'), event)
        # What a caller has, too, is in the places that were found, perhaps.
        theirs = {token.life for token, _, outcome, _ in ending
                  if outcome == NOWHERE}
        for token, number, *_ in lost:
            found = places.get(number) or (
                [shared[token]] if token in shared else [])
            if found and token.life not in theirs:
                self._find_kept(token, found, event)

    def _find_kept(self, token, found, event):
        """Let a token that a function kept when it returned the object be in
        the places that were found when a caller ended: memory was not searched
        before. Not if that is the evaluation loop, which stores whatever it
        has."""
        if any(call.function == EVAL for call in token.at(event.slot)):
            return
        token.steps = [step for step in token.steps if step.what != 'kept']
        token.add('memory', event, token.ended.slot)
        for place in found:
            self._place(token, place)

    def _pass(self, token, how, event, to):
        """Let the activation at `to`, if that is known, have a token."""
        if how == 'stack' and token.is_takers(event.slot):
            token.life.variables[token.calls[0].function, to] = token
        token.holder = to or None
        token.add(how, event, to)

    def _way_before(self, token, event):
        """Return how a reference came to who has it, a Step, if the function
        that took it left one to the same object in the same variable before.

        The variable has the object still, so that no new word is seen: this
        reference goes as far as the one before. Else return None.
        """
        if not token.is_takers(event.slot):
            return None
        variables = token.life.variables
        for slot in dict.fromkeys(call.slot for call in token.calls):
            before = variables.get((token.calls[0].function, slot))
            if before is not None and before.is_on(slot, token.calls):
                passes = (step for step in before.steps if step.what in PASSES)
                way = list(itertools.takewhile(
                    lambda step: before.is_on(step.slot, token.calls)
                    and token.at(step.slot), passes))
                return way[-1] if way else None
        return None

    def _share(self, ending, places):
        """Let references that an activation ends with share the places that
        were found for one of them: each is in one place. That is so if the
        places are in one container, or in objects: but not of an object that
        is older than the recording, and was in many places before. Return
        {token: Place}, and take these out of `places`.

        ending -- as of _ending(); places -- as of _places()
        """
        shared = {}
        for token, number, *_ in ending:
            found = places.get(number, ())
            for other, its_number, how, _ in ending:
                if (how == NOWHERE and other.life is token.life
                        and other not in shared and len(found) > 1
                        and (found[-1].base == found[0].base != 0
                             or token.life.born is not None
                             and found[-1].base_type and found[0].base_type)):
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
        token.ended, token.ended_at = event, self._index
        token.add(what, event, event.slot)

    def _claim_for(self, token, event):
        """Let a token that its holder ends with be in the place that _claim()
        finds. Is there one?"""
        stored = self._claim(token)
        if stored is None:
            return False
        token.holder = None
        token.ended, token.ended_at = event, self._index
        other = token.life.by_location.get(stored.location)
        if other is not None:
            other.forget(stored)
        if is_head(token, stored, self.recording.types):
            stored = stored._replace(base=stored.location - OB_TYPE,
                                     base_type=token.life.address)
        self._place(token, stored)
        token.claimed = Step('stored', stored, None)
        token.steps.append(token.claimed)
        return True

    def _claim(self, token):
        """Return the Stored of a place that the function which ends with a
        token left it in, though it is no new one at the end; or None.

        It was found while the function had the token, and given to another one
        for want of a better. Or it was set right before the token was taken:
        a table is copied as a whole, and then counted item by item.
        """
        unclaimed = self._unclaimed.get(token.life.address, {})
        before = self._set_before(token)
        for index, stored in reversed(unclaimed.values()):
            if index > token.index or stored in before:
                del unclaimed[stored.location]
                return stored
        return before[0] if before else None

    def _is_claimed(self, place):
        """Did another token claim a place that the recorder still knows to be
        that of its token?"""
        token = self._tokens.get(place.token)
        other = token and token.life.by_location.get(place.location)
        return bool(other and other is not token and other.claimed is not None
                    and other.claimed.event.location == place.location)

    def _set_before(self, token):
        """Return the places that were set right before a token was taken, and
        are no other's: a list of Stored.

        Such a place is given to a token that was there by then. That one has
        no claim as long as an activation has it: each reference is in one
        place.
        """
        unclaimed = self._unclaimed.get(token.life.address, {})
        located = token.life.by_location
        return [stored for stored in self._found_before(token)
                if unclaimed.get(stored.location, (0, None))[1] is stored
                or (other := located.get(stored.location)) is not None
                and other.places.get(stored.location) is stored
                and (other.holder is not None or other.released is not None)]

    def _found_before(self, token):
        """Return the places that were found by the hook that took a token, and
        by hooks of the same activation right before, a list of Stored: several
        fields are set at once, and then counted one by one."""
        found = []
        changes = 0
        taker = token.calls[0].slot if token.calls else None
        for index in range(token.index - 1, -1, -1):
            event = self.recording.events[index]
            changes += isinstance(event, Change)
            if (changes > MAX_FIELDS
                    or not isinstance(event, (Stored, Gone, Change))):
                break
            calls = self.calls.of(event.frames)
            if not calls or calls[0].slot != taker:
                break
            if (isinstance(event, Stored)
                    and event.address == token.taken.address):
                found.append(event)
        return found

    def _is_set_before(self, token, event):
        """Was a place set right before a token was taken, by the activation
        that ends now? Then a word of the stack that has the object is an old
        one: objects that many use, as types, are in many words."""
        return (token.life.born is None and bool(token.calls)
                and token.calls[0].slot == event.slot
                and bool(self._set_before(token)))

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
        token.taken_out = token.forgotten = False

    def _stored(self, index, event):
        token = self._tokens.get(event.token)
        if token is not None and self._weak.add(event, token.life):
            return
        guessed = token is not None and token.released is not None
        if guessed:
            # Found for the newest token: another one has it.
            token = next(homeless(token.life), None)
        if token is not None:
            if token.supposed is not None:
                # Where a word of the stack was, memory was not searched.
                token.forget(token.supposed)
                token.supposed = None
            self._place(token, event)
            token.add('stored', event)
        is_block = event.base and not event.base_type
        if guessed or is_block and (token is None or token.holder is None):
            # Somebody else may claim it; see _claim().
            places = self._unclaimed.setdefault(event.address, {})
            places[event.location] = index if guessed else -1, event

    def _shifted(self, index, event):
        """What was in memory that grows is elsewhere, and whose it was."""
        if self._weak.move(event):
            return
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

    def _held_nothing(self, gone, place):
        """Was what is freed no container, though the object was in it?

        On a free list it holds a stale word since its object died. And a block
        in which a call's arguments are copied has no references of its own.

        place -- where it was, as far as that is known, or None
        """
        calls = self.calls.of(gone.frames)
        if any(FREE_LIST.match(call.function) for call in calls):
            return True
        is_block = place is not None and not place.base_type
        freeing = next((c for c in calls if not is_allocator(c)), None)
        return is_block and freeing is not None and freeing.function in CALLS

    def _gone(self, index, event):
        if self._weak.drop(event):
            return
        self._unclaimed.get(event.address, {}).pop(event.location, None)
        life = self._living.get(event.address)
        token = life and (life.by_location.pop(event.location, None)
                          or self._tokens.get(event.token))
        if token:
            place = token.places.pop(event.location, None)
            last = life.releases[-1] if life.releases else None
            if (last is not None and last.token is None and last.is_last(life)
                    and token.released is None
                    and event.previous_object == event.address):
                # Given back first, and then cleared.
                consume(token, last, (CLEARED, 0, 0, token.index))
                life.open.remove(token)
                return
            if is_burial(event) and self._held_nothing(event, place):
                return
            token.vanished = event
            token.vanished_in = self.calls.of(event.frames)
            if (token.claimed is not None and not is_burial(event)
                    and not token.claimed.event.base_type
                    and token.claimed.event.location == event.location):
                token.disclaim()
                return
            if is_burial(event) and place is not None and not place.base_type:
                token.buriers = self._buriers(life, index, token.vanished_in)
            token.gone.append(event)
            token.add('gone', event)
            self._was_emptied(token, event)

    def _buriers(self, life, index, calls):
        """Return the releases of an object by an activation that has not ended
        since, and is about to free a block: the event has this index, and the
        stack is `calls`. What dies gives up what is in its block, and then
        the block."""
        found = []
        events = self.recording.events
        for release in reversed(life.releases):
            if not (release.extents and release.is_in(calls)
                    and all(release.is_in(self.calls.of(event.frames))
                            for event in events[release.index:index]
                            if isinstance(event, (Change, Stored, Gone)))):
                break
            found.append(release)
            index = release.index
        return tuple(found)

    def _was_emptied(self, token, gone):
        """A place in which a token was has something else now.

        If it was cleared, or its memory given back, by its object as that gave
        up what it held, the reference was given back there or nowhere. A
        generator hands what it holds to the object of its frame, perhaps.
        """
        type = self.slots.base_type(token, gone)
        token.taken_out = bool(type) and not gone.now and not gone.flags
        token.forgotten = bool(type) and type not in self._generators and (
            is_burial(gone) or bool(self.slots.clearers(token, gone)))
