"""What is printed at exit: -X showrefcount, -X refmap=, PYTHONREFMAPDUMP."""

import os
import re
import subprocess
import sys
import textwrap
import unittest

from test import support
from test.support import import_helper, os_helper
from test.support.script_helper import (
    assert_python_failure, assert_python_ok, interpreter_requires_environment)

LEAK = '''
import _testrefmap
class Victim: pass
victim = [Victim()]
for _ in range(3):
    address = _testrefmap.leak_object()
_testrefmap.leak_reference(victim)
'''

import_helper.import_module('_testrefmap')


def run(*args, **env):
    """Standard output and standard error of a Python that succeeds."""
    env.setdefault('__isolated', False)
    _, out, err = assert_python_ok(*args, **env)
    return out.decode(), err.decode()


class ShowRefcountTest(unittest.TestCase):

    def test_clean(self):
        _, err = run('-X', 'showrefcount', '-c', 'pass')
        # CPython's own line, and nothing is left.
        self.assertRegex(err.strip(), r'^\[0 refs, \d+ blocks\]$')

    def test_types(self):
        _, err = run('-X', 'showrefcount', '-c', LEAK)
        lines = err.splitlines()
        refs = int(re.fullmatch(r'\[(\d+) refs, \d+ blocks\]', lines[0])[1])
        types = {}
        for line in lines[1:]:
            match = re.fullmatch(
                r'refs left of type (.+): (-?\d+) in (\d+) objects', line)
            if match:
                types[match[1]] = int(match[2]), int(match[3])
            else:
                self.assertRegex(line, r'^refs left unattributed: -?\d+$')
        self.assertEqual(types['_testrefmap.Plain'], (3, 3))
        # The leaked class keeps its module alive, which has a list, too.
        self.assertIn(types['list'], [(1, 1), (2, 2)])
        self.assertEqual(types['Victim'], (1, 1))
        left = [int(line.split(': ')[1]) for line in lines[1:]
                if 'unattributed' in line]
        self.assertEqual(sum(n for n, _ in types.values()) + sum(left), refs)
        # The largest come first.
        counts = [n for n, _ in types.values()]
        self.assertEqual(counts, sorted(counts, reverse=True))

    def test_leaked_snapshot(self):
        # Its birth is taken out of the total, and further references are not.
        _, err = run('-X', 'showrefcount', '-c', textwrap.dedent('''
            import sys, _testrefmap
            snapshot = sys.refmap_snapshot()
            diff = sys.refmap_diff(file=None)
            for _ in range(2):
                _testrefmap.leak_reference(snapshot)
            _testrefmap.leak_reference(diff)
            '''))
        self.assertRegex(err, r'^\[1 refs, ')
        self.assertIn('sys.refmap_snapshot_type: 2 in 1 objects\n', err)
        self.assertIn('sys.refmap_diff_type: 1 in 1 objects\n', err)
        self.assertIn('refs left unattributed: -2\n', err)

    def test_silent_without(self):
        out, err = run('-c', LEAK)
        self.assertEqual((out, err), ('', ''))

    def test_with_dump(self):
        _, err = run('-X', 'showrefcount', '-X', 'refmap=dump', '-c', LEAK)
        self.assertIn(' refs, ', err)
        self.assertIn('Remaining objects', err)
        self.assertIn('refs left of type _testrefmap.Plain: 3 in 3 objects', err)


