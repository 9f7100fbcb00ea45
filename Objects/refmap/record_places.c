/* Places in memory that hold watched objects.

   Where a reference is stored is not told by any hook, so it is searched: first in
   *young* memory, which the allocators and births of this recording tell, then in the
   objects to which the words of the stack lead (an argument to whose field something is
   assigned), then, as long as there is time for it, everywhere.  Nobody scans pages for
   what was found: each position is looked at again at every hook, until its memory goes. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include "pycore_dict.h"          // PyDictKeysObject
#include "pycore_moduleobject.h"  // PyModuleObject

#include <time.h>                 // clock_gettime()

/* The newest pieces of memory. */
#define REGIONS 2048
/* Words of them that a search looks at. */
#define YOUNG_WORDS ((size_t)32 << 10)
/* Words of the stack, and objects that they lead to. */
#define STACK_WORDS 384
#define MAX_CANDIDATES 32
/* Of a list, a table of a dict and the like. */
#define MAX_SECOND ((size_t)64 << 10)
#define POSITIONS 512
/* Searches everywhere may take so much in all, in nanoseconds. */
#define THOROUGH_BUDGET INT64_C(500000000)

typedef struct {
    uintptr_t start;
    size_t size;
} refmap_region_t;

static refmap_region_t regions[REGIONS];    // a ring
static size_t next_region;
static refmap_table_t region_at;            // start -> index + 1
static refmap_position_t positions[POSITIONS];
static size_t npositions;
static int64_t thorough_time;
static char buffer[MAX_SECOND];

/* --- young memory ---------------------------------------------------------------- */

int
_PyRefMap_StartPlaces(void)
{
    memset(regions, 0, sizeof(regions));
    next_region = npositions = 0;
    thorough_time = 0;
    _PyRefMap_TableClear(&region_at);
    return 0;
}

void
_PyRefMap_StopPlaces(void)
{
    npositions = 0;
    _PyRefMap_TableClear(&region_at);
}

void
_PyRefMap_AddRegion(uintptr_t start, size_t size)
{
    refmap_region_t *region = &regions[next_region % REGIONS];
    if (region->size != 0) {
        _PyRefMap_TableRemove(&region_at, region->start);
    }
    *region = (refmap_region_t){0, 0};
    uint64_t *at = _PyRefMap_TableAdd(&region_at, start);
    if (at == NULL) {
        return;
    }
    if (*at != 0) {
        regions[*at - 1].size = 0;
    }
    *at = next_region % REGIONS + 1;
    *region = (refmap_region_t){start, size};
    next_region++;
}

void
_PyRefMap_RemoveRegion(uintptr_t start)
{
    uint64_t *at = _PyRefMap_TableFind(&region_at, start);
    if (at != NULL) {
        regions[*at - 1].size = 0;
        _PyRefMap_TableRemove(&region_at, start);
    }
}

/* What may lie in front of an object in its block; see _PyType_PreHeaderSize(). */
static const size_t headers[] = {0, 16, 32};


/* --- objects ------------------------------------------------------------------------- */

static refmap_slot_t
refmap_slot_at(uintptr_t address)
{
    return refmap_look(refmap_current_map(), address);
}

/* Does an object, or a table of dict keys, live there? */
static int
refmap_lives(uintptr_t address)
{
    return (address & 7) == 0 && refmap_is_living(refmap_slot_at(address));
}

static int
refmap_is_keys(uintptr_t address)
{
    return (refmap_slot_at(address).birth & REFMAP_BIRTH_KEYS) != 0;
}

/* The type of a living object, copied; return -1 if it can't be read. */
static int
refmap_read_type(uintptr_t address, PyVarObject *head, PyTypeObject *type)
{
    return _PyRefMap_Read(address, head, sizeof(*head)) == 0
           && _PyRefMap_Read((uintptr_t)Py_TYPE(head), type, sizeof(*type)) == 0
           ? 0 : -1;
}

/* Bytes of an instance, inline values included; 0 if that is not plausible. */
static size_t
refmap_instance_size(uintptr_t address, const PyVarObject *head,
                     const PyTypeObject *type)
{
    size_t size = (size_t)type->tp_basicsize;
    if (type->tp_itemsize > 0 && !(type->tp_flags & Py_TPFLAGS_LONG_SUBCLASS)) {
        size += (size_t)type->tp_itemsize * (size_t)Py_ABS(Py_SIZE(head));
    }
    if (type->tp_flags & Py_TPFLAGS_INLINE_VALUES) {
        PyDictValues values;
        if (_PyRefMap_Read(address + size, &values, sizeof(values)) == 0) {
            size += sizeof(values) + values.capacity * sizeof(PyObject *);
        }
    }
    return size;
}

