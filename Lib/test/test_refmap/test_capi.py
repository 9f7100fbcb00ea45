"""What the map says of C code that misbehaves.

Code that leaves the process unhealthy runs in a process of its own.
"""

import errno
import os
import signal
import sys
import textwrap
import unittest

from test import support
from test.support import import_helper

from .helpers import MapTestCase, fail_script, run_script

_testrefmap = import_helper.import_module('_testrefmap')


class LeakTest(MapTestCase):

    def test_leaked_reference(self):
        # Bound before: what an attribute is looked up in keeps caches.
        leak, snapshot = _testrefmap.leak_reference, sys.refmap_snapshot
        victim = object()
        count = sys.refmap_count(victim) - 1
        a = snapshot()
        leak(victim)
        b = snapshot()
        _testrefmap.over_decref(victim)
        diff = sys.refmap_diff(a, b, file=None)
        self.assertEqual(diff.living, [(id(victim), 'object', count, count + 1)])
        self.assertEqual(diff.died, [])
        self.assertEqual(diff.types, {'object': 1})
        self.assertEqual(str(diff), (
            f'ref change of living {id(victim):#x} (object): 1,'
            f'  {count} -> {count + 1}\n'
            f'ref change of type object: 1\n'
            f'total ref change 1'))

    def test_leaked_object(self):
        address = None
        a = sys.refmap_snapshot()
        address = _testrefmap.leak_object()
        b = sys.refmap_snapshot()
        diff = sys.refmap_diff(a, b, file=None)
        self.assertIn((address, '_testrefmap.Plain', 0, 1), diff.living)
        # The object has a reference to its type, too.
        self.assertIn(id(_testrefmap.Plain), [x[0] for x in diff.living])
        self.assert_adds_up(diff)
        _testrefmap.release(address)
        diff = sys.refmap_diff(a, file=None)
        self.assertNotIn(address, [x[0] for x in diff.living])

    def test_over_decref(self):
        over_decref, snapshot = _testrefmap.over_decref, sys.refmap_snapshot
        victims = [object()] * 3
        a = snapshot()
        over_decref(victims[0])
        b = snapshot()
        _testrefmap.leak_reference(victims[0])
        diff = sys.refmap_diff(a, b, file=None)
        self.assertEqual(diff.living, [(id(victims[0]), 'object', 3, 2)])
        self.assertEqual(diff.total, -1)

    def test_one_decref_too_many(self):
        # The first one frees the object, which its name still has. A debug build
        # fills freed memory with a negative number, finds it at the second one,
        # and aborts.
        if not support.Py_DEBUG:
            self.skipTest('a release build does not notice')
        with support.SuppressCrashReport():
            status, _, err = fail_script('''
                victim = _testrefmap.Plain()
                _testrefmap.over_decref(victim)
                print('once', file=sys.stderr, flush=True)
                _testrefmap.over_decref(victim)
                ''')
        self.assertEqual(status, -signal.SIGABRT)
        self.assertRegex(err, r'(?s)^once.*object has negative ref count.*is freed>')


