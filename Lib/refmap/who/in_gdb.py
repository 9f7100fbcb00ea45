"""Answers questions on debug information; runs in gdb, not in the interpreter.

A question is one line of JSON on standard input, an object:

    types     a list of objects, each one with code, link addresses of
              functions, size and items: the structures that may be that of a
              type with these functions, this tp_basicsize and this
              tp_itemsize, in the compilation units of the functions
    hands_out link addresses in functions: can these functions, and those that
              are inlined there, hand an object to their caller?

See debuginfo.py for the answer.
"""

import json
import sys

import gdb

MARK = 'refmap-answer:'

# Structures that are deeper or longer than this are no objects' own.
MAX_DEPTH = 8
MAX_MEMBERS = 500

# Functions of many types have variables of these.
NOT_THEIR_OWN = ('PyObject', '_object', 'PyVarObject', 'PyTypeObject',
                 '_typeobject', 'PyModuleDef', 'PyModuleDef_Base')

# Structures that the interpreter hands on from function to function: they are
# nobody's variables.
HANDED_ON = ('_ts', '_is', '_PyInterpreterFrame', 'pyruntimestate')

AGGREGATES = (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION)


def starts_with_head(ctype, depth=0):
    """Does a structure begin with PyObject_HEAD?"""
    ctype = ctype.strip_typedefs()
    if ctype.code != gdb.TYPE_CODE_STRUCT or depth > MAX_DEPTH:
        return False
    if ctype.tag == '_object':
        return True
    fields = ctype.fields()
    return bool(fields) and starts_with_head(fields[0].type, depth + 1)


def can_refer(ctype):
    """Can a value of the type be the address of an object? None: unknown."""
    ctype = ctype.strip_typedefs()
    if ctype.code != gdb.TYPE_CODE_PTR:
        return False
    target = ctype.target().strip_typedefs()
    if target.code == gdb.TYPE_CODE_VOID:
        return True
    if target.code == gdb.TYPE_CODE_STRUCT and not target.fields():
        return None
    return starts_with_head(target)


