"""What an event log has of programs whose births and deaths are known."""

import asyncio
import gc
import os
import pathlib
import sys
import threading
import traceback
import types
import unittest
import weakref

import refmap
from refmap.log import events, format
from test.support import import_helper, os_helper, threading_helper

from .log_case import LogTestCase, is_object, read, tell

_testrefmap = import_helper.import_module('_testrefmap')


class A:
    pass


class B:
    pass


class LifetimeTests(LogTestCase):

    def log(self, *include, **options):
        options.setdefault('rss', False)
        return refmap.EventLog(self.path, include=include, **options)

    def test_one_object(self):
        with self.log(A) as log:
            a = A()
            del a
        self.assertEqual(self.tell(), ['NEW A 1', 'DEL A 1'])
        self.assertEqual((log.count_new, log.count_del), (1, 1))
        self.assertEqual(log.live_counts(), {'A': 0})
        new, delete, _ = self.read()
        self.assertEqual((new.address, new.birth), (delete.address, delete.birth))
        self.assertNotEqual(new.birth, 0)

    def test_births_are_numbered(self):
        with self.log(A):
            kept = [A() for _ in range(100)]
            kept.reverse()
            del kept
        births = [event.birth for event in self.read()[:-1]]
        self.assertEqual(births[:100], sorted(set(births[:100])))
        self.assertCountEqual(births[:100], births[100:])

    def test_last_births(self):
        # They have 28 bits, and start again.
        self.script('''
class A: pass
_testrefmap.set_last_birth((1 << 28) - 4)
with refmap.EventLog(path, include=A):
    kept = [A() for _ in range(9)]
    del kept
''')
        found = self.read()[:-1]
        self.assertEqual(len(found), 18)
        self.assertEqual({e.birth for e in found[:9]}, {e.birth for e in found[9:]})
        self.assertEqual(len({e.birth for e in found}), 9)

    def test_address_used_again(self):
        def work():
            for _ in range(50):
                A()
        with self.log(A):
            work()
        self.assertEqual([text.split()[0] for text in self.tell()],
                         ['NEW', 'DEL'] * 50)
        found = self.read()[:-1]
        self.assertEqual(self.lines_of(work), [2] * 100)
        self.assertEqual(len({event.birth for event in found}), 50)

    def test_lines(self):
        def work():
            a = A()
            b = [A() for _ in range(2)]
            del a
            return b

        def outer():
            work()

        with self.log(A):
            outer()
        self.assertEqual(self.lines_of(work), [1, 2, 2, 3])
        # Of the death of what it returned.
        self.assertEqual(self.lines_of(outer), [1, 1])

    def test_long_functions(self):
        # Offsets and lines of more than a byte each.
        names = [f'a = A()\n{chr(10) * 300}a = None' for _ in range(200)]
        namespace = {'A': A}
        code = compile('\n'.join(names), 'long.py', 'exec')
        with self.log(A):
            exec(code, namespace)
        expected = []
        for i in range(200):
            expected += [302 * i + 1, 302 * i + 302]
        lines = [e.place.where.line for e in self.read()[:-1]]
        self.assertEqual(lines, expected)

    def test_stacks(self):
        def recurse(n):
            if n:
                return recurse(n - 1)
            return A()

        for stack in 0, 1, 2, 5, 64:
            with self.subTest(stack=stack):
                with self.log(A, stack=stack):
                    recurse(80)
                place = self.read()[0].place
                self.assertEqual(len(place.python), stack)
                functions = [where.function for where in place.stack()]
                self.assertEqual(functions, [recurse.__qualname__] * stack)
                if stack == 0:
                    self.assertEqual(place.returns, ())

    def test_short_stacks(self):
        with self.log(A, stack=64):
            A()
        functions = [where.function.rpartition('.')[2]
                     for where in self.read()[0].place.stack()]
        stack = traceback.extract_stack()[::-1]
        self.assertEqual(functions, [frame.name for frame in stack][:64])

    def test_threads_of_python(self):
        found = {}

        def work(name):
            found[name] = threading.get_native_id()
            for _ in range(20):
                type(name, (A,), {})()
                barrier.wait()

        names = [f'Own{i}' for i in range(4)]
        barrier = threading.Barrier(4)
        with self.log('Own*'):
            threads = [threading.Thread(target=work, args=(n,)) for n in names]
            with threading_helper.start_threads(threads):
                pass
        events = [e for e in self.read() if is_object(e)]
        self.assertEqual(len(events), 4 * 20 * 2)
        for event in events:
            self.assertEqual(event.thread.native, found[event.type.name])
        self.assertEqual(len({e.thread.number for e in events}), 4)
        self.assertEqual({e.thread.interpreter for e in events}, {0})

    def test_threads_count_exactly(self):
        def work():
            for _ in range(3000):
                A()
        with self.log(A, builtins=True) as log:
            threads = [threading.Thread(target=work) for _ in range(4)]
            with threading_helper.start_threads(threads):
                pass
        kinds = [e.kind for e in self.read() if is_object(e)]
        self.assertEqual((log.count_new, log.count_del), (12000, 12000))
        self.assertEqual(kinds.count(format.NEW), 12000)
        self.assertEqual(kinds.count(format.DEL), 12000)

    def test_live_counts(self):
        before = [A() for _ in range(7)]
        with self.log(A) as log:
            more = [A() for _ in range(3)]
            del before[2:]
            self.assertEqual(log.live_counts()['A'], 5)
        self.assertEqual([e.live for e in self.read()[:-1]],
                         [8, 9, 10, 9, 8, 7, 6, 5])
        del more

    def test_type_is_met_late(self):
        before = [A() for _ in range(7)]
        with self.log(A, B):
            B()
            del before[0]
        self.assertEqual([e.live for e in self.read()[:-1]], [1, 0, 6])


