/* The hot path of the refcount map: what each Py_INCREF() and Py_DECREF() does.

   Included by Python.h in front of object.h, as pystats.h is, for the interpreter
   itself counts in line.  Everybody else finds nothing here: object.h says how
   extensions count.  Objects/refmap/state.h has the words; Doc/design.md tells why
   it is as it is.

   No step of it waits for the one before, but for the three loads that lead
   to a count.  That is why there is one directory, not a tree of them, and why
   the total is kept in several parts: a single one would be a chain of stores
   and loads through all hooks.  Tools/refmap/bench/notes.md has the numbers. */

// A file may become part of the core after it included Python.h, and is then
// led here once more by pycore_refmap.h.
#if defined(Py_REFCOUNT_MAP) && defined(Py_BUILD_CORE) \
    && !defined(Py_LIMITED_API) && !defined(Py_CPYTHON_REFMAP_HOT_H)
#define Py_CPYTHON_REFMAP_HOT_H
#ifdef __cplusplus
extern "C" {
#endif

#include <assert.h>
#include <stddef.h>
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

/* Py_ALWAYS_INLINE means nothing in debug builds, which pay as much for a call as
   for what is called. */
#define REFMAP_INLINE __attribute__((always_inline))

/* A slot is what the map knows of the 16 bytes of memory in which an object may
   start: a count and a birth.  In memory it is two words, the *even* one and the
   *odd* one.  A *group* holds the slots of two pages, its *lanes*:

     offset in the group      0        4        8       12
     16 bytes of memory   +--------+--------+--------+--------+
     at page + offset     |  even  |  even  |  odd   |  odd   |
                          +--------+--------+--------+--------+
                            lane 0   lane 1   lane 0   lane 1

   So the count of an object is at its address plus a number that is the same for
   all of its page: the entry of the page in the directory.  The object that starts
   at the 16 bytes has its count in the even word and its birth in the odd one.  An
   object that starts 8 bytes later has its count in the odd word and its birth in
   the even one.  16 bytes are the least size of an object, so there never are two.

   What a word is can be told from its highest bits:

     111...   a small negative count
     1.....   a birth: the serial number of _Py_NewReference(), and flags
     0.....   a count

   So a count that falls into a birth, because a new object starts in the other
   half of the 16 bytes, shows a negative number.  So does a count that is, or
   becomes, negative, and one that overflows.  The hot path ends at all of them.

   DEAD: the object of this birth died.  The birth stays until the memory is given
   back, as the object may resurrect.  After that an object that is counted there has
   no birth: a static one, or one that was made by hand.

   The serial number wraps around after 2^28 births; two objects at one address are
   taken for the same only if exactly a multiple of 2^28 births lies between
   them. */
#define REFMAP_BIRTH_BORN    0x80000000u
#define REFMAP_BIRTH_KEYS    0x40000000u   // a PyDictKeysObject, no PyObject
#define REFMAP_BIRTH_DEAD    0x20000000u   // never together with KEYS
#define REFMAP_BIRTH_OWN     0x10000000u   // belongs to refmap: never reported
#define REFMAP_BIRTH_SERIAL  0x0fffffffu
#define REFMAP_BIRTH_LAST    (REFMAP_BIRTH_BORN | REFMAP_BIRTH_SERIAL)
#define REFMAP_COUNT_MIN     (-0x20000000)
#define REFMAP_COUNT_MAX     0x7fffffff
#define REFMAP_LANES 2

/* The parts of the total, so that hooks in a row do not wait for each other. */
enum {
    REFMAP_PART_INCREF,
    REFMAP_PART_DECREF,
    REFMAP_PART_BIRTH,
    REFMAP_PART_LAST,
    REFMAP_PART_SLOW,
    REFMAP_PARTS
};

/* What the hot path needs of a map. The directory begins where this ends: by page
   number, it has 0 or an address such that the count of `op` is at entry + op,
   though no count of another page is there. */
typedef struct {
    struct _refmap_state *map;  // NULL: nobody's, all entries are 0
    /* The interpreter to whose total those below belong. */
    struct _is *owner;
    uint32_t births;            // the last birth, BORN included
    /* The last one that may be on the hot path, mostly REFMAP_BIRTH_LAST. gdb's
       py-refmap-break-birth lowers it. */
    uint32_t births_end;
    /* Summands of the owner's total, its reftotal being one more. */
    Py_ssize_t totals[REFMAP_PARTS];
} _PyRefMap_hot;

/* The end of the hot part, which is the directory, of the map that belongs to the
   thread state which is attached to the calling thread. NULL: there never was
   one; then no reference may be counted but by _PyRefMap_Incref() and
   _PyRefMap_Decref(), Py_REF_DEBUG needs a thread state anyway.
   pyport.h has a name for __thread, but not for files that become part of the
   core after they included Python.h. */
extern __thread _PyRefMap_hot *_PyRefMap_current
    __attribute__((visibility("hidden"), tls_model(REFMAP_TLS_MODEL)));

static inline REFMAP_INLINE uintptr_t *
_PyRefMap_Directory(_PyRefMap_hot *end)
{
    return (uintptr_t *)end;
}

/* The directory's entry for `op`; 0: not on the hot path. Nothing may be looked up
   that is no address of user space: the directory ends there. */
static inline REFMAP_INLINE uintptr_t
_PyRefMap_Entry(_PyRefMap_hot *end, const void *op)
{
    assert((uintptr_t)op >> REFMAP_ADDRESS_BITS == 0);
    return _PyRefMap_Directory(end)[(uintptr_t)op >> REFMAP_PAGE_BITS];
}

/* The word of an object's count, as a signed number. If the object starts at its
   16 bytes, its birth is at [REFMAP_LANES]. */
static inline REFMAP_INLINE int32_t *
_PyRefMap_CountIn(uintptr_t entry, const void *op)
{
    return (int32_t *)(entry + (uintptr_t)op);
}

/* Is this word a birth, of an object that is not dead? */
static inline REFMAP_INLINE int
_PyRefMap_IsLivingBirth(uint32_t word)
{
    return (word & (REFMAP_BIRTH_BORN | REFMAP_BIRTH_DEAD)) == REFMAP_BIRTH_BORN;
}

/* May a birth be written to this word? Not if it is the count of an object that
   starts there. */
static inline REFMAP_INLINE int
_PyRefMap_IsNoCount(int32_t word)
{
    return word == 0 || word < REFMAP_COUNT_MIN;
}

/* Add `n`, 1 or -1, to the count of `op` and to the total. Return 0 where the hot
   path ends: then _PyRefMap_MoveSlow() has to do it. It also takes back what was
   added to a count that must not be negative. */
static inline REFMAP_INLINE int
_PyRefMap_TryMove(const void *op, int n)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(end, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    // Not by `+=` on a signed number, which must not overflow.
    int32_t *count = _PyRefMap_CountIn(entry, op);
    *count = (int32_t)((uint32_t)*count + (uint32_t)n);
    if (__builtin_expect(*count < 0, 0)) {
        return 0;
    }
    end[-1].totals[n > 0 ? REFMAP_PART_INCREF : REFMAP_PART_DECREF] += n;
    return 1;
}

/* `op` is born: one reference, and the next birth with these flags. Return 0, and
   do nothing, where the hot path ends. */
static inline REFMAP_INLINE int
_PyRefMap_TryNew(const void *op, uint32_t flags)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(end, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    int32_t *count = _PyRefMap_CountIn(entry, op);
    uint32_t birth = end[-1].births + 1;
    if (__builtin_expect(
            *count != 0 || ((uintptr_t)op & 8) != 0
            || !_PyRefMap_IsNoCount(count[REFMAP_LANES])
            || birth > end[-1].births_end, 0))
    {
        return 0;
    }
    end[-1].births = birth;
    count[0] = 1;
    count[REFMAP_LANES] = (int32_t)(birth | flags);
    end[-1].totals[REFMAP_PART_BIRTH] += 1;
    return 1;
}

/* Take the reference from `op` that ought to be the last one counted; `op` dies.
   Return 0, and do nothing, if it is not, or where the hot path ends. */
static inline REFMAP_INLINE int
_PyRefMap_TryLast(const void *op)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(end, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    int32_t *count = _PyRefMap_CountIn(entry, op);
    if (__builtin_expect(*count != 1 || ((uintptr_t)op & 8) != 0, 0)) {
        return 0;
    }
    uint32_t birth = (uint32_t)count[REFMAP_LANES];
    if (__builtin_expect(!_PyRefMap_IsLivingBirth(birth), 0)) {
        return 0;
    }
    *count = 0;
    count[REFMAP_LANES] = (int32_t)(birth | REFMAP_BIRTH_DEAD);
    end[-1].totals[REFMAP_PART_LAST] -= 1;
    return 1;
}

/* `op` dies. Return 0, and do nothing, where the hot path ends: references are still
   counted, for example. */
static inline REFMAP_INLINE int
_PyRefMap_TryDie(const void *op)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(end, op);
    if (__builtin_expect(entry == 0 || ((uintptr_t)op & 8) != 0, 0)) {
        return 0;
    }
    int32_t *count = _PyRefMap_CountIn(entry, op);
    uint32_t birth = (uint32_t)count[REFMAP_LANES];
    if (__builtin_expect(*count != 0 || !_PyRefMap_IsLivingBirth(birth), 0)) {
        return 0;
    }
    // With both flags it would be a negative count.
    assert((birth & REFMAP_BIRTH_KEYS) == 0);
    count[REFMAP_LANES] = (int32_t)(birth | REFMAP_BIRTH_DEAD);
    return 1;
}

