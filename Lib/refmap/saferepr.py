"""Say what an object is without running any code of its own.

repr() and sys.getsizeof() call methods that a class may define, and an object
that leaked may be half destroyed. Here only exact built-in types are looked
into, with functions of the interpreter itself.
"""

import gc
import struct
import sys
import types
from _codecs import utf_32_le_encode

# How many characters of a string and how many items of a container to show.
MAX_TEXT = 50
MAX_ITEMS = 3
# Longer strings are not looked into.
MAX_ENCODED = 1 << 20

_type_dict = type.__dict__
_qualname_of = _type_dict['__qualname__'].__get__
_module_of = _type_dict['__module__'].__get__
_mro_of = _type_dict['__mro__'].__get__
_args_of = BaseException.__dict__['args'].__get__

# Classes are looked up by id(): a metaclass may define __hash__ and __eq__.
_SIZED = {id(cls) for cls in (bytes, bytearray, str, list, tuple, dict, set,
                              frozenset, int)}


def shorten(text, limit=MAX_TEXT):
    """Return `text`, or its beginning and '...'."""
    return text if len(text) <= limit else text[:limit] + '...'


def type_name(cls):
    """Return the qualified name of a class, without calling its metaclass."""
    try:
        module, name = _module_of(cls), _qualname_of(cls)
    except (AttributeError, TypeError):
        module, name = None, None
    if type(name) is not str:
        return '?'
    if type(module) is not str or module == 'builtins':
        return name
    return f'{module}.{name}'


def _text(value):
    """A bytes or bytearray object."""
    if len(value) > MAX_TEXT:
        return f'{value[:MAX_TEXT]!r}... ({len(value)} long)'
    return repr(value)


def _str(value):
    """A str, which may never have been completed.

    That has other characters than it claims to have, and debug builds end where
    they meet it. An encoder looks at the characters only.
    """
    length = len(value)
    if length > MAX_ENCODED:
        return f'<str of {length}>'
    codes = struct.unpack_from(f'<{min(length, MAX_TEXT)}I',
                               utf_32_le_encode(value, 'surrogatepass')[0])
    head = ''.join([chr(code) if code <= sys.maxunicode else '\ufffd'
                    for code in codes])
    return f'{head!r}... ({length} long)' if length > MAX_TEXT else repr(head)


def _number(value):
    """An int, which may have too many digits to be printed."""
    if -1 << 64 < value < 1 << 64:
        return repr(value)
    return f'<int of {value.bit_length()} bits>'


def _items(items, length, brackets, show):
    """A container of `length`: show(item) for its first items."""
    shown = []
    for item in items:
        if len(shown) == MAX_ITEMS:
            shown.append(f'... {length} items')
            break
        shown.append(show(item))
    return f'{brackets[0]}{", ".join(shown)}{brackets[1]}'


def _sequence(value, brackets):
    """A list or tuple.

    An error while it was built may have left it with items that were never
    set, which only the garbage collector knows to skip.
    """
    items = gc.get_referents(value)
    unset = len(value) - len(items)
    if unset == 0:
        return _items(value, len(value), brackets, _shallow)
    items.reverse()             # it begins with the last one
    text = _items(items, len(value), brackets, _shallow)
    return text + f', {unset} of {len(value)} never set'


def _shallow(value):
    """An item of a container."""
    return safe_repr(value, 0)


def _dict(value):
    def show(item):
        return f'{_shallow(item[0])}: {_shallow(item[1])}'
    return _items(value.items(), len(value), '{}', show)


def _module(value):
    name = types.ModuleType.__dict__['__dict__'].__get__(value)
    for key, item in (name or {}).items():
        # The first key of a module; never a look-up, which may compare.
        if type(key) is str and key == '__name__' and type(item) is str:
            return f'<module {item!r}>'
    return '<module>'


_CONTAINERS = {
    list: lambda value: _sequence(value, '[]'),
    tuple: lambda value: _sequence(value, '()'),
    set: lambda value: _items(value, len(value), '{}', _shallow),
    frozenset: lambda value: _items(value, len(value), ('frozenset({', '})'),
                                    _shallow),
    dict: _dict,
}

_ATOMS = {
    str: _str, bytes: _text, bytearray: _text,
    int: _number, float: repr, complex: repr, bool: repr,
    type(None): repr, type(...): repr, type(NotImplemented): repr,
    types.FunctionType:
        lambda value: f'<function {value.__qualname__}>',
    types.BuiltinFunctionType:
        lambda value: f'<built-in {value.__name__}>',
    types.CodeType:
        lambda value: f'<code {value.co_qualname} in {value.co_filename}:'
                      f'{value.co_firstlineno}>',
    types.FrameType:
        lambda value: f'<frame of {value.f_code.co_qualname}>',
    types.GeneratorType:
        lambda value: f'<generator {value.gi_code.co_qualname}>',
    types.CoroutineType:
        lambda value: f'<coroutine {value.cr_code.co_qualname}>',
    types.ModuleType: _module,
}


_SHOW = {id(cls): show for cls, show in _ATOMS.items()}
_SHOW_INSIDE = {id(cls): show for cls, show in _CONTAINERS.items()}


def _exception(value, depth):
    """An exception of any class: its arguments are a tuple, and None once
    tp_clear has run."""
    args = _args_of(value)
    inside = _sequence(args, '()') if depth and args is not None else ''
    return f'<{type_name(type(value))}{inside}>'


def safe_repr(value, depth=1):
    """Return one short line about `value`. It never runs its methods.

    depth -- 0: do not look into containers
    """
    cls = type(value)
    if id(cls) in _SHOW:
        return _SHOW[id(cls)](value)
    if id(cls) in _SHOW_INSIDE:
        if depth:
            return _SHOW_INSIDE[id(cls)](value)
        return f'<{type_name(cls)} of {len(value)}>'
    if has_base(cls, type):
        return f'<class {type_name(value)}>'
    if has_base(cls, BaseException):
        return _exception(value, depth)
    return f'<{type_name(cls)} object>'


def has_base(cls, base):
    """Is `base` among the base classes of `cls`? No __subclasscheck__ runs."""
    return any(item is base for item in _mro_of(cls) or ())


def safe_size(value):
    """Return the size of an object in bytes, without what precedes it.

    For other than built-in types it is that of the object itself, without
    memory it may own.
    """
    cls = type(value)
    if id(cls) in _SIZED:
        return cls.__sizeof__(value)
    return object.__sizeof__(value)
