"""The report of a diagnosis: who leaked, what, and how that is known.

Works on the dict of a diagnosis, as Doc/who.md describes it, in any
interpreter. Causes come before their consequences.
"""

from collections import Counter, namedtuple

from ..report import plural
from ..who import rules
from . import flame, graph, hunt, page, parts, source
from .markup import code, element, number

# Roots and owners of one that are drawn.
MAX_ROOTS = 12

# What rules.py reads of a suspect, from JSON.
Suspect = namedtuple('Suspect', 'function file line kind rule type references '
                                'score evidence')
Step = namedtuple('Step', 'text file line')


def suspects_of(found):
    """Return the suspects of a diagnosis."""
    return [Suspect(**{**{name: suspect[name] for name in Suspect._fields},
                       'evidence': [Step(step['text'], step['file'],
                                         step['line'])
                                    for step in suspect['evidence']]})
            for suspect in found['suspects']]


# --- who ---------------------------------------------------------------------

def lead(found):
    """Return the sentences above the report: who is to blame."""
    suspects = suspects_of(found)
    if not suspects:
        text = ('Nothing leaked.' if found['verdict'] == 'clean' else
                'Who leaked is not known: the evidence does not suffice.')
        return element('p', text)
    first = suspects[0]
    where = parts.place(first.file, first.line)
    return [element('p', culprit(first, found['roots']), ' \u2013 ',
                    rules.rule_of(first).short),
            element('p', what(first), where and [' \u00b7 ', where],
                    class_='note')]


def culprit(suspect, roots):
    """Return who is to blame: a function, or what still holds the objects."""
    if suspect.rule == 'held':
        for root in roots:
            if root['type'] == suspect.type and root['chain']:
                labels = [label_and_name(line)[0] for line in root['chain'][1:]]
                return code(' '.join([root['chain'][0], *labels]))
    return code(f'{suspect.function}()', 80)


def what(suspect):
    """Return what a suspect lost, in words."""
    return [code(suspect.type or 'memory', 80),
            f' {suspect.kind}, {rules.amount(suspect)}']


def meter(score):
    """Return a score: a number, and a bar beside it."""
    width = 100 * min(max(score, 0), 1)
    bar = element('svg', element('rect', width=100, height=6, class_='track'),
                  element('rect', width=number(width), height=6),
                  width=100, height=6, class_='meter', aria_hidden='true')
    return element('span', bar, f' score {score:.2f}', class_='score')


def step_item(step, sources):
    """Return one step of the evidence, with its line of source."""
    line = sources.line(step.file, step.line) or ''
    where = parts.place(step.file, step.line)
    return [step.text, where and element('span', ' ', where, class_='place'),
            element('pre', code(line, source.MAX_LINE), class_='line')
            if any(map(str.isalnum, line)) else None]


def excerpt(suspect, sources):
    """Return the source around a suspect, or None."""
    numbers = [suspect.line, *(step.line for step in suspect.evidence
                               if step.file == suspect.file)]
    text = sources.excerpt(suspect.file, numbers)
    if text is None:
        return None
    return parts.fold(['Source: ', parts.place(suspect.file, suspect.line)],
                      text, open=True)


def suspect_part(rank, suspect, ident, sources):
    """Return what is known of one suspect."""
    rule = rules.rule_of(suspect)
    heading = f'{ident}-suspect-{rank}'
    steps = [step_item(step, sources) for step in suspect.evidence]
    body = [element('p', element('span', rule.id, class_='chip'), ' ',
                    rule.short, class_='rule'),
            element('p', what(suspect), ' ', meter(suspect.score)),
            excerpt(suspect, sources),
            element('h4', 'Evidence') if steps else None,
            parts.bullets(steps, 'ol', class_='steps') if steps else None,
            element('p', element('strong', 'To do: '), rule.help)
            if rule.help else None]
    title = element('h3', f'{rank}. ', code(f'{suspect.function}()', 120),
                    id=heading)
    if rank > 1:
        title, body = None, parts.fold(
            [title, ' ', element('span', f'{rule.id}, score '
                                         f'{suspect.score:.2f}',
                                 class_='note')], body)
    return element('article', title, body, class_='suspect',
                   aria_labelledby=heading)


def suspects_section(found, ident='who', sources=None, heading='Who leaked'):
    """Return the section about who leaked, or None."""
    sources = sources or source.Sources()
    suspects = suspects_of(found)
    if not suspects:
        return None
    return ident, heading, parts.section(
        ident, heading,
        [suspect_part(rank, suspect, ident, sources)
         for rank, suspect in enumerate(suspects, 1)])


# --- who holds it ------------------------------------------------------------

def alike(roots):
    """Group the roots whose drawing is the same but for addresses and keys."""
    groups = {}
    for root in roots:
        holders = tuple(root['chain'][:-1])
        key = root['type'], root['kind'], holders
        groups.setdefault(key, []).append(root)
    return list(groups.values())


def label_and_name(line):
    """Return how an object is held and what it is, of a line of a chain."""
    label, separator, name = line.rpartition(': ')
    return (label, name) if separator else ('', line)


