"""The part of the pytest plugin that hunts: in each worker of pytest-xdist, or
in the only process."""

import gc
import json
import sys
import time

import pytest

from . import hunting, judge, report
from .lastwords import LastWords
from .pytest_repeat import (CannotRepeat, OuterFixtures, Repeater, outcome_of,
                            remove_directory)


class Hunter:
    """Repeats the items of a session.

    plans -- {item: pytest_plugin.Plan}
    """

    def __init__(self, settings, is_worker):
        """is_worker -- another process reports what is found here"""
        self.settings = settings
        self.is_worker = is_worker
        self.words = LastWords()
        self.plans = {}
        self.repeating = False
        self.fixtures = OuterFixtures()

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef):
        """Take note of fixtures that outlive an item."""
        self.fixtures.note(fixturedef)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        """Run an item, and repeat it; then tell the reporters of it."""
        plan = self.plans.get(item)
        if plan is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid,
                                           location=item.location)
        self.words.during(f'in {report.escape(item.nodeid)}')
        repeater = Repeater(item, self.fixtures)
        failed = item.session.testsfailed
        reports = repeater.first()
        reason = plan.skip or outcome_of(reports)
        if item.session.testsfailed != failed:
            reason = 'a part of it failed'
        found = {'test': item.nodeid}
        if reason is None:
            found = self.hunt(repeater, plan)
        else:
            found['not hunted'] = reason
        if found.get('failed') and not self.is_worker:
            self.words.found('\n'.join(report.lines(found)))
        late = repeater.tear_down(nextitem)
        publish(item, reports, found)
        if late is not None:
            reports = [r for r in reports if r.when != 'teardown'] + [late]
        for each in reports:
            item.ihook.pytest_runtest_logreport(report=each)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid,
                                            location=item.location)
        return True

    def hunt(self, repeater, plan):
        """Repeat an item that passed once; return the findings as a dict."""
        name = repeater.item.nodeid
        start = time.monotonic()
        self.repeating = True
        try:
            # The first run was a warm-up, too.
            with frozen():
                recorder = hunting.record(repeater, plan.warmups - 1, plan.runs)
            found = hunting.conclude(recorder, name, plan.rules)
            found['warmups'] = plan.warmups
        except CannotRepeat as exc:
            found = {'test': name, 'not hunted': report.escape(str(exc))}
        finally:
            self.repeating = False
        if found.get('verdict') == judge.ERROR:
            lend(found)
        found['failed'] = found.get('verdict') in self.failing()
        found['seconds'] = round(time.monotonic() - start, 3)
        return found

    def pytest_unconfigure(self):
        """The hunt is over."""
        self.words.forget()

    def failing(self):
        """Return the verdicts for which a test fails."""
        verdicts = {judge.ERROR, judge.LEAK}
        if self.settings.strict:
            verdicts.add(judge.SUSPICIOUS)
        return verdicts

    def pytest_fixture_post_finalizer(self, fixturedef):
        """Keep the disk from filling up."""
        if self.repeating:
            remove_directory(fixturedef)


class frozen:
    """A context in which the garbage collector looks only at new objects.

    The collections after each run would take longer than most tests. Older
    garbage stays what it is until the end: no run changes it.
    """

    def __enter__(self):
        self.active = gc.get_freeze_count() == 0
        if self.active:
            gc.collect(1)
            gc.freeze()

    def __exit__(self, *args):
        if self.active:
            gc.unfreeze()


def lend(found):
    """Give objects that lost references to an over-decref as many again: it
    must not crash what comes after it, nor the end of the process."""
    try:
        import ctypes
    except ImportError:
        return
    times = found['warmups'] + found['runs']
    for finding in found['types']:
        for record in (finding['objects']
                       if finding['pattern'] == judge.OVER_DECREF else ()):
            before, *_, after = record['counts']
            lost = -(-(before - after) * times // found['runs'])
            missing = max(lost, record.get('holders', 0) - after)
            try:
                value = ctypes.py_object(sys._refmap_object(record['address']))
            except LookupError:
                continue        # it died meanwhile
            for _ in range(missing):
                ctypes.pythonapi.Py_IncRef(value)


def publish(item, reports, found):
    """Make the findings a part of the reports: workers of pytest-xdist send
    them. ASCII only, as names may have surrogates."""
    carrier = next((r for r in reports if r.when == 'call'), reports[0])
    carrier.refmap = json.dumps(found)
    if 'verdict' in found:
        # Those of the last report go to JUnit.
        reports[-1].user_properties.append(('refmap', found['verdict']))
    if found.get('failed'):
        carrier.outcome = 'failed'
        carrier.longrepr = '\n'.join(report.lines(found))
