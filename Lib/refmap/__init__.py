"""Which objects hold the references: policy on top of sys.refmap_*().

The functions of the sys module exist only in an interpreter configured
--with-refcount-map; importing this package works in every interpreter.
"""

import sys

__all__ = ['available', 'hunt']


def available():
    """Return True if this interpreter keeps a refcount map."""
    return hasattr(sys, 'refmap_info')


def hunt(callable, warmups=3, runs=3, **options):
    """Call something repeatedly and find the objects that it leaks.

    See refmap.hunting.hunt(), which this calls.
    """
    # Imported late: `python -m test` imports this package always.
    from .hunting import hunt
    return hunt(callable, warmups, runs, **options)
