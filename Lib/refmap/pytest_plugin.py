"""A pytest plugin that repeats each test and finds the objects that it leaks.

    python -m pytest -p refmap.pytest_plugin --refmap-leaks[=WARMUPS:RUNS]

This module has the hooks, options and markers. It can be imported in every
interpreter, also alone: what it needs of the package is loaded only where there
is a map. Doc/pytest.md tells how to use it.
"""

import argparse
import os
import sys

import pytest

DEFAULT_RUNS = '3:3'
MISSING = ('refmap: leaks are not hunted, as this interpreter was not '
           'configured --with-refcount-map; each test runs once')

_MARKER = ('refmap(*, skip=None, warmups=None, runs=None, allow=()): how '
           '--refmap-leaks treats a test: skip -- the reason why it is not '
           'hunted; warmups, runs -- how often it runs; allow -- patterns of '
           'types that it may leak.')
_MARKER_KEYS = {'skip', 'warmups', 'runs', 'allow'}


def has_map():
    """Return what refmap.available() does, also where there is no package."""
    return hasattr(sys, 'refmap_snapshot')


# --- options -----------------------------------------------------------------

def run_counts(text):
    """Return (warmups, runs) of 'WARMUPS:RUNS'. Raise ValueError."""
    warmups, separator, runs = text.partition(':')
    if not (separator and warmups.isdecimal() and runs.isdecimal()):
        raise ValueError(f'{text!a} is not WARMUPS:RUNS, as {DEFAULT_RUNS} is')
    counts = int(warmups), int(runs)
    check_counts(*counts)
    return counts


def check_counts(warmups, runs):
    """Raise ValueError unless the numbers of runs make sense."""
    if warmups < 1:
        raise ValueError('at least one warm-up is needed: the run that pytest '
                         'reports')
    if runs < 1:
        raise ValueError('at least one run is needed')
    if warmups + runs > 10_000:
        raise ValueError('more than 10000 runs')


def _counts_option(text):
    try:
        return run_counts(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f'{exc}; write it with =, and paths before it') from None


def pytest_addoption(parser):
    """Add --refmap-* and the settings of configuration files."""
    group = parser.getgroup('refmap', 'reference leaks')
    group.addoption(
        '--refmap-leaks', nargs='?', type=_counts_option, const=(),
        metavar='WARMUPS:RUNS',
        help='repeat each test and fail those that leak objects; default '
             f'{DEFAULT_RUNS}')
    group.addoption('--refmap-strict', action='store_true',
                    help='fail what is only suspicious, too')
    group.addoption('--refmap-suppress', metavar='FILE',
                    help='rules for findings that are not to be reported')
    group.addoption('--refmap-json', metavar='FILE',
                    help='write the findings of each test to FILE, one JSON '
                         'object a line')
    group.addoption('--refmap-github', action='store_true',
                    default=os.environ.get('GITHUB_ACTIONS') == 'true',
                    help='print leaks as annotations of GitHub; the default '
                         'where GITHUB_ACTIONS is true')
    parser.addini('refmap_runs', 'WARMUPS:RUNS of --refmap-leaks',
                  default=DEFAULT_RUNS)
    parser.addini('refmap_strict', 'as --refmap-strict', type='bool',
                  default=False)
    parser.addini('refmap_suppress', 'as --refmap-suppress; relative to the '
                  'root directory', default='')
    parser.addini('refmap_allow', 'patterns of types that any test may leak',
                  type='linelist', default=[])