def describe(name, offset, ctype, depth=0):
    ctype = ctype.strip_typedefs()
    member = {'name': name or '', 'offset': offset, 'size': ctype.sizeof,
              'kind': 'leaf', 'pointer': can_refer(ctype) is not False}
    if depth >= MAX_DEPTH:
        return member
    if ctype.code == gdb.TYPE_CODE_ARRAY:
        member['kind'] = 'array'
        member['members'] = [describe('', 0, ctype.target(), depth + 1)]
    elif ctype.code in AGGREGATES:
        member['kind'] = ('struct' if ctype.code == gdb.TYPE_CODE_STRUCT
                          else 'union')
        member['members'] = [
            describe('' if field.is_base_class else field.name,
                     field.bitpos // 8, field.type, depth + 1)
            for field in ctype.fields()[:MAX_MEMBERS]
            # Static members of C++ have no place in the object.
            if hasattr(field, 'bitpos')]
    return member


def blocks_at(address):
    """Yield the blocks around an address up to the function's own."""
    block = gdb.block_for_pc(address)
    while block is not None and not block.is_global and not block.is_static:
        yield block
        if block.function is not None and not inlined(block):
            return
        block = block.superblock


def inlined(block):
    """Inlined functions lie within others."""
    outer = block.superblock
    while outer is not None:
        if outer.function is not None:
            return True
        outer = outer.superblock
    return False


def outermost_block(address):
    """Return the block of the function at an address, or None."""
    outermost = None
    for outermost in blocks_at(address):
        pass
    return outermost


def inner_blocks(outermost):
    """Yield all blocks of a function, given its own."""
    seen = set()
    address = outermost.start
    while address < outermost.end and len(seen) < 1000:
        step = outermost.end
        for block in blocks_at(address):
            if (block.start, block.end) not in seen:
                seen.add((block.start, block.end))
                yield block
            step = min(step, block.end)
        address = max(step, address + 1)


def is_of_a_type(name, ctype):
    """Can it be the structure of a type?"""
    return name not in NOT_THEIR_OWN and starts_with_head(ctype)


def pointed_to(blocks, kinds=('is_argument', 'is_variable')):
    """Return {name: type} of the structures of types that variables in blocks
    point to, by all of their names."""
    found = {}
    for block in blocks:
        for symbol in block:
            if not any(getattr(symbol, kind) for kind in kinds):
                continue
            ctype = symbol.type.strip_typedefs()
            if ctype.code == gdb.TYPE_CODE_PTR:
                target = ctype.target()
                found.update((name, target)
                             for name in (target.name, target.tag)
                             if name and is_of_a_type(name, target))
    return found


def types_in(symtab):
    """Yield (name, type, was it declared in the source file itself?) of the
    structures that a compilation unit knows."""
    for block in symtab.static_block(), symtab.global_block():
        for symbol in block:
            if (symbol.addr_class == gdb.SYMBOL_LOC_TYPEDEF
                    and symbol.type is not None
                    and symbol.type.strip_typedefs().code
                    == gdb.TYPE_CODE_STRUCT):
                beside = symbol.symtab.filename == symtab.filename
                yield symbol.name, symbol.type, beside


def structures(question):
    """Describe what may be the structure of a type: it begins with
    PyObject_HEAD, and is of about the right size or used by its functions."""
    blocks = list(filter(None, map(outermost_block, question['code'])))
    # An argument is the object itself, a variable may be another one.
    used = pointed_to(blocks, ['is_argument'])
    for block in () if used else blocks:
        used.update(pointed_to(inner_blocks(block)))
    described = [{**describe(name, 0, ctype), 'used': True, 'beside': False}
                 for name, ctype in used.items()]
    # Others are no candidates if there are such; see debuginfo.choose().
    return described or [
        {**describe(name, 0, ctype), 'used': False, 'beside': beside}
        for name, (ctype, beside) in of_size(question).items()
        if is_of_a_type(name, ctype)]


def of_size(question):
    """Return {name: (type, beside)} of structures of about the right
    size in the compilation units."""
    candidates = {}
    for address in question['code']:
        symtab = gdb.find_pc_line(address).symtab
        if symtab is None:
            continue
        for name, ctype, beside in types_in(symtab):
            size = ctype.strip_typedefs().sizeof
            if size == question['size'] or (
                    question['items'] and abs(size - question['size']) <= 64):
                candidates[name] = ctype, beside
    return candidates


def may_hold(ctype, depth=0):
    """Can a variable of the type hold a reference, in a member perhaps?"""
    ctype = ctype.strip_typedefs()
    if ctype.code == gdb.TYPE_CODE_PTR:
        return can_refer(ctype) is not False
    return (ctype.code in AGGREGATES and depth < MAX_DEPTH
            and any(may_hold(field.type, depth + 1)
                    for field in ctype.fields()[:MAX_MEMBERS]))


def is_variable(ctype):
    """Does a parameter point to a variable that may hold a reference? An
    object is none: what is stored there is in memory."""
    ctype = ctype.strip_typedefs()
    if ctype.code not in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF):
        return False
    target = ctype.target().strip_typedefs()
    return (target.tag not in HANDED_ON and not starts_with_head(target)
            and may_hold(target))


def ways_out_at(address):
    """Return {function: can it hand an object to its caller?} of those at an
    address."""
    types = {block.function.name: block.function.type
             for block in blocks_at(address) if block.function is not None}
    return {name: can_refer(ctype.target()) is not False
            or any(is_variable(field.type) for field in ctype.fields())
            for name, ctype in types.items()}


def or_nothing(function, argument, nothing):
    """Call a function; what gdb cannot read does not spoil the rest."""
    try:
        return function(argument)
    except (RuntimeError, AttributeError, TypeError, ValueError):
        # gdb.error is a RuntimeError; the others are what it lacks.
        return nothing


def answer(question):
    known = {}
    for address in question.get('hands_out', ()):
        for name, can in or_nothing(ways_out_at, address, {}).items():
            known[name] = known.get(name) or can
    return {'types': [or_nothing(structures, one, [])
                      for one in question.get('types', ())],
            'hands_out': known}


print('\n' + MARK + json.dumps(answer(json.loads(sys.stdin.readline()))))
