/* The refcount map: blocks, the lookaside in front of them, births, and the
   names of types. No Python object is created or touched here, and nothing is
   allocated through Python's allocators.

   See Include/internal/pycore_refmap.h for the layout of an address. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "refmap_state.h"
#include "pycore_interp.h"        // PyInterpreterState
#include "pycore_object.h"        // _Py_RefTotal
#include "pycore_runtime.h"       // _PyRuntime
#include "pycore_pystate.h"       // _PyThreadState_GET()

#include <sys/mman.h>             // mmap()
#ifdef __linux__
#  include <sys/uio.h>            // process_vm_readv()
#endif

#if SIZEOF_VOID_P != 8
#  error "the refcount map needs a 64-bit platform"
#endif

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Empty blocks are looked for when that many were created since last time,
   or a quarter of those there were, whichever is more. */
#define REFMAP_RECLAIM_MIN 256
/* Known types are forgotten when there are so many: their classes are most
   likely dead. Names are kept. */
#define REFMAP_MAX_TYPES 65536

static refmap_leaf_t *main_root[REFMAP_ROOT_ENTRIES];
static refmap_state_t main_map = {.root = main_root, .epoch = 1};

/* What closed maps and _Py_FinalizeRefTotal() left. */
static Py_ssize_t left_unattributed;
/* Guards refmap_state_t.next. Taken before the mutex of a map. */
static PyMutex maps_mutex;

static Py_ssize_t used_bytes;
static Py_ssize_t allocations_left = -1;


/* --- memory ------------------------------------------------------------- */

static int
refmap_may_allocate(void)
{
    if (LIKELY(allocations_left < 0)) {
        return 1;
    }
    return allocations_left > 0 && allocations_left-- > 0;
}

void *
_PyRefMap_Malloc(size_t size)
{
    void *ptr = refmap_may_allocate() ? malloc(size) : NULL;
    if (ptr != NULL) {
        _Py_atomic_add_ssize(&used_bytes, (Py_ssize_t)size);
    }
    return ptr;
}

void
_PyRefMap_RawFree(void *ptr, size_t size)
{
    if (ptr != NULL) {
        _Py_atomic_add_ssize(&used_bytes, -(Py_ssize_t)size);
        free(ptr);
    }
}

/* Make room for `needed` items of `size` bytes in `*items`. */
static int
refmap_grow(void *items, size_t *allocated, size_t needed, size_t size)
{
    void **array = items;
    if (needed <= *allocated) {
        return 0;
    }
    size_t wanted = needed + needed / 2 + 16;
    void *larger = _PyRefMap_Malloc(wanted * size);
    if (larger == NULL) {
        return -1;
    }
    if (*array != NULL) {
        memcpy(larger, *array, *allocated * size);
        _PyRefMap_RawFree(*array, *allocated * size);
    }
    *array = larger;
    *allocated = wanted;
    return 0;
}

/* Zeroed memory that costs nothing until it is touched. */
static void *
refmap_reserve(size_t size)
{
    if (!refmap_may_allocate()) {
        return NULL;
    }
    void *ptr = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ptr == MAP_FAILED) {
        return NULL;
    }
#ifdef MADV_NOHUGEPAGE
    (void)madvise(ptr, size, MADV_NOHUGEPAGE);
#endif
    return ptr;
}

void
_PyRefMap_LimitAllocations(Py_ssize_t n)
{
    allocations_left = n;
}


/* --- the lookaside ------------------------------------------------------ */

static inline refmap_block_t **
refmap_entry(refmap_state_t *map, uintptr_t page)
{
    refmap_leaf_t *leaf = map->root[page >> REFMAP_LEAF_BITS];
    return leaf ? &leaf->entries[page & (REFMAP_LEAF_ENTRIES - 1)] : NULL;
}

static int
refmap_add_leaf_unlocked(refmap_state_t *map, uintptr_t root_index)
{
    if (refmap_grow(&map->leaves, &map->leaves_allocated, map->nleaves + 1,
                    sizeof(*map->leaves)) < 0) {
        return -1;
    }
    refmap_leaf_t *leaf = refmap_reserve(sizeof(*leaf));
    if (leaf == NULL) {
        return -1;
    }
    map->leaves[map->nleaves].index = root_index;
    map->leaves[map->nleaves].low = REFMAP_LEAF_ENTRIES;
    map->leaves[map->nleaves].high = 0;
    map->nleaves++;
    map->root[root_index] = leaf;
    return 0;
}

