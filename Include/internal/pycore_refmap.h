/* The refcount map: PyObject* -> reference count, kept exactly.

   An address is split like this (64-bit platforms only):

     63      48 47                         12 11        4 3    0
    +----------+-----------------------------+-----------+------+
    |    0     |         page number         | slot index|  any |
    +----------+-----------------------------+-----------+------+

   A *block* has the 256 *slots* of one 4 KiB page; a slot is the count and
   the birth of the object that starts in 16 bytes of memory.  No two objects
   start in the same 16 bytes, because an object is at least that large.  How
   slots lie in memory is told by cpython/refmap.h.

   The blocks of a map are the items of a uthash table keyed by page number,
   and that table is the authority.  In front of it stands the *lookaside*: a
   sparse *directory* with an entry for each page there can be.  An entry is
   either 0 or leads to the block of its page *in a state in which the hot path
   may write to it*.  Taking a snapshot empties the lookaside; the next touch
   of a page misses, finds that the block is shared with a snapshot, and copies
   it.  The hot path itself is in cpython/refmap.h.

   A block that is not touched for long is *packed*: it keeps only the slots in
   use, is not in the lookaside, and is unpacked by the next touch.  Others are
   *loose*.  What only snapshots have of a page is packed, too.

   Layers (each uses only those above it):
     Objects/refmap_memory.c    memory of the maps
     Objects/refmap.c           map, births, totals, names of types
     Objects/refmap_snapshot.c  snapshots, diffs, verification: C records
     Python/refmap_sys.c        sys.refmap_*(), the dump at exit
*/
#ifndef Py_INTERNAL_REFMAP_H
#define Py_INTERNAL_REFMAP_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#ifdef Py_REFCOUNT_MAP

#include <stddef.h>
#include <stdint.h>
#include "pycore_lock.h"          // PyMutex
#include "cpython/refmap.h"       // _PyRefMap_TryNew()

#ifndef Py_REF_DEBUG
#  error "Py_REFCOUNT_MAP requires Py_REF_DEBUG: the map is checked against the total"
#endif

#define REFMAP_SLOTS (1 << (REFMAP_PAGE_BITS - REFMAP_SLOT_BITS))

/* A slot, as it is read and written where time does not matter. */
typedef struct {
    uint32_t count;     // 0: no object starts here; see refmap_count()
    uint32_t birth;     // set by _Py_NewReference(); stale while count == 0
} refmap_slot_t;

/* The count of a slot. A decref too many makes it negative, but CPython counts
   up to 2^32 - 1: what is above 2^32 - 2^24 is taken for negative, so that the
   hot path need not look for an overflow. */
static inline Py_ssize_t
refmap_count(const refmap_slot_t *slot)
{
    return slot->count < 0xff000000u ? (Py_ssize_t)slot->count
                                     : (Py_ssize_t)(int32_t)slot->count;
}

/* The identifier of a type's name in one map; see _PyRefMap_TypeName(). */
typedef uint32_t refmap_type_t;
#define REFMAP_TYPE_UNKNOWN 0    // "?": the memory could not be proved alive
#define REFMAP_TYPE_KEYS 1       // "dict keys"

struct _refmap_block;
typedef struct _refmap_block refmap_block_t;

typedef struct _refmap_state refmap_state_t;
typedef struct _refmap_snapshot refmap_snapshot_t;

/* Memory that was freed, or an object that was born anew, while references
   to it were still counted. */
typedef struct {
    uintptr_t address;
    refmap_type_t type;
    Py_ssize_t count;
} refmap_finding_t;

/* --- hooks: called from the rest of the interpreter ------------------- */

/* Each moves the reference total of the current interpreter and the count of
   `op` by the same amount. `op` is not dereferenced. _PyRefMap_Incref() and
   _PyRefMap_Decref() are declared in cpython/refmap.h.
   `tstate` is the attached thread state, which _PyRefMap_Attach() has noted. */
// Exported for the _testrefmap extension
PyAPI_FUNC(void) _PyRefMap_Add(PyThreadState *tstate, void *op, Py_ssize_t n);
/* The same, for a PyDictKeysObject that is born with one reference. */
extern void _PyRefMap_NewKeys(PyThreadState *tstate, void *keys);
/* In obmalloc.c: PyObject_Free() of memory in which no object starts. */
extern void _PyRefMap_FreeMemory(void *ptr);
/* Take the slot of `ptr` out of the map around a realloc(), and put it back
   at `ptr` (the new address, or the old one if realloc() failed).
   The caller holds the slot in between. */
extern refmap_slot_t _PyRefMap_Take(void *ptr);
extern void _PyRefMap_Put(void *ptr, refmap_slot_t slot);
/* `op` was immortal and is mortal again with `refcnt` references. */
extern void _PyRefMap_SetMortal(PyObject *op, Py_ssize_t refcnt);
/* References that no object is known for; the total has been moved. */
extern void _PyRefMap_Unattributed(PyThreadState *tstate, Py_ssize_t n);

