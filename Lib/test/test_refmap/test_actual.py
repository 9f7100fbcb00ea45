"""sys.refmap_snapshot(actual=True): counts that are read from the objects."""

import gc
import random
import sys
import unittest

from test import support

from .helpers import MapTestCase, run_script


def actual():
    return sys.refmap_snapshot(actual=True)


def diff_of(before, after, **kwargs):
    return sys.refmap_diff(before, after, file=None, **kwargs)


def changes(diff):
    """{address: change} of the living."""
    return {address: after - before
            for address, _, before, after in diff.living}


class KindTest(MapTestCase):
    """Snapshots know their kind, and kinds are not mixed."""

    def test_attribute(self):
        self.assertIs(sys.refmap_snapshot().actual, False)
        self.assertIs(sys.refmap_snapshot(actual=False).actual, False)
        self.assertIs(sys.refmap_snapshot(actual=0).actual, False)
        self.assertIs(sys.refmap_snapshot(actual=[1]).actual, True)
        a = actual()
        self.assertIs(a.actual, True)
        self.assertIn('true counts', repr(a))
        self.assertNotIn('true counts', repr(sys.refmap_snapshot()))

    def test_arguments(self):
        for args, kwargs in (((True,), {}), ((), {'actul': True}),
                             ((), {'actual': True, 'x': 1})):
            with self.subTest(kwargs), self.assertRaises(TypeError):
                sys.refmap_snapshot(*args, **kwargs)

        class Bad:
            def __bool__(self):
                raise KeyError

        with self.assertRaises(KeyError):
            sys.refmap_snapshot(actual=Bad())
        with self.assertRaises(KeyError):
            sys.refmap_diff(actual(), None, file=None, actual=Bad())

    def test_mixed(self):
        mapped, true = sys.refmap_snapshot(), actual()
        for before, after in (mapped, true), (true, mapped):
            with self.assertRaisesRegex(ValueError, 'one snapshot has true counts'):
                diff_of(before, after)
            with self.assertRaisesRegex(ValueError, 'not both'):
                diff_of(before, after, actual=True)
            self.assertIs(diff_of(before, after, actual=False).actual, False)
        with self.assertRaisesRegex(ValueError, 'not both'):
            diff_of(mapped, mapped, actual=True)

    def test_kind_of_diff(self):
        mapped, true = sys.refmap_snapshot(), actual()
        self.assertIs(diff_of(mapped, mapped).actual, False)
        self.assertIs(diff_of(true, true).actual, True)
        self.assertIs(diff_of(true, None).actual, True)
        self.assertIs(diff_of(mapped, None).actual, False)
        self.assertIs(diff_of(true, None, actual=False).actual, False)
        actual()
        self.assertIs(diff_of(None, None).actual, True)


class NothingTest(MapTestCase):
    """Two snapshots in a row differ by nothing."""

    def assert_nothing(self, diff):
        self.assertEqual(str(diff), 'total ref change 0')
        self.assertEqual((diff.living, diff.died, diff.freed, diff.types),
                         ([], [], [], {}))
        self.assertEqual((diff.total, diff.unattributed, diff.lost), (0, 0, 0))

    def test_in_a_row(self):
        for _ in range(2):
            a = sys.refmap_snapshot(actual=True)
            b = sys.refmap_snapshot(actual=True)
            c = sys.refmap_snapshot(actual=True)
            for before in a, b, c:
                for after in a, b, c:
                    self.assert_nothing(diff_of(before, after))

    def test_the_call_is_not_seen(self):
        # Two constants with the name of the argument, each held by a call.
        def one():
            return sys.refmap_snapshot(actual=True)

        def other():
            return sys.refmap_snapshot(actual=True)

        held = set()
        for _ in range(2):
            held = {id(x) for f in (one, other)
                    for x in (f, f.__code__, *f.__code__.co_consts)}
            a = one()
            b = other()
        diff = diff_of(a, b)
        self.assertEqual([r for r in diff.living
                          if r[0] in held and r[1] not in ('code', 'function')], [])

    def test_now(self):
        def f():
            a = sys.refmap_snapshot(actual=True)
            return sys.refmap_diff(a)

        with support.captured_stderr():
            f()
            self.assert_nothing(f())

    def test_whatever_was_counted(self):
        # Without code that goes around the hooks both kinds say the same.
        for seed in range(20):
            a = actual()
            random.seed(seed)
            kept = [random.choice([list, dict, set, object, bytearray])()
                    for _ in range(random.randrange(300))]
            kept.append(kept)
            del kept[:random.randrange(100)]
            b = actual()
            true, mapped = diff_of(a, b), diff_of(a, b, actual=False)
            self.assertEqual(true.living, mapped.living)
            self.assertEqual(true.died, mapped.died)
            self.assertEqual(true.total, mapped.total)
            kept.clear()
            gc.collect()


