/* Memory blocks of allocators, and the segments of loaded modules: where they start
   and end. Nothing is known of an address beforehand, which may be any word that was
   found in memory; what is not in an arena of pymalloc is read as memory that may be
   gone.

   A block is told by what its allocator wrote beside it: the debug hooks a size, a
   letter and seven forbidden bytes; pymalloc a header for each pool; malloc() of the
   GNU C library the sizes of the block and of the next one. Blocks of other
   allocators are not found. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_obmalloc.h"      // struct pool_header
#include "pycore_runtime.h"       // _PyRuntime

#include <fcntl.h>                // open()
#include <stdlib.h>               // qsort()
#include <unistd.h>               // read(), sysconf()
#ifdef __linux__
#  include <link.h>               // dl_iterate_phdr()
#endif


/* --- pymalloc ---------------------------------------------------------------- */

#if WITH_PYMALLOC_RADIX_TREE
/* See arena_map_is_used() in obmalloc.c. */
static int
in_arena(struct _obmalloc_state *state, uintptr_t address)
{
#ifdef USE_INTERIOR_NODES
    arena_map_mid_t *mid =
        state->usage.arena_map_root.ptrs[MAP_TOP_INDEX(address)];
    arena_map_bot_t *bottom = mid ? mid->ptrs[MAP_MID_INDEX(address)] : NULL;
#else
    arena_map_bot_t *bottom = &state->usage.arena_map_root;
#endif
    if (bottom == NULL) {
        return 0;
    }
    arena_coverage_t arena = bottom->arenas[MAP_BOT_INDEX(address)];
    int32_t tail = (int32_t)(address & ARENA_SIZE_MASK);
    return tail < arena.tail_lo || (tail >= arena.tail_hi && arena.tail_hi != 0);
}

/* The pool that has a block at `address`, in use or not; or NULL. */
static struct pool_header *
pool_of(PyInterpreterState *interp, uintptr_t address)
{
    struct _obmalloc_state *state = interp->obmalloc;
    struct pool_header *pool = POOL_ADDR(address);
    // An arena need not start where a pool does.
    if (state == NULL || !in_arena(state, address)
        || !in_arena(state, (uintptr_t)pool))
    {
        return NULL;
    }
    uintptr_t offset = address - (uintptr_t)pool;
    return pool->ref.count > 0 && pool->szidx < NB_SMALL_SIZE_CLASSES
           && offset >= POOL_OVERHEAD && offset < pool->nextoffset ? pool : NULL;
}

/* Is the block that starts at `address` in the list of free ones? */
static int
is_free_in(struct pool_header *pool, uintptr_t address)
{
    const pymem_block *block = pool->freeblock;
    for (size_t n = 0; block != NULL && n < POOL_SIZE / ALIGNMENT; n++) {
        if ((uintptr_t)block == address) {
            return 1;
        }
        block = *(pymem_block *const *)block;
    }
    return 0;
}
#endif  // WITH_PYMALLOC_RADIX_TREE

/* Is there a block in an arena that starts at `address`? -1: that is no address in
   an arena. */
static int
pymalloc_block_at(PyInterpreterState *interp, uintptr_t address,
                  refmap_extent_t *extent)
{
#if WITH_PYMALLOC_RADIX_TREE
    struct pool_header *pool = pool_of(interp, address);
    if (pool == NULL) {
        struct _obmalloc_state *state = interp->obmalloc;
        return state != NULL && in_arena(state, address) ? 0 : -1;
    }
    size_t size = INDEX2SIZE(pool->szidx);
    uintptr_t offset = address - (uintptr_t)pool - POOL_OVERHEAD;
    *extent = (refmap_extent_t){address, size, pool, 1};
    return offset % size == 0;
#else
    return -1;
#endif
}

int
_PyRefMap_IsFree(const refmap_extent_t *extent)
{
#if WITH_PYMALLOC_RADIX_TREE
    return extent->pool != NULL && is_free_in(extent->pool, extent->start);
#else
    return 0;
#endif
}


/* --- debug hooks ------------------------------------------------------------- */

/* See _PyMem_DebugRawAlloc(): the size, highest byte first; the domain; forbidden
   bytes. */
#define HEADER_SIZE (2 * sizeof(size_t))

