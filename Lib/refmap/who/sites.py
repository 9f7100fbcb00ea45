"""Addresses of code to functions, files and lines.

What is known of an address depends on the file that it was loaded from. With
debug information: functions, also inlined ones, file and line. Without: the
function, if its symbol was kept, and the name of the file it was loaded from.
Stripped: exported functions only; the rest is '??', in MODULE+OFFSET.
"""

import os
from collections import namedtuple

from . import binutils, sources, writers
from .binutils import ToolError
from .loaded import LoadedCode

# file: relative to the source tree of CPython where it lies in it, or else to
# the current directory. Where it is not known it is the name of the module,
# and line is 0.
Site = namedtuple('Site', 'function file line')

# More functions than this write fields at an offset in a structure that is not
# known only.
MAX_WRITERS = 20

UNKNOWN = (Site('??', '??', 0),)


class Sites(LoadedCode):
    """The functions that code in a process belongs to, by its addresses."""

    def __init__(self, modules=None):
        """modules -- as for LoadedCode"""
        super().__init__(modules)
        self._roots = None
        self._sites = {}        # return address -> tuple of Sites
        self._asked_at = {}     # function -> return addresses in it
        self._codes = {}        # (path, address) -> {function: writers.Code}

    def _unknown(self, address):
        module = self._module_at(address)
        if module is None:
            return UNKNOWN
        offset = address - module[0] + module[2]
        name = os.path.basename(module[3])
        return (Site('??', f'{name}+{offset:#x}', 0),)

    def _relative(self, file):
        if self._roots is None:
            self._roots = sources.find_roots(self._paths(), self._binary)
        return sources.relative(file, self._roots)

    def resolve(self, pcs):
        """Look up return addresses, many at once. See at()."""
        wanted = {}
        for pc in {*pcs} - self._sites.keys():
            binary, address = self._locate(pc - 1)
            if address is None:
                self._sites[pc] = self._unknown(pc - 1)
            else:
                wanted.setdefault(binary, []).append((address, pc))
        for binary, pairs in wanted.items():
            self._resolve_in(binary, sorted(pairs))

    def _resolve_in(self, binary, pairs):
        try:
            answers = binary.lines([address for address, _ in pairs])
        except ToolError as exc:
            self._note_no_code(exc)
            answers = [()] * len(pairs)
        if not any(line.line for lines in answers for line in lines):
            self._note_no_lines(binary)
        for (_, pc), lines in zip(pairs, answers):
            self._sites[pc] = self._sites_of(pc, lines)

    def _note_no_lines(self, binary):
        # Of libraries that have nothing to do with Python it is expected.
        prefixes = '_Py', 'PyInit_'
        if any(symbol.name.startswith(prefixes)
               for symbol in self._symbols_of(binary.path)):
            self.note(f'{os.path.basename(binary.path)} has no debug '
                      f'information: source files and lines are unknown.')

    def _sites_of(self, pc, lines):
        unknown = self._unknown(pc - 1)
        module = unknown[0].file.rpartition('+')[0]
        sites = []
        for function, file, line in lines:
            if function == '??' and not file:
                sites.extend(unknown)
            else:
                site = (Site(function, self._relative(file), line) if file
                        else Site(function, module, 0))
                sites.append(site)
                self._asked_at.setdefault(function, set()).add(pc)
        return tuple(sites) or unknown

    def at(self, pc):
        """Return the Sites at a return address, innermost inlined first.

        The last one is the function that the compiler made code for. Looked
        up one by one unless resolve() was told before: that takes a tenth of
        a second for each.
        """
        if pc not in self._sites:
            self.resolve([pc])
        return self._sites[pc]

    def function(self, address):
        """Return the Site of the function that begins at an address."""
        return self.at(address + 1)[-1] if address else UNKNOWN[0]

    def callees(self, address):
        """Return the names of the functions that are called by the one which
        begins at an address, a frozenset; empty if that is not known."""
        binary, link_address = self._locate(address)
        if link_address is None:
            return frozenset()
        try:
            return binary.callees(link_address)
        except ToolError as exc:
            self.note(str(exc))
            return frozenset()

    def writers(self, address, offset, null):
        """Return the functions that write a field, as Sites; empty if that is
        not known.

        address -- of a function; those of its source file are looked at
        offset -- of the field, in bytes
        null -- was it set to NULL?
        """
        binary, link_address = self._locate(address)
        if link_address is None:
            return []
        try:
            codes = self._codes_beside(binary, link_address)
        except ToolError as exc:
            self.note(str(exc))
            return []
        names = writers.of_field(codes, offset, null)
        starts = [start for name in names for start, _ in self.ranges([name])
                  if self._locate(start)[0] is binary][:MAX_WRITERS]
        self.resolve(start + 1 for start in starts)
        return list(map(self.function, starts))

    def _codes_beside(self, binary, address):
        """Return the writers.Code of the functions in the source file of the
        one at a link address, by name."""
        key = binary.path, address
        if key not in self._codes:
            unit = binary.unit_of(address)
            text = binary.disassemble(
                unit[0].start, sum(unit[-1][:2])) if unit else ''
            names = {symbol.name for symbol in unit}
            self._codes[key] = {
                name: code for name, code
                in writers.parse(text, binutils.base_name).items()
                if name in names}
        return self._codes[key]
