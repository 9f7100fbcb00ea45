/* The refcount map: blocks, the lookaside in front of them, births, and the
   names of types. No Python object is created or touched here, and nothing is
   allocated through Python's allocators.

   See Include/internal/pycore_refmap.h for the layout of an address. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "refmap_state.h"
#include "pycore_initconfig.h"    // _PyStatus_ERR()
#include "pycore_interp.h"        // PyInterpreterState
#include "pycore_object.h"        // _Py_RefTotal
#include "pycore_runtime.h"       // _PyRuntime
#include "pycore_pystate.h"       // PyInterpreterState_Head()

#include <errno.h>
#include <limits.h>               // PIPE_BUF
#include <sys/mman.h>             // mmap()
#ifdef __linux__
#  include <sys/uio.h>            // process_vm_readv()
#endif

#if SIZEOF_VOID_P != 8
#  error "the refcount map needs a 64-bit platform"
#endif

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* When a block is created or unpacked so many others are looked at, unless few
   are loose anyway: those that were not touched since last time are given back
   if they are empty, and packed if not many of their slots are in use. */
#define REFMAP_SWEEP 4
#ifndef REFMAP_FEW_LOOSE    // 0: a test of all that comes after packing
#  define REFMAP_FEW_LOOSE(nblocks) Py_MAX(4096, (nblocks) / 4)
#endif
#define REFMAP_FEW_SLOTS 96
/* Known types are forgotten when there are so many: their classes are most
   likely dead. Names are kept. */
#define REFMAP_MAX_TYPES 65536

static refmap_state_t main_map = {.epoch = 1};

/* What closed maps and _Py_FinalizeRefTotal() left. */
static Py_ssize_t left_unattributed;
/* Guards refmap_state_t.next. Taken before the mutex of a map. */
static PyMutex maps_mutex;


/* --- the lookaside ------------------------------------------------------ */

/* See _PyRefMap_Entry(): what the directory holds for `block`. */
static uintptr_t
refmap_entry(const refmap_block_t *block)
{
    return (uintptr_t)refmap_words(block, 0) - (block->page << REFMAP_PAGE_BITS);
}

/* The block to which an entry that is not 0 leads. */
static refmap_block_t *
refmap_block_of(uintptr_t entry, uintptr_t page)
{
    uintptr_t words = entry + (page << REFMAP_PAGE_BITS);
    uintptr_t offset = words & 15;
    refmap_group_t *group = (refmap_group_t *)(
        words - offset - offsetof(refmap_group_t, words));
    return group->blocks[offset / sizeof(group->words[0][0])];
}

#define REFMAP_HOT_PAGE ((size_t)1 << REFMAP_PAGE_BITS)
static_assert(sizeof(_PyRefMap_hot) <= REFMAP_HOT_PAGE, "must fit before the directory");

/* Zeroed memory that costs nothing until it is touched: the hot part at the end
   of a page, and a directory of `size` bytes, which is read-only unless
   `writable`. NULL if there is no address space. */
static _PyRefMap_hot *
refmap_reserve(size_t size, int writable)
{
    if (!_PyRefMap_MayAllocate()) {
        return NULL;
    }
    size += REFMAP_HOT_PAGE;
    void *ptr = mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0),
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ptr == MAP_FAILED) {
        return NULL;
    }
    if (!writable
        && mprotect(ptr, REFMAP_HOT_PAGE, PROT_READ | PROT_WRITE) < 0)
    {
        munmap(ptr, size);
        return NULL;
    }
#ifdef MADV_NOHUGEPAGE
    (void)madvise(ptr, size, MADV_NOHUGEPAGE);
#endif
    char *directory = (char *)ptr + REFMAP_HOT_PAGE;
#ifdef MADV_DONTDUMP
    // A core of hundreds of gibibytes, though sparse, is written for minutes.
    (void)madvise(directory, size - REFMAP_HOT_PAGE, MADV_DONTDUMP);
#endif
    _PyRefMap_hot *hot = (_PyRefMap_hot *)directory - 1;
    hot->births = REFMAP_BIRTH_BORN;
    return hot;
}

/* Undo refmap_reserve(). */
static void
refmap_release(_PyRefMap_hot *hot, size_t size)
{
    munmap((char *)_PyRefMap_Directory(hot + 1) - REFMAP_HOT_PAGE,
           size + REFMAP_HOT_PAGE);
}

/* Set map->hot, or return -1. A limit of data (see RLIMIT_DATA), or a kernel
   that commits no more than there is, allows no directory that could be written
   to. Tools like valgrind lack the address space for any but have low addresses
   only. */
static int
refmap_reserve_hot(refmap_state_t *map, int want_writable)
{
    static const int address_bits[] = {REFMAP_ADDRESS_BITS, REFMAP_LOW_BITS};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(address_bits); i++) {
        uintptr_t limit = (uintptr_t)1 << address_bits[i];
        size_t size = refmap_page(limit) * sizeof(uintptr_t);
        for (int writable = want_writable; writable >= 0; writable--) {
            _PyRefMap_hot *hot = refmap_reserve(size, writable);
            if (hot == NULL) {
                continue;
            }
            // What is mapped later will be where this is, and the stack.
            if ((uintptr_t)hot < limit && (uintptr_t)&limit < limit) {
                map->hot = hot;
                map->directory_size = size;
                map->npages = writable ? refmap_page(limit) : 0;
                return 0;
            }
            refmap_release(hot, size);
        }
    }
    return -1;
}

/* The block of `page` if the lookaside has it, or NULL. `page` may be any
   number, even of garbage. */
static refmap_block_t *
refmap_lookaside(const refmap_state_t *map, uintptr_t page)
{
    if (map->npages == 0) {
        size_t i = page % REFMAP_RECENT;
        refmap_block_t *block = map->recent[i];
        return block != NULL && block->page == page ? block : NULL;
    }
    uintptr_t entry = page < map->npages ? refmap_directory(map)[page] : 0;
    return entry == 0 ? NULL : refmap_block_of(entry, page);
}

/* The gibibyte of `page` among those that have entries; NULL on out of
   memory. */
