"""The refcount map in gdb: which object holds how many references.

Works on a process that is stopped and on a core dump. Memory is read and
nothing else: no function of the process is called.

gdb loads this file together with the python-gdb.py it stands beside;
"source refmap_gdb.py" does it by hand. Objects are shown in Python's words if
libpython.py is loaded, plainly if not. "help py-refmap" begins the tour.

Layers, each using only those above it:
  memory and layouts   bytes of the process, and where C keeps its fields
  the model            maps, blocks, snapshots, types, objects
  questions            tallies, diffs, verification, who refers to an object
  commands             one small class each

gdb runs scripts in one namespace, so no name here is one of libpython.py's.
"""

import bisect
import collections
import contextlib
import fnmatch
import heapq
import itertools
import re
import struct
import sys

import gdb


# What is read comes from a process that may be broken: nothing is followed,
# counted or printed without an end.
MAX_BLOCKS = 1 << 24            # 64 GiB of objects
MAX_CHAIN = 10_000              # items of a linked list
MAX_OBJECT = 1 << 32            # bytes of one object or array
MAX_HITS = 100_000              # places that refer to an object
MAX_NAME = 255                  # bytes of a type's name
MAX_SHOWN = 100                 # lines of a list, unless told
REPR_LEN = 200                  # characters of an object's representation
LONG_TEXT = 4096                # longer strings are not given to libpython.py

# Neighbours are read in one go, with what little lies between them.
RUN_GAP = 4096
RUN_LIMIT = 4 << 20
BATCH = 1024                    # blocks in memory at a time

# From Include/internal/pycore_refmap.h; enumerators and macros with a value of
# their own are not in the debug information.
PAGE_BITS = 12
PAGE_SIZE = 1 << PAGE_BITS
SLOT_BITS = 4
SLOTS = PAGE_SIZE >> SLOT_BITS
LANES = 2
BIRTH_BORN = 0x80000000
BIRTH_KEYS = 0x40000000
BIRTH_ODD = 0x20000000
BIRTH_OWN = 0x10000000
BIRTH_SERIAL = 0x0fffffff
COUNT_NEGATIVE = 0xff000000     # counts from here on are below zero
MAX_PAGE = 1 << (48 - PAGE_BITS)
FINDINGS_KEPT = 256
LOST_BLOCK = 1
FIXED_NAMES = ('?', 'dict keys')

# Stand for a type's address where there is none.
UNKNOWN_TYPE = 0
KEYS_TYPE = -1

# From Include/object.h and Include/internal/pycore_frame.h.
FLAG_INLINE_VALUES = 1 << 2
FLAG_MANAGED_WEAKREF = 1 << 3
FLAG_MANAGED_DICT = 1 << 4
FLAG_HEAPTYPE = 1 << 9
FLAG_LONG = 1 << 24
FLAG_LIST = 1 << 25
FLAG_TUPLE = 1 << 26
FLAG_BYTES = 1 << 27
FLAG_UNICODE = 1 << 28
FLAG_DICT = 1 << 29
FLAG_TYPE = 1 << 31
FRAME_OF_GENERATOR = 1
FRAME_OF_OBJECT = 2
FRAME_OF_C = 3
GENERATOR_CLEARED = 4         # enum _framestate
KEYS_GENERAL = 0
SHARED_KEYS_MAX = 30


class RefmapError(Exception):
    """A sentence for the user, who can do something about it."""


class RefmapUnreadable(RefmapError):
    """Memory that the process has not, or that is not in the core."""


def refmap_signed(value, bits=64):
    """The two's complement meaning of an unsigned value."""
    return value - (1 << bits) if value >> (bits - 1) else value


def refmap_hash(page):
    """As the C function of that name, for the key of a block."""
    product = page * 0x9E3779B97F4A7C15
    return (product ^ product >> 32 & 0xffffffff) & 0xffffffff


def refmap_many(n, noun):
    """Return '1 noun' or 'n nouns'."""
    return f'{n} {noun}' if n == 1 else f'{n} {noun}s'


def refmap_is_immortal(refcnt):
    """Is this an immortal object's ob_refcnt? It has 2^31 or more, in 32
    bits; freed memory is not taken for an immortal object."""
    return refcnt >> 31 == 1


def refmap_decode(even, odd):
    """(count, birth) of the two words of a slot, as refmap_decode() in C."""
    if odd & (BIRTH_BORN | BIRTH_ODD) == BIRTH_BORN:
        return even, odd
    if (even & (BIRTH_BORN | BIRTH_ODD | BIRTH_KEYS)
            == BIRTH_BORN | BIRTH_ODD):
        return odd, even
    return (even, 0) if odd == 0 else (even + odd & 0xffffffff, BIRTH_ODD)


def refmap_count(count):
    """The count of a slot, as refmap_count() in C; see pycore_refmap.h."""
    return count if count < COUNT_NEGATIVE else refmap_signed(count, 32)


# --- memory and layouts ------------------------------------------------------


class TargetMemory:
    """Reads the memory of the selected process or core, in bulk."""

    def __init__(self):
        self.inferior = gdb.selected_inferior()
        endian = gdb.execute('show endian', to_string=True)
        self.order = '>' if 'big endian' in endian else '<'
        self.word_format = struct.Struct(self.order + 'Q')

    def read(self, address, size):
        """Return `size` bytes at `address`, None if they can't be read."""
        if size == 0:
            return b''
        if not 0 < address < 1 << 64 or not 0 < size <= MAX_OBJECT:
            return None
        try:
            return bytes(self.inferior.read_memory(address, size))
        except (gdb.error, OverflowError, ValueError, MemoryError):
            return None

    def word(self, address):
        """Return the pointer-sized unsigned integer at `address`, or None."""
        data = self.read(address, 8)
        return None if data is None else self.word_format.unpack(data)[0]

    def words(self, address, n):
        """Return `n` pointer-sized integers; raise RefmapUnreadable."""
        data = self.read(address, 8 * n)
        if data is None:
            raise RefmapUnreadable(
                f"The memory at {address:#x} can't be read ({8 * n} bytes).")
        return struct.unpack(f'{self.order}{n}Q', data)

    def text(self, address, limit=MAX_NAME):
        """Return the C string at `address`, at most `limit` bytes, or None."""
        raw = b''
        while len(raw) < limit:
            # No page boundary splits what ends at a multiple of 64.
            here = address + len(raw)
            piece = self.read(here, min(64 - here % 64, limit - len(raw)))
            if piece is None:
                return None
            raw += piece
            if b'\0' in piece:
                break
        return raw.split(b'\0')[0].decode('utf-8', 'replace')

    def merged(self, ranges):
        """Group sorted (start, size, ...) tuples that lie close together.

        Yield (start, end, tuples)."""
        group, start, end = [], 0, 0
        for item in ranges:
            if group and (item[0] > end + RUN_GAP
                          or item[0] + item[1] - start > RUN_LIMIT):
                yield start, end, group
                group = []
            if not group:
                start = end = item[0]
            group.append(item)
            end = max(end, item[0] + item[1])
        if group:
            yield start, end, group

    def records(self, addresses, size):
        """Yield (address, data, offset in data) for records of one size.

        `data` is None for a record that can't be read."""
        ranges = sorted((address, size) for address in addresses)
        for (address, _), data, offset in self.pieces(ranges):
            yield address, data, offset

    def pieces(self, ranges):
        """Yield (range, data, offset in data) for sorted (start, size, ...)
        tuples; `data` is None for one that can't be read."""
        for start, end, group in self.merged(ranges):
            data = self.read(start, end - start)
            for item in group:
                if data is not None:
                    yield item, data, item[0] - start
                else:
                    yield item, self.read(item[0], item[1]), 0

    def buffers(self, ranges):
        """Yield (start, data) that together cover sorted (start, size, ...)
        tuples; what can't be read is left out."""
        for start, end, group in self.merged(ranges):
            pieces = [(start, end)]
            if end - start > RUN_LIMIT:
                pieces = [(at, min(at + RUN_LIMIT, end))
                          for at in range(start, end, RUN_LIMIT)]
            for piece_start, piece_end in pieces:
                data = self.read(piece_start, piece_end - piece_start)
                if data is not None:
                    yield piece_start, data
                elif len(pieces) == 1 and len(group) > 1:
                    for item in group:
                        data = self.read(item[0], item[1])
                        if data is not None:
                            yield item[0], data


class StructLayout:
    """Where a C struct keeps its fields, from the debug information.

    A path names a field: 'births', 'object_state.refmap'."""

    def __init__(self, name, order):
        """Raise gdb.error if there is no such type."""
        self.name = name
        self.type = gdb.lookup_type(name).strip_typedefs()
        self.size = self.type.sizeof
        self.order = order
        self.offsets = {}
        self.known = {}

    def find(self, ctype, name):
        """Return (bit position, field) of `name` in `ctype`, or None."""
        for field in ctype.fields():
            if not hasattr(field, 'bitpos'):
                continue
            if field.name == name:
                return field.bitpos, field
            if not field.name:
                inner = self.find(field.type.strip_typedefs(), name)
                if inner is not None:
                    return field.bitpos + inner[0], inner[1]
        return None

    def locate(self, path):
        """Return (bit position, field); raise RefmapError."""
        ctype, bits = self.type, 0
        for name in path.split('.'):
            found = self.find(ctype, name)
            if found is None:
                raise RefmapError(
                    f'The {self.name} of this process has no {path}: '
                    f'use the refmap_gdb.py that belongs to it.')
            bits += found[0]
            ctype = found[1].type.strip_typedefs()
        return bits, found[1]

    def offset(self, path):
        """Return the offset of a field in bytes."""
        offset = self.offsets.get(path)
        if offset is None:
            offset = self.offsets[path] = self.locate(path)[0] // 8
        return offset

    def has(self, path):
        """Has the struct this field?"""
        try:
            self.locate(path)
        except RefmapError:
            return False
        return True

    def decoder(self, path):
        """Return (offset, struct.Struct) of an integer or pointer field."""
        decoder = self.known.get(path)
        if decoder is None:
            bits, field = self.locate(path)
            ctype = field.type.strip_typedefs()
            letter = {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}.get(ctype.sizeof)
            if letter is None or field.bitsize:
                raise RefmapError(f'The field {self.name}.{path} is no plain '
                                  f'integer.')
            if ctype.code == gdb.TYPE_CODE_INT and ctype.is_signed:
                letter = letter.lower()
            decoder = bits // 8, struct.Struct(self.order + letter)
            self.known[path] = decoder
        return decoder

    def get(self, data, path, base=0):
        """Return a field of the struct at offset `base` of `data`."""
        offset, form = self.decoder(path)
        return form.unpack_from(data, base + offset)[0]

    def bits(self, data, path):
        """Return a bit-field of the struct in `data`."""
        position, field = self.locate(path)
        if self.order == '>':
            raise RefmapError('Bit-fields are read on little-endian machines.')
        size = field.bitsize or 8 * field.type.sizeof
        whole = int.from_bytes(data[:self.size], 'little')
        return (whole >> position) & ((1 << size) - 1)

    def name_at(self, offset):
        """Return the path of the innermost field at an offset, or None."""
        return self.name_in(self.type, offset * 8)

    def name_in(self, ctype, bits):
        for field in ctype.fields():
            inner = field.type.strip_typedefs()
            if (not hasattr(field, 'bitpos')
                    or not 0 <= bits - field.bitpos < inner.sizeof * 8):
                continue
            deeper = None
            if inner.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
                deeper = self.name_in(inner, bits - field.bitpos)
            return '.'.join(filter(None, (field.name, deeper))) or None
        return None


