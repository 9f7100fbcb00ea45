/* A part of _testrefmap: objects that own others as no extension should. */

#include "Python.h"

#include <stddef.h>               // offsetof()
#include <sys/mman.h>             // mmap()

#include "_testrefmap_owners.h"

/* Memory that only an owner knows. */
typedef struct {
    long number;
    PyObject *op;
} block_t;

typedef struct {
    PyObject_HEAD
    PyObject *seen;
    PyObject *unseen;
    block_t *block;             // from PyMem_Malloc(), or NULL
} OwnerObject;

static PyMemberDef owner_members[] = {
    {"seen", Py_T_OBJECT_EX, offsetof(OwnerObject, seen), 0, NULL},
    {"unseen", Py_T_OBJECT_EX, offsetof(OwnerObject, unseen), 0, NULL},
    {NULL}
};

PyDoc_STRVAR(owner_put_doc,
"put(object, /)\n--\n\n"
"Keep the object in a block of memory.");

static PyObject *
owner_put(OwnerObject *self, PyObject *op)
{
    if (self->block == NULL) {
        self->block = PyMem_Malloc(sizeof(*self->block));
        if (self->block == NULL) {
            return PyErr_NoMemory();
        }
        self->block->number = 0;
        self->block->op = NULL;
    }
    Py_XSETREF(self->block->op, Py_NewRef(op));
    Py_RETURN_NONE;
}

static PyMethodDef owner_methods[] = {
    {"put", (PyCFunction)owner_put, METH_O, owner_put_doc},
    {NULL}
};

static int
owner_clear(OwnerObject *self)
{
    Py_CLEAR(self->seen);
    Py_CLEAR(self->unseen);
    if (self->block != NULL) {
        PyObject *op = self->block->op;
        PyMem_Free(self->block);
        self->block = NULL;
        Py_XDECREF(op);
    }
    return 0;
}

static void
owner_dealloc(OwnerObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (PyType_IS_GC(type)) {
        PyObject_GC_UnTrack(self);
    }
    (void)owner_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Of Blind: `unseen` and the block are missing. */
static int
blind_traverse(OwnerObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->seen);
    return 0;
}

/* Of Untracked: nothing is missing. */
static int
untracked_traverse(OwnerObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->seen);
    Py_VISIT(self->unseen);
    if (self->block != NULL) {
        Py_VISIT(self->block->op);
    }
    return 0;
}

static PyObject *
untracked_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
              PyObject *Py_UNUSED(kwargs))
{
    OwnerObject *self = PyObject_GC_New(OwnerObject, type);
    if (self != NULL) {
        self->seen = self->unseen = NULL;
        self->block = NULL;
    }
    return (PyObject *)self;
}

static PyType_Slot bare_slots[] = {
    {Py_tp_dealloc, owner_dealloc},
    {Py_tp_members, owner_members},
    {Py_tp_methods, owner_methods},
    {0, NULL}
};

static PyType_Slot blind_slots[] = {
    {Py_tp_dealloc, owner_dealloc},
    {Py_tp_traverse, blind_traverse},
    {Py_tp_clear, owner_clear},
    {Py_tp_members, owner_members},
    {Py_tp_methods, owner_methods},
    {0, NULL}
};

static PyType_Slot untracked_slots[] = {
    {Py_tp_new, untracked_new},
    {Py_tp_dealloc, owner_dealloc},
    {Py_tp_traverse, untracked_traverse},
    {Py_tp_clear, owner_clear},
    {Py_tp_members, owner_members},
    {Py_tp_methods, owner_methods},
    {0, NULL}
};

/* --- memory that is none any more while its owner dies ------------------------------------ */

#define LARGE ((size_t)1 << 20)

typedef struct {
    PyObject_HEAD
    PyObject *item;
} MappedObject;

static PyObject *
mapped_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwds))
{
    PyObject *item;

    if (!PyArg_ParseTuple(args, "O:Mapped", &item)) {
        return NULL;
    }
    void *memory = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return PyErr_NoMemory();
    }
    MappedObject *self = (MappedObject *)PyObject_Init(memory, type);
    self->item = Py_NewRef(item);
    return (PyObject *)self;
}

static void
mapped_dealloc(MappedObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(self->item);
    (void)munmap(self, LARGE);
    Py_DECREF(type);
}

PyDoc_STRVAR(mapped_doc,
"Mapped(item, /)\n--\n\n"
"Holds an object, in memory from mmap(), which goes before the reference to the type.");

