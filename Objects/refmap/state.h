/* What a refcount map is made of; shared by Objects/refmap/ only.

   An address is split like this (64-bit platforms only):

     63      48 47                         12 11        4 3    0
    +----------+-----------------------------+-----------+------+
    |    0     |         page number         | slot index|  any |
    +----------+-----------------------------+-----------+------+

   A *block* has the 256 *slots* of one 4 KiB page; a slot is the count and
   the birth of the object that starts in 16 bytes of memory.  How slots lie in
   memory is told by cpython/refmap_hot.h.

   The blocks of a map are the items of a uthash table keyed by page number,
   and that table is the authority.  In front of it stands the *lookaside*: a
   sparse *directory* with an entry for each page there can be.  An entry is
   either 0 or leads to the block of its page *in a state in which the hot path
   may write to it*.  Taking a snapshot empties the lookaside; the next touch
   of a page misses, finds that the block is shared with a snapshot, and copies
   it.

   A block that is not touched for long may be *packed*: it keeps only the slots
   in use, is not in the lookaside, and is unpacked by the next touch.  Others are
   *loose*.  What only snapshots have of a page is packed, too. */
#ifndef Py_REFMAP_STATE_H
#define Py_REFMAP_STATE_H

#include "Python.h"
#include "pycore_refmap.h"
#include "pycore_refmap_query.h"
#include "pycore_interp.h"        // PyInterpreterState.object_state
#include "pycore_lock.h"          // PyMutex

#if SIZEOF_VOID_P != 8
#  error "the refcount map needs a 64-bit platform"
#endif

/* Memory of the maps: see memory.c. */
extern void *_PyRefMap_Malloc(size_t size);
extern void _PyRefMap_RawFree(void *ptr, size_t size);

/* Out of memory must never end the process, which is uthash's default. */
#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) _PyRefMap_Malloc(size)
#define uthash_free(ptr, size) _PyRefMap_RawFree((ptr), (size))
#define HASH_FUNCTION(keyptr, keylen, hashv) \
    ((hashv) = refmap_hash((keyptr), (keylen)))

/* The finaliser of MurmurHash3 (fmix64, by Austin Appleby): each bit of the word
   changes each bit of the result with a probability of about one half. */
static inline uint64_t
refmap_mix(uint64_t word)
{
    word ^= word >> 33;
    word *= UINT64_C(0xff51afd7ed558ccd);
    word ^= word >> 33;
    word *= UINT64_C(0xc4ceb9fe1a85ec53);
    return word ^ word >> 33;
}

/* Keys are page numbers, addresses and names, which differ in few bits; uthash
   uses the lowest bits of the hash, and adds buckets where one gets crowded. */
static inline unsigned
refmap_hash(const void *key, size_t size)
{
    const unsigned char *bytes = key;
    uint64_t hash = size;
    while (size > 0) {
        uint64_t word = 0;
        size_t n = Py_MIN(size, sizeof(word));
        memcpy(&word, bytes, n);
        hash = refmap_mix(hash ^ word);
        bytes += n;
        size -= n;
    }
    return (unsigned)hash;
}

#include <uthash.h>
#include <utlist.h>

#define REFMAP_SLOTS (1 << (REFMAP_PAGE_BITS - REFMAP_SLOT_BITS))
#define REFMAP_PAGE_SIZE ((size_t)1 << REFMAP_PAGE_BITS)

/* The words of a slot; see cpython/refmap_hot.h. */
typedef struct {
    uint32_t even, odd;
} refmap_words_t;

/* The slots of 64 bytes of memory are a *line* of a group, and of most caches. */
#define REFMAP_LINE_SLOTS 4
#define REFMAP_ALL_LINES UINT64_MAX
static_assert(REFMAP_SLOTS == 64 * REFMAP_LINE_SLOTS, "a bit for each line");

typedef struct _refmap_block refmap_block_t;

/* The slots of two pages. */
typedef struct _refmap_group refmap_group_t;
struct _refmap_group {
    refmap_group_t *prev, *next;    // in refmap_state_t.halves
    refmap_block_t *blocks[REFMAP_LANES];   // NULL: the lane is free
    uint32_t words[REFMAP_SLOTS][2 * REFMAP_LANES] __attribute__((aligned(16)));
};

/* The slots of a page that nobody touches: those that are not all zero. */
typedef struct {
    uint64_t used[REFMAP_SLOTS / 64];   // slot i: bit i % 64 of used[i / 64]
    refmap_words_t slots[];             // in order
} refmap_packed_t;