/* Let the hot path find `block`. Out of memory only makes it slower. */
static void
refmap_remember_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    uintptr_t root_index = block->page >> REFMAP_LEAF_BITS;
    if (map->root[root_index] == NULL
        && refmap_add_leaf_unlocked(map, root_index) < 0)
    {
        return;
    }
    size_t k = 0;
    while (map->leaves[k].index != root_index) {
        k++;
    }
    uint32_t i = block->page & (REFMAP_LEAF_ENTRIES - 1);
    map->leaves[k].low = Py_MIN(map->leaves[k].low, i);
    map->leaves[k].high = Py_MAX(map->leaves[k].high, i + 1);
    *refmap_entry(map, block->page) = block;
}

static void
refmap_forget(refmap_state_t *map, uintptr_t page)
{
    refmap_block_t **entry = refmap_entry(map, page);
    if (entry != NULL) {
        *entry = NULL;
    }
}

void
_PyRefMap_ForgetLookaside_unlocked(refmap_state_t *map)
{
    for (size_t i = 0; i < map->nleaves; i++) {
        uint32_t low = map->leaves[i].low, high = map->leaves[i].high;
        if (low < high) {
            memset(&map->root[map->leaves[i].index]->entries[low], 0,
                   (high - low) * sizeof(refmap_block_t *));
        }
        map->leaves[i].low = REFMAP_LEAF_ENTRIES;
        map->leaves[i].high = 0;
    }
}


/* --- blocks ------------------------------------------------------------- */

static refmap_block_t *
refmap_find(refmap_state_t *map, uintptr_t page)
{
    refmap_block_t **entry = refmap_entry(map, page);
    refmap_block_t *block = entry ? *entry : NULL;
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
    int32_t any = 0;
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        any |= block->slots[i].count;
    }
    return any == 0;
}

void
_PyRefMap_FreeBlock(refmap_block_t *block)
{
    _PyRefMap_RawFree(block->types, REFMAP_SLOTS * sizeof(*block->types));
    _PyRefMap_RawFree(block, sizeof(*block));
}

/* Take `block` out of the map; snapshots keep what they share. */
static void
refmap_retire_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    HASH_DELETE(hh, map->table, block);
    if (refmap_is_shared(map, block)) {
        block->next = map->newest->dead;
        map->newest->dead = block;
    }
    else {
        _PyRefMap_FreeBlock(block);
    }
}

/* Give back the blocks in which nothing is counted any more. */
static void
refmap_reclaim_unlocked(refmap_state_t *map)
{
    for (size_t i = 0; i < map->len; i++) {
        refmap_block_t *block = map->blocks[i];
        if (block != NULL && refmap_is_empty(block)) {
            map->blocks[i] = NULL;
            map->holes[map->nholes++] = i;
            map->nblocks--;
            refmap_forget(map, block->page);
            refmap_retire_unlocked(map, block);
        }
    }
    map->created = 0;
}

/* Find a place in map->blocks: an index, or SIZE_MAX on out of memory.
   `holes` has room for every index, so that giving back never allocates. */
static size_t
refmap_place_unlocked(refmap_state_t *map)
{
    if (map->nholes > 0) {
        return map->holes[--map->nholes];
    }
    if (refmap_grow(&map->holes, &map->holes_allocated, map->len + 1,
                    sizeof(*map->holes)) < 0
        || refmap_grow(&map->blocks, &map->allocated, map->len + 1,
                       sizeof(*map->blocks)) < 0)
    {
        return SIZE_MAX;
    }
    return map->len++;
}

static refmap_block_t *
refmap_create_unlocked(refmap_state_t *map, uintptr_t page)
{
    if (map->created >= REFMAP_RECLAIM_MIN
        && map->created >= map->nblocks / 4)
    {
        refmap_reclaim_unlocked(map);
    }
    refmap_block_t *block = _PyRefMap_Malloc(sizeof(*block));
    if (block == NULL) {
        return NULL;
    }
    memset(block, 0, sizeof(*block));
    block->page = page;
    block->epoch = map->epoch;
    block->index = refmap_place_unlocked(map);
    if (block->index == SIZE_MAX) {
        _PyRefMap_FreeBlock(block);
        return NULL;
    }
    map->blocks[block->index] = NULL;
    if (refmap_table_add(map, block) < 0) {
        map->holes[map->nholes++] = block->index;
        _PyRefMap_FreeBlock(block);
        return NULL;
    }
    map->blocks[block->index] = block;
    map->nblocks++;
    map->created++;
    return block;
}

