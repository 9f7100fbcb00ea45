"""Names of code, fields and contracts. Runs in any interpreter."""

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import unittest
from collections import namedtuple
from unittest import mock

from refmap.who import (binutils, contracts, debuginfo, loaded, symbols,
                        writers)
from refmap.who.symbols import Site, Symbols

BINUTILS = all(map(shutil.which, ('addr2line', 'nm', 'readelf')))

needs_binutils = unittest.skipUnless(BINUTILS, 'binutils are missing')
needs_gdb = unittest.skipUnless(BINUTILS and shutil.which('gdb'),
                                'binutils or gdb are missing')

Type = namedtuple('Type', 'address name basicsize itemsize flags dealloc '
                          'traverse clear base')

# Numbers of words in a PyTypeObject, the same since 3.8.
DEALLOC, TRAVERSE, CLEAR = 6, 23, 24


def type_record(tp):
    """What a recording has of a type object."""
    words = ctypes.cast(id(tp), ctypes.POINTER(ctypes.c_size_t))
    return Type(id(tp), tp.__name__, tp.__basicsize__, tp.__itemsize__,
                tp.__flags__, words[DEALLOC], words[TRAVERSE], words[CLEAR],
                id(tp.__base__) if tp.__base__ else 0)


def address_of(function, library=ctypes.pythonapi):
    return ctypes.cast(getattr(library, function), ctypes.c_void_p).value


def compiler():
    """The command of the C compiler as a list; None if there is none."""
    command = shlex.split(sysconfig.get_config_var('CC') or '')
    return command if command and shutil.which(command[0]) else None


# The program's functions tell each other by what they return.
SOURCE = r'''
struct object { long count; void *type; };

static inline __attribute__((always_inline)) long
innermost(struct object *op)
{
    extern long outside(struct object *);
    return outside(op) + 1;    /* line 8 */
}

long
outside(struct object *op)
{
    return op->count;
}

__attribute__((noinline)) static long
hidden(struct object *op)
{
    return innermost(op) * 3;    /* line 20 */
}

long
shown(struct object *op)
{
    return hidden(op) + 5;    /* line 26 */
}

long
number(const char *text, long *count)
{
    return *count += *text;
}

void *
entry_of_hidden(void)
{
    return (void *)hidden;
}

/* Types of objects: the second one's structure is used by a cast only. */
typedef struct _object { long ob_refcnt; void *ob_type; } PyObject;
typedef struct { PyObject ob_base; PyObject *mine; } Mine;
typedef struct { PyObject ob_base; PyObject *theirs; } TheirsObject;

long
mine_dealloc(Mine *self)
{
    TheirsObject *other = (TheirsObject *)self->mine;
    return other->theirs->ob_refcnt;
}

long
theirs_dealloc(PyObject *self)
{
    return ((TheirsObject *)self)->theirs->ob_refcnt;
}

long
variable_dealloc(PyObject *op)
{
    Mine *self = (Mine *)op;
    return outside((struct object *)self) + self->mine->ob_refcnt;
}
'''


