"""The reports of `python -m test -R`: one of each test file, and a list of them.

A test file has the dict of a hunt, with the diagnoses of its methods.
"""

from collections import namedtuple
from urllib.parse import quote

from ..report import plural
from . import diagnosis, hunt, page, parts, source
from .markup import Markup, code, element

# The worst comes first.
VERDICTS = ['error', 'leak', 'suspicious', 'clean']

# What the list says of a test file.
# name, verdict, references -- a run, a list
# file -- with its report, in the same directory; None: it has none
Entry = namedtuple('Entry', 'name verdict references file')


def sections_of(found, number, sources):
    """Return the sections of the diagnosis of a method, or of all together. The
    first of them is in the contents."""
    name = found['test']
    made = [diagnosis.suspects_section(found, f'who-{number}', sources,
                                       f'Who leaked in {name}'),
            diagnosis.owners_section(found, f'owners-{number}',
                                     f'Who holds it in {name}'),
            diagnosis.births_section(found, f'births-{number}',
                                     f'Births that stayed of {name}')]
    first, *rest = [*filter(None, made), None]
    return [first, *((ident, None, markup) for ident, _, markup
                     in filter(None, rest))]


def make(findings, sources=None):
    """Return the page.Report of a test file.

    findings -- as --refmap-json writes them
    sources -- a source.Sources; by default of files that are here
    """
    sources = sources or source.Sources()
    diagnoses = findings.get('who') or []
    # What is said of several methods is said once.
    said = list(dict.fromkeys(note for found in diagnoses
                              for note in found['notes']))
    if findings.get('who_note'):
        said.append(findings['who_note'])
    first = next((found for found in diagnoses if found['suspects']), None)
    made = [hunt.methods_section(findings)]
    for number, found in enumerate(diagnoses, 1):
        made += sections_of(found, number, sources)
    known = any(found['roots'] for found in diagnoses)
    made += [hunt.leaked_section(findings, open=False),
             None if known else hunt.holders_section(findings),
             hunt.growth_section(findings),
             hunt.notes_section(findings, map(diagnosis.unknown, said))]
    return page.Report('test file', findings['test'], findings['verdict'],
                       [diagnosis.lead(first) if first else hunt.lead(findings),
                        hunt.numbers(findings)],
                       [part for part in made if part])


def entry(findings, file):
    """Return the Entry of a test file."""
    return Entry(findings['test'], findings['verdict'],
                 hunt.leaked_series(findings), file)


def row(one):
    """Return the row about an Entry."""
    name = code(one.name)
    if one.file:
        name = element('a', name, href=Markup(quote(one.file)))
    return [name, one.verdict, hunt.joined(one.references)]


def index(entries):
    """Return the page.Report about all test files."""
    entries = sorted(entries, key=lambda one: (VERDICTS.index(one.verdict),
                                               one.name))
    counts = [f'{sum(one.verdict == verdict for one in entries)} {verdict}'
              for verdict in VERDICTS
              if any(one.verdict == verdict for one in entries)]
    table = parts.table('All test files that were hunted in, the worst first',
                        ['Test file', 'Verdict', '#Leaked references'],
                        [row(one) for one in entries], filter='test files',
                        limit=len(entries))
    return page.Report(
        'suite', 'python -m test -R',
        entries[0].verdict if entries else None,
        element('p', f'{plural(len(entries), "test file")}: '
                     f'{", ".join(counts) or "no findings"}.'),
        [('files', 'Test files', parts.section('files', 'Test files', table))])
