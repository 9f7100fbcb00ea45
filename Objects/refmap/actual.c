/* True counts: what ob_refcnt says, object by object.

   Binaries that were built for a stock interpreter change ob_refcnt in line, behind
   the map's back. But births and deaths never pass it by: _Py_NewReference() and
   _Py_Dealloc() are the interpreter's. So the map knows which objects live, and each
   has its true count. A snapshot of true counts is a snapshot of the map, and besides
   the *corrections* of the objects whose ob_refcnt is another number. Where nothing
   passed the map by there are none.

   No memory is read but that of an object which lives by its birth, and only where the
   process may write to it: who counts a reference must write there. Anything else is
   read as what may be gone. A word that differs from the map is believed only if what
   follows it is a type. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

/* From this ob_refcnt on CPython takes an object for immortal, or it was immortal before
   code that knows of no such thing changed the number. */
#define IMMORTAL ((Py_ssize_t)1 << 31)

/* Addresses of types that were seen, by some bits of the address. */
#define TYPES 1024

typedef struct {
    refmap_state_t *map;
    refmap_segments_t writable;
    refmap_segment_t segment;       // of `writable`: the one looked at last
    uintptr_t types[TYPES];
    // Of the block that is being read:
    const refmap_block_t *block;
    uint32_t first_slot;            // among the blocks that are kept together
    const char *memory;             // its page, or a copy
    refmap_copy_t copy;
    // Of the blocks that are kept together:
    size_t len;
    refmap_correction_t items[REFMAP_TOGETHER * REFMAP_SLOTS];
} reader_t;


/* --- memory --------------------------------------------------------------------- */

static int
is_writable(reader_t *r, uintptr_t address)
{
    if (address - r->segment.start >= r->segment.end - r->segment.start) {
        const refmap_segment_t *segment = _PyRefMap_FindSegment(&r->writable, address);
        if (segment == NULL) {
            return 0;
        }
        r->segment = *segment;
    }
    return 1;
}

/* Get ready to read words of the block's page. Return 0 if that can't be. */
static int
open_page(reader_t *r, const refmap_block_t *block)
{
    r->block = block;
    uintptr_t page = block->page << REFMAP_PAGE_BITS;
    if (is_writable(r, page)) {
        r->memory = (const char *)page;
        return 1;
    }
    _PyRefMap_ReadPage(block, &r->copy);
    r->memory = r->copy.bytes;
    return r->copy.readable;
}

static Py_ssize_t
refcnt_at(const reader_t *r, uintptr_t address)
{
    Py_ssize_t refcnt;
    Py_BUILD_ASSERT(offsetof(PyObject, ob_refcnt) == 0);
    memcpy(&refcnt, r->memory + address % REFMAP_PAGE_SIZE, sizeof(refcnt));
    return refcnt;
}

static uintptr_t
type_at(reader_t *r, uintptr_t address)
{
    uintptr_t type = 0;
    address += offsetof(PyObject, ob_type);
    if (is_writable(r, address)) {
        memcpy(&type, (const void *)address, sizeof(type));
    }
    else {
        (void)_PyRefMap_Read(address, &type, sizeof(type));
    }
    return type;
}

/* Does what begins at `address` have a type? */
static int
has_type(reader_t *r, uintptr_t address)
{
    uintptr_t type = type_at(r, address);
    uintptr_t *known = &r->types[refmap_mix(type) % TYPES];
    if (type == 0
        || (*known != type
            && _PyRefMap_TypeAt(r->map, type) == REFMAP_TYPE_UNKNOWN))
    {
        return 0;
    }
    *known = type;
    return 1;
}


/* --- one object ------------------------------------------------------------------- */

/* The count that an object is said to have whose ob_refcnt is `refcnt`. One reference
   to an object without a birth was there from the start, and is never counted. */
static Py_ssize_t
true_count(refmap_slot_t slot, Py_ssize_t refcnt)
{
    int is_born = refmap_living_birth(slot) != 0;
    if (refcnt >= IMMORTAL) {
        return is_born;
    }
    // No object has a negative one: by how much tells nothing.
    return Py_MAX(refcnt, -IMMORTAL) - !is_born;
}

static void
read_slot(reader_t *r, size_t i, refmap_words_t words)
{
    // No binary but the interpreter's own counts these.
    const uint32_t not_read = REFMAP_BIRTH_KEYS | REFMAP_BIRTH_OWN;
    refmap_slot_t slot = refmap_decode(words);
    if (!refmap_is_living(slot) || (slot.birth & not_read)) {
        return;
    }
    uintptr_t address = refmap_slot_address(r->block, i, slot);
    Py_ssize_t by = true_count(slot, refcnt_at(r, address)) - slot.count;
    if (by == 0 || !has_type(r, address)) {
        return;
    }
    r->items[r->len++] = (refmap_correction_t){
        r->first_slot + (uint32_t)i,
        (int32_t)Py_MAX(Py_MIN(by, INT32_MAX), -INT32_MAX)};
}

static void
read_block(reader_t *r, refmap_block_t *block)
{
    uint64_t loose[REFMAP_SLOTS / 64];
    const uint64_t *used = loose;
    const refmap_words_t *packed = NULL;
    if (!open_page(r, block)) {
        return;
    }
    if (block->packed != NULL) {
        used = block->packed->used;
        packed = block->packed->slots;
    }
    else {
        (void)_PyRefMap_UsedSlots(block, REFMAP_SLOTS, loose);
    }
    for (size_t i = refmap_next_used(used, 0); i < REFMAP_SLOTS;
         i = refmap_next_used(used, i + 1))
    {
        read_slot(r, i, packed != NULL ? *packed++ : refmap_get_words(block, i));
    }
}


