"""Threads, and processes that are forked while threads run."""

import sys
import threading
import unittest

from test import support
from test.support import import_helper, threading_helper

from .helpers import MapTestCase, run_script

_testrefmap = import_helper.import_module('_testrefmap')

threading_helper.requires_working_threading(module=True)


class ThreadsTest(MapTestCase):

    def setUp(self):
        # Often enough that threads meet in each function.
        interval = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, interval)
        support.setswitchinterval(1e-4)
        self.stop = threading.Event()
        self.errors = []

    def start(self, *functions):
        """Run functions in threads until the context ends."""
        def run(function):
            try:
                while not self.stop.is_set():
                    function()
            except BaseException as e:
                self.errors.append(e)
                raise
        return threading_helper.start_threads(
            [threading.Thread(target=run, args=(f,)) for f in functions],
            unlock=self.stop.set)

    def churn(self):
        class A:
            pass
        objects = [A() for _ in range(50)]
        for op in objects:
            op.x = {id(op): objects}
        objects.clear()

    def churn_in_c(self):
        _testrefmap.churn(self.stop, 500)

    def churn_in_a_thread_of_c(self):
        _testrefmap.churn(self.stop, 100, True)

    def test_exact_while_threads_run(self):
        with self.start(self.churn, self.churn, self.churn_in_c,
                        self.churn_in_a_thread_of_c):
            for _ in range(30):
                self.assert_exact()
            for _ in range(10):
                self.assert_true()
        self.assertEqual(self.errors, [])

    # Only one thread looks at the lines: each of them is a tuple, and shows in
    # the diffs of the others, which would grow and grow.

    def test_snapshots_in_all_threads(self):
        def snapshots():
            a = sys.refmap_snapshot()
            self.churn()
            b = sys.refmap_snapshot()
            sys.refmap_diff(b, a, file=None)
            del a
            sys.refmap_diff(b, file=None)
            return sys.refmap_diff(b, b, file=None)

        with self.start(*[snapshots] * 3, self.churn, self.churn_in_c):
            for _ in range(10):
                a = sys.refmap_snapshot()
                self.assertEqual(snapshots().total, 0)
                b = sys.refmap_snapshot()
                self.assert_adds_up(sys.refmap_diff(a, b, file=None))
        self.assertEqual(self.errors, [])

    def test_baselines_race(self):
        # Each thread replaces the baseline that another one compares with.
        def baselines():
            sys.refmap_snapshot()
            return sys.refmap_diff(file=None)

        with self.start(*[baselines] * 4):
            for _ in range(20):
                self.assert_adds_up(baselines())
        self.assertEqual(self.errors, [])

    def test_thread_ends(self):
        # What a thread leaves behind is freed by another one.
        def make():
            kept.extend([i] for i in range(1000))
            local.x = [object()] * 10

        kept = []
        local = threading.local()
        before = sys.refmap_snapshot()
        for _ in range(5):
            thread = threading.Thread(target=make)
            thread.start()
            thread.join()
        del thread
        self.assert_healthy()
        kept.clear()
        diff = sys.refmap_diff(before, file=None)
        self.assert_adds_up(diff)
        self.assertLess(abs(diff.types.get('list', 0)), 20)

    def test_daemon_threads_at_exit(self):
        run_script('''
            import threading
            def churn():
                while True:
                    x = [[i] for i in range(100)]
                    sys.refmap_snapshot()
                    sys.refmap_diff(file=None)
            for _ in range(4):
                threading.Thread(target=churn, daemon=True).start()
            check_exact()
            ''')


@support.requires_fork()
class ForkTest(MapTestCase):
    # Not with other interpreters: CPython 3.13 itself does not survive that.

    CHILD = '''
        def check_child(before):
            check_exact()
            check_true()
            data = [[i] for i in range(100)]
            diff = sys.refmap_diff(before, file=None)
            check_diff(diff)
            after = sys.refmap_snapshot()
            data.clear()
            check_diff(sys.refmap_diff(before, after, file=None))
            check_exact()

        def fork_and_check(before):
            import os, signal, traceback
            pid = os.fork()
            if pid == 0:
                # A deadlock must not outlive the test.
                signal.alarm(60)
                status = 1
                try:
                    check_child(before)
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            status = os.waitpid(pid, 0)[1]
            assert status == 0, status
        '''

    def run_forks(self, script):
        return run_script(self.CHILD + script, '-W', 'ignore')

    def test_fork(self):
        self.run_forks('''
        before = sys.refmap_snapshot()
        data = [object() for _ in range(1000)]
        for _ in range(10):
            fork_and_check(before)
        check_exact()
        check_true()
        ''')

    def test_fork_while_threads_run(self):
        self.run_forks('''
        import threading
        stop = False
        def churn():
            while not stop:
                a = sys.refmap_snapshot()
                x = [[i] for i in range(1000)]
                sys.refmap_diff(a, file=None)
                _testrefmap.churn(x, 500)
        threads = [threading.Thread(target=churn) for _ in range(2)]
        for thread in threads: thread.start()
        sys.setswitchinterval(1e-4)
        try:
            before = sys.refmap_snapshot()
            for _ in range(5):
                fork_and_check(before)
        finally:
            stop = True
        for thread in threads: thread.join()
        check_exact()
        check_true()
        ''')

    def test_fork_of_what_is_packed(self):
        # Packed pages, and snapshots that are dropped, in both processes.
        self.run_forks('''
        data = [bytes(1000) for _ in range(4000)]
        snapshots = [sys.refmap_snapshot() for _ in range(20)]
        _testrefmap.sweep()
        _testrefmap.sweep()
        check_child_alone = check_child
        def check_child(before):
            del snapshots[::2]
            more = data[:]
            diff = sys.refmap_diff(before, file=None)
            check_diff(diff)
            changed = {x[0]: x[3] - x[2] for x in diff.living}
            assert {changed.get(id(x)) for x in data} == {1}
            check_child_alone(before)
            more.clear()
            snapshots.clear()
            check_exact()
            check_true()
        before = snapshots[0]
        fork_and_check(before)
        # Now the parent, which has touched nothing yet.
        check_child(before)
        ''')

    def test_fork_of_a_fork(self):
        self.run_forks('''
        before = sys.refmap_snapshot()
        check_child_once = check_child
        def check_child(before):
            global check_child
            check_child = check_child_once
            fork_and_check(before)
            check_child_once(before)
        fork_and_check(before)
        ''')


if __name__ == '__main__':
    unittest.main()