class BinutilsTests(unittest.TestCase):
    """What the tools write, literally."""

    def test_base_name(self):
        for name in ('f', 'f.part.0', 'f.constprop.0', 'f.isra.12', 'f.cold',
                     'f.part.0.isra.0', 'f.lto_priv.3', 'f.cold.1',
                     'f@@V_2.4'):
            self.assertEqual(binutils.base_name(name), 'f', name)
        for name in '??', '_start', 'a b', '.x', '':
            self.assertEqual(binutils.base_name(name), name)

    def test_base_name_of_cpp(self):
        for name, plain in (
                ('ns::f(int, char const*) [clone .part.0]', 'ns::f'),
                ('print(char const*, ...)', 'print'),
                ('(anonymous namespace)::f(int)', '{anonymous}::f'),
                ('ns::A<int (*)(char)>::f() const', 'ns::A<int (*)(char)>::f'),
                ('void ns::f<ns::Foo<int> >(_object*)', 'ns::f<ns::Foo<int> >'),
                ('ns::operator<<(int)', 'ns::operator<<(int)'),
                ('f(', 'f(')):
            self.assertEqual(binutils.base_name(name), plain)

    def test_segments(self):
        text = textwrap.dedent('''\
            Type Offset   VirtAddr           PhysAddr           FileSiz ...
              PHDR 0x000040 0x0000000000000040 0x0000000000000040 0x0310 0x0310 R 0x8
              LOAD 0x000000 0x0000000000000000 0x0000000000000000 0x0890 0x0890 R 0x1000
              LOAD 0x000890 0x0000000000001890 0x0000000000001890 0x1485 0x1485 R E 0x1000
            ''')
        self.assertEqual(binutils.parse_segments(text),
                         [(0, 0, 0x890), (0x890, 0x1890, 0x1485)])

    def test_symbols(self):
        text = textwrap.dedent('''\
            0000000000000a40 T _start
            0000000000000c00 0000000000000005 t late.part.0
            0000000000000b40 0000000000000010 T spaced(int, char)
            0000000000000b50 0000000000000010 D data
            0000000000000b60 0000000000000000 t empty
            0000000000000b70 0000000000000020 W weak@@V_1
            broken
            ''')
        self.assertEqual(binutils.parse_symbols(text),
                         [(0xb40, 0x10, 'spaced'),
                          (0xb70, 0x20, 'weak'), (0xc00, 5, 'late')])

    def test_symbols_of_files(self):
        split = binutils.split_by_file
        text = '\n/a:\n1 T x\n\n/c d:\n2 T y\n3 T z\n\n/e:\n'
        self.assertEqual(split(text, ['/a', '/b', '/c d', '/e']),
                         ['1 T x\n', None, '2 T y\n3 T z\n', ''])
        self.assertEqual(split(text, ['/e', '/a']), ['', None])
        self.assertEqual(split('', ['/a', '/b']), [None, None])
        self.assertEqual(split('', []), [])

    def test_lines(self):
        text = textwrap.dedent('''\
            0x0000000000000001
            inner
            /src/a.h:7
            outer.part.0
            /src/a.c:30 (discriminator 2)
            0x0000000000000002
            ??
            ??:0
            0x0000000000000003
            made_up
            /src/a.c:?
            0x0000000000000004
            odd
            /src/a
            b:c.c:9
            ''')
        self.assertEqual(binutils.parse_lines(text), [
            (('inner', '/src/a.h', 7), ('outer', '/src/a.c', 30)),
            (('??', '', 0),),
            (('made_up', '/src/a.c', 0),),
            (('odd', '/src/a\nb:c.c', 9),)])

    def test_lines_cut_off(self):
        text = '0x01\nf\n/a.c:1\n0x02\ng\n'
        self.assertEqual(binutils.parse_lines(text), [(('f', '/a.c', 1),), ()])
        self.assertEqual(binutils.parse_lines(''), [])

    def test_no_such_tool(self):
        with self.assertRaisesRegex(binutils.ToolError, '^refmap-no-tool '
                                    r'cannot be run \(No such file'):
            binutils.run(['refmap-no-tool'])

    def test_tool_that_hangs(self):
        with (mock.patch.object(binutils, 'TIMEOUT', 0.1),
              self.assertRaisesRegex(binutils.ToolError, 'longer than 0.1 s')):
            binutils.run([sys.executable, '-c', 'input()\nimport time\n'
                                                'time.sleep(60)'], '\n')


class WritersTests(unittest.TestCase):
    """What machine code says of stores."""

    CODE = """
0000000000001000 <set_name>:
    1000:\tmov    0x28(%rdi),%r13
    1004:\tmov    %rbx,0x28(%r12)
    1008:\tmov    %eax,0x30(%rsi)
    100c:\tmov    %rax,0x38(%rsp)
    1010:\tcall   2000 <Py_XDECREF>

0000000000001020 <clear.part.0>:
    1020:\tmovq   $0x0,0x28(%rbx)
    1028:\tmovq   $0x1,0x30(%rbx)
    1030:\tmov    %rax,0x40(%rbx,%rcx,8)
    1034:\tjmp    2000 <Py_XDECREF>
"""

    def setUp(self):
        self.codes = writers.parse(self.CODE, binutils.base_name)

    def test_stores(self):
        self.assertEqual(self.codes, {
            'set_name': writers.Code({'Py_XDECREF'}, set(), {0x28}),
            'clear': writers.Code({'Py_XDECREF'}, {0x28}, set())})

    def test_of_field(self):
        self.assertEqual(writers.of_field(self.codes, 0x28, False),
                         ['set_name'])
        # A register may have NULL: who stores one for sure comes first.
        self.assertEqual(writers.of_field(self.codes, 0x28, True),
                         ['clear', 'set_name'])
        self.assertEqual(writers.of_field(self.codes, 0x38, True), [])

    def test_no_code(self):
        self.assertEqual(writers.parse('', binutils.base_name), {})


