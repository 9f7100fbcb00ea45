"""The search for who leaked what a hunt found.

The code is run again, under the recorder, watching what leaked. All judgement
is elsewhere, in functions on records; here is their order, and what may fail.
"""

import sys
import time
from collections import Counter, namedtuple

from .. import judge, unhooked
from . import batch as batches
from . import (births, blocks, contracts, owners, recording, suspects, symbols,
               thinning, watching)

# How many runs are recorded, and of a leak that does not show in each run.
RUNS = 3
RUNS_OF_SOME = 8
# A recorded run may take so many times as long as another one.
SLOWDOWN = 10
# A run that makes more objects than this is recorded by the numbers of those
# that leaked, not by their types.
MANY_BIRTHS = 30_000
# How often it is recorded once more, with more types.
MAX_MORE = 2
# No further batch is begun after so many seconds of CPU time.
SECONDS = 10.0
# So many times as long if memory was not searched, as it will be in the next.
PATIENCE = 3
# Objects whose owners are looked for, and roots that a diagnosis has.
MAX_RECONCILED = 10_000
MAX_ROOTS = 50

DYING = ('an object lost so many references that further runs might free it '
         'while it is used: they were not recorded')

# A leaked object that no other leaked object explains.
#   before, after -- reference counts; born: 0 before
#   kind -- as of owners.KINDS, None if not known
#   birth -- serial of its birth, 0 if not known
#   place -- births.Place: where it was born
#   chain -- lines of text: from a root of the interpreter to it, if a visible
#            owner holds it
Root = namedtuple('Root', 'address type before after kind birth place chain')


class Task:
    """What the search for references and that for blocks have in common."""

    def __init__(self, function, cleanup, diagnosis, seconds):
        self.function = function
        self.cleanup = cleanup
        self.diagnosis = diagnosis
        self.findings = diagnosis.findings
        self.seconds = seconds
        self.start = time.monotonic(), time.process_time()
        self.modules = self.symbols = None
        # Binaries that count behind the recorder's back, as text.
        self.blind = unhooked.names(self.findings.get('unhooked', ()))

    def is_late(self, patience=1):
        """Is there no time for another batch? What a diagnosis says must not
        depend on what else the machine does: so it is CPU time."""
        return time.process_time() - self.start[1] > self.seconds * patience

    def runs(self):
        """Return how many runs to record."""
        patterns = {finding['pattern']
                    for finding in watching.guilty(self.findings)}
        wanted = RUNS_OF_SOME if patterns == {judge.SOME_RUNS} else RUNS
        run = self.findings.get('cpu', 0.0)
        affordable = self.seconds / (run * SLOWDOWN) if run else wanted
        return max(1, min(wanted, int(affordable)))

    def record(self, watch):
        """Record a batch; return (Batch, Recording)."""
        if self.symbols is None:
            self.use(symbols.mapped_modules())
        transparent = self.symbols.ranges(symbols.TRANSPARENT)
        batch = batches.run(self.function, self.runs(), self.cleanup, watch,
                            transparent, actual=bool(self.blind))
        if not watch.blocks:
            batch.data = thinning.thin(
                batch.data, batch.births.values(), watch.addresses)
        found = recording.decode(batch.data)
        self.use(found.modules)
        seconds = self.diagnosis.seconds
        seconds['recording'] += batch.seconds
        seconds['unrecorded'] += batch.unrecorded * batch.runs
        self.diagnosis.recorded = batch.runs
        return batch, found

    def use(self, modules):
        """Look up names in these modules. What was looked up is kept."""
        if modules != self.modules:
            self.modules = modules
            self.symbols = symbols.Symbols(modules)

    def finish(self):
        """The search is over."""
        seconds = self.diagnosis.seconds
        seconds['analysis'] = (time.monotonic() - self.start[0]
                               - seconds['recording'])
        for key, value in seconds.items():
            seconds[key] = round(value, 3)


class Blocks(Task):
    """The search for who allocated memory that stays."""

    def run(self):
        batch, found = self.record(batches.Watch(blocks=True))
        if found.lost.records:
            # What was freed is not known, so neither is what stayed.
            self.diagnosis.notes.append(
                'more memory was allocated than could be recorded: who '
                'allocated what stayed is not known')
        else:
            blocks.keep_leaked(found, batch.marks)
            _, analysis = analyse(found, [], self.symbols, batch.runs)
            self.diagnosis.suspects = list(analysis.suspects)
            self.diagnosis.notes += analysis.notes

    def run_without_recorder(self):
        """There is nothing to be said without a stack."""


