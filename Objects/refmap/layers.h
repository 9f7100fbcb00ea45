/* What the files of Objects/refmap/ offer each other, from the bottom to the top.
   A file calls only what stands above its own part here; the test
   Tools/refmap/tests/check-layers looks for that in the object files, and takes the
   order from the headings below.

   `_lock_held`: the caller holds the mutex of the map. */
#ifndef Py_REFMAP_LAYERS_H
#define Py_REFMAP_LAYERS_H

#include "state.h"
#include "slot.h"

/* --- layout.c: what gdb reads --------------------------------------------- */

/* --- memory.c: the memory of the maps -------------------------------------- */

/* Memory that no allocator of Python sees, nor malloc(); aligned to 16 bytes at
   least. NULL on out of memory. May be called by any thread, attached or not.
   `size`: in bytes, the same for both. */
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

/* --- fatal.c: what is done when a fatal signal comes --------------------------- */

/* --- text.c: text in memory of our own -------------------------------------------- */

/* Copy text as UTF-8, as much of it as fits into `size` bytes, without the cache of the
   object, which would have to be allocated. Return how many bytes that are; 0 for what is
   no str, or NULL. */
extern size_t _PyRefMap_CopyText(PyObject *text, char *utf8, size_t size);

/* --- lookaside.c: from a page to its block, fast ---------------------------- */

/* Give `map` its hot part. Return -1 if there is no address space. */
extern int _PyRefMap_ReserveHot(refmap_state_t *map, int want_writable);
extern void _PyRefMap_ReleaseHot(refmap_state_t *map);
/* The block of `page` if the lookaside has it, or NULL. `page` may be any
   number, even of garbage. */
extern refmap_block_t *_PyRefMap_Lookaside(const refmap_state_t *map,
                                           uintptr_t page);
/* Let the hot path find `block`, which is loose and not shared. Out of memory only
   makes it slower. */
extern void _PyRefMap_Remember_lock_held(refmap_state_t *map,
                                         refmap_block_t *block);
extern void _PyRefMap_Forget(refmap_state_t *map, uintptr_t page);
/* Empty the lookaside, so that each page's next touch is noticed. */
extern void _PyRefMap_ForgetAll_lock_held(refmap_state_t *map);
/* Keep the lookaside empty, so that each hook takes the slow path, or use it again. */
extern void _PyRefMap_Bypass_lock_held(refmap_state_t *map, int on);
/* Bytes of the directory that may have been written to. */
extern Py_ssize_t _PyRefMap_DirectoryBytes(const refmap_state_t *map);

/* --- block.c: blocks, and how they are packed -------------------------------- */

/* A block of `page` that has no slots yet; NULL on out of memory. */
extern refmap_block_t *_PyRefMap_NewBlock(refmap_state_t *map, uintptr_t page);
extern void _PyRefMap_FreeBlock_lock_held(refmap_state_t *map,
                                          refmap_block_t *block);
/* Give `block` a lane, all zero. Return -1 on out of memory. */
extern int _PyRefMap_TakeLane_lock_held(refmap_state_t *map,
                                        refmap_block_t *block);
extern void _PyRefMap_AddLoose_lock_held(refmap_state_t *map,
                                         refmap_block_t *block);
extern void _PyRefMap_RemoveLoose_lock_held(refmap_state_t *map,
                                            refmap_block_t *block);
/* Note which slots of a block that is loose are in use, a bit for each, and return how
   many; more than `limit`, and not all noted, if that is exceeded. What is left of the
   birth of a dead object stays in use: it may resurrect. The block is not in the
   lookaside: until it is, only the lines in use are looked at again. */
extern size_t _PyRefMap_UsedSlots(refmap_block_t *block, size_t limit,
                                  uint64_t used[REFMAP_SLOTS / 64]);
/* Pack `block` if at most `limit` slots are in use. Return 0 if it is not packed
   then, for lack of memory, too. */
extern int _PyRefMap_Pack_lock_held(refmap_state_t *map, refmap_block_t *block,
                                    size_t limit);
/* Give the packed slots of `from` to `to`, which has none; they may be the same.
   Return -1, and change nothing, on out of memory. */
extern int _PyRefMap_Unpack_lock_held(refmap_state_t *map, refmap_block_t *to,
                                      refmap_block_t *from);