class KindsOfDeathTests(LogTestCase):
    """Objects that do not just come and go."""

    def log(self, *include, **options):
        return refmap.EventLog(self.path, include=include, rss=False, **options)

    def test_resurrection(self):
        kept = []

        class R:
            def __del__(self):
                kept.append(self)

        with self.log(R) as log:
            R()
            self.assertEqual(log.live_counts(), {'R': 1})
            kept.clear()        # a finaliser is called once
        self.assertEqual(self.tell(),
                         ['NEW R 1', 'DEL R 1', 'NEW R 3', 'DEL R 3'])
        self.assertEqual(len({e.birth for e in self.read()[:-1]}), 1)
        self.assertEqual(log.live_counts(), {'R': 0})

    def test_type_resurrects(self):
        kept = []

        class Meta(type):
            def __del__(cls):
                kept.append(cls)

        with self.log('T'):
            Meta('T', (), {})()
            gc.collect()
            kept.pop()()
            gc.collect()
        self.assertEqual([text[:5] for text in self.tell()],
                         ['NEW T', 'DEL T'] * 2)

    def test_cycles(self):
        with self.log(A):
            for _ in range(3):
                a, b = A(), A()
                a.b, b.a = b, a
                del a, b
            gc.collect()
        told = self.tell()
        self.assertEqual([text[:3] for text in told],
                         ['NEW'] * 6 + ['DEL'] * 6)
        self.assertCountEqual([text[4:] for text in told[:6]],
                              [text[4:] for text in told[6:]])

    def test_garbage_of_the_log(self):
        # By the end it was collected.
        gc.collect()
        for collect, expected in (2, 1), (None, 0):
            with self.subTest(collect=collect):
                with self.log(A, collect=collect) as log:
                    a = A()
                    a.a = a
                    del a
                self.assertEqual(log.count_del, expected)
                gc.collect()

    def test_class_assignment(self):
        # It is born as one and dies as another.
        with self.log(A, B) as log:
            a = A()
            a.__class__ = B
            del a
        self.assertEqual(self.tell(), ['NEW A 1', 'DEL B 1'])
        self.assertEqual(len({e.birth for e in self.read()[:-1]}), 1)
        self.assertEqual(log.live_counts(), {'A': 1, 'B': -1})

    def test_renamed_types(self):
        class Old:
            pass

        before = [Old() for _ in range(3)]
        with refmap.EventLog(self.path, rss=False, exclude='Log*') as log:
            before.append(Old())
            Old.__name__ = 'New'
            before.append(Old())
            before.clear()
        told = [text for text in self.tell() if text.split()[1] in ('Old', 'New')]
        self.assertEqual([text[:7] for text in told],
                         ['NEW Old', 'NEW New'] + ['DEL New'] * 5)
        lives = [e.live for e in self.read()
                 if is_object(e) and e.type.name in ('Old', 'New')]
        self.assertEqual(lives, [4, 5, 4, 3, 2, 1, 0])
        self.assertEqual(log.live_counts()['New'], 0)

    def test_resize(self):
        # What moves is deleted, and born with the same birth.
        def work():
            resize(before, after)

        for name in 'bytes', 'tuple', 'str':
            resize = getattr(_testrefmap, f'resize_{name}')
            for before, after in (100, 100_000), (100_000, 100):
                with self.subTest(name, before=before, after=after):
                    with self.log(name):
                        work()
                    found = {}
                    for e in self.read():
                        if is_object(e):
                            found.setdefault(e.birth, []).append(e.kind)
                    self.assertIn([format.NEW, format.DEL] * 2, found.values())

    def test_lists_do_not_move(self):
        def work():
            a = []
            for i in range(1000):
                a.append(i)
            del a
        with self.log(list):
            work()
        self.assertEqual(self.tell_of(work), ['NEW list 1', 'DEL list 1'])

    def test_types_are_objects(self):
        with refmap.EventLog(self.path, include=type, rss=False):
            T = type('T', (), {})
            del T
            gc.collect()
        self.assertEqual(self.tell(), ['NEW type 1', 'DEL type 1'])

    def test_types_at_the_same_address(self):
        # Their names are not mixed up.
        def work():
            for i in range(30):
                type(f'T{i}', (), {})()
                gc.collect()
        with self.log('T*'):
            work()
        names = [text.split()[1] for text in self.tell()]
        self.assertEqual(names, [f'T{i // 2}' for i in range(60)])
        addresses = {e.type.address for e in self.read() if is_object(e)}
        self.assertLess(len(addresses), 30, 'no address was used again')

    def test_code_at_the_same_address(self):
        def work():
            for i in range(30):
                source = '\n' * i + f'def g{i}(): return A()\ng{i}()'
                namespace = {'A': A}
                exec(compile(source, f'file{i}.py', 'exec'), namespace)
                addresses.add(id(namespace[f'g{i}'].__code__))
                namespace.clear()
        addresses = set()
        with self.log(A):
            work()
        found = [e.place.where for e in self.read() if e.kind == format.NEW]
        self.assertEqual(found, [(f'file{i}.py', i + 1, f'g{i}')
                                 for i in range(30)])
        self.assertLess(len(addresses), 30, 'no address was used again')

    def test_code_dies_while_suspended(self):
        def make(i):
            namespace = {'A': A}
            exec(compile(f'def g{i}(): return A()', f'file{i}.py', 'exec'),
                 namespace)
            return namespace[f'g{i}']
        with self.log(A) as log:
            for i in range(20):
                function = make(i)
                function()
                log.suspend()
                del function
                log.resume()
        found = [e.place.where.file for e in self.read() if e.kind == format.NEW]
        self.assertEqual(found, [f'file{i}.py' for i in range(20)])

    def test_generators(self):
        def numbers():
            yield 1
            yield 2

        with self.log(types.GeneratorType):
            for _ in numbers():
                pass
            abandoned = numbers()
            next(abandoned)
            del abandoned
        self.assertEqual(self.tell(), ['NEW generator 1', 'DEL generator 1',
                                       'NEW generator 3', 'DEL generator 3'])

    def test_coroutines(self):
        async def inner():
            await asyncio.sleep(0)
            return A()

        async def outer():
            await asyncio.gather(inner(), inner())

        with self.log(A):
            asyncio.run(outer())
        self.assertEqual([text[:5] for text in self.tell()].count('NEW A'), 2)
        self.assertEqual([text[:5] for text in self.tell()].count('DEL A'), 2)
        self.assertEqual(len(self.lines_of(inner)), 2)
        self.addCleanup(asyncio.set_event_loop_policy, None)

    def test_exceptions(self):
        class Mistake(Exception):
            pass

        def fail():
            raise Mistake

        with self.log(Mistake, types.TracebackType):
            try:
                fail()
            except Mistake:
                pass
        self.assertCountEqual(
            [text.rsplit(' ', 1)[0] for text in self.tell()],
            ['NEW Mistake', 'NEW traceback', 'NEW traceback', 'DEL Mistake',
             'DEL traceback', 'DEL traceback'])

    def test_frames_and_code(self):
        def work():
            return sys._getframe()

        with self.log(types.FrameType, types.CodeType):
            frame = work()
            del frame
            exec('1')
        # A function that is left needs the frame that it goes back to.
        self.assertEqual(self.tell(), ['NEW frame 1', 'NEW frame 2', 'DEL frame 1',
                                       'NEW code 4', 'DEL code 4'])

    def test_weakrefs_and_finalisers(self):
        called = []
        with self.log(A, weakref.ref, weakref.finalize):
            a = A()
            ref = weakref.ref(a, called.append)
            weakref.finalize(a, called.append, None)
            del a
            called.clear()
            del ref
        told = self.tell()
        self.assertEqual(told.count('NEW A 1'), 1)
        self.assertEqual(told.count('DEL A 1'), 1)
        kinds = [text.rsplit(' ', 1)[0] for text in told]
        for name in 'weakref.ReferenceType', 'finalize':
            self.assertEqual(kinds.count(f'NEW {name}'),
                             kinds.count(f'DEL {name}'))

    def test_raise_in_del(self):
        class D:
            def __del__(self):
                A()

        with self.log(A, D):
            D()
        self.assertEqual(self.tell(),
                         ['NEW D 1', 'DEL D 1', 'NEW A 3', 'DEL A 3'])

    def test_deep_deaths(self):
        class Node:
            def __init__(self, next):
                self.next = next

        with self.log(Node):
            node = None
            for _ in range(100_000):
                node = Node(node)
            del node
        self.assertEqual([text[:3] for text in self.tell()],
                         ['NEW'] * 100_000 + ['DEL'] * 100_000)


