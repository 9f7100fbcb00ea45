/* Two ways from the address of an object to the block of its page.

   cc -O3 -Wall -o /tmp/lookaside Tools/refmap/bench/lookaside.c && /tmp/lookaside

   Printed are nanoseconds per touch, the least of some passes over all objects:
     none        only the reference count in the object is changed
     directory   and its slot, found by the two-level page directory of
                 Objects/refmap.c: two dependent loads, never a wrong answer
     lookaside   and its slot, found by a direct-mapped cache of {page, block}
                 entries that is kept twice as large as the number of blocks;
                 one load, and a search in the table of all blocks on a miss
   and what the tables in front of the blocks occupy.

   usage: lookaside [OBJECTS...]

   Objects have 48 bytes and lie in arenas of 1 MiB, as small instances do; the
   gaps between arenas, for all else that a process maps, are at random. Misses
   are of the lookaside, in one pass. Each touch is an out-of-line call, as in the
   interpreter. 64-bit Linux only. */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE_BITS = 12, SLOT_BITS = 4, LEAF_BITS = 18, ROOT_BITS = 18 };
enum { OBJECT_SIZE = 48, ARENA_SIZE = 1 << 20, MAX_GAP = 7 << 20 };
enum { PASSES = 5 };

typedef struct {
    int64_t refcnt;
    char rest[OBJECT_SIZE - 8];
} object_t;

typedef struct {
    uint32_t count;
    uint32_t birth;
} slot_t;

typedef struct {
    char header[104];       // as large as a refmap_block_t
    slot_t slots[1 << (PAGE_BITS - SLOT_BITS)];
} block_t;

typedef struct {
    block_t *entries[1 << LEAF_BITS];
} leaf_t;

typedef struct {
    uintptr_t page;
    block_t *block;
} entry_t;

static leaf_t *root[1 << ROOT_BITS];

static entry_t *cache;      // direct-mapped: a page has one possible place
static size_t cache_mask;

static entry_t *table;      // of all blocks: open addressing, half full at most
static size_t table_mask;

static size_t nblocks, nleaves, nmisses;

static void *
reserve(size_t size)
{
    void *ptr = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ptr == MAP_FAILED) {
        perror("lookaside");
        exit(1);
    }
    madvise(ptr, size, MADV_NOHUGEPAGE);
    return ptr;
}

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static entry_t *
table_entry(uintptr_t page)
{
    size_t i = (page * UINT64_C(0x9E3779B97F4A7C15)) >> 20;
    while (table[i & table_mask].block != NULL
           && table[i & table_mask].page != page)
    {
        i++;
    }
    return &table[i & table_mask];
}

static inline slot_t *
slot_of(block_t *block, const void *op)
{
    uintptr_t address = (uintptr_t)op;
    return &block->slots[(address & ((1 << PAGE_BITS) - 1)) >> SLOT_BITS];
}


/* --- touches ---------------------------------------------------------------- */

static __attribute__((noinline)) void
touch_none(object_t *op)
{
    op->refcnt++;
}

static __attribute__((noinline)) void
touch_directory(object_t *op)
{
    op->refcnt++;
    uintptr_t page = (uintptr_t)op >> PAGE_BITS;
    leaf_t *leaf = root[page >> LEAF_BITS];
    if (__builtin_expect(leaf == NULL, 0)) {
        abort();
    }
    block_t *block = leaf->entries[page & ((1 << LEAF_BITS) - 1)];
    if (__builtin_expect(block == NULL, 0)) {
        abort();
    }
    slot_of(block, op)->count++;
}

static __attribute__((noinline)) block_t *
miss(uintptr_t page)
{
    nmisses++;
    return (cache[page & cache_mask] = *table_entry(page)).block;
}

static __attribute__((noinline)) void
touch_lookaside(object_t *op)
{
    op->refcnt++;
    uintptr_t page = (uintptr_t)op >> PAGE_BITS;
    entry_t *entry = &cache[page & cache_mask];
    block_t *block = entry->block;
    if (__builtin_expect(entry->page != page, 0)) {
        block = miss(page);
    }
    slot_of(block, op)->count++;
}


/* --- heap and map ------------------------------------------------------------ */

