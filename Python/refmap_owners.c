/* sys.refmap_owners(): turns what Objects/refmap/owners.c found into tuples. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_refmap_sys.h"

/* {key: value}; steals both, which may be NULL. */
static int
set_item(PyObject *dict, PyObject *key, PyObject *value)
{
    int res = key && value ? PyDict_SetItem(dict, key, value) : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return res;
}

static PyObject *
address_of(uintptr_t address)
{
    return PyLong_FromVoidPtr((void *)address);
}

/* Fill `addresses` with those in a list or tuple of integers, each once. Return how many
   they are, or -1 with an exception. */
static Py_ssize_t
read_addresses(PyObject *sequence, uintptr_t *addresses)
{
    Py_ssize_t n = 0;
    PyObject *seen = PySet_New(NULL);
    if (seen == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(sequence, i);
        uintptr_t address = (uintptr_t)PyLong_AsVoidPtr(item);
        if (address == 0 && PyErr_Occurred()) {
            n = -1;
            break;
        }
        int known = PySet_Contains(seen, item);
        if (known < 0 || (!known && PySet_Add(seen, item) < 0)) {
            n = -1;
            break;
        }
        if (!known) {
            addresses[n++] = address;
        }
    }
    Py_DECREF(seen);
    return n;
}

/* {address: (type, count, refcnt, flags, visits, hidden, owners)} of living objects. */
static PyObject *
build_targets(const refmap_owners_t *found)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < found->ntargets; i++) {
        const refmap_target_t *target = &found->targets[i];
        if (target->flags == 0) {
            continue;
        }
        PyObject *value = Py_BuildValue(
            "Nnninnn", address_of(target->type), target->count, target->refcnt,
            target->flags, target->visits, target->hidden,
            (Py_ssize_t)target->nowners);
        if (set_item(dict, address_of(target->address), value) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

static PyObject *
build_path(const refmap_path_t *path)
{
    PyObject *tuple = PyTuple_New(path->len);
    for (int i = 0; tuple != NULL && i < path->len; i++) {
        PyObject *offset = PyLong_FromSsize_t(path->offsets[i]);
        if (offset == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, offset);
    }
    return tuple;
}

static PyObject *
build_paths(const refmap_owner_t *owner)
{
    PyObject *tuple = PyTuple_New(owner->npaths);
    for (int i = 0; tuple != NULL && i < owner->npaths; i++) {
        PyObject *path = build_path(&owner->paths[i]);
        if (path == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, path);
    }
    return tuple;
}

/* [(target, kind, address, type, flags, visits, words, paths)] */
static PyObject *
build_owners(const refmap_owners_t *found)
{
    static const char *const kinds[] = {
        [REFMAP_OWNER_OBJECT] = "object",
        [REFMAP_OWNER_STATIC] = "static",
        [REFMAP_OWNER_THREAD] = "thread",
    };
    PyObject *list = PyList_New((Py_ssize_t)found->len);
    for (size_t i = 0; list != NULL && i < found->len; i++) {
        const refmap_owner_t *owner = &found->owners[i];
        PyObject *item = Py_BuildValue(
            "NsNNinnN", address_of(found->targets[owner->target].address),
            kinds[owner->kind], address_of(owner->address),
            address_of(owner->type), owner->flags, owner->visits, owner->words,
            build_paths(owner));
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

/* Add a type and its bases to {address: (name, basicsize, itemsize, flags, dealloc,
   traverse, clear, base)}. They live: so do their instances. */
static int
add_type(PyObject *types, uintptr_t address)
{
    int known = 0;
    while (address != 0 && !known) {
        PyTypeObject *type = (PyTypeObject *)address;
        PyObject *key = address_of(address);
        known = key ? PyDict_Contains(types, key) : -1;
        if (known != 0) {
            Py_XDECREF(key);
            continue;
        }
        PyObject *value = Py_BuildValue(
            "NnnkNNNN",
            PyUnicode_DecodeUTF8(type->tp_name, strlen(type->tp_name), "replace"),
            type->tp_basicsize, type->tp_itemsize, type->tp_flags,
            address_of((uintptr_t)type->tp_dealloc),
            address_of((uintptr_t)type->tp_traverse),
            address_of((uintptr_t)type->tp_clear),
            address_of((uintptr_t)type->tp_base));
        if (set_item(types, key, value) < 0) {
            return -1;
        }
        address = (uintptr_t)type->tp_base;
    }
    return known < 0 ? -1 : 0;
}

static PyObject *
build_types(const refmap_owners_t *found)
{
    PyObject *types = PyDict_New();
    for (size_t i = 0; types != NULL && i < found->ntargets; i++) {
        if (add_type(types, found->targets[i].type) < 0) {
            Py_CLEAR(types);
        }
    }
    for (size_t i = 0; types != NULL && i < found->len; i++) {
        if (add_type(types, found->owners[i].type) < 0) {
            Py_CLEAR(types);
        }
    }
    return types;
}

static PyObject *
build_result(const refmap_owners_t *found)
{
    PyObject *targets = build_targets(found);
    PyObject *owners = targets ? build_owners(found) : NULL;
    PyObject *types = owners ? build_types(found) : NULL;
    if (types == NULL) {
        Py_XDECREF(targets);
        Py_XDECREF(owners);
        return NULL;
    }
    return Py_BuildValue("NNNnn", targets, owners, types,
                         (Py_ssize_t)found->left_out, (Py_ssize_t)found->skipped);
}

static PyObject *
find_owners(PyObject *sequence)
{
    size_t size = ((size_t)PySequence_Fast_GET_SIZE(sequence) + 1)
                  * sizeof(uintptr_t);
    uintptr_t *addresses = _PyRefMap_Malloc(size);
    if (addresses == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = NULL;
    refmap_owners_t found = {0};
    Py_ssize_t n = read_addresses(sequence, addresses);
    if (n >= 0) {
        if (_PyRefMap_Owners(addresses, (size_t)n, &found) < 0) {
            PyErr_NoMemory();
        }
        else {
            result = build_result(&found);
        }
    }
    _PyRefMap_ClearOwners(&found);
    _PyRefMap_RawFree(addresses, size);
    return result;
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
    PyObject *sequence = PySequence_Fast(
        addresses, "the addresses must be an iterable of integers");
    if (sequence == NULL) {
        return NULL;
    }
    PyObject *result = find_owners(sequence);
    Py_DECREF(sequence);
    return result;
}

PyMethodDef _PyRefMap_owners_methods[] = {
    {"refmap_owners", sys_refmap_owners, METH_O, refmap_owners_doc},
    {NULL}
};

#endif  // Py_REFCOUNT_MAP
