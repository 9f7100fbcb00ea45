"""The events of logs, in the order of their clocks.

An event is one of the tuples of kinds.py: an ObjectEvent, a CallEvent, a
Note. Its clock is in seconds since its log began; of several logs together
since the earliest one did.
"""

import heapq
from functools import partial
from itertools import chain, islice
from operator import itemgetter

from . import format, names
from .kinds import FORK, LogError
from .stream import Stream

_by_clock = itemgetter(1)

# Batches among which a log has a CLOCK.
_BEGINNING = 4

# A time that no log began at, in seconds since 1970. JSON has infinity, too.
_LATEST = 1e11

KINDS_OF_LOGS = 'events', 'profile', 'trace'


class Log:
    """A log on disk.

    path -- of the file
    Raise OSError, LogError.

    header -- the dict that it begins with
    kind -- of KINDS_OF_LOGS
    pid -- of the process that wrote it, None if that is not known
    has_sizes -- do its events say how large new objects are?
    start -- when it began, a format.Start
    modules -- a names.Modules, of the events that were read so far
    cut_off -- did it end within a chunk, when it was read last?
    ended -- was it closed?
    """

    def __init__(self, path):
        self.path = path
        self._cursors = []
        self._forget()
        self._file = open(path, 'rb')
        try:
            self.header, self._first = format.open_log(self._file)
            kind = self.header.get('kind')
            self.kind = kind if kind in KINDS_OF_LOGS else KINDS_OF_LOGS[0]
            self.pid = self._number('pid')
            self.has_sizes = self.header.get('sizes') is True
            self.find_start()
        except BaseException:
            self._file.close()
            raise

    def close(self):
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def _number(self, key, default=None):
        value = self.header.get(key)
        # bool is an int, too.
        return value if type(value) is int and value > 0 else default

    def find_start(self):
        """Find out when a log began, and how long a tick is; return True if
        that is known exactly. A log that grows may have it later."""
        syncs, self._streams = format.scan(self._file, self._first)
        if len(self._streams) > format.MAX_STREAMS:
            raise LogError('the log has too many streams')
        self.start = format.start_of(syncs, self._look_at_the_beginning())
        return self.start.is_exact

    def _look_at_the_beginning(self):
        """Return the ticks of the first CLOCK, or None. Of a child's log learn
        its pid: the header is that of the parent."""
        self.start = format.NO_START
        cursor = self.cursor()
        try:
            for batch in islice(cursor.batches(), _BEGINNING):
                for event in batch:
                    if event.kind == FORK:
                        self.pid = event.pid or None
                if cursor.first_clock is not None:
                    break
        except LogError:
            pass                # whoever reads the events will see it
        self._forget()
        return cursor.first_clock

    def _forget(self):
        """Forget what was read."""
        self.modules = names.Modules()
        self._cursors.clear()

    @property
    def started(self):
        """When it was opened, seconds since 1970; None if that is not
        known."""
        value = self.header.get('started')
        if type(value) in (int, float) and 0 <= value < _LATEST:
            return value
        return None

    @property
    def cut_off(self):
        return any(cursor.cut_off for cursor in self._cursors)

    @property
    def ended(self):
        return any(cursor.ended for cursor in self._cursors)

    def cursor(self, origin=None, only=None):
        """Return a new format.Cursor, at the first chunk.

        origin -- when the clocks of the events are 0, in ns of the monotonic
                  clock; None: when the log began
        only -- the number of a stream; None: all
        """
        make_stream = partial(Stream, self.start, self.modules,
                              self.has_sizes, self._number('page_size', 4096),
                              origin)
        cursor = format.Cursor(self._file, self._first, make_stream, only)
        self._cursors.append(cursor)
        return cursor

    def events(self, origin=None):
        """Yield all events, from the first one on, whenever it is called.

        origin -- as of cursor()
        Raise LogError, after the events that can be read.
        """
        self._forget()
        only = sorted(self._streams) if len(self._streams) > 1 else [None]
        events = [chain.from_iterable(self.cursor(origin, number).batches())
                  for number in only]
        # Of one stream they are in order.
        return heapq.merge(*events, key=_by_clock) if events[1:] else events[0]


def origin_of(logs):
    """Return when the clocks of several logs are 0, in ns of the monotonic
    clock, which is the same in all processes of a machine."""
    return min((log.start.ns for log in logs), default=0)


def merged(logs):
    """Yield (event, its Log) of several Logs, by their clocks.

    Raise LogError; its text has the log's path.
    """
    origin = origin_of(logs)

    def tagged(log):
        try:
            for event in log.events(origin):
                yield event, log
        except LogError as exc:
            raise LogError(f'{log.path}: {exc}') from None

    if len(logs) == 1:
        return tagged(logs[0])
    return heapq.merge(*map(tagged, logs), key=lambda pair: pair[0].clock)