class MapsTests(unittest.TestCase):
    def test_maps(self):
        modules = symbols.parse_maps([
            '55d0-55d8 r--p 00000000 08:01 12     /usr/bin/python\n',
            '55d8-55e0 r-xp 00008000 08:01 12     /usr/bin/python\n',
            '7f00-7f10 r-xp 00000000 08:01 13     /a b\\012c (deleted)\n',
            '7f10-7f20 rwxp 00000000 00:00 0 \n',
            '7f20-7f30 r-xp 00000000 00:00 0      [vdso]\n'])
        self.assertEqual(modules, [
            (0x55d8, 0x55e0, 0x8000, '/usr/bin/python'),
            (0x7f00, 0x7f10, 0, '/a b\nc (deleted)')])

    def test_nothing_is_mapped(self):
        s = Symbols([])
        self.assertEqual(s.at(0x1000), symbols.UNKNOWN)
        self.assertEqual(s.at(0), symbols.UNKNOWN)
        self.assertEqual(s.function(0), Site('??', '??', 0))
        self.assertEqual(s.ranges(['main']), [])
        self.assertIsNone(s.hands_out('main'))
        self.assertEqual(s.notes, [])

    def test_no_file(self):
        s = Symbols([(0x1000, 0x2000, 0x500, '/no such/lib.so (deleted)'),
                     (0x3000, 0x4000, 0, __file__),
                     (0x5000, 0x6000, 0, os.path.dirname(__file__))])
        s.resolve([0x1801, 0x3001, 0x5001])
        self.assertEqual(s.at(0x1801),
                         (Site('??', 'lib.so (deleted)+0xd00', 0),))
        self.assertEqual(s.at(0x2001), symbols.UNKNOWN)
        self.assertEqual(s.ranges(['main']), [])
        self.assertIn('/no such/lib.so (deleted) was deleted, or replaced: '
                      'functions, files and lines are unknown.', s.notes)
        self.assertEqual(len(s.notes), 3)

    def test_no_tools(self):
        pc = address_of('PyObject_Repr') + 1
        with (mock.patch.dict(os.environ, PATH='/no such directory'),
              mock.patch.dict(binutils._binaries, clear=True)):
            s = Symbols()
            [site] = s.at(pc)
            self.assertEqual(s.ranges(['PyObject_Repr']), [])
            self.assertIsNone(s.field(type_record(list), 24))
        self.assertEqual(site.function, '??')
        self.assertRegex(site.file, r'\+0x[0-9a-f]+$')
        self.assertIn('readelf cannot be run (No such file or directory): '
                      'functions, files and lines are unknown.', s.notes)

    def test_transparent(self):
        for name in 'Py_DECREF', '_PyRefMap_Whatever', 'refmap_close':
            self.assertTrue(symbols.is_transparent(name), name)
        for name in 'PyList_New', 'list_dealloc', '_PyEval_EvalFrameDefault':
            self.assertFalse(symbols.is_transparent(name), name)

    def test_disjoint(self):
        self.assertEqual(
            loaded._disjoint([(1, 2), (3, 4), (3, 9), (4, 1), (11, 5),
                              (16, 1)]),
            [(1, 2), (3, 13), (16, 1)])

    def test_names_are_of_one_kind(self):
        self.assertFalse(symbols.TRANSPARENT & symbols.ALLOCATORS)
        self.assertFalse(symbols.TRANSPARENT & symbols.CALLS)
        self.assertFalse(symbols.ALLOCATORS & symbols.CALLS)


def has_lines():
    """Was this interpreter compiled with -g?"""
    return Symbols().function(address_of('PyObject_Repr')).line > 0