/* Keep the types of the objects in `block` while they are alive. Without
   memory for that they are unknown. */
static void
refmap_capture_types(refmap_state_t *map, refmap_block_t *block)
{
    refmap_copy_t copy;
    size_t size = REFMAP_SLOTS * sizeof(*block->types);
    block->types = _PyRefMap_Malloc(size);
    if (block->types == NULL) {
        return;
    }
    _PyRefMap_ReadPage(block, &copy);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        block->types[i] = block->slots[i].count == 0 ? REFMAP_TYPE_UNKNOWN
            : _PyRefMap_SlotType(map, block, i, &copy);
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

/* A block that may be changed in place of one that snapshots share. */
static refmap_block_t *
refmap_unshare_unlocked(refmap_state_t *map, refmap_block_t *block)
{
    refmap_block_t *copy = _PyRefMap_Malloc(sizeof(*copy));
    if (copy != NULL) {
        memcpy(copy, block, sizeof(*copy));
        copy->epoch = map->epoch;
        copy->types = NULL;
        // Two items with one key, for a moment: so nothing is lost if the
        // table has no memory for the new one.
        if (refmap_table_add(map, copy) < 0) {
            _PyRefMap_FreeBlock(copy);
            copy = NULL;
        }
    }
    if (copy == NULL) {
        refmap_tear_unlocked(map, block);
        return block;
    }
    refmap_capture_types(map, block);
    map->blocks[copy->index] = copy;
    refmap_retire_unlocked(map, block);
    return copy;
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

/* The slot of `address` when the lookaside does not have it: an object on a
   page that has no block yet or one that is shared, or an odd address. */
static Py_NO_INLINE refmap_slot_t *
refmap_slot_slow(refmap_state_t *map, uintptr_t address)
{
    uintptr_t page = refmap_page(address);
    refmap_block_t **entry = refmap_entry(map, page);
    refmap_block_t *block = entry ? *entry : NULL;
    if (block == NULL) {
        refmap_lock(map);
        HASH_FIND(hh, map->table, &page, sizeof(page), block);
        if (block == NULL) {
            block = refmap_create_unlocked(map, page);
        }
        else if (refmap_is_shared(map, block)) {
            block = refmap_unshare_unlocked(map, block);
        }
        if (block != NULL) {
            refmap_remember_unlocked(map, block);
        }
        refmap_unlock(map);
    }
    if (block == NULL) {
        refmap_warn_untracked(map);
        map->unattributed += map->nowhere.count;
        map->nowhere.count = 0;
        return &map->nowhere;
    }
    refmap_slot_t *slot = &block->slots[refmap_slot_index(address)];
    if (address & 8) {
        slot->birth = slot->count == 0 ? REFMAP_BIRTH_ODD
                                       : slot->birth | REFMAP_BIRTH_ODD;
    }
    return slot;
}

/* The slot of `address`, to be changed. Never NULL. */
static inline refmap_slot_t *
refmap_slot(PyInterpreterState *interp, uintptr_t address)
{
    const refmap_leaf_t *leaf =
        interp->object_state.refmap_root[
            address >> (REFMAP_PAGE_BITS + REFMAP_LEAF_BITS)];
    if (LIKELY(leaf != NULL && !(address & 8))) {
        refmap_block_t *block =
            leaf->entries[refmap_page(address) & (REFMAP_LEAF_ENTRIES - 1)];
        if (LIKELY(block != NULL)) {
            return &block->slots[refmap_slot_index(address)];
        }
    }
    return refmap_slot_slow(refmap_of(interp), address);
}

/* The slot of `address` to be looked at only, or NULL. */
static inline refmap_slot_t *
refmap_peek(PyInterpreterState *interp, uintptr_t address)
{
    refmap_block_t *block = refmap_find(refmap_of(interp),
                                        refmap_page(address));
    return block ? &block->slots[refmap_slot_index(address)] : NULL;
}


/* --- hooks -------------------------------------------------------------- */

/* Without a thread state no interpreter is known: the legacy total of the
   process moves, which is part of the unattributed references. */
static Py_NO_INLINE void
refmap_no_thread(Py_ssize_t n)
{
    _Py_atomic_add_ssize(&_Py_RefTotal, n);
}

/* A count left the range of a slot and wrapped around by 2^32. */
static Py_NO_INLINE void
refmap_wrapped(PyInterpreterState *interp, int up)
{
    refmap_of(interp)->unattributed += up ? INT64_C(1) << 32
                                          : -(INT64_C(1) << 32);
}

void
_PyRefMap_Incref(PyObject *op)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (UNLIKELY(tstate == NULL)) {
        refmap_no_thread(1);
        return;
    }
    PyInterpreterState *interp = tstate->interp;
    refmap_slot_t *slot = refmap_slot(interp, (uintptr_t)op);
    interp->object_state.reftotal++;
    if (UNLIKELY(__builtin_add_overflow(slot->count, 1, &slot->count))) {
        refmap_wrapped(interp, 1);
    }
}

void
_PyRefMap_Decref(PyObject *op)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (UNLIKELY(tstate == NULL)) {
        refmap_no_thread(-1);
        return;
    }
    PyInterpreterState *interp = tstate->interp;
    refmap_slot_t *slot = refmap_slot(interp, (uintptr_t)op);
    interp->object_state.reftotal--;
    if (UNLIKELY(__builtin_sub_overflow(slot->count, 1, &slot->count))) {
        refmap_wrapped(interp, 0);
    }
}