static int
read_header(const unsigned char header[HEADER_SIZE], size_t *size)
{
    static const unsigned char forbidden[sizeof(size_t) - 1] = {
        PYMEM_FORBIDDENBYTE, PYMEM_FORBIDDENBYTE, PYMEM_FORBIDDENBYTE,
        PYMEM_FORBIDDENBYTE, PYMEM_FORBIDDENBYTE, PYMEM_FORBIDDENBYTE,
        PYMEM_FORBIDDENBYTE};
    unsigned char domain = header[sizeof(size_t)];
    if ((domain != 'r' && domain != 'm' && domain != 'o')
        || memcmp(header + sizeof(size_t) + 1, forbidden, sizeof(forbidden)) != 0)
    {
        return 0;
    }
    *size = 0;
    for (size_t i = 0; i < sizeof(size_t); i++) {
        *size = *size << 8 | header[i];
    }
    return 1;
}

static int
debug_block_at(PyInterpreterState *interp, uintptr_t address,
               refmap_extent_t *extent)
{
    unsigned char header[HEADER_SIZE];
    uintptr_t start = address - HEADER_SIZE;
    size_t size;
    int found = pymalloc_block_at(interp, start, extent);
    if (found == 0
        || (found < 0 && _PyRefMap_Read(start, header, HEADER_SIZE) < 0))
    {
        return 0;
    }
    if (!read_header(found < 0 ? header : (const unsigned char *)start, &size)) {
        return 0;
    }
    // A block that is free has no header any more.
    *extent = (refmap_extent_t){address, size, NULL, found > 0};
    return 1;
}


/* --- malloc() ---------------------------------------------------------------- */

#ifdef __GLIBC__
/* See "struct malloc_chunk" in malloc/malloc.c of the C library. */
#define PREV_INUSE 1
#define IS_MMAPPED 2
#define FLAGS 7
#define MAX_CHUNK ((size_t)1 << 40)

/* Is there the size of a block that is in use, behind one that is, too? Behind the last
   one there is nothing. */
static int
is_next_chunk(uintptr_t chunk)
{
    size_t size, next;
    if (_PyRefMap_Read(chunk + sizeof(size_t), &size, sizeof(size)) < 0
        || (size & (PREV_INUSE | IS_MMAPPED)) != PREV_INUSE || size > MAX_CHUNK)
    {
        return 0;
    }
    size &= ~(size_t)FLAGS;
    if (size < 2 * sizeof(size_t) || size % 16 != 0) {
        return 0;
    }
    if (_PyRefMap_Read(chunk + size + sizeof(size_t), &next, sizeof(next)) < 0) {
        return (chunk + size) % REFMAP_PAGE_SIZE == 0;
    }
    return (chunk + size) % REFMAP_PAGE_SIZE == 0
           || ((next & ~(size_t)FLAGS) >= 2 * sizeof(size_t)
               && (next & ~(size_t)FLAGS) % 16 == 0 && next <= MAX_CHUNK);
}

static size_t
malloc_size_at(uintptr_t address)
{
    size_t head[2];
    uintptr_t chunk = address - sizeof(head);
    if (_PyRefMap_Read(chunk, head, sizeof(head)) < 0) {
        return 0;
    }
    size_t size = head[1] & ~(size_t)FLAGS;
    if (size < 2 * sizeof(head) || size % 16 != 0 || size > MAX_CHUNK) {
        return 0;
    }
    if (head[1] & IS_MMAPPED) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        return (head[1] & FLAGS) == IS_MMAPPED && head[0] < page
               && (chunk - head[0]) % page == 0 && (head[0] + size) % page == 0
               ? size - sizeof(head) : 0;
    }
    return is_next_chunk(chunk + size) ? size - sizeof(size_t) : 0;
}
#else
static size_t
malloc_size_at(uintptr_t Py_UNUSED(address))
{
    return 0;
}
#endif


/* --- blocks ------------------------------------------------------------------ */

