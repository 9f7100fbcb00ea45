"""The slots of a page: how many references, and the birth of the object."""

import struct

from .memory import signed
from .pytypes import KEYS_TYPE, UNKNOWN_TYPE


def decode(layout, even, odd):
    """Return (count, birth, whether the object starts 8 bytes into its 16)
    of the two words of a slot, as refmap_decode() in C.

    The birth is that of the object that is counted: 0 if it has none."""
    if layout.is_birth(odd):
        count, birth, is_odd = even, odd, False
    elif layout.is_birth(even):
        count, birth, is_odd = odd, even, True
    else:
        count, birth, is_odd = even + odd & 0xffffffff, 0, odd != 0
    return signed(count, 32), layout.living(count, birth), is_odd


def is_immortal(refcnt):
    """Is this an immortal object's ob_refcnt? It has 2^31 or more, in 32
    bits; freed memory is not taken for an immortal object."""
    return refcnt >> 31 == 1


class Block:
    """The slots of one page.

    counts, births -- by the number of the slot; the birth is 0 where the
                      object has none, and where none lives
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
        lanes = self.layout.lanes
        self.take(words[self.lane::2 * lanes],
                  words[self.lane + lanes::2 * lanes])

    def take_packed(self, used, words):
        """Find the slots in `words`, those whose bits in `used` are set."""
        even, odd = [0] * self.layout.slots, [0] * self.layout.slots
        indexes = (i for i in range(self.layout.slots) if used >> i & 1)
        for i, *pair in zip(indexes, words[0::2], words[1::2]):
            even[i], odd[i] = pair
        self.take(even, odd)

    def take(self, even, odd):
        """Take slots, those whose even words are counts and whose odd words
        are births all at once."""
        layout = self.layout
        born, end = layout.birth_born, layout.count_min + (1 << 32)
        dead = layout.birth_dead
        self.counts = list(even)
        self.births = [birth if not birth & dead else layout.living(count, birth)
                       for count, birth in zip(even, odd)]
        unusual = {i for i, word in enumerate(odd)
                   if word and not born <= word < end}
        if max(even) >= born:
            unusual.update(i for i, word in enumerate(even) if word >= born)
        for i in unusual:
            self.counts[i], self.births[i], is_odd = decode(layout, even[i],
                                                            odd[i])
            if is_odd:
                self.odd.add(i)

    def slot(self, address):
        """Return (count, birth) of the object at an exact address; (0, 0) if
        none lives there."""
        i = (address >> self.layout.slot_bits) % self.layout.slots
        if (i in self.odd) != bool(address & 8):
            return 0, 0
        return self.counts[i], self.births[i]

    def living(self):
        """Return the numbers of the slots in which an object lives; one that
        has a birth does even if no reference to it is counted."""
        return [i for i, (count, birth)
                in enumerate(zip(self.counts, self.births)) if count or birth]

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
        """Return the types' addresses, one for each slot; garbage where no
        object lives."""
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
