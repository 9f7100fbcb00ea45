"""Where a binary releases references and visits objects: its call sites.

Read from the disassembly (objdump) of a build that keeps these calls: in `debug`
and `trace` a release is a direct call, and a visit an indirect one in a
traverse function.
"""

import json
import os
import re
import struct
import subprocess
from collections import namedtuple

# module: path of the file; address, length: of the call instruction, as the file
# has it; function, begin: the symbol around it; kind: RELEASE or VISIT; target: the
# symbol that is called, '' for a visit.
Site = namedtuple('Site', 'module address length function begin kind target')

RELEASE = 'release'
VISIT = 'visit'

# What gives up one reference and may be called for it. Each is a function that
# does nothing else: without the call exactly that reference stays.
RELEASES = frozenset({
    'Py_DECREF', 'Py_XDECREF', 'Py_DecRef', '_Py_DecRef',
    '_Py_DECREF_SPECIALIZED', '_Py_DECREF_NO_DEALLOC', '_Py_DecRefSpecialized',
})

# Functions that are the release themselves; without their call no release of
# their file would work.
HELPERS = RELEASES | {
    'Py_SET_REFCNT', '_Py_Dealloc', '_Py_ForgetReference', '_Py_MergeZeroLocalRefcount',
}

_HEADER = re.compile(r'([0-9a-f]+) <(.+)>:')
_INSTRUCTION = re.compile(r' *([0-9a-f]+):\t(\S+) *(.*)')
_TARGET = re.compile(r'[0-9a-f]+ <([^>+]+)>')
_CLONE = re.compile(r'\.(?:part|constprop|isra|cold|lto_priv)(?:\.\d+)*')


class Error(Exception):
    """str() is one sentence for people."""


def source_name(symbol):
    """Return the name of a function as its source has it."""
    return _CLONE.sub('', symbol).removesuffix('@plt')


def is_traverse(function):
    """Can a function by this name be somebody's tp_traverse?"""
    return source_name(function).endswith('traverse')


def disassembly(path):
    """Yield the lines of a binary's disassembly."""
    command = ['objdump', '-d', '-w', '--no-show-raw-insn', path]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise Error('objdump is missing; it is part of binutils') from None
    with process:
        yield from process.stdout
    if process.returncode:
        raise Error(f'objdump cannot read {path}')


def kind_of_call(function, operand):
    """Return (kind, target) of a call with this operand in a function, or None."""
    if operand.startswith('*'):
        return (VISIT, '') if is_traverse(function) else None
    target = _TARGET.match(operand)
    if target and source_name(target[1]) in RELEASES:
        return RELEASE, target[1]
    return None


def find_sites(lines, module):
    """Return the call sites in a disassembly, by address."""
    sites = []
    function, begin = '?', 0
    waiting = None          # a call whose length the next instruction tells
    for line in lines:
        if match := _HEADER.match(line):
            begin, function = int(match[1], 16), match[2]
            continue
        match = _INSTRUCTION.match(line)
        if match is None:
            continue
        address = int(match[1], 16)
        if waiting:
            at, *rest = waiting
            sites.append(Site(module, at, address - at, *rest))
            waiting = None
        if match[2] in ('call', 'callq') and source_name(function) not in HELPERS:
            call = kind_of_call(function, match[3])
            if call:
                waiting = address, function, begin, *call
    return sites


class Sites:
    """The call sites of binaries, kept in a file as long as these do not change."""

    def __init__(self, cache):
        self._cache = cache
        try:
            with open(cache, encoding='utf-8') as file:
                self._known = json.load(file)
        except (OSError, ValueError):
            self._known = {}

    def of(self, path):
        """Return the sites of the binary at a path."""
        status = os.stat(path)
        stamp = [status.st_mtime_ns, status.st_size, list(Site._fields),
                 sorted(RELEASES)]
        entry = self._known.get(path)
        if not entry or entry['stamp'] != stamp:
            sites = find_sites(disassembly(path), path)
            entry = self._known[path] = {'stamp': stamp,
                                         'sites': [site[1:] for site in sites]}
        return [Site(path, *site) for site in entry['sites']]

    def save(self):
        with open(self._cache, 'w', encoding='utf-8') as file:
            json.dump(self._known, file)


# --- from a file's addresses to a process's --------------------------------------

def code_segment(path):
    """Return (offset, address) of the executable segment of an ELF file."""
    with open(path, 'rb') as file:
        header = file.read(64)
        if header[:5] != b'\x7fELF\x02':
            raise Error(f'{path} is no 64-bit ELF file')
        start, = struct.unpack_from('<Q', header, 32)
        size, count = struct.unpack_from('<HH', header, 54)
        file.seek(start)
        for _ in range(count):
            entry = file.read(size)
            kind, flags, offset, address = struct.unpack_from('<IIQQ', entry)
            if kind == 1 and flags & 1:             # PT_LOAD, PF_X
                return offset, address
    raise Error(f'{path} has no code')


def code_mappings():
    """Return {path: (start, end, offset)} of this process's executable files."""
    mappings = {}
    with open('/proc/self/maps', encoding='utf-8') as file:
        for line in file:
            fields = line.split(None, 5)
            if len(fields) == 6 and 'x' in fields[1] and fields[5][0] == '/':
                start, end = (int(n, 16) for n in fields[0].split('-'))
                mappings[fields[5].rstrip('\n')] = start, end, int(fields[2], 16)
    return mappings


def load_bias(path):
    """Return what a file's addresses differ by in this process."""
    start, _, offset = code_mappings()[path]
    segment_offset, address = code_segment(path)
    return start - offset + segment_offset - address
