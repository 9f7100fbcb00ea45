"""Who had a token last, how it was lost, and who was near: from the ways of
tokens, without what is known of types and contracts.
"""

import itertools

from .calls import EVAL, in_common
from .functions import SLOT, is_allocator, is_machinery, source_of
from .recording import is_burial
from .roles import is_transparent


def holders(token, calls, keeps):
    """Return who may have lost a token, from its last holder on.

    The last function that the holder called is the second: it should have
    taken the reference over, perhaps. Then by turns those who called the
    holder and those through whom it got the reference: a helper that only
    counts hides whose the reference is.

    keeps -- does a function by contract take a reference of its own? Then it
             takes none over
    """
    slot = token.last_slot()
    inside = in_one(token, calls)
    # What Python code does with its values tells nothing to who runs it.
    outwards = itertools.takewhile(lambda call: call.function != EVAL, (
        call for call in token.calls if call.slot > slot))
    inwards = [call for call in token.calls if call.slot < slot][::-1]
    if last_holder(token) is None and all(map(is_machinery, inside)):
        # The evaluation loop got it from a function that returned it, and
        # gives back one reference for each value. Who called the loop has no
        # part in that.
        return inwards + inside
    called = last_callee(token, calls) or [
        call for call in last_user(token, calls) if not keeps(call)]
    return inside + called + alternate(list(outwards), inwards)


def alternate(first, second):
    """Return the items of two lists, taken in turns."""
    taken = []
    for i in range(max(len(first), len(second))):
        taken += first[i:i + 1] + second[i:i + 1]
    return taken


def in_one(token, calls):
    """Return the functions of the activation that had a token last.

    Those that were inlined share it, and are not seen to return. One that can
    hand an object to the function which it is part of, and that was left
    before the end, has done so, perhaps: it comes last.
    """
    slot = token.last_slot()
    inside = token.at(slot)
    end = calls.of(token.ended.frames) if token.ended is not None else ()
    still = {call.function for call in end if call.slot == slot}
    if not inside or inside[-1].function not in still:
        return inside
    return sorted(inside, key=lambda call: call.function not in still
                  and bool(calls.hands_out(call.function)))


def last_holder(token):
    """Return the function that took or received a token and ended with it;
    None if that was the evaluation loop, which runs any code, or none ended.

    So even the machinery of calls is suspected, but for that which was inlined
    into another function.
    """
    calls = token.at(token.ended.slot) if token.ended is not None else ()
    if not calls or calls[-1].function == EVAL or token.is_of_frame():
        return None
    return next((call for call in calls if not is_machinery(call)), calls[0])


def was_seen(token):
    """Is it sure that the last holder did not pass the token on?"""
    return last_holder(token) is not None and any(
        step.event is token.ended and step.what in ('nowhere', 'kept')
        for step in token.steps)


def way_out(token):
    """Return the function that ended with a token, and those that called it,
    innermost first."""
    slot = token.ended.slot
    inside = token.at(slot)
    return inside[-1:] + [call for call in token.calls if call.slot > slot]


def names_of(calls):
    return tuple(call.function for call in calls)


def last_callee(token, calls):
    """Return the function that a token's last holder called last, in a
    list. Not what ran as an object died: the holder gave that up, and called
    nobody."""
    if token.ended is None:
        return []
    if not token.is_on(token.ended.slot, calls.of(token.ended.frames)):
        return []           # there was no hook since the holder was called
    stack = calls.whole(token.ended.frames)
    called = [call for call in stack if call.slot < token.ended.slot][-1:]
    if not called:
        # What was inlined, and ran last.
        inside = names_of(token.at(token.ended.slot))
        called = [call for call in stack if call.slot == token.ended.slot
                  and call.function not in inside]
    return [call for call in called if not is_transparent(call.function)]


def last_user(token, calls):
    """Return the function that a token's last holder called last of those in
    which references to the object were taken or given back, in a list: it
    should have taken this one over, perhaps. What was called in it to let the
    object die is none."""
    if token.ended is None:
        return []
    slot = token.ended.slot
    life = token.life
    changes = [(other.index, other.taken) for other in life.tokens]
    changes += [(release.index, release.event) for release in life.releases]
    for index, event in sorted(changes, key=lambda change: -change[0]):
        if not token.index < index < token.ended_at:
            continue
        if token.is_on(slot, calls.of(event.frames)):
            called = [call for call in calls.whole(event.frames)
                      if call.slot < slot][-1:]
            if called and not is_transparent(called[0].function):
                return called
    return []


def file_of(token):
    """Return the file of the function that had a token last, or None."""
    calls = token.at(token.last_slot())
    return source_of(calls[-1]) if calls else None


def overwriters(gone, home, calls):
    """Return who may have written over a place, from the stacks of the hooks
    before and after.

    home -- the file that works on that memory: of the functions of the type
            whose fields they are, or of who stored the object in a block
    """
    before = list(calls.of(gone.previous)[::-1])    # outermost first
    after = list(calls.of(gone.frames)[::-1])
    k = len(in_common(calls.of(gone.previous), calls.of(gone.frames)))
    found = []
    # The hook before was about the value that is there now: it was taken to be
    # stored, by whoever is no constructor.
    if gone.now and gone.now == gone.previous_object:
        found += [c for c in before[::-1] if not is_allocator(c)][:1]
    elif gone.now and gone.now == gone.object:
        found += after[-1:]
    # What was entered between the hooks, what went on, and what was left: the
    # last one to run first.
    found += after[k:][::-1] + before[max(0, k - 1):k] + before[k:][::-1]
    found += before[max(0, k - 2):k - 1]
    # Slots of classes of Python code call what fills a slot, and write
    # nothing.
    found = [call for call in found if not SLOT.match(call.function)] or found
    return sorted(found, key=lambda call: call.file != home)


def fate(token):
    """Return how a token was lost: 'overwritten-field',
    'container-not-released' or 'missing-decref'; 'stored' in memory, or 'held'
    by an activation, if it was not.

    When a function ended with the object nowhere, everything was searched.
    Nobody can have stored it later: a word that is found then is a stale one.
    But what was in memory before was no longer that function's, and a frame of
    Python code is copied into its generator with what was taken for it.
    """
    how = None
    for step in token.steps:
        if step.what == 'gone':
            how = ('container-not-released' if is_burial(step.event)
                   else 'overwritten-field')
        elif step.what in ('stored', 'memory'):
            how = None
        elif (step.what == 'nowhere' and how is None
                and not token.is_of_frame()):
            return 'missing-decref'
    if any(place.base for place in token.places.values()):
        return 'stored'         # in static data stale words are common
    if how is not None:
        return how
    return 'held' if token.holder is not None else 'missing-decref'
