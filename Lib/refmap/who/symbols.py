"""Names of code: addresses in memory to functions, files and lines, and back;
and what debug information says of fields and of the types of functions.
"""

from . import binutils, debuginfo
from .binutils import ToolError
# Who looks up names may have all of these from here.
from .loaded import mapped_modules, parse_maps
from .roles import ALLOCATORS, CALLS, TRANSPARENT, is_transparent
from .sites import MAX_WRITERS, UNKNOWN, Site, Sites

# Functions in tp_dealloc, tp_traverse and tp_clear that say nothing about the
# type: they serve every class statement, or whatever has nothing of its own.
_SHARED_SLOTS = ('subtype_', 'object_dealloc', 'PyObject_', '_PyObject_',
                 'PyMem_')

# Of a type so many bases are looked up with it; in a corrupt recording they may go
# round.
MAX_BASES = 20


class Symbols(Sites):
    """The names of all code in a process.

    notes -- sentences that say what is unknown, and why
    """

    def __init__(self, modules=None):
        """modules -- as for LoadedCode"""
        super().__init__(modules)
        self._structures = {}
        self._hands_out = {}    # function -> True, False or None
        self._working = {}      # see _key(); of each {function: works on it}

    def _ask(self, binary, question):
        """Return gdb's answer on a file, or {}."""
        try:
            return debuginfo.ask(binary.path, question)
        except ToolError as exc:
            self.note(f'{exc}: names of fields and types of functions are '
                      f'unknown.')
            return {}

    def field(self, type, offset, types=()):
        """Return the C name of the field at an offset, or None.

        type -- a Type of a Recording
        offset -- from the start of the object, in bytes
        types -- {address: Type}, for the bases of a type that was made by a
                 class statement: these have no structure of their own
        """
        owner = self._owner_of_structure(type, types)
        if offset < 0:
            return debuginfo.field_before(type.flags, offset)
        if owner is None:
            return debuginfo.HEAD.get(offset)
        names = [self.function(slot).function for slot in self._slots(owner)]
        words = debuginfo.words_of(owner.name, names)
        return debuginfo.field_at(self._candidates(owner, types), owner, words,
                                  offset)

    def _owner_of_structure(self, type, types):
        """Return the type in its chain of bases that is written in C."""
        seen = set()
        while type is not None and type.address not in seen:
            if self._slots(type):
                return type
            seen.add(type.address)
            type = types.get(type.base) if types else None
        return None

    def _slots(self, type):
        """Return the addresses of the type's own functions."""
        slots = [slot for slot in (type.dealloc, type.traverse, type.clear)
                 if slot]
        self.resolve(slot + 1 for slot in slots)
        return [slot for slot in slots
                if not self.function(slot).function.startswith(_SHARED_SLOTS)]

    def learn_fields(self, wanted, types=()):
        """Look up the structures of many Types at once. See field()."""
        questions = {}
        for type in wanted:
            owner = self._owner_of_structure(type, types)
            if owner is None or self._key(owner) in self._structures:
                continue
            self._structures[self._key(owner)] = []
            for slot in self._slots(owner):
                binary, address = self._locate(slot)
                if address is not None:
                    of_type = questions.setdefault(binary, {})
                    _, addresses = of_type.setdefault(self._key(owner),
                                                      (owner, []))
                    addresses.append(address)
        for binary, of_type in questions.items():
            asked = [{'code': addresses, 'size': type.basicsize,
                      'items': type.itemsize}
                     for type, addresses in of_type.values()]
            answers = self._ask(binary, {'types': asked}).get('types', [])
            for key, found in zip(of_type, answers):
                self._structures[key] += found

    def working_on(self, functions, type, types=()):
        """Return those of the functions, by name, that have an argument or a
        variable which points to a structure of the type's size; empty if
        debug information does not tell.

        functions -- names
        type, types -- as for field()
        """
        owner = self._owner_of_structure(type, types)
        if owner is None:
            return set()
        known = self._working.setdefault(self._key(owner), {})
        asked = {}
        for name in {*functions} - known.keys():
            known[name] = False
            for start, _ in self.ranges([name]):
                binary, address = self._locate(start)
                if address is not None:
                    asked.setdefault(binary, []).append((name, address))
        for binary, pairs in asked.items():
            answers = self._ask(binary, {'types': [
                {'code': [address], 'size': owner.basicsize,
                 'items': owner.itemsize} for _, address in pairs]})
            for (name, _), ctypes in zip(pairs, answers.get('types', ())):
                known[name] |= any(c['used'] and c['size'] == owner.basicsize
                                   for c in ctypes)
        return {name for name in functions if known[name]}

    @staticmethod
    def _key(type):
        # Another type may come to the address of a dead one.
        return type.address, type.name, type.basicsize, type.dealloc

    def _candidates(self, type, types):
        # Who asks for a type goes on with its bases, mostly.
        chain = [type]
        while types and chain[-1].base in types and len(chain) < MAX_BASES:
            chain.append(types[chain[-1].base])
        self.learn_fields(chain, types)
        return self._structures[self._key(type)]

    def hands_out(self, function):
        """Can a function hand an object to its caller, by the types of its
        result and of its parameters?

        function -- its name, as in a Site. None: not known. Where several
        functions have the name, one is enough.
        """
        if function not in self._hands_out and function != '??':
            self._learn_ways_out(function)
        return self._hands_out.setdefault(function, None)

    def _learn_ways_out(self, function):
        # One call of gdb for every function that was seen so far costs little
        # more than one for this function.
        if function not in self._asked_at:
            self._find_entry(function)
        binaries = {}
        for name, pcs in self._asked_at.items():
            if name in self._hands_out:
                continue
            self._hands_out[name] = None
            for pc in sorted(pcs)[:2]:
                binary, address = self._locate(pc - 1)
                # Where there are no lines gdb would look for types in vain.
                if address is not None and binary.has_lines is not False:
                    binaries.setdefault(binary, []).append(address)
        for binary, addresses in binaries.items():
            answer = self._ask(binary, {'hands_out': addresses})
            for name, known in answer.get('hands_out', {}).items():
                name = binutils.base_name(name)
                self._hands_out[name] = self._hands_out.get(name) or known

    def _find_entry(self, function):
        """Look up a function that no address was seen of."""
        for start, length in self.ranges([function]):
            self._asked_at.setdefault(function, set()).add(start + 1)
