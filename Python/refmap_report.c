/* What a diff says: str() of it, and its sums by type. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_refmap_sys.h"


/* --- types --------------------------------------------------------------- */

PyObject *
_PyRefMap_NameAsStr(const char *name)
{
    return PyUnicode_DecodeUTF8(name, strlen(name), "replace");
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
        PyObject *name = _PyRefMap_NameAsStr(records->items[i].type);
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

PyObject *
_PyRefMap_SortedTypes(const refmap_diff_t *diff)
{
    PyObject *types = PyDict_New();
    if (types == NULL) {
        return NULL;
    }
    PyObject *list = NULL;
    if (add_to_types(types, &diff->living) == 0
        && add_to_types(types, &diff->died) == 0)
    {
        list = sorted_types(types);
    }
    Py_DECREF(types);
    if (list != NULL && diff->unattributed != 0) {
        PyObject *item = Py_BuildValue(
            "nsn", -Py_ABS(diff->unattributed), "(unattributed)",
            diff->unattributed);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}


/* --- lines ---------------------------------------------------------------- */

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
        PyObject *name = _PyRefMap_NameAsStr(record->type);
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
append_types(PyObject *lines, const refmap_diff_t *diff)
{
    PyObject *types = _PyRefMap_SortedTypes(diff);
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
append_notes(PyObject *lines, const refmap_diff_t *diff)
{
    if (diff->unattributed != 0
        && append_line(lines, PyUnicode_FromFormat(
            REFMAP_UNATTRIBUTED_LINE, diff->unattributed)) < 0)
    {
        return -1;
    }
    if (diff->lost != 0
        && append_line(lines, PyUnicode_FromFormat(
            REFMAP_LOST_LINE, diff->lost)) < 0)
    {
        return -1;
    }
    return append_records(lines, &diff->freed, freed_line);
}

PyObject *
_PyRefMap_Report(const refmap_diff_t *diff, Py_ssize_t limit)
{
    PyObject *lines = PyList_New(0);
    PyObject *text = NULL;
    if (lines != NULL
        && append_objects(lines, &diff->living, living_line, limit, "living") == 0
        && append_objects(lines, &diff->died, died_line, limit, "died") == 0
        && append_notes(lines, diff) == 0
        && append_types(lines, diff) == 0
        && append_line(lines, PyUnicode_FromFormat(
               REFMAP_TOTAL_LINE, diff->total)) == 0)
    {
        PyObject *empty = Py_GetConstant(Py_CONSTANT_EMPTY_STR);
        text = PyUnicode_Join(empty, lines);
        Py_DECREF(empty);
    }
    Py_XDECREF(lines);
    return text;
}

#endif  // Py_REFCOUNT_MAP
