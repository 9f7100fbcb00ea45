/* Places in memory: where an object's address is.

   Where a reference is stored is not told by any hook, so it is searched: first in the
   state of the thread, which has exceptions, and in young memory, then in the objects to
   which the words of the stack lead (an argument to whose field something is assigned),
   then, unless that was done too often, everywhere. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include "pycore_moduleobject.h"  // PyModuleObject
#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_runtime.h"       // _PyRuntime

#include <sys/uio.h>              // process_vm_readv()
#include <unistd.h>               // getpid()

/* Words of young memory that a search looks at. */
#define YOUNG_WORDS ((size_t)32 << 10)
/* Words of the stack, and objects that they lead to. */
#define STACK_WORDS 384
#define MAX_CANDIDATES 32
/* Of a list, a table of a dict and the like. */
#define MAX_SECOND ((size_t)64 << 10)
/* Searches everywhere may take so much work in all. */
#define THOROUGH_BUDGET ((uint64_t)1000000000)
/* Work: to compare four words, to read from memory that may be gone, to read a page of it,
   to read the list of mappings. */
#define WORK_WORDS 4
#define WORK_READ 4000
#define WORK_PAGE 1500
#define WORK_MAPPINGS 100000

uint64_t _PyRefMap_search_work;

static uint64_t thorough_work;
static char buffer[MAX_SECOND];

int
_PyRefMap_StartPlaces(void)
{
    _PyRefMap_ClearYoung();
    _PyRefMap_ClearPositions();
    thorough_work = _PyRefMap_search_work = 0;
    return 0;
}

void
_PyRefMap_StopPlaces(void)
{
    _PyRefMap_ClearYoung();
    _PyRefMap_ClearPositions();
    _PyRefMap_ClearShapes();
    // Addresses that are left here would look like references.
    memset(buffer, 0, sizeof(buffer));
}


/* --- searching --------------------------------------------------------------------------- */

typedef struct {
    uintptr_t object;           // what is searched
    refmap_position_t *found;
    int n;
} refmap_search_t;

/* Is it the type of an object? A block that is none may hold anything there, the second
   item of a list say; but if a type is searched, it may be about to become an object. */
static int
refmap_is_type_word(const refmap_search_t *search, uintptr_t location, uintptr_t base,
                    uintptr_t type)
{
    return location == base + offsetof(PyObject, ob_type)
           && (type != 0 || PyType_Check((PyObject *)search->object));
}

/* Search words that were copied, or may be read: they are at `location`. */
static void
refmap_search_words(refmap_search_t *search, const uintptr_t *words, size_t size,
                    uintptr_t location, uintptr_t base, uintptr_t type)
{
    const uintptr_t object = search->object;
    _PyRefMap_search_work += size / sizeof(*words) / WORK_WORDS;
    for (size_t i = 0; i < size / sizeof(*words); i++) {
        uintptr_t here = location + i * sizeof(*words);
        if (words[i] != object || search->n == REFMAP_FOUND
            || refmap_is_type_word(search, here, base, type)
            || _PyRefMap_IsWatchedPosition(here))
        {
            continue;
        }
        search->found[search->n++] = (refmap_position_t){
            .location = here, .object = object, .base = base, .type = type};
    }
}

/* The same, of memory that may be gone. */
static void
refmap_search_memory(refmap_search_t *search, uintptr_t start, size_t size,
                     uintptr_t base, uintptr_t type)
{
    size = Py_MIN(size, sizeof(buffer));
    _PyRefMap_search_work += WORK_READ;
    if (size > 0 && _PyRefMap_Read(start, buffer, size) == 0) {
        refmap_search_words(search, (uintptr_t *)buffer, size, start, base, type);
    }
}

static void
refmap_search_young(refmap_search_t *search)
{
    size_t words = 0, n = refmap_nregions();
    for (size_t i = 0; i < n && words < YOUNG_WORDS; i++) {
        const refmap_region_t *region = refmap_region(i);
        size_t size = Py_MIN(region->size, MAX_SECOND);
        if (size == 0) {
            continue;
        }
        words += size / sizeof(uintptr_t);
        int before = search->n;
        refmap_search_words(search, (const uintptr_t *)region->start, size,
                            region->start, 0, 0);
        if (search->n == before) {
            continue;
        }
        uintptr_t type, base = _PyRefMap_BaseOf(region->start, &type);
        int kept = before;
        for (int k = before; k < search->n; k++) {
            if (base != search->object
                && !refmap_is_type_word(search, search->found[k].location, base,
                                        type))
            {
                search->found[k].base = base;
                search->found[k].type = type;
                search->found[kept++] = search->found[k];
            }
        }
        search->n = kept;
    }
}

