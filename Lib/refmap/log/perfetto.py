"""Logs for Perfetto: living objects of each type over time.

JSON of Chrome's trace events, which Perfetto and chrome://tracing open: a
counter for each type, for resident memory and for references; messages as
instants. A counter has a value wherever it changed, but not more often than a
screen shows.
"""

import json
from math import inf

from . import events
from .kinds import (FORK, LOST, MESSAGE, RESUME, SUSPEND, LogError, Note,
                    ObjectEvent)

# Points of a counter.
RESOLUTION = 2000

_TEXTS = {MESSAGE: '', SUSPEND: 'suspended ', RESUME: 'resumed ',
          FORK: 'forked ', LOST: 'lost events'}


def _microseconds(seconds):
    return round(seconds * 1e6, 3)


class _Track:
    """One counter of a process."""

    __slots__ = 'name', 'pid', 'value', 'since', 'is_shown'

    def __init__(self, name, pid):
        self.name = name
        self.pid = pid
        self.value = None
        self.since = -inf           # the clock when it was shown
        self.is_shown = True

    def event(self, clock):
        self.is_shown = True
        self.since = clock
        return {'ph': 'C', 'name': self.name, 'pid': self.pid,
                'ts': _microseconds(clock),
                'args': {'value': self.value}}


class _Tracks:
    """All counters.

    step -- seconds between two points of one
    """

    def __init__(self, step):
        self._step = step
        self._tracks = {}

    def set(self, key, name, pid, value, clock):
        """Yield what is to be written when a counter has a value."""
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = _Track(name, pid)
        if value == track.value:
            return
        track.value = value
        track.is_shown = False
        if clock - track.since >= self._step:
            yield track.event(clock)

    def finish(self, clock):
        """Yield the last values."""
        for track in self._tracks.values():
            if not track.is_shown:
                yield track.event(clock)


def trace_events(logs, until, chooses):
    """Yield the trace events of some Logs, as dicts.

    until -- the clock of the last event, in seconds
    chooses -- says of the name of a type whether it is wanted
    Raise kinds.LogError.
    """
    tracks = _Tracks(until / RESOLUTION)
    threads = set()
    clock = 0.0
    for event, log in events.merged(logs):
        clock = event.clock
        pid = log.pid or 0
        if (pid, event.thread) not in threads:
            threads.add((pid, event.thread))
            yield from _names(pid, log, event.thread)
        if type(event) is Note:
            yield from _instant(event, pid)
            continue
        yield from tracks.set((pid, 'rss'), 'resident memory', pid, event.rss,
                              clock)
        yield from tracks.set((pid, 'refs'), 'references', pid, event.refs,
                              clock)
        if type(event) is ObjectEvent and chooses(event.type.name):
            yield from tracks.set(*_counter(event, pid), pid, event.live,
                                  clock)
    yield from tracks.finish(clock)


def _counter(event, pid):
    """Return (key, name) of the counter of a type. Each interpreter may have a
    map, and so a count, of its own."""
    name, interpreter = event.type.name, event.thread.interpreter
    shown = f'{name} (interpreter {interpreter})' if interpreter else name
    return (pid, interpreter, name), shown


def _names(pid, log, thread):
    yield {'ph': 'M', 'name': 'process_name', 'pid': pid,
           'args': {'name': f'{log.path} (pid {pid})'}}
    if thread.number:
        yield {'ph': 'M', 'name': 'thread_name', 'pid': pid,
               'tid': thread.number,
               'args': {'name': f'thread {thread.number} ({thread.native})'}}


def _instant(event, pid):
    if event.kind in _TEXTS:
        yield {'ph': 'i', 's': 'p', 'name': _TEXTS[event.kind] + event.text,
               'pid': pid, 'tid': event.thread.number,
               'ts': _microseconds(event.clock)}


def write(analysis, logs, out):
    """Write some Logs to a binary file.

    analysis -- their Analysis. Of its selection the types are of interest.
    """
    out.write(b'{"displayTimeUnit": "ms", "traceEvents": [')
    separator = b'\n'
    try:
        for event in trace_events(logs, analysis.until,
                                  analysis.selection.chooses_type):
            out.write(separator + json.dumps(event).encode())
            separator = b',\n'
    except LogError:
        pass                    # the analysis has the error, too
    out.write(b'\n]}\n')
