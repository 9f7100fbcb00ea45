"""What the tests of the refcount map share."""

import sys
import textwrap
import unittest

from test.support.script_helper import assert_python_failure, assert_python_ok

# What each script of run_script() begins with.
PREAMBLE = '''\
import sys
import _testrefmap

def check_exact():
    info = sys.refmap_info()
    if info.mapped + info.unattributed != info.total:
        raise AssertionError(f'inexact: {info}')

def check_true():
    differing = sys.refmap_verify()
    if differing:
        raise AssertionError(f'untrue: {differing}')

def sum_of_lines(diff):
    return (sum(after - before for _, _, before, after in diff.living)
            - sum(before for _, _, before in diff.died)
            + diff.unattributed)

def check_diff(diff):
    if sum_of_lines(diff) != diff.total or sum(diff.types.values()) != diff.total:
        raise AssertionError(f'lines do not add up:\\n{diff}')
'''


def sum_of_lines(diff):
    """The total that the lines of a diff for objects add up to."""
    return (sum(after - before for _, _, before, after in diff.living)
            - sum(before for _, _, before in diff.died)
            + diff.unattributed)


def run_script(script, *args, **env):
    """Run a script that begins with PREAMBLE; return its output as two str.

    args are options of the interpreter. PYTHON* variables are left out of the
    environment unless given.
    """
    env.setdefault('__isolated', False)
    code = PREAMBLE + textwrap.dedent(script)
    _, out, err = assert_python_ok(*args, '-c', code, **env)
    return out.decode(), err.decode()


def fail_script(script, *args, **env):
    """Like run_script(), for a script that must fail."""
    env.setdefault('__isolated', False)
    code = PREAMBLE + textwrap.dedent(script)
    status, out, err = assert_python_failure(*args, '-c', code, **env)
    return status, out.decode(), err.decode()


class MapTestCase(unittest.TestCase):

    def assert_exact(self):
        info = sys.refmap_info()
        self.assertEqual(info.mapped + info.unattributed, info.total, info)

    def assert_true(self):
        self.assertEqual(sys.refmap_verify(), [])

    def assert_healthy(self):
        self.assert_exact()
        self.assert_true()

    def assert_adds_up(self, diff):
        """Check that the lines of each kind add up to the total."""
        self.assertEqual(sum_of_lines(diff), diff.total, diff)
        self.assertEqual(sum(diff.types.values()), diff.total, diff)

    def leaves_unattributed(self):
        """To be called by a test that frees memory while it is counted.

        The total is what it was when the test has ended: regrtest -R looks at
        it. The test must not leave snapshots or diffs behind.
        """
        import _testrefmap

        def forget():
            now = sys.refmap_info().unattributed
            _testrefmap.forget_unattributed(now - before)

        before = sys.refmap_info().unattributed
        self.addCleanup(forget)

    def tearDown(self):
        # Whatever a test did in this process, the map is right after it.
        self.assert_healthy()
