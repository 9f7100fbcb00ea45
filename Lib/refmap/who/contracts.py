"""Who owns what a function of the C API returns, or is given.

The source is Doc/data/refcounts.dat of the CPython tree: for each function
the type of its result and of each parameter, and what happens to the count.
That file does not say who steals, and leaves functions out; CORRECTIONS says
what it gets wrong or lacks, and why.
"""

import os
import sysconfig
from collections import namedtuple

FILE_NAME = 'refcounts.dat'

# Effects. Of a result: NEW, BORROWED or NULL (always NULL).
NEW = 'new'
BORROWED = 'borrowed'
NULL = 'null'
# Of an argument: BORROWED (unchanged), KEPT (the callee takes a reference of
# its own), STOLEN (the caller's reference is the callee's from now on),
# RELEASED (the callee gives up one that others gave it earlier).
KEPT = 'kept'
STOLEN = 'stolen'
RELEASED = 'released'
# Of a PyObject** argument: what the caller finds in it.
OUT_NEW = 'out new'
OUT_BORROWED = 'out borrowed'
# The caller's own reference is in it, and may be exchanged for another.
IN_OUT = 'in and out'

# result and each element of effects: one of the above, or None (no object).
Contract = namedtuple('Contract', 'result effects')

RESULT = -1

