"""The records of a log; Doc/log-format.md has its format.

open_log() reads the header, scan() finds the chunks, a Cursor reads events
from them: of one stream or of all, of a file that may still grow, in pieces,
so that it needs as much memory for a long log as for a short one.

A log may be cut off: then its whole records count. What cannot be a log raises
LogError.
"""

import json
import os
import re
import struct
from collections import namedtuple

from . import names

MAGIC = b'refmapL1'
CHUNK_MAGIC = b'RMCK'
CHUNK = struct.Struct('<4sIII')

# Bounds that no log reaches, for files that are none.
MAX_HEADER = 1 << 24
MAX_RECORD = 1 << 26
MAX_STREAMS = 256
MAX_FRAMES = 1 << 16

# Bytes that are decoded at once: some thousands of events.
PIECE = 1 << 16

(NEW, DEL, INC, DEC, CALL, RETURN, C_CALL, C_RETURN, LINE, RAISE,
 C_RAISE) = range(1, 12)
SYNC, THREAD, RSS, REFS, PREV, NEXT, CLOCK = range(16, 23)
TYPE, CODE, PLACE, CALLABLE, MODULE = range(32, 37)
MESSAGE, SUSPEND, RESUME, FORK, LOST, END = range(48, 54)

KIND_NAMES = {
    NEW: 'NEW', DEL: 'DEL', INC: 'INC', DEC: 'DEC', CALL: 'CALL',
    RETURN: 'RETURN', C_CALL: 'C_CALL', C_RETURN: 'C_RETURN', LINE: 'LINE',
    RAISE: 'RAISE', C_RAISE: 'C_RAISE', MESSAGE: 'MESSAGE',
    SUSPEND: 'SUSPEND', RESUME: 'RESUME', FORK: 'FORK', LOST: 'LOST',
    END: 'END',
}

# The longest SYNC, and how it begins.
_SYNC_SIZE = 31
_SYNC_BYTE = bytes([SYNC])

_BIRTH_MASK = (1 << 28) - 1

# All events begin with kind, clock (seconds) and thread (a names.Thread).
# rss: resident memory in bytes, or None; refs: all references, or None.
# type: a names.Type, and how many of its objects live after the event; place:
# a names.Place. change and count: of INC and DEC. birth: of NEW and DEL, 0:
# none. size: of a NEW in bytes, None if the log does not have it.
ObjectEvent = namedtuple('ObjectEvent', 'kind clock thread rss refs address '
                                        'birth type live place change count '
                                        'size')
# callable: a names.Callable, or None; mark: PREV, NEXT or 0.
CallEvent = namedtuple('CallEvent', 'kind clock thread rss refs place '
                                    'callable mark')
# number: of LOST, the events; of FORK, the pid of the parent, whose log has
# the name `text`. pid: of FORK, that of the child.
Note = namedtuple('Note', 'kind clock thread text number pid',
                  defaults=(0, 0))


class LogError(Exception):
    """This is no log, or not all of it; str() says why, without the file."""


# --- the header, and where the chunks are ------------------------------------

def open_log(file):
    """Return (header, where the first chunk begins).

    file -- a binary file that can seek
    """
    file.seek(0)
    head = file.read(len(MAGIC) + 4)
    if head[:len(MAGIC)] != MAGIC[:len(head)]:
        raise LogError('this is no event log')
    if len(head) < len(MAGIC) + 4:
        raise LogError('the log ends before its header does')
    length = int.from_bytes(head[len(MAGIC):], 'little')
    if length > MAX_HEADER:
        raise LogError('the header of the log is too long')
    data = file.read(length)
    if len(data) < length:
        raise LogError('the log ends before its header does')
    return _parse_header(data), len(head) + length


def _parse_header(data):
    try:
        header = json.loads(data)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise LogError('the header of the log is no JSON object')
    return header


# When a log began. ticks: by the clock of its streams; ns: by the monotonic
# clock; tick: how many ns a tick is; is_exact: were there two SYNCs to tell?
Start = namedtuple('Start', 'ticks ns tick is_exact')

