/* Snapshots of a refcount map, and what they share with it.

   A snapshot copies the list of blocks and starts a new epoch; it does not
   walk the heap. From then on a block is copied before its first change.
   What a block needs that only snapshots have is in `retired` and in
   `orphans`; see state.h. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_pystate.h"       // _PyInterpreterState_GET()

/* Orphans that are settled when a snapshot is dropped: as many as take some tens of
   microseconds. The others follow as blocks are touched. */
#define REFMAP_SETTLE_AT_DROP 256


/* --- lists of blocks ------------------------------------------------------ */

static void
refmap_list_add(refmap_list_t *list, refmap_block_t *block)
{
    block->next = list->first;
    list->first = block;
    if (list->last == NULL) {
        list->last = block;
    }
}

static refmap_block_t *
refmap_list_take(refmap_list_t *list)
{
    refmap_block_t *block = list->first;
    if (block != NULL) {
        list->first = block->next;
        if (list->first == NULL) {
            list->last = NULL;
        }
    }
    return block;
}

/* Move all of `from` to `to`. */
static void
refmap_list_join(refmap_list_t *to, refmap_list_t *from)
{
    if (from->first == NULL) {
        return;
    }
    from->last->next = to->first;
    to->first = from->first;
    if (to->last == NULL) {
        to->last = from->last;
    }
    *from = (refmap_list_t){NULL, NULL};
}


/* --- life of a snapshot ----------------------------------------------------- */

static size_t
refmap_snapshot_size(size_t nblocks)
{
    return offsetof(refmap_snapshot_t, blocks)
           + nblocks * sizeof(refmap_block_t *);
}

refmap_snapshot_t *
_PyRefMap_Snapshot(void)
{
    refmap_state_t *map = refmap_of(_PyInterpreterState_GET());
    refmap_snapshot_t *snapshot = _PyRefMap_Malloc(refmap_snapshot_size(map->len));
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
    _PyRefMap_Sums(map, &snapshot->total, &snapshot->unattributed);
    snapshot->own = map->own;
    snapshot->findings = map->nfindings;

    refmap_lock(map);
    snapshot->epoch = map->epoch++;
    snapshot->older = map->newest;
    if (map->newest != NULL) {
        map->newest->newer = snapshot;
    }
    map->newest = snapshot;
    _PyRefMap_ForgetAll_lock_held(map);
    refmap_unlock(map);
    return snapshot;
}

int
_PyRefMap_IsActual(const refmap_snapshot_t *snapshot)
{
    return snapshot->corrections != NULL;
}

/* Snapshots of one map are used by threads that hold its GIL. */
static void
refmap_drop_corrections(refmap_snapshot_t *snapshot)
{
    size_t n = refmap_ncorrections(snapshot->nblocks);
    if (snapshot->corrections == NULL) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        refmap_corrections_t *kept = snapshot->corrections[i];
        if (kept != NULL && --kept->refs == 0) {
            _PyRefMap_RawFree(kept, refmap_corrections_size(kept->len));
        }
    }
    _PyRefMap_RawFree(snapshot->corrections, n * sizeof(*snapshot->corrections));
}

refmap_snapshot_t *
_PyRefMap_SnapshotIncref(refmap_snapshot_t *snapshot)
{
    snapshot->refs++;
    return snapshot;
}

/* Take `snapshot` out of those of its map, which must not visit its blocks here:
   there may be many. */
static void
refmap_drop_lock_held(refmap_state_t *map, refmap_snapshot_t *snapshot)
{
    refmap_list_join(&map->orphans, &snapshot->retired);
    if (snapshot->older != NULL) {
        snapshot->older->newer = snapshot->newer;
    }
    if (snapshot->newer != NULL) {
        snapshot->newer->older = snapshot->older;
    }
    else {
        map->newest = snapshot->older;
    }
}