# (function, index of the parameter or RESULT, effect, reason)
CORRECTIONS = (
    # The file has 0 for them: the callee itself does not change the count.
    ('PyList_SetItem', 2, STOLEN, 'c-api/list.rst, also when it fails'),
    ('PyList_SET_ITEM', 2, STOLEN, 'c-api/list.rst'),
    ('PyTuple_SetItem', 2, STOLEN, 'c-api/tuple.rst, also when it fails'),
    ('PyTuple_SET_ITEM', 2, STOLEN, 'c-api/tuple.rst'),
    ('PyStructSequence_SetItem', 2, STOLEN, 'c-api/tuple.rst'),
    ('PyStructSequence_SET_ITEM', 2, STOLEN, 'c-api/tuple.rst'),
    ('PyCell_SET', 1, STOLEN, 'it stores without taking a reference'),
    ('PyErr_SetRaisedException', 0, STOLEN, "the file's own comment"),
    ('PyErr_SetExcInfo', 0, STOLEN, 'c-api/exceptions.rst'),
    ('PyErr_SetExcInfo', 1, STOLEN, 'c-api/exceptions.rst'),
    ('PyErr_SetExcInfo', 2, STOLEN, 'c-api/exceptions.rst'),
    # The file has +1 for them: the object does stay, but on the caller's
    # reference.
    ('PyModule_AddObject', 2, STOLEN, 'on success; c-api/module.rst'),
    ('PyException_SetCause', 1, STOLEN, 'c-api/exceptions.rst'),
    ('PyException_SetContext', 1, STOLEN, 'c-api/exceptions.rst'),
    # The file has -1 for them, as it has for stolen ones: here the reference
    # given up is not the one of the caller.
    ('PyContext_Exit', 0, RELEASED, 'the one taken by PyContext_Enter()'),
    ('PyContextVar_Reset', 1, BORROWED, 'the caller still owns the token'),
    ('PySet_Discard', 1, RELEASED, 'the one the set had'),
    ('Py_ReprLeave', 0, RELEASED, 'the one taken by Py_ReprEnter()'),
    # The file has 0 or +1: variables that the callee fills or exchanges.
    ('PyErr_Fetch', 0, OUT_NEW, 'the indicator is cleared, its references go '
                                'to the caller'),
    ('PyErr_Fetch', 1, OUT_NEW, 'as above'),
    ('PyErr_Fetch', 2, OUT_NEW, 'as above'),
    ('PyErr_NormalizeException', 0, IN_OUT, 'c-api/exceptions.rst'),
    ('PyErr_NormalizeException', 1, IN_OUT, 'c-api/exceptions.rst'),
    ('PyErr_NormalizeException', 2, IN_OUT, 'c-api/exceptions.rst'),
    ('PyUnicode_InternInPlace', 0, IN_OUT, 'c-api/unicode.rst'),
    ('PyBytes_Concat', 0, IN_OUT, 'c-api/bytes.rst'),
    ('PyBytes_ConcatAndDel', 0, IN_OUT, 'c-api/bytes.rst'),
    ('_PyBytes_Resize', 0, IN_OUT, 'c-api/bytes.rst'),
    ('_PyTuple_Resize', 0, IN_OUT, 'c-api/tuple.rst'),
    # The file has void* or nothing.
    ('PyUnicode_FSConverter', 1, OUT_NEW, 'c-api/unicode.rst'),
    ('PyUnicode_FSDecoder', 1, OUT_NEW, 'c-api/unicode.rst'),
    ('PyModule_Add', 2, STOLEN, 'c-api/module.rst, also when it fails'),
    ('PyUnicode_Append', 0, IN_OUT, 'c-api/unicode.rst'),
    ('PyUnicode_AppendAndDel', 0, IN_OUT, 'c-api/unicode.rst'),
    ('PyUnicode_AppendAndDel', 1, STOLEN, 'c-api/unicode.rst'),
    ('PyDict_GetItemRef', 2, OUT_NEW, 'c-api/dict.rst'),
    ('PyDict_GetItemStringRef', 2, OUT_NEW, 'c-api/dict.rst'),
    ('PyDict_SetDefaultRef', 3, OUT_NEW, 'c-api/dict.rst'),
    ('PyDict_Pop', 2, OUT_NEW, 'c-api/dict.rst'),
    ('PyDict_PopString', 2, OUT_NEW, 'c-api/dict.rst'),
    ('PyMapping_GetOptionalItem', 2, OUT_NEW, 'c-api/mapping.rst'),
    ('PyMapping_GetOptionalItemString', 2, OUT_NEW, 'c-api/mapping.rst'),
    ('PyObject_GetOptionalAttr', 2, OUT_NEW, 'c-api/object.rst'),
    ('PyObject_GetOptionalAttrString', 2, OUT_NEW, 'c-api/object.rst'),
    ('_Py_dict_lookup_threadsafe', 3, OUT_NEW, 'Objects/dictobject.c'),
    # Internal functions that say so in a comment beside them.
    ('_PyErr_SetRaisedException', 1, STOLEN, 'as PyErr_SetRaisedException()'),
    ('_PyErr_Restore', 1, STOLEN, 'as PyErr_Restore()'),
    ('_PyErr_Restore', 2, STOLEN, 'as PyErr_Restore()'),
    ('_PyErr_Restore', 3, STOLEN, 'as PyErr_Restore()'),
    ('_PyErr_ChainExceptions1', 0, STOLEN, 'it becomes the context'),
    ('_PyList_AppendTakeRef', 1, STOLEN, 'also when it fails'),
    ('_PyList_AppendTakeRefListResize', 1, STOLEN, 'also when it fails'),
    ('_PyDict_SetItem_Take2', 1, STOLEN, 'also when it fails'),
    ('_PyDict_SetItem_Take2', 2, STOLEN, 'also when it fails'),
    ('PyCell_SwapTakeRef', 1, STOLEN, 'it is the content from now on'),
    ('PyCell_SwapTakeRef', RESULT, NEW, 'the content until now'),
    ('PyCell_SetTakeRef', 1, STOLEN, 'it is the content from now on'),
)

# Their format says which arguments are stolen ('N') or filled.
BY_FORMAT = frozenset('''
    Py_BuildValue Py_VaBuildValue PyObject_CallFunction PyObject_CallMethod
    PyEval_CallFunction PyEval_CallMethod PyArg_Parse PyArg_ParseTuple
    PyArg_ParseTupleAndKeywords PyArg_VaParse PyArg_VaParseTupleAndKeywords
    _Py_BuildValue_SizeT _Py_VaBuildValue_SizeT _PyObject_CallFunction_SizeT
    _PyObject_CallMethod_SizeT _PyArg_Parse_SizeT _PyArg_ParseTuple_SizeT
    _PyArg_ParseTupleAndKeywords_SizeT
    '''.split())

_RESULTS = {'+1': NEW, '0': BORROWED, 'null': NULL}
_ARGUMENTS = {'+1': KEPT, '0': BORROWED, '-1': STOLEN}
_OUT = {'+1': OUT_NEW, '0': OUT_BORROWED}


