"""sys.refmap_snapshot() and sys.refmap_diff()."""

import copy
import gc
import io
import os
import pickle
import random
import re
import sys
import unittest
from collections import Counter

from test import support

from .helpers import MapTestCase, run_script


def diff_of(before=None, after=None):
    """A diff that prints nothing."""
    return sys.refmap_diff(before, after, file=None)


def living(diff):
    return {address: (name, before, after)
            for address, name, before, after in diff.living}


def died(diff):
    return {address: (name, before) for address, name, before in diff.died}


class NothingTest(MapTestCase):
    """Two snapshots in a row differ by nothing, wherever they are taken."""

    def assert_nothing(self, diff):
        self.assertEqual(str(diff), 'total ref change 0')
        self.assertEqual((diff.living, diff.died, diff.freed, diff.types),
                         ([], [], [], {}))
        self.assertEqual((diff.total, diff.unattributed, diff.lost), (0, 0, 0))

    def test_function(self):
        for _ in range(3):
            a = sys.refmap_snapshot()
            b = sys.refmap_snapshot()
            self.assert_nothing(diff_of(a, b))
            self.assert_nothing(diff_of(b, a))
            self.assert_nothing(diff_of(a, a))

    def test_many_in_a_row(self):
        a = sys.refmap_snapshot()
        b = sys.refmap_snapshot()
        c = sys.refmap_snapshot()
        d = sys.refmap_snapshot()
        for before in a, b, c, d:
            for after in a, b, c, d:
                self.assert_nothing(diff_of(before, after))

    def test_lambda(self):
        pair = (lambda: (sys.refmap_snapshot(), sys.refmap_snapshot()))()
        self.assert_nothing(diff_of(*pair))

    def test_nested_calls(self):
        def inner():
            return sys.refmap_snapshot()

        def outer():
            a = inner()
            b = inner()
            return diff_of(a, b)
        outer()
        self.assert_nothing(outer())

    def test_class_body(self):
        class Body:
            a = b = None
            a = sys.refmap_snapshot()
            b = sys.refmap_snapshot()
        self.assert_nothing(diff_of(Body.a, Body.b))

    def test_exec(self):
        namespace = {'sys': sys}
        exec('a = sys.refmap_snapshot()\nb = sys.refmap_snapshot()', namespace)
        self.assert_nothing(diff_of(namespace['a'], namespace['b']))

    def test_generator(self):
        def generate():
            a = sys.refmap_snapshot()
            b = sys.refmap_snapshot()
            yield diff_of(a, b)
        self.assert_nothing(next(generate()))

    def test_module_level(self):
        # The first assignment to `b` puts a key into the module's dict.
        for prepare in 'a = b = None', '':
            with self.subTest(prepare):
                out, _ = run_script(f'''
                    {prepare}
                    a = sys.refmap_snapshot()
                    b = sys.refmap_snapshot()
                    print(sys.refmap_diff(a, b, file=None))
                    ''')
                self.assertEqual(out, 'total ref change 0\n')

    def test_now(self):
        # The calls themselves are not seen.
        def f():
            a = sys.refmap_snapshot()
            return sys.refmap_diff(a)

        def g():
            sys.refmap_snapshot()
            return sys.refmap_diff()

        def h():
            a = sys.refmap_snapshot()
            return sys.refmap_diff(a, None)

        for function in f, g, h:
            with self.subTest(function.__name__):
                with support.captured_stderr():
                    function()
                    diff = function()
                self.assert_nothing(diff)

    def test_now_with_keywords(self):
        def f():
            a = sys.refmap_snapshot()
            return sys.refmap_diff(before=a, after=None, file=None)

        f()
        diff = f()
        # The interpreter has a reference to the constant with the names.
        names = [c for c in f.__code__.co_consts if type(c) is tuple]
        self.assertLessEqual({p for p, *_ in diff.living}, set(map(id, names)))
        self.assertEqual(diff.died, [])

    def test_now_at_module_level(self):
        # A name that is looked up for the first time may put another one out
        # of the cache of type attributes.
        _, err = run_script('''
            sys.refmap_snapshot
            sys.refmap_diff
            sys.refmap_snapshot()
            sys.refmap_diff()
            sys.refmap_snapshot()
            sys.refmap_diff()
            ''')
        self.assertEqual(err, 2 * 'total ref change 0\n')

    def test_reports_are_not_reported(self):
        def f():
            kept = []
            for _ in range(3):
                kept.append(None)
            a = sys.refmap_snapshot()
            # Objects of refmap, and more references to them.
            for i in range(3):
                kept[i] = sys.refmap_diff(a, a, file=None)
            b = sys.refmap_snapshot()
            del kept
            return diff_of(a, b)
        f()
        diff = f()
        for _, name, *_ in diff.living + diff.died:
            self.assertNotIn('refmap', name, diff)


