/* The lookaside of a refcount map: a directory of all pages, for the hot path. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"

#include <sys/mman.h>             // mmap()

/* See _PyRefMap_current in cpython/refmap_hot.h. */
__thread _PyRefMap_hot *_PyRefMap_current;

/* See _PyRefMap_Entry(): what the directory holds for `block`. */
static uintptr_t
refmap_entry(const refmap_block_t *block)
{
    return (uintptr_t)refmap_loose_words(block, 0)
           - (block->page << REFMAP_PAGE_BITS);
}

/* The block to which an entry that is not 0 leads. */
static refmap_block_t *
refmap_block_of(uintptr_t entry, uintptr_t page)
{
    uintptr_t words = entry + (page << REFMAP_PAGE_BITS);
    uintptr_t offset = words & 15;
    refmap_group_t *group = (refmap_group_t *)(
        words - offset - offsetof(refmap_group_t, words));
    return group->blocks[offset / sizeof(group->words[0][0])];
}

static uintptr_t *
refmap_directory(const refmap_state_t *map)
{
    return _PyRefMap_Directory(map->hot + 1);
}

/* The directory begins at a page of the kernel's, which are of 64 KiB at the most;
   see madvise(2). */
#define REFMAP_HOT_ROOM ((size_t)64 << 10)
static_assert(sizeof(_PyRefMap_hot) <= REFMAP_PAGE_SIZE, "must fit before the directory");

/* Zeroed memory that costs nothing until it is touched: the hot part at the end
   of a page, and a directory of `size` bytes, which is read-only unless
   `writable`. NULL if there is no address space. */
static _PyRefMap_hot *
refmap_reserve(size_t size, int writable)
{
    if (!_PyRefMap_MayAllocate()) {
        return NULL;
    }
    size += REFMAP_HOT_ROOM;
    void *ptr = mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0),
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ptr == MAP_FAILED) {
        return NULL;
    }
    if (!writable
        && mprotect(ptr, REFMAP_HOT_ROOM, PROT_READ | PROT_WRITE) < 0)
    {
        (void)munmap(ptr, size);
        return NULL;
    }
#ifdef MADV_NOHUGEPAGE
    (void)madvise(ptr, size, MADV_NOHUGEPAGE);
#endif
    char *directory = (char *)ptr + REFMAP_HOT_ROOM;
#ifdef MADV_DONTDUMP
    // A core of hundreds of gibibytes, though sparse, is written for minutes.
    (void)madvise(directory, size - REFMAP_HOT_ROOM, MADV_DONTDUMP);
#endif
    _PyRefMap_hot *hot = (_PyRefMap_hot *)directory - 1;
    hot->births = REFMAP_BIRTH_BORN;
    hot->births_end = REFMAP_BIRTH_LAST;
    return hot;
}

/* Undo refmap_reserve(). Where the kernel refuses, the address space is lost. */
static void
refmap_release(_PyRefMap_hot *hot, size_t size)
{
    (void)munmap((char *)_PyRefMap_Directory(hot + 1) - REFMAP_HOT_ROOM,
                 size + REFMAP_HOT_ROOM);
}

/* A limit of data (see RLIMIT_DATA), or a kernel that commits no more than there
   is, allows no directory that could be written to. Tools like valgrind lack the
   address space for any but have low addresses only. */
int
_PyRefMap_ReserveHot(refmap_state_t *map, int want_writable)
{
    static const int address_bits[] = {REFMAP_ADDRESS_BITS, REFMAP_LOW_BITS};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(address_bits); i++) {
        uintptr_t limit = (uintptr_t)1 << address_bits[i];
        size_t size = refmap_page(limit) * sizeof(uintptr_t);
        for (int writable = want_writable; writable >= 0; writable--) {
            _PyRefMap_hot *hot = refmap_reserve(size, writable);
            if (hot == NULL) {
                continue;
            }
            // What is mapped later will be where this is, and the stack.
            if ((uintptr_t)hot < limit && (uintptr_t)&limit < limit) {
                map->hot = hot;
                map->directory_size = size;
                map->npages = writable ? refmap_page(limit) : 0;
                return 0;
            }
            refmap_release(hot, size);
        }
    }
    return -1;
}

