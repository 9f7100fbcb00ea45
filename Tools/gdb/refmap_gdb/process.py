"""The selected process or core: symbols, structs, linked lists."""

import gdb

from .errors import RefmapError, RefmapUnreadable
from .limits import MAX_CHAIN
from .memory import Memory, signed
from .structs import CStruct


def has_symbol(name):
    """Is there a symbol of this name, be it without debug information?"""
    try:
        gdb.parse_and_eval(f'(long)&{name}')
    except gdb.error:
        return False
    return True


class Process:
    """A process or core of an interpreter that keeps a map."""

    def __init__(self):
        """Raise RefmapError if there is no map to be read."""
        if gdb.selected_inferior().pid == 0:
            raise RefmapError('There is no process: run the program, attach '
                              'to it, or open a core dump.')
        self.memory = Memory()
        self.structs = {}
        self.check()

    def check(self):
        try:
            self.struct('struct _refmap_state')
            return
        except RefmapError:
            pass
        if has_symbol('_PyRefMap_Incref'):
            raise RefmapError(
                'This interpreter keeps a refcount map, but its debug '
                'information is missing: was it stripped?')
        if has_symbol('_PyRuntime'):
            raise RefmapError(
                'This interpreter keeps no refcount map: it was not '
                'configured --with-refcount-map.')
        raise RefmapError('There are no symbols of a Python interpreter here.')

    def struct(self, name):
        """Return the CStruct of a C type; raise RefmapError."""
        struct = self.structs.get(name)
        if struct is None:
            try:
                struct = CStruct(name, self.memory.order)
            except gdb.error:
                raise RefmapError(f'The debug information knows no {name}.') \
                    from None
            self.structs[name] = struct
        return struct

    def get(self, struct_name, address, path):
        """Return one field of the C struct at `address`."""
        offset, form = self.struct(struct_name).decoder(path)
        data = self.memory.read(address + offset, form.size)
        if data is None:
            raise RefmapUnreadable(f"The {struct_name} at {address:#x} "
                                   f"can't be read.")
        return form.unpack(data)[0]

    def record(self, struct_name, address):
        """Return the bytes of the C struct at `address`."""
        data = self.memory.read(address, self.struct(struct_name).size)
        if data is None:
            raise RefmapUnreadable(f"The {struct_name} at {address:#x} "
                                   f"can't be read.")
        return data

    def symbol(self, name):
        """Return the address of a global or static variable, or None."""
        for lookup in gdb.lookup_global_symbol, gdb.lookup_static_symbol:
            found = lookup(name)
            if found is not None:
                try:
                    return int(found.value().address)
                except (gdb.error, TypeError):
                    pass
        return None

    def variable(self, name):
        """Return the value of a Py_ssize_t variable, 0 if there is none."""
        address = self.symbol(name)
        word = None if address is None else self.memory.word(address)
        return 0 if word is None else signed(word)

    def chain(self, struct_name, address, link, what, limit=MAX_CHAIN):
        """Yield the addresses of a NULL-terminated linked list; raise
        RefmapError where it goes round, and after `limit` items."""
        seen = set()
        while address:
            if address in seen:
                raise RefmapError(f'The list of {what} is damaged: '
                                  f'it has no end.')
            if len(seen) >= limit:
                raise RefmapError(f'The list of {what} is too long: '
                                  f'{limit} are looked at.')
            seen.add(address)
            yield address
            address = self.get(struct_name, address, link)
