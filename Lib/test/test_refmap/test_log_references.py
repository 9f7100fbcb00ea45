"""Reference changes in an event log, and what else counts births and references."""

import collections
import copy
import gc
import sys
import threading
import tracemalloc
import unittest

import refmap
from refmap.log import format
from test.support import import_helper, threading_helper

from .log_case import LogTestCase, is_object

_testrefmap = import_helper.import_module('_testrefmap')


class A:
    pass


class B:
    pass


class ReferencesTestCase(LogTestCase):

    def log(self, *include, **options):
        options.setdefault('rss', False)
        options.setdefault('references', True)
        return refmap.EventLog(self.path, include=include, **options)

    def chains(self, found=None):
        """Check that each change follows on the one before. Return {(address, birth number
        of the log): its counts}, each beginning with 1 if it was born."""
        counts, born = collections.defaultdict(list), collections.Counter()
        for e in self.read() if found is None else found:
            if not is_object(e):
                continue
            if e.kind == format.NEW:
                born[e.address] += 1
                counts[e.address, born[e.address]].append(1)
                continue
            chain = counts[e.address, born[e.address]]
            if e.kind == format.DEL:
                if chain:
                    self.assertEqual(chain[-1], 0, e)
            else:
                if chain:
                    self.assertEqual(chain[-1] + e.change, e.count, e)
                chain.append(e.count)
        return dict(counts)

    def net(self, function):
        """What each line of a function does to the references."""
        first = function.__code__.co_firstlineno
        net = collections.Counter()
        for e in self.read():
            if is_object(e) and e.place.where.function == function.__qualname__:
                n = {format.NEW: 1, format.DEL: 0}.get(e.kind, e.change)
                net[e.place.where.line - first] += n
        return {line: n for line, n in net.items() if n}


