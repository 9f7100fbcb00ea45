"""The code in a process: what is loaded where, and from which file.

parse_maps() reads what a system says; LoadedCode finds the file of an address,
and the addresses of functions.
"""

import itertools
from bisect import bisect_right

from . import binutils
from .binutils import ToolError


def parse_maps(lines):
    """Return the modules in the lines of a /proc/PID/maps.

    They are tuples (start, end, offset in the file, path) of what can be
    executed, as in Recording.modules.
    """
    modules = []
    for line in lines:
        fields = line.rstrip('\n').split(None, 5)
        if len(fields) < 6 or 'x' not in fields[1] or fields[5][0] != '/':
            continue
        start, _, end = fields[0].partition('-')
        # A line break is the only character that the kernel escapes.
        path = fields[5].replace('\\012', '\n')
        modules.append((int(start, 16), int(end, 16), int(fields[2], 16),
                        path))
    return modules


def mapped_modules():
    """Return the modules of this process; none where there is no /proc."""
    try:
        with open('/proc/self/maps', errors='surrogateescape') as file:
            return parse_maps(file)
    except OSError:
        return []


def _disjoint(ranges):
    """Join what overlaps in a sorted list of (start, length)."""
    joined = []
    for start, length in ranges:
        if joined and start < sum(joined[-1]):
            before, old = joined.pop()
            start, length = before, max(old, start + length - before)
        joined.append((start, length))
    return joined


class LoadedCode:
    """The files that the code in a process was loaded from.

    notes -- sentences that say what is unknown, and why: a tool is missing, a
             file was deleted
    """

    def __init__(self, modules=None):
        """modules -- tuples (start, end, offset in the file, path), as in
        Recording.modules; None: those of this process, as they are now"""
        if modules is None:
            modules = mapped_modules()
        self.notes = []
        self._modules = sorted(modules)
        self._starts = [module[0] for module in self._modules]
        self._binaries = {}     # path -> Binary, or None

    def note(self, text):
        """Add a sentence to the notes, once."""
        if text not in self.notes:
            self.notes.append(text)

    def _note_no_code(self, reason):
        self.note(f'{reason}: functions, files and lines are unknown.')

    def _paths(self):
        """Return the set of the files that were loaded."""
        return {module[3] for module in self._modules}

    def _module_at(self, address):
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self._modules[index][1]:
            return self._modules[index]
        return None

    def _binary(self, path):
        if path not in self._binaries:
            try:
                self._binaries[path] = binutils.binary(path)
            except ToolError as exc:
                self._note_no_code(exc)
                self._binaries[path] = None
        return self._binaries[path]

    def _locate(self, address):
        """Return (Binary or None, link address or None) of an address."""
        module = self._module_at(address)
        if module is None:
            return None, None
        start, _, offset, path = module
        binary = self._binary(path)
        return binary, binary and binary.link_address(address - start + offset)

    def _absolute(self, path, address, length):
        """Yield (start, length) of what a file has at a link address."""
        offset = self._binaries[path].file_offset(address)
        if offset is None:
            return
        for start, end, begin, name in self._modules:
            where = start + offset - begin
            if name == path and start <= where < end:
                yield where, length

    def ranges(self, names):
        """Return [(start, length)] of the code of functions: sorted, and none
        overlaps another.

        names -- of C functions; those that end in '*' stand for all that begin
                 like this. All functions with such a name are found, static
                 ones and the clones that the compiler made, too.
        """
        exact = {name for name in names if not name.endswith('*')}
        prefixes = tuple(name[:-1] for name in names if name.endswith('*'))
        found = set()
        self._read_symbols()
        for path in self._paths():
            by_name = self._by_name(path)
            wanted = exact & by_name.keys()
            if prefixes:
                wanted.update(name for name in by_name
                              if name.startswith(prefixes))
            for name in wanted:
                for symbol in by_name[name]:
                    found.update(self._absolute(path, *symbol[:2]))
        return _disjoint(sorted(found))

    def _read_symbols(self):
        """Read those of all files, which is faster than of one after another."""
        try:
            binutils.read_symbols(list(filter(None, map(self._binary,
                                                        self._paths()))))
        except ToolError:
            pass                    # who needs a file's symbols will say so

    def _by_name(self, path):
        """Return the Symbols of a file, {name: list}; empty if they are not
        known."""
        binary = self._binary(path)
        if binary is None:
            return {}
        try:
            return binary.by_name()
        except ToolError as exc:
            self._note_no_code(exc)
            return {}

    def _symbols_of(self, path):
        return itertools.chain(*self._by_name(path).values())
