/* A table from addresses to numbers, for the recorder: looked at in each hook while it is
   on, so without the pointers that uthash follows. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "stacks.h"

#define ERASED ((uintptr_t)1)
#define FIRST_SIZE ((size_t)256)

static size_t
refmap_table_index(const refmap_table_t *table, uintptr_t key)
{
    return refmap_mix(key) & table->mask;
}

uint64_t *
_PyRefMap_TableFind(const refmap_table_t *table, uintptr_t key)
{
    if (table->items == NULL) {
        return NULL;
    }
    size_t i = refmap_table_index(table, key);
    for (; table->items[i].key != 0; i = (i + 1) & table->mask) {
        if (table->items[i].key == key) {
            return &table->items[i].value;
        }
    }
    return NULL;
}

static size_t
refmap_table_bytes(const refmap_table_t *table)
{
    return (table->mask + 1) * sizeof(*table->items);
}

/* Make the table as large as what is in it needs, without those that were erased. */
static int
refmap_table_resize(refmap_table_t *table)
{
    size_t living = 0;
    for (size_t i = 0; table->items != NULL && i <= table->mask; i++) {
        living += table->items[i].key > ERASED;
    }
    refmap_table_t larger = {NULL, 0, FIRST_SIZE - 1};
    while (larger.mask < 4 * living) {
        larger.mask = 2 * larger.mask + 1;
    }
    larger.items = _PyRefMap_Malloc(refmap_table_bytes(&larger));
    if (larger.items == NULL) {
        return -1;
    }
    memset(larger.items, 0, refmap_table_bytes(&larger));
    for (size_t i = 0; table->items != NULL && i <= table->mask; i++) {
        if (table->items[i].key > ERASED) {
            size_t k = refmap_table_index(&larger, table->items[i].key);
            while (larger.items[k].key != 0) {
                k = (k + 1) & larger.mask;
            }
            larger.items[k] = table->items[i];
            larger.used++;
        }
    }
    _PyRefMap_TableClear(table);
    *table = larger;
    return 0;
}

uint64_t *
_PyRefMap_TableAdd(refmap_table_t *table, uintptr_t key)
{
    uint64_t *value = _PyRefMap_TableFind(table, key);
    if (value != NULL) {
        return value;
    }
    if ((table->items == NULL || 2 * table->used > table->mask)
        && refmap_table_resize(table) < 0)
    {
        return NULL;
    }
    size_t i = refmap_table_index(table, key);
    while (table->items[i].key > ERASED) {
        i = (i + 1) & table->mask;
    }
    table->used += table->items[i].key == 0;
    table->items[i].key = key;
    table->items[i].value = 0;
    return &table->items[i].value;
}

void
_PyRefMap_TableRemove(refmap_table_t *table, uintptr_t key)
{
    if (table->items == NULL) {
        return;
    }
    size_t i = refmap_table_index(table, key);
    for (; table->items[i].key != 0; i = (i + 1) & table->mask) {
        if (table->items[i].key == key) {
            table->items[i].key = ERASED;
            return;
        }
    }
}

void
_PyRefMap_TableClear(refmap_table_t *table)
{
    if (table->items != NULL) {
        _PyRefMap_RawFree(table->items, refmap_table_bytes(table));
    }
    memset(table, 0, sizeof(*table));
}

#endif  // Py_REFCOUNT_MAP
