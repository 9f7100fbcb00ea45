"""The report of a hunt: what leaked, who holds it, when.

Works on the dict of a hunt, as Doc/hunting.md describes it, in any interpreter.
"""

import re
from itertools import accumulate

from .. import judge, report, unhooked
from ..report import plural
from . import chart, graph, page, parts
from .markup import Markup, code, element, shorten

# What a pattern is called in a table, where there is no room for a sentence.
PATTERNS = {
    judge.OVER_DECREF: 'over-decref', judge.IMPOSSIBLE: 'impossible count',
    judge.EVERY_RUN: 'every run', judge.SOME_RUNS: 'some runs (suspicious)',
    judge.SHRINKING: 'shrinking (suspicious)',
}
# Types whose objects are shown one by one, kinds of these objects, and lines of
# a raw report.
MAX_DETAILED = 40
MAX_KINDS = 8
MAX_RAW = 2000

# As details.name_holders() writes it: an address if the holder leaked, too.
_HOLDER = re.compile(r'(?:(0x[0-9a-f]+) )?(.*?)(?: x(\d+))?', re.DOTALL)
_REST = re.compile(r'\d+ more')


def runs_text(findings):
    """Return how it was measured."""
    return (f'{plural(findings["runs"], "run")} after '
            f'{plural(findings["warmups"], "warm-up")}')


def leaked_series(findings):
    """Return the references that leaked in each run."""
    leaked = [0] * len(findings['total'])
    for finding in findings['types']:
        if finding['pattern'] in (judge.EVERY_RUN, judge.SOME_RUNS):
            judge.add(leaked, finding['refs'])
    return leaked


def told(findings):
    """Return the findings that no rule suppresses."""
    return [f for f in findings['types'] if not f.get('suppressed')]


# --- first of all ------------------------------------------------------------

def lead(findings):
    """Return the sentences above the report."""
    guilty = told(findings)
    if not guilty:
        freed = findings['freed']
        return element('p', f'Memory was freed while it was counted, '
                            f'{plural(len(freed), "time")}.' if freed else
                       'No object came to stay.')
    first, *rest = guilty
    also = f'; {plural(len(rest), "more type")} below' if rest else ''
    return [element('p', code(first['type'], 80),
                    f': {report.amount(first["refs"])} '
                    f'({PATTERNS.get(first["pattern"], first["pattern"])})'
                    f'{also}.'),
            element('p', cause(first), class_='note')]


def cause(finding):
    """Return what is known of why the objects of a type are still there."""
    unheld = sum(record.get('unheld', 0) for record in finding['objects'])
    if finding['pattern'] in judge.ERRORS:
        return 'References are given back that were never taken.'
    if unheld:
        return (f'No container holds {plural(unheld, "reference")} to these '
                f'objects: they may be lost in C. python -m refmap diagnose '
                f'searches for who lost them.')
    return 'What holds these objects is drawn below.'


def numbers(findings):
    """Return what was counted, in a line."""
    sums = findings.get('sums') or {}
    return parts.facts([
        ('Runs', runs_text(findings)),
        ('Leaked references', joined(leaked_series(findings))),
        ('All changes', joined(findings['total'])),
        *((f'Sum of {name}', joined(deltas))
          for name, deltas in sums.items()
          if any(deltas) or name == 'references')])


def joined(series):
    """Return numbers of runs as text, '4 a run' if they are alike."""
    if not any(series):
        return '0'
    return report.amount(series)


# --- what leaked -------------------------------------------------------------

def leaked_section(findings, ident='leaked', open=True):
    """Return the section with a table of the types and their objects, or None.

    open -- unfold the objects of the first type
    """
    types = findings['types']
    rows = [[code(f['type']), pattern_of(f), report.amount(f['refs']),
             report.amount(f['born']) if any(f['born']) else '\u2013',
             f'{len(f["objects"]) + f["more"]:,}'] for f in types]
    if not rows:
        return None
    table = parts.table('Types whose references came to stay',
                        ['Type', 'Pattern', '#References', '#New objects',
                         '#Objects'], rows, filter='types')
    shown_types = told(findings)[:MAX_DETAILED]
    return ident, 'What leaked', parts.section(
        ident, 'What leaked', table,
        [objects_of(finding, open and not i)
         for i, finding in enumerate(shown_types)],
        freed_list(findings))


def pattern_of(finding):
    if finding.get('suppressed'):
        return f'suppressed: {finding["suppressed"]}'
    return PATTERNS.get(finding['pattern'], finding['pattern'])


def objects_of(finding, open):
    """Return the objects of a type, and where they were born, or None."""
    groups = report.alike(finding['objects'])
    items = [object_item(records) for records in groups[:MAX_KINDS]]
    rest = finding['more'] + sum(map(len, groups[MAX_KINDS:]))
    items += [parts.more(rest, 'object')] if rest else []
    items += [[plural(site['count'], 'object'), ' born in ', code(site['text'])]
              for site in finding.get('births', ())]
    if not items:
        return None
    return parts.fold(['Objects of ', code(finding['type'], 80)],
                      parts.bullets(items, class_='objects'), open=open)


def object_item(records):
    """Return what is said of objects that differ by address and birth only."""
    first, *rest = report.object_lines(records)
    notes = [element('li', line.strip()) for line in rest]
    return [code(first), element('ul', notes) if notes else None]


def freed_list(findings):
    """Return the memory that was freed while counted, or None."""
    if not findings['freed']:
        return None
    items = [report.freed_line(*record) for record in findings['freed']]
    return [element('h3', 'Freed while counted'), parts.bullets(items)]


