"""Which loaded binaries change reference counts without telling the map.

A binary that was built for a stock interpreter increments and decrements
ob_refcnt in line, and calls only _Py_Dealloc(). One that was built with the
hooks calls _Py_IncRef() and _Py_DecRef(), as the limited API does since 3.10,
and Py_IncRef() always did. So what a binary imports tells: also of libraries
that an extension loads, and of code that was linked in statically. An
extension that imports none of them may increment in line; it counts as
unhooked unless it came with the interpreter.
"""

import importlib.machinery
import os
import struct
import sys

# What hooked code imports. Parts of the interpreter itself have _PyRefMap_*.
_HOOKS = frozenset(['_Py_IncRef', '_Py_DecRef', 'Py_IncRef', 'Py_DecRef'])
_DEALLOC = '_Py_Dealloc'

# How many modules a sentence names.
MAX_NAMED = 4

# What the system adds to the path of a file that is loaded, and deleted.
DELETED = ' (deleted)'

# (path, where it begins) -> is it unhooked?
_known = {}


# --- what a binary imports ---------------------------------------------------

class _NoELF(Exception):
    """It can't be read, or is none of ours."""


_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ = 4, 5, 6, 10
_DT_GNU_HASH = 0x6ffffef5
_PROGRAM_HEADER = struct.Struct('<IIQQQQQQ')
_SYMBOL = struct.Struct('<IBBHQQ')


