/* Memory of the refcount map.

   It is not from malloc(), which serves the interpreter, too: what the map
   keeps would lie among what the interpreter frees, so that the C library could
   give less of that back, and objects would be spread over more pages, each of
   which needs slots.

   A *span* is mapped at a multiple of its size, and has *pieces* of one size only;
   the address of a piece leads to its span, and who frees it knows its size.  Small
   pieces have spans of 64 KiB, large ones, as the lists of blocks of snapshots are,
   spans of 2 MiB: a process may have only some 65,000 mappings.  What is still
   larger is mapped on its own.  Some mappings are kept when they are given back, as
   the kernel takes longer to clear the pages of a new one than a snapshot takes to
   fill them.

   Each touch of an object touches the map, too, at a place as far from the last one as
   the object is.  With pages of 4 KiB that needs half as many entries of the TLB again.
   So once a map is not small its small spans are cut from *regions* of huge pages. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_refmap_test.h"   // _PyRefMap_LimitAllocations()

#include <pthread.h>
#include <sys/mman.h>             // mmap()

/* Sizes of small pieces are rounded up to a multiple of this, which is also how they
   are aligned. */
#define PIECE_UNIT 32
#define SMALL_MAX ((size_t)4160)
#define SMALL_SPAN ((size_t)64 << 10)
/* Those of large ones have eight steps between a power of two and the next. */
#define LARGE_MIN_BITS 12
#define LARGE_MAX_BITS 17
#define LARGE_MAX ((size_t)1 << LARGE_MAX_BITS)
#define LARGE_SPAN ((size_t)2 << 20)
#define STEPS 8
#define REGION ((size_t)2 << 20)
/* From so many bytes in use on, small spans are from regions. */
#define REGIONS_FROM ((Py_ssize_t)2 << 20)
/* Empty small spans that are kept. */
#define SPARE_SPANS 8
/* Other mappings that are kept, and their largest size. */
#define SPARE_MAPPINGS 4
#define SPARE_MAPPING_MAX ((size_t)1 << 20)

static_assert(sizeof(refmap_group_t) <= SMALL_MAX, "a group is a piece");

/* Of large pieces the classes come after those of small ones. */
#define SMALL_CLASSES (SMALL_MAX / PIECE_UNIT + 1)
#define LARGE_CLASSES ((LARGE_MAX_BITS - LARGE_MIN_BITS + 1) * STEPS)

/* A piece that is free. */
typedef struct _piece {
    struct _piece *next;
} piece_t;

typedef struct _span {
    struct _span *prev, *next;      // in `partial`; next in `spares`, `returned`
    piece_t *free;
    char *untouched;                // the pieces from here on were never used
    size_t nused;
    int of_region;
} __attribute__((aligned(PIECE_UNIT))) span_t;

/* Guards the lists below, for all maps. Held while the process forks, so that a
   child gets them as they are between two calls, even if the thread that calls
   fork() knows nothing of Python. */
static pthread_mutex_t memory_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t memory_once = PTHREAD_ONCE_INIT;
/* By class: the spans with a piece that is not in use. */
static span_t *partial[SMALL_CLASSES + LARGE_CLASSES];
static span_t *spares;
static size_t nspares;
/* Spans of regions that have no memory but their first page. */
static span_t *returned;
/* What is left of the newest region. */
static char *region, *region_end;
/* The last ones given back, in a ring, without those that were taken again. */
static struct {
    void *ptr;                      // or NULL
    size_t size;
} mappings[SPARE_MAPPINGS];
static size_t next_mapping;

static Py_ssize_t used_bytes;
static Py_ssize_t allocations_left = -1;

static void
memory_lock(void)
{
    pthread_mutex_lock(&memory_mutex);
}

static void
memory_unlock(void)
{
    pthread_mutex_unlock(&memory_mutex);
}

static void
memory_init(void)
{
    (void)pthread_atfork(memory_lock, memory_unlock, memory_unlock);
}

void
_PyRefMap_LimitAllocations(Py_ssize_t n)
{
    allocations_left = n;
}

int
_PyRefMap_MayAllocate(void)
{
    if (allocations_left < 0) {
        return 1;
    }
    return allocations_left > 0 && allocations_left-- > 0;
}

