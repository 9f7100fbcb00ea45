"""What limits of memory do to the directory, which is sparse but large.

If it may not be written to, the map is slower, and as exact. If there is not
even address space for it, the interpreter does not start.
"""

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


def run_limited(limit, *args):
    """Run this interpreter with a limit; see getrlimit(2)."""
    return subprocess.run(
        [sys.executable, *args],
        preexec_fn=lambda: resource.setrlimit(limit, (LIMIT, LIMIT)),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=support.LONG_TIMEOUT)


class ReadOnlyTest(unittest.TestCase):

    def run_limited(self, *args):
        # Counts private memory that can be written to.
        done = run_limited(resource.RLIMIT_DATA, *args)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_tests(self):
        # The model of the map, and who looks closest at it.
        self.run_limited('-m', 'unittest', *(
            f'test.test_refmap.test_{name}'
            for name in ('model', 'snapshot')))

    def test_many_pages(self):
        # More of them than are remembered without a directory. There is none:
        # not one of them has an entry.
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

    def test_subinterpreter(self):
        # Its map has a directory of its own.
        out = self.run_limited('-c', PREAMBLE + textwrap.dedent('''
            import _interpreters
            interp = _interpreters.create('isolated')
            _interpreters.exec(interp, 'import sys; data = [[i] for i in range(9)];'
                                       'assert sys.refmap_verify() == []')
            _interpreters.destroy(interp)
            check_exact()
            check_true()
            print('exact')
            '''))
        self.assertEqual(out, 'exact\n')


class NoAddressSpaceTest(unittest.TestCase):

    def test_refuses(self):
        done = run_limited(resource.RLIMIT_AS, '-c', 'print("started")')
        self.assertEqual(done.returncode, 1)
        self.assertIn('needs hundreds of gibibytes of address space, which a '
                      'limit forbids: see ulimit -v\n', done.stdout)
        # What Python adds to each such sentence, and nothing else.
        self.assertRegex(done.stdout, r'^Fatal Python error: .+\n'
                                      r'Python runtime state: .+\n+$')

    def lowered(self, script, room):
        """Run a script whose address space ends `room` bytes from what is used."""
        done = subprocess.run(
            [sys.executable, '-c', PREAMBLE + textwrap.dedent(f'''
                import resource
                def limit(room):
                    with open('/proc/self/statm') as file:
                        size = int(file.read().split()[0])
                    size = size * resource.getpagesize() + room
                    resource.setrlimit(resource.RLIMIT_AS,
                                       (size, resource.RLIM_INFINITY))
                unlimited = resource.RLIM_INFINITY, resource.RLIM_INFINITY
                room = {room}
                ''') + textwrap.dedent(script)],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=support.LONG_TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_lowered_later(self):
        # Either the map runs out of memory first, or the program does; and then
        # there is memory again.
        for room in 0, 64 << 10, 1 << 20, 8 << 20, 33 << 20:
            with self.subTest(room=room):
                out = self.lowered('''
                    data = []
                    before = sys.refmap_snapshot()
                    limit(room)
                    try:
                        while len(data) < 400_000:
                            data.append([len(data)])
                            if len(data) % 10_000 == 0:
                                check_exact()
                        raise AssertionError('there was no limit')
                    except MemoryError:
                        # No line of Python is sure to work before this one.
                        resource.setrlimit(resource.RLIMIT_AS, unlimited)
                    check_exact()
                    del data[len(data) // 2:]
                    check_exact()
                    more = [[i] for i in range(10_000)]
                    check_exact()
                    del data, more
                    check_exact()
                    if sys.refmap_info().untracked == 0:
                        check_true()
                        diff = sys.refmap_diff(before, file=None)
                        if not diff.lost:
                            check_diff(diff)
                    print('exact')
                    ''', room)
                # One warning at the most.
                self.assertIn(out, ('exact\n', 'refmap: out of memory: references '
                                    'are counted as unattributed\nexact\n'))

    def test_no_second_map(self):
        # Subinterpreters fail one by one when the address space runs out.
        done = subprocess.run(
            [sys.executable, '-c', PREAMBLE + textwrap.dedent('''
                import _interpreters, resource
                with open('/proc/self/statm') as file:
                    size = int(file.read().split()[0])
                size = size * resource.getpagesize() + (1 << 30)
                resource.setrlimit(resource.RLIMIT_AS, (size, size))
                try:
                    _interpreters.create('isolated')
                except _interpreters.InterpreterError as error:
                    # CPython's own sentences first, and then the reason.
                    while error.__context__ is not None:
                        error = error.__context__
                    print('refused:', error)
                check_exact()
                check_true()
                ''')],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=support.LONG_TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r'^refused: .*no address space is left for '
                                      r'the refcount map of another interpreter.*\n$')


if __name__ == '__main__':
    unittest.main()
