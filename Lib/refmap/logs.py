"""What refmap.EventLog, Profile and Trace share: a log from its opening to its end.

Of each kind one log is active at a time. Where one begins while another is active, that is
suspended, and resumed at the end; both logs say when.
"""

import functools
import inspect
import json
import os
import sys
import time

from . import hunting

# By kind: the logs that have begun and not ended, the active one last. A log that was
# suspended by hand stays in its place.
_begun = {}
_serials = 0


def default_name(serial, depth, suffix):
    """Return a file name for the log that is the `serial`-th of this process, while `depth`
    others of its kind are open."""
    now = time.strftime('%Y%m%d_%H%M%S')
    version = '.'.join(map(str, sys.version_info[:3]))
    return f'{now}_{serial}_P{os.getpid()}_O{depth}_PY{version}.{suffix}'


def _text(anything):
    """Return what UTF-8 can represent."""
    return str(anything).encode(errors='backslashreplace').decode()


def _age(rss):
    """Return the ns that a figure for resident memory may be old, -1 for none."""
    if rss is True:
        return 50_000
    if rss is False or rss is None:
        return -1
    if not isinstance(rss, (int, float)) or not 0 <= rss < 1e6:
        raise ValueError(f'rss must be True, False, or seconds, not {rss!r}')
    return int(rss * 1e9)


class Log:
    """A log of a kind; see the subclasses. Not to be used twice, but for decorators."""

    kind = None         # 0: events, 1: profile, 2: trace
    kind_name = None
    suffix = None

    def __init__(self, file, rss, message):
        hunting.require_map()
        self._file = None if file is None else os.fsdecode(file)
        self._age = _age(rss)
        self._message = message
        self._number = None
        self._is_suspended = False
        self._calls = 0
        self.path = None        # of the file, once the log has begun
        self.error = None       # an OSError: not all could be written
        self._final = None      # the counts, once it has ended

    def _options(self):
        """Return the options for the header, which JSON can represent."""
        raise NotImplementedError

    def _open(self, path, header):
        """Open the log at `path`, bytes or None; return its number."""
        raise NotImplementedError

    def _before(self):
        """What is done first, and last."""

    def _started(self):
        """What has to be done while it is active: after it began, or was resumed."""

    def _stopped(self):
        """The opposite."""

    # --- begin and end ---------------------------------------------------------

    def _header(self, serial, depth):
        return json.dumps({
            'kind': self.kind_name, 'pid': os.getpid(), 'argv': sys.argv,
            'executable': sys.executable, 'python': sys.version,
            'started': time.time(), 'serial': serial, 'depth': depth,
            'options': self._options(), 'page_size': os.sysconf('SC_PAGE_SIZE'),
            'message': self._message})

    def begin(self):
        """Open the file, and begin to log. Raise OSError, or ValueError if it began
        before."""
        global _serials
        if self._number is not None:
            raise ValueError('the log has begun already')
        begun = _begun.setdefault(self.kind, [])
        depth, serial = len(begun), _serials
        path = self._file
        if path is None:
            path = default_name(serial, depth, self.suffix)
        self.path = self._path(path)
        outer = begun[-1] if begun and not begun[-1]._is_suspended else None
        if outer is not None:
            outer._yield_to(f'another log begins: {self.path}')
        try:
            self._before()
            name = None if self.path is None else os.fsencode(self.path)
            self._number = self._open(name, self._header(serial, depth))
            _serials += 1
            begun.append(self)
            self._started()
            sys._refmap_log_resume(self._number, '')
        except BaseException:
            if self in begun:
                self.end()
            elif outer is not None:
                outer._go_on('the other log could not begin')
            raise
        return self

    def _yield_to(self, why):
        sys._refmap_log_suspend(self._number, _text(why))
        self._stopped()

    def _go_on(self, why):
        self._started()
        sys._refmap_log_resume(self._number, _text(why))

    def _path(self, path):
        """Return the absolute path; None: nothing is written."""
        return os.path.abspath(path)

    def end(self):
        """Stop, and close the file. What had been active goes on."""
        begun = _begun.get(self.kind, [])
        if self not in begun:
            return
        was_last = begun[-1] is self
        if self._is_active():
            self._stopped()
            self._before()
        begun.remove(self)
        try:
            # What follows is our own.
            sys._refmap_log_suspend(self._number, None)
            self._final = self._read_counts()
            sys._refmap_log_close(self._number, 'closed')
        except ValueError:
            # The interpreter closed it: it is about to end.
            self._final = self._read_counts()
        except OSError as exc:
            self.error = exc
        if was_last and begun and not begun[-1]._is_suspended:
            begun[-1]._go_on(f'another log ended: {self.path}')

    def __enter__(self):
        return self.begin()

    def __exit__(self, *exc_info):
        self.end()

    # --- while it is open --------------------------------------------------------

    def _require(self):
        if self._number is None or self._final is not None:
            raise ValueError('the log is not open')

    def _is_active(self):
        begun = _begun.get(self.kind, [])
        return bool(begun) and begun[-1] is self and not self._is_suspended

    def suspend(self):
        """Log nothing until resume()."""
        self._require()
        if self._is_active():
            sys._refmap_log_suspend(self._number, 'suspend()')
            self._stopped()
        self._is_suspended = True

    def resume(self):
        """Go on, if no other log that began later is active."""
        self._require()
        self._is_suspended = False
        if self._is_active():
            self._started()
            sys._refmap_log_resume(self._number, 'resume()')

    def message(self, text):
        """Write a text into the log, suspended or not."""
        self._require()
        sys._refmap_log_message(self._number, _text(text))

    def flush(self):
        """Write out what is still in memory."""
        self._require()
        sys._refmap_log_flush(self._number)

    def _read_counts(self):
        try:
            return (sys._refmap_log_counts(self._number),
                    sys._refmap_log_types(self._number))
        except ValueError:
            return (0, 0, 0, 0, 0), []

    def _counts(self):
        """Return what sys._refmap_log_counts() and sys._refmap_log_types() do, for a log that
        has ended, too."""
        if self._number is None:
            return (0, 0, 0, 0, 0), []
        return self._final or self._read_counts()

    # --- decorators -----------------------------------------------------------------

    def _copy(self):
        """Return a log like this one for the next call of a decorated function. From the
        second on its file has another name."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        self._calls += 1
        if self._file is not None and self._calls > 1:
            copy._file = f'{self._file}.{self._calls}'
        return copy

    def __call__(self, function):
        """Decorate a function, which may be async or a generator: each call is a log."""
        if inspect.iscoroutinefunction(function):
            @functools.wraps(function)
            async def decorated(*args, **kwargs):
                with self._copy():
                    return await function(*args, **kwargs)
        elif inspect.isgeneratorfunction(function):
            @functools.wraps(function)
            def decorated(*args, **kwargs):
                with self._copy():
                    return (yield from function(*args, **kwargs))
        else:
            @functools.wraps(function)
            def decorated(*args, **kwargs):
                with self._copy():
                    return function(*args, **kwargs)
        return decorated