@needs_binutils
class InterpreterTests(unittest.TestCase):
    """The interpreter's own functions."""

    @classmethod
    def setUpClass(cls):
        cls.symbols = Symbols()

    def test_function(self):
        site = self.symbols.function(address_of('PyObject_Repr'))
        self.assertEqual(site.function, 'PyObject_Repr')
        if not site.line:
            self.skipTest('the interpreter was compiled without -g')
        self.assertEqual(site.file, 'Objects/object.c')

    def test_unresolved_before(self):
        pcs = [address_of(name) + 1 for name in ('PyList_New', 'PyDict_New')]
        s = Symbols()
        s.resolve(pcs)
        with mock.patch.object(binutils, 'run', side_effect=AssertionError):
            self.assertEqual([s.at(pc)[-1].function for pc in pcs],
                             ['PyList_New', 'PyDict_New'])

    def test_symbols_at_once(self):
        # All files of this process, and names that could be taken for what nm
        # writes.
        with tempfile.TemporaryDirectory() as directory:
            paths = sorted({module[3] for module in loaded.mapped_modules()
                            if os.path.isfile(module[3])})
            for i, name in enumerate(('a:\n', '\n', '0000 00 T x', '-D')):
                paths.append(os.path.join(directory, name))
                shutil.copy(paths[i], paths[-1])
            binaries = []
            for path in paths:
                try:
                    binaries.append(binutils.Binary(path))
                except binutils.ToolError:
                    pass            # no ELF file
            binutils.read_symbols(binaries)
            for binary in binaries:
                self.assertEqual(binary.symbols(),
                                 binutils.Binary(binary.path).symbols())
            self.assertLess(3, len(binaries))
            with mock.patch.object(binutils, 'run', side_effect=AssertionError):
                binutils.read_symbols(binaries)

    def test_ranges(self):
        start = address_of('PyObject_Repr')
        found = self.symbols.ranges({'PyObject_Repr'})
        self.assertIn(start, [begin for begin, _ in found])
        for begin, length in found:
            for pc in begin + 1, begin + length:
                self.assertEqual(self.symbols.at(pc)[-1].function,
                                 'PyObject_Repr')

    def test_ranges_of_prefix(self):
        found = self.symbols.ranges(['PyObject_Rep*'])
        self.assertEqual(found, self.symbols.ranges(['PyObject_Repr']))

    def test_ranges_of_nothing(self):
        self.assertEqual(self.symbols.ranges([]), [])
        self.assertEqual(self.symbols.ranges(['PyObject_Rep']), [])

    @unittest.skipUnless(shutil.which('objdump'), 'needs objdump')
    def test_writers(self):
        # prop_doc of a property, after three other fields, is set when that is
        # made, and is all that its tp_clear clears.
        self.assertEqual(self.symbols.writers(0, 16, True), [])
        dealloc = type_record(property).dealloc
        if not self.symbols.function(dealloc).line:
            self.skipTest('the interpreter was compiled without -g')
        offset = object.__basicsize__ + 3 * ctypes.sizeof(ctypes.c_void_p)
        found = self.symbols.writers(dealloc, offset, True)
        self.assertIn('property_clear', [site.function for site in found])
        self.assertEqual({site.file for site in found},
                         {'Objects/descrobject.c'})

    def test_many(self):
        # Each address has an answer of its own, whatever the order.
        found = self.symbols.ranges(['PyObject_*'])
        self.symbols.resolve(begin + 1 for begin, _ in found)
        functions = {self.symbols.at(begin + 1)[-1].function
                     for begin, _ in found}
        self.assertLess(50, len(functions))
        for function in functions:
            self.assertTrue(function.startswith('PyObject_'), function)


