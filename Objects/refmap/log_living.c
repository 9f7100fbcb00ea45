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

/* Count what lives in a block; on out of memory some types are left out. */
static void
refmap_count_block(refmap_stream_t *stream, refmap_block_t *block,
                   refmap_table_t *types)
{
    refmap_copy_t copy;
    refmap_words_t words[REFMAP_SLOTS];
    int is_copied = 0, is_wanted = 0;
    refmap_get_all(block, words);
    for (size_t i = 0; i < REFMAP_SLOTS; i++) {
        refmap_slot_t slot = refmap_decode(words[i]);
        if (!refmap_is_living(slot)
            || (slot.birth & (REFMAP_BIRTH_KEYS | REFMAP_BIRTH_OWN)))
        {
            continue;
        }
        if (!is_copied) {
            _PyRefMap_ReadPage(block, &copy);
            is_copied = 1;
        }
        uintptr_t address = refmap_slot_address(block, i, slot);
        uintptr_t type = !copy.readable ? 0 : _PyRefMap_CopiedWord(
            &copy, block, address + offsetof(PyObject, ob_type));
        uint64_t *at = type < REFMAP_PAGE_SIZE ? NULL
                       : _PyRefMap_TableAdd(types, type);
        if (at == NULL) {
            continue;
        }
        *at |= *at == 0 ? refmap_look_at_type(stream, type) : 0;
        *at += ONE;
        is_wanted |= (*at & IS_WANTED) != 0;
    }
    if (is_wanted && stream->log->options.references) {
        _PyRefMap_WatchPage(stream->map, block->page << REFMAP_PAGE_BITS);
    }
}

/* Look at all blocks; `types` has what is found of each type. */
static void
refmap_look_at_blocks(refmap_stream_t *stream, refmap_table_t *types)
{
    refmap_state_t *map = stream->map;
    _PyRefMap_ForgetTypes(map);
    for (size_t i = 0; i < map->len; i++) {
        if (map->blocks[i] != NULL) {
            refmap_count_block(stream, map->blocks[i], types);
        }
    }
}

void
_PyRefMap_LogLiving(refmap_stream_t *stream)
{
    refmap_table_t types = {0};
    refmap_look_at_blocks(stream, &types);
    for (size_t i = 0; i < stream->nmet; i++) {
        refmap_log_met_t *met = &stream->met[i];
        const uint64_t *found = _PyRefMap_TableFind(&types, met->address);
        met->living = found != NULL ? (int64_t)(*found / ONE) : 0;
    }
    _PyRefMap_TableClear(&types);
}

void
_PyRefMap_LogWatchWanted(refmap_stream_t *stream)
{
    refmap_table_t types = {0};
    refmap_look_at_blocks(stream, &types);
    _PyRefMap_TableClear(&types);
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
