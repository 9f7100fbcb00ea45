/* The hot path of the refcount map: what each Py_INCREF() and Py_DECREF() does.

   Included by object.h, too, so that it can be inlined there; it needs nothing
   of Python but the types named below.  See pycore_refmap.h for the words.

   No step of it waits for the one before, but for the three loads that lead
   to a slot.  That is why there is one directory, not a tree of them, and why
   the total is kept in several parts: a single one would be a chain of stores
   and loads through all hooks.  Tools/refmap/bench/notes.md has the numbers. */
#ifndef Py_INTERNAL_REFMAP_HOT_H
#define Py_INTERNAL_REFMAP_HOT_H

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#include <stdint.h>

/* User space; see Documentation/arch/x86/x86_64/mm.rst of Linux. Elsewhere it
   is larger. Valgrind hands out addresses far below REFMAP_LOW_BITS, and never
   reserves more than 32 GiB. */
#ifdef __x86_64__
#  define REFMAP_ADDRESS_BITS 47
#else
#  define REFMAP_ADDRESS_BITS 48
#endif
#define REFMAP_LOW_BITS 40
#define REFMAP_PAGE_BITS 12
#define REFMAP_SLOT_BITS 4

/* Is this code of the executable? There the linker knows where the variables of
   a thread are. */
#if !defined(Py_ENABLE_SHARED) && !defined(Py_BUILD_CORE_MODULE) \
    && (!defined(__PIC__) || defined(__PIE__))
#  define REFMAP_EXECUTABLE 1
#  define REFMAP_TLS_MODEL "local-exec"
#else
#  define REFMAP_TLS_MODEL "initial-exec"
#endif

/* The bits of refmap_slot_t.birth.  The serial number wraps around after 2^29
   births; two objects at one address are taken for the same only if exactly a
   multiple of 2^29 births lies between them. */
#define REFMAP_BIRTH_KEYS    0x80000000u   // a PyDictKeysObject, no PyObject
#define REFMAP_BIRTH_OWN     0x40000000u   // belongs to refmap: never reported
#define REFMAP_BIRTH_ODD     0x20000000u   // starts 8 bytes into its 16
#define REFMAP_BIRTH_SERIAL  0x1fffffffu   // 0: a static object

typedef struct {
    uint32_t count;     // 0: no object starts here; see refmap_count()
    uint32_t birth;     // set by _Py_NewReference(); stale while count == 0
} refmap_slot_t;

#define REFMAP_TOTALS 16    // a power of two

/* What the hot path needs of a map: one mapping, with the directory right
   behind, so that no pointer leads there. */
typedef struct {
    struct _refmap_state *map;  // NULL: nobody's, all entries are 0
    /* The interpreter to whose total those below belong. */
    struct _is *owner;
    uint32_t births;            // serial number of the last birth
    /* Summands of the owner's total, its reftotal being one more. */
    Py_ssize_t totals[REFMAP_TOTALS];
    /* By page number: 0, or an address such that the slot of `op` is
       ((refmap_slot_t *)entry)[op >> REFMAP_SLOT_BITS], though no slot of
       another page is there. On a page of its own, as cores go without. */
    uintptr_t directory[] __attribute__((aligned(1 << REFMAP_PAGE_BITS)));
} _PyRefMap_hot;

/* Of the map that belongs to the thread state which is attached to the calling
   thread. NULL: there never was one; then only _PyRefMap_Incref() and
   _PyRefMap_Decref() may be called, Py_REF_DEBUG needs a thread state anyway.
   pyport.h has a name for __thread, but not for files that become part of the
   core after they included Python.h. */
extern __thread _PyRefMap_hot *_PyRefMap_current
    __attribute__((visibility("hidden"), tls_model(REFMAP_TLS_MODEL)));

/* The directory's entry for `op`; 0: not on the hot path. */
static inline Py_ALWAYS_INLINE uintptr_t
_PyRefMap_Entry(const _PyRefMap_hot *hot, const void *op)
{
    return hot->directory[(uintptr_t)op >> REFMAP_PAGE_BITS];
}

