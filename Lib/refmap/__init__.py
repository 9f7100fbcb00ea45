"""Which objects hold the references, and who leaked them.

Policy on top of sys.refmap_*(). These functions exist only in an interpreter
configured --with-refcount-map; importing this package works in every
interpreter.
"""

from .hunting import available, hunt

__all__ = ['available', 'diagnose', 'Diagnosis', 'EventLog', 'hunt', 'LeakError',
           'ledger', 'Ledger', 'no_leaks', 'Profile', 'Trace', 'watch']

# Loaded when somebody asks for them: they need much more than a hunt does.
# {name: its module}
_LAZY = {'diagnose': 'who.diagnosis', 'Diagnosis': 'who.diagnosis',
         'LeakError': 'checks', 'no_leaks': 'checks', 'watch': 'scope',
         'ledger': 'ledgers', 'Ledger': 'ledgers', 'EventLog': 'eventlog',
         'Profile': 'profiling', 'Trace': 'profiling'}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    import importlib
    return getattr(importlib.import_module(f'.{_LAZY[name]}', __name__), name)


def __dir__():
    return sorted([*globals(), *_LAZY])
