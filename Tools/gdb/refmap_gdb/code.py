"""Return addresses: the C function, the file and the line of a call."""

import bisect

import gdb


class CodeNames:
    """Finds out which calls return to an address."""

    def __init__(self):
        self.known = {}             # return address -> sites
        self.tables = {}            # name of a file -> ([address], [line])

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
        found, start = [], pc
        file, line = place.symtab and place.symtab.filename, place.line
        while file and block and not (block.is_static or block.is_global):
            if block.function is not None:
                if found:
                    file, line = self.line_before(block.function.symtab, start)
                found.append((block.function.name, file, line))
                start = block.start
            block = block.superblock
        return found

    def line_before(self, symtab, address):
        """Return the file and the line of the statement that the code at
        `address` was inlined into: gdb does not say it."""
        table = self.tables.get(symtab.filename)
        if table is None:
            items = sorted((item.pc, item.line) for item in symtab.linetable()
                           if item.line)
            table = [pc for pc, _ in items], [line for _, line in items]
            self.tables[symtab.filename] = table
        at = bisect.bisect_right(table[0], address) - 1
        return symtab.filename, table[1][at] if at >= 0 else 0

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
