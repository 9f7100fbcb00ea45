"""The way of a reference as steps that a reader can check against the source."""

from collections import Counter, namedtuple

# text: one clear sentence, without its place. file, line: where; line 0 and
# file '' where there is none.
Step = namedtuple('Step', 'text file line')

# Steps of one token that are told; of a longer way the last ones.
MAX_STEPS = 12


def at(text, call):
    return Step(text, call.file, call.line)


def place_text(case, place):
    """Return words for where in memory a reference is."""
    if place.base_type:
        name = case.recording.type_name(place.base_type)
        return f'in a {name} object, at offset {place.location - place.base}'
    return 'in a block of memory' if place.base else 'in memory of nobody known'


def function_at(token, slot):
    """Return the outermost function of an activation as a Call, or None."""
    calls = token.at(slot)
    return calls[-1] if calls else None


def python_line(case, event):
    """Return a step that says which Python line ran, in a list."""
    code = case.recording.codes.get(event.code)
    if code is None:
        return []
    qualname, filename, _ = code
    return [Step(f'while Python ran {qualname}()', filename, event.line)]


def taken(case, token):
    """Return the steps that say where a reference was taken."""
    event = token.taken
    if not token.calls:
        return [Step('taken, by code that is not known', '', 0)]
    call = token.calls[0]
    what = 'born' if event.kind == 'birth' else 'taken'
    caller = next((c for c in token.calls if c.slot > call.slot), None)
    by = f', called by {caller.function}()' if caller else ''
    return [at(f'{what} in {call.function}(){by}', call),
            *python_line(case, event)]


def moved(case, token, step):
    """Return the Step for one thing that happened to a token, or None."""
    slot = step.slot
    call = function_at(token, slot) if slot else None
    name = f'{call.function}()' if call else 'a function that is not known'
    place = (call.file, call.line) if call else ('', 0)
    if step.what == 'returned':
        return Step(f'returned to {name}', *place)
    if step.what == 'stack':
        return Step(f'left in a variable of {name}', *place)
    if step.what in ('nowhere', 'abandoned', 'kept', 'memory'):
        return ended(case, token, step, name, place)
    if step.what == 'stored':
        return Step(f'stored {place_text(case, step.event)}',
                    *writer(case, step.event.frames))
    if step.what == 'gone':
        return vanished(case, step.event)
    return None


def ended(case, token, step, name, place):
    """Return the Step for the end of an activation that had the reference."""
    stack = case.flow.calls.of(step.event.frames)
    last = next((c for c in stack if c.slot == step.slot), None)
    if last is not None:        # where it was when it did something last
        place = last.file, last.line
    if step.what == 'memory':
        found = [p for p in step.event.places if p.token == token.number]
        where = place_text(case, found[0]) if found else 'in memory'
        return Step(f'{name} ended, the reference is {where}', *place)
    text = {'nowhere': 'ended without releasing it, or passing it on',
            'kept': 'returned the object with one reference, and kept this one',
            'abandoned': 'was left by a jump or an exception'}[step.what]
    return Step(f'{name} {text}', *place)


def vanished(case, gone):
    """Return the Step for a place that no longer holds the object."""
    if gone.flags & 1:
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
    steps = [moved(case, token, step) for step in token.steps]
    steps = [step for step in steps if step is not None]
    if len(steps) > MAX_STEPS:
        left_out = len(steps) - MAX_STEPS
        steps[:left_out] = [Step(f'{left_out} steps more', '', 0)]
    return taken(case, token) + steps


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
    return [Step(f'{count} {item.type} objects that did not leak were released '
                 f'by {function}()', file, line)
            for (function, file, line), count in places.most_common(2)]


def holder_text(holder):
    """Return words for an object that holds another one, and for the fields."""
    fields = [field or f'offset {path[0]}'
              for field, path in zip(holder.fields, holder.offsets)]
    where = f' ({", ".join(fields)})' if fields else ''
    return f'a {holder.type} object{where}'


def steps(case, kind, item, accusation):
    """Return the evidence of one accusation as a list of Step."""
    token, how = accusation.token, accusation.how
    found = []
    if accusation.rule == 'missing-visit':
        found.append(at(f'{holder_text(how)} holds a {item.type} object, and '
                        f'{accusation.call.function}() does not visit it',
                        accusation.call))
    elif accusation.rule == 'no-gc':
        found.append(Step(f'{holder_text(how)} holds a {item.type} object, and '
                          f'its type has no Py_TPFLAGS_HAVE_GC', '', 0))
    elif accusation.rule == 'over-decref':
        found.append(at(f'released {item.type} object without having a '
                        f'reference', how.calls[0] if how.calls
                        else accusation.call))
    elif accusation.rule == 'untracked':
        found.append(at(f'made a {item.type} object, which the collector was '
                        f'never told of', accusation.call))
    elif accusation.rule == 'held':
        own = case.ownership.get(item.address)
        found += [Step(text, '', 0) for text in (own.chain if own else ())]
    if token is not None:
        found += path(case, token)
        found += contrast(case, token.life, item)
    return found


def block_steps(stack, event, count):
    """Return the evidence of memory blocks that were not given back."""
    return [Step(f'{count} blocks were allocated and not given back, one of '
                 f'{event.size} bytes', stack[0].file, stack[0].line),
            *[at(f'called by {call.function}()', call) for call in stack[1:6]]]
