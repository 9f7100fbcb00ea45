"""Interpreters that share the GIL, and interpreters with their own."""

import sys
import textwrap
import threading
import unittest

from test import support
from test.support import import_helper, threading_helper

from .helpers import MapTestCase, PREAMBLE, run_script

_interpreters = import_helper.import_module('_interpreters')
_testrefmap = import_helper.import_module('_testrefmap')

SHARED, OWN = 'legacy', 'isolated'


class InterpreterTestCase(MapTestCase):

    def create(self, kind):
        interpreter = _interpreters.create(kind)
        self.addCleanup(self.destroy, interpreter)
        return interpreter

    def destroy(self, interpreter):
        try:
            _interpreters.destroy(interpreter)
        except _interpreters.InterpreterNotFoundError:
            pass

    def run_in(self, interpreter, script):
        error = _interpreters.exec(interpreter,
                                   PREAMBLE + textwrap.dedent(script))
        self.assertIsNone(error, getattr(error, 'errdisplay', error))


class OneInterpreterTest(InterpreterTestCase):

    SCRIPT = '''
        class A: pass
        before = sys.refmap_snapshot()
        data = [A() for _ in range(1000)]
        after = sys.refmap_snapshot()
        diff = sys.refmap_diff(before, after, file=None)
        check_diff(diff)
        assert diff.types['A'] == 1000, diff.types
        assert diff.total == after.total - before.total
        assert sys.refmap_count(data[0]) == sys.getrefcount(data[0])
        data.clear()
        check_exact()
        check_true()
        import re, json, collections, asyncio, typing, dataclasses
        check_exact()
        check_true()
        '''

    def test_healthy(self):
        for kind in SHARED, OWN:
            with self.subTest(kind):
                interpreter = self.create(kind)
                for _ in range(3):
                    self.run_in(interpreter, self.SCRIPT)
                    self.assert_healthy()
                self.destroy(interpreter)
                self.assert_healthy()

    def test_misbehaving_extension(self):
        self.leaves_unattributed()
        for kind in SHARED, OWN:
            with self.subTest(kind):
                interpreter = self.create(kind)
                self.run_in(interpreter, '''
                    victim = object()
                    before = sys.refmap_snapshot()
                    _testrefmap.leak_reference(victim)
                    diff = sys.refmap_diff(before, file=None)
                    assert diff.types['object'] == 1, diff
                    assert id(victim) in [x[0] for x in diff.living], diff
                    _testrefmap.over_decref(victim)
                    before = sys.refmap_snapshot()
                    address = _testrefmap.free_counted('object', 3)
                    diff = sys.refmap_diff(before, file=None)
                    assert diff.freed == [(address, '_testrefmap.Plain', 3)], diff
                    check_exact()
                    check_true()
                    ''')
                self.assert_exact()
                self.destroy(interpreter)
                self.assert_exact()

    def test_leaks_become_unattributed_with_their_map(self):
        run_script('''
            import _interpreters
            def live(script):
                i = _interpreters.create('isolated')
                error = _interpreters.run_string(i, script)
                assert error is None, error
                _interpreters.destroy(i)
            live('import _testrefmap')
            before = sys.refmap_info()
            live("""if True:
                import _testrefmap
                for _ in range(500):
                    _testrefmap.leak_object()
                """)
            after = sys.refmap_info()
            # The objects, and the references to their type.
            left = after.unattributed - before.unattributed
            assert 1000 <= left < 3000, (before, after)
            assert abs(after.mapped - before.mapped) < 500, (before, after)
            check_exact()
            check_true()
            ''')

    def sizes_over_time(self, kind):
        """The bytes of the maps after each life of an interpreter."""
        out, _ = run_script(f'''
            kind = {kind!r}
            import _interpreters
            def live():
                i = _interpreters.create(kind)
                error = _interpreters.run_string(i, """if True:
                    import sys
                    a = sys.refmap_snapshot()
                    data = [[i] for i in range(10000)]
                    b = sys.refmap_snapshot()
                    diff = sys.refmap_diff(a, b, file=None)
                    sys.kept = a, b, diff
                    """)
                assert error is None, error
                _interpreters.destroy(i)
            for _ in range(20):
                live()
                sys.refmap_snapshot()
                check_exact()
                print(sys.refmap_info().bytes)
            check_true()
            ''')
        return [int(line) for line in out.split()]

    def test_own_map_is_given_back(self):
        sizes = self.sizes_over_time(OWN)
        # The first lives may find pages of the main map for the first time.
        self.assertLess(sizes[-1], 1.05 * sizes[5], sizes)

    def test_shared_map_does_not_grow(self):
        sizes = self.sizes_over_time(SHARED)
        self.assertLess(sizes[-1], 1.05 * sizes[5], sizes)

    def test_strings_are_given_back(self):
        # Thousands of blocks of an optimised build, which regrtest's -R took
        # for a leak; see patch 0170.
        out, _ = run_script('''
            import _interpreters
            for _ in range(6):
                i = _interpreters.create('isolated')
                assert _interpreters.run_string(i, 'import threading') is None
                _interpreters.destroy(i)
                print(sys.getallocatedblocks())
            ''')
        blocks = [int(line) for line in out.split()]
        self.assertLess(blocks[-1] - blocks[2], 3 * 100, blocks)

    def test_info_is_of_all(self):
        interpreter = self.create(OWN)
        self.run_in(interpreter, '')
        before = sys.refmap_info()
        self.run_in(interpreter, 'data = [[i] for i in range(5000)]')
        after = sys.refmap_info()
        # Lists, and an int in most of them.
        self.assertAlmostEqual(after.objects - before.objects, 9800, delta=500)
        self.assertAlmostEqual(after.total - before.total, 9800, delta=500)