void
_PyRefMap_Add(PyThreadState *tstate, void *op, Py_ssize_t n)
{
    if (UNLIKELY(tstate == NULL)) {
        refmap_no_thread(n);
        return;
    }
    PyInterpreterState *interp = tstate->interp;
    refmap_slot_t *slot = refmap_slot(interp, (uintptr_t)op);
    interp->object_state.reftotal += n;
    Py_ssize_t count = slot->count + n;
    slot->count = (int32_t)(uint32_t)count;
    refmap_of(interp)->unattributed += count - slot->count;
}

void
_PyRefMap_Unattributed(PyThreadState *tstate, Py_ssize_t n)
{
    refmap_of(tstate->interp)->unattributed += n;
}

/* What is still counted in `slot` belongs to an object that is gone. */
static Py_NO_INLINE void
refmap_close(refmap_state_t *map, refmap_slot_t *slot)
{
    map->unattributed += slot->count;
    slot->count = 0;
}

static Py_NO_INLINE void
refmap_finding(refmap_state_t *map, uintptr_t address, int32_t count,
               refmap_type_t type)
{
    map->findings[map->nfindings++ % REFMAP_FINDINGS] =
        (refmap_finding_t){address, type, count};
}

static inline uint32_t
refmap_next_birth(refmap_state_t *map)
{
    if (UNLIKELY(++map->births > REFMAP_BIRTH_SERIAL)) {
        map->births = 1;
    }
    return map->births;
}

static inline void
refmap_new(PyThreadState *tstate, uintptr_t address, uint32_t flags)
{
    if (UNLIKELY(tstate == NULL)) {
        refmap_no_thread(1);
        return;
    }
    PyInterpreterState *interp = tstate->interp;
    refmap_state_t *map = refmap_of(interp);
    refmap_slot_t *slot = refmap_slot(interp, address);
    interp->object_state.reftotal++;
    if (UNLIKELY(slot->count != 0)) {
        // The last object here was freed behind our back, by free() perhaps.
        if (slot != &map->nowhere) {
            refmap_finding(map, address, slot->count, REFMAP_TYPE_UNKNOWN);
        }
        refmap_close(map, slot);
    }
    slot->count = 1;
    slot->birth = refmap_next_birth(map) | flags;
}

void
_PyRefMap_NewReference(PyThreadState *tstate, PyObject *op)
{
    uintptr_t address = (uintptr_t)op;
    refmap_new(tstate, address, UNLIKELY(address & 8) ? REFMAP_BIRTH_ODD : 0);
}

void
_PyRefMap_NewKeys(PyThreadState *tstate, void *keys)
{
    refmap_new(tstate, (uintptr_t)keys, REFMAP_BIRTH_KEYS);
}

/* Set the count of a slot that may be shared; the total does not move. */
static void
refmap_settle(PyInterpreterState *interp, uintptr_t address, int32_t count)
{
    refmap_slot_t *slot = refmap_slot(interp, address);
    refmap_of(interp)->unattributed += (Py_ssize_t)slot->count - count;
    slot->count = count;
}

