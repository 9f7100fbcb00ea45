"""Out of memory in the map: it degrades, says so, and goes on."""

import os
import random
import sys
import unittest

from test.support import import_helper

from .helpers import MapTestCase, run_script

_testrefmap = import_helper.import_module('_testrefmap')


class NoMemoryTest(MapTestCase):

    def test_touching(self):
        # Every number of allocations that succeed, in the middle of whatever
        # the touch of a page needs: its block, places for it, the table, a copy
        # for snapshots, the names of types.
        run_script('''
            class A: pass
            untracked = lost = refused = 0
            kept = []
            for n in range(120):
                before = sys.refmap_snapshot()
                middle = None
                _testrefmap.limit_allocations(n)
                try:
                    data = [A() for _ in range(400)]
                    more = [type('T%d' % i, (), {})() for i in range(5)]
                    try:
                        middle = sys.refmap_snapshot()
                    except MemoryError:
                        refused += 1
                    data.append({i: [i] for i in range(1000)})
                    check_exact()
                finally:
                    _testrefmap.limit_allocations(-1)
                check_exact()
                after = sys.refmap_snapshot()
                for a, b in (before, after), (before, middle), (middle, after):
                    if a is None or b is None:
                        continue
                    diff = sys.refmap_diff(a, b, file=None)
                    # Exact, or it says that it is not.
                    if diff.lost:
                        lost += 1
                        assert 'not exact' in str(diff), diff
                    else:
                        check_diff(diff)
                        assert diff.total == b.total - a.total, diff
                untracked = sys.refmap_info().untracked
                kept.append(data)
                if n % 7 == 0:
                    kept.clear()
            del data, more, kept, before, middle, after
            check_exact()
            # All three happened, or the test tests nothing.
            assert untracked and lost and refused, (untracked, lost, refused)
            ''')

    def test_nothing_at_all(self):
        # Hundreds of pages without any block; then they die, while there is
        # memory again and while there is none.
        for again in True, False:
            with self.subTest(again=again):
                _, err = run_script(f'''
                    again = {again}
                    ''' + '''
                    _testrefmap.limit_allocations(0)
                    data = [[i] for i in range(50000)]
                    check_exact()
                    info = sys.refmap_info()
                    assert info.untracked, info
                    assert info.unattributed > 10000, info
                    if again:
                        _testrefmap.limit_allocations(-1)
                    more = data[:]
                    data = data[::2]
                    check_exact()
                    more.clear()
                    data.clear()
                    check_exact()
                    _testrefmap.limit_allocations(-1)
                    check_exact()
                    ''')
                # One warning, however often it happened.
                self.assertEqual(err.count('out of memory'), 1)
                self.assertEqual(err.count('\n'), 1)

    def test_verification_says_so(self):
        run_script('''
            _testrefmap.limit_allocations(0)
            data = [[i] for i in range(20000)]
            # One reference only might be that of a static object.
            more = data * 3
            _testrefmap.limit_allocations(-1)
            more += data
            differing = sys.refmap_verify()
            # Those that were born without a block.
            assert differing and sys.refmap_info().untracked, differing
            assert {x[1] for x in differing} <= {'list', 'int'}, differing[:10]
            del more, data
            check_exact()
            check_true()
            ''')

    def test_every_call(self):
        # Each function with n = 0, 1, 2 ... allocations until it succeeds.
        run_script('''
            class A: pass
            data = [A() for _ in range(5000)]

            def touch():
                for x in data[::50]:
                    x.y = [x]
                for x in data[::50]:
                    del x.y

            def try_all(function):
                for n in range(2000):
                    _testrefmap.limit_allocations(n)
                    try:
                        result = function()
                    except MemoryError:
                        continue
                    finally:
                        _testrefmap.limit_allocations(-1)
                        check_exact()
                    break
                else:
                    raise AssertionError('never succeeds')
                return n, result

            before = sys.refmap_snapshot()
            more = [type('B%d' % i, (), {})() for i in range(200)]
            middle = sys.refmap_snapshot()
            touch()
            n1, snapshot = try_all(sys.refmap_snapshot)
            n2, diff = try_all(lambda: sys.refmap_diff(before, middle, file=None))
            n3, found = try_all(sys.refmap_verify)
            n4, diff = try_all(lambda: sys.refmap_diff(before, file=None))
            assert n1 > 0 and n2 > 0, (n1, n2)
            if not diff.lost:
                check_diff(diff)
            str(diff)
            ''')

    def test_snapshots_of_torn_blocks(self):
        run_script('''
            data = [[i] for i in range(3000)]
            snapshots = [sys.refmap_snapshot() for _ in range(10)]
            _testrefmap.limit_allocations(0)
            for x in data:
                x.append(x)
            _testrefmap.limit_allocations(-1)
            later = sys.refmap_snapshot()
            check_exact()
            for a in snapshots:
                for b in *snapshots, later:
                    diff = sys.refmap_diff(a, b, file=None)
                    if b is later:
                        assert diff.lost, diff
                        assert 'not exact' in str(diff)
            # Those of later are fine.
            for x in data:
                x.clear()
            last = sys.refmap_snapshot()
            diff = sys.refmap_diff(later, last, file=None)
            assert not diff.lost, diff
            check_diff(diff)
            import random
            random.seed(1)
            random.shuffle(snapshots)
            while snapshots:
                snapshots.pop()
                check_exact()
                check_diff(sys.refmap_diff(later, last, file=None))
            ''')

    def test_packed(self):
        # A page that is packed can't be unpacked: what is counted there is
        # still counted there; what is born there is not.
        _, err = run_script('''
            victims = [[i] for i in range(2000)]
            before = sys.refmap_snapshot()
            _testrefmap.sweep()
            _testrefmap.sweep()
            _testrefmap.limit_allocations(0)
            more = victims * 3
            del victims[:1000]
            check_exact()
            many = [[i] for i in range(20000)]
            check_exact()
            _testrefmap.limit_allocations(-1)
            check_exact()
            differing = sys.refmap_verify()
            known = {id(x) for x in more}
            assert not [r for r in differing if r[0] in known], differing
            assert sys.refmap_diff(before, file=None).lost
            assert sys.refmap_count(more[-1]) == sys.getrefcount(more[-1])
            many.clear()
            more.clear()
            victims.clear()
            check_exact()
            ''')
        self.assertEqual(err.count('out of memory'), 1)

    def test_subinterpreters(self):
        import_helper.import_module('_interpreters')
        run_script('''
            import _interpreters
            failed = 0
            for n in range(60):
                _testrefmap.limit_allocations(n)
                try:
                    i = _interpreters.create('isolated')
                except Exception:
                    failed += 1
                    continue
                finally:
                    _testrefmap.limit_allocations(-1)
                    check_exact()
                error = _interpreters.run_string(
                    i, 'import sys; s = sys.refmap_snapshot()')
                assert error is None, error
                _interpreters.destroy(i)
                check_exact()
            assert failed, 'it never fails'
            ''')

    def test_at_exit(self):
        _, err = run_script('''
            _testrefmap.leak_object()
            _testrefmap.limit_allocations(0)
            ''', '-X', 'showrefcount', '-X', 'refmap=dump')
        self.assertIn('no memory', err)

    def test_torn_twice(self):
        # A page that is torn from one snapshot, changed, and torn from the
        # next one: what changed in between is not known.
        run_script('''
            victims = [[i] for i in range(1000)]
            holders = []

            def touch():
                _testrefmap.limit_allocations(0)
                holders.extend(victims)
                _testrefmap.limit_allocations(-1)

            before = sys.refmap_snapshot()
            touch()
            after = sys.refmap_snapshot()
            touch()
            diff = sys.refmap_diff(before, after, file=None)
            assert diff.lost, diff
            assert not sys.refmap_diff(before, before, file=None).lost
            check_exact()
            check_true()
            ''')

    def test_random(self):
        # Failures come and go.
        run_script('''
            import os, random
            random.seed(int(os.environ['REFMAP_SEED']))
            data, snapshots = [], []
            for step in range(3000):
                _testrefmap.limit_allocations(random.choice((-1, -1, 0, 1, 2, 5)))
                choice = random.randrange(7)
                if choice == 6:
                    _testrefmap.sweep()
                elif choice == 0 and len(snapshots) < 20:
                    try:
                        snapshots.append(sys.refmap_snapshot())
                    except MemoryError:
                        pass
                elif choice == 1 and snapshots:
                    del snapshots[random.randrange(len(snapshots))]
                elif choice == 2 and snapshots:
                    try:
                        a, b = random.choice(snapshots), random.choice(snapshots)
                        diff = sys.refmap_diff(a, b, file=None)
                    except MemoryError:
                        continue
                    if not diff.lost:
                        check_diff(diff)
                elif choice == 3:
                    data += [[step] for _ in range(random.randrange(300))]
                elif choice == 4:
                    del data[random.randrange(len(data) + 1):]
                else:
                    random.shuffle(data)
                if step % 50 == 0:
                    check_exact()
            _testrefmap.limit_allocations(-1)
            del data, snapshots
            check_exact()
            ''', REFMAP_SEED=self.seed())

    def seed(self):
        seed = os.environ.get('REFMAP_SEED') or str(random.getrandbits(32))
        print(f'REFMAP_SEED={seed}', end=' ', file=sys.stderr, flush=True)
        return seed


if __name__ == '__main__':
    unittest.main()
