"""What was recorded of one object: who took references, who gave them back."""

import itertools

from .backtrace import ShortBacktrace
from .code import CodeNames, site_text
from .errors import RefmapError
from .memory import signed
from .tape import (BIRTH, BLOCK_MOVED, CHANGE, CODE, DEATH, GONE, MOVE, RETURN,
                   SHIFTED, STORED, THREAD_STATE, TYPE, Tape, words_of_text)

# What became of a reference when the function returned that held it.
RETURNED, ON_STACK, IN_MEMORY, NOWHERE, DIED, ABANDONED = range(1, 7)

# Bytes that may be in front of an object in its block of memory.
HEADERS = 0, 16, 32


class ObjectHistory:
    """The records of one object, from the first to the last.

    address, birth -- where it is, or was at last; the serial number, 0 if it
                      has none
    records        -- [Record]
    """

    def __init__(self, target, address, birth):
        """`birth` is that of the object which lives at `address`; 0: none
        does, the last one that was recorded there is meant. Raise
        RefmapError if there are no records."""
        self.serial = target.layout.birth_serial
        self.tape = Tape(target)
        self.types = {}             # address -> name
        self.codes = {}             # index -> (qualified name, file)
        self.address = address
        self.birth = birth & self.serial or self.last_birth(address)
        self.tokens = set()
        self.bases = set()          # in what memory references were
        self.records = [record for record in self.tape.records()
                        if self.is_about_it(record)]
        if not self.records:
            raise RefmapError(f'The recording has nothing of an object at '
                              f'{address:#x}: it was not watched.')

    def last_birth(self, address):
        """Return the birth in the last record about an object at `address`."""
        last = 0
        for kind, words, _ in self.tape.records():
            place = {BIRTH: 0, CHANGE: 0, MOVE: 1}.get(kind)
            if place is not None and words[place] == address:
                last = words[2] & self.serial
        return last

    def is_it(self, address, birth):
        return (birth & self.serial == self.birth
                and (self.birth != 0 or address == self.address))

    def is_about_it(self, record):
        """Is this record about the object? Take in what it says of names and
        references."""
        kind, words, _ = record
        if kind in (BIRTH, CHANGE):
            if not self.is_it(words[0], words[2]):
                return False
            n, token = signed(words[1]), words[5]
            if n > 0 and token:
                self.tokens.update(range(token, token + min(n, 64)))
            return True
        if kind == DEATH:
            return self.is_it(words[0], words[1])
        if kind == MOVE:
            return self.is_it(words[1], words[2])
        if kind == RETURN:
            self.bases.update(base for token, _, base, _ in self.places(record)
                              if token in self.tokens)
            return any(token in self.tokens
                       for token, _, _ in self.outcomes(record))
        if kind in (STORED, GONE, SHIFTED):
            is_its = words[0] in self.tokens
            if is_its and kind != GONE:
                self.bases.add(words[3 if kind == STORED else 4])
            return is_its
        if kind == BLOCK_MOVED and len(words) >= 2:
            moved = {size for size in HEADERS if words[0] + size in self.bases}
            self.bases.update(words[1] + size for size in moved)
            return bool(moved)
        if kind == CODE and len(words) >= 4:
            name = self.tape.text(words, 4, words[2])
            file = self.tape.text(words, 4 + words_of_text(words[2]), words[3])
            self.codes[words[0]] = name, file
        elif kind == TYPE and len(words) >= 10:
            self.types[words[0]] = self.tape.text(words, 10, words[9])
        return False

    def outcomes(self, record):
        """Return [(token, outcome, to)] of a RETURN."""
        start = 4 + 2 * len(record.frames)
        words = record.words[start:start + 3 * record.words[2]].tolist()
        return list(zip(words[0::3], words[1::3], words[2::3]))

    def places(self, record):
        """Return [(token, location, base, type of the base)] of a RETURN."""
        start = 4 + 2 * len(record.frames) + 3 * record.words[2]
        words = record.words[start:start + 4 * record.words[3]].tolist()
        return list(zip(words[0::4], words[1::4], words[2::4], words[3::4]))

    def type_name(self, address):
        return self.types.get(address, '?')


