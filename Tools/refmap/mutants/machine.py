"""Changes the machine code of this process: x86-64 Linux only.

A release is taken out where it stands; or all releases are led through a piece
of code that marks which of them ran.
"""

import ctypes
import mmap
import struct

import binaries

PAGE = mmap.PAGESIZE
_PROT_ALL = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
_CALL = 0xe8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                       ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mmap.restype = ctypes.c_void_p


def unprotect(start, end):
    """Let code between two addresses be written."""
    start &= -PAGE
    if _libc.mprotect(start, end - start, _PROT_ALL):
        raise OSError(ctypes.get_errno(), 'mprotect() failed')


def memory(start, length):
    """Return `length` bytes of this process as an array."""
    return (ctypes.c_ubyte * length).from_address(start)


def write(start, code):
    """Write code that may be running: in one go, not byte by byte."""
    ctypes.memmove(start, code, len(code))


def without_release(length):
    """Code that does nothing, in place of a call."""
    nops = {5: b'\x0f\x1f\x44\x00\x00', 6: b'\x66\x0f\x1f\x44\x00\x00'}
    return nops.get(length) or b'\x90' * length


def without_visit(length):
    """Code that returns 0, in place of a call of 2 bytes or more."""
    return b'\x31\xc0' + b'\x90' * (length - 2)


def remove(site):
    """Take out one call: the release does not happen, the visit returns 0."""
    start = binaries.load_bias(site.module) + site.address
    code = memory(start, site.length)
    if site.kind == binaries.RELEASE:
        if code[0] != _CALL:
            raise binaries.Error(f'there is no call at {start:#x}')
        new = without_release(site.length)
    else:
        new = without_visit(site.length)
    # All of the code, so that it stays one mapping: who walks stacks reads the
    # code before a return address, as far as it is mapped alike.
    unprotect(*binaries.code_mappings()[site.module][:2])
    write(start, new)


def map_memory(length, near=None):
    """Return the address of new memory that can be written and executed.

    near -- an address from which a call must reach it
    """
    length = -(-length // PAGE) * PAGE
    hint = near and gap_below(near, length)
    address = _libc.mmap(hint, length, _PROT_ALL,
                         mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), 'mmap() failed')
    if near and abs(address - near) > 1 << 30:
        raise binaries.Error('no memory can be had near the code')
    return address


def gap_below(end, length):
    """Return where, below an address, nothing is mapped for some length."""
    with open('/proc/self/maps', encoding='ascii', errors='replace') as file:
        mappings = [[int(n, 16) for n in line.split(None, 1)[0].split('-')]
                    for line in file]
    place = end - length
    for low, high in reversed(mappings):
        if low < place + length and place < high:
            place = low - length
    return place


class Coverage:
    """Which releases of one binary run.

    Each of their calls gets a new target: code that sets a byte for its return
    address if the object is one that is counted, neither NULL nor immortal, and
    goes on to the function that was called. The functions called are the same but
    for the file they were compiled in.
    """

    # The register with the object, as ModRM bytes of test reg, reg and of
    # cmp [reg], 0. A clone may be called in another way: its object is not looked at.
    _REGISTERS = {'Py_DECREF': b'\xd2\x3a',        # rdx: the third argument
                  'Py_XDECREF': b'\xff\x3f', '_Py_DecRef': b'\xff\x3f',
                  'Py_DecRef': b'\xff\x3f'}        # rdi
    _HOOK = 64              # bytes for the code of one target

    def __init__(self, module, sites):
        start, end, _ = binaries.code_mappings()[module]
        bias = binaries.load_bias(module)
        self.sites = sites
        self._returns = [bias + s.address + s.length - start for s in sites]
        self._marks = memory(map_memory(end - start), end - start)
        self._room = map_memory(self._HOOK * len(sites), near=start)
        unprotect(start, end)
        hooks = {}
        for site in sites:
            self._lead(bias + site.address, site.target, hooks, start)

    def _lead(self, call, symbol, hooks, start):
        """Lead the call at an address through the hook for its target."""
        distance, = struct.unpack('<i', bytes(memory(call + 1, 4)))
        target = call + 5 + distance
        if target not in hooks:
            hooks[target] = self._room + self._HOOK * len(hooks)
            write(hooks[target], self._hook_code(target, symbol, start))
        write(call + 1, struct.pack('<i', hooks[target] - call - 5))

    def _hook_code(self, target, symbol, start):
        """Return the code of a hook. Both registers that it changes are free."""
        marks = ctypes.addressof(self._marks) - start & (1 << 64) - 1
        # mov rax, [rsp]; mov r11, marks; mov byte [r11 + rax], 1
        mark = (b'\x48\x8b\x04\x24\x49\xbb' + struct.pack('<Q', marks)
                + b'\x41\xc6\x04\x03\x01')
        test = b''
        if symbol in self._REGISTERS:
            test_byte, cmp_byte = (bytes([b]) for b in self._REGISTERS[symbol])
            # cmp dword [reg], 0; js behind the mark: an immortal object
            count = b'\x83' + cmp_byte + b'\x00\x78' + bytes([len(mark)])
            # test reg, reg; jz behind the mark
            test = b'\x48\x85' + test_byte + b'\x74' + bytes([len(count + mark)]) + count
        # mov r11, target; jmp r11
        go_on = b'\x49\xbb' + struct.pack('<Q', target) + b'\x41\xff\xe3'
        return test + mark + go_on

    def clear(self):
        ctypes.memset(self._marks, 0, len(self._marks))

    def reached(self):
        """Return the sites that ran since clear()."""
        marks = bytes(self._marks)
        return [s for s, at in zip(self.sites, self._returns) if marks[at]]
