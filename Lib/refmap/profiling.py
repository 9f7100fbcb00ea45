"""Profile and Trace: resident memory at calls and returns, or at lines."""

import os
import sys

from .logs import Log

# Tools of sys.monitoring, in the order in which they are tried: it has no other
# free ones for us.
_TOOLS = (sys.monitoring.PROFILER_ID, 3, 4, sys.monitoring.OPTIMIZER_ID)
_EVENTS = sys.monitoring.events

# What sys.monitoring calls for a Profile.
_OF_PROFILE = {
    _EVENTS.PY_START: '_refmap_on_call',
    _EVENTS.PY_RESUME: '_refmap_on_call',
    _EVENTS.PY_THROW: '_refmap_on_call',
    _EVENTS.PY_RETURN: '_refmap_on_return',
    _EVENTS.PY_YIELD: '_refmap_on_return',
    _EVENTS.PY_UNWIND: '_refmap_on_raise',
    _EVENTS.CALL: '_refmap_on_c_call',
    _EVENTS.C_RETURN: '_refmap_on_c_return',
    _EVENTS.C_RAISE: '_refmap_on_c_raise',
}

_OF_TRACE = {
    _EVENTS.PY_START: '_refmap_on_trace_call',
    _EVENTS.PY_RESUME: '_refmap_on_trace_call',
    _EVENTS.PY_THROW: '_refmap_on_trace_call',
    _EVENTS.PY_RETURN: '_refmap_on_trace_return',
    _EVENTS.PY_YIELD: '_refmap_on_trace_return',
    _EVENTS.PY_UNWIND: '_refmap_on_trace_raise',
    _EVENTS.LINE: '_refmap_on_line',
}


def _free_tool():
    for tool in _TOOLS:
        if sys.monitoring.get_tool(tool) is None:
            return tool
    raise RuntimeError('sys.monitoring has no tool that is free')


def _mask(callbacks):
    """Return the events that are switched on; C_RETURN and C_RAISE come with CALL."""
    mask = 0
    for event in callbacks:
        if event not in (_EVENTS.C_RETURN, _EVENTS.C_RAISE):
            mask |= event
    return mask


class _Monitored(Log):
    """A log of what sys.monitoring tells."""

    callbacks = None        # {event: name of a function of sys}

    def __init__(self, file=None, *, d_rss_trigger=-1, rss=True, references=False,
                 message=None):
        super().__init__(file, rss, message)
        if not isinstance(d_rss_trigger, int) or d_rss_trigger < -1:
            raise ValueError('d_rss_trigger must be bytes, 0 or -1, not '
                             f'{d_rss_trigger!r}')
        self._d_rss_trigger = d_rss_trigger
        self._references = bool(references)
        self._tool = None

    def _options(self):
        return {'d_rss_trigger': self._d_rss_trigger, 'rss_age_ns': self._age,
                'references': self._references}

    def _pages(self):
        """Return the change that makes an event worth writing, in pages."""
        page = os.sysconf('SC_PAGE_SIZE')
        return 1 if self._d_rss_trigger == -1 else -(-self._d_rss_trigger // page)

    def _open(self, path, header):
        _free_tool()        # before anything is changed
        return sys._refmap_log_open(
            self.kind, path, header, (), (), True, self._references, 1, 0,
            max(self._age, 0) if self._pages() else self._age, self._pages())

    def _started(self):
        tool = _free_tool()
        sys.monitoring.use_tool_id(tool, f'refmap.{type(self).__name__}')
        self._tool = tool
        for event, name in self.callbacks.items():
            sys.monitoring.register_callback(tool, event, getattr(sys, name))
        sys._refmap_log_tool(self.kind, tool)
        sys.monitoring.set_events(tool, _mask(self.callbacks))

    def _stopped(self):
        tool, self._tool = self._tool, None
        if tool is not None:
            sys.monitoring.set_events(tool, 0)
            sys._refmap_log_tool(self.kind, -1)
            for event in self.callbacks:
                sys.monitoring.register_callback(tool, event, None)
            sys.monitoring.free_tool_id(tool)

    @property
    def count(self):
        """Events that were written."""
        return self._counts()[0][2]


class Profile(_Monitored):
    """A log of calls and returns, in Python and in C, as a context manager or a decorator.

    file -- as for EventLog
    d_rss_trigger -- the change of resident memory that makes an event worth writing, in
        bytes; -1: a page; 0: all events are written. The event before it is
        written, too: the two are marked NEXT and PREV
    rss -- how old the figure may be: as for EventLog
    references -- also log the total of all references
    message -- a text for the header
    """

    kind = 1
    kind_name = 'profile'
    suffix = 'refmapprofile'
    callbacks = _OF_PROFILE


class Trace(_Monitored):
    """A log of lines, calls and returns in Python; see Profile for the arguments."""

    kind = 2
    kind_name = 'trace'
    suffix = 'refmaptrace'
    callbacks = _OF_TRACE
