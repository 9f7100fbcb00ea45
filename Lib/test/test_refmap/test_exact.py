"""mapped + unattributed == total, and the map's counts equal ob_refcnt."""

import gc
import inspect
import sys
import textwrap
import unittest
import weakref

from test import support
from test.support.script_helper import assert_python_ok

from .helpers import MapTestCase, run_script

# Each moves references in ways of its own.
SNIPPETS = {
    'class': '''
        class A:
            def __init__(self): self.x = self.y = [self]
        objects = [A() for _ in range(300)]
        objects[0].z = 1
        del objects[1].x
        objects[2].__dict__ = {}
        vars(objects[3])['w'] = 2
        A.__name__ = 'B'
        class C: __slots__ = ('s', '__weakref__')
        C().s = objects[4].__class__
        objects[5].__class__ = type('E', (A,), {})
        ''',
    'dict keys': '''
        d = {}
        for i in range(2000): d[i] = d[str(i)] = i
        e = dict(d); f = d.copy(); g = d | e
        for i in range(2000): del d[i]
        d.clear(); e.popitem(); f.update(g); f.pop('7')
        h = dict.fromkeys(range(100)); h = dict(zip('abc', range(3)))
        ''',
    'strings': '''
        import sys
        s = ''
        for i in range(3000): s += chr(97 + i % 26)
        t = sys.intern(s[:40]) + sys.intern('never-seen-' + s[:3])
        u = sys.intern(''.join(['never', str(id(s))])); del u
        b = b''.join(bytes([i]) * 100 for i in range(256))
        b += b; s = '%s%r' % (s, b); s = f'{s!r:>20000}'
        s.encode().decode().translate({97: 'b'}).split('c')
        ''',
    'numbers': '''
        x = 1
        for i in range(200): x = x * 3 + i; y = x / 7 if i < 100 else x % 7
        z = [float(i) for i in range(300)] + [complex(i, i) for i in range(50)]
        int('1' * 3000); sum(z[:300]); pow(3, 1000, 10**40)
        ''',
    'lists and tuples': '''
        l = [None] * 1000; m = [[]] * 1000; t = (l,) * 1000
        l[5:50] = range(10); l.extend(t); del l[::3]; l.sort(key=id)
        tuple(i for i in range(1000)); t += (1,); [*t, *l]; a, *b = t
        reversed(l); sorted(t, key=id); l.insert(0, l); l.clear()
        ''',
    'sets': '''
        s = set(range(1000)); s |= {str(i) for i in s}; s -= set(range(500))
        frozenset(s); s.pop(); s.discard(700); s ^ set(); s.intersection([1])
        ''',
    'exceptions': '''
        def f(n):
            if n: f(n - 1)
            raise ValueError(n)
        for i in range(20):
            try: f(i)
            except ValueError as e:
                try: raise KeyError from e
                except KeyError as k: kept = k
        try: raise ExceptionGroup('g', [ValueError(), TypeError()])
        except* ValueError: pass
        except* TypeError as e: kept = e
        ''',
    'generators': '''
        def g():
            x = yield
            yield from (y for y in range(3))
        for _ in range(100):
            i = g(); next(i); i.send(1); next(i)
        i.close(); h = g(); next(h)
        def broken(): yield broken()
        list(zip(*[iter(range(100))] * 3)); del i
        ''',
    'coroutines': '''
        import asyncio
        async def leaf(i): await asyncio.sleep(0); return [i]
        async def agen():
            for i in range(5): yield await leaf(i)
        async def main():
            kept = [x async for x in agen()]
            async with asyncio.timeout(10):
                await asyncio.gather(*map(leaf, range(20)))
            async for x in agen(): break
        asyncio.run(main())
        asyncio.set_event_loop_policy(None)     # what run() leaves behind
        leaf(1).close()
        ''',
    'closures': '''
        def outer(x):
            def inner(y=[], *a, z={}, **k): nonlocal x; x = y; return inner, a, k
            return inner
        for i in range(100): outer(i)(i, i, z=i, w=i)
        del outer.__defaults__; outer.attribute = outer
        ''',
    'collected cycles': '''
        import gc
        for i in range(300):
            l = []; l.append(l); d = {}; d[0] = d
            class A: pass
            A.a = A(); A.a.a = A
        gc.collect()
        ''',
    'deep structures': '''
        l = None
        for i in range(20000): l = [l, (l, {'l': l} if i % 100 == 0 else ())]
        del l
        ''',
    'code': '''
        import types, sys
        ns = {}
        exec('def f(a, b=1.5, *, c=(1, "x", b"y", frozenset((3, 4)))): return lambda: (a, f)', ns)
        for i in range(50): ns['f'](i)()
        f = ns['f']; f.__code__ = f.__code__.replace(co_name='g'); f(1)
        eval(compile('[i for i in range(9)]', '?', 'eval')); compile('x=1', '?', 'exec', 1024)
        types.FunctionType(f.__code__, {})
        ''',
    'specialised code': '''
        class A:
            x = 1
            def __init__(self, y): self.y = y
            def m(self): return self.x + self.y
            def __eq__(self, other): return self is other
            def __len__(self): return 3
            def __getitem__(self, i): return i
            @property
            def p(self): return self.y
        def loop(n):
            a = A(1.5); l = [0.5, 1, 'a']; d = {'k': a}; t = (1, 2); s = 'a'
            for i in range(n):
                a.y = i * 1.0; a.m(); a.p; l[i % 3]; d['k']; t[1]; len(l)
                a == l; len(a); a[i]; x, y = t; s += 'b'; i * 2 - 1; l[0] = i
                isinstance(a, A); str(i); tuple(t); type(a); l.append(i); l.pop()
                f'{i}{s[:3]}'; d[i] = i; i in d; {**d}; a is None; not l; -i; A(i)
                for _ in range(2): pass
                for _ in l: pass
                for _ in t: break
        loop(400)
        ''',
    'modules': '''
        import importlib, sys
        for name in 'colorsys', 'this_does_not_exist', 'nturl2path', 'sndhdr':
            try:
                m = importlib.import_module(name)
                importlib.reload(m)
                del sys.modules[name]
            except ImportError: pass
        ''',
    'serialising': '''
        import pickle, marshal, json, copy, re, struct
        data = {'a': [1.5, None, 'x' * 50, (1, 2)], 'b': {'c': 2**100}}
        for p in range(6): pickle.loads(pickle.dumps(data, p))
        marshal.loads(marshal.dumps(data)); json.loads(json.dumps(data))
        copy.deepcopy(data); re.sub('(a)(?P<n>b)?', r'\\1', 'ab' * 99)
        struct.unpack('4sdi', struct.pack('4sdi', b'a', 1.0, 2))
        ''',
    'weak references': '''
        import weakref
        class A: pass
        a = [A() for _ in range(100)]
        w = [weakref.ref(x, print if False else None) for x in a]
        p = [weakref.proxy(x) for x in a]; v = weakref.WeakValueDictionary(enumerate(a))
        k = weakref.WeakKeyDictionary(zip(a, range(100))); s = weakref.WeakSet(a)
        weakref.finalize(a[0], len, ()); a.clear()
        ''',
    'tracing': '''
        import sys
        def f(x):
            return [x for _ in range(3)]
        for setter in sys.settrace, sys.setprofile:
            setter(lambda *args: None)
            for i in range(20): f(i)
            setter(None)
        kept = sys._getframe(); kept.f_locals['y'] = 1; f(kept)
        ''',
    'types of every kind': '''
        import types, typing, collections, enum, dataclasses, functools
        E = enum.Enum('E', 'a b c'); P = collections.namedtuple('P', 'x y'); P(E.a, 1)
        D = dataclasses.make_dataclass('D', [('x', int)]); D(1) == D(2)
        class G[T]: x: list[T] | None = None
        G[int](); typing.Union[int, str]; type X = int; X.__value__
        c = functools.lru_cache(maxsize=3)(lambda x: [x]); [c(i % 5) for i in range(50)]
        collections.OrderedDict(a=1).move_to_end('a'); collections.deque([1], 1).append(2)
        collections.defaultdict(list)[1]; types.SimpleNamespace(x=1); slice(1, E); memoryview(b'ab')[1:]
        class M(type): pass
        class N(metaclass=M): __slots__ = 'a',
        '''
}


