"""Take out of a recording what is not needed to tell who leaked.

A type like dict has ten thousand births a run, of which a few leak. To decode
all of these events, with their stacks, takes a minute; to look at the first
words of each a fraction of a second. What is kept is the life of the objects
that leaked, of the containers that died with them, and of a sample of objects
that did not leak: those show where the references should have been released.

Works on bytes, in any interpreter. recording.py describes the records.
"""

import array

BIRTH, CHANGE, DEATH, MOVE, RETURN, STORED, GONE = range(1, 8)
SHIFTED = 14

# A recording with fewer records is left as it is.
FEW_RECORDS = 2000
# Objects that did not leak: of each stack that made one that leaked, and of all
# others together.
ALIKE = 20
OTHERS = 50
# Return addresses by which stacks of births are compared.
DEPTH = 12

# Words of a BIRTH or CHANGE before the frames.
_CHANGE_WORDS = 9


class _Records:
    """The first words of each record of a recording.

    items -- [(position, kind, length)]
    """

    def __init__(self, data):
        self.words = memoryview(data).cast('Q')
        self.items = list(self._walk())

    def _walk(self):
        words, at, end = self.words, 0, len(self.words)
        while at < end:
            head = words[at]
            length = head >> 32
            if not 0 < length <= end - at:
                raise ValueError('this is no recording: the record at byte '
                                 f'{8 * at} has {length} words')
            yield at, head & 0xff, length
            at += length

    def nframes(self, at):
        return self.words[at] >> 8 & 0xff

    def stack(self, at):
        """Return the innermost return addresses of a birth, as bytes."""
        first = at + _CHANGE_WORDS
        depth = min(self.nframes(at), DEPTH)
        return self.words[first:first + 2 * depth:2].tobytes()

    def enclosing(self, at):
        """Return the births of the containers that died around a change."""
        count = self.words[at + 8]
        first = at + _CHANGE_WORDS + 2 * self.nframes(at)
        return self.words[first + 2:first + 4 * count:4].tolist()


def sample(records, leaked):
    """Return the births of some objects that did not leak, as a set.

    leaked -- births
    """
    words = records.words
    left, others = {}, []
    births = [(words[at + 3], at) for at, kind, _ in records.items
              if kind == BIRTH]
    for birth, at in births:
        if birth in leaked:
            left[records.stack(at)] = ALIKE
    found = set()
    for birth, at in births:
        if birth in leaked:
            continue
        stack = records.stack(at)
        if left.get(stack):
            left[stack] -= 1
            found.add(birth)
        elif stack not in left:
            others.append(birth)
    step = -(-len(others) // OTHERS) or 1
    found.update(others[::step])
    return found


def with_containers(records, births, addresses):
    """Return the births, and those of the containers that died around changes
    of these objects."""
    words = records.words
    found = set(births)
    for at, kind, _ in records.items:
        if kind in (BIRTH, CHANGE) and (words[at + 3] in births
                                        or words[at + 1] in addresses):
            found.update(records.enclosing(at))
    found.discard(0)            # static objects
    return found


def with_moves(records, addresses):
    """Return the addresses, and those at which objects are that were there."""
    words = records.words
    found = set(addresses)
    for at, kind, _ in records.items:
        if kind == MOVE and words[at + 1] in found:
            found.add(words[at + 2])
    return found


def kept_tokens(records, births, addresses):
    """Return the tokens of the references to the objects, as a set."""
    words = records.words
    tokens = set()
    for at, kind, _ in records.items:
        if kind in (BIRTH, CHANGE) and (words[at + 3] in births
                                        or words[at + 1] in addresses):
            n, token = words[at + 2], words[at + 6]
            if token and not n >> 63:
                tokens.update(range(token, token + n))
    return tokens


def filter_return(words, at, tokens):
    """Return the words of a RETURN with these tokens only, or None if it has
    none of them."""
    nframes, noutcomes = words[at] >> 8 & 0xff, words[at + 3]
    frames_end = at + 5 + 2 * nframes
    places_at = frames_end + 3 * noutcomes
    outcomes, places = array.array('Q'), array.array('Q')
    for i in range(frames_end, places_at, 3):
        if words[i] in tokens:
            outcomes.extend(words[i:i + 3])
    if not outcomes:
        return None
    for i in range(places_at, places_at + 4 * words[at + 4], 4):
        if words[i] in tokens:
            places.extend(words[i:i + 4])
    record = array.array('Q', words[at:frames_end])
    record[3], record[4] = len(outcomes) // 3, len(places) // 4
    record += outcomes + places
    record[0] = record[0] & 0xffffffff | len(record) << 32
    return record


class _Keeper:
    """Which records are kept.

    births, addresses -- of the objects whose lives are kept
    tokens -- numbers of the references to them
    """

    def __init__(self, words, births, addresses, tokens):
        self._words = words
        self._births = births
        self._addresses = addresses
        self._tokens = tokens
        self._here = set(addresses)     # where such an object lives by now

    def keeps(self, at, kind):
        """Is the record at a position kept? To be asked in their order."""
        words = self._words
        if kind in (BIRTH, CHANGE):
            return self._is_one(words[at + 1], words[at + 3])
        if kind == DEATH:
            return self._is_one(words[at + 1], words[at + 2])
        if kind == MOVE:
            source, to, birth = words[at + 1:at + 4]
            self._here.discard(source)
            return self._is_one(to, birth)
        if kind in (STORED, GONE, SHIFTED):
            token, address = words[at + 1:at + 3]
            # A place that was set before it was counted has no token.
            return token in self._tokens or not token and address in self._here
        return True

    def _is_one(self, address, birth):
        """Is the object that has an address now one of them?"""
        is_one = birth in self._births or address in self._addresses
        (self._here.add if is_one else self._here.discard)(address)
        return is_one


def thin(data, leaked, addresses=()):
    """Return a recording with less in it, as bytes.

    data -- of sys.refmap_record_stop()
    leaked -- births of the objects that leaked
    addresses -- of older objects, which are kept, too
    Raise ValueError if this is no recording.
    """
    records = _Records(data)
    if len(records.items) <= FEW_RECORDS:
        return data
    words, leaked = records.words, set(leaked)
    addresses = with_moves(records, addresses)
    births = with_containers(records, leaked | sample(records, leaked),
                             addresses)
    tokens = kept_tokens(records, births, addresses)
    kept = array.array('Q')
    keeper = _Keeper(words, births, addresses, tokens)
    for at, kind, length in records.items:
        if kind == RETURN:
            kept.extend(filter_return(words, at, tokens) or ())
        elif keeper.keeps(at, kind):
            kept.extend(words[at:at + length])
    return kept.tobytes()