/* The memory at `ptr` is given back, which ends a birth there. Return 0, and do
   nothing, where the hot path ends. Memory, unlike references, may be given back by a
   thread that never had a thread state. */
static inline REFMAP_INLINE int
_PyRefMap_TryFree(const void *ptr)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    if (__builtin_expect(end == NULL, 0)) {
        return 1;
    }
    uintptr_t entry = _PyRefMap_Entry(end, ptr);
    if (__builtin_expect(entry == 0 || ((uintptr_t)ptr & 8) != 0, 0)) {
        return 0;
    }
    int32_t *count = _PyRefMap_CountIn(entry, ptr);
    if (__builtin_expect(*count != 0, 0)) {
        return 0;
    }
    if (count[REFMAP_LANES] < REFMAP_COUNT_MIN) {
        count[REFMAP_LANES] = 0;
    }
    return 1;
}

/* The same for any thread, with or without a thread state.
   Exported for shared extensions of the core. */
PyAPI_FUNC(void) _PyRefMap_Incref(PyObject *op);
PyAPI_FUNC(void) _PyRefMap_Decref(PyObject *op);

/* For Py_DECREF() in an optimised build, which has taken a reference from
   ob_refcnt: it is 0 by now, or less than 0, which is a fatal error.
   Exported for shared extensions that define Py_BUILD_CORE. */
