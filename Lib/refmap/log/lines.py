"""Lines of code: co_linetable, without the code object.

Its format is that of CPython 3.11 and later, Objects/locations.md. A table is
a sequence of entries. The first byte of each has bit 7 set, the kind of the
entry in bits 3 to 6 and its length, less one, in bits 0 to 2. The length is in
code units of two bytes.
"""

from bisect import bisect_right

CODE_UNIT = 2

# Kinds of entries. Those below ONE_LINE say nothing of the line: it is that of
# the entry before. Three have the distance from it, 0 to 2, in their kind.
_ONE_LINE = 10
_NO_COLUMNS = 13
_LONG = 14
_NO_LOCATION = 15


def _varint(table, at):
    """Return (number, where the next one is): 6 bits a byte, the lowest first,
    bit 6 of a byte set if another one follows."""
    number = shift = 0
    while True:
        byte = table[at]
        at += 1
        number |= (byte & 63) << shift
        if not byte & 64:
            return number, at
        shift += 6


def _signed(number):
    """The lowest bit of a signed number is its sign."""
    return -(number >> 1) if number & 1 else number >> 1


def entries(table, first_line):
    """Yield (length in bytes of bytecode, line or None) of each entry.

    table -- bytes. One that is cut off, or none at all, ends before its end.
    """
    line = first_line
    at = 0
    try:
        while at < len(table):
            head = table[at]
            if not head & 128:
                return
            kind = head >> 3 & 15
            at += 1
            if kind in (_NO_COLUMNS, _LONG):
                delta, at = _varint(table, at)
                line += _signed(delta)
            elif _ONE_LINE <= kind < _NO_COLUMNS:
                line += kind - _ONE_LINE
            # Columns, and the last line, are passed over.
            while at < len(table) and not table[at] & 128:
                at += 1
            yield (((head & 7) + 1) * CODE_UNIT,
                   None if kind == _NO_LOCATION else line)
    except IndexError:
        pass


class LineTable:
    """Looks up lines.

    table -- co_linetable, bytes
    first_line -- co_firstlineno
    """

    def __init__(self, table, first_line):
        self._starts, self._lines = [], []
        self._end = 0
        before = object()           # no line
        for length, line in entries(table, first_line):
            if line != before:
                self._starts.append(self._end)
                self._lines.append(line)
                before = line
            self._end += length

    def line(self, offset):
        """Return the line at an offset in the bytecode, in bytes; None if the
        instruction has none, or there is no such offset."""
        if not 0 <= offset < self._end:
            return None
        return self._lines[bisect_right(self._starts, offset) - 1]
