"""Without address space for the directory the map is slower, and as exact."""

import subprocess
import sys
import textwrap
import unittest

from test import support
from test.support import import_helper

from .helpers import PREAMBLE

resource = import_helper.import_module('resource')

# The directory takes hundreds of gibibytes.
LIMIT = 4 << 30


def limit_address_space():
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


class AddressSpaceTest(unittest.TestCase):

    def run_limited(self, *args):
        done = subprocess.run(
            [sys.executable, *args], preexec_fn=limit_address_space,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=support.LONG_TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_tests(self):
        # The model of the map, and who looks closest at it.
        self.run_limited('-m', 'unittest', *(
            f'test.test_refmap.test_{name}'
            for name in ('model', 'snapshot')))

    def test_many_pages(self):
        # More of them than are remembered without a directory.
        out = self.run_limited('-c', PREAMBLE + textwrap.dedent('''
            data = [[i] for i in range(300_000)]
            before = sys.refmap_snapshot()
            for i in range(0, len(data), 97):
                data[i].append(None)
                data[i] = (data[i],)
            diff = sys.refmap_diff(before, file=None)
            check_diff(diff)
            assert diff.types['tuple'] == len(range(0, len(data), 97)), diff
            check_exact()
            check_true()
            del data, diff
            check_exact()
            info = sys.refmap_info()
            assert info.untracked == 0 and info.bytes > 0, info
            print('exact')
            '''))
        self.assertEqual(out, 'exact\n')


if __name__ == '__main__':
    unittest.main()
