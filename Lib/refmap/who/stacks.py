"""C stacks of records as functions that a reader knows.

What only makes memory or counts references is left out: everybody is born in
_Py_NewReference(), and that helps nobody.
"""

from .symbols import ALLOCATORS, is_transparent


def is_plumbing(function):
    """Is this a function that does nothing on its own account?"""
    return is_transparent(function) or function in ALLOCATORS


def sites(frames, symbols):
    """Return the Sites of a stack, innermost first, inlined functions included,
    without the plumbing at its inner end."""
    found = [site for frame in frames for site in symbols.at(frame.pc)]
    for position, site in enumerate(found):
        if not is_plumbing(site.function):
            return found[position:]
    return []


def is_known(site):
    """Is the name of the function known?"""
    return site.function != '??'


def where(site):
    """Return 'function() (file:line)', as far as it is known."""
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
