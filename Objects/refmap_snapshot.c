/* Snapshots of the refcount map, what changed between two of them, and the
   comparison of the map with ob_refcnt. Results are plain C records.

   A snapshot copies the list of blocks and starts a new epoch; it does not
   walk the heap. From then on refmap.c copies a block before its first change.
   A diff visits only the blocks that two snapshots do not share. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "refmap_state.h"
#include "pycore_interp.h"
#include "pycore_object.h"
#include "pycore_pystate.h"

#include <stdlib.h>               // qsort()


/* --- records ------------------------------------------------------------ */

void
_PyRefMap_ClearRecords(refmap_records_t *records)
{
    _PyRefMap_RawFree(records->items,
                      records->allocated * sizeof(*records->items));
    memset(records, 0, sizeof(*records));
}

static int
records_append(refmap_records_t *records, refmap_record_t record)
{
    if (_PyRefMap_Grow(&records->items, &records->allocated, records->len + 1,
                       sizeof(*records->items)) < 0) {
        return -1;
    }
    records->items[records->len++] = record;
    return 0;
}

static int
record_compare(const void *left, const void *right)
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

static void
records_sort(refmap_records_t *records)
{
    if (records->len > 1) {
        qsort(records->items, records->len, sizeof(*records->items),
              record_compare);
    }
}


/* --- snapshots ----------------------------------------------------------- */

static size_t
snapshot_size(size_t nblocks)
{
    return offsetof(refmap_snapshot_t, blocks)
           + nblocks * sizeof(refmap_block_t *);
}

refmap_snapshot_t *
_PyRefMap_Snapshot(void)
{
    refmap_state_t *map = refmap_of(_PyInterpreterState_GET());
    refmap_snapshot_t *snapshot = _PyRefMap_Malloc(snapshot_size(map->len));
    if (snapshot == NULL) {
        return NULL;
    }
    memset(snapshot, 0, sizeof(*snapshot));
    snapshot->refs = 1;
    snapshot->map = map;
    snapshot->nblocks = map->len;
    if (map->len) {
        memcpy(snapshot->blocks, map->blocks,
               map->len * sizeof(*map->blocks));
    }
    snapshot->total = _PyRefMap_Total(map);
    snapshot->unattributed = _PyRefMap_UnattributedOf(map);
    snapshot->own = map->own;
    snapshot->findings = map->nfindings;

    refmap_lock(map);
    snapshot->epoch = map->epoch++;
    snapshot->older = map->newest;
    if (map->newest != NULL) {
        map->newest->newer = snapshot;
    }
    map->newest = snapshot;
    _PyRefMap_ForgetLookaside_unlocked(map);
    refmap_unlock(map);
    return snapshot;
}

refmap_snapshot_t *
_PyRefMap_SnapshotIncref(refmap_snapshot_t *snapshot)
{
    snapshot->refs++;
    return snapshot;
}

/* Hand the dead blocks of `snapshot` to the next older snapshot where that
   one contains them, and free the others. */
static void
snapshot_pass_on(refmap_snapshot_t *snapshot)
{
    refmap_snapshot_t *older = snapshot->older;
    while (snapshot->dead != NULL) {
        refmap_block_t *block = snapshot->dead;
        snapshot->dead = block->next;
        if (older != NULL && block->epoch <= older->epoch) {
            block->next = older->dead;
            older->dead = block;
        }
        else {
            _PyRefMap_FreeBlock_unlocked(snapshot->map, block);
        }
    }
}

void
_PyRefMap_SnapshotDecref(refmap_snapshot_t *snapshot)
{
    if (snapshot == NULL || --snapshot->refs > 0) {
        return;
    }
    refmap_state_t *map = snapshot->map;
    if (map != NULL) {
        refmap_lock(map);
        snapshot_pass_on(snapshot);
        if (snapshot->older != NULL) {
            snapshot->older->newer = snapshot->newer;
        }
        if (snapshot->newer != NULL) {
            snapshot->newer->older = snapshot->older;
        }
        else {
            map->newest = snapshot->older;
        }
        refmap_unlock(map);
    }
    _PyRefMap_RawFree(snapshot, snapshot_size(snapshot->nblocks));
}