static refmap_range_t *
refmap_range_unlocked(refmap_state_t *map, uintptr_t page)
{
    uintptr_t start = page & ~(uintptr_t)(REFMAP_RANGE_PAGES - 1);
    for (size_t i = 0; i < map->nranges; i++) {
        if (map->ranges[i].start == start) {
            return &map->ranges[i];
        }
    }
    if (_PyRefMap_Grow(&map->ranges, &map->ranges_allocated, map->nranges + 1,
                       sizeof(*map->ranges)) < 0) {
        return NULL;
    }
    refmap_range_t *range = &map->ranges[map->nranges++];
    *range = (refmap_range_t){start, start + REFMAP_RANGE_PAGES, start};
    return range;
}

/* Let the hot path find `block`. Out of memory only makes it slower. */
static void
refmap_remember_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    uintptr_t page = block->page;
    if (map->npages == 0) {
        map->recent[page % REFMAP_RECENT] = block;
        return;
    }
    refmap_range_t *range = page < map->npages
                            ? refmap_range_unlocked(map, page) : NULL;
    if (range != NULL) {
        range->low = Py_MIN(range->low, page);
        range->high = Py_MAX(range->high, page + 1);
        refmap_directory(map)[page] = refmap_entry(block);
    }
}

static void
refmap_forget(refmap_state_t *map, uintptr_t page)
{
    if (refmap_lookaside(map, page) == NULL) {
        return;
    }
    if (map->npages == 0) {
        map->recent[page % REFMAP_RECENT] = NULL;
    }
    else {
        refmap_directory(map)[page] = 0;
    }
}

void
_PyRefMap_ForgetLookaside_unlocked(refmap_state_t *map)
{
    if (map->npages == 0) {
        memset(map->recent, 0, sizeof(map->recent));
    }
    for (size_t i = 0; i < map->nranges; i++) {
        refmap_range_t *range = &map->ranges[i];
        if (range->low < range->high) {
            memset(&refmap_directory(map)[range->low], 0,
                   (range->high - range->low) * sizeof(uintptr_t));
        }
        range->low = range->start + REFMAP_RANGE_PAGES;
        range->high = range->start;
    }
}


/* --- blocks ------------------------------------------------------------- */

static refmap_block_t *
refmap_find(refmap_state_t *map, uintptr_t page)
{
    refmap_block_t *block = refmap_lookaside(map, page);
    if (block == NULL) {
        HASH_FIND(hh, map->table, &page, sizeof(page), block);
    }
    return block;
}

static int
refmap_table_add(refmap_state_t *map, refmap_block_t *block)
{
    HASH_ADD(hh, map->table, page, sizeof(block->page), block);
    return block->hh.tbl == NULL ? -1 : 0;
}

static int
refmap_is_shared(const refmap_state_t *map, const refmap_block_t *block)
{
    return map->newest != NULL && block->epoch <= map->newest->epoch;
}

static int
refmap_is_empty(const refmap_block_t *block)
{
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        if (refmap_get(block, i).count != 0) {
            return 0;
        }
    }
    return 1;
}

/* Give `block` a lane, all zero. Return -1 on out of memory. */
static int
refmap_take_lane_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    Py_BUILD_ASSERT(REFMAP_LANES == 2);
    refmap_group_t *group = map->halves;
    if (group != NULL) {
        DL_DELETE(map->halves, group);
    }
    else {
        group = _PyRefMap_Malloc(sizeof(*group));
        if (group == NULL) {
            return -1;
        }
        memset(group, 0, sizeof(*group));
        DL_PREPEND(map->halves, group);
    }
    block->group = group;
    block->lane = group->blocks[0] != NULL;
    group->blocks[block->lane] = block;
    return 0;
}

static void
refmap_leave_lane_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    refmap_group_t *group = block->group;
    group->blocks[block->lane] = NULL;
    if (group->blocks[!block->lane] != NULL) {
        for (size_t i = 0; i < REFMAP_SLOTS; i++) {
            uint32_t *words = refmap_words(block, i);
            words[0] = words[REFMAP_LANES] = 0;
        }
        DL_PREPEND(map->halves, group);
    }
    else {
        DL_DELETE(map->halves, group);
        _PyRefMap_RawFree(group, sizeof(*group));
    }
    block->group = NULL;
}

/* A block that has no slots yet; NULL on out of memory. */
static refmap_block_t *
refmap_new_block(refmap_state_t *map, uintptr_t page)
{
    refmap_block_t *block = _PyRefMap_Malloc(sizeof(*block));
    if (block != NULL) {
        memset(block, 0, sizeof(*block));
        block->page = page;
        block->epoch = map->epoch;
    }
    return block;
}

static void
refmap_free_packed(refmap_packed_t *packed)
{
    if (packed != NULL) {
        size_t n = refmap_packed_before(packed, REFMAP_SLOTS);
        _PyRefMap_RawFree(packed, refmap_packed_size(n));
    }
}

void
_PyRefMap_FreeBlock_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    if (block->group != NULL) {
        refmap_leave_lane_unlocked(map, block);
    }
    refmap_free_packed(block->packed);
    _PyRefMap_RawFree(block->types, REFMAP_SLOTS * sizeof(*block->types));
    _PyRefMap_RawFree(block, sizeof(*block));
}


/* --- packing ------------------------------------------------------------ */

/* The slots of `block`, packed; NULL on out of memory, or if more than `limit`
   are in use. */
static refmap_packed_t *
refmap_packed_slots(const refmap_block_t *block, size_t limit)
{
    // What is left of the birth of a dead object stays: it may resurrect.
    uint64_t used[REFMAP_SLOTS / 64] = {0};
    size_t n = 0;
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        const uint32_t *words = refmap_words(block, i);
        uint64_t is_used = (words[0] | words[REFMAP_LANES]) != 0;
        used[i / 64] |= is_used << i % 64;
        n += is_used;
    }
    refmap_packed_t *packed = NULL;
    if (n <= limit) {
        packed = _PyRefMap_Malloc(refmap_packed_size(n));
    }
    if (packed == NULL) {
        return NULL;
    }
    memcpy(packed->used, used, sizeof(used));
    refmap_slot_t *slot = packed->slots;
    for (size_t i = refmap_next_used(used, 0); i < REFMAP_SLOTS;
         i = refmap_next_used(used, i + 1))
    {
        *slot++ = refmap_get(block, i);
    }
    return packed;
}

