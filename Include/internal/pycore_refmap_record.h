/* The recorder of the refcount map: births, deaths and reference changes of watched
   objects, each with the C stack.  See Doc/reference.md for sys.refmap_record(), and
   Doc/design.md for how it works. */
#ifndef Py_INTERNAL_REFMAP_RECORD_H
#define Py_INTERNAL_REFMAP_RECORD_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#include "pycore_refmap.h"

/* Recording needs frame pointers, hooks that are functions, and x86-64 for what
   functions return. Optimised builds have neither, but for the variant that
   --with-refcount-map=trace makes. */
#if defined(Py_REFCOUNT_MAP) && defined(__x86_64__) && defined(__linux__) \
    && (defined(Py_DEBUG) || defined(Py_REFCOUNT_MAP_TRACE))
#  define REFMAP_RECORDS 1
#endif

/* Stacks of C can be walked in any build; see Objects/refmap/record_unwind.c. */
#if defined(Py_REFCOUNT_MAP) && defined(__x86_64__) && defined(__linux__)
#  define REFMAP_WALKS 1
#endif

#ifdef REFMAP_RECORDS

/* --- the format of a recording ------------------------------------------------- */

/* A sequence of records of 64-bit words. The first word of a record:

     63          32 31     16 15      8 7     0
    +--------------+---------+---------+-------+
    | words in all | thread  | frames  | kind  |
    +--------------+---------+---------+-------+

   A frame is two words: a return address in a function, and the slot of the
   function's activation, that is the address of the word that holds the function's own
   return address. The innermost is the first. The last one has the slot 0 where the
   function's caller could not be found.  `line` stands for
   (index of the Python code << 32) | line number, 0 if there is none.
   A death is four words: address, type and birth of an object whose _Py_Dealloc()
   runs, and the slot of that call. */
enum {
    REFMAP_VOID,        // a record that is none any more
    // address, n, birth, type, ob_refcnt, token, line, deaths; frames, deaths.  Where n
    // is -1 the token is the one that was given back for sure, or 0
    REFMAP_BIRTH,
    REFMAP_CHANGE,
    // address, birth, type, line; frames
    REFMAP_DEATH,
    // from, to, birth; frames
    REFMAP_MOVE,
    // slot, value, tokens, places; frames of the last hook before; tokens: token,
    // outcome, activation; places: token, location, base, type of the base
    REFMAP_RETURN,
    // token, address, location, base, type of the base; frames
    REFMAP_STORED,
    // token, address, location, base, 1 if the base died, word that is there now, object
    // of the last hook before, object of this one, frames of the last; frames of both
    REFMAP_GONE,
    // address, size, domain, line; frames
    REFMAP_ALLOC,
    // address
    REFMAP_FREE,
    // index, first line, bytes of the qualified name, bytes of the file name; UTF-8
    REFMAP_CODE,
    // address, tp_basicsize, tp_itemsize, tp_flags, tp_dealloc, tp_traverse, tp_clear,
    // tp_base, tp_iternext, bytes of the name; UTF-8
    REFMAP_TYPE,
    // records, tokens, pieces of the recorder's own memory that could not be had
    REFMAP_LOST,
    // start, end, offset in the file, bytes of its name; name
    REFMAP_MODULE,
    // token, address, location before, location, base, type of the base; frames: the
    // memory that held the object is given back, and what was in it is elsewhere
    REFMAP_SHIFTED,
    // address of a block of memory that realloc() moved, and where it is now; all that
    // was known to be in it moved along, and no SHIFTED tells so
    REFMAP_BLOCK_MOVED,
};

/* What became of a token when the activation that held it came to an end. */
enum {
    REFMAP_RETURNED = 1,    // the object was returned
    REFMAP_ON_STACK,        // an activation has a new word that holds it
    REFMAP_IN_MEMORY,       // the places follow
    REFMAP_NOWHERE,         // it was not found
    REFMAP_DIED,            // the object is dead
    REFMAP_ABANDONED,       // by longjmp() or an exception
    REFMAP_UNSEARCHED,      // memory was not searched for it: see record_search.c
};

/* In the place of the type of a base: the base is the PyThreadState of a thread, which
   has the exception that was raised and the one that is handled. */
#define REFMAP_THREAD_STATE ((uintptr_t)1)

/* --- start and stop ------------------------------------------------------------------ */

/* Borrowed for the call of _PyRefMap_StartRecording(). */
typedef struct {
    const char **types;             // names
    size_t ntypes;
    const uintptr_t *addresses;     // of living objects
    size_t naddresses;
    const uint64_t *births;         // the n-th birth from now on
    size_t nbirths;
    const uintptr_t (*transparent)[2];      // start and length of code
    size_t ntransparent;
    int returns, places, blocks;    // what is to be recorded besides
    size_t limit;                   // of the recording, in bytes
} refmap_watch_t;

/* Start to record, in all threads and interpreters. Return 0, -1 on out of memory, -2
   if it was on already, -3 if the memory that `returns` needs is in use. `*birth`: the
   serial number of the last birth before. */
extern int _PyRefMap_StartRecording(const refmap_watch_t *watch, uint32_t *birth);
/* Stop. The recording is borrowed until _PyRefMap_DropRecording(). Return -1 if it was
   not on. */
extern int _PyRefMap_StopRecording(const void **words, size_t *bytes);
extern void _PyRefMap_DropRecording(void);

/* --- the hooks of the hooks --------------------------------------------------------- */

/* Is a recording on? Tested on slow paths only. */
extern int _PyRefMap_recording;

/* `fp`: the frame address of the hook. `op` may be a table of dict keys. */
extern void _PyRefMap_RecordChange(const void *op, Py_ssize_t n, void *fp);
extern void _PyRefMap_RecordBirth(const void *op, void *fp);
extern void _PyRefMap_RecordDeath(PyObject *op, void *fp);
extern void _PyRefMap_RecordFree(const void *ptr);
extern void _PyRefMap_RecordMove(const void *from, const void *to, void *fp);
extern void _PyRefMap_RecordAfterFork(void);

#else

#  define _PyRefMap_recording 0
#  define _PyRefMap_RecordChange(op, n, fp) ((void)0)
#  define _PyRefMap_RecordBirth(op, fp) ((void)0)
#  define _PyRefMap_RecordDeath(op, fp) ((void)0)
#  define _PyRefMap_RecordFree(ptr) ((void)0)
#  define _PyRefMap_RecordMove(from, to, fp) ((void)0)
#  define _PyRefMap_RecordAfterFork() ((void)0)

#endif  // REFMAP_RECORDS

#ifdef __cplusplus
}
#endif
#endif  // !Py_INTERNAL_REFMAP_RECORD_H
