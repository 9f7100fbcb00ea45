/* What the refcount map tells: counts, sums, snapshots, diffs. Results are plain C
   records in raw memory; no Python object is created. */
#ifndef Py_INTERNAL_REFMAP_QUERY_H
#define Py_INTERNAL_REFMAP_QUERY_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#include "pycore_refmap.h"        // refmap_state_t

#ifdef Py_REFCOUNT_MAP

/* The identifier of a type's name in one map; see _PyRefMap_TypeName(). */
typedef uint32_t refmap_type_t;
#define REFMAP_TYPE_UNKNOWN 0    // "?": the memory could not be proved alive
#define REFMAP_TYPE_KEYS 1       // "dict keys"

typedef struct _refmap_snapshot refmap_snapshot_t;

/* --- sums -------------------------------------------------------------------- */

typedef struct {
    Py_ssize_t mapped;          // sum of all slots
    Py_ssize_t unattributed;    // references that no object is known for
    Py_ssize_t total;           // sys.gettotalrefcount() at the same instant
    Py_ssize_t objects;         // slots with a count
    Py_ssize_t blocks;          // pages with a block, snapshots left aside
    Py_ssize_t bytes;           // memory of all maps, snapshots included
    Py_ssize_t untracked;       // times that memory for a block was missing
    Py_ssize_t overflowed;      // references that no count had room for
} refmap_info_t;

/* Sums over all maps of the process. Exact unless an interpreter with a
   GIL of its own runs meanwhile: then they are of instants that differ. */
extern void _PyRefMap_GetInfo(refmap_info_t *info);
/* The map of the current interpreter alone; `total` is that of the interpreters
   that use it. Always exact. */
extern void _PyRefMap_GetOwnInfo(refmap_info_t *info);
/* The count of `op` in the current interpreter's map, 0 if it has none. */
extern Py_ssize_t _PyRefMap_Count(void *op);
/* The serial number of the birth of what lives at `address` in that map, an object or
   the table of a dict; 0 if none is known: nothing lives there, or it has no birth.
   `address` may be any number. */
extern uint32_t _PyRefMap_BirthAt(uintptr_t address);
/* The name behind an identifier, printable UTF-8. Lives as long as the map. */
extern const char *_PyRefMap_TypeName(refmap_state_t *map, refmap_type_t type);
/* The map of the main GIL, which lives as long as the process. */
extern refmap_state_t *_PyRefMap_Main(void);

/* --- records ------------------------------------------------------------------- */