def add_chain(drawn, roots, leaked):
    """Add what holds alike roots; nobody does in C or for the collector."""
    chain = roots[0]['chain']
    if not chain:
        lost = drawn.node(('kind', roots[0]['kind']), 'nobody',
                          'no owner is shown', roots[0]['kind'] or 'not known')
        drawn.edge(lost, leaked)
        return lost
    first = before = None
    for line in chain[:-1]:
        label, name = label_and_name(line)
        kind, title = (('holder', 'holds it') if before else
                       ('root', 'begins here'))
        key = drawn.node(('object', name), kind, title, name)
        if before:
            drawn.edge(before, key, label)
        first, before = first or key, key
    label, _ = label_and_name(chain[-1])
    if len(roots) > 1:
        label += f' and {len(roots) - 1} more'
    if before:
        drawn.edge(before, leaked, label)
    return first


def owners_graph(found):
    """Return the Graph from suspects over leaked objects to what these
    explain."""
    drawn = graph.Graph()
    leaked = []
    for i, roots in enumerate(alike(found['roots'])[:MAX_ROOTS]):
        root = roots[0]
        key = drawn.node(('root', i), 'leaked', f'leaked \u00d7{len(roots)}',
                         root['type'])
        leaked.append(key)
        top = add_chain(drawn, roots, key)
        add_suspect(drawn, top, root, suspects_of(found)[:1])
    add_consequences(drawn, leaked, found['consequences'])
    return drawn


def add_suspect(drawn, top, root, suspects):
    """Add the first suspect above a root that it explains."""
    for suspect in suspects:
        if (top and not root['chain'] and suspect.rule != 'held' and
                (suspect.type, suspect.kind) == (root['type'], root['kind'])):
            who = drawn.node(('who',), 'who', 'suspect 1',
                             f'{suspect.function}()')
            drawn.edge(who, top, suspect.rule)


def add_consequences(drawn, leaked, consequences):
    """Add what leaked only because the roots hold it, as one box."""
    counts = Counter(consequences).most_common()
    if not counts or not leaked:
        return
    names = ', '.join(f'{name} {count}' for name, count in counts)
    total = sum(count for _, count in counts)
    rest = drawn.node(('consequences',), 'more',
                      f'explained \u00d7{total}', names)
    for key in leaked:
        drawn.edge(key, rest)


def owners_section(found, ident='owners', heading='Who holds it'):
    """Return the section with the graph and the table of roots, or None."""
    drawn = owners_graph(found)
    if not found['roots']:
        return None
    return ident, heading, parts.section(
        ident, heading,
        graph.figure(drawn, f'{ident}-graph',
                     'From who lost or holds them to all leaked objects',
                     'An arrow goes from a cause to what it keeps alive.'),
        parts.fold('Leaked objects that explain the others',
                   parts.table('Leaked objects that explain the others',
                               ['Object', 'Kind', '#Count', 'Born in'],
                               root_rows(found), filter='objects')),
        parts.fold('Explained by them',
                   parts.table('Leaked, as those above hold them',
                               ['Type', '#Objects'],
                               [[code(name), f'{count:,}'] for name, count in
                                Counter(found['consequences']).most_common()]))
        if found['consequences'] else None)


def root_rows(found):
    """Return the rows about the roots."""
    return [[[code(root['type']), ' ', code(f'{root["address"]:#x}')],
             root['kind'] or 'not known',
             f'{root["before"]} \u2192 {root["after"]}',
             parts.where(parts.joined([code(place_text(site))
                                       for site in root['born']],
                                      ', called by '))]
            for root in found['roots']]


def place_text(site):
    """Return a function with its place."""
    where = f' ({site["file"]}:{site["line"]})' if site['line'] else ''
    return f'{site["function"]}(){where}'


# --- births ------------------------------------------------------------------

def birth_stacks(births):
    """Return the births as flame.build() takes them."""
    found = Counter()
    for name, places in births.items():
        for place in places:
            stack = []
            if place.get('python'):
                stack.append((place['python'], 'python'))
            stack += [(place_text(site), 'c')
                      for site in reversed(place.get('born', ()))]
            if not stack:
                stack = [(place['text'], 'c')]
            found[(*stack, (name, 'type'))] += place['count']
    return list(found.items())


def births_section(found, ident='births', heading='Births that stayed'):
    """Return the section with the flame graph, or None."""
    births = birth_stacks(found['births'])
    if not births:
        return None
    total = sum(count for _, count in births)
    return ident, heading, parts.section(
        ident, heading,
        flame.figure(births, f'{ident}-flame',
                     'Where the objects were born that stayed',
                     f'{plural(total, "object")} of '
                     f'{plural(found["recorded"], "recorded run")}, by the '
                     f'code that made them.'))


# --- all of it ---------------------------------------------------------------

def unknown(note):
    """Return what is said of something that could not be known."""
    return [element('strong', 'Not known: '), note]


def remarks(found):
    """Return what could not be known, and what was recorded."""
    said = [unknown(note) for note in found['notes']]
    if found['recorded']:
        seconds = found['seconds']
        said.append(f'Recorded {plural(found["recorded"], "run")} in '
                    f'{seconds["recording"]:.2f} s; the analysis took '
                    f'{seconds["analysis"]:.2f} s.')
    return said


def make(found, sources=None):
    """Return the page.Report of a diagnosis.

    sources -- a source.Sources; by default of files that are here
    """
    findings = found['findings']
    made = [suspects_section(found, sources=sources),
            owners_section(found) or hunt.holders_section(findings),
            hunt.leaked_section(findings, open=False), births_section(found),
            hunt.growth_section(findings),
            hunt.notes_section(findings, remarks(found))]
    return page.Report('diagnosis', found['test'], found['verdict'],
                       [lead(found), hunt.numbers(findings)],
                       [part for part in made if part])
