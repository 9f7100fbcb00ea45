"""Sums over a map, and its objects one by one."""

import collections
import fnmatch
import itertools


class MapTally:
    """Sums over a map: references, objects, and both by type."""

    def __init__(self, refmap):
        self.map = refmap
        self.by_address = {}
        # Few counts are common to most objects of a type, and a Counter adds
        # a page of pairs several times faster than a loop here.
        pairs = collections.Counter()
        for page in refmap.contents():
            pairs.update(itertools.compress(
                zip(page.type_words(), page.counts), page.counts))
        for (address, count), objects in pairs.items():
            entry = self.by_address.setdefault(address, [0, 0])
            entry[0] += count * objects
            entry[1] += objects
        self.mapped = sum(refs for refs, _ in self.by_address.values())
        self.objects = sum(n for _, n in self.by_address.values())

    @property
    def unattributed(self):
        return self.map.unattributed() - self.map['own']


def by_name(tallies):
    """Return [(references, objects, type name)], most references first."""
    names = {}
    for tally in tallies:
        types = tally.map.target.types
        for address, (refs, objects) in tally.by_address.items():
            entry = names.setdefault(types[address].name, [0, 0])
            entry[0] += refs
            entry[1] += objects
    return sorted(((refs, objects, name)
                   for name, (refs, objects) in names.items()),
                  key=lambda row: (-row[0], row[2]))


def objects_of(refmap, pattern=None):
    """Yield (count, birth, address, TypeInfo) of the objects of a map whose
    type's name matches the glob `pattern`."""
    types = refmap.target.types
    wanted = {}
    for page in refmap.contents():
        for i, (count, word) in enumerate(zip(page.counts, page.type_words())):
            if not count:
                continue
            ok = wanted.get(word)
            if ok is None:
                ok = wanted[word] = (pattern is None or fnmatch.fnmatchcase(
                    types[word].name, pattern))
            if ok:
                yield count, page.births[i], page.slot_address(i), types[word]
