"""Which objects an analysis is about."""

import fnmatch


def _matches(text, patterns):
    return not patterns or any(fnmatch.fnmatchcase(text, pattern)
                               for pattern in patterns)


class Selection:
    """Chooses objects by the first event that there is of each.

    types -- patterns of the module fnmatch for the name of the type
    files, functions -- patterns for the innermost Python frame
    since, until -- clocks, in seconds: not earlier, not later
    thread -- number of the thread
    Of each the default is to choose all. Case matters. Of a file the name is
    that which the code object has.
    """

    def __init__(self, types=(), files=(), functions=(), since=None,
                 until=None, thread=None):
        self._types = types
        self._files = files
        self._functions = functions
        self._since = since
        self._until = until
        self._thread = thread
        self._by_names = {}         # (type, place) -> bool

    def chooses_type(self, name):
        """May an object of a type with this name be chosen?"""
        return _matches(name, self._types)

    def chooses(self, event):
        """Does an ObjectEvent, the first one of its object, choose it?"""
        if self._since is not None and event.clock < self._since:
            return False
        if self._until is not None and event.clock > self._until:
            return False
        if self._thread is not None and event.thread.number != self._thread:
            return False
        key = event.type, event.place
        found = self._by_names.get(key)
        if found is None:
            where = event.place.where
            found = self._by_names[key] = (
                self.chooses_type(event.type.name)
                and _matches(where.file, self._files)
                and _matches(where.function, self._functions))
        return found
