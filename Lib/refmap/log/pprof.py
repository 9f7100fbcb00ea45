"""Logs for pprof: a profile with births, deaths, and what stayed, by stack.

Its format is the message Profile of pprof's profile.proto, compressed with
gzip. Each sample has a label `type`.
"""

import gzip

from . import samples as sampling
from .protobuf import data, integer, packed

# Numbers of fields, by message.
_SAMPLE_TYPE, _SAMPLE, _LOCATION, _FUNCTION, _STRINGS = 1, 2, 4, 5, 6
_TIME, _DURATION, _COMMENT, _DEFAULT = 9, 10, 13, 14
_VALUE_TYPE, _VALUE_UNIT = 1, 2
_SAMPLE_LOCATIONS, _SAMPLE_VALUES, _SAMPLE_LABEL = 1, 2, 3
_LABEL_KEY, _LABEL_TEXT = 1, 2
_LOCATION_ID, _LOCATION_LINE = 1, 4
_LINE_FUNCTION, _LINE_NUMBER = 1, 2
_FUNCTION_ID, _FUNCTION_NAME, _FUNCTION_FILE = 1, 2, 4

_DEFAULT_VALUE = 'alive'


class _Numbered:
    """Gives each value a number, by the order in which they come."""

    def __init__(self, first):
        self.values = {}
        self._first = first

    def __call__(self, value):
        return self.values.setdefault(value, len(self.values) + self._first)


class _Profile:
    """The parts of a profile, while they are collected."""

    def __init__(self):
        self.strings = _Numbered(0)
        self.strings('')
        self._functions = _Numbered(1)      # of (name, file)
        self._locations = _Numbered(1)      # of Frames

    def sample(self, one):
        locations = [self._locations(frame) for frame in one.stack]
        label = (integer(_LABEL_KEY, self.strings('type'))
                 + integer(_LABEL_TEXT, self.strings(one.type)))
        return data(_SAMPLE, packed(_SAMPLE_LOCATIONS, locations)
                    + packed(_SAMPLE_VALUES,
                             [getattr(one, name) for name in sampling.VALUES])
                    + data(_SAMPLE_LABEL, label))

    def value_type(self, name, unit):
        return data(_SAMPLE_TYPE, integer(_VALUE_TYPE, self.strings(name))
                    + integer(_VALUE_UNIT, self.strings(unit)))

    def locations(self):
        """Yield the locations of all samples."""
        for frame, number in self._locations.values.items():
            function = self._functions((frame.function, frame.file))
            line = (integer(_LINE_FUNCTION, function)
                    + integer(_LINE_NUMBER, frame.line))
            yield data(_LOCATION, integer(_LOCATION_ID, number)
                       + data(_LOCATION_LINE, line))

    def functions(self):
        """Yield the functions of all locations."""
        for (name, file), number in self._functions.values.items():
            # Without a system name, which pprof would take for one of C++: it
            # would leave out <locals>.
            text = self.strings(name or '?')
            yield data(_FUNCTION, integer(_FUNCTION_ID, number)
                       + integer(_FUNCTION_NAME, text)
                       + integer(_FUNCTION_FILE, self.strings(file)))

    def texts(self):
        """Yield the table of strings. Nothing can be added after that."""
        for text in self.strings.values:
            yield data(_STRINGS, text.encode(errors='backslashreplace'))


def document(samples, comment='', time=0, duration=0):
    """Return a profile as bytes, without compression.

    samples -- list of samples.Sample
    comment -- a sentence for the reader
    time -- when the logs began, ns since 1970
    duration -- of the logs, in ns
    """
    profile = _Profile()
    parts = [profile.value_type(*one) for one in sampling.VALUES.items()]
    parts += map(profile.sample, samples)
    parts += profile.locations()
    parts += profile.functions()
    parts.append(integer(_TIME, time) + integer(_DURATION, duration)
                 + packed(_COMMENT, [profile.strings(comment)])
                 + integer(_DEFAULT, profile.strings(_DEFAULT_VALUE)))
    parts += profile.texts()
    return b''.join(parts)


def write(analysis, logs, out):
    """Write the Analysis of some Logs to a binary file."""
    started = min((log.started for log in logs
                   if log.started is not None), default=0)
    by = 'their sizes' if analysis.has_sizes else 'the tp_basicsize of types'
    found = document(sampling.samples(analysis),
                     f'refmap: bytes of objects are by {by}',
                     int(started * 1e9), int(analysis.until * 1e9))
    # Without a time, so that the same log gives the same file.
    out.write(gzip.compress(found, mtime=0))
