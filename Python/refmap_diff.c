/* Diff objects, and sys.refmap_diff(), which makes and prints them. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_refmap_sys.h"
#include "pycore_sysmodule.h"     // _PySys_GetAttr()

typedef struct {
    PyObject_HEAD
    refmap_diff_t diff;
    Py_ssize_t limit;               // of the report; -1: none
} DiffObject;

static void
diff_dealloc(DiffObject *self)
{
    _PyRefMap_ClearDiff(&self->diff);
    _PyRefMap_Disown((PyObject *)self);
    PyObject_Free(self);
}


/* --- attributes ------------------------------------------------------------ */

/* A list with build(record) for each record. */
static PyObject *
records_as_list(const refmap_records_t *records,
                PyObject *(*build)(const refmap_record_t *))
{
    PyObject *list = PyList_New(records->len);
    if (list == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < records->len; i++) {
        PyObject *item = build(&records->items[i]);
        if (item == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, item);
    }
    return list;
}

static PyObject *
build_with_both(const refmap_record_t *record)
{
    return Py_BuildValue("NNnn", PyLong_FromVoidPtr((void *)record->address),
                         _PyRefMap_NameAsStr(record->type),
                         record->before, record->after);
}

static PyObject *
build_with_before(const refmap_record_t *record)
{
    return Py_BuildValue("NNn", PyLong_FromVoidPtr((void *)record->address),
                         _PyRefMap_NameAsStr(record->type), record->before);
}

PyObject *
_PyRefMap_RecordsAsList(const refmap_records_t *records)
{
    return records_as_list(records, build_with_both);
}

static PyObject *
diff_get_living(DiffObject *self, void *Py_UNUSED(closure))
{
    return _PyRefMap_RecordsAsList(&self->diff.living);
}

static PyObject *
diff_get_died(DiffObject *self, void *Py_UNUSED(closure))
{
    return records_as_list(&self->diff.died, build_with_before);
}

static PyObject *
diff_get_freed(DiffObject *self, void *Py_UNUSED(closure))
{
    return records_as_list(&self->diff.freed, build_with_before);
}

static PyObject *
diff_get_types(DiffObject *self, void *Py_UNUSED(closure))
{
    PyObject *list = _PyRefMap_SortedTypes(&self->diff);
    PyObject *types = list ? PyDict_New() : NULL;
    for (Py_ssize_t i = 0; types != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *item = PyList_GET_ITEM(list, i);
        if (PyDict_SetItem(types, PyTuple_GET_ITEM(item, 1),
                           PyTuple_GET_ITEM(item, 2)) < 0) {
            Py_CLEAR(types);
        }
    }
    Py_XDECREF(list);
    return types;
}

static PyObject *
diff_str(DiffObject *self)
{
    return _PyRefMap_Report(&self->diff, self->limit);
}

static PyObject *
diff_repr(DiffObject *self)
{
    return PyUnicode_FromFormat(
        "<refmap diff: total %zd, %zu living, %zu died>",
        self->diff.total, self->diff.living.len, self->diff.died.len);
}

static PyMemberDef diff_members[] = {
    {"total", Py_T_PYSSIZET, offsetof(DiffObject, diff.total), Py_READONLY,
     PyDoc_STR("change of sys.gettotalrefcount(); by true counts: the sum of what\n"
               "changed")},
    {"actual", Py_T_BOOL, offsetof(DiffObject, diff.actual), Py_READONLY,
     PyDoc_STR("is it by true counts, read from the objects?")},
    {"unattributed", Py_T_PYSSIZET, offsetof(DiffObject, diff.unattributed),
     Py_READONLY,
     PyDoc_STR("change of the references that no object is known for")},
    {"lost", Py_T_PYSSIZET, offsetof(DiffObject, diff.lost), Py_READONLY,
     PyDoc_STR("pages left out because memory was short; 0: exact")},
    {NULL}
};

static PyGetSetDef diff_getset[] = {
    {"living", (getter)diff_get_living, NULL,
     PyDoc_STR("[(address, type name, count before, count after)] of objects\n"
               "alive at the second snapshot; a new one had 0 before")},
    {"died", (getter)diff_get_died, NULL,
     PyDoc_STR("[(address, type name, count before)] of objects alive at the\n"
               "first snapshot only")},
    {"freed", (getter)diff_get_freed, NULL,
     PyDoc_STR("[(address, type name, count)] of objects whose memory was freed\n"
               "while references to them were counted; the last 256 at most")},
    {"types", (getter)diff_get_types, NULL,
     PyDoc_STR("{type name: change}, without the types that cancel out;\n"
               "the values add up to total")},
    {NULL}
};

