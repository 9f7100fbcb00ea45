"""Who owns the objects that leaked, and which kind of leak that makes it.

Each reference to a leaked object is owned by somebody: an object whose
tp_traverse reports it, or which has it in its memory; static data; a thread.
What is left is *unowned*: it was lost in C. sys.refmap_owners() tells who has
the address of an object; this module tells what that means. Everything here
but reconcile() works on literal tuples.
"""

import sys
from collections import namedtuple

from .recording import Type

LOST = 'lost in C'
HIDDEN = 'hidden from the collector'
UNTRACKED = 'untracked'
HELD = 'held by a visible owner'
OVER = 'over-decref'
RAW = 'raw memory'
# Kinds of leaks; of these a leaked object is of the first that applies.
KINDS = (LOST, HIDDEN, UNTRACKED, HELD, OVER, RAW)

# How many leaked objects that a visible owner holds get a chain.
MAX_CHAINS = 5
# Of how many causes it is counted what they explain.
MAX_FOLLOWED = 500

# Flags of sys.refmap_owners().
ALIVE, GC, TRACKED, KEYS = 1, 2, 4, 8

#   address -- of the object; of the word in static data; 0 for a thread
#   type, type_address -- tp_name and its address; '' and 0 for what is no
#                         object
#   count -- how many references it has
#   offsets -- where in it the first ones are: tuples as of
#              sys.refmap_owners(); none where they were not found in memory
#   fields -- per offset the name of the C field, or None
#   traverse -- the Site of the tp_traverse that does not report it, or None
#   gc -- has its type Py_TPFLAGS_HAVE_GC?
#   rule -- 'missing-visit' or 'no-gc' if it hides the reference, else None
#   where -- what it is if it is no object, a line of text
#   caller -- the Site of the type's own tp_traverse, if `traverse` is that of a
#             base, which it should call; else None
Holder = namedtuple('Holder', 'address type type_address count offsets fields '
                    'traverse gc rule where caller',
                    defaults=(None, '', None))

#   address, type -- of the leaked object; 'dict keys' is no type
#   count -- ob_refcnt
#   visited -- Holders that own it as they should: all but the next
#   hidden -- Holders that keep it from the garbage collector: what they hold
#             leads back to them, all of it leaked, and they do not report
#             this reference
#   unowned -- references that nobody was found to have
#   tracked -- does the garbage collector have it?
#   gc -- has its type Py_TPFLAGS_HAVE_GC?
#   chain -- lines of text from a root to it, if a visible owner holds it
#   kind -- one of KINDS, or None: nothing is known to be wrong. A consequence
#           has the kind of its cause
#   root -- False: another leaked object explains it
#   explains -- how many leaked objects it holds, directly or not
Ownership = namedtuple('Ownership', 'address type count visited hidden '
                       'unowned tracked gc chain kind root explains',
                       defaults=(None, True, 0))

# An entry of sys.refmap_owners(), with the references that are taken to be its
# own.
Owner = namedtuple('Owner', 'target kind address type flags visits words '
                   'paths taken')


def kind_of(ownership):
    """Return the kind of a leak, one of KINDS; None if nothing seems wrong."""
    if ownership.kind is not None:
        return ownership.kind
    if ownership.unowned > 0:
        return LOST
    if ownership.unowned < 0:
        return OVER
    if ownership.hidden:
        return HIDDEN
    return None


_mro_of = type.__dict__['__mro__'].__get__


class _Probe:
    """Its instances are traversed as those of all classes made by `class`."""


