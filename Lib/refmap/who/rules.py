"""What the rules of suspects mean, and what the formats for machines share.

The identifiers are stable: known findings and dashboards rely on them.
"""

from collections import namedtuple

from ..report import escape

# level: of the most probable suspect, in the words of SARIF.
Rule = namedtuple('Rule', 'id short full help level')

RULES = {rule.id: rule for rule in (
    Rule('missing-decref',
         'A reference is taken and never released.',
         'The function got or took a reference to an object, and returned '
         'without releasing it, storing it or handing it on.',
         'Go from where the reference was taken to each way out of the '
         'function, error paths first: one of them lacks a Py_DECREF().',
         'error'),
    Rule('overwritten-field',
         'A field is overwritten without releasing what it held.',
         'The reference was stored in a field or item that got another value '
         'while the reference was still owned.',
         'Assign with Py_XSETREF(), or release the old value first. Functions '
         'that can run twice on one object, such as __init__(), are typical.',
         'error'),
    Rule('container-not-released',
         'A container is freed without releasing what it holds.',
         'The object or block of memory that held the reference was freed, '
         'and the reference was not released before.',
         'Release the field in tp_dealloc, and in tp_clear if it can be part '
         'of a cycle.',
         'error'),
    Rule('missing-visit',
         'A traverse function leaves out a reference.',
         'The type takes part in garbage collection, but its tp_traverse does '
         'not report a field that owns a reference: a cycle through this '
         'field is never collected.',
         'Add Py_VISIT() for the field. Objects of heap types own their type, '
         'too: Py_VISIT(Py_TYPE(self)).',
         'error'),
    Rule('no-gc',
         'A type whose objects can be in a cycle is not collected.',
         'Objects of the type own references to others, but the type lacks '
         'Py_TPFLAGS_HAVE_GC: a cycle through them is never collected.',
         'Give the type Py_TPFLAGS_HAVE_GC, tp_traverse and tp_clear, or do '
         'not store what can refer back.',
         'error'),
    Rule('untracked',
         'An object in a cycle is not tracked by the collector.',
         'The type takes part in garbage collection, but this object was not '
         'tracked: a cycle through it is never collected.',
         'Call PyObject_GC_Track() once the object is complete, also where it '
         'is made in an unusual way.',
         'error'),
    Rule('held',
         'A living object keeps what was made in each run.',
         'Every reference is accounted for: a cache, a list or a variable of '
         'a module still holds the objects.',
         'Nothing is lost if that is meant and has a bound. Otherwise remove '
         'the objects from what holds them.',
         'warning'),
    Rule('over-decref',
         'A reference is released that was not owned.',
         'The count of an object falls with each run, although it lives: what '
         'is released here belongs to somebody else.',
         'Look for a borrowed reference that is released, and for an argument '
         'that was stolen and is released once more.',
         'error'),
    Rule('raw-memory',
         'Memory is allocated and never freed.',
         'A block of PyMem_Malloc(), PyObject_Malloc() or their kin that is '
         'no object stays after each run.',
         'Free it on each way out of the function, or where its owner dies.',
         'error'),
)}

# What was diagnosed: a callable, a script or a test.
# name -- of it
# suspects -- objects like suspects.Suspect, the most probable first
# leaks -- does it leak? None: if there are suspects
# file, line -- where it is defined, if known
# notes -- sentences, what could not be told and why
# seconds -- that it took, or None
Case = namedtuple('Case', 'name suspects leaks file line notes seconds',
                  defaults=(None, '', 0, (), None))


def rule_of(suspect):
    """Return the Rule of a suspect; one that is new is still a rule."""
    rule = suspect.rule
    return RULES.get(rule) or Rule(rule, f'{rule}.', f'{rule}.', '', 'error')


def level(suspect, position):
    """Return 'error', 'warning' or 'note'.

    position -- of the suspect, from 0: those after the first are hints
    """
    return rule_of(suspect).level if position == 0 else 'note'


def leaks(case):
    """Does it leak, as far as is known?"""
    return bool(case.suspects) if case.leaks is None else case.leaks


def has_source(place):
    """Are file and line of a suspect or step known?"""
    return bool(place.file) and place.file != '??' and place.line > 0


def amount(suspect):
    """Return what a suspect lost in a run, in words."""
    count = abs(suspect.references)
    noun = 'block' if suspect.rule == 'raw-memory' else 'reference'
    plural = '' if count == 1 else 's'
    return f'{count:.4g} {noun}{plural} a run'


def message(suspect, name=''):
    """Return one line that says who is suspected of what.

    name -- of what was diagnosed
    """
    where = f' in {name}' if name else ''
    what = suspect.type or 'memory'
    return escape(f'{suspect.function}(): {rule_of(suspect).short[:-1]} '
                  f'({what}, {amount(suspect)}{where}; {suspect.kind}; '
                  f'score {suspect.score:.2f})')


def nobody(case):
    """Return the line for a case that leaks without a suspect."""
    return f'{escape(case.name)} leaks; who is not known.'


def steps(suspect):
    """Return the evidence as numbered lines."""
    lines = []
    for number, step in enumerate(suspect.evidence, 1):
        place = f' [{step.file}:{step.line}]' if has_source(step) else ''
        lines.append(escape(f'{number}. {step.text}{place}'))
    return lines
