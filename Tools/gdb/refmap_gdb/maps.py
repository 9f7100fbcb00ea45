"""The maps of a process: blocks by page, totals, findings, type names."""

import bisect
import itertools
import struct

from .errors import NoInterpreter, RefmapError
from .interpreters import interpreters_of, leftovers
from .layout import KEYS_NAME, UNKNOWN_NAME
from .limits import BATCH, MAX_BLOCKS
from .slots import Block, Page


def page_hash(page):
    """As refmap_hash() in C, for the key of a block; see there."""
    word = 8 ^ page
    for factor in 0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53:
        word = (word ^ word >> 33) * factor & 0xffffffffffffffff
    return (word ^ word >> 33) & 0xffffffff


class RefMap:
    """One map: that of the main GIL, or of an interpreter with its own."""

    STRUCT = 'struct _refmap_state'
    BLOCK = 'struct _refmap_block'

    def __init__(self, target, address, interpreters):
        self.target = target
        self.memory = target.memory
        self.address = address
        self.form = target.struct(self.STRUCT)
        self.data = target.record(self.STRUCT, address)
        self.interpreters = [i for i in interpreters if i.map == address]
        self.is_main = address == target.symbol('main_map')
        self.damaged = 0
        self.directory = None

    def __getitem__(self, path):
        return self.form.get(self.data, path)

    def label(self):
        """Return the map's name in a report."""
        ids = ', '.join(str(interp.id) for interp in self.interpreters)
        return f'map {self.address:#x} of interpreter {ids or "(gone)"}'

    def total(self):
        """The reference total of the interpreters that use this map."""
        total = sum(interp.total for interp in self.interpreters)
        return total + leftovers(self.target) if self.is_main else total

    def unattributed(self):
        """As the C function of a similar name: own births are not left out."""
        n = self['unattributed']
        if self.is_main:
            n += self.target.variable('_Py_RefTotal')
            n += self.target.variable('left_unattributed')
        return n

    def is_changing(self):
        """Was a thread stopped while it held the map's mutex?"""
        return bool(self.form.has('mutex')
                    and self.data[self.form.offset('mutex')])

    def pointers(self):
        """Return the block pointers; NULL is a hole."""
        n, allocated = self['len'], self['allocated']
        if n > MAX_BLOCKS or n > allocated:
            raise RefmapError(f'The {self.label()} is damaged: it claims '
                              f'{n} blocks in room for {allocated}.')
        return self.memory.words(self['blocks'], n) if n else ()

    def blocks_at(self, pointers, what=Block):
        """Yield the blocks at some addresses; count those that are none."""
        pointers = iter(pointers)
        while batch := list(itertools.islice(pointers, BATCH)):
            groups, packed = {}, []
            for block in self.headers_at(batch, what):
                if block.packed:
                    packed.append(block)
                else:
                    groups.setdefault(block.group, []).append(block)
            yield from self.with_slots(groups)
            yield from self.with_packed(packed)

    def headers_at(self, pointers, what):
        """Yield the blocks at some addresses, still without slots."""
        layout, form = self.target.layout, self.target.struct(self.BLOCK)
        newest = self['epoch']
        records = self.memory.records(pointers, form.size)
        for address, data, offset in records:
            block = data and what(layout, address, form, data, offset)
            if (block and block.page < layout.max_page
                    and block.epoch <= newest and block.lane < layout.lanes):
                yield block
            else:
                self.damaged += 1

    def with_slots(self, groups):
        """Yield the blocks of {address of a group: blocks} with their slots."""
        layout = self.target.layout
        start = self.target.struct('struct _refmap_group').offset('words')
        words = struct.Struct(f'{self.memory.order}'
                              f'{2 * layout.lanes * layout.slots}I')
        for address, data, offset in self.memory.records(
                (group + start for group in groups), words.size):
            for block in groups[address - start]:
                if data is None:
                    self.damaged += 1
                else:
                    block.take_slots(words.unpack_from(data, offset))
                    yield block

    def with_packed(self, blocks):
        """Yield blocks that are packed, with their slots."""
        words = struct.Struct(f'{self.memory.order}'
                              f'{self.target.layout.slots // 64}Q')
        owners = {block.packed: block for block in blocks}
        self.damaged += len(blocks) - len(owners)
        ranges = []
        for address, data, at in self.memory.records(owners, words.size):
            if data is None:
                self.damaged += 1
                continue
            used = sum(word << 64 * i for i, word
                       in enumerate(words.unpack_from(data, at)))
            ranges.append((address + words.size, 8 * bin(used).count('1'),
                           used, owners[address]))
        for (_, size, used, block), data, at in self.memory.pieces(ranges):
            if data is None:
                self.damaged += 1
            else:
                block.take_packed(used, struct.unpack_from(
                    f'{self.memory.order}{size // 4}I', data, at))
                yield block

    def pages(self):
        """Return the sorted [(page, block address)] of all intact blocks."""
        if self.directory is None:
            self.damaged = 0
            where = {}
            for index, address in enumerate(self.pointers()):
                if address:
                    # One block in two places is in the wrong place once.
                    self.damaged += address in where
                    where[address] = index
            found = []
            for block in self.headers_at(where, Block):
                if block.index == where[block.address]:
                    found.append((block.page, block.address))
                else:
                    self.damaged += 1
            self.directory = sorted(found)
        return self.directory

    def contents(self):
        """Yield a Page for each page in which an object lives, by address."""
        pages = self.pages()
        for start in range(0, len(pages), BATCH):
            batch = [address for _, address in pages[start:start + BATCH]]
            blocks = {block.start(): block
                      for block in self.blocks_at(batch, Page)
                      if any(block.counts) or any(block.births)}
            for address, data, offset in self.memory.records(
                    blocks, self.target.layout.page_size):
                blocks[address].load(self.target, data, offset)
                yield blocks[address]

    def in_table(self, page):
        """Return the address that the hash table has for a page's block.

        None: it has none, or is damaged. Cores lack the directory, which is
        what the hot path looks at.
        """
        get, offset = self.target.get, self.target.struct(self.BLOCK).offset
        try:
            table = get(self.BLOCK, self['table'], 'hh.tbl')
            buckets = get('UT_hash_table', table, 'num_buckets')
            bucket = (get('UT_hash_table', table, 'buckets')
                      + page_hash(page) % (buckets or 1)
                      * self.target.struct('UT_hash_bucket').size)
            head = get('UT_hash_bucket', bucket, 'hh_head')
            for item in self.target.chain('UT_hash_handle', head, 'hh_next',
                                          'blocks'):
                block = item - offset('hh')
                if get(self.BLOCK, block, 'page') == page:
                    return block
        except RefmapError:
            pass
        return None

    def find_block(self, address):
        """Return the Block for the page of `address`, or None."""
        page = address >> self.target.layout.page_bits
        if page >= self.target.layout.max_page:
            return None
        candidate = self.in_table(page)
        if not candidate:
            pages = self.pages()
            at = bisect.bisect_left(pages, (page, 0))
            if at == len(pages) or pages[at][0] != page:
                return None
            candidate = pages[at][1]
        for block in self.blocks_at([candidate]):
            if block.page == page:
                return block
        return None

    def type_name(self, number):
        """Return the name behind a refmap_type_t."""
        layout = self.target.layout
        if number == layout.type_keys:
            return KEYS_NAME
        # The names that are kept have the numbers after the fixed ones.
        number -= max(layout.type_keys, layout.type_unknown) + 1
        if not 0 <= number < self['nnames']:
            return UNKNOWN_NAME
        name = self.memory.word(self['by_id'] + 8 * number)
        offset = self.target.struct('refmap_name_t').offset('name')
        return (name and self.memory.text(name + offset)) or UNKNOWN_NAME

    def finding(self, number):
        """Return (address, type name, count) of the n-th finding ever."""
        form = self.target.struct('refmap_finding_t')
        base = (self.form.offset('findings')
                + number % self.target.layout.findings * form.size)
        return (form.get(self.data, 'address', base),
                self.type_name(form.get(self.data, 'type', base)),
                form.get(self.data, 'count', base))

    def damage(self):
        """Return a sentence about what could not be read, or None."""
        if not self.damaged:
            return None
        return (f"{self.damaged} of {self['nblocks']} blocks of the "
                f"{self.label()} are damaged or can't be read: "
                f"what they count is missing here.")


def maps_of(target, number=None):
    """Return the [RefMap] of all interpreters, or of number `number`."""
    interps = interpreters_of(target)
    if number is not None:
        wanted = [i.map for i in interps if i.id == number]
        if not wanted:
            ids = ', '.join(str(interp.id) for interp in interps)
            raise NoInterpreter(f'There is no interpreter {number}; '
                                f'there are: {ids or "none"}.')
        return [RefMap(target, wanted[0], interps)]
    main = target.symbol('main_map')
    if main is None:
        addresses = list(dict.fromkeys(i.map for i in interps))
    else:
        addresses = target.chain(RefMap.STRUCT, main, 'next', 'maps')
    return [RefMap(target, address, interps) for address in addresses]


def map_of(target, address, number=None):
    """Return (RefMap, Block) that count the object at `address`.

    The block is None if no map has one for that page."""
    maps = maps_of(target, number)
    for refmap in maps:
        block = refmap.find_block(address)
        if block is not None and block.slot(address)[0]:
            return refmap, block
    for refmap in maps:
        block = refmap.find_block(address)
        if block is not None:
            return refmap, block
    return maps[0], None
