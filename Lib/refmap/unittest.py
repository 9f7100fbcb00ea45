"""Tests of unittest that fail if they leak.

    class Test(refmap.unittest.TestCase): ...       each test is hunted
    refmap.unittest.assertNoLeaks(callable)         anywhere
    python -m refmap.unittest [options] [tests]     tests as they are

A test that passed runs again and again, each time in a new instance: setUp() and
tearDown() run as well, the fixtures of classes and modules stay.
"""

# This is unittest of the standard library: imports are absolute.
import unittest

from refmap import checks, hunting
from refmap.checks import LeakError

__all__ = ['LeakError', 'Mixin', 'TestCase', 'assertNoLeaks', 'hunted']


def assertNoLeaks(callable, /, *args, warmups=3, runs=3, include=(),
                  exclude=(), strict=False):
    """Call something again and again; raise LeakError if objects leak.

    callable, args -- what is called, and with what
    The other parameters are those of refmap.no_leaks(). Return the result of
    the first call. In an interpreter without a map it is called once.
    """
    check = checks.Check(warmups, runs, include, exclude, strict)
    return checks.decorate(check, callable)(*args)


class CannotRepeat(Exception):
    """A test that passed did not pass again; str() says in which way."""


class _Repeated(unittest.TestResult):
    """The result of a run that only the hunt looks at."""


def repeat(case):
    """Run a new instance of a test. Raise CannotRepeat unless it passes."""
    result = _Repeated()
    case.run(result)
    if not result.wasSuccessful() or result.skipped or result.expectedFailures:
        problems = result.errors + result.failures
        text = problems[0][1] if problems else 'it was skipped'
        raise CannotRepeat(text.strip().rpartition('\n')[2])


def hunt(case, check):
    """Hunt in a test that just passed.

    Return its checks.LeakError, or None. Raise CannotRepeat.
    """
    # Not the instance: it holds what the first run left in it.
    kind, name = type(case), case._testMethodName
    result = check.hunt(lambda: repeat(kind(name)), case.id())
    return LeakError(result) if result.verdict in check.failing else None


class _Result:
    """Stands in for the result of a test: a success is looked into first."""

    def __init__(self, result, check):
        self._result = result
        self._check = check

    def __getattr__(self, name):
        return getattr(self._result, name)

    def addSuccess(self, test):
        try:
            error = hunt(test, self._check)
        except CannotRepeat:
            error = None
        if error is None:
            self._result.addSuccess(test)
        else:
            # The report says all; a traceback would show this module.
            self._result.addFailure(test, (LeakError, error, None))


class Mixin:
    """A base class, to be named before unittest.TestCase.

    refmap_options -- the arguments of refmap.no_leaks() for these tests
    refmap_skip -- why they are not hunted, or None
    """

    refmap_options = {}
    refmap_skip = None

    def run(self, result=None):
        """Run the test, and hunt if it passed."""
        if (not hunting.available() or self.refmap_skip is not None
                or isinstance(result, _Repeated)):
            return super().run(result)
        check = checks.Check(**self.refmap_options)
        if result is not None:
            super().run(_Result(result, check))
            return result
        result = self.defaultTestResult()
        result.startTestRun()
        try:
            super().run(_Result(result, check))
        finally:
            result.stopTestRun()
        return result

    def assertNoLeaks(self, callable, /, *args, **options):
        """See refmap.unittest.assertNoLeaks()."""
        return assertNoLeaks(callable, *args, **options)


class TestCase(Mixin, unittest.TestCase):
    """A unittest.TestCase whose tests fail if they leak."""


def hunted(cls=None, /, *, skip=None, **options):
    """Decorate a subclass of unittest.TestCase: its tests fail if they leak.

    skip -- why they are not hunted, or None
    options -- the arguments of refmap.no_leaks()
    Raise TypeError for anything else, and as refmap.no_leaks() does.
    """
    checks.Check(**options)
    if cls is None:
        return lambda cls: hunted(cls, skip=skip, **options)
    if not (isinstance(cls, type) and issubclass(cls, unittest.TestCase)):
        raise TypeError('hunted decorates subclasses of unittest.TestCase')
    names = {'refmap_options': options, 'refmap_skip': skip,
             '__module__': cls.__module__, '__qualname__': cls.__qualname__,
             '__doc__': cls.__doc__}
    return type(cls)(cls.__name__, (Mixin, cls), names)


if __name__ == '__main__':
    from refmap.unittest_main import main
    main()
