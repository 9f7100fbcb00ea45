/* Arrays of what is told of objects. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

#include <stdlib.h>               // qsort()

void
_PyRefMap_ClearRecords(refmap_records_t *records)
{
    _PyRefMap_RawFree(records->items,
                      records->allocated * sizeof(*records->items));
    memset(records, 0, sizeof(*records));
}

int
_PyRefMap_AppendRecord(refmap_records_t *records, refmap_record_t record)
{
    if (_PyRefMap_Grow(&records->items, &records->allocated, records->len + 1,
                       sizeof(*records->items)) < 0) {
        return -1;
    }
    records->items[records->len++] = record;
    return 0;
}

static int
refmap_compare_records(const void *left, const void *right)
{
    const refmap_record_t *a = left, *b = right;
    Py_ssize_t x = Py_ABS(a->after - a->before);
    Py_ssize_t y = Py_ABS(b->after - b->before);
    if (x != y) {
        return x > y ? -1 : 1;
    }
    // Equal names are one string in a map.
    int order = a->type == b->type ? 0 : strcmp(a->type, b->type);
    if (order != 0) {
        return order;
    }
    return (a->address > b->address) - (a->address < b->address);
}

void
_PyRefMap_SortRecords(refmap_records_t *records)
{
    if (records->len > 1) {
        qsort(records->items, records->len, sizeof(*records->items),
              refmap_compare_records);
    }
}

#endif  // Py_REFCOUNT_MAP