/* Give `block`, which has none, the slots in `packed`. Return -1 on out of
   memory. */
static int
refmap_unpack_unlocked(refmap_state_t *map, refmap_block_t *block,
                       const refmap_packed_t *packed)
{
    if (refmap_take_lane_unlocked(map, block) < 0) {
        return -1;
    }
    block->packed = NULL;
    const refmap_slot_t *slot = packed->slots;
    for (size_t i = refmap_next_used(packed->used, 0); i < REFMAP_SLOTS;
         i = refmap_next_used(packed->used, i + 1))
    {
        refmap_set(block, i, *slot++);
    }
    return 0;
}

static void
refmap_add_loose_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    CDL_APPEND(map->loose, block);
    map->nloose++;
}

static void
refmap_remove_loose_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    CDL_DELETE(map->loose, block);
    map->nloose--;
}

/* Pack `block` unless more than `limit` slots are in use, or memory is short. */
static void
refmap_pack_unlocked(refmap_state_t *map, refmap_block_t *block, size_t limit)
{
    block->packed = refmap_packed_slots(block, limit);
    if (block->packed != NULL) {
        refmap_remove_loose_unlocked(map, block);
        refmap_leave_lane_unlocked(map, block);
    }
}


/* --- the blocks of a map ------------------------------------------------ */

/* Take `block` out of the map; snapshots keep what they share. */
static void
refmap_retire_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    int is_shared = refmap_is_shared(map, block);
    HASH_DELETE(hh, map->table, block);
    if (is_shared && block->packed == NULL) {
        refmap_pack_unlocked(map, block, REFMAP_SLOTS);
    }
    if (block->packed == NULL) {
        refmap_remove_loose_unlocked(map, block);
    }
    if (is_shared) {
        block->next = map->newest->dead;
        map->newest->dead = block;
    }
    else {
        _PyRefMap_FreeBlock_unlocked(map, block);
    }
}

/* Give back `block`, in which nothing is counted any more. */
static void
refmap_give_back_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    map->blocks[block->index] = NULL;
    map->holes[map->nholes++] = block->index;
    map->nblocks--;
    refmap_forget(map, block->page);
    refmap_retire_unlocked(map, block);
}

static void
refmap_reclaim_unlocked(refmap_state_t *map)
{
    for (size_t i = 0; i < map->len; i++) {
        refmap_block_t *block = map->blocks[i];
        if (block != NULL && refmap_is_empty(block)) {
            refmap_give_back_unlocked(map, block);
        }
    }
}

/* Save memory where it is not needed, at one block: the next touch brings it back.
   No packed block goes, which the caller may be about to unpack. */
static void
refmap_sweep_one_unlocked(refmap_state_t *map)
{
    refmap_block_t *block = map->loose;
    map->loose = block->next;
    if (refmap_lookaside(map, block->page) != NULL) {
        refmap_forget(map, block->page);
    }
    else if (refmap_is_empty(block)) {
        refmap_give_back_unlocked(map, block);
    }
    else {
        refmap_pack_unlocked(map, block, REFMAP_FEW_SLOTS);
    }
}

static void
refmap_sweep_unlocked(refmap_state_t *map)
{
    size_t few = REFMAP_FEW_LOOSE(map->nblocks);
    for (int n = 0; n < REFMAP_SWEEP && map->nloose > few; n++) {
        refmap_sweep_one_unlocked(map);
    }
}

/* Find a place in map->blocks: an index, or SIZE_MAX on out of memory.
   `holes` has room for every index, so that giving back never allocates. */
static size_t
refmap_place_unlocked(refmap_state_t *map)
{
    if (map->nholes > 0) {
        return map->holes[--map->nholes];
    }
    if (_PyRefMap_Grow(&map->holes, &map->holes_allocated, map->len + 1,
                       sizeof(*map->holes)) < 0
        || _PyRefMap_Grow(&map->blocks, &map->allocated, map->len + 1,
                          sizeof(*map->blocks)) < 0)
    {
        return SIZE_MAX;
    }
    return map->len++;
}

static refmap_block_t *
refmap_create_unlocked(refmap_state_t *map, uintptr_t page)
{
    refmap_block_t *block = refmap_new_block(map, page);
    if (block == NULL) {
        return NULL;
    }
    block->index = SIZE_MAX;
    if (refmap_take_lane_unlocked(map, block) == 0) {
        block->index = refmap_place_unlocked(map);
    }
    if (block->index == SIZE_MAX) {
        _PyRefMap_FreeBlock_unlocked(map, block);
        return NULL;
    }
    map->blocks[block->index] = NULL;
    if (refmap_table_add(map, block) < 0) {
        map->holes[map->nholes++] = block->index;
        _PyRefMap_FreeBlock_unlocked(map, block);
        return NULL;
    }
    map->blocks[block->index] = block;
    map->nblocks++;
    refmap_add_loose_unlocked(map, block);
    return block;
}

/* Keep the types of the objects in `block` while they are alive. Without
   memory for that they are unknown. */
static void
refmap_capture_types(refmap_state_t *map, refmap_block_t *block)
{
    refmap_copy_t copy;
    refmap_slot_t slots[REFMAP_SLOTS];
    size_t size = REFMAP_SLOTS * sizeof(*block->types);
    block->types = _PyRefMap_Malloc(size);
    if (block->types == NULL) {
        return;
    }
    _PyRefMap_ReadPage(block, &copy);
    refmap_get_all(block, slots);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        refmap_object_t object = {.type = REFMAP_TYPE_UNKNOWN};
        if (slots[i].count != 0) {
            _PyRefMap_ReadSlot(map, block, i, slots[i], &copy, &object);
        }
        block->types[i] = object.type;
    }
}

/* Out of memory: `block` must be changed although snapshots share it. Tear
   it out of them; their diffs will say so. */
static void
refmap_tear_unlocked(refmap_state_t *map, refmap_block_t *block)
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

