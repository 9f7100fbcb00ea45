"""Logs for speedscope: births, and what stayed, by stack.

The type of the objects is the innermost frame.
"""

import json

from . import samples as sampling

# It is how speedscope tells its own files from others.
_SCHEMA = 'https://www.speedscope.app/file-format-schema.json'

_TITLES = {'births': 'objects made', 'alive': 'objects made and alive',
           'bytes': 'bytes of objects made and alive'}


class _Frames:
    """The frames of a file, each of them once."""

    def __init__(self):
        self.rows = []
        self._index = {}

    def __call__(self, frame):
        """Return the index of a Frame."""
        if frame not in self._index:
            self._index[frame] = len(self.rows)
            row = {'name': frame.function or '?'}
            if frame.file:
                row['file'] = frame.file
            if frame.line:
                row['line'] = frame.line
            self.rows.append(row)
        return self._index[frame]


def document(name, samples):
    """Return the file as a dict.

    name -- of the log
    samples -- list of samples.Sample
    """
    frames = _Frames()
    stacks = [[frames(frame) for frame in reversed(one.stack)]
              + [frames(sampling.Frame(one.type, '', 0))] for one in samples]
    return {'$schema': _SCHEMA, 'name': name, 'exporter': 'refmap',
            'activeProfileIndex': list(_TITLES).index('alive'),
            'shared': {'frames': frames.rows},
            'profiles': [_profile(value, stacks, samples)
                         for value in _TITLES]}


def _profile(value, stacks, samples):
    chosen = [(stack, getattr(one, value))
              for stack, one in zip(stacks, samples) if getattr(one, value)]
    weights = [weight for _, weight in chosen]
    return {'type': 'sampled', 'name': _TITLES[value],
            'unit': 'bytes' if value == 'bytes' else 'none',
            'startValue': 0, 'endValue': sum(weights),
            'samples': [stack for stack, _ in chosen], 'weights': weights}


def write(analysis, logs, out):
    """Write the Analysis of some Logs to a binary file."""
    found = document(', '.join(log.path for log in logs),
                     sampling.samples(analysis))
    out.write(json.dumps(found).encode())