class RefcntTest(MapTestCase):

    def test_direct_write(self):
        for n in 3, 1000, -1:
            with self.subTest(n):
                victim = [object(), None][0]
                references = [victim] * 5
                before = sys.refmap_count(victim)
                info = sys.refmap_info()
                _testrefmap.write_refcnt(victim, n)
                found = sys.refmap_verify()
                self.assert_exact()
                count = sys.refmap_count(victim)
                _testrefmap.write_refcnt(victim, -n)
                self.assertEqual(count, before)
                [(address, name, mapped, refcnt)] = found
                self.assertEqual((address, name), (id(victim), 'object'))
                self.assertEqual(refcnt - mapped, n)
                del references, info

    def test_immortalised(self):
        # It keeps the count that it had, and the total doesn't move either.
        run_script('''
            victim = object()
            # The map lists no object that it counts 0 for.
            references = [victim] * 5
            total = sys.gettotalrefcount()
            _testrefmap.immortalise(victim)
            check_exact()
            check_true()
            count = sys.refmap_count(victim)
            more = [victim] * 100
            assert sys.refmap_count(victim) == count
            del more
            assert abs(sys.gettotalrefcount() - total) < 20
            # Mortal again: what it is given now is not what the map had.
            _testrefmap.make_mortal(victim, 1000)
            [(address, _, mapped, refcnt)] = sys.refmap_verify()
            assert address == id(victim)
            assert 900 < refcnt < 1100 and mapped < 20, (mapped, refcnt)
            check_exact()
            ''')

    def test_dies_immortal_memory_is_used_again(self):
        run_script('''
            victims = [_testrefmap.Plain() for _ in range(100)]
            for victim in victims:
                _testrefmap.immortalise(victim)
            del victim
            before = sys.refmap_snapshot()
            victims.clear()
            check_exact()
            check_true()
            check_diff(sys.refmap_diff(before, file=None))
            ''')

    def test_static_object(self):
        for odd in False, True:
            with self.subTest(odd=odd):
                out, _ = run_script(f'''
                    a = sys.refmap_snapshot()
                    x = _testrefmap.static_object({odd})
                    assert id(x) % 16 == {8 if odd else 0}, hex(id(x))
                    check_exact()
                    more = [x] * 10
                    diff = sys.refmap_diff(a, file=None)
                    check_diff(diff)
                    found = [y for y in diff.living if y[0] == id(x)]
                    assert [y[1] for y in found] == ['object'], diff
                    assert found[0][3] - found[0][2] == 11, found
                    more.clear()
                    where = id(x)
                    del x
                    b = sys.refmap_snapshot()
                    diff = sys.refmap_diff(a, b, file=None)
                    check_diff(diff)
                    check_exact()
                    # The reference of the initialiser is not an object's death.
                    # (Other objects may die: types forget names of attributes.)
                    assert where not in [y[0] for y in diff.died], diff
                    check_true()
                    x = _testrefmap.static_object({odd})
                    print(sys.refmap_verify())
                    ''')
                self.assertEqual(out, '[]\n')

    def test_odd_object(self):
        a = sys.refmap_snapshot()
        x = _testrefmap.Odd()
        if id(x) % 16 != 8:
            self.skipTest('malloc() does not align to 16 bytes')
        address = id(x)
        b = sys.refmap_snapshot()
        diff = sys.refmap_diff(a, b, file=None)
        self.assertIn((address, '_testrefmap.Odd', 0, 1), diff.living)
        self.assertEqual(sys.refmap_count(x), sys.getrefcount(x))
        self.assert_healthy()
        del x
        diff = sys.refmap_diff(b, file=None)
        self.assertIn((address, '_testrefmap.Odd', 1), diff.died)


class ErrnoTest(MapTestCase):

    def test_unreadable_memory(self):
        # The first touch after a snapshot reads the page, which fails.
        run_script('''
            import errno
            address = _testrefmap.free_counted('mmap', 3)
            touch = _testrefmap.errno_after_touch
            for value in 0, errno.EXDEV:
                sys.refmap_snapshot()
                assert touch(address, value) == value
            ''')

    def test_out_of_memory(self):
        run_script('''
            import errno
            address = _testrefmap.arena_open(100)
            touch = _testrefmap.errno_after_touch
            results = [None] * 50
            for n in range(50):
                _testrefmap.limit_allocations(n)
                results[n] = touch(address + n * 4096, errno.EXDEV)
            _testrefmap.limit_allocations(-1)
            assert set(results) == {errno.EXDEV}, results
            check_exact()
            ''')

    def test_out_of_memory_without_stderr(self):
        # Not even the warning changes it.
        run_script('''
            import errno, os
            address = _testrefmap.arena_open(1)
            touch = _testrefmap.errno_after_touch
            os.close(2)
            _testrefmap.limit_allocations(0)
            result = touch(address, errno.EXDEV)
            _testrefmap.limit_allocations(-1)
            assert sys.refmap_info().untracked
            if result != errno.EXDEV:
                os._exit(1)
            ''')