/* Give the slots of `from` to `to`, which may be changed from now on; `from` has
   them packed. Return -1 on out of memory. */
static int
refmap_split_unlocked(refmap_state_t *map, refmap_block_t *from,
                      refmap_block_t *to)
{
    if (from->packed != NULL) {
        return refmap_unpack_unlocked(map, to, from->packed);
    }
    from->packed = refmap_packed_slots(from, REFMAP_SLOTS);
    if (from->packed == NULL) {
        return -1;
    }
    refmap_remove_loose_unlocked(map, from);
    to->group = from->group;
    to->lane = from->lane;
    to->group->blocks[to->lane] = to;
    from->group = NULL;
    return 0;
}

/* A block that may be changed in place of one that snapshots share. */
static refmap_block_t *
refmap_unshare_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    refmap_block_t *copy = refmap_new_block(map, block->page);
    if (copy != NULL) {
        copy->index = block->index;
        // Two items with one key, for a moment: so nothing is lost if the
        // table has no memory for the new one.
        if (refmap_table_add(map, copy) == 0) {
            if (refmap_split_unlocked(map, block, copy) == 0) {
                refmap_add_loose_unlocked(map, copy);
                refmap_capture_types(map, block);
                map->blocks[copy->index] = copy;
                refmap_retire_unlocked(map, block);
                return copy;
            }
            HASH_DELETE(hh, map->table, copy);
        }
        _PyRefMap_FreeBlock_unlocked(map, copy);
    }
    refmap_tear_unlocked(map, block);
    return block;
}

static void
refmap_warn_untracked(refmap_state_t *map)
{
    static const char message[] =
        "refmap: out of memory: references are counted as unattributed\n";
    if (map->untracked++ == 0) {
        (void)!write(STDERR_FILENO, message, sizeof(message) - 1);
    }
}

/* Unpack `block`, of which no snapshot knows. Out of memory leaves it as it is. */
static void
refmap_unpack_own_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    refmap_packed_t *packed = block->packed;
    if (packed != NULL && refmap_unpack_unlocked(map, block, packed) == 0) {
        refmap_free_packed(packed);
        refmap_add_loose_unlocked(map, block);
    }
}

/* The block of `address`, not shared with snapshots and known to the lookaside.
   On out of memory it is NULL, or still packed. */
static refmap_block_t *
refmap_writable_block(refmap_state_t *map, uintptr_t address)
{
    uintptr_t page = refmap_page(address);
    refmap_block_t *block = refmap_lookaside(map, page);
    if (block != NULL) {
        return block;
    }
    refmap_lock(map);
    HASH_FIND(hh, map->table, &page, sizeof(page), block);
    int needs_lane = block == NULL || block->packed != NULL;
    if (needs_lane) {
        refmap_sweep_unlocked(map);
    }
    if (block == NULL) {
        block = refmap_create_unlocked(map, page);
    }
    else if (refmap_is_shared(map, block)) {
        block = refmap_unshare_unlocked(map, block);
    }
    if (block != NULL) {
        refmap_unpack_own_unlocked(map, block);
        if (block->packed == NULL) {
            refmap_remember_unlocked(map, block);
        }
    }
    refmap_unlock(map);
    return block;
}

/* Can this slot be changed? Where memory is short, `block` may be NULL, or be
   packed without it. */
static int
refmap_has_slot(const refmap_block_t *block, size_t i)
{
    return block != NULL
           && (block->packed == NULL
               || refmap_packed_slot(block->packed, i) != NULL);
}

/* A slot that is to be changed. Where `block` is NULL, for lack of memory, its
   references are unattributed. */
typedef struct {
    refmap_block_t *block;
    size_t i;
    refmap_slot_t slot;         // as it was
} refmap_place_t;

static Py_NO_INLINE refmap_place_t
refmap_open(refmap_state_t *map, uintptr_t address)
{
    // Nobody expects Py_INCREF() to change it.
    int saved_errno = errno;
    refmap_place_t place = {.i = refmap_slot_index(address)};
    refmap_block_t *block = refmap_writable_block(map, address);
    if (refmap_has_slot(block, place.i)) {
        place.block = block;
        place.slot = refmap_get(block, place.i);
    }
    else {
        refmap_warn_untracked(map);
    }
    // The one that was at the other half of the 16 bytes is gone.
    uint32_t odd = address & 8 ? REFMAP_BIRTH_ODD : 0;
    if (place.slot.count == 0 && (place.slot.birth & REFMAP_BIRTH_ODD) != odd) {
        place.slot.birth = odd;
    }
    errno = saved_errno;
    return place;
}

/* Store a slot. What does not fit into it, as a count wraps around, is
   unattributed. */
static inline void
refmap_store(refmap_state_t *map, const refmap_place_t *place, Py_ssize_t count,
             uint32_t birth)
{
    refmap_slot_t slot = {(uint32_t)count, birth};
    if (UNLIKELY(place->block == NULL)) {
        map->unattributed += count;
        return;
    }
    map->unattributed += count - refmap_count(&slot);
    refmap_set(place->block, place->i, slot);
}


/* --- hooks -------------------------------------------------------------- */

/* Stands in for the hot part of a map where there is no thread state. */
static refmap_state_t nobody;

/* See _PyRefMap_Attach(). */
__thread _PyRefMap_hot *_PyRefMap_current;

/* NULL if there is no thread state. */
static inline refmap_state_t *
refmap_current_map(void)
{
    return _PyRefMap_current != NULL ? _PyRefMap_current[-1].map : NULL;
}

void
_PyRefMap_Attach(PyThreadState *tstate)
{
    _PyRefMap_current = (tstate ? refmap_of(tstate->interp) : &nobody)->hot + 1;
}

/* Is anything counted at `address`? `map` may be NULL. */
static int
refmap_is_counted(refmap_state_t *map, uintptr_t address)
{
    if (map == NULL) {
        return 0;
    }
    refmap_block_t *block = refmap_find(map, refmap_page(address));
    return block != NULL && refmap_get(block, refmap_slot_index(address)).count != 0;
}