class TrueTest(unittest.TestCase):
    """Counts that the map does not know. The process is not healthy then."""

    def test_increfs_and_decrefs(self):
        run_script('''
            x, y = [], object()
            a = sys.refmap_snapshot(actual=True)
            _testrefmap.foreign_incref(x, 5)
            _testrefmap.foreign_incref(y, 1)
            b = sys.refmap_snapshot(actual=True)
            diff = sys.refmap_diff(a, b, file=None)
            # Names that are looked up may take the place of others in a cache.
            assert diff.living[0] == (id(x), 'list', 1, 6), diff
            assert (id(y), 'object', 1, 2) in diff.living, diff
            assert diff.types['list'] == 5 and diff.types['object'] == 1, diff
            check_diff(diff)
            assert diff.unattributed == 0
            mapped = sys.refmap_diff(a, b, file=None, actual=False)
            assert {id(x), id(y)}.isdisjoint(r[0] for r in mapped.living), mapped
            back = sys.refmap_diff(b, a, file=None)
            assert back.total == -diff.total and back.living[0] == (
                id(x), 'list', 6, 1), back
            for _ in range(5):
                _testrefmap.foreign_decref(x)
            _testrefmap.foreign_decref(y)
            c = sys.refmap_snapshot(actual=True)
            diff = sys.refmap_diff(a, c, file=None)
            assert {id(x), id(y)}.isdisjoint(r[0] for r in diff.living), diff
            check_true()
            check_exact()
            ''')

    def test_model(self):
        # Random increfs and decrefs of both sorts, births and deaths, against
        # counts that are kept by hand.
        self.check_model(3000, 'object', '()')

    def test_model_of_sparse_pages(self):
        # As above. In a page with few objects those that are born appear where
        # nothing was when it was last read.
        args = '[random.choice([3, 300, 1000, 3000])]'
        for between in ('_testrefmap.sweep()', 'sum(map(len, objects))',
                        'sys.refmap_diff(None, None, file=None, actual=True)'):
            with self.subTest(between):
                self.check_model(300, 'bytes', args, between)

    def check_model(self, n, base, args, between=''):
        run_script('''
            import random
            random.seed(3)

            class Node(BASE):
                __slots__ = ()

            def make():
                return Node(*ARGS)

            objects = [make() for _ in range(COUNT)]
            extra = [0] * len(objects)
            snapshots = []
            sys.refmap_snapshot(actual=True)

            def step():
                for _ in range(COUNT // 6):
                    i = random.randrange(len(objects))
                    what = random.randrange(4)
                    if what == 0:
                        n = random.randrange(1, 4)
                        _testrefmap.foreign_incref(objects[i], n)
                        extra[i] += n
                    elif what == 1 and extra[i]:
                        _testrefmap.foreign_decref(objects[i])
                        extra[i] -= 1
                    elif what == 2 and extra[i]:
                        # Taken in line, given back by the interpreter.
                        _testrefmap.over_decref(objects[i])
                        extra[i] -= 1
                    elif what == 3 and not extra[i]:
                        objects[i] = None
                        objects[i] = make()

            for _ in range(8):
                step()
                BETWEEN
                step()
                counts = {id(o): 1 + n for o, n in zip(objects, extra)}
                birth = {id(o): sys._refmap_birth(id(o)) for o in objects}
                snapshots.append((sys.refmap_snapshot(actual=True), counts, birth))
            for i, (a, counts_a, birth_a) in enumerate(snapshots):
                for b, counts_b, birth_b in snapshots[i:]:
                    living, died = {}, {}
                    for address in counts_a.keys() | counts_b.keys():
                        x, y = counts_a.get(address, 0), counts_b.get(address, 0)
                        if x and birth_a[address] != birth_b.get(address):
                            died[address] = x
                            x = 0
                        if x != y:
                            living[address] = x, y
                    diff = sys.refmap_diff(a, b, file=None)
                    found = {p: (x, y) for p, name, x, y in diff.living
                             if name == 'Node'}
                    assert found == living, (found, living)
                    gone = {p: x for p, name, x in diff.died if name == 'Node'}
                    assert gone == died, (gone, died)
                    assert (sum(y - x for _, _, x, y in diff.living)
                            - sum(x for _, _, x in diff.died)) == diff.total
                    assert sum(diff.types.values()) == diff.total
            check_exact()
            '''.replace('BASE', base).replace('ARGS', args)
            .replace('COUNT', str(n)).replace('BETWEEN', between))

    def test_reference_that_only_the_object_knows(self):
        # The map's count is 0 or less while the object lives.
        run_script('''
            x = [[]]
            address = id(x[0])
            _testrefmap.foreign_incref(x[0], 2)
            a = sys.refmap_snapshot(actual=True)
            x.clear()
            b = sys.refmap_snapshot(actual=True)
            diff = sys.refmap_diff(a, b, file=None)
            assert (address, 'list', 3, 2) in diff.living, diff
            y = sys._refmap_object(address)
            assert type(y) is list
            _testrefmap.foreign_decref(y)
            _testrefmap.foreign_decref(y)
            z = [y]
            del y
            c = sys.refmap_snapshot(actual=True)
            _testrefmap.foreign_pop(z)
            d = sys.refmap_snapshot(actual=True)
            diff = sys.refmap_diff(c, d, file=None)
            assert (address, 'list', 1) in diff.died, diff
            assert (address, 'list', 3) in sys.refmap_diff(a, d, file=None).died
            check_exact()
            ''')

    def test_immortal(self):
        # One reference, whatever the number; nothing is said of static ones.
        run_script('''
            x = object()
            _testrefmap.foreign_incref(None, 0)
            a = sys.refmap_snapshot(actual=True)
            refs = [None] * 1000 + [True] * 500
            b = sys.refmap_snapshot(actual=True)
            _testrefmap.immortalise(x)
            c = sys.refmap_snapshot(actual=True)
            d = sys.refmap_snapshot(actual=True)
            names = {name for _, name, *_ in sys.refmap_diff(a, b, file=None).living}
            assert not names & {'NoneType', 'bool'}, names
            assert not sys.refmap_diff(b, c, file=None).died
            assert all(p != id(x) for p, *_ in sys.refmap_diff(b, c, file=None).living)
            assert not sys.refmap_diff(c, d, file=None).living
            ''')

    def test_was_immortal(self):
        # Old code for the limited API counts immortal objects, too.
        run_script('''
            x = object()
            a = sys.refmap_snapshot(actual=True)
            for n in range(3):
                _testrefmap.write_refcnt(x, 2**32 + n)
                b = sys.refmap_snapshot(actual=True)
                _testrefmap.write_refcnt(x, -2**32 - n)
                diff = sys.refmap_diff(a, b, file=None)
                assert all(p != id(x) for p, *_ in diff.living), diff
            ''')

    def test_impossible_count(self):
        run_script('''
            x = object()
            a = sys.refmap_snapshot(actual=True)
            def take():
                return sys.refmap_snapshot(actual=True)

            for n in -1, -1000, -2**31, -2**40, -2**63:
                b = _testrefmap.call_with_refcnt(x, n, take)
                diff = sys.refmap_diff(a, b, file=None)
                [(_, _, before, after)] = [r for r in diff.living if r[0] == id(x)]
                assert before == 1 and after < 0, diff
                assert after == n or n <= -2**31, diff
            for n in 0, 2**31 - 1:
                b = _testrefmap.call_with_refcnt(x, n, take)
                diff = sys.refmap_diff(a, b, file=None)
                assert id(x) in [r[0] for r in diff.died + diff.living], diff
            ''')

    def test_freed_behind_our_back(self):
        # Nothing is read there that may be gone, and garbage is no count.
        for kind in 'malloc', 'mmap', 'object':
            with self.subTest(kind):
                run_script(f'''
                    a = sys.refmap_snapshot(actual=True)
                    kept = [_testrefmap.free_counted({kind!r}, 3)
                            for _ in range(20)]
                    b = sys.refmap_snapshot(actual=True)
                    more = [bytearray(40) for _ in range(1000)]
                    c = sys.refmap_snapshot(actual=True)
                    for before, after in (a, b), (b, c), (a, c):
                        diff = sys.refmap_diff(before, after, file=None)
                        assert all(abs(y - x) < 1000 for _, _, x, y
                                   in diff.living), diff
                    check_exact()
                    ''')

    def test_many_pages_and_drops(self):
        # Corrections are shared, moved and freed like pages are.
        run_script('''
            import gc, random
            random.seed(5)
            gc.disable()
            objects = [[] for _ in range(20_000)]
            for o in objects:
                _testrefmap.foreign_incref(o, 2)
            start = sys.refmap_info().bytes
            snapshots = [sys.refmap_snapshot(actual=True)]
            one = sys.refmap_info().bytes - start
            for _ in range(10):
                snapshots.append(sys.refmap_snapshot(actual=True))
            eleven = sys.refmap_info().bytes - start
            assert eleven < 2 * one + 200_000, (one, eleven)
            for i in range(0, len(objects), 100):
                _testrefmap.foreign_incref(objects[i], 1)
            snapshots.append(sys.refmap_snapshot(actual=True))
            diff = sys.refmap_diff(snapshots[0], snapshots[-1], file=None)
            changed = {p: y - x for p, _, x, y in diff.living}
            assert [changed.pop(id(o), 0) for o in objects] == (
                [1] + [0] * 99) * 200
            assert len(changed) < 20, changed
            random.shuffle(snapshots)
            while snapshots:
                snapshots.pop()
            sys.refmap_snapshot()
            sys.refmap_info()
            left = sys.refmap_info().bytes - start
            assert left < one + 100_000, (left, one)
            ''')


