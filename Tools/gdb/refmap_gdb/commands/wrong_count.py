"""py-refmap-break-negative: stop where a count turns out to be wrong."""

import gdb

from ..backtrace import ShortBacktrace
from ..errors import RefmapError
from ..maps import map_of
from ..target import Target
from ..wording import say, say_all
from .base import Command, require_execution


class WrongCountBreakpoint(gdb.Breakpoint):
    """Stops where the interpreter notices a wrong count, and says so."""

    def __init__(self, function, text, variable):
        """`text` with {address} and {count}; the address is in `variable`."""
        super().__init__(function=function, type=gdb.BP_BREAKPOINT)
        self.text = text
        self.variable = variable

    def stop(self):
        """Called by gdb; always stops."""
        try:
            address = self.address()
            target = Target()
            _, block = map_of(target, address)
            count = block.slot(address)[0] if block else 0
            say(self.text.format(address=f'{address:#x}', count=count))
            say_all(ShortBacktrace(target).lines())
        except Exception as error:
            say(f"{self.text.format(address='?', count='?')} ({error})")
        return True

    def address(self):
        """Return the object's address, from this frame or a caller's."""
        frame = gdb.newest_frame()
        for _ in range(3):
            try:
                return int(frame.read_var(self.variable))
            except (gdb.error, ValueError):
                frame = frame.older()
        raise RefmapError(f'the compiler kept no {self.variable}')


class PyRefmapBreakNegative(Command):
    """Stop when a reference count turns out to be wrong.

Usage: py-refmap-break-negative

Stops where a count drops below zero, and where memory is freed, or used for a
new object, while references to it are counted."""

    command = 'py-refmap-break-negative'
    usage = 'py-refmap-break-negative'
    allowed = ()

    # function: text, and the variable with the address
    ANCHORS = {
        '_Py_NegativeRefcount':
            ('the reference count of {address} drops below zero, '
             'the map counts {count}', 'op'),
        'refmap_finding':
            ('the memory of {address} is freed while the map counts {count}',
             'address'),
    }

    def run(self, args):
        args.none_left()
        if gdb.selected_inferior().pid:
            Target()
            require_execution()
        for name in self.ANCHORS:
            try:
                # It may be inlined, and have no address of its own.
                gdb.decode_line(name)
            except gdb.error:
                raise RefmapError(
                    f'There is no function {name} to stop at: this '
                    f'interpreter keeps no refcount map, or its symbols '
                    f'are missing.') from None
        for name, (text, variable) in self.ANCHORS.items():
            WrongCountBreakpoint(name, text, variable)


PyRefmapBreakNegative()