NO_START = Start(0, 0, 1.0, False)


def scan(file, at):
    """Return (the first SYNC of a log and the last one, as lists of numbers;
    the set of its streams).

    file, at -- what open_log() took, and where it said that chunks begin
    What is wrong with the file is left to a Cursor to say.
    """
    syncs, streams = [], set()
    while len(streams) <= MAX_STREAMS:
        file.seek(at)
        head = file.read(CHUNK.size + _SYNC_SIZE)
        if len(head) < CHUNK.size:
            break
        magic, length, stream, _ = CHUNK.unpack_from(head)
        if magic != CHUNK_MAGIC:
            break
        streams.add(stream)
        at += CHUNK.size + length
        if head[CHUNK.size:CHUNK.size + 1] == _SYNC_BYTE:
            try:
                syncs[1:] = _numbers(head, CHUNK.size + 1, 3)[:1]
            except (IndexError, LogError):
                pass
    return syncs, streams


def start_of(syncs, clock):
    """Return the Start of a log.

    syncs -- as of scan()
    clock -- ticks of its first CLOCK, or None. Events are written after they
             happened: it is earlier than the SYNC in front of it.
    """
    if not syncs:
        return NO_START
    (ticks, ns, _), (last_ticks, last_ns, _) = syncs[0], syncs[-1]
    is_exact = ticks < last_ticks and ns <= last_ns
    tick = (last_ns - ns) / (last_ticks - ticks) if is_exact else 1.0
    began = ticks if clock is None else min(ticks, clock)
    return Start(began, ns + round((began - ticks) * tick), tick, is_exact)


# --- numbers and texts -------------------------------------------------------

def varint(data, at):
    """Return (an unsigned number, where the next field is)."""
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    number = byte & 127
    shift = 7
    while byte >= 128:
        at += 1
        byte = data[at]
        number |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise LogError('a number in the log is too large')
    return number, at + 1


def _signed(data, at):
    number, at = varint(data, at)
    return number >> 1 ^ -(number & 1), at


def _numbers(data, at, count):
    """Return a list of `count` unsigned numbers, and where the next field
    is."""
    found = []
    for _ in range(count):
        number, at = varint(data, at)
        found.append(number)
    return found, at


def _address(data, at):
    # If the record ends before the address does.
    data[at + 5]
    return int.from_bytes(data[at:at + 6], 'little'), at + 6


def _bytes(data, at):
    length, at = varint(data, at)
    if length > MAX_RECORD:
        raise LogError('a text in the log is too long')
    if length > len(data) - at:
        raise IndexError
    return bytes(data[at:at + length]), at + length


def _text(data, at):
    found, at = _bytes(data, at)
    return found.decode(errors='backslashreplace'), at


class _Numbers(dict):
    """Unsigned numbers by their bytes."""

    def __missing__(self, encoded):
        number, _ = varint(encoded, 0)
        if len(encoded) <= 2:
            self[encoded] = number
        return number


_numbers_of = _Numbers()


class _Encoded(dict):
    """What a table has, by the bytes of its number.

    table -- {number: what}
    """

    def __init__(self, table):
        super().__init__()
        self._table = table

    def __missing__(self, encoded):
        found = self[encoded] = self._table[_numbers_of[encoded]]
        return found


def _object_pattern(shorter, longer):
    """Return the pattern of a record of an object: its kind, which is one of
    the shorter or one of the longer records; time, address, type, place and
    number; another number if it is a longer one."""
    number = rb'([\x80-\xff]{0,9}[\0-\x7f])'
    text = (rb'(?:([%b])|([%b]))' % (shorter, longer) + number + rb'(.{6})'
            + 3 * number + rb'(?(2)' + number + rb')')
    return re.compile(text, re.DOTALL)


# Without and with the size of new objects.
_OBJECT = _object_pattern(rb'\1\2', rb'\3\4')
_SIZED_OBJECT = _object_pattern(rb'\2', rb'\1\3\4')


