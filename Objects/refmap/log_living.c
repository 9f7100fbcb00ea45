/* What lives when an event log begins: how many objects of each type, and on which pages
   those are whose reference changes are wanted. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"

/* What is known of a type's address meanwhile. */
enum { IS_KNOWN = 1, IS_WANTED = 2, ONE = 4 };

/* Is there a type at the address, and is it wanted? The object that names it as its type may
   be none any more. */
static uint64_t
refmap_look_at_type(refmap_stream_t *stream, uintptr_t address)
{
    if (_PyRefMap_TypeAt(stream->map, address) == REFMAP_TYPE_UNKNOWN) {
        return IS_KNOWN;
    }
    const refmap_log_met_t *met = _PyRefMap_LogType(stream, (PyTypeObject *)address);
    return met != NULL && met->is_wanted ? IS_KNOWN | IS_WANTED : IS_KNOWN;
}

/* What is found: by type, the number of its objects, and the flags above. Many objects in
   a row have the same type. */
typedef struct {
    refmap_table_t types;
    uintptr_t last_type;
    uint64_t *last;             // of that type, in the table
} refmap_found_t;

/* The entry of a type; NULL for what is none, and on out of memory. */
static inline uint64_t *
refmap_entry_of_type(refmap_stream_t *stream, refmap_found_t *found, uintptr_t type)
{
    if (type == found->last_type) {
        return found->last;
    }
    uint64_t *at = type < REFMAP_PAGE_SIZE ? NULL
                   : _PyRefMap_TableAdd(&found->types, type);
    if (at != NULL && *at == 0) {
        *at = refmap_look_at_type(stream, type);
    }
    found->last_type = type;
    found->last = at;
    return at;
}

/* Count what lives in a block; on out of memory some types are left out. */
static void
refmap_count_block(refmap_stream_t *stream, refmap_block_t *block,
                   refmap_found_t *found)
{
    const uint32_t no_object = REFMAP_BIRTH_KEYS | REFMAP_BIRTH_OWN;
    refmap_copy_t copy;
    refmap_words_t words[REFMAP_SLOTS];
    int is_copied = 0, is_wanted = 0;
    refmap_get_all(block, words);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        refmap_slot_t slot = refmap_decode(words[i]);
        if (!refmap_is_living(slot) || (slot.birth & no_object)) {
            continue;
        }
        if (!is_copied) {
            _PyRefMap_ReadPage(block, &copy);
            is_copied = 1;
        }
        uintptr_t address = refmap_slot_address(block, i, slot);
        uintptr_t type = !copy.readable ? 0 : _PyRefMap_CopiedWord(
            &copy, block, address + offsetof(PyObject, ob_type));
        uint64_t *at = refmap_entry_of_type(stream, found, type);
        if (at != NULL) {
            *at += ONE;
            is_wanted |= (*at & IS_WANTED) != 0;
        }
    }
    if (is_wanted && stream->log->options.references) {
        _PyRefMap_WatchPage(stream->map, block->page << REFMAP_PAGE_BITS);
    }
}

static void
refmap_look_at_blocks(refmap_stream_t *stream, refmap_found_t *found)
{
    refmap_state_t *map = stream->map;
    _PyRefMap_ForgetTypes(map);
    for (size_t i = 0; i < map->len; i++) {
        if (map->blocks[i] != NULL) {
            refmap_count_block(stream, map->blocks[i], found);
        }
    }
}

void
_PyRefMap_LogLiving(refmap_stream_t *stream)
{
    refmap_found_t found = {0};
    refmap_look_at_blocks(stream, &found);
    for (size_t i = 0; i < stream->nmet; i++) {
        refmap_log_met_t *met = &stream->met[i];
        const uint64_t *at = _PyRefMap_TableFind(&found.types, met->address);
        met->living = at != NULL ? (int64_t)(*at / ONE) : 0;
    }
    _PyRefMap_TableClear(&found.types);
}

void
_PyRefMap_LogWatchWanted(refmap_stream_t *stream)
{
    refmap_found_t found = {0};
    refmap_look_at_blocks(stream, &found);
    _PyRefMap_TableClear(&found.types);
}

void
_PyRefMap_WatchPage(refmap_state_t *map, uintptr_t address)
{
    uintptr_t page = refmap_page(address);
    refmap_lock(map);
    refmap_block_t *block = _PyRefMap_Find(map, page);
    if (block != NULL) {
        _PyRefMap_Forget(map, page);
        block->is_watched = 1;
        map->has_watched = 1;
    }
    refmap_unlock(map);
}

void
_PyRefMap_UnwatchPages(refmap_state_t *map)
{
    refmap_lock(map);
    if (map->has_watched) {
        _PyRefMap_ForgetAll_lock_held(map);
        map->has_watched = 0;
        for (size_t i = 0; i < map->len; i++) {
            if (map->blocks[i] != NULL) {
                map->blocks[i]->is_watched = 0;
            }
        }
    }
    refmap_unlock(map);
}

#endif  // Py_REFCOUNT_MAP