class ExactTest(MapTestCase):

    def test_snippets(self):
        for name, snippet in SNIPPETS.items():
            with self.subTest(name):
                namespace = {}
                exec(textwrap.dedent(snippet), namespace)
                self.assert_healthy()
                namespace.clear()
                self.assert_healthy()

    def test_import_of_everything(self):
        # In a process of its own, so that a failing import harms nobody.
        run_script('''
            import importlib, warnings
            warnings.simplefilter('ignore')
            for name in sorted(sys.stdlib_module_names - {'this', 'antigravity'}):
                try:
                    importlib.import_module(name)
                except ImportError:
                    pass
                check_exact()
            check_true()
            ''')

    def test_inside_callbacks(self):
        checked = []

        def check(*args):
            self.assert_healthy()
            checked.append(args)
            return 1

        class A:
            __del__ = __hash__ = __len__ = __eq__ = check

            def __lt__(self, other):
                return check(self) and False

        for call in (lambda: A() and None, lambda: {A(): 1}.get(A()),
                     lambda: len([A()][0]), lambda: sorted([A(), A()]),
                     lambda: list(map(check, range(3)))):
            before = len(checked)
            call()
            self.assertGreater(len(checked), before)
            checked.clear()

    def test_inside_weakref_callback(self):
        class A:
            pass
        checked = []

        def callback(ref):
            self.assert_healthy()
            checked.append(ref)

        ref = weakref.ref(A(), callback)
        self.assertEqual(checked, [ref])

    def test_inside_gc_callback(self):
        phases = []

        def callback(phase, info):
            self.assert_healthy()
            phases.append(phase)

        gc.callbacks.append(callback)
        self.addCleanup(gc.callbacks.remove, callback)
        gc.collect()
        self.assertEqual(phases, ['start', 'stop'])

    def test_inside_trace_function(self):
        def trace(frame, event, arg):
            if frame.f_code is traced.__code__:
                events.append(event)
                sys.settrace(None)
                self.assert_healthy()
                sys.settrace(trace)
            return trace

        def traced(n):
            x = [n]
            return {n: x}

        events = []
        old = sys.gettrace()
        sys.settrace(trace)
        try:
            traced(3)
        finally:
            sys.settrace(old)
        self.assertIn('return', events)

    def test_resurrection(self):
        class A:
            def __del__(self):
                kept.append(self)

        kept = []
        A()
        self.assert_healthy()
        self.assertEqual(sys.refmap_count(kept[0]), sys.getrefcount(kept[0]))
        kept.clear()
        self.assert_healthy()

    def test_interned_string_dies(self):
        # The two references of the interned dict are not counted.
        for i in range(1000):
            sys.intern(f'mortal {i}')
        self.assert_healthy()

    def test_interpreter_without_site(self):
        for options in (['-S'], ['-I', '-S'], ['-O'], ['-X', 'frozen_modules=off'],
                        ['-X', 'importtime'], ['-X', 'tracemalloc'], ['-X', 'dev'],
                        ['-X', 'showrefcount']):
            with self.subTest(options):
                assert_python_ok(*options, '-c', textwrap.dedent('''
                    import sys
                    i = sys.refmap_info()
                    assert i.mapped + i.unattributed == i.total, i
                    assert sys.refmap_verify() == []
                    '''))

    def test_allocators(self):
        for name in ('pymalloc', 'pymalloc_debug', 'malloc', 'malloc_debug',
                     'mimalloc', 'mimalloc_debug', 'debug'):
            with self.subTest(name):
                script = '''
                    data = [{i: str(i)} for i in range(10000)]
                    first = sys.refmap_snapshot()
                    del data
                    second = sys.refmap_snapshot()
                    diff = sys.refmap_diff(first, second, file=None)
                    check_diff(diff)
                    assert diff.total < -30000, diff.total
                    check_exact()
                    check_true()
                    '''
                try:
                    run_script(script, PYTHONMALLOC=name)
                except AssertionError as e:
                    if 'unknown PYTHONMALLOC' not in str(e):
                        raise
                    print(f'skipped: no allocator {name} in this build',
                          file=sys.stderr)


