"""Names of code: addresses in memory to functions, files and lines, and back.

What is known of an address depends on the file that it was loaded from. With
debug information: functions, also inlined ones, file and line. Without: the
function, if its symbol was kept, and the name of the file it was loaded from.
Stripped: exported functions only; the rest is '??', in MODULE+OFFSET.
"""

import os
import re
import sysconfig
from bisect import bisect_right
from collections import namedtuple

from . import binutils, debuginfo, writers
from .binutils import ToolError

# file: relative to the source tree of CPython where it lies in it, or else to
# the current directory. Where it is not known it is the name of the module,
# and line is 0.
Site = namedtuple('Site', 'function file line')

# More functions than this write fields at an offset in a structure that is not
# known only.
MAX_WRITERS = 20

UNKNOWN = (Site('??', '??', 0),)

# Functions that take or give up references for their caller. They are never
# the holder of one. What ends in '*' stands for all functions that begin like
# this, here those of the map; see is_transparent() and Symbols.ranges().
TRANSPARENT = frozenset('''
    Py_INCREF Py_DECREF Py_XINCREF Py_XDECREF Py_IncRef Py_DecRef _Py_IncRef
    _Py_DecRef Py_NewRef Py_XNewRef _Py_NewRef _Py_XNewRef Py_SETREF Py_XSETREF
    Py_CLEAR _Py_RefcntAdd _Py_INCREF_IncRefTotal _Py_DECREF_DecRefTotal
    _Py_DECREF_SPECIALIZED _Py_DECREF_NO_DEALLOC _Py_DECREF_INT _Py_TryIncref
    _Py_TryIncrefCompare _Py_TryXGetRef _Py_NewRefWithLock
    _Py_XNewRefWithLock _Py_SetRefcnt Py_SET_REFCNT _Py_IncRefTotal
    _Py_DecRefTotal _Py_IncRefTotalOf _Py_DecRefTotalOf _Py_NewRefTotalOf
    _Py_DecRefTotalLast _Py_DecRefTotalLeft _PyStaticObject_CheckRefcnt
    PyStackRef_NewRef PyStackRef_XNewRef _PyStackRef_StealRef
    PyStackRef_INCREF PyStackRef_DECREF PyStackRef_XDECREF
    _PyWeakref_GET_REF PyCell_SwapTakeRef PyCell_SetTakeRef
    _Py_Dealloc _Py_NewReference _Py_NewReferenceNoTotal _Py_ResurrectReference
    decref_last_slow
    new_reference PyObject_Init PyObject_InitVar _PyObject_Init
    _PyObject_InitVar PyObject_INIT PyObject_INIT_VAR
    _PyRefMap_* refmap_*
    '''.split())

_TRANSPARENT_PREFIXES = tuple(name[:-1] for name in TRANSPARENT
                              if name.endswith('*'))

# Functions in tp_dealloc, tp_traverse and tp_clear that say nothing about the
# type: they serve every class statement, or whatever has nothing of its own.
_SHARED_SLOTS = ('subtype_', 'object_dealloc', 'PyObject_', '_PyObject_',
                 'PyMem_')

# Functions that make the object which another one asked for: what they return
# is their caller's.
ALLOCATORS = frozenset('''
    PyObject_Malloc PyObject_Calloc PyObject_Realloc PyMem_Malloc PyMem_Calloc
    PyMem_Realloc PyMem_RawMalloc PyMem_RawCalloc PyMem_RawRealloc
    _PyObject_Malloc _PyObject_Calloc _PyObject_Realloc _PyObject_New
    _PyObject_NewVar _PyObject_GC_New _PyObject_GC_NewVar _PyObject_GC_Resize
    _PyObject_MallocWithType _PyObject_ReallocWithType _PyType_AllocNoTrack
    _PyType_NewManagedObject PyUnstable_Object_GC_NewWithExtraData
    PyType_GenericAlloc PyType_GenericNew gc_alloc
    tuple_alloc maybe_freelist_pop _PyMem_DebugRawAlloc _PyMem_DebugMalloc
    _PyMem_DebugCalloc _PyMem_DebugRealloc _PyMem_DebugRawMalloc
    _PyMem_DebugRawCalloc _PyMem_DebugRawRealloc pymalloc_alloc
    pymalloc_realloc _PyMem_RawMalloc _PyMem_RawCalloc _PyMem_RawRealloc
    malloc calloc realloc
    '''.split())

