"""`python -m test -R`: from the snapshots of a test file to its report."""

import array
import contextlib
import functools
import importlib.machinery
import importlib.util
import os.path
import sys
import time
import unittest


def load_package():
    """Import the package refmap, that of this standard library.

    Tests run with other directories before it in sys.path, and there may be a
    refmap.py in one of them.
    """
    stdlib = os.path.dirname(os.__file__)
    found = getattr(sys.modules.get('refmap'), '__file__', None) or ''
    if os.path.dirname(os.path.dirname(found)) == stdlib:
        return
    spec = importlib.machinery.PathFinder.find_spec('refmap', [stdlib])
    sys.modules['refmap'] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


load_package()
from refmap import hunting, judge, lastwords, measure, report
from refmap.witness import Witness

# The search for leaking methods may take as long as the hunt did, times this,
# or MIN_SEARCH seconds if that is more; but not more than a part of the timeout
# of the test file.
SEARCH_FACTOR = 3.0
MIN_SEARCH = 30.0
SEARCH_PART_OF_TIMEOUT = 0.4
MAX_SEARCH_WITH_TIMEOUT = 240.0

# The status line is only for a terminal: save the cursor, leave room for the
# next symbol, print, and go back.
_SHOW = '\x1b7  \x1b[2m{}\x1b[0m\x1b8'
_CLEAR = '\x1b[K'


class RegrtestRecorder(measure.Recorder):
    """Records the runs of a test file in libregrtest.refleak.

    warmups, runs -- how many
    quiet -- do not show which run it is
    """

    def __init__(self, warmups, runs, quiet):
        self.show = not quiet and sys.stderr.isatty()
        self.start = time.monotonic()
        self._stats = array.array('q', [0, 0, 0, 0])
        super().__init__(warmups, runs)
        self.current = _current
        self.current.witness = Witness(self.testify)
        self.current.witness.renew(0)

    def keep(self, result):
        """Take what a run returned and give back what the loop may hold.

        The result of a unittest run is made anew in each run. Its numbers are
        kept where no object is needed for them; see finish().
        """
        if not isinstance(result, unittest.TestResult):
            return result
        self._stats[0] = 1
        self._stats[1] = result.testsRun
        self._stats[2] = len(result.failures)
        self._stats[3] = len(result.skipped)
        return None

    def snapshot(self, i, own0=None, own1=None, own2=None, own3=None):
        super().snapshot(i, own0, own1, own2, own3)
        if self.show:
            done, count = i + 1, self.warmups + self.runs
            seconds = time.monotonic() - self.start
            text = f'{done} of {count} runs after {clock(seconds)}'
            print(_CLEAR + _SHOW.format(text), end='', file=sys.stderr)
        self.current.witness.renew(i + 1)

    def testify(self, crashed, done):
        """The process died when `done` runs were over; see Witness."""
        where = f'in run {done + 1} of {self.warmups + self.runs}'
        options = self.current.runtests.refmap
        found = hunting.conclude_early(
            self, done, self.current.name, where, options.get('rules', ()),
            options.get('raw', False))
        if found is not None:
            # What libregrtest counted is lost.
            found.update(sums={}, sums_failed=False)
        self.current.say_death(crashed, where, found,
                               report.lines(found) if found else [])

    def cleanup(self):
        """Do what libregrtest does after each run."""
        from test.support import gc_collect
        self.restore()
        gc_collect()

    def finish(self, result, failed, sums, cleanup):
        """All runs are over.

        result -- what keep() gave back for the last run
        failed -- the verdict of libregrtest, by the sums
        sums -- {what was counted: [change in each run, ...]}
        cleanup -- a function that restores what libregrtest does, and its
                   arguments
        Return the result of the last run.
        """
        global _last
        _last = self
        self.current.witness.dismiss()
        self.seconds = time.monotonic() - self.start
        self.failed = failed
        # Copies: these lists are not in the snapshots.
        self.sums = {name: list(deltas) for name, deltas in sums.items()}
        self.pooled = [delta for deltas in sums.values() for delta in deltas]
        self.restore = functools.partial(*cleanup)
        if not self._stats[0]:
            return result
        from .result import TestStats
        return TestStats(*self._stats[1:])


class Current:
    """The test file that is hunted in.

    witness -- a refmap.witness.Witness, or None
    """

    def __init__(self, name, runtests):
        self.name = name
        self.runtests = runtests
        self.witness = None

    def end(self):
        """There is nothing to be said of it if the process dies now."""
        if self.witness is not None:
            self.witness.dismiss()
            self.witness = None

    def say_death(self, crashed, where, found, lines):
        """Report what was found before the process died.

        crashed -- a fatal signal is the reason
        where -- what it died in, 'in run 3 of 6'
        found -- the findings, or None
        lines -- of these, those to be printed
        """
        from .refmap import write, write_died, write_html
        from .runtests import WorkerRunTests

        is_worker = isinstance(self.runtests, WorkerRunTests)
        text = ''.join(f'{line}\n' for line in lines)
        print_lines([lastwords.of_death(
            report.escape(f'{where} of {self.name}'), text, crashed)])
        if found is not None:
            for name, exc in write(found, self.runtests,
                                   write_died if is_worker else write_html):
                print_lines([report.escape(
                    f'refmap: cannot write {self.runtests.refmap[name]}: '
                    f'{exc.strerror}')])