# --- a stream ----------------------------------------------------------------

class Stream:
    """The tables of a stream, and its state from one record to the next.

    start -- the Start of the log
    modules -- a names.Modules
    sizes -- does a NEW have a size?
    page_size -- in bytes
    origin -- when the clock of the events is 0, in ns of the monotonic clock
    """

    def __init__(self, start, modules, sizes=False, page_size=4096,
                 origin=None):
        self.modules = modules
        self.types = {0: names.unknown_type()}
        self.codes = {}
        self.places = {0: names.NO_PLACE}
        self.callables = {0: names.NO_CALLABLE}
        self.thread = names.NO_THREAD
        self.rss = self.refs = None
        self.ended = False
        self.first_clock = None     # ticks of the first CLOCK
        self._match = (_SIZED_OBJECT if sizes else _OBJECT).match
        self._encoded_types = _Encoded(self.types)
        self._encoded_places = _Encoded(self.places)
        self._page_size = page_size
        self._mark = 0
        self._birth = 0             # of the last NEW
        self._tick = start.tick / 1e9       # seconds of a tick
        # The clock when the log began, in seconds; the ticks of that are
        # _start, and those since then _ticks.
        self._zero = (0.0 if origin is None else (start.ns - origin) / 1e9)
        self._start = start.ticks
        self._ticks = 0

    def decode(self, data, out):
        """Append the events of the whole records in `data`, which begins with
        one, to the list `out`; return how many bytes they have."""
        at, end = 0, len(data)
        try:
            while at < end:
                # They are most of a log: as many as there are, at once.
                at = self._objects(data, at, out)
                if at < end:
                    kind = data[at]
                    reader = _READERS.get(kind)
                    if reader is None:
                        raise LogError(f'the log has a record of unknown kind '
                                       f'{kind}')
                    at = reader(self, kind, data, at + 1, out)
        except IndexError:
            pass                # the rest of the record comes later, if ever
        except KeyError:
            raise LogError('a record names a type, a piece of code or a place '
                           'that is not in the log') from None
        return at

    def _objects(self, data, at, out):
        """Decode records of NEW, DEL, INC and DEC as long as there are whole
        ones; return where the first other one is.

        All in one loop, with what it needs in local variables: a log has
        millions of them.
        """
        match, types, places, numbers = (self._match, self._encoded_types,
                                         self._encoded_places, _numbers_of)
        thread, rss, refs, birth = (self.thread, self.rss, self.refs,
                                    self._birth)
        zero, tick, ticks = self._zero, self._tick, self._ticks
        make, append, from_bytes = tuple.__new__, out.append, int.from_bytes
        while found := match(data, at):
            (shorter, longer, passed, address, type, place, number,
             last) = found.groups()
            kind = (shorter or longer)[0]
            type = types[type]
            place = places[place]
            number = numbers[number]
            number = number >> 1 ^ -(number & 1)
            ticks += numbers[passed]
            change = count = born = 0
            size = None
            if kind == NEW:
                birth = born = birth + 1 + number & _BIRTH_MASK
                type.living += 1
                if last is not None:
                    size = numbers[last]
            elif kind == DEL:
                born = birth - number & _BIRTH_MASK
                type.living -= 1
            else:
                change = number
                count, _ = _signed(last, 0)
            append(make(ObjectEvent, (
                kind, zero + ticks * tick, thread, rss, refs,
                from_bytes(address, 'little'), born, type, type.living, place,
                change, count, size)))
            at = found.end()
        self._birth, self._ticks = birth, ticks
        return at

    def _advance(self, passed):
        """Let some ticks pass; return the clock in seconds."""
        self._ticks += passed
        return self._zero + self._ticks * self._tick

    def set_clock(self, ticks):
        """The next event follows on one at `ticks`."""
        self._ticks = ticks - self._start
        if self.first_clock is None:
            self.first_clock = ticks

    def _call(self, kind, passed, place, callable):
        event = CallEvent(kind, self._advance(passed), self.thread, self.rss,
                          self.refs, place, callable, self._mark)
        self._mark = 0
        return event

    def _note(self, kind, passed, text, *numbers):
        return Note(kind, self._advance(passed), self.thread, text, *numbers)


