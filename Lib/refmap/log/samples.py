"""Births, deaths and what stayed, by Python and C stack: for the viewers."""

from collections import namedtuple

from ..who import stacks

# A function in a stack. line: 0 if it is not known.
Frame = namedtuple('Frame', 'function file line')

# What happened to objects of a type at a stack, a tuple of Frames, the
# innermost first. births, alive, bytes: of those that were made there; deaths:
# of any that died there; references: that living objects got there, and did
# not give back there, with the first one of each.
Sample = namedtuple('Sample', 'type stack births deaths alive references '
                              'bytes')

# The numbers of a Sample, and their units.
VALUES = {'births': 'count', 'deaths': 'count', 'alive': 'count',
          'references': 'count', 'bytes': 'bytes'}


def stack_of(place, c_functions):
    """Return the Frames of a place, the innermost first: those of C out to the
    interpreter's loop, then those of Python."""
    found = [Frame(site.function if stacks.is_known(site) else site.file,
                   site.file, site.line) for site in c_functions.stack(place)]
    found += [Frame(where.function, where.file, where.line)
              for where in place.stack()]
    return tuple(found)


def samples(analysis):
    """Return the Samples of an Analysis: one for each type and stack."""
    findings = analysis.findings
    sums = {}

    def add(type, place, **values):
        row = sums.setdefault((type, place), dict.fromkeys(VALUES, 0))
        for name, value in values.items():
            row[name] += value

    for (type, place), count in findings.born.items():
        add(type, place, births=count)
    for (type, place), count in findings.deaths.items():
        add(type, place, deaths=count)
    for one in analysis.alive:
        add(one.type, one.place, alive=one.count, references=one.count,
            bytes=one.bytes)
    for one in analysis.kept:
        add(one.type, one.place, references=one.taken - one.returned)
    return _joined(sums, analysis.c_functions)


def _joined(sums, c_functions):
    """Return the Samples of {(type, place): values}."""
    c_functions.resolve(place for _, place in sums)
    joined = {}
    for (type, place), row in sums.items():
        key = type.name, stack_of(place, c_functions)
        values = joined.setdefault(key, dict.fromkeys(VALUES, 0))
        for name, value in row.items():
            values[name] += value
    return [Sample(*key, **values) for key, values in joined.items()]