class SnapshotTest(InterpreterTestCase):

    def test_shared_gil_shares_the_map(self):
        interpreter = self.create(SHARED)
        self.run_in(interpreter, '')
        before = sys.refmap_snapshot()
        self.run_in(interpreter, 'data = [object() for _ in range(500)]')
        diff = sys.refmap_diff(before, file=None)
        self.assert_adds_up(diff)
        self.assertEqual(diff.types['object'], 500)

    def test_own_gil_has_its_own_map(self):
        interpreter = self.create(OWN)
        self.run_in(interpreter, '')
        before = sys.refmap_snapshot()
        self.run_in(interpreter, 'data = [object() for _ in range(500)]')
        diff = sys.refmap_diff(before, file=None)
        self.assert_adds_up(diff)
        self.assertNotIn('object', diff.types)

    def test_no_baseline_of_another_map(self):
        sys.refmap_snapshot()
        interpreter = self.create(OWN)
        self.run_in(interpreter, '''
            try:
                sys.refmap_diff(file=None)
            except ValueError:
                pass
            else:
                raise AssertionError('no ValueError')
            ''')

    def test_interpreter_dies_between(self):
        for kind in SHARED, OWN:
            with self.subTest(kind):
                interpreter = self.create(kind)
                self.run_in(interpreter, 'data = [object()] * 100')
                before = sys.refmap_snapshot()
                self.destroy(interpreter)
                diff = sys.refmap_diff(before, file=None)
                self.assert_adds_up(diff)
                self.assertEqual(diff.lost, 0)

    def test_interpreter_is_born_between(self):
        for kind in SHARED, OWN:
            with self.subTest(kind):
                before = sys.refmap_snapshot()
                interpreter = self.create(kind)
                self.run_in(interpreter, 'data = [object()] * 100')
                self.assert_adds_up(sys.refmap_diff(before, file=None))
                self.destroy(interpreter)
                self.assert_adds_up(sys.refmap_diff(before, file=None))


