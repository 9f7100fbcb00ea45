"""Profile and Trace: calls and lines of programs that are known."""

import asyncio
import sys
import unittest

import refmap
from refmap.log import format
from test import support
from test.support import import_helper, threading_helper

from .log_case import LogTestCase

TOOLS = range(6)


class CallsTestCase(LogTestCase):

    def setUp(self):
        super().setUp()
        self.tools = [sys.monitoring.get_tool(tool) for tool in TOOLS]

    def tearDown(self):
        self.assertEqual([sys.monitoring.get_tool(tool) for tool in TOOLS],
                         self.tools)
        super().tearDown()

    def profile(self, **options):
        return refmap.Profile(self.path, **{'d_rss_trigger': 0} | options)

    def trace(self, **options):
        return refmap.Trace(self.path, **{'d_rss_trigger': 0} | options)

    def told(self, path=None):
        """The events in functions of this file, without what encloses their names."""
        return [text.replace(f'{type(self).__name__}.{self._testMethodName}', '')
                .replace('.<locals>.', '') for text in self.tell(path)]

    def within(self, name, path=None):
        """The events between the call of a function and its return."""
        told = self.told(path)
        first = told.index(f'CALL {name}')
        last = max(i for i, text in enumerate(told)
                   if text in (f'RETURN {name}', f'RAISE {name}'))
        return told[first:last + 1]


class ProfileTests(CallsTestCase):

    def test_calls(self):
        def inner(n):
            return abs(n)

        def work():
            inner(1)
            inner(2)
            return len([])

        with self.profile():
            work()
        call = ['CALL inner', 'C_CALL inner abs', 'C_RETURN inner abs',
                'RETURN inner']
        self.assertEqual(self.within('work'), [
            'CALL work', *call, *call, 'C_CALL work len', 'C_RETURN work len',
            'RETURN work'])

    def test_own_calls_are_no_events(self):
        with self.profile():
            pass
        self.assertEqual([text for text in self.told() if 'Log.' in text], [])

    def test_lines_of_calls(self):
        def inner():
            pass

        def work():

            inner()

            return 3

        with self.profile():
            work()
        self.assertEqual(self.lines_of(work), [0, 4])
        self.assertEqual(self.lines_of(inner), [0, 1])

    def test_methods_and_types(self):
        class C:
            def method(self):
                return [].append

        def work():
            C().method()(3)
            'a'.join('b')
            int('3')
            dict.fromkeys('ab')

        with self.profile():
            work()
        calls = [text for text in self.within('work') if text.startswith('C_CALL')]
        self.assertEqual(calls, ['C_CALL work C', 'C_CALL work append',
                                 'C_CALL work join', 'C_CALL work int',
                                 'C_CALL work fromkeys'])

    def test_exceptions(self):
        def fail():
            int('x')

        def work():
            try:
                fail()
            except ValueError:
                pass

        with self.profile():
            work()
        self.assertEqual(self.within('work'), [
            'CALL work', 'CALL fail', 'C_CALL fail int', 'C_RAISE fail int',
            'RAISE fail', 'RETURN work'])

    def test_generators(self):
        def numbers():
            yield 1
            yield 2

        def work():
            for _ in numbers():
                pass

        with self.profile():
            work()
        self.assertEqual(self.within('work'), [
            'CALL work',
            'CALL numbers', 'RETURN numbers', 'CALL numbers', 'RETURN numbers',
            'CALL numbers', 'RETURN numbers',
            'RETURN work'])

    def test_thrown_into(self):
        def numbers():
            try:
                yield 1
            except KeyError:
                yield 2

        generator = numbers()
        next(generator)
        with self.profile():
            generator.throw(KeyError)
        self.assertEqual([text for text in self.told() if 'numbers' in text],
                         ['CALL numbers', 'RETURN numbers'])
        generator.close()

    def test_code_at_the_same_address(self):
        addresses = set()

        def work():
            for i in range(30):
                code = compile(f'def g{i}(): pass\ng{i}()', f'file{i}.py', 'exec')
                addresses.add(id(code))
                exec(code, {})
                del code

        with self.profile():
            work()
        found = [e.place.where for e in self.read() if e.kind == format.CALL]
        found = [(where.file, where.function) for where in found
                 if where.function.startswith('g')]
        self.assertEqual(found, [(f'file{i}.py', f'g{i}') for i in range(30)])
        self.assertLess(len(addresses), 30, 'no address was used again')

    def test_types_at_the_same_address(self):
        def work():
            for i in range(30):
                T = type(f'T{i}', (), {})
                addresses.add(id(T))
                T()
                T = None
                support.gc_collect()
        addresses = set()
        with self.profile():
            work()
        names = [e.callable.name for e in self.read()
                 if e.kind == format.C_CALL and e.callable.name.startswith('T')]
        self.assertEqual(names, [f'T{i}' for i in range(30)])
        self.assertLess(len(addresses), 30, 'no address was used again')

    def test_threads(self):
        import threading

        def work():
            for _ in range(200):
                inner()

        def inner():
            pass

        with self.profile():
            threads = [threading.Thread(target=work) for _ in range(4)]
            with threading_helper.start_threads(threads):
                pass
        calls = {}
        for e in self.read():
            if (e.kind in (format.CALL, format.RETURN)
                    and e.place.where.function == inner.__qualname__):
                calls.setdefault(e.thread.number, []).append(e.kind)
        self.assertEqual(list(calls.values()),
                         [[format.CALL, format.RETURN] * 200] * 4)

    def test_references(self):
        def work():
            kept.append([None] * 1000)

        kept = []
        with self.profile(references=True):
            work()
        refs = [e.refs for e in self.read() if e.kind in (format.CALL,
                                                          format.RETURN)
                and e.place.where.function == work.__qualname__]
        self.assertEqual(len(refs), 2)
        # None is immortal; the list, and what is on the stack, is not.
        self.assertLess(abs(refs[1] - refs[0]), 50)

    def test_count(self):
        with self.profile() as log:
            abs(1)
        self.assertEqual(log.count, len(self.tell()))


