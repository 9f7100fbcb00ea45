"""`python -m test -R`: which C functions leaked in the test methods that leak.

The methods are known from refmap_methods.py; here each of them is hunted and
recorded once more, as refmap.diagnose() does. All of that takes a bounded time:
what there was no time for is said.
"""

import time

from refmap import measure
from refmap.who import births, diagnosis, report, search, watching

from . import refmap_methods as methods
from .filter import match_test

# Test methods that are diagnosed, and seconds for all of them. A part of the
# timeout of the test file, if there is one.
MAX_METHODS = 5
SECONDS = 60.0
PART_OF_TIMEOUT = 0.2

# Runs of a method besides those that are recorded.
CALLS = methods.WARMUPS + methods.RUNS + search.RUNS + 1


def seconds_for_who(timeout):
    """Return how long all diagnoses together may take.

    timeout -- of the test file in seconds, or None
    """
    return min(SECONDS, PART_OF_TIMEOUT * timeout) if timeout else SECONDS


class Diagnoses:
    """The diagnoses of a test file.

    cleanup, rules -- as of diagnosis.hunt()
    seconds -- how long all of them may take

    found -- a list of (name, Diagnosis)
    found_one -- called when there is one more
    notes -- sentences: what was not diagnosed, and why
    """

    def __init__(self, cleanup, rules, seconds):
        self.cleanup = cleanup
        self.rules = rules
        self.end = time.monotonic() + seconds
        self.found = []
        self.found_one = lambda: None
        self.notes = []

    def left(self):
        """Return the seconds that are left."""
        return self.end - time.monotonic()

    def try_one(self, name, function):
        """Hunt and record a function, if there is time for it."""
        if self.left() <= 0:
            self.notes.append(f'no time for {name}')
            return None
        recorder = measure.Recorder(methods.WARMUPS, methods.RUNS)
        findings = diagnosis.hunt(function, recorder, self.cleanup, self.rules,
                                  name=name)
        run = findings['seconds'] / (methods.WARMUPS + methods.RUNS)
        if run * search.SLOWDOWN > self.left():
            self.notes.append(f'{name} is not recorded: it takes {run:.1f} '
                              f'seconds a run')
            return None
        seconds = min(search.SECONDS, self.left() / search.PATIENCE)
        found = diagnosis.investigate(function, findings, self.cleanup, seconds)
        self.found.append((name, found))
        self.found_one()
        return found


def diagnose_file(module, name, leaking, diagnoses):
    """Diagnose the test methods that leak, or all of them together if none does
    on its own.

    module, name -- the test file
    leaking -- [{'name': ..., 'types': [finding, ...]}], as of methods.find();
               the findings learn where their objects were born
    diagnoses -- a Diagnoses
    """
    names = methods.names_of(module, match_test)
    for method in leaking[:MAX_METHODS]:
        position = names.index(method['name'])
        if not watching.survive(method['types'], CALLS):
            diagnoses.notes.append(f'{method["name"]}: {search.DYING}')
            continue
        found = diagnoses.try_one(
            method['name'], methods.runner_of(module, match_test, [position]))
        if found is not None:
            births.tell(method['types'], found.births)
    if len(leaking) > MAX_METHODS:
        diagnoses.notes.append(
            f'{len(leaking) - MAX_METHODS} more methods are not diagnosed')
    if names and not leaking:
        # They leak together only, or they leak memory without an object.
        diagnoses.try_one(name, methods.runner_of(module, match_test,
                                                  range(len(names))))


def lines(diagnoses, note=None):
    """Return the report about all diagnoses, as a list of lines.

    note -- why they ended early, or None
    """
    text = []
    for name, found in diagnoses.found:
        text.append(report.escape(f'who leaked in {name}:'))
        text += ['  ' + line for line in report.body(found)]
    notes = diagnoses.notes + ([note] if note else [])
    text += [report.escape(f'who leaked: {note}') for note in notes]
    return text


def as_list(diagnoses):
    """Return the diagnoses as a list of dicts for JSON."""
    return [report.as_dict(found, findings=False)
            for _, found in diagnoses.found]