/* The hot path is in cpython/refmap.h; these are for when it ends. */
extern void _PyRefMap_New(PyObject *op);
extern void _PyRefMap_FreeSlow(void *ptr);
extern void _PyRefMap_DeallocSlow(PyObject *op);

/* `op` is born: one reference, a new birth. Return 0, and do nothing, where the
   hot path ends. */
static inline REFMAP_INLINE int
_PyRefMap_TryNewObject(PyObject *op)
{
    return _PyRefMap_TryNew(op, 0);
}

static inline REFMAP_INLINE void
_PyRefMap_NewReference(PyThreadState *Py_UNUSED(tstate), PyObject *op)
{
    if (!_PyRefMap_TryNewObject(op)) {
        _PyRefMap_New(op);
    }
}

/* `op` dies: references still counted become unattributed. */
static inline REFMAP_INLINE void
_PyRefMap_Dealloc(PyObject *op)
{
    if (__builtin_expect(_PyRefMap_MayBeCounted(op), 0)) {
        _PyRefMap_DeallocSlow(op);
    }
}

/* Take the last reference from `op` and the total, and see that no more are
   counted. Not inlined: where an object dies the evaluation loop is better off
   small. */
extern void _PyRefMap_Last(PyObject *op);

/* The memory at `ptr` (NULL allowed) is given back; references still counted
   there are a finding and become unattributed. */
static inline REFMAP_INLINE void
_PyRefMap_Free(void *ptr)
{
    if (__builtin_expect(_PyRefMap_MayBeCounted(ptr), 0)) {
        _PyRefMap_FreeSlow(ptr);
    }
}

/* --- life of a map ---------------------------------------------------- */

/* `tstate` is attached to the calling thread; NULL: none is any more. */
extern void _PyRefMap_Attach(PyThreadState *tstate);
/* Let `interp` use the map of the main GIL. An error if there is no address
   space for it. */
extern PyStatus _PyRefMap_InitInterp(PyInterpreterState *interp);
/* Give `interp` a map of its own. Return -1 on out of memory. */
extern int _PyRefMap_InitOwnGIL(PyInterpreterState *interp);
/* `interp` goes away: a map of its own is closed, and what is counted in it
   becomes unattributed in the main one. */
extern void _PyRefMap_FiniInterp(PyInterpreterState *interp);
/* What _PyRefMap_hot adds to the total of `interp`. All interpreters that use
   the map of the main GIL count on behalf of the main interpreter. */
extern Py_ssize_t _PyRefMap_HotTotal(PyInterpreterState *interp);
/* In object.c: the part of sys.gettotalrefcount() of no interpreter. */
extern Py_ssize_t _PyRefMap_LeftTotal(void);
/* _Py_FinalizeRefTotal() counts the legacy total once more. */
extern void _PyRefMap_FinalizeTotal(Py_ssize_t legacy);
/* In the child of a fork(): only the calling thread is left. */
extern void _PyRefMap_AfterFork(void);

/* --- reading ----------------------------------------------------------- */

typedef struct {
    Py_ssize_t mapped;          // sum of all slots
    Py_ssize_t unattributed;    // references that no object is known for
    Py_ssize_t total;           // sys.gettotalrefcount() at the same instant
    Py_ssize_t objects;         // slots with a count
    Py_ssize_t blocks;          // pages with a block, snapshots left aside
    Py_ssize_t bytes;           // memory of the maps, snapshots included
    Py_ssize_t untracked;       // times that memory for a block was missing
} refmap_info_t;

/* Sums over all maps of the process. Exact as long as no interpreter with a
   GIL of its own runs meanwhile. */
extern void _PyRefMap_GetInfo(refmap_info_t *info);
/* The count of `op` in the current interpreter's map, 0 if it has none. */
extern Py_ssize_t _PyRefMap_Count(void *op);
/* The name behind an identifier. Lives as long as the map. */
extern const char *_PyRefMap_TypeName(refmap_state_t *map, refmap_type_t type);
/* The map of the main GIL, which lives as long as the process. */
extern refmap_state_t *_PyRefMap_Main(void);

/* An object as a diff, a verification or a dump speaks of it. */
typedef struct {
    uintptr_t address;
    const char *type;           // borrowed from the map
    uint32_t birth;
    Py_ssize_t before;          // verification: the map's count
    Py_ssize_t after;           // verification: ob_refcnt
} refmap_record_t;

/* A growing array of records in raw memory. Zero-initialise, then
   _PyRefMap_ClearRecords(). */
typedef struct {
    refmap_record_t *items;
    size_t len;
    size_t allocated;
} refmap_records_t;

extern void _PyRefMap_ClearRecords(refmap_records_t *records);

/* Take a snapshot of the current interpreter's map.
   A new reference, or NULL on out of memory; no exception is set. */
