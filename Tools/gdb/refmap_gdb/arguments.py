"""Command lines: options, numbers, and expressions that give an address."""

import contextlib
import re

import gdb

from .errors import RefmapError
from .layout import ADDRESS_BITS


class Arguments:
    """The options and the rest of a command line."""

    OPTION = re.compile(r"""(?:^|(?<=\s))--([a-z-]+)(?:\s+|=)"""
                        r"""('[^']*'|"[^"]*"|\S+)""")

    def __init__(self, text, allowed, usage):
        """Raise RefmapError, with the usage, for unknown options."""
        self.usage = usage
        self.options = {}
        for name, value in self.OPTION.findall(text):
            if name not in allowed:
                self.fail(f'There is no option --{name}.')
            self.options[name] = value.strip('\'"')
        self.rest = self.OPTION.sub('', text).strip()
        loose = re.match(r'--([a-z-]+)$', self.rest)
        if loose:
            self.fail(f'The option --{loose[1]} needs a value.'
                      if loose[1] in allowed
                      else f'There is no option --{loose[1]}.')

    def fail(self, problem):
        raise RefmapError(f'{problem} Usage: {self.usage}')

    def number(self, name, default=None):
        """Return the value of an option that takes an integer."""
        return self.integer(self.options.get(name), default, f'--{name}')

    def integer(self, text, default, what):
        if not text:
            return default
        try:
            value = int(text, 0)
        except ValueError:
            value = -1
        if value < 0:
            self.fail(f'A number is wanted for {what}, not "{text}".')
        return value

    def none_left(self):
        if self.rest:
            self.fail(f'"{self.rest}" is too much.')


@contextlib.contextmanager
def no_calls():
    """Let an expression read what it likes, but call nothing."""
    name = 'may-call-functions'
    try:
        before = gdb.parameter(name)
    except RuntimeError:
        yield
        return
    gdb.execute(f'set {name} off', to_string=True)
    try:
        yield
    finally:
        gdb.execute(f'set {name} {"on" if before else "off"}', to_string=True)


def address_of(text):
    """Return the address that an expression stands for; raise RefmapError."""
    try:
        address = int(text, 0)
    except ValueError:
        try:
            with no_calls():
                value = gdb.parse_and_eval(text)
                if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
                    value = value.address
                address = int(value)
        except (gdb.error, TypeError, ValueError) as error:
            raise RefmapError(f'"{text}" is no address: {error}') from None
    address &= (1 << 64) - 1
    if address == 0:
        raise RefmapError('NULL is no object.')
    if address >> ADDRESS_BITS or address % 8:
        raise RefmapError(f'No object can be at {address:#x}.')
    return address
