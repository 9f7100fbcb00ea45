"""Processes and cores that are damaged."""

import os
import random
import re
import struct
import unittest

from .support import (Program, RefmapTestCase, setUpModule,
                      tearDownModule)


class BrokenCoreTests(RefmapTestCase):
    """Cores of which only a part was written, or that were overwritten."""

    COMMANDS = ['py-refmap', 'py-refmap-types', 'py-refmap-top 3',
                'py-refmap-snapshots', 'py-refmap-diff', 'py-refmap-diff 1 2',
                'py-refmap-verify', 'py-refmap $victim',
                'py-refmap-refs $victim', 'py-refmap-objects --type Victim']

    def setUp(self):
        self.program = Program()
        self.addCleanup(self.program.remove)
        self.answered = 0

    def check(self, core, **params):
        """Each command ends with its output or with a sentence."""
        session = self.program.core(core, self.COMMANDS,
                                    setup=self.program.variables())
        for command in self.COMMANDS:
            answer = session[command]
            with self.subTest(command=command, **params):
                if answer.error is None:
                    self.assertTrue(answer.output)
                    self.answered += 1
                else:
                    self.assertRegex(answer.error, r'\A[A-Z"].*[.?]\Z')
                    self.assertNotIn('does not understand', answer.error)

    def test_truncated(self):
        core = self.program.abort()
        size = os.path.getsize(core)
        for part in 0.95, 0.8, 0.5, 0.2, 0.02:
            os.truncate(core, int(size * part))
            self.check(core, part=part)

    def test_overwritten(self):
        """Memory that may be written to has random words in it, some of them
        taken from elsewhere in it: numbers and pointers that look right."""
        core = self.program.path('gcore')
        self.program.live([f'gcore {core}'])
        with open(core, 'rb') as file:
            intact = file.read()
        for seed, every in enumerate([100_000, 10_000, 1000, 100, 10]):
            rng = random.Random(seed)
            data = bytearray(intact)
            segments = self.segments(data)
            size = sum(end - start for start, end in segments)
            for _ in range(size // 8 // every):
                at, other = (rng.randrange(*rng.choice(segments), 8)
                             for _ in range(2))
                data[at:at + 8] = rng.choice((
                    intact[other:other + 8], rng.randbytes(8),
                    b'\xff' * 8, b'\xdd' * 8, bytes(8)))
            with open(core, 'wb') as file:
                file.write(data)
            self.check(core, every=every)
        self.assertGreater(self.answered, len(self.COMMANDS))

    def segments(self, data):
        """Return [(start, end)]: where in a core the memory is that could be
        written to."""
        if data[:6] != b'\x7fELF\2\1':
            self.skipTest('cores are not of 64 bits, little-endian')
        start, = struct.unpack_from('<Q', data, 32)
        size, n = struct.unpack_from('<HH', data, 54)
        found = []
        for at in range(start, start + n * size, size):
            kind, flags, offset = struct.unpack_from('<IIQ', data, at)
            in_file, = struct.unpack_from('<Q', data, at + 32)
            if kind == 1 and flags & 2 and in_file:
                found.append((offset, offset + in_file))
        return found


class DamageTests(RefmapTestCase):
    """Maps and objects that were overwritten."""

    # A name, what overwrites it, what puts it right again.
    DAMAGES = [
        ('block pointer is garbage',
         'set $old = main_map.blocks[3]',
         'set var main_map.blocks[3] = (refmap_block_t *) 0x123456789'),
        ('block pointer is odd',
         'set $old = main_map.blocks[3]',
         'set var main_map.blocks[3] = (refmap_block_t *) -1'),
        ('block pointer is another block',
         'set $old = main_map.blocks[3]',
         'set var main_map.blocks[3] = main_map.blocks[5]'),
        ('block pointer is no block',
         'set $old = main_map.blocks[3]',
         'set var main_map.blocks[3] = (refmap_block_t *) &main_map'),
        ('page is garbage',
         'set $old = main_map.blocks[3]->page',
         'set var main_map.blocks[3]->page = 0xdddddddddddddddd'),
        ('page is nowhere',
         'set $old = main_map.blocks[3]->page',
         'set var main_map.blocks[3]->page = 7'),
        ('length is garbage',
         'set $old = main_map.len', 'set var main_map.len = -1'),
        ('length is too large',
         'set $old = main_map.len', 'set var main_map.len = 100000000'),
        ('blocks are nowhere',
         'set $old = main_map.blocks',
         'set var main_map.blocks = (refmap_block_t **) 8'),
        ('table is nowhere',
         'set $old = main_map.table',
         'set var main_map.table = (refmap_block_t *) 0xdddddddddddddddd'),
        ('buckets are nowhere',
         'set $old = main_map.table->hh.tbl->buckets',
         'set var main_map.table->hh.tbl->buckets = (UT_hash_bucket *) 8'),
        ('bucket goes round',
         'set $old = main_map.blocks[3]->hh.hh_next',
         'set var main_map.blocks[3]->hh.hh_next = &main_map.blocks[3]->hh'),
        ('snapshot is garbage',
         'set $old = main_map.newest',
         'set var main_map.newest = (refmap_snapshot_t *) 0x123456789'),
        ('snapshots go round',
         'set $old = main_map.newest->older',
         'set var main_map.newest->older = main_map.newest'),
        ('snapshot has endless blocks',
         'set $old = main_map.newest->nblocks',
         'set var main_map.newest->nblocks = -1'),
        ('all blocks are garbage',
         'set $old = main_map.blocks',
         'set var main_map.blocks = (refmap_block_t **) &main_map.recent'),
        ('blocks are a large nothing',
         'set $old = main_map.blocks',
         'set var main_map.blocks = (refmap_block_t **) (main_map.hot + 1)'),
        ('the layout is of another version',
         'set $old = _PyRefMap_layout.version',
         'set var _PyRefMap_layout.version = 99'),
        ('the layout is garbage',
         'set $old = _PyRefMap_layout.slots',
         'set var _PyRefMap_layout.slots = 0xdddddddd'),
        ('maps go round',
         'set $old = main_map.next', 'set var main_map.next = &main_map'),
        ('names are nowhere',
         'set $old = main_map.by_id',
         'set var main_map.by_id = (refmap_name_t **) 16'),
        ('interpreters go round',
         'set $old = _PyRuntime.interpreters.head->next',
         'set var _PyRuntime.interpreters.head->next = '
         '_PyRuntime.interpreters.head'),
        ('interpreter is garbage',
         'set $old = _PyRuntime.interpreters.head',
         'set var _PyRuntime.interpreters.head = '
         '(PyInterpreterState *) 0x123456789'),
        ('type is NULL',
         'set $old = ((PyObject *) $slots)->ob_type',
         'set var ((PyObject *) $slots)->ob_type = 0'),
        ('type is garbage',
         'set $old = ((PyObject *) $slots)->ob_type',
         'set var ((PyObject *) $slots)->ob_type = '
         '(PyTypeObject *) 0xdddddddddddddddd'),
        ('type is no type',
         'set $old = ((PyObject *) $slots)->ob_type',
         'set var ((PyObject *) $slots)->ob_type = (PyTypeObject *) $victim'),
        ('size is garbage',
         'set $old = ((PyVarObject *) $keep)->ob_size',
         'set var ((PyVarObject *) $keep)->ob_size = 0x7fffffffffffffff'),
    ]
    COMMANDS = ['py-refmap', 'py-refmap $victim', 'py-refmap $slots',
                'py-refmap-types', 'py-refmap-top 3',
                'py-refmap-objects --type Victim', 'py-refmap-snapshots',
                'py-refmap-diff 1 2', 'py-refmap-diff', 'py-refmap-verify',
                'py-refmap-refs $victim']

    @classmethod
    def setUpClass(cls):
        cls.program = Program()
        cls.addClassCleanup(cls.program.remove)
        commands = []
        for number, (_, save, overwrite) in enumerate(cls.DAMAGES):
            target = re.match(r'set var (.*?) = ', overwrite)[1]
            commands += [save, overwrite]
            commands += [f'{command} ' + ' ' * number
                         for command in cls.COMMANDS]
            commands.append(f'set var {target} = $old')
        cls.core = cls.program.path('gcore')
        commands += [
            'set var main_map.blocks[3] = (refmap_block_t *) 0x123456789',
            'set var main_map.blocks[4] = (refmap_block_t *) 1',
            f'gcore {cls.core}', 'py-refmap']
        cls.session = cls.program.live(commands,
                                       setup=cls.program.variables())

    def answer(self, title, command):
        titles = [damage[0] for damage in self.DAMAGES]
        return self.session[f'{command} ' + ' ' * titles.index(title)]

    def test_one_sentence(self):
        """Each command ends with its output or with a sentence."""
        for title, save, overwrite in self.DAMAGES:
            self.assertIsNone(self.session[save].error, title)
            self.assertIsNone(self.session[overwrite].error, title)
            for command in self.COMMANDS:
                answer = self.answer(title, command)
                with self.subTest(damage=title, command=command):
                    if answer.error is None:
                        self.assertTrue(answer.output)
                    else:
                        self.assertRegex(answer.error, r'\A[A-Z"].*[.?]\Z')
                        self.assertNotIn('does not understand', answer.error)

    def test_lost_blocks_are_told(self):
        for title in ('block pointer is garbage', 'block pointer is odd',
                      'block pointer is another block',
                      'block pointer is no block', 'page is garbage'):
            answer = self.answer(title, 'py-refmap')
            with self.subTest(damage=title):
                self.assertIn('no: off by', answer.field('exact'))
                for command in 'py-refmap', 'py-refmap-refs $victim':
                    self.assertRegex(self.answer(title, command).lines[-1],
                                     r'^1 of \d+ blocks of the map .* damaged')
        answer = self.answer('block pointer is another block',
                             'py-refmap-diff')
        self.assertIn('damaged', answer.lines[-1])

    def test_the_rest_is_read(self):
        answer = self.answer('block pointer is garbage',
                             'py-refmap-objects --type Victim')
        self.assertIn(f'{self.program.facts["victim"]:#x}', answer.output)

    def test_damaged_snapshots_hide_nothing_else(self):
        for title in 'snapshot is garbage', 'snapshots go round':
            answer = self.answer(title, 'py-refmap $victim')
            self.assertEqual(answer.field('type'), 'Victim')
            self.assertIn('snapshot', answer.field('snapshot'))

    def test_endless_lists(self):
        answer = self.answer('snapshots go round', 'py-refmap-snapshots')
        self.assertEqual(answer.error, 'The list of snapshots is damaged: it '
                                       'has no end.')

    def test_layout_is_checked(self):
        for title, version in [('the layout is of another version', 99),
                               ('the layout is garbage', 1)]:
            for command in self.COMMANDS:
                self.assertEqual(
                    self.answer(title, command).error,
                    f'The map of this process has the layout {version}: use '
                    f'the refmap_gdb.py that belongs to it.')

    def test_repaired(self):
        self.assertIn('2 of ', self.session['py-refmap'].lines[-1])

    def test_core_of_a_damaged_map(self):
        session = self.program.core(self.core, ['py-refmap', 'py-refmap-diff'])
        self.assertEqual(session['py-refmap'].output,
                         self.session['py-refmap'].output)


if __name__ == '__main__':
    unittest.main()