refmap_snapshot_t *
_PyRefMap_Baseline(void)
{
    return refmap_of(_PyInterpreterState_GET())->baseline;
}

void
_PyRefMap_SetBaseline(refmap_snapshot_t *snapshot)
{
    refmap_state_t *map = refmap_of(_PyInterpreterState_GET());
    refmap_snapshot_t *old = map->baseline;
    map->baseline = snapshot ? _PyRefMap_SnapshotIncref(snapshot) : NULL;
    _PyRefMap_SnapshotDecref(old);
}


/* --- diffs --------------------------------------------------------------- */

/* A block as a snapshot sees it, with what it takes to name its types. */
typedef struct {
    refmap_state_t *map;
    refmap_block_t *block;          // NULL: the page had no block
    refmap_slot_t slots[REFMAP_SLOTS];
    int copied;
    refmap_copy_t copy;
} side_t;

static void
side_init(side_t *side, refmap_state_t *map, refmap_block_t *block)
{
    side->map = map;
    side->block = block;
    side->copied = 0;
    if (block != NULL) {
        refmap_get_all(block, side->slots);
    }
    else {
        memset(side->slots, 0, sizeof(side->slots));
    }
}

/* What a record says of the object in a slot. */
static refmap_record_t
side_record(side_t *side, size_t i)
{
    refmap_block_t *block = side->block;
    refmap_slot_t slot = side->slots[i];
    refmap_object_t object = {.type = REFMAP_TYPE_UNKNOWN};
    if (block->types != NULL) {
        object.type = block->types[i];
    }
    else if (side->map->blocks[block->index] == block) {
        // Not touched since: what was alive then is alive now.
        if (!side->copied) {
            _PyRefMap_ReadPage(block, &side->copy);
            side->copied = 1;
        }
        _PyRefMap_ReadSlot(side->map, block, i, slot, &side->copy, &object);
    }
    refmap_record_t record = {
        .address = refmap_slot_address(block, i, slot),
        .type = _PyRefMap_TypeName(side->map, object.type),
        .birth = slot.birth & REFMAP_BIRTH_SERIAL,
    };
    return record;
}

/* A slot as it is reported; references to refmap's own objects are added to
   `*own` instead. */
static refmap_slot_t
side_slot(const side_t *side, size_t i, Py_ssize_t *own)
{
    refmap_slot_t nothing = {0, 0};
    refmap_slot_t slot = side->slots[i];
    if (slot.count != 0 && (slot.birth & REFMAP_BIRTH_OWN)) {
        *own += refmap_count(&slot);
        return nothing;
    }
    return slot;
}

static int
diff_slot(side_t *before, side_t *after, size_t i, refmap_diff_t *diff)
{
    Py_ssize_t own_before = 0, own_after = 0;
    refmap_slot_t a = side_slot(before, i, &own_before);
    refmap_slot_t b = side_slot(after, i, &own_after);
    diff->own += own_after - own_before;
    int same = a.count != 0 && b.count != 0
               && ((a.birth ^ b.birth) & ~REFMAP_BIRTH_ODD) == 0;
    if (a.count != 0 && !same) {
        refmap_record_t died = side_record(before, i);
        died.before = refmap_count(&a);
        if (records_append(&diff->died, died) < 0) {
            return -1;
        }
        a.count = 0;
    }
    if (b.count != a.count) {
        refmap_record_t living = side_record(after, i);
        living.before = refmap_count(&a);
        living.after = refmap_count(&b);
        return records_append(&diff->living, living);
    }
    return 0;
}

