"""The stacks of a recording as functions."""

import re
from collections import namedtuple

from .roles import is_transparent

# A function that was running. Inlined functions have the slot of the function
# that they are part of.
Call = namedtuple('Call', 'function file line slot')

EVAL = '_PyEval_EvalFrameDefault'
# Clearing a frame of Python code gives back what the evaluation loop took, and
# what those took who made the frame.
FRAME_CLEARING = re.compile(r'_PyFrame_Clear|clear_(thread|gen)_frame$')
FRAME_MAKING = frozenset('''
    _PyEval_Vector _PyFrame_Initialize _PyFrame_Copy initialize_locals
    _PyEvalFramePushAndInit _PyEvalFramePushAndInit_Ex _PyFrame_PushUnchecked
    _PyFrame_PushTrampolineUnchecked
    '''.split())
# Functions that leave references in variables or the value stack of Python code
# if the evaluation loop calls them. No search finds these: they are neither on a
# C stack nor in an object.
STACK_FILLING = frozenset(('_PyEval_UnpackIterable', 'unpack_iterable',
                           'PyUnicode_Append'))
# Who clears the frame of a call.
CALL_CLEARING = 'clear_thread_frame'
# Who clears the frame of a generator when it has come to its end.
GENERATOR_CLEARING = 'clear_gen_frame'


def in_common(first, second):
    """Return the calls that two stacks have in common, innermost first: what
    was running at both times."""
    common = []
    for before, after in zip(reversed(first), reversed(second)):
        if (before.slot, before.function) != (after.slot, after.function):
            break
        common.append(after)
    return common[::-1]


class Calls:
    """The stacks of a recording as functions."""

    def __init__(self, symbols):
        self._symbols = symbols
        self._known = {}

    def of(self, frames):
        """Return the functions of a stack, innermost first, as tuple of Call.

        Those that only pass references on for their callers are left out:
        Py_INCREF() holds nothing.
        """
        # A recording has each stack once. It is kept, so that its id is its
        # own.
        known = self._known.get(id(frames))
        if known is None:
            calls = tuple(call for call in self.whole(frames)
                          if not is_transparent(call.function))
            known = self._known[id(frames)] = frames, calls
        return known[1]

    def whole(self, frames):
        """Return all functions of a stack, innermost first, as list of
        Call."""
        return list(self._expand(frames))

    def hands_out(self, function):
        """Can a function hand an object to its caller? See Symbols."""
        return self._symbols.hands_out(function)

    def _expand(self, frames):
        outer = 0
        for pc, slot in frames:
            if slot <= outer:       # stacks grow down: no stack any more
                break
            outer = slot
            for site in self._symbols.at(pc):
                yield Call(site.function, site.file, site.line, slot)