# Each of these reads the rest of a record, and changes nothing before it has
# read all of it. It returns where the next record is.

def _read_rest_of_object(stream, kind, data, at, out):
    """Of one that does not match: it is cut off, or a number too large."""
    _, at = varint(data, at)
    _, at = _address(data, at)
    _numbers(data, at, 5)
    raise LogError('a number in the log is too large')


def _read_sync(stream, kind, data, at, out):
    # scan() read it.
    _, at = _numbers(data, at, 3)
    return at


def _read_clock(stream, kind, data, at, out):
    ticks, at = varint(data, at)
    stream.set_clock(ticks)
    return at


def _read_thread(stream, kind, data, at, out):
    fields, at = _numbers(data, at, 3)
    stream.thread = names.Thread(*fields)
    return at


def _read_rss(stream, kind, data, at, out):
    pages, at = _signed(data, at)
    stream.rss = (stream.rss or 0) + pages * stream._page_size
    return at


def _read_refs(stream, kind, data, at, out):
    change, at = _signed(data, at)
    stream.refs = (stream.refs or 0) + change
    return at


def _read_mark(stream, kind, data, at, out):
    stream._mark = kind
    return at


def _read_call(stream, kind, data, at, out):
    (passed, place), at = _numbers(data, at, 2)
    out.append(stream._call(kind, passed, stream.places[place], None))
    return at


def _read_c_call(stream, kind, data, at, out):
    (passed, place, callable), at = _numbers(data, at, 3)
    out.append(stream._call(kind, passed, stream.places[place],
                            stream.callables[callable]))
    return at


def _read_type(stream, kind, data, at, out):
    address, at = _address(data, at)
    fields, at = _numbers(data, at, 4)
    name, at = _text(data, at)
    stream.types[len(stream.types)] = names.Type(address, *fields, name)
    return at


def _read_code(stream, kind, data, at, out):
    (line, length), at = _numbers(data, at, 2)
    table, at = _bytes(data, at)
    name, at = _text(data, at)
    file, at = _text(data, at)
    stream.codes[len(stream.codes) + 1] = names.Code(line, length, table, name,
                                                     file)
    return at


def _count_of_frames(data, at):
    count, at = varint(data, at)
    if count > MAX_FRAMES:
        raise LogError('a stack in the log is too deep')
    return count, at


def _read_place(stream, kind, data, at, out):
    count, at = _count_of_frames(data, at)
    frames = []
    for _ in range(count):
        (code, offset), at = _numbers(data, at, 2)
        frames.append((stream.codes[code] if code else names.NO_CODE, offset))
    count, at = _count_of_frames(data, at)
    returns = []
    for _ in range(count):
        address, at = _address(data, at)
        returns.append(address)
    stream.places[len(stream.places)] = names.Place(tuple(frames), returns,
                                                    stream.modules.now)
    return at


def _read_callable(stream, kind, data, at, out):
    name, at = _text(data, at)
    module, at = _text(data, at)
    stream.callables[len(stream.callables)] = names.Callable(name, module)
    return at


def _read_module(stream, kind, data, at, out):
    start, at = _address(data, at)
    end, at = _address(data, at)
    offset, at = varint(data, at)
    path, at = _bytes(data, at)
    if start < end:
        stream.modules.add(start, end, offset, os.fsdecode(path))
    return at


def _read_note(stream, kind, data, at, out):
    passed, at = varint(data, at)
    text, at = _text(data, at)
    out.append(stream._note(kind, passed, text))
    stream.ended = stream.ended or kind == END
    return at


