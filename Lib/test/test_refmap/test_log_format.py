"""The records of an event log. Pure: from literal bytes, in any
interpreter."""

import io
import random
import tempfile
import unittest
from os import path
from unittest import mock

from refmap.log import events, format, names
from refmap.log.format import LogError
from test.test_refmap import log_records

HOSTILE = ['\x1b[31m\n\r\0', '<script>alert(1)</script>&"\'', 'x' * 100_000,
           '\u202e\u200b\ud7ff', '']


def full_log(**header):
    """Return a log with every kind of record."""
    log = log_records.Log(**header)
    sized = header.get('sizes')
    log.module(0x10000, 0x20000, 0x1000, '/lib/m.so')
    log.thread(1, 4711, 0)
    log.rss(100)
    log.refs(5000)
    t = log.type('list', 56, living=7)
    place = log.line('f', '/a.py', 300, returns=[0x10010, 0x10020])
    c = log.callable('len', 'builtins')
    birth = log.new(0x7f0012345670, t, place, size=88 if sized else None)
    log.rss(-3)
    log.change(0x7f0012345670, t, 2, 3, place)
    log.change(0x7f0012345670, t, -1, 2)
    log.thread(2, 4712, 1)
    log.message('hello')
    log.refs(-7)
    log.delete(0x7f0012345670, t, place, birth)
    for kind in format.CALL, format.RETURN, format.LINE, format.RAISE:
        log.call(kind, place)
    log.mark(format.PREV)
    log.call(format.C_CALL, place, c)
    log.mark(format.NEXT)
    log.call(format.C_RETURN, place, c)
    log.call(format.C_RAISE, place, c)
    log.suspend('another log')
    log.resume()
    log.fork(76, log.header['pid'], '/tmp/parent.log')
    log.lost(12)
    return log.end()