class InfoTest(MapTestCase):

    FIELDS = ('mapped', 'unattributed', 'total', 'objects', 'blocks', 'bytes',
              'untracked', 'overflowed')

    def test_fields(self):
        info = sys.refmap_info()
        self.assertEqual(type(info).__name__, 'refmap_info')
        self.assertEqual(type(info).__match_args__, self.FIELDS)
        self.assertEqual(info.n_fields, len(self.FIELDS))
        self.assertEqual(info.n_sequence_fields, len(self.FIELDS))
        self.assertEqual(info.n_unnamed_fields, 0)
        self.assertEqual(tuple(info), tuple(getattr(info, name)
                                            for name in self.FIELDS))
        for value in info:
            self.assertIs(type(value), int)
        self.assertRegex(repr(info), r'^sys\.refmap_info\(mapped=\d+, ')

    def test_own(self):
        # With one map in the process it is the same.
        run_script('''
            info = sys.refmap_info(True)
            assert type(info) is type(sys.refmap_info()), info
            assert info.mapped + info.unattributed == info.total, info
            assert info.objects > 1000, info
            ''')

    @support.requires_docstrings
    def test_docstring_says_what_is_exact(self):
        doc = ' '.join(sys.refmap_info.__doc__.split())
        self.assertIn('unless an interpreter with a GIL of its own runs meanwhile',
                      doc)

    def test_plausible(self):
        info = sys.refmap_info()
        self.assertEqual(info.untracked, 0)
        self.assertGreater(info.mapped, info.objects)
        self.assertGreater(info.objects, 1000)
        self.assertGreater(info.blocks, 10)
        self.assertGreater(info.bytes, info.objects * 8)

    def test_total_is_gettotalrefcount(self):
        # Each call leaves new objects and takes none away.
        before = sys.gettotalrefcount()
        info = sys.refmap_info()
        after = sys.gettotalrefcount()
        self.assertLessEqual(before, info.total)
        self.assertLessEqual(info.total, after)

    def test_objects_follow_the_heap(self):
        before = sys.refmap_info().objects
        kept = [object() for _ in range(1000)]
        between = sys.refmap_info().objects
        del kept
        after = sys.refmap_info().objects
        self.assertAlmostEqual(between - before, 1001, delta=50)
        self.assertAlmostEqual(after - before, 0, delta=50)

    def test_empty_blocks_are_given_back(self):
        # When blocks for as many other pages are needed.
        out, _ = run_script('''
            def large(): return [tuple([i] * 100) for i in range(40_000)]
            def small(): return [[] for _ in range(600_000)]
            data = large()
            one = sys.refmap_info().blocks
            del data
            data = small()
            both = sys.refmap_info().blocks
            check_exact()
            check_true()
            print(one, both)
            del data
            for make in large, small, large, small, large:
                data = make()
                del data
                check_exact()
            check_true()
            print(one, sys.refmap_info().blocks)
            ''', PYTHONMALLOC='pymalloc')
        for line in out.splitlines():
            one, both = map(int, line.split())
            self.assertGreater(one, 2000)
            self.assertLess(both, 1.5 * one)

    def test_what_is_not_touched_is_packed(self):
        # Large objects, so that a page has few; they are told from each other
        # afterwards, and from what is born at their addresses.
        run_script('''
            data = [tuple([i] * 60) for i in range(10_000)]
            before = sys.refmap_snapshot()
            first = sys.refmap_info()
            _testrefmap.sweep()
            _testrefmap.sweep()
            second = sys.refmap_info()
            assert first.blocks > 1000, first
            assert second.blocks >= first.blocks, (first, second)
            assert second.bytes < first.bytes / 2, (first, second)
            check_exact()
            check_true()
            assert len(sys.refmap_diff(before, file=None).living) < 100
            again = data[::2]
            diff = sys.refmap_diff(before, file=None)
            check_diff(diff)
            assert len(diff.living) >= 5000, diff
            del data[::2], again
            diff = sys.refmap_diff(before, file=None)
            check_diff(diff)
            died = [r for r in diff.died if r[1] == 'tuple']
            assert len(died) == 5000, diff
            check_exact()
            check_true()
            ''')

    def test_blocks_are_packed_in_time(self):
        # Nobody asks for it but the heap, which grows.
        out, _ = run_script('''
            data = [bytes(1000) for i in range(200_000)]
            print(sys.refmap_info().bytes / sys.refmap_info().blocks)
            check_exact()
            check_true()
            ''')
        self.assertLess(float(out), 1024)


