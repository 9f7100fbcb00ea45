/* sys.refmap_*() and the reports at exit: turns the C records of
   Objects/refmap/ into Python objects and text. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_fileutils.h"     // _Py_wfopen()
#include "pycore_initconfig.h"    // _PyStatus_ERR()
#include "pycore_interp.h"        // PyInterpreterState
#include "pycore_modsupport.h"    // _PyArg_CheckPositional()
#include "pycore_pystate.h"       // _PyInterpreterState_GET()
#include "pycore_refmap_log.h"    // _PyRefMap_CloseLogs()
#include "pycore_refmap_query.h"
#include "pycore_structseq.h"     // _PyStructSequence_InitBuiltin()
#include "pycore_sysmodule.h"     // _PySys_GetAttr()
#include "pycore_typeobject.h"    // _PyStaticType_InitBuiltin()
#include "pycore_unicodeobject.h" // _PyUnicode_EqualToASCIIString()


/* --- snapshot objects --------------------------------------------------- */

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

static PyTypeObject Snapshot_Type = {
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


/* --- diff objects --------------------------------------------------------- */

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

static PyObject *
name_as_str(const char *name)
{
    return PyUnicode_DecodeUTF8(name, strlen(name), "replace");
}

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
                         name_as_str(record->type),
                         record->before, record->after);
}

static PyObject *
build_with_before(const refmap_record_t *record)
{
    return Py_BuildValue("NNn", PyLong_FromVoidPtr((void *)record->address),
                         name_as_str(record->type), record->before);
}

