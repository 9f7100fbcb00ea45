/* Which blocks a refcount map has, and which of them are packed.

   A lane of slots takes half as much memory as the page it is for. Where few
   objects are on a page, most of that is waste: such a block is packed once nobody
   touches it, and unpacked by the next touch. That takes about a microsecond,
   which is as long as a program works on some fifty objects. So
   - only blocks with few slots in use are packed, since packing others saves
     little and costs as much;
   - a bound of loose blocks is not packed, and each block that has to be unpacked
     raises it by two: what a program comes back to is no memory to be saved. New
     blocks lower it again, by a half. So of a working set that is visited again and
     again each block is unpacked once, and from then on at most one for four blocks
     that are created meanwhile;
   - blocks that are empty go, whatever the bound is;
   - looking for either rests when it is in vain.

   Whether a block was touched is told by the lookaside: a visit takes the block out
   of it, and if it is still out at the next visit, nobody touched it in between. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_refmap_test.h"   // _PyRefMap_Sweep()

/* When a block needs a lane so many others are visited. */
#define REFMAP_VISITS 4
/* When a block is touched so many orphans are settled: more than one, so that they
   become fewer however often snapshots are taken and dropped. */
#define REFMAP_SETTLE 4
#ifndef REFMAP_FEW_LOOSE    // 0: a test of all that comes after packing
#  define REFMAP_FEW_LOOSE(nblocks) Py_MAX(4096, (nblocks) / 4)
#endif
/* A block with more slots in use is not packed: objects of less than 256 bytes. In a
   debug build the program takes four times as long for what it does with as many
   objects, and each of them has 32 bytes more: 64 bytes. */
#ifdef Py_DEBUG
#  define REFMAP_FEW_SLOTS 64
#else
#  define REFMAP_FEW_SLOTS 16
#endif
#define REFMAP_HALVES 2
#define REFMAP_PATIENCE_OF_UNPACK (2 * REFMAP_HALVES)


/* --- saving memory ---------------------------------------------------------- */

/* Give back `block`, which is empty. */
static void
refmap_give_back_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    map->blocks[block->index] = NULL;
    map->holes[map->nholes++] = block->index;
    map->nblocks--;
    _PyRefMap_Forget(map, block->page);
    _PyRefMap_Retire_lock_held(map, block);
}

void
_PyRefMap_Reclaim_lock_held(refmap_state_t *map)
{
    for (size_t i = 0; i < map->len; i++) {
        refmap_block_t *block = map->blocks[i];
        if (block != NULL && _PyRefMap_IsEmpty(block)) {
            refmap_give_back_lock_held(map, block);
        }
    }
}

/* Visit the next loose block, and pack it if `may_pack`; return 1 if that saved
   memory. No packed block goes, which the caller may be about to unpack. */
static int
refmap_visit_lock_held(refmap_state_t *map, int may_pack)
{
    refmap_block_t *block = map->loose;
    map->loose = block->next;
    if (_PyRefMap_Lookaside(map, block->page) != NULL) {
        _PyRefMap_Forget(map, block->page);
        return 0;
    }
    if (_PyRefMap_IsEmpty(block)) {
        refmap_give_back_lock_held(map, block);
        return 1;
    }
    return may_pack && _PyRefMap_Pack_lock_held(map, block, REFMAP_FEW_SLOTS);
}

/* A block is about to need a lane. */
static void
refmap_make_room_lock_held(refmap_state_t *map)
{
    if (map->rest > 0) {
        map->rest--;
        return;
    }
    size_t few = REFMAP_FEW_LOOSE(map->nblocks);
    for (int n = 0; n < REFMAP_VISITS && map->nloose > few; n++) {
        int may_pack = map->nloose > few + map->patience / REFMAP_HALVES;
        map->fruitless = refmap_visit_lock_held(map, may_pack)
                         ? 0 : map->fruitless + 1;
    }
    // Each was visited twice: once to take it out of the lookaside.
    if (map->fruitless > 2 * map->nloose) {
        map->fruitless = 0;
        map->rest = map->nloose / 2;
    }
}

void
_PyRefMap_Sweep(void)
{
    refmap_state_t *map = refmap_current_map();
    refmap_lock(map);
    for (size_t n = map->nloose; n > 0; n--) {
        (void)refmap_visit_lock_held(map, 1);
    }
    refmap_unlock(map);
}

/* A packed block was touched. */
static void
refmap_be_patient(refmap_state_t *map)
{
    // All blocks may be loose: more patience would only be forgotten later.
    size_t most = map->nblocks * REFMAP_HALVES;
    map->patience = Py_MIN(map->patience + REFMAP_PATIENCE_OF_UNPACK, most);
}


/* --- blocks that are touched -------------------------------------------------- */

/* Find a place in map->blocks: an index, or SIZE_MAX on out of memory.
   `holes` has room for every index, so that giving back never allocates. */
static size_t
refmap_place_lock_held(refmap_state_t *map)
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
refmap_create_lock_held(refmap_state_t *map, uintptr_t page)
{
    refmap_block_t *block = _PyRefMap_NewBlock(map, page);
    if (block == NULL) {
        return NULL;
    }
    block->index = SIZE_MAX;
    if (_PyRefMap_TakeLane_lock_held(map, block) == 0) {
        block->index = refmap_place_lock_held(map);
    }
    if (block->index == SIZE_MAX) {
        _PyRefMap_FreeBlock_lock_held(map, block);
        return NULL;
    }
    map->blocks[block->index] = NULL;
    if (_PyRefMap_AddToTable_lock_held(map, block) < 0) {
        map->holes[map->nholes++] = block->index;
        _PyRefMap_FreeBlock_lock_held(map, block);
        return NULL;
    }
    map->blocks[block->index] = block;
    map->nblocks++;
    map->patience -= map->patience > 0;
    _PyRefMap_AddLoose_lock_held(map, block);
    return block;
}

refmap_block_t *
_PyRefMap_WritableBlock(refmap_state_t *map, uintptr_t address)
{
    uintptr_t page = refmap_page(address);
    refmap_block_t *block = _PyRefMap_Lookaside(map, page);
    if (block != NULL) {
        return block;
    }
    refmap_lock(map);
    _PyRefMap_SettleOrphans_lock_held(map, REFMAP_SETTLE);
    block = _PyRefMap_Find(map, page);
    int is_packed = block != NULL && block->packed != NULL;
    if (block == NULL || is_packed) {
        refmap_make_room_lock_held(map);
    }
    if (is_packed) {
        refmap_be_patient(map);
    }
    if (block == NULL) {
        block = refmap_create_lock_held(map, page);
    }
    else if (refmap_is_shared(map, block)) {
        block = _PyRefMap_Unshare_lock_held(map, block);
    }
    if (block != NULL && block->packed != NULL) {
        (void)_PyRefMap_Unpack_lock_held(map, block, block);
    }
    if (block != NULL && block->packed == NULL) {
        _PyRefMap_Remember_lock_held(map, block);
    }
    refmap_unlock(map);
    return block;
}

#endif  // Py_REFCOUNT_MAP