/* Add `n` to the total and to the count of `op`. */
static Py_NO_INLINE void
refmap_add(void *op, Py_ssize_t n)
{
    refmap_state_t *map = refmap_current_map();
    if (map == NULL) {
        // The legacy total belongs to no interpreter; it is unattributed.
        _Py_atomic_add_ssize(&_Py_RefTotal, n);
        return;
    }
    refmap_place_t place = refmap_open(map, (uintptr_t)op);
    refmap_store(map, &place, refmap_count(&place.slot) + n, place.slot.birth);
    map->hot->totals[0] += n;
}

void
_PyRefMap_Incref(PyObject *op)
{
    if (UNLIKELY(_PyRefMap_current == NULL || !_PyRefMap_TryMove(op, 1))) {
        refmap_add(op, 1);
    }
}

void
_PyRefMap_Decref(PyObject *op)
{
    if (UNLIKELY(_PyRefMap_current == NULL || !_PyRefMap_TryMove(op, -1))) {
        refmap_add(op, -1);
    }
}

void
_PyRefMap_Add(PyThreadState *Py_UNUSED(tstate), void *op, Py_ssize_t n)
{
    refmap_add(op, n);
}

void
_PyRefMap_Unattributed(PyThreadState *Py_UNUSED(tstate), Py_ssize_t n)
{
    refmap_current_map()->unattributed += n;
}

/* Out of line: gdb's py-refmap-break-negative stops here. */
static Py_NO_INLINE void
refmap_finding(refmap_state_t *map, uintptr_t address, Py_ssize_t count,
               refmap_type_t type)
{
    map->findings[map->nfindings++ % REFMAP_FINDINGS] =
        (refmap_finding_t){address, type, count};
}

static void
refmap_new(void *op, uint32_t flags)
{
    uintptr_t address = (uintptr_t)op;
    refmap_state_t *map = refmap_current_map();
    if (UNLIKELY(map == NULL)) {
        refmap_add(op, 1);
        return;
    }
    refmap_place_t place = refmap_open(map, address);
    if (UNLIKELY(place.slot.count != 0)) {
        // References to an older object are still counted: it was freed behind
        // our back, by free() perhaps.
        refmap_finding(map, address, refmap_count(&place.slot),
                       REFMAP_TYPE_UNKNOWN);
        map->unattributed += refmap_count(&place.slot);
    }
    _PyRefMap_hot *hot = map->hot;
    if (hot->births == (REFMAP_BIRTH_BORN | REFMAP_BIRTH_SERIAL)) {
        hot->births = REFMAP_BIRTH_BORN;
    }
    refmap_store(map, &place, 1, ++hot->births | flags);
    hot->totals[0]++;
}

void
_PyRefMap_New(PyObject *op)
{
    refmap_new(op, (uintptr_t)op & 8 ? REFMAP_BIRTH_ODD : 0);
}

void
_PyRefMap_NewKeys(PyThreadState *Py_UNUSED(tstate), void *keys)
{
    if (UNLIKELY(!_PyRefMap_TryNew(keys, REFMAP_BIRTH_KEYS))) {
        refmap_new(keys, REFMAP_BIRTH_KEYS);
    }
}

/* Set the count of a slot that may be shared; the total does not move. */
static Py_NO_INLINE void
refmap_settle(refmap_state_t *map, uintptr_t address, Py_ssize_t count)
{
    refmap_place_t place = refmap_open(map, address);
    map->unattributed += refmap_count(&place.slot) - count;
    refmap_store(map, &place, count, place.slot.birth);
}

void
_PyRefMap_DeallocSlow(PyObject *op)
{
    refmap_state_t *map = refmap_current_map();
    if (UNLIKELY(refmap_is_counted(map, (uintptr_t)op))) {
        refmap_settle(map, (uintptr_t)op, 0);
    }
}

static Py_NO_INLINE void
refmap_last_slow(PyObject *op)
{
    _PyRefMap_Decref(op);
    _PyRefMap_Dealloc(op);
}

void
_PyRefMap_Last(PyObject *op)
{
    if (UNLIKELY(!_PyRefMap_TryLast(op))) {
        refmap_last_slow(op);
    }
}

static Py_NO_INLINE void
refmap_free_counted(refmap_state_t *map, uintptr_t address)
{
    int saved_errno = errno;
    refmap_block_t *block = refmap_find(map, refmap_page(address));
    size_t i = refmap_slot_index(address);
    refmap_slot_t slot = refmap_get(block, i);
    refmap_copy_t copy;
    refmap_object_t object;
    _PyRefMap_ReadPage(block, &copy);
    _PyRefMap_ReadSlot(map, block, i, slot, &copy, &object);
    refmap_finding(map, object.address, refmap_count(&slot), object.type);
    refmap_settle(map, address, 0);
    errno = saved_errno;
}

void
_PyRefMap_FreeSlow(void *ptr)
{
    refmap_state_t *map = refmap_current_map();
    if (UNLIKELY(refmap_is_counted(map, (uintptr_t)ptr))) {
        refmap_free_counted(map, (uintptr_t)ptr);
    }
}

refmap_slot_t
_PyRefMap_Take(void *ptr)
{
    refmap_state_t *map = refmap_current_map();
    refmap_slot_t taken = {0, 0};
    if (refmap_is_counted(map, (uintptr_t)ptr)) {
        refmap_place_t place = refmap_open(map, (uintptr_t)ptr);
        taken = place.slot;
        refmap_store(map, &place, 0, place.slot.birth);
    }
    return taken;
}

void
_PyRefMap_Put(void *ptr, refmap_slot_t taken)
{
    if (taken.count == 0) {
        return;
    }
    refmap_state_t *map = refmap_current_map();
    refmap_place_t place = refmap_open(map, (uintptr_t)ptr);
    map->unattributed += refmap_count(&place.slot);
    refmap_store(map, &place, refmap_count(&taken),
                 (taken.birth & ~REFMAP_BIRTH_ODD)
                 | ((uintptr_t)ptr & 8 ? REFMAP_BIRTH_ODD : 0));
}

void
_PyRefMap_SetMortal(PyObject *op, Py_ssize_t refcnt)
{
    refmap_settle(refmap_current_map(), (uintptr_t)op, refcnt);
}