/* --- reading ahead ------------------------------------------------------------------

   Where few objects are on a page nearly every read misses the caches: a block, a line
   of its slots, an object.  Of blocks to come they are asked for in this order. */

/* So many blocks ahead. With 16 it takes twice as long as with 6 to 10: what was asked
   for is gone from the first cache by then. */
#define AHEAD 6
/* Where more lines are in use the hardware reads ahead. */
#define FEW_LINES 8

// Inlined: gcc drops calls of functions that do nothing but ask.
static inline REFMAP_INLINE void
ask_for_block(const refmap_snapshot_t *snapshot, size_t i)
{
    if (i < snapshot->nblocks && snapshot->blocks[i] != NULL) {
        __builtin_prefetch(snapshot->blocks[i]);
        __builtin_prefetch(&snapshot->blocks[i]->lines);
    }
}

/* A line of slots is that of 64 bytes of the page, in which their objects begin. */
static inline REFMAP_INLINE void
ask_for_objects(const refmap_snapshot_t *snapshot, size_t i)
{
    const refmap_block_t *block = i < snapshot->nblocks ? snapshot->blocks[i] : NULL;
    if (block == NULL || block->packed != NULL
        || __builtin_popcountll(block->lines) > FEW_LINES)
    {
        return;
    }
    uintptr_t page = block->page << REFMAP_PAGE_BITS;
    for (uint64_t lines = block->lines; lines != 0; lines &= lines - 1) {
        size_t line = (size_t)__builtin_ctzll(lines);
        __builtin_prefetch(refmap_loose_words(block, line * REFMAP_LINE_SLOTS));
        __builtin_prefetch((const void *)(page + line * 64));
    }
}


/* --- all of them ------------------------------------------------------------------ */

/* The newest snapshot before `snapshot` that has true counts, or NULL. */
static const refmap_snapshot_t *
previous(const refmap_snapshot_t *snapshot)
{
    const refmap_snapshot_t *older = snapshot->older;
    while (older != NULL && older->corrections == NULL) {
        older = older->older;
    }
    return older;
}

/* Keep what was read of the blocks from `k * REFMAP_TOGETHER` on. Return -1 on out of
   memory. */
static int
keep(reader_t *r, refmap_snapshot_t *snapshot, const refmap_snapshot_t *older, size_t k)
{
    size_t size = r->len * sizeof(*r->items);
    if (r->len == 0) {
        return 0;
    }
    refmap_corrections_t *before = NULL;
    if (older != NULL && k < refmap_ncorrections(older->nblocks)) {
        before = older->corrections[k];
    }
    if (before == NULL || before->len != r->len
        || memcmp(before->items, r->items, size) != 0)
    {
        before = _PyRefMap_Malloc(refmap_corrections_size(r->len));
        if (before == NULL) {
            return -1;
        }
        before->refs = 0;
        before->len = r->len;
        memcpy(before->items, r->items, size);
    }
    before->refs++;
    snapshot->corrections[k] = before;
    return 0;
}

static int
read_all(reader_t *r, refmap_snapshot_t *snapshot)
{
    const refmap_snapshot_t *older = previous(snapshot);
    size_t n = refmap_ncorrections(snapshot->nblocks);
    for (size_t k = 0; k < n; k++) {
        size_t first = k * REFMAP_TOGETHER;
        size_t end = Py_MIN(first + REFMAP_TOGETHER, snapshot->nblocks);
        r->len = 0;
        r->first_slot = 0;
        for (size_t i = first; i < end; i++, r->first_slot += REFMAP_SLOTS) {
            ask_for_block(snapshot, i + 2 * AHEAD);
            ask_for_objects(snapshot, i + AHEAD);
            if (snapshot->blocks[i] != NULL) {
                read_block(r, snapshot->blocks[i]);
            }
        }
        if (keep(r, snapshot, older, k) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Add the corrections to a snapshot that was just taken. Return -1 on out of memory. */
static int
correct(refmap_snapshot_t *snapshot)
{
    size_t size = refmap_ncorrections(snapshot->nblocks)
                  * sizeof(*snapshot->corrections);
    reader_t *r = _PyRefMap_Malloc(sizeof(*r));
    snapshot->corrections = _PyRefMap_Malloc(size);
    int res = -1;
    if (snapshot->corrections != NULL) {
        memset(snapshot->corrections, 0, size);
    }
    if (r != NULL) {
        memset(r, 0, offsetof(reader_t, items));
        r->map = snapshot->map;
        _PyRefMap_ForgetTypes(r->map);
        if (snapshot->corrections != NULL
            && _PyRefMap_WritableMemory(&r->writable) == 0)
        {
            res = read_all(r, snapshot);
        }
        _PyRefMap_ClearSegments(&r->writable);
        _PyRefMap_RawFree(r, sizeof(*r));
    }
    return res;
}

refmap_snapshot_t *
_PyRefMap_ActualSnapshot(void)
{
    refmap_snapshot_t *snapshot = _PyRefMap_Snapshot();
    if (snapshot != NULL && correct(snapshot) < 0) {
        _PyRefMap_SnapshotDecref(snapshot);
        return NULL;
    }
    return snapshot;
}

#endif  // Py_REFCOUNT_MAP