static int
diff_page(refmap_state_t *map, refmap_block_t *before, refmap_block_t *after,
          refmap_diff_t *diff)
{
    side_t a, b;
    side_init(&a, map, before);
    side_init(&b, map, after);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        int same = a.slots[i].count == b.slots[i].count
                   && a.slots[i].birth == b.slots[i].birth;
        if (!same && diff_slot(&a, &b, i, diff) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Blocks of one snapshot whose index holds another page in the other one. */
typedef struct {
    refmap_block_t **items;
    size_t len;
} moved_t;

static int
moved_compare(const void *left, const void *right)
{
    uintptr_t a = (*(refmap_block_t *const *)left)->page;
    uintptr_t b = (*(refmap_block_t *const *)right)->page;
    return (a > b) - (a < b);
}

static int
diff_moved(refmap_state_t *map, moved_t *before, moved_t *after,
           refmap_diff_t *diff)
{
    qsort(before->items, before->len, sizeof(*before->items), moved_compare);
    qsort(after->items, after->len, sizeof(*after->items), moved_compare);
    size_t i = 0, k = 0;
    while (i < before->len || k < after->len) {
        refmap_block_t *a = i < before->len ? before->items[i] : NULL;
        refmap_block_t *b = k < after->len ? after->items[k] : NULL;
        if (a != NULL && b != NULL && a->page != b->page) {
            // The lower page is alone, or it would have been met by now.
            *(a->page < b->page ? &b : &a) = NULL;
        }
        i += a != NULL;
        k += b != NULL;
        if (diff_page(map, a, b, diff) < 0) {
            return -1;
        }
    }
    return 0;
}

static refmap_block_t *
snapshot_block(const refmap_snapshot_t *snapshot, size_t i)
{
    return i < snapshot->nblocks ? snapshot->blocks[i] : NULL;
}

static int
diff_blocks(refmap_snapshot_t *before, refmap_snapshot_t *after,
            moved_t *gone, moved_t *come, refmap_diff_t *diff)
{
    size_t n = Py_MAX(before->nblocks, after->nblocks);
    for (size_t i = 0; i < n; i++) {
        refmap_block_t *a = snapshot_block(before, i);
        refmap_block_t *b = snapshot_block(after, i);
        if (a == REFMAP_LOST_BLOCK || b == REFMAP_LOST_BLOCK) {
            // Torn from both: at different times, perhaps.
            diff->lost += before != after;
        }
        else if (a == b) {
            continue;
        }
        else if (a != NULL && b != NULL && a->page == b->page) {
            if (diff_page(before->map, a, b, diff) < 0) {
                return -1;
            }
        }
        else {
            if (a != NULL) {
                gone->items[gone->len++] = a;
            }
            if (b != NULL) {
                come->items[come->len++] = b;
            }
        }
    }
    return diff_moved(before->map, gone, come, diff);
}

static int
diff_findings(refmap_state_t *map, uint64_t from, uint64_t to,
              refmap_diff_t *diff)
{
    if (map->nfindings - from > REFMAP_FINDINGS) {
        from = map->nfindings - REFMAP_FINDINGS;
    }
    for (; from < to; from++) {
        const refmap_finding_t *f = &map->findings[from % REFMAP_FINDINGS];
        refmap_record_t freed = {
            f->address, _PyRefMap_TypeName(map, f->type), 0, f->count, 0};
        if (records_append(&diff->freed, freed) < 0) {
            return -1;
        }
    }
    return 0;
}

int
_PyRefMap_Diff(refmap_snapshot_t *before, refmap_snapshot_t *after,
               refmap_diff_t *diff)
{
    refmap_state_t *map = before->map;
    if (map == NULL || map != after->map) {
        return -2;
    }
    int result = -1;
    _PyRefMap_ForgetTypes(map);
    size_t na = before->nblocks * sizeof(refmap_block_t *);
    size_t nb = after->nblocks * sizeof(refmap_block_t *);
    moved_t gone = {_PyRefMap_Malloc(na + 1), 0};
    moved_t come = {_PyRefMap_Malloc(nb + 1), 0};
    if (gone.items != NULL && come.items != NULL
        && diff_blocks(before, after, &gone, &come, diff) == 0
        && diff_findings(map, Py_MIN(before->findings, after->findings),
                         Py_MAX(before->findings, after->findings), diff) == 0)
    {
        records_sort(&diff->living);
        records_sort(&diff->died);
        diff->unattributed = after->unattributed - before->unattributed;
        // The births of refmap's own objects are no part of the total, so
        // only further references to them are left out.
        diff->own -= after->own - before->own;
        diff->total = after->total - before->total - diff->own;
        result = 0;
    }
    _PyRefMap_RawFree(gone.items, na + 1);
    _PyRefMap_RawFree(come.items, nb + 1);
    return result;
}

void
_PyRefMap_ClearDiff(refmap_diff_t *diff)
{
    _PyRefMap_ClearRecords(&diff->living);
    _PyRefMap_ClearRecords(&diff->died);
    _PyRefMap_ClearRecords(&diff->freed);
    memset(diff, 0, sizeof(*diff));
}


/* --- the whole map -------------------------------------------------------- */

/* Can this ob_refcnt belong to the object of a slot? An immortal one has 2^31
   or more, in 32 bits; see _Py_IsImmortal(). The first reference to a static
   object is there from the start, and nobody counted it. */
static int
refcnt_agrees(const refmap_slot_t *slot, Py_ssize_t refcnt)
{
    return refcnt == refmap_count(slot)
           || (uint64_t)refcnt >> 31 == 1
           || ((slot->birth & ~REFMAP_BIRTH_ODD) == 0
               && refcnt == refmap_count(slot) + 1);
}

/* `differing`: only mortal objects whose count is not their ob_refcnt. */
static int
list_block(refmap_state_t *map, refmap_block_t *block, int differing,
           refmap_records_t *records)
{
    refmap_copy_t copy;
    int copied = 0;
    refmap_slot_t slots[REFMAP_SLOTS];
    refmap_get_all(block, slots);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        refmap_slot_t slot = slots[i];
        if (slot.count == 0) {
            continue;
        }
        if (!copied) {
            _PyRefMap_ReadPage(block, &copy);
            copied = 1;
        }
        refmap_object_t object;
        _PyRefMap_ReadSlot(map, block, i, slot, &copy, &object);
        if (differing && copy.readable && refcnt_agrees(&slot, object.refcnt)) {
            continue;
        }
        refmap_record_t record = {
            object.address, _PyRefMap_TypeName(map, object.type),
            slot.birth & REFMAP_BIRTH_SERIAL, refmap_count(&slot),
            object.refcnt};
        if (records_append(records, record) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
list_map(refmap_state_t *map, int differing, refmap_records_t *records)
{
    _PyRefMap_ForgetTypes(map);
    for (size_t i = 0; i < map->len; i++) {
        if (map->blocks[i] != NULL
            && list_block(map, map->blocks[i], differing, records) < 0)
        {
            return -1;
        }
    }
    records_sort(records);
    return 0;
}

PyObject *
_PyRefMap_ObjectAt(uintptr_t address)
{
    const uint32_t no_object = REFMAP_BIRTH_KEYS | REFMAP_BIRTH_OWN;
    refmap_state_t *map = refmap_of(_PyInterpreterState_GET());
    refmap_block_t *block = NULL;
    uintptr_t page = refmap_page(address);
    HASH_FIND(hh, map->table, &page, sizeof(page), block);
    size_t i = refmap_slot_index(address);
    if (block == NULL) {
        return NULL;
    }
    refmap_slot_t slot = refmap_get(block, i);
    if (refmap_count(&slot) <= 0 || (slot.birth & no_object)) {
        return NULL;
    }
    refmap_copy_t copy;
    refmap_object_t object;
    _PyRefMap_ReadPage(block, &copy);
    _PyRefMap_ReadSlot(map, block, i, slot, &copy, &object);
    return object.address == address && copy.readable
           && refcnt_agrees(&slot, object.refcnt)
           && object.type != REFMAP_TYPE_UNKNOWN ? (PyObject *)address : NULL;
}

int
_PyRefMap_Verify(refmap_state_t *map, refmap_records_t *records)
{
    return list_map(map, 1, records);
}

int
_PyRefMap_List(refmap_state_t *map, refmap_records_t *records)
{
    return list_map(map, 0, records);
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
