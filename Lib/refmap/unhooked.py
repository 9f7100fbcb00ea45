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

# path -> is it unhooked? A file that was loaded does not change.
_known = {}


# --- what a file imports -----------------------------------------------------

class _NoELF(Exception):
    """The file can't be read, or is none of ours."""


_SHT_DYNSYM = 11
_SYMBOL = struct.Struct('<IBBHQQ')


def _read(file, offset, size):
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise _NoELF
    return data


def _sections(file):
    """Return [(type, offset, size, link)] of the sections of an ELF file."""
    header = _read(file, 0, 64)
    if header[:6] != b'\x7fELF\x02\x01':
        raise _NoELF
    offset, = struct.unpack_from('<Q', header, 40)
    entry_size, count = struct.unpack_from('<HH', header, 58)
    table = _read(file, offset, entry_size * count)
    sections = []
    for i in range(count):
        fields = struct.unpack_from('<IIQQQQI', table, i * entry_size)
        sections.append((fields[1], fields[4], fields[5], fields[6]))
    return sections


def _dynamic_symbols(file):
    """Return (names imported, names exported) of an ELF file.

    Those that do not begin as names of Python's do are left out.
    """
    imported, exported = set(), set()
    sections = _sections(file)
    for kind, offset, size, link in sections:
        if kind != _SHT_DYNSYM:
            continue
        strings = _read(file, *sections[link][1:3])
        if b'Py' not in strings:
            continue
        table = _read(file, offset, size // _SYMBOL.size * _SYMBOL.size)
        for start, _, _, section, _, _ in _SYMBOL.iter_unpack(table):
            if strings.startswith((b'Py', b'_Py'), start):
                name = strings[start:strings.index(b'\0', start)]
                (exported if section else imported).add(
                    name.decode('utf-8', 'replace'))
    return imported, exported


def _symbols_of(path):
    """Return _dynamic_symbols() of a file, or None if it can't be read."""
    try:
        with open(path, 'rb') as file:
            return _dynamic_symbols(file)
    except (OSError, _NoELF, struct.error, IndexError, ValueError):
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
    """Return the paths of the binaries that are loaded, in no order."""
    paths = set()
    try:
        with open('/proc/self/maps', 'rb') as file:
            for line in file:
                fields = line.split(maxsplit=5)
                if len(fields) == 6 and b'x' in fields[1]:
                    paths.add(os.fsdecode(fields[5].rstrip(b'\n')))
    except OSError:
        for module in list(sys.modules.values()):
            loader = getattr(module, '__loader__', None)
            if isinstance(loader, importlib.machinery.ExtensionFileLoader):
                paths.add(loader.path)
    return [path for path in paths if path.startswith('/')]


def _own_directory():
    """Return the directory of the interpreter's own extensions."""
    spec = importlib.machinery.PathFinder.find_spec('_testrefmap')
    return os.path.dirname(os.path.realpath(spec.origin)) if spec else None


def _may_be_unhooked(path, own):
    """Look at a binary; what can't be read is unhooked if it is an extension.

    path -- as /proc/self/maps has it: of a deleted file with ' (deleted)'
    own -- the directory of the interpreter's own extensions
    """
    is_own = os.path.dirname(path) == own
    symbols = _symbols_of(path)
    if symbols is not None:
        return is_unhooked(*symbols, is_own)
    name = path.removesuffix(' (deleted)')
    return not is_own and any(getattr(module, '__file__', None) == name
                              for module in list(sys.modules.values()))


def modules():
    """Return the paths of the loaded binaries without hooks, sorted."""
    loaded = _loaded()
    new = [path for path in loaded if path not in _known]
    own = _own_directory() if new else None
    for path in new:
        _known[path] = _may_be_unhooked(path, own)
    return sorted(path for path in loaded if _known[path])


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
