"""What is known about one object."""

from ..errors import RefmapError
from ..extents import Extents
from ..maps import map_of
from ..memory import signed
from ..slots import is_immortal
from ..snapshots import snapshots_of
from ..values import ObjectPrinter
from ..verify import agrees
from ..wording import plural


class ObjectReport:
    """What is known about one object."""

    def __init__(self, target, address, number):
        self.target = target
        self.address = address
        self.map, self.block = map_of(target, address, number)
        self.count, self.birth = (self.block.slot(address) if self.block
                                  else (0, 0))
        self.info = target.types.of_object(address, self.birth)
        self.refcnt = target.memory.word(address)

    def check(self):
        """Raise RefmapError if there is no object."""
        if self.count or self.info.address:
            return
        if self.refcnt is None:
            raise RefmapError(f"The memory at {self.address:#x} can't be "
                              f"read, and the map counts nothing there.")
        raise RefmapError(f'The map counts nothing at {self.address:#x}, and '
                          f'there is no Python object{self.enclosing()}.')

    def lines(self):
        """Yield the lines of the report; raise RefmapError as check()."""
        self.check()
        immortal = self.refcnt is not None and is_immortal(self.refcnt)
        yield f'object        {self.address:#x}'
        yield f'type          {self.info.name}'
        yield f'references    {self.count}'
        yield f'ob_refcnt     {self.refcnt_text(immortal)}'
        yield f'birth         {self.birth_text()}'
        yield f'immortal      {"yes" if immortal else "no"}'
        yield f'block         {self.block_text()}'
        for line in self.snapshot_lines():
            yield f'snapshot      {line}'
        value = ObjectPrinter(self.target).show(self.address, self.info)
        yield f'value         {value}'

    def enclosing(self):
        """A hint at the object whose memory the address is in."""
        if self.block is None:
            return ''
        for i in range(self.slot_number(), -1, -1):
            if self.block.counts[i] or self.block.births[i]:
                break
        else:
            return ''
        start = self.block.slot_address(i)
        info = self.target.types.of_object(start, self.block.births[i])
        size = Extents(self.target).size(start, info)
        if not start < self.address < start + size:
            return ''
        return (f'; it lies {self.address - start} bytes inside the '
                f'{info.name} at {start:#x}')

    def slot_number(self):
        layout = self.target.layout
        return (self.address >> layout.slot_bits) % layout.slots

    def refcnt_text(self, immortal):
        if self.refcnt is None:
            return "can't be read"
        refcnt = signed(self.refcnt)
        if immortal or refcnt == self.count:
            return f'{refcnt}'
        if self.count == 0 and self.birth == 0:
            return f'{refcnt} (not in the map)'
        if agrees(self.count, self.birth, refcnt):
            return f'{refcnt} (one was never counted)'
        return f'{refcnt} (differs from the map)'

    def birth_text(self):
        if self.count == 0 and self.birth == 0:
            return 'none'
        layout = self.target.layout
        serial = self.birth & layout.birth_serial
        own = ", one of refmap's own" if self.birth & layout.birth_own else ''
        return f'{serial}{"" if serial else " (static)"}{own}'

    def block_text(self):
        if self.block is None:
            return 'none'
        return (f'{self.block.address:#x}, slot {self.slot_number()}, epoch '
                f'{self.block.epoch}, in the {self.map.label()}')

    def snapshot_lines(self):
        index = self.block.index if self.block else None
        try:
            snapshots = snapshots_of(self.map)
        except RefmapError as error:
            # Damaged snapshots are no reason to hide the object.
            yield str(error)
            return
        for snapshot in snapshots:
            slot = snapshot.slot(self.address, index)
            if slot is None:
                text = 'lost: memory was short'
            elif slot[0] == 0:
                text = 'not there'
            elif slot[1] != self.birth and self.count:
                text = f'{plural(slot[0], "reference")} to another object'
            else:
                text = plural(slot[0], 'reference')
            baseline = ' (baseline)' if snapshot.is_baseline else ''
            yield f'{snapshot.number}{baseline}: {text}'
