"""Whose a token is that another function ended with: who got it from there
though that was not seen, by contract, by name, or as other references tell.
"""

import itertools
import re

from .calls import EVAL
from .contracts import IN_OUT, OUT_NEW
from .functions import GIVES_UP, is_machinery, source_of
from .holding import (file_of, last_callee, last_holder, names_of, was_seen,
                      way_out)
from .roles import is_transparent

# Of who called a function that leaves a reference in a variable, so many may
# have passed it on.
MAX_PASSING = 3
# Functions that leave an exception in the state of the thread, functions that
# take it from there, and of the first those that take no reference of their
# own; the flag of a type of exceptions.
RAISES = re.compile(r'_?PyErr_(Set|Restore|Format|BadArgument|NoMemory)')
FETCHES = frozenset('''
    PyErr_Fetch _PyErr_Fetch PyErr_GetRaisedException
    _PyErr_GetRaisedException
    '''.split())
STEALS = frozenset('''
    PyErr_SetRaisedException _PyErr_SetRaisedException PyErr_Restore
    _PyErr_Restore
    '''.split())
BASE_EXC_SUBCLASS = 1 << 30
# So are functions named that begin what another one brings to an end.
BEGINS = re.compile(r'(\w+)_(?:init|enter|begin|start|setup|open)')


