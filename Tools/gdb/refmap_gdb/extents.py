"""How much memory belongs to an object, and what its words are called."""

from .dictkeys import DictKeys
from .frames import FrameReader
from .layout import (FLAG_HEAPTYPE, FLAG_INLINE_VALUES, FLAG_LONG,
                     FLAG_MANAGED_DICT, FLAG_MANAGED_WEAKREF, FLAG_TUPLE,
                     FLAG_TYPE, MANAGED_DICT_OFFSET, MANAGED_WEAKREF_OFFSET,
                     SHARED_KEYS_MAX)
from .limits import MAX_BASES, MAX_MEMBERS, MAX_OBJECT
from .memory import signed


class Extents:
    """How much memory belongs to an object, and what its words are called."""

    # The C structs of built-in types, for the names of their fields.
    STRUCTS = {
        'builtin_function_or_method': 'PyCFunctionObject',
        'builtin_method': 'PyCMethodObject',
        'cell': 'PyCellObject',
        'code': 'PyCodeObject',
        'dict': 'PyDictObject',
        'frame': 'PyFrameObject',
        'function': 'PyFunctionObject',
        'generator': 'PyGenObject',
        'coroutine': 'PyCoroObject',
        'async_generator': 'PyAsyncGenObject',
        'list': 'PyListObject',
        'method': 'PyMethodObject',
        'method_descriptor': 'PyMethodDescrObject',
        'module': 'PyModuleObject',
        'slice': 'PySliceObject',
        'wrapper_descriptor': 'PyWrapperDescrObject',
        'weakref.ReferenceType': 'PyWeakReference',
        'weakref.ProxyType': 'PyWeakReference',
        'BaseException': 'PyBaseExceptionObject',
        'set': 'PySetObject',
        'frozenset': 'PySetObject',
    }
    # Their memory is data, not references.
    PLAIN = {'str', 'bytes', 'int', 'float', 'complex', 'bytearray', 'bool'}
    # References that nobody counts.
    BORROWED = {'wr_object', 'wr_prev', 'wr_next', 'tp_weaklist',
                'md_weaklist', 'func_weakreflist', 'co_weakreflist'}

    def __init__(self, target):
        self.target = target
        self.memory = target.memory
        self.types = target.types
        self.keys = DictKeys(target)
        self.frames = FrameReader(target)
        self.member_names = {}      # type address: {offset: name}

    def size(self, address, info):
        """Return the number of bytes that begin at `address`."""
        if info.address == 0:
            return self.keys.size(address) if info.is_keys else 0
        size = info.basicsize
        if info.flags & FLAG_INLINE_VALUES:
            capacity = self.memory.read(address + size, 1)
            values = self.target.struct('struct _dictvalues')
            n = min(capacity[0], SHARED_KEYS_MAX) if capacity else 0
            size += values.offset('values') + 8 * n
        elif info.is_builtin(*FrameReader.OWNERS):
            size = self.frames.owner_size(address, info.name)
        elif info.itemsize:
            at = self.target.struct('PyVarObject').offset('ob_size')
            n = self.memory.word(address + at) or 0
            n = n >> 3 if info.flags & FLAG_LONG else abs(signed(n))
            size += info.itemsize * n
        return max(0, min((size + 7) & ~7, MAX_OBJECT))

    def name(self, address, info, place):
        """Return (what the word at `place` is in the object, whether the
        reference is counted), or None if it is no reference."""
        offset = place - address
        if info.is_keys:
            name = self.keys.name(address, offset)
            return name and (name, True)
        if info.is_builtin(*self.PLAIN) or offset < 0:
            return self.name_before(info, offset)
        if info.flags & FLAG_TYPE:
            return self.name_in_type(info, offset)
        if info.weaklist > 0 and offset == info.weaklist:
            return '__weaklist__', False
        if info.flags & FLAG_TUPLE and offset != info.dictoffset:
            items = self.target.struct('PyTupleObject').offset('ob_item')
            return f'item {(offset - items) // 8}', True
        if info.flags & FLAG_INLINE_VALUES and offset >= info.basicsize:
            return self.name_inline(address, info, offset)
        return self.name_of_field(address, info, offset)

    def name_before(self, info, offset):
        """What stands before the object."""
        if info.flags & FLAG_MANAGED_DICT and offset == MANAGED_DICT_OFFSET:
            return '__dict__', True
        if (info.flags & FLAG_MANAGED_WEAKREF
                and offset == MANAGED_WEAKREF_OFFSET):
            return '__weaklist__', False
        return None

    def name_in_type(self, info, offset):
        heap = self.target.struct('PyHeapTypeObject')
        name = heap.name_at(offset) if offset < heap.size else None
        if name is None:
            return f'offset {offset}', True
        name = name.removeprefix('ht_type.')
        return name, name not in self.BORROWED

    def name_inline(self, address, info, offset):
        """An attribute that is kept right behind the object."""
        form = self.target.struct('struct _dictvalues')
        base = address + info.basicsize
        index = (offset - info.basicsize - form.offset('values')) // 8
        data = self.memory.read(base, form.offset('values'))
        if index < 0 or not data or not form.get(data, 'valid'):
            return None
        heap = self.target.struct('PyHeapTypeObject')
        shared = self.memory.word(info.address + heap.offset('ht_cached_keys'))
        name = self.keys.key(shared, index) or f'number {index}'
        return f'attribute {name}', True

    def name_of_field(self, address, info, offset):
        if offset == info.dictoffset:
            return '__dict__', True
        if info.is_builtin(*FrameReader.OWNERS):
            at = self.frames.offset_in(info.name)
            if offset >= at:
                return self.frames.name(address + at, address + offset)
        elif info.is_builtin('code'):
            code = self.target.struct('PyCodeObject')
            if offset >= code.offset('co_code_adaptive'):
                # The caches of specialized instructions own nothing.
                return None
        name = self.member(info, offset)
        return (name, name not in self.BORROWED) if name \
            else (f'offset {offset}', True)

    def member(self, info, offset):
        """The name of a field, from the C struct or from __slots__."""
        for _ in range(MAX_BASES):
            if info.is_builtin(*self.STRUCTS):
                form = self.target.struct(self.STRUCTS[info.name])
                name = form.name_at(offset)
                if name is not None:
                    return 'element' if name == 'smalltable' else name
            name = self.members(info).get(offset)
            if name is not None:
                return f'slot {name!r}' if info.flags & FLAG_HEAPTYPE else name
            if not info.base:
                return None
            info = self.types[info.base]
        return None

    def members(self, info):
        """Return {offset: name} of a type's tp_members."""
        names = self.member_names.get(info.address)
        if names is None:
            names = self.member_names[info.address] = {}
            form = self.target.struct('PyMemberDef')
            at = info.members
            data = at and self.memory.read(at, form.size)
            while data and form.get(data, 'name') and len(names) < MAX_MEMBERS:
                name = self.memory.text(form.get(data, 'name'))
                names[form.get(data, 'offset')] = name
                at += form.size
                data = self.memory.read(at, form.size)
        return names