/* Memory that belongs to an object though it is elsewhere. */
static void
refmap_search_owned(refmap_search_t *search, uintptr_t address,
                    const refmap_shape_t *shape)
{
    if (shape->flags & Py_TPFLAGS_LIST_SUBCLASS) {
        PyListObject list;
        if (_PyRefMap_Read(address, &list, sizeof(list)) == 0) {
            refmap_search_memory(search, (uintptr_t)list.ob_item,
                                 (size_t)list.allocated * sizeof(PyObject *),
                                 (uintptr_t)list.ob_item, 0);
        }
    }
    else if (shape->flags & Py_TPFLAGS_DICT_SUBCLASS) {
        PyDictObject dict;
        if (_PyRefMap_Read(address, &dict, sizeof(dict)) == 0) {
            uintptr_t keys = (uintptr_t)dict.ma_keys;
            refmap_search_memory(search, keys, _PyRefMap_KeysSize(keys), keys, 0);
        }
    }
    else if (shape->is_module) {
        PyModuleObject module;
        PyModuleDef def;
        if (_PyRefMap_Read(address, &module, sizeof(module)) == 0
            && module.md_state != NULL
            && _PyRefMap_Read((uintptr_t)module.md_def, &def, sizeof(def)) == 0
            && def.m_size > 0)
        {
            refmap_search_memory(search, (uintptr_t)module.md_state,
                                 (size_t)def.m_size, address, (uintptr_t)&PyModule_Type);
        }
    }
}

#define OBJECT_WORDS 64

static void
refmap_search_object(refmap_search_t *search, uintptr_t address)
{
    if (refmap_is_keys_at(address)) {
        refmap_search_memory(search, address, _PyRefMap_KeysSize(address), address, 0);
        return;
    }
    _PyRefMap_search_work += WORK_READ;
    // Most are small: their head and all the rest are read at once.
    uintptr_t words[OBJECT_WORDS];
    size_t can = Py_MIN(sizeof(words), REFMAP_PAGE_SIZE
                                       - (address & (REFMAP_PAGE_SIZE - 1)));
    if (can < sizeof(PyVarObject) || _PyRefMap_Read(address, words, can) < 0) {
        return;
    }
    const PyVarObject *head = (const PyVarObject *)words;
    uintptr_t type = (uintptr_t)Py_TYPE(head);
    const refmap_shape_t *shape = _PyRefMap_ShapeOf(type);
    if (shape == NULL) {
        return;
    }
    size_t size = _PyRefMap_InstanceSize(address, head, shape);
    if (size <= can) {
        refmap_search_words(search, words, size, address, address, type);
    }
    else {
        refmap_search_memory(search, address, size, address, type);
    }
    refmap_search_owned(search, address, shape);
}

static void
refmap_search_thread(refmap_search_t *search)
{
    const PyThreadState *tstate = _PyThreadState_GET();
    if (tstate != NULL) {
        uintptr_t start = (uintptr_t)tstate;
        refmap_search_words(search, (const uintptr_t *)start, sizeof(*tstate), start,
                            start, REFMAP_THREAD_STATE);
    }
}

/* Search the objects that words of the stack lead to. */
static void
refmap_search_reachable(refmap_search_t *search, const refmap_thread_t *thread,
                        uintptr_t sp)
{
    uintptr_t seen[MAX_CANDIDATES];
    int nseen = 0;
    sp &= ~(uintptr_t)7;
    for (int i = 0; i < STACK_WORDS && sp < thread->stack.high - 8
                    && nseen < MAX_CANDIDATES; i++, sp += 8) {
        uintptr_t word = *(uintptr_t *)sp;
        int known = word == search->object || word < REFMAP_PAGE_SIZE
                    || !refmap_lives_at(word);
        for (int k = 0; k < nseen && !known; k++) {
            known = seen[k] == word;
        }
        if (!known) {
            seen[nseen++] = word;
            refmap_search_object(search, word);
        }
    }
}


/* --- searching everywhere --------------------------------------------------------------------- */

#define PAGES ((int)(sizeof(buffer) / REFMAP_PAGE_SIZE))

/* The object on a page whose instance has the word at `location`; 0 if unknown. */
static uintptr_t
refmap_base_on_page(refmap_block_t *block, uintptr_t location, uintptr_t *type)
{
    for (size_t i = refmap_slot_index(location) + 1; i-- > 0;) {
        refmap_slot_t slot = refmap_get(block, i);
        if (!refmap_is_living(slot)) {
            continue;
        }
        uintptr_t address = refmap_slot_address(block, i, slot);
        PyVarObject head;
        *type = 0;
        if (slot.birth & REFMAP_BIRTH_KEYS) {
            return location < address + _PyRefMap_KeysSize(address) ? address : 0;
        }
        if (_PyRefMap_Read(address, &head, sizeof(head)) < 0) {
            return 0;
        }
        *type = (uintptr_t)Py_TYPE(&head);
        const refmap_shape_t *shape = _PyRefMap_ShapeOf(*type);
        return shape != NULL
               && location < address + _PyRefMap_InstanceSize(address, &head, shape)
               ? address : 0;
    }
    return 0;
}

