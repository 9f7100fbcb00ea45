/* What the files Python/refmap_*.c offer each other: sys.refmap_*(), and the reports at
   exit. The rest of the interpreter calls what pycore_refmap.h has of them. */
#ifndef Py_INTERNAL_REFMAP_SYS_H
#define Py_INTERNAL_REFMAP_SYS_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#include "pycore_refmap_query.h"

#ifdef Py_REFCOUNT_MAP

/* --- refmap_report.c ---------------------------------------------------------- */

/* New references; NULL with an exception. */

/* The name of a type, which need not be UTF-8. */
extern PyObject *_PyRefMap_NameAsStr(const char *name);
/* A list of the types whose changes do not cancel out: (-abs(change), name, change), in
   this order. The unattributed references are the last. */
extern PyObject *_PyRefMap_SortedTypes(const refmap_diff_t *diff);
/* The text, without a newline at its end. `limit`: of the objects of each type that are
   told of; -1: all are. */
extern PyObject *_PyRefMap_Report(const refmap_diff_t *diff, Py_ssize_t limit);

/* --- refmap_snapshot.c -------------------------------------------------------- */

extern PyTypeObject _PyRefMap_Snapshot_Type;
extern PyMethodDef _PyRefMap_snapshot_methods[];

/* The snapshot in a snapshot object, borrowed; NULL, without an exception, if `op` is
   none. */
extern refmap_snapshot_t *_PyRefMap_SnapshotOf(PyObject *op);
/* Take a snapshot, with true counts if `actual`; a new reference, NULL with an exception.
   `held`: what the call has on the stack, each may be NULL. */
extern refmap_snapshot_t *_PyRefMap_TakeSnapshot(int actual, PyObject *const held[],
                                                 size_t nheld);
/* Sort keyword arguments into `values`, by the names in `names`. `n`: how many there
   are; `given`: how many of them were given by position. Return -1 with an exception.
   By hand, because the argument parsers of CPython create objects, which would be in the
   diff. */
extern int _PyRefMap_KeywordArguments(const char *function, PyObject *const *args,
                                      PyObject *kwnames, const char *const *names,
                                      Py_ssize_t n, Py_ssize_t given,
                                      PyObject **values);

/* --- refmap_diff.c ------------------------------------------------------------ */

extern PyTypeObject _PyRefMap_Diff_Type;
extern PyMethodDef _PyRefMap_diff_methods[];

/* A new list of (address, type name, before, after); NULL with an exception. */
extern PyObject *_PyRefMap_RecordsAsList(const refmap_records_t *records);

/* --- refmap_owners.c, refmap_record_sys.c, refmap_log_sys.c, refmap_lastwords.c --- */

extern PyMethodDef _PyRefMap_owners_methods[];
extern PyMethodDef _PyRefMap_record_methods[];
extern PyMethodDef _PyRefMap_log_methods[];
extern PyMethodDef _PyRefMap_lastwords_methods[];

/* --- refmap_atexit.c ---------------------------------------------------------- */

/* The main interpreter is about to go: keep what _PyRefMap_AtExit() will tell. */
extern void _PyRefMap_BeforeExit(int per_type);

#endif  // Py_REFCOUNT_MAP

#ifdef __cplusplus
}
#endif
#endif  // !Py_INTERNAL_REFMAP_SYS_H
