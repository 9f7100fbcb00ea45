"""Constants of C: those of the map, which the process tells itself, and those
of CPython that are macros, of which debug information knows nothing."""

from .errors import RefmapError

# The names of types that the map has no name of a type for, by their number.
UNKNOWN_NAME = '?'
KEYS_NAME = 'dict keys'

# From Include/object.h, Include/internal/pycore_object.h, pycore_frame.h and
# pycore_dict.h.
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
MANAGED_DICT_OFFSET = -24
MANAGED_WEAKREF_OFFSET = -32
FRAME_OF_GENERATOR = 1
FRAME_OF_OBJECT = 2
FRAME_OF_C = 3
GENERATOR_CLEARED = 4           # enum _framestate
KEYS_GENERAL = 0
SHARED_KEYS_MAX = 30

# No address of a process in user space has more.
ADDRESS_BITS = 48


class Layout:
    """The constants of the map, from _PyRefMap_layout in the process.

    Attributes: the fields of struct _refmap_layout, and what follows from
    them: page_size, max_page (which is none any more), birth_mask (the bits
    that tell a birth from a small negative count)."""

    SYMBOL = '_PyRefMap_layout'
    STRUCT = 'struct _refmap_layout'
    VERSION = 1
    FIELDS = ('version', 'page_bits', 'slot_bits', 'lanes', 'slots',
              'birth_born', 'birth_keys', 'birth_dead', 'birth_own',
              'birth_serial', 'type_unknown', 'type_keys', 'findings',
              'recent')

    def __init__(self, process):
        """`process` is a Process; raise RefmapError."""
        address = process.symbol(self.SYMBOL)
        if address is None:
            self.literals()
        else:
            form = process.struct(self.STRUCT)
            data = process.record(self.STRUCT, address)
            for name in self.FIELDS:
                setattr(self, name, form.get(data, name))
        if self.version != self.VERSION or not self.is_sane():
            raise RefmapError(
                f'The map of this process has the layout {self.version}: use '
                f'the refmap_gdb.py that belongs to it.')
        self.page_size = 1 << self.page_bits
        self.max_page = 1 << (ADDRESS_BITS - self.page_bits)
        self.birth_mask = self.birth_born | self.birth_keys | self.birth_dead

    def literals(self):
        """Until the interpreter tells."""
        vars(self).update(
            version=1, page_bits=12, slot_bits=4, lanes=2, slots=256,
            birth_born=0x80000000, birth_keys=0x40000000,
            birth_dead=0x20000000, birth_own=0x10000000,
            birth_serial=0x0fffffff, type_unknown=0, type_keys=1,
            findings=256, recent=1024)

    def is_sane(self):
        """Do the fields go together? A slot is of 16 bytes, two words."""
        return (10 <= self.page_bits <= 30 and self.slot_bits == 4
                and self.slots == 1 << (self.page_bits - self.slot_bits)
                and 1 <= self.lanes <= 64 and 1 <= self.findings <= 1 << 20)

    def is_birth(self, word):
        """Is this word of a slot a birth? Else it is a count."""
        return bool(word & self.birth_born
                    and word & self.birth_mask != self.birth_mask)
