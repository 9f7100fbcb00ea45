"""What goes wrong, as sentences for the user."""


class RefmapError(Exception):
    """A sentence for the user, who can do something about it."""


class NoInterpreter(RefmapError):
    """An interpreter that is not there, or not yet."""


class RefmapUnreadable(RefmapError):
    """Memory that the process has not, or that is not in the core."""