# The Current test file, and the recorder whose runs were the last to be finished,
# until report_last().
_current = Current(None, None)
_last = None


def begin(name, runtests):
    """A test file is going to be hunted in."""
    global _current
    _current.end()
    _current = Current(name, runtests)


def clock(seconds):
    """Return a duration as h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02}:{seconds:02}'


def examine(recorder, name, options):
    """Return the result of a test file, without its methods."""
    result = hunting.conclude(recorder, name, options.get('rules', ()),
                              recorder.pooled, options.get('raw', False))
    result['sums'] = {what: deltas[recorder.warmups:]
                      for what, deltas in recorder.sums.items()}
    result['sums_failed'] = recorder.failed
    result['seconds'] = round(recorder.seconds, 3)
    failed = recorder.failed
    if result['unhooked']:
        # sys.gettotalrefcount() does not know what these do.
        failed = (result['verdict'] == judge.LEAK
                  or fails_without_references(result['sums']))
    if result['verdict'] == judge.ERROR:
        pass                    # whatever the sums say
    elif failed:
        result['verdict'] = judge.LEAK
    elif result['verdict'] == judge.LEAK:
        # The sums are libregrtest's verdict; they missed this.
        result['verdict'] = judge.SUSPICIOUS
    if is_suppressed(result):
        result['verdict'] = judge.CLEAN
    return result


def fails_without_references(sums):
    """Do the other sums make a leak, as libregrtest judges them?"""
    blocks = sums.get('memory blocks') or [0]
    return min(blocks) >= 1 or any(sums.get('file descriptors', ()))


def is_suppressed(result):
    """Are all reasons to call the test file leaking suppressed?"""
    return (bool(result['rules'])
            and all('suppressed' in finding for finding in result['types'])
            and not result['freed']
            and not any(result['sums'].get('file descriptors', ())))


def report_last(result, runtests):
    """Report what the last test file leaked, unless its runs ended early; see
    report_test()."""
    global _last
    recorder, _last = _last, None
    _current.end()
    if recorder is not None:
        report_test(recorder, result, runtests)


def report_test(recorder, result, runtests):
    """Report what a test file leaked.

    result -- libregrtest.result.TestResult, changed in place
    runtests -- libregrtest.runtests.RunTests
    """
    options = runtests.refmap
    findings = examine(recorder, result.test_name, options)
    result.refmap = findings
    settle_state(result, findings, options)
    shown = findings['types'] or findings['freed'] or 'raw' in findings
    if not shown and not recorder.failed:
        return
    text = report.lines(findings)
    print_lines(text)
    types = leaking_types(findings)
    if result.is_failed(False) and not options.get('no_bisect'):
        file = TestFile(recorder, result, runtests)
        for search in search_methods, search_culprits:
            more = ['  ' + line for line in search(file, types)]
            if more:
                print_lines(more)
            text += more
    if result.xml_data:
        add_report(result.xml_data, '\n'.join(text),
                   result.test_name if result.state == 'REFLEAK' else None)


def settle_state(result, findings, options):
    """Let the test file pass or fail: errors, --refmap-strict, suppressions."""
    verdict = findings['verdict']
    fails = (verdict == judge.ERROR
             or verdict == judge.SUSPICIOUS and options.get('strict'))
    passes = findings['sums_failed'] and verdict == judge.CLEAN
    if findings['unhooked']:
        fails = fails or verdict == judge.LEAK
        passes = not fails
    if passes:
        if result.state == 'REFLEAK':
            result.state = 'PASSED'
    elif fails:
        if result.state in ('PASSED', 'ENV_CHANGED'):
            result.state = 'REFLEAK'


def print_lines(lines):
    """Print to stderr at once, as other processes may print too."""
    sys.stdout.flush()
    print('\n'.join(lines), file=sys.stderr, flush=True)


# --- methods -----------------------------------------------------------------

def seconds_for_search(recorder, timeout):
    """Return how long the search may take.

    timeout -- of the test file in seconds, or None
    """
    seconds = max(MIN_SEARCH,
                  SEARCH_FACTOR * recorder.seconds)
    if timeout:
        seconds = min(seconds, SEARCH_PART_OF_TIMEOUT * timeout,
                      MAX_SEARCH_WITH_TIMEOUT)
    return seconds


def leaking_types(findings):
    """Return the names of the types that a search can go by, as a set."""
    return {finding['type'] for finding in findings['types']
            if finding['pattern'] in judge.FAILING
            and 'suppressed' not in finding}


class TestFile:
    """The test methods of a file, to be run again.

    recorder -- of the runs of the file
    result -- libregrtest.result.TestResult, with the findings
    runtests -- libregrtest.runtests.RunTests
    """

    def __init__(self, recorder, result, runtests):
        self.recorder = recorder
        self.name = result.test_name
        self.findings = result.refmap
        self.current = recorder.current
        self.test_dir = runtests.test_dir
        self.timeout = runtests.timeout
        self.options = runtests.refmap

    def module(self):
        """Return the module of the file."""
        from .utils import abs_module_name
        return importlib.import_module(
            abs_module_name(self.name, self.test_dir))

    @contextlib.contextmanager
    def running_again(self, note, so_far):
        """For the time of a search; gives a function to be called when something
        was found.

        note -- key of the findings that says why the search ended early
        so_far -- returns what was found so far as lines. It is in the findings
        """
        from test.support import refleak_helper

        def testify(crashed):
            where = 'in the search for who leaks in the methods'
            self.findings['died'] = where
            self.current.say_death(crashed, where, self.findings,
                                   ['  ' + line for line in so_far()])

        self.current.witness = Witness(testify)
        self.current.witness.renew()
        hunting_before = refleak_helper._hunting_for_refleaks
        refleak_helper._hunting_for_refleaks = True
        try:
            yield self.current.witness.renew
        except Exception as exc:
            # The test file misbehaves when its parts run alone.
            self.findings[note] = f'stopped: {type(exc).__name__}: {exc}'
        finally:
            self.current.end()
            refleak_helper._hunting_for_refleaks = hunting_before
            if self.recorder.show:
                print('\r' + _CLEAR, end='', file=sys.stderr, flush=True)


def search_methods(file, types):
    """Find the methods of a TestFile that leak.

    types -- names of the types that leaked
    Return lines. What is found is stored in the findings.
    """
    from . import refmap_methods as methods
    from .filter import match_test

    if not types:
        return []
    recorder, findings = file.recorder, file.findings
    runs = methods.WARMUPS + methods.RUNS
    first = recorder.seconds * runs / (recorder.warmups + recorder.runs)
    findings['methods'] = []

    def so_far():
        return report.method_lines(findings)

    with file.running_again('methods_note', so_far) as found_one:
        def found(method):
            findings['methods'].append(method)
            found_one()

        findings['methods_note'] = methods.find(
            file.module(), match_test, types, found, name=file.name,
            rules=file.options.get('rules', ()), cleanup=recorder.cleanup,
            seconds=seconds_for_search(recorder, file.timeout),
            first=first, progress=progress_of(recorder, file.name))
    return report.method_lines(findings)


def search_culprits(file, types):
    """Find who leaks in the methods of a TestFile; see search_methods()."""
    findings = file.findings
    # Where no object leaked, memory may have.
    blocks = findings['sums'].get('memory blocks')
    leaks_memory = blocks and min(blocks) > 0 and not findings['types']
    if file.options.get('no_who') or not (types or leaks_memory):
        return []
    from . import refmap_who as who

    findings['who_note'] = None
    diagnoses = who.Diagnoses(file.recorder.cleanup,
                              file.options.get('rules', ()),
                              who.seconds_for_who(file.timeout))

    def so_far():
        findings['who'] = who.as_list(diagnoses)
        return who.lines(diagnoses)

    with file.running_again('who_note', so_far) as found_one:
        diagnoses.found_one = found_one
        who.diagnose_file(file.module(), file.name,
                          findings.get('methods', ()), diagnoses)
    findings['who'] = who.as_list(diagnoses)
    return who.lines(diagnoses, findings['who_note'])


def progress_of(recorder, name):
    """Return a function that shows how far the search is, or None."""
    if not recorder.show:
        return None
    start = time.monotonic()

    def progress(count):
        print(f'\r{_CLEAR}refmap: {name}: {report.plural(count, "method")}, '
              f'{clock(time.monotonic() - start)}',
              end='', file=sys.stderr, flush=True)

    return progress


# --- JUnit -------------------------------------------------------------------

def add_report(xml_data, text, failed):
    """Add a report to the last of the test suites, in place.

    xml_data -- a list of strings, one <testsuite> each
    failed -- the name of the test file if it fails for what the report says
    """
    import xml.etree.ElementTree as ET
    from .utils import sanitize_xml

    text = sanitize_xml(text)
    suite = ET.fromstring(xml_data[-1])
    if failed:
        case = ET.SubElement(suite, 'testcase', name=f'{failed} (refmap)',
                             status='run', result='completed')
        message = text.partition('\n')[0]
        ET.SubElement(case, 'failure', type='reference leak',
                      message=message).text = text
        for name in 'tests', 'failures':
            suite.set(name, str(int(suite.get(name, 0)) + 1))
    else:
        ET.SubElement(suite, 'system-err').text = text
    xml_data[-1] = ET.tostring(suite, encoding='unicode')