class DiffTest(MapTestCase):

    def test_living(self):
        victim = object()
        a = sys.refmap_snapshot()
        references = [victim] * 5
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        count = sys.getrefcount(victim) - 1
        self.assertEqual(living(diff)[id(victim)], ('object', count - 5, count))
        self.assertEqual(living(diff)[id(references)], ('list', 0, 1))
        back = diff_of(b, a)
        self.assertEqual(living(back)[id(victim)], ('object', count, count - 5))
        self.assertEqual(died(back)[id(references)], ('list', 1))
        self.assertEqual(back.total, -diff.total)
        self.assert_adds_up(diff)
        self.assert_adds_up(back)

    def test_died(self):
        victims = [object() for _ in range(3)]
        addresses = list(map(id, victims))
        a = sys.refmap_snapshot()
        victims.clear()
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        for address in addresses:
            self.assertEqual(died(diff)[address], ('object', 1))
        self.assertEqual(diff.types['object'], -3)
        self.assert_adds_up(diff)
        # In the other order they come to life.
        for address in addresses:
            self.assertEqual(living(diff_of(b, a))[address], ('object', 0, 1))

    def test_born_and_died_between(self):
        a = sys.refmap_snapshot()
        address = id(object())
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        self.assertNotIn(address, living(diff))
        self.assertNotIn(address, died(diff))

    def test_reborn_at_the_same_address(self):
        # Found by trying: an allocator likes to use an address again.
        class A:
            __slots__ = ()

        class B:
            __slots__ = ()

        for _ in range(1000):
            victim = A()
            a = sys.refmap_snapshot()
            address = id(victim)
            victim = None
            victim = B()
            b = sys.refmap_snapshot()
            if id(victim) == address:
                break
        else:
            self.skipTest('no address was used again')
        diff = diff_of(a, b)
        # Two objects, though the counts are the same.
        self.assertEqual(died(diff)[address][0], 'A')
        self.assertEqual(living(diff)[address], ('B', 0, 1))
        self.assert_adds_up(diff)

    def test_resurrection_keeps_the_birth(self):
        class A:
            def __del__(self):
                kept.append(self)

        kept = [None]
        kept.clear()
        victim = A()
        a = sys.refmap_snapshot()
        victim = None
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        address = id(kept[0])
        self.assertNotIn(address, died(diff))
        self.assertNotIn(address, living(diff))

    def test_freelist_revival_is_a_birth(self):
        for make in (lambda: float('3.25'), lambda: [], lambda: {},
                     lambda: (object(), 1)):
            for _ in range(100):
                victim = make()
                a = sys.refmap_snapshot()
                address = id(victim)
                name = type(victim).__name__
                victim = None
                victim = make()
                b = sys.refmap_snapshot()
                if id(victim) == address:
                    break
            else:
                continue
            with self.subTest(name):
                diff = diff_of(a, b)
                self.assertIn(address, died(diff))
                self.assertEqual(living(diff)[address], (name, 0, 1))
                self.assert_adds_up(diff)

    def test_dict_keys(self):
        a = sys.refmap_snapshot()
        d = {i: i for i in range(100)}
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        self.assertEqual(diff.types['dict keys'], 1)
        keys = [(before, after) for _, name, before, after in diff.living
                if name == 'dict keys']
        self.assertEqual(keys, [(0, 1)])
        del d

    def test_shared_dict_keys(self):
        class A:
            def __init__(self):
                self.x = 1

        objects = [A() for _ in range(40)]
        for op in objects:
            vars(op)
        a = sys.refmap_snapshot()
        more = [A() for _ in range(10)]
        for op in more:
            vars(op)
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        self.assertEqual(diff.types['A'], 10)
        self.assert_adds_up(diff)
        self.assertEqual([x for x in diff.died if x[1] == 'dict keys'], [])

    def test_resize_moves_the_object(self):
        # As long as realloc() moves it, its old address has died.
        a = sys.refmap_snapshot()
        data = bytearray(b'x' * 100)
        text = ''
        for i in range(1000):
            text += 'abc%d' % i
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        self.assertEqual(living(diff)[id(text)], ('str', 0, 1))
        self.assert_adds_up(diff)
        del data

    def test_types_that_cancel_out(self):
        x, y = object(), object()
        one, other = [x], [None]
        a = sys.refmap_snapshot()
        one[0] = None
        other[0] = y
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        self.assertIn(id(x), living(diff))
        self.assertIn(id(y), living(diff))
        self.assertNotIn('object', diff.types)
        self.assertNotIn('of type object', str(diff))

    def test_order_of_lists(self):
        keep = [[] for _ in range(100)]
        kept = [object() for _ in range(100)]
        gone = [set() for _ in range(50)] + [[] for _ in range(50)]
        references = []
        a = sys.refmap_snapshot()
        for i, op in enumerate(kept):
            references += [op] * (i % 5)
        references += keep
        gone.clear()
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        for records in ([(-abs(n - o), t, p) for p, t, o, n in diff.living],
                        [(-n, t, p) for p, t, n in diff.died],
                        [(-abs(n), t) for t, n in diff.types.items()
                         if t != '(unattributed)']):
            self.assertGreater(len(records), 1)
            self.assertEqual(records, sorted(records))

    def test_baseline_is_the_last_snapshot(self):
        sys.refmap_snapshot()
        x = [object()]
        a = sys.refmap_snapshot()
        self.assertNotIn(id(x), living(diff_of()))
        x.append(object())
        self.assertIn(id(x[1]), living(diff_of()))
        # It stays, whatever becomes of the snapshot object.
        del a
        self.assertIn(id(x[1]), living(diff_of()))
        # A diff with explicit snapshots doesn't replace it.
        self.assertIn(id(x[1]), living(diff_of()))

    def test_after_without_before(self):
        sys.refmap_snapshot()
        x = object()
        after = sys.refmap_snapshot()
        # The baseline is `after` itself by now.
        diff = sys.refmap_diff(after=after, file=None)
        self.assertEqual(diff.total, 0)
        del x

    def test_diff_survives_its_snapshots(self):
        x = [object()]
        a = sys.refmap_snapshot()
        x.append(object())
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        report = str(diff)
        address = id(x[1])
        del a, b
        sys.refmap_snapshot()
        x.clear()
        gc.collect()
        self.assertEqual(str(diff), report)
        self.assertIn(address, living(diff))

    def test_fresh_lists(self):
        a = sys.refmap_snapshot()
        x = object()
        diff = diff_of(a)
        diff.living.clear()
        diff.types.clear()
        self.assertIn(id(x), living(diff))
        self.assertIn('object', diff.types)

    def test_long_and_strange_type_names(self):
        names = ['x' * 200, 'x' * 1000, 'ünïcödé', '\u4e2d' * 300, 'a b(c)%s%n',
                 '\U0001f40d', '\u4e2d' * 85]
        a = sys.refmap_snapshot()
        objects = [type(name, (), {})() for name in names]
        diff = diff_of(a)
        found = living(diff)
        for name, op in zip(names, objects):
            reported = found[id(op)][0]
            self.assertEqual(reported[:80], name[:80])
        str(diff), diff.types, diff.died

    def test_type_name_of_several_lines(self):
        # Would look like lines of the report.
        a = sys.refmap_snapshot()
        op = type('x)\nref change of type int: 5', (), {})()
        diff = diff_of(a)
        self.assertEqual(living(diff)[id(op)][0],
                         r'x)\x0aref change of type int: 5')
        self.assertNotIn('ref change of type int: 5', str(diff).splitlines())

    def test_renamed_type(self):
        class A:
            pass
        a = sys.refmap_snapshot()
        x = A()
        self.assertEqual(living(diff_of(a))[id(x)][0], 'A')
        A.__name__ = 'Renamed'
        b = sys.refmap_snapshot()
        y = A()
        self.assertEqual(living(diff_of(b))[id(y)][0], 'Renamed')


