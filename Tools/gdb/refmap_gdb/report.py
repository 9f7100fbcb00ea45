"""The lines of a diff, in the words of sys.refmap_diff()."""

from .wording import plural


def change_of_types(diff):
    """Return [(type name, change)] of those that don't cancel out."""
    changes = {}
    for _, name, before, after in diff.living + diff.died:
        changes[name] = changes.get(name, 0) + after - before
    rows = sorted((item for item in changes.items() if item[1]),
                  key=lambda row: (-abs(row[1]), row[0]))
    if diff.unattributed:
        rows.append(('(unattributed)', diff.unattributed))
    return rows


def diff_lines(diff):
    """Yield the lines about a MapDiff."""
    for address, name, before, after in diff.living:
        yield (f'ref change of living {address:#x} ({name}): '
               f'{after - before},  {before} -> {after}')
    for address, name, before, _ in diff.died:
        yield f'ref change of died   {address:#x} ({name}): {-before}'
    if diff.unattributed:
        yield f'ref change of unattributed: {diff.unattributed}'
    if diff.lost:
        yield (f'not exact: memory was short, {diff.lost} pages are not '
               f'compared')
    for address, name, count in diff.freed:
        yield f'freed with {plural(count, "reference")} {address:#x} ({name})'
    for name, change in change_of_types(diff):
        yield f'ref change of type {name}: {change}'
    yield f'total ref change {diff.total}'
