"""Out of memory in an event log: it says what is lost, and the program goes on."""

import os
import unittest

from refmap.log import events, format

from .log_case import LogTestCase, tell


class NoMemoryTests(LogTestCase):

    WORK = '''
            import refmap.logs
            class B: pass
            def check():
                info = sys.refmap_info()
                assert info.mapped + info.unattributed == info.total, info
            def some():
                kept = [A() for _ in range(100)]
                for i in range(20):
                    code = compile(f'def f{i}(): return B()', 'f.py', 'exec')
                    exec(code, globals())
                    kept.append(globals()[f'f{i}']())
                kept.append(type(f'T', (), {})())
            '''

    def test_opening(self):
        self.script(self.WORK + '''
            def work():
                with refmap.EventLog(path, include=[A, 'B'], collect=None):
                    pass
            failed = 0
            for n in range(60):
                _testrefmap.limit_allocations(n)
                try:
                    work()
                except MemoryError:
                    failed += 1
                finally:
                    _testrefmap.limit_allocations(-1)
                check()
                assert not any(refmap.logs._begun.values()), n
            assert failed > 5, failed
            work()
            ''')
        self.assertEqual(self.tell(), [])

    def test_events(self):
        # Some are lost, which the log says.
        self.script(self.WORK + '''
            for n in range(120):
                log = refmap.EventLog(f'{path}.{n}', builtins=True,
                                      references=n % 2, stack=1 + n % 3)
                log.begin()
                _testrefmap.limit_allocations(n // 2)
                try:
                    some()
                    log.suspend()
                    some()
                    log.resume()
                    some()
                    log.message('x')
                finally:
                    _testrefmap.limit_allocations(-1)
                log.end()
                check()
            ''')
        lost = 0
        for n in range(120):
            found = self.read(f'{self.path}.{n}')
            self.assertEqual(found[-1].text, 'closed')
            lost += any(e.kind == format.LOST and e.number > 0 for e in found)
        self.assertGreater(lost, 5)

    def test_resuming(self):
        self.script(self.WORK + '''
            failed = 0
            for n in range(60):
                with refmap.EventLog(path, include=A, references=True) as log:
                    some()
                    log.suspend()
                    _testrefmap.limit_allocations(n)
                    try:
                        log.resume()
                    except MemoryError:
                        failed += 1
                    finally:
                        _testrefmap.limit_allocations(-1)
                    some()
                check()
            ''')
        self.assertEqual(self.read()[-1].text, 'closed')

    def test_closing(self):
        # It needs none.
        self.script(self.WORK + '''
            log = refmap.EventLog(path, include=A).begin()
            A()
            _testrefmap.limit_allocations(0)
            log.end()
            _testrefmap.limit_allocations(-1)
            ''')
        self.assertEqual(self.tell(), ['NEW A 1', 'DEL A 1'])

    def test_calls(self):
        self.script(self.WORK + '''
            for n in range(60):
                log = refmap.Profile(path, d_rss_trigger=0).begin()
                lines = refmap.Trace(path + '.lines', d_rss_trigger=0).begin()
                _testrefmap.limit_allocations(n)
                try:
                    some()
                finally:
                    _testrefmap.limit_allocations(-1)
                lines.end()
                log.end()
                check()
            ''')
        for path in self.path, self.path + '.lines':
            self.assertEqual(self.read(path)[-1].text, 'closed')

    def test_fork(self):
        if not hasattr(os, 'fork'):
            self.skipTest('needs os.fork()')
        self.script(self.WORK + '''
            for n in range(20):
                with refmap.EventLog(path, include=A) as log:
                    some()
                    _testrefmap.limit_allocations(n)
                    pid = os.fork()
                    if pid == 0:
                        some()
                        _testrefmap.limit_allocations(-1)
                        os._exit(7)
                    _testrefmap.limit_allocations(-1)
                    status = os.waitpid(pid, 0)[1]
                    assert os.waitstatus_to_exitcode(status) == 7, (n, status)
                check()
            ''')
        for name in self.files():
            with events.Log(self.file(name)) as log:
                self.assertTrue(tell(log.events()))

    def test_interpreters(self):
        self.script(self.WORK + '''
            import _interpreters
            for n in range(40):
                i = _interpreters.create('isolated')
                with refmap.EventLog(path, include='A', references=True):
                    _testrefmap.limit_allocations(n)
                    _interpreters.exec(i, """if 1:
                        class A: pass
                        kept = [A() for _ in range(10)]""")
                    _testrefmap.limit_allocations(-1)
                _interpreters.destroy(i)
                check()
            ''')
        self.assertEqual(self.read()[-1].text, 'closed')


if __name__ == '__main__':
    unittest.main()