class Settings:
    """The options in force.

    counts -- (warmups, runs)
    rules -- as of refmap.suppress.parse()
    strict, github -- bool
    json -- an absolute path, or None
    """

    def __init__(self, config):
        """Raise pytest.UsageError for what makes no sense."""
        from refmap import suppress
        option = config.option
        self.strict = option.refmap_strict or config.getini('refmap_strict')
        self.github = option.refmap_github
        self.json = option.refmap_json and os.path.abspath(option.refmap_json)
        path = option.refmap_suppress
        if not path and config.getini('refmap_suppress'):
            path = os.path.join(config.rootpath,
                                config.getini('refmap_suppress'))
        try:
            self.counts = (option.refmap_leaks
                           or run_counts(config.getini('refmap_runs')))
            self.rules = suppress.read(path) if path else []
        except (OSError, ValueError, suppress.Error) as exc:
            raise pytest.UsageError(f'refmap: {exc}') from None
        self.rules += [[pattern, '*', 'refmap_allow']
                       for pattern in config.getini('refmap_allow')]


def pytest_configure(config):
    """Register the marker, and what does the work where it is asked for."""
    config.addinivalue_line('markers', _MARKER)
    option = config.option
    if option.refmap_leaks is None:
        for name in 'strict', 'suppress', 'json':
            if getattr(option, f'refmap_{name}'):
                raise pytest.UsageError(f'refmap: --refmap-{name} needs '
                                        '--refmap-leaks')
        return
    if not has_map():
        return
    from refmap import pytest_hunt, pytest_report
    settings = Settings(config)
    # The workers of pytest-xdist hunt, and the process that started them
    # reports.
    is_worker = hasattr(config, 'workerinput')
    config.pluginmanager.register(pytest_hunt.Hunter(settings, is_worker),
                                  'refmap-hunter')
    if not is_worker:
        config.pluginmanager.register(
            pytest_report.Reporter(settings, config), 'refmap-reporter')


def pytest_report_header(config):
    """Say that leaks are hunted."""
    hunter = config.pluginmanager.getplugin('refmap-hunter')
    if hunter is None:
        return None
    warmups, runs = hunter.settings.counts
    return (f'refmap: each test runs {warmups + runs} times, the last {runs} '
            'are measured')


def pytest_terminal_summary(terminalreporter, config):
    """Say what is missing. -q leaves out the header."""
    if config.option.refmap_leaks is not None and not has_map():
        terminalreporter.line(MISSING)


# --- markers -----------------------------------------------------------------

class Plan:
    """How one test is hunted: what the markers say, and the settings.

    skip -- why it is not hunted, or None
    """

    def __init__(self, item, settings):
        """Raise ValueError for a marker that makes no sense."""
        self.skip = None
        self.warmups, self.runs = settings.counts
        self.rules = list(settings.rules)
        # The closest marker is the last one, and has the last word.
        for mark in reversed(list(item.iter_markers('refmap'))):
            self._apply(mark)
        check_counts(self.warmups, self.runs)

    def _apply(self, mark):
        unknown = sorted(set(mark.kwargs) - _MARKER_KEYS)
        if mark.args or unknown:
            what = 'positional arguments' if mark.args else unknown[0]
            raise ValueError(f'the marker refmap does not take {what}')
        self.skip = mark.kwargs.get('skip', self.skip)
        if self.skip is not None and not (isinstance(self.skip, str)
                                          and self.skip):
            raise ValueError('skip= of the marker refmap is a reason, a str')
        for name in 'warmups', 'runs':
            value = mark.kwargs.get(name)
            if value is not None:
                if type(value) is not int:
                    raise ValueError(f'{name}= of the marker refmap is an int')
                setattr(self, name, value)
        allow = mark.kwargs.get('allow', ())
        if (not isinstance(allow, (list, tuple))
                or not all(isinstance(pattern, str) for pattern in allow)):
            raise ValueError('allow= of the marker refmap is a list of '
                             'patterns of types')
        self.rules += [[pattern, '*', 'allowed by a marker']
                       for pattern in allow]


def pytest_collection_modifyitems(config, items):
    """Refuse markers that make no sense before anything runs."""
    hunter = config.pluginmanager.getplugin('refmap-hunter')
    if hunter is None:
        return
    for item in items:
        try:
            hunter.plans[item] = Plan(item, hunter.settings)
        except ValueError as exc:
            raise pytest.UsageError(f'{item.nodeid}: {exc}') from None
