"""The records of sys.refmap_record(), in the memory of the process.

Include/internal/pycore_refmap_record.h tells the format."""

import collections

from .errors import RefmapError
from .limits import MAX_OBJECT

(VOID, BIRTH, CHANGE, DEATH, MOVE, RETURN, STORED, GONE, ALLOC, FREE, CODE,
 TYPE, LOST, MODULE, SHIFTED, BLOCK_MOVED) = range(16)

# In the place of the type of a base: the base is the state of a thread.
THREAD_STATE = 1

# One record, without its first word. frames: [(return address, slot)], where
# they are; a slot is the identity of the call of a function.
Record = collections.namedtuple('Record', 'kind words frames')

# How many words come before the frames, where there are frames.
BEFORE_FRAMES = {BIRTH: 8, CHANGE: 8, DEATH: 4, MOVE: 3, RETURN: 4, STORED: 5,
                 GONE: 9, SHIFTED: 6}


def words_of_text(size):
    return (size + 7) // 8


class Tape:
    """What has been recorded so far, or by the last recording."""

    SYMBOL = '_PyRefMap_tape'
    STRUCT = 'struct _refmap_tape'

    def __init__(self, target):
        """Raise RefmapError if there is nothing."""
        address = target.symbol(self.SYMBOL)
        if address is None:
            raise RefmapError('This interpreter can not record: see '
                              'sys.refmap_record().')
        form = target.struct(self.STRUCT)
        data = target.record(self.STRUCT, address)
        words, used, room, self.lost = (form.get(data, name) for name in (
            'words', 'used', 'allocated', 'lost_records'))
        if not words or not used:
            raise RefmapError('There is no recording in the process: see '
                              'sys.refmap_record().')
        if used > room or 8 * room > MAX_OBJECT:
            raise RefmapError(f'The recording is damaged: it claims {used} '
                              f'words in room for {room}.')
        data = target.memory.read(words, 8 * used)
        if data is None:
            raise RefmapError(f"The recording at {words:#x} can't be read.")
        # The recorder is for x86-64 only.
        self.words = memoryview(data).cast('Q')

    def records(self):
        """Yield a Record for each, the oldest first. A thread that was stopped
        while it wrote may have left the last one incomplete."""
        words, at = self.words, 0
        while at < len(words):
            first = words[at]
            kind, nframes, size = first & 255, first >> 8 & 255, first >> 32
            if size == 0 or at + size > len(words):
                break
            body = words[at + 1:at + size]
            start = BEFORE_FRAMES.get(kind)
            if start is None or len(body) >= start + 2 * nframes:
                numbers = body[start or 0:(start or 0) + 2 * nframes].tolist()
                frames = list(zip(numbers[0::2], numbers[1::2]))
                yield Record(kind, body, frames if start else [])
            at += size

    def text(self, body, start, size):
        """Return a string of `size` bytes from word `start` of a record."""
        data = body[start:start + words_of_text(size)].tobytes()
        return data[:size].decode('utf-8', 'replace')
