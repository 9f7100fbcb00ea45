"""What to record: from the findings of a hunt, and from one batch to the next.

Works on the dicts of judge.judge() and on literal records, in any interpreter.
"""

from .. import judge
from .batch import Watch
from .suspects import Leaked

# Births are numbered with so many bits.
BIRTH_MASK = (1 << 28) - 1
# Of a type with very many births only these are recorded.
MAX_BIRTHS = 200
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


def leaked(batch, watch, births):
    """Return the Leaked objects of a batch that were watched.

    births -- as births.last_births() returns it
    """
    types, addresses = set(watch.types), set(watch.addresses)
    found = []
    for address, type_name, before, after in batch.changed:
        birth = births[address].birth if address in births and not before else 0
        if before:
            wanted = address in addresses
        else:
            wanted = birth or type_name in types
        if wanted and type_name not in _NO_TYPES:
            found.append(Leaked(address, type_name, before, after, birth))
    return found[:MAX_LEAKED]


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


def numbers(batch, serials):
    """Return the births numbered from the start of a batch, at most MAX_BIRTHS,
    evenly chosen.

    serials -- of births
    """
    found = sorted({(serial - batch.start) & BIRTH_MASK
                    for serial in serials if serial})
    step = -(-len(found) // MAX_BIRTHS) or 1
    return tuple(found[::step])


def wider(watch, analysis):
    """Return a Watch for what the analysis would like to see, or None."""
    more = [name for name in analysis.wanted
            if name not in watch.types and name not in _NO_TYPES]
    if not more:
        return None
    return watch._replace(types=watch.types + tuple(dict.fromkeys(more)))
