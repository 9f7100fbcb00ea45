"""C functions of places: who made an object, deleted it, took a reference.

A place has return addresses; refmap.who.symbols looks them up in the files
that were mapped when the log was written. What is not known stays unknown.

Of a birth the function is the innermost one that does not merely allocate; of
a death it is who gave up the last reference, so the tp_dealloc of its owner,
if the object died with that.
"""

import os

from ..who import stacks
from ..who.symbols import Symbols
from ..who.calls import EVAL


def text_of(site):
    """Return 'function() (file:line)' of a Site, as far as it is known; '' for
    None."""
    if site is None:
        return ''
    return stacks.where(site) if stacks.is_known(site) else site.file


class _Symbols(Symbols):
    """Symbols of the files that a log names.

    started -- when it began, seconds since 1970, or None
    """

    def __init__(self, modules, started):
        super().__init__(modules)
        self._started = started

    def _binary(self, path):
        if path not in self._binaries and self._is_newer(path):
            self._note_no_code(f'{path} was changed after the log began')
            self._binaries[path] = None
        return super()._binary(path)

    def _is_newer(self, path):
        try:
            return (self._started is not None
                    and os.stat(path).st_mtime > self._started)
        except (OSError, ValueError):
            return False        # that it is missing is said elsewhere


class CFunctions:
    """Looks up the C functions of the places of a log.

    started -- when the log began, seconds since 1970, or None
    notes -- sentences on what is unknown, and why
    """

    def __init__(self, started=None):
        self.notes = []
        self._started = started
        self._symbols = {}      # id of a list of modules -> (it, _Symbols)
        self._sites = {}        # place -> list of Sites

    def resolve(self, places):
        """Look up many places at once; one by one they take a tenth of a
        second each."""
        wanted = {}
        for place in places:
            if place not in self._sites:
                wanted.setdefault(id(place.modules), []).append(place)
        for alike in wanted.values():
            symbols = self._symbols_of(alike[0].modules)
            symbols.resolve(frame.pc for place in alike
                            for frame in place.returns)
            for place in alike:
                self._sites[place] = stacks.sites(place.returns, symbols)
            self.notes += [note for note in symbols.notes
                           if note not in self.notes]

    def _symbols_of(self, modules):
        # A list may have grown, and is kept so that its id stays its own.
        key = id(modules), len(modules)
        if key not in self._symbols:
            self._symbols[key] = modules, _Symbols(modules, self._started)
        return self._symbols[key][1]

    def stack(self, place):
        """Return the Sites of a place, the innermost first, without what only
        allocates or counts, out to the interpreter's loop: what is behind that
        are the C functions of callers in Python."""
        self.resolve([place])
        found = []
        for site in self._sites[place]:
            if site.function == EVAL:
                break
            found.append(site)
        return found

    def function(self, place):
        """Return the Site of the C function of a place, whose name may be
        unknown; None if it was Python code that did it."""
        return next(iter(self.stack(place)), None)
