"""The way of a reference as steps that a reader can check against the
source."""

from collections import Counter, namedtuple
from itertools import groupby, islice

from .accusing import WRITES
from .functions import is_allocator
from .recording import THREAD_STATE, is_burial

# text: one clear sentence, without its place. file, line: where; line 0 and
# file '' where there is none.
Step = namedtuple('Step', 'text file line')

# Of a longer way the first and the last steps are told.
FIRST_STEPS, LAST_STEPS = 2, 6
# How many functions a step names through which a reference was returned.
MAX_THROUGH = 4
# Where two functions are looked for together.
MAX_STACKS = 200


def at(text, call):
    return Step(text, call.file, call.line)


def place_text(case, place):
    """Return words for where in memory a reference is."""
    if place.base_type == THREAD_STATE:
        return 'in the state of the thread'
    if place.base_type:
        types = case.recording.types
        offset = place.location - place.base
        field = (case.symbols.field(types[place.base_type], offset, types)
                 if place.base_type in types else None)
        return (f'in a {case.recording.type_name(place.base_type)} object, '
                + (f'field {field}' if field else f'at offset {offset}'))
    return ('in a block of memory' if place.base
            else 'in memory of nobody known')


def function_at(token, slot):
    """Return the outermost function of an activation as a Call, or None."""
    calls = token.at(slot)
    return calls[-1] if calls else None


def python_line(recording, event):
    """Return a step that says which Python line ran, in a list."""
    code = recording.codes.get(event.code)
    if code is None:
        return []
    qualname, filename, _ = code
    return [Step(f'while Python ran {qualname}()', filename, event.line)]


def taken(case, token):
    """Return the steps that say where a reference was taken."""
    event = token.taken
    # A birth is in an allocator: of interest is who made the object by it.
    call = next((c for c in token.calls if event.kind != 'birth'
                 or not is_allocator(c)), None)
    if call is None:
        return [Step('taken, by code that is not known', '', 0)]
    what = 'born' if event.kind == 'birth' else 'taken'
    caller = next((c for c in token.calls if c.slot > call.slot), None)
    by = f', called by {caller.function}()' if caller else ''
    return [at(f'{what} in {call.function}(){by}', call),
            *python_line(case.recording, event)]


def returned(token, steps):
    """Return the Step for a reference that was returned again and again, of a
    list of lives.Steps; None if it only left the allocators."""
    calls = [call for step in steps
             if (call := function_at(token, step.slot)) is not None]
    made = [call for call in token.calls if not is_allocator(call)][:1]
    if not calls or calls[-1:] == made:
        return None
    *through, last = [f'{call.function}()' for call in calls
                      if not is_allocator(call) and call not in made] or ['?']
    if last == '?':
        return None
    if len(through) > MAX_THROUGH:
        through[1:-2] = [f'{len(through) - 3} more']
    by = f'through {", ".join(through)} ' if through else ''
    return at(f'returned {by}to {last}', calls[-1])


def moved(case, token, step):
    """Return the Step for one thing that happened to a token, or None."""
    slot = step.slot
    call = function_at(token, slot) if slot else None
    name = f'{call.function}()' if call else 'a function that is not known'
    place = (call.file, call.line) if call else ('', 0)
    if step.what == 'stack':
        return Step(f'left in a variable of {name}', *place)
    if step.what in ('nowhere', 'abandoned', 'kept', 'memory', 'unknown'):
        return ended(case, token, step, name, place)
    if step.what == 'stored':
        return Step(f'stored {place_text(case, step.event)}',
                    *writer(case, step.event.frames))
    if step.what == 'gone':
        return vanished(case, token, step.event)
    return None


# What is said of a function that ended with a reference, by the step.
ENDS = {
    'nowhere': 'returned without releasing it or passing it on',
    'unknown': 'returned without releasing it; memory was not searched',
    'kept': 'returned the object with one reference, and kept this one',
    'abandoned': 'was left by a jump or an exception',
}


def ended(case, token, step, name, place):
    """Return the Step for the end of an activation that had the reference."""
    stack = case.flow.calls.of(step.event.frames)
    last = next((c for c in stack if c.slot == step.slot), None)
    if last is not None:        # where it was when it did something last
        place = last.file, last.line
    if step.what == 'memory':
        found = [p for p in step.event.places if p.token == token.number]
        where = place_text(case, found[0]) if found else 'in memory'
        return Step(f'{name} returned, the reference is {where}', *place)
    text = ENDS[step.what]
    return Step(f'{name} {text}', *place)


def vanished(case, token, gone):
    """Return the Step for a place that no longer holds the object."""
    if case.flow.slots.base_type(token, gone) == THREAD_STATE:
        return Step('it was taken out of the state of the thread, and not '
                    'released', *writer(case, gone.frames))
    if is_burial(gone):
        return Step('what held it was freed, and had not released it',
                    *writer(case, gone.frames))
    return Step('what held it was overwritten, and the reference not released',
                *writer(case, gone.frames))


def writer(case, frames):
    """Return file and line of the innermost function of a stack."""
    calls = case.flow.calls.of(frames)
    return (calls[0].file, calls[0].line) if calls else ('', 0)


def path(case, token):
    """Return the way of a token as a list of Step."""
    found = taken(case, token)
    for is_return, steps in groupby(token.steps,
                                    key=lambda step: step.what == 'returned'):
        if is_return:
            found.append(returned(token, list(steps)))
        else:
            found += [moved(case, token, step) for step in steps]
    return shortened([step for step in found if step is not None])