class ChangesTests(ReferencesTestCase):

    def test_lines(self):
        box = {}

        def work(items):
            a = A()                     # 1
            items.append(a)             # +1
            box[a] = a                  # +2
            b = a                       # +1
            a.me = a                    # +1
            c = (a, a, [a])             # +3
            del b                       # -1
            c = None                    # -3
            del a.me                    # -1
            items.pop()                 # -1
            box.clear()                 # -2
            a = None                    # -1

        with self.log(A):
            work([])
        self.assertEqual(self.net(work), {1: 1, 2: 1, 3: 2, 4: 1, 5: 1, 6: 3, 7: -1,
                                          8: -3, 9: -1, 10: -1, 11: -2, 12: -1})
        [counts] = self.chains().values()
        self.assertEqual((counts[0], counts[-1]), (1, 0))

    def test_specialised(self):
        # The bytecode changes while it runs.
        def work():
            for _ in range(500):
                a = A()
                a.x = [a]
                a.x.append(a)
                del a.x
        with self.log(A):
            work()
        chains = self.chains()
        self.assertEqual(len(chains), 500)
        self.assertEqual({(c[0], c[-1]) for c in chains.values()}, {(1, 0)})

    def test_functions_of_c(self):
        def work(a):
            _testrefmap.leak_reference(a)
            _testrefmap.add_references(a, 5)
            _testrefmap.limited_incref(a)
            _testrefmap.limited_decref(a)
            _testrefmap.add_references(a, -5)
            _testrefmap.over_decref(a)

        a = A()
        before = sys.refmap_count(a)
        with self.log(A):
            work(a)
        self.assertEqual(self.net(work), {1: 1, 2: 5, 3: 2, 4: -2, 5: -5, 6: -1})
        [counts] = self.chains().values()
        self.assertEqual(counts[-1], before - 1)

    def test_at_once(self):
        # One event for several references.
        a = A()
        with self.log(A):
            many = [a] * 1000
            del many
        changes = [e.change for e in self.read() if is_object(e)]
        self.assertEqual(sum(changes), 0)
        self.assertIn(999, [max(changes), max(changes) - 1])

    def test_counts_are_those_of_the_map(self):
        a = A()
        with self.log(A) as log:
            for n in range(5):
                _testrefmap.leak_reference(a)
                log.message(str(sys.refmap_count(a)))
            for n in range(5):
                _testrefmap.over_decref(a)
        count, compared = None, 0
        for e in self.read():
            if is_object(e):
                count = e.count
            elif e.kind == format.MESSAGE:
                # The function that counted was given a reference.
                self.assertEqual(count + 1, int(e.text))
                compared += 1
        self.assertEqual(compared, 5)

    def test_lived_before(self):
        # On many pages, and not one event is missing.
        old = [A() for _ in range(3000)]
        with self.log(A):
            new = old * 2
            for a in old:
                a.x = 1
        last = {e.address: e.count for e in self.read() if is_object(e)}
        self.assertEqual(len(last), 3000)
        del a, last
        self.chains()
        del new

    def test_type_that_comes_later(self):
        with self.log('Late'):
            T = type('Late', (), {})
            for _ in range(300):
                a = T()
                b = [a, a]
            del a, b
        chains = self.chains()
        self.assertEqual(len(chains), 300)
        self.assertEqual({c[-1] for c in chains.values()}, {0})

    def test_many_at_a_time(self):
        with self.log(A):
            kept = [A() for _ in range(20_000)]
            more = kept[::-1]
            kept.clear()
            more.clear()
        chains = self.chains()
        self.assertEqual(len(chains), 20_000)
        self.assertEqual({(c[0], max(c), c[-1]) for c in chains.values()},
                         {(1, 2, 0)})

    def test_cycles(self):
        with self.log(A):
            for _ in range(10):
                a, b = A(), A()
                a.b, b.a = b, a
                del a, b
            gc.collect()
        self.assertEqual({c[-1] for c in self.chains().values()}, {0})

    def test_finalisers(self):
        kept = []

        class R:
            def __del__(self):
                kept.append(self)

        with self.log(R):
            R()
            kept.clear()
        told = self.tell()
        # To be finalised it is given a reference; it takes more than one death.
        self.assertEqual(told[:5], ['NEW R 1', 'DEC R 1 -1=0', 'DEL R 1',
                                    'INC R 1 +1=1', 'INC R 1 +1=2'])
        self.assertEqual([text.split()[0] for text in told].count('NEW'), 2)
        self.assertEqual(told[-1][-2:], '=0')

    def test_builtins(self):
        def work():
            a = bytearray(3)
            b = [a, a]
            del a, b

        with self.log(bytearray):
            work()
        self.assertEqual(self.net(work), {1: 1, 2: 2, 3: -3})

    def test_strings(self):
        text = ''.join(['some', 'thing'])
        with self.log(str):
            many = [text] * 10
            del many
        changes = [e.change for e in self.read()
                   if is_object(e) and e.address == id(text)]
        self.assertEqual(sum(changes), 0)
        self.assertGreaterEqual(max(changes), 9)

    def test_other_types_are_silent(self):
        kept = [B() for _ in range(100)] + [A()]
        with self.log(A):
            more = kept * 3
            del more
        self.assertEqual({e.type.name for e in self.read() if is_object(e)}, {'A'})

    def test_suspended(self):
        old = [A() for _ in range(100)]
        with self.log(A) as log:
            log.suspend()
            more = old * 2
            log.resume()
            again = old * 2
            log.suspend()
            del more, again
        changes = collections.Counter()
        for e in self.read():
            if is_object(e):
                changes[e.address] += e.change
        self.assertEqual(set(changes.values()), {2})
        self.assertEqual(len(changes), 100)

    def test_nested(self):
        a = A()
        with self.log(A):
            with refmap.EventLog(self.file('inner'), include=A):
                # Without references.
                b = [a] * 10
            c = [a] * 10
            del b, c
        inner = self.read(self.file('inner'))
        self.assertFalse([e for e in inner if is_object(e)])
        self.assertEqual(sum(e.change for e in self.read() if is_object(e)), -10)

    def test_threads(self):
        shared = A()

        def work():
            for _ in range(500):
                a = [shared, A()]
                del a

        with self.log(A, stack=0):
            threads = [threading.Thread(target=work) for _ in range(4)]
            with threading_helper.start_threads(threads):
                pass
        self.chains()
        threads_of = collections.Counter(e.thread.number for e in self.read()
                                         if e.kind == format.NEW)
        self.assertEqual(sorted(threads_of.values()), [500] * 4)

    def test_off_again(self):
        # Afterwards the hooks are as fast, and as exact, as before.
        a = A()
        with self.log(A):
            pass
        before = sys.refmap_count(a)
        many = [a] * 100
        self.assertEqual(sys.refmap_count(a), before + 100)
        del many
        self.assertEqual(self.read()[-1].kind, format.END)

    def test_copies(self):
        with self.log(A):
            a = A()
            a.x = copy.copy(a)
            a.y = copy.deepcopy(a)
            del a
        self.assertEqual({c[-1] for c in self.chains().values()}, {0})


