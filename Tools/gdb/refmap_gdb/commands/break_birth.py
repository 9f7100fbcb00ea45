"""py-refmap-break-birth: stop where an object is born."""

import gdb

from ..backtrace import ShortBacktrace, variable_nearby
from ..errors import NoInterpreter, RefmapError
from ..maps import maps_of
from ..target import Target
from ..wording import say, say_all
from .base import Command, require_execution, require_function

# Called when a birth is not on the hot path because gdb wanted it so, and when the
# map of an interpreter is complete.
REACHED = 'refmap_birth_reached'
STARTED = '_PyRefMap_InitSys'
HOT = '_PyRefMap_hot'


def last_birth(target, hot):
    """Return the serial number of the last birth in a map."""
    return target.get(HOT, hot, 'births') & target.layout.birth_serial


def birth_breakpoints():
    return [b for b in gdb.breakpoints() if isinstance(b, BirthBreakpoint)]


def end_hot_path(target, hot, after):
    """Let the hot path of a map end before the first birth later than `after`
    that a breakpoint waits for: nothing is slower until then."""
    numbers = [b.birth for b in birth_breakpoints()
               if b.hot == hot and b.birth > after]
    if numbers:
        word = target.layout.birth_born | min(numbers) - 1
        order = 'little' if target.memory.order == '<' else 'big'
        offset = target.struct(HOT).offset('births_end')
        gdb.selected_inferior().write_memory(hot + offset,
                                             word.to_bytes(4, order))


class BirthBreakpoint(gdb.Breakpoint):
    """Stops at one birth in the map of one interpreter.

    hot -- the address of that map's hot part, 0 while it is not known"""

    def __init__(self, birth, interp):
        super().__init__(function=REACHED, type=gdb.BP_BREAKPOINT)
        self.birth = birth
        self.interp = interp
        self.hot = 0
        self.process = 0            # to which `hot` belongs

    def find(self, target):
        """Find the map in this process; return the last birth there."""
        self.hot = maps_of(target, self.interp)[0]['hot']
        self.process = gdb.selected_inferior().pid
        return last_birth(target, self.hot)

    def stop(self):
        """Called by gdb; stops if it is this birth."""
        try:
            hot = variable_nearby('hot')
            target = Target()
            number = last_birth(target, hot) + 1
            if hot != self.hot:
                return False
            end_hot_path(target, hot, number)
            if number == self.birth:
                self.report(target)
            return number == self.birth
        except Exception as error:
            say(f"birth {self.birth}: it can't be shown ({error})")
        return True

    def report(self, target):
        address = variable_nearby('op')
        info = target.types.of_object(address, variable_nearby('flags'))
        say(f'birth {self.birth}: {address:#x} ({info.name})')
        say_all(ShortBacktrace(target).lines())


class StartBreakpoint(gdb.Breakpoint):
    """Tells each map in a new process which births are waited for."""

    def __init__(self):
        super().__init__(function=STARTED, type=gdb.BP_BREAKPOINT,
                         internal=True)
        self.silent = True

    def stop(self):
        """Called by gdb; never stops."""
        try:
            target = Target()
            for waiting in birth_breakpoints():
                if waiting.process != gdb.selected_inferior().pid:
                    self.tell(target, waiting)
        except Exception as error:
            say(f"births can't be waited for: {error}")
        return False

    def tell(self, target, waiting):
        try:
            last = waiting.find(target)
        except NoInterpreter:
            return                  # still to come
        if waiting.birth <= last:
            say(f'birth {waiting.birth} is one of the first {last}, before '
                f'this command can stop')
        end_hot_path(target, waiting.hot, last)


def take_out_own_environment():
    """Take the variables that gdb itself added out of the environment of the
    program: with them, other objects are born before."""
    with open('/proc/self/environ', 'rb') as file:
        given = {item.partition(b'=')[0] for item in file.read().split(b'\0')}
    for name in 'LINES', 'COLUMNS':
        if name.encode() not in given:
            gdb.execute(f'unset environment {name}', to_string=True)


class PyRefmapBreakBirth(Command):
    """Stop where an object is born, given the number of its birth.

Usage: py-refmap-break-birth N [--interp N]

A program that runs again in the same way has the same births, if PYTHONHASHSEED
is set; the report of a hunt, py-refmap EXPRESSION and sys._refmap_birth() tell
their numbers. The program runs at full speed until then. Interpreter 0 is meant
unless --interp says otherwise."""

    command = 'py-refmap-break-birth'
    usage = 'py-refmap-break-birth N [--interp N]'

    start = None                    # the StartBreakpoint

    def run(self, args):
        if not args.rest:
            args.fail('Which birth?')
        number = args.integer(args.rest, None, 'the birth')
        if not 0 < number < 1 << 28:
            args.fail('Births have numbers from 1 to 2^28 - 1.')
        self.wait_for(number, args.number('interp', 0))
        if not (self.start and self.start.is_valid()):
            PyRefmapBreakBirth.start = StartBreakpoint()

    def wait_for(self, number, interp):
        """Make a BirthBreakpoint, which knows its map if there is one. An
        interpreter that is still to come is waited for."""
        target = None
        if gdb.selected_inferior().pid:
            target = Target()
            require_execution()
        for name in REACHED, STARTED:
            require_function(name)
        waiting = BirthBreakpoint(number, interp)
        try:
            last = target and waiting.find(target)
            if target and number <= last:
                raise RefmapError(f'Birth {number} was before, the last one '
                                  f'is {last}: give this command before "run".')
        except NoInterpreter as error:
            say(f'{error} Birth {number} is waited for in one to come.')
            return
        except RefmapError:
            waiting.delete()
            raise
        if target:
            end_hot_path(target, waiting.hot, last)


# Now, so that all runs in this gdb have the same environment.
take_out_own_environment()
PyRefmapBreakBirth()
