"""Empty the caches of the standard library, so that what they keep of a run is not
taken for a leak."""

import functools
import sys
import types
import weakref

# Module, and what empties its caches. Only modules that are imported anyway.
_CACHES = [
    ('re', lambda module: module.purge()),
    ('struct', lambda module: module._clearcache()),
    ('linecache', lambda module: module.clearcache()),
    ('urllib.parse', lambda module: module.clear_cache()),
    ('typing', lambda module: [clear() for clear in module._cleanups]),
    ('ctypes', lambda module: module._reset_cache()),
    ('_strptime', lambda module: module._regex_cache.clear()),
    ('filecmp', lambda module: module._cache.clear()),
]

_Wrapper = functools._lru_cache_wrapper
# Name of a module -> a weak reference to it, and its caches.
_known = {}


def _functions(module):
    """Yield what may be a cached function: what a module has, and its classes.
    No attribute is looked up that could run code."""
    for value in list(vars(module).values()):
        yield value
        if (type(value) is type
                and vars(value).get('__module__') == vars(module).get('__name__')):
            for item in list(vars(value).values()):
                yield item.fget if type(item) is property else item


def _bounded(module):
    """Return the functools.lru_cache()s of a module that have a bound, in a list.
    Those without are for keys that are few, and one that something else made
    does not tell."""
    return [function for function in _functions(module)
            if type(function) is _Wrapper and 'cache_parameters' in vars(function)
            and function.cache_parameters()['maxsize'] is not None]


def _look_through(name, module):
    """Note the caches of a module, if it is one of the standard library, and
    forget modules that are gone: a program may make one in each run."""
    for gone in [other for other in _known if other not in sys.modules]:
        del _known[gone]
    is_ours = name.partition('.')[0] in sys.stdlib_module_names
    _known[name] = weakref.ref(module), _bounded(module) if is_ours else []


def lru_caches():
    """Yield the caches of _bounded() of the standard library, some of them twice.

    Each module is looked through once. Apart from that few objects are made, and
    always as many: the births of a run have the same numbers again when it is
    recorded.
    """
    for name in list(sys.modules):
        module = sys.modules.get(name) if type(name) is str else None
        if type(module) is not types.ModuleType:
            continue
        if name not in _known or _known[name][0]() is not module:
            _look_through(name, module)
        if _known[name][1]:     # an iterator is an object, too
            yield from _known[name][1]


def clear():
    """Empty the caches of the interpreter and of modules that were imported."""
    for name, clear_one in _CACHES:
        module = sys.modules.get(name)
        if module is not None:
            try:
                clear_one(module)
            except AttributeError:
                pass        # another version of the module
    for function in lru_caches():
        function.cache_clear()
    sys._clear_internal_caches()
