"""The part of the pytest plugin that reports: failures, JSON, the summary."""

import json

import pytest

from . import judge, report, suppress
from .who.annotations import command

# Tests that a part of the summary names.
MAX_NAMED = 10


def short(found):
    """Return in a few words what a test leaks."""
    types = [report.finding_line(finding) for finding in found['types']
             if not finding.get('suppressed')]
    text = '; '.join(types[:3])
    if len(types) > 3:
        text += f'; {len(types) - 3} more types'
    return report.escape(f'refmap: {found["verdict"]}: {text}')


class LeakRepr:
    """What pytest prints of a test that failed for its leak."""

    def __init__(self, found, location):
        self.text = '\n'.join(report.lines(found))
        self.reprcrash = Crash(found, location)

    def __str__(self):
        return self.text

    def toterminal(self, tw):
        """Write the report as a section."""
        tw.sep('-', 'refmap')
        for line in self.text.split('\n'):
            tw.line(line)


class Crash:
    """The one-line form of a failure: for the short summary and JUnit."""

    def __init__(self, found, location):
        self.path = location[0]
        self.lineno = (location[1] or 0) + 1
        self.message = short(found)

    def __str__(self):
        return f'{self.path}:{self.lineno}: {self.message}'


class Reporter:
    """Takes the findings out of the reports, in the main process."""

    def __init__(self, settings, config):
        """Raise pytest.UsageError if the findings can't be written."""
        self.settings = settings
        self.verdicts = {}          # verdict -> [test]
        self.not_hunted = {}        # reason -> [test]
        self.used = set()           # indexes of rules
        self.seconds = 0.0
        self.annotations = []
        self.unwritten = []         # tests
        self.reason = None          # why they are
        if settings.json:
            try:
                open(settings.json, 'w', encoding='utf-8').close()
            except OSError as exc:
                raise pytest.UsageError(
                    f'refmap: the findings cannot be written: {exc}') from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        """Take note of a test's findings."""
        if not hasattr(report, 'refmap'):
            return
        found = json.loads(report.refmap)
        # Written at once: who knows how the next test ends.
        self.write(found)
        self.seconds += found.get('seconds', 0)
        if 'verdict' not in found:
            self.not_hunted.setdefault(found['not hunted'],
                                       []).append(found['test'])
            return
        self.verdicts.setdefault(found['verdict'], []).append(found['test'])
        self.used.update(i for i in found['rules']
                         if i < len(self.settings.rules))
        if found['failed']:
            report.longrepr = LeakRepr(found, report.location)
            self.annotate(found, report.location)

    def write(self, found):
        """Append the findings of a test to the file."""
        if not self.settings.json:
            return
        try:
            with open(self.settings.json, 'a', encoding='utf-8') as file:
                file.write(json.dumps(found) + '\n')
        except OSError as exc:
            self.unwritten.append(found['test'])
            self.reason = exc.strerror

    def annotate(self, found, location):
        """Note a line for GitHub."""
        path, line, _ = location
        place = {'file': path, 'line': (line or 0) + 1}
        self.annotations.append(command(
            'error', {**place, 'title': f'refmap: {found["verdict"]}'},
            f'{report.escape(found["test"])}: {short(found)}'))

    def pytest_terminal_summary(self, terminalreporter):
        """Say what is to be said about all tests."""
        lines = list(self.summary())
        if lines:
            terminalreporter.section('refmap')
        for line in lines:
            terminalreporter.line(report.escape(line))
        if self.settings.github:
            for line in self.annotations:
                terminalreporter.line(line)

    def summary(self):
        """Yield the lines of the summary."""
        count = sum(map(len, self.verdicts.values()))
        parts = [f'{len(self.verdicts[verdict])} {verdict}' for verdict in
                 (judge.ERROR, judge.LEAK, judge.SUSPICIOUS, judge.CLEAN)
                 if verdict in self.verdicts]
        yield (f'{report.plural(count, "test")} hunted: '
               f'{", ".join(parts) or "none"} ({self.seconds:.1f} s for the '
               'repetitions)')
        yield from named('suspicious', self.verdicts.get(judge.SUSPICIOUS, ()))
        for reason, tests in self.not_hunted.items():
            yield from named(f'not hunted, {reason}', tests)
        unused = suppress.unused(self.settings.rules, self.used)
        if unused and self.verdicts:
            yield 'suppressions that matched nothing:'
            yield from (f'  {line}' for line in unused)
        if self.unwritten:
            yield (f'cannot write {self.settings.json}: {self.reason}; the '
                   f'findings of {report.plural(len(self.unwritten), "test")} '
                   'are lost')


def named(title, tests):
    """Yield the lines that name tests."""
    if tests:
        yield f'{title}: {report.plural(len(tests), "test")}'
    for name in tests[:MAX_NAMED]:
        yield f'  {name}'
    if len(tests) > MAX_NAMED:
        yield f'  ... and {len(tests) - MAX_NAMED} more'
