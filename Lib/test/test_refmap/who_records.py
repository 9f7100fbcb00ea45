"""Literal recordings for the tests of refmap.who, and made-up symbols.

A stack is a string, innermost function first: 'f:1 g:2' is f() in the
activation 1, called by g() in 2. Functions that were inlined are in front of
the function that they are part of: 'inner,f:1 g:2'. A function is in the file
'a.c', at line 1, unless it was told otherwise to Tape.place().
"""

import array

from refmap.who.contracts import Contracts
from refmap.who.recording import decode
from refmap.who.symbols import Site

NO_CONTRACTS = Contracts()


class Symbols:
    """What symbols.Symbols does, for addresses that a Tape gave out."""

    def __init__(self):
        self.sites = {}             # pc -> tuple of Site
        self.functions = {}         # address -> Site
        self.handing_out = set()    # functions that can hand out objects
        self.keeping = set()        # functions that can not

    def resolve(self, pcs):
        pass

    def at(self, pc):
        return self.sites.get(pc, (Site('??', '??', 0),))

    def function(self, address):
        return self.functions.get(address, Site('??', '??', 0))

    def field(self, type, offset, types=()):
        return None

    def callees(self, address):
        return frozenset()

    def ranges(self, names):
        return []

    def writers(self, address, offset, null):
        return []

    def working_on(self, functions, type, types=()):
        return set()

    def returns_object(self, function):
        return None

    def hands_out(self, function):
        return function in self.handing_out or (
            False if function in self.keeping else None)


class Tape:
    """Writes records, one method for each kind, as the recorder would."""

    def __init__(self):
        self.words = []
        self.symbols = Symbols()
        self._places = {}           # function -> (file, line)
        self._pcs = {}
        self._types = {}            # name -> address

    # --- symbols

    def place(self, function, file, line):
        """Say where a function is, before its first use."""
        self._places[function] = (file, line)

    def site(self, function):
        return Site(function, *self._places.get(function, ('a.c', 1)))

    def entry(self, function):
        """Return the address of a function."""
        address = 0x5000 + 16 * len(self.symbols.functions)
        self.symbols.functions[address] = self.site(function)
        return address

    def frames(self, stack):
        found = []
        for word in stack.split():
            names, _, number = word.partition(':')
            pc = self._pcs.setdefault(names, 0x1000 + len(self._pcs))
            self.symbols.sites[pc] = tuple(map(self.site, names.split(',')))
            found += [pc, int(number) * 0x100]
        return found

    # --- records

    def record(self, kind, words, frames=(), thread=0):
        head = (kind | len(frames) // 2 << 8 | thread << 16
                | (len(words) + 1) << 32)
        self.words += [head, *(word & (1 << 64) - 1 for word in words)]

    def text(self, text):
        data = text.encode()
        data += bytes(-len(data) % 8)
        return array.array('Q', data).tolist()

    def type(self, name, dealloc=None, traverse=None, clear=None, base=0,
             iternext=None, flags=0):
        """Write a type; return its address. The functions are names."""
        if name not in self._types:
            self._types[name] = 0x9000 + 0x100 * len(self._types)
            slots = [self.entry(f) if f else 0
                     for f in (dealloc, traverse, clear, iternext)]
            data = self.text(name)
            self.record(11, [self._types[name], 32, 0, flags, *slots[:3], base,
                             slots[3], len(name.encode()), *data])
        return self._types[name]

    def change(self, address, n, stack, token=0, *, kind=2, birth=1, name='T',
               deaths=(), code=0, line=0, refcnt=1):
        type = self.type(name)
        frames = self.frames(stack)
        enclosing = [word for death in deaths for word in death]
        self.record(kind, [address, n, birth, type, refcnt, token,
                           code << 32 | line, len(deaths), *frames, *enclosing],
                    frames)

    def birth(self, address, stack, token, **more):
        self.change(address, 1, stack, token, kind=1, **more)

    def death(self, address, stack, birth=1, name='T'):
        frames = self.frames(stack)
        self.record(3, [address, birth, self.type(name), 0, *frames], frames)

    def move(self, source, to, stack='f:1', birth=1):
        frames = self.frames(stack)
        self.record(4, [source, to, birth, *frames], frames)

    def ret(self, slot, stack, outcomes=(), places=(), value=0):
        """outcomes: (token, outcome, activation); places: (token, location,
        base, base type)"""
        frames = self.frames(stack)
        words = [word for token, outcome, to in outcomes
                 for word in (token, outcome, to * 0x100)]
        words += [word for place in places for word in place]
        self.record(5, [slot * 0x100, value, len(outcomes), len(places), *frames,
                        *words], frames)

    def stored(self, token, address, location, base=0, base_type=0, stack='f:1'):
        frames = self.frames(stack)
        self.record(6, [token, address, location, base, base_type, *frames],
                    frames)

    def shifted(self, token, address, before, location, base, stack='f:1'):
        frames = self.frames(stack)
        self.record(14, [token, address, before, location, base, 0, *frames],
                    frames)

    def moved_block(self, source, to):
        self.record(15, [source, to])

    def gone(self, token, address, location, base, stack, previous, *, flags=0,
             now=0, previous_object=0, object=0):
        frames, before = self.frames(stack), self.frames(previous)
        self.record(7, [token, address, location, base, flags, now,
                        previous_object, object, len(before) // 2, *frames,
                        *before], frames)

    def alloc(self, address, size, stack):
        frames = self.frames(stack)
        self.record(8, [address, size, 1, 0, *frames], frames)

    def free(self, address):
        self.record(9, [address])

    def code(self, index, line, name, file):
        self.record(10, [index, line, len(name.encode()), len(file.encode()),
                         *self.text(name), *self.text(file)])

    def lost(self, records, tokens):
        self.record(12, [records, tokens, 1])

    def module(self, start, end, offset, path):
        self.record(13, [start, end, offset, len(path.encode()),
                         *self.text(path)])

    # --- the end

    def bytes(self):
        return array.array('Q', self.words).tobytes()

    def recording(self):
        return decode(self.bytes())
