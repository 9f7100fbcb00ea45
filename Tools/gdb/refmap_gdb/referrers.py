"""Who refers to an object."""

from .layout import FLAG_HEAPTYPE
from .limits import MAX_TABLES
from .search import ReferenceSearch


class ReferenceReport:
    """The references to one object, with dicts in place of their keys."""

    def __init__(self, target, address):
        self.search = ReferenceSearch(target, [address])
        self.hits = self.search.run()
        # Only a heap type is referred to by its instances.
        is_counted = target.types[address].flags & FLAG_HEAPTYPE
        self.instances = self.search.instances if is_counted else 0
        tables = sorted({hit.holder for hit in self.hits if hit.in_keys})
        if tables:
            self.name_tables(target, tables[:MAX_TABLES])
        self.hits.sort(key=lambda hit: (hit.holder, hit.where))

    def name_tables(self, target, tables):
        """Put the dict or type that a keys table belongs to in its place."""
        owners = {}
        for hit in ReferenceSearch(target, tables).run():
            field = {'ma_keys': 'PyDictObject',
                     'ht_cached_keys': 'PyHeapTypeObject'}.get(hit.where)
            if field is None:
                continue
            keys = target.get(field, hit.holder, hit.where)
            # A table that a class shares with its instances is the class's.
            if keys not in owners or hit.where == 'ht_cached_keys':
                owners[keys] = hit
        for hit in self.hits:
            owner = owners.get(hit.holder)
            if hit.in_keys and owner is not None:
                if owner.where == 'ht_cached_keys':
                    hit.where = f'shared {hit.where}'
                hit.holder, hit.name = owner.holder, owner.name