class LogTestCase(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = path.join(directory.name, 'x.log')

    def open(self, data):
        """Return the events.Log of bytes."""
        with open(self.path, 'wb') as file:
            file.write(bytes(data))
        log = events.Log(self.path)
        self.addCleanup(log.close)
        return log

    def events(self, data):
        return list(self.open(data).events())

    def readable(self, data):
        """Return (events that can be read, LogError or None)."""
        found = []
        try:
            found.extend(self.open(data).events())
        except LogError as exc:
            return found, exc
        return found, None

    def assert_refused(self, data, text):
        with self.assertRaisesRegex(LogError, text):
            self.events(data)


class RecordTests(LogTestCase):

    def test_objects(self):
        log = self.open(full_log())
        new, inc, dec, _, delete = list(log.events())[:5]
        self.assertEqual(new.type.name, 'list')
        self.assertEqual((new.type.address, new.type.basicsize), (0x7000, 56))
        self.assertEqual(new[:2] + new[3:7], (
            format.NEW, 0.0, 409600, 5000, 0x7f0012345670, 1))
        self.assertEqual(new[8:], (8, new.place, 0, 0, None))
        self.assertEqual(new.thread, (1, 4711, 0))
        self.assertEqual(new.place.where, ('/a.py', 300, 'f'))
        self.assertEqual([frame.pc for frame in new.place.returns],
                         [0x10010, 0x10020])
        self.assertEqual(new.place.modules,
                         [(0x10000, 0x20000, 0x1000, '/lib/m.so')])
        self.assertEqual((inc.kind, inc.change, inc.count, inc.rss),
                         (format.INC, 2, 3, 397312))
        self.assertEqual((dec.kind, dec.change, dec.count, dec.live),
                         (format.DEC, -1, 2, 8))
        self.assertEqual(dec.place.where, names.NOWHERE)
        self.assertEqual((delete.kind, delete.birth, delete.live, delete.refs),
                         (format.DEL, 1, 7, 4993))
        self.assertEqual(delete.thread, (2, 4712, 1))
        self.assertTrue(log.ended)
        self.assertFalse(log.cut_off)

    def test_calls(self):
        found = [event for event in self.events(full_log())
                 if isinstance(event, format.CallEvent)]
        self.assertEqual(
            [(event.kind, event.mark, event.callable) for event in found],
            [(format.CALL, 0, None), (format.RETURN, 0, None),
             (format.LINE, 0, None), (format.RAISE, 0, None),
             (format.C_CALL, format.PREV, ('len', 'builtins')),
             (format.C_RETURN, format.NEXT, ('len', 'builtins')),
             (format.C_RAISE, 0, ('len', 'builtins'))])
        self.assertEqual({event.place.where for event in found},
                         {('/a.py', 300, 'f')})

    def test_notes(self):
        found = [event for event in self.events(full_log())
                 if isinstance(event, format.Note)]
        self.assertEqual(
            [(note.kind, note.text, note.number) for note in found],
            [(format.MESSAGE, 'hello', 0),
             (format.SUSPEND, 'another log', 0), (format.RESUME, '', 0),
             (format.FORK, '/tmp/parent.log', 76), (format.LOST, '', 12),
             (format.END, 'closed', 0)])

    def test_all_kinds_have_names(self):
        for event in self.events(full_log()):
            self.assertIn(event.kind, format.KIND_NAMES)

    def test_sizes(self):
        log = self.open(full_log(sizes=True))
        self.assertTrue(log.has_sizes)
        found = list(log.events())
        self.assertEqual(found[0].size, 88)
        self.assertEqual(len(found), len(self.events(full_log())))

    def test_births(self):
        log = log_records.Log()
        t = log.type('int')
        births = [5, 0, 1000, (1 << 28) - 1, 1, 0, 3]
        for i, birth in enumerate(births):
            log.new(64 * i, t, birth=birth)
        for i, birth in enumerate(births):
            log.delete(64 * i, t, birth=birth)
        self.assertEqual([event.birth for event in self.events(log)],
                         2 * births)

    def test_large_numbers(self):
        log = log_records.Log()
        for i in range(300):
            t = log.type(f't{i}')
            place = log.line(f'f{i}', 'a.py', i + 1)
        log.now += 10**12
        log.new((1 << 48) - 1, t, place)
        log.change(1, t, (1 << 62), -(1 << 62), place)
        new, change = self.events(log)
        self.assertEqual((new.address, new.type.name, new.place.where.line),
                         ((1 << 48) - 1, 't299', 300))
        self.assertEqual((change.change, change.count), (1 << 62, -(1 << 62)))
        self.assertAlmostEqual(new.clock, 1000.0)

    def test_reads_again(self):
        log = self.open(full_log())
        for _ in range(2):
            self.assertEqual(next(log.events()).live, 8)
        self.assertEqual(len(list(log.events())), 17)

    def test_empty_log(self):
        log = self.open(log_records.Log())
        self.assertEqual(list(log.events()), [])
        self.assertFalse(log.ended)

    def test_hostile_names(self):
        for text in HOSTILE:
            log = log_records.Log()
            log.new(64, log.type(text), log.line(text, text, 3))
            log.message(text)
            new, note = self.events(log)
            self.assertEqual((new.type.name, note.text), (text, text))
            self.assertEqual(new.place.where, (text, 3, text))

    def test_texts_that_are_not_utf8(self):
        log = log_records.Log()
        log.new(64, log.type(b'\xff<\xc3'))
        self.assertEqual(self.events(log)[0].type.name, '\\xff<\\xc3')

    def test_header(self):
        log = self.open(log_records.Log(kind='trace', pid=True, started='x'))
        self.assertEqual((log.kind, log.pid, log.started),
                         ('trace', None, None))
        for started in float('nan'), float('inf'), -1, 10**400, True:
            log = self.open(log_records.Log(started=started))
            self.assertIsNone(log.started)
        log = self.open(log_records.Log(kind='?', page_size=-1, pid=5))
        self.assertEqual((log.kind, log.pid), ('events', 5))

    def test_pages(self):
        log = log_records.Log(page_size=16384)
        log.rss(2)
        log.new(0, log.type('int'))
        self.assertEqual(self.events(log)[0].rss, 32768)

    def test_many_events_in_pieces(self):
        # Records lie across the pieces that are read.
        log = log_records.Log()
        t = log.type('int')
        for i in range(5000):
            log.new(16 * i, t)
        with mock.patch.object(format, 'PIECE', 1000):
            found = self.events(log)
        self.assertEqual([event.address for event in found],
                         [16 * i for i in range(5000)])
        self.assertEqual(found[-1].live, 5000)

    def test_record_larger_than_a_piece(self):
        log = log_records.Log()
        log.message('x' * 1_000_000)
        log.message('y')
        with mock.patch.object(format, 'PIECE', 100):
            self.assertEqual([len(note.text) for note in self.events(log)],
                             [1_000_000, 1])


class ClockTests(LogTestCase):

    def test_rate(self):
        # A tick is 16 ns in these chunks.
        log = log_records.Log()
        del log.data[-16 - 31:]
        data = bytearray(b'refmapL1\2\0\0\0{}')
        for ticks, records in ((1000, b''),
                               (2000, b'\x16' + log_records.u(1200)
                                + b'\x30\x64\x00' + b'\x30\x32\x00')):
            sync = b'\x10' + log_records.u(ticks) + log_records.u(
                ticks * 16) + b'\1'
            size = len(sync) + len(records)
            data += b'RMCK' + size.to_bytes(4, 'little') + b'\1' + bytes(7)
            data += sync + records
        self.assertEqual([round(event.clock * 1e9)
                          for event in self.events(data)], [300 * 16, 350 * 16])

    def test_from_the_first_clock(self):
        log = log_records.Log()
        # As if there were no first chunk.
        log.data = log.data[:log.data.index(b'RMCK')]
        log.now += 5000
        log.message('a')
        log.message('b')
        log.now += 10_000
        log.flush()
        log.message('c')
        self.assertEqual([round(event.clock * 1e9)
                          for event in self.events(log)], [0, 1000, 12_000])

    def test_clock_behind_other_records(self):
        log = log_records.Log()
        log.data = log.data[:log.data.index(b'RMCK')]
        log.fork(76, 78, 'x')
        log.flush()
        log.type('int')
        log.message('a')
        log.flush()
        log.message('b')
        opened = self.open(log)
        self.assertEqual([round(event.clock * 1e9)
                          for event in opened.events()], [0, 0, 1000])
        self.assertEqual(opened.pid, 78)

    def test_one_sync(self):
        log = log_records.Log()
        log.data = log.data[:log.data.index(b'RMCK')]
        log.message('a')
        log.message('b')
        opened = self.open(log)
        self.assertFalse(opened.start.is_exact)
        self.assertEqual([round(event.clock * 1e9)
                          for event in opened.events()], [0, 1000])

    def test_clocks_go_on_over_chunks(self):
        log = log_records.Log()
        for text in 'abc':
            log.message(text)
            log.flush()
        self.assertEqual([round(event.clock * 1e9)
                          for event in self.events(log)], [0, 1000, 2000])


class StreamTests(LogTestCase):

    def two_streams(self):
        log = log_records.Log()
        for i in range(6):
            log.stream = 1 + i % 2
            if i < 2:
                log.type(f't{log.stream}')
                log.line(f'f{log.stream}', 'a.py', 10 + i)
            log.new(64 * i, 1, 1)
        return log

    def test_each_has_its_names_and_births(self):
        found = self.events(self.two_streams())
        self.assertEqual([event.type.name for event in found],
                         3 * ['t1', 't2'])
        self.assertEqual([event.place.where.function for event in found],
                         3 * ['f1', 'f2'])
        self.assertEqual([event.birth for event in found], [1, 1, 2, 2, 3, 3])
        self.assertEqual([event.live for event in found], [1, 1, 2, 2, 3, 3])

    def test_in_the_order_of_clocks(self):
        log = self.two_streams()
        log.flush()
        log.stream = 2
        log.new(1000, 1)
        log.flush()
        log.stream = 1
        log.new(2000, 1)
        clocks = [event.clock for event in self.events(log)]
        self.assertEqual(clocks, sorted(clocks))
        self.assertEqual(len(clocks), 8)

    def test_modules_are_those_of_the_process(self):
        log = log_records.Log()
        log.module(0x10000, 0x20000, 0, '/lib/a.so')
        log.message('x')
        log.stream = 2
        place = log.line('f', 'a.py', 1, returns=[0x10010])
        log.new(64, log.type('int'), place)
        self.assertEqual(self.events(log)[1].place.modules,
                         [(0x10000, 0x20000, 0, '/lib/a.so')])


class ModuleTests(unittest.TestCase):

    def test_later_ones_replace_what_they_overlap(self):
        modules = names.Modules()
        modules.add(10, 20, 0, 'a')
        before = modules.now
        modules.add(30, 40, 0, 'b')
        self.assertIs(modules.now, before)
        modules.add(10, 20, 0, 'a')
        self.assertIs(modules.now, before)
        modules.add(15, 35, 0, 'c')
        self.assertEqual(modules.now, [(15, 35, 0, 'c')])
        self.assertEqual(before, [(10, 20, 0, 'a'), (30, 40, 0, 'b')])

    def test_neighbours(self):
        modules = names.Modules()
        for start in 20, 10, 30:
            modules.add(start, start + 10, 0, 'x')
        self.assertEqual([module[0] for module in modules.now], [10, 20, 30])


class CutOffTests(LogTestCase):

    def test_at_every_byte(self):
        log = full_log(sizes=True)
        data = bytes(log)
        whole = self.events(data)
        # Where records of events end.
        ends = [end for start, end in zip(log.boundaries, log.boundaries[1:])
                if data[start] in format.KIND_NAMES]
        self.assertEqual(len(ends), len(whole))
        for length in range(data.index(b'RMCK'), len(data)):
            found, error = self.readable(data[:length])
            self.assertIsNone(error, length)
            self.assertEqual(len(found), sum(end <= length for end in ends),
                             length)
            # The clock needs more than the first chunk.
            self.assertEqual([event[3:5] for event in found],
                             [event[3:5] for event in whole[:len(found)]])

    def test_in_the_header(self):
        data = bytes(full_log())
        for length in range(data.index(b'RMCK')):
            self.assert_refused(data[:length], 'ends before its header')

    def test_says_so(self):
        data = bytes(full_log())
        for length, cut_off in ((len(data), False), (len(data) - 1, True),
                                (data.rindex(b'RMCK') + 3, True),
                                (data.rindex(b'RMCK'), False)):
            log = self.open(data[:length])
            list(log.events())
            self.assertIs(log.cut_off, cut_off, length)
            self.assertIs(log.ended, length == len(data), length)


class GarbageTests(LogTestCase):

    def test_no_log(self):
        for data in (b'', b'refmap', b'refmapL2\2\0\0\0{}', b'\x7fELF' * 10,
                     b'refmapL1\xff\xff\xff\xff', b'refmapL1\2\0\0\0[]',
                     b'refmapL1\2\0\0\0{x', b'refmapL1\5\0\0\0{}',
                     b'refmapL1' + (200_000).to_bytes(4, 'little')
                     + b'[' * 200_000):
            with self.assertRaises(LogError):
                self.events(data)

    def chunk(self, *records):
        log = log_records.Log()
        log.chunk(1, records)
        return bytes(log)

    def test_bad_records(self):
        p, u = log_records.p, log_records.u
        for record, text in (
                (b'\x0c', 'unknown kind 12'),
                (b'\0', 'unknown kind 0'),
                (b'\xff', 'unknown kind 255'),
                (b'\1\0' + p(1) + b'\1\0\0', 'not in the log'),
                (b'\1\0' + p(1) + b'\0\1\0', 'not in the log'),
                (b'\x22\1\1\0\0', 'not in the log'),
                (b'\5\0\1', 'not in the log'),
                (b'\7\0\0\1', 'not in the log'),
                (b'\x13' + b'\xff' * 20 + b'\0', 'too large'),
                (b'\1' + b'\xff' * 20 + b'\0' * 20, 'too large'),
                (b'\x22' + u(1 << 40), 'too deep'),
                (b'\x22\0' + u(1 << 40), 'too deep'),
                (b'\x30\0' + u(1 << 60), 'too long'),
                (b'\x30\0' + u(1 << 20), 'beyond its chunk'),
                (b'\x30', 'beyond its chunk')):
            with self.subTest(record=record):
                self.assert_refused(self.chunk(record), text)

    def test_bad_chunks(self):
        log = log_records.Log()
        self.assert_refused(bytes(log) + b'RMCX' + bytes(12), 'no chunk')
        # More than the file has: it is cut off.
        found, error = self.readable(bytes(log) + b'RMCK\xff\xff\xff\xff'
                                     + bytes(8) + b'\x30\0\1x\x30\0')
        self.assertEqual(([note.text for note in found], error), (['x'], None))
        # Nothing in it.
        found, error = self.readable(bytes(log) + (b'RMCK' + bytes(12)) * 1000)
        self.assertEqual((found, error), ([], None))

    def test_too_many_streams(self):
        log = log_records.Log()
        for stream in range(1000):
            log.chunk(stream, [])
        self.assert_refused(log, 'too many streams')

    def test_what_is_before_counts(self):
        log = full_log()
        count = len(self.events(log))
        found, error = self.readable(bytes(log) + b'x' * 16)
        self.assertEqual(len(found), count)
        self.assertIsNotNone(error)
        log = log_records.Log()
        log.message('a')
        log.record(99)
        found, error = self.readable(log)
        self.assertEqual([note.text for note in found], ['a'])
        self.assertRegex(str(error), 'kind 99')

    def test_random_bytes(self):
        rng = random.Random(15)
        start = bytes(log_records.Log())
        for _ in range(300):
            records = rng.randbytes(rng.randrange(200))
            log = log_records.Log()
            log.chunk(1, [records])
            self.readable(log)
            self.readable(start + rng.randbytes(100))

    def test_changed_bytes(self):
        rng = random.Random(16)
        data = bytes(full_log())
        first = data.index(b'RMCK')
        for _ in range(1500):
            changed = bytearray(data)
            for _ in range(rng.randrange(1, 4)):
                changed[rng.randrange(first, len(data))] = rng.randrange(256)
            self.readable(changed)

    def test_changed_header(self):
        rng = random.Random(17)
        data = bytes(full_log())
        for _ in range(500):
            changed = bytearray(data)
            changed[rng.randrange(data.index(b'RMCK'))] = rng.randrange(256)
            try:
                self.readable(changed)
            except LogError:
                pass


class GrowingTests(unittest.TestCase):

    def test_cursor_goes_on(self):
        data = bytes(full_log())
        file = io.BytesIO()
        first = data.index(b'RMCK')
        make_stream = lambda: format.Stream(
            format.Start(0, 0, 1.0, True), names.Modules())
        cursor = format.Cursor(file, first, make_stream)
        found = []
        for length in range(len(data) + 1):
            file.seek(0, io.SEEK_END)
            file.write(data[length - 1:length])
            for batch in cursor.batches():
                found += batch
        self.assertEqual([event.kind for event in found][::16],
                         [format.NEW, format.END])
        self.assertTrue(cursor.ended)
        self.assertFalse(cursor.cut_off)


if __name__ == '__main__':
    unittest.main()
