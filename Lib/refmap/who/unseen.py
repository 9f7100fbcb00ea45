"""Which leaked objects the recorder saw everything of.

Code without hooks changes reference counts behind the recorder's back. But each
Change has the object's ob_refcnt. If that is at each of them, and at the end, what the
changes before add up to, then nobody else changed the count between two of them, or
whoever did so undid it at once: what the tokens tell of this object is true. Works on
literal records, in any interpreter.
"""

import sys

from .recording import Change, Move


def explains(change, count, debug):
    """Is ob_refcnt in a Change what it has to be, when it was `count` before?

    debug -- the hook is called before a reference is given back, and else after that
    It is called after one reference was taken, but before several are. What is in the
    memory of a new object when it is called does not matter.
    """
    if change.n > 1 or change.n < 0 and debug:
        return change.refcnt == count
    return change.kind == 'birth' or change.refcnt == count + change.n


def histories(recording, leaked):
    """Return {address: [Change]} of the leaked objects, by their last addresses."""
    found = {}
    for event in recording.events:
        if isinstance(event, Move) and event.source in found:
            found[event.to] = found.pop(event.source)
        if isinstance(event, Change):
            if event.kind == 'birth':
                found[event.address] = []
            found.setdefault(event.address, []).append(event)
    return {item.address: found.get(item.address, []) for item in leaked}


def is_whole(item, changes, debug):
    """Do the changes of a Leaked object explain its count, at each of them?"""
    count = item.before
    for change in changes:
        if not explains(change, count, debug):
            return False
        count += change.n
    return count == item.after


def whole(recording, leaked, debug='d' in sys.abiflags):
    """Return the addresses of the Leaked objects that nobody counted behind the
    recorder's back, as a set.

    debug -- was it recorded by a debug build?
    """
    found = histories(recording, leaked)
    return {item.address for item in leaked
            if is_whole(item, found[item.address], debug)}
