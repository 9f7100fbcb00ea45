/* What changed between two snapshots. A diff visits only the blocks that they do not
   share. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

#include <stdlib.h>               // qsort()

/* --- corrections ---------------------------------------------------------------- */

/* The corrections of one block. */
typedef struct {
    const refmap_correction_t *items;
    size_t len;
} slice_t;

/* How many of these corrections are of slots before `slot`? */
static size_t
corrections_before(const refmap_corrections_t *kept, uint32_t slot)
{
    size_t low = 0, high = kept->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (kept->items[middle].slot < slot) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low;
}

static const refmap_corrections_t *
corrections_near(const refmap_snapshot_t *snapshot, size_t i)
{
    return snapshot->corrections != NULL && i < snapshot->nblocks
           ? snapshot->corrections[i / REFMAP_TOGETHER] : NULL;
}

/* The corrections of block `i`; none if the snapshot has no true counts. */
static slice_t
corrections_of(const refmap_snapshot_t *snapshot, size_t i)
{
    const refmap_corrections_t *kept = corrections_near(snapshot, i);
    if (kept == NULL) {
        return (slice_t){NULL, 0};
    }
    uint32_t slot = (uint32_t)(i % REFMAP_TOGETHER) * REFMAP_SLOTS;
    size_t first = corrections_before(kept, slot);
    return (slice_t){kept->items + first,
                     corrections_before(kept, slot + REFMAP_SLOTS) - first};
}

/* Has block `i`, which is the same in both, the same corrections? */
static int
is_corrected_alike(const refmap_snapshot_t *before, const refmap_snapshot_t *after,
                   size_t i)
{
    if (corrections_near(before, i) == corrections_near(after, i)) {
        return 1;
    }
    slice_t a = corrections_of(before, i), b = corrections_of(after, i);
    return a.len == b.len
           && (a.len == 0 || memcmp(a.items, b.items, a.len * sizeof(*a.items)) == 0);
}


/* --- one page -------------------------------------------------------------------- */

/* A block as a snapshot sees it, with what it takes to name its types. */
typedef struct {
    refmap_state_t *map;
    refmap_block_t *block;          // NULL: the page had no block
    refmap_words_t words[REFMAP_SLOTS];
    int32_t corrections[REFMAP_SLOTS];
    int copied;
    refmap_copy_t copy;
} side_t;