PyTypeObject _PyRefMap_Diff_Type = {
    PyVarObject_HEAD_INIT(&PyType_Type, 0)
    .tp_name = "sys.refmap_diff_type",
    .tp_basicsize = sizeof(DiffObject),
    .tp_dealloc = (destructor)diff_dealloc,
    .tp_repr = (reprfunc)diff_repr,
    .tp_str = (reprfunc)diff_str,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = PyDoc_STR("What changed between two snapshots; see"
                        " sys.refmap_diff(). str() is the report."),
    .tp_members = diff_members,
    .tp_getset = diff_getset,
};


/* --- sys.refmap_diff() ------------------------------------------------------ */

/* The snapshot of an argument: a new reference, NULL with an exception. */
static refmap_snapshot_t *
snapshot_argument(const char *name, PyObject *arg)
{
    refmap_snapshot_t *snapshot = _PyRefMap_SnapshotOf(arg);
    if (snapshot == NULL) {
        return PyErr_Format(PyExc_TypeError,
                            "%s must be a snapshot or None, not %.200s",
                            name, Py_TYPE(arg)->tp_name), NULL;
    }
    return _PyRefMap_SnapshotIncref(snapshot);
}

static refmap_snapshot_t *
before_argument(PyObject *arg)
{
    if (arg != Py_None) {
        return snapshot_argument("before", arg);
    }
    refmap_snapshot_t *baseline = _PyRefMap_Baseline();
    if (baseline == NULL) {
        PyErr_SetString(PyExc_ValueError,
                        "there is no baseline yet: "
                        "call sys.refmap_snapshot() first");
        return NULL;
    }
    return _PyRefMap_SnapshotIncref(baseline);
}

/* The arguments of sys.refmap_diff(). */
typedef struct {
    PyObject *before, *after;       // None: the baseline; now
    PyObject *file, *actual, *limit;    // NULL: not given
    PyObject *kwnames;
} diff_call_t;

/* `actual`: is a snapshot taken now to have true counts? */
static refmap_snapshot_t *
after_argument(const diff_call_t *call, int actual)
{
    if (call->after != Py_None) {
        return snapshot_argument("after", call->after);
    }
    PyObject *const held[] = {call->kwnames, call->file, call->actual,
                              call->limit};
    return _PyRefMap_TakeSnapshot(actual, held, Py_ARRAY_LENGTH(held));
}

/* Compare by true counts if `actual` is 1, by the map's if it is 0, and as the snapshots
   are if it is -1. Return -1 with an exception. */
static int
compare(refmap_snapshot_t *before, refmap_snapshot_t *after, int actual,
        refmap_diff_t *diff)
{
    int res = -3;
    if (actual == 0) {
        res = _PyRefMap_DiffMapped(before, after, diff);
    }
    else if (actual < 0 || _PyRefMap_IsActual(before)) {
        res = _PyRefMap_Diff(before, after, diff);
    }
    if (res == -1) {
        PyErr_NoMemory();
    }
    else if (res == -2) {
        PyErr_SetString(PyExc_ValueError,
                        "the snapshots are of interpreters with GILs of "
                        "their own, and can't be compared");
    }
    else if (res == -3) {
        PyErr_SetString(PyExc_ValueError, actual > 0
                        ? "not both snapshots have true counts"
                        : "one snapshot has true counts and the other one has not: "
                          "with actual=False the counts of the map are compared");
    }
    return res;
}

/* The limit of the report, -1 for none; -2 with an exception. */
static Py_ssize_t
limit_argument(PyObject *arg)
{
    if (arg == NULL || arg == Py_None) {
        return -1;
    }
    Py_ssize_t limit = PyNumber_AsSsize_t(arg, NULL);
    if (limit == -1 && PyErr_Occurred()) {
        return -2;
    }
    if (limit < 0) {
        PyErr_SetString(PyExc_ValueError, "limit must not be negative");
        return -2;
    }
    return limit;
}

