/* Each function here mistreats references in one way. test_who_kinds builds this
   as C and as C++, and wants the function named.

   Only what stock headers offer is used: this is what somebody's extension does. */

#include "Python.h"
#include <pthread.h>
#include <stdlib.h>

static PyObject *
return_none(void)
{
    Py_RETURN_NONE;
}

/* --- Lost by a function ------------------------------------------------------- */

static PyObject *
error_path(PyObject *Py_UNUSED(self), PyObject *arg)
{
    PyObject *list = PyList_New(3);
    if (list == NULL) {
        return NULL;
    }
    long number = PyLong_AsLong(arg);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;                // the list
    }
    Py_DECREF(list);
    return PyLong_FromLong(number);
}

/* Two new references through pointers. */
static int
make_pair(PyObject **first, PyObject **second)
{
    *first = PyList_New(1);
    *second = PyDict_New();
    return *first != NULL && *second != NULL ? 0 : -1;
}

static PyObject *
out_parameter(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    PyObject *first, *second;
    if (make_pair(&first, &second) < 0) {
        return NULL;
    }
    Py_DECREF(first);
    return return_none();           // the second
}

/* Fetches the exception, and forgets it. */
static PyObject *
drops_exception(PyObject *Py_UNUSED(self), PyObject *arg)
{
    PyObject *result = PyObject_CallNoArgs(arg);
    if (result == NULL) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        return return_none();       // the value
    }
    return result;
}

static PyObject *
drops_error(PyObject *Py_UNUSED(self), PyObject *arg)
{
    long number = PyLong_AsLong(arg);
    if (number == -1 && PyErr_Occurred()) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        return return_none();       // the value
    }
    return PyLong_FromLong(number);
}

static PyObject *
keeps_buffer(PyObject *Py_UNUSED(self), PyObject *arg)
{
    Py_buffer view;
    if (PyObject_GetBuffer(arg, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (view.len > 3) {
        PyErr_SetString(PyExc_ValueError, "too long");
        return NULL;                // the buffer
    }
    PyBuffer_Release(&view);
    return return_none();
}

/* PyDict_SetItemString() does not steal. */
static PyObject *
believes_stolen(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    PyObject *dict = PyDict_New();
    if (dict == NULL) {
        return NULL;
    }
    if (PyDict_SetItemString(dict, "key", PyList_New(0)) < 0) {
        Py_DECREF(dict);
        return NULL;
    }
    Py_DECREF(dict);
    return return_none();
}

static PyObject *
resized(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, 10);
    if (bytes == NULL || _PyBytes_Resize(&bytes, 100000) < 0) {
        return NULL;
    }
    if (PyBytes_GET_SIZE(bytes) == 100000) {
        return return_none();       // the bytes, which have moved
    }
    return bytes;
}

/* Called by the C library, whose frames are what they are. */
static int
compare(const void *a, const void *b)
{
    PyObject *x = PyLong_FromLong(*(const int *)a * 1000L);
    PyObject *y = PyLong_FromLong(*(const int *)b * 1000L);
    int less = PyObject_RichCompareBool(x, y, Py_LT);
    Py_DECREF(x);
    return less > 0 ? -1 : 1;       // y
}

static PyObject *
in_callback(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    int numbers[] = {3, 1, 2};
    qsort(numbers, 3, sizeof(int), compare);
    return return_none();
}

/* In a thread that Python did not start. */
static void *
thread_body(void *Py_UNUSED(arg))
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *list = PyList_New(2);
    if (list != NULL && PyList_GET_SIZE(list) != 2) {
        Py_DECREF(list);
    }
    PyGILState_Release(state);
    return NULL;                    // the list
}

static PyObject *
in_foreign_thread(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_body, NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "no thread");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS
    return return_none();
}

/* --- Given up by somebody who did not own it ------------------------------------ */

static PyObject *
over_decref(PyObject *Py_UNUSED(self), PyObject *arg)
{
    Py_DECREF(arg);
    return return_none();
}

/* --- Objects that hold one value ------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    PyObject *value;
} Holder;

static int
holder_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Holder *)self)->value);
    return 0;
}

static int
holder_clear(PyObject *self)
{
    Py_CLEAR(((Holder *)self)->value);
    return 0;
}

static void
holder_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    holder_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
holder_set(PyObject *self, PyObject *value)
{
    Py_XSETREF(((Holder *)self)->value, Py_NewRef(value));
    return return_none();
}

/* What the value was is forgotten. */
static PyObject *
overwriting_set(PyObject *self, PyObject *value)
{
    ((Holder *)self)->value = Py_NewRef(value);
    return return_none();
}

/* Frees the object, and not what it holds. */
static void
careless_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Does not see the value. */
static int
blind_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
plain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(((Holder *)self)->value);
    type->tp_free(self);
    Py_DECREF(type);
}

