/* The functions sys.refmap_*(): those that ask the map about an object or about its sums,
   and the list of all of them. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_interp.h"        // PyInterpreterState
#include "pycore_modsupport.h"    // _PyArg_CheckPositional()
#include "pycore_pystate.h"       // _PyInterpreterState_GET()
#include "pycore_refmap_sys.h"
#include "pycore_structseq.h"     // _PyStructSequence_InitBuiltin()
#include "pycore_typeobject.h"    // _PyStaticType_InitBuiltin()


/* --- sums -------------------------------------------------------------------- */

PyDoc_STRVAR(refmap_info_doc,
"refmap_info($module, own=False, /)\n--\n\n"
"Return how many references the refcount map holds, at one instant.\n\n"
"  own  True: the map of the calling interpreter alone, and the total of the\n"
"       interpreters that share it; False: all maps of the process\n"
"All fields are integers; mapped + unattributed == total. That holds always for\n"
"one map, and for all of them together unless an interpreter with a GIL of its\n"
"own runs meanwhile: then the sums are of instants that differ.\n"
"  mapped        references counted for an object\n"
"  unattributed  references that no object is known for; each living\n"
"                snapshot and diff counts -1 here\n"
"  total         sys.gettotalrefcount()\n"
"  objects       objects with a count, dict keys tables included\n"
"  blocks        pages of 4 KiB that have a block in the map\n"
"  bytes         memory of all maps and all snapshots\n"
"  untracked     times that memory for a block was missing\n"
"  overflowed    references that were more than a count can hold, 2^31 - 1;\n"
"                they are unattributed");

static PyStructSequence_Field info_fields[] = {
    {"mapped", "references counted for an object"},
    {"unattributed", "references that no object is known for"},
    {"total", "sys.gettotalrefcount()"},
    {"objects", "objects with a count"},
    {"blocks", "pages of 4 KiB that have a block in the map"},
    {"bytes", "memory of all maps and all snapshots"},
    {"untracked", "times that memory for a block was missing"},
    {"overflowed", "references that were more than a count can hold"},
    {NULL}
};

static PyTypeObject Info_Type;

static PyStructSequence_Desc info_desc = {
    "sys.refmap_info",
    refmap_info_doc,
    info_fields,
    Py_ARRAY_LENGTH(info_fields) - 1,
};

static PyObject *
sys_refmap_info(PyObject *Py_UNUSED(module), PyObject *const *args,
                Py_ssize_t nargs)
{
    if (!_PyArg_CheckPositional("refmap_info", nargs, 0, 1)) {
        return NULL;
    }
    int own = nargs > 0 ? PyObject_IsTrue(args[0]) : 0;
    if (own < 0) {
        return NULL;
    }
    refmap_info_t info;
    if (own) {
        _PyRefMap_GetOwnInfo(&info);
    }
    else {
        _PyRefMap_GetInfo(&info);
    }
    const Py_ssize_t values[] = {
        info.mapped, info.unattributed, info.total, info.objects,
        info.blocks, info.bytes, info.untracked, info.overflowed,
    };
    PyObject *result = PyStructSequence_New(&Info_Type);
    if (result == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(values); i++) {
        PyObject *value = PyLong_FromSsize_t(values[i]);
        if (value == NULL) {
            Py_DECREF(result);
            return NULL;
        }
        PyStructSequence_SET_ITEM(result, i, value);
    }
    return result;
}


/* --- objects ------------------------------------------------------------------ */

PyDoc_STRVAR(refmap_count_doc,
"refmap_count($module, object, /)\n--\n\n"
"Return how many references to the object the map counts.\n\n"
"Like sys.getrefcount() it includes the temporary reference of the argument.\n"
"An immortal object keeps the count it had when it became immortal, mostly 0.");

static PyObject *
sys_refmap_count(PyObject *Py_UNUSED(module), PyObject *op)
{
    return PyLong_FromSsize_t(_PyRefMap_Count(op));
}

PyDoc_STRVAR(refmap_verify_doc,
"refmap_verify($module, /)\n--\n\n"
"Compare the map with the reference counts in the objects themselves.\n\n"
"Return [(address, type name, mapped count, ob_refcnt)] of the live mortal\n"
"objects that differ; the list is empty in a healthy interpreter. Memory that\n"
"can't be read any more shows as type '?' with an ob_refcnt of -1.\n"
"Only the map of the calling interpreter is looked at.");

static PyObject *
sys_refmap_verify(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    refmap_records_t records = {0};
    PyObject *list = _PyRefMap_Verify(
        _PyInterpreterState_GET()->object_state.refmap, &records) < 0
        ? PyErr_NoMemory() : _PyRefMap_RecordsAsList(&records);
    _PyRefMap_ClearRecords(&records);
    return list;
}

PyDoc_STRVAR(refmap_object_doc,
"_refmap_object($module, address, /)\n--\n\n"
"Return the living object at an address that a diff named.\n\n"
"For reports: the map and the memory must agree that an object is there.\n"
"Raise LookupError for anything else, dict keys tables included.");