class SelectionTests(LogTestCase):

    def names(self, **options):
        with refmap.EventLog(self.path, rss=False, **options):
            A(), B(), [1], {2: 3}, bytearray(4)
        return {e.type.name for e in self.read() if is_object(e)} - {'EventLog'}

    def test_default(self):
        self.assertEqual(self.names(), {'A', 'B'})

    def test_include(self):
        self.assertEqual(self.names(include=A), {'A'})
        self.assertEqual(self.names(include=[A, bytearray]), {'A', 'bytearray'})
        self.assertEqual(self.names(include='B'), {'B'})
        self.assertEqual(self.names(include=['?', 'bytea*']),
                         {'A', 'B', 'bytearray'})
        self.assertEqual(self.names(include='[!A]'), {'B'})
        self.assertEqual(self.names(include='NONE'), set())

    def test_exclude(self):
        self.assertEqual(self.names(exclude=A), {'B'})
        self.assertEqual(self.names(include=[A, B], exclude='B'), {'A'})
        self.assertEqual(self.names(exclude='*'), set())

    def test_builtins(self):
        found = self.names(builtins=True)
        self.assertLessEqual({'A', 'B', 'bytearray', 'dict'}, found)

    def test_subclasses_are_others(self):
        class C(A):
            pass
        with refmap.EventLog(self.path, include=A):
            C()
        self.assertEqual(self.tell(), [])

    def test_same_name(self):
        other = type('A', (), {})
        with refmap.EventLog(self.path, include=other):
            A()
            other()
        self.assertEqual(len(self.tell()), 2)

    def test_pattern_sees_types_that_come_later(self):
        with refmap.EventLog(self.path, include='Late'):
            type('Late', (), {})()
        self.assertEqual(self.tell(), ['NEW Late 1', 'DEL Late 1'])

    def test_count_only(self):
        with refmap.EventLog(self.path, include=A, count_only=True) as log:
            kept = [A() for _ in range(5)]
            kept.pop()
            log.message('nowhere')
            log.flush()
            log.suspend()
            A()
            log.resume()
            self.assertEqual((log.count_new, log.count_del), (5, 1))
        self.assertEqual(log.live_counts(), {'A': 4})
        self.assertIsNone(log.path)
        self.assertEqual(self.files(), [])

    def test_bad_arguments(self):
        for bad in ({'stack': -1}, {'stack': 65}, {'stack': '1'}, {'rss': -1},
                    {'rss': 'x'}, {'rss': float('nan')}, {'rss': float('inf')},
                    {'collect': 3}):
            with self.subTest(bad), self.assertRaises(ValueError):
                refmap.EventLog(self.path, **bad)
        for bad in {'include': [1]}, {'exclude': [None]}, {'include': 3}:
            with self.subTest(bad), self.assertRaises(TypeError):
                refmap.EventLog(self.path, **bad)
        self.assertEqual(self.files(), [])


