"""Tell a leak from a cache: what the objects did during repeated runs.

Everything here works on the histories of literal records, in any interpreter.

What a run *retained* is the part of a change that no later run took back. A
cache that fills and empties retains nothing, a leak that is hidden in
[6, -6, 1, 6, -6, 1] retains [0, 0, 1, 0, 0, 1].

The patterns of what a type retained:

    every run   at least one reference in each run: a leak
    some runs   in two runs or more, the first of them with two runs to
                follow: suspicious
    once        all else: caches that filled, and the state that the last run
                left behind

and of single objects from before the first run that are still alive:

    over-decref  it lost references again and again and never got one: an
                 error, as somebody gives back what is not theirs
    shrinking    the same, but what it lost may have been the references of
                 older objects that died, or there were too few runs to tell:
                 suspicious

A count that no object can have is an error of its own, 'impossible count': it
is shown, and no sum contains it.

What the last run left behind can't be told from a leak by waiting for later
runs. So as many references of a type as lived for one run only before, from
the last run but one to the last, are expected to go again.

Tables of dicts are no objects: a dict that grows or is emptied replaces its
table. So of them only the sum over all is judged; a table that leaks with its
dict shows in it, and so does the dict.
"""

import heapq

from .history import lower_envelope, steps

EVERY_RUN = 'every run'
SOME_RUNS = 'some runs'
OVER_DECREF = 'over-decref'
SHRINKING = 'shrinking'
IMPOSSIBLE = 'impossible count'
ONCE = 'once'

ERROR = 'error'
LEAK = 'leak'
SUSPICIOUS = 'suspicious'
CLEAN = 'clean'

# The patterns that make an error, and those that a hunt fails for.
ERRORS = (OVER_DECREF, IMPOSSIBLE)
FAILING = (*ERRORS, EVERY_RUN)

# The type name that stands for references of no known object.
UNATTRIBUTED = '(unattributed)'
# The type name of the tables of dicts, which are no objects.
KEYS = 'dict keys'
# Types whose objects hold no references that they could give back in dying.
_ATOMS = frozenset(['str', 'bytes', 'bytearray', 'int', 'float', 'complex',
                    KEYS])

# How many objects of one type a finding holds.
MAX_OBJECTS = 20

# An object that loses references in fewer runs than this may be one that
# caches held. Neither does it count when less than a quarter of the runs did.
MIN_LOSSES = 3
MIN_PART_OF_RUNS = 4


# --- patterns ----------------------------------------------------------------

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


def goes_on(losses, nruns):
    """Does who lost references in these runs lose them again and again?

    The end must not be quieter than the longest pause before it: a cache that
    is emptied step by step ends some time.
    """
    if len(losses) < max(MIN_LOSSES, nruns / MIN_PART_OF_RUNS):
        return False
    return nruns - losses[-1] < max(steps(losses))


def classify_losses(losses, nruns, deaths):
    """Return the pattern of losses in the runs `losses`; None for nothing.

    deaths -- per run, how many older objects died that may have held some
    """
    if goes_on(losses, nruns):
        explained = all(deaths[run - 1] for run in losses)
        return SHRINKING if explained else OVER_DECREF
    if nruns < MIN_LOSSES and len(losses) == nruns:
        return SHRINKING
    return None


def deaths_of(found, nruns):
    """Return, per run, how many older objects died that may have held
    references."""
    deaths = [0] * nruns
    for history in found:
        if history.born or history.is_alive() or history.type in _ATOMS:
            continue
        runs = [run for run, step in enumerate(history.steps()) if step]
        if runs:
            deaths[runs[-1]] += history.number
    return deaths


# --- findings ----------------------------------------------------------------

def add(total, series, times=1):
    """Add the numbers of `series`, so many times, to those of `total`."""
    for i, value in enumerate(series):
        total[i] += value * times


def object_record(history, address):
    """Return what a finding says about one object, as a dict for JSON."""
    return {'address': address, 'born': history.born,
            'counts': history.counts(address)}


def choose_objects(found, limit):
    """Return the objects to be shown, as dicts, the most telling ones first.

    Older objects whose count grew in each run; then new ones. When there are
    too many, those of the last run but one: neither caches of the first run nor
    what the last one still held.
    """
    middle = max(1, len(found[0].levels) - 2)
    crowded = sum(history.number for history in found) > limit

    def rank(history):
        old = history.born == 0
        steady = classify(history.retained()) == EVERY_RUN
        off = abs(history.born - middle) if crowded and not old else 0
        return (not (old and steady), old, off, history.born)

    chosen = [(rank(history), address, history) for history in found
              for address in heapq.nsmallest(limit, history.addresses)]
    chosen.sort(key=lambda item: item[:2])
    return [object_record(history, address)
            for _, address, history in chosen[:limit]]


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
        return retained_in_sum(group, nruns), born
    references = lives = 0
    for history in group:
        add(refs, history.retained(), history.number)
        if history.born and history.is_alive():
            born[history.born - 1] += history.number
        if history.passing():
            references += history.passing() * history.number
            lives += history.number
    refs[-1] = max(0, refs[-1] - references)
    born[-1] = max(0, born[-1] - lives)
    return refs, born