class _Binary:
    """An ELF binary: as a file, or as it was loaded.

    A file may have been deleted, or be another one by now, as after an upgrade.
    So what was loaded is read where it can be.

    fd -- of the file, or of the memory of this process
    base -- the address at which it was loaded; None: it is a file
    """

    def __init__(self, fd, base=None):
        self._fd = fd
        start = base or 0
        header = self._read_at(start, 64)
        if header[:6] != b'\x7fELF\x02\x01':
            raise _NoELF
        offset, = struct.unpack_from('<Q', header, 32)
        size, count = struct.unpack_from('<HH', header, 54)
        if size != _PROGRAM_HEADER.size:
            raise _NoELF
        table = self._read_at(start + offset, size * count)
        # [(type, offset in the file, address, size in the file)]
        self._segments = [
            (kind, offset, address, length) for kind, _, offset, address, _, length,
            *_ in _PROGRAM_HEADER.iter_unpack(table)]
        # What is to be added to an address in the binary.
        self._bias = None
        if base is not None:
            self._bias = base - next(
                (address - offset for kind, offset, address, _ in self._segments
                 if kind == _PT_LOAD), 0)

    def _read_at(self, position, size):
        data = os.pread(self._fd, size, position)
        if len(data) != size:
            raise _NoELF
        return data

    def read(self, address, size):
        """Return the bytes at an address in the binary."""
        if self._bias is not None:
            return self._read_at(self._bias + address, size)
        for kind, offset, start, length in self._segments:
            if kind == _PT_LOAD and start <= address < start + length:
                return self._read_at(address - start + offset, size)
        raise _NoELF

    def numbers(self, address, count, format='I'):
        """Return so many unsigned integers at an address."""
        format = f'<{count}{format}'
        return struct.unpack(format, self.read(address, struct.calcsize(format)))

    def dynamic(self):
        """Return the dynamic section, as a dict."""
        for kind, _, address, size in self._segments:
            if kind == _PT_DYNAMIC:
                words = self.numbers(address, size // 16 * 2, 'Q')
                return dict(zip(words[::2], words[1::2]))
        return {}

    def pointer(self, dynamic, tag):
        """Return an address in the dynamic section. The loader makes it absolute,
        that of the GNU C library at least."""
        value = dynamic[tag]
        return value - self._bias if self._bias and value >= self._bias else value

    def count_symbols(self, dynamic):
        """Return the number of dynamic symbols: only tables of hashes have it."""
        if _DT_HASH in dynamic:
            return self.numbers(self.pointer(dynamic, _DT_HASH), 2)[1]
        table = self.pointer(dynamic, _DT_GNU_HASH)
        nbuckets, first, nwords, _ = self.numbers(table, 4)
        buckets = table + 16 + 8 * nwords
        last = max(self.numbers(buckets, nbuckets), default=0)
        if last < first:
            return first            # none is exported
        chain = buckets + 4 * (nbuckets - first)
        while not self.numbers(chain + 4 * last, 1)[0] & 1:
            last += 1
        return last + 1


def _dynamic_symbols(binary):
    """Return (names imported, names exported) of a binary.

    Those that do not begin as names of Python's do are left out.
    """
    imported, exported = set(), set()
    dynamic = binary.dynamic()
    if _DT_SYMTAB not in dynamic:
        return imported, exported
    strings = binary.read(binary.pointer(dynamic, _DT_STRTAB), dynamic[_DT_STRSZ])
    if b'Py' not in strings:
        return imported, exported
    table = binary.read(binary.pointer(dynamic, _DT_SYMTAB),
                        binary.count_symbols(dynamic) * _SYMBOL.size)
    for start, _, _, section, _, _ in _SYMBOL.iter_unpack(table):
        if strings.startswith((b'Py', b'_Py'), start):
            name = strings[start:strings.index(b'\0', start)]
            (exported if section else imported).add(
                name.decode('utf-8', 'replace'))
    return imported, exported


def _symbols_of(path, base=None):
    """Return _dynamic_symbols() of a binary, or None if it can't be read.

    base -- where it is loaded; None: only its file is known
    """
    places = [(path, None)]
    if base is not None:
        places.insert(0, ('/proc/self/mem', base))
    for file, base in places:
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            return _dynamic_symbols(_Binary(fd, base))
        except (OSError, _NoELF, struct.error, KeyError, ValueError,
                OverflowError, MemoryError):
            pass
        finally:
            os.close(fd)
    return None


def is_unhooked(imported, exported, is_own=False):
    """May a binary change reference counts without telling the map?

    imported, exported -- names of its dynamic symbols
    is_own -- it came with the interpreter
    """
    if _DEALLOC in exported or any(name.startswith('_PyRefMap_')
                                   for name in imported):
        return False            # it is the interpreter, or part of it
    if _DEALLOC in imported:
        return True
    return (not is_own and not imported & _HOOKS
            and any(name.startswith('PyInit_') for name in exported))


# --- what is loaded ----------------------------------------------------------

def _loaded():
    """Return {path: the address where it begins, or None} of the binaries that are
    loaded. The path of a deleted file ends with ' (deleted)'."""
    starts, found = {}, {}
    try:
        with open('/proc/self/maps', 'rb') as file:
            for line in file:
                fields = line.split(maxsplit=5)
                if len(fields) < 6:
                    continue
                path = os.fsdecode(fields[5].rstrip(b'\n'))
                if not int(fields[2], 16):
                    starts[path] = int(fields[0].partition(b'-')[0], 16)
                if b'x' in fields[1]:
                    found[path] = starts.get(path)
    except OSError:
        for module in list(sys.modules.values()):
            loader = getattr(module, '__loader__', None)
            if isinstance(loader, importlib.machinery.ExtensionFileLoader):
                found[loader.path] = None
    return {path: start for path, start in found.items() if path.startswith('/')}


def _own_directory():
    """Return the directory of the interpreter's own extensions."""
    spec = importlib.machinery.PathFinder.find_spec('_testrefmap')
    return os.path.dirname(os.path.realpath(spec.origin)) if spec else None


def _may_be_unhooked(path, start, own):
    """Look at a binary; what can't be read is unhooked if it is an extension.

    path, start -- as of _loaded()
    own -- the directory of the interpreter's own extensions
    """
    is_own = os.path.dirname(path) == own
    symbols = _symbols_of(path, start)
    if symbols is not None:
        return is_unhooked(*symbols, is_own)
    name = path.removesuffix(DELETED)
    return not is_own and any(getattr(module, '__file__', None) == name
                              for module in list(sys.modules.values()))


def modules():
    """Return the paths of the loaded binaries without hooks, sorted. That of a
    deleted file ends with ' (deleted)'."""
    loaded = _loaded()
    new = loaded.items() - _known.keys()
    own = _own_directory() if new else None
    for path, start in new:
        _known[path, start] = _may_be_unhooked(path, start, own)
    return sorted(path for path, start in loaded.items() if _known[path, start])


def name_of(path):
    """Return what a report calls a binary: its package and its file's stem.

    numpy/_core/_multiarray_umath of .../site-packages/numpy/_core/_multi...so
    """
    for entry in sorted(sys.path, key=len, reverse=True):
        if entry and path.startswith(entry.rstrip('/') + '/'):
            path = path[len(entry.rstrip('/')) + 1:]
            break
    directory, _, file = path.rpartition('/')
    stem = file.partition('.')[0]
    return f'{directory}/{stem}' if directory else stem


def names(paths):
    """Return the names of binaries, as one string.

    A package with several of them is named, not each of them.
    """
    packages = {}
    for path in paths:
        name = name_of(path).lstrip('/')
        packages.setdefault(name.partition('/')[0], []).append(name)
    found = [package if len(names) > 1 else names[0]
             for package, names in sorted(packages.items())]
    if len(found) > MAX_NAMED:
        found[MAX_NAMED:] = [f'{len(found) - MAX_NAMED} more']
    return ', '.join(found)


def sentence(paths):
    """Return one sentence that says that the counts are true ones, and why."""
    return ('true counts, read from the objects, as these were built without '
            f'the hooks: {names(paths)}')


# --- whose work it is --------------------------------------------------------

# How a group was made. Nothing tells who changed an ob_refcnt: these are
# inferences, but for the last, which says that there is none.
BY_TYPE = 'the type is of this package'
BY_EXCLUSION = 'no other package has binaries without hooks'
UNKNOWN = 'not known'


def _package_of(address):
    """Return the top-level package of the type of the object that lives at an
    address, or None."""
    try:
        cls = type(sys._refmap_object(address))
        module = type.__dict__['__module__'].__get__(cls)
    except (LookupError, AttributeError):
        return None
    return module.partition('.')[0] if type(module) is str else None


def group(records, paths=None):
    """Group what sys.refmap_verify() returned by who may have done it.

    records -- [(address, type name, count in the map, ob_refcnt)]
    paths -- of binaries without hooks; by default those that are loaded
    Return [(package or None, BY_TYPE, BY_EXCLUSION or UNKNOWN, records)], the
    largest group first. The first kind is the surest: a package that counts in
    line does so for its own objects. Of an int or a str nobody can tell.
    """
    packages = {name_of(path).lstrip('/').partition('/')[0]
                for path in (modules() if paths is None else paths)}
    only = packages.copy().pop() if len(packages) == 1 else None
    groups = {}
    for record in records:
        package = _package_of(record[0])
        if package in packages:
            key = package, BY_TYPE
        elif only:
            key = only, BY_EXCLUSION
        else:
            key = None, UNKNOWN
        groups.setdefault(key, []).append(record)
    return sorted(((*key, found) for key, found in groups.items()),
                  key=lambda item: (-len(item[2]), str(item[0]), item[1]))
