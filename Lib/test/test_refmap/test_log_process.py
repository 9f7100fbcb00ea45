"""Event logs of processes that fork, exec, end, crash, or have no room on the disk."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import unittest

import refmap
from refmap.log import events, format
from test import support
from test.support import import_helper, os_helper

from .log_case import LogTestCase, environment, is_object, tell

try:
    import resource
except ImportError:
    resource = None


class A:
    pass


class ForkTests(LogTestCase):

    def setUp(self):
        support.requires_fork()
        super().setUp()

    def test_fork(self):
        out, _ = self.script('''
            with refmap.EventLog(path, include=A, rss=False):
                a = A()
                pid = os.fork()
                if pid == 0:
                    A()
                    del a
                    os._exit(0)
                os.waitpid(pid, 0)
                b = A()
                print(os.getpid(), pid)
            ''')
        parent, child = out.split()
        self.assertEqual(self.files(), ['x.log', f'x.log.{child}'])
        self.assertEqual(self.tell(), ['NEW A 1', 'NEW A 2'])
        found = self.read(f'{self.path}.{child}')
        self.assertEqual(tell(found), [f'FORK {self.path}', 'NEW A 2', 'DEL A 2',
                                       'DEL A 4'])
        self.assertEqual(found[0].number, int(parent))
        # The same object in both files, one of those that lived in the child.
        born, dead = self.read()[0], found[-1]
        self.assertEqual((born.address, born.birth), (dead.address, dead.birth))
        self.assertEqual(dead.live, 0)

    def test_child_goes_on(self):
        # It leaves the with statement, and exits as everybody does.
        out, _ = self.script('''
            with refmap.EventLog(path, include=A, rss=False):
                pid = os.fork()
                A()
            with refmap.EventLog(f'{path}.{pid}.second', include=A):
                A()
            if pid:
                os.waitpid(pid, 0)
                print(pid)
            ''')
        child = out.strip()
        self.assertEqual(self.tell(), ['NEW A 1', 'DEL A 1'])
        self.assertEqual(self.tell(f'{self.path}.{child}'),
                         [f'FORK {self.path}', 'NEW A 2', 'DEL A 2'])
        for pid in 0, child:
            self.assertEqual(len(self.tell(f'{self.path}.{pid}.second')), 2)

    def test_child_of_a_child(self):
        self.script('''
            with refmap.EventLog(path, include=A, rss=False) as log:
                for _ in range(3):
                    pid = os.fork()
                    if pid:
                        os.waitpid(pid, 0)
                        break
                    A()
            ''')
        names = sorted(self.files(), key=len)
        self.assertEqual([name.count('.') for name in names], [1, 2, 3, 4])
        self.assertEqual(self.tell(), [])
        for i in 1, 2, 3:
            self.assertEqual(self.tell(self.file(names[i])),
                             [f'FORK {self.file(names[i - 1])}', 'NEW A 2',
                              'DEL A 2'])

    def test_fork_in_nested_logs(self):
        out, _ = self.script('''
            with refmap.EventLog(path, include=A, rss=False):
                with refmap.EventLog(path + '.inner', include=A, rss=False):
                    pid = os.fork()
                    A()
                A()
            if pid:
                os.waitpid(pid, 0)
                print(pid)
            ''')
        child = out.strip()
        for name in self.path, f'{self.path}.{child}':
            told = [text.split()[0] for text in self.tell(name)]
            self.assertEqual(told[-3:], ['RESUME', 'NEW', 'DEL'])
        told = self.tell(f'{self.path}.inner.{child}')
        self.assertEqual(told, [f'FORK {self.path}.inner', 'NEW A 2', 'DEL A 2'])

    def test_exec_leaves_no_file(self):
        out, _ = self.script('''
            import subprocess
            with refmap.EventLog(path, include=A):
                pid = os.fork()
                if pid == 0:
                    os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])
                os.waitpid(pid, 0)
                subprocess.run([sys.executable, '-c', 'print(2)'], check=True)
                subprocess.run([sys.executable, '-c', 'print(3)'], check=True,
                               close_fds=False, preexec_fn=int)
                os.posix_spawn(sys.executable, [sys.executable, '-c', 'pass'],
                               os.environ)
                os.wait()
            ''')
        self.assertEqual(out.split(), ['1', '2', '3'])
        self.assertEqual(self.files(), ['x.log'])

    def test_no_descriptor_is_inherited(self):
        out, _ = self.script('''
            import subprocess
            with refmap.EventLog(path, include=A):
                subprocess.run(['ls', '-l', '/proc/self/fd'], close_fds=False)
            ''')
        self.assertNotIn(self.path, out)

    def test_execv(self):
        # What was in memory is written before.
        self.script('''
            refmap.EventLog(path, include=A, rss=False).begin()
            a = A()
            os.execv(sys.executable, [sys.executable, '-c', 'pass'])
            ''')
        self.assertEqual(tell(self.read()), ['NEW A 1'])

    def test_execv_fails(self):
        self.script('''
            with refmap.EventLog(path, include=A, rss=False):
                a = A()
                try:
                    os.execv('/nonexistent', ['x'])
                except FileNotFoundError:
                    del a
            ''')
        self.assertEqual(self.tell(), ['NEW A 1', 'DEL A 1'])

    def test_fork_of_c(self):
        # Python does not know of this one: its events are nobody's.
        import_helper.import_module('ctypes')
        self.script('''
            import ctypes
            with refmap.EventLog(path, include=A, rss=False) as log:
                A()
                pid = ctypes.PyDLL(None).fork()
                for _ in range(200_000 if pid == 0 else 1):
                    A()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
            ''')
        self.assertEqual([text.split()[0] for text in self.tell()],
                         ['NEW', 'DEL'] * 2)
        self.assertEqual(self.files(), ['x.log'])

    def test_multiprocessing(self):
        import_helper.import_module('_multiprocessing')
        script = self.file('script.py')
        with open(script, 'w') as file:
            file.write(textwrap.dedent('''
                import multiprocessing, refmap, sys

                class A: pass

                def work(n):
                    return len([A() for _ in range(n)])

                if __name__ == '__main__':
                    multiprocessing.set_start_method(sys.argv[2])
                    with refmap.EventLog(sys.argv[1], include='A', rss=False):
                        with multiprocessing.Pool(2) as pool:
                            assert pool.map(work, [3] * 8) == [3] * 8
                            pool.close()
                            pool.join()
                '''))
        for method, births in ('fork', 24), ('spawn', 0):
            with self.subTest(method):
                path = self.file(method)
                subprocess.run([sys.executable, script, path, method],
                               check=True, env=environment())
                names = [n for n in self.files() if n.startswith(f'{method}.')]
                told = [text for name in names
                        for text in tell(self.read(self.file(name)))]
                kinds = [text.split()[0] for text in told]
                self.assertEqual(kinds.count('NEW'), births)
                self.assertEqual(kinds.count('DEL'), births)

    def test_threads_and_fork(self):
        # Other threads log while one forks.
        self.script('''
            import threading, warnings
            warnings.simplefilter('ignore')
            stop = threading.Event()
            def work():
                while not stop.is_set():
                    for _ in range(100):
                        A()
            with refmap.EventLog(path, include=A, rss=False):
                threads = [threading.Thread(target=work) for _ in range(3)]
                for t in threads: t.start()
                for _ in range(20):
                    pid = os.fork()
                    if pid == 0:
                        A()
                        os._exit(0)
                    assert os.waitpid(pid, 0)[1] == 0
                stop.set()
                for t in threads: t.join()
            ''')
        names = self.files()
        self.assertEqual(len(names), 21)
        for name in names[1:]:
            kinds = [text.split()[0] for text in tell(self.read(self.file(name)))]
            # A thread that is gone may have been about to delete its own.
            self.assertEqual(kinds[0], 'FORK')
            self.assertEqual(kinds[-2:], ['NEW', 'DEL'])


class EndTests(LogTestCase):

    BEGIN = '''
            log = refmap.EventLog(path, include=A, rss=False).begin()
            kept = [A() for _ in range(1000)]
            '''

    def ends(self, script, status, end='END exit', deaths=0, err=''):
        """Run a script that leaves a log open; look at its end."""
        _, stderr = self.script(self.BEGIN + script, status=status)
        self.assertIn(err, stderr)
        told = tell(self.read())
        self.assertEqual(told[:1000], [f'NEW A {i}' for i in range(1, 1001)])
        rest = told[1000:]
        if end:
            self.assertEqual(rest.pop(), end)
        self.assertEqual([text.split()[0] for text in rest], ['DEL'] * deaths)

    def test_exit(self):
        self.ends('', 0, deaths=1000)

    def test_sys_exit(self):
        self.ends('sys.exit(3)', 3, deaths=1000)

    def test_unhandled_exception(self):
        self.ends('1 / 0', 1, deaths=1000, err='ZeroDivisionError')

    def test_os_exit(self):
        self.ends('os._exit(5)', 5, end='')

    def test_death_after_exit(self):
        # By a finaliser that runs at the very end.
        self.ends('''
            class D:
                def __del__(self): A()
            A.d = D()
            sys.d = D()
            kept.clear()
            os._exit(0)
            ''', 0, end='', deaths=1000)

    def test_profile_at_exit(self):
        self.script('''
            refmap.Profile(path, d_rss_trigger=0).begin()
            refmap.Trace(path + '.lines', d_rss_trigger=0).begin()
            len([])
            ''')
        for path in self.path, self.path + '.lines':
            self.assertEqual(tell(self.read(path))[-1], 'END exit')

    def test_closed_at_exit(self):
        # The interpreter closes it before its own finalisers end it.
        self.script('''
            log = refmap.EventLog(path, include=A, rss=False).begin()
            class D:
                def __del__(self, log=log): log.end()
            sys.d = D()
            import atexit
            atexit.register(A)
            ''')
        self.assertTrue(tell(self.read())[-1].startswith('END'))


class CrashTests(LogTestCase):
    """A fatal signal writes what is in memory."""

    crash = '''
            import faulthandler, signal
            log = refmap.EventLog(path, include=A, rss=False).begin()
            kept = [A() for _ in range(1000)]
            '''

    def crashes(self, script, signum=signal.SIGSEGV, begin='', err=None):
        _, stderr = self.script(textwrap.dedent(begin) + textwrap.dedent(self.crash)
                                + textwrap.dedent(script), status=-signum)
        told = tell(self.read())
        self.assertEqual(told, [f'NEW A {i}' for i in range(1, 1001)])
        if err is not None:
            self.assertIn(err, stderr)

    def test_null(self):
        import_helper.import_module('ctypes')
        self.crashes('import ctypes; ctypes.string_at(0)')

    def test_faulthandler(self):
        for begin, script in (('', 'faulthandler.enable()'),
                              ('import faulthandler; faulthandler.enable()', '')):
            with self.subTest(begin):
                self.crashes(script + '\nfaulthandler._sigsegv()', begin=begin,
                             err='Fatal Python error: Segmentation fault')

    def test_abort(self):
        self.crashes('os.abort()', signal.SIGABRT)

    def test_fatal_error(self):
        self.crashes('faulthandler._fatal_error_c_thread()', signal.SIGABRT,
                     err='Fatal Python error')

    def test_other_signals(self):
        for name in 'SIGBUS', 'SIGILL', 'SIGFPE':
            with self.subTest(name):
                signum = getattr(signal, name)
                self.crashes(f'os.kill(os.getpid(), {int(signum)})', signum)

    def test_stack_overflow(self):
        self.crashes('faulthandler.enable(); faulthandler._stack_overflow()')

    def test_in_a_thread(self):
        self.crashes('''
            import threading
            t = threading.Thread(target=faulthandler._sigsegv)
            t.start()
            t.join()
            ''')

    def test_in_an_interpreter(self):
        import_helper.import_module('_interpreters')
        self.crashes('''
            import _interpreters, threading
            def work():
                i = _interpreters.create('isolated')
                _interpreters.exec(i, 'import os; os.kill(os.getpid(), 11)')
            t = threading.Thread(target=work)
            t.start()
            t.join()
            ''')

    def test_handler_of_the_program(self):
        # It has its own: the log leaves it there.
        self.script('''
            import signal
            signal.signal(signal.SIGFPE, lambda *args: print('handled'))
            with refmap.EventLog(path, include=A):
                assert callable(signal.getsignal(signal.SIGFPE))
            os.kill(os.getpid(), signal.SIGFPE)
            ''')

    def test_handlers_are_given_back(self):
        self.script('''
            import signal
            signal.signal(signal.SIGABRT, signal.SIG_IGN)
            with refmap.EventLog(path, include=A):
                pass
            os.kill(os.getpid(), signal.SIGABRT)
            ''')

    def test_kill(self):
        process = subprocess.Popen(
            [sys.executable, '-c', textwrap.dedent(f'''
                import refmap, sys, time
                class A: pass
                refmap.EventLog({self.path!r}, include=A, rss=False).begin()
                end = time.monotonic() + 1
                n = 0
                while time.monotonic() < end:
                    A()
                    n += 1
                    sum(range(500))
                print(n, flush=True)
                while True:
                    pass
                ''')], stdout=subprocess.PIPE, env=environment())
        with process:
            n = int(process.stdout.readline())
            process.kill()
        # A chunk may have been cut off; what was written before is there.
        with events.Log(self.path) as log:
            kinds = [e.kind for e in log.events()]
        self.assertGreater(kinds.count(format.NEW), n * 0.8)
        self.assertEqual(kinds[::2], [format.NEW] * len(kinds[::2]))
        self.assertEqual(kinds[1::2], [format.DEL] * len(kinds[1::2]))


class DiskTests(LogTestCase):
    """What can't be written ends the log, with one message; never the program."""

    WORK = '''
            {before}
            with refmap.EventLog({path!r}, include=A, rss=False) as log:
                {first}
                for _ in range(200_000):
                    A()
            print(log.count_new, type(log.error).__name__, log.error and log.error.errno)
            sys.exit(7)
            '''

    def work(self, path=None, before='', first=''):
        """Run a script whose log fails. Return the errno, and its stderr."""
        out, err = self.script(self.WORK.format(
            path=path or self.path, before=before, first=first), status=7)
        births, name, number = out.split()
        self.assertNotEqual(name, 'NoneType')
        self.assertEqual(err.count('refmap:'), 1, err)
        self.assertEqual(err.count('\n'), 1, err)
        self.assertIn('the program goes on', err)
        self.assertIn(os.strerror(int(number)), err)
        return int(number)

    def refuses(self, path, error):
        """The log can't be opened at all."""
        with self.assertRaises(error) as caught:
            with refmap.EventLog(path, include=A):
                self.fail('it began')
        self.assertEqual(caught.exception.filename, path)
        # The next one can.
        with refmap.EventLog(self.file('next'), include=A):
            A()
        self.assertEqual(len(self.tell(self.file('next'))), 2)

    def test_dev_full(self):
        if not os.path.exists('/dev/full'):
            self.skipTest('there is no /dev/full')
        self.assertEqual(self.work('/dev/full'), errno.ENOSPC)

    @unittest.skipIf(resource is None, 'needs the module resource')
    def test_limit_of_a_file(self):
        number = self.work(before='import resource; resource.setrlimit('
                           'resource.RLIMIT_FSIZE, (100_000, 100_000))')
        self.assertEqual(number, errno.EFBIG)
        # What was written is readable.
        self.assertEqual(os.path.getsize(self.path), 100_000)
        with events.Log(self.path) as log:
            kinds = [e.kind for e in log.events()]
        self.assertGreater(len(kinds), 1000)
        self.assertEqual(kinds[:2], [format.NEW, format.DEL])

    def test_full_file_system(self):
        place = self.file('small')
        os.mkdir(place)
        mounted = subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place],
            capture_output=True)
        if mounted.returncode != 0:
            self.skipTest('no file system can be mounted here')
        self.addCleanup(subprocess.run, ['umount', place], check=True)
        self.assertEqual(self.work(os.path.join(place, 'x.log')), errno.ENOSPC)

    def test_directory(self):
        self.refuses(self.directory, IsADirectoryError)

    def test_no_directory(self):
        self.refuses(self.file('none/x.log'), FileNotFoundError)

    @unittest.skipIf(hasattr(os, 'geteuid') and os.geteuid() == 0,
                     'the superuser may write anywhere')
    def test_unwritable_directory(self):
        place = self.file('closed')
        os.mkdir(place, 0o500)
        self.refuses(os.path.join(place, 'x.log'), PermissionError)

    def test_fifo_that_nobody_reads(self):
        os.mkfifo(self.path)
        self.refuses(self.path, OSError)

    def test_fifo(self):
        # A pipe that somebody reads is as good as a file.
        os.mkfifo(self.path)
        self.script('''
            import threading
            got = []
            def drain():
                with open(path, 'rb') as file:
                    got.append(file.read())
            thread = threading.Thread(target=drain)
            thread.start()
            while True:
                try:
                    log = refmap.EventLog(path, include=A, rss=False).begin()
                    break
                except OSError:
                    pass
            for _ in range(10): A()
            log.end()
            thread.join()
            with open(path + '.copy', 'wb') as file:
                file.write(got[0])
            ''')
        self.assertEqual(len(self.tell(self.path + '.copy')), 20)

    def test_reader_of_a_fifo_goes_away(self):
        os.mkfifo(self.path)
        self.assertEqual(self.work(before='reader = os.open(path, os.O_RDONLY | '
                                   'os.O_NONBLOCK)', first='os.close(reader)'),
                         errno.EPIPE)

    def test_removed(self):
        with refmap.EventLog(self.path, include=A) as log:
            os.unlink(self.path)
            for _ in range(100_000):
                A()
        self.assertIsNone(log.error)
        self.assertEqual(self.files(), [])

    def test_truncated(self):
        # By somebody else: a hole comes, but the program goes on.
        with refmap.EventLog(self.path, include=A) as log:
            for _ in range(100_000):
                A()
            log.flush()
            os.truncate(self.path, 10)
            A()
        self.assertIsNone(log.error)
        self.assertEqual(log.count_new, 100_001)

    def test_descriptor_is_closed(self):
        for begin in '', 'other = open(path + ".other", "wb")':
            with self.subTest(begin):
                # A daemon closes all that it does not know.
                self.assertEqual(self.work_closing(begin), errno.EBADF)
        self.assertEqual(os.path.getsize(self.path + '.other'), 5)

    def work_closing(self, begin):
        out, err = self.script(f'''
            with refmap.EventLog(path, include=A, rss=False) as log:
                os.closerange(3, 100)
                {begin}
                for _ in range(100_000):
                    A()
                if {bool(begin)}:
                    other.write(b'mine!')
                    other.flush()
            if {bool(begin)}:
                other.close()       # it is still open
            print(log.error.errno)
            ''')
        self.assertEqual(err.count('refmap:'), 1, err)
        return int(out)

    def test_outer_log_goes_on(self):
        # Only the one that failed has ended.
        if not os.path.exists('/dev/full'):
            self.skipTest('there is no /dev/full')
        _, err = self.script('''
            with refmap.EventLog(path, include=A, rss=False):
                with refmap.EventLog('/dev/full', include=A):
                    A()
                A()
            ''')
        self.assertEqual(err.count('refmap:'), 1, err)
        self.assertEqual([text.split()[0] for text in self.tell()],
                         ['SUSPEND', 'RESUME', 'NEW', 'DEL'])

    def test_fork_into_nothing(self):
        # The child's file can't be made: it goes on, too.
        support.requires_fork()
        _, err = self.script('''
            os.mkdir('gone')
            path = os.path.abspath('gone/x.log')
            with refmap.EventLog(path, include=A, rss=False):
                os.unlink(path)
                os.rmdir('gone')
                pid = os.fork()
                for _ in range(100_000):
                    A()
                if pid == 0:
                    sys.exit(3)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
            ''')
        self.assertEqual(err.count('refmap:'), 1, err)


