"""addr2line, nm and readelf: what an ELF file says of its code.

The tools of binutils are where gcc is. They run as child processes, because
they survive what a debugger's library in this process might not. All addresses
here are link addresses, as the file has them; see Binary.link_address().
"""

import os
import re
import stat
import subprocess
from bisect import bisect_right
from collections import namedtuple

# A tool that takes longer than this, in seconds, is given up: they need one or
# two, and a report is waited for.
TIMEOUT = 20
# So many functions before another one, and after it, are looked at for those
# of the same source file.
MAX_UNIT = 500

# One inlined or real function at an address; file '' or line 0 if unknown.
Line = namedtuple('Line', 'function file line')

Symbol = namedtuple('Symbol', 'start length name')

# One PT_LOAD of the program headers.
Segment = namedtuple('Segment', 'offset address length')

_NM = 'nm', '-S', '-C', '--defined-only'

_SEGMENT = re.compile(r'\s*LOAD\s+(0x[0-9a-f]+) (0x[0-9a-f]+) 0x[0-9a-f]+ '
                      r'(0x[0-9a-f]+) ')
_SYMBOL = re.compile(r'^([0-9a-f]+) ([0-9a-f]+) [tTwWi] (.+)$', re.MULTILINE)
_LOCATION = re.compile(r'(.*):([0-9]+|\?)(?: \(discriminator [0-9]+\))?',
                       re.DOTALL)
# Of a call, or of a jump to the start of a function, in the output of objdump.
_BRANCH = re.compile(r'\s(?:call|jmp|j[a-z]+)q?\s+[0-9a-f]+ <([^>+]+)>')
_ADDRESS = re.compile(r'0x[0-9a-f]+')
_CLONE_OF_CPP = re.compile(r'( \[clone [^]]*\])+$')
_CLONE_OF_C = re.compile(r'([A-Za-z_]\w*)(\.\w+)+')
# Files that are no source: of code made by optimisation at link time, or by
# the compiler.
_NO_FILES = '??', '<artificial>', '<built-in>'


class ToolError(Exception):
    """A tool is missing or failed; str() is a sentence without its end, that
    is followed by what is unknown therefore."""