void
_PyRefMap_Dealloc(PyObject *op)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (UNLIKELY(tstate == NULL)) {
        return;
    }
    refmap_slot_t *slot = refmap_peek(tstate->interp, (uintptr_t)op);
    if (UNLIKELY(slot != NULL && slot->count != 0)) {
        refmap_settle(tstate->interp, (uintptr_t)op, 0);
    }
}

static Py_NO_INLINE void
refmap_free_counted(PyInterpreterState *interp, uintptr_t address)
{
    refmap_state_t *map = refmap_of(interp);
    refmap_block_t *block = refmap_find(map, refmap_page(address));
    size_t i = refmap_slot_index(address);
    refmap_copy_t copy;
    _PyRefMap_ReadPage(block, &copy);
    refmap_finding(map, refmap_slot_address(block, i), block->slots[i].count,
                   _PyRefMap_SlotType(map, block, i, &copy));
    refmap_settle(interp, address, 0);
}

void
_PyRefMap_Free(void *ptr)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (UNLIKELY(tstate == NULL || ptr == NULL)) {
        return;
    }
    refmap_slot_t *slot = refmap_peek(tstate->interp, (uintptr_t)ptr);
    if (UNLIKELY(slot != NULL && slot->count != 0)) {
        refmap_free_counted(tstate->interp, (uintptr_t)ptr);
    }
}

refmap_slot_t
_PyRefMap_Take(void *ptr)
{
    refmap_slot_t taken = {0, 0};
    PyThreadState *tstate = _PyThreadState_GET();
    if (tstate == NULL || ptr == NULL) {
        return taken;
    }
    refmap_slot_t *slot = refmap_peek(tstate->interp, (uintptr_t)ptr);
    if (slot != NULL && slot->count != 0) {
        slot = refmap_slot(tstate->interp, (uintptr_t)ptr);
        taken = *slot;
        slot->count = 0;
    }
    return taken;
}

void
_PyRefMap_Put(void *ptr, refmap_slot_t taken)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (tstate == NULL || ptr == NULL || taken.count == 0) {
        return;
    }
    refmap_state_t *map = refmap_of(tstate->interp);
    refmap_slot_t *slot = refmap_slot(tstate->interp, (uintptr_t)ptr);
    if (slot->count != 0) {
        refmap_close(map, slot);
    }
    slot->count = taken.count;
    slot->birth = taken.birth;
}

void
_PyRefMap_SetMortal(PyObject *op, Py_ssize_t refcnt)
{
    refmap_settle(_PyInterpreterState_GET(), (uintptr_t)op, (int32_t)refcnt);
}

void
_PyRefMap_Own(PyObject *op)
{
    PyInterpreterState *interp = _PyInterpreterState_GET();
    refmap_state_t *map = refmap_of(interp);
    refmap_slot(interp, (uintptr_t)op)->birth |= REFMAP_BIRTH_OWN;
    interp->object_state.reftotal--;
    map->own++;
}

void
_PyRefMap_Disown(PyObject *Py_UNUSED(op))
{
    PyInterpreterState *interp = _PyInterpreterState_GET();
    interp->object_state.reftotal++;
    refmap_of(interp)->own--;
}


/* --- totals ------------------------------------------------------------- */

Py_ssize_t
_PyRefMap_UnattributedOf(refmap_state_t *map)
{
    Py_ssize_t n = map->unattributed + map->nowhere.count;
    if (map == &main_map) {
        n += _Py_atomic_load_ssize(&_Py_RefTotal);
        n += _Py_atomic_load_ssize(&left_unattributed);
    }
    return n;
}

Py_ssize_t
_PyRefMap_Total(refmap_state_t *map)
{
    Py_ssize_t total = 0, others = 0;
    HEAD_LOCK(&_PyRuntime);
    PyInterpreterState *interp = PyInterpreterState_Head();
    for (; interp != NULL; interp = PyInterpreterState_Next(interp)) {
        if (refmap_of(interp) == map) {
            total += interp->object_state.reftotal;
        }
        else {
            others += interp->object_state.reftotal;
        }
    }
    HEAD_UNLOCK(&_PyRuntime);
    // What no interpreter holds is of the main map: the legacy total, and
    // the rest of interpreters and runtimes that ended.
    return map == &main_map ? _Py_GetGlobalRefTotal() - others : total;
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
            info->mapped += block->slots[k].count;
            info->objects += block->slots[k].count != 0;
        }
    }
    for (size_t i = 0; i < map->nleaves; i++) {
        if (map->leaves[i].low < map->leaves[i].high) {
            info->bytes += (map->leaves[i].high - map->leaves[i].low)
                           * sizeof(refmap_block_t *);
        }
    }
    info->unattributed += _PyRefMap_UnattributedOf(map) - map->own;
    info->untracked += map->untracked;
}

