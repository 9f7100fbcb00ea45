/* Memory blocks: recorded, and searched for what lies in them. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

/* Where the ALLOC record of a block is, plus one. */
static refmap_table_t blocks;

static void
refmap_write_alloc(const refmap_event_t *event, void *ptr, size_t size, int domain)
{
    uint64_t *at = _PyRefMap_TableAdd(&blocks, (uintptr_t)ptr);
    if (at == NULL) {
        return;
    }
    // Without the GIL nobody may look at frames of Python.
    uint64_t line = domain != 0 ? _PyRefMap_TapeCode() : 0;
    uint64_t *word = refmap_event_record(event, REFMAP_ALLOC,
                                         5 + 2 * (size_t)event->n);
    if (*at != 0) {
        _PyRefMap_TapeErase(*at - 1);       // it has another size now
    }
    *at = 0;
    if (word != NULL) {
        *at = (uint64_t)(word - _PyRefMap_tape.words);
        *word++ = (uintptr_t)ptr;
        *word++ = size;
        *word++ = (uint64_t)domain;
        *word++ = line;
        _PyRefMap_TapeFrames(word, event->frames, event->n);
    }
}

static void
refmap_note_alloc(const refmap_event_t *event, void *ptr, size_t size, int domain)
{
    if (_PyRefMap_recorder.options.places) {
        _PyRefMap_AddRegion((uintptr_t)ptr, size);
    }
    if (_PyRefMap_recorder.options.blocks) {
        refmap_write_alloc(event, ptr, size, domain);
    }
}

static void
refmap_note_free(const refmap_event_t *event, void *ptr)
{
    _PyRefMap_RemoveBlockRegion((uintptr_t)ptr);
    _PyRefMap_BaseGoes(event, (uintptr_t)ptr);
    uint64_t *at = _PyRefMap_TableFind(&blocks, (uintptr_t)ptr);
    if (at != NULL) {
        if (*at != 0) {
            _PyRefMap_TapeErase(*at - 1);
        }
        _PyRefMap_TableRemove(&blocks, (uintptr_t)ptr);
    }
}

void
_PyRefMap_RecordAlloc(void *ptr, size_t size, int domain, void *fp)
{
    refmap_event_t event;
    if (_PyRefMap_BeginEvent(&event, NULL, fp) == 0) {
        refmap_note_alloc(&event, ptr, size, domain);
        _PyRefMap_EndEvent(&event);
    }
}

void
_PyRefMap_RecordFreeBlock(void *ptr, void *fp)
{
    refmap_event_t event;
    if (_PyRefMap_BeginEvent(&event, NULL, fp) == 0) {
        refmap_note_free(&event, ptr);
        _PyRefMap_EndEvent(&event);
    }
}

void
_PyRefMap_RecordMoveBlock(void *from, void *to, size_t size, int domain, void *fp)
{
    refmap_event_t event;
    if (_PyRefMap_BeginMove(&event, (uintptr_t)from, (uintptr_t)to, size, fp) == 0) {
        if (from != to) {
            refmap_note_free(&event, from);
        }
        refmap_note_alloc(&event, to, size, domain);
        _PyRefMap_EndEvent(&event);
    }
}

void
_PyRefMap_ClearBlocks(void)
{
    _PyRefMap_TableClear(&blocks);
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
