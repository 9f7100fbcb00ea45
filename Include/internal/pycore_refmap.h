/* The refcount map: PyObject* -> reference count, kept exactly.

   This header has the hooks, which the rest of the interpreter calls, and the life
   of the maps.  pycore_refmap_query.h is for who asks them, pycore_refmap_test.h for
   tests.  Doc/design.md tells how it works; Objects/refmap/layers.h lists the
   files.  Layers, of which each uses only those before it:

     Objects/refmap/            the maps; no Python objects
     Python/refmap_*.c          sys.refmap_*(), the dump at exit, functions for C
     Lib/refmap/                what it means */
#ifndef Py_INTERNAL_REFMAP_H
#define Py_INTERNAL_REFMAP_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#ifdef Py_REFCOUNT_MAP

#include "cpython/refmap_hot.h"   // _PyRefMap_TryNew()

#ifndef Py_REF_DEBUG
#  error "Py_REFCOUNT_MAP requires Py_REF_DEBUG: the map is checked against the total"
#endif

typedef struct _refmap_state refmap_state_t;

/* --- references -------------------------------------------------------- */

/* Each moves the reference total of the current interpreter and the count of
   `op` by the same amount. `op` is not dereferenced. _PyRefMap_Incref() and
   _PyRefMap_Decref() are declared in cpython/refmap_hot.h.
   `tstate` is the attached thread state, which _PyRefMap_Attach() has noted. */
// Exported for the _testrefmap extension
PyAPI_FUNC(void) _PyRefMap_Add(PyThreadState *tstate, void *op, Py_ssize_t n);
/* `op` was immortal and is mortal again with `refcnt` references. */
extern void _PyRefMap_SetMortal(PyObject *op, Py_ssize_t refcnt);
/* References that no object is known for; the total has been moved. */
extern void _PyRefMap_Unattributed(PyThreadState *tstate, Py_ssize_t n);

/* --- births and deaths --------------------------------------------------- */

/* `op` is born: one reference, a new birth. */
extern void _PyRefMap_New(PyObject *op);
/* The same, for a PyDictKeysObject. */
extern void _PyRefMap_NewKeys(PyThreadState *tstate, void *keys);

/* The hot path of _PyRefMap_New(). Return 0, and do nothing, where it ends. */
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

extern void _PyRefMap_DeallocSlow(PyObject *op);

/* `op` dies: references still counted become unattributed. */
static inline REFMAP_INLINE void
_PyRefMap_Dealloc(PyObject *op)
{
    if (!_PyRefMap_TryDie(op)) {
        _PyRefMap_DeallocSlow(op);
    }
}

/* Take the last reference from `op` and the total; `op` dies. Not inlined: where an
   object dies the evaluation loop is better off small. */
extern void _PyRefMap_Last(PyObject *op);

/* --- memory ---------------------------------------------------------------- */

extern void _PyRefMap_FreeSlow(void *ptr);

/* The memory at `ptr` (NULL allowed), of an object or a PyDictKeysObject, is given
   back; references still counted there are a finding and become unattributed. */
static inline REFMAP_INLINE void
_PyRefMap_Free(void *ptr)
{
    if (!_PyRefMap_TryFree(ptr)) {
        _PyRefMap_FreeSlow(ptr);
    }
}

/* In obmalloc.c: PyObject_Free() of memory in which no object starts. */
extern void _PyRefMap_FreeMemory(void *ptr);

/* What is known of the object at `ptr`, taken out of the map around a realloc(), and
   put back at `ptr` (the new address, or the old one if realloc() failed). The
   caller holds it in between. */
typedef struct {
    Py_ssize_t count;
    uint32_t birth;
    void *from;
} refmap_moved_t;

extern refmap_moved_t _PyRefMap_Take(void *ptr);
extern void _PyRefMap_Put(void *ptr, refmap_moved_t moved);

/* --- life of a map ---------------------------------------------------- */

/* `tstate` is attached to the calling thread; NULL: none is any more. */
extern void _PyRefMap_Attach(PyThreadState *tstate);
/* Let `interp` use the map of the main GIL. An error if there is no address
   space for it. */
extern PyStatus _PyRefMap_InitInterp(PyInterpreterState *interp);
/* Give `interp` a map of its own. An error if there is no memory, or no address
   space for it. */
extern PyStatus _PyRefMap_InitOwnGIL(PyInterpreterState *interp);
/* `interp` goes away: its total is added to _PyRuntime's interpreter_leaks. A map of
   its own is closed, and what is counted in it becomes unattributed in the main
   one. */
extern void _PyRefMap_FiniInterp(PyInterpreterState *interp);
/* What the map adds to the total of `interp`. All interpreters that use
   the map of the main GIL count on behalf of the main interpreter. The caller holds
   the GIL of `interp`, or the lock of the list of interpreters. */
extern Py_ssize_t _PyRefMap_HotTotal(PyInterpreterState *interp);
/* In object.c: the part of sys.gettotalrefcount() of no interpreter. */
extern Py_ssize_t _PyRefMap_LeftTotal(void);
/* _Py_FinalizeRefTotal() counts the legacy total once more. */
extern void _PyRefMap_FinalizeTotal(Py_ssize_t legacy);
/* In the child of a fork(): only the calling thread is left. */
extern void _PyRefMap_AfterFork(void);

/* --- Python/refmap_sys.c ------------------------------------------------ */

/* Add sys.refmap_*(). Return -1 with an exception set. */
extern int _PyRefMap_InitSys(PyInterpreterState *interp, PyObject *sysmod);
extern void _PyRefMap_FiniSys(PyInterpreterState *interp);

/* --- Python/refmap_atexit.c ---------------------------------------------- */

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
#  define _PyRefMap_FinalizeTotal(legacy) ((void)0)
#  define _PyRefMap_AfterFork() ((void)0)
#  define _PyRefMap_FiniSys(interp) ((void)0)
#  define _PyRefMap_AtExit(per_type) ((void)0)

#endif  // Py_REFCOUNT_MAP

#ifdef __cplusplus
}
#endif
#endif  // !Py_INTERNAL_REFMAP_H