class CountTest(MapTestCase):

    def test_count_is_refcount(self):
        x = object()
        y = [x] * 10
        for op in (x, y, CountTest, self, sys.stderr, {1: 2}, 1.5, 2**70, '\u1234x'):
            with self.subTest(type(op)):
                self.assertEqual(sys.refmap_count(op), sys.getrefcount(op))

    def test_count_follows(self):
        x = object()
        before = sys.refmap_count(x)
        y = [x] * 7
        self.assertEqual(sys.refmap_count(x), before + 7)
        y.clear()
        self.assertEqual(sys.refmap_count(x), before)

    def test_more_than_a_count_can_hold(self):
        # By additions, as of a list times a number, and by single steps.
        for limit, edge in (2**31 - 1, 1), (-2**29, -1):
            with self.subTest(limit):
                _, err = run_script(f'''
                    limit, edge = {limit}, {edge}
                    ''' + '''
                    op = object()
                    start = sys.refmap_count(op)
                    before = sys.refmap_info()
                    snapshot = sys.refmap_snapshot()
                    _testrefmap.add_references(op, limit - start)
                    check_exact()
                    assert sys.refmap_info().overflowed in (0, 1)
                    first = sys.refmap_info().overflowed
                    for n in 3, 1000:
                        _testrefmap.incref_often(op, edge * n)
                        check_exact()
                    _testrefmap.add_references(op, edge * 2**33)
                    check_exact()
                    info = sys.refmap_info()
                    more = info.unattributed - before.unattributed
                    assert abs(info.overflowed - first - 2**33 - 1003) < 50, info
                    assert abs(more * edge - 2**33 - 1003) < 50, (before, info)
                    diff = sys.refmap_diff(snapshot, file=None)
                    check_diff(diff)
                    assert abs(diff.total - limit - edge * 2**33) < 2000, diff
                    # And back: what went to the unattributed stays there.
                    _testrefmap.add_references(op, -limit)
                    check_exact()
                    ''')
                # Said once.
                self.assertEqual(err, 'refmap: more references to one object than '
                                      'the map can count: some are unattributed\n')

    def test_two_counts_in_a_slot(self):
        # Neither object was born; so both words are counts, and their sum is more
        # than one could hold.
        run_script('''
            even = _testrefmap.arena_open(1)
            odd = even + 8
            _testrefmap.arena_by_hand(even)
            [op] = _testrefmap.arena_repeat(even, 1)
            many = 2**31 - 1000
            _testrefmap.add_references(op, many)

            def add_to_odd(n, refcnt):
                # Its ob_refcnt is where the other one has its type.
                type_of_even = _testrefmap.arena_poke(odd, refcnt)
                _testrefmap.arena_add(odd, n)
                _testrefmap.arena_poke(odd, type_of_even)

            add_to_odd(2000, 1)
            assert sys.refmap_info().mapped > many + 2000, sys.refmap_info()
            check_exact()
            add_to_odd(-2000, 2001)
            _testrefmap.add_references(op, -many)
            check_exact()
            ''')

    def test_immortal_objects_have_none(self):
        for op in (None, True, 7, '', (), ..., int, object):
            self.assertEqual(sys.refmap_count(op), 0, op)