def _read_fork(stream, kind, data, at, out):
    (parent, pid), at = _numbers(data, at, 2)
    path, at = _text(data, at)
    out.append(stream._note(kind, 0, path, parent, pid))
    return at


def _read_lost(stream, kind, data, at, out):
    count, at = varint(data, at)
    out.append(stream._note(kind, 0, '', count))
    return at


_READERS = {
    NEW: _read_rest_of_object, DEL: _read_rest_of_object,
    INC: _read_rest_of_object, DEC: _read_rest_of_object,
    CALL: _read_call, RETURN: _read_call, C_CALL: _read_c_call,
    C_RETURN: _read_c_call, LINE: _read_call, RAISE: _read_call,
    C_RAISE: _read_c_call, SYNC: _read_sync, CLOCK: _read_clock,
    THREAD: _read_thread, RSS: _read_rss, REFS: _read_refs, PREV: _read_mark,
    NEXT: _read_mark,
    TYPE: _read_type, CODE: _read_code, PLACE: _read_place,
    CALLABLE: _read_callable, MODULE: _read_module, MESSAGE: _read_note,
    SUSPEND: _read_note, RESUME: _read_note, FORK: _read_fork,
    LOST: _read_lost, END: _read_note,
}


# --- the chunks of a file ----------------------------------------------------

class Cursor:
    """Reads the events of a log that lie behind a place in its file.

    file -- a binary file that can seek
    at -- where a chunk begins
    make_stream -- makes the Stream of a chunk, called without arguments
    only -- the number of the one stream to read; None: all, as they come

    cut_off -- did the file end within a chunk, when it was last looked at?
    ended -- was there an END?
    """

    def __init__(self, file, at, make_stream, only=None):
        self.cut_off = False
        self._file = file
        self._at = at
        self._make_stream = make_stream
        self._only = only
        self._streams = {}
        self._stream = None         # that of the chunk
        self._left = 0              # bytes of the chunk that were not read
        self._rest = b''            # what was read of the next record

    @property
    def ended(self):
        return any(stream.ended for stream in self._streams.values())

    @property
    def first_clock(self):
        """The ticks of the earliest CLOCK so far, or None."""
        return min((stream.first_clock for stream in self._streams.values()
                    if stream.first_clock is not None), default=None)

    def batches(self):
        """Yield lists of events until the file ends. It may have grown later,
        and this be called again. Raise LogError."""
        while self._left or self._next_chunk():
            self._file.seek(self._at)
            # What does not suffice for a record is doubled.
            data = self._file.read(min(self._left,
                                       max(PIECE, len(self._rest))))
            if not data:
                self.cut_off = True
                return
            self._at += len(data)
            self._left -= len(data)
            events, error = [], None
            try:
                self._decode(data, events)
            except LogError as exc:
                error = exc             # what comes before it counts
            if events:
                yield events
            if error:
                raise error

    def _decode(self, data, events):
        data = self._rest + data
        used = self._stream.decode(data, events)
        self._rest = data[used:]
        if self._rest and not self._left:
            raise LogError('a record of the log goes beyond its chunk')
        if len(self._rest) > MAX_RECORD:
            raise LogError('a record of the log is too long')

    def _next_chunk(self):
        """Go to the next chunk that is wanted. Is there one?"""
        while True:
            self._file.seek(self._at)
            head = self._file.read(CHUNK.size)
            self.cut_off = 0 < len(head) < CHUNK.size
            if len(head) < CHUNK.size:
                return False
            magic, length, number, _ = CHUNK.unpack(head)
            if magic != CHUNK_MAGIC:
                raise LogError(f'byte {self._at} of the log begins no chunk')
            self._at += CHUNK.size
            if length and self._only in (None, number):
                self._stream, self._left = self._stream_of(number), length
                return True
            self._at += length

    def _stream_of(self, number):
        if number not in self._streams:
            if len(self._streams) == MAX_STREAMS:
                raise LogError('the log has too many streams')
            self._streams[number] = self._make_stream()
        return self._streams[number]