class ConcurrentTest(InterpreterTestCase):
    """Interpreters with GILs of their own run at the same time."""

    SCRIPT = '''
        class A: pass
        x = None
        for i in range(3000):
            x = [A(), {i: x}]
            if i % 100 == 0:
                x = None
            if i % 300 == 0:
                # The lines are of this map; so is the total.
                before = sys.refmap_snapshot()
                y = [A() for _ in range(100)]
                diff = sys.refmap_diff(before, file=None)
                check_diff(diff)
                # Those of other interpreters may share a map with it.
                assert shared or diff.types['A'] == 100, diff
                y = None
        check_true()
        sys.refmap_info()
        '''

    def start(self, count, kind=OWN):
        self.errors = []

        def run():
            for _ in range(2):
                interpreter = _interpreters.create(kind)
                error = _interpreters.exec(
                    interpreter, f'shared = {kind == SHARED}\n' + PREAMBLE
                                 + textwrap.dedent(self.SCRIPT))
                if error is not None:
                    self.errors.append(error.errdisplay)
                _interpreters.destroy(interpreter)

        threads = [threading.Thread(target=run) for _ in range(count)]
        for thread in threads:
            thread.start()
            self.addCleanup(thread.join)
        return threads

    def finish(self, threads):
        for thread in threads:
            thread.join(support.LONG_TIMEOUT)
        self.assertEqual(self.errors, [])
        self.assert_healthy()

    @threading_helper.reap_threads
    def test_snapshots_of_the_main_map(self):
        # They add up, though the total of the process moves all the time.
        threads = self.start(3)
        while any(thread.is_alive() for thread in threads):
            before = sys.refmap_snapshot()
            data = [object() for _ in range(100)]
            after = sys.refmap_snapshot()
            self.assert_adds_up(sys.refmap_diff(before, after, file=None))
            del data
            sys.refmap_diff(before, file=None)
        self.finish(threads)

    @threading_helper.reap_threads
    def test_info_meanwhile(self):
        threads = self.start(3)
        while any(thread.is_alive() for thread in threads):
            info = sys.refmap_info()
            # Not at one instant; but nothing is torn.
            self.assertGreater(info.mapped, 1000)
            self.assertGreater(info.bytes, 1000)
            self.assertEqual(info.untracked, 0)
        self.finish(threads)

    @threading_helper.reap_threads
    def test_mixed(self):
        threads = self.start(2) + self.start(2, SHARED)
        while any(thread.is_alive() for thread in threads):
            before = sys.refmap_snapshot()
            self.assert_adds_up(sys.refmap_diff(before, file=None))
            sys.refmap_info()
        self.finish(threads)

    @threading_helper.reap_threads
    def test_own_info_meanwhile(self):
        # That of the caller's map is exact, whatever others do.
        threads = self.start(3)
        samples = 0
        while any(thread.is_alive() for thread in threads):
            data = [[object()] for _ in range(samples % 100)]
            info = sys.refmap_info(True)
            self.assertEqual(info.mapped + info.unattributed, info.total, info)
            data.clear()
            samples += 1
        # How many there are depends on what else the machine does.
        self.assertGreater(samples, 2)
        self.finish(threads)

    @threading_helper.reap_threads
    def test_own_info_of_the_other(self):
        # In an interpreter with a GIL of its own, while the main one works.
        errors = []

        def run():
            interpreter = _interpreters.create(OWN)
            errors.append(_interpreters.exec(interpreter, textwrap.dedent('''
                import sys
                for i in range(300):
                    data = [[object()] for _ in range(i)]
                    info = sys.refmap_info(True)
                    assert info.mapped + info.unattributed == info.total, info
                ''')))
            _interpreters.destroy(interpreter)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():
            [[object()] for _ in range(1000)]
        thread.join()
        self.assertEqual(errors, [None])

    def test_total_while_closing(self):
        # The window between finding a map and reading its total is held open.
        run_script('''
            import threading, _interpreters
            for _ in range(3):
                interpreter = _interpreters.create('isolated')
                error = _interpreters.exec(interpreter,
                                           'data = [[i] for i in range(1000)]')
                assert error is None, error
                thread = threading.Thread(target=_interpreters.destroy,
                                          args=(interpreter,))
                total = _testrefmap.total_while_closing(thread.start)
                thread.join()
                assert type(total) is int and total > 1000, total
                check_exact()
                check_true()
            ''')

    def test_sums_while_leaving(self):
        # Half of what an interpreter leaves has moved, for as long as it takes.
        run_script('''
            import threading, _interpreters

            def call_while_leaving(function):
                interpreter = _interpreters.create('isolated')
                error = _interpreters.run_string(interpreter, """if True:
                    import _testrefmap
                    for _ in range(5000):
                        _testrefmap.leak_object()
                    """)
                assert error is None, error
                thread = threading.Thread(target=_interpreters.destroy,
                                          args=(interpreter,))
                result = _testrefmap.call_while_leaving(thread.start, function)
                thread.join()
                return result

            # A first one, for what they share.
            call_while_leaving(int)
            before = sys.refmap_snapshot()
            # Not by sys.refmap_snapshot(), which reads the total of all first.
            diff = call_while_leaving(
                lambda: sys.refmap_diff(before, file=None))
            check_diff(diff)
            check_diff(sys.refmap_diff(before, file=None))
            total = call_while_leaving(sys.gettotalrefcount)
            later = sys.gettotalrefcount()
            assert abs(later - total) < 2000, (total, later)
            check_exact()
            ''')

    def test_at_exit(self):
        # Daemon threads of other interpreters are none of our business, but
        # interpreters that nobody destroyed are.
        run_script('''
            import _interpreters
            for kind in 'isolated', 'legacy', 'isolated':
                i = _interpreters.create(kind)
                error = _interpreters.run_string(
                    i, 'import sys; sys.kept = sys.refmap_snapshot()')
                assert error is None, error
            check_exact()
            ''', '-X', 'showrefcount', '-W', 'ignore')


if __name__ == '__main__':
    unittest.main()
