"""What to record: from the findings of a hunt, and from one batch to the next.

Works on the dicts of judge.judge() and on literal records, in any interpreter.
"""

from collections import Counter

from .. import judge
from .batch import BIRTH_MASK, Watch
from .recording import UNKNOWN, Change, Return
from .suspects import Leaked

# Of a type with very many births only these are recorded.
MAX_BIRTHS = 200
# Of those that did not leak, for comparison.
MAX_HEALTHY = 50
# Where so few are recorded, those before and after are, too: a program may make
# an object more in one run than in another, for a cache.
FEW_BIRTHS = 50
SHIFTS = (-2, -1, 1, 2)
# Older objects whose counts changed, and objects that leaked.
MAX_ADDRESSES = 200
MAX_LEAKED = 5000

# What somebody lost, or gave back without owning it. What shrinks for a reason
# that can be seen is nobody's fault, and nothing is known of a count that is
# impossible.
GUILTY = (judge.EVERY_RUN, judge.SOME_RUNS, judge.OVER_DECREF)
# These are no types whose objects could be watched.
_NO_TYPES = (judge.KEYS, judge.UNATTRIBUTED)


def guilty(findings):
    """Return the findings that somebody is to be found for."""
    return [finding for finding in findings['types']
            if finding['pattern'] in GUILTY
            and finding['type'] not in _NO_TYPES
            and not finding.get('suppressed')]


def first(findings, instances=None):
    """Return the Watch for the first batch.

    findings -- what a hunt found
    instances -- {address of a class: how many of its instances leaked}
    A class whose count grew by one for each instance that leaked is none that
    somebody lost a reference to.
    """
    instances = instances or {}
    types, addresses = [], []
    for finding in guilty(findings):
        if any(finding['born']):
            types.append(finding['type'])
        for record in finding['objects']:
            growth = record['counts'][-1] - record['counts'][0]
            if (not record['born'] and 'repr' in record
                    and not 0 < growth <= instances.get(record['address'], 0)):
                addresses.append(record['address'])
    return Watch(types=tuple(dict.fromkeys(types)),
                 addresses=tuple(addresses[:MAX_ADDRESSES]))


def leaked(batch, watch):
    """Return the Leaked objects of a batch that were watched."""
    addresses, found = set(watch.addresses), []
    for address, type_name, before, after in batch.changed:
        birth = 0 if before else batch.births.get(address, 0)
        if type_name in _NO_TYPES:
            continue            # beside one that was wanted
        if (address in addresses if before else birth):
            found.append(Leaked(address, type_name, before, after, birth))
    return found[:MAX_LEAKED]


def born_a_run(leaked, runs):
    """Return {type name: leaked objects a run} of those that were born."""
    counts = Counter(item.type for item in leaked if not item.before)
    return {name: count / runs for name, count in counts.items()}


def expected_a_run(findings, type_name):
    """Return how many objects of a type leaked in a run of the hunt."""
    return max((sum(finding['born']) / findings['runs']
                for finding in guilty(findings)
                if finding['type'] == type_name), default=0)


def not_followed(recording, leaked):
    """Return how many references to leaked objects have no token."""
    births = {item.birth for item in leaked if not item.before}
    addresses = {item.address for item in leaked if item.before}
    return sum(event.n for event in recording.events
               if isinstance(event, Change) and event.n > 0 and not event.token
               and (event.birth in births or event.address in addresses))


def not_searched(recording, leaked):
    """Was it left out for some references to leaked objects to search memory
    for where they went?"""
    births = {item.birth for item in leaked if not item.before}
    tokens = set()
    for event in recording.events:
        if (isinstance(event, Change) and event.n > 0 and event.token
                and event.birth in births):
            tokens.update(range(event.token, event.token + event.n))
    return any(outcome.outcome == UNKNOWN and outcome.token in tokens
               for event in recording.events if isinstance(event, Return)
               for outcome in event.outcomes)


def survive(found, runs):
    """Will the objects that lose references outlive so many runs more?

    found -- findings
    """
    for finding in found:
        if finding['pattern'] != judge.OVER_DECREF:
            continue
        for record in finding['objects']:
            counts = record['counts']
            loss = max(a - b for a, b in zip(counts, counts[1:]))
            if counts[-1] - loss * runs < 1:
                return False
    return True


def numbers(batch, healthy=()):
    """Return numbers of births, counted from the start of a batch, for another
    batch: of the objects that leaked, at most MAX_BIRTHS, evenly chosen.

    healthy -- births of objects that did not leak, of which some are added
    """
    def spread(births, limit):
        found = sorted({(birth - batch.start) & BIRTH_MASK
                        for birth in births})
        return found[::-(-len(found) // limit) or 1]

    leaked = spread(batch.births.values(), MAX_BIRTHS)
    if not leaked:
        return ()
    others = spread(healthy, MAX_HEALTHY)
    if len(leaked) <= FEW_BIRTHS:
        others += [number + shift for number in leaked for shift in SHIFTS
                   if number + shift > 0]
    return tuple(dict.fromkeys(leaked + others))


def healthy_births(recording, batch):
    """Return the births in a recording of objects that did not leak."""
    leaked = set(batch.births.values())
    return [event.birth for event in recording.events
            if isinstance(event, Change) and event.kind == 'birth'
            and event.birth not in leaked]


def wider(watch, analysis):
    """Return a Watch for what the analysis would like to see, or None."""
    more = [name for name in analysis.wanted
            if name not in watch.types and name not in _NO_TYPES]
    if not more:
        return None
    return watch._replace(types=watch.types + tuple(dict.fromkeys(more)))
