"""How a living object is reached: from a module, a static variable or a
running frame, over what they hold, to the object.

Nothing is called but the interpreter's own functions; see refmap.saferepr.
"""

import functools
import gc
import os
import sys
import types
from collections import namedtuple

from ..saferepr import safe_repr, shorten, type_name
from .owners import share_out

# How many steps a chain has at most, and how many objects are followed a step.
MAX_STEPS = 8
MAX_FOLLOWED = 500

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_dict_of_module = types.ModuleType.__dict__['__dict__'].__get__
_dict_of_type = type.__dict__['__dict__'].__get__
_mro_of = type.__dict__['__mro__'].__get__

# What their items have no names for.
CONTAINERS = {set: 'an item', frozenset: 'an item',
              types.CellType: '.cell_contents'}

# An object on the way, and the Owner that has the one before.
Step = namedtuple('Step', 'owner child')


def find(addresses, leaked, symbols=None, search=None):
    """Find a shortest chain for each object.

    addresses -- of the objects
    leaked -- addresses of objects that are no explanation
    symbols -- a symbols.Symbols, or None
    search -- in place of sys.refmap_owners(), for tests
    Return {address: [text]}, a line per step, a root first. Where no root is
    found within MAX_STEPS the first line says so.
    """
    chains = {}
    web = Web(leaked, search or sys.refmap_owners)
    waiting = list(addresses)
    for _ in range(MAX_STEPS):
        if not waiting:
            break
        web.grow(waiting)
        for address in list(waiting):
            steps = web.way_to(address)
            if steps:
                chains[address] = describe(steps, address, symbols)
                waiting.remove(address)
    for address in waiting:
        steps = web.way_to(address, only_from_root=False)
        chains[address] = ['what holds it is not followed further',
                           *describe(steps, address, symbols)] if steps else []
    return chains


def is_root(owner):
    return owner.kind != 'object' or is_module(owner.address)


def is_module(address):
    return type(fetch(address)) is types.ModuleType


def fetch(address):
    """Return the living object at an address, or None."""
    try:
        return sys._refmap_object(address)
    except LookupError:
        return None


class Web:
    """Objects, and who has them, as far as they were followed."""

    def __init__(self, leaked, search):
        self.leaked = set(leaked)
        self.search = search
        self.owners = {}        # object -> Owners of it
        self.edge = None        # objects that nobody asked about yet

    def grow(self, addresses):
        """Ask once more: who has the objects that were found last?"""
        if self.edge is None:
            self.edge = list(addresses)
        asked = self.edge[:MAX_FOLLOWED]
        if not asked:
            return
        objects, owners, *_ = self.search(asked)
        shares, _ = share_out(objects, owners, self.leaked)
        self.edge = []
        for address in asked:
            known = [owner for owner in shares.get(address, ())
                     if self.is_explanation(owner)]
            # What leads further first.
            known.sort(key=lambda owner: owner.visits == 0)
            self.owners[address] = known
        for address in asked:
            for owner in self.owners[address]:
                if (owner.kind == 'object' and owner.address not in self.owners
                        and owner.address not in self.edge):
                    self.edge.append(owner.address)

    def is_explanation(self, owner):
        if owner.kind == 'object':
            return owner.address not in self.leaked
        if owner.kind == 'thread' and owner.address:
            code = fetch(owner.address)
            return not (code is not None
                        and code.co_filename.startswith(_PACKAGE))
        return True

    def way_to(self, address, only_from_root=True):
        """Return the Steps of a shortest way from a root to an object; if
        there is none [], or those of a longest way, wherever that begins."""
        before = {address: None}
        last = []
        queue = [address]
        for child in queue:
            for owner in self.owners.get(child, ()):
                if owner.kind == 'object' and owner.address in before:
                    continue
                last = [Step(owner, child), *before_of(child, before)]
                if is_root(owner):
                    return last
                before[owner.address] = last[0]
                queue.append(owner.address)
        return [] if only_from_root else last


def before_of(address, before):
    """Return the Steps that lead from an object to the one asked about."""
    steps = []
    while before[address] is not None:
        step = before[address]
        steps.append(step)
        address = step.child
    return steps


# --- text --------------------------------------------------------------------

def describe(steps, address, symbols):
    """Return the lines of a chain."""
    first = steps[0].owner
    lines = []
    if first.kind == 'object':
        lines.append(name(fetch(first.address), first.address))
    for owner, child in steps:
        value = fetch(child)
        how = label(owner, fetch(owner.address), child, symbols)
        lines.append(f'{how}: {name(value, child)}')
    return lines


def name(value, address):
    """Say what an object is, in a few words."""
    if value is None:
        return f'an object at {address:#x}'
    if isinstance(value, (types.ModuleType, type, types.FunctionType)):
        return shorten(safe_repr(value, 0))
    return f'{type_name(type(value))} at {address:#x}'


def label(owner, holder, child, symbols):
    """Say where in its owner an object is."""
    if owner.kind == 'static':
        return static_label(owner)
    if owner.kind == 'thread':
        return local_label(owner, holder)
    if holder is None:
        return offset_label(owner)
    cls = type(holder)
    if issubclass_of(cls, dict):
        return key_label(dict.items(holder), child) or offset_label(owner)
    if issubclass_of(cls, (list, tuple)):
        for i, item in enumerate(items_of(holder)):
            if id(item) == child:
                return f'[{i}]'
    return (CONTAINERS.get(cls) or attribute_label(holder, cls, child)
            or field_label(owner, cls, symbols) or offset_label(owner))