class ObjectsTest(MapTestCase):
    """Snapshot and diff objects as objects."""

    def setUp(self):
        self.snapshot = sys.refmap_snapshot()
        self.diff = sys.refmap_diff(self.snapshot, file=None)

    def test_repr(self):
        self.assertRegex(repr(self.snapshot),
                         r'^<refmap snapshot at 0x[0-9a-f]+: total \d+>$')
        self.assertRegex(repr(self.diff),
                         r'^<refmap diff: total -?\d+, \d+ living, \d+ died>$')

    def test_total_of_a_snapshot(self):
        self.assertEqual(type(self.snapshot.total), int)
        self.assertGreater(self.snapshot.total, 1000)

    def test_no_other_way_to_create_one(self):
        for op in self.snapshot, self.diff:
            cls = type(op)
            for create in (cls, lambda: object.__new__(cls),
                           lambda: type('Sub', (cls,), {}),
                           lambda: copy.copy(op), lambda: copy.deepcopy(op),
                           lambda: op.__reduce_ex__(2)):
                self.assertRaises(TypeError, create)
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                self.assertRaises(TypeError, pickle.dumps, op, protocol)

    def test_read_only(self):
        for op, name in ((self.snapshot, 'total'), (self.diff, 'total'),
                         (self.diff, 'living'), (self.diff, 'new')):
            with self.assertRaises(AttributeError):
                setattr(op, name, 1)
        for cls in type(self.snapshot), type(self.diff):
            with self.assertRaises(TypeError):
                cls.total = 1

    @support.requires_docstrings
    def test_docstrings(self):
        for cls in type(self.snapshot), type(self.diff):
            self.assertIn('refmap', cls.__doc__)
        for name in 'living', 'died', 'freed', 'types', 'total', 'lost':
            self.assertTrue(getattr(type(self.diff), name).__doc__, name)

    def test_not_tracked_as_garbage(self):
        self.assertFalse(gc.is_tracked(self.snapshot))
        self.assertFalse(gc.is_tracked(self.diff))