/* For a type that the collector knows nothing of. */
static PyObject *
unseen_set(PyObject *self, PyObject *value)
{
    Py_XSETREF(((Holder *)self)->value, Py_NewRef(value));
    return return_none();
}

/* Forgets the type. */
static void
typeless_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    holder_clear(self);
    type->tp_free(self);
}

static PyMethodDef holder_methods[] = {
    {"set", holder_set, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static PyMethodDef overwriting_methods[] = {
    {"set", overwriting_set, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static PyMethodDef unseen_methods[] = {
    {"set", unseen_set, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static PyType_Slot holder_slots[] = {
    {Py_tp_traverse, (void *)holder_traverse}, {Py_tp_clear, (void *)holder_clear},
    {Py_tp_dealloc, (void *)holder_dealloc}, {Py_tp_methods, holder_methods}, {0, NULL}};
static PyType_Slot overwriting_slots[] = {
    {Py_tp_traverse, (void *)holder_traverse}, {Py_tp_clear, (void *)holder_clear},
    {Py_tp_dealloc, (void *)holder_dealloc}, {Py_tp_methods, overwriting_methods}, {0, NULL}};
static PyType_Slot careless_slots[] = {
    {Py_tp_traverse, (void *)holder_traverse},
    {Py_tp_dealloc, (void *)careless_dealloc}, {Py_tp_methods, holder_methods}, {0, NULL}};
static PyType_Slot typeless_slots[] = {
    {Py_tp_traverse, (void *)holder_traverse}, {Py_tp_clear, (void *)holder_clear},
    {Py_tp_dealloc, (void *)typeless_dealloc}, {0, NULL}};
static PyType_Slot blind_slots[] = {
    {Py_tp_traverse, (void *)blind_traverse}, {Py_tp_clear, (void *)holder_clear},
    {Py_tp_dealloc, (void *)holder_dealloc}, {Py_tp_methods, holder_methods}, {0, NULL}};
static PyType_Slot unseen_slots[] = {
    {Py_tp_dealloc, (void *)plain_dealloc}, {Py_tp_methods, unseen_methods}, {0, NULL}};

#define GC_FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC)

static PyType_Spec specs[] = {
    {"who_kinds.Holder", sizeof(Holder), 0, GC_FLAGS, holder_slots},
    {"who_kinds.Overwriting", sizeof(Holder), 0, GC_FLAGS, overwriting_slots},
    {"who_kinds.Careless", sizeof(Holder), 0, GC_FLAGS, careless_slots},
    {"who_kinds.Typeless", sizeof(Holder), 0, GC_FLAGS | Py_TPFLAGS_BASETYPE,
     typeless_slots},
    {"who_kinds.Blind", sizeof(Holder), 0, GC_FLAGS, blind_slots},
    {"who_kinds.Unseen", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT, unseen_slots},
};

/* Forgets PyObject_GC_Track(). */
static PyObject *
untracked(PyObject *self, PyObject *value)
{
    PyObject *type = PyObject_GetAttrString(self, "Holder");
    if (type == NULL) {
        return NULL;
    }
    Holder *holder = PyObject_GC_New(Holder, (PyTypeObject *)type);
    Py_DECREF(type);
    if (holder == NULL) {
        return NULL;
    }
    holder->value = Py_NewRef(value);
    return (PyObject *)holder;
}

/* --- Raw memory ---------------------------------------------------------------- */

static PyObject *
forgets_memory(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    char *memory = (char *)PyMem_Malloc(100);
    if (memory == NULL) {
        return PyErr_NoMemory();
    }
    memory[0] = 0;
    return return_none();
}

static PyMethodDef methods[] = {
    {"error_path", error_path, METH_O, NULL},
    {"out_parameter", out_parameter, METH_NOARGS, NULL},
    {"drops_exception", drops_exception, METH_O, NULL},
    {"drops_error", drops_error, METH_O, NULL},
    {"keeps_buffer", keeps_buffer, METH_O, NULL},
    {"believes_stolen", believes_stolen, METH_NOARGS, NULL},
    {"resized", resized, METH_NOARGS, NULL},
    {"in_callback", in_callback, METH_NOARGS, NULL},
    {"in_foreign_thread", in_foreign_thread, METH_NOARGS, NULL},
    {"over_decref", over_decref, METH_O, NULL},
    {"untracked", untracked, METH_O, NULL},
    {"forgets_memory", forgets_memory, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int
add_types(PyObject *module)
{
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, &specs[i], NULL);
        if (type == NULL) {
            return -1;
        }
        int status = PyModule_AddType(module, (PyTypeObject *)type);
        Py_DECREF(type);
        if (status < 0) {
            return -1;
        }
    }
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)add_types}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "who_kinds", NULL, 0, methods, module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_who_kinds(void)
{
    return PyModuleDef_Init(&definition);
}