class Heirs:
    """Names who should have released the tokens of a recording.

    flow -- a tokens.Flow
    """

    def __init__(self, flow, contracts):
        self.flow = flow
        self.recording = flow.recording
        self.calls = flow.calls
        self.contracts = contracts
        self._givers = None

    def of(self, token):
        """Return who should have released a token, the most probable first;
        empty if nothing tells that it is another one than who ended with
        it."""
        return (self.exchangers(token) + self.undoers(token)
                + self.by_others(token))

    def finders(self, token):
        """Return who had an exception after the function that ended with it,
        in a list: what is raised is in the state of the thread, which is not
        searched, and who fetches it from there has to release it.

        That somebody took a reference while no other was known tells who found
        it there: that function, or who called it and fetches exceptions.
        Otherwise it is who called what raised it, and fetches exceptions.
        """
        if token.ended is None or not self.is_exception(token.life):
            return []
        by_loop = any(call.function == EVAL
                      for call in token.at(token.ended.slot))
        if not by_loop and not was_seen(token):
            return []
        alone = [later for later in token.life.tokens
                 if later.calls and self.is_alone(token, later)
                 and not self.is_check(later)]
        found = []
        if alone:
            calls = alone[-1].calls
            found = self.fetching(calls) or [
                call for call in calls[:1] if not is_machinery(call)]
        if not found and self.was_raised(token):
            found = self.fetching(way_out(token)[1:])
        return found

    def fetching(self, calls):
        """Return the first of some functions, innermost first, that takes the
        exception out of the state of the thread, in a list. Who called the
        evaluation loop knows nothing of what that raised."""
        here = itertools.takewhile(lambda call: call.function != EVAL, calls)
        return [call for call in here if self.fetches(call)][:1]

    def was_raised(self, token):
        """Did the function that ended with a token leave an exception in the
        state of the thread? It did if it is one of those that do, or calls one
        that steals the exception."""
        if token.ended is None or not self.is_exception(token.life):
            return False
        inside = token.at(token.ended.slot)
        return any(call.function == EVAL or RAISES.match(call.function)
                   or not STEALS.isdisjoint(self.flow.slots.callees(call))
                   for call in inside)

    def is_exception(self, life):
        type = self.recording.types.get(life.type)
        return type is not None and bool(type.flags & BASE_EXC_SUBCLASS)

    def is_alone(self, token, later):
        """Was a token, which nobody had any more, the only one when another
        was taken?"""
        events = self.recording.events
        return (later.index > token.index
                and any(event is token.ended for event in
                        itertools.islice(events, token.index, later.index))
                and all(other is token or other.released is not None
                        and other.released.index < later.index
                        for other in token.life.tokens
                        if other.index < later.index))

    def is_check(self, token):
        """Was a reference taken by _Py_Dealloc() itself? With Py_DEBUG that
        looks whether the exception is still the same afterwards."""
        functions = (call.function
                     for call in self.calls.whole(token.taken.frames))
        return '_Py_Dealloc' in itertools.takewhile(is_transparent, functions)

    def fetches(self, call):
        """Does a function call one that takes the exception out of the state
        of the thread?"""
        return not FETCHES.isdisjoint(self.flow.slots.callees(call))

    def undoers(self, token):
        """Return the function that a token's last holder called last, if its
        name says that it gives things up, and the reference had been left in a
        variable of the holder by another one, or was taken by one that is
        named like it, as in f_init() and f_fini(): then it was called to give
        up what is in that variable."""
        if not was_seen(token):
            return []
        moves = [step.what for step in token.steps
                 if step.what in ('returned', 'stack')]
        home = file_of(token)
        return [call for call in last_callee(token, self.calls)
                if source_of(call) == home and GIVES_UP.search(call.function)
                and (moves[-1:] == ['stack']
                     or are_a_pair(token.calls[0], call))]

    def exchangers(self, token):
        """Return the function that a token's last holder called last, if by
        contract it exchanges what is in a variable of its caller: then what
        was there is its matter. Not if it moved the object: then the variable
        has it as before."""
        if token.life.moved:
            return []
        return [call for call in last_callee(token, self.calls)
                if (contract := self.contracts.get(call.function)) is not None
                and IN_OUT in contract.effects]

    def by_others(self, token):
        """Return who should have released a token though another function
        ended with it.

        Some functions take a reference for their caller and return something
        else. That is learnt from the references which did not get lost: what
        ended with the same function was given back by one of its callers, or
        by whoever called the same callers.
        """
        if not was_seen(token):
            return []
        way = way_out(token)
        givers, ways = self.givers()
        found = [self.receiver(way[length:])
                 for length in range(len(way) - 1, 0, -1)
                 if names_of(way[:length]) in ways]
        found += [call for call in way[1:]
                  if call.function in givers.get(way[0].function, ())]
        return found

    def receiver(self, way):
        """Return who got what the first one of some functions had, each of
        which called the one before: they return a new reference by
        contract."""
        return next((call for call in way
                     if not self.contracts.returns_new(call.function)), way[0])

    def receivers(self, token):
        """Return who owns what a function left in a variable of its caller,
        if it does so by contract: that caller, or who got it from there as the
        result of functions that return a new reference by contract. How far
        it went was not seen.

        If it was looked for, only if that function took the reference itself,
        for what is in the variable already, or if an object that was at this
        address before was left in a variable: a new word would have been seen.
        """
        if last_holder(token) is None:
            return []
        took = token.calls[0].slot == token.ended.slot
        if was_seen(token) and not took and not self.was_there(token):
            return []
        way = way_out(token)
        contract = self.contracts.get(way[0].function)
        if contract is None or OUT_NEW not in contract.effects:
            return []
        outwards = way[1:]
        if not took:
            return outwards[:1]
        passing = [i for i, call in enumerate(outwards[:MAX_PASSING])
                   if self.contracts.returns_new(call.function)]
        return outwards[passing[-1] + 1 if passing else 0:][:1]

    def was_there(self, token):
        """Was an object left in a variable of somebody that had the address
        before? Then words of the stack have it that are not new."""
        return any(step.what == 'stack'
                   for life in self.flow.lives
                   if life.address == token.life.address
                   and life.died is not None and life is not token.life
                   for other in life.tokens for step in other.steps)

    def givers(self):
        """Return {function that ended with a token: functions that gave such
        tokens back later} and {names of functions, from one that ended with a
        token on outwards, whose caller gave it back}."""
        if self._givers is None:
            self._givers = {}, set()
            for life in self.flow.lives:
                for token in life.tokens:
                    self._learn(token, *self._givers)
        return self._givers

    def _learn(self, token, givers, ways):
        release = token.released
        if release is None or not release.calls or not was_seen(token):
            return
        way = way_out(token)
        giver = release.calls[0].function
        for length, call in enumerate(way):
            if call.slot == release.giver and call.function == giver:
                givers.setdefault(way[0].function, set()).add(giver)
                ways.add(names_of(way[:length]))
                break


def are_a_pair(taker, giver):
    """Is one function named as what begins something, and the other one alike
    but for the last word?"""
    begun = BEGINS.fullmatch(taker.function)
    return begun is not None and giver.function.rpartition('_')[0] == begun[1]
