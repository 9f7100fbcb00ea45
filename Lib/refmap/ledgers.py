"""The ledger of a call: what it does to the counts of its arguments and result.

calls.py has the numbers; here is what they mean. All other objects are judged as in a
hunt.
"""

import sys
import time
import types

from . import hunting, judge, report
from .calls import OWN, RAISED, RETURNED, SPARE, Calls, attribute
from .history import COUNT_LIMIT, lower_envelope, steps

# How many owners that came are named.
MAX_OWNERS = 3

# Verdicts, the worst one first.
_VERDICTS = (judge.ERROR, judge.LEAK, judge.SUSPICIOUS, judge.CLEAN)

# Types of results whose code has not run yet.
_NOT_RUN = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)


def _per_call(numbers):
    """Return '+1', or '+1, +0, +2' with the calls named."""
    shown = [f'{number:+d}' for number in numbers]
    if len(set(shown)) == 1:
        return shown[0]
    return f'{", ".join(shown)} in calls 1 to {len(shown)}'


def _series(numbers):
    """Return '1 reference', or '1, 2, 3 references'."""
    if len(set(numbers)) == 1:
        return report.plural(numbers[0], 'reference')
    return f'{", ".join(map(str, numbers))} references'


def _proof(looks, i, own):
    """Say what look `i` proves; `own` references of the ledger are left out."""
    owned, counted = looks.visible[i] - own, looks.counts[i] - own
    return (f'visible owners have {report.plural(owned, "reference")}, '
            f'{counted} {"is" if counted == 1 else "are"} counted')


class Entry:
    """What the calls did to one object: an argument, the callable, the result.

    name     -- 'argument 1', say; 'result'
    type     -- the name of its type
    changes  -- per call, the net change of its reference count; None of the result
    lost     -- per call, the references that visible owners were short of: an
                over-decref for certain
    unowned  -- per call, the change of the references that no visible owner has; of
                the result how many there were when it was returned
    verdict  -- 'error', 'leak', 'suspicious' or 'clean'
    text     -- the line of the report; '' if there is nothing to be said
    """

    def __init__(self, name, type, changes, lost, unowned, verdict, text):
        self.name = name
        self.type = type
        self.changes = changes
        self.lost = lost
        self.unowned = unowned
        self.verdict = verdict
        self.text = text

    def __repr__(self):
        return f'<{self.name} ({self.type}): {self.text or self.verdict}>'

    def to_json(self):
        """Return a dict for json.dumps()."""
        return dict(vars(self))


def _judge_losses(lost):
    """The verdict on references that owners were short of."""
    if all(lost):
        return judge.ERROR
    return judge.SUSPICIOUS if any(lost) else judge.CLEAN


def _retained(changes):
    """Return what each call left that none took back."""
    levels = [0]
    for change in changes:
        levels.append(levels[-1] + change)
    return steps(lower_envelope(levels))


def _who_came(calls, address):
    """Name the visible owners that a target got."""
    came = sorted((more, name, owner) for target, owner, name, more in calls.came
                  if target == address)
    return '; '.join(f'{name} at {owner:#x} has {more} more'
                     for more, name, owner in came[:-MAX_OWNERS - 1:-1])


def _target_entry(calls, k, warmups):
    """Return the Entry of the k-th target."""
    target, looks, rest = calls.targets[k], calls.looks[k], calls.rest[k]
    name = ' and '.join(target.names)
    type_name = calls.type_names[target.address]
    whose = f'{name} ({type_name})'
    if looks.counts[0] >= COUNT_LIMIT:
        text = f'{whose} is immortal: not counted'
        return Entry(name, type_name, None, None, None, judge.CLEAN,
                     '' if target.op is calls.callable else text)
    numbers = calls.measured(warmups)
    borrowed = [calls.borrowed(i, target.address) for i in numbers]
    lost = [looks.lost(i) - b for i, b in zip(numbers, borrowed)]
    # What was missing at the last look the last cleanup took.
    lost[-1] += looks.given[numbers[-1] + 1]
    changes = [rest[i] - rest[i - 1] - looks.lost(i) + b
               for i, b in zip(numbers, borrowed)]
    unowned = [looks.unowned(i) - looks.unowned(i - 1) - looks.given[i - 1]
               for i in numbers]
    verdict, text = _judge_losses(lost), ''
    if verdict != judge.CLEAN:
        text = f'loses {_per_call([-n for n in lost])} on {whose}, an over-decref'
        seen = [i for i, n in zip(numbers, lost) if n and looks.given[i]]
        text += (f': {_proof(looks, seen[0], SPARE)}' if seen else
                 ': owners lack them when the result is gone')
    elif any(changes):
        verdict, text = _judge_changes(changes, unowned, whose,
                                       _who_came(calls, target.address))
    return Entry(name, type_name, changes, lost, unowned, verdict, text)