/* An object as a diff, a verification or a dump speaks of it. */
typedef struct {
    uintptr_t address;
    const char *type;           // borrowed from the map
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
/* Return -1, and change nothing, on out of memory. */
extern int _PyRefMap_AppendRecord(refmap_records_t *records,
                                  refmap_record_t record);
/* By size of the change, type and address. */
extern void _PyRefMap_SortRecords(refmap_records_t *records);

/* --- snapshots ------------------------------------------------------------------- */

/* Take a snapshot of the current interpreter's map.
   A new reference, or NULL on out of memory; no exception is set. */
extern refmap_snapshot_t *_PyRefMap_Snapshot(void);
/* The same with true counts: of each living object its ob_refcnt, as far as it is
   known to live. An immortal object has 1. */
extern refmap_snapshot_t *_PyRefMap_ActualSnapshot(void);
/* Has it true counts? */
extern int _PyRefMap_IsActual(const refmap_snapshot_t *);
extern refmap_snapshot_t *_PyRefMap_SnapshotIncref(refmap_snapshot_t *);
/* NULL is allowed. The last reference frees the snapshot; most of what only it
   had is freed later, a little whenever a page is touched. The caller runs in
   an interpreter that uses the snapshot's map. */
extern void _PyRefMap_SnapshotDecref(refmap_snapshot_t *);

/* The snapshot that sys.refmap_diff() compares with: borrowed, NULL if none. */
extern refmap_snapshot_t *_PyRefMap_Baseline(void);
/* Keep `snapshot` as the baseline; NULL forgets it. Takes a reference. */
extern void _PyRefMap_SetBaseline(refmap_snapshot_t *snapshot);

/* --- diffs -------------------------------------------------------------------------- */

typedef struct {
    refmap_records_t living;    // alive in `after`, with another count before
    refmap_records_t died;      // alive in `before`, gone in `after`
    refmap_records_t freed;     // findings in between; .before references
    Py_ssize_t unattributed;    // change of the unattributed references
    Py_ssize_t own;             // change of the references to refmap's objects
    Py_ssize_t total;           // change of the total, `own` left aside
    Py_ssize_t lost;            // pages that an out of memory tore from a snapshot
    char actual;                // by true counts: none is unattributed, and the total is
                                // the sum of what changed
} refmap_diff_t;

/* Fill `diff` with what changed between two snapshots of one map, in either
   order; the records are sorted by size of the change, type and address.
   Return -1 on out of memory, -2 if they are of different maps, -3 if one has true
   counts and the other one has not.
   Zero-initialise, then _PyRefMap_ClearDiff(). */
extern int _PyRefMap_Diff(refmap_snapshot_t *before, refmap_snapshot_t *after,
                          refmap_diff_t *diff);
/* The same by the counts in the map, which all snapshots have. Never -3. */
extern int _PyRefMap_DiffMapped(refmap_snapshot_t *before, refmap_snapshot_t *after,
                                refmap_diff_t *diff);
extern void _PyRefMap_ClearDiff(refmap_diff_t *diff);

/* The lines of a report, for PyUnicode_FromFormat() and fprintf() alike. */
#define REFMAP_LIVING_LINE "ref change of living %p (%s): %zd,  %zd -> %zd\n"
#define REFMAP_DIED_LINE "ref change of died   %p (%s): %zd\n"
#define REFMAP_FREED_LINE "freed with %zd reference%s %p (%s)\n"
#define REFMAP_UNATTRIBUTED_LINE "ref change of unattributed: %zd\n"
#define REFMAP_LOST_LINE \
    "not exact: memory was short, %zu pages are not compared\n"
#define REFMAP_TOTAL_LINE "total ref change %zd"

/* --- the whole map --------------------------------------------------------------------- */

/* Append the live mortal objects whose count differs from their ob_refcnt.
   Return -1 on out of memory. */
extern int _PyRefMap_Verify(refmap_state_t *map, refmap_records_t *records);
/* Append all objects that have a count. Return -1 on out of memory. */
extern int _PyRefMap_List(refmap_state_t *map, refmap_records_t *records);
/* The living object at `address`, borrowed; NULL unless the map and the memory
   agree that there is one. */
extern PyObject *_PyRefMap_ObjectAt(uintptr_t address);
/* Fill `record` with what is at `address`, which may be any number: the count in
   `before`, ob_refcnt in `after`. Return 0 if it is no living object that the map knows,
   nor an immortal one. */
extern int _PyRefMap_LookAt(uintptr_t address, refmap_record_t *record);
/* Read the names of the types of all objects, and believe them from now on: at
   exit, the strings go before the types that leaked. */
extern void _PyRefMap_KeepTypes(refmap_state_t *map);

/* --- owners ------------------------------------------------------------------------------ */

/* What is told of an object by its flags. */
#define REFMAP_OBJECT_ALIVE 1       // the map and the memory agree that it is there
#define REFMAP_OBJECT_GC 2          // the garbage collector may have it
#define REFMAP_OBJECT_TRACKED 4     // the garbage collector has it
#define REFMAP_OBJECT_KEYS 8        // a dict keys table; it has no type

/* Whose owners are wanted. */
typedef struct {
    uintptr_t address;
    uintptr_t type;             // ob_type
    Py_ssize_t count;           // by the map
    Py_ssize_t refcnt;          // ob_refcnt
    Py_ssize_t visits;          // references that are visited; see owners.c
    Py_ssize_t hidden;          // words beyond those that their owners visit
    size_t nowners;             // how many have a reference or a word
    int flags;
} refmap_target_t;

typedef enum {
    REFMAP_OWNER_OBJECT,        // a living object
    REFMAP_OWNER_STATIC,        // static data of a module: the address of the word
    REFMAP_OWNER_THREAD,        // a thread: the address of a running frame's code
} refmap_owner_kind_t;

/* Where a word is: at the first offset from the owner, or else the word there points to
   a block, and the next offset is within that. In the frame of a thread it is the
   index of a local variable; -1: none. */
#define REFMAP_PATH_LEN 3
typedef struct {
    int len;
    Py_ssize_t offsets[REFMAP_PATH_LEN];
} refmap_path_t;

#define REFMAP_OWNER_PATHS 4
typedef struct {
    size_t target;              // its index
    refmap_owner_kind_t kind;
    uintptr_t address;          // 0: of a thread, what is in none of its frames
    uintptr_t type;             // ob_type of an object
    int flags;                  // of an object
    Py_ssize_t visits;
    Py_ssize_t words;           // all, of which paths[] has the first
    int npaths;
    refmap_path_t paths[REFMAP_OWNER_PATHS];
} refmap_owner_t;

typedef struct {
    refmap_target_t *targets;   // in the order of the addresses
    size_t ntargets;
    refmap_owner_t *owners;
    size_t len;
    size_t allocated;
    size_t left_out;            // owners that are too many to be listed
    size_t skipped;             // blocks that were too much to be looked into
} refmap_owners_t;

/* Find who owns the living objects at `n` addresses, each named once, in the map of the
   current interpreter, in one pass over all of its objects. An address where none lives
   has no flags. Return -1 on out of memory.
   Zero-initialise, then _PyRefMap_ClearOwners(). */
extern int _PyRefMap_Owners(const uintptr_t *addresses, size_t n,
                            refmap_owners_t *owners);
extern void _PyRefMap_ClearOwners(refmap_owners_t *owners);
/* Memory that no allocator of Python sees, for who talks to the functions above. NULL
   on out of memory. `size` is the same for both. */
extern void *_PyRefMap_Malloc(size_t size);
extern void _PyRefMap_RawFree(void *ptr, size_t size);
/* A copy of a string, of its first `most` bytes at most; NULL on out of memory. */
extern char *_PyRefMap_CopyString(const char *text, size_t most);
/* NULL is allowed. */
extern void _PyRefMap_FreeString(char *copy);

/* --- refmap's own objects ---------------------------------------------------------------- */

/* Mark a just created object as one of refmap's own: its birth is no part of
   the total, and no diff shows it. */
extern void _PyRefMap_Own(PyObject *op);
/* To be called when that object is deallocated. */
extern void _PyRefMap_Disown(PyObject *op);
/* Let no diff show further references to `op`.
   Exported for the _testrefmap extension. */
PyAPI_FUNC(void) _PyRefMap_Hide(PyObject *op);

/* --- the end -------------------------------------------------------------------------- */

/* Who has something to do when a fatal signal (SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT)
   ends the process. */
enum { REFMAP_FATAL_WORDS, REFMAP_FATAL_LOG, REFMAP_FATAL_WHOS };
/* Call `action`, which must be safe in handlers of signals, before the signal does what it
   would have done; NULL: no more. The caller holds a GIL. */
extern void _PyRefMap_OnFatalSignal(int who, void (*action)(void));

#endif  // Py_REFCOUNT_MAP

#ifdef __cplusplus
}
#endif
#endif  // !Py_INTERNAL_REFMAP_QUERY_H
