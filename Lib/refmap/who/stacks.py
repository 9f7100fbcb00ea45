"""C stacks of records as functions that a reader knows.

What only makes memory or counts references is left out: everybody is born in
_Py_NewReference(), and that helps nobody.
"""

import os
import sysconfig

from .roles import ALLOCATORS, is_transparent


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


def short(file):
    """Return the name of a file as it is known to somebody who is here: below
    the current directory, or Lib/... of the standard library."""
    stdlib = sysconfig.get_path('stdlib')
    if file.startswith(stdlib + os.sep):
        return 'Lib' + file[len(stdlib):]
    try:
        here = os.getcwd()
    except OSError:
        return file             # it was removed
    if here != os.sep and file.startswith(here + os.sep):
        return file[len(here) + 1:]
    return file


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
    return f'{qualname} ({short(filename)}:{event.line})'