class ForeignTest(MapTestCase):
    """Binaries that were not compiled for this interpreter."""

    def test_stock_release(self):
        # Nobody but ob_refcnt hears of their references.
        victim = _testrefmap.Plain()
        total = sys.refmap_info().total
        _testrefmap.foreign_incref(victim, 4)
        found = sys.refmap_verify()
        _testrefmap.foreign_incref(victim, -4)
        self.assertEqual([(x[0], x[3] - x[2]) for x in found], [(id(victim), 4)])
        self.assertAlmostEqual(sys.refmap_info().total, total, delta=20)

    def test_stock_release_takes_the_last_reference(self):
        # The map's reference is left over, and closed by _Py_Dealloc().
        run_script('''
            for cls in _testrefmap.Plain, list, dict, object, type('A', (), {}):
                items = [cls() for _ in range(50)]
                before = sys.refmap_info()
                snapshot = sys.refmap_snapshot()
                addresses = set(map(id, items))
                while items:
                    _testrefmap.foreign_pop(items)
                    check_exact()
                diff = sys.refmap_diff(snapshot, file=None)
                check_diff(diff)
                died = {x[0] for x in diff.died}
                assert addresses <= died, diff
                assert diff.unattributed == 50, diff
                assert not diff.freed, diff
                check_true()
            ''')

    def test_stock_release_drops_a_counted_reference(self):
        # A reference that the map knows is dropped foreignly and another one
        # properly: a death with one too many, then with one too few.
        run_script('''
            class A: pass
            for n in range(5):
                items = [A()]
                _testrefmap.foreign_incref(items[0], n)
                before = sys.refmap_snapshot()
                for _ in range(n):
                    _testrefmap.over_decref(items[0])
                check_exact()
                items.pop()
                check_exact()
                check_true()
                diff = sys.refmap_diff(before, file=None)
                check_diff(diff)
            ''')

    def test_last_reference_in_specialised_code(self):
        # The evaluation loop frees floats, ints and strings without asking
        # _Py_Dealloc(). What foreign code left there is no finding either.
        run_script('''
            def compare(items, other):
                return items.pop() < other

            def die(make, other):
                for i in range(100):
                    compare([make(i)], other)
                first = [make(i) for i in range(50)]
                second = first[:]
                before = sys.refmap_snapshot()
                while first:
                    _testrefmap.foreign_pop(first)
                    compare(second, other)
                    check_exact()
                    check_true()
                diff = sys.refmap_diff(before, file=None)
                check_diff(diff)
                assert not diff.freed, diff
                assert diff.unattributed == 50, diff

            die(lambda i: i + 0.5, 3.25)
            die(lambda i: i + 1000, 5)
            die(lambda i: 'x%d' % i, 'xyz')
            ''')

    def test_stock_debug(self):
        victim = _testrefmap.Plain()
        before = sys.refmap_info()
        for _ in range(3):
            _testrefmap.stock_debug_incref(victim)
        after = sys.refmap_info()
        found = sys.refmap_verify()
        for _ in range(3):
            _testrefmap.stock_debug_decref(victim)
        self.assertEqual(after.unattributed - before.unattributed, 3)
        self.assertEqual([(x[0], x[3] - x[2]) for x in found], [(id(victim), 3)])
        self.assertEqual(sys.refmap_info().unattributed, before.unattributed)

    def test_stock_debug_in_a_diff(self):
        incref, snapshot = _testrefmap.stock_debug_incref, sys.refmap_snapshot
        victim = _testrefmap.Plain()
        a = snapshot()
        incref(victim)
        b = snapshot()
        _testrefmap.stock_debug_decref(victim)
        diff = sys.refmap_diff(a, b, file=None)
        self.assertEqual((diff.living, diff.died, diff.unattributed, diff.total),
                         ([], [], 1, 1))
        self.assertIn('ref change of unattributed: 1\n', str(diff))
        self.assert_adds_up(diff)

    def test_limited_api(self):
        victim = _testrefmap.Plain()
        count = sys.refmap_count(victim)
        _testrefmap.limited_incref(victim)
        self.assertEqual(sys.refmap_count(victim), count + 2)
        self.assert_healthy()
        _testrefmap.limited_decref(victim)
        self.assertEqual(sys.refmap_count(victim), count)

    def test_without_thread_state(self):
        # Against the rules; yet the total is moved, and the sum stays exact.
        victim = object()
        for new_thread in False, True:
            with self.subTest(new_thread=new_thread):
                before = sys.refmap_info()
                _testrefmap.incref_without_thread_state(victim, 5, new_thread)
                after = sys.refmap_info()
                _testrefmap.incref_without_thread_state(victim, -5, new_thread)
                self.assertEqual(after.unattributed - before.unattributed, 5)
                self.assertEqual(sys.refmap_info().unattributed,
                                 before.unattributed)