void
_PyRefMap_SettleOrphans_lock_held(refmap_state_t *map, size_t n)
{
    refmap_block_t *block;
    while (n-- > 0 && (block = refmap_list_take(&map->orphans)) != NULL) {
        refmap_snapshot_t *owner = map->newest;
        while (owner != NULL && owner->epoch > block->retired) {
            owner = owner->older;
        }
        if (owner != NULL && owner->epoch >= block->epoch) {
            refmap_list_add(&owner->retired, block);
        }
        else {
            _PyRefMap_FreeBlock_lock_held(map, block);
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
        refmap_drop_lock_held(map, snapshot);
        _PyRefMap_SettleOrphans_lock_held(map, REFMAP_SETTLE_AT_DROP);
        refmap_unlock(map);
    }
    refmap_drop_corrections(snapshot);
    _PyRefMap_RawFree(snapshot, refmap_snapshot_size(snapshot->nblocks));
}

static void
refmap_free_list(refmap_state_t *map, refmap_list_t *list)
{
    refmap_block_t *block;
    while ((block = refmap_list_take(list)) != NULL) {
        _PyRefMap_FreeBlock_lock_held(map, block);
    }
}

void
_PyRefMap_AbandonSnapshots(refmap_state_t *map)
{
    for (refmap_snapshot_t *s = map->newest; s != NULL; s = s->older) {
        // The snapshot itself goes with its last reference.
        s->map = NULL;
        refmap_free_list(map, &s->retired);
    }
    map->newest = NULL;
    refmap_free_list(map, &map->orphans);
}


/* --- the baseline ------------------------------------------------------------- */

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


/* --- blocks that are shared --------------------------------------------------- */

void
_PyRefMap_Retire_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    int is_shared = refmap_is_shared(map, block);
    _PyRefMap_RemoveFromTable_lock_held(map, block);
    if (is_shared && block->packed == NULL) {
        (void)_PyRefMap_Pack_lock_held(map, block, REFMAP_SLOTS);
    }
    if (block->packed == NULL) {
        _PyRefMap_RemoveLoose_lock_held(map, block);
    }
    if (is_shared) {
        block->retired = map->newest->epoch;
        refmap_list_add(&map->newest->retired, block);
    }
    else {
        _PyRefMap_FreeBlock_lock_held(map, block);
    }
}

/* Keep the types of the objects in `block` while they are alive. Without
   memory for that they are unknown. */
static void
refmap_capture_types(refmap_state_t *map, refmap_block_t *block)
{
    refmap_copy_t copy;
    refmap_words_t words[REFMAP_SLOTS];
    size_t size = REFMAP_SLOTS * sizeof(*block->types);
    block->types = _PyRefMap_Malloc(size);
    if (block->types == NULL) {
        return;
    }
    _PyRefMap_ReadPage(block, &copy);
    refmap_get_all(block, words);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        refmap_object_t object = {.type = REFMAP_TYPE_UNKNOWN};
        refmap_slot_t slot = refmap_decode(words[i]);
        // A living object may have references that the map has not.
        if (refmap_is_living(slot)) {
            _PyRefMap_ReadSlot(map, block, i, slot, &copy, &object);
        }
        block->types[i] = object.type;
    }
}

/* Out of memory: `block` must be changed although snapshots share it. Tear
   it out of them; their diffs will say so. */
static void
refmap_tear_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    refmap_snapshot_t *snapshot = map->newest;
    for (; snapshot != NULL && block->epoch <= snapshot->epoch;
         snapshot = snapshot->older)
    {
        if (block->index < snapshot->nblocks
            && snapshot->blocks[block->index] == block)
        {
            snapshot->blocks[block->index] = REFMAP_LOST_BLOCK;
            snapshot->lost++;
        }
    }
    block->epoch = map->epoch;
}

/* A copy of `block` that takes its place in the table; NULL on out of memory. */
static refmap_block_t *
refmap_replace_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    refmap_block_t *copy = _PyRefMap_NewBlock(map, block->page);
    if (copy == NULL) {
        return NULL;
    }
    copy->index = block->index;
    copy->is_watched = block->is_watched;
    // Two items with one key, for a moment: so nothing is lost if the
    // table has no memory for the new one.
    if (_PyRefMap_AddToTable_lock_held(map, copy) == 0) {
        if (_PyRefMap_CopySlots_lock_held(map, block, copy) == 0) {
            return copy;
        }
        _PyRefMap_RemoveFromTable_lock_held(map, copy);
    }
    _PyRefMap_FreeBlock_lock_held(map, copy);
    return NULL;
}

refmap_block_t *
_PyRefMap_Unshare_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    refmap_block_t *copy = refmap_replace_lock_held(map, block);
    if (copy == NULL) {
        refmap_tear_lock_held(map, block);
        return block;
    }
    refmap_capture_types(map, block);
    map->blocks[copy->index] = copy;
    _PyRefMap_Retire_lock_held(map, block);
    return copy;
}

#endif  // Py_REFCOUNT_MAP
