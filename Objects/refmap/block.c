/* The blocks of a refcount map: their lanes, how they are packed, their table. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"


/* --- lanes --------------------------------------------------------------- */

/* With more groups than these that have one block the next blocks go to them, until none
   is left. */
#define REFMAP_FEW_HALVES 32

static void
refmap_add_half_lock_held(refmap_state_t *map, refmap_group_t *group)
{
    DL_APPEND(map->halves, group);
    map->nhalves++;
}

static void
refmap_remove_half_lock_held(refmap_state_t *map, refmap_group_t *group)
{
    DL_DELETE(map->halves, group);
    map->nhalves--;
}

/* A group with a free lane, or NULL.

   Pages in a row get groups in a row, of which the counts of objects in a row are as
   far from each other as the objects, so that the hardware reads ahead. Two pages in a
   row in one group would have them go back and forth. */
static refmap_group_t *
refmap_group_lock_held(refmap_state_t *map)
{
    if (map->nhalves == 0 || map->nhalves > REFMAP_FEW_HALVES) {
        map->fills_halves = map->nhalves > 0;
    }
    refmap_group_t *group = NULL;
    if (!map->fills_halves && (group = _PyRefMap_Malloc(sizeof(*group))) != NULL) {
        memset(group, 0, sizeof(*group));
        refmap_add_half_lock_held(map, group);
        return group;
    }
    return map->halves;
}

int
_PyRefMap_TakeLane_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    Py_BUILD_ASSERT(REFMAP_LANES == 2);
    refmap_group_t *group = refmap_group_lock_held(map);
    if (group == NULL) {
        return -1;
    }
    if (group->blocks[0] != NULL || group->blocks[1] != NULL) {
        refmap_remove_half_lock_held(map, group);
    }
    block->group = group;
    block->lines = REFMAP_ALL_LINES;
    block->lane = group->blocks[0] != NULL;
    group->blocks[block->lane] = block;
    return 0;
}

static void
refmap_leave_lane_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    refmap_group_t *group = block->group;
    group->blocks[block->lane] = NULL;
    if (group->blocks[!block->lane] != NULL) {
        for (size_t i = 0; i < REFMAP_SLOTS; i++) {
            uint32_t *words = refmap_loose_words(block, i);
            words[0] = words[REFMAP_LANES] = 0;
        }
        refmap_add_half_lock_held(map, group);
    }
    else {
        refmap_remove_half_lock_held(map, group);
        _PyRefMap_RawFree(group, sizeof(*group));
    }
    block->group = NULL;
}


/* --- blocks -------------------------------------------------------------- */

refmap_block_t *
_PyRefMap_NewBlock(refmap_state_t *map, uintptr_t page)
{
    refmap_block_t *block = _PyRefMap_Malloc(sizeof(*block));
    if (block != NULL) {
        memset(block, 0, sizeof(*block));
        block->page = page;
        block->epoch = map->epoch;
        block->lines = REFMAP_ALL_LINES;
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
_PyRefMap_FreeBlock_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    if (block->group != NULL) {
        refmap_leave_lane_lock_held(map, block);
    }
    refmap_free_packed(block->packed);
    _PyRefMap_RawFree(block->types, REFMAP_SLOTS * sizeof(*block->types));
    _PyRefMap_RawFree(block, sizeof(*block));
}

int
_PyRefMap_IsEmpty(const refmap_block_t *block)
{
    // A dead object whose memory was not given back may resurrect.
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        refmap_words_t words = refmap_get_words(block, i);
        if ((words.even | words.odd) != 0) {
            return 0;
        }
    }
    return 1;
}

void
_PyRefMap_AddLoose_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    CDL_APPEND(map->loose, block);
    map->nloose++;
}

void
_PyRefMap_RemoveLoose_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    CDL_DELETE(map->loose, block);
    map->nloose--;
}


/* --- packing ------------------------------------------------------------- */

/* Eight bytes that are 0 or 1 as eight bits: the product moves byte i, which is bit 8i,
   to bit 56 + i, and no two of them to one place. */
static uint64_t
refmap_bits_of_bytes(const uint8_t bytes[8])
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
#if PY_BIG_ENDIAN
    word = __builtin_bswap64(word);
#endif
    return word * UINT64_C(0x0102040810204080) >> 56;
}

/* Up to so many lines are looked at one by one: it takes as long as all 16 at once. */
#define REFMAP_FEW_LINES 4

/* Which of the 64 slots whose words begin at `words` are in use? First a byte for each,
   which the compiler does for several at once, then a bit: a branch, or a chain from
   slot to slot, took twice as long. */
static uint64_t
refmap_used_of_64(const uint32_t *words)
{
    uint8_t is_used[64];
    for (size_t i = 0; i < 64; i++, words += 2 * REFMAP_LANES) {
        is_used[i] = (words[0] | words[REFMAP_LANES]) != 0;
    }
    uint64_t used = 0;
    for (size_t i = 0; i < 64; i += 8) {
        used |= refmap_bits_of_bytes(&is_used[i]) << i;
    }
    return used;
}