void
_PyRefMap_GetInfo(refmap_info_t *info)
{
    memset(info, 0, sizeof(*info));
    PyMutex_LockFlags(&maps_mutex, _Py_LOCK_DONT_DETACH);
    for (refmap_state_t *map = &main_map; map != NULL; map = map->next) {
        refmap_lock(map);
        refmap_add_info(map, info);
        refmap_unlock(map);
    }
    info->total = _Py_GetGlobalRefTotal();
    PyMutex_Unlock(&maps_mutex);
    info->bytes += _Py_atomic_load_ssize(&used_bytes);
}

Py_ssize_t
_PyRefMap_Count(void *op)
{
    refmap_slot_t *slot = refmap_peek(_PyInterpreterState_GET(),
                                      (uintptr_t)op);
    return slot ? slot->count : 0;
}


/* --- life of a map ------------------------------------------------------ */

static void
refmap_attach(PyInterpreterState *interp, refmap_state_t *map)
{
    interp->object_state.refmap = map;
    interp->object_state.refmap_root = map->root;
}

refmap_state_t *
_PyRefMap_Main(void)
{
    return &main_map;
}

void
_PyRefMap_InitInterp(PyInterpreterState *interp)
{
    refmap_attach(interp, &main_map);
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
    map->root = refmap_reserve(REFMAP_ROOT_ENTRIES * sizeof(*map->root));
    if (map->root == NULL) {
        _PyRefMap_RawFree(map, sizeof(*map));
        return -1;
    }
    PyMutex_LockFlags(&maps_mutex, _Py_LOCK_DONT_DETACH);
    map->next = main_map.next;
    main_map.next = map;
    PyMutex_Unlock(&maps_mutex);
    refmap_attach(interp, map);
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
            _PyRefMap_FreeBlock(block);
        }
    }
    map->newest = NULL;
}

static void
refmap_free_names(refmap_state_t *map)
{
    refmap_known_type_t *known, *next_known;
    HASH_ITER(hh, map->types, known, next_known) {
        HASH_DELETE(hh, map->types, known);
        _PyRefMap_RawFree(known, sizeof(*known));
    }
    refmap_name_t *name, *next_name;
    HASH_ITER(hh, map->names, name, next_name) {
        HASH_DELETE(hh, map->names, name);
        _PyRefMap_RawFree(name, sizeof(*name) + strlen(name->name) + 1);
    }
}

static void
refmap_destroy(refmap_state_t *map)
{
    _PyRefMap_SnapshotDecref(map->baseline);
    refmap_drop_snapshots(map);
    for (size_t i = 0; i < map->len; i++) {
        if (map->blocks[i] != NULL) {
            HASH_DELETE(hh, map->table, map->blocks[i]);
            _PyRefMap_FreeBlock(map->blocks[i]);
        }
    }
    refmap_free_names(map);
    for (size_t i = 0; i < map->nleaves; i++) {
        munmap(map->root[map->leaves[i].index], sizeof(refmap_leaf_t));
    }
    munmap(map->root, REFMAP_ROOT_ENTRIES * sizeof(*map->root));
    _PyRefMap_RawFree(map->leaves,
                      map->leaves_allocated * sizeof(*map->leaves));
    _PyRefMap_RawFree(map->holes,
                      map->holes_allocated * sizeof(*map->holes));
    _PyRefMap_RawFree(map->blocks, map->allocated * sizeof(*map->blocks));
    _PyRefMap_RawFree(map, sizeof(*map));
}

