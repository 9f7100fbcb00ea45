"""The search for what refers to an object."""

import bisect
import itertools

from .arrays import Arrays
from .errors import RefmapError
from .extents import Extents
from .frames import STALE
from .layout import MANAGED_WEAKREF_OFFSET
from .limits import ARRAYS_AT_A_TIME, MAX_FRAME, MAX_HITS
from .maps import maps_of
from .pytypes import KEYS_TYPE

# Bytes before an object that may refer to others on its behalf.
BEFORE = -MANAGED_WEAKREF_OFFSET


class ReferenceHit:
    """One place that refers to the object in question."""

    def __init__(self, holder, name, where, counted=True, in_keys=False):
        self.holder = holder        # its address
        self.name = name            # of its type
        self.where = where
        self.counted = counted
        self.in_keys = in_keys      # is the holder a table of dict keys?

    @property
    def is_stale(self):
        return self.where == STALE


class ReferenceSearch:
    """Finds what refers to objects by looking for their addresses.

    The memory of the mapped objects is searched, and what belongs to them:
    items of lists, tables of sets, values of dicts, frames of threads."""

    def __init__(self, target, wanted):
        """`wanted` is a list of addresses."""
        self.target = target
        self.memory = target.memory
        self.types = target.types
        self.extents = Extents(target)
        self.arrays = Arrays(target, self.extents)
        self.wanted = set(wanted)
        self.patterns = [self.memory.word_format.pack(w) for w in wanted]
        self.hits = []              # ReferenceHit
        self.maps = maps_of(target)
        self.instances = 0
        self.truncated = False

    def run(self):
        """Search all maps and threads; return the [ReferenceHit]."""
        for refmap in self.maps:
            self.search_map(refmap)
            self.search_arrays()
        self.search_frames()
        self.truncated |= self.arrays.truncated
        return self.hits

    def add(self, hit):
        if len(self.hits) < MAX_HITS:
            self.hits.append(hit)
        else:
            self.truncated = True

    def places(self, start, data):
        """Yield the addresses in `data` where a wanted address stands."""
        for pattern in self.patterns:
            at = data.find(pattern)
            while at >= 0:
                if (start + at) % 8 == 0:
                    yield start + at
                at = data.find(pattern, at + 1)

    def search_map(self, refmap):
        mapped = {page for page, _ in refmap.pages()}
        last = None                 # (address, TypeInfo) before this page
        pending = []                # places just before the next page
        for page in refmap.contents():
            types = page.type_words()
            self.arrays.add_page(page, types)
            if len(self.arrays.items) > ARRAYS_AT_A_TIME:
                self.search_arrays()
            starts = page.living()
            if page.data is not None:
                found = self.places(page.start(), page.data)
                unknown = [place for place in itertools.chain(pending, found)
                           if not self.resolve(page, types, starts, last,
                                               place)]
                end = page.start() + self.target.layout.page_size
                pending = [place for place in unknown if place >= end - BEFORE]
            i = starts[-1]
            last = page.slot_address(i), self.types[types[i]]
            self.arrays.add_tail(page, mapped, *last)

    def resolve(self, page, types, starts, last, place):
        """Find the object that the word at `place` belongs to."""
        slot = (place - page.start()) >> self.target.layout.slot_bits
        at = bisect.bisect_right(starts, slot)
        before = last
        if at:
            i = starts[at - 1]
            before = page.slot_address(i), self.types[types[i]]
            if place == before[0] + 8 and types[i] in self.wanted:
                self.instances += 1
                return True
        if (before is not None and before[0] <= place
                < before[0] + self.extents.size(*before)):
            return self.report(*before, place)
        if at < len(starts):
            i = starts[at]
            after = page.slot_address(i)
            if after - BEFORE <= place < after:
                return self.report(after, self.types[types[i]], place)
        return False

    def report(self, holder, info, place):
        named = self.extents.name(holder, info, place)
        if named is not None:
            self.add(ReferenceHit(holder, info.name, *named,
                                  in_keys=info.is_keys))
        return True

    def search_arrays(self):
        arrays = self.arrays.take()
        starts = [array[0] for array in arrays]
        for start, data in self.memory.buffers(arrays):
            for place in self.places(start, data):
                at = bisect.bisect_right(starts, place)
                # Ranges of dict values are guesses and may overlap.
                for array in arrays[max(0, at - 16):at]:
                    if place < array[0] + array[1]:
                        self.report_array(place, *array)

    def report_array(self, place, start, size, owner, kind):
        info = self.types.of_object(owner)
        if kind == 'tail':
            if info.address == 0:
                info = self.types[KEYS_TYPE]
            self.report(owner, info, place)
        elif kind == 'list':
            self.add(ReferenceHit(owner, info.name,
                                  f'item {(place - start) // 8}'))
        elif kind == 'set':
            if (place - start) % 16 == 0:
                self.add(ReferenceHit(owner, info.name, 'element'))
        else:
            self.report_values(place, start, owner, info)

    def report_values(self, place, start, owner, info):
        """The values of a dict that shares its keys."""
        form = self.target.struct('struct _dictvalues')
        data = self.memory.read(start, form.offset('values'))
        index = (place - start - form.offset('values')) // 8
        if (not data or form.get(data, 'embedded')
                or not 0 <= index < form.get(data, 'capacity')):
            return
        keys = self.target.get('PyDictObject', owner, 'ma_keys')
        name = self.extents.keys.key(keys, index) or index
        self.add(ReferenceHit(owner, info.name, f'value of {name}'))

    def search_frames(self):
        frames = self.extents.frames
        for interp, frame in frames.running():
            try:
                size = min(frames.words(frame), MAX_FRAME)
                data = self.memory.read(frame, 8 * size)
                for place in self.places(frame, data or b''):
                    where, counted = frames.name(frame, place)
                    title = f'running {frames.title(frame)}()'
                    self.add(ReferenceHit(frame, title, where, counted))
            except RefmapError:
                continue
