"""Names of source files in debug information, made short."""

import os
import re
import sysconfig

from .binutils import ToolError


def find_roots(paths, binary_of):
    """Return the set of directories where the source tree of CPython may have
    been, as file names in debug information begin: here, or where the
    interpreter was built.

    paths -- of the files that code was loaded from
    binary_of -- returns the Binary of a path, or None
    """
    roots = {os.path.normpath(directory) for directory in
             map(sysconfig.get_config_var, ('abs_srcdir', 'srcdir'))
             if directory}
    for path in paths:
        if re.match(r'(lib|_bootstrap_)?python', os.path.basename(path)):
            roots |= _built_from(binary_of(path))
    return roots - {'/', '.'}


def _built_from(binary):
    try:
        entries = [symbol.start for symbol in binary.symbols()
                   if symbol.name == '_Py_Dealloc'] if binary else []
        lines = binary.lines(entries) if entries else []
    except ToolError:
        return set()
    files = (os.path.normpath(line[-1].file) for line in lines)
    end = '/Objects/object.c'
    return {file.removesuffix(end) for file in files if file.endswith(end)}


def relative(file, roots):
    """Return the name of a source file, relative to one of the roots or to
    the current directory, if it lies there."""
    file = os.path.normpath(file)
    for root in roots:
        if file.startswith(root + '/'):
            return file[len(root) + 1:]
    try:
        here = os.getcwd()
    except OSError:
        return file
    if here != '/' and file.startswith(here + '/'):
        return file[len(here) + 1:]
    return _in_source_tree(file, roots) or file


def _in_source_tree(file, roots):
    """Return the end of a path that is a file of the source tree, or None:
    the compiler, or its cache, may have seen that tree elsewhere."""
    parts = file.split('/')[1:]
    for i in range(1, len(parts) - 1):
        end = '/'.join(parts[i:])
        if any(os.path.isfile(os.path.join(root, end)) for root in roots):
            return end
    return None
