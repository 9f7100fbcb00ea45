"""The events of a log as a text table, also of a log that still grows.

A row begins with what it is. Texts that came from the program are one line
each, whatever is in them.
"""

import os
import time

from ..report import escape
from ..who import stacks
from .c_functions import CFunctions, text_of
from .kinds import (C_CALL, C_RAISE, C_RETURN, DEC, END, FORK, INC, KIND_NAMES,
                    LOST, MESSAGE, PREV, RESUME, SUSPEND, LogError, Note,
                    ObjectEvent)

# Seconds between two looks at a log that grows.
PAUSE = 0.2

# Events whose C functions are looked up together.
_BATCH = 10_000

_OBJECTS = ('{:<5}{:>13} {:>16} {:>6} {:>7} {:<26} {:<36} {:>5} {:<28} {:>12} '
            '{:>10} {:>3} {}')
_CALLS = ('{:<5}{:>13} {:<8} {:<36} {:>5} {:<36} {:>12} {:>10} {:>9} {:>7} '
          '{:>3}')

OBJECT_TITLES = ('HDR:', 'Clock', 'Address', 'RefCnt', 'LiveCnt', 'Type',
                 'File', 'Line', 'Function', 'RSS', 'dRSS', 'Thr',
                 'C function')
CALL_TITLES = ('HDR:', 'Clock', 'What', 'File', 'Line', 'Function', 'RSS',
               'dRSS', 'Refs', 'dRefs', 'Thr')


def is_abandoned(log):
    """Is the process gone that wrote a log, as far as it is known?"""
    if log.pid is None:
        return True
    try:
        os.kill(log.pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass                    # it is somebody else's
    return False


def batches_of(log):
    """Yield lists of the events of a Log. Raise LogError, after the last
    one."""
    batch, error = [], None
    try:
        for event in log.events():
            batch.append(event)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    except LogError as exc:
        error = exc
    yield batch
    if error:
        raise error


def growing_batches_of(log):
    """Yield lists of the events of a Log until it has been closed, or its
    writer is gone. Events of several streams come as they are written."""
    cursor = None
    while True:
        gone = is_abandoned(log)
        if cursor is None and (log.find_start() or gone):
            cursor = log.cursor()
        if cursor is not None:
            yield from cursor.batches()
            if cursor.ended or gone:
                return
        time.sleep(PAUSE)


class Table:
    """Makes the rows of a Log."""

    def __init__(self, log):
        self._log = log
        self._c_functions = CFunctions(log.started)
        self._texts = {}        # place -> (file, line, function, C function)
        self._rss = self._refs = 0  # of the row before

    def head(self):
        """Yield what stands above the rows."""
        header = {**self._log.header, 'pid': self._log.pid}
        known = [f'{key} {header[key]}'
                 for key in ('kind', 'pid', 'executable', 'python')
                 if header.get(key) is not None]
        yield escape(f'LOG: {self._log.path}: {", ".join(known)}')
        if header.get('message'):
            yield escape(f'MSG: # {header["message"]}')
        if self._log.kind == 'events':
            yield _OBJECTS.format(*OBJECT_TITLES).rstrip()
        else:
            yield _CALLS.format(*CALL_TITLES).rstrip()

    def rows(self, events):
        """Yield the rows of some events."""
        self._learn(events)
        for event in events:
            if type(event) is ObjectEvent:
                yield self._object_row(event)
            elif type(event) is Note:
                yield self._note_row(event)
            else:
                yield self._call_row(event)

    def _learn(self, events):
        """Look up the names of all places at once."""
        places = {event.place for event in events
                  if type(event) is not Note} - self._texts.keys()
        self._c_functions.resolve(places)
        for place in places:
            file, line, function = place.where
            site = self._c_functions.function(place)
            self._texts[place] = (escape(stacks.short(file)), line,
                                  escape(function), escape(text_of(site)))

    def _resident(self, event):
        """Return RSS and its change since the row before; '' if not known."""
        return self._changed(event.rss, '_rss')

    def _changed(self, value, name):
        if value is None:
            return '', ''
        change = value - getattr(self, name)
        setattr(self, name, value)
        return value, change

    def _object_row(self, event):
        file, line, function, c_function = self._texts[event.place]
        count = event.count if event.kind in (INC, DEC) else ''
        return _OBJECTS.format(
            f'{KIND_NAMES[event.kind]}:', f'{event.clock:z.6f}',
            f'{event.address:#x}', count, event.live, escape(event.type.name),
            file, line, function, *self._resident(event), event.thread.number,
            c_function).rstrip()

    def _call_row(self, event):
        file, line, function, _ = self._texts[event.place]
        if event.kind in (C_CALL, C_RETURN, C_RAISE):
            name, module = event.callable
            function = escape(f'{module}.{name}' if module else name)
        return _CALLS.format(
            'PREV:' if event.mark == PREV else 'NEXT:', f'{event.clock:z.6f}',
            KIND_NAMES[event.kind], file, line, function,
            *self._resident(event), *self._changed(event.refs, '_refs'),
            event.thread.number).rstrip()

    def _note_row(self, event):
        title, text = _note(event)
        return escape(f'{title:<5}{event.clock:>z13.6f} # {text}')


_NOTES = {MESSAGE: 'MSG:', SUSPEND: 'SUS:', RESUME: 'RES:', END: 'END:'}


def _note(event):
    if event.kind == FORK:
        return 'FORK:', f'of process {event.number}, whose log is {event.text}'
    if event.kind == LOST:
        return 'LOST:', f'{event.number} events, for lack of memory'
    return _NOTES[event.kind], event.text


def show(log, follow=False):
    """Yield the lines of a Log, without line breaks.

    follow -- go on until it has been closed or its writer is gone
    Raise kinds.LogError, after the lines of what can be read.
    """
    table = Table(log)
    yield from table.head()
    for batch in growing_batches_of(log) if follow else batches_of(log):
        yield from table.rows(batch)
    yield from (f'LOG: {escape(sentence)}' for sentence in closing(log))


def closing(log):
    """Return sentences on how a Log ends, if it was not closed."""
    if log.cut_off:
        return ['It was cut off. What is whole was read.']
    if not log.ended:
        return ['It was never closed: its process was killed, or it still '
                'runs.']
    return []
