"""Run an item of pytest again and again, as if nothing had been before.

Function-scoped fixtures are made anew for each run; those of classes, modules
and packages stay set up. What pytest itself keeps of a run is taken away again:
it would look like a leak of the test. It is used from outside of its public
interface here and nowhere else; tried with pytest 7.2.1 and 9.2.
"""

import shutil
import warnings
from contextlib import contextmanager, nullcontext

import pytest
from _pytest.runner import runtestprotocol


class CannotRepeat(Exception):
    """A test that passed did not pass again; str() says in which way."""


def outcome_of(reports):
    """Return None if a test passed, or what happened instead."""
    for report in reports:
        if hasattr(report, 'wasxfail'):
            return 'it is expected to fail'
        if not report.passed:
            return f'{report.when} {report.outcome}'
    if not any(report.when == 'call' for report in reports):
        return 'it was not called'
    return None


def last_line(report):
    """Return the last line of what a report says about a failure."""
    crash = getattr(report.longrepr, 'reprcrash', None)
    text = crash.message if crash is not None else str(report.longrepr)
    return text.strip().partition('\n')[0]


@contextmanager
def muted(hook):
    """Tests that report parts of themselves, as subtests, do so once only."""
    original = hook.pytest_runtest_logreport
    hook.pytest_runtest_logreport = lambda **kwargs: []
    try:
        yield
    finally:
        hook.pytest_runtest_logreport = original


class Repeater:
    """Runs one item; the instance is called for each run but the first.

    fixtures -- the OuterFixtures of the session
    """

    def __init__(self, item, fixtures):
        self.item = item
        self.fixtures = fixtures
        self.runs = 0
        self._globals = None
        test = getattr(item, 'dtest', None)
        if test is not None:
            # The names of a doctest are gone when it ran.
            self._globals = dict(test.globs)

    def first(self):
        """Run the item as pytest does, but for what it tells the reporters;
        return its reports."""
        self.runs = 1
        return runtestprotocol(self.item, log=False, nextitem=self.item.parent)

    def __call__(self):
        """Run the item once more. Raise CannotRepeat."""
        item = self.item
        self.runs += 1
        if self._globals is not None:
            item.dtest.globs.update(self._globals)
        kept = Kept(item, self.fixtures)
        # Looked up once before, so that nobody remembers the muted one.
        item.ihook.pytest_runtest_logreport
        with muted(item.config.hook), warnings.catch_warnings(record=True):
            reports = runtestprotocol(item, log=False, nextitem=item.parent)
        kept.restore()
        outcome = outcome_of(reports)
        if outcome is not None:
            failed = next(r for r in reports if not r.passed)
            raise CannotRepeat(f'run {self.runs}: {outcome}: '
                               f'{last_line(failed)}')

    def tear_down(self, nextitem):
        """Tear down what the next item does not need.

        Return a report, or None if there was nothing to do or all went well.
        """
        item = self.item
        state = item.session._setupstate
        needed = nextitem.listchain() if nextitem is not None else []
        if list(state.stack) == needed[:len(state.stack)]:
            return None
        capture = item.config.pluginmanager.getplugin('capturemanager')

        def tear_down():
            with (capture.item_capture('teardown', item) if capture
                  else nullcontext()):
                state.teardown_exact(nextitem)

        reraised = [pytest.exit.Exception]
        if not item.config.getoption('usepdb', False):
            reraised.append(KeyboardInterrupt)
        call = pytest.CallInfo.from_call(tear_down, 'teardown', tuple(reraised))
        if call.excinfo is None:
            return None
        return item.ihook.pytest_runtest_makereport(item=item, call=call)


# --- what a run leaves in pytest ---------------------------------------------

class OuterFixtures:
    """The fixtures of wider scope than a function."""

    def __init__(self):
        self._known = []

    def note(self, fixturedef):
        """To be called when a fixture is set up."""
        if fixturedef.scope != 'function' and fixturedef not in self._known:
            self._known.append(fixturedef)

    def set_up(self):
        """Return those that are set up now."""
        return [fixturedef for fixturedef in self._known
                if fixturedef.cached_result is not None]


class Kept:
    """What pytest keeps of the runs of an item, to be cut back to what it was
    before a run."""

    def __init__(self, item, fixtures):
        self._fixtures = fixtures
        self._set_up = fixtures.set_up()
        self._lists = [(items, len(items))
                       for items in lists_of(item, self._set_up)]

    def restore(self):
        """Forget what the run added."""
        if self._fixtures.set_up() != self._set_up:
            return      # what tears down another fixture must stay
        for items, length in self._lists:
            del items[length:]


def lists_of(item, fixtures):
    """Yield the lists to which a run of the item appends."""
    yield item._report_sections
    yield item.user_properties
    # pytest 7 lets each user of a fixture tear it down.
    for finalizers, _ in item.session._setupstate.stack.values():
        yield finalizers
    for fixturedef in fixtures:
        yield fixturedef._finalizers


def remove_directory(fixturedef):
    """Remove what tmp_path made for a run: there would be thousands."""
    if fixturedef.argname == 'tmp_path' and fixturedef.cached_result:
        shutil.rmtree(fixturedef.cached_result[0], ignore_errors=True)
