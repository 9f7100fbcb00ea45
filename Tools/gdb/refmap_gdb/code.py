"""Return addresses: the C function, the file and the line of a call."""

import gdb


class CodeNames:
    """Finds out which calls return to an address."""

    def __init__(self):
        self.known = {}             # return address -> sites

    def sites(self, address):
        """Return [(function, file, line)] of the call that returns to
        `address`: functions that were inlined come before those that they were
        inlined in. What is not known is '??' or 0."""
        sites = self.known.get(address)
        if sites is None:
            # The address itself may belong to the next line.
            sites = self.known[address] = (self.from_debug_info(address - 1)
                                           or [self.from_symbols(address - 1)])
        return sites

    def from_debug_info(self, pc):
        place = gdb.find_pc_line(pc)
        try:
            block = gdb.block_for_pc(pc)
        except (gdb.error, RuntimeError):
            block = None
        found = []
        file, line = place.symtab and place.symtab.filename, place.line
        while file and block and not (block.is_static or block.is_global):
            function = block.function
            if function is not None:
                found.append((function.name, file, line))
                # Of a function that was inlined it is the line of the call.
                file, line = function.symtab.filename, function.line
            block = block.superblock
        return found

    def from_symbols(self, pc):
        """Without debug information: the function only."""
        try:
            text = gdb.execute(f'info symbol {pc:#x}', to_string=True)
        except gdb.error:
            text = 'No symbol'
        name = '??' if text.startswith('No symbol') else text.split()[0]
        return name, '??', 0


def site_text(site):
    """Return 'function at file:line'."""
    name, file, line = site
    return f'{name} at {file}:{line}' if line else name