def _judge_changes(changes, unowned, whose, came):
    """Return verdict and text on a count that changed and was never too low."""
    pattern = judge.classify(_retained(changes))
    total, hidden = sum(changes), sum(unowned)
    if total < 0:
        steady = hidden < 0 and all(change < 0 for change in changes)
        owners = ('no visible owner had them, so whose they were is not known'
                  if hidden < 0 else 'visible owners gave them up')
        return (judge.SUSPICIOUS if steady else judge.CLEAN,
                f'loses {_per_call(changes)} on {whose}: {owners}')
    verdict = {judge.EVERY_RUN: judge.LEAK,
               judge.SOME_RUNS: judge.SUSPICIOUS}.get(pattern, judge.CLEAN)
    if verdict == judge.CLEAN:
        return verdict, (f'changes {whose} by {_per_call(changes)}: not in every '
                         f'call, as caches do')
    if hidden >= total:
        owners = f'no visible owner has {"it" if set(changes) == {1} else "them"}'
    else:
        owners = came or 'visible owners have them'
        if hidden > 0:
            owners += f'; no visible owner has {hidden} of {total}'
    return verdict, f'keeps {_per_call(changes)} on {whose}: {owners}'


def _count_raised(calls, warmups):
    """Return {name of an exception: how many calls raised it}."""
    names, raised = list(calls.kinds), {}
    for i in calls.measured(warmups):
        if calls.ended[i] == RAISED:
            name = names[calls.kind[i]]
            raised[name] = raised.get(name, 0) + 1
    return raised


def _result_entry(calls, warmups):
    """Return the Entry of the result, or None if no call returned."""
    returned = [i for i in calls.measured(warmups) if calls.ended[i] == RETURNED]
    if not returned:
        return None
    names, looks = list(calls.kinds), calls.result_looks
    type_name = ' or '.join(sorted({names[calls.kind[i]] for i in returned}))
    if all(looks.counts[i] >= COUNT_LIMIT for i in returned):
        return Entry('result', type_name, None, None, None, judge.CLEAN,
                     f'returns an immortal object ({type_name}): not counted')
    lost = [looks.given[i] for i in returned]
    unowned = [looks.unowned(i) for i in returned]
    text = (_describe_result(calls, returned, unowned)
            if not any(lost) else
            f'returns a reference it does not own ({_per_call([-n for n in lost])})')
    text += f' ({type_name})'
    if any(lost):
        i = next(i for i, n in zip(returned, lost) if n)
        text += f': {_proof(looks, i, OWN - 1)}'
    return Entry('result', type_name, None, lost, unowned, _judge_losses(lost), text)


def _describe_result(calls, returned, unowned):
    """Say what was returned, if its owners have their references."""
    looks = calls.result_looks
    others = [looks.counts[i] - OWN for i in returned]
    addresses = {calls.address[i] for i in returned}
    for target in calls.targets:
        if addresses == {target.address}:
            return f'returns {target.names[0]}, with a reference of its own'
    if not any(others):
        return 'returns a new object that only the caller owns'
    # New objects may have the same address, one after the other.
    times = 'the same object each time' if len(addresses) == 1 else 'an object'
    text = f'returns {times} to which others have {_series(others)}'
    if any(unowned):
        text += f' (no visible owner has {_series(unowned)} of them)'
    return text


# --- the ledger --------------------------------------------------------------

def _amount(refs, name):
    """Return '1 int a call', or '1, 2, 1 int in calls 1 to 3'."""
    if len(set(refs)) == 1:
        return f'{refs[0]} {name} a call'
    return f'{", ".join(map(str, refs))} {name} in calls 1 to {len(refs)}'


def _name_of(callable):
    """Return what a report calls it."""
    name = attribute(callable, '__qualname__')
    module = attribute(callable, '__module__')
    if type(name) is not str:
        return object.__repr__(callable)
    if type(module) is not str or module in ('builtins', '__main__'):
        return name
    return f'{module}.{name}'


