"""py-refmap-watch: each change of one object's count."""

import gdb

from ..arguments import address_of
from ..backtrace import ShortBacktrace
from ..errors import RefmapError
from ..maps import map_of
from ..memory import signed
from ..slots import is_immortal
from ..target import Target
from ..wording import say, say_all
from .base import Command, require_execution, show_tracebacks


class CountWatchpoint(gdb.Breakpoint):
    """Prints each change of an object's reference count and goes on."""

    def __init__(self, target, address, name):
        # ob_refcnt stays where it is; the slot moves when a snapshot is taken.
        super().__init__(f'*(long *) {address:#x}', gdb.BP_WATCHPOINT,
                         gdb.WP_WRITE, internal=False)
        self.silent = True
        self.target = target
        self.title = f'{address:#x} ({name})'
        self.address = address
        self.old = self.read()
        self.over = False

    def read(self):
        word = self.target.memory.word(self.address)
        return None if word is None else signed(word)

    def stop(self):
        """Called by gdb at each change; never stops."""
        try:
            self.report()
        except Exception as error:
            if show_tracebacks.value:
                raise
            say(f"{self.title}: the change can't be shown: {error}")
        return False

    def report(self):
        new = self.read()
        if self.over or new == self.old:
            return
        say(f'{self.title}: {self.old} -> {new}')
        self.old = new
        say_all(ShortBacktrace(self.target).lines())
        if new == 0:
            # From here on the memory is somebody else's.
            self.over = True
            say(f'{self.title} dies; it is not watched any more')
            gdb.post_event(self.remove)

    def remove(self):
        if self.is_valid():
            self.delete()


class PyRefmapWatch(Command):
    """Watch the reference count of an object while the program runs.

Usage: py-refmap-watch EXPRESSION

A hardware watchpoint prints the old and the new count and a short backtrace of
C and Python at each change, and goes on; it ends with the object. "delete" and
the watchpoint's number end it earlier."""

    command = 'py-refmap-watch'
    usage = 'py-refmap-watch EXPRESSION'
    allowed = ()

    def run(self, args):
        if not args.rest:
            args.fail('Which object?')
        address = address_of(args.rest)
        target = Target()
        require_execution()
        refcnt = target.memory.word(address)
        _, block = map_of(target, address)
        _, birth = block.slot(address) if block else (0, 0)
        info = target.types.of_object(address, birth)
        if refcnt is None or not (info.address or info.is_keys):
            raise RefmapError(f'There is no object at {address:#x}.')
        if is_immortal(refcnt):
            raise RefmapError(f'The {info.name} at {address:#x} is immortal: '
                              f'its count never changes.')
        self.watch(target, address, info.name)

    def watch(self, target, address, name):
        watchpoint = CountWatchpoint(target, address, name)
        if watchpoint.type != gdb.BP_HARDWARE_WATCHPOINT:
            watchpoint.delete()
            raise RefmapError('This machine offers no hardware watchpoint.')


PyRefmapWatch()