/* See USABLE_FRACTION() in dictobject.c for the number of entries. */
static size_t
refmap_keys_size(uintptr_t keys)
{
    PyDictKeysObject head;
    if (_PyRefMap_Read(keys, &head, sizeof(head)) < 0
        || head.dk_log2_size > 40 || head.dk_log2_index_bytes > 40)
    {
        return 0;
    }
    size_t entry = head.dk_kind == DICT_KEYS_GENERAL
                   ? sizeof(PyDictKeyEntry) : sizeof(PyDictUnicodeEntry);
    return sizeof(head) + ((size_t)1 << head.dk_log2_index_bytes)
           + entry * (((size_t)2 << head.dk_log2_size) / 3);
}

void
_PyRefMap_AddObjectRegion(uintptr_t address, int is_keys)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(headers); i++) {
        if (_PyRefMap_TableFind(&region_at, address - headers[i]) != NULL) {
            return;
        }
    }
    if (is_keys) {
        _PyRefMap_AddRegion(address, refmap_keys_size(address));
        return;
    }
    PyVarObject head;
    PyTypeObject type;
    if (refmap_read_type(address, &head, &type) == 0) {
        _PyRefMap_AddRegion(address, refmap_instance_size(address, &head, &type));
    }
}


/* --- searching --------------------------------------------------------------------------- */

typedef struct {
    uintptr_t object;           // what is searched
    refmap_position_t *found;
    int n;
} refmap_search_t;

static int
refmap_is_watched_position(uintptr_t location)
{
    for (size_t i = 0; i < npositions; i++) {
        if (positions[i].location == location) {
            return 1;
        }
    }
    return 0;
}

/* Search words that were copied, or may be read: they are at `location`. */
static void
refmap_search_words(refmap_search_t *search, const uintptr_t *words, size_t size,
                    uintptr_t location, uintptr_t base, uintptr_t type)
{
    for (size_t i = 0; i < size / sizeof(*words); i++) {
        uintptr_t here = location + i * sizeof(*words);
        if (words[i] != search->object || search->n == REFMAP_FOUND
            || here == base + offsetof(PyObject, ob_type)
            || refmap_is_watched_position(here))
        {
            continue;
        }
        search->found[search->n++] = (refmap_position_t){
            .location = here, .object = search->object, .base = base,
            .type = type};
    }
}

/* The same, of memory that may be gone. */
static void
refmap_search_memory(refmap_search_t *search, uintptr_t start, size_t size,
                     uintptr_t base, uintptr_t type)
{
    size = Py_MIN(size, sizeof(buffer));
    if (size > 0 && _PyRefMap_Read(start, buffer, size) == 0) {
        refmap_search_words(search, (uintptr_t *)buffer, size, start, base, type);
    }
}

/* The object in a block of memory, or the block itself. */
static uintptr_t
refmap_base_of(uintptr_t start, uintptr_t *type)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(headers); i++) {
        uintptr_t address = start + headers[i];
        if (refmap_lives(address)) {
            *type = refmap_is_keys(address)
                    ? 0 : (uintptr_t)Py_TYPE((PyObject *)address);
            return address;
        }
    }
    *type = 0;
    return start;
}

