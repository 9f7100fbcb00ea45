"""An Analysis as text, and for JSON.

Groups that say the same to a reader, though a log tells them apart, are one
row.
"""

from ..report import escape, plural
from ..who import stacks
from . import lives
from .c_functions import text_of

# Rows of addresses that were reused, and the like.
MAX_FINDINGS = 5


class Places:
    """Places as dicts: file, line, function, and c_function, a text."""

    def __init__(self, analysis):
        self._c_functions = analysis.c_functions
        self._known = {}
        analysis.c_functions.resolve(_all_places(analysis))

    def __call__(self, place):
        """Return the dict of a place; the same one for places that say the
        same."""
        if place not in self._known:
            file, line, function = place.where
            c_function = text_of(self._c_functions.function(place))
            self._known[place] = {'file': stacks.short(file), 'line': line,
                                  'function': function,
                                  'c_function': c_function}
        return self._known[place]


def _all_places(analysis):
    findings = analysis.findings
    yield from (one.place for one in [*analysis.alive, *analysis.kept])
    yield from analysis.resident
    for keys in (findings.born, findings.died, findings.deaths,
                 findings.unseen, findings.reclassed):
        for key in keys:
            yield from (one for one in key if hasattr(one, 'returns'))
    for birth, event in findings.reused:
        yield from (birth.place, event.place)


def _grouped(rows, merge):
    """Return the rows that differ in their names, in their order.

    rows -- yields (names, row); names may be dicts
    merge -- adds a row to another one, in place
    """
    found = {}
    for names, row in rows:
        key = tuple(tuple(name.items()) if isinstance(name, dict) else name
                    for name in names)
        if key in found:
            merge(found[key], row)
        else:
            found[key] = row
    return list(found.values())


def _add_counts(row, other):
    row['count'] += other['count']


def _alive(analysis, places):
    def rows():
        for one in analysis.alive:
            place = places(one.place)
            yield (one.type.name, place), {
                'type': one.type.name, **place, 'count': one.count,
                'bytes': one.bytes, 'first': one.first, 'last': one.last}

    def merge(row, other):
        row['count'] += other['count']
        row['bytes'] += other['bytes']
        row['first'] = min(row['first'], other['first'])
        row['last'] = max(row['last'], other['last'])

    return sorted(_grouped(rows(), merge), key=lambda row: -row['count'])


def _died(analysis, places):
    def rows():
        for (type, born, died), span in analysis.findings.died.items():
            names = type.name, places(born), places(died)
            total = lives.Span()
            total.merge(span)
            yield names, {'type': names[0], 'born': names[1],
                          'died': names[2], 'span': total}

    found = _grouped(rows(), lambda row, other: row['span'].merge(
        other['span']))
    for row in found:
        span = row.pop('span')
        row.update(count=span.count, shortest=span.shortest,
                   mean=span.total / span.count, longest=span.longest)
    return sorted(found, key=lambda row: -row['count'])


def _longest(analysis, places):
    return [{'type': birth.type.name, 'address': birth.address,
             'birth': birth.birth, 'clock': birth.clock, 'seconds': seconds,
             'born': places(birth.place), 'died': places(death.place)}
            for seconds, birth, death in analysis.findings.longest()]


def _counted(counts, places, names):
    """Rows of the counts in a dict.

    names -- of the parts of its keys, the last of which is a place
    """
    def rows():
        for key, count in counts.items():
            place = places(key[-1])
            types = [type.name for type in key[:-1]]
            yield (*types, place), {**dict(zip(names, types)), **place,
                                    'count': count}

    return sorted(_grouped(rows(), _add_counts), key=lambda row: -row['count'])


def _kept(analysis, places):
    def rows():
        for one in analysis.kept:
            place = places(one.place)
            yield (one.type.name, place), {
                'type': one.type.name, **place, 'objects': {*one.objects},
                'taken': one.taken, 'returned': one.returned}

    def merge(row, other):
        row['objects'] |= other['objects']
        row['taken'] += other['taken']
        row['returned'] += other['returned']

    found = [row for row in _grouped(rows(), merge)
             if row['taken'] != row['returned']]
    for row in found:
        row['objects'] = len(row['objects'])
    return sorted(found, key=lambda row: row['returned'] - row['taken'])


def _reused(analysis, places):
    return [{'address': birth.address, 'type': birth.type.name,
             'clock': birth.clock, **places(birth.place),
             'next': {'type': event.type.name, 'clock': event.clock,
                      **places(event.place)}}
            for birth, event in analysis.findings.reused]


def _resident(analysis, places):
    rows = ((tuple(place.items()), {**place, 'count': change})
            for place, change in ((places(place), change) for place, change
                                  in analysis.resident.items()))
    found = _grouped(rows, _add_counts)
    for row in found:
        row['bytes'] = row.pop('count')
    return sorted(found, key=lambda row: -row['bytes'])