class ReportTest(MapTestCase):

    LINES = (r'ref change of living 0x[0-9a-f]+ \(.+\): -?\d+,  \d+ -> \d+',
             r'ref change of died   0x[0-9a-f]+ \(.+\): -\d+',
             r'ref change of unattributed: -?\d+',
             r'freed with (1 reference|\d+ references) 0x[0-9a-f]+ \(.+\)',
             r'ref change of type .+: -?\d+',
             r'total ref change -?\d+')

    def make_diff(self):
        gone = [[] for _ in range(3)]
        a = sys.refmap_snapshot()
        del gone
        x = [object()]
        return sys.refmap_diff(a, file=None), x

    def test_format(self):
        diff, x = self.make_diff()
        lines = str(diff).split('\n')
        kinds = []
        for line in lines:
            kind = [i for i, pattern in enumerate(self.LINES)
                    if re.fullmatch(pattern, line)]
            self.assertEqual(len(kind), 1, line)
            kinds += kind
        self.assertEqual(kinds, sorted(kinds))
        self.assertEqual(kinds.count(5), 1)

    def test_lines_say_what_the_lists_say(self):
        diff, x = self.make_diff()
        expected = [f'ref change of living {p:#x} ({t}): {n - o},  {o} -> {n}'
                    for p, t, o, n in diff.living]
        expected += [f'ref change of died   {p:#x} ({t}): {-n}'
                     for p, t, n in diff.died]
        expected += [f'ref change of type {t}: {n}'
                     for t, n in diff.types.items()]
        expected += [f'total ref change {diff.total}']
        self.assertEqual(str(diff).split('\n'), expected)

    def test_file(self):
        a = sys.refmap_snapshot()
        b = sys.refmap_snapshot()
        file = io.StringIO()
        diff = sys.refmap_diff(a, b, file=file)
        self.assertEqual(file.getvalue(), str(diff) + '\n')

    def test_stderr_is_the_default(self):
        a = sys.refmap_snapshot()
        b = sys.refmap_snapshot()
        with support.captured_stderr() as stderr, \
                support.captured_stdout() as stdout:
            diff = sys.refmap_diff(a, b)
        self.assertEqual(stderr.getvalue(), str(diff) + '\n')
        self.assertEqual(stdout.getvalue(), '')

    def test_no_file(self):
        a = sys.refmap_snapshot()
        with support.captured_stderr() as stderr:
            sys.refmap_diff(a, file=None)
        self.assertEqual(stderr.getvalue(), '')

    def test_no_stderr(self):
        a = sys.refmap_snapshot()
        with support.swap_attr(sys, 'stderr', None):
            diff = sys.refmap_diff(a)
        self.assert_adds_up(diff)
        run_script('''
            del sys.stderr
            sys.refmap_snapshot()
            sys.refmap_diff()
            ''')

    def test_file_that_fails(self):
        class Broken:
            def write(self, text):
                raise OSError('disk full')

        a = sys.refmap_snapshot()
        with self.assertRaisesRegex(OSError, 'disk full'):
            sys.refmap_diff(a, file=Broken())
        for wrong in 1, object(), 'name':
            with self.assertRaises(AttributeError):
                sys.refmap_diff(a, file=wrong)
        closed = io.StringIO()
        closed.close()
        with self.assertRaises(ValueError):
            sys.refmap_diff(a, file=closed)

    def test_file_that_takes_snapshots(self):
        class Nested:
            text = ''

            def write(self, text):
                self.text += text
                snapshots.append(sys.refmap_snapshot())
                sys.refmap_diff(snapshots[0], file=None)
                snapshots[:-1] = []

        snapshots = [sys.refmap_snapshot()]
        file = Nested()
        diff = sys.refmap_diff(snapshots[0], file=file)
        self.assertEqual(file.text, str(diff) + '\n')

    def test_file_that_drops_the_baseline(self):
        class Rude:
            def write(self, text):
                for _ in range(3):
                    sys.refmap_snapshot()
                gc.collect()

        sys.refmap_snapshot()
        self.assert_adds_up(sys.refmap_diff(file=Rude()))


