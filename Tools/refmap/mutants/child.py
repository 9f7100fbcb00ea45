"""What runs in the interpreter that is mutated; started by `run`.

usage: child.py coverage CACHE RESULT    which call sites do the workloads reach?
       child.py mutant JOB RESULT        take one call out, and diagnose
       child.py sound NAME RESULT        diagnose a workload as it is

RESULT is written as JSON. CACHE keeps the call sites of binaries. JOB is a file
with {"site": [...], "workloads": [names]}.
"""

import ctypes
import gc
import importlib.machinery
import json
import os
import sys
import sysconfig
import time

import binaries
import machine
import workloads

# Extension modules that are there for tests.
TESTS = ('_test', '_xx', 'xx')

# Offsets in a PyTypeObject, the same in all builds for 64 bits.
TP_TRAVERSE, TP_BASE = 184, 256


def settle():
    """Empty the caches of the interpreter, and collect garbage."""
    sys._clear_internal_caches()
    gc.collect()


def warm_up(functions, times=2):
    for function in functions:
        for _ in range(times):
            function()
    settle()


def own_binaries():
    """Return the interpreter's files that are loaded: itself, its extensions."""
    python = os.path.realpath(sys.executable)
    places = {os.path.dirname(python), sysconfig.get_path('platstdlib')}
    found = []
    for path in binaries.code_mappings():
        name = os.path.basename(path)
        extension = name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
        if path == python or (extension and not name.startswith(TESTS) and
                              any(path.startswith(p + os.sep) for p in places)):
            found.append(path)
    return sorted(found)


# --- coverage ----------------------------------------------------------------------

def word(address):
    return ctypes.c_uint64.from_address(address).value


def traverse_functions(types):
    """Return the addresses of tp_traverse of types and of their bases."""
    found = set()
    for type_ in types:
        address = id(type_)
        while address:
            found.add(word(address + TP_TRAVERSE))
            address = word(address + TP_BASE)
    return found - {0}


def types_in_cycle(make):
    """Return the types of what a cycle is made of."""
    known = {id(o) for o in gc.get_objects()}
    root = make()
    known.add(id(sys._getframe()))
    found, waiting = {}, [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) not in known and id(thing) not in found:
            found[id(thing)] = thing
            waiting += gc.get_referents(thing)
    return {type(thing) for thing in found.values()}


def cover_releases(sites):
    """Yield (site, name of a workload that reaches it)."""
    by_module = {}
    for site in sites:
        by_module.setdefault(site.module, []).append(site)
    coverages = [machine.Coverage(*item) for item in by_module.items()]
    for name, function in workloads.WORKLOADS.items():
        for coverage in coverages:
            coverage.clear()
        function()
        reached = [coverage.reached() for coverage in coverages]
        for some in reached:
            for site in some:
                yield site, name


def cover_visits(sites):
    """Yield (site, name of a cycle with a type that it is the traverse of)."""
    by_function = {}
    for site in sites:
        begin = binaries.load_bias(site.module) + site.begin
        by_function.setdefault(begin, []).append(site)
    for name, make in workloads.CYCLES.items():
        for address in traverse_functions(types_in_cycle(make)):
            for site in by_function.get(address, ()):
                yield site, name


def seconds_of(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def coverage(cache):
    """Return what `run` chooses from."""
    warm_up([*workloads.WORKLOADS.values(), *workloads.CYCLES.values()])
    known = binaries.Sites(cache)
    sites = [site for path in own_binaries() for site in known.of(path)]
    known.save()
    reached = {}
    visits = [s for s in sites if s.kind == binaries.VISIT]
    for site, name in cover_visits(visits):
        reached.setdefault(site, []).append(name)
    times = {name: seconds_of(function)
             for name, function in workloads.WORKLOADS.items()}
    releases = [s for s in sites if s.kind == binaries.RELEASE]
    for site, name in cover_releases(releases):
        reached.setdefault(site, []).append(name)
    return {'python': sys.version, 'sites': len(sites), 'seconds': times,
            'reached': sorted([*site, names] for site, names in reached.items())}


# --- a mutant --------------------------------------------------------------------

def diagnose(functions):
    """Diagnose functions that are called one after the other."""
    import refmap
    from refmap.who import watching

    def run():
        for function in functions:
            function()

    start = time.perf_counter()
    found = refmap.diagnose(run)
    return {'verdict': found.verdict, 'objects': bool(watching.guilty(found.findings)),
            'report': str(found),
            'notes': list(found.notes), 'seconds': time.perf_counter() - start, 'parts': found.seconds,
            'suspects': [[s.function, s.kind, s.rule, s.type, s.score]
                         for s in found.suspects]}


def all_workloads():
    workloads.load_cycles()
    return {**workloads.WORKLOADS, **workloads.CYCLES}


def mutant(path):
    with open(path, encoding='utf-8') as file:
        job = json.load(file)
    known = all_workloads()
    functions = [known[name] for name in job['workloads']]
    warm_up(functions)
    import refmap.who.diagnosis         # not by mutated code
    machine.remove(binaries.Site(*job['site']))
    return diagnose(functions)


def main(what, argument, result):
    if what == 'coverage':
        all_workloads()
        found = coverage(argument)
    elif what == 'mutant':
        found = mutant(argument)
    else:
        function = all_workloads()[argument]
        warm_up([function])
        found = diagnose([function])
    with open(result + '~', 'w', encoding='utf-8') as file:
        json.dump(found, file)
    os.rename(result + '~', result)
    # What was mutated need not survive the end of the interpreter.
    os._exit(0)


if __name__ == '__main__':
    main(*sys.argv[1:])