@needs_gdb
class FieldTests(unittest.TestCase):
    """Structures of the interpreter's own types."""

    @classmethod
    def setUpClass(cls):
        if not has_lines():
            raise unittest.SkipTest('the interpreter was compiled without -g')
        cls.symbols = Symbols()

    def fields(self, tp, offsets, types=()):
        types = {id(one): type_record(one) for one in types}
        return [self.symbols.field(type_record(tp), offset, types)
                for offset in offsets]

    def test_list(self):
        self.assertEqual(self.fields(list, (0, 8, 16, 24, 32, 40, 4000)),
                         ['ob_refcnt', 'ob_type', 'ob_size', 'ob_item',
                          'allocated', None, None])

    def test_items(self):
        self.assertEqual(self.fields(tuple, (24, 32, 104)),
                         ['ob_item[0]', 'ob_item[1]', 'ob_item[10]'])

    def test_nested(self):
        self.assertEqual(self.fields(set, (64, 80)),
                         ['smalltable[0].key', 'smalltable[1].key'])

    def test_inherited_functions(self):
        # The structure of OSError is not the one of its base's size.
        self.assertEqual(self.fields(OSError, (16, 24, 72)),
                         ['dict', 'args', 'myerrno'])

    def test_named_like_the_function(self):
        # No function of the type has a variable of its structure.
        self.assertIn('utf8', self.fields(str, (48,))[0])

    def test_class_statement(self):
        class Sub(list):
            pass

        self.assertEqual(self.fields(Sub, (24, Sub.__basicsize__ + 8),
                                     [list, object]),
                         ['ob_item', None])

    def test_class_statement_of_object(self):
        class Slots:
            __slots__ = 'a', 'b'

        self.assertEqual(self.fields(Slots, (8, 16, 24), [object]),
                         ['ob_type', None, None])

    def test_shared_function(self):
        # Structures of this size beside object_dealloc() are not its own.
        record = type_record(list)._replace(
            name='m.Foo', dealloc=type_record(object).dealloc, traverse=0,
            clear=0, base=0, address=0)
        self.assertEqual([self.symbols.field(record, offset)
                          for offset in (8, 16, 24)],
                         ['ob_type', None, None])

    def test_many_at_once(self):
        s = Symbols()
        wanted = [type_record(tp) for tp in (list, dict, set, frozenset)]
        s.learn_fields(wanted)
        with mock.patch.object(binutils, 'run', side_effect=AssertionError):
            self.assertEqual(s.field(wanted[0], 24), 'ob_item')
            self.assertEqual(s.field(wanted[1], 32), 'ma_keys')
            self.assertEqual(s.field(wanted[3], 40), 'table')

    def test_hands_out(self):
        pcs = [address_of(function) + 1 for function in (
            'PyObject_Repr', 'PyList_New', 'PyFrame_GetCode', 'PyList_Append',
            'PyUnicode_AsUTF8', 'PyErr_Clear', 'PyErr_Fetch',
            'PyObject_GetBuffer', 'PyThreadState_Clear')]
        self.symbols.resolve(pcs)
        # By their results; through pointers to a variable, or to a structure.
        for function in ('PyObject_Repr', 'PyList_New', 'PyFrame_GetCode',
                         'PyErr_Fetch', 'PyObject_GetBuffer'):
            self.assertIs(self.symbols.hands_out(function), True,
                          function)
        for function in ('PyList_Append', 'PyUnicode_AsUTF8', 'PyErr_Clear',
                         'PyThreadState_Clear'):
            self.assertIs(self.symbols.hands_out(function), False,
                          function)
        self.assertIsNone(self.symbols.hands_out('no_such_function'))


def leaf(name, offset, pointer=True, size=8):
    return {'name': name, 'offset': offset, 'size': size, 'kind': 'leaf',
            'pointer': pointer}


def aggregate(name, offset, size, *members, kind='struct', **evidence):
    return {'name': name, 'offset': offset, 'size': size, 'kind': kind,
            'pointer': False, 'members': list(members), **evidence}


def candidate(name, *members, size=32, used=False, beside=False):
    return aggregate(name, 0, size, *members, used=used,
                     beside=beside)


