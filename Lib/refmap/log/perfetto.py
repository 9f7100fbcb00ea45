"""Logs for Perfetto: living objects of each type over time.

JSON of Chrome's trace events, which Perfetto and chrome://tracing open: a counter
for each type, for resident memory and for references; messages as instants. A
counter has a value wherever it changed, but not more often than a screen shows.
"""

import json

from . import events
from .format import (FORK, LOST, MESSAGE, RESUME, SUSPEND, Note, ObjectEvent)

# Points of a counter.
RESOLUTION = 2000

_TEXTS = {MESSAGE: '', SUSPEND: 'suspended ', RESUME: 'resumed ',
          FORK: 'forked ', LOST: 'lost events'}


class _Track:
    """One counter of a process."""

    __slots__ = 'name', 'pid', 'value', 'since', 'is_shown'

    def __init__(self, name, pid):
        self.name = name
        self.pid = pid
        self.value = None
        self.since = 0.0            # the clock when it was shown
        self.is_shown = True

    def event(self, clock):
        self.is_shown = True
        self.since = clock
        return {'ph': 'C', 'name': self.name, 'pid': self.pid,
                'ts': clock * 1e6, 'args': {'value': self.value}}


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
            track.since = clock - self._step
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

    until -- clock of the last event, in seconds
    chooses -- says of an ObjectEvent whether its type is wanted
    Raise format.LogError.
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
        if type(event) is ObjectEvent and chooses(event):
            yield from tracks.set((pid, event.type), event.type.name, pid,
                                  event.live, clock)
    yield from tracks.finish(clock)


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
               'ts': event.clock * 1e6}


def write(logs, until, chooses, out):
    """Write Logs to a binary file. See trace_events()."""
    out.write(b'{"displayTimeUnit": "ms", "traceEvents": [')
    separator = b'\n'
    for event in trace_events(logs, until, chooses):
        out.write(separator + json.dumps(event).encode())
        separator = b',\n'
    out.write(b'\n]}\n')
