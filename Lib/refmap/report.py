"""Turn the findings about one test or program into text.

Works on the dicts that judge.judge() and details.describe() make, in any
interpreter. Names of types, tests and files come from the program: escape()
keeps them from making lines of their own.
"""

import re

from . import judge, unhooked

# Types on the line that sums up what changed once.
MAX_ONCE = 6
# Functions that made objects of a type.
MAX_BIRTHS = 3
# Objects of a type that leaks in a method; the file's report has more of them.
MAX_OF_METHOD = 1

_TITLES = {
    judge.OVER_DECREF: 'lost references that these runs never took '
                       '(over-decref, an error):',
    judge.IMPOSSIBLE: 'impossible counts (freed memory that somebody still '
                      'uses, an error):',
    judge.EVERY_RUN: 'leaked in every run:',
    judge.SOME_RUNS: 'leaked in some runs (suspicious):',
    judge.SHRINKING: 'lost references again and again (suspicious):',
}
# What a finding of these is about is no reference that leaked.
_NOT_LEAKED = (judge.OVER_DECREF, judge.IMPOSSIBLE, judge.SHRINKING)


def escape(text):
    """Return one line that can be printed: control characters and the like are
    shown as in a Python string."""
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def plural(count, noun):
    """Return '1 noun' or '2 nouns'."""
    return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def amount(series):
    """Return how much a run leaked: '1 a run', or '3, 1, 1 in runs 1 to 3'."""
    if len(set(series)) == 1:
        return f'{series[0]} a run'
    return f'{", ".join(map(str, series))} in runs 1 to {len(series)}'


def finding_line(finding):
    """Return the line about a type."""
    line = f'{finding["type"]}: {amount(finding["refs"])}'
    if any(finding['born']):
        line += f'; new objects: {amount(finding["born"])}'
    if finding.get('suppressed'):
        line += f' -- suppressed: {finding["suppressed"]}'
    return line


def birth(records):
    """Return when the objects were born."""
    runs = sorted({record['born'] for record in records})
    if not runs[-1]:
        return 'older'
    numbers = ', '.join(map(str, runs))
    return f'born in {"run" if len(runs) == 1 else "runs"} {numbers}'


def object_lines(records):
    """Return the lines about objects that differ by address and birth only."""
    record = records[0]
    counts = record['counts']
    times = f' x{len(records)}' if len(records) > 1 else ''
    serial = f' (birth {record["birth"]})' if 'birth' in record else ''
    line = (f'{record["address"]:#x}{serial}{times}: '
            f'{counts[0]} -> {counts[-1]}, {birth(records)}')
    if 'repr' in record:
        line += f', {record["size"]} bytes: {record["repr"]}'
    yield line
    if record.get('held_by'):
        yield f'    held by {"; ".join(record["held_by"])}'
    if record.get('unheld'):
        yield f'    no container holds {plural(record["unheld"], "reference")}'
    surplus = record.get('holders', 0) - counts[-1]
    if surplus > 0:
        yield (f'    containers hold {plural(record["holders"], "reference")}, '
               f'{surplus} more than are counted')


def alike(objects):
    """Group the records of objects that a report says the same of."""
    groups = {}
    for record in objects:
        counts = record['counts']
        # An older object is itself; of new ones the kind is of interest.
        key = (record['address'] if not record['born'] else None,
               counts[0], counts[-1], record.get('repr'), record.get('size'),
               tuple(re.sub('^0x[0-9a-f]+ ', '', name)
                     for name in record.get('held_by', ())),
               record.get('unheld'))
        groups.setdefault(key, []).append(record)
    return list(groups.values())


def birth_lines(finding):
    """Return the lines about where the objects of a type were born, if a
    recording told; see refmap.who."""
    births = finding.get('births', ())
    for site in births[:MAX_BIRTHS]:
        yield f'{plural(site["count"], "object")} born in {site["text"]}'
    if len(births) > MAX_BIRTHS:
        count = sum(site['count'] for site in births[MAX_BIRTHS:])
        yield f'{plural(count, "object")} born elsewhere'