PyAPI_FUNC(void) _PyRefMap_DecrefLast(PyObject *op);
PyAPI_FUNC(void) _PyRefMap_DecrefNegative(const char *filename, int lineno,
                                          PyObject *op) __attribute__((cold));

#ifndef Py_OBJECT_H
/* In code of the optimised executable itself the hot path is inlined. Builds that can
   record keep the calls: a hook is to be found on the stack. And shared objects know no
   faster way to the thread's variable than to call. */
#  if defined(REFMAP_EXECUTABLE) && !defined(Py_DEBUG) \
      && !defined(Py_REFCOUNT_MAP_TRACE)
extern void _PyRefMap_IncrefSlow(PyObject *op) __attribute__((cold));
extern void _PyRefMap_DecrefSlow(PyObject *op) __attribute__((cold));
#    define REFMAP_INLINED 1
#    define _Py_INCREF_REFTOTAL(op) \
        (__builtin_expect(_PyRefMap_TryMove((op), 1), 1) \
         ? (void)0 : _PyRefMap_IncrefSlow(op))
#    define _Py_DECREF_REFTOTAL(op) \
        (__builtin_expect(_PyRefMap_TryMove((op), -1), 1) \
         ? (void)0 : _PyRefMap_DecrefSlow(op))
// With the hot path in them, gcc takes them for too large.
static inline REFMAP_INLINE PyObject *_Py_NewRef(PyObject *op);
static inline REFMAP_INLINE void Py_DECREF(const char *filename, int lineno,
                                           PyObject *op);
#  endif
// Debug builds, too, have it inlined where the call in it takes no argument.
static inline REFMAP_INLINE void Py_INCREF(PyObject *op);
#endif  // !Py_OBJECT_H

#ifndef _Py_INCREF_REFTOTAL
#  define _Py_INCREF_REFTOTAL(op) _PyRefMap_Incref(op)
#  define _Py_DECREF_REFTOTAL(op) _PyRefMap_Decref(op)
#endif

#ifdef __cplusplus
}
#endif
#endif  // Py_REFCOUNT_MAP && Py_BUILD_CORE
