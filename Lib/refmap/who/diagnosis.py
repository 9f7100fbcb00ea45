"""refmap.diagnose(): from a hunt to the C function that is guilty."""

import time

from .. import hunting, judge, measure
from . import batch as batches
from . import report, search, watching


class Diagnosis:
    """Who leaked. str() is the report.

    verdict -- 'error', 'leak', 'suspicious' or 'clean'
    suspects -- at most five, the most likely first, with the attributes
                function, file, line, kind, rule, type, references (a run),
                score, evidence (a list of Step: text, file, line)
    roots -- leaked objects that explain the others, a list of search.Root
    consequences -- {type name: objects} that the roots explain
    births -- {type name: [{'count': ..., 'text': ..., 'born': ..., 'python':
              ...}]} of the objects that leaked in the recorded runs
    notes -- sentences: what could not be known
    recorded -- how many runs were recorded
    seconds -- {'hunt': ..., 'recording': ..., 'unrecorded': ..., 'analysis':
               ...}; 'unrecorded' is as many runs as were recorded, without it
    findings -- of the hunt, as of hunting.Result
    """

    def __init__(self, findings):
        self.findings = findings
        self.verdict = findings['verdict']
        self.suspects = []
        self.roots = []
        self.consequences = {}
        self.births = {}
        self.notes = []
        self.recorded = 0
        self.seconds = {'hunt': findings.get('seconds', 0.0), 'recording': 0.0,
                        'unrecorded': 0.0, 'analysis': 0.0}

    def __repr__(self):
        first = f': {self.suspects[0].function}' if self.suspects else ''
        return (f'<refmap diagnosis of {self.findings["test"]}: '
                f'{self.verdict}{first}>')

    def __str__(self):
        return '\n'.join(report.lines(self))

    def to_json(self):
        """Return all of it as a dict for json.dumps(); Doc/who.md describes
        it."""
        return report.as_dict(self)


# --- the hunt ----------------------------------------------------------------

def leaks_memory(findings):
    """Did memory blocks come to stay in each run, though no object did?"""
    changes = findings.get('blocks')
    return bool(changes) and min(changes) > 0 and not findings['types']


def hunt(function, recorder, cleanup, suppressions, progress=None, name=None):
    """Hunt as refmap.hunt() does; return the findings.

    recorder -- a measure.Recorder
    cleanup, progress -- as of hunting.turns()
    suppressions, name -- as of diagnose()

    The findings have keys more: 'blocks' and 'births', lists of how many memory blocks
    came to stay and how many objects were born in each run; 'cpu', seconds of
    CPU time of a run.
    """
    if name is None:
        name = getattr(function, '__qualname__', None) or repr(function)
    start, cpu = time.monotonic(), time.process_time()
    for _ in hunting.turns(recorder, cleanup, progress):
        function()
    cpu = (time.process_time() - cpu) / (recorder.warmups + recorder.runs)
    changes = recorder.block_changes()
    findings = hunting.conclude(recorder, name, suppressions)
    findings['blocks'] = changes
    findings['births'] = recorder.birth_changes()
    findings['cpu'] = round(cpu, 6)
    findings['seconds'] = round(time.monotonic() - start, 3)
    if leaks_memory(findings):
        findings['verdict'] = judge.LEAK
    return findings


def diagnose(callable, *, warmups=3, runs=3, cleanup=hunting.clean_up,
             suppressions=(), progress=None, name=None):
    """Call something repeatedly, and find out who leaks.

    callable -- called without arguments
    warmups, runs -- how often it is called before, and while, it is measured.
                     If it leaks it is called again, under the recorder
    cleanup -- called after each call; the default empties known caches and
               runs the garbage collector
    suppressions -- rules as of refmap.suppress.parse()
    progress -- called with the number of finished calls of the hunt
    name -- what the report calls it; by default the name of the callable
    Return a Diagnosis. Raise ValueError for bad numbers, or if something is
    recorded already; RuntimeError if the interpreter keeps no map. Exceptions
    of `callable` are passed on, and end the recording.

    What is leaked in these runs stays leaked. After an over-decref (verdict
    'error') objects have too few references: the process may crash when it
    destroys them, at exit at the latest. os._exit() does without.
    """
    hunting.require_map()
    hunting.check_counts(warmups, runs)
    findings = hunt(callable, measure.Recorder(warmups, runs), cleanup, suppressions,
                    progress, name)
    return investigate(callable, findings, cleanup)


def investigate(function, findings, cleanup=hunting.clean_up,
                seconds=search.SECONDS):
    """Find who leaked what a hunt found.

    function, cleanup -- what was hunted
    findings -- of that hunt: what leaked must still be there
    seconds -- of CPU time: no further batch is begun after so long
    Return a Diagnosis.
    """
    diagnosis = Diagnosis(findings)
    if watching.guilty(findings):
        task = search.References(function, cleanup, diagnosis, seconds)
    elif leaks_memory(findings):
        task = search.Blocks(function, cleanup, diagnosis, seconds)
    else:
        return diagnosis
    reason = batches.obstacle()
    if reason is None:
        task.run()
    else:
        diagnosis.notes.append(reason)
        task.run_without_recorder()
    task.finish()
    return diagnosis
