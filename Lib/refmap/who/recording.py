"""What the recorder wrote: the bytes of sys.refmap_record_stop() as records.

A recording is a sequence of native 64-bit words. The first word of a record
says its kind, how many frames it has, its thread and its length, so that kinds
which are unknown here can be passed over.

Addresses, counts and lines are ints. `frames` are tuples of Frame, innermost
first. A frame's `pc` is a return address: it belongs to the call before it.
Its `slot`, the address of the word with the function's own return address, is
the identity of an activation: functions that were inlined share it, and a
callee has a smaller one than its caller. The last frame of a stack has the slot
0 where nothing more could be found out.
"""

from collections import namedtuple

Frame = namedtuple('Frame', 'pc slot')
Type = namedtuple('Type', 'address name basicsize itemsize flags dealloc '
                          'traverse clear base iternext', defaults=(0,))
# A _Py_Dealloc() that was running: of which object, by the frame at which
# slot.
Enclosing = namedtuple('Enclosing', 'address type birth slot')
# What became of a token when the activation that held it ended.
Outcome = namedtuple('Outcome', 'token outcome to')
# A word in memory that was found to hold a watched object. base: the object,
# or the block without an object, in which the word is (base_type 0); 0:
# unknown.
Place = namedtuple('Place', 'token location base base_type')

# The base_type where the base is the state of a thread: it has the exception
# that was raised, and the one that is handled.
THREAD_STATE = 1

# Outcomes. UNKNOWN: there was no time to search.
RETURNED, STACK, MEMORY, NOWHERE, DIED, ABANDONED, UNKNOWN = range(1, 8)
# Flag of Gone: the base died while it still held the object.
BASE_DIED = 1
# What debug builds fill memory with that is given back.
FREED = 0xdddddddddddddddd

# kind: 'birth' or 'change'. n: +k or -k. token: the first of the k tokens of a
# +k, 0 where they were not followed; of a -1 the token that it took for sure,
# or 0. deaths: tuple of Enclosing, innermost first. code: an index of
# Recording.codes, 0 for none.
Change = namedtuple('Change', 'kind thread address n birth type refcnt token '
                              'code line deaths frames')
Death = namedtuple('Death', 'thread address birth type code line frames')
Move = namedtuple('Move', 'thread source to birth frames')
# frames: the stack of the last hook before the return.
Return = namedtuple('Return', 'thread slot value frames outcomes places')
Stored = namedtuple('Stored', 'thread token address location base base_type '
                              'frames')
# before: the location in memory that is given back, from which the object was
# moved to the new one.
Shifted = namedtuple('Shifted', 'thread token address before location base '
                                'base_type frames')
# A block of memory was moved by realloc(), and what was known to be in it.
MovedBlock = namedtuple('MovedBlock', 'thread source to')
# now: what is at the location instead, 0 if it is no more. previous, previous_object: the stack
# and the object of the hook before; frames, object: those of the hook that saw
# it.
Gone = namedtuple('Gone', 'thread token address location base flags now '
                          'previous_object object frames previous')


def is_burial(gone):
    """Did a Gone record come about because what held the object was freed?"""
    return bool(gone.flags & BASE_DIED) or gone.now == FREED


Alloc = namedtuple('Alloc', 'thread address size domain code line frames')
Free = namedtuple('Free', 'thread address')
# memory: pieces of its own memory that the recorder could not have.
Lost = namedtuple('Lost', 'records tokens memory')


class Recording:
    """A decoded recording.

    events -- the records of the kinds above, in their order
    codes -- {index: (qualname, file name, first line)} of Python code
    types -- {address: Type}
    modules -- [(start, end, offset in the file, path)] of executable mappings
    lost -- Lost: what did not fit
    stacks -- {its words as bytes: the frames} of all stacks: one tuple each
    """

    def __init__(self):
        self.events = []
        self.stacks = {}
        self.codes = {}
        self.types = {}
        self.modules = []
        self.lost = Lost(0, 0, 0)

    def type_name(self, address):
        """Return the name of a type, '?' if it was not recorded."""
        found = self.types.get(address)
        return found.name if found is not None else '?'

    def pcs(self):
        """Return the set of all return addresses in the events."""
        return {frame.pc for frames in self.stacks.values()
                for frame in frames}

    def functions(self):
        """Return the set of the addresses of functions of types."""
        return {function for type in self.types.values() for function in
                (type.dealloc, type.traverse, type.clear) if function}


