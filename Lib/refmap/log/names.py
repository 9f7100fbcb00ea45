"""What the records of a log name: types, code, places, threads, modules.

Those of different streams are different objects, even if they say the same.
"""

from bisect import bisect_right, insort
from collections import namedtuple

from ..who.recording import Frame
from .lines import LineTable

# Of a thread. number: its index in the stream, from 1; native: the identifier
# that the system gave it; interpreter: the number of its interpreter.
Thread = namedtuple('Thread', 'number native interpreter')

Callable = namedtuple('Callable', 'name module')

# A line of Python code; line is 0, and the texts are '', if that is not known.
Where = namedtuple('Where', 'file line function')

NOWHERE = Where('', 0, '')
NO_THREAD = Thread(0, 0, 0)
NO_CALLABLE = Callable('?', '')


class Type:
    """A type.

    living -- its living objects: those that there were when the log began, and
              what the events since then made of it
    """

    __slots__ = 'address', 'flags', 'basicsize', 'itemsize', 'living', 'name'

    def __init__(self, address, flags, basicsize, itemsize, living, name):
        self.address = address
        self.flags = flags
        self.basicsize = basicsize
        self.itemsize = itemsize
        self.living = living
        self.name = name

    def __repr__(self):
        return f'<Type {self.name}>'


def unknown_type():
    """Return the type of objects whose type is not known."""
    return Type(0, 0, 0, 0, 0, '?')


class Code:
    """A code object of Python."""

    __slots__ = 'first_line', 'length', 'table', 'name', 'file', '_lines'

    def __init__(self, first_line, length, table, name, file):
        self.first_line = first_line
        self.length = length
        self.table = table
        self.name = name
        self.file = file
        self._lines = None

    def where(self, offset):
        """Return the Where at an offset in the bytecode, in bytes."""
        if self._lines is None:
            self._lines = LineTable(self.table, self.first_line)
        line = self._lines.line(offset)
        return Where(self.file, self.first_line if line is None else line,
                     self.name)


NO_CODE = Code(0, 0, b'', '', '')


class Place:
    """Where something happened.

    python -- tuple of (Code, offset), the innermost first
    returns -- tuple of Frames with return addresses, the innermost first
    modules -- the list of modules that these belong to; see Modules
    """

    __slots__ = 'python', 'returns', 'modules', '_where'

    def __init__(self, python, returns, modules):
        self.python = python
        self.returns = tuple(Frame(pc, 0) for pc in returns)
        self.modules = modules
        self._where = None

    @property
    def where(self):
        """The Where of the innermost Python frame, or NOWHERE."""
        if self._where is None:
            self._where = next(iter(self.stack()), NOWHERE)
        return self._where

    def stack(self):
        """Yield the Where of each Python frame, the innermost first."""
        for code, offset in self.python:
            yield code.where(offset)


NO_PLACE = Place((), (), ())


class Modules:
    """What is mapped, as the log goes on.

    now -- sorted list of (start, end, offset in the file, path). A list that
           was taken from here stays right for the addresses of its time: it
           may get more modules, but loses none.
    """

    def __init__(self):
        self.now = []

    def add(self, start, end, offset, path):
        """Add a module. Those that it overlaps are gone from now on."""
        module = start, end, offset, path
        first = last = bisect_right(self.now, (start,))
        if first and self.now[first - 1][1] > start:
            first -= 1
        while last < len(self.now) and self.now[last][0] < end:
            last += 1
        if self.now[first:last] == [module]:
            return
        if first < last:
            self.now = self.now[:first] + self.now[last:]
        insort(self.now, module)