/* The same where only some of the 16 lines have to be looked at: `lines`. */
static uint64_t
refmap_used_of_lines(const uint32_t *words, unsigned lines)
{
    if (__builtin_popcount(lines) > REFMAP_FEW_LINES) {
        return refmap_used_of_64(words);
    }
    uint64_t used = 0;
    for (; lines != 0; lines &= lines - 1) {
        size_t first = (size_t)__builtin_ctz(lines) * REFMAP_LINE_SLOTS;
        for (size_t i = first; i < first + REFMAP_LINE_SLOTS; i++) {
            const uint32_t *slot = words + i * 2 * REFMAP_LANES;
            used |= (uint64_t)((slot[0] | slot[REFMAP_LANES]) != 0) << i;
        }
    }
    return used;
}

/* Which of the 16 lines have slots in use that are among these 64? */
static uint64_t
refmap_lines_of(uint64_t used)
{
    used |= used >> 1;
    used = (used | used >> 2) & UINT64_C(0x1111111111111111);
    // Bit 4i goes to bit i: two next to each other, then four, and so on.
    used = (used | used >> 3) & UINT64_C(0x0303030303030303);
    used = (used | used >> 6) & UINT64_C(0x000f000f000f000f);
    used = (used | used >> 12) & UINT64_C(0x000000ff000000ff);
    return (used | used >> 24) & 0xffff;
}

size_t
_PyRefMap_UsedSlots(refmap_block_t *block, size_t limit,
                    uint64_t used[REFMAP_SLOTS / 64])
{
    size_t n = 0;
    uint64_t lines = 0;
    for (size_t k = 0; k < REFMAP_SLOTS / 64; k++) {
        unsigned old_lines = block->lines >> 16 * k & 0xffff;
        used[k] = 0;
        if (old_lines == 0) {
            continue;
        }
        used[k] = refmap_used_of_lines(refmap_loose_words(block, k * 64), old_lines);
        n += (size_t)__builtin_popcountll(used[k]);
        if (n > limit) {
            return n;
        }
        lines |= refmap_lines_of(used[k]) << 16 * k;
    }
    block->lines = lines;
    return n;
}

/* The slots of `block`, which is loose, packed; NULL on out of memory, or if more
   than `limit` are in use. */
static refmap_packed_t *
refmap_packed_slots(refmap_block_t *block, size_t limit)
{
    uint64_t used[REFMAP_SLOTS / 64];
    size_t n = _PyRefMap_UsedSlots(block, limit, used);
    refmap_packed_t *packed = n <= limit
                              ? _PyRefMap_Malloc(refmap_packed_size(n)) : NULL;
    if (packed == NULL) {
        return NULL;
    }
    memcpy(packed->used, used, sizeof(used));
    refmap_words_t *slot = packed->slots;
    for (size_t i = refmap_next_used(used, 0); i < REFMAP_SLOTS;
         i = refmap_next_used(used, i + 1))
    {
        *slot++ = refmap_get_words(block, i);
    }
    return packed;
}

int
_PyRefMap_Pack_lock_held(refmap_state_t *map, refmap_block_t *block, size_t limit)
{
    block->packed = refmap_packed_slots(block, limit);
    if (block->packed == NULL) {
        return 0;
    }
    _PyRefMap_RemoveLoose_lock_held(map, block);
    refmap_leave_lane_lock_held(map, block);
    return 1;
}

int
_PyRefMap_Unpack_lock_held(refmap_state_t *map, refmap_block_t *to,
                           refmap_block_t *from)
{
    refmap_packed_t *packed = from->packed;
    if (_PyRefMap_TakeLane_lock_held(map, to) < 0) {
        return -1;
    }
    to->packed = NULL;
    const refmap_words_t *slot = packed->slots;
    for (size_t i = refmap_next_used(packed->used, 0); i < REFMAP_SLOTS;
         i = refmap_next_used(packed->used, i + 1))
    {
        refmap_set_words(to, i, *slot++);
    }
    if (to == from) {
        refmap_free_packed(packed);
    }
    _PyRefMap_AddLoose_lock_held(map, to);
    return 0;
}

int
_PyRefMap_CopySlots_lock_held(refmap_state_t *map, refmap_block_t *from,
                              refmap_block_t *to)
{
    if (from->packed != NULL) {
        return _PyRefMap_Unpack_lock_held(map, to, from);
    }
    // The lane changes hands, so that no time is needed to copy it.
    from->packed = refmap_packed_slots(from, REFMAP_SLOTS);
    if (from->packed == NULL) {
        return -1;
    }
    _PyRefMap_RemoveLoose_lock_held(map, from);
    to->group = from->group;
    to->lane = from->lane;
    to->group->blocks[to->lane] = to;
    from->group = NULL;
    _PyRefMap_AddLoose_lock_held(map, to);
    return 0;
}


/* --- the table ------------------------------------------------------------ */

refmap_block_t *
_PyRefMap_Find(refmap_state_t *map, uintptr_t page)
{
    refmap_block_t *block = _PyRefMap_Lookaside(map, page);
    if (block == NULL) {
        HASH_FIND(hh, map->table, &page, sizeof(page), block);
    }
    return block;
}

int
_PyRefMap_AddToTable_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    HASH_ADD(hh, map->table, page, sizeof(block->page), block);
    return block->hh.tbl == NULL ? -1 : 0;
}

void
_PyRefMap_RemoveFromTable_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    HASH_DELETE(hh, map->table, block);
}

#endif  // Py_REFCOUNT_MAP