class _Words:
    """The words of one record, read from left to right."""

    def __init__(self, words, at, end, stacks):
        self._words = words
        self._stacks = stacks
        self._at = at
        self._end = end

    def _slice(self, count):
        start = self._at
        self._at += count
        if self._at > self._end:
            raise ValueError('this is no recording: a record is shorter than '
                             'what it says is in it')
        return self._words[start:self._at]

    def take(self, count):
        """Return the next words as a list."""
        return self._slice(count).tolist()

    def number(self):
        return self._slice(1)[0]

    def rows(self, make, count, width):
        """Return the next words as a tuple of `count` rows."""
        if not count:
            return ()
        words = self.take(count * width)
        return tuple([make(words[i:i + width])
                      for i in range(0, count * width, width)])

    def frames(self, count):
        """Return the next words as frames. The same stack is the same
        tuple."""
        words = self._slice(2 * count)
        key = words.tobytes()
        found = self._stacks.get(key)
        if found is None:
            numbers = iter(words.tolist())
            found = self._stacks[key] = tuple(map(Frame, numbers, numbers))
        return found

    def text(self, length):
        """Return a string of so many bytes, which is padded to a word."""
        data = self._slice((length + 7) // 8).tobytes()
        return data[:length].decode(errors='replace')


def _signed(word):
    return word - (1 << 64) if word >> 63 else word


def _code_and_line(word):
    return word >> 32, word & 0xffffffff


# Each of these reads the rest of a record of its kind. `nframes` and `thread`
# are from the first word.

def _change(kind, words, nframes, thread):
    address, n, birth, type, refcnt, token, where, ndeaths = words.take(8)
    frames = words.frames(nframes)
    deaths = words.rows(Enclosing._make, ndeaths, 4)
    return Change(kind, thread, address, _signed(n), birth, type,
                  _signed(refcnt), token, *_code_and_line(where), deaths,
                  frames)


def _read_birth(recording, words, nframes, thread):
    recording.events.append(_change('birth', words, nframes, thread))


def _read_change(recording, words, nframes, thread):
    recording.events.append(_change('change', words, nframes, thread))


def _read_death(recording, words, nframes, thread):
    address, birth, type, where = words.take(4)
    recording.events.append(Death(
        thread, address, birth, type, *_code_and_line(where),
        words.frames(nframes)))


def _read_move(recording, words, nframes, thread):
    recording.events.append(Move(thread, *words.take(3),
                                 words.frames(nframes)))


def _read_return(recording, words, nframes, thread):
    slot, value, noutcomes, nplaces = words.take(4)
    frames = words.frames(nframes)
    outcomes = words.rows(Outcome._make, noutcomes, 3)
    places = words.rows(Place._make, nplaces, 4)
    recording.events.append(Return(thread, slot, value, frames, outcomes,
                                   places))


def _read_stored(recording, words, nframes, thread):
    recording.events.append(Stored(thread, *words.take(5),
                                   words.frames(nframes)))


def _read_shifted(recording, words, nframes, thread):
    recording.events.append(Shifted(thread, *words.take(6),
                                    words.frames(nframes)))


def _read_moved_block(recording, words, nframes, thread):
    recording.events.append(MovedBlock(thread, *words.take(2)))


def _read_gone(recording, words, nframes, thread):
    *known, nprevious = words.take(9)
    recording.events.append(Gone(thread, *known, words.frames(nframes),
                                 words.frames(nprevious)))


def _read_alloc(recording, words, nframes, thread):
    address, size, domain, where = words.take(4)
    recording.events.append(Alloc(
        thread, address, size, domain, *_code_and_line(where),
        words.frames(nframes)))


def _read_free(recording, words, nframes, thread):
    recording.events.append(Free(thread, words.number()))


def _read_code(recording, words, nframes, thread):
    index, line, name_length, file_length = words.take(4)
    qualname = words.text(name_length)
    recording.codes[index] = (qualname, words.text(file_length), line)


def _read_type(recording, words, nframes, thread):
    address, basicsize, itemsize, flags, *slots, length = words.take(10)
    recording.types[address] = Type(address, words.text(length),
                                    _signed(basicsize), _signed(itemsize),
                                    flags, *slots)


def _read_lost(recording, words, nframes, thread):
    recording.lost = Lost(*words.take(3))


def _read_module(recording, words, nframes, thread):
    start, end, offset, length = words.take(4)
    recording.modules.append((start, end, offset, words.text(length)))


_READERS = {1: _read_birth, 2: _read_change, 3: _read_death, 4: _read_move,
            5: _read_return, 6: _read_stored, 7: _read_gone, 8: _read_alloc,
            9: _read_free, 10: _read_code, 11: _read_type, 12: _read_lost,
            13: _read_module, 14: _read_shifted, 15: _read_moved_block}


def decode(data):
    """Return the Recording of what sys.refmap_record_stop() returned.

    data -- bytes
    Records of unknown kinds are left out. Raise ValueError if this is no
    recording.
    """
    if len(data) % 8:
        raise ValueError('this is no recording: its length is no multiple '
                         'of 8')
    words = memoryview(data).cast('Q')
    recording = Recording()
    at = 0
    while at < len(words):
        head = words[at]
        length = head >> 32
        if not 0 < length <= len(words) - at:
            raise ValueError(f'this is no recording: the record at byte '
                             f'{8 * at} has {length} words')
        reader = _READERS.get(head & 0xff)
        if reader is not None:
            reader(recording, _Words(words, at + 1, at + length,
                                     recording.stacks),
                   head >> 8 & 0xff, head >> 16 & 0xffff)
        at += length
    return recording
