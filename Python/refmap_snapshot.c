/* Snapshot objects, and sys.refmap_snapshot(), which makes them. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_object.h"        // _Py_GetGlobalRefTotal()
#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_refmap_sys.h"
#include "pycore_unicodeobject.h" // _PyUnicode_EqualToASCIIString()

typedef struct {
    PyObject_HEAD
    refmap_snapshot_t *snapshot;
    Py_ssize_t total;
    char actual;
} SnapshotObject;

static void
snapshot_dealloc(SnapshotObject *self)
{
    _PyRefMap_SnapshotDecref(self->snapshot);
    _PyRefMap_Disown((PyObject *)self);
    PyObject_Free(self);
}

static PyObject *
snapshot_repr(SnapshotObject *self)
{
    return PyUnicode_FromFormat("<refmap snapshot%s at %p: total %zd>",
                                self->actual ? " of true counts" : "",
                                self, self->total);
}

static PyMemberDef snapshot_members[] = {
    {"total", Py_T_PYSSIZET, offsetof(SnapshotObject, total), Py_READONLY,
     PyDoc_STR("sys.gettotalrefcount() at the instant of the snapshot")},
    {"actual", Py_T_BOOL, offsetof(SnapshotObject, actual), Py_READONLY,
     PyDoc_STR("has it true counts, read from the objects?")},
    {NULL}
};

PyTypeObject _PyRefMap_Snapshot_Type = {
    PyVarObject_HEAD_INIT(&PyType_Type, 0)
    .tp_name = "sys.refmap_snapshot_type",
    .tp_basicsize = sizeof(SnapshotObject),
    .tp_dealloc = (destructor)snapshot_dealloc,
    .tp_repr = (reprfunc)snapshot_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = PyDoc_STR("The reference counts of all objects at one instant;\n"
                        "see sys.refmap_snapshot()."),
    .tp_members = snapshot_members,
};

refmap_snapshot_t *
_PyRefMap_SnapshotOf(PyObject *op)
{
    return Py_IS_TYPE(op, &_PyRefMap_Snapshot_Type)
           ? ((SnapshotObject *)op)->snapshot : NULL;
}


/* --- calls that take a snapshot ---------------------------------------------- */

int
_PyRefMap_KeywordArguments(const char *function, PyObject *const *args,
                           PyObject *kwnames, const char *const *names,
                           Py_ssize_t n, Py_ssize_t given, PyObject **values)
{
    Py_ssize_t nkeywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < nkeywords; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        Py_ssize_t k = 0;
        while (k < n && !_PyUnicode_EqualToASCIIString(name, names[k])) {
            k++;
        }
        if (k == n || k < given) {
            PyErr_Format(PyExc_TypeError, k == n
                ? "%s() got an unexpected keyword argument '%S'"
                : "%s() got two values for argument '%S'", function, name);
            return -1;
        }
        values[k] = args[i];
    }
    return 0;
}

/* Take the reference that the call itself holds out of the map and of the object, or
   put it back. */
static void
count_call_reference(PyObject *op, int n)
{
    if (op != NULL && !_Py_IsImmortal(op)) {
        _PyRefMap_Add(_PyThreadState_GET(), op, n);
        // The object stays, even with none.
        op->ob_refcnt += n;
    }
}

refmap_snapshot_t *
_PyRefMap_TakeSnapshot(int actual, PyObject *const held[], size_t nheld)
{
    for (size_t i = 0; i < nheld; i++) {
        count_call_reference(held[i], -1);
    }
    refmap_snapshot_t *now = actual ? _PyRefMap_ActualSnapshot()
                                    : _PyRefMap_Snapshot();
    for (size_t i = 0; i < nheld; i++) {
        count_call_reference(held[i], 1);
    }
    if (now == NULL) {
        PyErr_NoMemory();
    }
    return now;
}


/* --- sys.refmap_snapshot() ---------------------------------------------------- */

PyDoc_STRVAR(refmap_snapshot_doc,
"refmap_snapshot($module, /, *, actual=False)\n--\n\n"
"Take a snapshot of all reference counts and keep it as the baseline.\n\n"
"  actual  True: the count of each object is read from its ob_refcnt. Binaries that\n"
"          were built for a stock interpreter change it behind the map's back\n"
"Return an object for sys.refmap_diff(), with the attributes\n"
"  total   sys.gettotalrefcount() at that instant\n"
"  actual  has it true counts?\n"
"It takes a few microseconds for each thousand pages of 4 KiB: pages are copied when\n"
"they are changed afterwards, and freed, once the last snapshot that has them is\n"
"dropped, little by little. True counts take some 10 ns for each object besides.\n"
"Neither snapshots nor diffs themselves appear in a diff.\n"
"Raise MemoryError if there is no memory for it.");

static PyObject *
sys_refmap_snapshot(PyObject *Py_UNUSED(module), PyObject *const *args,
                    Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"actual"};
    PyObject *actual_arg = NULL;
    if (nargs > 0) {
        return PyErr_Format(PyExc_TypeError, "refmap_snapshot() takes no "
                            "positional arguments (%zd given)", nargs);
    }
    if (_PyRefMap_KeywordArguments("refmap_snapshot", args, kwnames, names, 1, 0,
                                   &actual_arg) < 0) {
        return NULL;
    }
    int actual = actual_arg != NULL ? PyObject_IsTrue(actual_arg) : 0;
    if (actual < 0) {
        return NULL;
    }
    // Before the snapshot, so that nothing is allocated after it.
    SnapshotObject *self = PyObject_New(SnapshotObject, &_PyRefMap_Snapshot_Type);
    if (self == NULL) {
        return NULL;
    }
    _PyRefMap_Own((PyObject *)self);
    self->actual = (char)actual;
    self->total = _Py_GetGlobalRefTotal();
    PyObject *const held[] = {kwnames, actual_arg};
    self->snapshot = _PyRefMap_TakeSnapshot(actual, held, Py_ARRAY_LENGTH(held));
    if (self->snapshot == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    _PyRefMap_SetBaseline(self->snapshot);
    return (PyObject *)self;
}

PyMethodDef _PyRefMap_snapshot_methods[] = {
    {"refmap_snapshot", _PyCFunction_CAST(sys_refmap_snapshot),
     METH_FASTCALL | METH_KEYWORDS, refmap_snapshot_doc},
    {NULL}
};

#endif  // Py_REFCOUNT_MAP
