"""Where C structs keep their fields, as the debug information says."""

import struct

import gdb

from .errors import RefmapError


class CStruct:
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

    def field_size(self, path):
        """Return the bytes of a field, such as an array."""
        return self.locate(path)[1].type.strip_typedefs().sizeof

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