def issubclass_of(cls, bases):
    """issubclass() that calls no __subclasscheck__."""
    bases = bases if type(bases) is tuple else (bases,)
    return any(item is base for item in _mro_of(cls) for base in bases)


def items_of(holder):
    """The items of a list or tuple, whatever its class says they are."""
    cls = list if issubclass_of(type(holder), list) else tuple
    return cls.__iter__(holder)


def key_label(items, child):
    for key, value in items:
        if id(value) == child:
            return f'[{shorten(safe_repr(key, 0))}]'
        if id(key) == child:
            return 'a key'
    return None


def attribute_label(holder, cls, child):
    """Name an attribute, if the interpreter's own descriptors know it."""
    if cls is types.ModuleType:
        return '.__dict__' if id(_dict_of_module(holder)) == child else None
    if issubclass_of(cls, type):
        # The mapping proxy holds it.
        for names in gc.get_referents(_dict_of_type(holder)):
            if id(names) == child:
                return '.__dict__'
    for base in _mro_of(cls):
        for key, item in _dict_of_type(base).items():
            if type(item) is not types.MemberDescriptorType:
                continue
            try:
                value = item.__get__(holder)
            except AttributeError:
                continue
            if id(value) == child and type(key) is str:
                return f'.{key}'
    names = instance_dict(holder, cls)
    if names is not None:
        if id(names) == child:
            return '.__dict__'
        for key, value in names.items():
            if id(value) == child:
                return f'.{key}' if type(key) is str else f'.__dict__[{key!r}]'
    return None


def instance_dict(holder, cls):
    """The __dict__ of an instance of a class made by `class`, or None."""
    for base in _mro_of(cls):
        item = _dict_of_type(base).get('__dict__')
        if type(item) is types.GetSetDescriptorType and base is not type:
            try:
                names = item.__get__(holder)
            except AttributeError:
                return None
            return names if type(names) is dict else None
    return None


def field_label(owner, cls, symbols):
    if symbols is None or not owner.paths:
        return None
    from .owners import Type
    found = sys.refmap_owners([owner.address])[2]
    known = {address: Type(address, *rest) for address, rest in found.items()}
    field = symbols.field(known[id(cls)], owner.paths[0][0], known)
    return f'its field {field}' if field else None


def offset_label(owner):
    if not owner.paths:
        return 'reported by its tp_traverse'
    path = owner.paths[0]
    text = f'in its memory, at offset {path[0]}'
    for offset in path[1:]:
        text += f', in the block that it points to, at offset {offset}'
    return text


def local_label(owner, code):
    """Name the local variable of a running frame."""
    if code is None or not owner.paths:
        return 'a thread'
    where = f'{code.co_qualname}, {code.co_filename}:{code.co_firstlineno}'
    i = owner.paths[0][0]
    names = code.co_varnames + tuple(
        cell for cell in code.co_cellvars if cell not in code.co_varnames
    ) + code.co_freevars
    if 0 <= i < len(names):
        return f'local variable {names[i]!r} of {where}'
    return f'the running frame of {where}'


def static_label(owner):
    """Name the static variable that has an object, or at least its module."""
    path, offset = module_at(owner.address)
    name, start = variable_at(path, offset) if path else ('', 0)
    module = os.path.basename(path)
    if name:
        inside = f'+{offset - start:#x}' if offset > start else ''
        text = f'static variable {name}{inside} of {module}'
    elif path:
        text = f'static data of {module}+{offset:#x}'
    else:
        text = f'static data at {owner.address:#x}'
    for inner in owner.paths[0][1:] if owner.paths else ():
        text += f', in the block that it points to, at offset {inner}'
    return text


def variable_at(path, address):
    """Return the name and the address of the variable at an address in a file,
    as it is before the file is loaded; ('', 0) if nm does not tell."""
    for options in (), ('-D',):
        for start, size, name in variables(path, *options):
            if start <= address < start + size:
                return name, start
    return '', 0


@functools.cache
def variables(path, *options):
    """Return [(address, size, name)] of the variables of an executable or a
    shared object."""
    import re
    import subprocess
    try:
        done = subprocess.run(['nm', '-S', '--defined-only', *options, path],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    found = re.findall(r'^([0-9a-f]+) ([0-9a-f]+) [bBdDuV] (.+)$',
                       done.stdout.decode(errors='replace'), re.MULTILINE)
    return [(int(start, 16), int(size, 16), name)
            for start, size, name in found]


def module_at(address):
    """Return the file of the module whose static data is at an address, and
    the offset from where it is loaded; ('', 0) if the system does not tell.

    Data without initial values lies behind what is mapped from the file.
    """
    path, base, base_of = '', 0, {}
    try:
        with open('/proc/self/maps', encoding='utf-8',
                  errors='surrogateescape') as file:
            for line in file:
                fields = line.split(maxsplit=5)
                start, end = (int(part, 16) for part in fields[0].split('-'))
                if len(fields) == 6 and fields[5].startswith('/'):
                    path = fields[5].rstrip('\n')
                    base = base_of.setdefault(path, start - int(fields[2], 16))
                elif len(fields) == 6:
                    path = ''
                if start <= address < end:
                    return path, address - base
    except (OSError, ValueError):
        pass
    return '', 0
