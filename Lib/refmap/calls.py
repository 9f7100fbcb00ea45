"""Calls that are looked at: how many references arguments and result have, and owners.

The callable is called again and again with the same arguments. After each call,
while its result is still alive, the arguments, what they hold and the result are
looked at: how many references they have, by ob_refcnt, and how many of these
visible owners have, living objects whose tp_traverse reports them, and running
frames. The difference is *unowned*: C code has these references, or they were lost.

More owners than references prove that somebody gave back what was not theirs. The
object is given these references anew at once: it must not be freed while its
owners use it. So an over-decref is found before it crashes, and what is measured
after that is right, too.

What the numbers mean is in ledgers.py.
"""

import array
import gc
import sys
import types

from .history import COUNT_LIMIT

# References that the ledger takes to each argument: so many a single call may give
# back before somebody looks.
SPARE = 1000
# References to a result that the ledger has at a look: a local of __call__(), and the
# tuple of look(). All but one of them are left out when it speaks of owners.
OWN = 2
# So many objects that an argument holds are looked at, too.
MAX_ITEMS = 50
# How a call ended.
RETURNED, RAISED = 1, 2


def attribute(op, name):
    """Return an attribute, or None, whatever it does."""
    try:
        return getattr(op, name, None)
    except Exception:
        return None


class _Target:
    """An object that is looked at at each call.

    is_item -- it is not an argument, but held by one
    """

    def __init__(self, name, op, is_item=False):
        self.names = [name]
        self.op = op
        self.address = id(op)
        self.is_item = is_item


def _targets(callable, args, kwargs):
    """Return the targets of a call: no object twice."""
    named = [('the callable', callable)]
    owner = attribute(callable, '__self__')
    if owner is not None and not isinstance(owner, types.ModuleType):
        named.append(('self', owner))
    named += [(f'argument {i}', op) for i, op in enumerate(args, 1)]
    named += [(f'argument {name!r}', op) for name, op in kwargs.items()]
    targets = {}
    for name, op in named:
        if id(op) in targets:
            targets[id(op)].names.append(name)
        else:
            targets[id(op)] = _Target(name, op)
    for target in list(targets.values()):
        if target.op is not callable:
            _add_items(targets, target)
    return list(targets.values())


def _add_items(targets, holder):
    """Add what a target holds, but what is everybody's."""
    for op in gc.get_referents(holder.op)[:MAX_ITEMS]:
        if (id(op) not in targets and sys.getrefcount(op) < COUNT_LIMIT
                and not isinstance(op, (type, types.ModuleType))):
            targets[id(op)] = _Target(f'what {holder.names[0]} holds', op, True)


def _type_name(found, op):
    """Return the tp_name of an object, which sys.refmap_owners() looked for."""
    target = found[0].get(id(op))
    return found[2][target[0]][0] if target else type(op).__qualname__


class _Looks:
    """Numbers of one object, one at each look, which take no memory of their own.

    counts  -- ob_refcnt
    visible -- references that visible owners have
    given   -- references that the ledger gave it anew
    late    -- the same, when the result was gone
    """

    def __init__(self, n):
        self.counts = array.array('q', [0] * n)
        self.visible = array.array('q', [0] * n)
        self.given = array.array('q', [0] * n)
        self.late = array.array('q', [0] * n)

    @staticmethod
    def missing(found, op, floor=0):
        """Return how many references are missing, the count, and how many references
        visible owners have, as sys.refmap_owners() found it."""
        # The map knows no static object that is immortal.
        _, _, count, _, visible, _, _ = found[0].get(
            id(op), (0, 0, sys.getrefcount(op), 0, 0, 0, 0))
        if count >= COUNT_LIMIT:
            return 0, count, visible
        return max(0, visible - count + floor), count, visible

    def take(self, i, found, op, floor=0):
        """Note what was found at look `i`; return how many references are missing."""
        missing, self.counts[i], self.visible[i] = self.missing(found, op, floor)
        self.given[i] = missing
        return missing

    def lost(self, i):
        """How many references were missing in call i?"""
        return self.given[i] + self.late[i]

    def unowned(self, i):
        """How many references had nobody visible?"""
        return self.counts[i] - self.visible[i]