class DumpTest(unittest.TestCase):

    # An address, the count and the type, like PYTHONDUMPREFS.
    LINE = r'0x[0-9a-f]+ \[(-?\d+)\] (.+)'

    HEADER = r'^Remaining objects of the refcount map of process \d+:$'

    def parse(self, text):
        header, *lines = text.splitlines()
        self.assertRegex(header, self.HEADER)
        return [(match[2], int(match[1])) for line in lines
                for match in [re.fullmatch(self.LINE, line)]]

    def check_leak(self, text):
        objects = self.parse(text)
        self.assertEqual(objects.count(('_testrefmap.Plain', 1)), 3)
        self.assertIn(('list', 1), objects)
        self.assertIn(('Victim', 1), objects)

    def test_stderr(self):
        out, err = run('-X', 'refmap=dump', '-c', LEAK)
        self.assertEqual(out, '')
        self.check_leak(err)

    def test_clean(self):
        _, err = run('-X', 'refmap=dump', '-c', 'pass')
        self.assertEqual(self.parse(err), [])

    def test_addresses(self):
        out, err = run('-X', 'refmap=dump', '-c', LEAK + 'print(hex(address))')
        self.assertIn(f'{out.strip()} [1] _testrefmap.Plain\n', err)

    def test_file(self):
        with os_helper.temp_dir() as directory:
            for name in 'dump', 'with space', 'with:colon', 'dump:', 'n\xe4me':
                path = os.path.join(directory, name)
                with self.subTest(name):
                    out, err = run('-X', f'refmap=dump:{path}', '-X', 'utf8', '-c', LEAK)
                    self.assertEqual((out, err), ('', ''))
                    with open(path, encoding='utf-8') as file:
                        self.check_leak(file.read())

    # Prints its number, and that of a child with the same environment.
    PARENT = LEAK + textwrap.dedent('''
        import os, subprocess, sys
        child = subprocess.Popen([sys.executable, '-c', 'pass'])
        assert child.wait() == 0
        print(os.getpid(), child.pid)
        ''')

    def test_file_is_appended_to(self):
        # A child does not overwrite what its parent has written, nor the other
        # way round, nor does the next run.
        path = os_helper.TESTFN
        self.addCleanup(os_helper.unlink, path)
        expected = []
        for _ in range(2):
            out, err = run('-c', self.PARENT, PYTHONREFMAPDUMP=f'dump:{path}')
            self.assertEqual(err, '')
            parent, child = out.split()
            expected += [child, parent]     # in the order of their ends
        with open(path, encoding='utf-8') as file:
            text = file.read()
        self.assertEqual(re.findall(r'map of process (\d+):\n', text), expected)
        _, _, first, _, second = re.split(r'(?m)^(?=Remaining objects)', text)
        for dump in first, second:
            self.check_leak(dump)

    def test_process_number_in_the_name(self):
        with os_helper.temp_dir() as directory:
            pattern = os.path.join(directory, '%p-%%p-%d%-%p%')
            out, err = run('-c', self.PARENT, PYTHONREFMAPDUMP=f'dump:{pattern}')
            self.assertEqual(err, '')
            parent, child = out.split()
            dumps = {}
            for name in os.listdir(directory):
                with open(os.path.join(directory, name), encoding='utf-8') as file:
                    dumps[name] = file.read()
        names = {pid: f'{pid}-%p-%d%-{pid}%' for pid in (parent, child)}
        self.assertEqual(set(dumps), set(names.values()))
        self.check_leak(dumps[names[parent]])
        self.assertEqual(self.parse(dumps[names[child]]), [])
        for pid, name in names.items():
            self.assertIn(f'process {pid}:', dumps[name])

    def test_process_number_after_fork(self):
        support.requires_fork()
        with os_helper.temp_dir() as directory:
            pattern = os.path.join(directory, '%p')
            out, err = run('-X', f'refmap=dump:{pattern}', '-c',
                           LEAK + textwrap.dedent('''
                import os
                pid = os.fork()
                if pid:
                    assert os.waitpid(pid, 0)[1] == 0
                    print(os.getpid(), pid)
                '''))
            self.assertEqual(err, '')
            self.assertEqual(set(os.listdir(directory)), set(out.split()))
            for name in out.split():
                with open(os.path.join(directory, name), encoding='utf-8') as file:
                    self.check_leak(file.read())

    def test_variable(self):
        for value in '1', 'dump':
            with self.subTest(value):
                _, err = run('-c', LEAK, PYTHONREFMAPDUMP=value)
                self.check_leak(err)

    def test_variable_with_file(self):
        path = os_helper.TESTFN
        self.addCleanup(os_helper.unlink, path)
        out, err = run('-c', LEAK, PYTHONREFMAPDUMP=f'dump:{path}')
        self.assertEqual((out, err), ('', ''))
        with open(path, encoding='utf-8') as file:
            self.check_leak(file.read())

    def test_variable_off(self):
        for value in '', '0':
            with self.subTest(value):
                self.assertEqual(run('-c', LEAK, PYTHONREFMAPDUMP=value), ('', ''))

    def test_option_before_variable(self):
        path = os_helper.TESTFN
        self.addCleanup(os_helper.unlink, path)
        for value in '1', '0', f'dump:{path}', 'nonsense':
            with self.subTest(value):
                _, err = run('-X', 'refmap=dump', '-c', LEAK,
                             PYTHONREFMAPDUMP=value)
                self.check_leak(err)
        self.assertFalse(os.path.exists(path))

    @unittest.skipIf(interpreter_requires_environment(),
                     'Cannot run -E tests when PYTHON env vars are required.')
    def test_ignored_environment(self):
        for option in '-E', '-I':
            for value in '1', 'nonsense':
                with self.subTest(option=option, value=value):
                    self.assertEqual(run(option, '-c', LEAK,
                                         PYTHONREFMAPDUMP=value), ('', ''))
            _, err = run(option, '-X', 'refmap=dump', '-c', LEAK)
            self.check_leak(err)

    def test_exit_status(self):
        for code, expected in ('import sys; sys.exit(3)', 3), ('1/0', 1):
            with self.subTest(code):
                status, _, err = assert_python_failure(
                    '-X', 'refmap=dump', '-c', code, __isolated=False)
                self.assertEqual(status, expected)
                self.assertIn(b'Remaining objects', err)

    def test_strange_type_names(self):
        # Neither is the format of printf() taken literally, nor does a new
        # line fake another entry without its header.
        _, err = run('-X', 'refmap=dump', '-c', LEAK + textwrap.dedent('''
            kept = type('%s%n%d', (), {})()
            _testrefmap.leak_reference(kept)
            '''))
        self.assertIn('[1] %s%n%d\n', err)

    def test_closed_stderr(self):
        run('-X', 'refmap=dump', '-c', LEAK + 'import os; os.close(2)')

    def test_finds_the_memory_unreadable(self):
        _, err = run('-X', 'refmap=dump', '-X', 'showrefcount', '-c',
                     'import _testrefmap; _testrefmap.free_counted("mmap", 5)')
        self.assertRegex(err, r'0x[0-9a-f]+ \[5\] \?\n')
        self.assertIn('refs left of type ?: 5 in 1 objects\n', err)

    def test_foreign_references(self):
        _, err = run('-X', 'showrefcount', '-c', textwrap.dedent('''
            import _testrefmap
            for _ in range(4):
                _testrefmap.stock_debug_incref(None)
            x = [object()]
            _testrefmap.foreign_incref(x[0])
            del x
            '''))
        # An object that lives on in ob_refcnt alone has no references left.
        self.assertIn('refs left unattributed: 4\n', err)

    def test_allocators(self):
        # The name of the file is kept for longer than an interpreter lives.
        path = os_helper.TESTFN
        self.addCleanup(os_helper.unlink, path)
        for name in 'malloc_debug', 'pymalloc_debug', 'malloc':
            with self.subTest(name):
                run('-X', f'refmap=dump:{path}', '-c', LEAK, PYTHONMALLOC=name)
                with open(path, encoding='utf-8') as file:
                    self.check_leak(file.read())
                os_helper.unlink(path)
                run('-X', 'dev', '-c', LEAK, PYTHONREFMAPDUMP=f'dump:{path}',
                    PYTHONMALLOC=name)
                with open(path, encoding='utf-8') as file:
                    self.check_leak(file.read())
                os_helper.unlink(path)

    def test_after_fork(self):
        support.requires_fork()
        out, err = run('-X', 'refmap=dump', '-c', LEAK + textwrap.dedent('''
            import os, sys
            pid = os.fork()
            if pid:
                assert os.waitpid(pid, 0)[1] == 0
            '''))
        # Both processes end in the ordinary way.
        self.assertEqual(err.count('Remaining objects'), 2)
        self.assertEqual(err.count('[1] _testrefmap.Plain\n'), 6)


