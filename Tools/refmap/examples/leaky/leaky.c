/* An extension with five reference counting bugs, to learn on: see
   Doc/extensions.md. Each function does something useful besides, and a test that
   looks at its result passes. */

#define PY_SSIZE_T_CLEAN
#include "Python.h"

#include "refmap_debug.h"

PyDoc_STRVAR(leak_new_reference_doc,
"leak_new_reference(value, count=1, /)\n--\n\n"
"Return the sum of count integers that are the value.");

static PyObject *
leak_new_reference(PyObject *Py_UNUSED(module), PyObject *args)
{
    long value, sum = 0;
    Py_ssize_t count = 1;
    if (!PyArg_ParseTuple(args, "l|n:leak_new_reference", &value, &count)) {
        return NULL;
    }
    REFMAP_SCOPE("leak_new_reference");
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *number = PyLong_FromLong(value);
        if (number == NULL) {
            return NULL;
        }
        sum += PyLong_AsLong(number);
        // BUG: Py_DECREF(number) is missing.
    }
    return PyLong_FromLong(sum);
}

PyDoc_STRVAR(leak_argument_doc,
"leak_argument(object, /)\n--\n\n"
"Return the name of the object's type.");

static PyObject *
leak_argument(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_INCREF(op);      // kept alive while its attributes are looked up
    PyObject *name = PyType_GetName(Py_TYPE(op));
    // BUG: Py_DECREF(op) is missing.
    return name;
}

PyDoc_STRVAR(over_decref_doc,
"over_decref(list, /)\n--\n\n"
"Return the name of the type of the list's first item.");

static PyObject *
over_decref(PyObject *Py_UNUSED(module), PyObject *list)
{
    PyObject *item = PyList_GetItem(list, 0);       // borrowed
    if (item == NULL) {
        return NULL;
    }
    PyObject *name = PyType_GetName(Py_TYPE(item));
    Py_DECREF(item);    // BUG: it is the list's.
    return name;
}

PyDoc_STRVAR(leak_on_error_path_doc,
"leak_on_error_path(iterable, /)\n--\n\n"
"Return a list of the items as floats.");

static PyObject *
leak_on_error_path(PyObject *Py_UNUSED(module), PyObject *iterable)
{
    PyObject *iterator = PyObject_GetIter(iterable);
    if (iterator == NULL) {
        return NULL;
    }
    PyObject *result = PyList_New(0);
    PyObject *item;
    while (result != NULL && (item = PyIter_Next(iterator)) != NULL) {
        PyObject *number = PyNumber_Float(item);
        Py_DECREF(item);
        if (number == NULL) {
            Py_DECREF(iterator);
            return NULL;    // BUG: Py_DECREF(result) is missing.
        }
        if (PyList_Append(result, number) < 0) {
            Py_CLEAR(result);
        }
        Py_DECREF(number);
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred()) {
        Py_CLEAR(result);
    }
    return result;
}

PyDoc_STRVAR(borrowed_misuse_doc,
"borrowed_misuse(list, /)\n--\n\n"
"Return a tuple with the list's first item and its length.");

static PyObject *
borrowed_misuse(PyObject *Py_UNUSED(module), PyObject *list)
{
    PyObject *item = PyList_GetItem(list, 0);       // borrowed
    PyObject *size = item ? PyLong_FromSsize_t(PyList_Size(list)) : NULL;
    PyObject *pair = size ? PyTuple_New(2) : NULL;
    if (pair == NULL) {
        Py_XDECREF(size);
        return NULL;
    }
    PyTuple_SetItem(pair, 0, item);     // BUG: this steals what is the list's.
    PyTuple_SetItem(pair, 1, size);
    return pair;
}

static PyMethodDef leaky_methods[] = {
    {"leak_new_reference", leak_new_reference, METH_VARARGS, leak_new_reference_doc},
    {"leak_argument", leak_argument, METH_O, leak_argument_doc},
    {"over_decref", over_decref, METH_O, over_decref_doc},
    {"leak_on_error_path", leak_on_error_path, METH_O, leak_on_error_path_doc},
    {"borrowed_misuse", borrowed_misuse, METH_O, borrowed_misuse_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef leaky_module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "leaky",
    .m_doc = "Five reference counting bugs.",
    .m_size = 0,
    .m_methods = leaky_methods,
};

PyMODINIT_FUNC
PyInit_leaky(void)
{
    return PyModuleDef_Init(&leaky_module);
}
