"""A closer look at the objects that leaked: what they are, who holds them."""

import gc
import sys

from .judge import IMPOSSIBLE
from .saferepr import safe_repr, safe_size, shorten

# How many objects a report looks at more closely, and how many of those that
# hold one of them it looks at and names.
MAX_DESCRIBED = 200
MAX_HOLDERS = 50
MAX_NAMED = 3
MAX_NAME = 60


def fetch(findings, last):
    """Return {address: object} of the objects in the findings.

    Those that died since the snapshot `last` are left out, and those whose
    count was impossible: their memory may hold anything.
    """
    since = sys.refmap_diff(last, None, file=None)
    dead = {record[0] for record in since.died}
    objects = {}
    for finding in findings:
        if finding['pattern'] == IMPOSSIBLE:
            continue
        for record in finding['objects']:
            address = record['address']
            if address in dead or len(objects) >= MAX_DESCRIBED:
                continue
            try:
                objects[address] = sys._refmap_object(address)
            except LookupError:
                pass        # a dict keys table, or memory that is gone
    return objects


class Holders:
    """The containers that hold an object.

    count -- references from containers that the garbage collector knows
    some  -- at most MAX_HOLDERS of these containers
    new   -- those that leaked and are looked at, too
    """

    __slots__ = ('count', 'some', 'new')

    def __init__(self):
        self.count = 0
        self.some = []
        self.new = []


def find_holders(objects, last):
    """Find which containers hold the objects.

    objects -- {address: object}
    last -- a snapshot; containers that are newer are not looked at
    Return {address: Holders}.
    """
    holders = {address: Holders() for address in objects}
    # Not unpacked into another tuple, which would be found, too.
    targets = tuple(objects.values())
    atoms = dict(objects)       # the garbage collector may not know these
    since = sys.refmap_diff(last, None, file=None)
    ours = {record[0] for record in since.living if record[2] == 0}
    for container in gc.get_referrers(*targets):
        if id(container) not in ours:
            atoms.pop(id(container), None)
            note_holder(container, holders, objects)
    for container in atoms.values():
        note_holder(container, holders, objects)
    return holders


def note_holder(container, holders, leaked):
    """Add a container to the Holders of the objects that it holds."""
    for item in gc.get_referents(container):
        held = holders.get(id(item))
        if held is not None:
            held.count += 1
            if len(held.some) < MAX_HOLDERS:
                held.some.append(container)
            if id(container) in leaked:
                held.new.append(container)


def describe(findings, last):
    """Add to each object of the findings what is known of it, in place.

    findings -- the list judge.judge()['types']
    last -- the snapshot after the last run
    New keys of an object's dict: 'repr' and 'size' (bytes); 'birth', its serial
    number, if it is known; 'held_by', a list of strings; for a new object
    'unheld', the references that no container known to the garbage collector
    holds; for an older one 'holders', the references that such containers hold.
    """
    objects = fetch(findings, last)
    if not objects:
        return
    holders = find_holders(objects, last)
    for finding in findings:
        for record in finding['objects']:
            if record['address'] in objects:
                describe_object(record, objects[record['address']],
                                holders[record['address']], objects)


def describe_object(record, value, held, leaked):
    """Add what is known of one object to its dict; see describe()."""
    record['repr'] = safe_repr(value)
    record['size'] = safe_size(value)
    birth = sys._refmap_birth(record['address'])
    if birth:
        record['birth'] = birth
    if record['born']:
        record['held_by'] = name_holders(held.some, held.count, leaked)
        record['unheld'] = max(0, record['counts'][-1] - held.count)
        return
    # For an older object only the references it got are of interest.
    record['held_by'] = name_holders(held.new, len(held.new), leaked)
    record['holders'] = held.count


def name_holders(holders, count, leaked):
    """Return a few strings that name the containers.

    holders -- some of them
    count -- how many there are
    leaked -- {address: object}; of these the first address is shown
    """
    names = {}          # (text, is it one of those that leaked) -> containers
    for holder in holders:
        text = shorten(safe_repr(holder), MAX_NAME)
        names.setdefault((text, id(holder) in leaked), []).append(holder)
    lines = []
    for (text, is_leaked), alike in list(names.items())[:MAX_NAMED]:
        address = f'{id(alike[0]):#x} ' if is_leaked else ''
        times = f' x{len(alike)}' if len(alike) > 1 else ''
        lines.append(f'{address}{text}{times}')
        count -= len(alike)
    return lines + ([f'{count} more'] if count else [])
