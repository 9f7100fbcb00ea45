"""A Diagnosis as text that fits a screen, and as a dict for JSON.

Cause first: the suspects with their evidence, the leaked objects that explain
the others, what these explain, and what could not be known. Works on any
Diagnosis, in any interpreter; names come from the program, so escape() keeps
them from making lines of their own.
"""

from .. import report as hunt_report
from .. import unhooked
from ..report import escape, plural
from . import births, rules, stacks, watching

# Steps of the evidence that are shown of the first suspect, which is all that
# evidence.py gives, and of the others.
STEPS_OF_FIRST = 14
STEPS_OF_OTHERS = 3
# Suspects that are shown, and the score that those after the first need for it.
# JSON has all of them.
MAX_SUSPECTS = 3
MIN_SCORE = 0.1
# Kinds of roots that are shown, the owners that lead to one, and types.
MAX_ROOTS = 4
MAX_CHAIN = 5
MAX_TYPES = 6


def place(file, line):
    """Return ', file:line' as far as it is known."""
    if not file:
        return ''
    file = stacks.short(file)
    return f', {file}:{line}' if line else f', {file}'


# --- suspects ----------------------------------------------------------------

def some(steps, limit):
    """Return at most so many steps, and how many are left out in between: how a
    reference was taken and how it was lost matter most."""
    if len(steps) <= limit:
        return list(steps)
    first = -(-limit // 3)
    last = len(steps) - (limit - first)
    return [*steps[:first], last - first, *steps[last:]]


def suspect_lines(rank, suspect, limit):
    """Return the lines about one suspect.

    limit -- of the steps of the evidence
    """
    yield (f'{rank}. {suspect.function}()'
           f'{place(suspect.file, suspect.line)}')
    yield f'   {suspect.rule}: {rules.rule_of(suspect).short}'
    yield (f'   {suspect.type or "memory"}, {suspect.kind}: '
           f'{rules.amount(suspect)}; score {suspect.score:.2f}')
    for step in some(suspect.evidence, limit):
        if isinstance(step, int):
            yield f'     - ... {plural(step, "more step")}'
        else:
            yield f'     - {step.text}{place(step.file, step.line)}'


def suspects_lines(diagnosis):
    """Return the lines about all suspects."""
    if diagnosis.suspects:
        yield 'who:'
    elif leaks(diagnosis):
        yield 'who: not known, the evidence does not suffice'
    hidden = 0
    for rank, suspect in enumerate(diagnosis.suspects, 1):
        if (rank > MAX_SUSPECTS
                or rank > 1 and suspect.score < MIN_SCORE):
            hidden += 1
            continue
        limit = STEPS_OF_FIRST if rank == 1 else STEPS_OF_OTHERS
        for line in suspect_lines(rank, suspect, limit):
            yield '  ' + line
    if hidden:
        yield f'  ... and {plural(hidden, "suspect")} less likely'


def leaks(diagnosis):
    """Is there something that somebody is to be found for?"""
    return (bool(watching.guilty(diagnosis.findings))
            or diagnosis.verdict == 'leak')


# --- objects -----------------------------------------------------------------

def alike(roots):
    """Group the roots that a report says the same of."""
    groups = {}
    for root in roots:
        key = (root.type, root.kind, root.place, root.chain,
               root.after - root.before,
               root.address if root.before else None)
        groups.setdefault(key, []).append(root)
    return list(groups.values())


def root_lines(roots):
    """Return the lines about roots that are alike."""
    root = roots[0]
    times = f' x{len(roots)}' if len(roots) > 1 else ''
    birth = f' (birth {root.birth})' if root.birth else ''
    kind = f', {root.kind}' if root.kind else ''
    yield (f'{root.type}{kind}: {root.address:#x}{birth}{times}: '
           f'{root.before} -> {root.after}')
    text = births.text_of(root.place)
    if text:
        yield f'    born in {text}'
    for line in root.chain[:MAX_CHAIN]:
        yield f'    {line}'
    if len(root.chain) > MAX_CHAIN:
        yield f'    ... and {plural(len(root.chain) - MAX_CHAIN, "more owner")}'


def objects_lines(diagnosis):
    """Return the lines about roots and what they explain."""
    groups = alike(diagnosis.roots)
    if groups:
        yield 'leaked objects that explain the others:'
    for roots in groups[:MAX_ROOTS]:
        for line in root_lines(roots):
            yield '  ' + line
    if len(groups) > MAX_ROOTS:
        yield f'  ... and {plural(len(groups) - MAX_ROOTS, "more kind")}'
    yield from consequence_lines(diagnosis)


def consequence_lines(diagnosis):
    """Return the lines about the leaked objects that are no roots."""
    counts = sorted(diagnosis.consequences.items(),
                    key=lambda item: (-item[1], item[0]))
    if counts:
        yield ('explained by them:' if diagnosis.roots
               else 'leaked, and nothing explains it:')
    for name, count in counts[:MAX_TYPES]:
        places = diagnosis.births.get(name, ())
        born = f', born in {places[0]["text"]}' if len(places) == 1 else ''
        yield f'  {name} {count}{born}'
    if len(counts) > MAX_TYPES:
        rest = sum(count for _, count in counts[MAX_TYPES:])
        yield f'  {plural(rest, "object")} of {len(counts) - MAX_TYPES} types'


def findings_lines(diagnosis):
    """Return one line for each type that leaked, where there is no suspect."""
    findings = watching.guilty(diagnosis.findings)
    for finding in findings[:MAX_TYPES]:
        yield '  ' + hunt_report.finding_line(finding)
    if len(findings) > MAX_TYPES:
        yield f'  ... and {plural(len(findings) - MAX_TYPES, "more type")}'


# --- all of it ---------------------------------------------------------------

def recording_line(diagnosis):
    """Return the line about the recording, or None."""
    if not diagnosis.recorded:
        return None
    recording = diagnosis.seconds['recording']
    unrecorded = diagnosis.seconds['unrecorded']
    times = (f', {recording / unrecorded:.1f} times as long as without it'
             if unrecorded else '')
    return (f'recorded {plural(diagnosis.recorded, "run")} in '
            f'{recording:.2f} s{times}; '
            f'analysis {diagnosis.seconds["analysis"]:.2f} s')


def title(diagnosis):
    """Return the first line."""
    findings = diagnosis.findings
    line = (f'refmap: {findings["test"]}: {diagnosis.verdict} '
            f'({plural(findings["runs"], "run")} after '
            f'{plural(findings["warmups"], "warm-up")})')
    return line if leaks(diagnosis) else line + ': no suspects'


def body(diagnosis):
    """Return lines() without the first."""
    text = list(suspects_lines(diagnosis))
    if leaks(diagnosis) and not diagnosis.suspects:
        text += findings_lines(diagnosis)
    text += objects_lines(diagnosis)
    text += [f'not known: {note}' for note in diagnosis.notes]
    blind = diagnosis.findings.get('unhooked')
    if blind and leaks(diagnosis):
        text.append(unhooked.sentence(blind))
    line = recording_line(diagnosis)
    if line:
        text.append(line)
    return [escape(line) for line in text]


def lines(diagnosis):
    """Return the report, as a list of lines."""
    return [escape(title(diagnosis)),
            *('  ' + line for line in body(diagnosis))]


# --- JSON --------------------------------------------------------------------

def suspect_as_dict(suspect):
    """Return a suspect as a dict for JSON."""
    names = ('function', 'file', 'line', 'kind', 'rule', 'type', 'references',
             'score')
    return {**{name: getattr(suspect, name) for name in names},
            'evidence': [{'text': step.text, 'file': step.file,
                          'line': step.line} for step in suspect.evidence]}


def root_as_dict(root):
    """Return a root as a dict for JSON."""
    found = root._asdict()
    del found['place']
    return {**found, 'chain': list(root.chain), **births.as_dict(root.place)}


def as_dict(diagnosis, findings=True):
    """Return a Diagnosis as a dict that json.dumps() takes.

    findings -- with those of the hunt
    """
    found = {
        'test': diagnosis.findings['test'],
        'verdict': diagnosis.verdict,
        'suspects': [suspect_as_dict(s) for s in diagnosis.suspects],
        'roots': [root_as_dict(root) for root in diagnosis.roots],
        'consequences': dict(diagnosis.consequences),
        'births': diagnosis.births,
        'notes': list(diagnosis.notes),
        'recorded': diagnosis.recorded,
        'seconds': dict(diagnosis.seconds),
    }
    if findings:
        found['findings'] = diagnosis.findings
    return found
