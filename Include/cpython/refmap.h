/* The hot path of the refcount map: what each Py_INCREF() and Py_DECREF() does.

   Included by Python.h in front of object.h, as pystats.h is, for the interpreter
   itself counts in line.  Everybody else finds nothing here: object.h says how
   extensions count.  See pycore_refmap.h for the words.

   No step of it waits for the one before, but for the three loads that lead
   to a slot.  That is why there is one directory, not a tree of them, and why
   the total is kept in several parts: a single one would be a chain of stores
   and loads through all hooks.  Tools/refmap/bench/notes.md has the numbers. */

// A file may become part of the core after it included Python.h, and is then
// led here once more by pycore_refmap.h.
#if defined(Py_REFCOUNT_MAP) && defined(Py_BUILD_CORE) \
    && !defined(Py_LIMITED_API) && !defined(Py_CPYTHON_REFMAP_H)
#define Py_CPYTHON_REFMAP_H
#ifdef __cplusplus
extern "C" {
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

/* Py_ALWAYS_INLINE means nothing in debug builds, which pay as much for a call as
   for what is called. */
#define REFMAP_INLINE __attribute__((always_inline))

/* A slot is what the map knows of the 16 bytes of memory in which an object may
   start.  It is two words, count and birth, kept apart so that the hot path finds
   the first by one addition.  A *group* holds the slots of two pages, its *lanes*:

     offset in the group      0        4        8       12
     16 bytes of memory   +--------+--------+--------+--------+
     at page + offset     | count  | count  | birth  | birth  |
                          +--------+--------+--------+--------+
                            lane 0   lane 1   lane 0   lane 1

   So the count of an object is at its address plus a number that is the same for
   all of its page: the entry of the page in the directory.  An object that starts
   8 bytes into its 16 (an *odd* one: static ones may) has its words swapped, and
   is still counted in its own slot.  What tells them apart is that a word with
   REFMAP_BIRTH_BORN is a birth; see refmap_decode().  A static object
   has none.  It must not lie where others were born, in memory that was given back
   and is a file's now: as long as the page is known from before, it would be
   counted in a birth, and the sum be seen not to be exact.

   The bits of a birth.  The serial number wraps around after 2^28 births; two
   objects at one address are taken for the same only if exactly a multiple of 2^28
   births lies between them.  Dict keys are never odd, so that a word whose three
   highest bits are set is a small negative count. */
#define REFMAP_BIRTH_BORN    0x80000000u   // not set: a static object
#define REFMAP_BIRTH_KEYS    0x40000000u   // a PyDictKeysObject, no PyObject
#define REFMAP_BIRTH_ODD     0x20000000u   // starts 8 bytes into its 16
#define REFMAP_BIRTH_OWN     0x10000000u   // belongs to refmap: never reported
#define REFMAP_BIRTH_SERIAL  0x0fffffffu
#define REFMAP_LANES 2

#define REFMAP_TOTALS 16    // a power of two

/* What the hot path needs of a map. The directory begins where this ends: by page
   number, it has 0 or an address such that the count of `op` is at entry + op,
   though no count of another page is there. */
typedef struct {
    struct _refmap_state *map;  // NULL: nobody's, all entries are 0
    /* The interpreter to whose total those below belong. */
    struct _is *owner;
    uint32_t births;            // the last birth, without flags
    /* Summands of the owner's total, its reftotal being one more. Last, so that
       one byte leads to them from the directory. */
    Py_ssize_t totals[REFMAP_TOTALS];
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

/* The directory's entry for `op`; 0: not on the hot path. */
static inline REFMAP_INLINE uintptr_t
_PyRefMap_Entry(_PyRefMap_hot *end, const void *op)
{
    return _PyRefMap_Directory(end)[(uintptr_t)op >> REFMAP_PAGE_BITS];
}

/* Of an object that is not odd the birth is at [REFMAP_LANES]. */
static inline REFMAP_INLINE uint32_t *
_PyRefMap_CountIn(uintptr_t entry, const void *op)
{
    return (uint32_t *)(entry + (uintptr_t)op);
}

/* Add `n` to a part of the total: another part for each hook in the code (%= is a
   number of its own for each), or else for the objects of each address. */
static inline REFMAP_INLINE void
_PyRefMap_MoveTotal(_PyRefMap_hot *end, const void *op, int n)
{
#if defined(__x86_64__) && defined(__GNUC__)
    (void)op;
    __asm__("addq %2, ((%= & %c3) * 8 - %c4)(%1)"
            : "+m"(end[-1].totals)
            : "r"(end), "re"((Py_ssize_t)n), "i"(REFMAP_TOTALS - 1),
              "i"(sizeof(end[-1].totals))
            : "cc");
#else
    uintptr_t i = (uintptr_t)op >> REFMAP_SLOT_BITS;
    end[-1].totals[i & (REFMAP_TOTALS - 1)] += n;
#endif
}

/* Add `n` to the count of `op` and to the total. Return 0, and do nothing,
   where the hot path ends. */
static inline REFMAP_INLINE int
_PyRefMap_TryMove(const void *op, int n)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(end, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    *_PyRefMap_CountIn(entry, op) += (uint32_t)n;
    _PyRefMap_MoveTotal(end, op, n);
    return 1;
}

/* The same for an object that is born, unless it is odd. */
static inline REFMAP_INLINE int
_PyRefMap_TryNew(const void *op, uint32_t flags)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(end, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    uint32_t *count = _PyRefMap_CountIn(entry, op);
    uint32_t birth = end[-1].births + 1;
    if (__builtin_expect(*count != 0 || ((uintptr_t)op & 8) != 0
                         || birth > (REFMAP_BIRTH_BORN | REFMAP_BIRTH_SERIAL), 0))
    {
        return 0;
    }
    end[-1].births = birth;
    count[0] = 1;
    count[REFMAP_LANES] = birth | flags;
    _PyRefMap_MoveTotal(end, op, 1);
    return 1;
}

/* Take the reference from `op` that ought to be the last one counted. Return 0,
   and do nothing, if it is not, or where the hot path ends. */
static inline REFMAP_INLINE int
_PyRefMap_TryLast(const void *op)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    uintptr_t entry = _PyRefMap_Entry(end, op);
    if (__builtin_expect(entry == 0, 0)) {
        return 0;
    }
    uint32_t *count = _PyRefMap_CountIn(entry, op);
    if (__builtin_expect(*count != 1, 0)) {
        return 0;
    }
    *count = 0;
    _PyRefMap_MoveTotal(end, op, -1);
    return 1;
}

/* May an object start at `ptr` that is still counted? Memory, unlike references,
   may be given back by a thread that never had a thread state. */
static inline REFMAP_INLINE int
_PyRefMap_MayBeCounted(const void *ptr)
{
    _PyRefMap_hot *end = _PyRefMap_current;
    if (__builtin_expect(end == NULL, 0)) {
        return 0;
    }
    uintptr_t entry = _PyRefMap_Entry(end, ptr);
    return entry == 0 || *_PyRefMap_CountIn(entry, ptr) != 0;
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
/* In code of the optimised executable itself the hot path is inlined. Debug
   builds keep the calls for who steps through them, and shared objects know no
   faster way to the thread's variable than to call. */
#  if defined(REFMAP_EXECUTABLE) && !defined(Py_DEBUG)
#    define REFMAP_INLINED 1
#    define _Py_INCREF_REFTOTAL(op) \
        (__builtin_expect(_PyRefMap_TryMove((op), 1), 1) \
         ? (void)0 : _PyRefMap_Incref(op))
#    define _Py_DECREF_REFTOTAL(op) \
        (__builtin_expect(_PyRefMap_TryMove((op), -1), 1) \
         ? (void)0 : _PyRefMap_Decref(op))
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