class StructureTests(unittest.TestCase):
    """Literal structures."""

    def test_name_at(self):
        inner = aggregate('', 0, 16, leaf('key', 0), leaf('hash', 8, False))
        union = aggregate('', 16, 8, leaf('number', 0, False), leaf('op', 0),
                          kind='union')
        structure = candidate(
            'Foo', aggregate('ob_base', 0, 16, leaf('ob_refcnt', 0, False),
                             leaf('ob_type', 8)),
            union, leaf('flag', 24, False, 4),
            aggregate('table', 32, 32, inner, kind='array'),
            aggregate('more', 64, 8, leaf('last', 0)), size=72)
        names = {offset: debuginfo.name_at(structure, offset)
                 for offset in (8, 16, 24, 28, 32, 56, 64, 72, -8)}
        self.assertEqual(names, {
            8: 'ob_base.ob_type', 16: 'op', 24: 'flag', 28: None,
            32: 'table[0].key', 56: 'table[1].hash', 64: 'more.last',
            72: None, -8: None})

    def field(self, structures, name='m.Foo', slots=(), size=32, items=0,
              offset=16):
        record = Type(0, name, size, items, 0, 0, 0, 0, 0)
        words = debuginfo.words_of(name, slots)
        return debuginfo.field_at(structures, record, words, offset)

    def test_used_comes_first(self):
        one = candidate('One', leaf('a', 16), used=True)
        foo = candidate('Foo', leaf('b', 16), beside=True)
        self.assertEqual(self.field([one, foo]), 'a')

    def test_used_of_another_size(self):
        # The type's own structure is known, and is another one than Foo.
        one = candidate('One', leaf('a', 16), used=True, size=40)
        foo = candidate('Foo', leaf('b', 16), beside=True)
        self.assertIsNone(self.field([one, foo]))

    def test_name_comes_second(self):
        foo = candidate('PyFooObject', leaf('a', 16))
        bar = candidate('Bar', leaf('b', 16), beside=True)
        self.assertEqual(self.field([foo, bar]), 'a')
        self.assertEqual(self.field([foo, bar], 'x', ['bar_dealloc']), 'b')
        longer = candidate('FooBar', leaf('c', 16))
        self.assertEqual(self.field([longer, foo]), 'a')

    def test_place_comes_third(self):
        one = candidate('One', leaf('a', 16))
        two = candidate('Two', leaf('b', 16), beside=True)
        self.assertEqual(self.field([one, two]), 'b')
        self.assertIsNone(self.field([{**one, 'beside': True}, two]))

    def test_no_evidence(self):
        one = candidate('One', leaf('a', 16))
        self.assertIsNone(self.field([one]))
        self.assertIsNone(self.field([]))

    def test_they_must_agree(self):
        one = candidate('One', leaf('a', 16), leaf('b', 24), used=True)
        two = candidate('Two', leaf('a', 16), leaf('c', 24), used=True)
        self.assertEqual(self.field([one, two]), 'a')
        self.assertIsNone(self.field([one, two], offset=24))

    def test_size(self):
        foo = candidate('Foo', leaf('a', 16), size=40)
        self.assertIsNone(self.field([foo]))
        self.assertEqual(self.field([foo], size=40), 'a')

    def test_variable_size(self):
        items = aggregate('items', 24, 8, leaf('', 0), kind='array')
        foo = candidate('Foo', leaf('a', 16), items)
        for size in 24, 32:     # with or without the first item
            found = [self.field([foo], size=size, items=8, offset=offset)
                     for offset in (16, 24, 32, 80)]
            self.assertEqual(found, ['a', 'items[0]', 'items[1]', 'items[7]'])
        self.assertIsNone(self.field([foo], size=40, items=8))

    def test_before(self):
        self.assertEqual(debuginfo.field_before(1 << 4, -24), '__dict__')
        self.assertEqual(debuginfo.field_before(1 << 3, -32), '__weakref__')
        self.assertIsNone(debuginfo.field_before(0, -24))

    def test_no_gdb(self):
        with (mock.patch.dict(os.environ, PATH='/no such directory'),
              self.assertRaisesRegex(binutils.ToolError,
                                     '^gdb cannot be run')):
            debuginfo.ask(sys.executable, {})

    def test_no_answer(self):
        with (mock.patch.object(debuginfo, 'run', return_value='what?\n'),
              self.assertRaisesRegex(binutils.ToolError, 'or has no Python$')):
            debuginfo.ask('/file', {})


