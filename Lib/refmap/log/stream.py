"""A stream of a log: from the bytes of its records to events."""

import os
import re

from . import names
from .fields import (Encoded, numbers_of, read_address, read_bytes,
                     read_number, read_numbers, read_signed, read_text)
from .kinds import (C_CALL, C_RAISE, C_RETURN, CALL, CALLABLE, CLOCK, CODE,
                    DEC, DEL, END, FORK, INC, LINE, LOST, MESSAGE, MODULE, NEW,
                    NEXT, PLACE, PREV, RAISE, REFS, RESUME, RETURN, RSS,
                    SUSPEND, SYNC, THREAD, TYPE, CallEvent, LogError, Note,
                    ObjectEvent)

# A bound that no log reaches, for files that are none.
MAX_FRAMES = 1 << 16

_BIRTH_MASK = (1 << 28) - 1


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
        self._encoded_types = Encoded(self.types)
        self._encoded_places = Encoded(self.places)
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
                                         self._encoded_places, numbers_of)
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
                count, _ = read_signed(last, 0)
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
    _, at = read_number(data, at)
    _, at = read_address(data, at)
    read_numbers(data, at, 5)
    raise LogError('a number in the log is too large')


def _read_sync(stream, kind, data, at, out):
    # scan() read it.
    _, at = read_numbers(data, at, 3)
    return at


def _read_clock(stream, kind, data, at, out):
    ticks, at = read_number(data, at)
    stream.set_clock(ticks)
    return at


def _read_thread(stream, kind, data, at, out):
    fields, at = read_numbers(data, at, 3)
    stream.thread = names.Thread(*fields)
    return at


def _read_rss(stream, kind, data, at, out):
    pages, at = read_signed(data, at)
    stream.rss = (stream.rss or 0) + pages * stream._page_size
    return at


def _read_refs(stream, kind, data, at, out):
    change, at = read_signed(data, at)
    stream.refs = (stream.refs or 0) + change
    return at


def _read_mark(stream, kind, data, at, out):
    stream._mark = kind
    return at


def _read_call(stream, kind, data, at, out):
    (passed, place), at = read_numbers(data, at, 2)
    out.append(stream._call(kind, passed, stream.places[place], None))
    return at


def _read_c_call(stream, kind, data, at, out):
    (passed, place, callable), at = read_numbers(data, at, 3)
    out.append(stream._call(kind, passed, stream.places[place],
                            stream.callables[callable]))
    return at


def _read_type(stream, kind, data, at, out):
    address, at = read_address(data, at)
    fields, at = read_numbers(data, at, 4)
    name, at = read_text(data, at)
    stream.types[len(stream.types)] = names.Type(address, *fields, name)
    return at


def _read_code(stream, kind, data, at, out):
    (line, length), at = read_numbers(data, at, 2)
    table, at = read_bytes(data, at)
    name, at = read_text(data, at)
    file, at = read_text(data, at)
    stream.codes[len(stream.codes) + 1] = names.Code(line, length, table, name,
                                                     file)
    return at


def _count_of_frames(data, at):
    count, at = read_number(data, at)
    if count > MAX_FRAMES:
        raise LogError('a stack in the log is too deep')
    return count, at


def _read_place(stream, kind, data, at, out):
    count, at = _count_of_frames(data, at)
    frames = []
    for _ in range(count):
        (code, offset), at = read_numbers(data, at, 2)
        frames.append((stream.codes[code] if code else names.NO_CODE, offset))
    count, at = _count_of_frames(data, at)
    returns = []
    for _ in range(count):
        address, at = read_address(data, at)
        returns.append(address)
    stream.places[len(stream.places)] = names.Place(tuple(frames), returns,
                                                    stream.modules.now)
    return at


def _read_callable(stream, kind, data, at, out):
    name, at = read_text(data, at)
    module, at = read_text(data, at)
    stream.callables[len(stream.callables)] = names.Callable(name, module)
    return at


def _read_module(stream, kind, data, at, out):
    start, at = read_address(data, at)
    end, at = read_address(data, at)
    offset, at = read_number(data, at)
    path, at = read_bytes(data, at)
    if start < end:
        stream.modules.add(start, end, offset, os.fsdecode(path))
    return at


def _read_note(stream, kind, data, at, out):
    passed, at = read_number(data, at)
    text, at = read_text(data, at)
    out.append(stream._note(kind, passed, text))
    stream.ended = stream.ended or kind == END
    return at


def _read_fork(stream, kind, data, at, out):
    (parent, pid), at = read_numbers(data, at, 2)
    path, at = read_text(data, at)
    out.append(stream._note(kind, 0, path, parent, pid))
    return at


def _read_lost(stream, kind, data, at, out):
    count, at = read_number(data, at)
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
