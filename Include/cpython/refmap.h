/* What the refcount map knows, for C code that asks for it: counts, snapshots,
   diffs and verification, as sys.refmap_*() have them for Python.

   Include it by hand, after Python.h. These functions exist only in an interpreter
   that was configured --with-refcount-map: an extension that calls them does not
   load in any other. To be able to load everywhere, use refmap_debug.h.

       #include "Python.h"
       #ifdef Py_REFCOUNT_MAP
       #  include "cpython/refmap.h"
       #endif

   The caller holds the GIL. All of it is about the map of the calling interpreter,
   which those share that share its GIL. No function creates a Python object, runs Python
   code, touches a reference count, or sets or clears an exception. So they can be called
   wherever there is the GIL, on error paths too, and what they do is in no diff.

   A function that fails returns NULL, or a negative number of these: */
#ifndef Py_CPYTHON_REFMAP_H
#define Py_CPYTHON_REFMAP_H

#include <stdio.h>                // FILE

#if defined(Py_REFCOUNT_MAP) && !defined(Py_LIMITED_API)
#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    PyUnstable_RefMap_NO_MEMORY = -1,
    PyUnstable_RefMap_NO_GIL = -2,
    PyUnstable_RefMap_OTHER_MAP = -3,   // the snapshots are of different maps, or the
                                        // interpreter of one is gone
    PyUnstable_RefMap_NOT_WRITTEN = -4, // errno tells why
} PyUnstable_RefMap_Error;

/* A few words about an error, without a full stop. Never NULL, never to be freed. */
PyAPI_FUNC(const char *) PyUnstable_RefMap_ErrorText(int error);

/* --- counts -------------------------------------------------------------- */

/* How many references to `op` the map counts. A temporary reference of a caller is
   not added, as sys.refmap_count() does. An immortal object has the count that it
   had when it became immortal. `op` may be NULL or any address: 0 if no object is
   known there. */
PyAPI_FUNC(Py_ssize_t) PyUnstable_RefMap_Count(PyObject *op);

/* sys.gettotalrefcount(). Needs no GIL. */
PyAPI_FUNC(Py_ssize_t) PyUnstable_RefMap_Total(void);

/* Print 'N refs', N being the total, and a newline to `file`. The name and the line are
   those of a recipe of the Python Cookbook (67112), which many extensions have macros
   for; there the function had to be patched into CPython. */
PyAPI_FUNC(void) _Py_CountReferences(FILE *file);

/* Print what is known of an object on one line: its address, type, ob_refcnt, and
   the count of the map if that differs. No code of the object runs. `op` may be NULL
   or any address: it is never read unless the map and the memory agree that an object
   lives there. Return 1 if one lives there, else 0; without the GIL
   it is not looked at. */
PyAPI_FUNC(int) PyUnstable_RefMap_Describe(PyObject *op, FILE *file);

/* --- snapshots ----------------------------------------------------------- */

/* All reference counts at one instant. */
typedef struct _PyUnstable_RefMap_Snapshot PyUnstable_RefMap_Snapshot;

/* Take a snapshot. It does not become the baseline of sys.refmap_diff(). The caller
   owns it, and gives it to PyUnstable_RefMap_FreeSnapshot(). NULL: no memory, or no GIL. */
PyAPI_FUNC(PyUnstable_RefMap_Snapshot *) PyUnstable_RefMap_TakeSnapshot(void);

/* Free a snapshot, with the GIL that it was taken with; without any it stays. NULL is
   allowed. */
PyAPI_FUNC(void) PyUnstable_RefMap_FreeSnapshot(
    PyUnstable_RefMap_Snapshot *snapshot);

/* PyUnstable_RefMap_Total() at the instant of the snapshot. */
PyAPI_FUNC(Py_ssize_t) PyUnstable_RefMap_SnapshotTotal(
    const PyUnstable_RefMap_Snapshot *snapshot);

/* --- diffs --------------------------------------------------------------- */

/* What a record is about. */
typedef enum {
    PyUnstable_RefMap_LIVING = 1,   // alive at `after`, with another count
    PyUnstable_RefMap_DIED,         // alive at `before`, gone at `after`
    PyUnstable_RefMap_FREED,        // memory that was freed while counted
    PyUnstable_RefMap_TYPE,         // the sum over all that are LIVING or DIED of a type
    PyUnstable_RefMap_UNATTRIBUTED, // references that no object is known for
    PyUnstable_RefMap_LOST,         // pages that could not be compared, if any
    PyUnstable_RefMap_TOTAL,        // the last record: the change of the total
} PyUnstable_RefMap_Kind;

/*                 address   type   before            after
   LIVING          object    name   count; 0: new     count
   DIED            object    name   count             0
   FREED           object    name   count when freed  0
   TYPE            NULL      name   0                 change, never 0
   UNATTRIBUTED    NULL      NULL   0                 change, never 0
   LOST            NULL      NULL   0                 number of pages, never 0
   TOTAL           NULL      NULL   total             total

   Numbers are references. `address` must not be read: what is DIED or FREED is gone.
   `type` is tp_name in printable UTF-8, '?' if it is not known, 'dict keys' for the
   table of a dict; it is borrowed, and valid during the callback. */
typedef struct {
    PyUnstable_RefMap_Kind kind;
    const void *address;
    const char *type;
    Py_ssize_t before;
    Py_ssize_t after;
} PyUnstable_RefMap_Record;

/* Called with each record. 0: go on; a positive number ends the calls, and is what the
   function that calls it returns. It may run Python code. `record` is valid during the
   call. */
typedef int (*PyUnstable_RefMap_Callback)(const PyUnstable_RefMap_Record *record,
                                          void *arg);

/* Call `callback` with what changed between two snapshots: first what is LIVING, then
   DIED, FREED, TYPE, each in the order of the size of the change, then the others.
   `after` may be NULL: now. Return 0, an error, or what the callback returned. */
PyAPI_FUNC(int) PyUnstable_RefMap_VisitDiff(PyUnstable_RefMap_Snapshot *before,
                                            PyUnstable_RefMap_Snapshot *after,
                                            PyUnstable_RefMap_Callback callback,
                                            void *arg);

/* Print the same to `file`, in the format of sys.refmap_diff(), with a newline at the
   end. `file` is flushed. Return 0 or an error. */
PyAPI_FUNC(int) PyUnstable_RefMap_PrintDiff(PyUnstable_RefMap_Snapshot *before,
                                            PyUnstable_RefMap_Snapshot *after,
                                            FILE *file);

/* --- verification ---------------------------------------------------------- */

/* Call `callback`, which may be NULL, with a LIVING record of each living mortal
   object whose ob_refcnt is not the map's count: `before` is the map's count, `after`
   is ob_refcnt, or -1 where memory can't be read any more.
   Return how many there are, or an error. What the callback returns only ends the
   calls. */
PyAPI_FUNC(Py_ssize_t) PyUnstable_RefMap_Verify(PyUnstable_RefMap_Callback callback,
                                                void *arg);

#ifdef __cplusplus
}
#endif
#endif  // Py_REFCOUNT_MAP
#endif  // !Py_CPYTHON_REFMAP_H
