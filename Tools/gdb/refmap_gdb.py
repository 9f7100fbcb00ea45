"""Loads the py-refmap commands of the package refmap_gdb into gdb.

python-gdb.py runs this file when it stands beside it; "source refmap_gdb.py"
does it by hand. The package is the folder of that name beside this file, and
nothing else: neither the working directory nor PYTHONPATH is looked at.

gdb runs scripts in one namespace, so no name is left there.
"""


def _load_refmap_gdb():
    import importlib.util
    import os
    import sys

    import gdb

    name = 'refmap_gdb'
    here = os.path.realpath(_load_refmap_gdb.__code__.co_filename)
    folder = os.path.join(os.path.dirname(here), name)
    if not os.path.exists(os.path.join(folder, '__init__.py')):
        gdb.write(f'There are no py-refmap commands: {folder} is missing.\n',
                  gdb.STDERR)
        return
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, '__init__.py'),
        submodule_search_locations=[folder])
    # Another interpreter's may have been loaded before.
    for old in [old for old in sys.modules if old.partition('.')[0] == name]:
        del sys.modules[old]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Nobody expects a debugger to write files beside what it debugs.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before


try:
    _load_refmap_gdb()
finally:
    del _load_refmap_gdb