def reconcile(addresses, symbols=None, gained=None):
    """Find who owns the leaked objects; causes come before consequences.

    addresses -- of all objects that leaked, as integers
    symbols -- a symbols.Symbols for the names of fields and functions, or None
    gained -- {address: references} that objects got while it leaked, for those
              that were there before; others got all they have
    Return {address: Ownership}, without those where no object lives.
    """
    from . import chains
    probe = _Probe()
    addresses = list(addresses)
    found = sys.refmap_owners([*addresses, id(probe)])
    common = found[2][id(_Probe)][5]
    found[0].pop(id(probe), None)
    leak = Leak(found, common, gained)
    result = leak.ownerships(symbols)
    for address in entries_of_subclasses(result):
        result[address] = result[address]._replace(root=False)
    held = [address for address, own in result.items()
            if own.kind == HELD and own.root][:MAX_CHAINS]
    for address, chain in chains.find(held, set(result), symbols).items():
        result[address] = result[address]._replace(chain=chain)
    return result


def entries_of_subclasses(result):
    """Return the leaked objects that are there because a leaked class is: its
    base has a dict from the address of each subclass, an int, to a weak
    reference. The class takes them along when it dies.

    result -- {address: Ownership}
    """
    from _weakref import ref
    # isinstance() would ask the objects.
    classes = {address for address in result
               if type in _mro_of(type(_object_at(address)))}
    found = []
    for address, own in result.items():
        if classes and own.root and own.kind == HELD and own.visited:
            entry = _object_at(address)
            if type(entry) is int and entry in classes or (
                    type(entry) is ref and id(entry()) in classes):
                found.append(address)
    return found


def _object_at(address):
    """Return the object that lives at an address, or None."""
    try:
        return sys._refmap_object(address)
    except LookupError:
        return None


def share_out(objects, owners, leaked=None):
    """Say which words in memory are references.

    objects, owners -- as sys.refmap_owners() returns them
    leaked -- addresses of objects that leaked; None: all that are asked about
    Return {object: Owners of it} and {object: references that nobody has}.

    What a tp_traverse reports is a reference. As many words as remain of the
    count can be references, too; the others are borrowed ones, or stale. Words
    in leaked objects are believed first, then those in other objects, then
    static data; those in an object itself before those in a block of memory.
    A place that was found to borrow one object is not believed to own another,
    and a block is not believed to own the object that it belongs to, nor one
    that it has in more words than there are references: such words are those
    of items that were taken out, as a deque leaves them.
    """
    leaked = objects if leaked is None else leaked
    shares = {address: [] for address in objects}
    unowned = {}
    for owner in owners:
        if owner[0] in shares:
            shares[owner[0]].append(Owner(*owner, 0))
    borrowing = borrowing_places(objects, shares)

    def doubt(owner):
        depth = min((len(path) for path in owner.paths), default=0)
        return owner.kind != 'object', owner.address not in leaked, depth

    for address, (_, _, refcnt, _, visits, hidden, _) in objects.items():
        rest = refcnt - visits
        taken = []
        for owner in sorted(shares[address], key=doubt):
            spare = max(0, owner.words - owner.visits)
            hidden -= spare
            if (leads_back(owner) or not borrowing.isdisjoint(places(owner))
                    or spare > rest and is_in_blocks(owner)):
                spare = 0
            owner = owner._replace(taken=max(0, min(rest, spare)))
            rest -= owner.taken
            if owner.visits or owner.taken:
                taken.append(owner)
        # Some are not listed if there are too many.
        unowned[address] = rest - max(0, min(rest, hidden))
        shares[address] = taken
    return shares, unowned


def borrowing_places(objects, shares):
    """Return the places that have an object all of whose references are
    visited, and visited elsewhere: they borrow it."""
    return {place for address, owners in shares.items()
            if objects[address][2] <= objects[address][4]
            for owner in owners if owner.words and not owner.visits
            for place in places(owner)}


def leads_back(owner):
    """Does a block of an object's memory have the object's address? A callback
    has it as its argument, say, and borrows it: it would never die else."""
    return owner.address == owner.target and is_in_blocks(owner)


def is_in_blocks(owner):
    """Does an object have another one in blocks of its memory only?"""
    return (owner.kind == 'object' and bool(owner.paths)
            and all(len(path) > 1 for path in owner.paths))


