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
        text = f'\nrefmap: the process died {what}\n'
        if self._found:
            text += f'refmap: what was found before:\n{self._found}'
        text += IN_GDB.format(executable=sys.executable)
        sys._refmap_last_words(text.encode('utf-8', 'backslashreplace'),
                               self._fd)

    def forget(self):
        """Say nothing any more."""
        if self._fd is not None:
            sys._refmap_last_words(None)
            os.close(self._fd)
            self._fd = None


def of_runs(name, count, progress=None):
    """Return (LastWords, a function to be called with the number of finished
    runs of `name`, of `count`; it calls `progress`, too)."""
    words = LastWords()

    def finished(done):
        words.during(f'in run {done + 1} of {count} of {name}')
        if progress is not None:
            progress(done)

    words.during(f'in run 1 of {count} of {name}')
    return words, finished