@needs_binutils
@unittest.skipUnless(compiler(), 'there is no C compiler')
class CompiledTests(unittest.TestCase):
    """A shared object of our own, with and without debug information."""

    # Odd, but a name.
    NAME = 'odd+nam\u00e9\n.so'

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.source = os.path.join(cls.directory, 'source.c')
        with open(cls.source, 'w', encoding='utf-8') as file:
            file.write(SOURCE)

    def setUp(self):
        # The libraries of a test are not asked for again.
        binaries = mock.patch.dict(binutils._binaries)
        binaries.start()
        self.addCleanup(binaries.stop)

    def load(self, *options, strip=()):
        """Return Symbols that know the library, and its handle."""
        directory = tempfile.mkdtemp(dir=self.directory)
        path = os.path.join(directory, self.NAME)
        subprocess.run([*compiler(), '-shared', '-fPIC', '-O1', *options,
                        self.source, '-o', path], check=True)
        if strip:
            subprocess.run(['strip', *strip, path], check=True)
        library = ctypes.CDLL(path)
        return self.symbols_of(directory), library

    def symbols_of(self, directory):
        return Symbols(module for module in symbols.mapped_modules()
                       if module[3].startswith(directory))

    def calls(self, s, function):
        """Return the Sites at each address of a function."""
        [(start, length)] = s.ranges([function])
        s.resolve(range(start + 1, start + length + 1))
        return [s.at(pc) for pc in range(start + 1, start + length + 1)]

    def hidden(self, library):
        library.entry_of_hidden.restype = ctypes.c_size_t
        return library.entry_of_hidden()

    def test_debug_information(self):
        s, library = self.load('-g')
        site = s.function(address_of('shown', library))
        self.assertEqual((site.function, site.file), ('shown', self.source))
        self.assertIn(Site('shown', self.source, 26),
                      [site for sites in self.calls(s, 'shown')
                       for site in sites])
        self.assertEqual(s.function(self.hidden(library)).function, 'hidden')

    def test_inlined(self):
        s, library = self.load('-g')
        self.assertIn((Site('innermost', self.source, 8),
                       Site('hidden', self.source, 20)),
                      self.calls(s, 'hidden'))

    def test_relative_to_the_current_directory(self):
        s, library = self.load('-g')
        with mock.patch.object(os, 'getcwd', return_value=self.directory):
            site = s.function(address_of('shown', library))
        self.assertEqual(site.file, 'source.c')

    def test_relative_to_the_source_tree(self):
        # A cache of the compiler has what was compiled in another directory.
        s, library = self.load('-g')
        root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, root)
        end = os.path.basename(self.directory) + '/source.c'
        os.mkdir(os.path.join(root, os.path.dirname(end)))
        with open(os.path.join(root, end), 'w'):
            pass
        with mock.patch.object(s, '_roots', {root}):
            self.assertEqual(s.function(address_of('shown', library)).file, end)

    def test_no_debug_information(self):
        s, library = self.load()
        for name, address in (('shown', address_of('shown', library)),
                              ('hidden', self.hidden(library))):
            self.assertEqual(s.function(address), Site(name, self.NAME, 0))

    def test_stripped(self):
        s, library = self.load(strip=['-s'])
        self.assertEqual(s.function(address_of('shown', library)),
                         Site('shown', self.NAME, 0))
        # Not taken for the exported function before it.
        site = s.function(self.hidden(library))
        self.assertEqual(site.function, '??')
        self.assertTrue(site.file.startswith(self.NAME + '+0x'), site)
        self.assertEqual(s.ranges(['hidden']), [])
        self.assertEqual(len(s.ranges(['shown'])), 1)

    def test_segments_that_are_not_aligned_alike(self):
        s, library = self.load('-g', '-Wl,-z,max-page-size=0x10000',
                               '-Wl,-z,noseparate-code')
        self.assertEqual(s.function(address_of('shown', library)).function,
                         'shown')
        [(start, _)] = s.ranges(['shown'])
        self.assertEqual(start, address_of('shown', library))

    def test_replaced(self):
        s, library = self.load('-g')
        path = library._name
        os.rename(path, path + '.old')
        with open(path, 'w') as file:
            file.write('no library')
        address = address_of('shown', library)
        os.unlink(path + '.old')
        # As it was mapped, and as it is now.
        for one in s, self.symbols_of(os.path.dirname(path)):
            self.assertEqual(one.function(address).function, '??')
            self.assertEqual(len(one.notes), 1)

    @needs_gdb
    def test_fields(self):
        s, library = self.load('-g')
        for function, field in (('mine_dealloc', 'mine'),
                                ('theirs_dealloc', 'theirs'),
                                ('variable_dealloc', 'mine'),
                                ('shown', None)):
            record = Type(id(function), 'm.T', 24, 0, 0,
                          address_of(function, library), 0, 0, 0)
            self.assertEqual([s.field(record, offset)
                              for offset in (8, 16, 24)],
                             ['ob_type', field, None], function)

    @needs_gdb
    def test_who_works_on_a_structure(self):
        s, library = self.load('-g')
        record = Type(0, 'm.T', 24, 0, 0, address_of('mine_dealloc', library),
                      0, 0, 0)
        names = ['mine_dealloc', 'variable_dealloc', 'shown', 'missing']
        self.assertEqual(s.working_on(names, record),
                         {'mine_dealloc', 'variable_dealloc'})
        larger = record._replace(basicsize=32)
        self.assertEqual(s.working_on(names, larger), set())

    @needs_gdb
    def test_fields_without_debug_information(self):
        s, library = self.load()
        record = Type(0, 'm.T', 24, 0, 0, address_of('mine_dealloc', library),
                      0, 0, 0)
        self.assertIsNone(s.field(record, 16))

    @needs_gdb
    def test_hands_out(self):
        s, library = self.load('-g')
        s.resolve([self.hidden(library) + 1])
        # Its structure is no object, so it may be a variable of the caller.
        self.assertIs(s.hands_out('hidden'), True)
        self.assertIs(s.hands_out('entry_of_hidden'), True)
        self.assertIs(s.hands_out('number'), False)
        # It was inlined: there is no code of this name.
        self.calls(s, 'hidden')
        self.assertIs(s.hands_out('innermost'), True)

    def test_hands_out_without_debug_information(self):
        # gdb is not even asked.
        s, library = self.load()
        self.assertEqual(s.function(address_of('shown', library)).line, 0)
        with mock.patch.object(debuginfo, 'ask', side_effect=AssertionError):
            self.assertIsNone(s.hands_out('shown'))