def places(owner):
    """Where an object has another, as all objects of its type may: the type,
    and the offset in the instance. Blocks of memory are not alike."""
    if owner.kind != 'object':
        return set()
    return {(owner.type, path) for path in owner.paths if len(path) == 1}


class Leak:
    """Leaked objects, and who owns them.

    found -- as sys.refmap_owners() returns it
    common -- the tp_traverse of classes made by `class`
    gained -- see reconcile()
    """

    def __init__(self, found, common=0, gained=None):
        self.objects, owners, types, self.left_out, self.skipped = found
        self.types = {address: Type(address, *rest)
                      for address, rest in types.items()}
        self.common = common
        self.gained = gained or {}
        self.owners, self.unowned = share_out(self.objects, owners)
        self.held = self.find_held()
        self.groups = groups(self.objects, self.held)

    # ---- references

    def find_held(self):
        """Return {leaked object: leaked objects that it holds}."""
        held = {address: set() for address in self.objects}
        for address, owners in self.owners.items():
            for owner in owners:
                if owner.kind == 'object' and owner.address in held:
                    held[owner.address].add(address)
        return held

    def from_leaked(self, address):
        """How many references does it have from leaked objects?"""
        return sum(owner.visits + owner.taken for owner in self.owners[address]
                   if owner.kind == 'object' and owner.address in self.objects)

    def unexplained(self, address):
        """How many of those that it got are not from leaked objects?"""
        gained = self.gained.get(address, self.objects[address][2])
        return gained - self.from_leaked(address)

    # ---- causes

    def causes(self):
        """Return {leaked object: its kind} of those that none explains."""
        causes = {}
        entered = {address for group in self.groups for holder in group
                   for address in self.held[holder] if address not in group}
        for group in self.groups:
            found = {address: kind for address in group
                     if (kind := self.own_cause(address)) is not None}
            if not found and not group & entered:
                found = self.cycle_causes(group)
            causes.update(found)
        return causes

    def own_cause(self, address):
        """The kind of what is wrong with an object, whoever else leaked."""
        if self.gained.get(address, 0) < 0 or self.unowned[address] < 0:
            return OVER
        if self.unexplained(address) <= 0:
            return None
        return LOST if self.unowned[address] > 0 else HELD

    def cycle_causes(self, group):
        """The causes in a group of objects that only hold each other: why does
        the garbage collector not find them?"""
        found = {address: HIDDEN for address in group
                 if any(self.hiding(owner, group)
                        for owner in self.owners[address])}
        return found or {address: UNTRACKED for address in group
                         if self.objects[address][3] & (GC | TRACKED) == GC}

    def hiding(self, owner, group):
        """Return the rule if an owner hides a reference from the collector, or
        None."""
        if (owner.kind != 'object' or owner.address not in group
                or not owner.taken or not self.objects[owner.target][3] & GC):
            return None
        return 'missing-visit' if owner.flags & GC else 'no-gc'

    # ---- the result

    def ownerships(self, symbols=None):
        """Return {address: Ownership}, causes before consequences."""
        causes = self.causes()
        group_of = {address: group for group in self.groups
                    for address in group}
        explains = self.explained(causes)
        order = sorted(causes, key=lambda address: (
            KINDS.index(causes[address]), -explains[address], address))
        kinds = dict(causes)
        for cause in order:
            for address in reach(cause, self.held, kinds):
                kinds[address] = causes[cause]
        rest = [address for address in self.objects if address not in causes]
        result = {}
        for address in order + rest:
            hidden = kinds.get(address) == HIDDEN and address in causes
            result[address] = self.ownership(
                address, group_of[address] if hidden else frozenset(), symbols,
                kinds.get(address), address in causes,
                explains.get(address, 0))
        return result

    def explained(self, causes):
        """How many objects does each cause hold, directly or not? Of many
        causes only those that hold most themselves are followed."""
        first = sorted(causes, key=lambda address: -len(self.held[address]))
        return {address: len(reach(address, self.held) if i < MAX_FOLLOWED
                             else self.held[address] - {address})
                for i, address in enumerate(first)}

    def ownership(self, address, group, symbols, kind, root, explains):
        type_, _, refcnt, flags, *_ = self.objects[address]
        visited, hidden = [], []
        for owner in self.owners[address]:
            rule = self.hiding(owner, group)
            if owner.visits or rule is None:
                count = owner.visits + (owner.taken if rule is None else 0)
                visited.append(self.holder(owner, count, None, None))
            if rule is not None:
                hidden.append(self.holder(owner, owner.taken, rule, symbols))
        name = self.types[type_].name if type_ in self.types else 'dict keys'
        return Ownership(address, name, refcnt, visited, hidden,
                         self.unowned[address], bool(flags & TRACKED),
                         bool(flags & GC), [], kind, root, explains)

    def holder(self, owner, count, rule, symbols):
        if owner.kind != 'object':
            address = owner.address if owner.kind == 'static' else 0
            return Holder(address, '', 0, count, owner.paths,
                          (None,) * len(owner.paths), None, False, None,
                          describe_place(owner))
        type_ = self.types[owner.type]
        fields, traverse, caller = (None,) * len(owner.paths), None, None
        if symbols is not None and rule is not None:
            fields = tuple(symbols.field(type_, path[0], self.types)
                           for path in owner.paths)
            if rule == 'missing-visit':
                traverse, caller = self.traverse(type_, owner.paths, symbols)
        return Holder(owner.address, type_.name, owner.type, count,
                      owner.paths, fields, traverse, bool(owner.flags & GC),
                      rule, '', caller)

    def traverse(self, type_, paths, symbols):
        """Return the Site of the tp_traverse that should report the reference,
        and that of the type's own if this is another, else None.

        It is that of the base whose part of the instance has it. Classes made
        by `class` have one in common, which calls that of their base.
        """
        own = type_.traverse
        offset = paths[0][0] if paths else 0
        while type_.base in self.types and (
                type_.traverse == self.common
                or is_of_base(type_, offset, symbols, self.types)):
            type_ = self.types[type_.base]
        return symbols.function(type_.traverse), (
            symbols.function(own)
            if own not in (type_.traverse, self.common) else None)


