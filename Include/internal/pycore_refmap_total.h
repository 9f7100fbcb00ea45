/* The total of all references: whatever moves it says for which object.

   With Py_REFCOUNT_MAP the count of that object moves along.  CPython's own
   functions, which know no object, are not declared then: who calls one of them
   does not compile.  Without the map these are calls of those, and nothing else.

   `op` is a PyObject or a PyDictKeysObject, and is not dereferenced.  `tstate`
   is the attached thread state. */
#ifndef Py_INTERNAL_REFMAP_TOTAL_H
#define Py_INTERNAL_REFMAP_TOTAL_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#include "pycore_refmap.h"        // _PyRefMap_Add()

#ifdef Py_REFCOUNT_MAP

static inline REFMAP_INLINE void
_Py_IncRefTotalOf(PyThreadState *Py_UNUSED(tstate), void *op)
{
    _Py_INCREF_REFTOTAL((PyObject *)op);
}

static inline REFMAP_INLINE void
_Py_DecRefTotalOf(PyThreadState *Py_UNUSED(tstate), void *op)
{
    _Py_DECREF_REFTOTAL((PyObject *)op);
}

static inline REFMAP_INLINE void
_Py_AddRefTotalOf(PyThreadState *tstate, void *op, Py_ssize_t n)
{
    _PyRefMap_Add(tstate, op, n);
}

/* `op` is born with one reference. */
static inline REFMAP_INLINE void
_Py_NewRefTotalOf(PyThreadState *tstate, PyObject *op)
{
    _PyRefMap_NewReference(tstate, op);
}

/* The same for a PyDictKeysObject. */
static inline REFMAP_INLINE void
_Py_NewKeysTotalOf(PyThreadState *tstate, void *keys)
{
    _PyRefMap_NewKeys(tstate, keys);
}

/* ob_refcnt was decremented, and is not 0. */
static inline REFMAP_INLINE void
_Py_DecRefTotalLeft(PyObject *op)
{
    _Py_DECREF_REFTOTAL(op);
}

/* ob_refcnt was decremented, and is 0: `op` dies. */
static inline REFMAP_INLINE void
_Py_DecRefTotalLast(PyObject *op)
{
    _PyRefMap_Last(op);
}

/* Extensions may count in a thread that never had a thread state. The hot path in
   line must not run there: count `op`, if it is not NULL, and return 1.
   Elsewhere return 0, and do nothing. */
static inline REFMAP_INLINE int
_Py_IncRefDetached(PyObject *op)
{
    if (__builtin_expect(_PyRefMap_current != NULL, 1)) {
        return 0;
    }
    if (op != NULL && !_Py_IsImmortal(op)) {
        op->ob_refcnt++;
        _PyRefMap_Incref(op);
    }
    return 1;
}

static inline REFMAP_INLINE int
_Py_DecRefDetached(PyObject *op)
{
    if (__builtin_expect(_PyRefMap_current != NULL, 1)) {
        return 0;
    }
    if (op != NULL && !_Py_IsImmortal(op)) {
        _PyRefMap_Decref(op);
        if (--op->ob_refcnt == 0) {
            // What is called from here counts in line.
            _PyRefMap_Attach(NULL);
            _Py_Dealloc(op);
        }
    }
    return 1;
}

#  ifdef REFMAP_INLINED
// With the hot path in them, gcc takes them for too large.
static inline REFMAP_INLINE void
_Py_DECREF_SPECIALIZED(PyObject *op, const destructor destruct);
static inline REFMAP_INLINE void
_Py_DECREF_NO_DEALLOC(PyObject *op);
#  endif

#else  // !Py_REFCOUNT_MAP

/* No functions: an inlined one leaves traces in a debug build, the order of the
   compiled functions, which then is not stock CPython's. */
#  define _Py_IncRefTotalOf(tstate, op) _Py_IncRefTotal(tstate)
#  define _Py_DecRefTotalOf(tstate, op) _Py_DecRefTotal(tstate)
#  define _Py_AddRefTotalOf(tstate, op, n) _Py_AddRefTotal((tstate), (n))
#  define _Py_NewRefTotalOf(tstate, op) _Py_IncRefTotal(tstate)
#  define _Py_NewKeysTotalOf(tstate, keys) _Py_IncRefTotal(tstate)
#  define _Py_DecRefTotalLeft(op) ((void)0)
#  define _Py_DecRefTotalLast(op) ((void)0)
#  define _Py_IncRefDetached(op) 0
#  define _Py_DecRefDetached(op) 0

#endif  // Py_REFCOUNT_MAP

#ifdef __cplusplus
}
#endif
#endif  // !Py_INTERNAL_REFMAP_TOTAL_H
