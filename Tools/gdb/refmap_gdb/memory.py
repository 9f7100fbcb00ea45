"""The memory of the process or core: bytes, words, C strings."""

import struct

import gdb

from .errors import RefmapUnreadable
from .limits import MAX_NAME, MAX_OBJECT, RUN_GAP, RUN_LIMIT


def signed(value, bits=64):
    """The two's complement meaning of an unsigned value."""
    return value - (1 << bits) if value >> (bits - 1) else value


class Memory:
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

    def string(self, address, limit=MAX_NAME):
        """Return the bytes of the C string at `address`, at most `limit`, or
        None."""
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
        return raw.split(b'\0')[0]

    def text(self, address, limit=MAX_NAME):
        """Return the C string at `address`, at most `limit` bytes, or None."""
        raw = self.string(address, limit)
        return None if raw is None else raw.decode('utf-8', 'replace')

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
