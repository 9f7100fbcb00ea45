"""The py-refmap commands of Tools/gdb/refmap_gdb.

One program is stopped under gdb, all commands are tried there, a core is
written by gcore, and they are tried on the core again; another core is that of
an abort(). The program tells what is true of it in a JSON file.

A test that is skipped prints why, and a run in which all are skipped fails.
With REFMAP_REQUIRE_GDB in the environment it fails without gdb, too.
"""

import os
import sys
import unittest
from test.support import load_package_tests

if not hasattr(sys, 'refmap_info'):
    print('test_gdb.test_refmap: no refcount map', file=sys.stderr)
    raise unittest.SkipTest('needs an interpreter --with-refcount-map')

try:
    from .. import util  # noqa: F401
except unittest.SkipTest as exc:
    print(f'test_gdb.test_refmap: {exc}', file=sys.stderr)
    if 'REFMAP_REQUIRE_GDB' in os.environ:
        raise RuntimeError(f'gdb is required, but: {exc}') from None
    raise


def load_tests(*args):
    return load_package_tests(os.path.dirname(__file__), *args)