/* Of what was found from `before` on, on the page of a block, keep what lies in an
   object. */
static void
refmap_keep_objects(refmap_search_t *search, refmap_block_t *block, int before)
{
    int kept = before;
    for (int k = before; k < search->n; k++) {
        refmap_position_t position = search->found[k];
        position.base = refmap_base_on_page(block, position.location,
                                            &position.type);
        // Freed memory, or of something that is no object: it can't be told.
        if (position.base != 0 && position.base != search->object
            && !refmap_is_type_word(search, position.location, position.base,
                                    position.type))
        {
            search->found[kept++] = position;
        }
    }
    search->n = kept;
}

/* Search the pages of blocks, which are copied at once if all can be read. */
static void
refmap_search_pages(refmap_search_t *search, refmap_block_t **blocks, int n)
{
    struct iovec local = {buffer, (size_t)n * REFMAP_PAGE_SIZE}, remote[PAGES];
    for (int i = 0; i < n; i++) {
        remote[i].iov_base = (void *)(blocks[i]->page << REFMAP_PAGE_BITS);
        remote[i].iov_len = REFMAP_PAGE_SIZE;
    }
    int copied = process_vm_readv(getpid(), &local, 1, remote, (unsigned long)n, 0)
                 == (ssize_t)local.iov_len;
    _PyRefMap_search_work += (uint64_t)n * WORK_PAGE;
    for (int i = 0; i < n; i++) {
        uintptr_t start = blocks[i]->page << REFMAP_PAGE_BITS;
        int before = search->n;
        if (copied) {
            refmap_search_words(search,
                                (uintptr_t *)(buffer + (size_t)i * REFMAP_PAGE_SIZE),
                                REFMAP_PAGE_SIZE, start, 0, 0);
        }
        else {
            refmap_search_memory(search, start, REFMAP_PAGE_SIZE, 0, 0);
        }
        refmap_keep_objects(search, blocks[i], before);
    }
}

static int
refmap_search_static(const refmap_mapping_t *mapping, void *arg)
{
    // Data of a file, and of its zeroed data what shares the last page. What follows
    // without a name may be anything, the map's own memory included.
    if (!mapping->writable || mapping->path[0] != '/') {
        return 0;
    }
    refmap_search_t *search = arg;
    int before = search->n, kept = before;
    for (uintptr_t at = mapping->start; at < mapping->end; at += MAX_SECOND) {
        refmap_search_memory(search, at, Py_MIN(MAX_SECOND, mapping->end - at),
                             0, 0);
    }
    for (int i = before; i < search->n; i++) {
        // Its caches and free lists keep addresses of the dead.
        uintptr_t offset = search->found[i].location - (uintptr_t)&_PyRuntime;
        if (offset >= sizeof(_PyRuntime)) {
            search->found[kept++] = search->found[i];
        }
    }
    search->n = kept;
    return 0;
}

static void
refmap_search_everywhere(refmap_search_t *search)
{
    uint64_t before = _PyRefMap_search_work;
    refmap_state_t *map = refmap_current_map();
    refmap_block_t *blocks[PAGES];
    int n = 0;
    for (size_t i = 0; map != NULL && i < map->len
                       && search->n < REFMAP_FOUND; i++) {
        if (map->blocks[i] != NULL && !_PyRefMap_IsEmpty(map->blocks[i])) {
            blocks[n++] = map->blocks[i];
        }
        if (n == PAGES || (i + 1 == map->len && n > 0)) {
            refmap_search_pages(search, blocks, n);
            n = 0;
        }
    }
    if (search->n == 0) {
        _PyRefMap_search_work += WORK_MAPPINGS;
        (void)_PyRefMap_EachMapping(refmap_search_static, search);
    }
    thorough_work += _PyRefMap_search_work - before;
}

int
_PyRefMap_SearchYoung(uintptr_t object, refmap_position_t found[REFMAP_FOUND])
{
    refmap_search_t search = {object, found, 0};
    refmap_search_young(&search);
    return search.n;
}

int
_PyRefMap_SearchPlaces(const refmap_thread_t *thread, uintptr_t object,
                       uintptr_t sp, refmap_reach_t reach,
                       refmap_position_t found[REFMAP_FOUND])
{
    refmap_search_t search = {object, found, 0};
    refmap_search_thread(&search);
    refmap_search_young(&search);
    if (search.n == 0 && reach >= REFMAP_REACHABLE) {
        refmap_search_reachable(&search, thread, sp);
    }
    if (search.n == 0 && reach == REFMAP_EVERYWHERE) {
        if (thorough_work >= THOROUGH_BUDGET) {
            return -1;
        }
        refmap_search_everywhere(&search);
    }
    return search.n;
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
