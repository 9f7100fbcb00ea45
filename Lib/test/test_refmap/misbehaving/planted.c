/* An extension whose author forgot references, built with the headers of a stock
   interpreter: its Py_INCREF() and Py_DECREF() are in line. */

#include <Python.h>

/* A new list, which nobody ever gives back. */
static PyObject *
new_object(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyList_New(0) != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
keep_argument(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_INCREF(op);
    Py_RETURN_NONE;
}

static PyObject *
over_decref(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_DECREF(op);
    Py_RETURN_NONE;
}

/* A tuple with the argument in it; where that is no integer the tuple is forgotten. */
static PyObject *
error_path(PyObject *Py_UNUSED(module), PyObject *op)
{
    PyObject *tuple = PyTuple_New(1);
    if (tuple == NULL) {
        return NULL;
    }
    Py_INCREF(op);
    PyTuple_SET_ITEM(tuple, 0, op);
    if (!PyLong_Check(op)) {
        PyErr_SetString(PyExc_TypeError, "no integer");
        return NULL;
    }
    return tuple;
}

/* Nothing is wrong with these. */
static PyObject *
pair(PyObject *Py_UNUSED(module), PyObject *op)
{
    PyObject *result = PyList_New(0);
    if (result != NULL
        && (PyList_Append(result, op) < 0 || PyList_Append(result, op) < 0))
    {
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
borrow(PyObject *Py_UNUSED(module), PyObject *op)
{
    for (int i = 0; i < 100; i++) {
        Py_INCREF(op);
    }
    for (int i = 0; i < 100; i++) {
        Py_DECREF(op);
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"new_object", new_object, METH_NOARGS, NULL},
    {"keep_argument", keep_argument, METH_O, NULL},
    {"over_decref", over_decref, METH_O, NULL},
    {"error_path", error_path, METH_O, NULL},
    {"pair", pair, METH_O, NULL},
    {"borrow", borrow, METH_O, NULL},
    {NULL, NULL, 0, NULL}
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "planted", NULL, 0, methods, NULL, NULL, NULL, NULL
};

PyMODINIT_FUNC
PyInit_planted(void)
{
    return PyModule_Create(&module);
}