static void
side_init(side_t *side, const refmap_snapshot_t *snapshot, refmap_block_t *block,
          int actual)
{
    side->map = snapshot->map;
    side->block = block;
    side->copied = 0;
    memset(side->corrections, 0, sizeof(side->corrections));
    if (block == NULL) {
        memset(side->words, 0, sizeof(side->words));
        return;
    }
    refmap_get_all(block, side->words);
    if (actual) {
        slice_t slice = corrections_of(snapshot, block->index);
        for (size_t k = 0; k < slice.len; k++) {
            side->corrections[slice.items[k].slot % REFMAP_SLOTS] = slice.items[k].by;
        }
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
    slot.count += side->corrections[i];
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

/* Two snapshots that are compared. */
typedef struct {
    const refmap_snapshot_t *before, *after;
    int actual;                     // with corrections
} pair_t;

/* `before` and `after` are blocks of one page; NULL: it had none. */
static int
diff_page(const pair_t *pair, refmap_block_t *before, refmap_block_t *after,
          refmap_diff_t *diff)
{
    side_t a, b;
    side_init(&a, pair->before, before, pair->actual);
    side_init(&b, pair->after, after, pair->actual);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        if ((memcmp(&a.words[i], &b.words[i], sizeof(a.words[i])) != 0
             || a.corrections[i] != b.corrections[i])
            && diff_slot(&a, &b, i, diff) < 0)
        {
            return -1;
        }
    }
    return 0;
}


/* --- all pages ------------------------------------------------------------------- */

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
diff_moved(const pair_t *pair, moved_t *before, moved_t *after,
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
        if (diff_page(pair, a, b, diff) < 0) {
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
diff_blocks(const pair_t *pair, moved_t *gone, moved_t *come, refmap_diff_t *diff)
{
    const refmap_snapshot_t *before = pair->before, *after = pair->after;
    size_t n = Py_MAX(before->nblocks, after->nblocks);
    for (size_t i = 0; i < n; i++) {
        refmap_block_t *a = snapshot_block(before, i);
        refmap_block_t *b = snapshot_block(after, i);
        if (a == REFMAP_LOST_BLOCK || b == REFMAP_LOST_BLOCK) {
            // Torn from both: at different times, perhaps.
            diff->lost += before != after;
        }
        else if (a == b && (!pair->actual || is_corrected_alike(before, after, i))) {
            continue;
        }
        else if (a != NULL && b != NULL && a->page == b->page) {
            if (diff_page(pair, a, b, diff) < 0) {
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
    return diff_moved(pair, gone, come, diff);
}

static int
diff_findings(const pair_t *pair, refmap_diff_t *diff)
{
    refmap_state_t *map = pair->before->map;
    uint64_t from = Py_MIN(pair->before->findings, pair->after->findings);
    uint64_t to = Py_MAX(pair->before->findings, pair->after->findings);
    if (map->nfindings - from > REFMAP_FINDINGS) {
        from = map->nfindings - REFMAP_FINDINGS;
    }
    for (; from < to; from++) {
        const refmap_finding_t *f = &map->findings[from % REFMAP_FINDINGS];
        refmap_record_t freed = {
            f->address, _PyRefMap_TypeName(map, f->type),
            pair->actual ? f->actual : f->count, 0};
        if (freed.before != 0 && _PyRefMap_AppendRecord(&diff->freed, freed) < 0) {
            return -1;
        }
    }
    return 0;
}

static Py_ssize_t
sum_of(const refmap_records_t *records)
{
    Py_ssize_t sum = 0;
    for (size_t i = 0; i < records->len; i++) {
        sum += records->items[i].after - records->items[i].before;
    }
    return sum;
}

static void
diff_sums(const pair_t *pair, refmap_diff_t *diff)
{
    const refmap_snapshot_t *before = pair->before, *after = pair->after;
    // The births of refmap's own objects are no part of the total, so only further
    // references to them are left out.
    diff->own -= after->own - before->own;
    diff->actual = (char)pair->actual;
    if (pair->actual) {
        // The total, and what is unattributed, follow the hooks.
        diff->total = sum_of(&diff->living) + sum_of(&diff->died);
    }
    else {
        diff->unattributed = after->unattributed - before->unattributed;
        diff->total = after->total - before->total - diff->own;
    }
}

static int
diff_pair(const pair_t *pair, refmap_diff_t *diff)
{
    const refmap_snapshot_t *before = pair->before, *after = pair->after;
    refmap_state_t *map = before->map;
    int result = -1;
    _PyRefMap_ForgetTypes(map);
    size_t na = before->nblocks * sizeof(refmap_block_t *);
    size_t nb = after->nblocks * sizeof(refmap_block_t *);
    moved_t gone = {_PyRefMap_Malloc(na + 1), 0};
    moved_t come = {_PyRefMap_Malloc(nb + 1), 0};
    if (gone.items != NULL && come.items != NULL
        && diff_blocks(pair, &gone, &come, diff) == 0
        && diff_findings(pair, diff) == 0)
    {
        _PyRefMap_SortRecords(&diff->living);
        _PyRefMap_SortRecords(&diff->died);
        diff_sums(pair, diff);
        result = 0;
    }
    _PyRefMap_RawFree(gone.items, na + 1);
    _PyRefMap_RawFree(come.items, nb + 1);
    return result;
}

int
_PyRefMap_DiffMapped(refmap_snapshot_t *before, refmap_snapshot_t *after,
                     refmap_diff_t *diff)
{
    if (before->map == NULL || before->map != after->map) {
        return -2;
    }
    pair_t pair = {before, after, 0};
    return diff_pair(&pair, diff);
}

int
_PyRefMap_Diff(refmap_snapshot_t *before, refmap_snapshot_t *after,
               refmap_diff_t *diff)
{
    int actual = _PyRefMap_IsActual(before);
    if (before->map == NULL || before->map != after->map) {
        return -2;
    }
    if (_PyRefMap_IsActual(after) != actual) {
        return -3;
    }
    pair_t pair = {before, after, actual};
    return diff_pair(&pair, diff);
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
