"""What all commands have in common."""

import gdb

from ..arguments import Arguments
from ..errors import RefmapError
from ..maps import maps_of
from ..target import Target
from ..wording import escape, say


class ShowTracebacks(gdb.Parameter):
    """Whether errors inside the py-refmap commands show a traceback."""

    set_doc = 'Set whether py-refmap commands show tracebacks of their own.'
    show_doc = 'Show whether py-refmap commands show tracebacks of their own.'

    def __init__(self):
        super().__init__('refmap-debug', gdb.COMMAND_MAINTENANCE,
                         gdb.PARAM_BOOLEAN)
        self.value = False

    def get_set_string(self):
        return ''

    def get_show_string(self, svalue):
        return f'Tracebacks of py-refmap commands are {svalue}.'


show_tracebacks = ShowTracebacks()


def require_execution():
    """Raise RefmapError unless there is a process that can go on."""
    if gdb.selected_thread() is None:
        raise RefmapError('There is no process: run the program first.')
    connection = getattr(gdb.selected_inferior(), 'connection', None)
    if connection is not None and connection.type == 'core':
        raise RefmapError('A core dump does not run: this needs a process.')


def require_function(name):
    """Raise RefmapError unless gdb can stop at a function of the map."""
    try:
        # It may be inlined, and have no address of its own.
        gdb.decode_line(name)
    except gdb.error:
        raise RefmapError(f'There is no function {name} to stop at: this '
                          f'interpreter keeps no refcount map, or its symbols '
                          f'are missing.') from None


class Command(gdb.Command):
    """A command that ends with a sentence, whatever happens.

    Subclasses set `command`, `usage` and `allowed` (option names), and define
    run(args)."""

    allowed = ('interp',)

    def __init__(self):
        super().__init__(self.command, gdb.COMMAND_DATA, gdb.COMPLETE_SYMBOL)

    def invoke(self, text, from_tty):
        try:
            self.run(Arguments(text, self.allowed, self.usage))
        except RefmapError as error:
            self.fail(str(error))
        except (KeyboardInterrupt, gdb.GdbError):
            raise
        except Exception as error:
            reason = ' '.join(f'{type(error).__name__}: {error}'.split())
            self.fail(f'The command met something it does not understand '
                      f'({reason}); "set refmap-debug on" shows where.')

    def fail(self, sentence):
        if show_tracebacks.value:
            raise
        raise gdb.GdbError(escape(sentence)) from None

    def maps(self, args):
        """Return the maps to look at, as --interp says."""
        return maps_of(Target(), args.number('interp'))

    def report_damage(self, maps):
        for refmap in maps:
            if refmap.damage():
                say(refmap.damage())