void
_PyRefMap_Hide(PyObject *op)
{
    refmap_state_t *map = refmap_current_map();
    refmap_place_t place = refmap_open(map, (uintptr_t)op);
    if (place.block != NULL) {
        refmap_store(map, &place, refmap_count(&place.slot),
                     place.slot.birth | REFMAP_BIRTH_OWN);
    }
}

void
_PyRefMap_Own(PyObject *op)
{
    _PyRefMap_Hide(op);
    refmap_current_map()->hot->totals[0]--;
    refmap_current_map()->own++;
}

void
_PyRefMap_Disown(PyObject *Py_UNUSED(op))
{
    refmap_current_map()->hot->totals[0]++;
    refmap_current_map()->own--;
}


void
_PyRefMap_Sweep(void)
{
    refmap_state_t *map = refmap_current_map();
    refmap_lock(map);
    for (size_t n = map->nloose; n > 0; n--) {
        refmap_sweep_one_unlocked(map);
    }
    refmap_unlock(map);
}


/* --- totals ------------------------------------------------------------- */

Py_ssize_t
_PyRefMap_HotTotal(PyInterpreterState *interp)
{
    const refmap_state_t *map = refmap_of(interp);
    Py_ssize_t sum = 0;
    if (map != NULL && map->hot->owner == interp) {
        for (int i = 0; i < REFMAP_TOTALS; i++) {
            sum += map->hot->totals[i];
        }
    }
    return sum;
}

Py_ssize_t
_PyRefMap_UnattributedOf(refmap_state_t *map)
{
    Py_ssize_t n = map->unattributed;
    if (map == &main_map) {
        n += _Py_atomic_load_ssize(&_Py_RefTotal);
        n += _Py_atomic_load_ssize(&left_unattributed);
    }
    return n;
}

Py_ssize_t
_PyRefMap_Total(refmap_state_t *map)
{
    // Other maps are not even read: their interpreters may be running.
    Py_ssize_t total = map == &main_map ? _PyRefMap_LeftTotal() : 0;
    HEAD_LOCK(&_PyRuntime);
    PyInterpreterState *interp = PyInterpreterState_Head();
    for (; interp != NULL; interp = PyInterpreterState_Next(interp)) {
        if (refmap_of(interp) == map) {
            total += interp->object_state.reftotal + _PyRefMap_HotTotal(interp);
        }
    }
    HEAD_UNLOCK(&_PyRuntime);
    return total;
}

static void
refmap_add_info(refmap_state_t *map, refmap_info_t *info)
{
    for (size_t i = 0; i < map->len; i++) {
        const refmap_block_t *block = map->blocks[i];
        if (block == NULL) {
            continue;
        }
        info->blocks++;
        for (size_t k = 0; k < REFMAP_SLOTS; k++) {
            refmap_slot_t slot = refmap_get(block, k);
            info->mapped += refmap_count(&slot);
            info->objects += slot.count != 0;
        }
    }
    for (size_t i = 0; i < map->nranges; i++) {
        if (map->ranges[i].low < map->ranges[i].high) {
            info->bytes += (map->ranges[i].high - map->ranges[i].low)
                           * sizeof(uintptr_t);
        }
    }
    info->unattributed += _PyRefMap_UnattributedOf(map) - map->own;
    info->untracked += map->untracked;
}

void
_PyRefMap_GetInfo(refmap_info_t *info)
{
    memset(info, 0, sizeof(*info));
    // All blocks are walked anyway: what is empty goes. Those of other maps
    // may be in use.
    refmap_state_t *own = refmap_current_map();
    if (own != NULL) {
        refmap_lock(own);
        refmap_reclaim_unlocked(own);
        refmap_unlock(own);
    }
    PyMutex_LockFlags(&maps_mutex, _Py_LOCK_DONT_DETACH);
    for (refmap_state_t *map = &main_map; map != NULL; map = map->next) {
        refmap_lock(map);
        refmap_add_info(map, info);
        refmap_unlock(map);
    }
    info->total = _Py_GetGlobalRefTotal();
    PyMutex_Unlock(&maps_mutex);
    info->bytes += _PyRefMap_UsedBytes();
}

Py_ssize_t
_PyRefMap_Count(void *op)
{
    const refmap_block_t *block = refmap_find(refmap_current_map(),
                                              refmap_page((uintptr_t)op));
    if (block == NULL) {
        return 0;
    }
    refmap_slot_t slot = refmap_get(block, refmap_slot_index((uintptr_t)op));
    return refmap_count(&slot);
}


/* --- life of a map ------------------------------------------------------ */

refmap_state_t *
_PyRefMap_Main(void)
{
    return &main_map;
}

/* Give `map` to `interp`, whose total will be counted there. */
static void
refmap_own(refmap_state_t *map, PyInterpreterState *interp)
{
    map->hot->map = map;
    map->hot->owner = interp;
    interp->object_state.refmap = map;
}

PyStatus
_PyRefMap_InitInterp(PyInterpreterState *interp)
{
    if (main_map.hot == NULL
        && (refmap_reserve_hot(&nobody, 0) < 0
            || refmap_reserve_hot(&main_map, 1) < 0))
    {
        return _PyStatus_ERR("the refcount map needs hundreds of gibibytes of "
                             "address space, which a limit forbids: see "
                             "ulimit -v");
    }
    interp->object_state.refmap = &main_map;
    if (main_map.hot->owner == NULL) {
        refmap_own(&main_map, interp);
    }
    return _PyStatus_OK();
}

int
_PyRefMap_InitOwnGIL(PyInterpreterState *interp)
{
    refmap_state_t *map = _PyRefMap_Malloc(sizeof(*map));
    if (map == NULL) {
        return -1;
    }
    memset(map, 0, sizeof(*map));
    map->epoch = 1;
    if (refmap_reserve_hot(map, 1) < 0) {
        _PyRefMap_RawFree(map, sizeof(*map));
        return -1;
    }
    PyMutex_LockFlags(&maps_mutex, _Py_LOCK_DONT_DETACH);
    map->next = main_map.next;
    main_map.next = map;
    PyMutex_Unlock(&maps_mutex);
    refmap_own(map, interp);
    return 0;
}