int
_PyRefMap_BlockAt(PyInterpreterState *interp, uintptr_t address,
                  refmap_extent_t *extent)
{
    if (address % ALIGNMENT != 0 || address < REFMAP_PAGE_SIZE) {
        return 0;
    }
    if (_PyRuntime.allocators.is_debug_enabled
        && debug_block_at(interp, address, extent))
    {
        return 1;
    }
    int found = pymalloc_block_at(interp, address, extent);
    if (found >= 0) {
        // With debug hooks this is the header of a block.
        return found && !_PyRuntime.allocators.is_debug_enabled;
    }
    *extent = (refmap_extent_t){address, malloc_size_at(address), NULL, 0};
    return extent->size != 0;
}


/* --- segments ---------------------------------------------------------------- */

static int
append_segment(refmap_segments_t *segments, refmap_segment_t segment)
{
    if (_PyRefMap_Grow(&segments->items, &segments->allocated, segments->len + 1,
                       sizeof(*segments->items)) < 0)
    {
        return -1;
    }
    segments->items[segments->len++] = segment;
    return 0;
}

#ifdef __linux__
/* Is this the file of the C library? None of its variables has a reference, but some lead
   to memory that is free, in which old words are. */
static int
is_c_library(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    return strncmp(name, "libc.so", 7) == 0 || strncmp(name, "libc-", 5) == 0
           || strncmp(name, "ld-musl", 7) == 0;
}

static int
note_segments(struct dl_phdr_info *info, size_t Py_UNUSED(size), void *arg)
{
    refmap_segments_t *segments = arg;
    int may_own = !is_c_library(info->dlpi_name);
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD) {
            continue;
        }
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        refmap_segment_t segment = {start, start + header->p_memsz,
                                    may_own && (header->p_flags & PF_W) != 0};
        if (append_segment(segments, segment) < 0) {
            return -1;
        }
    }
    return 0;
}
#endif

static int
compare_segments(const void *left, const void *right)
{
    const refmap_segment_t *a = left, *b = right;
    return (a->start > b->start) - (a->start < b->start);
}

int
_PyRefMap_Segments(refmap_segments_t *segments)
{
#ifdef __linux__
    if (dl_iterate_phdr(note_segments, segments) < 0) {
        return -1;
    }
#endif
    if (segments->len > 1) {
        qsort(segments->items, segments->len, sizeof(*segments->items),
              compare_segments);
    }
    return 0;
}

/* The start of a line of /proc/self/maps: 7f0123456000-7f0123457000 rw-p ... */
typedef struct {
    uintptr_t numbers[2];
    int field;                  // that the next character belongs to; 4: the rest
    int writable;
} maps_line_t;

static void
read_maps_character(maps_line_t *line, char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit = strchr(digits, c);
    if (line->field < 2 && c != '\0' && digit != NULL) {
        line->numbers[line->field] = line->numbers[line->field] << 4
                                     | (uintptr_t)(digit - digits);
    }
    else if (line->field < 3) {
        line->field++;          // '-', ' ', and 'r'
    }
    else if (line->field == 3) {
        line->writable = c == 'w';
        line->field = 4;
    }
}

int
_PyRefMap_WritableMemory(refmap_segments_t *segments)
{
    char buffer[1024];
    maps_line_t line = {0};
    ssize_t n;
    int res = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    while (res == 0 && (n = read(fd, buffer, sizeof(buffer))) > 0) {
        for (ssize_t i = 0; i < n && res == 0; i++) {
            if (buffer[i] != '\n') {
                read_maps_character(&line, buffer[i]);
                continue;
            }
            if (line.writable) {
                res = append_segment(segments, (refmap_segment_t){
                    line.numbers[0], line.numbers[1], 1});
            }
            line = (maps_line_t){0};
        }
    }
    close(fd);
    return res;
}

const refmap_segment_t *
_PyRefMap_FindSegment(const refmap_segments_t *segments, uintptr_t address)
{
    size_t low = 0, high = segments->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (segments->items[middle].start <= address) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low > 0 && address < segments->items[low - 1].end
           ? &segments->items[low - 1] : NULL;
}

int
_PyRefMap_InSegment(const refmap_segments_t *segments, uintptr_t address)
{
    return _PyRefMap_FindSegment(segments, address) != NULL;
}

void
_PyRefMap_ClearSegments(refmap_segments_t *segments)
{
    _PyRefMap_RawFree(segments->items,
                      segments->allocated * sizeof(*segments->items));
    memset(segments, 0, sizeof(*segments));
}

#endif  // Py_REFCOUNT_MAP