def run(command, text=''):
    """Return what a command writes when it is fed a text.

    Raise ToolError if there is no such command, or it takes too long. How it
    exits does not matter: the tools write what they know before they fail.
    """
    environ = {name: value for name, value in os.environ.items()
               if not name.startswith('PYTHON')}
    # Messages are parsed, and nothing is fetched from the network.
    environ.update(LC_ALL='C', DEBUGINFOD_URLS='')
    try:
        done = subprocess.run(command, input=text.encode(), env=environ,
                              stdout=subprocess.PIPE, timeout=TIMEOUT,
                              stderr=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise ToolError(f'{command[0]} took longer than {TIMEOUT} s'
                        ) from None
    except (OSError, ValueError) as exc:
        reason = getattr(exc, 'strerror', None) or exc
        raise ToolError(f'{command[0]} cannot be run ({reason})') from None
    return done.stdout.decode(errors='replace')


def base_name(name):
    """Return the plain name of a function.

    A name of C has no dot: it is followed by .part.0, .constprop.0, .isra.0,
    .cold, .lto_priv.0 and the like. One of C++ is followed by parameters, and
    that of a template preceded by what it returns.
    """
    name = name.partition('@')[0]
    if '(' in name:
        name = name.replace('(anonymous namespace)', '{anonymous}')
        return _without_parameters(_CLONE_OF_CPP.sub('', name))
    clone = _CLONE_OF_C.fullmatch(name) if '.' in name else None
    return clone[1] if clone else name


def _without_parameters(name):
    depth = 0
    begin, end = 0, len(name)
    for index, character in enumerate(name):
        if character in '(<':
            if character == '(' and not depth:
                end = index
            depth += 1
        elif character in ')>':
            depth -= 1
        elif character == ' ' and not depth and end == len(name):
            begin = index + 1
    # Operators look like all that.
    if depth or 'operator' in name or begin >= end:
        return name
    return name[begin:end]


def parse_segments(text):
    """Return the Segments in the output of readelf -lW."""
    return [Segment(*(int(number, 16) for number in match.groups()))
            for match in map(_SEGMENT.match, text.splitlines()) if match]


def parse_symbols(text):
    """Return the Symbols, sorted, of functions in the output of nm -S.

    Their names are those of base_name(). Symbols without a length are left
    out: what they name may end anywhere.
    """
    return sorted(Symbol(int(start, 16), int(length, 16), base_name(name))
                  for start, length, name in _SYMBOL.findall(text)
                  if int(length, 16))


def parse_lines(text):
    """Return a tuple of Lines for each address, from addr2line -a -i -f.

    The name of a file may have line breaks in it.
    """
    answers = []
    function = location = None
    for line in text.split('\n'):
        if location is None and _ADDRESS.fullmatch(line):
            answers.append([])
            function = None
        elif not answers:
            continue
        elif function is None:
            function, location = line, ''
        else:
            location += ('\n' if location else '') + line
            match = _LOCATION.fullmatch(location)
            if match:
                answers[-1].append(_line(function, *match.groups()))
                function = location = None
    return [tuple(answer) for answer in answers]


def _line(function, file, line):
    if os.path.basename(file) in _NO_FILES:
        file = ''
    # '?' stands for code that the compiler made up.
    return Line(base_name(function), file, int(line) if line.isdigit() else 0)


def split_by_file(text, paths):
    """Return what nm writes of each of several files, in a list; None for those
    that it does not name, or not in this order."""
    parts = [None] * len(paths)
    last, at = None, 0
    for i, path in enumerate(paths):
        head = f'\n{path}:\n'
        begin = text.find(head, at)
        if begin >= 0:
            if last is not None:
                parts[last] = text[at:begin]
            last, at = i, begin + len(head)
    if last is not None:
        parts[last] = text[at:]
    return parts


def read_symbols(binaries):
    """Read the symbols of many Binaries with one call of nm: to start it takes as
    long as to read most files. Those that it does not tell of are read when
    somebody asks for them."""
    for is_last, options in enumerate(([], ['-D'])):
        unread = [binary for binary in binaries if not binary.has_symbols()]
        if len(unread) < 2:
            return
        paths = [binary.path for binary in unread]
        parts = split_by_file(run([*_NM, *options, *paths]), paths)
        for binary, part in zip(unread, parts):
            if part is not None:
                binary.learn_symbols(parse_symbols(part), is_last)


# Identity of a file -> Binary. Reading the symbols of all modules of a process
# takes about a second, and each diagnosis asks for them.
_binaries = {}


def binary(path):
    """Return the Binary of a file, the same one as long as that is the same.

    Raise ToolError if it is no ELF file.
    """
    path = os.path.abspath(path)
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        raise ToolError(f'{path} was deleted, or replaced') from None
    if not stat.S_ISREG(info.st_mode):
        raise ToolError(f'{path} is no regular file')
    key = path, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
    if key not in _binaries:
        _binaries[key] = Binary(path)
    return _binaries[key]


class Binary:
    """An executable or shared object on disk."""

    def __init__(self, path):
        """path -- absolute; raise ToolError if it is no ELF file"""
        self.path = path
        self._segments = parse_segments(run(['readelf', '-lW', self.path]))
        if not self._segments:
            raise ToolError(f'{path} is no ELF file that can be read')
        self._symbols = None
        self._by_name = None
        self._callees = {}          # address -> names
        # Had any address a line? None: none was asked for. Separate files of debug
        # information are found by addr2line as they are by gdb.
        self.has_lines = None

    def link_address(self, offset):
        """Return the address of what is at an offset in the file, or None.

        They differ where segments are not aligned alike.
        """
        for segment in self._segments:
            if 0 <= offset - segment.offset < segment.length:
                return segment.address + offset - segment.offset
        return None

    def file_offset(self, address):
        """The inverse of link_address()."""
        for segment in self._segments:
            if 0 <= address - segment.address < segment.length:
                return segment.offset + address - segment.address
        return None

    def symbols(self):
        """Return the Symbols of all functions, sorted by address.

        A stripped file has only those that it exports.
        """
        if self._symbols is None:
            found = parse_symbols(run([*_NM, self.path]))
            if not found:
                found = parse_symbols(run([*_NM, '-D', self.path]))
            self._symbols = found
        return self._symbols

    def has_symbols(self):
        """Were they read?"""
        return self._symbols is not None

    def learn_symbols(self, symbols, is_last):
        """Store what symbols() returns. If there are none, and that was not the
        last way to read them, they are unknown."""
        if symbols or is_last:
            self._symbols = symbols

    def by_name(self):
        """Return the same as {name: list of Symbol}."""
        if self._by_name is None:
            by_name = {}
            for symbol in self.symbols():
                by_name.setdefault(symbol.name, []).append(symbol)
            self._by_name = by_name
        return self._by_name

    def symbol_at(self, address):
        """Return the Symbol that covers an address, or None."""
        symbols = self.symbols()
        index = bisect_right(symbols, (address + 1,)) - 1
        if index < 0:
            return None
        symbol = symbols[index]
        return symbol if address - symbol.start < symbol.length else None

    def lines(self, addresses):
        """Return a tuple of Lines for each address, innermost inlined first.

        Without debug information there is one, without a file: the function
        whose symbol covers the address, or '??'. Of a function in a header
        that is the first one in its unit, addr2line 2.40 names the unit's
        file in place of the header.
        """
        command = ['addr2line', '-a', '-i', '-f', '-C', '-e', self.path]
        text = ''.join(f'{address:#x}\n' for address in addresses)
        answers = parse_lines(run(command, text))
        if len(answers) != len(addresses):
            answers = [()] * len(addresses)
        if answers:
            self.has_lines = bool(self.has_lines) or any(
                line.line for answer in answers for line in answer)
        return [self._checked(address, answer)
                for address, answer in zip(addresses, answers)]

    def _checked(self, address, answer):
        # Without debug information addr2line names the last function that it
        # knows before the address, and perhaps a file.
        known = any(line.line for line in answer)
        names = [line.function for line in answer]
        if known and '??' not in names and not self._is_cpp(names):
            return answer
        symbol = self.symbol_at(address)
        name = symbol.name if symbol else '??'
        if not known:
            return (Line(name, '', 0),)
        return (*answer[:-1], answer[-1]._replace(function=name))

    @staticmethod
    def _is_cpp(names):
        # It names the outermost function of C++ without its namespace.
        return any('::' in name for name in names)

    def callees(self, address):
        """Return the names of the functions that the one which begins at an
        address calls, or jumps to, by name; empty if that is not known."""
        if address not in self._callees:
            symbol = self.symbol_at(address)
            length = (symbol.length if symbol and symbol.start == address
                      else 0)
            text = (self.disassemble(address, address + length) if length
                    else '')
            self._callees[address] = frozenset(
                map(base_name, _BRANCH.findall(text)))
        return self._callees[address]

    def disassemble(self, start, stop):
        """Return what objdump says of the code between two addresses."""
        return run(['objdump', '-d', '--no-show-raw-insn',
                    f'--start-address={start:#x}', f'--stop-address={stop:#x}',
                    self.path])

    def unit_of(self, address):
        """Return the Symbols of the functions in the source file of the one
        that begins at an address, as far as they lie beside it; empty if that
        is not known."""
        symbols = self.symbols()
        index = bisect_right(symbols, (address + 1,)) - 1
        first = max(0, index - MAX_UNIT)
        near = symbols[first:index + MAX_UNIT]
        files = [lines[-1].file for lines in
                 self.lines([symbol.start for symbol in near])]
        own = files[index - first] if index >= 0 else ''
        if not own:
            return []
        begin = end = index - first
        # Functions of headers lie among them.
        while begin and files[begin - 1].endswith((own, '.h')):
            begin -= 1
        while end < len(files) and files[end].endswith((own, '.h')):
            end += 1
        return [symbol for symbol, file in zip(near[begin:end],
                                               files[begin:end])
                if file == own]
