"""Assertions that nothing leaks: @refmap.no_leaks and what it is made of."""

import functools
import inspect

from . import hunting, judge, measure
from .filters import Filter

FAILING = (judge.ERROR, judge.LEAK)


class LeakError(AssertionError):
    """Something leaked. str() is the report.

    result -- the hunting.Result
    """

    def __init__(self, result):
        super().__init__(str(result))
        self.result = result


class Check:
    """How a callable is checked.

    warmups, runs -- how often it runs before, and while, it is measured
    include, exclude -- patterns of types, as of the module fnmatch
    strict -- what is only suspicious counts, too
    """

    def __init__(self, warmups=3, runs=3, include=(), exclude=(),
                 strict=False):
        """Raise ValueError or TypeError for what makes no sense."""
        hunting.check_counts(warmups, runs)
        if warmups < 1:
            raise ValueError('at least one warm-up is needed: the call whose '
                             'result is returned')
        self.warmups = warmups
        self.runs = runs
        self.filter = Filter(include, exclude)
        self.failing = FAILING + ((judge.SUSPICIOUS,) if strict else ())

    def hunt(self, function, name):
        """Call a function that ran once already; return a hunting.Result."""
        return self.conclude(
            hunting.record(function, self.warmups - 1, self.runs), name)

    async def hunt_async(self, function, name):
        """The same, for a function whose result is awaited."""
        recorder = measure.Recorder(self.warmups - 1, self.runs)
        for _ in hunting.turns(recorder):
            await function()
        return self.conclude(recorder, name)

    def conclude(self, recorder, name):
        """Judge what was recorded."""
        found = hunting.conclude(recorder, name)
        found['warmups'] = self.warmups
        self.filter.apply(found)
        return hunting.Result(found)

    def require(self, result):
        """Raise LeakError if a hunt found something."""
        if result.verdict in self.failing:
            raise LeakError(result)


def name_of(function):
    """Return what a report calls a function."""
    return getattr(function, '__qualname__', None) or repr(function)


def no_leaks(function=None, /, *, warmups=3, runs=3, include=(), exclude=(),
             strict=False):
    """Decorate a function, method or coroutine function that must not leak.

    warmups, runs -- how often a call runs it before, and while, it is measured
    include, exclude -- patterns of types, as of the module fnmatch
    strict -- what is only suspicious counts, too
    A call runs it again and again with the same arguments, and returns the
    result of the first run. It raises LeakError, which is an AssertionError, if
    objects leak. In an interpreter without a map it runs once.
    Raise ValueError or TypeError for what makes no sense.
    """
    check = Check(warmups, runs, include, exclude, strict)
    if function is None:
        return functools.partial(decorate, check)
    return decorate(check, function)


def decorate(check, function):
    """Return `function` so that each call is checked."""
    if not callable(function):
        raise TypeError('no_leaks decorates functions; it goes below '
                        '@classmethod and @property')
    if (inspect.isgeneratorfunction(function)
            or inspect.isasyncgenfunction(function)):
        raise TypeError('no_leaks cannot decorate generator functions: calling '
                        'one runs nothing of it')
    wrap = async_wrapper if inspect.iscoroutinefunction(function) else wrapper
    return wrap(check, function)


def wrapper(check, function):
    @functools.wraps(function)
    def checked(*args, **kwargs):
        result = function(*args, **kwargs)
        if hunting.available():
            check.require(check.hunt(lambda: function(*args, **kwargs),
                                     name_of(function)))
        return result

    return checked


def async_wrapper(check, function):
    @functools.wraps(function)
    async def checked(*args, **kwargs):
        result = await function(*args, **kwargs)
        if hunting.available():
            check.require(await check.hunt_async(
                lambda: function(*args, **kwargs), name_of(function)))
        return result

    return checked