class NoBool:

    def __bool__(self):
        1 / 0


class SignatureTest(MapTestCase):

    SIGNATURES = {
        'refmap_info': '(own=False, /)',
        'refmap_count': '(object, /)',
        'refmap_verify': '()',
        'refmap_snapshot': '(*, actual=False)',
    }

    @support.requires_docstrings
    def test_signatures(self):
        for name, signature in self.SIGNATURES.items():
            self.assertEqual(str(inspect.signature(getattr(sys, name))),
                             signature)
        parameters = inspect.signature(sys.refmap_diff).parameters
        self.assertEqual(list(parameters), ['before', 'after', 'file', 'actual', 'limit'])
        for name in 'file', 'actual', 'limit':
            self.assertEqual(parameters[name].kind,
                             inspect.Parameter.KEYWORD_ONLY)

    @support.requires_docstrings
    def test_docstrings(self):
        for name in *self.SIGNATURES, 'refmap_diff':
            lines = getattr(sys, name).__doc__.splitlines()
            self.assertGreater(len(lines), 2, name)
            self.assertTrue(lines[0].endswith('.'), name)
        self.assertIn('ValueError', sys.refmap_diff.__doc__)
        self.assertIn('MemoryError', sys.refmap_snapshot.__doc__)
        for name in InfoTest.FIELDS:
            self.assertIn(name, sys.refmap_info.__doc__)

    def test_argument_errors(self):
        for name in 'refmap_verify', 'refmap_snapshot':
            with self.subTest(name), self.assertRaises(TypeError):
                getattr(sys, name)(1)
        with self.assertRaises(TypeError):
            sys.refmap_info(True, True)
        with self.assertRaises(TypeError):
            sys.refmap_info(own=True)
        with self.assertRaises(ZeroDivisionError):
            sys.refmap_info(NoBool())
        with self.assertRaises(TypeError):
            sys.refmap_count()
        with self.assertRaises(TypeError):
            sys.refmap_count(1, 2)

    def test_arguments_of_diff(self):
        a = sys.refmap_snapshot()
        for wrong in 1, 'x', object(), a.total, sys.refmap_diff(a, a, file=None):
            for args in (wrong,), (None, wrong), (a, wrong), (wrong, a):
                with self.assertRaisesRegex(TypeError, 'must be a snapshot'):
                    sys.refmap_diff(*args, file=None)
        with self.assertRaises(TypeError):
            sys.refmap_diff(a, a, None)
        with self.assertRaises(TypeError):
            sys.refmap_diff(a, a, wrong=None)
        with self.assertRaises(TypeError):
            sys.refmap_diff(a, before=a)
        with self.assertRaisesRegex(TypeError, 'before.*not int'):
            sys.refmap_diff(1)
        with self.assertRaisesRegex(TypeError, 'after.*not float'):
            sys.refmap_diff(a, 1.0)

    def test_no_baseline(self):
        run_script('''
            for args in (), (None,), (None, None):
                try:
                    sys.refmap_diff(*args)
                except ValueError as e:
                    assert 'refmap_snapshot' in str(e), e
                else:
                    raise AssertionError('no ValueError')
            check_exact()
            sys.refmap_snapshot()
            sys.refmap_diff()
            ''')