class MapTests(ReferencesTestCase):
    """The map is as true with a log as without."""

    def test_verify(self):
        kept = [A() for _ in range(1000)]
        with self.log(A, builtins=True) as log:
            more = kept * 2
            self.assert_healthy()
            log.suspend()
            self.assert_healthy()
            log.resume()
            del more[::2]
            self.assert_healthy()
        self.assert_healthy()

    def test_verify_all_types(self):
        with refmap.EventLog(self.path, references=True, builtins=True):
            kept = [[i] for i in range(1000)]
            self.assert_healthy()
            kept.clear()
        self.chains()

    def test_snapshots(self):
        old = [A() for _ in range(500)]
        before = sys.refmap_snapshot()
        with self.log(A):
            new = [A() for _ in range(500)]
            new += old
            middle = sys.refmap_snapshot()
            del old[100:]
            diff = sys.refmap_diff(before, middle, file=None)
            self.assert_adds_up(diff)
            self.assertEqual(diff.types[A.__name__], 1000)
        after = sys.refmap_snapshot()
        diff = sys.refmap_diff(middle, after, file=None)
        self.assert_adds_up(diff)
        self.assertEqual(diff.types[A.__name__], -400)
        del before, middle, after, diff

    def test_snapshot_within(self):
        with self.log(A):
            before = sys.refmap_snapshot()
            kept = [A() for _ in range(100)]
            after = sys.refmap_snapshot()
        diff = sys.refmap_diff(before, after, file=None)
        self.assert_adds_up(diff)
        self.assertEqual(diff.types[A.__name__], 100)
        del before, after, diff, kept

    def test_packing(self):
        # Pages that rest are packed; they are watched all the same.
        kept = [A() for _ in range(2000)]
        with self.log(A) as log:
            for _ in range(3):
                _testrefmap.sweep()
            more = kept * 2
            self.assert_healthy()
            log.suspend()
            for _ in range(3):
                _testrefmap.sweep()
            log.resume()
            for _ in range(3):
                _testrefmap.sweep()
            del more
            self.assert_healthy()
        changes = collections.Counter()
        for e in self.read():
            if is_object(e):
                changes[e.address] += e.change
        self.assertEqual(set(changes.values()), {0})
        self.assertEqual(len(changes), 2000)

    def test_pages_come_and_go(self):
        with self.log(A):
            for _ in range(5):
                kept = [A() for _ in range(5000)]
                del kept[::3]
                more = list(kept)
                del kept, more
        self.assertEqual({c[-1] for c in self.chains().values()}, {0})

    def test_recording(self):
        a = A()
        try:
            sys.refmap_record(types=[B])
        except RuntimeError as exc:
            self.skipTest(str(exc))
        try:
            with self.assertRaisesRegex(RuntimeError, 'refmap_record'):
                with self.log(A):
                    pass
            # Without references it can be.
            with self.log(A, references=False):
                A()
        finally:
            sys.refmap_record_stop()
        self.assertEqual(len(self.tell()), 2)
        with self.log(A):
            a = None
        self.assertTrue(self.tell())

    def test_recording_begins(self):
        # While references are logged: both have what they want.
        with self.log(A):
            try:
                sys.refmap_record(types=[B])
            except RuntimeError as exc:
                self.skipTest(str(exc))
            try:
                for _ in range(10):
                    [A(), B()]
                self.assert_healthy()
            finally:
                sys.refmap_record_stop()
            for _ in range(10):
                [A(), B()]
            self.assert_healthy()
        kinds = [e.kind for e in self.read() if is_object(e)]
        self.assertEqual(kinds.count(format.NEW), 20)
        self.chains()

    def test_births_of_the_map(self):
        # Each birth of a type is seen: the map has as many.
        with refmap.EventLog(self.path, include=A, rss=False) as log:
            before = sys.refmap_snapshot()
            kept = [A() for _ in range(321)]
            del kept[:21]
            after = sys.refmap_snapshot()
            diff = sys.refmap_diff(before, after, file=None)
        self.assertEqual(log.live_counts()['A'],
                         sum(1 for line in diff.living if line[1] == A.__name__))
        del before, after, diff