class FreedTest(MapTestCase):

    def test_freed_while_counted(self):
        self.leaves_unattributed()
        names = {'object': '_testrefmap.Plain', 'gc': '_testrefmap.Sized'}
        for kind, name in names.items():
            for refs in 1, 3:
                with self.subTest(kind=kind, refs=refs):
                    a = sys.refmap_snapshot()
                    address = _testrefmap.free_counted(kind, refs)
                    b = sys.refmap_snapshot()
                    diff = sys.refmap_diff(a, b, file=None)
                    self.assertEqual(diff.freed, [(address, name, refs)])
                    self.assertEqual(diff.unattributed, refs)
                    self.assert_adds_up(diff)
                    references = 'reference' if refs == 1 else 'references'
                    self.assertIn(f'freed with {refs} {references} {address:#x} '
                                  f'({name})\n', str(diff))
                    self.assertNotIn(address, [x[0] for x in diff.living])

    def test_plain_free(self):
        # Nothing tells the map; it must never believe what it finds there.
        for kind in 'malloc', 'mmap':
            with self.subTest(kind):
                run_script(f'''
                    kind = {kind!r}
                    ''' + '''
                    before = sys.refmap_snapshot()
                    addresses = {_testrefmap.free_counted(kind, 3)
                                 for _ in range(20)}
                    # Not all of them, malloc() has given some of them again.
                    data = [bytes(5000) for _ in range(50)]
                    check_exact()
                    found = {x[0] for x in sys.refmap_verify()}
                    assert found <= addresses, (found, addresses)
                    if kind == 'mmap':
                        [unreadable] = {x[1:] for x in sys.refmap_verify()}
                        assert unreadable == ('?', 3, -1), unreadable
                    for _ in range(3):
                        diff = sys.refmap_diff(before, file=None)
                        check_diff(diff)
                        after = sys.refmap_snapshot()
                        data.append(str(diff))
                        check_diff(sys.refmap_diff(before, after, file=None))
                    ''')

    def test_garbage_is_verified(self):
        # What is found in memory that was freed is not taken for an object
        # that is immortal, unless it really looks like one.
        address = _testrefmap.arena_open(1)
        self.addCleanup(_testrefmap.arena_close)
        _testrefmap.arena_birth(address)
        _testrefmap.arena_add(address, 4)
        for word in (0, 1, 4, 6, -1, -3, 2**32, 2**33 + 5, 0x7fff_ffff_8000_0001,
                     0x7fff_f7ff_ffff_ffff, -2**63, 0x5555_8000_0000):
            with self.subTest(hex(word)):
                self.assertEqual(_testrefmap.arena_poke(address, word), 5)
                found = sys.refmap_verify()
                _testrefmap.arena_poke(address, 5)
                self.assertEqual(found, [(address, '_testrefmap.Cell', 5, word)])
        for word in 2**31, 2**32 - 1, 5:
            with self.subTest(hex(word)):
                _testrefmap.arena_poke(address, word)
                found = sys.refmap_verify()
                _testrefmap.arena_poke(address, 5)
                self.assertEqual(found, [])
        _testrefmap.arena_poke(address, 5)
        _testrefmap.arena_add(address, -5)

    def test_garbage_types(self):
        # Any word may stand where ob_type was.
        address = _testrefmap.arena_open(2)
        self.addCleanup(_testrefmap.arena_close)
        _testrefmap.arena_birth(address)
        cell = id(_testrefmap.Cell)
        end = address + 2 * 4096
        a = sys.refmap_snapshot()
        _testrefmap.arena_add(address, 1)
        for word in (0, 1, 8, -1, -8, 2**47, 2**48, 2**62, address, end - 8, end,
                     end - 4096 + 1, cell + 8, cell + 1, id(None), id(self),
                     id(sys), id('x' * 1000)):
            with self.subTest(hex(word)):
                _testrefmap.arena_poke(address + 8, word)
                try:
                    diff = sys.refmap_diff(a, file=None)
                    listed = [x for x in diff.living if x[0] == address]
                    _testrefmap.arena_poke(address, 1234)
                    found = sys.refmap_verify()
                finally:
                    _testrefmap.arena_poke(address, 2)
                    _testrefmap.arena_poke(address + 8, cell)
                self.assertEqual(listed, [(address, '?', 1, 2)])
                self.assertEqual(found, [(address, '?', 2, 1234)])
        _testrefmap.arena_add(address, -2)

    def test_object_at_an_address(self):
        self.leaves_unattributed()
        # For reports; it must not make an object of what is none.
        op = object()
        self.assertIs(sys._refmap_object(id(op)), op)
        freed = _testrefmap.free_counted('object', 2)
        for address in (0, 1, 8, -8, id(op) + 1, id(op) + 8, 2**47, 2**48, 2**62,
                        2**63, 2**64 - 8, freed, id(None)):
            with self.subTest(hex(address)), self.assertRaises(LookupError):
                sys._refmap_object(address)
        with self.assertRaises(OverflowError):
            sys._refmap_object(2**64)
        with self.assertRaises(TypeError):
            sys._refmap_object('x')

    def test_object_at_freed_memory(self):
        for kind in 'malloc', 'mmap':
            with self.subTest(kind):
                run_script(f'''
                    kept = [_testrefmap.free_counted({kind!r}, 3)
                            for _ in range(10)]
                    for address in kept:
                        try:
                            sys._refmap_object(address)
                        except LookupError:
                            pass
                        else:
                            raise AssertionError('an object')
                    ''')

    def test_reborn_where_memory_was_freed(self):
        # free() and malloc() again: the next birth there closes the slot.
        run_script('''
            before = sys.refmap_snapshot()
            births = [_testrefmap.free_counted('malloc', 2) for _ in range(10)]
            diff = sys.refmap_diff(before, file=None)
            check_diff(diff)
            reused = len(births) - len(set(births))
            assert len(diff.freed) == reused, (births, diff)
            assert all(x[1:] == ('?', 2) for x in diff.freed), diff.freed
            assert diff.unattributed == 2 * reused, diff
            check_exact()
            ''')

    def test_many(self):
        self.leaves_unattributed()
        a = sys.refmap_snapshot()
        for _ in range(500):
            _testrefmap.free_counted('object', 2)
        b = sys.refmap_snapshot()
        diff = sys.refmap_diff(a, b, file=None)
        self.assertEqual(len(diff.freed), 256)
        self.assertEqual(diff.unattributed, 1000)