# --- the model ---------------------------------------------------------------


def refmap_has_symbol(name):
    """Is there a symbol of this name, be it without debug information?"""
    try:
        gdb.parse_and_eval(f'(long)&{name}')
    except gdb.error:
        return False
    return True


class RefmapTarget:
    """The interpreter in the selected process or core."""

    def __init__(self):
        """Raise RefmapError if there is no map to be read."""
        if gdb.selected_inferior().pid == 0:
            raise RefmapError('There is no process: run the program, attach '
                              'to it, or open a core dump.')
        self.memory = TargetMemory()
        self.layouts = {}
        self.check()
        self.types = TypeTable(self)

    def check(self):
        try:
            self.layout('struct _refmap_state')
        except RefmapError:
            pass
        else:
            return
        if refmap_has_symbol('_PyRefMap_Incref'):
            raise RefmapError(
                'This interpreter keeps a refcount map, but its debug '
                'information is missing: was it stripped?')
        if refmap_has_symbol('_PyRuntime'):
            raise RefmapError(
                'This interpreter keeps no refcount map: it was not '
                'configured --with-refcount-map.')
        raise RefmapError('There are no symbols of a Python interpreter here.')

    def layout(self, name):
        """Return the StructLayout of a C type; raise RefmapError."""
        layout = self.layouts.get(name)
        if layout is None:
            try:
                layout = StructLayout(name, self.memory.order)
            except gdb.error:
                raise RefmapError(f'The debug information knows no {name}.') \
                    from None
            self.layouts[name] = layout
        return layout

    def get(self, struct_name, address, path):
        """Return one field of the C struct at `address`."""
        offset, form = self.layout(struct_name).decoder(path)
        data = self.memory.read(address + offset, form.size)
        if data is None:
            raise RefmapUnreadable(f"The {struct_name} at {address:#x} "
                                   f"can't be read.")
        return form.unpack(data)[0]

    def record(self, struct_name, address):
        """Return the bytes of the C struct at `address`."""
        data = self.memory.read(address, self.layout(struct_name).size)
        if data is None:
            raise RefmapUnreadable(f"The {struct_name} at {address:#x} "
                                   f"can't be read.")
        return data

    def symbol(self, name):
        """Return the address of a global or static variable, or None."""
        for lookup in gdb.lookup_global_symbol, gdb.lookup_static_symbol:
            found = lookup(name)
            if found is not None:
                try:
                    return int(found.value().address)
                except (gdb.error, TypeError):
                    pass
        return None

    def variable(self, name):
        """Return the value of a Py_ssize_t variable, 0 if there is none."""
        address = self.symbol(name)
        word = None if address is None else self.memory.word(address)
        return 0 if word is None else refmap_signed(word)

    def chain(self, struct_name, address, link, what):
        """Yield the addresses of a NULL-terminated linked list."""
        seen = set()
        while address:
            if address in seen or len(seen) >= MAX_CHAIN:
                raise RefmapError(f'The list of {what} is damaged: '
                                  f'it has no end.')
            seen.add(address)
            yield address
            address = self.get(struct_name, address, link)

    def interpreters(self):
        """Return [InterpreterInfo], the main interpreter first."""
        runtime = self.symbol('_PyRuntime')
        if runtime is None:
            raise RefmapError('The symbol _PyRuntime is missing.')
        try:
            head = self.get('_PyRuntimeState', runtime, 'interpreters.head')
        except RefmapUnreadable:
            raise RefmapError("The interpreter's state can't be read: is this "
                              "the executable that the core is of?") from None
        found = [InterpreterInfo(self, address) for address in
                 self.chain('PyInterpreterState', head, 'next',
                            'interpreters')]
        return sorted(found, key=lambda interp: interp.id)

    def maps(self, number=None):
        """Return the [RefMap] of all interpreters, or of number `number`."""
        interps = self.interpreters()
        if number is not None:
            wanted = [i.map for i in interps if i.id == number]
            if not wanted:
                ids = ', '.join(str(interp.id) for interp in interps)
                raise RefmapError(f'There is no interpreter {number}; '
                                  f'there are: {ids or "none"}.')
            return [RefMap(self, wanted[0], interps)]
        main = self.symbol('main_map')
        if main is None:
            addresses = list(dict.fromkeys(i.map for i in interps))
        else:
            addresses = self.chain(RefMap.STRUCT, main, 'next', 'maps')
        return [RefMap(self, address, interps) for address in addresses]

    def map_of(self, address, number=None):
        """Return (RefMap, RefmapBlock) that count the object at `address`.

        The block is None if no map has one for that page."""
        maps = self.maps(number)
        for refmap in maps:
            block = refmap.find_block(address)
            if block is not None and block.slot(address)[0]:
                return refmap, block
        for refmap in maps:
            block = refmap.find_block(address)
            if block is not None:
                return refmap, block
        return maps[0], None

    def leftovers(self):
        """References counted for no living interpreter."""
        runtime = self.symbol('_PyRuntime')
        return (self.variable('_Py_RefTotal')
                + self.variable('last_final_reftotal')
                + self.get('_PyRuntimeState', runtime,
                           'object_state.interpreter_leaks'))


