"""A map at one instant: its retained snapshots, and now."""

from .errors import RefmapError
from .layout import LOST_BLOCK
from .limits import MAX_BLOCKS, MAX_SNAPSHOTS
from .slots import Block


class MapState:
    """A map at one instant: a snapshot, or now."""

    number = None

    def __init__(self, refmap, **values):
        self.map = refmap
        self.blocks = values['blocks']
        self.total = values['total']
        self.unattributed = values['unattributed']
        self.own = values['own']
        self.findings = values['findings']

    @classmethod
    def now(cls, refmap):
        """The state of the stopped process itself."""
        return cls(refmap, blocks=refmap.pointers(), total=refmap.total(),
                   unattributed=refmap.unattributed(), own=refmap['own'],
                   findings=refmap['nfindings'])

    def block_at(self, i):
        return self.blocks[i] if i < len(self.blocks) else 0

    def slot(self, address, index):
        """Return (count, birth) at `address`; `index`: where its page's block
        is expected, or None. None instead of a tuple: torn or unreadable."""
        page = address >> self.map.target.layout.page_bits
        guess = self.block_at(index) if index is not None else 0
        if guess == LOST_BLOCK:
            return None
        for pointers in [guess], self.blocks:
            for header in self.map.headers_at(
                    (p for p in pointers if p > LOST_BLOCK), Block):
                if header.page == page:
                    for block in self.map.blocks_at([header.address]):
                        return block.slot(address)
                    return None
        return 0, 0


class SnapshotState(MapState):
    """A retained snapshot. Its counts are those of the map, even where it has
    true ones, too."""

    STRUCT = 'struct _refmap_snapshot'

    def __init__(self, refmap, address):
        form = refmap.target.struct(self.STRUCT)
        data = refmap.target.record(self.STRUCT, address)
        self.map = refmap
        self.address = address
        for name in ('total', 'unattributed', 'own', 'findings', 'lost',
                     'corrections', 'nblocks', 'refs', 'epoch'):
            setattr(self, name, form.get(data, name))
        if self.nblocks > MAX_BLOCKS:
            raise RefmapError(f'The snapshot at {address:#x} is damaged: '
                              f'it claims {self.nblocks} blocks.')
        self.first = address + form.offset('blocks')
        self.pointers = None

    @property
    def blocks(self):
        if self.pointers is None:
            self.pointers = self.map.memory.words(self.first, self.nblocks)
        return self.pointers

    @property
    def is_baseline(self):
        return self.address == self.map['baseline']


def snapshots_of(refmap):
    """Return [SnapshotState] of the retained snapshots, the oldest first."""
    found = [SnapshotState(refmap, address) for address in
             refmap.target.chain(SnapshotState.STRUCT, refmap['newest'],
                                 'older', 'snapshots', MAX_SNAPSHOTS)]
    found.reverse()
    for number, snapshot in enumerate(found, 1):
        snapshot.number = number
    return found
