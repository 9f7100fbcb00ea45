"""Tell a leak from a cache: what the objects did during repeated runs.

Everything here works on literal records, in any interpreter.

The same code ran R times, with a snapshot before the first run and one after
each. Two neighbouring snapshots differ by records as of sys.refmap_diff():

    living  (address, type name, count before, count after)
    died    (address, type name, count before)

From these the history of each object that changed is put together: its count
at each of the R + 1 snapshots. What a run *retained* is the part of a change
that no later run took back. A cache that fills and empties retains nothing, a
leak that is hidden in [6, -6, 1, 6, -6, 1] retains [0, 0, 1, 0, 0, 1].

The patterns of what a type retained:

    every run   at least one reference in each run: a leak
    some runs   in two runs or more, the first of them with two runs to
                follow: suspicious
    shrinking   an object from before that lost references in each run:
                suspicious, as somebody gives back what is not theirs
    once        all else: caches that filled, and the state that the last run
                left behind

What the last run left behind can't be told from a leak by waiting for later
runs. So as many references of a type as lived for one run only before, from
the last run but one to the last, are expected to go again.

Tables of dicts are no objects: a dict that grows or is emptied replaces its
table. So of them only the sum over all is judged; a table that leaks with its
dict shows in it, and so does the dict.
"""

EVERY_RUN = 'every run'
SOME_RUNS = 'some runs'
SHRINKING = 'shrinking'
ONCE = 'once'

LEAK = 'leak'
SUSPICIOUS = 'suspicious'
CLEAN = 'clean'

# The type name that stands for references of no known object.
UNATTRIBUTED = '(unattributed)'
# The type name of the tables of dicts, which are no objects.
KEYS = 'dict keys'

# How many objects of one type a finding holds.
MAX_OBJECTS = 20


class History:
    """One object and its reference count at each snapshot.

    address, type -- as in the records
    born   -- the number of the run that created it, from 1; 0: it is older
    counts -- R + 1 integers; 0 before its birth and after its death
    """

    __slots__ = ('address', 'type', 'born', 'counts')

    def __init__(self, address, type, born, counts):
        self.address = address
        self.type = type
        self.born = born
        self.counts = counts

    def __repr__(self):
        return (f'<History {self.address:#x} {self.type} born={self.born} '
                f'{self.counts}>')

    def is_alive(self):
        """Is the object alive at the last snapshot?"""
        return self.counts[-1] != 0

    def retained(self):
        """Return, per run, the references that no later run took back."""
        return steps(lower_envelope(self.counts))

    def passing(self):
        """Return the references of a life from the last run but one to the
        last: 0 for all other objects."""
        run = len(self.counts) - 2
        if self.born == run and not self.is_alive():
            return self.counts[run]
        return 0

    def is_shrinking(self):
        """Did an old object that is alive lose references in every run?"""
        if self.born or not self.is_alive():
            return False
        upper = lower_envelope([-count for count in self.counts])
        return all(step >= 1 for step in steps(upper))


def lower_envelope(counts):
    """Return the least of each count and those that follow it."""
    envelope = list(counts)
    for i in reversed(range(len(envelope) - 1)):
        envelope[i] = min(envelope[i], envelope[i + 1])
    return envelope


def steps(values):
    """Return the differences of neighbours."""
    return [b - a for a, b in zip(values, values[1:])]


def histories(runs):
    """Put the histories of all objects that changed together.

    runs -- [(living, died)], the records of each run in order
    Return a list of History, those of dead objects included.
    """
    result = []
    current = {}                # address -> History of who lives there
    for number, (living, died) in enumerate(runs, 1):
        for address, type_name, before in died:
            history = current.pop(address, None)
            if history is None:
                history = History(address, type_name, 0, [before] * number)
                result.append(history)
            history.counts.extend([before] * (number - len(history.counts)))
            history.counts.append(0)
            history.counts.extend([0] * (len(runs) - number))
        for address, type_name, before, after in living:
            if before == 0:
                history = History(address, type_name, number, [0] * number)
            else:
                history = current.get(address)
                if history is None:
                    history = History(address, type_name, 0, [before] * number)
            if current.get(address) is not history:
                current[address] = history
                result.append(history)
            history.counts.extend([before] * (number - len(history.counts)))
            history.counts.append(after)
    for history in current.values():
        last = history.counts[-1]
        history.counts.extend([last] * (len(runs) + 1 - len(history.counts)))
    return result


def classify(retained):
    """Return the pattern of what the runs retained; None for nothing."""
    hits = [run for run, count in enumerate(retained, 1) if count >= 1]
    if not hits:
        return None
    if len(hits) == len(retained):
        return EVERY_RUN
    if len(hits) >= 2 and hits[0] <= len(retained) - 2:
        return SOME_RUNS
    return ONCE


def add(total, series):
    """Add the numbers of `series` to those of `total`, in place."""
    for i, value in enumerate(series):
        total[i] += value


def object_record(history):
    """Return what a finding says about one object, as a dict for JSON."""
    return {'address': history.address, 'born': history.born,
            'counts': history.counts}


