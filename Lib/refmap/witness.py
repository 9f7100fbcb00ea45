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
import contextlib
import fcntl
import functools
import gc
import mmap
import os
import select
import signal
import sys

# What the witness reads, many times, if it is not the end.
_CRASHED, _EXITED = b'c', b'x'

# Seconds after which a witness that still speaks is ended.
TIMEOUT = 60
# The pipe has no number that programs expect to get, or find closed.
LOWEST_FD = 64

_exit = os._exit            # the program's is another one while it is hunted in


def _orphan():
    """Fork a process that is no child: a program may wait for its children.

    Return True in the new process. Raise OSError.
    """
    child = sys._refmap_fork()
    if child:
        try:
            os.waitpid(child, 0)
        except ChildProcessError:
            pass            # the program ignores SIGCHLD
        return False
    try:
        if sys._refmap_fork():
            _exit(0)
    except OSError:
        _exit(1)
    return True


def _close_files():
    """Close all files but stdin, stdout and stderr."""
    try:
        files = [int(name) for name in os.listdir('/proc/self/fd')]
    except OSError:
        files = range(os.sysconf('SC_OPEN_MAX'))
    for fd in files:
        if fd > 2:
            try:
                os.close(fd)
            except OSError:
                pass


def _wait_for(process):
    """Wait for the end of a process, from os.pidfd_open()."""
    select.select([process], [], [])


def _pipe():
    """Return the ends of a new pipe, (read, write). Raise OSError."""
    ends = os.pipe()
    try:
        read = fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
        return read, fcntl.fcntl(ends[1], fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
    finally:
        os.close(ends[0])
        os.close(ends[1])


class Witness:
    """Speaks if the process dies.

    testify -- called in the witness when the process has died: with True if a fatal
               signal is the reason, and with the arguments of the last renew()
    """

    def __init__(self, testify):
        self._testify = testify
        self._process = os.getpid()
        # Integers: a new object would be one more in the run. The pipe to the
        # witness, its capacity and its inode.
        self._pipe = array.array('q', [-1, 0, 0])
        # Which witness has something to say, modulo 256; all of them see it.
        self._turn = mmap.mmap(-1, 1)

    def renew(self, *args):
        """Fork a witness that knows what is known now, and dismiss the one before.

        Where that can't be there is none: nothing is said of the runs then.
        """
        self.dismiss()
        turn = self._turn[0]        # the process may have gone on before the witness runs
        try:
            read, write = _pipe()
        except OSError:
            return
        try:
            self._pipe[1] = fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1)
            self._pipe[2] = os.fstat(write).st_ino
            if _orphan():
                self._wait(read, turn, args)
        except OSError:
            os.close(write)
        else:
            self._pipe[0] = write
            sys._refmap_last_words(_CRASHED * self._more_than_fits(), write)
        os.close(read)

    def dismiss(self):
        """There is nothing to be said any more."""
        self._turn[0] = (self._turn[0] + 1) % 256
        self._tell(b'')

    @contextlib.contextmanager
    def attend(self, code):
        """Until the end of the block let the witness speak for os._exit(), too, of
        which the exit code is `code` then. The first renew() has the argument 0."""
        real = os._exit
        os._exit = functools.partial(self.exit, code=code)
        try:
            self.renew(0)
            yield
        finally:
            os._exit = real
            self.dismiss()

    def exit(self, status, code):
        """Do what os._exit(status) does. The hunting process lets the witness speak
        and exits with `code`, its children as they wish."""
        if os.getpid() != self._process:
            _exit(status)
        self._tell(_EXITED * self._more_than_fits())
        _exit(code)

    def _tell(self, data):
        """Write to the witness, if there is one, for the last time."""
        write = self._pipe[0]
        if write < 0:
            return
        self._pipe[0] = -1
        sys._refmap_last_words(None)
        try:
            # The program may have closed all files, and opened others.
            if os.fstat(write).st_ino == self._pipe[2]:
                try:
                    os.write(write, data)
                finally:
                    os.close(write)
        except OSError:
            pass            # closed, or the witness died

    def _more_than_fits(self):
        return 2 * self._pipe[1]

    # --- in the witness ----------------------------------------------------------

    def _wait(self, read, turn, args):
        """Wait for the end of the process, speak, and exit."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            # All other files are the program's: somebody may wait for their end.
            os.dup2(read, 0)
            _close_files()
            # The objects may be damaged.
            gc.disable()
            process = os.pidfd_open(self._process)
            reason = os.read(0, 1)
            if not reason and turn == self._turn[0]:
                # The program may have closed the pipe only.
                _wait_for(process)
            if turn == self._turn[0]:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(TIMEOUT)
                self._testify(reason == _CRASHED, *args)
            left = self._more_than_fits() - 1
            while reason and left > 0:
                reason = os.read(0, left)
                left -= len(reason)
        finally:
            _exit(0)