/* Give the slots of `from` to `to`, which has none; `from` keeps them packed.
   Return -1, and change nothing, on out of memory. */
extern int _PyRefMap_CopySlots_lock_held(refmap_state_t *map,
                                         refmap_block_t *from,
                                         refmap_block_t *to);
/* Is nothing known of the page, neither a count nor a birth? */
extern int _PyRefMap_IsEmpty(const refmap_block_t *block);
/* The current block of `page`, or NULL. */
extern refmap_block_t *_PyRefMap_Find(refmap_state_t *map, uintptr_t page);
/* Add a block to the table. Return -1 on out of memory. */
extern int _PyRefMap_AddToTable_lock_held(refmap_state_t *map,
                                          refmap_block_t *block);
extern void _PyRefMap_RemoveFromTable_lock_held(refmap_state_t *map,
                                                refmap_block_t *block);

/* The slot of an address as it is now; nothing if there is none. `map` may be
   NULL. */
static inline refmap_slot_t
refmap_look(refmap_state_t *map, uintptr_t address)
{
    refmap_slot_t nothing = {0};
    refmap_block_t *block = map != NULL
                            ? _PyRefMap_Find(map, refmap_page(address)) : NULL;
    if (block == NULL) {
        return nothing;
    }
    refmap_slot_t slot = refmap_get(block, refmap_slot_index(address));
    return slot.is_odd == ((address & 8) != 0) ? slot : nothing;
}

/* The serial number of the birth of the object that lives at an address; 0: none. */
static inline uint32_t
_PyRefMap_LivingBirth(uintptr_t address)
{
    return refmap_living_birth(refmap_look(refmap_current_map(), address))
           & REFMAP_BIRTH_SERIAL;
}

/* --- read.c: memory that may be gone ----------------------------------------- */

/* Where the memory of one page is copied to before it is looked at. */
typedef struct {
    char bytes[REFMAP_PAGE_SIZE + 8];
    int readable;
} refmap_copy_t;

/* Copy `size` bytes from `address`; return 0, or -1 if they can't be read. */
extern int _PyRefMap_Read(uintptr_t address, void *buffer, size_t size);
/* Copy the page of a block. */
extern void _PyRefMap_ReadPage(const refmap_block_t *block, refmap_copy_t *copy);
/* The word at an address within the page that was copied. */
extern uintptr_t _PyRefMap_CopiedWord(const refmap_copy_t *copy,
                                      const refmap_block_t *block,
                                      uintptr_t address);

/* --- types.c: names of types -------------------------------------------------- */

typedef struct {
    uintptr_t address;
    refmap_type_t type;
    Py_ssize_t refcnt;          // ob_refcnt; -1 if the memory can't be read
} refmap_object_t;

/* Find out what is in slot `i`, which is `slot` and is living. */
extern void _PyRefMap_ReadSlot(refmap_state_t *map, const refmap_block_t *block,
        size_t i, refmap_slot_t slot, const refmap_copy_t *copy,
        refmap_object_t *object);
/* The type at an address, which may be garbage: then REFMAP_TYPE_UNKNOWN. */
extern refmap_type_t _PyRefMap_TypeAt(refmap_state_t *map, uintptr_t address);
/* Read the names of types anew: one may have been renamed. */
extern void _PyRefMap_ForgetTypes(refmap_state_t *map);
extern void _PyRefMap_FreeNames(refmap_state_t *map);

/* --- totals.c: sums of references ---------------------------------------------- */

/* At one instant: the references of the interpreters that use `map`, and those that
   belong to no object, refmap's own births left aside; with what is left of closed
   interpreters if it is the main map. */
extern void _PyRefMap_Sums(refmap_state_t *map, Py_ssize_t *total,
                           Py_ssize_t *unattributed);
/* Hold the lock of the list of maps, which the main one begins. */
extern void _PyRefMap_LockMaps(void);
extern void _PyRefMap_UnlockMaps(void);
extern void _PyRefMap_ReinitMapsLock(void);
/* Call `see` for each map; none comes or goes meanwhile. */
extern void _PyRefMap_EachMap(void (*see)(refmap_state_t *map, void *arg), void *arg);
/* References that belong to no object, nor to a map that is open. */
extern Py_ssize_t _PyRefMap_LeftUnattributed(void);
/* What was counted in a map that is closed. */
extern void _PyRefMap_LeaveUnattributed(Py_ssize_t n);
/* Tests may hold a thread up here; see pycore_refmap_test.h. */
extern void _PyRefMap_Pause(int where);