static void
refmap_drop_snapshots(refmap_state_t *map)
{
    for (refmap_snapshot_t *s = map->newest; s != NULL; s = s->older) {
        // The snapshot itself goes with its last reference.
        s->map = NULL;
        while (s->dead != NULL) {
            refmap_block_t *block = s->dead;
            s->dead = block->next;
            _PyRefMap_FreeBlock_unlocked(map, block);
        }
    }
    map->newest = NULL;
}

static void
refmap_free_names(refmap_state_t *map)
{
    map->keep_types = 0;
    _PyRefMap_ForgetTypes(map);
    refmap_name_t *name, *next_name;
    HASH_ITER(hh, map->names, name, next_name) {
        HASH_DELETE(hh, map->names, name);
        _PyRefMap_RawFree(name, sizeof(*name) + strlen(name->name) + 1);
    }
    _PyRefMap_RawFree(map->by_id,
                      map->by_id_allocated * sizeof(*map->by_id));
}

static void
refmap_destroy(refmap_state_t *map)
{
    _PyRefMap_SnapshotDecref(map->baseline);
    refmap_drop_snapshots(map);
    for (size_t i = 0; i < map->len; i++) {
        if (map->blocks[i] != NULL) {
            HASH_DELETE(hh, map->table, map->blocks[i]);
            _PyRefMap_FreeBlock_unlocked(map, map->blocks[i]);
        }
    }
    refmap_free_names(map);
    refmap_release(map->hot, map->directory_size);
    _PyRefMap_RawFree(map->ranges,
                      map->ranges_allocated * sizeof(*map->ranges));
    _PyRefMap_RawFree(map->holes,
                      map->holes_allocated * sizeof(*map->holes));
    _PyRefMap_RawFree(map->blocks, map->allocated * sizeof(*map->blocks));
    _PyRefMap_RawFree(map, sizeof(*map));
}

void
_PyRefMap_FiniInterp(PyInterpreterState *interp)
{
    refmap_state_t *map = refmap_of(interp);
    if (map == NULL) {
        return;
    }
    if (map->hot->owner == interp) {
        map->hot->owner = NULL;
        memset(map->hot->totals, 0, sizeof(map->hot->totals));
    }
    if (map == &main_map) {
        return;
    }
    PyMutex_LockFlags(&maps_mutex, _Py_LOCK_DONT_DETACH);
    refmap_state_t *prev = &main_map;
    while (prev->next != map) {
        prev = prev->next;
    }
    prev->next = map->next;
    PyMutex_Unlock(&maps_mutex);

    refmap_info_t info = {0};
    refmap_add_info(map, &info);
    _Py_atomic_add_ssize(&left_unattributed, info.mapped + info.unattributed);
    interp->object_state.refmap = &main_map;
    if (_PyRefMap_current == map->hot + 1) {
        _PyRefMap_current = main_map.hot + 1;
    }
    refmap_destroy(map);
}

void
_PyRefMap_FinalizeTotal(Py_ssize_t legacy)
{
    _Py_atomic_add_ssize(&left_unattributed, legacy);
}

void
_PyRefMap_AfterFork(void)
{
    _PyMutex_at_fork_reinit(&maps_mutex);
    for (refmap_state_t *map = &main_map; map != NULL; map = map->next) {
        _PyMutex_at_fork_reinit(&map->mutex);
    }
}


/* --- memory that may be gone -------------------------------------------- */

/* A pipe tells, too, what can be read: write(2) fails with EFAULT. Opened anew
   each time, as one that is kept would be shared with forked children. */
static int
refmap_read_by_pipe(uintptr_t address, void *buffer, size_t size)
{
    int fds[2], result = -1;
    // So much always fits into an empty pipe; see pipe(7).
    if (size > PIPE_BUF + (size_t)8 || pipe(fds) < 0) {
        return -1;
    }
    if (write(fds[1], (const void *)address, size) == (ssize_t)size
        && read(fds[0], buffer, size) == (ssize_t)size)
    {
        result = 0;
    }
    close(fds[0]);
    close(fds[1]);
    return result;
}

int
_PyRefMap_Read(uintptr_t address, void *buffer, size_t size)
{
#ifdef __linux__
    // The kernel copies, and says so when it can't; see process_vm_readv(2).
    // A sandbox may forbid the call itself.
    struct iovec local = {buffer, size};
    struct iovec remote = {(void *)address, size};
    ssize_t n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) {
        return n == (ssize_t)size ? 0 : -1;
    }
#endif
    return refmap_read_by_pipe(address, buffer, size);
}

void
_PyRefMap_ReadPage(const refmap_block_t *block, refmap_copy_t *copy)
{
    uintptr_t address = block->page << REFMAP_PAGE_BITS;
    size_t size = (size_t)1 << REFMAP_PAGE_BITS;
    copy->readable = _PyRefMap_Read(address, copy->bytes, size) == 0;
    // Only an object that starts 8 bytes before the end needs the next page.
    if (refmap_get(block, REFMAP_SLOTS - 1).count == 0
        || _PyRefMap_Read(address + size, copy->bytes + size, 8) < 0)
    {
        memset(copy->bytes + size, 0, 8);
    }
}

static uintptr_t
refmap_copied_word(const refmap_copy_t *copy, size_t offset)
{
    uintptr_t word;
    memcpy(&word, copy->bytes + offset, sizeof(word));
    return word;
}


/* --- names of types ------------------------------------------------------ */

static const char *const fixed_names[] = {
    [REFMAP_TYPE_UNKNOWN] = "?",
    [REFMAP_TYPE_KEYS] = "dict keys",
};

const char *
_PyRefMap_TypeName(refmap_state_t *map, refmap_type_t type)
{
    if (type < Py_ARRAY_LENGTH(fixed_names)) {
        return fixed_names[type];
    }
    type -= Py_ARRAY_LENGTH(fixed_names);
    return type < map->nnames ? map->by_id[type]->name
                              : fixed_names[REFMAP_TYPE_UNKNOWN];
}