def finding_lines(finding, limit=None):
    """Return the lines about a type and its objects.

    limit -- show so many kinds of objects; None: all that the finding has
    """
    yield finding_line(finding)
    if finding.get('suppressed'):
        return
    shown = alike(finding['objects'])[:limit]
    for records in shown:
        for line in object_lines(records):
            yield '  ' + line
    for line in birth_lines(finding):
        yield '  ' + line
    more = (finding['more'] + len(finding['objects'])
            - sum(len(records) for records in shown))
    if more:
        yield f'  ... and {plural(more, "more object")}'


def once_line(result):
    """Return the line about all that changed once, or None."""
    once = result['once']
    if not once:
        return None
    types = [f'{name} {count}' for name, count in once.items()]
    if len(types) > MAX_ONCE:
        types[MAX_ONCE:] = [f'{len(types) - MAX_ONCE} more types']
    return (f'changed once (caches, state of the last run): '
            f'{sum(once.values())} ({", ".join(types)})')


def sums_lines(result):
    """Return what the sums said, and what the objects add up to."""
    for name, deltas in (result.get('sums') or {}).items():
        if any(deltas) or name == 'references':
            yield f'{name} by the sums: {deltas}'
    leaked = [0] * result['runs']
    for finding in result['types']:
        if finding['pattern'] not in _NOT_LEAKED:
            judge.add(leaked, finding['refs'])
    yield (f'references by the objects: {leaked} leaked, '
           f'{result["total"]} in all')


def method_lines(result):
    """Return the lines about test methods."""
    methods = result.get('methods')
    if methods is None:
        return
    yield 'test methods that leak on their own:'
    for method in methods:
        yield f'  {method["name"]}'
        for finding in method['types']:
            for line in finding_lines(finding, MAX_OF_METHOD):
                yield '    ' + line
    if not methods:
        yield '  none'
    if result.get('methods_note'):
        yield f'  {result["methods_note"]}'


def freed_line(address, type_name, count):
    """Return the line about memory freed while counted, as in a diff."""
    return (f'freed with {plural(count, "reference")} {address:#x} '
            f'({type_name})')


def lines(result):
    """Return the report about one test or program, as a list of lines."""
    return [escape(line) for line in raw_report(result)]


def raw_report(result):
    """Return lines(), with whatever characters the names have."""
    title = (f'refmap: {result["test"]}: {result["verdict"]} '
             f'({plural(result["runs"], "run")} after '
             f'{plural(result["warmups"], "warm-up")})')
    text = [title, *('  ' + line for line in sums_lines(result))]
    if result.get('unhooked'):
        text.append('  ' + unhooked.sentence(result['unhooked']))
    if result['runs'] < 3:
        text.append('  less than three runs: what the last run still held '
                    'looks like a leak')
    for pattern in judge.PATTERN_ORDER:
        chosen = [f for f in result['types'] if f['pattern'] == pattern]
        if chosen:
            text.append('  ' + _TITLES[pattern])
        for finding in chosen:
            text.extend('    ' + line for line in finding_lines(finding))
    for address, type_name, count in result['freed']:
        text.append('  ' + freed_line(address, type_name, count))
    once = once_line(result)
    if once:
        text.append('  ' + once)
    if result['lost']:
        text.append(f'  not exact: memory was short, {result["lost"]} pages '
                    f'are not compared')
    text.extend('  ' + line for line in method_lines(result))
    if result.get('raw'):
        text.append('  the last run, all of it:')
        text.extend('    ' + line for line in result['raw'])
    return text


def raw_lines(living, died):
    """Return the raw report of a diff, in the format of sys.refmap_diff().

    living -- [(address, type name, count before, count after)]
    died   -- [(address, type name, count before)]
    """
    types, text = {}, []
    for address, name, before, after in living:
        types[name] = types.get(name, 0) + after - before
        text.append(f'ref change of living {address:#x} ({name}): '
                    f'{after - before},  {before} -> {after}')
    for address, name, before in died:
        types[name] = types.get(name, 0) - before
        text.append(f'ref change of died   {address:#x} ({name}): {-before}')
    for name, change in sorted(types.items(),
                               key=lambda item: (-abs(item[1]), item[0])):
        if change:
            text.append(f'ref change of type {name}: {change}')
    text.append(f'total ref change {sum(types.values())}')
    return [escape(line) for line in text]