class TotalTest(MapTestCase):

    def setUp(self):
        self.seed = int(os.environ.get('REFMAP_SEED') or
                        random.SystemRandom().getrandbits(32))
        self.random = random.Random(self.seed)
        # A collection between two statements would spoil their comparison.
        self.addCleanup(gc.enable)
        gc.disable()

    def scramble(self, objects):
        """Do something to some objects."""
        choose = self.random.randrange
        match choose(9):
            case 0:
                objects.append([objects] * choose(10))
            case 1:
                objects += [object() for _ in range(choose(300))]
            case 2:
                del objects[choose(len(objects) + 1):]
            case 3:
                objects.append({str(i): i * 1.5 for i in range(choose(100))})
            case 4:
                objects.append(type('Fresh', (), {'a': objects}))
            case 5:
                objects.append('x' * choose(5000))
            case 6:
                self.random.shuffle(objects)
                gc.collect(choose(3))
            case 7:
                objects += objects[:choose(200)]
            case 8:
                objects.append((lambda x: (yield x))(objects))

    def test_total_is_the_change_of_gettotalrefcount(self):
        objects = [None]
        snapshots = [None] * 60
        totals = [0] * len(snapshots)
        # Bound here: to look them up between the two readings could change the
        # type cache, which owns names; a collection there would do more.
        take, total = sys.refmap_snapshot, sys.gettotalrefcount
        with support.disable_gc():
            for i in range(len(snapshots)):
                self.scramble(objects)
                # The int of the second line is born after the total is read.
                snapshots[i] = take()
                totals[i] = total()
        for _ in range(200):
            i, k = (self.random.randrange(len(snapshots)) for _ in range(2))
            diff = diff_of(snapshots[i], snapshots[k])
            with self.subTest(seed=self.seed, i=i, k=k):
                self.assert_adds_up(diff)
                self.assertEqual(diff.total,
                                 snapshots[k].total - snapshots[i].total)
                self.assertEqual(diff.total, totals[k] - totals[i])
        objects.clear()

    def test_total_of_a_snapshot_is_gettotalrefcount(self):
        before = sys.gettotalrefcount()
        snapshot = sys.refmap_snapshot()
        after = sys.gettotalrefcount()
        self.assertLessEqual(before, snapshot.total)
        self.assertLessEqual(snapshot.total, after)

    def test_more_references_to_a_snapshot(self):
        # They are counted by gettotalrefcount(), but are no one's leak.
        a = sys.refmap_snapshot()
        kept = [a] * 10
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        self.assert_adds_up(diff)
        self.assertEqual(diff.types, {'list': 1})
        del kept
        self.assert_adds_up(diff_of(a, b))
        self.assert_adds_up(diff_of(a))

    def test_dropped_snapshots(self):
        a = sys.refmap_snapshot()
        between = [None] * 20
        for i in range(20):
            between[i] = sys.refmap_snapshot()
        del between
        b = sys.refmap_snapshot()
        diff = diff_of(a, b)
        self.assertEqual(str(diff), 'total ref change 0')


