"""What became of the objects in one or several logs.

Logs of one process are one story: while a nested log was open the outer one
was suspended. A child's log begins with a FORK: what its parent had made until
then is known, if the parent's log is among them.
"""

from collections import namedtuple
from functools import partial

from ..report import plural
from . import events, lives
from .c_functions import CFunctions
from .kinds import (DEC, DEL, FORK, INC, LOST, MESSAGE, NEW, RESUME, SUSPEND,
                    LogError)
from .selection import Selection

# Objects of one type that were made in one place and are alive.
# bytes: by their size, or else by tp_basicsize.
Alive = namedtuple('Alive', 'type place count bytes first last')

# References of living objects of a type: how many a place took and gave back.
# objects: a set of (address, clock of the first event).
Kept = namedtuple('Kept', 'type place objects taken returned')

Message = namedtuple('Message', 'clock text log')


class Analysis:
    """The result of analyse().

    logs -- the Logs
    selection -- which objects it is about, a Selection
    findings -- a lives.Findings
    alive -- list of Alive, the largest group first
    kept -- list of Kept, where what was taken and given back differs
    n_objects -- living objects that were chosen
    until -- the clock of the last event, in seconds
    messages -- list of Messages
    resident -- {place: bytes by which resident memory changed until the event
                there}, of logs of calls
    c_functions -- CFunctions, of the places
    has_sizes -- do all logs say how large objects are?
    error -- why not all could be read, or None
    notes -- sentences on what is not known
    """

    def __init__(self, logs, selection):
        self.logs = logs
        self.selection = selection
        self.findings = lives.Findings()
        self.alive = []
        self.kept = []
        self.n_objects = 0
        self.until = 0.0
        self.messages = []
        self.resident = {}
        self.has_sizes = all(log.has_sizes for log in logs)
        self.error = None
        self.notes = []
        started = [log.started for log in logs if log.started is not None]
        self.c_functions = CFunctions(min(started, default=None))

    def types(self):
        """Return [(name, new, deleted)], the largest difference first."""
        rows = {}
        for column, counts in enumerate((self.findings.born,
                                         self.findings.deaths)):
            for (type, _), count in counts.items():
                row = rows.setdefault(type.name, [type.name, 0, 0])
                row[column + 1] += count
        return sorted(map(tuple, rows.values()),
                      key=lambda row: (row[2] - row[1], -row[1], row[0]))


def analyse(logs, selection=None):
    """Return the Analysis of some Logs.

    selection -- a Selection; None: all objects
    What can't be read is in `error`; what was before it counts.
    """
    result = Analysis(logs, selection or Selection())
    reader = _Reader(result)
    try:
        for event, log in events.merged(logs):
            reader.read(event, log)
    except LogError as exc:
        result.error = str(exc)
    reader.finish()
    _note_ends(result)
    return result


class _Reader:
    """Reads the events of an analysis."""

    def __init__(self, result):
        self._result = result
        self._chooses = result.selection.chooses
        self._processes = {}        # pid, or a Log without one -> Process
        self._readers = {}          # Log -> {kind: what reads such events}
        self._rss = {}              # Log -> rss at its last event
        self._clock = 0.0

    def read(self, event, log):
        kind, self._clock = event[:2]
        try:
            reader = self._readers[log][kind]
        except KeyError:
            reader = self._reader_of(log, kind)
        reader(event)

    def _reader_of(self, log, kind):
        if log not in self._readers:
            process = self._process_of(log)
            self._readers[log] = {NEW: process.new, DEL: process.delete,
                                  INC: process.change, DEC: process.change}
        readers = self._readers[log]
        if kind not in readers:
            readers[kind] = self._other_reader(log, kind)
        return readers[kind]

    def _key_of(self, log):
        return log if log.pid is None else log.pid

    def _process_of(self, log):
        key = self._key_of(log)
        if key not in self._processes:
            self._processes[key] = lives.Process(self._result.findings,
                                                 self._chooses)
        return self._processes[key]

    def _other_reader(self, log, kind):
        if kind < MESSAGE:
            return partial(self._call, log)
        others = {MESSAGE: self._message, SUSPEND: self._suspend,
                  RESUME: self._resume, FORK: self._fork, LOST: self._lost}
        return partial(others.get(kind, self._ignore), log)

    def _ignore(self, log, event):
        pass

    def _call(self, log, event):
        before = self._rss.get(log, event.rss)
        self._rss[log] = event.rss
        if event.rss != before:
            lives.add(self._result.resident, event.place, event.rss - before)

    def _message(self, log, event):
        self._result.messages.append(Message(event.clock, event.text, log))

    def _suspend(self, log, event):
        self._note(f'{log.path} was suspended: what died meanwhile counts as '
                   f'alive, unless another log has it')

    def _resume(self, log, event):
        self._process_of(log).lose_sight(event.clock)

    def _lost(self, log, event):
        self._note(f'{log.path} lacks {event.number} events, for lack of '
                   f'memory')
        self._resume(log, event)

    def _fork(self, log, event):
        parent = self._processes.get(event.number)
        if parent is None:
            self._note(f'{log.path} is the log of a child, and {event.text} '
                       f'is not among the logs: what was made before the fork '
                       f'is not known')
            return
        self._processes[self._key_of(log)] = parent.fork()
        # The readers are those of another process now.
        del self._readers[log]

    def _note(self, text):
        if text not in self._result.notes:
            self._result.notes.append(text)

    def finish(self):
        """Add what is alive at the end."""
        alive, kept = {}, {}
        for process in self._processes.values():
            process.settle()
            _gather_alive(alive, process)
            _gather_kept(kept, process)
        result = self._result
        result.until = self._clock
        result.alive = sorted(
            (Alive(*key, *row) for key, row in alive.items()),
            key=lambda one: (-one.count, one.first))
        result.n_objects = sum(one.count for one in result.alive)
        result.kept = sorted(
            (Kept(*key, *row) for key, row in kept.items()
             if row[1] != row[2]),
            key=lambda one: one.returned - one.taken)


def _gather_alive(alive, process):
    for birth in process.living.values():
        if birth is None:
            continue
        size = birth.type.basicsize if birth.size is None else birth.size
        row = alive.get((birth.type, birth.place))
        if row is None:
            alive[birth.type, birth.place] = [1, size, birth.clock,
                                              birth.clock]
        else:
            row[0] += 1
            row[1] += size
            row[3] = max(row[3], birth.clock)


def _gather_kept(kept, process):
    for address, ledger in process.ledgers.items():
        first = process.living.get(address) or process.older.get(address)
        if first is None:
            continue
        for place, (taken, returned) in ledger.items():
            row = kept.setdefault((first.type, place), [set(), 0, 0])
            row[0].add((address, first.clock))
            row[1] += taken
            row[2] += returned


def _note_ends(result):
    """Say which logs were not closed."""
    for log in result.logs:
        if log.cut_off:
            result.notes.append(f'{log.path} was cut off: what is whole was '
                                f'read')
        elif not log.ended and not result.error:
            result.notes.append(f'{log.path} was never closed: its process '
                                f'was killed, or it still runs')
    missed = result.findings.missed
    if missed:
        result.notes.append(f'{plural(missed, "object")} died while nothing '
                            f'was logged')
