"""Decoding what the recorder wrote. Runs in any interpreter."""

import unittest

from refmap.who import recording
from refmap.who.recording import Enclosing, Frame, Outcome, Place, decode
from test.test_refmap.who_records import Tape

A, B = 0x10000, 0x20000


class KindTests(unittest.TestCase):
    """One record of each kind."""

    def setUp(self):
        self.tape = Tape()

    def decode(self):
        return self.tape.recording()

    def event(self):
        events = self.decode().events
        self.assertEqual(len(events), 1)
        return events[0]

    def test_birth(self):
        self.tape.birth(A, 'f:1 g:2', 7, birth=5, code=3, line=12)
        event = self.event()
        self.assertEqual(event.kind, 'birth')
        self.assertEqual((event.address, event.n, event.birth, event.token),
                         (A, 1, 5, 7))
        self.assertEqual((event.code, event.line), (3, 12))
        self.assertEqual([frame.slot for frame in event.frames], [0x100, 0x200])
        self.assertEqual(event.deaths, ())

    def test_change(self):
        self.tape.change(A, -2, 'f:1', refcnt=-1, deaths=[(B, 1, 2, 0x300)])
        event = self.event()
        self.assertEqual(event.kind, 'change')
        self.assertEqual((event.n, event.refcnt), (-2, -1))
        self.assertEqual(event.deaths, (Enclosing(B, 1, 2, 0x300),))

    def test_death_and_move(self):
        self.tape.death(A, 'f:1', birth=4)
        self.tape.move(A, B, birth=4)
        death, move = self.decode().events
        self.assertEqual((death.address, death.birth, len(death.frames)),
                         (A, 4, 1))
        self.assertEqual((move.source, move.to, move.birth), (A, B, 4))

    def test_return(self):
        self.tape.ret(1, 'f:1 g:2', [(7, 3, 0), (8, 1, 2)], [(7, 24, B, 9)],
                      value=A)
        event = self.event()
        self.assertEqual((event.slot, event.value), (0x100, A))
        self.assertEqual(event.outcomes,
                         (Outcome(7, 3, 0), Outcome(8, 1, 0x200)))
        self.assertEqual(event.places, (Place(7, 24, B, 9),))
        self.assertEqual(len(event.frames), 2)

    def test_stored_and_gone(self):
        self.tape.stored(7, A, B + 16, B, 9, 'f:1')
        self.tape.gone(7, A, B + 16, B, 'f:1', 'g:1 h:2', flags=1, now=3,
                       previous_object=4, object=5)
        stored, gone = self.decode().events
        self.assertEqual(stored[1:-1], (7, A, B + 16, B, 9))
        self.assertEqual(gone[1:-2], (7, A, B + 16, B, 1, 3, 4, 5))
        self.assertEqual((len(gone.frames), len(gone.previous)), (1, 2))

    def test_blocks(self):
        self.tape.alloc(A, 100, 'f:1')
        self.tape.free(A)
        alloc, free = self.decode().events
        self.assertEqual((alloc.address, alloc.size, alloc.domain), (A, 100, 1))
        self.assertEqual(free.address, A)

    def test_code(self):
        self.tape.code(1, 10, 'C.m\xe9thode', 'a.py')
        self.tape.code(2, 20, '', 'eightlen')
        self.assertEqual(self.decode().codes, {1: ('C.m\xe9thode', 'a.py', 10),
                                               2: ('', 'eightlen', 20)})

    def test_type(self):
        address = self.tape.type('module.T', dealloc='d', clear='c')
        type = self.decode().types[address]
        self.assertEqual((type.name, type.basicsize), ('module.T', 32))
        self.assertNotEqual(type.dealloc, type.clear)
        self.assertEqual(type.traverse, 0)
        self.assertEqual(self.decode().type_name(address), 'module.T')
        self.assertEqual(self.decode().type_name(1), '?')

    def test_modules_and_lost(self):
        self.tape.module(1, 2, 3, '/usr/lib/libc.so.6')
        self.tape.lost(4, 5)
        decoded = self.decode()
        self.assertEqual(decoded.modules, [(1, 2, 3, '/usr/lib/libc.so.6')])
        self.assertEqual(decoded.lost, recording.Lost(4, 5, 1))

    def test_thread(self):
        self.tape.record(9, [A], thread=3)
        self.assertEqual(self.event().thread, 3)


class FormatTests(unittest.TestCase):
    def test_empty(self):
        decoded = decode(b'')
        self.assertEqual(decoded.events, [])
        self.assertEqual(decoded.lost, (0, 0, 0))

    def test_unknown_kinds_are_passed_over(self):
        tape = Tape()
        tape.record(99, [1, 2, 3])
        tape.free(A)
        self.assertEqual([type(e) for e in tape.recording().events],
                         [recording.Free])

    def test_words_that_are_not_known(self):
        # A later recorder may add words at the end of a record.
        tape = Tape()
        tape.record(9, [A, 1, 2])
        tape.free(B)
        self.assertEqual([e.address for e in tape.recording().events], [A, B])

    def test_no_recording(self):
        tape = Tape()
        tape.birth(A, 'f:1', 1)
        data = tape.bytes()
        for bad, message in ((data[:-1], 'multiple of 8'),
                             (data[:-8], 'has 11 words'),
                             (bytes(8), 'has 0 words'),
                             ((4 | 2 << 32).to_bytes(8, 'little') + bytes(8),
                              'shorter')):
            with self.subTest(message):
                with self.assertRaisesRegex(ValueError, message):
                    decode(bad)

    def test_pcs(self):
        tape = Tape()
        tape.birth(A, 'f:1 g:2', 1)
        tape.gone(1, A, B, B, 'f:1', 'h:1')
        tape.free(A)
        self.assertEqual(tape.recording().pcs(), {0x1000, 0x1001, 0x1002})
        self.assertEqual(tape.recording().events[0].frames[0],
                         Frame(0x1000, 0x100))


if __name__ == '__main__':
    unittest.main()
