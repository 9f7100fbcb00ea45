"""Which objects hold the references: policy on top of sys.refmap_*().

The functions of the sys module exist only in an interpreter configured
--with-refcount-map; importing this package works in every interpreter.
"""

import sys

from .hunting import hunt

__all__ = ['available', 'hunt']


def available():
    """Return True if this interpreter keeps a refcount map."""
    return hasattr(sys, 'refmap_info')