class InterpreterTests(LogTestCase):
    """Interpreters that share the GIL, and interpreters with their own."""

    def setUp(self):
        import_helper.import_module('_interpreters')
        super().setUp()

    CREATE = '''
            import _interpreters, threading
            WORK = """
            class A: pass
            for _ in range({n}): A()
            """
            WORK = __import__('textwrap').dedent(WORK)
            def run(interpreter, n=1000):
                error = _interpreters.exec(interpreter, WORK.replace('{n}', str(n)))
                assert error is None, error
            def check_map():
                info = sys.refmap_info()
                assert info.mapped + info.unattributed == info.total, info
                assert sys.refmap_verify() == []
            '''

    def deaths_and_births(self, unseen=0):
        """The events of A, of which so many have no counterpart at most."""
        found = [e for e in self.read() if is_object(e) and e.type.name == 'A']
        kinds = [e.kind for e in found]
        self.assertAlmostEqual(kinds.count(format.NEW), kinds.count(format.DEL),
                               delta=unseen)
        return found

    def test_log_sees_all(self):
        for kind in 'legacy', 'isolated':
            with self.subTest(kind):
                self.script(self.CREATE + f'''
            with refmap.EventLog(path, include='A', rss=False) as log:
                interpreters = [_interpreters.create({kind!r}) for _ in range(3)]
                for i in interpreters:
                    run(i)
                A()
                for i in interpreters:
                    _interpreters.destroy(i)
            assert log.count_new == 3001, log.count_new
            check_map()
            ''')
                found = self.deaths_and_births()
                self.assertEqual(len(found), 2 * 3001)
                self.assertEqual(len({e.thread.interpreter for e in found}), 4)

    def test_at_the_same_time(self):
        for references in False, True:
            with self.subTest(references=references):
                self.script(self.CREATE + f'''
            with refmap.EventLog(path, include='A', rss=False,
                                 references={references}) as log:
                def work(kind):
                    for _ in range(3):
                        i = _interpreters.create(kind)
                        run(i, 3000)
                        _interpreters.destroy(i)
                kinds = ['isolated'] * 3 + ['legacy']
                threads = [threading.Thread(target=work, args=(k,)) for k in kinds]
                for t in threads: t.start()
                for _ in range(3000): A()
                for t in threads: t.join()
            assert log.count_new == 3000 * 13, log.count_new
            assert log.count_del == 3000 * 13, log.count_del
            check_map()
            ''')
                found = self.deaths_and_births()
                self.assertEqual(len([e for e in found if not e.change]),
                                 2 * 3000 * 13)

    def test_comes_and_goes(self):
        # Logs begin and end while another interpreter works.
        self.script(self.CREATE + '''
            stop = False
            def work():
                i = _interpreters.create('isolated')
                while not stop:
                    run(i, 100)
                _interpreters.destroy(i)
            threads = [threading.Thread(target=work) for _ in range(2)]
            for t in threads: t.start()
            for n in range(60):
                with refmap.EventLog(path, include='A', references=n % 2) as log:
                    A()
                    with refmap.EventLog(path + '.inner', builtins=True):
                        A()
                    log.live_counts()
            stop = True
            for t in threads: t.join()
            check_map()
            ''')
        # Each of two may have an object when the log begins, is suspended, goes on, and
        # ends.
        self.assertTrue(self.deaths_and_births(unseen=2 * 4))

    def test_begun_elsewhere(self):
        for kind in 'legacy', 'isolated':
            with self.subTest(kind):
                self.script(self.CREATE + f'''
            i = _interpreters.create({kind!r})
            error = _interpreters.exec(i, """if 1:
                import refmap, sys
                class A: pass
                kept = [A() for _ in range(5)]
                log = refmap.EventLog({{!r}}, include='A', rss=False).begin()
                A()
                """.format(path))
            assert error is None, error
            A()
            run(i, 10)
            error = _interpreters.exec(i, "log.end(); assert log.count_new == 12")
            assert error is None, error
            _interpreters.destroy(i)
            ''')
                self.assertEqual(len(self.deaths_and_births()), 24)
                inside = [e for e in self.read() if is_object(e)
                          and e.thread.interpreter]
                self.assertEqual(inside[0].live, 6)

    def test_interpreter_closes_with_its_log(self):
        for kind in 'legacy', 'isolated':
            with self.subTest(kind):
                self.script(self.CREATE + f'''
            i = _interpreters.create({kind!r})
            error = _interpreters.exec(i, """if 1:
                import refmap
                class A: pass
                refmap.EventLog({{!r}}, include='A', rss=False).begin()
                A()
                """.format(path))
            assert error is None, error
            _interpreters.destroy(i)
            A()
            ''')
                told = tell(self.read())
                self.assertEqual([text.split()[0] for text in told],
                                 ['NEW', 'DEL', 'NEW', 'DEL', 'END'])

    # Two interpreters, of which one has a log and the other one takes its place.
    DISPLACED = CREATE + '''
            i, j = [_interpreters.create('isolated') for _ in range(2)]
            def inside(interpreter, text):
                error = _interpreters.exec(interpreter, text)
                assert error is None, error
            BEGIN = """if 1:
                import refmap
                class A: pass
                log = refmap.EventLog({!r}, include='A', rss=False).begin()
                A()
                """
            log = refmap.EventLog(path, include='A', rss=False).begin()
            inside(i, BEGIN.format(path + '.inside'))
            A()
            '''

    def kinds(self):
        """The kinds of what the log of the main interpreter tells, but its end."""
        return [text.split()[0] for text in self.tell()]

    def test_displaced(self):
        # A log goes on when the one of another interpreter that took its place ends.
        self.script(self.DISPLACED + '''
            inside(i, "log.end()")
            A()
            log.end()
            check_map()
            ''')
        self.assertEqual(self.kinds(), ['SUSPEND', 'RESUME', 'NEW', 'DEL'])

    def test_displaced_twice(self):
        # The one in the middle ends first.
        self.script(self.DISPLACED + '''
            inside(j, BEGIN.format(path + '.other'))
            inside(i, "log.end()")
            A()
            inside(j, "log.end()")
            A()
            log.end()
            check_map()
            ''')
        self.assertEqual(self.kinds(), ['SUSPEND', 'RESUME', 'NEW', 'DEL'])

    def test_displaced_and_suspended(self):
        # It does not go on against its owner's will.
        self.script(self.DISPLACED + '''
            log.suspend()
            inside(i, "log.end()")
            A()
            log.end()
            check_map()
            ''')
        self.assertEqual(self.kinds(), ['SUSPEND'])

    def test_displaced_and_closed(self):
        self.script(self.DISPLACED + '''
            log.end()
            inside(i, "log.end()")
            A()
            check_map()
            ''')
        self.assertEqual(self.kinds(), ['SUSPEND'])

    def test_log_of_another_interpreter(self):
        # Who ends a log that is not active leaves the one that is alone.
        self.script(self.CREATE + '''
            i = _interpreters.create('isolated')
            with refmap.EventLog(path, include='A', rss=False):
                A()
                error = _interpreters.exec(i, """if 1:
                    import refmap
                    class A: pass
                    log = refmap.EventLog({!r}, include='A').begin()
                    A()
                    """.format(path + '.inside'))
                assert error is None, error
            error = _interpreters.exec(i, "A(); log.end()")
            assert error is None, error
            _interpreters.destroy(i)
            ''')
        self.assertEqual([text.split()[0] for text in self.tell()],
                         ['NEW', 'DEL', 'SUSPEND'])
        self.assertEqual([text.split()[0] for text in
                          self.tell(self.path + '.inside')], ['NEW', 'DEL'] * 2)

    def test_interpreters_with_logs_of_their_own(self):
        self.script(self.CREATE + '''
            def work(n):
                i = _interpreters.create('isolated')
                error = _interpreters.exec(i, """if 1:
                    import refmap
                    class A: pass
                    for k in range(20):
                        with refmap.EventLog('{}.%d' % k, include='A') as log:
                            for _ in range(50): A()
                            log.live_counts()
                    """.format(f'{path}.{n}'))
                assert error is None, error
                _interpreters.destroy(i)
            threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
            for t in threads: t.start()
            for t in threads: t.join()
            check_map()
            ''')
        self.assertEqual(len(self.files()), 60)
        for name in self.files():
            self.assertEqual(tell(self.read(self.file(name)))[-1], 'END closed')


class LongTests(LogTestCase):

    @support.requires_resource('cpu')
    def test_ten_million_births(self):
        self.script('''
            def work():
                for _ in range(10_000_000):
                    A()
            with refmap.EventLog(path, include=A, rss=False) as log:
                work()
            assert log.count_new == log.count_del == 10_000_000
            ''')
        births = deaths = 0
        with events.Log(self.path) as log:
            for event in log.events():
                births += event.kind == format.NEW
                deaths += event.kind == format.DEL
        self.assertEqual((births, deaths), (10_000_000, 10_000_000))
        self.assertLess(os.path.getsize(self.path), 16 * 20_000_000)


if __name__ == '__main__':
    unittest.main()
