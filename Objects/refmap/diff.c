/* What changed between two snapshots. A diff visits only the blocks that they do not
   share. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

#include <stdlib.h>               // qsort()

/* A block as a snapshot sees it, with what it takes to name its types. */
typedef struct {
    refmap_state_t *map;
    refmap_block_t *block;          // NULL: the page had no block
    refmap_words_t words[REFMAP_SLOTS];
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
        refmap_get_all(block, side->words);
    }
    else {
        memset(side->words, 0, sizeof(side->words));
    }
}

/* What a record says of the object in a slot. */
static refmap_record_t
side_record(side_t *side, size_t i)
{
    refmap_block_t *block = side->block;
    refmap_slot_t slot = refmap_decode(side->words[i]);
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
    };
    return record;
}

/* A slot as it is reported; references to refmap's own objects are added to
   `*own` instead. */
static refmap_slot_t
side_slot(const side_t *side, size_t i, Py_ssize_t *own)
{
    refmap_slot_t slot = refmap_decode(side->words[i]);
    if (refmap_living_birth(slot) & REFMAP_BIRTH_OWN) {
        *own += slot.count;
        slot.count = 0;
    }
    return slot;
}

/* Is it one object that is counted in both? Two without a birth can't be told from
   one another. */
static int
is_same_object(refmap_slot_t a, refmap_slot_t b)
{
    return a.count != 0 && b.count != 0 && a.is_odd == b.is_odd
           && refmap_living_birth(a) == refmap_living_birth(b);
}

static int
diff_slot(side_t *before, side_t *after, size_t i, refmap_diff_t *diff)
{
    Py_ssize_t own_before = 0, own_after = 0;
    refmap_slot_t a = side_slot(before, i, &own_before);
    refmap_slot_t b = side_slot(after, i, &own_after);
    diff->own += own_after - own_before;
    if (a.count != 0 && !is_same_object(a, b)) {
        refmap_record_t died = side_record(before, i);
        died.before = a.count;
        if (_PyRefMap_AppendRecord(&diff->died, died) < 0) {
            return -1;
        }
        a.count = 0;
    }
    if (b.count != a.count) {
        refmap_record_t living = side_record(after, i);
        living.before = a.count;
        living.after = b.count;
        return _PyRefMap_AppendRecord(&diff->living, living);
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
        if (memcmp(&a.words[i], &b.words[i], sizeof(a.words[i])) != 0
            && diff_slot(&a, &b, i, diff) < 0)
        {
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
            f->address, _PyRefMap_TypeName(map, f->type), f->count, 0};
        if (_PyRefMap_AppendRecord(&diff->freed, freed) < 0) {
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
        _PyRefMap_SortRecords(&diff->living);
        _PyRefMap_SortRecords(&diff->died);
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

#endif  // Py_REFCOUNT_MAP
