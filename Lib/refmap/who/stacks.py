"""C stacks of records as functions that a reader knows.

What only makes memory or counts references is left out: everybody is born in
_Py_NewReference(), and that helps nobody.
"""

import re

from .symbols import TRANSPARENT

# Functions that give memory to whom it is asked for. The one that asked for the
# object or the block is of interest.
_ALLOCATORS = re.compile(
    r'_?PyMem_(Raw)?(Malloc|Calloc|Realloc)|_PyMem_\w+|_?pymalloc_\w+'
    r'|_?PyObject_(GC_)?(Malloc|Calloc|Realloc|Resize|New|NewVar|Init|InitVar)'
    r'|_PyObject_GC_Link|_PyObject_MallocWithType|gc_alloc'
    r'|_?PyType_(GenericAlloc|GenericNew|AllocNoTrack)|_?PyMem_Debug\w+')

# Of a stack that a report shows.
MAX_SHOWN = 4


def is_plumbing(function):
    """Is this a function that does nothing on its own account?"""
    return (function in TRANSPARENT
            or _ALLOCATORS.fullmatch(function) is not None)


def sites(frames, symbols):
    """Return the Sites of a stack, innermost first, without the plumbing at
    its inner end; functions that were inlined are there."""
    found = [site for frame in frames for site in symbols.at(frame.pc)]
    for position, site in enumerate(found):
        if not is_plumbing(site.function):
            return found[position:]
    return []


def is_known(site):
    """Is the name of the function known?"""
    return site.function != '??'


def where(site):
    """Return 'function (file:line)', as far as it is known."""
    if not site.line:
        return f'{site.function}()'
    return f'{site.function}() ({site.file}:{site.line})'


def python_line(recording, event):
    """Return 'function (file:line)' of the Python code that ran at an event,
    or None."""
    code = recording.codes.get(event.code)
    if code is None:
        return None
    qualname, filename, _ = code
    return f'{qualname} ({filename}:{event.line})'