class MemoryTest(unittest.TestCase):

    def test_out_of_memory(self):
        # A snapshot that can't be taken is a MemoryError, and leaves nothing.
        run_script('''
            kept = [[] for _ in range(5000)]
            for o in kept:
                _testrefmap.foreign_incref(o, 1)
            a = sys.refmap_snapshot(actual=True)
            failed = 0
            for n in range(60):
                _testrefmap.limit_allocations(n)
                try:
                    b = sys.refmap_snapshot(actual=True)
                except MemoryError:
                    failed += 1
                finally:
                    _testrefmap.limit_allocations(-1)
            assert failed > 3, failed
            b = sys.refmap_snapshot(actual=True)
            assert 'list' not in sys.refmap_diff(a, b, file=None).types
            check_exact()
            ''')

    def test_diff_out_of_memory(self):
        run_script('''
            x = [object() for _ in range(1000)]
            a = sys.refmap_snapshot(actual=True)
            for o in x:
                _testrefmap.foreign_incref(o, 1)
            b = sys.refmap_snapshot(actual=True)
            for n in range(40):
                _testrefmap.limit_allocations(n)
                try:
                    diff = sys.refmap_diff(a, b, file=None)
                except MemoryError:
                    pass
                finally:
                    _testrefmap.limit_allocations(-1)
            o = None
            diff = sys.refmap_diff(a, b, file=None)
            assert diff.types['object'] == 1001, diff.types
            check_exact()
            ''')


