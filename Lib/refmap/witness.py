"""A process that knows what a hunt has measured, in case that the hunt's own dies.

After each run a hunt forks a witness. It has the hunt's snapshots and objects as
they were after that run, and waits. If the hunting process dies in the next run, the
witness reports the runs before. The two share their memory until one of them changes
a page.

A fatal signal does not end the process before the witness has spoken: who waits for
the process finds everything said. For its handler writes more into a pipe than the
pipe can hold, and the witness reads it when it is done.
"""

import array
import fcntl
import gc
import os
import signal
import sys

# What the witness reads when it need not speak: nothing but the first byte counts.
_DISMISSED, _CRASHED, _EXITED = b'd', b'c', b'x'

# Seconds after which a witness that still speaks is ended.
TIMEOUT = 60

_exit = os._exit            # the program's is another one while it is hunted in


def _orphan():
    """Fork a process that is no child: a program may wait for its children.

    Return True in the new process. Raise OSError.
    """
    child = os.fork()
    if child:
        try:
            os.waitpid(child, 0)
        except ChildProcessError:
            pass            # the program ignores SIGCHLD
        return False
    try:
        if os.fork():
            _exit(0)
    except OSError:
        _exit(1)
    return True


class Witness:
    """Speaks if the process dies.

    testify -- called in the witness when the process has died: with True if a fatal
               signal is the reason, and with the arguments of the last renew()
    """

    def __init__(self, testify):
        self._testify = testify
        self._process = os.getpid()
        # Integers: a new object would be one more in the run.
        self._pipe = array.array('i', [-1, 0])      # to the witness; its capacity

    def renew(self, *args):
        """Fork a witness that knows what is known now, and dismiss the one before.

        Where that can't be there is none: nothing is said of the runs then.
        """
        self.dismiss()
        try:
            read, write = os.pipe()
        except OSError:
            return
        try:
            self._pipe[1] = fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1)
            if _orphan():
                self._wait(read, args)
        except OSError:
            os.close(write)
        else:
            self._pipe[0] = write
            sys._refmap_last_words(_CRASHED * self._more_than_fits(), write)
        os.close(read)

    def dismiss(self):
        """There is nothing to be said any more."""
        write = self._pipe[0]
        if write < 0:
            return
        sys._refmap_last_words(None)
        self._pipe[0] = -1
        try:
            os.write(write, _DISMISSED)
        except OSError:
            pass            # it died
        os.close(write)

    def exit(self, status, code):
        """Do what os._exit(status) does. The hunting process lets the witness speak
        and exits with `code`, its children as they wish."""
        if os.getpid() != self._process:
            _exit(status)
        sys._refmap_last_words(None)
        try:
            os.write(self._pipe[0], _EXITED * self._more_than_fits())
        except OSError:
            pass            # there is none
        _exit(code)

    def _more_than_fits(self):
        return 2 * self._pipe[1]

    # --- in the witness ----------------------------------------------------------

    def _wait(self, read, args):
        """Wait for the end of the process, speak, and exit."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            # All other files are the program's: somebody may wait for their end.
            os.dup2(read, 0)
            os.closerange(3, os.sysconf('SC_OPEN_MAX'))
            # The objects may be damaged.
            gc.disable()
            reason = os.read(0, 1)
            if reason != _DISMISSED:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(TIMEOUT)
                self._testify(reason == _CRASHED, *args)
            left = self._more_than_fits() - 1
            while reason and left > 0:
                reason = os.read(0, left)
                left -= len(reason)
        finally:
            _exit(0)