class MemoryTests(LogTestCase):

    def grow(self, rss):
        with refmap.EventLog(self.path, include=A, rss=rss):
            A()
            data = bytearray(b'x') * (32 << 20)
            A()
            del data
            A()
        return [e.rss for e in self.read() if e.kind == format.NEW]

    def test_not_wanted(self):
        self.assertEqual(self.grow(False), [None] * 3)

    def test_exactly(self):
        first, second, third = self.grow(0)
        self.assertGreater(first, 1 << 20)
        self.assertGreater(second - first, 30 << 20)
        self.assertLess(third - second, -(30 << 20))

    def test_default(self):
        first, second, _ = self.grow(True)
        self.assertGreater(second - first, 30 << 20)

    def test_old_figures(self):
        first, second, third = self.grow(1000)
        self.assertEqual(first, second)
        self.assertEqual(first, third)


class SwitchTests(LogTestCase):

    def log(self, name='x.log', **options):
        options.setdefault('include', A)
        return refmap.EventLog(self.file(name), rss=False, **options)

    def test_suspend(self):
        kept = []
        with self.log() as log:
            kept.append(A())
            log.suspend()
            kept.append(A())
            log.suspend()
            kept.pop(0)
            log.resume()
            log.resume()
            kept.append(A())
        self.assertEqual(self.tell(), ['NEW A 1', 'SUSPEND suspend()',
                                       'RESUME resume()', 'NEW A 4'])
        self.assertEqual((log.count_new, log.count_del), (2, 0))

    def test_messages(self):
        with self.log(message='of the header') as log:
            log.message('one')
            A()
            log.suspend()
            log.message('two \N{SNOWMAN}\N{PILE OF POO}')
            log.message('\ud800')
            log.message('')
            log.message(3)
        self.assertEqual(
            self.tell(), ['MESSAGE one', 'NEW A 2', 'DEL A 2',
                          'SUSPEND suspend()',
                          'MESSAGE two \N{SNOWMAN}\N{PILE OF POO}',
                          'MESSAGE \\ud800', 'MESSAGE', 'MESSAGE 3'])

    def test_long_messages(self):
        with self.log(message='m' * 100_000) as log:
            for i in range(20):
                log.message(str(i) * 30_000)
        texts = [e.text for e in self.read()[:-1]]
        self.assertEqual(texts, [str(i) * 30_000 for i in range(20)])

    def test_nested(self):
        with self.log('outer'):
            A()
            with self.log('inner'):
                A()
                with self.log('innermost'):
                    A()
            A()
        outer, inner, innermost = (self.tell(self.file(name)) for name in
                                   ('outer', 'inner', 'innermost'))
        self.assertEqual(
            outer, ['NEW A 1', 'DEL A 1',
                    'SUSPEND another log begins: ' + self.file('inner'),
                    'RESUME another log ended: ' + self.file('inner'),
                    'NEW A 5', 'DEL A 5'])
        self.assertEqual(
            inner, ['NEW A 1', 'DEL A 1',
                    'SUSPEND another log begins: ' + self.file('innermost'),
                    'RESUME another log ended: ' + self.file('innermost')])
        self.assertEqual(innermost, ['NEW A 1', 'DEL A 1'])

    def test_headers_of_nested(self):
        with self.log('outer'), self.log('inner', message='hello'):
            pass
        with events.Log(self.file('outer')) as outer, \
             events.Log(self.file('inner')) as inner:
            self.assertEqual((outer.header['depth'], inner.header['depth']), (0, 1))
            self.assertEqual(inner.header['serial'], outer.header['serial'] + 1)
            self.assertEqual(inner.header['message'], 'hello')
            self.assertEqual(inner.kind, 'events')

    def test_outer_is_suspended_by_hand(self):
        with self.log('outer') as outer:
            outer.suspend()
            with self.log('inner'):
                A()
            A()
            outer.resume()
            A()
        self.assertEqual(self.tell(self.file('outer')),
                         ['SUSPEND suspend()', 'RESUME resume()', 'NEW A 3',
                          'DEL A 3'])

    def test_outer_is_resumed_within_the_inner(self):
        with self.log('outer') as outer:
            outer.suspend()
            with self.log('inner'):
                outer.resume()      # as soon as it can be
                A()
            A()
        self.assertEqual(self.tell(self.file('inner')), ['NEW A 1', 'DEL A 1'])
        self.assertEqual([text.split()[0] for text in
                          self.tell(self.file('outer'))],
                         ['SUSPEND', 'RESUME', 'NEW', 'DEL'])

    def test_not_nested_properly(self):
        first, second = self.log('first'), self.log('second')
        first.begin()
        A()
        second.begin()
        A()
        first.end()
        A()
        second.end()
        self.assertEqual([text.split()[0] for text in
                          self.tell(self.file('first'))],
                         ['NEW', 'DEL', 'SUSPEND'])
        self.assertEqual([text.split()[0] for text in
                          self.tell(self.file('second'))],
                         ['NEW', 'DEL', 'NEW', 'DEL'])

    def test_used_twice(self):
        log = self.log()
        with log:
            with self.assertRaises(ValueError):
                log.begin()
        with self.assertRaises(ValueError):
            log.begin()
        log.end()       # that is no error
        for call in log.suspend, log.resume, log.flush:
            with self.assertRaises(ValueError):
                call()
        with self.assertRaises(ValueError):
            log.message('late')

    def test_exception_leaves(self):
        with self.assertRaises(ZeroDivisionError):
            with self.log():
                A()
                1 / 0
        self.assertEqual(self.tell(), ['NEW A 1', 'DEL A 1'])

    def test_own_doings_are_no_events(self):
        with self.log(include=None, builtins=True) as log:
            log.suspend()
            log.resume()
        functions = {e.place.where.function for e in self.read() if is_object(e)}
        self.assertLessEqual(functions, {
            self.test_own_doings_are_no_events.__qualname__, 'Log.begin',
            'Log.__enter__', 'Log.__exit__', 'Log.end', 'Log._is_active',
            'Log.suspend', 'Log.resume', 'EventLog._before', 'Log._started', ''})

    def test_flush(self):
        with self.log() as log:
            A()
            log.flush()
            self.assertEqual(tell(read(self.path)), ['NEW A 1', 'DEL A 1'])

    def test_default_name(self):
        with os_helper.change_cwd(self.directory):
            with refmap.EventLog(include=A) as outer:
                with refmap.EventLog(include=A) as inner:
                    A()
        self.assertEqual(len(self.files()), 2)
        version = '.'.join(map(str, sys.version_info[:3]))
        pattern = r'\d{8}_\d{6}_\d+_P%d_O%d_PY%s\.refmaplog\Z'
        for depth, log in enumerate((outer, inner)):
            self.assertRegex(os.path.basename(log.path),
                             pattern % (os.getpid(), depth, version))
        self.assertEqual(self.tell(inner.path), ['NEW A 1', 'DEL A 1'])

    def test_path_like(self):
        for path in pathlib.Path(self.path), self.path.encode():
            with refmap.EventLog(path, include=A):
                A()
            self.assertEqual(len(self.tell()), 2)

    def test_odd_names(self):
        for name in 'with space', 'new\nline', 'caf\xe9', 'undecodable\udcff':
            with self.subTest(ascii(name)):
                with self.log(name):
                    A()
                self.assertEqual(len(self.tell(self.file(name))), 2)

    def test_names_of_the_program(self):
        # Long ones, and those that no UTF-8 has.
        for name in 'x' * 5000, '\ud800', 'caf\xe9' * 200:
            with self.subTest(ascii(name[:9])):
                namespace = {'A': A}
                code = compile('def f(): return A()', 'f.py', 'exec')
                code = code.replace(co_filename=name + '.py')
                exec(code, namespace)
                function = namespace['f']
                function.__code__ = function.__code__.replace(
                    co_name=name, co_qualname=name, co_filename=name)
                with self.log():
                    function()
                where = self.read()[0].place.where
                self.assertTrue(where.file and where.function)
                self.assertEqual(where.line, 1)


