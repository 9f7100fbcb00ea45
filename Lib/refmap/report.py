"""Turn the findings about one test or program into text.

Works on the dicts that judge.judge() and measure.describe() make, in any
interpreter.
"""

from . import judge

# Types on the line that sums up what changed once.
MAX_ONCE = 6
# Objects of a type that leaks in a method; the file's report has more of them.
MAX_OF_METHOD = 1

_TITLES = {
    judge.EVERY_RUN: 'leaked in every run:',
    judge.SOME_RUNS: 'leaked in some runs (suspicious):',
    judge.SHRINKING: 'lost references in every run (suspicious):',
}


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


def object_lines(record):
    """Return the lines about an object."""
    counts = record['counts']
    if record['born']:
        since = f'born in run {record["born"]}'
    else:
        since = 'older'
    line = (f'{record["address"]:#x}: {counts[0]} -> {counts[-1]}, {since}')
    if 'repr' in record:
        line += f', {record["size"]} bytes: {record["repr"]}'
    yield line
    if record.get('held_by'):
        yield f'    held by {"; ".join(record["held_by"])}'
    if record.get('unheld'):
        yield f'    no container holds {plural(record["unheld"], "reference")}'


def finding_lines(finding, limit=None):
    """Return the lines about a type and its objects.

    limit -- show so many objects; None: all that the finding has
    """
    yield finding_line(finding)
    if finding.get('suppressed'):
        return
    shown = finding['objects'][:limit]
    for record in shown:
        for line in object_lines(record):
            yield '  ' + line
    more = finding['more'] + len(finding['objects']) - len(shown)
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
        if finding['pattern'] != judge.SHRINKING:
            judge.add(leaked, finding['refs'])
    yield f'references by the objects: {leaked} leaked, {result["total"]} in all'


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


def lines(result):
    """Return the report about one test or program, as a list of lines."""
    title = (f'refmap: {result["test"]}: {result["verdict"]} '
             f'({plural(result["runs"], "run")} after '
             f'{plural(result["warmups"], "warm-up")})')
    text = [title, *('  ' + line for line in sums_lines(result))]
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
        text.append(f'  freed with {plural(count, "reference")}: '
                    f'{address:#x} ({type_name})')
    once = once_line(result)
    if once:
        text.append('  ' + once)
    if result['lost']:
        text.append(f'  not exact: memory was short, '
                    f'{plural(result["lost"], "page")} not compared')
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
    return text
