"""What changed between two states of a map."""

import struct

from .layout import LOST_BLOCK, UNKNOWN_NAME
from .wording import record_key


class MapDiff:
    """What changed between two states of one map; see sys.refmap_diff().

    living       -- [(address, type name, count before, count after)]
    died         -- the same; the count after is 0
    freed        -- [(address, type name, count)] of the findings in between
    unattributed -- change of the references that belong to no object
    own          -- change of the references to refmap's own objects
    total        -- change of the total, `own` left aside
    lost         -- pages that can't be compared: memory was short
    """

    def __init__(self, before, after):
        """`before` and `after` are MapStates, in either order."""
        self.before, self.after, self.map = before, after, before.map
        self.layout = self.map.target.layout
        self.living, self.died = [], []
        self.own = self.lost = 0
        self.current = self.map.pointers()
        self.compare(self.pairs())
        self.name_types()
        self.unattributed = after.unattributed - before.unattributed
        self.own -= after.own - before.own
        self.total = after.total - before.total - self.own
        self.freed = self.findings()

    def pairs(self):
        """Return [(block address or 0, the same)] of the pages to compare."""
        pairs, gone, come, places = [], [], [], {}
        n = max(len(self.before.blocks), len(self.after.blocks))
        for i in range(n):
            a, b = self.before.block_at(i), self.after.block_at(i)
            if a == b:
                continue
            if LOST_BLOCK in (a, b):
                self.lost += 1
                continue
            places.update({a: i, b: i})
            if a and b:
                pairs.append((a, b))
            elif a:
                gone.append(a)
            else:
                come.append(b)
        places.pop(0, None)
        self.blocks = {}
        for block in self.map.blocks_at(places):
            if block.index == places[block.address]:
                self.blocks[block.address] = block
            else:
                self.map.damaged += 1
        return self.matched(pairs, gone, come)

    def matched(self, pairs, gone, come):
        """An index may hold another page in the other state: pair by page."""
        result = []
        for a, b in pairs:
            if a not in self.blocks or b not in self.blocks:
                continue        # damaged, and counted as such
            if self.blocks[a].page == self.blocks[b].page:
                result.append((a, b))
            else:
                gone.append(a)
                come.append(b)
        pages = {self.blocks[b].page: b for b in come if b in self.blocks}
        for a in gone:
            if a in self.blocks:
                result.append((a, pages.pop(self.blocks[a].page, 0)))
        return result + [(0, b) for b in pages.values()]

    def compare(self, pairs):
        for a, b in pairs:
            before, after = self.blocks.get(a), self.blocks.get(b)
            for i in range(self.layout.slots):
                self.compare_slot(before, after, i)

    def slot(self, block, i, sign):
        """(count, birth) as it is reported; own objects are added up."""
        if block is None or block.counts[i] == 0:
            return 0, 0
        if block.births[i] & self.layout.birth_own:
            self.own += sign * block.counts[i]
            return 0, 0
        return block.counts[i], block.births[i]

    def compare_slot(self, before, after, i):
        count, birth = self.slot(before, i, -1)
        new_count, new_birth = self.slot(after, i, 1)
        if count and not (new_count and birth == new_birth
                          and (i in before.odd) == (i in after.odd)):
            self.died.append((before, i, count, 0))
            count = 0
        if count != new_count:
            self.living.append((after, i, count, new_count))

    def name_types(self):
        """Turn (block, slot, ...) into sorted (address, type name, ...)."""
        rows = self.living + self.died
        live = [(block.slot_address(i), block.births[i])
                for block, i, _, _ in rows if self.is_live(block)]
        self.live_names = self.map.target.types.of_objects(live)
        self.kept_names = {}
        for name in 'living', 'died':
            rows = [(block.slot_address(i), self.type_name(block, i), a, b)
                    for block, i, a, b in getattr(self, name)]
            rows.sort(key=lambda r: record_key(r[3] - r[2], r[1], r[0]))
            setattr(self, name, rows)

    def is_live(self, block):
        """Not touched since: what was alive then is alive now."""
        return (not block.types and block.index < len(self.current)
                and self.current[block.index] == block.address)

    def type_name(self, block, i):
        if self.is_live(block):
            return self.live_names[block.slot_address(i)]
        if not block.types:
            return UNKNOWN_NAME
        types = self.kept_names.get(block.types)
        if types is None:
            slots = self.layout.slots
            data = self.map.memory.read(block.types, 4 * slots)
            types = (struct.unpack(f'{self.map.memory.order}{slots}I', data)
                     if data else (self.layout.type_unknown,) * slots)
            self.kept_names[block.types] = types
        name = self.kept_names.get(('name', types[i]))
        if name is None:
            name = self.map.type_name(types[i])
            self.kept_names['name', types[i]] = name
        return name

    def findings(self):
        first, last = sorted((self.before.findings, self.after.findings))
        ever = self.map['nfindings']
        first = max(first, ever - self.layout.findings)
        return [self.map.finding(n) for n in range(first, min(last, ever))]