class Ledger:
    """What calls did to the counts of their arguments and result, and to all other
    objects. str() is the report.

    verdict   -- 'error', 'leak', 'suspicious' or 'clean'
    arguments -- a list of Entry: the callable, self, and the arguments
    items     -- a list of Entry: what arguments hold, if its count changed
    result    -- an Entry, or None if no call returned
    raised    -- {name of an exception: how many calls raised it}
    types     -- {type name: references per call, as a list} that each call leaked
                 besides those to arguments
    calls, warmups -- how many were measured, and made before
    notes     -- a list of sentences: what is not known
    hunt      -- a hunting.Result: the judgement of all objects
    seconds   -- how long it took
    """

    def __init__(self, calls, hunt, warmups):
        self.name = hunt.findings['test']
        self.hunt = hunt
        self.warmups = warmups
        self.calls = calls.number[0] - warmups
        self.result = _result_entry(calls, warmups)
        self.raised = _count_raised(calls, warmups)
        entries = [_target_entry(calls, k, warmups)
                   for k in range(len(calls.targets))]
        self.arguments = [entry for entry, target in zip(entries, calls.targets)
                          if not target.is_item]
        self.items = [entry for entry, target in zip(entries, calls.targets)
                      if target.is_item and entry.text]
        self._addresses = {target.address for target in calls.targets}
        self.types = self._types({target.address: entry for target, entry
                                  in zip(calls.targets, entries)})
        self.notes = self._notes(calls)
        verdicts = [entry.verdict for entry in self._entries()]
        self.verdict = min([*verdicts, hunt.verdict], key=_VERDICTS.index)
        self.seconds = 0.0

    def __repr__(self):
        return f'<refmap ledger of {self.name}: {self.verdict}>'

    def _entries(self):
        return (self.arguments + self.items
                + ([self.result] if self.result else []))

    def _types(self, entries):
        """What leaked besides the references to arguments."""
        leaked = {}
        for finding in self.hunt.findings['types']:
            if finding['pattern'] != judge.EVERY_RUN:
                continue
            refs = list(finding['refs'])
            for record in finding['objects']:
                entry = entries.get(record['address'])
                if entry is not None and entry.changes:
                    refs = [a - b for a, b in zip(refs, _retained(entry.changes))]
            if any(refs):
                leaked[finding['type']] = refs
        return leaked

    def _notes(self, calls):
        notes = []
        if self.raised and self.result is not None:
            notes.append('some calls raised and some returned: what differs between '
                         'them is in the numbers')
        names = {cls.__name__ for cls in _NOT_RUN}
        if self.result is not None and self.result.type in names:
            notes.append(f'the result is a {self.result.type}: none of its code has '
                         f'run; call it in a function that runs it')
        for target in calls.targets:
            if (type(target.op) is str and not target.is_item
                    and sys._is_interned(target.op)
                    and sys.getrefcount(target.op) < COUNT_LIMIT):
                notes.append(f'{target.names[0]} is an interned string: other code '
                             f'may take references to it, too')
        return notes

    def __str__(self):
        return '\n'.join(map(report.escape, self._lines()))

    def _lines(self):
        yield (f'refmap ledger: {self.name}: {self.verdict} '
               f'({report.plural(self.calls, "call")} after '
               f'{report.plural(self.warmups, "warm-up")})')
        for name, count in self.raised.items():
            yield f'  raises {name} in {count} of {report.plural(self.calls, "call")}'
        for entry in self._entries():
            if entry.text:
                yield f'  {entry.text}'
        for name, refs in self.types.items():
            yield f'  leaks {_amount(refs, name)}'
        for note in self.notes:
            yield f'  {note}'
        yield from self._others()

    def _others(self):
        """The lines about objects that are no arguments, as those of a hunt."""
        findings = self.hunt.findings
        lines = []
        for finding in findings['types']:
            objects = finding['objects']
            if not objects or finding['more'] or any(
                    record['address'] not in self._addresses for record in objects):
                lines += report.finding_lines(finding)
        lines += [report.freed_line(*record) for record in findings['freed']]
        if lines:
            yield '  other objects, as in a hunt of runs:'
            yield from ('    ' + line for line in lines)

    def to_json(self):
        """Return all of it as a dict for json.dumps()."""
        return {
            'name': self.name, 'verdict': self.verdict, 'calls': self.calls,
            'warmups': self.warmups, 'seconds': self.seconds,
            'arguments': [entry.to_json() for entry in self.arguments],
            'items': [entry.to_json() for entry in self.items],
            'result': self.result.to_json() if self.result else None,
            'raised': self.raised, 'types': self.types, 'notes': self.notes,
            'hunt': self.hunt.findings,
        }


def ledger(callable, /, *args, kwargs=None, warmups=3, runs=3,
           cleanup=hunting.clean_up):
    """Call something repeatedly; tell what it does to reference counts.

    callable, args -- called as callable(*args, **kwargs), with the same objects each
                      time; an exception ends a call as well as a result
    kwargs -- a dict of keyword arguments
    warmups, runs -- how often it is called before, and while, it is measured
    cleanup -- called after each call; the default empties known caches and runs the
               garbage collector
    Return a Ledger. An object that was decrefed too often is given the references
    back that its owners need. Raise ValueError for bad numbers, RuntimeError if the
    interpreter keeps no map; what is no Exception, such as KeyboardInterrupt, is
    passed on.
    """
    hunting.require_map()
    hunting.check_counts(warmups, runs)
    name = _name_of(callable)
    start = time.monotonic()
    calls = Calls(callable, args, dict(kwargs or {}), warmups + runs)
    recorder = hunting.record(calls, warmups, runs, cleanup)
    calls.finish()
    hunt = hunting.Result(hunting.conclude(recorder, name))
    result = Ledger(calls, hunt, warmups)
    result.seconds = round(time.monotonic() - start, 3)
    return result
