/* A part of _testrefmap: objects that own others as no extension should. */

#include "Python.h"

#include <stddef.h>               // offsetof()

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

static PyType_Spec specs[] = {
    {"_testrefmap.Bare", sizeof(OwnerObject), 0,
     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, bare_slots},
    {"_testrefmap.Blind", sizeof(OwnerObject), 0,
     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, blind_slots},
    {"_testrefmap.Untracked", sizeof(OwnerObject), 0,
     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
     untracked_slots},
};

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

static PyMethodDef functions[] = {
    {"keep", keep, METH_O, keep_doc},
    {"litter_stack", litter_stack, METH_O, litter_stack_doc},
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