class References(Task):
    """The search for who lost references, or gave back too many.

    tried -- what was watched in the batches until now
    calls -- how often the function was called for it
    """

    def __init__(self, *args):
        super().__init__(*args)
        self.tried = []
        self.calls = 0

    def run(self):
        watch = self.first_watch()
        trials = []
        while watch is not None and self.can_run_again(watch):
            trials.append(Trial(self, watch))
            self.tried.append(watch)
            if len(self.tried) > MAX_MORE or self.is_late(
                    PATIENCE if trials[-1].is_incomplete() else 1):
                break
            watch = self.next_watch(trials[-1])
        if not trials:
            self.run_without_recorder()
            return
        # The one in which most was seen to leak tells of the objects, the one
        # with the best evidence of the suspects.
        max(trials, key=lambda trial: len(trial.leaked)).tell(self.diagnosis)
        best_of(trials).accuse(self.diagnosis)

    def can_run_again(self, watch):
        """Will all objects outlive another batch?"""
        self.calls += self.runs() + 1 + bool(watch.births)
        if watching.survive(watching.guilty(self.findings), self.calls):
            return True
        self.diagnosis.notes.append(DYING)
        return False

    def first_watch(self):
        """Return what to watch first."""
        watch = watching.first(self.findings, self.instances())
        births = max(self.findings.get('births', ()), default=0)
        if (watch.types and births > MANY_BIRTHS
                and self.can_run_again(watch)):
            batch = batches.run(self.function, self.runs(), self.cleanup,
                                watch, dry=True, actual=bool(self.blind))
            numbers = watching.numbers(batch)
            if numbers:
                return watch._replace(types=(), births=numbers)
        return watch

    def next_watch(self, trial):
        """Return what to watch after a Trial, or None."""
        numbered = any(watch.births for watch in self.tried)
        if numbered and not trial.batch.births:
            # Births are not the same from run to run.
            if len(self.tried) == 1:
                return watching.first(self.findings, self.instances())
            return None
        if not numbered and trial.is_incomplete():
            numbers = watching.numbers(trial.batch, watching.healthy_births(
                trial.recording, trial.batch))
            if numbers:
                return trial.watch._replace(types=(), births=numbers)
        return watching.wider(trial.watch, trial.analysis)

    def run_without_recorder(self):
        """Say what owners tell of the objects that the hunt found."""
        self.symbols = symbols.Symbols()
        leaked = [
            suspects.Leaked(record['address'], finding['type'],
                            record['counts'][0], record['counts'][-1],
                            record.get('birth', 0))
            for finding in watching.guilty(self.findings)
            for record in finding['objects'] if 'repr' in record]
        nothing = recording.Recording()
        ownership, analysis = analyse(nothing, leaked, self.symbols,
                                      self.findings['runs'])
        tell(self.diagnosis, analysis, leaked, ownership, {}, nothing,
             self.symbols)
        self.diagnosis.suspects = list(analysis.suspects)
        self.diagnosis.notes += analysis.notes

    def instances(self):
        """Return {address of a class: how many of its instances leaked}."""
        found = Counter()
        for finding in watching.guilty(self.findings):
            classes = set()
            for record in finding['objects']:
                if record['born'] and 'repr' in record:
                    classes.add(class_of(record['address']))
            for address in classes - {None}:
                found[address] += sum(finding['born'])
        return found


def class_of(address):
    """Return the address of the class of the object at an address, or None."""
    try:
        return id(type(sys._refmap_object(address)))
    except LookupError:
        return None


