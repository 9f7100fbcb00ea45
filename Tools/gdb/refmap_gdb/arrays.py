"""Memory of objects outside of them: items, tables, values."""

from .layout import FLAG_DICT, FLAG_LIST, SHARED_KEYS_MAX
from .limits import MAX_ARRAYS, MAX_BASES, MAX_OBJECT


class Arrays:
    """Collects the memory that belongs to objects and is not part of them.

    `items` has (start, size, owner, kind), where kind is 'list' (items), 'set'
    (entries), 'dict' (values, of as many as there may be) or 'tail' (the rest
    of a large object)."""

    def __init__(self, target, extents):
        self.target = target
        self.types = target.types
        self.extents = extents
        self.items = []
        self.left = MAX_ARRAYS      # bytes
        self.truncated = False
        self.kinds = {}             # type address: function or None

    def take(self):
        """Return the sorted items, and forget them."""
        items, self.items = sorted(self.items), []
        return items

    def add(self, start, size, owner, kind):
        if not start or start % 8 or not 0 < size <= MAX_OBJECT:
            return
        self.left -= size
        if self.left < 0:
            self.truncated = True
        else:
            self.items.append((start, size, owner, kind))

    def add_tail(self, page, mapped, address, info):
        """The rest of the last object of a page, on pages that no object
        starts on; those on which one does are `mapped`."""
        layout = self.target.layout
        end = address + self.extents.size(address, info)
        start = page.start() + layout.page_size
        while start < end and start >> layout.page_bits in mapped:
            start += layout.page_size
        self.add(start, end - start, address, 'tail')

    def add_page(self, page, types):
        """Those of all objects of a page; `types` are its type_words()."""
        kinds = self.kinds
        for i in page.living():
            word = types[i]
            if word not in kinds:
                kinds[word] = self.collector(self.types[word])
            if kinds[word] is not None:
                kinds[word](page.slot_address(i), page)

    def collector(self, info):
        """Return what finds the arrays of objects of a type, or None."""
        if info.flags & FLAG_LIST:
            return self.add_list
        if info.flags & FLAG_DICT:
            return self.add_dict
        for _ in range(MAX_BASES):
            if info.is_builtin('set', 'frozenset'):
                return self.add_set
            if not info.base:
                break
            info = self.types[info.base]
        return None

    def fields(self, struct_name, address, page, *paths):
        """Return fields of an object, mostly from the page at hand."""
        form = self.target.struct(struct_name)
        data, base = page.data, address - page.start()
        if data is None or base + form.size > len(data):
            data, base = self.target.memory.read(address, form.size), 0
        if data is None:
            return [0] * len(paths)
        return [form.get(data, path, base) for path in paths]

    def add_list(self, address, page):
        items, n = self.fields('PyListObject', address, page, 'ob_item',
                               'ob_base.ob_size')
        self.add(items, 8 * n, address, 'list')

    def add_set(self, address, page):
        table, mask = self.fields('PySetObject', address, page,
                                  'table', 'mask')
        inside = self.target.struct('PySetObject').offset('smalltable')
        if table != address + inside:
            self.add(table, 16 * (mask + 1), address, 'set')

    def add_dict(self, address, page):
        values, = self.fields('PyDictObject', address, page, 'ma_values')
        size = self.target.struct('struct _dictvalues').offset('values')
        self.add(values, size + 8 * SHARED_KEYS_MAX, address, 'dict')