def shortened(steps):
    """Leave out steps in the middle of a long way."""
    left_out = len(steps) - FIRST_STEPS - LAST_STEPS
    if left_out < 2:
        return steps
    return [*steps[:FIRST_STEPS], Step(f'{left_out} steps more', '', 0),
            *steps[-LAST_STEPS:]]


def stacks(case, token):
    """Yield the stacks that were seen with a reference, or with others to its
    object, as lists of Call."""
    events = [token.taken, token.ended, *token.gone]
    events += [other.taken for other in token.life.tokens]
    events += [release.event for release in token.life.releases]
    for event in filter(None, events):
        yield case.flow.calls.whole(event.frames)
    for gone in token.gone:
        yield case.flow.calls.whole(gone.previous)


def on_one_stack(case, token, *calls):
    """Return the positions of functions on a stack that was seen with a
    reference and has all of them, the innermost has 0; None if there is none."""
    wanted = [(call.function, call.slot) for call in calls]
    for stack in islice(stacks(case, token), MAX_STACKS):
        known = [(call.function, call.slot) for call in stack]
        if set(known).issuperset(wanted):
            return list(map(known.index, wanted))
    return None


def nearness(case, call, accusations):
    """Return a step that says why a function is suspected that is not the
    first one of its token, in a list; empty if that was not seen."""
    first, token = accusations[0].call, accusations[0].token
    if call == first or token is None and (
            not call.slot or not first.slot or call.slot == first.slot):
        return []
    one, other = f'{call.function}()', f'{first.function}()'
    # Without a token all are of one stack: that of a release, or of a birth.
    positions = (on_one_stack(case, token, call, first) if token is not None
                 else (call.slot, first.slot))
    if positions is None:
        if call in token.calls:
            return [at(f'{one} was running when the reference was taken', call)]
        if call.function in case.flow.slots.callees(first):
            return [at(f'{other} calls {one}, as its code says', call)]
        return []
    is_outer = positions[0] > positions[1]
    if call.slot == first.slot:
        inner, outer = (other, one) if is_outer else (one, other)
        return [at(f'{inner} was inlined into {outer}', call)]
    return [at(f'{one} called {other}' if is_outer
               else f'{one} was called by {other}', call)]


def contrast(case, life, item):
    """Return where objects of the type that did not leak were released."""
    places = Counter()
    leaked = {other.address for other in case.leaked}
    for other in case.flow.lives:
        if (other.type == life.type and other.died is not None
                and other.address not in leaked and other.releases
                and other.releases[-1].calls):
            call = other.releases[-1].calls[0]
            places[call.function, call.file, call.line] += 1
    return [Step(f'{count} {item.type} objects that did not leak were '
                 f'released by {function}()', file, line)
            for (function, file, line), count in places.most_common(2)]


def holder_text(holder):
    """Return words for an object that holds another one, and for the
    fields."""
    fields = [field or f'offset {path[0]}'
              for field, path in zip(holder.fields, holder.offsets)]
    where = f' ({", ".join(fields)})' if fields else ''
    return f'a {holder.type} object{where}'


def theft(case, item, maker, release):
    """Return the steps of a reference that was given back by who had none.

    maker -- who made the container that gave it back, if there is one
    """
    giver = release.calls[0] if release.calls else maker
    if not release.event.deaths:
        return [at(f'{giver.function}() released a reference to a {item.type} '
                   f'object, and had none', giver)]
    name = case.recording.type_name(release.event.deaths[0].type)
    return [at(f'a {name} object was made in {maker.function}()', maker),
            at(f'{giver.function}() released the {item.type} object in it '
               f'when it died: no reference had been taken for that', giver)]


def steps(case, item, accusation, accusations):
    """Return the evidence of one accusation as a list of Step.

    accusations -- all those of the same reference
    """
    token, how = accusation.token, accusation.how
    found = []
    if accusation.rule == 'missing-visit':
        found.append(at(f'{holder_text(how)} holds a {item.type} object, and '
                        f'{accusation.call.function}() does not visit it',
                        accusation.call))
    elif accusation.rule == 'no-gc':
        found.append(Step(f'{holder_text(how)} holds a {item.type} object, '
                          f'and its type has no Py_TPFLAGS_HAVE_GC', '', 0))
    elif accusation.rule == 'over-decref':
        found += theft(case, item, accusations[0].call, how)
    elif accusation.rule == 'untracked':
        found.append(at(f'made a {item.type} object, which the collector was '
                        f'never told of', accusation.call))
    elif accusation.rule == 'held':
        own = case.ownership.get(item.address)
        found += [Step(text, '', 0) for text in (own.chain if own else ())]
    if token is not None:
        found += path(case, token)
    if how == WRITES and not accusation.call.slot:
        found.append(at(f'{accusation.call.function}() writes the field, as '
                        f'its code says; nobody was seen to write it',
                        accusation.call))
    found += nearness(case, accusation.call, accusations)
    if token is not None:
        found += contrast(case, token.life, item)
    return found


def block_steps(recording, stack, event, count):
    """Return the evidence of memory blocks that were not given back."""
    return [Step(f'{count} blocks were allocated and not given back, one of '
                 f'{event.size} bytes', stack[0].file, stack[0].line),
            *python_line(recording, event),
            *[at(f'called by {call.function}()', call) for call in stack[1:6]]]