def retained_in_sum(group, nruns):
    """Return what the sum over all histories retained, per run."""
    levels = [0] * (nruns + 1)
    for history in group:
        add(levels, history.levels, history.number)
    return steps(lower_envelope(levels))


def finding(pattern, refs, born, found, limit):
    """Return what is to be said about one type, as a dict for JSON."""
    chosen = choose_objects(found, limit)
    return {'type': found[0].type, 'pattern': pattern, 'refs': refs,
            'born': born, 'objects': chosen,
            'more': sum(history.number for history in found) - len(chosen)}


def find_retained(group, nruns, limit):
    """Return the finding about what one type retained, in a list, or []."""
    refs, born = retained_by(group, nruns)
    pattern = classify(refs)
    if pattern not in (EVERY_RUN, SOME_RUNS):
        return []
    keeping = [h for h in group if h.is_alive() and any(h.retained())]
    if any(history.passing() for history in group):
        # Some of those from the last run will go: not telling which.
        keeping = [h for h in keeping if h.born < nruns]
    if not keeping:             # tables of dicts: only their sum grew
        keeping = [h for h in group if h.is_alive()] or group
    return [finding(pattern, refs, born, keeping, limit)]


def find_losing(group, nruns, deaths, limit):
    """Return the findings about older objects that lost references."""
    losing = {OVER_DECREF: [], SHRINKING: []}
    for history in group if group[0].type != KEYS else ():
        pattern = classify_losses(history.losses(), nruns, deaths)
        if pattern:
            losing[pattern].append(history)
    findings = []
    for pattern, found in losing.items():
        refs = [0] * nruns
        for history in found:
            add(refs, history.steps(), history.number)
        if found:
            findings.append(finding(pattern, refs, [0] * nruns, found, limit))
    return findings


def find_unsound(found, nruns, limit):
    """Return the findings about counts that no object can have."""
    return [finding(IMPOSSIBLE, [0] * nruns, [0] * nruns, group, limit)
            for group in by_type(found).values()]


def find_types(found, nruns, limit):
    """Judge the histories type by type.

    Return the findings, and {type name: references} of all other changes.
    """
    findings, once = [], {}
    deaths = deaths_of(found, nruns)
    for type_name, group in by_type(found).items():
        in_type = (find_retained(group, nruns, limit)
                   + find_losing(group, nruns, deaths, limit))
        findings.extend(in_type)
        change = sum((h.levels[-1] - h.levels[0]) * h.number for h in group)
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


PATTERN_ORDER = [OVER_DECREF, IMPOSSIBLE, EVERY_RUN, SOME_RUNS, SHRINKING]


def sort_findings(findings):
    """Sort in place, the most telling ones first.

    By pattern; then types with objects that no container holds, if that is
    known, as these hold the others; new objects; most references.
    """
    findings.sort(key=lambda f: (PATTERN_ORDER.index(f['pattern']),
                                 not any(r.get('unheld') for r in f['objects']),
                                 f['type'] == KEYS, not any(f['born']),
                                 -sum(f['refs']), f['type']))


def settle(findings):
    """Make what is no over-decref after all suspicious only, in place.

    To be called when details.describe() has looked at the objects. Where
    containers hold exactly the references that are counted, one of them let the
    others go: a pool of equal items, say.
    """
    for found in findings:
        if (found['pattern'] == OVER_DECREF and not found['more']
                and all(record.get('holders') == record['counts'][-1]
                        for record in found['objects'])):
            found['pattern'] = SHRINKING
    sort_findings(findings)


def verdict_of(findings, freed=()):
    """Return ERROR, LEAK, SUSPICIOUS or CLEAN. Suppressed findings do not
    count."""
    patterns = {f['pattern'] for f in findings if not f.get('suppressed')}
    if patterns.intersection(ERRORS):
        return ERROR
    if EVERY_RUN in patterns:
        return LEAK
    return SUSPICIOUS if patterns or freed else CLEAN


def judge(found, nruns, unattributed=(), freed=(), lost=0, limit=MAX_OBJECTS):
    """Judge what the objects did in `nruns` runs.

    found -- a list of history.History
    unattributed -- change of the references of no known object, per run
    freed -- [(address, type name, count)] of memory freed while counted
    lost -- pages that could not be compared
    limit -- how many objects of a type a finding holds
    Return a dict that json.dumps() takes; Doc/hunting.md describes it.
    """
    sound = [history for history in found if history.is_sound()]
    unsound = [history for history in found if not history.is_sound()]
    findings, once = find_types(sound, nruns, limit)
    findings.extend(find_unsound(unsound, nruns, limit))
    findings.extend(find_unattributed(unattributed))
    sort_findings(findings)
    total = [0] * nruns
    for history in sound:
        add(total, history.steps(), history.number)
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