static inline Py_ALWAYS_INLINE refmap_slot_t *
_PyRefMap_SlotIn(uintptr_t entry, const void *op)
{
    return &((refmap_slot_t *)entry)[(uintptr_t)op >> REFMAP_SLOT_BITS];
}

/* The part of the total in which changes of `op` are counted. */
static inline Py_ALWAYS_INLINE Py_ssize_t *
_PyRefMap_TotalOf(_PyRefMap_hot *hot, const void *op)
{
    uintptr_t i = (uintptr_t)op >> REFMAP_SLOT_BITS;
    return &hot->totals[i & (REFMAP_TOTALS - 1)];
}

/* Add `n` to the count of `op` and to the total. Return 0, and do nothing,
   where the hot path ends. */
static inline Py_ALWAYS_INLINE int
_PyRefMap_TryMove(const void *op, int n)
{
    _PyRefMap_hot *hot = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(hot, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    _PyRefMap_SlotIn(entry, op)->count += (uint32_t)n;
    *_PyRefMap_TotalOf(hot, op) += n;
    return 1;
}

/* The same for an object that is born. */
static inline Py_ALWAYS_INLINE int
_PyRefMap_TryNew(const void *op, uint32_t flags)
{
    _PyRefMap_hot *hot = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(hot, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    refmap_slot_t *slot = _PyRefMap_SlotIn(entry, op);
    uint32_t serial = hot->births + 1;
    if (__builtin_expect(slot->count != 0 || serial > REFMAP_BIRTH_SERIAL, 0)) {
        return 0;
    }
    hot->births = serial;
    slot->count = 1;
    slot->birth = serial | flags;
    *_PyRefMap_TotalOf(hot, op) += 1;
    return 1;
}

/* Take the reference from `op` that ought to be the last one counted. Return 0,
   and do nothing, if it is not, or where the hot path ends. */
static inline Py_ALWAYS_INLINE int
_PyRefMap_TryLast(const void *op)
{
    _PyRefMap_hot *hot = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(hot, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    refmap_slot_t *slot = _PyRefMap_SlotIn(entry, op);
    if (__builtin_expect(slot->count != 1, 0)) {
        return 0;
    }
    slot->count = 0;
    *_PyRefMap_TotalOf(hot, op) -= 1;
    return 1;
}

/* May an object start at `ptr` that is still counted? */
static inline Py_ALWAYS_INLINE int
_PyRefMap_MayBeCounted(const void *ptr)
{
    uintptr_t entry = _PyRefMap_Entry(_PyRefMap_current, ptr);
    return entry == 0 || _PyRefMap_SlotIn(entry, ptr)->count != 0;
}

/* In code of the optimised executable itself the hot path is inlined. Debug
   builds keep the calls for who steps through them, and shared objects know no
   faster way to the thread's variable than to call. */
#if !defined(_Py_INCREF_REFTOTAL) && defined(REFMAP_EXECUTABLE) \
    && !defined(Py_DEBUG)
#  define REFMAP_INLINED 1
#  define _Py_INCREF_REFTOTAL(op) \
    (__builtin_expect(_PyRefMap_TryMove((op), 1), 1) \
     ? (void)0 : _PyRefMap_Incref(op))
#  define _Py_DECREF_REFTOTAL(op) \
    (__builtin_expect(_PyRefMap_TryMove((op), -1), 1) \
     ? (void)0 : _PyRefMap_Decref(op))
// With the hot path in them, gcc takes them for too large.
static inline Py_ALWAYS_INLINE void Py_INCREF(PyObject *op);
static inline Py_ALWAYS_INLINE PyObject *_Py_NewRef(PyObject *op);
static inline Py_ALWAYS_INLINE void Py_DECREF(const char *filename, int lineno,
                                              PyObject *op);
#endif

#endif  // !Py_INTERNAL_REFMAP_HOT_H
