"""py-refmap-break-negative: stop where a count turns out to be wrong."""

import gdb

from ..backtrace import ShortBacktrace, variable_nearby
from ..maps import map_of
from ..target import Target
from ..wording import say, say_all
from .base import Command, require_execution, require_function


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
            address = variable_nearby(self.variable)
            target = Target()
            _, block = map_of(target, address)
            count = block.slot(address)[0] if block else 0
            say(self.text.format(address=f'{address:#x}', count=count))
            say_all(ShortBacktrace(target).lines())
        except Exception as error:
            say(f"{self.text.format(address='?', count='?')} ({error})")
        return True


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
            require_function(name)
        for name, (text, variable) in self.ANCHORS.items():
            WrongCountBreakpoint(name, text, variable)


PyRefmapBreakNegative()