def choose_objects(found, limit):
    """Return the histories to be shown, the most telling ones first.

    Old objects whose count grew in each run; then new ones. When there are too
    many, those of the last run but one: neither caches of the first run nor
    what the last one still held.
    """
    middle = max(1, len(found[0].counts) - 2)
    crowded = len(found) > limit

    def key(history):
        old = history.born == 0
        steady = classify(history.retained()) == EVERY_RUN
        off = abs(history.born - middle) if crowded and not old else 0
        return (not (old and steady), old, off, history.born, history.address)

    return sorted(found, key=key)[:limit]


def by_type(found):
    """Return {type name: [History]}."""
    types = {}
    for history in found:
        types.setdefault(history.type, []).append(history)
    return types


def retained_by(group, nruns):
    """Return what the objects of one type retained, and how many were born.

    Two lists with a number per run; what the last run is expected to give back
    is taken off.
    """
    refs, born = [0] * nruns, [0] * nruns
    if group[0].type == KEYS:
        return retained_in_sum(group), born
    for history in group:
        add(refs, history.retained())
        if history.born and history.is_alive():
            born[history.born - 1] += 1
    passing = [history.passing() for history in group]
    refs[-1] = max(0, refs[-1] - sum(passing))
    born[-1] = max(0, born[-1] - sum(map(bool, passing)))
    return refs, born


def retained_in_sum(group):
    """Return what the sum over all histories retained, per run."""
    levels = [sum(counts) for counts in zip(*(h.counts for h in group))]
    return steps(lower_envelope(levels))


def finding(type_name, pattern, refs, born, found, limit):
    """Return what is to be said about one type, as a dict for JSON."""
    chosen = choose_objects(found, limit)
    return {'type': type_name, 'pattern': pattern, 'refs': refs, 'born': born,
            'objects': [object_record(history) for history in chosen],
            'more': len(found) - len(chosen)}


def find_in_type(type_name, group, nruns, limit):
    """Judge the histories of one type; return its findings."""
    findings = []
    refs, born = retained_by(group, nruns)
    pattern = classify(refs)
    if pattern in (EVERY_RUN, SOME_RUNS):
        keeping = [h for h in group if h.is_alive() and any(h.retained())]
        if any(history.passing() for history in group):
            # Some of those from the last run will go: not telling which.
            keeping = [h for h in keeping if h.born < nruns]
        findings.append(finding(type_name, pattern, refs, born, keeping, limit))
    shrinking = [h for h in group if h.is_shrinking()]
    if shrinking and type_name != KEYS:
        refs = [0] * nruns
        for history in shrinking:
            add(refs, steps(history.counts))
        findings.append(finding(type_name, SHRINKING, refs, [0] * nruns,
                                shrinking, limit))
    return findings


def find_types(found, nruns, limit):
    """Judge the histories type by type.

    Return the findings, and {type name: references} of all other changes.
    """
    findings, once = [], {}
    for type_name, group in by_type(found).items():
        in_type = find_in_type(type_name, group, nruns, limit)
        findings.extend(in_type)
        change = sum(h.counts[-1] - h.counts[0] for h in group)
        change -= sum(sum(f['refs']) for f in in_type)
        if change:
            once[type_name] = change
    return findings, once


def find_unattributed(changes):
    """Judge the references of no known object; return a list of findings."""
    levels = [0]
    for change in changes:
        levels.append(levels[-1] + change)
    refs = steps(lower_envelope(levels))
    pattern = classify(refs)
    if pattern in (None, ONCE):
        return []
    return [{'type': UNATTRIBUTED, 'pattern': pattern, 'refs': refs,
             'born': [0] * len(refs), 'objects': [], 'more': 0}]


PATTERN_ORDER = [EVERY_RUN, SOME_RUNS, SHRINKING]


def sort_findings(findings):
    """Sort in place, the most telling ones first.

    By pattern; then types with objects that no container holds, if that is
    known, as these hold the others; new objects; most references.
    """
    findings.sort(key=lambda f: (PATTERN_ORDER.index(f['pattern']),
                                 not any(r.get('unheld') for r in f['objects']),
                                 f['type'] == KEYS, not any(f['born']),
                                 -sum(f['refs']), f['type']))


def verdict_of(findings, freed=()):
    """Return LEAK, SUSPICIOUS or CLEAN. Suppressed findings do not count."""
    patterns = {f['pattern'] for f in findings if not f.get('suppressed')}
    if EVERY_RUN in patterns:
        return LEAK
    return SUSPICIOUS if patterns or freed else CLEAN


def judge(found, nruns, unattributed=(), freed=(), lost=0, limit=MAX_OBJECTS):
    """Judge what the objects did in `nruns` runs.

    found -- a list of History; see histories()
    unattributed -- change of the references of no known object, per run
    freed -- [(address, type name, count)] of memory freed while counted
    lost -- pages that could not be compared
    limit -- how many objects of a type a finding holds
    Return a dict that json.dumps() takes; Doc/hunting.md describes it.
    """
    findings, once = find_types(found, nruns, limit)
    findings.extend(find_unattributed(unattributed))
    sort_findings(findings)
    total = [0] * nruns
    for history in found:
        add(total, steps(history.counts))
    add(total, unattributed)
    return {
        'verdict': verdict_of(findings, freed),
        'runs': nruns,
        'total': total,
        'types': findings,
        'once': dict(sorted(once.items(),
                            key=lambda item: (-abs(item[1]), item[0]))),
        'freed': [list(record) for record in freed],
        'lost': lost,
    }