class TriggerTests(CallsTestCase):

    def grow(self, trigger, **options):
        def small():
            return bytearray(10)

        def large():
            return bytearray(b'x') * (64 << 20)

        def work():
            small()
            kept = large()
            small()
            return kept

        with self.profile(d_rss_trigger=trigger, rss=0, **options):
            work()
        return self.read()[:-1]

    def test_pairs(self):
        found = self.grow(32 << 20)
        # What comes first shows how much there is.
        pair = found[1:3] if found[0].mark == format.NEXT else found[:2]
        self.assertEqual([e.mark for e in pair], [format.PREV, format.NEXT])
        functions = [e.place.where.function.rpartition('.')[2] for e in pair]
        self.assertEqual(functions, ['large', 'large'])
        self.assertEqual([e.kind for e in pair], [format.C_RETURN, format.RETURN])
        self.assertGreater(pair[1].rss - pair[0].rss, 60 << 20)

    def test_page(self):
        found = self.grow(-1)
        changes = [b.rss - a.rss for a, b in zip(found, found[1:])
                   if b.mark == format.NEXT]
        self.assertTrue(changes)
        self.assertGreater(max(changes), 60 << 20)

    def test_all(self):
        found = self.grow(0)
        self.assertEqual({e.mark for e in found}, {0})
        self.assertGreater(len(found), 8)

    def test_without_figures(self):
        found = self.grow(0)
        with self.profile(rss=False):
            abs(1)
        self.assertEqual({e.rss for e in self.read() if hasattr(e, 'rss')}, {None})
        self.assertIsNotNone(found[0].rss)

    def test_lines(self):
        def work():
            small = bytearray(10)
            large = bytearray(b'x') * (64 << 20)
            small = None
            return large

        with self.trace(d_rss_trigger=32 << 20, rss=0):
            work()
        found = [e for e in self.read() if getattr(e, 'mark', 0)]
        first = work.__code__.co_firstlineno
        pairs = [(a, b) for a, b in zip(found, found[1:]) if a.mark == format.PREV]
        self.assertIn((2, 3), [(a.place.where.line - first,
                                b.place.where.line - first) for a, b in pairs])

    def test_bad_arguments(self):
        for kind in refmap.Profile, refmap.Trace:
            for bad in -2, 1.5, None, 'x':
                with self.assertRaises(ValueError):
                    kind(self.path, d_rss_trigger=bad)
        self.assertEqual(self.files(), [])