void
_PyRefMap_ReleaseHot(refmap_state_t *map)
{
    refmap_release(map->hot, map->directory_size);
    map->hot = NULL;
}

/* Is `recent` what stands in for the directory? */
static int
refmap_uses_recent(const refmap_state_t *map)
{
    return map->npages == 0 || map->is_bypassed;
}

static refmap_block_t *
refmap_recent(const refmap_state_t *map, uintptr_t page)
{
    refmap_block_t *block = map->recent[page % REFMAP_RECENT];
    return block != NULL && block->page == page ? block : NULL;
}

refmap_block_t *
_PyRefMap_Lookaside(const refmap_state_t *map, uintptr_t page)
{
    if (refmap_uses_recent(map)) {
        return refmap_recent(map, page);
    }
    uintptr_t entry = page < map->npages ? refmap_directory(map)[page] : 0;
    if (entry != 0) {
        return refmap_block_of(entry, page);
    }
    return map->has_watched ? refmap_recent(map, page) : NULL;
}

/* The gibibyte of `page` among those that have entries; NULL on out of
   memory. */
static refmap_range_t *
refmap_range_lock_held(refmap_state_t *map, uintptr_t page)
{
    uintptr_t start = page & ~(uintptr_t)(REFMAP_RANGE_PAGES - 1);
    for (size_t i = 0; i < map->nranges; i++) {
        if (map->ranges[i].start == start) {
            return &map->ranges[i];
        }
    }
    if (_PyRefMap_Grow(&map->ranges, &map->ranges_allocated, map->nranges + 1,
                       sizeof(*map->ranges)) < 0) {
        return NULL;
    }
    refmap_range_t *range = &map->ranges[map->nranges++];
    *range = (refmap_range_t){start, start + REFMAP_RANGE_PAGES, start};
    return range;
}

void
_PyRefMap_Remember_lock_held(refmap_state_t *map, refmap_block_t *block)
{
    uintptr_t page = block->page;
    block->lines = REFMAP_ALL_LINES;
    if (refmap_uses_recent(map) || block->is_watched) {
        map->recent[page % REFMAP_RECENT] = block;
        return;
    }
    refmap_range_t *range = page < map->npages
                            ? refmap_range_lock_held(map, page) : NULL;
    if (range != NULL) {
        range->low = Py_MIN(range->low, page);
        range->high = Py_MAX(range->high, page + 1);
        refmap_directory(map)[page] = refmap_entry(block);
    }
}

void
_PyRefMap_Forget(refmap_state_t *map, uintptr_t page)
{
    if (_PyRefMap_Lookaside(map, page) == NULL) {
        return;
    }
    if (refmap_recent(map, page) != NULL) {
        map->recent[page % REFMAP_RECENT] = NULL;
    }
    else {
        refmap_directory(map)[page] = 0;
    }
}

void
_PyRefMap_ForgetAll_lock_held(refmap_state_t *map)
{
    if (refmap_uses_recent(map) || map->has_watched) {
        memset(map->recent, 0, sizeof(map->recent));
    }
    for (size_t i = 0; i < map->nranges; i++) {
        refmap_range_t *range = &map->ranges[i];
        if (range->low < range->high) {
            memset(&refmap_directory(map)[range->low], 0,
                   (range->high - range->low) * sizeof(uintptr_t));
        }
        range->low = range->start + REFMAP_RANGE_PAGES;
        range->high = range->start;
    }
}

void
_PyRefMap_Bypass_lock_held(refmap_state_t *map, int on)
{
    // What is known is of no use any more: once before, and once after.
    _PyRefMap_ForgetAll_lock_held(map);
    map->is_bypassed = on;
    _PyRefMap_ForgetAll_lock_held(map);
}

Py_ssize_t
_PyRefMap_DirectoryBytes(const refmap_state_t *map)
{
    Py_ssize_t pages = 0;
    for (size_t i = 0; i < map->nranges; i++) {
        if (map->ranges[i].low < map->ranges[i].high) {
            pages += (Py_ssize_t)(map->ranges[i].high - map->ranges[i].low);
        }
    }
    return pages * (Py_ssize_t)sizeof(uintptr_t);
}

#endif  // Py_REFCOUNT_MAP