/* 0 <= result < end; the same numbers in every run. */
static size_t
next_random(size_t end)
{
    static uint64_t state = 1;
    state = state * UINT64_C(6364136223846793005)
            + UINT64_C(1442695040888963407);
    return (state >> 32) % end;
}

static void
make_objects(object_t **objects, size_t n)
{
    size_t per_arena = ARENA_SIZE / OBJECT_SIZE;
    char *arena = NULL;
    for (size_t i = 0; i < n; i++) {
        if (i % per_arena == 0) {
            arena = reserve(ARENA_SIZE + MAX_GAP);
            arena += next_random(MAX_GAP >> PAGE_BITS) << PAGE_BITS;
        }
        objects[i] = (object_t *)(arena + i % per_arena * OBJECT_SIZE);
        objects[i]->refcnt = 1;
    }
}

static void
add_block(uintptr_t page)
{
    entry_t *entry = table_entry(page);
    if (entry->block != NULL) {
        return;
    }
    block_t *block = calloc(1, sizeof(*block));
    leaf_t **leaf = &root[page >> LEAF_BITS];
    if (block == NULL) {
        perror("lookaside");
        exit(1);
    }
    if (*leaf == NULL) {
        *leaf = reserve(sizeof(**leaf));
        nleaves++;
    }
    (*leaf)->entries[page & ((1 << LEAF_BITS) - 1)] = block;
    *entry = (entry_t){page, block};
    nblocks++;
}

static void
make_map(object_t **objects, size_t n)
{
    size_t pages = n * OBJECT_SIZE / (1 << PAGE_BITS) + 2;
    size_t size = 1;
    while (size < 2 * pages) {
        size *= 2;
    }
    nblocks = nleaves = 0;
    table_mask = cache_mask = size - 1;
    table = reserve(size * sizeof(*table));
    cache = reserve(size * sizeof(*cache));
    for (size_t i = 0; i < n; i++) {
        add_block((uintptr_t)objects[i] >> PAGE_BITS);
    }
}

static void
shuffle(object_t **objects, size_t n)
{
    for (size_t i = n - 1; i > 0; i--) {
        size_t k = next_random(i + 1);
        object_t *op = objects[i];
        objects[i] = objects[k];
        objects[k] = op;
    }
}


/* --- measurement --------------------------------------------------------------- */

static double
pass(void (*touch)(object_t *), object_t **objects, size_t n)
{
    double start = now();
    for (size_t i = 0; i < n; i++) {
        touch(objects[i]);
    }
    return (now() - start) / n;
}

static void
print_row(object_t **objects, size_t n, const char *order)
{
    void (*const touches[])(object_t *) = {
        touch_none, touch_directory, touch_lookaside};
    double best[3] = {1e9, 1e9, 1e9};
    for (int i = 0; i < PASSES + 1; i++) {
        nmisses = 0;
        for (int k = 0; k < 3; k++) {
            double time = pass(touches[k], objects, n);
            // The first pass fills the caches.
            best[k] = i > 0 && time < best[k] ? time : best[k];
        }
    }
    printf("%9zu  %-8s %8.2f %10.2f %10.2f %9.3f%%\n", n, order, best[0],
           best[1], best[2], 100.0 * nmisses / n);
}

static void
measure(size_t n)
{
    object_t **objects = reserve(n * sizeof(*objects));
    make_objects(objects, n);
    make_map(objects, n);
    print_row(objects, n, "in order");
    shuffle(objects, n);
    print_row(objects, n, "random");
    printf("%9s  %zu blocks; directory: %zu KiB in use, lookaside: %zu KiB\n",
           "", nblocks, nblocks * sizeof(block_t *) >> 10,
           (cache_mask + 1) * sizeof(entry_t) >> 10);
    // What this heap occupied is left to the system: the next one must not
    // reuse warm pages.
}

int
main(int argc, char **argv)
{
    static const size_t sizes[] = {100000, 1000000, 4000000};
    printf("%9s  %-8s %8s %10s %10s %10s\n", "objects", "order", "none",
           "directory", "lookaside", "misses");
    if (argc == 1) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            measure(sizes[i]);
        }
    }
    for (int i = 1; i < argc; i++) {
        long n = atol(argv[i]);
        if (n < 2) {
            fprintf(stderr, "lookaside: %s is no number of objects\n", argv[i]);
            return 2;
        }
        measure(n);
    }
    return 0;
}
