"""The report of an event log: what is still alive, who made it, and when.

Works on the dict of refmap.log.report.to_json(), in any interpreter. The stacks
of births, and the living objects over time, are not in it: document() gets them
from the log.
"""

import os
from bisect import bisect_left
from collections import Counter
from itertools import accumulate

from ..report import plural
from ..who import stacks
from . import chart, flame, page, parts
from .markup import code, element, shown

# Points of a line over time, and types that have one: those that grew most.
POINTS = 60
MAX_TYPES = 12
MAX_MESSAGES = 50


def seconds(value):
    return f'{value:.6f}'


# --- places ------------------------------------------------------------------

def python_text(place):
    """Return the Python function of a place as text; '' if there is none."""
    return place_text(place['file'], place['line'], place['function'])


def place_cell(place):
    """Return what a table says of a place."""
    python, c = python_text(place), place['c_function']
    if not python and not c:
        return 'not known'
    return parts.where(
        code(python) if python else None, ' ' if python and c else None,
        element('span', 'in ' if python else None, code(c), class_='place')
        if c else None)


# --- over time ---------------------------------------------------------------

def timeline(changes, until, names):
    """Return (clocks, {type name: growth}): how many more objects of a type
    live at each clock than when the logs began.

    changes -- (clock, type name, 1 for a birth or -1 for a death), in the order
               of the clocks
    until -- the last clock
    names -- of the types that are wanted
    """
    clocks = [until * i / POINTS for i in range(POINTS + 1)]
    steps = {name: [0] * len(clocks) for name in names}
    for clock, name, change in changes:
        if name in steps:
            # At the first of the clocks that is not before it.
            steps[name][min(bisect_left(clocks, clock), POINTS)] += change
    return clocks, {name: list(accumulate(line))
                    for name, line in steps.items()}


def growth_section(lines):
    """Return the section with the chart, or None; lines -- of timeline()."""
    clocks, levels = lines
    series = [chart.Series(name, values) for name, values in levels.items()]
    if not series or not clocks[-1]:
        return None
    return 'growth', 'Over time', parts.section(
        'growth', 'Over time',
        chart.figure(series, clocks, [f'{clock:.3g} s' for clock in clocks],
                     'growth-chart', 'Births less deaths by type',
                     'Births less deaths since the log began, of the types '
                     'that grew most.'))


# --- what is alive -----------------------------------------------------------

def lead(found):
    """Return the sentences above the report."""
    alive = found['alive']
    count = sum(row['count'] for row in alive)
    facts = parts.facts([
        ('Log files', f'{len(found["logs"]):,}'),
        ('Until', f'{seconds(found["until"])} s'),
        ('New', f'{sum(row["new"] for row in found["types"]):,}'),
        ('Deleted', f'{sum(row["deleted"] for row in found["types"]):,}'),
        ('Alive at the end', f'{count:,}')])
    if not alive:
        return [element('p', 'Nothing that was made is alive at the end.'),
                facts]
    first = alive[0]
    return [element('p', f'{plural(count, "object")} made and alive at the '
                         f'end. Most of one kind: {first["count"]:,} ',
                    code(first['type'], 80), '.'),
            element('p', 'Made in ', place_cell(first), class_='note'), facts]


def alive_section(found):
    """Return the section about what is alive, or None."""
    rows = [[code(row['type']), place_cell(row), f'{row["count"]:,}',
             f'{row["bytes"]:,}', seconds(row['first']), seconds(row['last'])]
            for row in found['alive']]
    if not rows:
        return None
    size = 'Bytes' if found['bytes'] == 'size' else 'Bytes by tp_basicsize'
    return 'alive', 'Alive at the end', parts.section(
        'alive', 'Alive at the end',
        parts.table('Objects that are alive, by type and place of birth',
                    ['Type', 'Made in', '#Objects', f'#{size}', '#First, s',
                     '#Last, s'], rows, filter='objects'))


def births_of(found):
    """Return the births of what is alive as flame.build() takes them, without
    the callers, which the dict does not have."""
    births = Counter()
    for row in found['alive']:
        stack = [(python_text(row), 'python'), (row['c_function'], 'c'),
                 (row['type'], 'type')]
        births[tuple(frame for frame in stack if frame[0])] += row['count']
    return list(births.items())


def births_section(births):
    """Return the section with the flame graph, or None."""
    if not births:
        return None
    return 'births', 'Births that stayed', parts.section(
        'births', 'Births that stayed',
        flame.figure(births, 'births-flame',
                     'Where the objects were born that are alive',
                     'Objects that are alive at the end, by the code that made '
                     'them.'))


# --- what came and went ------------------------------------------------------

def types_section(found):
    """Return the section with all types, or None."""
    rows = [[code(row['type']), f'{row["new"]:,}', f'{row["deleted"]:,}',
             f'{row["new"] - row["deleted"]:+,}'] for row in found['types']]
    if not rows:
        return None
    return 'types', 'Types', parts.section(
        'types', 'Types',
        parts.table('Births and deaths by type',
                    ['Type', '#New', '#Deleted', '#Difference'], rows,
                    filter='types'))


