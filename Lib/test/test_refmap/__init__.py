import os
import sys
import unittest

from test.support import load_package_tests

if not hasattr(sys, 'refmap_info'):
    raise unittest.SkipTest('the interpreter was not configured '
                            '--with-refcount-map')


def load_tests(*args):
    return load_package_tests(os.path.dirname(__file__), *args)
