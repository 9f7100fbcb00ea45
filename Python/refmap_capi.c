/* The public C functions of cpython/refmap.h: hands the C records of Objects/refmap/
   to C code of extensions, as the other Python/refmap_*.c hand them to Python. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "cpython/refmap.h"
#include "pycore_object.h"        // _Py_GetGlobalRefTotal()
#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_refmap_query.h"

#include <errno.h>

struct _PyUnstable_RefMap_Snapshot {
    refmap_snapshot_t *snapshot;
    Py_ssize_t total;
};

/* Does the calling thread have an interpreter whose map can be looked at? */
static inline int
is_attached(void)
{
    return _PyThreadState_GET() != NULL;
}

const char *
PyUnstable_RefMap_ErrorText(int error)
{
    switch (error) {
    case PyUnstable_RefMap_NO_MEMORY:
        return "there is no memory";
    case PyUnstable_RefMap_NO_GIL:
        return "the thread does not have the GIL";
    case PyUnstable_RefMap_OTHER_MAP:
        return "the snapshots are of different maps";
    case PyUnstable_RefMap_NOT_WRITTEN:
        return "the file can't be written";
    default:
        return "no error of the refcount map";
    }
}


/* --- counts -------------------------------------------------------------- */

Py_ssize_t
PyUnstable_RefMap_Count(PyObject *op)
{
    return is_attached() && op != NULL ? _PyRefMap_Count(op) : 0;
}

Py_ssize_t
PyUnstable_RefMap_Total(void)
{
    return _Py_GetGlobalRefTotal();
}

void
_Py_CountReferences(FILE *file)
{
    fprintf(file, "%zd refs\n", PyUnstable_RefMap_Total());
}

int
PyUnstable_RefMap_Describe(PyObject *op, FILE *file)
{
    refmap_record_t record;
    if (op == NULL) {
        fprintf(file, "NULL\n");
        return 0;
    }
    if (!is_attached()) {
        fprintf(file, "%p, not looked at without the GIL\n", (void *)op);
        return 0;
    }
    if (!_PyRefMap_LookAt((uintptr_t)op, &record)) {
        fprintf(file, "%p, no living object that the map knows\n", (void *)op);
        return 0;
    }
    fprintf(file, "%p (%s), ", (void *)op, record.type);
    if ((uint64_t)record.after >> 31 == 1) {
        fprintf(file, "immortal\n");
        return 1;
    }
    fprintf(file, "%zd reference%s", record.after, record.after == 1 ? "" : "s");
    if (record.before != record.after) {
        fprintf(file, ", %zd by the map", record.before);
    }
    fprintf(file, "\n");
    return 1;
}


/* --- snapshots ----------------------------------------------------------- */

