"""Writes event logs for the tests of refmap.log, record by record.

Written from Doc/log-format.md alone: it shares nothing with the reader.
"""

import json

MODULE_START = 0x10000


def u(number):
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def z(number):
    return u(2 * number if number >= 0 else -2 * number - 1)


def p(address):
    return address.to_bytes(6, 'little')


def b(data):
    return u(len(data)) + data


def s(text):
    return b(text.encode() if isinstance(text, str) else text)


def table(*lines):
    """Return a co_linetable for functions that begin in line 1: each of the
    lines is that of one code unit."""
    found, before = bytearray(), 1
    for line in lines:
        delta, before = line - before, line
        number = -2 * delta + 1 if delta < 0 else 2 * delta
        found.append(128 | 13 << 3)
        while number > 63:
            found.append(number & 63 | 64)
            number >>= 6
        found.append(number)
    return bytes(found)


class Log:
    """A log in memory. A tick is a nanosecond.

    Methods for each kind of record; bytes() has all of it. `now` is the time
    of the next event, in ns; each event lets 1000 of them pass. `boundaries`
    is where records and chunks end.
    """

    def __init__(self, start=5_000_000_000, **header):
        self.header = {'kind': 'events', 'pid': 77, 'page_size': 4096,
                       'python': '3.13.5 (main)', 'started': 1e9, **header}
        data = json.dumps(self.header).encode()
        self.data = bytearray(b'refmapL1' + len(data).to_bytes(4, 'little')
                              + data)
        self.boundaries = []
        self.start = self.now = start
        self._before = {}           # stream -> ns of its last event
        self._births = {}           # stream -> birth of its last NEW
        self._counts = {}
        self._records = {}          # stream -> the records of its next chunk
        self.stream = 1
        self.chunk(1, [])

    def chunk(self, stream, records):
        """Write a chunk, with a SYNC of now."""
        sync = b'\x10' + u(self.now) + u(self.now) + u(self.now + 10**18)
        size = len(sync) + sum(map(len, records))
        self.data += (b'RMCK' + size.to_bytes(4, 'little')
                      + stream.to_bytes(4, 'little') + bytes(4) + sync)
        for record in records:
            self.data += record
            self.boundaries.append(len(self.data))

    def flush(self):
        """Write what was not written."""
        for stream, records in self._records.items():
            if records:
                self.chunk(stream, records)
        self._records.clear()
        return self

    def __bytes__(self):
        self.flush()
        return bytes(self.data)

    def save(self, path):
        with open(path, 'wb') as file:
            file.write(bytes(self))
        return path

    def record(self, kind, *fields):
        """Add a record."""
        records = self._records.setdefault(self.stream, [])
        records.append(bytes([kind]) + b''.join(fields))

    def _name(self, kind, *fields):
        key = self.stream, kind
        self.record(kind, *fields)
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key]

    def _event(self, kind, *fields):
        if self.stream not in self._before:
            self.record(22, u(self.now))
            self._before[self.stream] = self.now
        passed = self.now - self._before[self.stream]
        self.record(kind, u(passed), *fields)
        self._before[self.stream] = self.now
        self.now += 1000

    # --- names

    def type(self, name, basicsize=32, living=0, itemsize=0, flags=0):
        return self._name(32, p(0x7000), u(flags), u(basicsize), u(itemsize),
                          u(living), s(name))

    def code(self, name, file, lines=(1,)):
        return self._name(33, u(1), u(2 * len(lines)), b(table(*lines)),
                          s(name), s(file))

    def place(self, *frames, returns=()):
        """frames -- (code, offset)"""
        return self._name(34, u(len(frames)),
                          *(u(code) + u(offset) for code, offset in frames),
                          u(len(returns)), *map(p, returns))

    def line(self, name, file, line, returns=()):
        """A place with one frame, at a line."""
        return self.place((self.code(name, file, (line,)), 0), returns=returns)

    def callable(self, name, module):
        return self._name(35, s(name), s(module))

    def module(self, start, end, offset, path):
        self.record(36, p(start), p(end), u(offset), s(path))

    # --- events

    def new(self, address, type, place=0, birth=None, size=None):
        before = self._births.get(self.stream, 0)
        birth = before + 1 if birth is None else birth
        self._births[self.stream] = birth
        self._event(1, p(address), u(type), u(place), z(birth - before - 1),
                    b'' if size is None else u(size))
        return birth

    def delete(self, address, type, place=0, birth=0):
        before = self._births.get(self.stream, 0)
        self._event(2, p(address), u(type), u(place), z(before - birth))

    def change(self, address, type, change, count, place=0):
        self._event(3 if change > 0 else 4, p(address), u(type), u(place),
                    z(change), z(count))

    def call(self, kind, place, callable=None):
        """kind -- such as 5, CALL"""
        self._event(kind, u(place),
                    b'' if callable is None else u(callable))

    # --- state

    def thread(self, number, native=0, interpreter=0):
        self.record(17, u(number), u(native), u(interpreter))

    def rss(self, pages):
        self.record(18, z(pages))

    def refs(self, change):
        self.record(19, z(change))

    def mark(self, kind):
        """kind -- 20, PREV, or 21, NEXT"""
        self.record(kind)

    # --- notes

    def message(self, text):
        self._event(48, s(text))

    def suspend(self, why=''):
        self._event(49, s(why))

    def resume(self, why=''):
        self._event(50, s(why))

    def fork(self, parent, pid, path):
        self.record(51, u(parent), u(pid), s(path))

    def lost(self, count):
        self.record(52, u(count))

    def end(self, why='closed'):
        self._event(53, s(why))
        return self