class NoReadTest(unittest.TestCase):

    # A filter for which process_vm_readv(2) does not exist, as in sandboxes.
    FILTER = '''
        import ctypes, errno, struct
        libc = ctypes.CDLL(None, use_errno=True)
        load, equal, ret = 0x20, 0x15, 0x06
        program = b''.join(struct.pack('HBBI', *instruction) for instruction in (
            (load, 0, 0, 0),                    # the number of the system call
            (equal, 0, 1, number),
            (ret, 0, 0, 0x0005_0000 | error),   # SECCOMP_RET_ERRNO
            (ret, 0, 0, 0x7fff_0000)))          # SECCOMP_RET_ALLOW
        code = ctypes.create_string_buffer(program, len(program))
        prog = ctypes.create_string_buffer(
            struct.pack('H6xP', 4, ctypes.addressof(code)))
        PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
        if (libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, prog, 0, 0)):
            print('skip')
            sys.exit()
        '''
    NUMBERS = {'x86_64': 310, 'aarch64': 270}

    def test_filtered(self):
        import_helper.import_module('ctypes')
        number = self.NUMBERS.get(os.uname().machine)
        if not sys.platform.startswith('linux') or number is None:
            self.skipTest('process_vm_readv() is not known here')
        for error in errno.ENOSYS, errno.EPERM:
            with self.subTest(errno.errorcode[error]):
                out, _ = run_script(
                    f'number, error = {number}, {error}\n'
                    + textwrap.dedent(self.FILTER) + textwrap.dedent('''
                    class Victim: pass
                    check_true()
                    gone = [Victim() for _ in range(10)]
                    before = sys.refmap_snapshot()
                    del gone
                    data = [Victim() for _ in range(100)]
                    diff = sys.refmap_diff(before, file=None)
                    check_diff(diff)
                    check_exact()
                    check_true()
                    assert diff.types['Victim'] == 90, diff.types
                    assert '?' not in diff.types, diff.types
                    # And what is unreadable is still no crash.
                    address = _testrefmap.free_counted('mmap', 3)
                    [found] = sys.refmap_verify()
                    assert found == (address, '?', 3, -1), found
                    '''))
                if out == 'skip\n':
                    self.skipTest('no system calls can be filtered')