# --- who holds it ------------------------------------------------------------

def holders_graph(findings):
    """Return the Graph of the leaked types and of what holds them."""
    drawn = graph.Graph()
    owner = {}                  # address of a leaked object -> its finding
    for finding in told(findings):
        for record in finding['objects']:
            owner.setdefault(record['address'], finding)
    for finding in told(findings):
        unheld = sum(r.get('unheld', 0) for r in finding['objects'])
        if unheld:
            lost = drawn.node(('nobody',), 'nobody', 'no container',
                              'lost in C?')
            drawn.edge(lost, type_node(drawn, finding),
                       plural(unheld, 'reference'))
    for finding in told(findings):
        for record in finding['objects']:
            for text in record.get('held_by', ()):
                add_holder(drawn, finding, text, owner)
    return drawn


def type_node(drawn, finding):
    count = len(finding['objects']) + finding['more']
    return drawn.node(('type', finding['type']), 'leaked',
                      f'leaked \u00d7{count}', finding['type'])


def add_holder(drawn, finding, text, owner):
    """Add one line of 'held_by' to a graph.

    owner -- {address: finding} of the leaked objects
    """
    if _REST.fullmatch(text):
        return
    address, name, _ = _HOLDER.fullmatch(text).groups()
    holder = owner.get(int(address, 16)) if address else None
    if holder is not None:
        source = type_node(drawn, holder)
    else:
        kind = 'leaked' if address else 'holder'
        title = 'leaked, too' if address else 'not leaked'
        source = drawn.node(('object', name), kind, title, shorten(name, 60))
    drawn.edge(source, type_node(drawn, finding))


def holders_section(findings, ident='holders'):
    """Return the section with the graph, or None if nobody is known."""
    drawn = holders_graph(findings)
    if not drawn:
        return None
    return ident, 'Who holds it', parts.section(
        ident, 'Who holds it',
        graph.figure(drawn, f'{ident}-graph', 'Who holds the leaked objects',
                     'An arrow goes from what holds to what is held, by type.'))


# --- over time ---------------------------------------------------------------

def growth_section(findings, ident='growth'):
    """Return the section with references over runs, or None."""
    series = [chart.Series(f['type'], list(accumulate(f['refs'], initial=0)))
              for f in told(findings) if any(f['refs'])]
    series.sort(key=lambda one: -abs(one.values[-1]))
    if not series:
        return None
    xs = list(range(len(findings['total']) + 1))
    labels = ['start', *(f'run {run}' for run in xs[1:])]
    return ident, 'Over time', parts.section(
        ident, 'Over time',
        chart.figure(series, xs, labels, f'{ident}-chart',
                     'References by type after each run',
                     'References that each run left behind, added up.'))


# --- the rest ----------------------------------------------------------------

def methods_section(findings):
    """Return the section about test methods that leak on their own."""
    methods = findings.get('methods')
    if methods is None:
        return None
    rows = [[code(method['name']),
             parts.joined([[code(f['type'], 80), f' {report.amount(f["refs"])}']
                           for f in method['types']], '; ')]
            for method in methods]
    note = findings.get('methods_note')
    return 'methods', 'Test methods', parts.section(
        'methods', 'Test methods',
        parts.table('Test methods that leak on their own',
                    ['Method', 'References'], rows, filter='methods') if rows
        else element('p', 'None leaks on its own.'),
        note and element('p', note, class_='note'))


def remarks(findings):
    """Return what else there is to say, a list of what content() takes."""
    said = []
    if findings.get('died'):
        said.append(f'The process died {findings["died"]}. This is what the runs '
                    f'before tell.')
    if findings.get('unhooked'):
        text = unhooked.sentence(findings['unhooked'])
        said.append(f'{text[0].upper()}{text[1:]}.')
    if findings['runs'] < 3:
        said.append('Less than three runs: what the last run still held looks '
                    'like a leak.')
    if findings['lost']:
        said.append(f'Not exact: memory was short for the comparison of '
                    f'{plural(findings["lost"], "page")}.')
    return said


def once_table(findings):
    """Return the table of what changed once, folded, or None."""
    once = findings['once']
    if not once:
        return None
    rows = [[code(name), f'{count:+,}'] for name, count in once.items()]
    return parts.fold(
        f'Changed once: {plural(len(once), "type")}, '
        f'{sum(once.values()):+,} references',
        parts.table('Caches that filled, and the state of the last run',
                    ['Type', '#References'], rows, filter='types'))


def raw_text(findings):
    """Return the raw report of the last run, folded, or None."""
    lines = findings.get('raw')
    if not lines:
        return None
    text = [[line, Markup('\n')] for line in lines[:MAX_RAW]]
    return parts.fold('The last run, all of it',
                      parts.scrolled('The last run', element('pre', text)),
                      parts.more(len(lines) - MAX_RAW, 'line'))


def notes_section(findings, said=()):
    """Return the last section, or None."""
    said = [*said, *remarks(findings)]
    body = [parts.bullets(said) if said else None, once_table(findings),
            raw_text(findings)]
    if not any(body):
        return None
    return 'notes', 'Notes', parts.section('notes', 'Notes', body)


def make(findings):
    """Return the page.Report of a hunt."""
    found = [leaked_section(findings), holders_section(findings),
             growth_section(findings), methods_section(findings),
             notes_section(findings)]
    return page.Report('hunt', findings['test'], findings['verdict'],
                       [lead(findings), numbers(findings)],
                       [part for part in found if part])