Py_ssize_t
_PyRefMap_UsedBytes(void)
{
    return _Py_atomic_load_ssize(&used_bytes);
}

static void *
memory_map(size_t size)
{
    void *ptr = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return ptr == MAP_FAILED ? NULL : ptr;
}

/* Where the kernel refuses, because there are too many mappings, the memory stays
   mapped and unused, but its pages go. */
static void
memory_unmap(void *ptr, size_t size)
{
    if (munmap(ptr, size) < 0) {
        (void)madvise(ptr, size, MADV_DONTNEED);
    }
}

/* `size` bytes at a multiple of `size`, or NULL. */
static void *
memory_map_aligned(size_t size)
{
    char *ptr = memory_map(size);
    if (ptr == NULL || (uintptr_t)ptr % size == 0) {
        return ptr;
    }
    // Those to come will most likely lie next to this one.
    memory_unmap(ptr, size);
    ptr = memory_map(2 * size);
    if (ptr == NULL) {
        return NULL;
    }
    size_t before = size - (uintptr_t)ptr % size;
    memory_unmap(ptr, before);
    if (before < size) {
        memory_unmap(ptr + before + size, size - before);
    }
    return ptr + before;
}

/* A small span of a region, or NULL if there is none, or the map is small. */
static span_t *
span_of_region_locked(void)
{
    span_t *span = returned;
    if (span != NULL) {
        returned = span->next;
        return span;
    }
    if (region == region_end && _PyRefMap_UsedBytes() >= REGIONS_FROM) {
        region = memory_map_aligned(REGION);
        region_end = region != NULL ? region + REGION : NULL;
#ifdef MADV_HUGEPAGE
        if (region != NULL) {
            (void)madvise(region, REGION, MADV_HUGEPAGE);
        }
#endif
    }
    if (region != region_end) {
        span = (span_t *)region;
        region += SMALL_SPAN;
    }
    return span;
}

/* The size of the spans that have pieces of `size` bytes. */
static size_t
span_size(size_t size)
{
    return size <= SMALL_MAX ? SMALL_SPAN : LARGE_SPAN;
}

/* The spans with pieces of `size` bytes, which is rounded, that are not full. */
static span_t **
span_list(size_t size)
{
    if (size <= SMALL_MAX) {
        return &partial[size / PIECE_UNIT];
    }
    unsigned bits = 63 - (unsigned)__builtin_clzll(size);
    unsigned step = (unsigned)(size >> (bits - 3)) % STEPS;
    return &partial[SMALL_CLASSES + (bits - LARGE_MIN_BITS) * STEPS + step];
}

/* A span without pieces in use, or NULL. */
static span_t *
span_new_locked(size_t size)
{
    span_t *span = size == SMALL_SPAN ? spares : NULL;
    int of_region = 0;
    if (span != NULL) {
        spares = span->next;
        nspares--;
        of_region = span->of_region;
    }
    else if (size == SMALL_SPAN && (span = span_of_region_locked()) != NULL) {
        of_region = 1;
    }
    else {
        span = memory_map_aligned(size);
    }
    if (span != NULL) {
        memset(span, 0, sizeof(*span));
        span->untouched = (char *)(span + 1);
        span->of_region = of_region;
    }
    return span;
}

static void
span_free_locked(span_t *span, size_t size)
{
    if (size == SMALL_SPAN && nspares < SPARE_SPANS) {
        span->next = spares;
        spares = span;
        nspares++;
    }
    else if (span->of_region) {
        // The first page is needed to remember the span.
        (void)madvise((char *)span + REFMAP_PAGE_SIZE, size - REFMAP_PAGE_SIZE,
                      MADV_DONTNEED);
        span->next = returned;
        returned = span;
    }
    else {
        memory_unmap(span, size);
    }
}

static int
span_is_full(const span_t *span, size_t size)
{
    return span->free == NULL
           && span->untouched + size > (const char *)span + span_size(size);
}