def is_of_base(type_, offset, symbols, types):
    """Does a field belong to the base's part of an instance? A structure in C
    may have fields of its own where the base's has others, as those of _io
    have.

    types -- {address: Type}
    """
    base = types[type_.base]
    if offset >= base.basicsize:
        return False
    own, of_base = (symbols.field(one, offset, types) or ''
                    for one in (type_, base))
    return not (own and of_base) or own.endswith(of_base)


def describe_place(owner):
    """Say where a reference is that no object has."""
    if owner.kind == 'static':
        return f'static data at {owner.address:#x}'
    return 'a running frame' if owner.address else 'a thread'


# --- graphs
# --------------------------------------------------------------------

def reach(start, held, known=()):
    """Return the nodes that `start` leads to, without itself.

    held -- {node: nodes that it holds}
    known -- nodes that are left out, with what they lead to
    """
    seen = {start}
    waiting = [start]
    while waiting:
        new = {node for node in held[waiting.pop()]
               if node not in seen and node not in known}
        seen |= new
        waiting.extend(new)
    seen.discard(start)
    return seen


def groups(nodes, held):
    """Return frozensets of the nodes that lead to each other.

    The others are alone. Tarjan's algorithm, without recursion.
    """
    number, low, result = {}, {}, []
    stack, on_stack = [], set()
    for start in nodes:
        if start in number:
            continue
        work = [(start, iter(held[start]))]
        number[start] = low[start] = len(number)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, others = work[-1]
            for other in others:
                if other not in number:
                    number[other] = low[other] = len(number)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(held[other])))
                    break
                if other in on_stack:
                    low[node] = min(low[node], number[other])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == number[node]:
                    group = set()
                    while node not in group:
                        group.add(stack.pop())
                    on_stack -= group
                    result.append(frozenset(group))
    return result
