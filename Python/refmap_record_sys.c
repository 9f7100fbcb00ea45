/* sys.refmap_record() and sys.refmap_record_stop(): hand the recorder what to watch, and
   Python what it recorded. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_refmap_record.h"
#include "pycore_refmap_sys.h"

PyDoc_STRVAR(refmap_record_doc,
"refmap_record($module, /, *, types=(), addresses=(), births=(),\n"
"              transparent=(), returns=True, places=True, blocks=False,\n"
"              limit=67108864)\n"
"--\n"
"\n"
"Record what happens to the references of some objects, in all threads.\n"
"\n"
"  types\n"
"    Type objects, or names of types as refmap_diff() reports them: objects\n"
"    of these types that are born from now on.\n"
"  addresses\n"
"    Of objects that live already.\n"
"  births\n"
"    Numbers n: the n-th object born from now on.\n"
"  transparent\n"
"    (start, length) of code that never holds a reference of its own.\n"
"  returns\n"
"    Watch what functions return, as long as greenlet is not loaded. Other code\n"
"    that moves C stacks ends the process then.\n"
"  places\n"
"    Search where in memory the objects come to lie.\n"
"  blocks\n"
"    Record blocks of memory, too.\n"
"  limit\n"
"    Bytes that the recording may have.\n"
"\n"
"Return the serial number of the last birth before. Raise ValueError if\n"
"recording is on, and RuntimeError where that can't be done.");

PyDoc_STRVAR(refmap_record_stop_doc,
"refmap_record_stop($module, /)\n"
"--\n"
"\n"
"Stop recording, and return the records as bytes: see refmap.who.recording.\n"
"\n"
"Raise RuntimeError if recording is not on.");

#ifdef REFMAP_RECORDS

/* Arrays of what the arguments hold, from PyMem_Malloc(). */
typedef struct {
    PyObject *types;            // a list of str, which own the names
    const char **names;
    uintptr_t *addresses;
    uint64_t *births;
    uintptr_t (*transparent)[2];
} watch_arrays_t;

static void
clear_arrays(watch_arrays_t *arrays)
{
    Py_CLEAR(arrays->types);
    PyMem_Free(arrays->names);
    PyMem_Free(arrays->addresses);
    PyMem_Free(arrays->births);
    PyMem_Free(arrays->transparent);
}

/* The name of a type as a new str: of a type object, or given as such. */
static PyObject *
type_name(PyObject *item)
{
    if (PyType_Check(item)) {
        return PyUnicode_FromString(((PyTypeObject *)item)->tp_name);
    }
    if (PyUnicode_Check(item)) {
        return Py_NewRef(item);
    }
    PyErr_Format(PyExc_TypeError,
                 "types must be type objects or names, not %.100s",
                 Py_TYPE(item)->tp_name);
    return NULL;
}

static int
convert_types(PyObject *items, watch_arrays_t *arrays, refmap_watch_t *watch)
{
    arrays->types = PySequence_List(items);
    if (arrays->types == NULL) {
        return -1;
    }
    Py_ssize_t n = PyList_GET_SIZE(arrays->types);
    arrays->names = PyMem_New(const char *, n);
    if (arrays->names == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *name = type_name(PyList_GET_ITEM(arrays->types, i));
        if (name == NULL || PyList_SetItem(arrays->types, i, name) < 0) {
            return -1;
        }
        arrays->names[i] = PyUnicode_AsUTF8(name);
        if (arrays->names[i] == NULL) {
            return -1;
        }
    }
    watch->types = arrays->names;
    watch->ntypes = (size_t)n;
    return 0;
}

/* An array of the integers in an iterable. */
static uint64_t *
convert_integers(PyObject *items, size_t *n)
{
    PyObject *list = PySequence_List(items);
    if (list == NULL) {
        return NULL;
    }
    *n = (size_t)PyList_GET_SIZE(list);
    uint64_t *integers = PyMem_New(uint64_t, *n);
    if (integers == NULL) {
        PyErr_NoMemory();
    }
    for (size_t i = 0; integers != NULL && i < *n; i++) {
        integers[i] = PyLong_AsUnsignedLongLong(PyList_GET_ITEM(list, i));
        if (integers[i] == (uint64_t)-1 && PyErr_Occurred()) {
            PyMem_Free(integers);
            integers = NULL;
        }
    }
    Py_DECREF(list);
    return integers;
}

static int
convert_addresses(PyObject *items, watch_arrays_t *arrays, refmap_watch_t *watch)
{
    arrays->addresses = convert_integers(items, &watch->naddresses);
    if (arrays->addresses == NULL) {
        return -1;
    }
    for (size_t i = 0; i < watch->naddresses; i++) {
        if (_PyRefMap_ObjectAt(arrays->addresses[i]) == NULL) {
            PyErr_Format(PyExc_ValueError, "no living object is known at %p",
                         (void *)arrays->addresses[i]);
            return -1;
        }
    }
    watch->addresses = arrays->addresses;
    return 0;
}

