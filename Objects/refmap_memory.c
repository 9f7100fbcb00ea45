/* Memory of the refcount map.

   It is not from malloc(), which serves the interpreter, too: what the map
   keeps would lie among what the interpreter frees, so that the C library could
   give less of that back, and objects would be spread over more pages, each of
   which needs slots.

   A *span* is 64 KiB, mapped at a multiple of its size, and has *pieces* of one
   size only; the address of a piece leads to its span, and who frees it knows its
   size.  What is too large for a piece is mapped on its own; some of these mappings
   are kept when they are given back, as the kernel takes longer to clear the pages
   of a new one than a snapshot takes to fill them. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "refmap_state.h"

#include <pthread.h>
#include <sys/mman.h>             // mmap()

#define SPAN_SIZE ((size_t)64 << 10)
/* Sizes are rounded up to a multiple of this, which is also how pieces are
   aligned. */
#define PIECE_UNIT 32
#define PIECE_MAX ((size_t)4160)
/* Empty spans that are kept. */
#define SPARE_SPANS 8
/* Other mappings that are kept, and their largest size. */
#define SPARE_MAPPINGS 4
#define SPARE_MAPPING_MAX ((size_t)1 << 20)

static_assert(sizeof(refmap_group_t) <= PIECE_MAX, "a group is a piece");

/* A piece that is free. */
typedef struct _piece {
    struct _piece *next;
} piece_t;

typedef struct _span {
    struct _span *prev, *next;      // in `partial`, or next in `spares`
    piece_t *free;
    char *untouched;                // the pieces from here on were never used
    size_t nused;
} __attribute__((aligned(PIECE_UNIT))) span_t;

/* Guards the lists below, for all maps. Held while the process forks, so that a
   child gets them as they are between two calls, even if the thread that calls
   fork() knows nothing of Python. */
static pthread_mutex_t memory_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t memory_once = PTHREAD_ONCE_INIT;
/* By size, in units: the spans with a piece that is not in use. */
static span_t *partial[PIECE_MAX / PIECE_UNIT + 1];
static span_t *spares;
static size_t nspares;
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

/* A new span, or NULL. */
static span_t *
span_map(void)
{
    char *ptr = memory_map(SPAN_SIZE);
    if (ptr == NULL || (uintptr_t)ptr % SPAN_SIZE == 0) {
        return (span_t *)ptr;
    }
    // Those to come will most likely lie next to this one.
    munmap(ptr, SPAN_SIZE);
    ptr = memory_map(2 * SPAN_SIZE);
    if (ptr == NULL) {
        return NULL;
    }
    size_t before = SPAN_SIZE - (uintptr_t)ptr % SPAN_SIZE;
    munmap(ptr, before);
    if (before < SPAN_SIZE) {
        munmap(ptr + before + SPAN_SIZE, SPAN_SIZE - before);
    }
    return (span_t *)(ptr + before);
}

/* A span without pieces in use, or NULL. */
static span_t *
span_new_locked(void)
{
    span_t *span = spares;
    if (span != NULL) {
        spares = span->next;
        nspares--;
    }
    else {
        span = span_map();
    }
    if (span != NULL) {
        memset(span, 0, sizeof(*span));
        span->untouched = (char *)(span + 1);
    }
    return span;
}

static void
span_free_locked(span_t *span)
{
    if (nspares >= SPARE_SPANS) {
        munmap(span, SPAN_SIZE);
        return;
    }
    span->next = spares;
    spares = span;
    nspares++;
}

static int
span_is_full(const span_t *span, size_t size)
{
    return span->free == NULL
           && span->untouched + size > (const char *)span + SPAN_SIZE;
}

/* A piece of `size` bytes, a multiple of PIECE_UNIT; NULL on out of memory. */
static void *
piece_new(size_t size)
{
    memory_lock();
    span_t **list = &partial[size / PIECE_UNIT];
    if (*list == NULL) {
        span_t *span = span_new_locked();
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
    span_t *span = (span_t *)((uintptr_t)piece & ~(SPAN_SIZE - 1));
    memory_lock();
    span_t **list = &partial[size / PIECE_UNIT];
    if (span_is_full(span, size)) {
        DL_PREPEND(*list, span);
    }
    piece->next = span->free;
    span->free = piece;
    if (--span->nused == 0) {
        DL_DELETE(*list, span);
        span_free_locked(span);
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
        munmap(ptr, size);
    }
}

/* A multiple of PIECE_UNIT for pieces. Mappings have few sizes, eight between
   a power of two and the next, so that one that is kept serves an array that grew
   a little. */
static size_t
memory_round(size_t size)
{
    size_t unit = PIECE_UNIT;
    if (size > PIECE_MAX) {
        unit = (size_t)1 << REFMAP_PAGE_BITS;
        while (unit < size / 16) {
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
    void *ptr = size > PIECE_MAX ? mapping_new(size) : piece_new(size);
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
    if (size > PIECE_MAX) {
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