# Functions that pass arguments on to a callee, and its result back.
CALLS = frozenset('''
    PyObject_Call _PyObject_Call PyObject_CallObject PyObject_CallNoArgs
    PyObject_CallOneArg PyObject_CallFunction PyObject_CallFunctionObjArgs
    PyObject_CallMethod PyObject_CallMethodObjArgs PyObject_CallMethodNoArgs
    PyObject_CallMethodOneArg PyObject_Vectorcall PyObject_VectorcallDict
    PyObject_VectorcallMethod PyVectorcall_Call PyEval_CallFunction
    PyEval_CallMethod PyEval_CallObjectWithKeywords PyCFunction_Call
    _PyObject_CallNoArgs _PyObject_CallNoArgsTstate _PyObject_CallMethod
    _PyObject_CallMethodId _PyObject_CallMethodIdNoArgs
    _PyObject_CallMethodIdOneArg _PyObject_CallMethodIdObjArgs
    _PyObject_CallMethodFormat _PyObject_CallFunctionVa
    _PyObject_CallFunction_SizeT _PyObject_CallMethod_SizeT
    _PyObject_Call_Prepend _PyObject_MakeTpCall
    _PyObject_VectorcallDictTstate _PyObject_VectorcallTstate
    _PyObject_VectorcallMethodId _PyVectorcall_Call _PyFunction_Vectorcall
    _PyStack_AsDict _PyStack_UnpackDict object_vacall callmethod
    cfunction_call cfunction_vectorcall_FASTCALL
    cfunction_vectorcall_FASTCALL_KEYWORDS
    cfunction_vectorcall_FASTCALL_KEYWORDS_METHOD cfunction_vectorcall_NOARGS
    cfunction_vectorcall_O method_vectorcall method_vectorcall_FASTCALL
    method_vectorcall_FASTCALL_KEYWORDS
    method_vectorcall_FASTCALL_KEYWORDS_METHOD method_vectorcall_NOARGS
    method_vectorcall_O method_vectorcall_VARARGS
    method_vectorcall_VARARGS_KEYWORDS instancemethod_call
    classmethoddescr_call wrapperdescr_call wrapperdescr_raw_call wrapper_call
    type_call slot_tp_call slot_tp_new slot_tp_init vectorcall_maybe
    vectorcall_method vectorcall_unbound call_unbound_noarg
    _PyEval_EvalFrame _PyEval_EvalFrameDefault _PyEval_Vector PyEval_EvalCode
    PyEval_EvalCodeEx PyEval_EvalFrame PyEval_EvalFrameEx _Py_CallInInterpreter
    _PyPegen_run_parser run_eval_code_obj run_mod
    py_trampoline_evaluator _PyEvalFramePushAndInit
    _PyEvalFramePushAndInit_Ex
    '''.split())


def is_transparent(function):
    """Is a function in TRANSPARENT?"""
    return (function in TRANSPARENT
            or function.startswith(_TRANSPARENT_PREFIXES))


def parse_maps(lines):
    """Return the modules in the lines of a /proc/PID/maps.

    They are tuples (start, end, offset in the file, path) of what can be
    executed, as in Recording.modules.
    """
    modules = []
    for line in lines:
        fields = line.rstrip('\n').split(None, 5)
        if len(fields) < 6 or 'x' not in fields[1] or fields[5][0] != '/':
            continue
        start, _, end = fields[0].partition('-')
        # A line break is the only character that the kernel escapes.
        path = fields[5].replace('\\012', '\n')
        modules.append((int(start, 16), int(end, 16), int(fields[2], 16),
                        path))
    return modules


def mapped_modules():
    """Return the modules of this process; none where there is no /proc."""
    try:
        with open('/proc/self/maps', errors='surrogateescape') as file:
            return parse_maps(file)
    except OSError:
        return []


def _disjoint(ranges):
    """Join what overlaps in a sorted list of (start, length)."""
    joined = []
    for start, length in ranges:
        if joined and start < sum(joined[-1]):
            before, old = joined.pop()
            start, length = before, max(old, start + length - before)
        joined.append((start, length))
    return joined


