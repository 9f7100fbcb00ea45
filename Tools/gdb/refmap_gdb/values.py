"""Objects as text: strings and small integers, others by libpython.py."""

import struct
import sys

import gdb

from .errors import RefmapError
from .layout import FLAG_BYTES, FLAG_LONG, FLAG_UNICODE
from .limits import LONG_TEXT, REPR_LEN


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
        form = self.target.struct('PyASCIIObject')
        data = self.target.memory.read(address, form.size)
        try:
            if (data is None or not form.bits(data, 'state.compact')
                    or not form.bits(data, 'state.ascii')):
                return None
        except RefmapError:
            return None
        length = min(form.get(data, 'length'), limit + 1)
        body = self.target.memory.read(address + form.size, max(length, 0))
        return None if body is None else body.decode('ascii', 'replace')

    def small_int(self, address):
        """Return the text of an int of one digit, None if it has more."""
        form = self.target.struct('PyLongObject')
        data = self.target.memory.read(address, form.size)
        tag = data and form.get(data, 'long_value.lv_tag')
        if data is None or tag >> 3 > 1:
            return None
        at = form.offset('long_value.ob_digit')
        digit, = struct.unpack_from(self.target.memory.order + 'I', data, at)
        return str(digit * (1 - (tag & 3)))


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
        return shown

    def is_long(self, address, info):
        """Would libpython.py read this object byte for byte, for minutes?"""
        if not info.flags & (FLAG_BYTES | FLAG_LONG | FLAG_UNICODE):
            return False
        at = self.target.struct('PyVarObject').offset('ob_size')
        size = self.target.memory.word(address + at) or 0
        return (size >> 3 if info.flags & FLAG_LONG else size) > LONG_TEXT
