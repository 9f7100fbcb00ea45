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


# Stands in a snapshot for a block that could not be copied: memory was short.
LOST_BLOCK = 1


class Layout:
    """The constants of the map, from _PyRefMap_layout in the process.

    Attributes: the fields of struct _refmap_layout, as far as they are used
    here, and what follows from them: page_size, and max_page (from which on
    there are none)."""

    SYMBOL = '_PyRefMap_layout'
    STRUCT = 'struct _refmap_layout'
    VERSION = 1
    FIELDS = ('version', 'page_bits', 'slot_bits', 'lanes', 'slots',
              'birth_born', 'birth_keys', 'birth_dead', 'birth_own',
              'birth_serial', 'count_min', 'type_unknown', 'type_keys',
              'findings')

    def __init__(self, process):
        """`process` is a Process; raise RefmapError."""
        address = process.symbol(self.SYMBOL)
        if address is None:
            raise RefmapError(f'This process has no {self.SYMBOL}: use the '
                              f'refmap_gdb.py that belongs to it.')
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

    def is_sane(self):
        """Do the fields go together? A slot is of 16 bytes, two words."""
        return (10 <= self.page_bits <= 30 and self.slot_bits == 4
                and self.slots == 1 << (self.page_bits - self.slot_bits)
                and 1 <= self.lanes <= 64 and 1 <= self.findings <= 1 << 20
                and self.birth_born == 1 << 31 and self.count_min < 0)

    def is_birth(self, word):
        """Is this word of a slot a birth? Else it is a count."""
        return self.birth_born <= word < self.count_min + (1 << 32)

    def living(self, count, birth):
        """Return the birth of what lives in a slot, 0 if it has none, as
        refmap_living_birth() in C: who is counted after its death has
        resurrected."""
        if not birth & self.birth_dead:
            return birth
        return birth & ~self.birth_dead if count else 0