class TraceTests(CallsTestCase):

    def test_lines(self):
        def work(n):
            total = 0
            for i in range(n):
                total += i

            return total

        with self.trace():
            work(2)
        self.assertEqual(self.lines_of(work), [0, 1, 2, 3, 2, 3, 2, 5, 5])
        self.assertEqual(self.within('work')[0], 'CALL work')
        self.assertEqual(self.within('work').count('LINE work'), 7)

    def test_raise(self):
        def fail():
            1 / 0

        with self.trace():
            with self.assertRaises(ZeroDivisionError):
                fail()
        self.assertEqual(self.within('fail'),
                         ['CALL fail', 'LINE fail', 'RAISE fail'])

    def test_long_function(self):
        source = 'def f():\n' + '\n'.join(
            f'    x{i} = {i}{chr(10) * (i % 3)}' for i in range(500))
        namespace = {}
        exec(compile(source, 'long.py', 'exec'), namespace)
        with self.trace():
            namespace['f']()
        lines = [e.place.where.line for e in self.read()
                 if e.kind == format.LINE and e.place.where.file == 'long.py']
        expected = [2 + n for n, line in enumerate(source.split('\n')[1:]) if line]
        self.assertEqual(lines, expected)

    def test_generators(self):
        def numbers():
            yield 1
            yield 2

        with self.trace():
            list(numbers())
        self.assertEqual(self.lines_of(numbers), [0, 1, 1, 1, 2, 2, 2, 2])