PyUnstable_RefMap_Snapshot *
PyUnstable_RefMap_TakeSnapshot(void)
{
    if (!is_attached()) {
        return NULL;
    }
    // Of no allocator of Python: it is not to be in the number of memory blocks.
    PyUnstable_RefMap_Snapshot *self = _PyRefMap_Malloc(sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    self->total = _Py_GetGlobalRefTotal();
    self->snapshot = _PyRefMap_Snapshot();
    if (self->snapshot == NULL) {
        _PyRefMap_RawFree(self, sizeof(*self));
        return NULL;
    }
    return self;
}

void
PyUnstable_RefMap_FreeSnapshot(PyUnstable_RefMap_Snapshot *self)
{
    // Without the GIL its blocks can't be given back: they stay.
    if (self != NULL && is_attached()) {
        _PyRefMap_SnapshotDecref(self->snapshot);
        _PyRefMap_RawFree(self, sizeof(*self));
    }
}

Py_ssize_t
PyUnstable_RefMap_SnapshotTotal(const PyUnstable_RefMap_Snapshot *self)
{
    return self->total;
}


/* --- diffs --------------------------------------------------------------- */

static int
append(refmap_records_t *to, const refmap_records_t *from)
{
    for (size_t i = 0; i < from->len; i++) {
        if (_PyRefMap_AppendRecord(to, from->items[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
compare_types(const void *left, const void *right)
{
    const refmap_record_t *a = left, *b = right;
    return strcmp(a->type, b->type);
}

/* Make one record of those of a type, with the change in `after`. Those that cancel
   out are left out. */
static void
sum_up_types(refmap_records_t *records)
{
    size_t n = 0;
    if (records->len > 0) {
        qsort(records->items, records->len, sizeof(*records->items),
              compare_types);
    }
    for (size_t i = 0; i < records->len;) {
        refmap_record_t sum = {.type = records->items[i].type};
        for (; i < records->len
               && strcmp(sum.type, records->items[i].type) == 0; i++)
        {
            sum.after += records->items[i].after - records->items[i].before;
        }
        if (sum.after != 0) {
            records->items[n++] = sum;
        }
    }
    records->len = n;
    _PyRefMap_SortRecords(records);
}

/* What changed between two snapshots, and the changes of the types. */
typedef struct {
    refmap_diff_t diff;
    refmap_records_t types;
    Py_ssize_t total[2];
} changes_t;

static void
clear_changes(changes_t *changes)
{
    _PyRefMap_ClearDiff(&changes->diff);
    _PyRefMap_ClearRecords(&changes->types);
}

/* Fill `changes`, or return an error. */
static int
find_changes(PyUnstable_RefMap_Snapshot *before,
             PyUnstable_RefMap_Snapshot *after, changes_t *changes)
{
    memset(changes, 0, sizeof(*changes));
    if (!is_attached()) {
        return PyUnstable_RefMap_NO_GIL;
    }
    PyUnstable_RefMap_Snapshot *now = NULL;
    if (after == NULL) {
        after = now = PyUnstable_RefMap_TakeSnapshot();
        if (now == NULL) {
            return PyUnstable_RefMap_NO_MEMORY;
        }
    }
    refmap_diff_t *diff = &changes->diff;
    int res = _PyRefMap_Diff(before->snapshot, after->snapshot, diff);
    if (res == -2) {
        res = PyUnstable_RefMap_OTHER_MAP;
    }
    else if (res < 0 || append(&changes->types, &diff->living) < 0
             || append(&changes->types, &diff->died) < 0)
    {
        res = PyUnstable_RefMap_NO_MEMORY;
    }
    sum_up_types(&changes->types);
    changes->total[0] = before->total;
    changes->total[1] = before->total + diff->total;
    PyUnstable_RefMap_FreeSnapshot(now);
    return res;
}

static int
visit(PyUnstable_RefMap_Kind kind, const refmap_records_t *records,
      PyUnstable_RefMap_Callback callback, void *arg)
{
    int res = 0;
    for (size_t i = 0; res == 0 && i < records->len; i++) {
        const refmap_record_t *r = &records->items[i];
        const PyUnstable_RefMap_Record record = {
            kind, (const void *)r->address, r->type, r->before, r->after};
        res = callback(&record, arg);
    }
    return res;
}

static int
visit_sum(PyUnstable_RefMap_Kind kind, Py_ssize_t before, Py_ssize_t after,
          PyUnstable_RefMap_Callback callback, void *arg)
{
    const PyUnstable_RefMap_Record record = {kind, NULL, NULL, before, after};
    return callback(&record, arg);
}

int
PyUnstable_RefMap_VisitDiff(PyUnstable_RefMap_Snapshot *before,
                            PyUnstable_RefMap_Snapshot *after,
                            PyUnstable_RefMap_Callback callback, void *arg)
{
    changes_t changes;
    const refmap_diff_t *diff = &changes.diff;
    int res = find_changes(before, after, &changes);
    if (res == 0) {
        res = visit(PyUnstable_RefMap_LIVING, &diff->living, callback, arg);
    }
    if (res == 0) {
        res = visit(PyUnstable_RefMap_DIED, &diff->died, callback, arg);
    }
    if (res == 0) {
        res = visit(PyUnstable_RefMap_FREED, &diff->freed, callback, arg);
    }
    if (res == 0) {
        res = visit(PyUnstable_RefMap_TYPE, &changes.types, callback, arg);
    }
    if (res == 0 && diff->unattributed != 0) {
        res = visit_sum(PyUnstable_RefMap_UNATTRIBUTED, 0, diff->unattributed,
                        callback, arg);
    }
    if (res == 0 && diff->lost != 0) {
        res = visit_sum(PyUnstable_RefMap_LOST, 0, (Py_ssize_t)diff->lost,
                        callback, arg);
    }
    if (res == 0) {
        res = visit_sum(PyUnstable_RefMap_TOTAL, changes.total[0],
                        changes.total[1], callback, arg);
    }
    clear_changes(&changes);
    return res;
}

/* The lines and their order are those of str() of a diff, in refmap_report.c. */
static void
print_changes(FILE *file, const changes_t *changes)
{
    const refmap_diff_t *diff = &changes->diff;
    for (size_t i = 0; i < diff->living.len; i++) {
        const refmap_record_t *r = &diff->living.items[i];
        fprintf(file, REFMAP_LIVING_LINE, (void *)r->address, r->type,
                r->after - r->before, r->before, r->after);
    }
    for (size_t i = 0; i < diff->died.len; i++) {
        const refmap_record_t *r = &diff->died.items[i];
        fprintf(file, REFMAP_DIED_LINE, (void *)r->address, r->type, -r->before);
    }
    if (diff->unattributed != 0) {
        fprintf(file, REFMAP_UNATTRIBUTED_LINE, diff->unattributed);
    }
    if (diff->lost != 0) {
        fprintf(file, REFMAP_LOST_LINE, (size_t)diff->lost);
    }
    for (size_t i = 0; i < diff->freed.len; i++) {
        const refmap_record_t *r = &diff->freed.items[i];
        fprintf(file, REFMAP_FREED_LINE, r->before, r->before == 1 ? "" : "s",
                (void *)r->address, r->type);
    }
    for (size_t i = 0; i < changes->types.len; i++) {
        const refmap_record_t *r = &changes->types.items[i];
        fprintf(file, "ref change of type %s: %zd\n", r->type, r->after);
    }
    fprintf(file, REFMAP_TOTAL_LINE "\n", diff->total);
}

int
PyUnstable_RefMap_PrintDiff(PyUnstable_RefMap_Snapshot *before,
                            PyUnstable_RefMap_Snapshot *after, FILE *file)
{
    changes_t changes;
    int res = find_changes(before, after, &changes);
    if (res == 0) {
        print_changes(file, &changes);
        if (fflush(file) != 0 || ferror(file)) {
            res = PyUnstable_RefMap_NOT_WRITTEN;
        }
    }
    clear_changes(&changes);
    return res;
}


/* --- verification -------------------------------------------------------- */

Py_ssize_t
PyUnstable_RefMap_Verify(PyUnstable_RefMap_Callback callback, void *arg)
{
    if (!is_attached()) {
        return PyUnstable_RefMap_NO_GIL;
    }
    refmap_records_t records = {0};
    int res = _PyRefMap_Verify(_PyInterpreterState_GET()->object_state.refmap,
                               &records);
    if (res == 0 && callback != NULL) {
        (void)visit(PyUnstable_RefMap_LIVING, &records, callback, arg);
    }
    Py_ssize_t n = (Py_ssize_t)records.len;
    _PyRefMap_ClearRecords(&records);
    return res < 0 ? PyUnstable_RefMap_NO_MEMORY : n;
}

#endif  // Py_REFCOUNT_MAP