class InterpreterInfo:
    """What an interpreter says of itself."""

    def __init__(self, target, address):
        def get(path):
            return target.get('PyInterpreterState', address, path)
        self.address = address
        self.id = get('id')
        self.map = get('object_state.refmap')
        self.total = get('object_state.reftotal') + self.hot_total(target)
        self.threads = get('threads.head')

    def hot_total(self, target):
        """The summands of the total that are kept in the map."""
        hot = target.get('struct _refmap_state', self.map, 'hot')
        layout = target.layout('_PyRefMap_hot')
        if target.get('_PyRefMap_hot', hot, 'owner') != self.address:
            return 0
        offset = layout.offset('totals')
        # They are its last field.
        words = target.memory.words(hot + offset, (layout.size - offset) // 8)
        return sum(refmap_signed(word) for word in words)


class TypeInfo:
    """A Python type: its name, and how large its objects are."""

    def __init__(self, name, address=0, **fields):
        self.name = name
        self.address = address
        self.basicsize = fields.get('tp_basicsize', 0)
        self.itemsize = fields.get('tp_itemsize', 0)
        self.flags = fields.get('tp_flags', 0)
        self.weaklist = fields.get('tp_weaklistoffset', 0)
        self.dictoffset = fields.get('tp_dictoffset', 0)
        self.base = fields.get('tp_base', 0)
        self.members = fields.get('tp_members', 0)


class TypeTable:
    """The types of objects, each looked at once."""

    FIELDS = ('tp_basicsize', 'tp_itemsize', 'tp_flags', 'tp_weaklistoffset',
              'tp_dictoffset', 'tp_base', 'tp_members')

    def __init__(self, target):
        self.target = target
        self.known = {UNKNOWN_TYPE: TypeInfo(FIXED_NAMES[0]),
                      KEYS_TYPE: TypeInfo(FIXED_NAMES[1])}

    def __getitem__(self, address):
        """Return the TypeInfo of a type object's address, never None."""
        info = self.known.get(address)
        if info is None:
            info = self.read(address) or self.known[UNKNOWN_TYPE]
            self.known[address] = info
        return info

    def read(self, address):
        """The type at `address`, None unless it looks like one.

        Its metatype must be a subclass of type, as in refmap.c."""
        layout = self.target.layout('PyTypeObject')
        memory = self.target.memory
        data = memory.read(address, layout.size)
        if data is None:
            return None
        meta = memory.read(self.target.layout('PyObject').get(data, 'ob_type'),
                           layout.size)
        if meta is None or not layout.get(meta, 'tp_flags') & FLAG_TYPE:
            return None
        name = memory.text(layout.get(data, 'tp_name'))
        if not name:
            return None
        fields = {field: layout.get(data, field) for field in self.FIELDS}
        return TypeInfo(name, address, **fields)

    def of_object(self, address, birth=0):
        """Return the TypeInfo of the object at `address`."""
        if birth & BIRTH_KEYS:
            return self.known[KEYS_TYPE]
        offset = self.target.layout('PyObject').offset('ob_type')
        return self[self.target.memory.word(address + offset) or UNKNOWN_TYPE]

    def of_objects(self, objects):
        """Return {address: type name} of many (address, birth)."""
        offset = self.target.layout('PyObject').offset('ob_type')
        names = {address: FIXED_NAMES[1] for address, birth in objects
                 if birth & BIRTH_KEYS}
        wanted = [address + offset for address, birth in objects
                  if not birth & BIRTH_KEYS]
        memory = self.target.memory
        for place, data, at in memory.records(wanted, 8):
            word = (UNKNOWN_TYPE if data is None
                    else memory.word_format.unpack_from(data, at)[0])
            names[place - offset] = self[word].name
        return names


class RefmapBlock:
    """The slots of one page."""

    def __init__(self, address, layout, data, base=0):
        self.address = address
        self.page = layout.get(data, 'page', base)
        self.epoch = layout.get(data, 'epoch', base)
        self.index = layout.get(data, 'index', base)
        self.types = layout.get(data, 'types', base)
        self.packed = layout.get(data, 'packed', base)
        self.group = layout.get(data, 'group', base)
        self.lane = layout.get(data, 'lane', base)
        self.counts = self.births = None

    def take_slots(self, words):
        """Find the slots among the words of the block's group."""
        even = self.counts = list(words[self.lane::2 * LANES])
        odd = self.births = list(words[self.lane + LANES::2 * LANES])
        unusual = [i for i, word in enumerate(odd)
                   if word and word & (BIRTH_BORN | BIRTH_ODD) != BIRTH_BORN]
        if max(even) >= BIRTH_BORN:
            unusual += [i for i, word in enumerate(even)
                        if word >= BIRTH_BORN and odd[i] == 0]
        for i in unusual:
            self.counts[i], self.births[i] = refmap_decode(even[i], odd[i])
        self.sign_counts()

    def take_packed(self, used, words):
        """Find the slots in `words`, those whose bits in `used` are set."""
        self.counts, self.births = [0] * SLOTS, [0] * SLOTS
        indexes = (i for i in range(SLOTS) if used >> i & 1)
        for i, count, birth in zip(indexes, words[0::2], words[1::2]):
            self.counts[i], self.births[i] = count, birth
        self.sign_counts()

    def sign_counts(self):
        if max(self.counts) >= COUNT_NEGATIVE:
            self.counts = list(map(refmap_count, self.counts))

    def slot(self, address):
        """Return (count, birth) of the object at an exact address."""
        i = (address >> SLOT_BITS) % SLOTS
        count, birth = self.counts[i], self.births[i]
        if bool(birth & BIRTH_ODD) != bool(address & 8):
            return 0, 0
        return count, birth

    def slot_address(self, i):
        """Return the exact address of the object in slot `i`."""
        address = (self.page << PAGE_BITS) | (i << SLOT_BITS)
        return address + 8 if self.births[i] & BIRTH_ODD else address


class RefmapPage(RefmapBlock):
    """A block together with the memory of its page, None if unreadable."""

    word_formats = {order: struct.Struct(f'{order}{2 * SLOTS}Q')
                    for order in '<>'}

    def load(self, target, data, offset):
        memory = self.memory = target.memory
        self.data = data and data[offset:offset + PAGE_SIZE]
        self.words = (data and self.word_formats[memory.order]
                      .unpack_from(data, offset))

    def odd_words(self, i):
        """ob_refcnt and ob_type of an object that starts in mid-slot."""
        words = self.words[2 * i + 1:2 * i + 3]
        if len(words) < 2:
            words += self.memory.word((self.page + 1) << PAGE_BITS) or 0,
        return words

    def type_words(self):
        """Return the types' addresses, one for each slot; stale where the
        count is 0."""
        types = ([UNKNOWN_TYPE] * SLOTS if self.words is None
                 else list(self.words[1::2]))
        for i, birth in enumerate(self.births):
            if birth & BIRTH_KEYS:
                types[i] = KEYS_TYPE
            elif birth & BIRTH_ODD and self.words is not None:
                types[i] = self.odd_words(i)[1]
        return types

    def refcnt(self, i):
        """Return the ob_refcnt of the object in slot `i`, -1 if unreadable."""
        if self.words is None:
            return -1
        word = (self.odd_words(i)[0] if self.births[i] & BIRTH_ODD
                else self.words[2 * i])
        return refmap_signed(word)


class RefMap:
    """One map: that of the main GIL, or of an interpreter with its own."""

    STRUCT = 'struct _refmap_state'
    BLOCK = 'struct _refmap_block'

    def __init__(self, target, address, interpreters):
        self.target = target
        self.memory = target.memory
        self.address = address
        self.layout = target.layout(self.STRUCT)
        self.data = target.record(self.STRUCT, address)
        self.interpreters = [i for i in interpreters if i.map == address]
        self.others = [i for i in interpreters if i.map != address]
        self.is_main = address == target.symbol('main_map')
        self.damaged = 0
        self.directory = None

    def __getitem__(self, path):
        return self.layout.get(self.data, path)

    def label(self):
        """Return the map's name in a report."""
        ids = ', '.join(str(interp.id) for interp in self.interpreters)
        return f'map {self.address:#x} of interpreter {ids or "(gone)"}'

    def total(self):
        """The reference total of the interpreters that use this map."""
        total = sum(interp.total for interp in self.interpreters)
        return total + self.target.leftovers() if self.is_main else total

    def unattributed(self):
        """As the C function of a similar name: own births are not left out."""
        n = self['unattributed']
        if self.is_main:
            n += self.target.variable('_Py_RefTotal')
            n += self.target.variable('left_unattributed')
        return n

    def is_changing(self):
        """Was a thread stopped while it held the map's mutex?"""
        return bool(self.layout.has('mutex')
                    and self.data[self.layout.offset('mutex')])

    def pointers(self):
        """Return the block pointers; NULL is a hole."""
        n, allocated = self['len'], self['allocated']
        if n > MAX_BLOCKS or n > allocated:
            raise RefmapError(f'The {self.label()} is damaged: it claims '
                              f'{n} blocks in room for {allocated}.')
        return self.memory.words(self['blocks'], n) if n else ()

    def blocks_at(self, pointers, what=RefmapBlock):
        """Yield the blocks at some addresses; count those that are none."""
        pointers = iter(pointers)
        while batch := list(itertools.islice(pointers, BATCH)):
            groups, packed = {}, []
            for block in self.headers_at(batch, what):
                if block.packed:
                    packed.append(block)
                else:
                    groups.setdefault(block.group, []).append(block)
            yield from self.with_slots(groups)
            yield from self.with_packed(packed)

    def headers_at(self, pointers, what):
        """Yield the blocks at some addresses, still without slots."""
        layout = self.target.layout(self.BLOCK)
        newest = self['epoch']
        records = self.memory.records(pointers, layout.size)
        for address, data, offset in records:
            block = data and what(address, layout, data, offset)
            if (block and block.page < MAX_PAGE and block.epoch <= newest
                    and block.lane < LANES):
                yield block
            else:
                self.damaged += 1

    def with_slots(self, groups):
        """Yield the blocks of {address of a group: blocks}, with their slots."""
        start = self.target.layout('struct _refmap_group').offset('words')
        words = struct.Struct(f'{self.memory.order}{2 * LANES * SLOTS}I')
        for address, data, offset in self.memory.records(
                (group + start for group in groups), words.size):
            for block in groups[address - start]:
                if data is None:
                    self.damaged += 1
                else:
                    block.take_slots(words.unpack_from(data, offset))
                    yield block

    def with_packed(self, blocks):
        """Yield blocks that are packed, with their slots."""
        words = struct.Struct(f'{self.memory.order}{SLOTS // 64}Q')
        owners = {block.packed: block for block in blocks}
        self.damaged += len(blocks) - len(owners)
        ranges = []
        for address, data, at in self.memory.records(owners, words.size):
            if data is None:
                self.damaged += 1
                continue
            used = sum(word << 64 * i for i, word
                       in enumerate(words.unpack_from(data, at)))
            ranges.append((address + words.size, 8 * bin(used).count('1'),
                           used, owners[address]))
        for (_, size, used, block), data, at in self.memory.pieces(ranges):
            if data is None:
                self.damaged += 1
            else:
                block.take_packed(used, struct.unpack_from(
                    f'{self.memory.order}{size // 4}I', data, at))
                yield block

    def pages(self):
        """Return the sorted [(page, block address)] of all intact blocks."""
        if self.directory is None:
            self.damaged = 0
            where = {}
            for index, address in enumerate(self.pointers()):
                if address:
                    # One block in two places is in the wrong place once.
                    self.damaged += address in where
                    where[address] = index
            found = []
            for block in self.headers_at(where, RefmapBlock):
                if block.index == where[block.address]:
                    found.append((block.page, block.address))
                else:
                    self.damaged += 1
            self.directory = sorted(found)
        return self.directory

    def contents(self):
        """Yield a RefmapPage for each page with a count, by address."""
        pages = self.pages()
        for start in range(0, len(pages), BATCH):
            batch = [address for _, address in pages[start:start + BATCH]]
            blocks = {block.page << PAGE_BITS: block
                      for block in self.blocks_at(batch, RefmapPage)
                      if any(block.counts)}
            for address, data, offset in self.memory.records(blocks,
                                                             PAGE_SIZE):
                blocks[address].load(self.target, data, offset)
                yield blocks[address]

    def in_table(self, page):
        """Return the address that the hash table has for a page's block.

        None: it has none, or is damaged. Cores lack the directory, which is
        what the hot path looks at.
        """
        get, offset = self.target.get, self.target.layout(self.BLOCK).offset
        try:
            table = get(self.BLOCK, self['table'], 'hh.tbl')
            buckets = get('UT_hash_table', table, 'num_buckets')
            bucket = (get('UT_hash_table', table, 'buckets')
                      + refmap_hash(page) % (buckets or 1)
                      * self.target.layout('UT_hash_bucket').size)
            head = get('UT_hash_bucket', bucket, 'hh_head')
            for item in self.target.chain('UT_hash_handle', head, 'hh_next',
                                          'blocks'):
                block = item - offset('hh')
                if get(self.BLOCK, block, 'page') == page:
                    return block
        except RefmapError:
            pass
        return None

    def find_block(self, address):
        """Return the RefmapBlock for the page of `address`, or None."""
        page = address >> PAGE_BITS
        if page >= MAX_PAGE:
            return None
        candidate = self.in_table(page)
        if not candidate:
            pages = self.pages()
            at = bisect.bisect_left(pages, (page, 0))
            if at == len(pages) or pages[at][0] != page:
                return None
            candidate = pages[at][1]
        for block in self.blocks_at([candidate]):
            if block.page == page:
                return block
        return None

    def snapshots(self):
        """Return [MapState] of the retained snapshots, the oldest first."""
        found = [SnapshotState(self, address) for address in
                 self.target.chain('struct _refmap_snapshot', self['newest'],
                                   'older', 'snapshots')]
        found.reverse()
        for number, snapshot in enumerate(found, 1):
            snapshot.number = number
        return found

    def type_name(self, number):
        """Return the name behind a refmap_type_t."""
        if number < len(FIXED_NAMES):
            return FIXED_NAMES[number]
        number -= len(FIXED_NAMES)
        if number >= self['nnames']:
            return FIXED_NAMES[0]
        name = self.memory.word(self['by_id'] + 8 * number)
        offset = self.target.layout('refmap_name_t').offset('name')
        return (name and self.memory.text(name + offset)) or FIXED_NAMES[0]

    def finding(self, number):
        """Return (address, type name, count) of the n-th finding ever."""
        layout = self.target.layout('refmap_finding_t')
        base = (self.layout.offset('findings')
                + number % FINDINGS_KEPT * layout.size)
        return (layout.get(self.data, 'address', base),
                self.type_name(layout.get(self.data, 'type', base)),
                layout.get(self.data, 'count', base))

    def damage(self):
        """Return a sentence about what could not be read, or None."""
        if not self.damaged:
            return None
        return (f"{self.damaged} of {self['nblocks']} blocks of the "
                f"{self.label()} are damaged or can't be read: "
                f"what they count is missing here.")


class MapState:
    """A map at one instant: a snapshot, or now."""

    number = None

    def __init__(self, refmap, **values):
        self.map = refmap
        self.blocks = values['blocks']
        self.total = values['total']
        self.unattributed = values['unattributed']
        self.own = values['own']
        self.findings = values['findings']

    @classmethod
    def now(cls, refmap):
        """The state of the stopped process itself."""
        return cls(refmap, blocks=refmap.pointers(), total=refmap.total(),
                   unattributed=refmap.unattributed(), own=refmap['own'],
                   findings=refmap['nfindings'])

    def block_at(self, i):
        return self.blocks[i] if i < len(self.blocks) else 0

    def slot(self, address, index):
        """Return (count, birth) at `address`; `index`: where its page's block
        is expected, or None. None instead of a tuple: torn or unreadable."""
        page = address >> PAGE_BITS
        guess = self.block_at(index) if index is not None else 0
        if guess == LOST_BLOCK:
            return None
        for pointers in [guess], self.blocks:
            for block in self.map.blocks_at(
                    p for p in pointers if p > LOST_BLOCK):
                if block.page == page:
                    return block.slot(address)
        return 0, 0


class SnapshotState(MapState):
    """A retained snapshot."""

    STRUCT = 'struct _refmap_snapshot'

    def __init__(self, refmap, address):
        layout = refmap.target.layout(self.STRUCT)
        data = refmap.target.record(self.STRUCT, address)
        self.map = refmap
        self.address = address
        for name in ('total', 'unattributed', 'own', 'findings', 'lost',
                     'nblocks', 'refs', 'epoch'):
            setattr(self, name, layout.get(data, name))
        if self.nblocks > MAX_BLOCKS:
            raise RefmapError(f'The snapshot at {address:#x} is damaged: '
                              f'it claims {self.nblocks} blocks.')
        self.first = address + layout.offset('blocks')
        self.pointers = None

    @property
    def blocks(self):
        if self.pointers is None:
            self.pointers = self.map.memory.words(self.first, self.nblocks)
        return self.pointers

    @property
    def is_baseline(self):
        return self.address == self.map['baseline']


class ObjectPrinter:
    """Shows an object as libpython.py does, or plainly without it."""

    def __init__(self, target):
        self.target = target
        self.text = TextReader(target)
        self.printer = getattr(sys.modules['__main__'], 'PyObjectPtr', None)

    def show(self, address, info, limit=REPR_LEN):
        """Return one line about the object at `address` of type `info`."""
        plain = f'<{info.name} at {address:#x}>'
        if info.address == 0 or self.printer is None:
            return plain
        if info.flags & FLAG_UNICODE:
            text = self.text.string(address, limit)
            if text is not None:
                return text if len(text) <= limit else text[:limit] + '...'
        if self.is_long(address, info):
            return plain
        try:
            ctype = gdb.lookup_type('PyObject').pointer()
            pointer = self.printer.from_pyobject_ptr(
                gdb.Value(address).cast(ctype))
            shown = pointer.get_truncated_repr(limit)
        except Exception:
            # libpython.py meets damaged objects in many ways.
            return plain
        return ' '.join(shown.split('\n'))

    def is_long(self, address, info):
        """Would libpython.py read this object byte for byte, for minutes?"""
        if not info.flags & (FLAG_BYTES | FLAG_LONG | FLAG_UNICODE):
            return False
        size = self.target.memory.word(address + 16) or 0
        return (size >> 3 if info.flags & FLAG_LONG else size) > LONG_TEXT


class TextReader:
    """Reads compact ASCII strings and small integers: names and keys."""

    def __init__(self, target):
        self.target = target

    def string(self, address, limit=REPR_LEN):
        """Return repr() of a str, or None if it is of another kind."""
        text = self.raw(address, limit)
        return None if text is None else repr(text)

    def raw(self, address, limit=REPR_LEN):
        """Return the text of a str, its first `limit` + 1 characters."""
        layout = self.target.layout('PyASCIIObject')
        data = self.target.memory.read(address, layout.size)
        try:
            if (data is None or not layout.bits(data, 'state.compact')
                    or not layout.bits(data, 'state.ascii')):
                return None
        except RefmapError:
            return None
        length = min(layout.get(data, 'length'), limit + 1)
        body = self.target.memory.read(address + layout.size, max(length, 0))
        return None if body is None else body.decode('ascii', 'replace')

    def small_int(self, address):
        """Return the text of an int of one digit, None if it has more."""
        layout = self.target.layout('PyLongObject')
        data = self.target.memory.read(address, layout.size)
        tag = data and layout.get(data, 'long_value.lv_tag')
        if data is None or tag >> 3 > 1:
            return None
        at = layout.offset('long_value.ob_digit')
        digit, = struct.unpack_from(self.target.memory.order + 'I', data, at)
        return str(digit * (1 - (tag & 3)))


# --- questions ---------------------------------------------------------------


class MapTally:
    """Sums over a map: references, objects, and both by type."""

    def __init__(self, refmap):
        self.map = refmap
        self.by_address = {}
        # Few counts are common to most objects of a type, and a Counter adds
        # a page of pairs several times faster than a loop here.
        pairs = collections.Counter()
        for page in refmap.contents():
            pairs.update(itertools.compress(
                zip(page.type_words(), page.counts), page.counts))
        for (address, count), objects in pairs.items():
            entry = self.by_address.setdefault(address, [0, 0])
            entry[0] += count * objects
            entry[1] += objects
        self.mapped = sum(refs for refs, _ in self.by_address.values())
        self.objects = sum(n for _, n in self.by_address.values())

    @property
    def unattributed(self):
        return self.map.unattributed() - self.map['own']


def refmap_by_name(tallies):
    """Return [(references, objects, type name)], most references first."""
    names = {}
    for tally in tallies:
        types = tally.map.target.types
        for address, (refs, objects) in tally.by_address.items():
            entry = names.setdefault(types[address].name, [0, 0])
            entry[0] += refs
            entry[1] += objects
    return sorted(((refs, objects, name)
                   for name, (refs, objects) in names.items()),
                  key=lambda row: (-row[0], row[2]))


def refmap_objects(refmap, pattern=None):
    """Yield (count, birth, address, TypeInfo) of the objects of a map whose
    type's name matches the glob `pattern`."""
    types = refmap.target.types
    wanted = {}
    for page in refmap.contents():
        for i, (count, word) in enumerate(zip(page.counts, page.type_words())):
            if not count:
                continue
            ok = wanted.get(word)
            if ok is None:
                ok = wanted[word] = (pattern is None or fnmatch.fnmatchcase(
                    types[word].name, pattern))
            if ok:
                yield count, page.births[i], page.slot_address(i), types[word]


def refmap_differing(refmap):
    """Return the sorted [(address, type name, count, ob_refcnt)] of the live
    mortal objects whose ob_refcnt is not their count, and how many objects
    were compared."""
    found, compared = [], 0
    types = refmap.target.types
    for page in refmap.contents():
        refcnts = page.words[0::2] if page.words else (-1,) * SLOTS
        for i, (count, refcnt) in enumerate(zip(page.counts, refcnts)):
            if count == 0:
                continue
            compared += 1
            birth = page.births[i]
            if count == refcnt and not birth & BIRTH_ODD and page.words:
                continue
            refcnt = page.refcnt(i)
            if page.words and refmap_agree(count, birth, refcnt):
                continue
            name = types[page.type_words()[i]].name
            found.append((page.slot_address(i), name, count, refcnt))
    found.sort(key=lambda row: refmap_record_key(row[3] - row[2], row[1],
                                                 row[0]))
    return found, compared


def refmap_agree(count, birth, refcnt):
    """Can this be the ob_refcnt of an object with that slot? The first
    reference to a static object is there from the start, uncounted."""
    return (refcnt == count or refmap_is_immortal(refcnt)
            or (birth & ~BIRTH_ODD == 0 and refcnt == count + 1))


def refmap_record_key(change, name, address):
    """Sorts records as the interpreter does."""
    return -abs(change), name.encode('utf-8', 'replace'), address


class MapDiff:
    """What changed between two states of one map; see sys.refmap_diff()."""

    def __init__(self, before, after):
        """`before` and `after` are MapStates, in either order."""
        self.before, self.after, self.map = before, after, before.map
        self.living, self.died = [], []
        self.own = self.lost = 0
        self.current = self.map.pointers()
        self.compare(self.pairs())
        self.name_types()
        self.unattributed = after.unattributed - before.unattributed
        self.own -= after.own - before.own
        self.total = after.total - before.total - self.own
        self.freed = self.findings()

    def pairs(self):
        """Return [(block address or 0, the same)] of the pages to compare."""
        pairs, gone, come, places = [], [], [], {}
        n = max(len(self.before.blocks), len(self.after.blocks))
        for i in range(n):
            a, b = self.before.block_at(i), self.after.block_at(i)
            if a == b:
                continue
            if LOST_BLOCK in (a, b):
                self.lost += 1
                continue
            places.update({a: i, b: i})
            if a and b:
                pairs.append((a, b))
            elif a:
                gone.append(a)
            else:
                come.append(b)
        places.pop(0, None)
        self.blocks = {}
        for block in self.map.blocks_at(places):
            if block.index == places[block.address]:
                self.blocks[block.address] = block
            else:
                self.map.damaged += 1
        return self.matched(pairs, gone, come)

    def matched(self, pairs, gone, come):
        """An index may hold another page in the other state: pair by page."""
        result = []
        for a, b in pairs:
            if a not in self.blocks or b not in self.blocks:
                continue        # damaged, and counted as such
            if self.blocks[a].page == self.blocks[b].page:
                result.append((a, b))
            else:
                gone.append(a)
                come.append(b)
        pages = {self.blocks[b].page: b for b in come if b in self.blocks}
        for a in gone:
            if a in self.blocks:
                result.append((a, pages.pop(self.blocks[a].page, 0)))
        return result + [(0, b) for b in pages.values()]

    def compare(self, pairs):
        for a, b in pairs:
            before, after = self.blocks.get(a), self.blocks.get(b)
            for i in range(SLOTS):
                self.compare_slot(before, after, i)

    def slot(self, block, i, sign):
        """(count, birth) as it is reported; own objects are added up."""
        if block is None or block.counts[i] == 0:
            return 0, 0
        if block.births[i] & BIRTH_OWN:
            self.own += sign * block.counts[i]
            return 0, 0
        return block.counts[i], block.births[i]

    def compare_slot(self, before, after, i):
        count, birth = self.slot(before, i, -1)
        new_count, new_birth = self.slot(after, i, 1)
        same = (birth ^ new_birth) & ~BIRTH_ODD == 0
        if count and not (new_count and same):
            self.died.append((before, i, count, 0))
            count = 0
        if count != new_count:
            self.living.append((after, i, count, new_count))

    def name_types(self):
        """Turn (block, slot, ...) into sorted (address, type name, ...)."""
        rows = self.living + self.died
        live = [(block.slot_address(i), block.births[i])
                for block, i, _, _ in rows if self.is_live(block)]
        self.live_names = self.map.target.types.of_objects(live)
        self.kept_names = {}
        for name in 'living', 'died':
            rows = [(block.slot_address(i), self.type_name(block, i), a, b)
                    for block, i, a, b in getattr(self, name)]
            rows.sort(key=lambda r: refmap_record_key(r[3] - r[2], r[1], r[0]))
            setattr(self, name, rows)

    def is_live(self, block):
        """Not touched since: what was alive then is alive now."""
        return (not block.types and block.index < len(self.current)
                and self.current[block.index] == block.address)

    def type_name(self, block, i):
        if self.is_live(block):
            return self.live_names[block.slot_address(i)]
        if not block.types:
            return FIXED_NAMES[0]
        types = self.kept_names.get(block.types)
        if types is None:
            data = self.map.memory.read(block.types, 4 * SLOTS)
            types = (struct.unpack(f'{self.map.memory.order}{SLOTS}I', data)
                     if data else (0,) * SLOTS)
            self.kept_names[block.types] = types
        name = self.kept_names.get(('name', types[i]))
        if name is None:
            name = self.map.type_name(types[i])
            self.kept_names['name', types[i]] = name
        return name

    def findings(self):
        first, last = sorted((self.before.findings, self.after.findings))
        ever = self.map['nfindings']
        first = max(first, ever - FINDINGS_KEPT)
        return [self.map.finding(n) for n in range(first, min(last, ever))]

    def types(self):
        """Return [(type name, change)] of those that don't cancel out."""
        changes = {}
        for _, name, before, after in self.living + self.died:
            changes[name] = changes.get(name, 0) + after - before
        rows = sorted((name_change for name_change in changes.items()
                       if name_change[1]),
                      key=lambda row: (-abs(row[1]), row[0]))
        if self.unattributed:
            rows.append(('(unattributed)', self.unattributed))
        return rows

    def lines(self):
        """Yield the report, in the words of sys.refmap_diff()."""
        for address, name, before, after in self.living:
            yield (f'ref change of living {address:#x} ({name}): '
                   f'{after - before},  {before} -> {after}')
        for address, name, before, _ in self.died:
            yield f'ref change of died   {address:#x} ({name}): {-before}'
        if self.unattributed:
            yield f'ref change of unattributed: {self.unattributed}'
        if self.lost:
            yield (f'not exact: memory was short, {self.lost} pages are not '
                   f'compared')
        for address, name, count in self.freed:
            yield f'freed with {count} references {address:#x} ({name})'
        for name, change in self.types():
            yield f'ref change of type {name}: {change}'
        yield f'total ref change {self.total}'


# --- who refers to an object -------------------------------------------------


class ObjectExtent:
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
        self.text = TextReader(target)
        self.frames = FrameReader(target)
        self.item_names = {}

    def size(self, address, info):
        """Return the number of bytes that begin at `address`."""
        if info.address == 0:
            return self.keys_size(address) if info.name == 'dict keys' else 0
        size = info.basicsize
        if info.flags & FLAG_INLINE_VALUES:
            capacity = self.memory.read(address + size, 1)
            layout = self.target.layout('struct _dictvalues')
            n = min(capacity[0], SHARED_KEYS_MAX) if capacity else 0
            size += layout.offset('values') + 8 * n
        elif info.name in FrameReader.OWNERS:
            size = self.frames.owner_size(address, info.name)
        elif info.itemsize:
            n = self.memory.word(address + 16) or 0
            n = n >> 3 if info.flags & FLAG_LONG else abs(refmap_signed(n))
            size += info.itemsize * n
        return max(0, min((size + 7) & ~7, MAX_OBJECT))

    def keys(self, address):
        """Return (offset of the entries, bytes of an entry, offset of the
        value in it, entries in use) of a dict keys table, or None."""
        layout = self.target.layout('struct _dictkeysobject')
        data = self.memory.read(address, layout.size)
        if data is None or layout.get(data, 'dk_log2_index_bytes') > 40:
            return None
        general = layout.get(data, 'dk_kind') == KEYS_GENERAL
        start = (layout.offset('dk_indices')
                 + (1 << layout.get(data, 'dk_log2_index_bytes')))
        used = max(0, layout.get(data, 'dk_nentries'))
        return start, 24 if general else 16, 16 if general else 8, used

    def keys_size(self, address):
        found = self.keys(address)
        return min(found[0] + found[1] * found[3], MAX_OBJECT) if found else 0

    def name(self, address, info, place):
        """Return (what the word at `place` is in the object, whether the
        reference is counted), or None if it is no reference."""
        offset = place - address
        if info.name == 'dict keys':
            return self.name_in_keys(address, offset)
        if info.name in self.PLAIN or offset < 0:
            return self.name_before(info, offset)
        if info.flags & FLAG_TYPE:
            return self.name_in_type(info, offset)
        if info.weaklist > 0 and offset == info.weaklist:
            return '__weaklist__', False
        if info.flags & FLAG_TUPLE and offset != info.dictoffset:
            layout = self.target.layout('PyTupleObject')
            return f'item {(offset - layout.offset("ob_item")) // 8}', True
        if info.flags & FLAG_INLINE_VALUES and offset >= info.basicsize:
            return self.name_inline(address, info, offset)
        return self.name_of_field(address, info, offset)

    def name_before(self, info, offset):
        """What stands before the object; see MANAGED_DICT_OFFSET."""
        if info.flags & FLAG_MANAGED_DICT and offset == -24:
            return '__dict__', True
        if info.flags & FLAG_MANAGED_WEAKREF and offset == -32:
            return '__weaklist__', False
        return None

    def name_in_keys(self, address, offset):
        found = self.keys(address)
        if found is None or offset < found[0]:
            return None
        start, size, value_at, used = found
        index, rest = divmod(offset - start, size)
        if index >= used:
            return None
        key = self.memory.word(address + start + index * size + value_at - 8)
        if rest == value_at:
            return f'value of {self.key_name(key)}', True
        return (f'key {self.key_name(key)}', True) if rest == value_at - 8 \
            else None

    def key_name(self, key):
        """Return a short text for a dict's key."""
        if not key:
            return '?'
        info = self.types.of_object(key)
        text = None
        if info.flags & FLAG_UNICODE:
            text = self.text.string(key, 60)
        elif info.name == 'int':
            text = self.text.small_int(key)
        return text or f'<{info.name} at {key:#x}>'

    def name_in_type(self, info, offset):
        heap = self.target.layout('PyHeapTypeObject')
        name = heap.name_at(offset) if offset < heap.size else None
        if name is None:
            return f'offset {offset}', True
        name = name.removeprefix('ht_type.')
        return name, name not in self.BORROWED

    def name_inline(self, address, info, offset):
        """An attribute that is kept right behind the object."""
        layout = self.target.layout('struct _dictvalues')
        base = address + info.basicsize
        index = (offset - info.basicsize - layout.offset('values')) // 8
        data = self.memory.read(base, layout.offset('values'))
        if index < 0 or not data or not layout.get(data, 'valid'):
            return None
        return f'attribute {self.attribute(info, index)}', True

    def attribute(self, info, index):
        """The name of a type's shared key."""
        heap = self.target.layout('PyHeapTypeObject')
        keys = self.memory.word(info.address + heap.offset('ht_cached_keys'))
        found = self.keys(keys) if keys else None
        if found is None or index >= found[3]:
            return f'number {index}'
        return self.key_name(self.memory.word(
            keys + found[0] + index * found[1] + found[2] - 8))

    def name_of_field(self, address, info, offset):
        if offset == info.dictoffset:
            return '__dict__', True
        if info.name in FrameReader.OWNERS:
            at = self.frames.offset_in(info.name)
            if offset >= at:
                return self.frames.name(address + at, address + offset)
        elif info.name == 'code':
            code = self.target.layout('PyCodeObject')
            if offset >= code.offset('co_code_adaptive'):
                # The caches of specialized instructions own nothing.
                return None
        name = self.member(info, offset)
        return (name, name not in self.BORROWED) if name \
            else (f'offset {offset}', True)

    def member(self, info, offset):
        """The name of a field, from the C struct or from __slots__."""
        for _ in range(100):
            struct_name = self.STRUCTS.get(info.name)
            if struct_name is not None:
                layout = self.target.layout(struct_name)
                name = layout.name_at(offset)
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
        names = self.item_names.get(info.address)
        if names is None:
            names = self.item_names[info.address] = {}
            layout = self.target.layout('PyMemberDef')
            at = info.members
            data = at and self.memory.read(at, layout.size)
            while data and layout.get(data, 'name') and len(names) < 1000:
                name = self.memory.text(layout.get(data, 'name'))
                names[layout.get(data, 'offset')] = name
                at += layout.size
                data = self.memory.read(at, layout.size)
        return names


class FrameReader:
    """Interpreter frames: of running threads, of generators, of frame
    objects."""

    STRUCT = '_PyInterpreterFrame'
    # The types whose objects can hold a frame, and where.
    OWNERS = {'frame': ('PyFrameObject', '_f_frame_data'),
              'generator': ('PyGenObject', 'gi_iframe'),
              'coroutine': ('PyGenObject', 'gi_iframe'),
              'async_generator': ('PyGenObject', 'gi_iframe')}

    def __init__(self, target):
        self.target = target
        self.memory = target.memory
        self.text = TextReader(target)

    def get(self, frame, path):
        return self.target.get(self.STRUCT, frame, path)

    def code(self, frame):
        """Return the code object of a frame, or 0."""
        try:
            code = self.get(frame, 'f_executable')
        except RefmapUnreadable:
            return 0
        return code if self.target.types.of_object(code).name == 'code' else 0

    def words(self, frame):
        """Return how many words of a frame are in use."""
        code = self.code(frame)
        fixed = self.target.layout(self.STRUCT).offset('localsplus') // 8
        if not code:
            return fixed
        size = self.target.get('PyCodeObject', code, 'co_framesize')
        top = self.get(frame, 'stacktop')
        return max(fixed, min(size, fixed + top) if top >= 0 else size)

    def offset_in(self, owner):
        """Return where a frame begins in an object of the type `owner`."""
        struct_name, field = self.OWNERS[owner]
        return self.target.layout(struct_name).offset(field)

    def owner_size(self, address, owner):
        """Return the bytes of such an object, with its frame if it has one."""
        at = self.offset_in(owner)
        try:
            if self.has_frame(address, owner, address + at):
                return at + 8 * self.words(address + at)
        except RefmapUnreadable:
            pass
        return at

    def has_frame(self, address, owner, frame):
        if owner == 'frame':
            return frame == self.target.get('PyFrameObject', address,
                                            'f_frame')
        state = self.target.get('PyGenObject', address, 'gi_frame_state')
        return state != GENERATOR_CLEARED

    def name(self, frame, place):
        """As ObjectExtent.name(), for a word of a frame."""
        layout = self.target.layout(self.STRUCT)
        local = (place - frame - layout.offset('localsplus')) // 8
        if local < 0:
            name = layout.name_at(place - frame)
            return name, name not in ('f_globals', 'f_builtins', 'previous')
        code = self.code(frame)
        count = self.target.get('PyCodeObject', code, 'co_nlocalsplus') \
            if code else 0
        if local < count:
            return f'local {self.local(code, local)}', True
        # A running frame does not say how high its stack is.
        if self.get(frame, 'stacktop') >= 0:
            return 'stack', True
        return ReferenceHit.STALE, False

    def local(self, code, index):
        names = self.target.get('PyCodeObject', code, 'co_localsplusnames')
        layout = self.target.layout('PyTupleObject')
        name = self.memory.word(names + layout.offset('ob_item') + 8 * index)
        return (name and self.text.string(name)) or str(index)

    def title(self, frame):
        """Return the name of the function of a frame."""
        code = self.code(frame)
        if not code:
            return '?'
        name = self.target.get('PyCodeObject', code, 'co_qualname')
        return self.text.raw(name) or '?'

    def running(self):
        """Yield (interpreter id, frame) of the frames on thread stacks."""
        chain = self.target.chain
        for interp in self.target.interpreters():
            for thread in chain('PyThreadState', interp.threads, 'next',
                                'threads'):
                first = self.target.get('PyThreadState', thread,
                                        'current_frame')
                with contextlib.suppress(RefmapError):
                    for frame in chain(self.STRUCT, first, 'previous',
                                       'frames'):
                        owner = self.get(frame, 'owner')
                        if owner not in (FRAME_OF_GENERATOR, FRAME_OF_OBJECT,
                                         FRAME_OF_C):
                            yield interp.id, frame


class ReferenceHit:
    """One place that refers to the object in question."""

    STALE = 'stack, perhaps stale'

    def __init__(self, holder, name, where, counted=True):
        self.holder = holder
        self.name = name
        self.where = where
        self.counted = counted


class ReferenceSearch:
    """Finds what refers to objects by looking for their addresses.

    The memory of the mapped objects is searched, and what belongs to them:
    items of lists, tables of sets, values of dicts, frames of threads."""

    def __init__(self, target, wanted):
        """`wanted` is a list of addresses."""
        self.target = target
        self.memory = target.memory
        self.types = target.types
        self.extent = ObjectExtent(target)
        self.wanted = set(wanted)
        self.patterns = [self.memory.word_format.pack(w) for w in wanted]
        self.hits = []              # ReferenceHit
        self.maps = target.maps()
        self.instances = 0
        self.truncated = False
        self.arrays = []            # (start, size, owner, kind)
        self.kinds = {}             # type address: function or None

    def run(self):
        """Search all maps and threads; return the [ReferenceHit]."""
        for refmap in self.maps:
            self.mapped = {page for page, _ in refmap.pages()}
            self.search_map(refmap)
            self.search_arrays()
        self.search_frames()
        self.hits.sort(key=lambda hit: (hit.holder, hit.where))
        return self.hits

    def add(self, hit):
        if len(self.hits) < MAX_HITS:
            self.hits.append(hit)
        else:
            self.truncated = True

    def places(self, start, data):
        """Yield the addresses in `data` where a wanted address stands."""
        for pattern in self.patterns:
            at = data.find(pattern)
            while at >= 0:
                if (start + at) % 8 == 0:
                    yield start + at
                at = data.find(pattern, at + 1)

    def search_map(self, refmap):
        last = None                 # (address, TypeInfo) before this page
        pending = []                # places just before the next page
        for page in refmap.contents():
            types = page.type_words()
            self.collect_arrays(page, types)
            starts = [i for i, count in enumerate(page.counts) if count]
            if page.data is not None:
                found = self.places(page.page << PAGE_BITS, page.data)
                unknown = [place for place in itertools.chain(pending, found)
                           if not self.resolve(page, types, starts, last,
                                               place)]
                pending = [place for place in unknown
                           if place >= ((page.page + 1) << PAGE_BITS) - 32]
            i = starts[-1]
            last = page.slot_address(i), self.types[types[i]]
            self.collect_tail(page, *last)

    def resolve(self, page, types, starts, last, place):
        """Find the object that the word at `place` belongs to."""
        base = page.page << PAGE_BITS
        at = bisect.bisect_right(starts, (place - base) >> SLOT_BITS)
        before = last
        if at:
            i = starts[at - 1]
            before = page.slot_address(i), self.types[types[i]]
            if place == before[0] + 8 and types[i] in self.wanted:
                self.instances += 1
                return True
        if (before is not None and before[0] <= place
                < before[0] + self.extent.size(*before)):
            return self.report(*before, place)
        if at < len(starts):
            i = starts[at]
            after = page.slot_address(i)
            if after - 32 <= place < after:
                return self.report(after, self.types[types[i]], place)
        return False

    def report(self, holder, info, place):
        named = self.extent.name(holder, info, place)
        if named is not None:
            self.add(ReferenceHit(holder, info.name, *named))
        return True

    def collect_tail(self, page, address, info):
        """The rest of an object on pages that no other object starts on."""
        end = address + self.extent.size(address, info)
        start = (page.page + 1) << PAGE_BITS
        while start < end and start >> PAGE_BITS in self.mapped:
            start += PAGE_SIZE
        if start < end:
            self.arrays.append((start, end - start, address, 'tail'))

    def collect_arrays(self, page, types):
        kinds = self.kinds
        for i, (count, word) in enumerate(zip(page.counts, types)):
            if not count:
                continue
            if word not in kinds:
                kinds[word] = self.collector(self.types[word])
            if kinds[word] is not None:
                kinds[word](page.slot_address(i), page)
        if len(self.arrays) > 65536:
            self.search_arrays()

    def collector(self, info):
        """Return what finds the arrays of objects of a type, or None."""
        if info.flags & FLAG_LIST:
            return self.collect_list
        if info.flags & FLAG_DICT:
            return self.collect_dict
        for _ in range(100):
            if info.name in ('set', 'frozenset'):
                return self.collect_set
            if not info.base:
                break
            info = self.types[info.base]
        return None

    def fields(self, struct_name, address, page, *paths):
        """Return fields of an object, mostly from the page at hand."""
        layout = self.target.layout(struct_name)
        data, base = page.data, address % PAGE_SIZE
        if data is None or base + layout.size > PAGE_SIZE:
            data, base = self.memory.read(address, layout.size), 0
        if data is None:
            return [0] * len(paths)
        return [layout.get(data, path, base) for path in paths]

    def collect_list(self, address, page):
        items, n = self.fields('PyListObject', address, page, 'ob_item',
                               'ob_base.ob_size')
        self.collect(items, 8 * n, address, 'list')

    def collect_set(self, address, page):
        table, mask = self.fields('PySetObject', address, page,
                                  'table', 'mask')
        inside = self.target.layout('PySetObject').offset('smalltable')
        if table != address + inside:
            self.collect(table, 16 * (mask + 1), address, 'set')

    def collect_dict(self, address, page):
        values, = self.fields('PyDictObject', address, page, 'ma_values')
        size = self.target.layout('struct _dictvalues').offset('values')
        self.collect(values, size + 8 * SHARED_KEYS_MAX, address, 'dict')

    def collect(self, start, size, owner, kind):
        if start and start % 8 == 0 and 0 < size <= MAX_OBJECT:
            self.arrays.append((start, size, owner, kind))

    def search_arrays(self):
        arrays, self.arrays = sorted(self.arrays), []
        starts = [array[0] for array in arrays]
        for start, data in self.memory.buffers(arrays):
            for place in self.places(start, data):
                at = bisect.bisect_right(starts, place)
                # Ranges of dict values are guesses and may overlap.
                for array in arrays[max(0, at - 16):at]:
                    if place < array[0] + array[1]:
                        self.report_array(place, *array)

    def report_array(self, place, start, size, owner, kind):
        info = self.types.of_object(owner)
        if kind == 'tail':
            if self.types.of_object(owner).address == 0:
                info = self.types[KEYS_TYPE]
            self.report(owner, info, place)
        elif kind == 'list':
            self.add(ReferenceHit(owner, info.name,
                                  f'item {(place - start) // 8}'))
        elif kind == 'set':
            if (place - start) % 16 == 0:
                self.add(ReferenceHit(owner, info.name, 'element'))
        else:
            self.report_values(place, start, owner, info)

    def report_values(self, place, start, owner, info):
        """The values of a dict that shares its keys."""
        layout = self.target.layout('struct _dictvalues')
        data = self.memory.read(start, layout.offset('values'))
        index = (place - start - layout.offset('values')) // 8
        if (not data or layout.get(data, 'embedded')
                or not 0 <= index < layout.get(data, 'capacity')):
            return
        keys = self.target.get('PyDictObject', owner, 'ma_keys')
        found = self.extent.keys(keys)
        name = str(index)
        if found is not None and index < found[3]:
            name = self.extent.key_name(self.memory.word(
                keys + found[0] + index * found[1] + found[2] - 8))
        self.add(ReferenceHit(owner, info.name, f'value of {name}'))

    def search_frames(self):
        frames = self.extent.frames
        for interp, frame in frames.running():
            try:
                size = min(frames.words(frame), 1 << 20)
                data = self.memory.read(frame, 8 * size)
                for place in self.places(frame, data or b''):
                    where, counted = frames.name(frame, place)
                    title = f'running {frames.title(frame)}()'
                    self.add(ReferenceHit(frame, title, where, counted))
            except RefmapError:
                continue


class ReferenceReport:
    """The references to one object, with dicts in place of their keys."""

    MAX_KEYS = 16

    def __init__(self, target, address):
        self.search = ReferenceSearch(target, [address])
        self.hits = self.search.run()
        # Only a heap type is referred to by its instances.
        is_counted = target.types[address].flags & FLAG_HEAPTYPE
        self.instances = self.search.instances if is_counted else 0
        tables = sorted({hit.holder for hit in self.hits
                         if hit.name == 'dict keys'})[:self.MAX_KEYS]
        if tables:
            self.name_tables(target, tables)

    def name_tables(self, target, tables):
        """Put the dict or type that a keys table belongs to in its place."""
        owners = {}
        for hit in ReferenceSearch(target, tables).run():
            field = {'ma_keys': 'PyDictObject',
                     'ht_cached_keys': 'PyHeapTypeObject'}.get(hit.where)
            if field is None:
                continue
            keys = target.get(field, hit.holder, hit.where)
            # A table that a class shares with its instances is the class's.
            if keys not in owners or hit.where == 'ht_cached_keys':
                owners[keys] = hit
        for hit in self.hits:
            owner = owners.get(hit.holder)
            if hit.name == 'dict keys' and owner is not None:
                if owner.where == 'ht_cached_keys':
                    hit.where = f'shared {hit.where}'
                hit.holder, hit.name = owner.holder, owner.name
        self.hits.sort(key=lambda hit: (hit.holder, hit.where))


# --- commands ----------------------------------------------------------------


class RefmapDebug(gdb.Parameter):
    """Whether errors inside the py-refmap commands show a traceback."""

    set_doc = 'Set whether py-refmap commands show tracebacks of their own.'
    show_doc = 'Show whether py-refmap commands show tracebacks of their own.'

    def __init__(self):
        super().__init__('refmap-debug', gdb.COMMAND_MAINTENANCE,
                         gdb.PARAM_BOOLEAN)
        self.value = False

    def get_set_string(self):
        return ''

    def get_show_string(self, svalue):
        return f'Tracebacks of py-refmap commands are {svalue}.'


refmap_debug = RefmapDebug()


class CommandArguments:
    """The options and the rest of a command line."""

    OPTION = re.compile(r"""(?:^|(?<=\s))--([a-z-]+)(?:\s+|=)"""
                        r"""('[^']*'|"[^"]*"|\S+)""")

    def __init__(self, text, allowed, usage):
        """Raise RefmapError, with the usage, for unknown options."""
        self.usage = usage
        self.options = {}
        for name, value in self.OPTION.findall(text):
            if name not in allowed:
                self.fail(f'There is no option --{name}.')
            self.options[name] = value.strip('\'"')
        self.rest = self.OPTION.sub('', text).strip()
        loose = re.match(r'--([a-z-]+)$', self.rest)
        if loose:
            self.fail(f'The option --{loose[1]} needs a value.'
                      if loose[1] in allowed
                      else f'There is no option --{loose[1]}.')

    def fail(self, problem):
        raise RefmapError(f'{problem} Usage: {self.usage}')

    def number(self, name, default=None):
        """Return the value of an option that takes an integer."""
        return self.integer(self.options.get(name), default, f'--{name}')

    def integer(self, text, default, what):
        if not text:
            return default
        try:
            value = int(text, 0)
        except ValueError:
            value = -1
        if value < 0:
            self.fail(f'A number is wanted for {what}, not "{text}".')
        return value

    def none_left(self):
        if self.rest:
            self.fail(f'"{self.rest}" is too much.')


@contextlib.contextmanager
def refmap_no_calls():
    """Let an expression read what it likes, but call nothing."""
    name = 'may-call-functions'
    try:
        before = gdb.parameter(name)
    except RuntimeError:
        yield
        return
    gdb.execute(f'set {name} off', to_string=True)
    try:
        yield
    finally:
        gdb.execute(f'set {name} {"on" if before else "off"}', to_string=True)


def refmap_address(text):
    """Return the address that an expression stands for; raise RefmapError."""
    try:
        address = int(text, 0)
    except ValueError:
        try:
            with refmap_no_calls():
                value = gdb.parse_and_eval(text)
                if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
                    value = value.address
                address = int(value)
        except (gdb.error, TypeError, ValueError) as error:
            raise RefmapError(f'"{text}" is no address: {error}') from None
    address &= (1 << 64) - 1
    if address == 0:
        raise RefmapError('NULL is no object.')
    if address >> 48 or address % 8:
        raise RefmapError(f'No object can be at {address:#x}.')
    return address


class RefmapCommand(gdb.Command):
    """A command that ends with a sentence, whatever happens.

    Subclasses set `command`, `usage` and `allowed` (option names), and define
    run(args)."""

    allowed = ('interp',)

    def __init__(self):
        super().__init__(self.command, gdb.COMMAND_DATA, gdb.COMPLETE_SYMBOL)

    def invoke(self, text, from_tty):
        try:
            self.run(CommandArguments(text, self.allowed, self.usage))
        except RefmapError as error:
            self.fail(str(error))
        except (KeyboardInterrupt, gdb.GdbError):
            raise
        except Exception as error:
            reason = ' '.join(f'{type(error).__name__}: {error}'.split())
            self.fail(f'The command met something it does not understand '
                      f'({reason}); "set refmap-debug on" shows where.')

    def fail(self, sentence):
        if refmap_debug.value:
            raise
        raise gdb.GdbError(sentence) from None

    def maps(self, args):
        """Return the maps to look at, as --interp says."""
        return RefmapTarget().maps(args.number('interp'))

    def report_damage(self, maps):
        for refmap in maps:
            if refmap.damage():
                print(refmap.damage())


class PyRefmap(RefmapCommand):
    """What the refcount map says, of everything or of one object.

Usage: py-refmap [--interp N]
       py-refmap EXPRESSION

Without an expression: how many references and objects are counted, the ten
types with the most references, and whether the sums are exact. With one: its
type, counts, birth and place in the map. The expression is a PyObject* or an
address; functions are not called.
See also py-refmap-types, -top, -objects, -snapshots, -diff, -verify, -refs,
-watch and -break-negative."""

    command = 'py-refmap'
    usage = 'py-refmap [EXPRESSION] [--interp N]'

    def run(self, args):
        if args.rest:
            ObjectReport(RefmapTarget(), refmap_address(args.rest),
                         args.number('interp')).print()
        else:
            self.summary(self.maps(args))

    def summary(self, maps):
        tallies = [MapTally(refmap) for refmap in maps]
        mapped = sum(tally.mapped for tally in tallies)
        unattributed = sum(tally.unattributed for tally in tallies)
        total = sum(refmap.total() for refmap in maps)
        print(f'mapped        {mapped}')
        print(f'unattributed  {unattributed}')
        print(f'total         {total}')
        print(f'objects       {sum(tally.objects for tally in tallies)}')
        print(f'blocks        {sum(refmap["nblocks"] for refmap in maps)}')
        print(f'untracked     {sum(refmap["untracked"] for refmap in maps)}')
        difference = mapped + unattributed - total
        print(f'exact         {self.exact(maps, difference)}')
        if len(maps) > 1:
            for tally in tallies:
                print(f'  {tally.map.label()}: '
                      f'{refmap_many(tally.mapped, "reference")} to '
                      f'{refmap_many(tally.objects, "object")}')
        refmap_print_types(refmap_by_name(tallies)[:10])
        self.report_damage(maps)

    def exact(self, maps, difference):
        if difference == 0:
            return 'yes'
        reason = ''
        if not any(refmap.damaged for refmap in maps):
            reason = (' (a thread is changing the map)'
                      if any(refmap.is_changing() for refmap in maps) else
                      ' (one for each thread inside an incref is fine)')
        return f'no: off by {difference}{reason}'


PyRefmap()


def refmap_print_types(rows):
    """Print rows of refmap_by_name()."""
    print(f'{"references":>12} {"objects":>10}  type')
    for refs, objects, name in rows:
        print(f'{refs:>12} {objects:>10}  {name}')


class ObjectReport:
    """What is known about one object."""

    def __init__(self, target, address, number):
        self.target = target
        self.address = address
        self.map, self.block = target.map_of(address, number)
        self.count, self.birth = (self.block.slot(address) if self.block
                                  else (0, 0))
        self.info = target.types.of_object(address, self.birth)

    def print(self):
        refcnt = self.target.memory.word(self.address)
        if self.count == 0 and self.info.address == 0:
            self.fail(refcnt)
        immortal = refcnt is not None and refmap_is_immortal(refcnt)
        shown = ("can't be read" if refcnt is None else
                 f'{refmap_signed(refcnt)}')
        print(f'object        {self.address:#x}')
        print(f'type          {self.info.name}')
        print(f'references    {self.count}')
        print(f'ob_refcnt     {shown}{self.comment(refcnt, immortal)}')
        print(f'birth         {self.birth_text()}')
        print(f'immortal      {"yes" if immortal else "no"}')
        print(f'block         {self.block_text()}')
        for line in self.snapshot_lines():
            print(f'snapshot      {line}')
        value = ObjectPrinter(self.target).show(self.address, self.info)
        print(f'value         {value}')

    def fail(self, refcnt):
        """No object here: tell why."""
        if refcnt is None:
            raise RefmapError(f"The memory at {self.address:#x} can't be "
                              f"read, and the map counts nothing there.")
        inside = self.enclosing()
        raise RefmapError(f'The map counts nothing at {self.address:#x}, and '
                          f'there is no Python object{inside}.')

    def enclosing(self):
        """A hint at the object whose memory the address is in."""
        if self.block is None:
            return ''
        extent = ObjectExtent(self.target)
        last = (self.address >> SLOT_BITS) % SLOTS
        for i in range(last, -1, -1):
            if self.block.counts[i]:
                start = self.block.slot_address(i)
                info = self.target.types.of_object(start, self.block.births[i])
                if start < self.address < start + extent.size(start, info):
                    return (f'; it lies {self.address - start} bytes inside '
                            f'the {info.name} at {start:#x}')
                break
        return ''

    def comment(self, refcnt, immortal):
        if refcnt is None or immortal:
            return ''
        if self.count == 0:
            return ' (not in the map)'
        refcnt = refmap_signed(refcnt)
        if refmap_agree(self.count, self.birth, refcnt):
            return '' if refcnt == self.count else ' (one was never counted)'
        return ' (differs from the map)'

    def birth_text(self):
        if self.count == 0:
            return 'none'
        serial = self.birth & BIRTH_SERIAL
        own = ", one of refmap's own" if self.birth & BIRTH_OWN else ''
        return f'{serial}{"" if serial else " (static)"}{own}'

    def block_text(self):
        if self.block is None:
            return 'none'
        slot = (self.address >> SLOT_BITS) % SLOTS
        return (f'{self.block.address:#x}, slot {slot}, epoch '
                f'{self.block.epoch}, in the {self.map.label()}')

    def snapshot_lines(self):
        index = self.block.index if self.block else None
        try:
            snapshots = self.map.snapshots()
        except RefmapError as error:
            # Damaged snapshots are no reason to hide the object.
            yield str(error)
            return
        for snapshot in snapshots:
            slot = snapshot.slot(self.address, index)
            if slot is None:
                text = 'lost: memory was short'
            elif slot[0] == 0:
                text = 'not there'
            elif slot[1] != self.birth and self.count:
                text = (f'{refmap_many(slot[0], "reference")} '
                        f'to another object')
            else:
                text = refmap_many(slot[0], 'reference')
            print_name = f'{snapshot.number}'
            if snapshot.is_baseline:
                print_name += ' (baseline)'
            yield f'{print_name}: {text}'


class PyRefmapTypes(RefmapCommand):
    """How many references and objects each type has.

Usage: py-refmap-types [GLOB] [--interp N]

GLOB is a pattern such as "d*"; types are named as tp_name says."""

    command = 'py-refmap-types'
    usage = 'py-refmap-types [GLOB] [--interp N]'

    def run(self, args):
        maps = self.maps(args)
        pattern = args.rest.strip('\'"') or '*'
        rows = [row for row in refmap_by_name(map(MapTally, maps))
                if fnmatch.fnmatchcase(row[2], pattern)]
        if rows:
            refmap_print_types(rows)
            refs = refmap_many(sum(row[0] for row in rows), 'reference')
            objects = refmap_many(sum(row[1] for row in rows), 'object')
            print(f'{refs} to {objects} of '
                  f'{refmap_many(len(rows), "type")}.')
        else:
            print(f'No object is of a type like {pattern}.')
        self.report_damage(maps)


PyRefmapTypes()


def refmap_print_objects(target, rows):
    """Print rows of refmap_objects()."""
    printer = ObjectPrinter(target)
    for count, birth, address, info in rows:
        print(f'{address:#x} ({info.name}): '
              f'{refmap_many(count, "reference")}, '
              f'birth {birth & BIRTH_SERIAL}: '
              f'{printer.show(address, info, 80)}')


class PyRefmapTop(RefmapCommand):
    """The objects with the most references.

Usage: py-refmap-top [N] [--type GLOB] [--interp N]

N is 10 unless told."""

    command = 'py-refmap-top'
    usage = 'py-refmap-top [N] [--type GLOB] [--interp N]'
    allowed = ('interp', 'type')

    def run(self, args):
        maps = self.maps(args)
        n = args.integer(args.rest, 10, 'N')
        rows = heapq.nsmallest(
            n, (row for refmap in maps
                for row in refmap_objects(refmap, args.options.get('type'))),
            key=lambda row: (-row[0], row[2]))
        refmap_print_objects(maps[0].target, rows)
        if not rows:
            print('No such object.')
        self.report_damage(maps)


PyRefmapTop()


class PyRefmapObjects(RefmapCommand):
    """The objects of a type, the oldest first.

Usage: py-refmap-objects --type GLOB [--born-after BIRTH] [--limit N]
                         [--interp N]

Births are serial numbers, as py-refmap shows them for an object; static
objects have 0. The first 100 objects are shown unless told."""

    command = 'py-refmap-objects'
    usage = ('py-refmap-objects --type GLOB [--born-after BIRTH] [--limit N] '
             '[--interp N]')
    allowed = ('interp', 'type', 'born-after', 'limit')

    def run(self, args):
        args.none_left()
        if 'type' not in args.options:
            args.fail('Which type?')
        limit = args.number('limit', MAX_SHOWN)
        maps = self.maps(args)
        after = args.number('born-after', -1)
        rows = [row for refmap in maps
                for row in refmap_objects(refmap, args.options['type'])
                if row[1] & BIRTH_SERIAL > after]
        shown = heapq.nsmallest(
            limit, rows, key=lambda row: (row[1] & BIRTH_SERIAL, row[2]))
        refmap_print_objects(maps[0].target, shown)
        more = (f', {len(shown)} of them shown (see --limit)'
                if len(rows) > len(shown) else '')
        print(f'{refmap_many(len(rows), "object")} with '
              f'{refmap_many(sum(row[0] for row in rows), "reference")}'
              f'{more}.')
        self.report_damage(maps)


PyRefmapObjects()


class PyRefmapSnapshots(RefmapCommand):
    """The snapshots that are retained, the oldest first.

Usage: py-refmap-snapshots [--interp N]

py-refmap-diff takes their numbers or addresses."""

    command = 'py-refmap-snapshots'
    usage = 'py-refmap-snapshots [--interp N]'

    def run(self, args):
        args.none_left()
        maps = self.maps(args)
        found = 0
        for refmap in maps:
            snapshots = refmap.snapshots()
            if snapshots and len(maps) > 1:
                print(f'{refmap.label()}:')
            for snapshot in snapshots:
                found += 1
                print(self.line(snapshot))
        if not found:
            print('No snapshot is retained.')

    def line(self, snapshot):
        line = (f'{snapshot.number}: {snapshot.address:#x}, total '
                f'{snapshot.total}, unattributed '
                f'{snapshot.unattributed - snapshot.own}, '
                f'{sum(p != 0 for p in snapshot.blocks)} blocks')
        if snapshot.lost:
            line += f', {snapshot.lost} lost'
        return line + (', baseline' if snapshot.is_baseline else '')


PyRefmapSnapshots()


class PyRefmapDiff(RefmapCommand):
    """What changed between two snapshots, or a snapshot and now.

Usage: py-refmap-diff [A [B]] [--interp N]

A and B are numbers of py-refmap-snapshots, addresses, "baseline" or "now".
Without them: from the baseline to now. The words are those of
sys.refmap_diff()."""

    command = 'py-refmap-diff'
    usage = 'py-refmap-diff [A [B]] [--interp N]'

    def run(self, args):
        names = args.rest.split()
        if len(names) > 2:
            args.fail('A diff is of two snapshots.')
        names += ['baseline', 'now'][len(names):]
        maps = self.maps(args)
        diffs, reason = [], None
        for refmap in maps:
            try:
                before, after = [self.state(refmap, name) for name in names]
            except LookupError as error:
                reason = error.args[0]
            else:
                diffs.append(MapDiff(before, after))
        if not diffs:
            raise RefmapError(reason)
        for diff in diffs:
            if len(maps) > 1:
                print(f'{diff.map.label()}:')
            for line in diff.lines():
                print(line)
        self.report_damage(maps)

    def state(self, refmap, name):
        """Return the MapState of that name; raise LookupError."""
        if name == 'now':
            return MapState.now(refmap)
        snapshots = refmap.snapshots()
        if name == 'baseline':
            for snapshot in snapshots:
                if snapshot.is_baseline:
                    return snapshot
            raise LookupError('There is no baseline: the process has not '
                              'called sys.refmap_snapshot().')
        number = self.snapshot_number(refmap, name)
        for snapshot in snapshots:
            if number in (snapshot.number, snapshot.address):
                return snapshot
        raise LookupError(f'There is no snapshot {name}: see '
                          f'py-refmap-snapshots.')

    def snapshot_number(self, refmap, name):
        """A number, or the address of a snapshot or of its Python object."""
        try:
            number = int(name, 0)
        except ValueError:
            number = refmap_address(name)
        types = refmap.target.types
        if number > MAX_CHAIN and number % 8 == 0 and \
                types.of_object(number).name == 'sys.refmap_snapshot_type':
            return refmap.target.get('SnapshotObject', number, 'snapshot')
        return number


PyRefmapDiff()


class PyRefmapVerify(RefmapCommand):
    """Compare the map with the reference counts in the objects themselves.

Usage: py-refmap-verify [--limit N] [--interp N]

Prints the live mortal objects whose ob_refcnt is not what the map counts.
A thread that stands in the middle of an incref or decref can account for
one object."""

    command = 'py-refmap-verify'
    usage = 'py-refmap-verify [--limit N] [--interp N]'
    allowed = ('interp', 'limit')

    def run(self, args):
        args.none_left()
        limit = args.number('limit', MAX_SHOWN)
        maps = self.maps(args)
        rows, compared = [], 0
        for refmap in maps:
            found, n = refmap_differing(refmap)
            rows += found
            compared += n
        for address, name, count, refcnt in rows[:limit]:
            print(f'{address:#x} ({name}): the map counts {count}, '
                  f'ob_refcnt is {refcnt}')
        compared = refmap_many(compared, 'object')
        print(f'{compared} compared, {len(rows) or "none"} with another '
              f'ob_refcnt.')
        self.report_damage(maps)


PyRefmapVerify()


class PyRefmapRefs(RefmapCommand):
    """Which objects refer to an object.

Usage: py-refmap-refs EXPRESSION [--limit N]

Searches the memory of all mapped objects, their tables, and the frames that
run. References from C variables, static memory and unknown out-of-line memory
(such as that of a collections.deque) are not found."""

    command = 'py-refmap-refs'
    usage = 'py-refmap-refs EXPRESSION [--limit N]'
    allowed = ('limit',)

    def run(self, args):
        if not args.rest:
            args.fail('Which object?')
        limit = args.number('limit', MAX_SHOWN)
        address = refmap_address(args.rest)
        target = RefmapTarget()
        refmap, block = target.map_of(address)
        count, birth = block.slot(address) if block else (0, 0)
        if not count and target.types.of_object(address).address == 0:
            ObjectReport(target, address, None).print()
        report = ReferenceReport(target, address)
        for hit in report.hits[:limit]:
            note = ('' if hit.counted or hit.where == hit.STALE
                    else ' (not counted)')
            print(f'{hit.holder:#x} ({hit.name}): {hit.where}{note}')
        if len(report.hits) > limit:
            print(f'... {len(report.hits) - limit} more (see --limit)')
        self.verdict(report, count)
        self.report_damage(report.search.maps)

    def verdict(self, report, count):
        found = sum(hit.counted for hit in report.hits)
        if report.instances:
            print(f'its instances: {report.instances}')
            found += report.instances
        more = ' (not all were looked at)' if report.search.truncated else ''
        stale = sum(hit.where == hit.STALE for hit in report.hits)
        perhaps = f' and perhaps {stale} on stacks' if stale else ''
        print(f'{refmap_many(found, "reference")} found{perhaps}{more}, '
              f'the map counts {count}.')


PyRefmapRefs()


class ShortBacktrace:
    """A few lines of C and Python frames, as plain text."""

    LINES = 10
    C_LINES = 5                 # of them before the next Python frame
    FRAMES = 200
    # Who calls these is of interest.
    SKIPPED = re.compile('_?Py_X?(INCREF|DECREF|NewRef|IncRef|DecRef)$|'
                         '_PyRefMap_')

    def __init__(self, target):
        self.target = target
        self.frames = FrameReader(target)
        self.library = getattr(sys.modules['__main__'], 'PyFramePtr', None)

    def lines(self):
        """Yield the newest frames."""
        groups = self.python_groups()
        frame, left, in_a_row = gdb.newest_frame(), self.LINES, 0
        for _ in range(self.FRAMES):
            if frame is None or not frame.is_valid() or left <= 0:
                break
            name = frame.name() or '??'
            if name == '_PyEval_EvalFrameDefault' and groups:
                lines, in_a_row = groups.pop(0), 0
            else:
                lines = self.c_lines(frame, name)
                in_a_row += len(lines)
            if in_a_row <= self.C_LINES:
                yield from lines[:left]
                left -= len(lines)
            frame = frame.older()

    def c_lines(self, frame, name):
        if self.SKIPPED.match(name):
            return []
        place = frame.find_sal()
        if place.symtab is None:
            return [f'  C      {name}']
        return [f'  C      {name} at {place.symtab.filename}:{place.line}']

    def thread(self):
        """Return the PyThreadState of the selected thread, or 0."""
        threads = [thread for interp in self.target.interpreters()
                   for thread in self.target.chain(
                       'PyThreadState', interp.threads, 'next', 'threads')]
        _, lwp, _ = gdb.selected_thread().ptid
        for thread in threads:
            if self.target.get('PyThreadState', thread,
                               'native_thread_id') == lwp:
                return thread
        return threads[0] if len(threads) == 1 else 0

    def python_groups(self):
        """Return [[line]]: the Python frames that each C frame of the
        interpreter loop runs, the newest first."""
        groups = [[]]
        try:
            thread = self.thread()
            first = thread and self.target.get('PyThreadState', thread,
                                               'current_frame')
            for frame in self.target.chain(FrameReader.STRUCT, first,
                                           'previous', 'frames'):
                if self.frames.get(frame, 'owner') == FRAME_OF_C:
                    groups.append([])
                elif len(groups) + len(groups[-1]) > self.LINES:
                    break
                else:
                    groups[-1].append(self.python_line(frame))
        except RefmapError:
            # What was read so far is better than nothing.
            pass
        return [group for group in groups if group]

    def python_line(self, frame):
        """Return the function, the file, and with libpython.py the line."""
        code = self.frames.code(frame)
        name = code and self.target.get('PyCodeObject', code, 'co_filename')
        file = (name and self.frames.text.raw(name, MAX_NAME)) or '?'
        line = f'  Python {self.frames.title(frame)} at {file}'
        if self.library is not None:
            with contextlib.suppress(Exception):
                ctype = gdb.lookup_type(FrameReader.STRUCT).pointer()
                pointer = self.library(gdb.Value(frame).cast(ctype))
                line += f':{pointer.current_line_num()}'
        return line


class CountWatchpoint(gdb.Breakpoint):
    """Prints each change of an object's reference count and goes on."""

    def __init__(self, target, address, name):
        # ob_refcnt stays where it is; the slot moves when a snapshot is taken.
        super().__init__(f'*(long *) {address:#x}', gdb.BP_WATCHPOINT,
                         gdb.WP_WRITE, internal=False)
        self.silent = True
        self.target = target
        self.title = f'{address:#x} ({name})'
        self.address = address
        self.old = self.read()
        self.over = False

    def read(self):
        word = self.target.memory.word(self.address)
        return None if word is None else refmap_signed(word)

    def stop(self):
        """Called by gdb at each change; never stops."""
        try:
            self.report()
        except Exception as error:
            if refmap_debug.value:
                raise
            print(f"{self.title}: the change can't be shown: {error}")
        return False

    def report(self):
        new = self.read()
        if self.over or new == self.old:
            return
        print(f'{self.title}: {self.old} -> {new}')
        self.old = new
        for line in ShortBacktrace(self.target).lines():
            print(line)
        if new == 0:
            # From here on the memory is somebody else's.
            self.over = True
            print(f'{self.title} dies; it is not watched any more')
            gdb.post_event(self.remove)

    def remove(self):
        if self.is_valid():
            self.delete()


def refmap_require_execution():
    """Raise RefmapError unless there is a process that can go on."""
    if gdb.selected_thread() is None:
        raise RefmapError('There is no process: run the program first.')
    connection = getattr(gdb.selected_inferior(), 'connection', None)
    if connection is not None and connection.type == 'core':
        raise RefmapError('A core dump does not run: this needs a process.')


class PyRefmapWatch(RefmapCommand):
    """Watch the reference count of an object while the program runs.

Usage: py-refmap-watch EXPRESSION

A hardware watchpoint prints the old and the new count and a short backtrace of
C and Python at each change, and goes on; it ends with the object. "delete" and
the watchpoint's number end it earlier."""

    command = 'py-refmap-watch'
    usage = 'py-refmap-watch EXPRESSION'
    allowed = ()

    def run(self, args):
        if not args.rest:
            args.fail('Which object?')
        address = refmap_address(args.rest)
        target = RefmapTarget()
        refmap_require_execution()
        refcnt = target.memory.word(address)
        _, block = target.map_of(address)
        count, birth = block.slot(address) if block else (0, 0)
        name = target.types.of_object(address, birth).name
        if refcnt is None or name == FIXED_NAMES[0]:
            raise RefmapError(f'There is no object at {address:#x}.')
        if refmap_is_immortal(refcnt):
            raise RefmapError(f'The {name} at {address:#x} is immortal: '
                              f'its count never changes.')
        self.watch(target, address, name)

    def watch(self, target, address, name):
        watchpoint = CountWatchpoint(target, address, name)
        if watchpoint.type != gdb.BP_HARDWARE_WATCHPOINT:
            watchpoint.delete()
            raise RefmapError('This machine offers no hardware watchpoint.')


PyRefmapWatch()


class WrongCountBreakpoint(gdb.Breakpoint):
    """Stops where the interpreter notices a wrong count, and says so."""

    def __init__(self, function, text, variable):
        """`text` with {address} and {count}; the address is in `variable`."""
        super().__init__(function=function, type=gdb.BP_BREAKPOINT)
        self.text = text
        self.variable = variable

    def stop(self):
        """Called by gdb; always stops."""
        try:
            address = self.address()
            target = RefmapTarget()
            _, block = target.map_of(address)
            count = block.slot(address)[0] if block else 0
            print(self.text.format(address=f'{address:#x}', count=count))
            for line in ShortBacktrace(target).lines():
                print(line)
        except Exception as error:
            print(self.text.format(address='?', count='?'), f'({error})')
        return True

    def address(self):
        """Return the object's address, from this frame or a caller's."""
        frame = gdb.newest_frame()
        for _ in range(3):
            try:
                return int(frame.read_var(self.variable))
            except (gdb.error, ValueError):
                frame = frame.older()
        raise RefmapError(f'the compiler kept no {self.variable}')


class PyRefmapBreakNegative(RefmapCommand):
    """Stop when a reference count turns out to be wrong.

Usage: py-refmap-break-negative

Stops where a count drops below zero, and where memory is freed, or used for a
new object, while references to it are counted."""

    command = 'py-refmap-break-negative'
    usage = 'py-refmap-break-negative'
    allowed = ()

    # function: text, and the variable with the address
    ANCHORS = {
        '_Py_NegativeRefcount':
            ('the reference count of {address} drops below zero, '
             'the map counts {count}', 'op'),
        'refmap_finding':
            ('the memory of {address} is freed while the map counts {count}',
             'address'),
    }

    def run(self, args):
        args.none_left()
        if gdb.selected_inferior().pid:
            RefmapTarget()
            refmap_require_execution()
        for name in self.ANCHORS:
            try:
                # It may be inlined, and have no address of its own.
                gdb.decode_line(name)
            except gdb.error:
                raise RefmapError(
                    f'There is no function {name} to stop at: this '
                    f'interpreter keeps no refcount map, or its symbols '
                    f'are missing.') from None
        for name, (text, variable) in self.ANCHORS.items():
            WrongCountBreakpoint(name, text, variable)


PyRefmapBreakNegative()
