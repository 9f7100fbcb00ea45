"""How much memory the map takes, and when it gives it back."""

import unittest

from test.support import import_helper

from .helpers import MapTestCase, run_script

_testrefmap = import_helper.import_module('_testrefmap')

PAGE = 4096


class TableTest(MapTestCase):
    """Keys that differ in few bits spread over the buckets all the same."""

    def check_tables(self):
        items, buckets = _testrefmap.table_sizes()
        self.assertLessEqual(buckets, max(32, 4 * items))

    def test_type_names(self):
        for pattern in ('Item%d', 'Node%d', 'pkg.mod.Name%d', '%d', '%08d',
                        'x' * 100 + '%d', '%d' + 'x' * 100):
            with self.subTest(pattern):
                out, _ = run_script(f'''
                    pattern = {pattern!r}
                    ''' + '''
                    before = sys.refmap_info().bytes
                    snapshot = sys.refmap_snapshot()
                    kept = [type(pattern % i, (), {})() for i in range(2000)]
                    assert sys.refmap_verify() == []
                    names = set(sys.refmap_diff(snapshot, file=None).types)
                    assert len(names & {pattern % i for i in range(2000)}) > 1900
                    del snapshot
                    print(*_testrefmap.table_sizes(),
                          sys.refmap_info().bytes - before)
                    ''')
                items, buckets, more = map(int, out.split())
                self.assertGreaterEqual(items, 2000)
                self.assertLessEqual(buckets, 4 * items)
                self.assertLess(more, 16 << 20)

    def test_page_numbers(self):
        # A power of two apart: they agree in their lowest bits.
        for bits in range(13):
            with self.subTest(bits=bits):
                base = _testrefmap.arena_open(600 << bits)
                addresses = [base + i * (PAGE << bits) for i in range(600)]
                try:
                    for address in addresses:
                        _testrefmap.arena_birth(address)
                    items, _ = _testrefmap.table_sizes()
                    self.assertGreater(items, 600)
                    self.check_tables()
                    self.assert_exact()
                    for address in addresses:
                        _testrefmap.arena_add(address, -1)
                finally:
                    _testrefmap.arena_close()


class SnapshotTest(MapTestCase):

    def test_thousands_are_kept(self):
        # A process may have some 65,000 mappings. Each has a list of all blocks,
        # of several kilobytes.
        out, _ = run_script('''
            import random, threading

            def mappings():
                with open('/proc/self/maps') as file:
                    return sum(1 for _ in file)

            data = [bytes(1000) for _ in range(4000)]
            assert sys.refmap_info().blocks > 600, sys.refmap_info()
            snapshots = [None] * 20_000
            before = sys.refmap_info().bytes, mappings()
            for i in range(len(snapshots)):
                snapshots[i] = sys.refmap_snapshot()
            full = sys.refmap_info().bytes, mappings()
            thread = threading.Thread(target=check_exact)
            thread.start()
            thread.join()
            random.seed(1)
            random.shuffle(snapshots)
            del snapshots[10_000:]
            # Neighbours of the same kind are one line there: only now does each
            # mapping show.
            half = mappings()
            while snapshots:
                snapshots.pop()
            sys.refmap_snapshot()
            after = sys.refmap_info().bytes, mappings()
            check_exact()
            check_true()
            print(*before, *full, half, *after)
            ''')
        bytes0, maps0, bytes1, maps1, half, bytes2, maps2 = map(int, out.split())
        self.assertLess(half - maps0, 1000)
        self.assertGreater(bytes1 - bytes0, 20_000 * 600 * 8)
        self.assertLess(maps1 - maps0, 1000)
        self.assertLess(maps2 - maps0, 1000)
        self.assertLess(bytes2 - bytes0, (bytes1 - bytes0) / 10)

    def test_dropping_a_baseline_walks_nothing(self):
        # Each page is touched once after the first snapshot, so that only that
        # has thousands of blocks. sys.refmap_info() is not asked in between: it
        # settles all.
        out, _ = run_script('''
            data = [[bytes(1000)] for _ in range(40_000)]
            first = sys.refmap_snapshot()
            for i, item in enumerate(data):
                data[i] = None
                item.append(item[0])
                data[i] = item
            print(_testrefmap.memory()[2])
            # Replaces the baseline, and drops the last reference to the old one.
            del first
            kept = sys.refmap_snapshot()
            print(_testrefmap.memory()[2])
            for item in data:
                item.pop()
            print(_testrefmap.memory()[2])
            sys.refmap_info()
            check_exact()
            print(_testrefmap.memory()[2])
            ''')
        before, dropped, touched, settled = map(int, out.split())
        retired = 10_000 * 1024             # the types of each block's slots
        self.assertGreater(before, retired)
        # Some hundred blocks go at once.
        self.assertLess(before - dropped, retired / 4)
        # The others while all pages are touched again, though each of them leaves
        # a block to the new snapshot.
        self.assertLess(touched, before * 1.3)
        self.assertLess(settled, touched * 1.01)


class PackingTest(MapTestCase):

    def test_dense_pages_are_not_packed(self):
        # Sweeping again and again: nobody touches anything.
        run_script('''
            data = [object() for _ in range(200_000)]
            pages = {id(x) >> 12 for x in data}
            for _ in range(5):
                _testrefmap.sweep()
            loose, *_ = _testrefmap.memory()
            assert loose > len(pages) - 10, (loose, len(pages))
            check_exact()
            check_true()
            ''')

    def test_patience(self):
        # Each page that has to be unpacked raises the number of those that may be
        # loose; new pages lower it, by less.
        run_script('''
            data = [bytes(1000) for _ in range(8000)]
            pages = len({id(x) >> 12 for x in data})
            _testrefmap.sweep()
            _testrefmap.sweep()
            few, start, _ = _testrefmap.memory()
            assert few < pages / 4, (few, pages)
            more = data[:]
            loose, patience, _ = _testrefmap.memory()
            assert loose - few > pages * 0.9, (few, loose, pages)
            # By a block for each, in halves, at least.
            assert patience - start >= 2 * (loose - few), (start, patience)
            assert patience <= 2 * sys.refmap_info().blocks
            # What was unpacked is loose: touching it again is no event.
            more.clear()
            more = data[:]
            loose, again, _ = _testrefmap.memory()
            assert again == patience, (patience, again)
            others = [bytes(1000) for _ in range(8000)]
            loose, lowered, _ = _testrefmap.memory()
            assert start < lowered < patience, (start, lowered, patience)
            check_exact()
            check_true()
            ''')

    def test_working_set_is_left_alone(self):
        # 12,000 pages that are visited in random order again and again, while new
        # ones, at which packing happens, come and go: in the end it stays loose.
        run_script('''
            import random
            data = [[bytes(2000)] for _ in range(24_000)]
            pages = len({id(x[0]) >> 12 for x in data})
            random.seed(1)
            random.shuffle(data)
            for _ in range(12):
                for item in data:
                    x = item[0]
                new = [bytes(3000) for _ in range(500)]
                del new
            loose, *_ = _testrefmap.memory()
            assert loose > pages * 7 / 8, (loose, pages)
            check_exact()
            check_true()
            ''')


if __name__ == '__main__':
    unittest.main()