static PyType_Slot mapped_slots[] = {
    {Py_tp_doc, (void *)mapped_doc},
    {Py_tp_new, mapped_new},
    {Py_tp_dealloc, mapped_dealloc},
    {0, NULL}
};

static void
large_free(void *module)
{
    PyObject **state = PyModule_GetState(module);
    if (state != NULL) {
        Py_XDECREF(*state);
    }
}

static struct PyModuleDef large_module = {
    PyModuleDef_HEAD_INIT, .m_name = "_testrefmap.large", .m_size = LARGE,
    .m_free = large_free,
};

PyDoc_STRVAR(make_large_module_doc,
"make_large_module()\n--\n\n"
"Return a new module with a state so large that it is unmapped when it is freed.");

static PyObject *
make_large_module(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arg))
{
    return PyModule_Create(&large_module);
}

// Apart, so that its caller has the module in its part of the stack as this returns.
static Py_NO_INLINE void
put(PyObject **state, PyObject *op)
{
    Py_XSETREF(*state, Py_NewRef(op));
}

PyDoc_STRVAR(put_in_state_doc,
"put_in_state(module, object, /)\n--\n\n"
"Keep an object in the state of what make_large_module() returned.");

static PyObject *
put_in_state(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *large, *op;

    if (!PyArg_ParseTuple(args, "O!O:put_in_state", &PyModule_Type, &large, &op)) {
        return NULL;
    }
    if (PyModule_GetDef(large) != &large_module) {
        PyErr_SetString(PyExc_TypeError, "not from make_large_module()");
        return NULL;
    }
    put(PyModule_GetState(large), op);
    Py_RETURN_NONE;
}


/* --- all types ---------------------------------------------------------------------------- */

static PyType_Spec specs[] = {
    {"_testrefmap.Bare", sizeof(OwnerObject), 0,
     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, bare_slots},
    {"_testrefmap.Blind", sizeof(OwnerObject), 0,
     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, blind_slots},
    {"_testrefmap.Untracked", sizeof(OwnerObject), 0,
     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
     untracked_slots},
    {"_testrefmap.Mapped", sizeof(MappedObject), 0, Py_TPFLAGS_DEFAULT, mapped_slots},
};

/* --- the module ----------------------------------------------------------------------------- */

PyDoc_STRVAR(keep_doc,
"keep(object, /)\n--\n\n"
"Keep the object in a static variable, in place of the one that was there.");

static PyObject *kept;

static PyObject *
keep(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_XSETREF(kept, Py_NewRef(op));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(litter_stack_doc,
"litter_stack(object, /)\n--\n\n"
"Leave the object's address in all of the stack that the next calls will use.");

static PyObject *
litter_stack(PyObject *Py_UNUSED(module), PyObject *op)
{
    PyObject *volatile words[8192];

    for (size_t i = 0; i < Py_ARRAY_LENGTH(words); i++) {
        words[i] = op;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(clear_doc,
"clear(object, /)\n--\n\n"
"Call the object's tp_clear, if it has one, as the collector does.");

static PyObject *
clear(PyObject *Py_UNUSED(module), PyObject *op)
{
    inquiry slot = Py_TYPE(op)->tp_clear;
    if (slot != NULL) {
        (void)slot(op);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(unfinished_str_doc,
"unfinished_str(length, largest, /)\n--\n\n"
"Return a str for characters up to a largest one, all bits of which are 1.");

static PyObject *
unfinished_str(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t length;
    unsigned int largest;

    if (!PyArg_ParseTuple(args, "nI:unfinished_str", &length, &largest)) {
        return NULL;
    }
    PyObject *op = PyUnicode_New(length, largest);
    if (op != NULL) {
        memset(PyUnicode_DATA(op), 0xff, (size_t)length * PyUnicode_KIND(op));
    }
    return op;
}

static PyMethodDef functions[] = {
    {"unfinished_str", unfinished_str, METH_VARARGS, unfinished_str_doc},
    {"clear", clear, METH_O, clear_doc},
    {"keep", keep, METH_O, keep_doc},
    {"litter_stack", litter_stack, METH_O, litter_stack_doc},
    {"make_large_module", make_large_module, METH_NOARGS, make_large_module_doc},
    {"put_in_state", put_in_state, METH_VARARGS, put_in_state_doc},
    {NULL}
};

int
_testrefmap_add_owners(PyObject *module)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(specs); i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, &specs[i], NULL);
        int res = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
        Py_XDECREF(type);
        if (res < 0) {
            return -1;
        }
    }
    return PyModule_AddFunctions(module, functions);
}
