"""python -m refmap.unittest: hunt in the tests of unittest, as they are."""

import argparse
import os
import sys
import time
import unittest
from xml.etree import ElementTree

from . import checks, cli, hunting, report
from .unittest import CannotRepeat, LeakError, hunt


class Case:
    """What became of one test.

    kind -- None for a success, 'failure', 'error' or 'skipped'
    """

    def __init__(self, test):
        self.name = test.id()
        self.start = time.monotonic()
        self.seconds = 0.0
        self.kind = None
        self.text = ''


class Result(unittest.TextTestResult):
    """Hunts in each test that passed.

    check -- a checks.Check, or None where nothing can be hunted
    cases -- a list of Case
    """

    check = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cases = []
        self.not_repeated = []      # [(name, why)]

    def startTest(self, test):
        self.cases.append(Case(test))
        super().startTest(test)

    def stopTest(self, test):
        case = self.cases[-1]
        case.seconds = time.monotonic() - case.start
        super().stopTest(test)

    def addSuccess(self, test):
        error = None
        if self.check is not None:
            try:
                error = hunt(test, self.check)
            except CannotRepeat as exc:
                self.not_repeated.append((test.id(), str(exc)))
        if error is None:
            super().addSuccess(test)
        else:
            self.addFailure(test, (LeakError, error, None))

    def _note(self, kind, test, text):
        if not self.cases or self.cases[-1].name != test.id():
            # The fixtures of a class or a module, or a part of a test.
            self.cases.append(Case(test))
        self.cases[-1].kind = kind
        self.cases[-1].text = text

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note('failure', test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._note('error', test, self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note('skipped', test, reason)

    def addSubTest(self, test, subtest, err):
        failures, errors = len(self.failures), len(self.errors)
        super().addSubTest(test, subtest, err)
        if len(self.failures) > failures:
            self._note('failure', subtest, self.failures[-1][1])
        elif len(self.errors) > errors:
            self._note('error', subtest, self.errors[-1][1])

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._note('failure', test, 'unexpected success')


def junit(cases):
    """Return the XML, a str, of a list of Cases."""
    def count(kind):
        return str(sum(case.kind == kind for case in cases))

    root = ElementTree.Element('testsuites')
    suite = ElementTree.SubElement(
        root, 'testsuite', name='refmap.unittest', tests=str(len(cases)),
        failures=count('failure'), errors=count('error'),
        skipped=count('skipped'),
        time=f'{sum(case.seconds for case in cases):.3f}')
    for case in cases:
        classname, _, name = case.name.rpartition('.')
        element = ElementTree.SubElement(
            suite, 'testcase', classname=report.escape(classname),
            name=report.escape(name), time=f'{case.seconds:.3f}')
        if case.kind is not None:
            lines = [report.escape(line) for line in case.text.split('\n')]
            problem = ElementTree.SubElement(element, case.kind,
                                             message=lines[0])
            problem.text = '\n'.join(lines)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='unicode',
                                xml_declaration=True) + '\n'


def make_parser():
    """Return the parser of our own options; all others are unittest's."""
    parser = argparse.ArgumentParser(
        prog='python -m refmap.unittest', allow_abbrev=False,
        usage='python -m refmap.unittest [-R WARMUPS:RUNS] [--strict] '
              '[--exclude TYPE] [--junit FILE] [arguments of unittest]',
        description='Run tests of unittest; those that leak fail.')
    cli.add_runs(parser)
    parser.add_argument('--strict', action='store_true',
                        help='fail what is only suspicious, too')
    parser.add_argument('--exclude', action='append', default=[],
                        metavar='TYPE', help='a pattern of types that may leak')
    parser.add_argument('--junit', metavar='FILE',
                        help='write the results to FILE as JUnit XML')
    return parser


def prepare(options, parser):
    """Return the checks.Check of the options. Exit for what makes no sense."""
    try:
        check = checks.Check(*options.counts, exclude=options.exclude,
                             strict=options.strict)
        if options.junit:
            options.junit = cli.open_output(options.junit)
    except (OSError, ValueError) as exc:
        parser.error(str(exc))
    if hunting.available():
        return check
    print('refmap: leaks are not hunted, as this interpreter was not configured '
          '--with-refcount-map; each test runs once', file=sys.stderr)
    return None


def write_junit(path, cases):
    """Write the results; return why that can't be, or None."""
    try:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(junit(cases))
    except OSError as exc:
        return f'the results cannot be written: {exc}'
    return None


def main(argv=None):
    """Run the command line. Exits: 0, 1 for failures, 2 for bad usage; the
    codes of unittest where no test ran."""
    parser = make_parser()
    options, rest = parser.parse_known_args(argv)
    check = prepare(options, parser)
    results = []

    class Hunting(Result):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.check = check
            results.append(self)

    class Runner(unittest.TextTestRunner):
        resultclass = Hunting

    sys.path.insert(0, os.getcwd())
    program = unittest.main(module=None, argv=[parser.prog, *rest],
                            testRunner=Runner, exit=False)
    code = 0 if program.result.wasSuccessful() else 1
    if not program.result.testsRun and not program.result.skipped:
        code = 5
    for name, why in results[-1].not_repeated:
        print(report.escape(f'refmap: {name}: not hunted, it does not pass '
                            f'again: {why}'), file=sys.stderr)
    reason = (write_junit(options.junit, results[-1].cases)
              if options.junit else None)
    if reason:
        print(report.escape(f'refmap: {reason}'), file=sys.stderr)
        code = 2
    sys.exit(code)
