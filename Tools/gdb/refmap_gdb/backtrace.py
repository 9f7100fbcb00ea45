"""A short backtrace of C and Python."""

import contextlib
import re
import sys

import gdb

from .errors import RefmapError
from .frames import FrameReader
from .interpreters import interpreters_of
from .layout import FRAME_OF_C
from .limits import MAX_NAME


def variable_nearby(name):
    """Return the integer in a variable of the newest frame, or of one of its
    callers, as the compiler may keep it there only; raise RefmapError."""
    frame = gdb.newest_frame()
    for _ in range(3):
        try:
            return int(frame.read_var(name))
        except (gdb.error, ValueError):
            frame = frame.older()
        if frame is None:
            break
    raise RefmapError(f'the compiler kept no {name}')


class ShortBacktrace:
    """A few lines of C and Python frames, as plain text."""

    LINES = 10
    C_LINES = 5                 # of them before the next Python frame
    FRAMES = 200
    # Who calls these is of interest.
    SKIPPED = re.compile('_?Py_X?(INCREF|DECREF|NewRef|IncRef|DecRef)$|'
                         '(_Py_N|n)ew(_r|R)eference|_Py_New(Ref|Keys)TotalOf$|'
                         '_PyRefMap_|refmap_')

    def __init__(self, target):
        self.target = target
        self.frames = FrameReader(target)
        self.library = getattr(sys.modules['__main__'], 'PyFramePtr', None)

    def lines(self):
        """Yield the newest frames."""
        groups = self.python_groups()
        frame, left, in_a_row = gdb.newest_frame(), self.LINES, 0
        for _ in range(self.FRAMES):
            if frame is None or not frame.is_valid() or left <= 0:
                break
            name = frame.name() or '??'
            if name == '_PyEval_EvalFrameDefault' and groups:
                lines, in_a_row = groups.pop(0), 0
            else:
                lines = self.c_lines(frame, name)
                in_a_row += len(lines)
            if in_a_row <= self.C_LINES:
                yield from lines[:left]
                left -= len(lines)
            frame = frame.older()

    def c_lines(self, frame, name):
        if self.SKIPPED.match(name):
            return []
        place = frame.find_sal()
        if place.symtab is None:
            return [f'  C      {name}']
        return [f'  C      {name} at {place.symtab.filename}:{place.line}']

    def thread(self):
        """Return the PyThreadState of the selected thread, or 0."""
        threads = [thread for interp in interpreters_of(self.target)
                   for thread in self.target.chain(
                       'PyThreadState', interp.threads, 'next', 'threads')]
        _, lwp, _ = gdb.selected_thread().ptid
        for thread in threads:
            if self.target.get('PyThreadState', thread,
                               'native_thread_id') == lwp:
                return thread
        return threads[0] if len(threads) == 1 else 0

    def python_groups(self):
        """Return [[line]]: the Python frames that each C frame of the
        interpreter loop runs, the newest first."""
        groups = [[]]
        try:
            thread = self.thread()
            first = thread and self.target.get('PyThreadState', thread,
                                               'current_frame')
            for frame in self.target.chain(FrameReader.STRUCT, first,
                                           'previous', 'frames'):
                if self.frames.get(frame, 'owner') == FRAME_OF_C:
                    groups.append([])
                elif len(groups) + len(groups[-1]) > self.LINES:
                    break
                else:
                    groups[-1].append(self.python_line(frame))
        except RefmapError:
            # What was read so far is better than nothing.
            pass
        return [group for group in groups if group]

    def python_line(self, frame):
        """Return the function, the file, and with libpython.py the line."""
        code = self.frames.code(frame)
        name = code and self.target.get('PyCodeObject', code, 'co_filename')
        file = (name and self.frames.text.raw(name, MAX_NAME)) or '?'
        line = f'  Python {self.frames.title(frame)} at {file}'
        if self.library is not None:
            with contextlib.suppress(Exception):
                ctype = gdb.lookup_type(FrameReader.STRUCT).pointer()
                pointer = self.library(gdb.Value(frame).cast(ctype))
                line += f':{pointer.current_line_num()}'
        return line