class InterpretersTest(unittest.TestCase):

    def test_subinterpreters(self):
        # One that shares the GIL shares the map; another one has its own.
        run_script('''
            import textwrap
            import _interpreters

            for gil in 'shared', 'own':
                interp = _interpreters.create(_interpreters.new_config(
                    'isolated' if gil == 'own' else 'legacy'))
                error = _interpreters.exec(interp, textwrap.dedent("""
                    import sys
                    a = sys.refmap_snapshot(actual=True)
                    x = [[] for _ in range(100)]
                    b = sys.refmap_snapshot(actual=True)
                    diff = sys.refmap_diff(a, b, file=None)
                    assert diff.types['list'] == 101, diff
                    assert diff.living == sys.refmap_diff(
                        a, b, file=None, actual=False).living
                    """))
                assert error is None, error
                before = sys.refmap_snapshot(actual=True)
                _interpreters.destroy(interp)
                after = sys.refmap_snapshot(actual=True)
                sys.refmap_diff(before, after, file=None)
            check_exact()
            ''')

    def test_threads(self):
        run_script('''
            import threading
            stop = threading.Event()
            problems = []

            def work():
                kept = []
                while not stop.is_set():
                    kept.append([object() for _ in range(50)])
                    if len(kept) > 20:
                        kept.clear()

            def look():
                for _ in range(30):
                    a = sys.refmap_snapshot(actual=True)
                    b = sys.refmap_snapshot(actual=True)
                    true = sys.refmap_diff(a, b, file=None)
                    mapped = sys.refmap_diff(a, b, file=None, actual=False)
                    if true.living != mapped.living or true.died != mapped.died:
                        problems.append((str(true), str(mapped)))

            threads = [threading.Thread(target=work) for _ in range(2)]
            threads += [threading.Thread(target=look) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads[2:]:
                thread.join()
            stop.set()
            for thread in threads[:2]:
                thread.join()
            assert not problems, problems[0]
            check_exact()
            ''')

    def test_fork(self):
        run_script('''
            import os
            x = []
            a = sys.refmap_snapshot(actual=True)
            _testrefmap.foreign_incref(x, 3)
            pid = os.fork()
            if not pid:
                b = sys.refmap_snapshot(actual=True)
                change = {p: y - x for p, _, x, y in
                          sys.refmap_diff(a, b, file=None).living}
                os._exit(change.get(id(x)) != 3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            ''')


if __name__ == '__main__':
    unittest.main()