/* --- snapshot.c: snapshots, and what they share with the map -------------------- */

/* May `block` not be changed because a snapshot shares it? */
static inline int
refmap_is_shared(const refmap_state_t *map, const refmap_block_t *block)
{
    return map->newest != NULL && block->epoch <= map->newest->epoch;
}

/* Take `block` out of the map; snapshots keep what they share. */
extern void _PyRefMap_Retire_lock_held(refmap_state_t *map,
                                       refmap_block_t *block);
/* A block that may be changed in place of one that snapshots share. Out of memory
   tears the block out of them, and their diffs will say so. */
extern refmap_block_t *_PyRefMap_Unshare_lock_held(refmap_state_t *map,
                                                   refmap_block_t *block);
/* In bytes. */
static inline size_t
refmap_corrections_size(size_t len)
{
    return offsetof(refmap_corrections_t, items)
           + len * sizeof(refmap_correction_t);
}

/* How many items the corrections of a snapshot of so many blocks have. */
static inline size_t
refmap_ncorrections(size_t nblocks)
{
    return nblocks / REFMAP_TOGETHER + 1;
}

/* Settle up to `n` orphans. */
extern void _PyRefMap_SettleOrphans_lock_held(refmap_state_t *map, size_t n);
/* The map is closed: its snapshots have no blocks any more. */
extern void _PyRefMap_AbandonSnapshots(refmap_state_t *map);

/* --- workingset.c: which blocks there are, and which are packed ------------------- */

/* The block of `address`, not shared with snapshots and known to the lookaside.
   On out of memory it is NULL, or still packed. */
extern refmap_block_t *_PyRefMap_WritableBlock(refmap_state_t *map,
                                               uintptr_t address);
/* Give back all blocks that are empty. */
extern void _PyRefMap_Reclaim_lock_held(refmap_state_t *map);

/* Evidence about each reference, while it is wanted: see record.h for what these offer each
   other, and pycore_refmap_record.h for the rest. */
/* --- record_table.c: a table of addresses ---------------------------------------- */
/* --- record_mirror.c: the trampoline --------------------------------------------- */
/* --- record_unwind.c: how a function's caller is found ------------------------------ */
/* --- record_stack.c: C stacks ------------------------------------------------------ */
/* --- record_return.c: what functions return ------------------------------------------ */
/* --- record_tape.c: the records -------------------------------------------------------- */
/* --- record_shapes.c: what objects look like ------------------------------------------------ */
/* --- record_young.c: young memory ------------------------------------------------------------ */
/* --- record_positions.c: positions that are watched ------------------------------------------- */
/* --- record_places.c: places in memory ---------------------------------------------------- */
/* --- record_entry.c: entering the recorder, and its state ------------------------------------ */
/* --- record_search.c: where objects lie by now ------------------------------------------------- */
/* --- record_tokens.c: tokens and who holds them -------------------------------------------------- */
/* --- record_outcome.c: the end of an activation --------------------------------------------------- */
/* --- record_event.c: what every hook does ----------------------------------------------------------- */
/* --- record_blocks.c: memory blocks ------------------------------------------------------------------- */
/* --- record.c: the hooks of references ------------------------------------------------------------------ */

/* The event log, while there is one: see log.h for what these offer each other, and
   pycore_refmap_log.h for the rest. */
/* --- log_file.c: bytes, clocks, the file ------------------------------------------------------ */
/* --- log_names.c: types, code, places ----------------------------------------------------------- */
/* --- log_place.c: where the program is -------------------------------------------------------------- */
/* --- log_living.c: what lives when a log begins ---------------------------------------------------- */
/* --- log.c: the events ------------------------------------------------------------------------------ */
/* --- log_calls.c: calls, returns and lines ------------------------------------------------------------ */
/* --- log_switch.c: logs come and go ---------------------------------------------------------------------- */

/* `map` is about to be closed; the caller holds its GIL. */
extern void _PyRefMap_LogForgetMap(refmap_state_t *map);
/* A second map was linked to the first one just now. */
extern void _PyRefMap_LogBeforeMap(void);