class ContractTests(unittest.TestCase):
    LINES = textwrap.dedent('''\
        # a comment: of: four: fields:
        PyFoo_New:PyObject*::+1:
        PyFoo_New:int:size::
        PyFoo_New:PyObject *:o:0:

        PyFoo_Get:PyObject*::0:
        PyFoo_Fill:void:::
        PyFoo_Fill:PyObject**:result:+1:
        PyFoo_Fill:PyObject **:borrowed:0:
        PyFoo_Put:int:::
        PyFoo_Put:PyObject*:o:+1:???
        PyFoo_Drop:void:::
        PyFoo_Drop:PyObject*:o:-1: # why
        PyFoo_Fail:PyObject*::null:
        broken
        ''').splitlines()

    def setUp(self):
        self.contracts = contracts.Contracts(contracts.parse(self.LINES))

    def test_results(self):
        for name, new, borrowed in (('PyFoo_New', True, False),
                                    ('PyFoo_Get', False, True),
                                    ('PyFoo_Put', False, False),
                                    ('PyFoo_Fail', False, False),
                                    ('no_such', False, False)):
            self.assertIs(self.contracts.returns_new(name), new, name)
            self.assertIs(self.contracts.returns_borrowed(name), borrowed,
                          name)

    def test_arguments(self):
        c = self.contracts
        self.assertEqual(c.get('PyFoo_New').effects, (None, 'borrowed'))
        self.assertTrue(c.borrows('PyFoo_New', 1))
        self.assertFalse(c.borrows('PyFoo_New', 0))
        self.assertFalse(c.borrows('PyFoo_New', 2))
        self.assertFalse(c.borrows('PyFoo_New', -1))
        self.assertTrue(c.keeps('PyFoo_Put', 0))
        self.assertTrue(c.borrows('PyFoo_Put', 0))
        self.assertTrue(c.steals('PyFoo_Drop', 0))
        self.assertFalse(c.borrows('PyFoo_Drop', 0))
        self.assertTrue(c.fills_new('PyFoo_Fill', 0))
        self.assertTrue(c.fills_borrowed('PyFoo_Fill', 1))
        self.assertFalse(c.fills_new('PyFoo_Fill', 1))
        self.assertIsNone(c.effect('no_such', 0))
        self.assertEqual(c.stolen('no_such'), ())

    def test_corrections_without_a_file(self):
        c = contracts.Contracts()
        self.assertEqual(c.stolen('PyList_SetItem'), (2,))
        self.assertFalse(c.steals('PyContextVar_Reset', 1))
        self.assertTrue(c.fills_new('PyDict_GetItemRef', 2))

    def test_corrections_have_reasons(self):
        for function, index, effect, reason in contracts.CORRECTIONS:
            self.assertTrue(reason, function)
            self.assertGreaterEqual(index, contracts.RESULT)

    def test_by_format(self):
        self.assertTrue(self.contracts.by_format('Py_BuildValue'))
        self.assertFalse(self.contracts.by_format('PyTuple_Pack'))

    def test_of_this_interpreter(self):
        path = contracts.find()
        if path is None:
            self.skipTest('there is no refcounts.dat')
        c = contracts.load()
        self.assertGreater(len(c), 700)
        self.assertTrue(c.returns_borrowed('PyList_GetItem'))
        self.assertTrue(c.returns_borrowed('PyDict_GetItem'))
        self.assertTrue(c.returns_new('PyObject_Repr'))
        self.assertTrue(c.returns_new('PyList_New'))
        self.assertTrue(c.steals('PyList_SetItem', 2))
        self.assertFalse(c.steals('PyList_SetItem', 0))
        self.assertFalse(c.steals('PyList_Append', 1))
        self.assertEqual(c.stolen('PyErr_Restore'), (0, 1, 2))
        self.assertEqual(c.stolen('PyTuple_SetItem'), (2,))
        self.assertFalse(c.returns_new('PyList_Append'))

    def test_not_readable(self):
        with self.assertRaises(OSError):
            contracts.load(os.path.join(os.path.dirname(__file__), 'no such'))


if __name__ == '__main__':
    unittest.main()