class TracerTests(LogTestCase):
    """Others see the births, too; nobody sees the log's tracer."""

    def log(self, *include, **options):
        return refmap.EventLog(self.path, include=include, rss=False, **options)

    def test_same_as_the_tracer(self):
        testcapi = import_helper.import_module('_testcapi')
        with self.log(A):
            testcapi.test_reftracer()
        with self.log(A):
            A()
            testcapi.test_reftracer()
            A()
        self.assertEqual(len(self.tell()), 4)

    def count_by_printing(self, script):
        """Births and deaths, as a tracer of _testcapi prints them."""
        import_helper.import_module('_testcapi')
        out, _ = self.script(script)
        return collections.Counter(line.split()[0] for line in out.splitlines())

    PRINTED = '''
import _testcapi
class A: pass
def work():
    for _ in range(10):
        A(), [A()], bytearray(3)
work()
set_tracer = _testcapi.toggle_reftrace_printer
'''

    def test_tracer_set_before(self):
        plain = self.count_by_printing(self.PRINTED + '''
set_tracer(True)
work()
set_tracer(False)
''')
        self.assertGreater(plain['CREATE'], 30)
        for script in ('''
with refmap.EventLog(path, builtins=True):
    set_tracer(True)
    work()
    set_tracer(False)
''', '''
log = refmap.EventLog(path, include=A)
log.begin()
set_tracer(True)
work()
set_tracer(False)
log.end()
'''):
            with self.subTest(script):
                self.assertEqual(self.count_by_printing(self.PRINTED + script),
                                 plain)

    def test_tracer_stays(self):
        # It was set before the log, and is called within and after it.
        printed = self.count_by_printing(self.PRINTED + '''
set_tracer(True)
with refmap.EventLog(path, include=A) as log:
    for _ in range(100): A()
for _ in range(100): A()
set_tracer(False)
for _ in range(100): A()
assert log.count_new == 100, log.count_new
''')
        self.assertGreaterEqual(printed['CREATE'], 200)
        self.assertGreaterEqual(printed['DESTROY'], 200)

    def test_tracemalloc(self):
        if tracemalloc.is_tracing():
            self.skipTest('tracemalloc is on')
        self.addCleanup(tracemalloc.stop)
        with self.log(A) as log:
            A()
            tracemalloc.start()
            a = A()
            self.assertIsNotNone(tracemalloc.get_object_traceback(a))
            tracemalloc.stop()
            A()
            tracemalloc.start()
            A()
        self.assertEqual((log.count_new, log.count_del), (4, 3))
        b = A()
        self.assertIsNotNone(tracemalloc.get_object_traceback(b))
        with self.log(A) as log:
            A()
        tracemalloc.stop()
        A()
        self.assertEqual(log.count_new, 1)
        with self.log(A) as log:
            A()
        self.assertEqual(log.count_new, 1)

    def test_tracemalloc_in_nested(self):
        if tracemalloc.is_tracing():
            self.skipTest('tracemalloc is on')
        self.addCleanup(tracemalloc.stop)
        with self.log(A) as outer:
            with refmap.EventLog(self.file('inner'), include=A) as inner:
                tracemalloc.start()
                A()
            A()
            a = A()
            self.assertIsNotNone(tracemalloc.get_object_traceback(a))
        self.assertEqual((inner.count_new, outer.count_new), (1, 2))


if __name__ == '__main__':
    unittest.main()
