/* The state of a refcount map, shared by Objects/refmap*.c only.
   See Include/internal/pycore_refmap.h for the layout of an address. */
#ifndef Py_REFMAP_STATE_H
#define Py_REFMAP_STATE_H

#include "Python.h"
#include "pycore_refmap.h"
#include "pycore_lock.h"
#include "pycore_pystate.h"

/* Out of memory must never end the process, which is uthash's default. */
#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) _PyRefMap_Malloc(size)
#define uthash_free(ptr, size) _PyRefMap_RawFree((ptr), (size))
/* Keys are page numbers and addresses: a multiplication spreads their low
   bits (Knuth, The Art of Computer Programming, 6.4, multiplicative hashing),
   and the high half of the product is the hash. */
#define HASH_FUNCTION(keyptr, keylen, hashv) \
    ((hashv) = refmap_hash((keyptr), (keylen)))

static inline unsigned
refmap_hash(const void *key, size_t size)
{
    const unsigned char *bytes = key;
    uint64_t word = 0, hash = 0;
    for (; size >= sizeof(word); size -= sizeof(word), bytes += sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    for (; size > 0; size--, bytes++) {
        hash = (hash ^ *bytes) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    return (unsigned)hash;
}

/* --- Objects/refmap_memory.c -------------------------------------------- */

/* Memory of the maps, which no allocator of Python sees, nor malloc(); aligned to
   16 bytes at least. NULL on out of memory. May be called by any thread, attached
   or not. `size`: in bytes, the same for both. */
extern void *_PyRefMap_Malloc(size_t size);
extern void _PyRefMap_RawFree(void *ptr, size_t size);
/* Make room for `needed` items of `size` bytes in the array at `items`, which is a
   pointer to a pointer and has room for `*allocated`. Return -1, and change
   nothing, on out of memory. */
extern int _PyRefMap_Grow(void *items, size_t *allocated, size_t needed,
                          size_t size);
/* Does _PyRefMap_LimitAllocations() allow one more? */
extern int _PyRefMap_MayAllocate(void);
/* Bytes in use, rounded as they are allocated. */
extern Py_ssize_t _PyRefMap_UsedBytes(void);

#include <uthash.h>
#include <utlist.h>

/* The slots of two pages; see cpython/refmap.h. */
typedef struct _refmap_group refmap_group_t;
struct _refmap_group {
    refmap_group_t *prev, *next;    // in refmap_state_t.halves
    refmap_block_t *blocks[REFMAP_LANES];   // NULL: the lane is free
    uint32_t words[REFMAP_SLOTS][2 * REFMAP_LANES] __attribute__((aligned(16)));
};

/* The slots of a page that nobody touches: those that are not all zero. */
typedef struct {
    uint64_t used[REFMAP_SLOTS / 64];   // slot i: bit i % 64 of used[i / 64]
    refmap_slot_t slots[];              // in order
} refmap_packed_t;

struct _refmap_block {
    uintptr_t page;             // page number: the key in refmap_state_t.table
    uint64_t epoch;             // shared with snapshots of this epoch and later
    size_t index;               // its place in refmap_state_t.blocks
    refmap_type_t *types;       // NULL while current: the memory tells then
    // In refmap_state_t.loose, or `next` in the dead blocks of a snapshot.
    refmap_block_t *prev, *next;
    refmap_packed_t *packed;    // where its slots are; NULL: loose, in `group`
    refmap_group_t *group;
    unsigned lane;
    UT_hash_handle hh;
};

/* The name of a type, interned: equal names have one identifier. */
typedef struct {
    refmap_type_t id;
    UT_hash_handle hh;
    char name[];
} refmap_name_t;

/* A type seen before. A type that was born at the address of a dead one has
   another birth. */
typedef struct {
    struct {
        uintptr_t address;
        uint64_t birth;
    } key;
    refmap_type_t id;
    UT_hash_handle hh;
} refmap_known_type_t;

/* A snapshot shares all blocks with the map until they are touched. A block
   that is replaced in the map goes to the `dead` list of the newest snapshot
   that contains it, and from there to the next older one that does when that
   snapshot is dropped; so each block is freed with its last snapshot. */
struct _refmap_snapshot {
    Py_ssize_t refs;
    refmap_state_t *map;        // NULL: the map was closed
    uint64_t epoch;
    refmap_snapshot_t *older;
    refmap_snapshot_t *newer;
    refmap_block_t *dead;
    Py_ssize_t total;
    Py_ssize_t unattributed;    // without the births of refmap's own objects
    Py_ssize_t own;
    uint64_t findings;
    size_t lost;                // blocks torn away by an out of memory
    size_t nblocks;
    refmap_block_t *blocks[];   // as refmap_state_t.blocks was then
};

/* In refmap_snapshot_t.blocks: memory was short when the block was copied. */
#define REFMAP_LOST_BLOCK ((refmap_block_t *)1)

#define REFMAP_FINDINGS 256
#define REFMAP_RECENT 1024

/* Where the directory may have entries: low <= page < high, within the
   gibibyte of addresses from `start`. All are page numbers. */
typedef struct {
    uintptr_t start;
    uintptr_t low, high;
} refmap_range_t;
#define REFMAP_RANGE_PAGES ((uintptr_t)1 << (30 - REFMAP_PAGE_BITS))

/* One map per GIL. Its fields are changed with that GIL held; who changes
   `table`, `blocks` or `ranges`, or packs a block or unpacks one, also holds
   `mutex`, and who reads them without holding the GIL holds `mutex` too. */
struct _refmap_state {
    // The lookaside: see _PyRefMap_hot. Where its directory may not be written
    // to, `recent` by page number modulo its size.
    _PyRefMap_hot *hot;
    size_t directory_size;      // in bytes
    size_t npages;              // length of the directory; 0: read-only
    refmap_block_t *recent[REFMAP_RECENT];
    Py_ssize_t unattributed;
    Py_ssize_t untracked;       // times that memory for a block was missing
    Py_ssize_t own;             // living objects of refmap itself

    PyMutex mutex;
    refmap_block_t *table;      // uthash, by page number
    size_t nblocks;             // in `table`
    refmap_block_t **blocks;    // all of `table`, at their index; NULL: free
    size_t len;                 // used part of `blocks`
    size_t allocated;
    size_t *holes;              // `nholes` free indices below `len`
    size_t nholes;
    size_t holes_allocated;
    refmap_block_t *loose;      // a ring of the blocks that are not packed
    size_t nloose;
    refmap_group_t *halves;     // groups with a free lane, which is all zero
    refmap_range_t *ranges;     // of the directory
    size_t nranges;
    size_t ranges_allocated;

    uint64_t epoch;             // of blocks that are created now
    refmap_snapshot_t *newest;
    refmap_snapshot_t *baseline; // what sys.refmap_diff() compares with

    refmap_name_t *names;       // uthash, by name
    refmap_name_t **by_id;
    size_t by_id_allocated;
    refmap_type_t nnames;
    refmap_known_type_t *types; // uthash, by address and birth
    size_t ntypes;
    int keep_types;             // their names may not be read again

    uint64_t nfindings;         // ever; the last REFMAP_FINDINGS are kept
    refmap_finding_t findings[REFMAP_FINDINGS];

    refmap_state_t *next;       // in the list of all maps
};

static inline uintptr_t
refmap_page(uintptr_t address)
{
    return address >> REFMAP_PAGE_BITS;
}

static inline size_t
refmap_slot_index(uintptr_t address)
{
    return (address >> REFMAP_SLOT_BITS) & (REFMAP_SLOTS - 1);
}

/* How many slots that are packed come before slot `i`, which may be
   REFMAP_SLOTS. */
static inline size_t
refmap_packed_before(const refmap_packed_t *packed, size_t i)
{
    size_t n = 0, k = 0;
    for (; k < i / 64; k++) {
        n += (size_t)__builtin_popcountll(packed->used[k]);
    }
    if (i % 64 != 0) {
        uint64_t below = ((uint64_t)1 << i % 64) - 1;
        n += (size_t)__builtin_popcountll(packed->used[k] & below);
    }
    return n;
}

/* A slot that is packed, or NULL. */
static inline refmap_slot_t *
refmap_packed_slot(refmap_packed_t *packed, size_t i)
{
    if (!(packed->used[i / 64] >> i % 64 & 1)) {
        return NULL;
    }
    return &packed->slots[refmap_packed_before(packed, i)];
}

/* The first slot that is packed and not below `i`, or REFMAP_SLOTS. */
static inline size_t
refmap_next_used(const uint64_t *used, size_t i)
{
    while (i < REFMAP_SLOTS) {
        uint64_t rest = used[i / 64] >> i % 64;
        if (rest != 0) {
            return i + (size_t)__builtin_ctzll(rest);
        }
        i += 64 - i % 64;
    }
    return REFMAP_SLOTS;
}

static inline size_t
refmap_packed_size(size_t nslots)
{
    return offsetof(refmap_packed_t, slots) + nslots * sizeof(refmap_slot_t);
}

/* The two words of a slot of a block that is not packed: [0], and
   [REFMAP_LANES]. */
static inline uint32_t *
refmap_words(const refmap_block_t *block, size_t i)
{
    return &block->group->words[i][block->lane];
}

/* A slot of the words at `even`, where objects that are not odd have their count,
   and `odd`. Where neither is a birth, the object is static. */
static inline refmap_slot_t
refmap_decode(uint32_t even, uint32_t odd)
{
    const uint32_t born = REFMAP_BIRTH_BORN, is_odd = REFMAP_BIRTH_ODD;
    if ((odd & (born | is_odd)) == born) {
        return (refmap_slot_t){even, odd};
    }
    if ((even & (born | is_odd | REFMAP_BIRTH_KEYS)) == (born | is_odd)) {
        return (refmap_slot_t){odd, even};
    }
    // No memory has both.
    return odd == 0 ? (refmap_slot_t){even, 0}
                    : (refmap_slot_t){even + odd, is_odd};
}

static inline refmap_slot_t
refmap_get(const refmap_block_t *block, size_t i)
{
    if (block->packed != NULL) {
        const refmap_slot_t *slot = refmap_packed_slot(block->packed, i);
        return slot != NULL ? *slot : (refmap_slot_t){0, 0};
    }
    const uint32_t *words = refmap_words(block, i);
    return refmap_decode(words[0], words[REFMAP_LANES]);
}

/* All REFMAP_SLOTS slots, which takes less than one after the other where they are
   packed. */
static inline void
refmap_get_all(const refmap_block_t *block, refmap_slot_t *slots)
{
    if (block->packed == NULL) {
        for (size_t i = 0; i < REFMAP_SLOTS; i++) {
            slots[i] = refmap_get(block, i);
        }
        return;
    }
    const uint64_t *used = block->packed->used;
    const refmap_slot_t *slot = block->packed->slots;
    memset(slots, 0, REFMAP_SLOTS * sizeof(*slots));
    for (size_t i = refmap_next_used(used, 0); i < REFMAP_SLOTS;
         i = refmap_next_used(used, i + 1))
    {
        slots[i] = *slot++;
    }
}

/* `block` is not shared with a snapshot; if it is packed, it has the slot. */
static inline void
refmap_set(refmap_block_t *block, size_t i, refmap_slot_t slot)
{
    if (block->packed != NULL) {
        *refmap_packed_slot(block->packed, i) = slot;
        return;
    }
    uint32_t *words = refmap_words(block, i);
    int odd = (slot.birth & REFMAP_BIRTH_ODD) != 0;
    words[odd ? REFMAP_LANES : 0] = slot.count;
    words[odd ? 0 : REFMAP_LANES] = slot.birth & REFMAP_BIRTH_BORN ? slot.birth : 0;
}

/* The exact address of the object in slot `i`, which is `slot`. */
static inline uintptr_t
refmap_slot_address(const refmap_block_t *block, size_t i, refmap_slot_t slot)
{
    uintptr_t address = (block->page << REFMAP_PAGE_BITS)
                        | ((uintptr_t)i << REFMAP_SLOT_BITS);
    return slot.birth & REFMAP_BIRTH_ODD ? address + 8 : address;
}

static inline refmap_state_t *
refmap_of(PyInterpreterState *interp)
{
    return interp->object_state.refmap;
}

/* Only where there is a lookaside. */
static inline uintptr_t *
refmap_directory(const refmap_state_t *map)
{
    return _PyRefMap_Directory(map->hot + 1);
}

/* Where the memory of one page is copied to before it is looked at. */
typedef struct {
    char bytes[((size_t)1 << REFMAP_PAGE_BITS) + 8];
    int readable;
} refmap_copy_t;

/* Copy `size` bytes from `address`; return 0, or -1 if they can't be read. */
extern int _PyRefMap_Read(uintptr_t address, void *buffer, size_t size);
/* Copy the page of a block for _PyRefMap_ReadSlot(). */
extern void _PyRefMap_ReadPage(const refmap_block_t *block, refmap_copy_t *copy);

typedef struct {
    uintptr_t address;
    refmap_type_t type;
    Py_ssize_t refcnt;          // ob_refcnt; -1 if the memory can't be read
} refmap_object_t;

/* Find out what is in slot `i`, which is `slot` and has a count. */
extern void _PyRefMap_ReadSlot(refmap_state_t *map, const refmap_block_t *block,
        size_t i, refmap_slot_t slot, const refmap_copy_t *copy,
        refmap_object_t *object);

/* Read the names of types anew: one may have been renamed. */
extern void _PyRefMap_ForgetTypes(refmap_state_t *map);
extern void _PyRefMap_FreeBlock_unlocked(refmap_state_t *map,
                                         refmap_block_t *block);
/* Empty the lookaside, so that each page's next touch is noticed. */
extern void _PyRefMap_ForgetLookaside_unlocked(refmap_state_t *map);
/* The references of the interpreters that use `map`, and, for the main map,
   those that no interpreter holds. */
extern Py_ssize_t _PyRefMap_Total(refmap_state_t *map);
/* References that belong to no object; refmap's own births left aside. */
extern Py_ssize_t _PyRefMap_UnattributedOf(refmap_state_t *map);

static inline void
refmap_lock(refmap_state_t *map)
{
    // A detach would let other threads run in the middle of an incref.
    _PyMutex_LockTimed(&map->mutex, -1, _Py_LOCK_DONT_DETACH);
}

static inline void
refmap_unlock(refmap_state_t *map)
{
    PyMutex_Unlock(&map->mutex);
}

#endif  // !Py_REFMAP_STATE_H
