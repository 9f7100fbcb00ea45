"""The file that a log is; Doc/log-format.md has its format.

open_log() reads the header, scan() finds the chunks, a Cursor reads events
from them: of one stream or of all, of a file that may still grow, in pieces,
so that it needs as much memory for a long log as for a short one.

A log may be cut off: then its whole records count. What cannot be a log raises
LogError.
"""

import json
import struct
from collections import namedtuple

from .fields import MAX_RECORD, read_numbers
# Who reads a log may have these from here, too.
from .kinds import *
from .stream import Stream

MAGIC = b'refmapL1'
CHUNK_MAGIC = b'RMCK'
CHUNK = struct.Struct('<4sIII')

# Bounds that no log reaches, for files that are none.
MAX_HEADER = 1 << 24
MAX_STREAMS = 256

# Bytes that are decoded at once: some thousands of events.
PIECE = 1 << 16

# The longest SYNC, and how it begins.
_SYNC_SIZE = 31
_SYNC_BYTE = bytes([SYNC])


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
                syncs[1:] = read_numbers(head, CHUNK.size + 1, 3)[:1]
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