class TogetherTests(CallsTestCase):
    """Several logs, and other tools."""

    def test_all_kinds(self):
        class A:
            pass

        def work():
            return A()

        with refmap.EventLog(self.file('events'), include=A), \
             refmap.Profile(self.file('calls'), d_rss_trigger=0), \
             refmap.Trace(self.file('lines'), d_rss_trigger=0):
            work()
        self.assertEqual(self.told(self.file('events')), ['NEW A 1', 'DEL A 1'])
        self.assertEqual(self.within('work', self.file('calls')),
                         ['CALL work', 'C_CALL work A', 'C_RETURN work A',
                          'RETURN work'])
        self.assertEqual(self.within('work', self.file('lines')),
                         ['CALL work', 'LINE work', 'RETURN work'])

    def test_nested(self):
        def work():
            pass

        with refmap.Profile(self.file('outer'), d_rss_trigger=0):
            work()
            with refmap.Profile(self.file('inner'), d_rss_trigger=0):
                work()
            work()
        outer = [text for text in self.told(self.file('outer'))
                 if 'work' in text or text.startswith(('SUSP', 'RESU'))]
        self.assertEqual([text.split()[0] for text in outer],
                         ['CALL', 'RETURN', 'SUSPEND', 'RESUME', 'CALL', 'RETURN'])
        self.assertEqual(self.within('work', self.file('inner')),
                         ['CALL work', 'RETURN work'])

    def test_suspend(self):
        def work():
            pass

        with self.profile() as log:
            log.suspend()
            work()
            log.resume()
            log.message('here')
            work()
        told = self.told()
        self.assertEqual(told.count('CALL work'), 1)
        self.assertLess(told.index('MESSAGE here'), told.index('CALL work'))

    def test_other_tools(self):
        # One that counts lines, as coverage does, and one that profiles.
        called = []

        def work():
            pass

        for tool in sys.monitoring.COVERAGE_ID, sys.monitoring.PROFILER_ID:
            sys.monitoring.use_tool_id(tool, 'test')
            self.addCleanup(sys.monitoring.free_tool_id, tool)
            sys.monitoring.register_callback(
                tool, sys.monitoring.events.PY_START,
                lambda code, offset: called.append(code.co_name))
            sys.monitoring.set_local_events(tool, work.__code__,
                                            sys.monitoring.events.PY_START)
        self.tools = [sys.monitoring.get_tool(tool) for tool in TOOLS]
        self.addCleanup(setattr, self, 'tools', self.tools)
        with self.profile():
            work()
        self.assertEqual(called, ['work'] * 2)
        self.assertEqual(self.within('work'), ['CALL work', 'RETURN work'])
        work()
        self.assertEqual(called, ['work'] * 4)

    def test_no_tool_is_free(self):
        taken = [tool for tool in TOOLS if sys.monitoring.get_tool(tool) is None]
        for tool in taken:
            sys.monitoring.use_tool_id(tool, 'test')
        try:
            with self.assertRaisesRegex(RuntimeError, 'free'):
                with self.profile():
                    pass
            outer = refmap.EventLog(self.path, include=TogetherTests)
            with outer:
                with self.assertRaises(RuntimeError):
                    self.trace().begin()
        finally:
            for tool in taken:
                sys.monitoring.free_tool_id(tool)
        # A log that could not begin is none.
        with self.profile():
            pass

    def test_disabling(self):
        # Another tool says that it wants no more of an event.
        def work():
            abs(1)

        tool = 3
        sys.monitoring.use_tool_id(tool, 'test')
        try:
            for event in (sys.monitoring.events.PY_START,
                          sys.monitoring.events.LINE):
                sys.monitoring.register_callback(
                    tool, event, lambda *args: sys.monitoring.DISABLE)
            sys.monitoring.set_events(tool, sys.monitoring.events.PY_START
                                      | sys.monitoring.events.LINE)
            with self.trace():
                for _ in range(3):
                    work()
        finally:
            sys.monitoring.set_events(tool, 0)
            sys.monitoring.free_tool_id(tool)
        self.assertEqual([text for text in self.told() if 'work' in text],
                         ['CALL work', 'LINE work', 'RETURN work'] * 3)

    def test_setprofile_and_settrace(self):
        profiled, traced = [], []

        def work():
            return abs(1)

        def trace(frame, event, arg):
            if frame.f_code is work.__code__:
                traced.append(event)
            return trace

        before = sys.getprofile(), sys.gettrace()
        if any(before):
            self.skipTest('somebody profiles or traces')
        with refmap.Profile(self.file('calls'), d_rss_trigger=0), \
             refmap.Trace(self.file('lines'), d_rss_trigger=0):
            sys.setprofile(lambda frame, event, arg: profiled.append(event))
            sys.settrace(trace)
            work()
            sys.settrace(None)
            sys.setprofile(None)
        self.assertEqual(traced, ['call', 'line', 'return'])
        self.assertIn('c_call', profiled)
        self.assertIn('C_CALL work abs',
                      self.within('work', self.file('calls')))
        self.assertIn('LINE work', self.within('work', self.file('lines')))

    def test_decorators(self):
        @refmap.Profile(self.file('calls'), d_rss_trigger=0)
        @refmap.Trace(self.file('lines'), d_rss_trigger=0)
        def work():
            return abs(-3)

        self.assertEqual(work(), 3)
        self.assertEqual(self.within('work', self.file('lines')),
                         ['CALL work', 'LINE work', 'RETURN work'])
        self.assertIn('C_CALL work abs', self.told(self.file('calls')))

    def test_decorated_coroutine(self):
        @self.profile()
        async def work():
            await asyncio.sleep(0)
            return abs(-3)

        self.addCleanup(asyncio.set_event_loop_policy, None)
        self.assertEqual(asyncio.run(work()), 3)
        self.assertIn('C_CALL work abs', self.told())

    def test_exception_leaves(self):
        with self.assertRaises(KeyError):
            with self.profile(), refmap.Trace(self.file('lines')):
                raise KeyError
        self.assertEqual(self.read()[-1].text, 'closed')

    def test_interpreters(self):
        # Only the one that has the tool is told of its calls.
        import_helper.import_module('_interpreters')
        self.script('''
            import _interpreters
            i = _interpreters.create('isolated')
            with refmap.Profile(path, d_rss_trigger=0):
                error = _interpreters.exec(i, "len([])")
                assert error is None, error
            error = _interpreters.exec(i, """if 1:
                import refmap
                with refmap.Profile({!r}, d_rss_trigger=0):
                    def work(): return abs(1)
                    work()
                """.format(path + '.inside'))
            assert error is None, error
            _interpreters.destroy(i)
            ''')
        self.assertNotIn('C_CALL <module> len', self.tell())
        inside = self.tell(self.path + '.inside')
        self.assertIn('C_CALL work abs', inside)


if __name__ == '__main__':
    unittest.main()