static void
refmap_search_young(refmap_search_t *search)
{
    size_t words = 0, n = Py_MIN(next_region, REGIONS);
    for (size_t i = 1; i <= n && words < YOUNG_WORDS; i++) {
        const refmap_region_t *region = &regions[(next_region - i) % REGIONS];
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
        uintptr_t type, base = refmap_base_of(region->start, &type);
        int kept = before;
        for (int k = before; k < search->n; k++) {
            if (base != search->object
                && search->found[k].location != base + offsetof(PyObject, ob_type))
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
                    const PyTypeObject *type)
{
    if (type->tp_flags & Py_TPFLAGS_LIST_SUBCLASS) {
        PyListObject list;
        if (_PyRefMap_Read(address, &list, sizeof(list)) == 0) {
            refmap_search_memory(search, (uintptr_t)list.ob_item,
                                 (size_t)list.allocated * sizeof(PyObject *),
                                 (uintptr_t)list.ob_item, 0);
        }
    }
    else if (type->tp_flags & Py_TPFLAGS_DICT_SUBCLASS) {
        PyDictObject dict;
        if (_PyRefMap_Read(address, &dict, sizeof(dict)) == 0) {
            uintptr_t keys = (uintptr_t)dict.ma_keys;
            refmap_search_memory(search, keys, refmap_keys_size(keys), keys, 0);
        }
    }
    else if (type->tp_traverse == PyModule_Type.tp_traverse) {
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

static void
refmap_search_object(refmap_search_t *search, uintptr_t address)
{
    if (refmap_is_keys(address)) {
        refmap_search_memory(search, address, refmap_keys_size(address), address, 0);
        return;
    }
    PyVarObject head;
    PyTypeObject type;
    if (refmap_read_type(address, &head, &type) == 0) {
        refmap_search_memory(search, address,
                             refmap_instance_size(address, &head, &type),
                             address, (uintptr_t)Py_TYPE(&head));
        refmap_search_owned(search, address, &type);
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
    for (int i = 0; i < STACK_WORDS && sp < thread->high - 8
                    && nseen < MAX_CANDIDATES; i++, sp += 8) {
        uintptr_t word = *(uintptr_t *)sp;
        int known = word == search->object || word < REFMAP_PAGE_SIZE
                    || !refmap_lives(word);
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

static int64_t
refmap_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

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
        PyTypeObject copy;
        *type = 0;
        if (slot.birth & REFMAP_BIRTH_KEYS) {
            return location < address + refmap_keys_size(address) ? address : 0;
        }
        if (refmap_read_type(address, &head, &copy) < 0
            || location >= address + refmap_instance_size(address, &head, &copy))
        {
            return 0;
        }
        *type = (uintptr_t)Py_TYPE(&head);
        return address;
    }
    return 0;
}

static void
refmap_search_page(refmap_search_t *search, refmap_block_t *block)
{
    uintptr_t start = block->page << REFMAP_PAGE_BITS;
    int before = search->n, kept = before;
    refmap_search_memory(search, start, REFMAP_PAGE_SIZE, 0, 0);
    for (int k = before; k < search->n; k++) {
        refmap_position_t position = search->found[k];
        position.base = refmap_base_on_page(block, position.location,
                                            &position.type);
        // Freed memory, or of something that is no object: it can't be told.
        if (position.base != 0 && position.base != search->object
            && position.location != position.base + offsetof(PyObject, ob_type))
        {
            search->found[kept++] = position;
        }
    }
    search->n = kept;
}

static int
refmap_search_static(const refmap_mapping_t *mapping, void *arg)
{
    // Data of a file, or what comes after it without a name. Not refmap's own.
    if (!mapping->writable || mapping->path[0] != '/') {
        return 0;
    }
    for (uintptr_t at = mapping->start; at < mapping->end; at += REFMAP_PAGE_SIZE) {
        refmap_search_memory(arg, at, REFMAP_PAGE_SIZE, 0, 0);
    }
    return 0;
}

static void
refmap_search_everywhere(refmap_search_t *search)
{
    int64_t start = refmap_now();
    refmap_state_t *map = refmap_current_map();
    for (size_t i = 0; map != NULL && i < map->len
                       && search->n < REFMAP_FOUND; i++) {
        if (map->blocks[i] != NULL && !_PyRefMap_IsEmpty(map->blocks[i])) {
            refmap_search_page(search, map->blocks[i]);
        }
    }
    if (search->n == 0) {
        (void)_PyRefMap_EachMapping(refmap_search_static, search);
    }
    thorough_time += refmap_now() - start;
}

int
_PyRefMap_SearchPlaces(const refmap_thread_t *thread, uintptr_t object,
                       uintptr_t sp, int thoroughly,
                       refmap_position_t found[REFMAP_FOUND])
{
    refmap_search_t search = {object, found, 0};
    refmap_search_young(&search);
    if (search.n == 0) {
        refmap_search_reachable(&search, thread, sp);
    }
    if (search.n == 0 && thoroughly && thorough_time < THOROUGH_BUDGET) {
        refmap_search_everywhere(&search);
    }
    return search.n;
}


/* --- positions ------------------------------------------------------------------------------------ */

void
_PyRefMap_WatchPosition(const refmap_position_t *position)
{
    // Where memory belongs to nobody known, it may go without notice.
    if (position->base != 0 && npositions < POSITIONS
        && !refmap_is_watched_position(position->location))
    {
        positions[npositions++] = *position;
    }
}

int
_PyRefMap_KnownPosition(uint32_t token, refmap_position_t *position)
{
    for (size_t i = 0; i < npositions; i++) {
        if (positions[i].token == token) {
            *position = positions[i];
            return 1;
        }
    }
    return 0;
}

void
_PyRefMap_PollPositions(
        void (*gone)(const refmap_position_t *, uintptr_t, void *), void *arg)
{
    for (size_t i = 0; i < npositions;) {
        uintptr_t now = *(volatile uintptr_t *)positions[i].location;
        if (now == positions[i].object) {
            i++;
            continue;
        }
        refmap_position_t position = positions[i];
        positions[i] = positions[--npositions];
        gone(&position, now, arg);
    }
}

void
_PyRefMap_ForgetBase(uintptr_t base,
        void (*gone)(const refmap_position_t *, uintptr_t, void *), void *arg)
{
    for (size_t i = 0; i < npositions;) {
        if (positions[i].base != base) {
            i++;
            continue;
        }
        refmap_position_t position = positions[i];
        positions[i] = positions[--npositions];
        gone(&position, position.object, arg);
    }
}

void
_PyRefMap_ForgetObject(uintptr_t object)
{
    for (size_t i = 0; i < npositions;) {
        if (positions[i].object == object) {
            positions[i] = positions[--npositions];
        }
        else {
            i++;
        }
    }
}

void
_PyRefMap_MoveObject(uintptr_t from, uintptr_t to)
{
    ptrdiff_t by = (ptrdiff_t)(to - from);
    for (size_t i = 0; i < npositions; i++) {
        if (positions[i].object == from) {
            // Who holds it is about to be told.
            positions[i] = positions[--npositions];
            i--;
        }
        else if (positions[i].base == from) {
            positions[i].base = to;
            positions[i].location += (uintptr_t)by;
        }
    }
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