def parse(lines):
    """Return {function: Contract} of the lines of a refcounts.dat.

    A line that is none is skipped: the file is written by hand.
    """
    contracts = {}
    for line in lines:
        fields = [field.strip() for field in line.split('#')[0].split(':')]
        if len(fields) < 4 or not fields[0]:
            continue
        function, ctype, name, count = fields[:4]
        ctype = ctype.replace(' ', '')
        # The result comes first, and is the only one without a name.
        if function not in contracts:
            contracts[function] = Contract(_RESULTS.get(count), ())
            continue
        kinds = _OUT if ctype.endswith('**') else _ARGUMENTS
        result, effects = contracts[function]
        effects += (kinds.get(count),)
        contracts[function] = Contract(result, effects)
    return contracts


def _correct(contracts):
    for function, index, effect, _ in CORRECTIONS:
        result, effects = contracts.get(function, (None, ()))
        if index == RESULT:
            result = effect
        else:
            effects = list(effects) + [None] * (index + 1 - len(effects))
            effects[index] = effect
        contracts[function] = Contract(result, tuple(effects))


def find():
    """Return the path of refcounts.dat, or None.

    An interpreter that runs where it was built has it in its source tree, an
    installed one beside this package.
    """
    places = [os.path.join(os.path.dirname(__file__), FILE_NAME)]
    for variable in 'abs_srcdir', 'srcdir':
        directory = sysconfig.get_config_var(variable)
        if directory:
            places.append(os.path.join(directory, 'Doc', 'data', FILE_NAME))
    return next((path for path in places if os.path.isfile(path)), None)


class Contracts:
    """What the functions of the C API promise, by name.

    Nothing is known of a function that is not listed: all questions are then
    answered by False, or None.
    """

    def __init__(self, contracts=()):
        """contracts -- what parse() returned; CORRECTIONS are applied to it"""
        self._contracts = dict(contracts)
        _correct(self._contracts)

    def __len__(self):
        return len(self._contracts)

    def __contains__(self, function):
        return function in self._contracts

    def get(self, function):
        """Return the Contract of a function, or None if it has none."""
        return self._contracts.get(function)

    def _result(self, function):
        contract = self._contracts.get(function)
        return contract and contract.result

    def effect(self, function, index):
        """Return what happens to the index-th argument, from 0, or None."""
        contract = self._contracts.get(function)
        if contract is None or not 0 <= index < len(contract.effects):
            return None
        return contract.effects[index]

    def returns_new(self, function):
        """Does its caller own the reference that it returns?"""
        return self._result(function) == NEW

    def returns_borrowed(self, function):
        """Does it return an object of which its caller owns no reference?"""
        return self._result(function) == BORROWED

    def steals(self, function, index):
        """Does it take the caller's reference to the index-th argument?"""
        return self.effect(function, index) == STOLEN

    def stolen(self, function):
        """Return the indices of the arguments that it steals, a tuple."""
        contract = self._contracts.get(function)
        effects = contract.effects if contract else ()
        return tuple(i for i, effect in enumerate(effects)
                     if effect == STOLEN)

    def borrows(self, function, index):
        """Does the caller own as much of the argument after it as before?"""
        return self.effect(function, index) in (BORROWED, KEPT, RELEASED)

    def keeps(self, function, index):
        """Does it take a reference of its own to the index-th argument?"""
        return self.effect(function, index) == KEPT

    def fills_new(self, function, index):
        """Does the caller own what it finds in the variable that the
        index-th argument points to?"""
        return self.effect(function, index) in (OUT_NEW, IN_OUT)

    def fills_borrowed(self, function, index):
        """Does it leave a borrowed reference in that variable?"""
        return self.effect(function, index) == OUT_BORROWED

    def by_format(self, function):
        """Does a format string say what happens to its arguments?"""
        return function in BY_FORMAT


def load(path=None):
    """Return the Contracts of this interpreter.

    path -- a refcounts.dat; None: the one that find() finds. Without one
            there are only CORRECTIONS. Raise OSError if it cannot be read.
    """
    path = path or find()
    if path is None:
        return Contracts()
    with open(path, encoding='utf-8', errors='replace') as file:
        return Contracts(parse(file))