void
_PyRefMap_FiniInterp(PyInterpreterState *interp)
{
    refmap_state_t *map = refmap_of(interp);
    if (map == &main_map || map == NULL) {
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
    refmap_attach(interp, &main_map);
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

int
_PyRefMap_Read(uintptr_t address, void *buffer, size_t size)
{
#ifdef __linux__
    // The kernel copies, and says so when it can't; see process_vm_readv(2).
    struct iovec local = {buffer, size};
    struct iovec remote = {(void *)address, size};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0)
           == (ssize_t)size ? 0 : -1;
#else
    return -1;
#endif
}

void
_PyRefMap_ReadPage(const refmap_block_t *block, refmap_copy_t *copy)
{
    uintptr_t address = block->page << REFMAP_PAGE_BITS;
    size_t size = (size_t)1 << REFMAP_PAGE_BITS;
    copy->readable = _PyRefMap_Read(address, copy->bytes, size) == 0;
    // Only an object that starts 8 bytes before the end needs the next page.
    if (block->slots[REFMAP_SLOTS - 1].count != 0
        && (block->slots[REFMAP_SLOTS - 1].birth & REFMAP_BIRTH_ODD)
        && _PyRefMap_Read(address + size, copy->bytes + size, 8) < 0)
    {
        memset(copy->bytes + size, 0, 8);
    }
}

static uintptr_t
refmap_copied_word(const refmap_block_t *block, size_t i,
                   const refmap_copy_t *copy, size_t offset)
{
    uintptr_t word;
    uintptr_t address = refmap_slot_address(block, i);
    memcpy(&word,
           copy->bytes + (address & (((uintptr_t)1 << REFMAP_PAGE_BITS) - 1))
           + offset, sizeof(word));
    return word;
}

Py_ssize_t
_PyRefMap_SlotRefcnt(const refmap_block_t *block, size_t i,
                     const refmap_copy_t *copy)
{
    // PyDictKeysObject begins with its reference count too.
    Py_BUILD_ASSERT(offsetof(PyObject, ob_refcnt) == 0);
    return copy->readable
        ? (Py_ssize_t)refmap_copied_word(block, i, copy, 0) : -1;
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
    size_t n = map->nnames;
    if ((n & (n - 1)) == 0) {
        // The array is as long as the next power of two.
        size_t wanted = n ? 2 * n : 1;
        refmap_name_t **larger = _PyRefMap_Malloc(wanted * sizeof(*larger));
        if (larger == NULL) {
            return REFMAP_TYPE_UNKNOWN;
        }
        if (n) {
            memcpy(larger, map->by_id, n * sizeof(*larger));
            _PyRefMap_RawFree(map->by_id, n * sizeof(*larger));
        }
        map->by_id = larger;
    }
    name = _PyRefMap_Malloc(size);
    if (name == NULL) {
        return REFMAP_TYPE_UNKNOWN;
    }
    memset(name, 0, sizeof(*name));
    memcpy(name->name, text, len + 1);
    name->id = (refmap_type_t)(Py_ARRAY_LENGTH(fixed_names) + n);
    HASH_ADD_KEYPTR(hh, map->names, name->name, len, name);
    if (name->hh.tbl == NULL) {
        _PyRefMap_RawFree(name, size);
        return REFMAP_TYPE_UNKNOWN;
    }
    map->by_id[map->nnames++] = name;
    return name->id;
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
    name[len] = '\0';
}

static void
refmap_forget_types(refmap_state_t *map)
{
    refmap_known_type_t *known, *next;
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
        const refmap_slot_t *slot = &block->slots[refmap_slot_index(address)];
        wanted.key.birth = slot->count ? slot->birth : 0;
    }
    HASH_FIND(hh, map->types, &wanted.key, sizeof(wanted.key), known);
    if (known != NULL) {
        return known->id;
    }
    char name[256];
    refmap_read_type_name(address, name, sizeof(name));
    if (name[0] == '\0') {
        return REFMAP_TYPE_UNKNOWN;
    }
    refmap_type_t id = refmap_intern_name(map, name);
    if (map->ntypes >= REFMAP_MAX_TYPES) {
        refmap_forget_types(map);
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

refmap_type_t
_PyRefMap_SlotType(refmap_state_t *map, const refmap_block_t *block, size_t i,
                   const refmap_copy_t *copy)
{
    if (block->slots[i].birth & REFMAP_BIRTH_KEYS) {
        return REFMAP_TYPE_KEYS;
    }
    if (!copy->readable) {
        return REFMAP_TYPE_UNKNOWN;
    }
    return refmap_type_at(map, refmap_copied_word(block, i, copy,
                                                  offsetof(PyObject, ob_type)));
}

#endif  // Py_REFCOUNT_MAP