static PyObject *
diff_get_living(DiffObject *self, void *Py_UNUSED(closure))
{
    return records_as_list(&self->diff.living, build_with_both);
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

/* Add `n` to the number that a dict has for a name. Return the sum in `*sum`. */
static int
add_to_name(PyObject *numbers, PyObject *name, Py_ssize_t n, Py_ssize_t *sum)
{
    PyObject *old;
    if (PyDict_GetItemRef(numbers, name, &old) < 0) {
        return -1;
    }
    *sum = n + (old ? PyLong_AsSsize_t(old) : 0);
    Py_XDECREF(old);
    PyObject *value = PyLong_FromSsize_t(*sum);
    int res = value ? PyDict_SetItem(numbers, name, value) : -1;
    Py_XDECREF(value);
    return res;
}

static Py_ssize_t
change_of(const refmap_record_t *record)
{
    return record->after - record->before;
}

/* Add the changes of `records` to {type name: change}. */
static int
add_to_types(PyObject *types, const refmap_records_t *records)
{
    for (size_t i = 0; i < records->len; i++) {
        PyObject *name = name_as_str(records->items[i].type);
        Py_ssize_t sum;
        int res = name ? add_to_name(types, name, change_of(&records->items[i]),
                                     &sum) : -1;
        Py_XDECREF(name);
        if (res < 0) {
            return -1;
        }
    }
    return 0;
}

/* [(-abs(change), name, change)], sorted, without those that cancel out. */
static PyObject *
sorted_types(PyObject *types)
{
    PyObject *list = PyList_New(0);
    PyObject *name, *value;
    Py_ssize_t pos = 0;
    while (list != NULL && PyDict_Next(types, &pos, &name, &value)) {
        Py_ssize_t change = PyLong_AsSsize_t(value);
        if (change == 0) {
            continue;
        }
        PyObject *item = Py_BuildValue("nOn", -Py_ABS(change), name, change);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    if (list != NULL && PyList_Sort(list) < 0) {
        Py_CLEAR(list);
    }
    return list;
}

/* A new list as of sorted_types(); the unattributed references are the last. */
static PyObject *
diff_types(DiffObject *self)
{
    PyObject *types = PyDict_New();
    if (types == NULL) {
        return NULL;
    }
    PyObject *list = NULL;
    if (add_to_types(types, &self->diff.living) == 0
        && add_to_types(types, &self->diff.died) == 0)
    {
        list = sorted_types(types);
    }
    Py_DECREF(types);
    if (list != NULL && self->diff.unattributed != 0) {
        PyObject *item = Py_BuildValue(
            "nsn", -Py_ABS(self->diff.unattributed), "(unattributed)",
            self->diff.unattributed);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *
diff_get_types(DiffObject *self, void *Py_UNUSED(closure))
{
    PyObject *list = diff_types(self);
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

/* Append `line`, which is stolen and may be NULL. */
static int
append_line(PyObject *lines, PyObject *line)
{
    int res = line ? PyList_Append(lines, line) : -1;
    Py_XDECREF(line);
    return res;
}

static int
append_records(PyObject *lines, const refmap_records_t *records,
               PyObject *(*line)(const refmap_record_t *))
{
    for (size_t i = 0; i < records->len; i++) {
        if (append_line(lines, line(&records->items[i])) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Append a line for each type of which objects were left out: `left` is {type name:
   change}, `seen` {type name: objects}, of which `limit` were shown. */
static int
append_left(PyObject *lines, PyObject *left, PyObject *seen, Py_ssize_t limit,
            const char *what)
{
    PyObject *name, *change;
    Py_ssize_t pos = 0;
    while (PyDict_Next(left, &pos, &name, &change)) {
        Py_ssize_t n = PyLong_AsSsize_t(PyDict_GetItem(seen, name)) - limit;
        if (append_line(lines, PyUnicode_FromFormat(
                "ref change of %zd more %s (%U): %S\n", n, what, name, change)) < 0)
        {
            return -1;
        }
    }
    return 0;
}

/* append_records(), but of each type only `limit`; then how many more. */
static int
append_some_records(PyObject *lines, const refmap_records_t *records,
                    PyObject *(*line)(const refmap_record_t *), Py_ssize_t limit,
                    const char *what)
{
    PyObject *seen = PyDict_New();
    PyObject *left = seen ? PyDict_New() : NULL;
    int res = left ? 0 : -1;
    for (size_t i = 0; res == 0 && i < records->len; i++) {
        const refmap_record_t *record = &records->items[i];
        PyObject *name = name_as_str(record->type);
        Py_ssize_t n, sum;
        res = name ? add_to_name(seen, name, 1, &n) : -1;
        if (res == 0) {
            res = n <= limit ? append_line(lines, line(record))
                             : add_to_name(left, name, change_of(record), &sum);
        }
        Py_XDECREF(name);
    }
    if (res == 0) {
        res = append_left(lines, left, seen, limit, what);
    }
    Py_XDECREF(left);
    Py_XDECREF(seen);
    return res;
}

/* The lines about objects. */
static int
append_objects(PyObject *lines, const refmap_records_t *records,
               PyObject *(*line)(const refmap_record_t *), Py_ssize_t limit,
               const char *what)
{
    return limit < 0 ? append_records(lines, records, line)
                     : append_some_records(lines, records, line, limit, what);
}

static PyObject *
living_line(const refmap_record_t *r)
{
    return PyUnicode_FromFormat(
        REFMAP_LIVING_LINE,
        (void *)r->address, r->type, r->after - r->before,
        r->before, r->after);
}

static PyObject *
died_line(const refmap_record_t *r)
{
    return PyUnicode_FromFormat(REFMAP_DIED_LINE,
                                (void *)r->address, r->type, -r->before);
}

static PyObject *
freed_line(const refmap_record_t *r)
{
    return PyUnicode_FromFormat(REFMAP_FREED_LINE,
                                r->before, r->before == 1 ? "" : "s",
                                (void *)r->address, r->type);
}

static int
append_types(PyObject *lines, DiffObject *self)
{
    PyObject *types = diff_types(self);
    if (types == NULL) {
        return -1;
    }
    int res = 0;
    for (Py_ssize_t i = 0; res == 0 && i < PyList_GET_SIZE(types); i++) {
        PyObject *item = PyList_GET_ITEM(types, i);
        res = append_line(lines, PyUnicode_FromFormat(
            "ref change of type %U: %S\n",
            PyTuple_GET_ITEM(item, 1), PyTuple_GET_ITEM(item, 2)));
    }
    Py_DECREF(types);
    return res;
}

static int
append_notes(PyObject *lines, DiffObject *self)
{
    const refmap_diff_t *diff = &self->diff;
    if (diff->unattributed != 0
        && append_line(lines, PyUnicode_FromFormat(
            REFMAP_UNATTRIBUTED_LINE, diff->unattributed)) < 0)
    {
        return -1;
    }
    if (diff->lost != 0
        && append_line(lines, PyUnicode_FromFormat(
            REFMAP_LOST_LINE,
            diff->lost)) < 0)
    {
        return -1;
    }
    return append_records(lines, &diff->freed, freed_line);
}

static PyObject *
diff_str(DiffObject *self)
{
    PyObject *lines = PyList_New(0);
    PyObject *text = NULL;
    if (lines != NULL
        && append_objects(lines, &self->diff.living, living_line, self->limit,
                          "living") == 0
        && append_objects(lines, &self->diff.died, died_line, self->limit,
                          "died") == 0
        && append_notes(lines, self) == 0
        && append_types(lines, self) == 0
        && append_line(lines, PyUnicode_FromFormat(
               REFMAP_TOTAL_LINE, self->diff.total)) == 0)
    {
        PyObject *empty = Py_GetConstant(Py_CONSTANT_EMPTY_STR);
        text = PyUnicode_Join(empty, lines);
        Py_DECREF(empty);
    }
    Py_XDECREF(lines);
    return text;
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

static PyTypeObject Diff_Type = {
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


/* --- functions -------------------------------------------------------------- */

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
        ? PyErr_NoMemory() : records_as_list(&records, build_with_both);
    _PyRefMap_ClearRecords(&records);
    return list;
}

/* Sort keyword arguments into `values`, by the names in `names`. `n`: how many there
   are; `given`: how many of them were given by position. By hand, because the argument
   parsers of CPython create objects, which would be in the diff. */
static int
keyword_arguments(const char *function, PyObject *const *args, PyObject *kwnames,
                  const char *const *names, Py_ssize_t n, Py_ssize_t given,
                  PyObject **values)
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

/* A new snapshot, NULL with an exception. `held`: what the call has on the stack, each
   may be NULL. */
static refmap_snapshot_t *
take_snapshot(int actual, PyObject *const held[], size_t nheld)
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
    if (keyword_arguments("refmap_snapshot", args, kwnames, names, 1, 0,
                          &actual_arg) < 0) {
        return NULL;
    }
    int actual = actual_arg != NULL ? PyObject_IsTrue(actual_arg) : 0;
    if (actual < 0) {
        return NULL;
    }
    // Before the snapshot, so that nothing is allocated after it.
    SnapshotObject *self = PyObject_New(SnapshotObject, &Snapshot_Type);
    if (self == NULL) {
        return NULL;
    }
    _PyRefMap_Own((PyObject *)self);
    self->actual = (char)actual;
    self->total = _Py_GetGlobalRefTotal();
    PyObject *const held[] = {kwnames, actual_arg};
    self->snapshot = take_snapshot(actual, held, Py_ARRAY_LENGTH(held));
    if (self->snapshot == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    _PyRefMap_SetBaseline(self->snapshot);
    return (PyObject *)self;
}

/* The snapshot of an argument: a new reference, NULL with an exception. */
static refmap_snapshot_t *
snapshot_argument(const char *name, PyObject *arg)
{
    if (!Py_IS_TYPE(arg, &Snapshot_Type)) {
        return PyErr_Format(PyExc_TypeError,
                            "%s must be a snapshot or None, not %.200s",
                            name, Py_TYPE(arg)->tp_name), NULL;
    }
    return _PyRefMap_SnapshotIncref(((SnapshotObject *)arg)->snapshot);
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
    return take_snapshot(actual, held, Py_ARRAY_LENGTH(held));
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
    DiffObject *self = PyObject_New(DiffObject, &Diff_Type);
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
    if (keyword_arguments("refmap_diff", args + nargs, kwnames, names,
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

PyDoc_STRVAR(refmap_owners_doc,
"refmap_owners($module, addresses, /)\n--\n\n"
"Find who owns the living objects at the addresses, in one pass over all objects.\n\n"
"  addresses  an iterable of integers as of id()\n"
"Return a tuple (targets, owners, types, left out, skipped):\n"
"  targets   {address: (type, count, ob_refcnt, flags, visited, hidden, owners)} of\n"
"            those where an object lives; flags: 1 alive, 2 with Py_TPFLAGS_HAVE_GC,\n"
"            4 tracked, 8 a dict keys table\n"
"  owners    [(target, kind, address, type, flags, visits, words, paths)]\n"
"            kind: 'object'; 'static', data of a module, the address is that of the\n"
"            word; 'thread', the address is that of a running frame's code, or 0\n"
"            paths: tuples of offsets of the first words; (16,): in the instance;\n"
"            (16, 8): in the memory block that the word at 16 leads to\n"
"  types     {address: (name, basicsize, itemsize, flags, tp_dealloc, tp_traverse,\n"
"            tp_clear, tp_base)}\n"
"  left out  owners that were too many to be listed\n"
"  skipped   memory blocks that were too large to be looked into\n"
"Types are addresses. Visited: a living object's tp_traverse reports the reference.\n"
"Hidden: words in memory beyond what their owner visits.\n"
"Raise TypeError for anything but integers.");

static PyObject *
sys_refmap_owners(PyObject *Py_UNUSED(module), PyObject *addresses)
{
    return _PyRefMap_OwnersAsTuple(addresses);
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

static PyMethodDef refmap_methods[] = {
    {"_refmap_object", sys_refmap_object, METH_O, refmap_object_doc},
    {"_refmap_give", _PyCFunction_CAST(sys_refmap_give), METH_FASTCALL,
     refmap_give_doc},
    {"_refmap_birth", sys_refmap_birth, METH_O, refmap_birth_doc},
    {"_refmap_hide", sys_refmap_hide, METH_O, refmap_hide_doc},
    {"refmap_info", _PyCFunction_CAST(sys_refmap_info), METH_FASTCALL,
     refmap_info_doc},
    {"refmap_count", sys_refmap_count, METH_O, refmap_count_doc},
    {"refmap_owners", sys_refmap_owners, METH_O, refmap_owners_doc},
    {"refmap_verify", sys_refmap_verify, METH_NOARGS, refmap_verify_doc},
    {"refmap_snapshot", _PyCFunction_CAST(sys_refmap_snapshot),
     METH_FASTCALL | METH_KEYWORDS, refmap_snapshot_doc},
    {"refmap_diff", _PyCFunction_CAST(sys_refmap_diff),
     METH_FASTCALL | METH_KEYWORDS, refmap_diff_doc},
    {NULL}
};

/* What is to be dumped at exit. */
static int dump_wanted;
static wchar_t *dump_file;      // with %p; from PyMem_RawMalloc(); NULL: stderr

int
_PyRefMap_AddSysFunctions(PyObject *sysmod, PyMethodDef *methods)
{
    if (PyModule_AddFunctions(sysmod, methods) < 0) {
        return -1;
    }
    // A function that is being called is on the stack: no diff is to show it.
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
    if (_PyStaticType_InitBuiltin(interp, &Snapshot_Type) < 0
        || _PyStaticType_InitBuiltin(interp, &Diff_Type) < 0
        || _PyStructSequence_InitBuiltin(interp, &Info_Type, &info_desc) < 0)
    {
        return -1;
    }
    return _PyRefMap_AddSysFunctions(sysmod, refmap_methods) < 0
           || _PyRefMap_InitRecordSys(sysmod) < 0
           || _PyRefMap_InitLogSys(sysmod) < 0
           || _PyRefMap_InitLastWords(sysmod) < 0 ? -1 : 0;
}

void
_PyRefMap_FiniSys(PyInterpreterState *interp)
{
    if (_Py_IsMainInterpreter(interp)) {
        _PyRefMap_SetBaseline(NULL);
        if (dump_wanted || interp->config.show_ref_count) {
            _PyRefMap_KeepTypes(_PyRefMap_Main());
        }
    }
    _PyStructSequence_FiniBuiltin(interp, &Info_Type);
    _PyStaticType_FiniBuiltin(interp, &Diff_Type);
    _PyStaticType_FiniBuiltin(interp, &Snapshot_Type);
}


/* --- the end of the process ----------------------------------------------- */

static PyStatus
set_dump(const wchar_t *value, int *wanted)
{
    static const wchar_t prefix[] = L"dump:";
    const size_t prefix_len = Py_ARRAY_LENGTH(prefix) - 1;
    PyMem_RawFree(dump_file);
    dump_file = NULL;
    dump_wanted = 1;
    if (wcscmp(value, L"dump") == 0) {
        return _PyStatus_OK();
    }
    if (wcsncmp(value, prefix, prefix_len) != 0
        || value[prefix_len] == L'\0')
    {
        dump_wanted = 0;
        *wanted = -1;
        return _PyStatus_OK();
    }
    dump_file = _PyMem_RawWcsdup(value + prefix_len);
    return dump_file ? _PyStatus_OK() : _PyStatus_NO_MEMORY();
}

/* A copy of `pattern` with the process's number in place of %p, and % in place of
   %%; NULL on out of memory. To be freed by PyMem_RawFree(). */
static wchar_t *
dump_name(const wchar_t *pattern)
{
    char pid[32];
    int digits = snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    size_t size = wcslen(pattern) * (size_t)digits + 1;
    wchar_t *name = PyMem_RawMalloc(size * sizeof(*name));
    wchar_t *end = name;
    for (const wchar_t *p = pattern; name != NULL && *p != L'\0'; p++) {
        if (p[0] != L'%' || (p[1] != L'p' && p[1] != L'%')) {
            *end++ = *p;
            continue;
        }
        p++;
        for (int i = 0; *p == L'p' && i < digits; i++) {
            *end++ = (wchar_t)pid[i];
        }
        if (*p == L'%') {
            *end++ = L'%';
        }
    }
    if (name != NULL) {
        *end = L'\0';
    }
    return name;
}

/* Open the file of the dump at its end: a child may have written to it, with the
   environment of its parent. NULL if it can't be opened. */
static FILE *
open_dump(void)
{
    wchar_t *name = dump_name(dump_file);
    FILE *file = name != NULL ? _Py_wfopen(name, L"a") : NULL;
    PyMem_RawFree(name);
    return file;
}

/* Find out now, not at exit, whether the file can be written. */
static PyStatus
check_dump_file(void)
{
    if (dump_file != NULL) {
        FILE *file = open_dump();
        if (file == NULL) {
            PyMem_RawFree(dump_file);
            dump_file = NULL;
            dump_wanted = 0;
            return _PyStatus_ERR("the file of the refmap dump "
                                 "can't be written");
        }
        fclose(file);
    }
    return _PyStatus_OK();
}

PyStatus
_PyRefMap_ReadConfig(const wchar_t *xoption, const char *env)
{
    PyStatus status;
    int wanted = 0;
    wchar_t *decoded = NULL;
    if (xoption == NULL && env != NULL && env[0] != '\0'
        && strcmp(env, "0") != 0)
    {
        // PYTHONREFMAPDUMP=1 like PYTHONDUMPREFS=1
        decoded = Py_DecodeLocale(strcmp(env, "1") == 0 ? "dump" : env, NULL);
        if (decoded == NULL) {
            return _PyStatus_NO_MEMORY();
        }
    }
    if (xoption == NULL && decoded == NULL) {
        return _PyStatus_OK();
    }
    status = set_dump(xoption ? xoption : decoded, &wanted);
    PyMem_RawFree(decoded);
    if (_PyStatus_EXCEPTION(status)) {
        return status;
    }
    if (wanted < 0) {
        return xoption
            ? _PyStatus_ERR("-X refmap takes dump or dump:FILE")
            : _PyStatus_ERR("PYTHONREFMAPDUMP takes 1, dump or dump:FILE");
    }
    return check_dump_file();
}

static int
compare_types(const void *left, const void *right)
{
    const refmap_record_t *a = left, *b = right;
    int order = strcmp(a->type, b->type);
    return order ? order : (a->address > b->address) - (a->address < b->address);
}

static int
compare_counts(const void *left, const void *right)
{
    const refmap_record_t *a = left, *b = right;
    if (a->before != b->before) {
        return a->before > b->before ? -1 : 1;
    }
    return strcmp(a->type, b->type);
}

/* Merge the records to one per type, with the references in `before` and the
   number of objects in `after`. */
static void
merge_types(refmap_records_t *records)
{
    size_t n = 0;
    qsort(records->items, records->len, sizeof(*records->items),
          compare_types);
    for (size_t i = 0; i < records->len; i++) {
        // A copy, because the place may be its own.
        const refmap_record_t record = records->items[i];
        if (n == 0 || strcmp(records->items[n - 1].type, record.type) != 0) {
            records->items[n] = record;
            records->items[n].before = 0;
            records->items[n].after = 0;
            n++;
        }
        records->items[n - 1].before += record.before;
        records->items[n - 1].after++;
    }
    records->len = n;
    qsort(records->items, n, sizeof(*records->items), compare_counts);
}

static void
print_types(FILE *file, refmap_records_t *records)
{
    refmap_info_t info;
    _PyRefMap_GetInfo(&info);
    if (records->len > 0) {
        merge_types(records);
    }
    for (size_t i = 0; i < records->len; i++) {
        const refmap_record_t *record = &records->items[i];
        fprintf(file, "refs left of type %s: %zd in %zd objects\n",
                record->type, record->before, record->after);
    }
    if (info.unattributed != 0) {
        fprintf(file, "refs left unattributed: %zd\n", info.unattributed);
    }
}

static void
print_objects(FILE *file, const refmap_records_t *records)
{
    fprintf(file, "Remaining objects of the refcount map of process %ld:\n",
            (long)getpid());
    for (size_t i = 0; i < records->len; i++) {
        const refmap_record_t *record = &records->items[i];
        fprintf(file, "%p [%zd] %s\n", (void *)record->address,
                record->before, record->type);
    }
}

static void
dump_objects(const refmap_records_t *records)
{
    if (dump_file == NULL) {
        print_objects(stderr, records);
        return;
    }
    FILE *file = open_dump();
    if (file == NULL) {
        fprintf(stderr, "refmap: cannot create file: %ls\n", dump_file);
        return;
    }
    print_objects(file, records);
    int failed = ferror(file);
    if (fclose(file) != 0 || failed) {
        fprintf(stderr, "refmap: cannot write to file: %ls\n", dump_file);
    }
}

void
_PyRefMap_AtExit(int per_type)
{
    refmap_records_t records = {0};
    _PyRefMap_CloseLogs("exit");
    if (!per_type && !dump_wanted) {
        return;
    }
    if (_PyRefMap_List(_PyRefMap_Main(), &records) < 0) {
        fprintf(stderr, "refmap: no memory to list what is left\n");
    }
    else {
        if (dump_wanted) {
            dump_objects(&records);
        }
        if (per_type) {
            print_types(stderr, &records);
        }
    }
    _PyRefMap_ClearRecords(&records);
    // Python may start once more, without the option.
    PyMem_RawFree(dump_file);
    dump_file = NULL;
    dump_wanted = 0;
}

#endif  // Py_REFCOUNT_MAP