class Calls:
    """The calls, one at each call of this object.

    Look 0 is before the first call, look i after the i-th, and the last one when
    all is over. At a look everything must be as at the others: nothing that is
    noted may be an object, or the hunt would see it.
    """

    def __init__(self, callable, args, kwargs, ncalls):
        self.callable = callable
        self.args = args
        self.kwargs = kwargs
        self.targets = _targets(callable, args, kwargs)
        self.spare = [[target.op] * SPARE for target in self.targets]
        self.looks = [_Looks(ncalls + 2) for _ in self.targets]
        self.result_looks = _Looks(ncalls + 2)
        # Of each target, when what the call before left was cleaned up.
        self.rest = [array.array('q', [0] * (ncalls + 1)) for _ in self.targets]
        self.ended = array.array('b', [0] * (ncalls + 2))
        self.address = array.array('Q', [0] * (ncalls + 2))
        self.kind = array.array('q', [-1] * (ncalls + 2))
        self.kinds = {}             # name of a type or an exception: number
        self.number = array.array('q', [0])
        self.floors = [0] * len(self.targets)
        self.owners = None
        self.look(0)
        self.floors = [min(0, looks.unowned(0)) for looks in self.looks]

    def __call__(self):
        i = self.number[0] + 1
        self.number[0] = i
        self.note_rest(i - 1)
        try:
            result = self.callable(*self.args, **self.kwargs)
        except Exception as exc:
            self.ended[i] = RAISED
            self.note_kind(i, type(exc).__qualname__)
        else:
            self.ended[i] = RETURNED
            self.address[i] = id(result)
            self.look(i, result)
            if type(result) is types.CoroutineType:
                result.close()      # or it warns that nobody awaited it
            del result
            self.look_late(i)
            return
        self.look(i)

    def note_kind(self, i, name):
        """Note the name of a type, without keeping another string."""
        self.kind[i] = self.kinds.setdefault(name, len(self.kinds))

    def note_rest(self, i):
        for rest, target in zip(self.rest, self.targets):
            rest[i] = sys.getrefcount(target.op)

    def finish(self):
        """Take the last look."""
        n = self.number[0]
        self.note_rest(n)
        self.look(n + 1)

    def look(self, i, *result):
        """Look at the targets, and at the result if there is one."""
        found = sys.refmap_owners([*map(id, result),
                                   *(target.address for target in self.targets)])
        for looks, target, floor in zip(self.looks, self.targets, self.floors):
            missing = looks.take(i, found, target.op, floor)
            sys._refmap_give(target.op, missing)
        for op in result:
            self.note_kind(i, _type_name(found, op))
            missing = self.result_looks.take(i, found, op)
            if any(op is target.op for target in self.targets):
                # It has got them already, and of these one at the most is the result.
                self.result_looks.given[i] = min(1, missing)
            else:
                sys._refmap_give(op, missing)
        if i == 0 or i > self.number[0]:
            self.note_owners(found)

    def look_late(self, i):
        """Look once more if the death of the result took references.

        Not later: the garbage collector of a debug build aborts when references are
        missing.
        """
        if all(sys.getrefcount(target.op) >= rest[i - 1]
               for target, rest in zip(self.targets, self.rest)):
            return
        found = sys.refmap_owners([target.address for target in self.targets])
        for looks, target, floor in zip(self.looks, self.targets, self.floors):
            missing = looks.missing(found, target.op, floor)[0]
            looks.late[i] = missing
            sys._refmap_give(target.op, missing)

    def note_owners(self, found):
        """Remember who owns the targets, and who came since the last time."""
        before, self.owners = self.owners or {}, {}
        for address, kind, owner, type_, _, visits, words, _ in found[1]:
            name = (found[2][type_][0] if kind == 'object' else
                    'static data' if kind == 'static' else 'a running frame')
            count = self.owners.get((address, owner), (0, ''))[0]
            self.owners[address, owner] = count + max(visits, words), name
        self.came = []              # (target, owner, its name, references)
        for (address, owner), (count, name) in self.owners.items():
            more = count - before.get((address, owner), (0, ''))[0]
            if more > 0:
                self.came.append((address, owner, name, more))
        self.type_names = {target.address: _type_name(found, target.op)
                           for target in self.targets}

    def measured(self, warmups):
        """Return the numbers of the calls that are judged."""
        return range(warmups + 1, self.number[0] + 1)

    def borrowed(self, i, address):
        """How many references was a result short of that is a target?"""
        return self.result_looks.given[i] if self.address[i] == address else 0