static refmap_type_t
refmap_intern_name(refmap_state_t *map, const char *text)
{
    refmap_name_t *name = NULL;
    size_t len = strlen(text);
    HASH_FIND(hh, map->names, text, len, name);
    if (name != NULL) {
        return name->id;
    }
    size_t size = sizeof(*name) + len + 1;
    if (_PyRefMap_Grow(&map->by_id, &map->by_id_allocated, map->nnames + 1,
                       sizeof(*map->by_id)) < 0) {
        return REFMAP_TYPE_UNKNOWN;
    }
    name = _PyRefMap_Malloc(size);
    if (name == NULL) {
        return REFMAP_TYPE_UNKNOWN;
    }
    memset(name, 0, sizeof(*name));
    memcpy(name->name, text, len + 1);
    name->id = (refmap_type_t)Py_ARRAY_LENGTH(fixed_names) + map->nnames;
    HASH_ADD_KEYPTR(hh, map->names, name->name, len, name);
    if (name->hh.tbl == NULL) {
        _PyRefMap_RawFree(name, size);
        return REFMAP_TYPE_UNKNOWN;
    }
    map->by_id[map->nnames++] = name;
    return name->id;
}

/* Is this printable UTF-8? The memory of a name may have been freed. */
static int
refmap_is_text(const char *name)
{
    const unsigned char *p = (const unsigned char *)name;
    while (*p != 0) {
        // By the number of leading ones; see RFC 3629, section 3.
        int more = *p < 0x80 ? 0 : *p < 0xc2 ? -1 : *p < 0xe0 ? 1
                   : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : -1;
        if (more < 0 || *p < 0x20 || *p == 0x7f) {
            return 0;
        }
        for (p++; more > 0; more--, p++) {
            if ((*p & 0xc0) != 0x80) {
                return 0;
            }
        }
    }
    return 1;
}

/* The name of the type at `address`, copied piece by piece, as any of the
   pointers may be garbage; an empty string unless it all looks like a type. */
static void
refmap_read_type_name(uintptr_t address, char *name, size_t size)
{
    PyTypeObject type, meta;
    name[0] = '\0';
    if (_PyRefMap_Read(address, &type, sizeof(type)) < 0
        || _PyRefMap_Read((uintptr_t)Py_TYPE(&type), &meta, sizeof(meta)) < 0
        || !(meta.tp_flags & Py_TPFLAGS_TYPE_SUBCLASS))
    {
        return;
    }
    size_t len = 0;
    while (len < size - 1) {
        // Up to the next 64-byte boundary, which no page boundary splits.
        uintptr_t from = (uintptr_t)type.tp_name + len;
        size_t n = Py_MIN(64 - (from & 63), size - 1 - len);
        if (_PyRefMap_Read(from, name + len, n) < 0) {
            break;
        }
        if (memchr(name + len, '\0', n) != NULL) {
            return;
        }
        len += n;
    }
    // Too long. The last character may be incomplete.
    while (len > 0 && (name[len - 1] & 0xc0) == 0x80) {
        len--;
    }
    if (len > 0 && (name[len - 1] & 0x80)) {
        len--;
    }
    name[len] = '\0';
}

void
_PyRefMap_ForgetTypes(refmap_state_t *map)
{
    refmap_known_type_t *known, *next;
    if (map->keep_types) {
        return;
    }
    HASH_ITER(hh, map->types, known, next) {
        HASH_DELETE(hh, map->types, known);
        _PyRefMap_RawFree(known, sizeof(*known));
    }
    map->ntypes = 0;
}

static refmap_type_t
refmap_type_at(refmap_state_t *map, uintptr_t address)
{
    refmap_known_type_t *known = NULL;
    refmap_known_type_t wanted;
    memset(&wanted.key, 0, sizeof(wanted.key));
    wanted.key.address = address;
    refmap_block_t *block = refmap_find(map, refmap_page(address));
    if (block != NULL) {
        refmap_slot_t slot = refmap_get(block, refmap_slot_index(address));
        wanted.key.birth = slot.count ? slot.birth : 0;
    }
    HASH_FIND(hh, map->types, &wanted.key, sizeof(wanted.key), known);
    if (known != NULL) {
        return known->id;
    }
    char name[256];
    refmap_read_type_name(address, name, sizeof(name));
    if (name[0] == '\0' || !refmap_is_text(name)) {
        return REFMAP_TYPE_UNKNOWN;
    }
    refmap_type_t id = refmap_intern_name(map, name);
    if (map->ntypes >= REFMAP_MAX_TYPES) {
        _PyRefMap_ForgetTypes(map);
    }
    known = _PyRefMap_Malloc(sizeof(*known));
    if (known != NULL) {
        memset(known, 0, sizeof(*known));
        known->key = wanted.key;
        known->id = id;
        HASH_ADD(hh, map->types, key, sizeof(known->key), known);
        if (known->hh.tbl == NULL) {
            _PyRefMap_RawFree(known, sizeof(*known));
        }
        else {
            map->ntypes++;
        }
    }
    return id;
}

void
_PyRefMap_ReadSlot(refmap_state_t *map, const refmap_block_t *block, size_t i,
                   refmap_slot_t slot, const refmap_copy_t *copy,
                   refmap_object_t *object)
{
    object->address = refmap_slot_address(block, i, slot);
    object->type = slot.birth & REFMAP_BIRTH_KEYS ? REFMAP_TYPE_KEYS
                                                  : REFMAP_TYPE_UNKNOWN;
    object->refcnt = -1;
    if (!copy->readable) {
        return;
    }
    size_t offset = object->address - (block->page << REFMAP_PAGE_BITS);
    // PyDictKeysObject begins with its reference count, too.
    Py_BUILD_ASSERT(offsetof(PyObject, ob_refcnt) == 0);
    object->refcnt = (Py_ssize_t)refmap_copied_word(copy, offset);
    if (object->type != REFMAP_TYPE_KEYS) {
        object->type = refmap_type_at(
            map, refmap_copied_word(copy, offset + offsetof(PyObject, ob_type)));
    }
}

#endif  // Py_REFCOUNT_MAP