class VerifyTest(MapTestCase):

    def test_healthy(self):
        self.assertEqual(sys.refmap_verify(), [])

    def test_finding(self):
        run_script('''
            class Victim: pass
            victim = Victim()
            count = sys.refmap_count(victim)
            _testrefmap.write_refcnt(victim, 5)
            found = sys.refmap_verify()
            _testrefmap.write_refcnt(victim, -5)
            assert len(found) == 1, found
            address, name, mapped, refcnt = found[0]
            assert (address, name) == (id(victim), 'Victim'), found
            assert refcnt == mapped + 5, found
            check_exact()
            check_true()
            ''')

    def test_nothing_counted_but_alive(self):
        # An inlined incref of a stock binary, and a decref that is counted.
        run_script('''
            class Victim: pass
            victim = Victim()
            address = id(victim)
            _testrefmap.foreign_incref(victim)
            del victim
            found = sys.refmap_verify()
            assert found == [(address, 'Victim', 0, 1)], found
            check_exact()
            _testrefmap.release(address)
            check_exact()
            check_true()
            ''')

    def test_free_lists(self):
        # What lies there is dead, though its memory is not given back.
        run_script('''
            def floats(): return [i + 0.5 for i in range(1000)]
            def lists(): return [[i] for i in range(1000)]
            def tuples(): return [(i, i) for i in range(1000)]
            def dicts(): return [{i: i} for i in range(1000)]
            def ranges(): return [iter(range(i)) for i in range(1000)]
            def methods(): return [[].append for i in range(1000)]
            async def coroutine(): pass
            def slices(): return [slice(i) for i in range(1000)]
            for make in floats, lists, tuples, dicts, ranges, methods, slices:
                make()
                check_exact()
                check_true()
                before = sys.refmap_snapshot()
                kept = make()
                check_diff(sys.refmap_diff(before, file=None))
                check_true()
                del kept
            ''')

    def test_findings_are_ordered(self):
        # By the size of the difference, then type, then address.
        run_script('''
            class A: pass
            class B: pass
            objects = [cls() for cls in (A, B) for _ in range(20)]
            for i, op in enumerate(objects):
                _testrefmap.write_refcnt(op, i % 4 + 1)
            found = sys.refmap_verify()
            for i, op in enumerate(objects):
                _testrefmap.write_refcnt(op, -(i % 4 + 1))
            keys = [(-abs(r - m), t, a) for a, t, m, r in found]
            assert len(keys) == 40, found
            assert keys == sorted(keys), found
            check_true()
            ''')


if __name__ == '__main__':
    unittest.main()
