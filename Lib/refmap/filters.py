"""Choose among the records of a diff, or the findings of a hunt, by type.

Patterns are those of the module fnmatch, and case matters. A single pattern may
be given as a str.
"""

import fnmatch

from . import judge, report

EXCLUDED = 'excluded'
NOT_INCLUDED = 'not among the types that are included'


def patterns(value):
    """Return a tuple of patterns. Raise TypeError for anything else."""
    chosen = tuple([value] if isinstance(value, str) else [*value])
    if not all(isinstance(pattern, str) for pattern in chosen):
        raise TypeError('patterns of types are str')
    return chosen


class Filter:
    """Says which types are of interest.

    include -- patterns; none: all types
    exclude -- patterns of types that are left out all the same
    """

    def __init__(self, include=(), exclude=()):
        self.include = patterns(include)
        self.exclude = patterns(exclude)

    def reason(self, name):
        """Return why a type is left out, or None."""
        def matches(chosen):
            return any(fnmatch.fnmatchcase(name, pattern) for pattern in chosen)

        if matches(self.exclude):
            return EXCLUDED
        if self.include and not matches(self.include):
            return NOT_INCLUDED
        return None

    def keeps(self, name):
        """Is a type of interest?"""
        return self.reason(name) is None

    def apply(self, findings):
        """Suppress what is left out in the dict of a hunt, in place."""
        for finding in findings['types']:
            reason = self.reason(finding['type'])
            if reason and not finding.get('suppressed'):
                finding['suppressed'] = reason
        freed = [record for record in findings['freed']
                 if self.keeps(record[1])]
        findings['freed'] = freed
        findings['verdict'] = judge.verdict_of(findings['types'], freed)


class Changes:
    """A diff of which a part was chosen. str() is the report.

    living, died, freed -- the records, as of sys.refmap_diff()
    types -- {type name: change} of these, without those that cancel out
    unattributed -- change of the references that no object is known for
    total -- the sum of all changes here
    lost -- pages left out because memory was short; 0: exact
    """

    def __init__(self, diff, keeps, limit=None):
        """keeps -- a function of (address, type name, count before)
        limit -- show so many objects of each type
        """
        self.living = [r for r in diff.living if keeps(*r[:3])]
        self.died = [r for r in diff.died if keeps(*r)]
        self.freed = [r for r in diff.freed if keeps(*r)]
        self.lost = diff.lost
        self.unattributed = (diff.unattributed
                             if keeps(None, judge.UNATTRIBUTED, 0) else 0)
        self.limit = limit
        self.types = self._sums()
        self.total = sum(self.types.values())

    def _sums(self):
        sums = {}
        for _, name, before, after in self.living:
            sums[name] = sums.get(name, 0) + after - before
        for _, name, before in self.died:
            sums[name] = sums.get(name, 0) - before
        sums[judge.UNATTRIBUTED] = self.unattributed
        return dict(sorted(((name, change) for name, change in sums.items()
                            if change), key=lambda i: (-abs(i[1]), i[0])))

    def __repr__(self):
        return (f'<refmap changes: total {self.total}, {len(self.living)} '
                f'living, {len(self.died)} died>')

    def __bool__(self):
        """Did anything change?"""
        return bool(self.living or self.died or self.freed or self.unattributed)

    def __str__(self):
        return '\n'.join(map(report.escape, self._lines()))

    def _lines(self):
        living = [(name, after - before,
                   f'living {address:#x} ({name}): {after - before},  '
                   f'{before} -> {after}')
                  for address, name, before, after in self.living]
        died = [(name, -before, f'died   {address:#x} ({name}): {-before}')
                for address, name, before in self.died]
        for what, lines in ('living', living), ('died', died):
            for text in limited(lines, self.limit, what):
                yield f'ref change of {text}'
        if self.unattributed:
            yield f'ref change of unattributed: {self.unattributed}'
        if self.lost:
            yield (f'not exact: memory was short, {self.lost} pages are not '
                   'compared')
        for address, name, count in self.freed:
            yield report.freed_line(address, name, count)
        for name, change in self.types.items():
            yield f'ref change of type {name}: {change}'
        yield f'total ref change {self.total}'


def limited(lines, limit, what):
    """Yield the texts of `lines`, so many of each type, and how many more.

    lines -- [(type name, change, text)]
    """
    seen, left = {}, {}
    for name, change, text in lines:
        seen[name] = seen.get(name, 0) + 1
        if limit is None or seen[name] <= limit:
            yield text
        else:
            left[name] = left.get(name, 0) + change
    for name, change in left.items():
        yield f'{seen[name] - limit} more {what} ({name}): {change}'