extern refmap_snapshot_t *_PyRefMap_Snapshot(void);
extern refmap_snapshot_t *_PyRefMap_SnapshotIncref(refmap_snapshot_t *);
/* NULL is allowed. The last reference frees the snapshot. The caller runs in
   an interpreter that uses the snapshot's map. */
extern void _PyRefMap_SnapshotDecref(refmap_snapshot_t *);

typedef struct {
    refmap_records_t living;    // alive in `after`, with another count before
    refmap_records_t died;      // alive in `before`, gone in `after`
    refmap_records_t freed;     // findings in between; .before references
    Py_ssize_t unattributed;    // change of the unattributed references
    Py_ssize_t own;             // change of the references to refmap's objects
    Py_ssize_t total;           // change of the total, `own` left aside
    Py_ssize_t lost;            // pages that an out of memory tore from a snapshot
} refmap_diff_t;

/* Fill `diff` with what changed between two snapshots of one map, in either
   order; the records are sorted by size of the change, type and address.
   Return -1 on out of memory, -2 if they are of different maps.
   Zero-initialise, then _PyRefMap_ClearDiff(). */
extern int _PyRefMap_Diff(refmap_snapshot_t *before, refmap_snapshot_t *after,
                          refmap_diff_t *diff);
extern void _PyRefMap_ClearDiff(refmap_diff_t *diff);

/* Append the live mortal objects whose count differs from their ob_refcnt.
   Return -1 on out of memory. */
extern int _PyRefMap_Verify(refmap_state_t *map, refmap_records_t *records);
/* Append all objects that have a count. Return -1 on out of memory. */
extern int _PyRefMap_List(refmap_state_t *map, refmap_records_t *records);

/* Read the names of the types of all objects, and believe them from now on: at
   exit, the strings go before the types that leaked. */
extern void _PyRefMap_KeepTypes(refmap_state_t *map);

/* Tests only: let the next `n` allocations of the maps succeed and those
   after them fail; -1 turns that off.
   Exported for the _testrefmap extension. */
PyAPI_FUNC(void) _PyRefMap_LimitAllocations(Py_ssize_t n);

/* Tests only: visit all blocks of the current map as if many others had been
   created. The second visit packs what was not touched since the first.
   Exported for the _testrefmap extension. */
PyAPI_FUNC(void) _PyRefMap_Sweep(void);

/* The living object at `address`, borrowed; NULL unless the map and the memory
   agree that there is one. */
extern PyObject *_PyRefMap_ObjectAt(uintptr_t address);

/* The snapshot that sys.refmap_diff() compares with: borrowed, NULL if none. */
extern refmap_snapshot_t *_PyRefMap_Baseline(void);
/* Keep `snapshot` as the baseline; NULL forgets it. Takes a reference. */
extern void _PyRefMap_SetBaseline(refmap_snapshot_t *snapshot);
/* Mark a just created object as one of refmap's own: its birth is no part of
   the total, and no diff shows it. */
extern void _PyRefMap_Own(PyObject *op);
/* To be called when that object is deallocated. */
extern void _PyRefMap_Disown(PyObject *op);
/* Let no diff show further references to `op`. */
extern void _PyRefMap_Hide(PyObject *op);

/* --- Python/refmap_sys.c ------------------------------------------------ */

/* Add sys.refmap_*(). Return -1 with an exception set. */
extern int _PyRefMap_InitSys(PyInterpreterState *interp, PyObject *sysmod);
extern void _PyRefMap_FiniSys(PyInterpreterState *interp);
/* Take the value of -X refmap=VALUE and of PYTHONREFMAPDUMP; each is NULL when
   absent. */
extern PyStatus _PyRefMap_ReadConfig(const wchar_t *xoption, const char *env);
/* Print what is left at the very end of Py_FinalizeEx(): per type if
   `per_type`, and each object if a dump was asked for. */
extern void _PyRefMap_AtExit(int per_type);

#else  // !Py_REFCOUNT_MAP

/* So that the hooks need no #ifdef. */
#  define _PyRefMap_Attach(tstate) ((void)0)
#  define _PyRefMap_Dealloc(op) ((void)0)
#  define _PyRefMap_Free(ptr) ((void)0)
#  define _PyRefMap_FreeMemory(ptr) PyObject_Free(ptr)
#  define _PyRefMap_HotTotal(interp) 0
#  define _PyRefMap_SetMortal(op, refcnt) ((void)0)
#  define _PyRefMap_Unattributed(tstate, n) ((void)0)
#  define _PyRefMap_FiniInterp(interp) ((void)0)
#  define _PyRefMap_FinalizeTotal(legacy) ((void)0)
#  define _PyRefMap_AfterFork() ((void)0)
#  define _PyRefMap_FiniSys(interp) ((void)0)
#  define _PyRefMap_AtExit(per_type) ((void)0)

#endif  // Py_REFCOUNT_MAP

#ifdef __cplusplus
}
#endif
#endif  // !Py_INTERNAL_REFMAP_H
