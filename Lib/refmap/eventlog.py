"""EventLog: each birth, death and reference change, with who and where."""

import collections
import gc
import sys

from .logs import Log

# C frames between the hook and the evaluation loop that are kept.
C_DEPTH = 8


def _types(items, what):
    """Return a tuple of type objects and patterns."""
    if items is None:
        return ()
    if isinstance(items, (str, type)):
        items = (items,)
    items = tuple(items)
    for item in items:
        if not isinstance(item, (str, type)):
            raise TypeError(f'{what} must have types or patterns for their names, '
                            f'not {type(item).__name__}')
    return items


def _names(types):
    return [item if isinstance(item, str) else item.__name__ for item in types]


class EventLog(Log):
    """A log of births and deaths, as a context manager or a decorator.

    file -- a path; None: a name with date, serial number, pid, depth and version, in
        the current directory. A file that is there is overwritten. The child of a
        fork writes to FILE.PID
    include -- types, or shell patterns for names as refmap_diff() reports them, of the
        objects that are logged; a type does not stand for its subclasses. None: all
        types, but see builtins
    exclude -- the same; these are left out
    builtins -- also log types of the module builtins, and others that the interpreter
        itself has, such as frame and code. Types that are included are logged in any
        case
    references -- also log each incref and decref of such objects
    rss -- log how much memory is resident: True, False, or how old the figure may be,
        in seconds; reading it takes longer than an event. True is 0.00005
    stack -- Python frames that are kept of each event, at most 64; 0: no place at all.
        With any, the C functions on top of them are kept, too
    message -- a text for the header
    collect -- the generation that gc.collect() takes at the beginning and at the end, so
        that garbage is no part of the log; None or -1: do not collect
    count_only -- write nothing, only count
    """

    kind = 0
    kind_name = 'events'
    suffix = 'refmaplog'

    def __init__(self, file=None, *, include=None, exclude=None, builtins=False,
                 references=False, rss=True, stack=1, message=None, collect=2,
                 count_only=False):
        super().__init__(file, rss, message)
        if not isinstance(stack, int) or not 0 <= stack <= 64:
            raise ValueError(f'stack must be a number from 0 to 64, not {stack!r}')
        if collect not in (None, -1, 0, 1, 2):
            raise ValueError(f'collect must be 0, 1, 2, or None or -1 for nothing, not {collect!r}')
        self._include = _types(include, 'include')
        self._exclude = _types(exclude, 'exclude')
        self._builtins = bool(builtins)
        self._references = bool(references)
        self._stack = stack
        self._collect = collect
        self._count_only = bool(count_only)

    def _options(self):
        return {'include': _names(self._include), 'exclude': _names(self._exclude),
                'builtins': self._builtins, 'references': self._references,
                'rss_age_ns': self._age, 'stack': self._stack,
                'collect': self._collect}

    def _path(self, path):
        return None if self._count_only else super()._path(path)

    def _open(self, path, header):
        return sys._refmap_log_open(
            self.kind, path, header, self._include, self._exclude, self._builtins,
            self._references, self._stack, C_DEPTH if self._stack else 0, self._age)

    def _before(self):
        if self._collect not in (None, -1):
            gc.collect(self._collect)

    @property
    def count_new(self):
        """Births that were logged."""
        return self._counts()[0][0]

    @property
    def count_del(self):
        """Deaths that were logged."""
        return self._counts()[0][1]

    def live_counts(self):
        """Return {name of a type: its living objects}, for the types that are logged: those
        that lived when the log began, and what was born and died while it was
        active."""
        living = collections.Counter()
        for name, before, births, deaths in self._counts()[1]:
            living[name] += before + births - deaths
        return dict(living)