class Symbols:
    """The names of all code in a process.

    notes -- sentences that say what is unknown, and why: a tool is missing, a
             file was deleted
    """

    def __init__(self, modules=None):
        """modules -- tuples (start, end, offset in the file, path), as in
        Recording.modules; None: those of this process, as they are now"""
        if modules is None:
            modules = mapped_modules()
        self.notes = []
        self._modules = sorted(modules)
        self._starts = [module[0] for module in self._modules]
        self._binaries = {}     # path -> Binary, or None
        self._sites = {}        # return address -> tuple of Sites
        self._asked_at = {}     # function -> return addresses in it
        self._roots = None
        self._structures = {}
        self._codes = {}        # (path, address) -> {function: writers.Code}
        self._hands_out = {}      # function -> True, False or None

    def note(self, text):
        """Add a sentence to the notes, once."""
        if text not in self.notes:
            self.notes.append(text)

    def _note_no_code(self, reason):
        self.note(f'{reason}: functions, files and lines are unknown.')

    # ---- files and addresses

    def _module_at(self, address):
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self._modules[index][1]:
            return self._modules[index]
        return None

    def _binary(self, path):
        if path not in self._binaries:
            try:
                self._binaries[path] = binutils.binary(path)
            except ToolError as exc:
                self._note_no_code(exc)
                self._binaries[path] = None
        return self._binaries[path]

    def _locate(self, address):
        """Return (Binary or None, link address or None) of an address."""
        module = self._module_at(address)
        if module is None:
            return None, None
        start, _, offset, path = module
        binary = self._binary(path)
        return binary, binary and binary.link_address(address - start + offset)

    def _absolute(self, path, address, length):
        """Yield (start, length) of what a file has at a link address."""
        offset = self._binaries[path].file_offset(address)
        if offset is None:
            return
        for start, end, begin, name in self._modules:
            where = start + offset - begin
            if name == path and start <= where < end:
                yield where, length

    def _unknown(self, address):
        module = self._module_at(address)
        if module is None:
            return UNKNOWN
        offset = address - module[0] + module[2]
        name = os.path.basename(module[3])
        return (Site('??', f'{name}+{offset:#x}', 0),)

    # ---- names of source files

    def _source_roots(self):
        """Where the source tree of CPython may have been, as file names in
        debug information begin: here, or where the interpreter was built."""
        if self._roots is None:
            self._roots = {os.path.normpath(directory) for directory in
                           map(sysconfig.get_config_var,
                               ('abs_srcdir', 'srcdir')) if directory}
            for path in {module[3] for module in self._modules}:
                name = os.path.basename(path)
                if re.match(r'(lib|_bootstrap_)?python', name):
                    self._roots |= self._built_from(path)
            self._roots -= {'/', '.'}
        return self._roots

    def _built_from(self, path):
        binary = self._binary(path)
        try:
            entries = [symbol.start for symbol in binary.symbols()
                       if symbol.name == '_Py_Dealloc'] if binary else []
            lines = binary.lines(entries) if entries else []
        except ToolError:
            return set()
        files = (os.path.normpath(line[-1].file) for line in lines)
        end = '/Objects/object.c'
        return {file.removesuffix(end) for file in files if file.endswith(end)}

    def _relative(self, file):
        file = os.path.normpath(file)
        for root in self._source_roots():
            if file.startswith(root + '/'):
                return file[len(root) + 1:]
        try:
            here = os.getcwd()
        except OSError:
            return file
        if here != '/' and file.startswith(here + '/'):
            return file[len(here) + 1:]
        return self._in_source_tree(file) or file

    def _in_source_tree(self, file):
        """Return the end of a path that is a file of the source tree, or None: the
        compiler, or its cache, may have seen that tree elsewhere."""
        parts = file.split('/')[1:]
        for i in range(1, len(parts) - 1):
            end = '/'.join(parts[i:])
            if any(os.path.isfile(os.path.join(root, end))
                   for root in self._source_roots()):
                return end
        return None

    # ---- from addresses to names

    def resolve(self, pcs):
        """Look up return addresses, many at once. See at()."""
        wanted = {}
        for pc in {*pcs} - self._sites.keys():
            binary, address = self._locate(pc - 1)
            if address is None:
                self._sites[pc] = self._unknown(pc - 1)
            else:
                wanted.setdefault(binary, []).append((address, pc))
        for binary, pairs in wanted.items():
            self._resolve_in(binary, sorted(pairs))

    def _resolve_in(self, binary, pairs):
        try:
            answers = binary.lines([address for address, _ in pairs])
        except ToolError as exc:
            self._note_no_code(exc)
            answers = [()] * len(pairs)
        if not any(line.line for lines in answers for line in lines):
            self._note_no_lines(binary)
        for (_, pc), lines in zip(pairs, answers):
            self._sites[pc] = self._sites_of(pc, lines)

    def _note_no_lines(self, binary):
        # Of libraries that have nothing to do with Python it is expected.
        prefixes = '_Py', 'PyInit_'
        if any(symbol.name.startswith(prefixes)
               for symbol in self._symbols_of(binary.path)):
            self.note(f'{os.path.basename(binary.path)} has no debug '
                      f'information: source files and lines are unknown.')

    def _sites_of(self, pc, lines):
        unknown = self._unknown(pc - 1)
        module = unknown[0].file.rpartition('+')[0]
        sites = []
        for function, file, line in lines:
            if function == '??' and not file:
                sites.extend(unknown)
            else:
                site = (Site(function, self._relative(file), line) if file
                        else Site(function, module, 0))
                sites.append(site)
                self._asked_at.setdefault(function, set()).add(pc)
        return tuple(sites) or unknown

    def at(self, pc):
        """Return the Sites at a return address, innermost inlined first.

        The last one is the function that the compiler made code for. Looked
        up one by one unless resolve() was told before: that takes a tenth of
        a second for each.
        """
        if pc not in self._sites:
            self.resolve([pc])
        return self._sites[pc]

    def function(self, address):
        """Return the Site of the function that begins at an address."""
        return self.at(address + 1)[-1] if address else UNKNOWN[0]

    def callees(self, address):
        """Return the names of the functions that are called by the one which
        begins at an address, a frozenset; empty if that is not known."""
        binary, link_address = self._locate(address)
        if link_address is None:
            return frozenset()
        try:
            return binary.callees(link_address)
        except ToolError as exc:
            self.note(str(exc))
            return frozenset()

    def writers(self, address, offset, null):
        """Return the functions that write a field, as Sites; empty if that is
        not known.

        address -- of a function; those of its source file are looked at
        offset -- of the field, in bytes
        null -- was it set to NULL?
        """
        binary, link_address = self._locate(address)
        if link_address is None:
            return []
        try:
            codes = self._codes_beside(binary, link_address)
        except ToolError as exc:
            self.note(str(exc))
            return []
        names = writers.of_field(codes, offset, null)
        return [self.at(start + 1)[-1] for name in names
                for start, _ in self.ranges([name])
                if self._locate(start)[0] is binary][:MAX_WRITERS]

    def _codes_beside(self, binary, address):
        """Return the writers.Code of the functions in the source file of the
        one at a link address, by name."""
        key = binary.path, address
        if key not in self._codes:
            unit = binary.unit_of(address)
            text = binary.disassemble(
                unit[0].start, sum(unit[-1][:2])) if unit else ''
            names = {symbol.name for symbol in unit}
            self._codes[key] = {
                name: code for name, code
                in writers.parse(text, binutils.base_name).items()
                if name in names}
        return self._codes[key]

    # ---- from names to addresses

    def ranges(self, names):
        """Return [(start, length)] of the code of functions: sorted, and none
        overlaps another.

        names -- of C functions; those that end in '*' stand for all that begin
                 like this. All functions with such a name are found, static
                 ones and the clones that the compiler made, too.
        """
        exact = {name for name in names if not name.endswith('*')}
        prefixes = tuple(name[:-1] for name in names if name.endswith('*'))
        found = set()
        for path in {module[3] for module in self._modules}:
            for address, length, name in self._symbols_of(path):
                if name in exact or prefixes and name.startswith(prefixes):
                    found.update(self._absolute(path, address, length))
        return _disjoint(sorted(found))

    def _symbols_of(self, path):
        binary = self._binary(path)
        if binary is None:
            return []
        try:
            return binary.symbols()
        except ToolError as exc:
            self._note_no_code(exc)
            return []

    # ---- debug information

    def _ask(self, binary, question):
        """Return gdb's answer on a file, or {}."""
        try:
            return debuginfo.ask(binary.path, question)
        except ToolError as exc:
            self.note(f'{exc}: names of fields and types of functions are '
                      f'unknown.')
            return {}

    def field(self, type, offset, types=()):
        """Return the C name of the field at an offset, or None.

        type -- a Type of a Recording
        offset -- from the start of the object, in bytes
        types -- {address: Type}, for the bases of a type that was made by a
                 class statement: these have no structure of their own
        """
        owner = self._owner_of_structure(type, types)
        if offset < 0:
            return debuginfo.field_before(type.flags, offset)
        if owner is None:
            return debuginfo.HEAD.get(offset)
        names = [self.function(slot).function for slot in self._slots(owner)]
        words = debuginfo.words_of(owner.name, names)
        return debuginfo.field_at(self._candidates(owner), owner, words,
                                  offset)

    def _owner_of_structure(self, type, types):
        """Return the type in its chain of bases that is written in C."""
        seen = set()
        while type is not None and type.address not in seen:
            if self._slots(type):
                return type
            seen.add(type.address)
            type = types.get(type.base) if types else None
        return None

    def _slots(self, type):
        """Return the addresses of the type's own functions."""
        slots = [slot for slot in (type.dealloc, type.traverse, type.clear)
                 if slot]
        self.resolve(slot + 1 for slot in slots)
        return [slot for slot in slots
                if not self.function(slot).function.startswith(_SHARED_SLOTS)]

    def learn_fields(self, wanted, types=()):
        """Look up the structures of many Types at once. See field()."""
        questions = {}
        for type in wanted:
            owner = self._owner_of_structure(type, types)
            if owner is None or self._key(owner) in self._structures:
                continue
            self._structures[self._key(owner)] = []
            for slot in self._slots(owner):
                binary, address = self._locate(slot)
                if address is not None:
                    of_type = questions.setdefault(binary, {})
                    _, addresses = of_type.setdefault(self._key(owner),
                                                      (owner, []))
                    addresses.append(address)
        for binary, of_type in questions.items():
            asked = [{'code': addresses, 'size': type.basicsize,
                      'items': type.itemsize}
                     for type, addresses in of_type.values()]
            answers = self._ask(binary, {'types': asked}).get('types', [])
            for key, found in zip(of_type, answers):
                self._structures[key] += found

    def working_on(self, functions, type, types=()):
        """Return those of the functions, by name, that have an argument or a
        variable which points to a structure of the type's size; empty if
        debug information does not tell.

        functions -- names
        type, types -- as for field()
        """
        owner = self._owner_of_structure(type, types)
        asked = {}
        for name in functions if owner is not None else ():
            for start, _ in self.ranges([name]):
                binary, address = self._locate(start)
                if address is not None:
                    asked.setdefault(binary, []).append((name, address))
        found = set()
        for binary, pairs in asked.items():
            answers = self._ask(binary, {'types': [
                {'code': [address], 'size': owner.basicsize,
                 'items': owner.itemsize} for _, address in pairs]})
            for (name, _), ctypes in zip(pairs, answers.get('types', ())):
                if any(c['used'] and c['size'] == owner.basicsize
                       for c in ctypes):
                    found.add(name)
        return found

    @staticmethod
    def _key(type):
        # Another type may come to the address of a dead one.
        return type.address, type.name, type.basicsize, type.dealloc

    def _candidates(self, type):
        self.learn_fields([type])
        return self._structures[self._key(type)]

    def hands_out(self, function):
        """Can a function hand an object to its caller, by the types of its
        result and of its parameters?

        function -- its name, as in a Site. None: not known. Where several
        functions have the name, one is enough.
        """
        if function not in self._hands_out and function != '??':
            self._learn_ways_out(function)
        return self._hands_out.setdefault(function, None)

    def _learn_ways_out(self, function):
        # One call of gdb for every function that was seen so far costs little
        # more than one for this function.
        if function not in self._asked_at:
            self._find_entry(function)
        binaries = {}
        for name, pcs in self._asked_at.items():
            if name in self._hands_out:
                continue
            self._hands_out[name] = None
            for pc in sorted(pcs)[:2]:
                binary, address = self._locate(pc - 1)
                if address is not None:
                    binaries.setdefault(binary, []).append(address)
        for binary, addresses in binaries.items():
            answer = self._ask(binary, {'hands_out': addresses})
            for name, known in answer.get('hands_out', {}).items():
                name = binutils.base_name(name)
                self._hands_out[name] = self._hands_out.get(name) or known

    def _find_entry(self, function):
        """Look up a function that no address was seen of."""
        for start, length in self.ranges([function]):
            self._asked_at.setdefault(function, set()).add(start + 1)