def died_section(found):
    """Return the section about what was made and deleted, or None."""
    rows = [[code(row['type']), place_cell(row['born']),
             place_cell(row['died']), f'{row["count"]:,}',
             seconds(row['mean']), seconds(row['longest'])]
            for row in found['died']]
    if not rows:
        return None
    return 'died', 'Made and deleted', parts.section(
        'died', 'Made and deleted', parts.fold(
            f'{plural(len(rows), "kind")} of objects, and how long they lived',
            parts.table('Objects that were made and deleted',
                        ['Type', 'Made in', 'Deleted in', '#Objects',
                         '#Mean life, s', '#Longest, s'], rows,
                        filter='objects')))


def references_section(found):
    """Return the section about references of what is alive, or None."""
    rows = [[code(row['type']), place_cell(row), f'{row["objects"]:,}',
             f'{row["taken"]:,}', f'{row["returned"]:,}',
             f'{row["taken"] - row["returned"]:+,}']
            for row in found['references']]
    if not rows:
        return None
    return 'references', 'References', parts.section(
        'references', 'References',
        parts.table('References to living objects: where they were taken and '
                    'given back', ['Type', 'Place', '#Objects', '#Taken',
                                   '#Given back', '#Difference'], rows,
                    filter='places'))


def resident_section(found):
    """Return the section about resident memory, or None."""
    rows = [[place_cell(row), f'{row["bytes"]:+,}']
            for row in found['resident']]
    if not rows:
        return None
    return 'resident', 'Resident memory', parts.section(
        'resident', 'Resident memory',
        parts.table('Change of resident memory up to the events of a place',
                    ['Place', '#Bytes'], rows, filter='places'))


# --- notes -------------------------------------------------------------------

def findings_of(found):
    """Return sentences about what does not add up."""
    said = []
    if found['n_reused']:
        said.append(f'Births at addresses whose object was not seen to die: '
                    f'{found["n_reused"]}.')
    unseen = sum(row['count'] for row in found['unseen'])
    if unseen:
        said.append(f'{plural(unseen, "object")} died that were made before, '
                    f'or unseen.')
    said += [[code(row['type']), ': ', plural(row['count'], 'change'),
              ' of counts that no event tells of.']
             for row in found['unexplained']]
    said += [[code(row['born']), ' became ', code(row['died']),
              f' before it died, {plural(row["count"], "time")}.']
             for row in found['reclassed']]
    return said


def notes_section(found):
    """Return the last section, or None."""
    said = findings_of(found)
    if found['error']:
        said.insert(0, [element('strong', 'Not all could be read: '),
                        found['error']])
    said += [[element('strong', 'Not known: '), note]
             for note in found['notes']]
    messages = [f'{seconds(one["clock"])} s: {shown(one["text"])}'
                for one in found['messages'][:MAX_MESSAGES]]
    rest = parts.more(len(found['messages']) - MAX_MESSAGES, 'message')
    if not said and not messages:
        return None
    return 'notes', 'Notes', parts.section(
        'notes', 'Notes', parts.bullets(said) if said else None,
        [element('h3', 'Messages of the program'),
         parts.bullets([*messages, rest] if rest else messages)]
        if messages else None)


# --- all of it ---------------------------------------------------------------

def title(logs):
    """Return what the report is called."""
    names = [os.path.basename(log['path']) for log in logs[:3]]
    more = [f'{len(logs) - 3} more'] if len(logs) > 3 else []
    return ', '.join([*names, *more])


def make(found, births=None, lines=None):
    """Return the page.Report of a log.

    births -- as flame.build() takes them; None: of what `found` says
    lines -- as timeline() returns them, or None
    """
    made = [alive_section(found),
            births_section(births_of(found) if births is None else births),
            lines and growth_section(lines), references_section(found),
            types_section(found), died_section(found), resident_section(found),
            notes_section(found)]
    return page.Report('event log', title(found['logs']), None, lead(found),
                       [part for part in made if part])


def document(analysis, logs):
    """Return the HTML of a report, a str; the logs are read once more.

    analysis -- a refmap.log.analysis.Analysis, of the Logs
    """
    from ..log import report
    grown = [name for name, new, deleted in analysis.types() if new > deleted]
    lines = timeline(changes(logs), analysis.until, grown[:MAX_TYPES])
    found = report.to_json(analysis)        # looks up all places at once
    return page.document(make(found, stacks_of(analysis), lines))


def write(analysis, logs, out):
    """Write the Analysis of some Logs to a binary file."""
    out.write(document(analysis, logs).encode())


def stacks_of(analysis):
    """Return the births of what is alive as flame.build() takes them."""
    births = Counter()
    for one in analysis.alive:
        python = [(place_text(*where), 'python') for where in one.place.stack()]
        c = [(place_text(site.file, site.line, f'{site.function}()'), 'c')
             for site in analysis.c_functions.stack(one.place)]
        births[(*reversed(python), *reversed(c),
                (one.type.name, 'type'))] += one.count
    return list(births.items())


def place_text(file, line, function):
    """Return a function with its place, as far as it is known."""
    return f'{function} ({stacks.short(file)}:{line})' if line else function


def changes(logs):
    """Yield what timeline() takes, of some refmap.log.events.Logs."""
    from ..log import events, kinds
    signs = {kinds.NEW: 1, kinds.DEL: -1}
    try:
        for event, _ in events.merged(logs):
            sign = signs.get(event.kind)
            if sign:
                yield event.clock, event.type.name, sign
    except kinds.LogError:
        return              # as it was for the analysis, which says so