static DiffObject *
new_diff(const diff_call_t *call)
{
    Py_ssize_t limit = limit_argument(call->limit);
    if (limit == -2) {
        return NULL;
    }
    int actual = call->actual != NULL && call->actual != Py_None
                 ? PyObject_IsTrue(call->actual) : -1;
    if (actual < 0 && PyErr_Occurred()) {
        return NULL;
    }
    refmap_snapshot_t *before = before_argument(call->before);
    if (before == NULL) {
        return NULL;
    }
    DiffObject *self = PyObject_New(DiffObject, &_PyRefMap_Diff_Type);
    if (self != NULL) {
        memset(&self->diff, 0, sizeof(self->diff));
        self->limit = limit;
        _PyRefMap_Own((PyObject *)self);
    }
    refmap_snapshot_t *after = self != NULL
        ? after_argument(call, actual < 0 ? _PyRefMap_IsActual(before) : actual)
        : NULL;
    int res = after != NULL ? compare(before, after, actual, &self->diff) : 0;
    _PyRefMap_SnapshotDecref(after);
    _PyRefMap_SnapshotDecref(before);
    if (after == NULL || res < 0) {
        Py_CLEAR(self);
    }
    return self;
}

static int
print_diff(DiffObject *diff, PyObject *file)
{
    if (file == NULL) {
        file = _PySys_GetAttr(_PyThreadState_GET(), &_Py_ID(stderr));
    }
    if (file == NULL || file == Py_None) {
        return 0;
    }
    Py_INCREF(file);
    int res = PyFile_WriteObject((PyObject *)diff, file, Py_PRINT_RAW);
    if (res == 0) {
        res = PyFile_WriteString("\n", file);
    }
    Py_DECREF(file);
    return res;
}

PyDoc_STRVAR(refmap_diff_doc,
"refmap_diff($module, /, before=None, after=None, *, file=..., actual=None,\n"
"            limit=None)\n--\n\n"
"Print which reference counts changed between two snapshots.\n\n"
"  before  a snapshot; None: the baseline, which is the last one taken\n"
"  after   a snapshot; None: now\n"
"  file    a text file, sys.stderr by default; None: print nothing\n"
"  actual  True: by true counts; False: by the counts in the map, which all snapshots\n"
"          have; None: as the snapshots are\n"
"  limit   print so many objects of each type, the largest changes first, and then\n"
"          how many more there are; None: print all. The attributes have all\n"
"Return a diff object with the attributes\n"
"  living  [(address, type name, count before, count after)]\n"
"  died    [(address, type name, count before)]\n"
"  freed   [(address, type name, count)] of memory freed while counted\n"
"  types   {type name: change}\n"
"  total   the change of sys.gettotalrefcount(); by true counts: the sum of what\n"
"          changed\n"
"  actual  is it by true counts?\n"
"in the order of the size of the change, the type and the address; str() of it\n"
"is the report. Addresses are integers as of id().\n"
"Raise TypeError for anything but snapshots, ValueError without a baseline, for a\n"
"negative limit, or if one snapshot has true counts and the other one has not.");

static PyObject *
sys_refmap_diff(PyObject *Py_UNUSED(module), PyObject *const *args,
                Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {
        "before", "after", "file", "actual", "limit"};
    PyObject *values[Py_ARRAY_LENGTH(names)] = {Py_None, Py_None};
    if (nargs > 2) {
        return PyErr_Format(PyExc_TypeError, "refmap_diff() takes at most 2 "
                            "positional arguments (%zd given)", nargs);
    }
    for (Py_ssize_t i = 0; i < nargs; i++) {
        values[i] = args[i];
    }
    if (_PyRefMap_KeywordArguments("refmap_diff", args + nargs, kwnames, names,
                                   Py_ARRAY_LENGTH(names), nargs, values) < 0) {
        return NULL;
    }
    const diff_call_t call = {values[0], values[1], values[2], values[3],
                              values[4], kwnames};
    DiffObject *diff = new_diff(&call);
    if (diff != NULL && print_diff(diff, call.file) < 0) {
        Py_CLEAR(diff);
    }
    return (PyObject *)diff;
}

PyMethodDef _PyRefMap_diff_methods[] = {
    {"refmap_diff", _PyCFunction_CAST(sys_refmap_diff),
     METH_FASTCALL | METH_KEYWORDS, refmap_diff_doc},
    {NULL}
};

#endif  // Py_REFCOUNT_MAP
