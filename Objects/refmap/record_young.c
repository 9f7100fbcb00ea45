/* Young memory: the newest pieces, which the allocators and births of this recording
   tell. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

struct _refmap_young _PyRefMap_young;
static refmap_table_t region_at;            // start -> index + 1

/* What may lie in front of an object in its block; see _PyType_PreHeaderSize(). */
static const size_t headers[] = {0, 16, 32};

void
_PyRefMap_ClearYoung(void)
{
    memset(&_PyRefMap_young, 0, sizeof(_PyRefMap_young));
    _PyRefMap_TableClear(&region_at);
}

void
_PyRefMap_AddRegion(uintptr_t start, size_t size)
{
    struct _refmap_young *young = &_PyRefMap_young;
    refmap_region_t *region = &young->regions[young->next % REFMAP_REGIONS];
    if (region->size != 0) {
        _PyRefMap_TableRemove(&region_at, region->start);
    }
    *region = (refmap_region_t){0, 0};
    uint64_t *at = _PyRefMap_TableAdd(&region_at, start);
    if (at == NULL) {
        return;
    }
    if (*at != 0) {
        young->regions[*at - 1].size = 0;
    }
    *at = young->next % REFMAP_REGIONS + 1;
    *region = (refmap_region_t){start, size};
    young->next++;
}

static void
refmap_remove_region(uintptr_t start)
{
    uint64_t *at = _PyRefMap_TableFind(&region_at, start);
    if (at != NULL) {
        _PyRefMap_young.regions[*at - 1].size = 0;
        _PyRefMap_TableRemove(&region_at, start);
    }
}

void
_PyRefMap_AddObjectRegion(uintptr_t address)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(headers); i++) {
        if (_PyRefMap_TableFind(&region_at, address - headers[i]) != NULL) {
            return;
        }
    }
    // It is just born, so it can be read.
    const PyVarObject *head = (const PyVarObject *)address;
    const refmap_shape_t *shape = _PyRefMap_ShapeOf((uintptr_t)Py_TYPE(head));
    if (shape != NULL) {
        _PyRefMap_AddRegion(address, _PyRefMap_InstanceSize(address, head, shape));
    }
}

void
_PyRefMap_RemoveObjectRegion(uintptr_t address)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(headers); i++) {
        refmap_remove_region(address - headers[i]);
    }
}

void
_PyRefMap_RemoveBlockRegion(uintptr_t start)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(headers); i++) {
        refmap_remove_region(start + headers[i]);
    }
}

uintptr_t
_PyRefMap_BaseOf(uintptr_t start, uintptr_t *type)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(headers); i++) {
        uintptr_t address = start + headers[i];
        if (refmap_lives_at(address)) {
            *type = refmap_is_keys_at(address)
                    ? 0 : (uintptr_t)Py_TYPE((PyObject *)address);
            return address;
        }
    }
    *type = 0;
    return start;
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