def to_json(analysis):
    """Return all of an Analysis as a dict for JSON.

    Clocks and lengths of lives are in seconds.
    """
    places = Places(analysis)
    findings = analysis.findings
    return {
        'logs': [{'path': log.path, 'pid': log.pid, 'header': log.header,
                  'kind': log.kind, 'ended': log.ended,
                  'cut_off': log.cut_off} for log in analysis.logs],
        'until': analysis.until,
        'bytes': 'size' if analysis.has_sizes else 'tp_basicsize',
        'alive': _alive(analysis, places),
        'died': _died(analysis, places),
        'longest': _longest(analysis, places),
        'types': [{'type': name, 'new': new, 'deleted': deleted}
                  for name, new, deleted in analysis.types()],
        'unseen': _counted(findings.unseen, places, ['type']),
        'reclassed': _counted(findings.reclassed, places, ['born', 'died']),
        'reused': _reused(analysis, places),
        'n_reused': findings.n_reused - findings.missed,
        'moved': findings.moved,
        'references': _kept(analysis, places),
        'unexplained': [{'type': type.name, 'count': count} for type, count
                        in findings.unexplained.items()],
        'resident': _resident(analysis, places),
        'messages': [{'clock': message.clock, 'text': message.text,
                      'log': message.log.path}
                     for message in analysis.messages],
        'notes': [*analysis.notes, *analysis.c_functions.notes],
        'error': analysis.error,
    }


# --- text --------------------------------------------------------------------

def _where(place):
    """A place in words."""
    if not place['file'] and not place['c_function']:
        return 'a place that is not known'
    text = ''
    if place['file']:
        text = f'{place["function"]} ({place["file"]}:{place["line"]})'
    if place['c_function']:
        text += f'{", " if text else ""}{place["c_function"]}'
    return text


def _limited(lines, limit):
    yield from lines[:limit]
    if len(lines) > limit:
        yield f'  ... {len(lines) - limit} more'


def _section(title, lines, limit):
    """Yield a title and lines, if there are any."""
    if lines:
        yield ''
        yield title
        yield from _limited(lines, limit)


def _seconds(number):
    """A clock."""
    return f'{number:z.6f} s'


def _length(seconds):
    """How long something took, to three digits."""
    for unit in 's', 'ms', 'us':
        if seconds >= 1:
            break
        seconds *= 1000
    else:
        unit = 'ns'
    return f'{seconds:.3g} {unit}'


def _alive_lines(rows):
    return [f'  {row["count"]:>8} {row["type"]}: {_where(row)}'
            for row in rows]


def _died_lines(rows):
    return [f'  {row["count"]:>8} {row["type"]}: made in '
            f'{_where(row["born"])}; deleted in {_where(row["died"])}; lived '
            f'{_length(row["shortest"])} to {_length(row["longest"])}, '
            f'{_length(row["mean"])} on average' for row in rows]


def _longest_lines(rows):
    return [f'  {_length(row["seconds"])}: {row["type"]} '
            f'{row["address"]:#x} (birth {row["birth"]}), made at '
            f'{_seconds(row["clock"])} in {_where(row["born"])}; deleted in '
            f'{_where(row["died"])}' for row in rows]


def _type_lines(rows):
    lines = [f'  {row["new"]:>8} {row["deleted"]:>8} '
             f'{row["new"] - row["deleted"]:>+9} {row["type"]}'
             for row in rows]
    return lines and [f'  {"new":>8} {"deleted":>8} {"new-del":>9}', *lines]


def _reused_lines(rows):
    return [f'  {row["address"]:#x}: {row["type"]}, at '
            f'{_seconds(row["clock"])} in {_where(row)}; then '
            f'{row["next"]["type"]}, at {_seconds(row["next"]["clock"])} in '
            f'{_where(row["next"])}' for row in rows]


def _kept_lines(rows):
    return [f'  {row["taken"] - row["returned"]:>+8} {row["type"]}: '
            f'{row["taken"]} taken, {row["returned"]} given back, of '
            f'{plural(row["objects"], "object")}: {_where(row)}'
            for row in rows]


def lines(found, limit=20):
    """Yield the lines of a report.

    found -- as to_json() returns it
    limit -- rows of each table
    """
    yield from map(escape, _raw_lines(found, limit))


def _raw_lines(found, limit):
    for log in found['logs']:
        yield f'{log["path"]}: {log["kind"]} of process {log["pid"] or "?"}'
    alive = sum(row['count'] for row in found['alive'])
    size = sum(row['bytes'] for row in found['alive'])
    yield (f'{plural(alive, "object")} made and alive at the end, '
           f'{plural(size, "byte")} by {found["bytes"]}, after '
           f'{_seconds(found["until"])}')
    few = min(limit, MAX_FINDINGS)
    for section in (
            ('alive at the end, and where made:', _alive_lines(found['alive']),
             limit),
            ('types:', _type_lines(found['types']), limit + 1),
            ('made and deleted:', _died_lines(found['died']), limit),
            ('lived longest:', _longest_lines(found['longest']), few),
            ('references that were not given back, of living objects:',
             _kept_lines(found['references']), limit),
            (f'addresses reused without a death ({found["n_reused"]}, a '
             f'finding):', _reused_lines(found['reused']), few),
            ('deleted, but made before or unseen:',
             _alive_lines(found['unseen']), limit),
            ('class changed between birth and death:',
             [f'  {row["count"]:>8} {row["born"]} -> {row["died"]}: deleted '
              f'in {_where(row)}' for row in found['reclassed']], limit),
            ('counts that changed by more than the log has (a finding):',
             [f'  {row["count"]:>8} {row["type"]}'
              for row in found['unexplained']], limit),
            ('resident memory changed, until the event there:',
             [f'  {row["bytes"]:>+12} {_where(row)}'
              for row in found['resident']], limit),
            ('not known:', [f'  {note}' for note in found['notes']], limit)):
        yield from _section(*section)