struct _refmap_block {
    uintptr_t page;             // page number: the key in refmap_state_t.table
    uint64_t epoch;             // shared with snapshots of this epoch and later
    uint64_t retired;           // the newest epoch that shares it; 0: current
    size_t index;               // its place in refmap_state_t.blocks
    refmap_type_t *types;       // NULL while current: the memory tells then
    // In refmap_state_t.loose; or `next` in a list of retired blocks.
    refmap_block_t *prev, *next;
    refmap_packed_t *packed;    // where its slots are; NULL: loose, in `group`
    refmap_group_t *group;
    unsigned lane;
    int is_watched;             // the directory leaves it out: see log.h
    uint64_t lines;             // while loose, bit i: of line i slots may be in use
    UT_hash_handle hh;
};

/* A list that can be joined to another one at once. */
typedef struct {
    refmap_block_t *first, *last;   // linked by `next`
} refmap_list_t;

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

/* Where the count of an object is not what the map has: see actual.c. */
typedef struct {
    uint32_t slot;              // of the blocks that are kept together, from 0
    int32_t by;                 // to be added to the count in the map
} refmap_correction_t;

/* The corrections of REFMAP_TOGETHER blocks in a row, in the order of the slots.
   Snapshots share those that are alike. */
#define REFMAP_TOGETHER 16
typedef struct {
    size_t refs;
    size_t len;
    refmap_correction_t items[];
} refmap_corrections_t;

/* A snapshot shares all blocks with the map until they are touched. A block
   that is replaced in the map is *retired* to the newest snapshot, which is the
   newest one that has it. When a snapshot is dropped its retired blocks become
   *orphans*, of which a few are looked at whenever a block is copied: each goes to
   the newest snapshot left that has it, or is freed. */
struct _refmap_snapshot {
    Py_ssize_t refs;
    refmap_state_t *map;        // NULL: the map was closed
    uint64_t epoch;
    refmap_snapshot_t *older;
    refmap_snapshot_t *newer;
    refmap_list_t retired;
    Py_ssize_t total;
    Py_ssize_t unattributed;    // without the births of refmap's own objects
    Py_ssize_t own;
    uint64_t findings;
    size_t lost;                // blocks torn away by an out of memory
    // Of true counts: of blocks 0 to REFMAP_TOGETHER - 1, and so on; an item is
    // NULL where all agree. Otherwise NULL.
    refmap_corrections_t **corrections;
    size_t nblocks;
    refmap_block_t *blocks[];   // as refmap_state_t.blocks was then
};

/* In refmap_snapshot_t.blocks: memory was short when the block was copied. */
#define REFMAP_LOST_BLOCK ((refmap_block_t *)1)

/* Memory that was freed, or an object that was born anew, while references
   to it were still counted. */
typedef struct {
    uintptr_t address;
    refmap_type_t type;
    Py_ssize_t count;
    Py_ssize_t actual;          // its true count, as far as it is known; 0: none
} refmap_finding_t;

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
    // to, or is bypassed, and for blocks that are watched, `recent` by page number
    // modulo its size.
    _PyRefMap_hot *hot;
    size_t directory_size;      // in bytes
    size_t npages;              // length of the directory; 0: read-only
    int is_bypassed;            // the directory stays empty: see record.h
    int has_watched;            // some blocks are only in `recent`
    int in_log;                 // somebody writes to a stream: see log.h
    struct _refmap_stream *streams[3];  // of the active logs, by their kind
    refmap_block_t *recent[REFMAP_RECENT];
    Py_ssize_t unattributed;
    Py_ssize_t untracked;       // times that memory for a block was missing
    Py_ssize_t overflowed;      // references beyond what a count can hold
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
    size_t nhalves;
    int fills_halves;           // see refmap_group_lock_held()
    refmap_range_t *ranges;     // of the directory
    size_t nranges;
    size_t ranges_allocated;

    // See workingset.c.
    size_t patience;            // loose blocks more, in halves
    size_t fruitless;           // visits since the last that saved memory
    size_t rest;                // new lanes until the next visit

    uint64_t epoch;             // of blocks that are created now; from 1
    refmap_snapshot_t *newest;
    refmap_snapshot_t *baseline; // what sys.refmap_diff() compares with
    refmap_list_t orphans;

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

/* See layout.c. A change of the meaning of anything raises `version`. */
struct _refmap_layout {
    uint32_t version;
    uint32_t page_bits, slot_bits, lanes, slots;
    uint32_t birth_born, birth_keys, birth_dead, birth_own, birth_serial;
    int32_t count_min;
    uint32_t type_unknown, type_keys;
    uint32_t findings, recent;
};
extern const struct _refmap_layout _PyRefMap_layout;

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

static inline refmap_state_t *
refmap_of(PyInterpreterState *interp)
{
    return interp->object_state.refmap;
}

/* NULL if there is no thread state. */
static inline refmap_state_t *
refmap_current_map(void)
{
    return _PyRefMap_current != NULL ? _PyRefMap_current[-1].map : NULL;
}

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