class Trial:
    """One batch that was recorded, and what it says."""

    def __init__(self, task, watch):
        self.task = task
        self.watch = watch
        self.batch, self.recording = task.record(watch)
        self.born = births.last_births(self.recording)
        self.leaked = watching.leaked(self.batch, watch)
        # What was not followed of other objects does not matter.
        self.recording.lost = self.recording.lost._replace(
            tokens=watching.not_followed(self.recording, self.leaked))
        self.ownership, self.analysis = analyse(
            self.recording, self.leaked, task.symbols, self.batch.runs,
            task.blind)

    def is_incomplete(self):
        """Was there too much to be recorded, or looked for, at a time?"""
        lost = self.recording.lost
        return bool(lost.records or lost.tokens or watching.not_searched(
            self.recording, self.leaked))

    def score(self):
        """Return how direct the evidence against the first suspect is."""
        found = self.analysis.suspects
        return found[0].score if found else 0.0

    def kind(self):
        """Return the kind of the leak that the first suspect is guilty of, or
        None."""
        found = self.analysis.suspects
        return found[0].kind if found else None

    def tell(self, diagnosis):
        """Store in a Diagnosis what this trial says of the leaked objects."""
        tell(diagnosis, self.analysis, self.leaked, self.ownership, self.born,
             self.recording, self.task.symbols)

    def accuse(self, diagnosis):
        """Store in a Diagnosis whom this trial suspects."""
        diagnosis.suspects = list(self.analysis.suspects)
        diagnosis.notes += self.analysis.notes
        diagnosis.recorded = self.batch.runs
        if not self.batch.returns:
            diagnosis.notes.append('what functions return could not be watched')
        if self.watch.births:
            self.extrapolate(diagnosis)

    def extrapolate(self, diagnosis):
        """Of the objects that leaked only some were recorded: let the suspects
        have lost as many references as the hunt saw leak."""
        seen = watching.born_a_run(self.leaked, self.batch.runs)
        for suspect in diagnosis.suspects:
            expected = watching.expected_a_run(self.task.findings, suspect.type)
            if 0 < seen.get(suspect.type, 0) < expected:
                suspect.references *= expected / seen[suspect.type]


def best_of(trials):
    """Return the Trial with the best evidence against the first suspect.

    Where memory was not searched, functions seem to have forgotten what they
    stored. So where all was searched less of a score is better, as long as the
    same kind of leak is seen.
    """
    best = max(reversed(trials), key=Trial.score)
    searched = [trial for trial in trials if trial.kind() == best.kind()
                and not trial.is_incomplete()]
    return max(reversed(searched or [best]), key=Trial.score)


# --- what it comes to --------------------------------------------------------

def analyse(found, leaked, symbols_, runs, blind=''):
    """Return ({address: Ownership}, Analysis) of the leaked objects.

    blind -- as of suspects.analyse()
    """
    asked = leaked[:MAX_RECONCILED]
    gained = {item.address: item.after - item.before
              for item in asked if item.before}
    ownership = owners.reconcile([item.address for item in asked], symbols_,
                                 gained)
    symbols_.resolve({*found.pcs(), *(start + 1 for start in found.functions())})
    return ownership, suspects.analyse(found, leaked, ownership, symbols_,
                                       contracts.load(), runs, blind)


def tell(diagnosis, analysis, leaked, ownership, born, found, symbols_):
    """Store an Analysis in a Diagnosis.

    leaked, ownership -- what was analysed
    born -- {address: Birth record}
    found, symbols_ -- the Recording, and names for it
    """
    roots = {item.address for item in analysis.roots}
    found_roots = [
        root_of(item, ownership.get(item.address), born.get(item.address),
                found, symbols_) for item in analysis.roots]
    # What a visible owner holds may hang on something that was lost.
    explains = {address: own.explains for address, own in ownership.items()}
    found_roots.sort(key=lambda root: (root.kind == owners.HELD,
                                       -explains.get(root.address, 0)))
    diagnosis.roots = found_roots[:MAX_ROOTS]
    diagnosis.consequences = dict(Counter(
        item.type for item in leaked if item.address not in roots))
    diagnosis.births = births.summary(
        births.places(leaked, born, found, symbols_))
    births.tell(watching.guilty(diagnosis.findings), diagnosis.births)


def root_of(item, ownership, birth, found, symbols_):
    """Return the Root for a Leaked object.

    ownership -- its Ownership or None; birth: the record of its birth or None
    """
    kind, chain = None, ()
    if ownership is not None:
        kind, chain = owners.kind_of(ownership), tuple(ownership.chain)
    place = births.Place((), None)
    if birth is not None and not item.before:
        place = births.place_of(birth, found, symbols_)
    return Root(item.address, item.type, item.before, item.after, kind,
                item.birth, place, chain)
