"""What a log can say: kinds of records, and events; or that it is none.

Doc/log-format.md has what the records mean.
"""

from collections import namedtuple

(NEW, DEL, INC, DEC, CALL, RETURN, C_CALL, C_RETURN, LINE, RAISE,
 C_RAISE) = range(1, 12)
SYNC, THREAD, RSS, REFS, PREV, NEXT, CLOCK = range(16, 23)
TYPE, CODE, PLACE, CALLABLE, MODULE = range(32, 37)
MESSAGE, SUSPEND, RESUME, FORK, LOST, END = range(48, 54)

KIND_NAMES = {
    NEW: 'NEW', DEL: 'DEL', INC: 'INC', DEC: 'DEC', CALL: 'CALL',
    RETURN: 'RETURN', C_CALL: 'C_CALL', C_RETURN: 'C_RETURN', LINE: 'LINE',
    RAISE: 'RAISE', C_RAISE: 'C_RAISE', MESSAGE: 'MESSAGE',
    SUSPEND: 'SUSPEND', RESUME: 'RESUME', FORK: 'FORK', LOST: 'LOST',
    END: 'END',
}

# All events begin with kind, clock (seconds) and thread (a names.Thread).
# rss: resident memory in bytes, or None; refs: all references, or None.
# type: a names.Type, and how many of its objects live after the event; place:
# a names.Place. change and count: of INC and DEC. birth: of NEW and DEL, 0:
# none. size: of a NEW in bytes, None if the log does not have it.
ObjectEvent = namedtuple('ObjectEvent', 'kind clock thread rss refs address '
                                        'birth type live place change count '
                                        'size')
# callable: a names.Callable, or None; mark: PREV, NEXT or 0.
CallEvent = namedtuple('CallEvent', 'kind clock thread rss refs place '
                                    'callable mark')
# number: of LOST, the events; of FORK, the pid of the parent, whose log has
# the name `text`. pid: of FORK, that of the child.
Note = namedtuple('Note', 'kind clock thread text number pid',
                  defaults=(0, 0))


class LogError(Exception):
    """This is no log, or not all of it; str() says why, without the file."""