/* A piece of `size` bytes, which is rounded; NULL on out of memory. */
static void *
piece_new(size_t size)
{
    memory_lock();
    span_t **list = span_list(size);
    if (*list == NULL) {
        span_t *span = span_new_locked(span_size(size));
        if (span == NULL) {
            memory_unlock();
            return NULL;
        }
        DL_PREPEND(*list, span);
    }
    span_t *span = *list;
    piece_t *piece = span->free;
    if (piece != NULL) {
        span->free = piece->next;
    }
    else {
        piece = (piece_t *)span->untouched;
        span->untouched += size;
    }
    span->nused++;
    if (span_is_full(span, size)) {
        DL_DELETE(*list, span);
    }
    memory_unlock();
    return piece;
}

static void
piece_free(piece_t *piece, size_t size)
{
    span_t *span = (span_t *)((uintptr_t)piece & ~(span_size(size) - 1));
    memory_lock();
    span_t **list = span_list(size);
    if (span_is_full(span, size)) {
        DL_PREPEND(*list, span);
    }
    piece->next = span->free;
    span->free = piece;
    // One large span stays: the next snapshot would only map it again.
    int is_last = size > SMALL_MAX && *list == span && span->next == NULL;
    if (--span->nused == 0 && !is_last) {
        DL_DELETE(*list, span);
        span_free_locked(span, span_size(size));
    }
    memory_unlock();
}

/* A mapping of `size` bytes; NULL on out of memory. */
static void *
mapping_new(size_t size)
{
    void *ptr = NULL;
    memory_lock();
    for (size_t i = 0; i < SPARE_MAPPINGS && ptr == NULL; i++) {
        if (mappings[i].size == size) {
            ptr = mappings[i].ptr;
            mappings[i].ptr = NULL;
        }
    }
    memory_unlock();
    return ptr != NULL ? ptr : memory_map(size);
}

static void
mapping_free(void *ptr, size_t size)
{
    if (size <= SPARE_MAPPING_MAX) {
        memory_lock();
        size_t i = next_mapping++ % SPARE_MAPPINGS;
        void *oldest = mappings[i].ptr;
        size_t oldest_size = mappings[i].size;
        mappings[i].ptr = ptr;
        mappings[i].size = size;
        memory_unlock();
        ptr = oldest;
        size = oldest_size;
    }
    if (ptr != NULL) {
        memory_unmap(ptr, size);
    }
}

/* A multiple of PIECE_UNIT for small pieces. All else has few sizes, eight between
   a power of two and the next, so that one that is kept serves an array that grew
   a little. */
static size_t
memory_round(size_t size)
{
    size_t unit = PIECE_UNIT;
    if (size > SMALL_MAX) {
        unit = ((size_t)1 << LARGE_MIN_BITS) / STEPS;
        while (unit * 2 * STEPS <= size) {
            unit *= 2;
        }
    }
    return (Py_MAX(size, 1) + unit - 1) / unit * unit;
}

void *
_PyRefMap_Malloc(size_t size)
{
    if (!_PyRefMap_MayAllocate() || size > PY_SSIZE_T_MAX / 2) {
        return NULL;
    }
    pthread_once(&memory_once, memory_init);
    size = memory_round(size);
    void *ptr = size > LARGE_MAX ? mapping_new(size) : piece_new(size);
    if (ptr != NULL) {
        _Py_atomic_add_ssize(&used_bytes, (Py_ssize_t)size);
    }
    return ptr;
}

void
_PyRefMap_RawFree(void *ptr, size_t size)
{
    if (ptr == NULL) {
        return;
    }
    size = memory_round(size);
    _Py_atomic_add_ssize(&used_bytes, -(Py_ssize_t)size);
    if (size > LARGE_MAX) {
        mapping_free(ptr, size);
    }
    else {
        piece_free(ptr, size);
    }
}

int
_PyRefMap_Grow(void *items, size_t *allocated, size_t needed, size_t size)
{
    void **array = items;
    if (needed <= *allocated) {
        return 0;
    }
    size_t wanted = needed + needed / 2 + 16;
    void *larger = _PyRefMap_Malloc(wanted * size);
    if (larger == NULL) {
        return -1;
    }
    if (*array != NULL) {
        memcpy(larger, *array, *allocated * size);
        _PyRefMap_RawFree(*array, *allocated * size);
    }
    *array = larger;
    *allocated = wanted;
    return 0;
}

#endif  // Py_REFCOUNT_MAP