class ResizeTest(MapTestCase):

    SIZES = (3, 10), (3, 10_000), (10_000, 3), (100_000, 10), (10, 1_000_000)
    FUNCTIONS = (_testrefmap.resize_bytes, _testrefmap.resize_tuple,
                 _testrefmap.resize_str, _testrefmap.resize_gc)

    def test_resize(self):
        for resize in self.FUNCTIONS:
            for before, after in self.SIZES:
                with self.subTest(resize.__name__, before=before, after=after):
                    a = sys.refmap_snapshot()
                    op = resize(before, after)
                    b = sys.refmap_snapshot()
                    self.assert_healthy()
                    diff = sys.refmap_diff(a, b, file=None)
                    self.assertEqual([x for x in diff.living if x[0] == id(op)],
                                     [(id(op), support_name(op), 0, 1)])
                    self.assert_adds_up(diff)
                    del op
                    self.assert_healthy()

    def test_failing_realloc(self):
        # The object dies, or survives where it is; either way it is exact.
        for resize in self.FUNCTIONS:
            for before, after in (3, 10), (3, 10_000), (10, 1_000_000):
                with self.subTest(resize.__name__, before=before, after=after):
                    a = sys.refmap_snapshot()
                    with self.assertRaises(MemoryError) as cm:
                        _testrefmap.fail_realloc(resize, before, after)
                    cm.exception.__traceback__ = None
                    cm = None
                    self.assert_healthy()
                    diff = sys.refmap_diff(a, file=None)
                    self.assert_adds_up(diff)
                    self.assertEqual(diff.freed, [])

    def test_too_large(self):
        # Refused before realloc() is asked, and by it.
        for resize in self.FUNCTIONS:
            for size in sys.maxsize // 16, sys.maxsize // 32:
                with self.subTest(resize.__name__, size=size):
                    self.assertRaises(MemoryError, resize, 10, size)
                    self.assert_healthy()
        for resize in _testrefmap.resize_bytes, _testrefmap.resize_str:
            with self.subTest(resize.__name__):
                self.assertRaises(MemoryError, resize, 10, sys.maxsize - 100)
                self.assert_healthy()


def support_name(op):
    """The name of the type in reports: tp_name."""
    cls = type(op)
    return cls.__name__ if cls.__module__ == 'builtins' else (
        f'{cls.__module__}.{cls.__name__}')


class UndeadTest(MapTestCase):

    def tearDown(self):
        while _testrefmap.survivors:
            _testrefmap.survivors.clear()
        super().tearDown()

    def test_resurrected_in_dealloc(self):
        for how in 0, 1:
            for lives in 1, 3:
                with self.subTest(how=how, lives=lives):
                    _testrefmap.Undead(how, lives)
                    self.assert_healthy()
                    for _ in range(lives):
                        self.assertEqual(len(_testrefmap.survivors), 1)
                        [survivor] = _testrefmap.survivors
                        self.assertEqual(sys.refmap_count(survivor),
                                         sys.getrefcount(survivor))
                        del survivor
                        _testrefmap.survivors.clear()
                        self.assert_healthy()
                    self.assertEqual(_testrefmap.survivors, [])

    def test_resurrected_by_writing(self):
        self.leaves_unattributed()
        # The total doesn't hear of the new reference.
        before = sys.refmap_info().unattributed
        _testrefmap.Undead(2)
        self.assert_exact()
        [survivor] = _testrefmap.survivors
        self.assertEqual([(x[0], x[3] - x[2]) for x in sys.refmap_verify()],
                         [(id(survivor), 1)])
        del survivor
        _testrefmap.survivors.clear()
        self.assert_healthy()
        self.assertEqual(sys.refmap_info().unattributed, before - 1)

    def test_birth(self):
        self.leaves_unattributed()
        # Back by an incref it is the same object; from a free list another.
        for how, same in (0, True), (1, False):
            with self.subTest(how=how):
                victim = _testrefmap.Undead(how)
                address = id(victim)
                a = sys.refmap_snapshot()
                del victim
                b = sys.refmap_snapshot()
                diff = sys.refmap_diff(a, b, file=None)
                died = [x[0] for x in diff.died]
                self.assertEqual(address not in died, same, diff)
                self.assert_adds_up(diff)
                _testrefmap.survivors.clear()


if __name__ == '__main__':
    unittest.main()
