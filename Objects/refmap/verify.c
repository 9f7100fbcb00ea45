/* The whole map: what is in it, and whether the memory agrees. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_pystate.h"       // _PyInterpreterState_GET()

/* Which slots are listed. */
typedef enum {
    COUNTED,            // those with a count
    DIFFERING,          // those of living objects whose ob_refcnt is another one
} which_t;

static int
list_block(refmap_state_t *map, refmap_block_t *block, which_t which,
           refmap_records_t *records)
{
    refmap_copy_t copy;
    int copied = 0;
    refmap_words_t words[REFMAP_SLOTS];
    refmap_get_all(block, words);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        refmap_slot_t slot = refmap_decode(words[i]);
        if (which == COUNTED ? slot.count == 0 : !refmap_is_living(slot)) {
            continue;
        }
        if (!copied) {
            _PyRefMap_ReadPage(block, &copy);
            copied = 1;
        }
        refmap_object_t object;
        _PyRefMap_ReadSlot(map, block, i, slot, &copy, &object);
        if (which == DIFFERING
            && (copy.readable ? refmap_refcnt_agrees(slot, object.refcnt)
                              : slot.count == 0))
        {
            continue;
        }
        refmap_record_t record = {
            object.address, _PyRefMap_TypeName(map, object.type), slot.count,
            object.refcnt};
        if (_PyRefMap_AppendRecord(records, record) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
list_map(refmap_state_t *map, which_t which, refmap_records_t *records)
{
    _PyRefMap_ForgetTypes(map);
    for (size_t i = 0; i < map->len; i++) {
        if (map->blocks[i] != NULL
            && list_block(map, map->blocks[i], which, records) < 0)
        {
            return -1;
        }
    }
    _PyRefMap_SortRecords(records);
    return 0;
}

PyObject *
_PyRefMap_ObjectAt(uintptr_t address)
{
    const uint32_t no_object = REFMAP_BIRTH_KEYS | REFMAP_BIRTH_OWN;
    refmap_state_t *map = refmap_of(_PyInterpreterState_GET());
    refmap_block_t *block = _PyRefMap_Find(map, refmap_page(address));
    size_t i = refmap_slot_index(address);
    if (block == NULL) {
        return NULL;
    }
    refmap_slot_t slot = refmap_get(block, i);
    if (!refmap_is_living(slot) || (slot.birth & no_object)) {
        return NULL;
    }
    refmap_copy_t copy;
    refmap_object_t object;
    _PyRefMap_ReadPage(block, &copy);
    _PyRefMap_ReadSlot(map, block, i, slot, &copy, &object);
    // What a stock binary did to ob_refcnt makes a born object no less alive.
    int is_alive = refmap_living_birth(slot) != 0
                   ? object.refcnt > 0
                   : slot.count > 0 && refmap_refcnt_agrees(slot, object.refcnt);
    return object.address == address && copy.readable && is_alive
           && object.type != REFMAP_TYPE_UNKNOWN ? (PyObject *)address : NULL;
}

int
_PyRefMap_LookAt(uintptr_t address, refmap_record_t *record)
{
    refmap_state_t *map = refmap_of(_PyInterpreterState_GET());
    PyObject head;
    if (address % sizeof(void *) != 0
        || _PyRefMap_Read(address, &head, sizeof(head)) < 0)
    {
        return 0;
    }
    // Immortal objects of static data have no slot.
    refmap_slot_t slot = refmap_look(map, address);
    int immortal = (uint64_t)head.ob_refcnt >> 31 == 1;
    if ((slot.birth & (REFMAP_BIRTH_KEYS | REFMAP_BIRTH_OWN))
        || (!refmap_is_living(slot) && !immortal))
    {
        return 0;
    }
    _PyRefMap_ForgetTypes(map);
    refmap_type_t type = _PyRefMap_TypeAt(map, (uintptr_t)head.ob_type);
    *record = (refmap_record_t){
        address, _PyRefMap_TypeName(map, type), slot.count, head.ob_refcnt};
    return type != REFMAP_TYPE_UNKNOWN;
}

int
_PyRefMap_Verify(refmap_state_t *map, refmap_records_t *records)
{
    return list_map(map, DIFFERING, records);
}

int
_PyRefMap_List(refmap_state_t *map, refmap_records_t *records)
{
    return list_map(map, COUNTED, records);
}

void
_PyRefMap_KeepTypes(refmap_state_t *map)
{
    refmap_records_t records = {0};
    map->keep_types = 0;
    (void)_PyRefMap_List(map, &records);
    _PyRefMap_ClearRecords(&records);
    map->keep_types = 1;
}

#endif  // Py_REFCOUNT_MAP
