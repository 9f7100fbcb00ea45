"""The slots of a page: how many references, and the birth of the object."""

import struct

from .memory import signed
from .pytypes import KEYS_TYPE, UNKNOWN_TYPE


def decode(layout, even, odd):
    """Return (count, birth, whether the object starts 8 bytes into its 16)
    of the two words of a slot.

    One of the words may be a birth: that is the other one's."""
    if layout.is_birth(even) or (even == 0 and odd != 0
                                 and not layout.is_birth(odd)):
        count, birth, is_odd = odd, even, True
    else:
        count, birth, is_odd = even, odd, False
    if not layout.is_birth(birth) or (count and birth & layout.birth_dead):
        # What is counted was not born, or after the one that was had died.
        birth = 0
    return signed(count, 32), birth, is_odd


def is_immortal(refcnt):
    """Is this an immortal object's ob_refcnt? It has 2^31 or more, in 32
    bits; freed memory is not taken for an immortal object."""
    return refcnt >> 31 == 1


class Block:
    """The slots of one page.

    counts, births -- by the number of the slot
    odd            -- the numbers of those whose objects start in mid-slot
    """

    def __init__(self, layout, address, form, data, base=0):
        """`form` is the CStruct of a block, which is at `base` of `data`."""
        self.layout = layout
        self.address = address
        self.page = form.get(data, 'page', base)
        self.epoch = form.get(data, 'epoch', base)
        self.index = form.get(data, 'index', base)
        self.types = form.get(data, 'types', base)
        self.packed = form.get(data, 'packed', base)
        self.group = form.get(data, 'group', base)
        self.lane = form.get(data, 'lane', base)
        self.counts = self.births = None
        self.odd = set()

    def take_slots(self, words):
        """Find the slots among the words of the block's group."""
        layout, lanes = self.layout, self.layout.lanes
        even = self.counts = list(words[self.lane::2 * lanes])
        odd = self.births = list(words[self.lane + lanes::2 * lanes])
        usual, dead = layout.birth_born, layout.birth_dead
        unusual = [i for i, word in enumerate(odd)
                   if word and word & (usual | dead) != usual]
        if max(even) >= usual:
            unusual += [i for i, word in enumerate(even) if word >= usual]
        for i in unusual:
            self.take(i, even[i], odd[i])

    def take(self, i, even, odd):
        count, birth, is_odd = decode(self.layout, even, odd)
        self.counts[i], self.births[i] = count, birth
        if is_odd:
            self.odd.add(i)

    def take_packed(self, used, words):
        """Find the slots in `words`, those whose bits in `used` are set."""
        slots, dead = self.layout.slots, self.layout.birth_dead
        self.counts, self.births = [0] * slots, [0] * slots
        indexes = (i for i in range(slots) if used >> i & 1)
        for i, count, birth in zip(indexes, words[0::2], words[1::2]):
            self.counts[i], self.births[i] = signed(count, 32), birth & ~dead
            if birth & dead:
                self.odd.add(i)

    def slot(self, address):
        """Return (count, birth) of the object at an exact address."""
        i = (address >> self.layout.slot_bits) % self.layout.slots
        if (i in self.odd) != bool(address & 8):
            return 0, 0
        return self.counts[i], self.births[i]

    def start(self):
        """Return the address of the page."""
        return self.page << self.layout.page_bits

    def slot_address(self, i):
        """Return the exact address of the object in slot `i`."""
        address = self.start() | (i << self.layout.slot_bits)
        return address + 8 if i in self.odd else address


class Page(Block):
    """A block together with the memory of its page.

    data, words -- that memory, None if it can't be read
    """

    def load(self, target, data, offset):
        """Take the memory of the page from `offset` of `data`, or None."""
        memory, size = target.memory, self.layout.page_size
        self.memory = memory
        self.data = data and data[offset:offset + size]
        self.words = self.data and struct.unpack(f'{memory.order}{size // 8}Q',
                                                 self.data)

    def odd_words(self, i):
        """ob_refcnt and ob_type of an object that starts in mid-slot."""
        words = self.words[2 * i + 1:2 * i + 3]
        if len(words) < 2:
            words += self.memory.word(self.start() + self.layout.page_size) \
                or 0,
        return words

    def type_words(self):
        """Return the types' addresses, one for each slot; stale where the
        count is 0."""
        keys = self.layout.birth_keys
        types = ([UNKNOWN_TYPE] * self.layout.slots if self.words is None
                 else list(self.words[1::2]))
        for i, birth in enumerate(self.births):
            if birth & keys:
                types[i] = KEYS_TYPE
        if self.words is not None:
            for i in self.odd:
                types[i] = self.odd_words(i)[1]
        return types

    def refcnt(self, i):
        """Return the ob_refcnt of the object in slot `i`, -1 if unreadable."""
        if self.words is None:
            return -1
        word = self.odd_words(i)[0] if i in self.odd else self.words[2 * i]
        return signed(word)