class BadValueTest(unittest.TestCase):

    CODE = 'print("run")'

    def check(self, *args, message, **env):
        status, out, err = assert_python_failure(*args, '-c', self.CODE,
                                                 __isolated=False, **env)
        # Nothing was run, and it's no crash.
        self.assertEqual(out, b'')
        self.assertEqual(status, 1)
        err = err.decode()
        self.assertRegex(err, message)
        self.assertNotIn('Traceback', err)
        # One sentence, and what Py_ExitStatusException() adds to each.
        lines = [line for line in err.splitlines()
                 if line and not line.startswith('Python runtime state:')]
        self.assertEqual(len(lines), 1, err)

    def test_option(self):
        for value in ('refmap', 'refmap=', 'refmap=1', 'refmap=dump:',
                      'refmap=dumb', 'refmap=dump=x', 'refmap=DUMP', 'refmap=dump;x'):
            with self.subTest(value):
                self.check('-X', value, message='-X refmap')

    def test_variable(self):
        for value in 'yes', '2', 'dump:', 'dumb', 'DUMP':
            with self.subTest(value):
                self.check(message='PYTHONREFMAPDUMP', PYTHONREFMAPDUMP=value)

    def test_unwritable_file(self):
        with os_helper.temp_dir() as directory:
            for path in (directory, os.path.join(directory, 'none', 'file')):
                with self.subTest(path):
                    self.check('-X', f'refmap=dump:{path}', message='refmap')
                    self.check(message='refmap', PYTHONREFMAPDUMP=f'dump:{path}')

    def test_file_becomes_unwritable(self):
        # Late, so that a message is all that can be done.
        with os_helper.temp_dir() as directory:
            inner = os.path.join(directory, 'inner')
            os.mkdir(inner)
            path = os.path.join(inner, 'dump')
            out, err = run('-X', f'refmap=dump:{path}', '-c',
                           f'import shutil; shutil.rmtree({inner!r}); print("run")')
        self.assertEqual(out.strip(), 'run')
        self.assertIn('refmap', err)

    @unittest.skipUnless(os.path.exists('/dev/full'), 'there is no /dev/full')
    def test_full_disk(self):
        _, err = run('-X', 'refmap=dump:/dev/full', '-c', LEAK)
        self.assertEqual(err, 'refmap: cannot write to file: /dev/full\n')


