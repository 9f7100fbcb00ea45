/* What objects look like: how large they are, and what else is of interest of their
   types. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include "pycore_dict.h"          // PyDictKeysObject

static refmap_table_t shape_at;             // address of the type -> index + 1
static refmap_shape_t *shapes;
static size_t nshapes, shapes_allocated;

const refmap_shape_t *
_PyRefMap_ShapeOf(uintptr_t type)
{
    PyTypeObject copy;
    uint64_t *at = type > 1 ? _PyRefMap_TableAdd(&shape_at, type) : NULL;
    if (at == NULL) {
        return NULL;
    }
    if (*at == 0) {
        if (_PyRefMap_Read(type, &copy, sizeof(copy)) < 0
            || _PyRefMap_Grow(&shapes, &shapes_allocated, nshapes + 1,
                              sizeof(*shapes)) < 0)
        {
            return NULL;
        }
        shapes[nshapes++] = (refmap_shape_t){
            copy.tp_basicsize, copy.tp_itemsize, copy.tp_flags,
            copy.tp_traverse == PyModule_Type.tp_traverse};
        *at = nshapes;
    }
    return &shapes[*at - 1];
}

void
_PyRefMap_ClearShapes(void)
{
    _PyRefMap_TableClear(&shape_at);
    _PyRefMap_RawFree(shapes, shapes_allocated * sizeof(*shapes));
    shapes = NULL;
    nshapes = shapes_allocated = 0;
}

size_t
_PyRefMap_InstanceSize(uintptr_t address, const PyVarObject *head,
                       const refmap_shape_t *shape)
{
    size_t size = (size_t)shape->basicsize;
    if (shape->itemsize > 0 && !(shape->flags & Py_TPFLAGS_LONG_SUBCLASS)) {
        size += (size_t)shape->itemsize * (size_t)Py_ABS(Py_SIZE(head));
    }
    if (shape->flags & Py_TPFLAGS_INLINE_VALUES) {
        PyDictValues values;
        if (_PyRefMap_Read(address + size, &values, sizeof(values)) == 0) {
            size += sizeof(values) + values.capacity * sizeof(PyObject *);
        }
    }
    return size;
}

/* See USABLE_FRACTION() in dictobject.c for the number of entries. */
size_t
_PyRefMap_KeysSize(uintptr_t keys)
{
    PyDictKeysObject head;
    if (_PyRefMap_Read(keys, &head, sizeof(head)) < 0
        || head.dk_log2_size > 40 || head.dk_log2_index_bytes > 40)
    {
        return 0;
    }
    size_t entry = head.dk_kind == DICT_KEYS_GENERAL
                   ? sizeof(PyDictKeyEntry) : sizeof(PyDictUnicodeEntry);
    return sizeof(head) + ((size_t)1 << head.dk_log2_index_bytes)
           + entry * (((size_t)2 << head.dk_log2_size) / 3);
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