static int
convert_births(PyObject *items, watch_arrays_t *arrays, refmap_watch_t *watch)
{
    arrays->births = convert_integers(items, &watch->nbirths);
    watch->births = arrays->births;
    return arrays->births == NULL ? -1 : 0;
}

static int
convert_transparent(PyObject *items, watch_arrays_t *arrays,
                    refmap_watch_t *watch)
{
    PyObject *list = PySequence_List(items);
    if (list == NULL) {
        return -1;
    }
    size_t n = (size_t)PyList_GET_SIZE(list);
    arrays->transparent = PyMem_Calloc(n + 1, sizeof(*arrays->transparent));
    int result = 0;
    if (arrays->transparent == NULL) {
        PyErr_NoMemory();
        result = -1;
    }
    for (size_t i = 0; result == 0 && i < n; i++) {
        unsigned long long start, length;
        PyObject *pair = PySequence_Tuple(PyList_GET_ITEM(list, i));
        if (pair == NULL
            || !PyArg_ParseTuple(pair, "KK:refmap_record", &start, &length))
        {
            result = -1;
        }
        else {
            arrays->transparent[i][0] = start;
            arrays->transparent[i][1] = length;
        }
        Py_XDECREF(pair);
    }
    Py_DECREF(list);
    watch->transparent = (const uintptr_t (*)[2])arrays->transparent;
    watch->ntransparent = n;
    return result;
}

static PyObject *
start_recording(const refmap_watch_t *watch)
{
    uint32_t birth;
    switch (_PyRefMap_StartRecording(watch, &birth)) {
    case 0:
        return PyLong_FromUnsignedLong(birth);
    case -2:
        PyErr_SetString(PyExc_ValueError, "recording is on already");
        return NULL;
    case -3:
        PyErr_SetString(PyExc_RuntimeError,
                        "the address space that is needed to watch what functions "
                        "return is in use: returns=False does without");
        return NULL;
    default:
        return PyErr_NoMemory();
    }
}

static PyObject *
sys_refmap_record(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"types", "addresses", "births", "transparent",
                            "returns", "places", "blocks", "limit", NULL};
    PyObject *types = NULL, *addresses = NULL, *births = NULL;
    PyObject *transparent = NULL, *result = NULL;
    Py_ssize_t limit = (Py_ssize_t)64 << 20;
    refmap_watch_t watch = {.returns = 1, .places = 1};
    watch_arrays_t arrays = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOOpppn:refmap_record",
                                     names, &types, &addresses, &births,
                                     &transparent, &watch.returns,
                                     &watch.places, &watch.blocks, &limit)) {
        return NULL;
    }
    if (limit < 4096) {
        PyErr_SetString(PyExc_ValueError, "limit must be 4096 or more");
        return NULL;
    }
    watch.limit = (size_t)limit;
    if ((types == NULL || convert_types(types, &arrays, &watch) == 0)
        && (addresses == NULL
            || convert_addresses(addresses, &arrays, &watch) == 0)
        && (births == NULL || convert_births(births, &arrays, &watch) == 0)
        && (transparent == NULL
            || convert_transparent(transparent, &arrays, &watch) == 0))
    {
        result = start_recording(&watch);
    }
    clear_arrays(&arrays);
    return result;
}

static PyObject *
sys_refmap_record_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    const void *words;
    size_t size;
    if (_PyRefMap_StopRecording(&words, &size) < 0) {
        PyErr_SetString(PyExc_RuntimeError, "recording is not on");
        return NULL;
    }
    PyObject *result = PyBytes_FromStringAndSize(words, (Py_ssize_t)size);
    _PyRefMap_DropRecording();
    return result;
}

#else  // !REFMAP_RECORDS

static PyObject *
sys_refmap_record(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args),
                  PyObject *Py_UNUSED(kwargs))
{
    PyErr_SetString(PyExc_RuntimeError,
                    "this interpreter can't record: one that was configured "
                    "--with-pydebug, or --with-refcount-map=trace, can");
    return NULL;
}

static PyObject *
sys_refmap_record_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    PyErr_SetString(PyExc_RuntimeError, "recording is not on");
    return NULL;
}

#endif  // REFMAP_RECORDS

PyMethodDef _PyRefMap_record_methods[] = {
    {"refmap_record", _PyCFunction_CAST(sys_refmap_record),
     METH_VARARGS | METH_KEYWORDS, refmap_record_doc},
    {"refmap_record_stop", sys_refmap_record_stop, METH_NOARGS,
     refmap_record_stop_doc},
    {NULL}
};

#endif  // Py_REFCOUNT_MAP
