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

from . import fields
from .calls import EVAL, STACK_FILLING, Calls
from .lives import Life, Token
from .matching import (SURE, Release, consume, keeping_functions, settle,
                       strength)
from .placing import Places
from .recording import (ABANDONED, DIED, MEMORY, NOWHERE, RETURNED,
                        STACK, UNKNOWN, Change, Death, Gone, Move, MovedBlock,
                        Return, Shifted, Stored)
from .slots import Slots

# A release has more than this many tokens to choose from only in objects that
# everybody uses (types, say). They are not weighed against each other then.
MAX_WEIGHED = 64

# What a Step says of a function that passed a token on.
PASSES = 'stack', 'returned'
# What a Step says of a function that ended with a token.
WAYS_TO_END = {RETURNED: 'kept', NOWHERE: 'nowhere', ABANDONED: 'abandoned'}
# Objects that have a frame of Python code in themselves, by the names of their
# types.
GENERATORS = frozenset(('generator', 'coroutine', 'async_generator'))


class Flow:
    """The lives of all watched objects of a recording.

    lives -- a list of Life, in the order of their births
    calls -- the recording's stacks as functions, a Calls
    """

    def __init__(self, recording, symbols):
        self.recording = recording
        self.calls = Calls(symbols)
        self.slots = Slots(self, symbols)
        self.lives = []
        self._living = {}           # address -> Life
        self._tokens = {}           # number -> Token
        self._generators = frozenset(
            address for address, type in recording.types.items()
            if type.name in GENERATORS)
        self._places = Places(self, symbols, self._living, self._tokens,
                              self._generators)
        handlers = {Change: self._change, Death: self._death, Move: self._move,
                    Return: self._return, Stored: self._places.stored,
                    Shifted: self._places.shifted, Gone: self._places.gone,
                    MovedBlock: self._places.moved_block}
        symbols.resolve(recording.pcs())
        for index, event in enumerate(recording.events):
            self._index = index
            handler = handlers.get(type(event))
            if handler is not None:
                handler(index, event)
        keeping = keeping_functions(self.lives)
        for life in self.lives:
            settle(life, keeping)
        fields.adopt(recording.events, self.lives, self._places.is_in_frame,
                     self.slots.is_giving_up)

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
        places, weak = self._places.found_at(event)
        value = self._value(event)
        ending = self._ending(event, weak)
        shared = self._share(ending, places)
        # The recorder thinks that a lost one went on.
        lost = [item for item in ending if item[0].is_lost()]
        ending = self._hand_over(
            [item for item in ending if not item[0].is_lost()], lost, places)
        for token, number, outcome, to in ending:
            if outcome == STACK and self._places.is_set_before(token, event):
                self._claim_for(token, event)
            elif outcome in (RETURNED, STACK) and (outcome == STACK
                                                   or token is value):
                self._pass(token, 'returned' if token is value else 'stack',
                           event, to)
            elif (outcome in (NOWHERE, UNKNOWN)
                  and (step := self._way_before(token, event))):
                self._pass(token, step.what, event, step.slot)
            elif (outcome in (NOWHERE, UNKNOWN)
                  and (loop := self._filled(token, event))):
                self._pass(token, 'stack', event, loop)
            elif outcome == MEMORY and number in places and not (
                    token.life.born is None and self._places.set_before(token)):
                self._end(token, 'memory', event)
                for place in places[number]:
                    self._places.put(token, place)
            elif token in shared:
                self._end(token, 'memory', event)
                self._places.put(token, shared[token])
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
            self._places.put(token, place)

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

    def _filled(self, token, event):
        """Return the slot of the evaluation loop that called the function
        which ends, and has a token from it in a variable or its value stack; or
        None."""
        ending = token.at(event.slot)
        if not ending or ending[-1].function not in STACK_FILLING:
            return None
        caller = next((call.slot for call in token.calls
                       if call.slot > event.slot), None)
        is_loop = any(call.function == EVAL for call in token.at(caller))
        return caller if is_loop else None

    def _hand_over(self, ending, lost, places):
        """Return `ending` with the places of lost references handed to others.

        Which of its references to an object a function returned the recorder
        does not know; it may follow the one that the function kept. That one is
        lost, so what is found is the place of the other.
        """
        for token, number, *_ in lost:
            for k, (other, its_number, outcome, to) in enumerate(ending):
                if (number in places and outcome == NOWHERE
                        and other.life is token.life
                        and its_number not in places):
                    places[its_number] = places.pop(number)
                    ending[k] = other, its_number, MEMORY, to
        return ending

    def _share(self, ending, places):
        """Let references that an activation ends with share the places that
        were found for one of them: each is in one place. That is so if the
        places are in one container, or in objects: but not of an object that
        is older than the recording, and was in many places before. Return
        {token: Place}, and take these out of `places`.

        ending -- as of _ending(); places -- as of Places.found_at()
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
        """Let a token that its holder ends with be in the place that it has a
        claim to. Is there one?"""
        stored = self._places.claim(token, event.slot)
        if stored is None:
            return False
        token.holder = None
        token.ended, token.ended_at = event, self._index
        self._places.occupy(token, stored)
        return True