class HistoryReport:
    """The lines about an ObjectHistory."""

    def __init__(self, history):
        self.history = history
        self.code_names = CodeNames()

    def title(self):
        name = next((self.history.type_name(words[3 if kind != DEATH else 2])
                     for kind, words, _ in reversed(self.history.records)
                     if kind in (BIRTH, CHANGE, DEATH)), '?')
        birth = self.history.birth
        birth = f'birth {birth}' if birth else 'without a birth'
        return f'{self.history.address:#x} ({name}), {birth}'

    def lines(self, first, limit, frames):
        """Yield the lines about `limit` records from number `first` on, each
        with that many frames; None: those that lead to the Python code."""
        for number, record in enumerate(self.history.records[first - 1:],
                                        first):
            if number >= first + limit:
                break
            head, *more = self.heads(record)
            yield f'{number}: {head}'
            for line in more:
                yield f'  {line}'
            if record.kind not in (RETURN, STORED):
                yield from self.frame_lines(record.frames, frames)

    def heads(self, record):
        """Yield what a record says, but for its frames."""
        kind, words, _ = record
        if kind in (BIRTH, CHANGE):
            yield self.change_text(record)
            yield from self.death_lines(record)
        elif kind == DEATH:
            yield f'dies{self.python_text(words[3])}'
        elif kind == MOVE:
            yield f'moves from {words[0]:#x} to {words[1]:#x}'
        elif kind == RETURN:
            yield from self.return_lines(record)
        elif kind == STORED:
            place = self.place_text(*words[2:5])
            yield f'reference {words[0]} is found {place}'
        elif kind == BLOCK_MOVED:
            yield f'what was in memory at {words[0]:#x} is at {words[1]:#x} now'
        elif kind == SHIFTED:
            place = self.place_text(*words[3:6])
            yield f'reference {words[0]} is now {place}, as its memory moved'
        else:
            place = self.place_text(words[2], words[3], 0)
            how = ', which died' if words[4] & 1 else ''
            yield f'reference {words[0]} is no longer {place}{how}'

    def change_text(self, record):
        words = record.words
        n, token = signed(words[1]), words[5]
        text = 'born' if record.kind == BIRTH else f'{n:+}'
        if n > 0 and token:
            last = f' to {token + n - 1}' if n > 1 else ''
            text += f': reference {token}{last}'
        return text + self.python_text(words[6])

    def death_lines(self, record):
        """The objects that died around it, the innermost first."""
        start = 8 + 2 * len(record.frames)
        words = record.words[start:start + 4 * record.words[7]].tolist()
        for address, type_address in zip(words[0::4], words[1::4]):
            name = self.history.type_name(type_address)
            if address != self.history.address:
                yield f'while {address:#x} ({name}) dies'

    def return_lines(self, record):
        slots = {slot: pc for pc, slot in record.frames}
        who = self.function(slots.get(record.words[0]))
        for token, outcome, to in self.history.outcomes(record):
            if token in self.history.tokens:
                holder = self.function(slots.get(to))
                yield f'reference {token}: ' + {
                    RETURNED: f'{who} returns it to {holder}',
                    ON_STACK: f'{who} returns, {holder} has it on its stack',
                    IN_MEMORY: f'{who} returns, it is in memory',
                    NOWHERE: f'{who} returns, and it is found nowhere',
                    DIED: f'{who} returns after the object died',
                    ABANDONED: f'{who} is left by longjmp() or an exception',
                }.get(outcome, f'{who} returns')
        for token, *place in self.history.places(record):
            if token in self.history.tokens:
                yield f'reference {token} is {self.place_text(*place)}'

    def place_text(self, location, base, type_address):
        if not base:
            return f'at {location:#x}'
        if not type_address:
            return f'at {location:#x}, {location - base} bytes inside {base:#x}'
        if type_address == THREAD_STATE:
            return f'at {location:#x}, in the state of the thread at {base:#x}'
        return (f'at {location:#x}, {location - base} bytes inside the '
                f'{self.history.type_name(type_address)} at {base:#x}')

    def python_text(self, where):
        """Return where the Python code was: index << 32 | line."""
        name, file = self.history.codes.get(where >> 32, (None, None))
        return f', {name} at {file}:{where & 0xffffffff}' if name else ''

    def function(self, address):
        """Return the name of the function that a call returns to."""
        return self.code_names.sites(address)[-1][0] if address else '?'

    def frame_lines(self, frames, limit):
        """Yield the C frames; who calls the hooks of the map is of interest."""
        shown = 0
        for site in itertools.chain.from_iterable(
                self.code_names.sites(address) for address, _ in frames):
            if ShortBacktrace.SKIPPED.match(site[0]):
                continue
            if shown == limit:
                break
            shown += 1
            yield f'  C      {site_text(site)}'
            if limit is None and site[0] == '_PyEval_EvalFrameDefault':
                break