class EmbeddingTest(unittest.TestCase):
    """Initialised again and again, by Programs/_testembed."""

    def setUp(self):
        name = '_testembed'
        # It finds the library from the directory that it runs in.
        self.directory = os.path.dirname(sys.executable)
        self.program = next(
            (path for path in (os.path.join(self.directory, name),
                               os.path.join(self.directory, 'Programs', name))
             if os.path.isfile(path)), None)
        if self.program is None:
            self.skipTest(f'there is no {name} beside the interpreter')

    def run_embedded(self, *args, **env):
        process = subprocess.run(
            [self.program, *args], capture_output=True, text=True,
            cwd=self.directory, env=os.environ | env, timeout=support.LONG_TIMEOUT)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stdout, process.stderr

    def test_exact_after_init_again(self):
        code = textwrap.dedent('''
            import sys, gc
            class A: pass
            for _ in range(2):
                info = sys.refmap_info()
                print(info.mapped + info.unattributed - info.total,
                      sys.refmap_verify())
                before = sys.refmap_snapshot()
                data = [A() for _ in range(1000)]
                diff = sys.refmap_diff(before, file=None)
                lines = (sum(y - x for _, _, x, y in diff.living)
                         - sum(x for _, _, x in diff.died) + diff.unattributed)
                print(lines - diff.total, diff.types['A'], diff.lost)
                del data, before, diff
                gc.collect()
            ''')
        # INIT_LOOPS in Programs/_testembed.c
        out, _ = self.run_embedded('test_repeated_init_exec', code)
        lines = [line for line in out.splitlines() if not line.startswith('---')]
        self.assertGreater(len(lines), 8)
        self.assertEqual(set(lines[::2]), {'0 []'})
        self.assertEqual(set(lines[1::2]), {'0 1000 0'})

    def test_no_baseline_of_the_last_time(self):
        code = textwrap.dedent('''
            import sys
            try:
                sys.refmap_diff(file=None)
            except ValueError:
                print('none')
            kept = sys.refmap_snapshot()
            sys.kept = kept
            ''')
        out, _ = self.run_embedded('test_repeated_init_exec', code)
        lines = [line for line in out.splitlines() if not line.startswith('---')]
        self.assertGreater(len(lines), 2)
        self.assertEqual(set(lines), {'none'})

    def test_leak_in_each_round(self):
        # Objects of earlier rounds stay in the map, and are no trouble.
        code = textwrap.dedent('''
            import sys, ctypes
            leaks = [[i] for i in range(50)]
            for x in leaks:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(x))
            info = sys.refmap_info()
            print(info.mapped + info.unattributed - info.total, sys.refmap_verify())
            ''')
        out, _ = self.run_embedded('test_repeated_init_exec', code)
        lines = [line for line in out.splitlines() if not line.startswith('---')]
        self.assertGreater(len(lines), 2)
        self.assertEqual(set(lines), {'0 []'})

    def test_dump(self):
        _, err = self.run_embedded('test_repeated_init_exec', 'pass',
                                   PYTHONREFMAPDUMP='1')
        self.assertIn('Remaining objects', err)

    def test_dump_of_the_first_time_only(self):
        # Nothing of it is left: not the file, nor the names of types, which the
        # dump believes without reading them again.
        code = textwrap.dedent('''
            import os, sys
            os.environ.pop('PYTHONREFMAPDUMP', None)
            class First: pass
            before = sys.refmap_snapshot()
            kept = [First()]
            sys.refmap_diff(before, file=None).types
            First.__name__ = 'Second'
            types = sys.refmap_diff(before, file=None).types
            print([name for name in ('First', 'Second') if name in types])
            del before
            ''')
        out, err = self.run_embedded('test_repeated_init_exec', code,
                                     PYTHONREFMAPDUMP='1')
        lines = [line for line in out.splitlines() if not line.startswith('---')]
        self.assertGreater(len(lines), 2)
        self.assertEqual(set(lines), {"['Second']"})
        self.assertEqual(err.count('Remaining objects'), 1)

    def test_subinterpreters(self):
        for name in ('test_repeated_init_and_subinterpreters',
                     'test_repeated_simple_init', 'test_forced_io_encoding',
                     'test_init_main_interpreter_settings'):
            with self.subTest(name):
                self.run_embedded(name)


if __name__ == '__main__':
    unittest.main()
