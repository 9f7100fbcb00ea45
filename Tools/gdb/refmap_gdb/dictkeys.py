"""Tables of dict keys: their entries, and names for what stands in them."""

import collections

from .layout import FLAG_UNICODE, KEYS_GENERAL
from .limits import MAX_OBJECT
from .values import TextReader

# Offsets are in bytes from the start of the table, those of `key` and `value`
# from the start of an entry; `used` is the number of entries.
Entries = collections.namedtuple('Entries', 'start size key value used')


class DictKeys:
    """Reads tables of dict keys."""

    def __init__(self, target):
        self.target = target
        self.memory = target.memory
        self.text = TextReader(target)

    def entries(self, table):
        """Return the Entries of the table at an address, or None."""
        form = self.target.struct('struct _dictkeysobject')
        data = self.memory.read(table, form.size)
        if data is None or form.get(data, 'dk_log2_index_bytes') > 40:
            return None
        general = form.get(data, 'dk_kind') == KEYS_GENERAL
        entry = self.target.struct('PyDictKeyEntry' if general
                                   else 'PyDictUnicodeEntry')
        start = (form.offset('dk_indices')
                 + (1 << form.get(data, 'dk_log2_index_bytes')))
        return Entries(start, entry.size, entry.offset('me_key'),
                       entry.offset('me_value'),
                       max(0, form.get(data, 'dk_nentries')))

    def size(self, table):
        """Return the bytes of a table, entries that are not used left out."""
        entries = self.entries(table)
        if entries is None:
            return 0
        return min(entries.start + entries.size * entries.used, MAX_OBJECT)

    def key(self, table, index):
        """Return a short text for the key of an entry, None if there is no
        such entry."""
        entries = self.entries(table) if table else None
        if entries is None or not 0 <= index < entries.used:
            return None
        key = self.memory.word(table + entries.start + index * entries.size
                               + entries.key)
        if not key:
            return '?'
        info = self.target.types.of_object(key)
        text = None
        if info.flags & FLAG_UNICODE:
            text = self.text.string(key, 60)
        elif info.is_builtin('int'):
            text = self.text.small_int(key)
        return text or f'<{info.name} at {key:#x}>'

    def name(self, table, offset):
        """Return what the word at an offset of a table is, None if it is no
        reference."""
        entries = self.entries(table)
        if entries is None or offset < entries.start:
            return None
        index, rest = divmod(offset - entries.start, entries.size)
        what = {entries.key: 'key', entries.value: 'value of'}.get(rest)
        key = self.key(table, index) if what else None
        return key and f'{what} {key}'
