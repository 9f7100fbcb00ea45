"""Hunt leaks in any code: refmap.hunt(), and the loop of the other hunts."""

import gc
import sys
import time

from . import caches, details, judge, measure, report, suppress, unhooked

# Each run has a snapshot of its own.
MAX_RUNS = 10_000


def flush(stream):
    """Flush a stream, whatever the program made of it."""
    try:
        stream.flush()
    except Exception:
        pass                # None, closed, a full disk, not even a file


def clean_up():
    """Empty the caches of the interpreter and its library, and collect."""
    # Text that waits to be written is a growing list of strings.
    flush(sys.stdout)
    flush(sys.stderr)
    caches.clear()
    for _ in range(3):
        gc.collect()


def turns(recorder, cleanup=clean_up, progress=None):
    """Yield whenever the code is to be called, and take a snapshot after that.

    recorder -- a measure.Recorder
    cleanup -- called after each call, so that caches do not count
    progress -- called with the number of finished calls
    """
    cleanup()
    recorder.snapshot(-1)
    for i in range(recorder.warmups + recorder.runs):
        yield
        cleanup()
        recorder.snapshot(i)
        if progress is not None:
            progress(i + 1)


def record(function, warmups, runs, cleanup=clean_up, progress=None):
    """Call a function again and again, with a snapshot after each call.

    function -- called without arguments; its result is dropped
    cleanup, progress -- as of turns()
    Return a measure.Recorder. Exceptions of `function` are passed on.
    """
    recorder = measure.Recorder(warmups, runs)
    for _ in turns(recorder, cleanup, progress):
        function()
    return recorder


def conclude(recorder, name, rules=(), pooled=(), raw=False, describe=True):
    """Judge a recorder's runs; return the result for report and JSON.

    name -- of the test or program
    rules -- as of suppress.parse()
    pooled -- integers that the measuring loop still holds
    raw -- add the raw report of the last run
    describe -- look at the objects: repr, size, who holds them
    Once a binary without hooks is loaded the counts are true ones, read from
    the objects; the result's key 'unhooked' lists the paths of these binaries.
    """
    stock = unhooked.modules()
    result = measure.examine(recorder, pooled, raw, actual=bool(stock))
    findings = result['types']
    result['test'] = name
    result['unhooked'] = stock
    result['rules'] = suppress.apply(rules, findings, name)
    if describe:
        details.describe([f for f in findings if not f.get('suppressed')],
                         recorder.last())
        judge.settle(findings)
    result['verdict'] = judge.verdict_of(findings, result['freed'])
    recorder.drop()
    return result


def conclude_early(recorder, done, name, where, rules=(), raw=False):
    """Judge the runs that were completed before the process died.

    done -- how many, warm-ups included
    where -- what it died in, 'in run 3 of 6'
    name, rules, raw -- as of conclude()
    Return what conclude() does, with `where` as the key 'died'; None if there are too
    few to be judged.
    """
    if not recorder.cut(done):
        return None
    result = conclude(recorder, name, rules, raw=raw)
    result['died'] = where
    return result


class Result:
    """What a hunt found. str() is the report.

    verdict -- 'error', 'leak', 'suspicious' or 'clean'
    findings -- everything as a dict for json.dumps(); Doc/hunting.md
                describes it
    """

    def __init__(self, findings):
        self.findings = findings
        self.verdict = findings['verdict']

    def __repr__(self):
        return f'<refmap hunt of {self.findings["test"]}: {self.verdict}>'

    def __str__(self):
        return '\n'.join(report.lines(self.findings))

    def leaks(self):
        """Return {type name: references per run, as a list} of the leak."""
        return {f['type']: f['refs'] for f in self.findings['types']
                if f['pattern'] == judge.EVERY_RUN and not f.get('suppressed')}

    def errors(self):
        """Return {type name: references per run, as a list} of the errors."""
        return {f['type']: f['refs'] for f in self.findings['types']
                if f['pattern'] in judge.ERRORS and not f.get('suppressed')}


def check_counts(warmups, runs):
    """Raise ValueError unless the numbers of runs make sense."""
    if warmups < 0:
        raise ValueError('warmups must not be negative')
    if runs < 1:
        raise ValueError('at least one run is needed')
    if warmups + runs > MAX_RUNS:
        raise ValueError(f'more than {MAX_RUNS} runs')


def available():
    """Return True if this interpreter keeps a refcount map."""
    return hasattr(sys, 'refmap_snapshot')


def require_map():
    """Raise RuntimeError if this interpreter keeps no refcount map."""
    if not available():
        raise RuntimeError('this interpreter was not configured '
                           '--with-refcount-map')


def hunt(callable, warmups=3, runs=3, *, cleanup=clean_up, raw=False,
         suppressions=()):
    """Call something repeatedly and find the objects that it leaks.

    callable -- called without arguments
    warmups, runs -- how often it is called before, and while, it is measured
    cleanup -- called after each call; the default empties known caches and
               runs the garbage collector
    raw -- add the raw report of the last run
    suppressions -- rules as of refmap.suppress.parse()
    Return a Result. Raise ValueError for bad numbers, RuntimeError if the
    interpreter keeps no map; exceptions of `callable` are passed on.
    """
    require_map()
    check_counts(warmups, runs)
    name = getattr(callable, '__qualname__', None) or repr(callable)
    start = time.monotonic()
    recorder = record(callable, warmups, runs, cleanup)
    findings = conclude(recorder, name, suppressions, raw=raw)
    findings['seconds'] = round(time.monotonic() - start, 3)
    return Result(findings)
