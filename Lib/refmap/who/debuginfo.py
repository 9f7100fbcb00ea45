"""Structures, and types of functions, from debug information.

gdb reads it, as a child process that runs in_gdb.py: it knows every version of
DWARF, and debug information that was moved to a file of its own. What it says
comes back as JSON, and is judged here, without gdb.

A member of a structure is a dict: name ('' if it has none), offset, size,
kind ('struct', 'union', 'array' or 'leaf'), pointer (can it refer to an
object?), and members; for an array, members has the one description of an
item, and offset is that of the first. A structure that may be that of a type
has in addition used (do variables of the type's functions point to it?) and
beside (was it declared in their file?).
"""

import json
import os
import re

from .binutils import ToolError, run

_SCRIPT = os.path.join(os.path.dirname(__file__), 'in_gdb.py')

# The answer is behind this, on a line of its own.
MARK = 'refmap-answer:'

# What every object begins with, on 64 bits.
HEAD = {0: 'ob_refcnt', 8: 'ob_type'}

_TPFLAGS_MANAGED_WEAKREF = 1 << 3
_TPFLAGS_MANAGED_DICT = 1 << 4


def ask(path, question):
    """Return what in_gdb.py answers to a question on a file, a dict.

    Raise ToolError if there is no gdb, or none that can do it.
    """
    options = ['-nx', '-iex', 'set auto-load off',
               '-iex', 'set debuginfod enabled off']
    # The file is named last, so that no name is taken for an option.
    out = run(['gdb', '--batch', *options, '-x', _SCRIPT, '--', path],
              json.dumps(question) + '\n')
    for line in out.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    raise ToolError(f'gdb cannot read {path}, or has no Python')


def name_at(member, offset):
    """Return the name of what is at an offset in a member.

    None if there is nothing, such as padding.
    """
    if not 0 <= offset - member['offset'] < member['size']:
        return None
    inner = offset - member['offset']
    if member['kind'] == 'array':
        return _item_at(member, inner)
    if member['kind'] == 'leaf':
        return ''
    # Of the members of a union, one that can refer to an object is meant.
    members = sorted(member['members'], key=lambda one: not _can_refer(one))
    for one in members:
        rest = name_at(one, inner)
        if rest is not None:
            return _join(one['name'], rest)
    return None


def _can_refer(member):
    return member['pointer'] or any(map(_can_refer, member.get('members', ())))


def _item_at(array, inner):
    item = array['members'][0]
    if not item['size']:
        return None
    rest = name_at({**item, 'offset': 0}, inner % item['size'])
    return None if rest is None else _join(f'[{inner // item["size"]}]', rest)


def _join(name, rest):
    if not name or not rest or rest.startswith('['):
        return name + rest
    return f'{name}.{rest}'


def last_array(structure):
    """Return (offset, description) of the array at a structure's end, or None.

    That is where the items of an object of variable size are.
    """
    offset = 0
    while structure['kind'] in ('struct', 'union') and structure['members']:
        last = max(structure['members'], key=lambda one: one['offset'])
        offset += last['offset']
        if last['kind'] == 'array':
            return offset, last
        structure = last
    return None


def fits(structure, basicsize, itemsize):
    """Is it the structure of a type of this tp_basicsize and tp_itemsize?"""
    if structure['size'] == basicsize:
        return True
    array = last_array(structure) if itemsize else None
    if array is None:
        return False
    # Some types count the first item, or the end of a string, as basic. The
    # type's own structure may have more of them: a frame has a whole
    # _PyInterpreterFrame there.
    first = basicsize - array[0]
    return first >= 0 and (structure['used']
                           or first <= array[1]['members'][0]['size'])


def choose(structures, type, words):
    """Return those candidates that the type can have, on the best evidence.

    Best is a structure that the type's own functions use: if there is one,
    none else is possible. Otherwise its name must tell, or where it was
    declared: in their file.

    words -- what the type may be called, lower case; see words_of()
    """
    used = [one for one in structures if one['used']]
    fitting = [one for one in used or structures
               if fits(one, type.basicsize, type.itemsize)]
    if used:
        return fitting
    for is_better in (lambda one: _plain(one['name']) in words,
                      lambda one: any(word in _plain(one['name'])
                                      for word in words),
                      lambda one: one['beside']):
        best = list(filter(is_better, fitting))
        if best:
            return best
    return []


_SLOT = re.compile(r'_?(tp_?)?(dealloc|traverse|clear)$')


def words_of(type_name, slots):
    """Return what a structure may be called, by the names of the type and of
    its functions: unicode_dealloc() is that of a PyUnicodeObject."""
    words = {type_name.rpartition('.')[2]}
    words.update(_SLOT.sub('', slot) for slot in slots)
    words = {word.replace('_', '').lower() for word in words}
    return {word.removeprefix('py') for word in words if len(word) > 2}


def _plain(name):
    """The name of a structure without what all of them have."""
    name = name.replace('_', '').lower().removeprefix('py')
    return name.removesuffix('object')


def _stretch(member, size):
    """Return the member with the array at its end so long that it has size."""
    if member['kind'] == 'array':
        return {**member, 'size': size}
    if member['kind'] == 'leaf' or not member['members']:
        return member
    last = max(member['members'], key=lambda one: one['offset'])
    others = [one for one in member['members'] if one is not last]
    last = _stretch(last, size - last['offset'])
    return {**member, 'size': size, 'members': [*others, last]}


def field_at(structures, type, words, offset):
    """Return the name of the field of a type at an offset, or None.

    For structures and words see choose(). If several structures are left,
    they must agree.
    """
    structures = choose(structures, type, words)
    if not structures:
        return HEAD.get(offset)
    if type.itemsize:
        structures = [one if offset < one['size'] or not last_array(one)
                      else _stretch(one, offset + 1) for one in structures]
    elif offset >= type.basicsize:
        return None
    names = {name_at(one, offset) for one in structures}
    return _without_head(names.pop()) if len(names) == 1 else None


def _without_head(name):
    """Name members of PyObject_HEAD as C code does: ob_type."""
    return name and name.replace('ob_base.', '') or None


def field_before(flags, offset):
    """Return the name of what is kept in front of an object, or None.

    Where the attributes of instances and the weak references to them are is
    said by the flags of their type; sizes are those of 64 bits.
    """
    if offset == -24 and flags & _TPFLAGS_MANAGED_DICT:
        return '__dict__'
    if offset == -32 and flags & _TPFLAGS_MANAGED_WEAKREF:
        return '__weakref__'
    return None