static PyObject *
sys_refmap_object(PyObject *Py_UNUSED(module), PyObject *arg)
{
    uintptr_t address = (uintptr_t)PyLong_AsVoidPtr(arg);
    if (address == 0 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *op = _PyRefMap_ObjectAt(address);
    if (op != NULL) {
        return Py_NewRef(op);
    }
    return PyErr_Format(PyExc_LookupError, "no living object at %p",
                        (void *)address);
}

PyDoc_STRVAR(refmap_hide_doc,
"_refmap_hide($module, object, /)\n--\n\n"
"Let no diff show references to an object, as to those of refmap itself.");

static PyObject *
sys_refmap_hide(PyObject *Py_UNUSED(module), PyObject *op)
{
    _PyRefMap_Hide(op);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(refmap_birth_doc,
"_refmap_birth($module, address, /)\n--\n\n"
"Return the serial number of the birth of what lives at an address.\n\n"
"  address  an integer, as of id() or of a diff\n"
"The first birth that the map of this interpreter saw has the number 1. Return 0\n"
"if nothing lives there, or has no birth: static objects, or made by hand.\n"
"Raise TypeError for anything but an integer, OverflowError for no address.");

static PyObject *
sys_refmap_birth(PyObject *Py_UNUSED(module), PyObject *arg)
{
    uintptr_t address = (uintptr_t)PyLong_AsVoidPtr(arg);
    if (address == 0 && PyErr_Occurred()) {
        return NULL;
    }
    return PyLong_FromUnsignedLong(_PyRefMap_BirthAt(address));
}

PyDoc_STRVAR(refmap_give_doc,
"_refmap_give($module, object, n, /)\n--\n\n"
"Take n references to the object, which nobody releases.\n\n"
"They take the place of references that were released by somebody who did not\n"
"own them. Raise ValueError if n is negative.");

static PyObject *
sys_refmap_give(PyObject *Py_UNUSED(module), PyObject *const *args,
                Py_ssize_t nargs)
{
    if (!_PyArg_CheckPositional("_refmap_give", nargs, 2, 2)) {
        return NULL;
    }
    Py_ssize_t n = PyLong_AsSsize_t(args[1]);
    if (n < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "n must not be negative");
        }
        return NULL;
    }
    for (; n > 0; n--) {
        Py_INCREF(args[0]);
    }
    Py_RETURN_NONE;
}


/* --- the module sys ----------------------------------------------------------- */

static PyMethodDef refmap_methods[] = {
    {"_refmap_object", sys_refmap_object, METH_O, refmap_object_doc},
    {"_refmap_give", _PyCFunction_CAST(sys_refmap_give), METH_FASTCALL,
     refmap_give_doc},
    {"_refmap_birth", sys_refmap_birth, METH_O, refmap_birth_doc},
    {"_refmap_hide", sys_refmap_hide, METH_O, refmap_hide_doc},
    {"refmap_info", _PyCFunction_CAST(sys_refmap_info), METH_FASTCALL,
     refmap_info_doc},
    {"refmap_count", sys_refmap_count, METH_O, refmap_count_doc},
    {"refmap_verify", sys_refmap_verify, METH_NOARGS, refmap_verify_doc},
    {NULL}
};

/* Functions that no diff shows. */
static int
add_functions(PyObject *sysmod, PyMethodDef *methods)
{
    if (PyModule_AddFunctions(sysmod, methods) < 0) {
        return -1;
    }
    // A function that is being called is on the stack.
    for (const PyMethodDef *method = methods; method->ml_name; method++) {
        PyObject *function = PyObject_GetAttrString(sysmod, method->ml_name);
        if (function == NULL) {
            return -1;
        }
        _PyRefMap_Hide(function);
        Py_DECREF(function);
    }
    return 0;
}

int
_PyRefMap_InitSys(PyInterpreterState *interp, PyObject *sysmod)
{
    PyMethodDef *const tables[] = {
        refmap_methods, _PyRefMap_snapshot_methods, _PyRefMap_diff_methods,
        _PyRefMap_owners_methods, _PyRefMap_record_methods,
        _PyRefMap_log_methods, _PyRefMap_lastwords_methods,
    };
    if (_PyStaticType_InitBuiltin(interp, &_PyRefMap_Snapshot_Type) < 0
        || _PyStaticType_InitBuiltin(interp, &_PyRefMap_Diff_Type) < 0
        || _PyStructSequence_InitBuiltin(interp, &Info_Type, &info_desc) < 0)
    {
        return -1;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(tables); i++) {
        if (add_functions(sysmod, tables[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

void
_PyRefMap_FiniSys(PyInterpreterState *interp)
{
    if (_Py_IsMainInterpreter(interp)) {
        _PyRefMap_SetBaseline(NULL);
        _PyRefMap_BeforeExit(interp->config.show_ref_count);
    }
    _PyStructSequence_FiniBuiltin(interp, &Info_Type);
    _PyStaticType_FiniBuiltin(interp, &_PyRefMap_Diff_Type);
    _PyStaticType_FiniBuiltin(interp, &_PyRefMap_Snapshot_Type);
}

#endif  // Py_REFCOUNT_MAP