class DecoratorTests(LogTestCase):

    def test_function(self):
        @refmap.EventLog(self.path, include=A)
        def work(n, *, more=0):
            """Its text."""
            for _ in range(n + more):
                A()
            return n

        self.assertEqual(work(2, more=1), 2)
        self.assertEqual(work(1), 1)
        self.assertEqual(work.__doc__, 'Its text.')
        self.assertEqual(self.files(), ['x.log', 'x.log.2'])
        self.assertEqual(len(self.tell()), 6)
        self.assertEqual(len(self.tell(self.path + '.2')), 2)

    def test_recursion(self):
        @refmap.EventLog(self.path, include=A)
        def work(n):
            A()
            if n:
                work(n - 1)

        work(1)
        self.assertEqual([text.split()[0] for text in self.tell()],
                         ['NEW', 'DEL', 'SUSPEND', 'RESUME'])
        self.assertEqual(self.tell(self.path + '.2'), ['NEW A 1', 'DEL A 1'])

    def test_generator(self):
        @refmap.EventLog(self.path, include=A)
        def work():
            A()
            got = yield 1
            A()
            return got

        generator = work()
        self.assertEqual(next(generator), 1)
        with self.assertRaises(StopIteration) as caught:
            generator.send('it')
        self.assertEqual(caught.exception.value, 'it')
        self.assertEqual(len(self.tell()), 4)

    def test_coroutine(self):
        @refmap.EventLog(self.path, include=A)
        async def work():
            await asyncio.sleep(0)
            A()
            return 3

        self.addCleanup(asyncio.set_event_loop_policy, None)
        self.assertEqual(asyncio.run(work()), 3)
        self.assertEqual(len(self.tell()), 2)

    def test_interleaved_coroutines(self):
        # Whoever began last has the events.
        @refmap.EventLog(self.path, include=A)
        async def work(n):
            A()
            await asyncio.sleep(0)
            A()

        async def main():
            await asyncio.gather(work(0), work(1), work(2))

        self.addCleanup(asyncio.set_event_loop_policy, None)
        asyncio.run(main())
        self.assertEqual(self.files(), ['x.log', 'x.log.2', 'x.log.3'])
        told = [text for name in self.files()
                for text in self.tell(self.file(name))]
        kinds = [text.split()[0] for text in told]
        self.assertEqual(kinds.count('NEW'), 6)
        self.assertEqual(kinds.count('DEL'), 6)

    def test_exception(self):
        @refmap.EventLog(self.path, include=A)
        def work():
            A()
            raise KeyError

        for _ in range(2):
            with self.assertRaises(KeyError):
                work()
        self.assertEqual(self.files(), ['x.log', 'x.log.2'])


if __name__ == '__main__':
    unittest.main()
