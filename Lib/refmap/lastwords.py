"""What a hunt says when the code that it hunts in crashes.

An over-decref frees an object that is in use, so hunts end that way, too. What
was found before is worth more then than ever. The text is handed to the
interpreter beforehand: its handler of fatal signals writes it.
"""

import os
import sys

# What gdb can tell of the core; Doc/gdb.md describes the commands.
IN_GDB = '''\
refmap: with a core (ulimit -c unlimited), gdb {executable} CORE knows more:
refmap:   py-refmap-snapshots and py-refmap-diff: what changed before it died
refmap:   py-refmap-verify: which counts are wrong
refmap:   py-refmap-refs ADDRESS: who holds an object
'''


def of_death(where, found='', crashed=True):
    """Return what is said of a process that died.

    where -- 'in run 3 of 6 of NAME'
    found -- what was found before, lines
    crashed -- there may be a core of it
    """
    text = f'\nrefmap: the process {"died" if crashed else "ended"} {where}\n'
    if found:
        text += f'refmap: what was found before:\n{found}'
    if crashed:
        text += IN_GDB.format(executable=sys.executable)
    return text


class LastWords:
    """Writes a text to what is stderr now, if the process crashes.

    Where the interpreter has no map, or no handler, nothing is written.
    """

    def __init__(self):
        self._found = ''
        self._fd = None
        if hasattr(sys, '_refmap_last_words'):
            try:
                # Tests capture stderr.
                self._fd = os.dup(2)
            except OSError:
                pass            # it is closed

    def found(self, text):
        """Add what was found so far."""
        self._found += text.rstrip('\n') + '\n'

    def during(self, what):
        """Say from now on that the process died while it did `what`."""
        if self._fd is None:
            return
        text = of_death(what, self._found)
        sys._refmap_last_words(text.encode('utf-8', 'backslashreplace'),
                               self._fd)

    def forget(self):
        """Say nothing any more."""
        if self._fd is not None:
            sys._refmap_last_words(None)
            os.close(self._fd)
            self._fd = None
