/* Entries of the refcount map for its tests only; exported for the _testrefmap
   extension. */
#ifndef Py_INTERNAL_REFMAP_TEST_H
#define Py_INTERNAL_REFMAP_TEST_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#ifdef Py_REFCOUNT_MAP

/* Let the next `n` allocations of the maps succeed and those
   after them fail; -1 turns that off. */
PyAPI_FUNC(void) _PyRefMap_LimitAllocations(Py_ssize_t n);

/* Visit all loose blocks of the current map as if many others had been
   created. The second visit packs what was not touched since the first. */
PyAPI_FUNC(void) _PyRefMap_Sweep(void);

/* Let the next birth in the current map have the number after `serial`, which is less
   than 2^28. */
PyAPI_FUNC(void) _PyRefMap_SetLastBirth(uint32_t serial);

/* Where a callback may hold a thread up. */
#define REFMAP_PAUSE_CLOSING 0   // the map of an own GIL is about to be closed
#define REFMAP_PAUSE_CLOSED 1    // it was closed, its memory is gone
#define REFMAP_PAUSE_TOTAL 2     // the total of a map of an own GIL is being read
#define REFMAP_PAUSE_LEAVING 3   // half of what its interpreter leaves has moved
/* Call `callback` with one of these whenever a thread comes there. NULL: don't. */
PyAPI_FUNC(void) _PyRefMap_SetPause(void (*callback)(int where));

/* The most items of any hash table, and the most buckets, of the current map. */
PyAPI_FUNC(void) _PyRefMap_TableSizes(size_t *items, size_t *buckets);

/* Of the current map, without settling or giving back anything. */
typedef struct {
    size_t loose;               // blocks that are not packed
    size_t patience;            // see Objects/refmap/workingset.c
    Py_ssize_t bytes;           // in use by all maps, directories left aside
} refmap_memory_t;
PyAPI_FUNC(void) _PyRefMap_GetMemory(refmap_memory_t *memory);

#endif  // Py_REFCOUNT_MAP

#ifdef __cplusplus
}
#endif
#endif  // !Py_INTERNAL_REFMAP_TEST_H