class LifetimeTest(MapTestCase):

    def test_survive_everything(self):
        # Each object and type of the snapshot is dead when it is looked at.
        types = [type(f'Type{i}', (), {}) for i in range(50)]
        objects = [cls() for cls in types for _ in range(20)]
        addresses = {id(op): type(op).__name__ for op in objects}
        a = sys.refmap_snapshot()
        del types, objects
        gc.collect()
        trash = [bytearray(os.urandom(48)) for _ in range(5000)]
        del trash
        found = died(diff_of(a))
        for address, name in addresses.items():
            self.assertEqual(found[address], (name, 1))

    def test_survive_reuse_of_type_addresses(self):
        # Types are known by address; a new type there has another name.
        a = sys.refmap_snapshot()
        seen = {}
        for i in range(200):
            cls = type(f'Generation{i}', (), {})
            op = cls()
            diff = diff_of(a)
            self.assertEqual(living(diff)[id(op)][0], f'Generation{i}')
            seen[id(cls)] = seen.get(id(cls), 0) + 1
            cls = op = None
            gc.collect(0)
        if max(seen.values()) == 1:
            print('no type was born where another had died', file=sys.stderr)

    def test_changed_class(self):
        class A:
            pass

        class B:
            pass
        victim = A()
        a = sys.refmap_snapshot()
        victim.__class__ = B
        more = [victim]
        diff = diff_of(a)
        self.assertEqual(living(diff)[id(victim)], ('B', 1, 2))
        del more

    def test_thousands(self):
        out, _ = run_script('''
            data = [[i] for i in range(3000)]
            snapshots = [None] * 3000
            for i in range(len(snapshots)):
                snapshots[i] = sys.refmap_snapshot()
                data[i] = {i}
            check_exact()
            diff = sys.refmap_diff(snapshots[0], snapshots[-1], file=None)
            check_diff(diff)
            assert diff.types['set'] == 2999, diff.types
            assert diff.types['list'] == -2999, diff.types
            for i in range(0, 2900, 100):
                diff = sys.refmap_diff(snapshots[i], snapshots[i + 50], file=None)
                check_diff(diff)
                assert diff.types['set'] == 50, diff.types
            full = sys.refmap_info().bytes
            import random
            random.seed(4)
            random.shuffle(snapshots)
            while snapshots:
                del snapshots[len(snapshots) // 2:]
                check_exact()
            check_true()
            print(full, sys.refmap_info().bytes)
            ''')
        full, empty = map(int, out.split())
        self.assertLess(empty, full / 4)

    def test_dropping_gives_memory_back(self):
        for order in 'oldest', 'newest', 'every second':
            with self.subTest(order):
                out, _ = run_script(f'''
                    order = {order!r}
                    ''' + '''
                    data = [[i] for i in range(20000)]
                    snapshots = [None] * 20

                    def drop(indices):
                        for i in indices:
                            snapshots[i] = None

                    def fill():
                        for i in range(len(snapshots)):
                            snapshots[i] = sys.refmap_snapshot()
                            # Touches each page.
                            for k, item in enumerate(data):
                                data[k] = [item[0]]
                        full = sys.refmap_info().bytes
                        drop({'oldest': range(20), 'newest': range(19, -1, -1),
                              'every second': [*range(0, 20, 2), *range(1, 20, 2)]
                              }[order])
                        # The baseline shares nothing any more.
                        sys.refmap_snapshot()
                        return full

                    fill()
                    empty = sys.refmap_info().bytes
                    full = fill()
                    print(empty, full, sys.refmap_info().bytes)
                    check_exact()
                    check_true()
                    ''')
                empty, full, again = map(int, out.split())
                self.assertGreater(full, 5 * empty)
                self.assertLess(again, 1.2 * empty)

    def test_long_ones_in_any_order(self):
        # Their lists of blocks are mappings, which are used again.
        random.seed(6)
        data = [bytearray(2000) for _ in range(4000)]
        snapshots = [None] * 9          # or (snapshot, extra references then)
        extra = []
        for step in range(300):
            extra.append(random.choice(data))
            i = random.randrange(len(snapshots))
            if snapshots[i] is None:
                snapshots[i] = sys.refmap_snapshot(), len(extra)
            else:
                snapshots[i] = None
            kept = [pair for pair in snapshots if pair]
            if len(kept) < 2:
                continue
            (before, m), (after, n) = random.sample(kept, 2)
            changes = Counter(map(id, extra[min(m, n):max(m, n)]))
            found = {address: abs(now - then) for address, name, then, now
                     in diff_of(before, after).living if name == 'bytearray'}
            self.assertEqual(found, changes)

    def test_dropped_during_a_diff_of_others(self):
        a, b, c = (sys.refmap_snapshot() for _ in range(3))
        x = object()
        d = sys.refmap_snapshot()
        del b
        before = living(diff_of(a, d))
        del c
        self.assertEqual(living(diff_of(a, d)), before)
        self.assertIn(id(x), before)


if __name__ == '__main__':
    unittest.main()