/* --- hooks.c: what happens to references ------------------------------------------ */

/* --- maps.c: life of the maps ------------------------------------------------------ */

/* Bypass the lookasides of all maps, also of those that are opened meanwhile. */
extern void _PyRefMap_BypassAll(int on);

/* --- records.c: what is told of objects --------------------------------------------- */

/* --- diff.c: what changed between two snapshots --------------------------------------- */

/* --- verify.c: the map against the memory --------------------------------------------- */

/* --- record_switch.c: recording on and off --------------------------------------------- */
/* --- extents.c: memory blocks, and segments of modules ----------------------------------- */

/* Memory from an address on. */
typedef struct {
    uintptr_t start;
    size_t size;
    struct pool_header *pool;   // of pymalloc, if that has no debug hooks; or NULL
    int stays;                  // nobody gives it back without holding the GIL
} refmap_extent_t;

/* Is `address`, which may be any word, where a memory block starts as its allocator gave
   it out? If so, fill `extent`. The block may be free: see _PyRefMap_IsFree(). */
extern int _PyRefMap_BlockAt(PyInterpreterState *interp, uintptr_t address,
                             refmap_extent_t *extent);
/* Is this block of pymalloc free? */
extern int _PyRefMap_IsFree(const refmap_extent_t *extent);

typedef struct {
    uintptr_t start, end;
    int writable;               // and no data of the C library
} refmap_segment_t;

typedef struct {
    refmap_segment_t *items;    // in the order of their addresses
    size_t len;
    size_t allocated;
} refmap_segments_t;

/* The segments of the executable and of all shared objects; none where the system does
   not tell. Return -1 on out of memory. */
extern int _PyRefMap_Segments(refmap_segments_t *segments);
/* All memory that may be written to; none where the system does not tell. Return -1 on
   out of memory. */
extern int _PyRefMap_WritableMemory(refmap_segments_t *segments);
/* The one that `address` lies in, or NULL. */
extern const refmap_segment_t *_PyRefMap_FindSegment(const refmap_segments_t *segments,
                                                     uintptr_t address);
extern int _PyRefMap_InSegment(const refmap_segments_t *segments, uintptr_t address);
extern void _PyRefMap_ClearSegments(refmap_segments_t *segments);

/* --- actual.c: true counts ----------------------------------------------------------------- */

/* --- sweep.c: where the addresses of some objects are -------------------------------------- */

typedef struct _refmap_sweep refmap_sweep_t;    // see sweep.h

/* Get ready, the targets in the result being known. Return -1 on out of memory. */
extern int _PyRefMap_BeginSweep(refmap_sweep_t *s);
extern void _PyRefMap_EndSweep(refmap_sweep_t *s);
/* What is noted from now on belongs to this owner. `op` is the object, NULL if it is
   none. */
extern void _PyRefMap_BeginOwner(refmap_sweep_t *s, refmap_owner_kind_t kind,
                                 uintptr_t address, PyObject *op);
/* Add up what the owner has, and keep as many entries as the bounds allow. */
extern void _PyRefMap_EndOwner(refmap_sweep_t *s);
/* A word that holds target `index`; `path` leads to it. */
extern void _PyRefMap_NoteWord(refmap_sweep_t *s, size_t index,
                               const refmap_path_t *path);
/* A visitproc that counts; `arg` is the sweep. */
extern int _PyRefMap_NoteVisit(PyObject *op, void *arg);
/* Nobody is to look into the block at `address` any more. */
extern void _PyRefMap_Claim(refmap_sweep_t *s, uintptr_t address);
/* Is `word`, found where `path` leads to, in `extent`, a target? Does it lead to a
   block? */
extern void _PyRefMap_LookAtWord(refmap_sweep_t *s, uintptr_t word,
                                 const refmap_path_t *path,
                                 const refmap_extent_t *extent);
/* Look at the words of `extent`, which lies at `offset` from where `path` leads. */
extern void _PyRefMap_LookAtWords(refmap_sweep_t *s, const refmap_extent_t *extent,
                                  Py_ssize_t offset, refmap_path_t path);

/* --- owners.c: who owns an object ---------------------------------------------------------- */

#endif  // !Py_REFMAP_LAYERS_H
