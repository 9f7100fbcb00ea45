"""with refmap.watch(): what a block of code changed."""

import sys

from . import hunting, unhooked
from .filters import Changes, Filter


class _Entry:
    """__enter__ of a Watch: the bound method is gone when the block begins, and
    no diff is to show that."""

    def __get__(self, watch, cls=None):
        if watch is None:
            return Watch._enter
        method = watch._enter
        sys._refmap_hide(method)
        return method


class Watch:
    """Watches what happens between its entry and its exit.

    diff -- a filters.Changes; made anew each time that somebody looks
    Raise RuntimeError if the block is not over yet.
    """

    # Nothing may be allocated between the snapshots on its account.
    __slots__ = ('_filter', '_cleanup', '_limit', '_before', '_after', '_actual')

    def __init__(self, filter, cleanup, limit):
        self._filter = filter
        self._cleanup = cleanup
        self._limit = limit
        self._before = self._after = None
        self._actual = False
        for own in self, filter, filter.include, filter.exclude:
            sys._refmap_hide(own)

    __enter__ = _Entry()

    def _enter(self):
        self._after = None
        self._cleanup()
        self._before = sys.refmap_snapshot(actual=True)
        return self

    def __exit__(self, kind, value, traceback):
        self._cleanup()
        self._after = sys.refmap_snapshot(actual=True)
        # Binaries may have been loaded meanwhile.
        self._actual = bool(unhooked.modules())

    def __repr__(self):
        return '<refmap watch>'

    @property
    def diff(self):
        if self._after is None:
            raise RuntimeError('the block is not over yet')
        diff = sys.refmap_diff(self._before, self._after, file=None,
                               actual=self._actual)
        return Changes(diff, self._keeps, self._limit)

    def _keeps(self, address, name, before):
        # Other watches may have had the same clean-up.
        return (address not in _OWN and address != id(self._cleanup)
                and self._filter.keeps(name))


def nothing():
    """Clean nothing up."""


# What each watch has references to, or runs while a snapshot is taken.
_OWN = frozenset(map(id, (
    Filter, Watch, Watch._enter, Watch.__exit__, Watch._enter.__code__,
    Watch.__exit__.__code__, hunting.clean_up, nothing)))


def watch(*, include=(), exclude=(), cleanup=hunting.clean_up, limit=None):
    """Return a context manager that tells which references a block changed.

    include, exclude -- patterns of types, as of the module fnmatch
    cleanup -- called before each of the two snapshots; the default empties
               known caches and runs the garbage collector. None: nothing
    limit -- str() of the diff shows so many objects of each type
    When the block is over, the manager's attribute `diff` has what changed.
    Watches may be nested. Raise RuntimeError if the interpreter keeps no map,
    TypeError or ValueError for arguments that make no sense.
    """
    hunting.require_map()
    if limit is not None and limit < 0:
        raise ValueError('limit must not be negative')
    return Watch(Filter(include, exclude), cleanup or nothing, limit)
