/* Memory blocks: recorded, and searched for what lies in them. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

/* Where the ALLOC record of a block is, plus one. */
static refmap_table_t blocks;

void
_PyRefMap_RecordAlloc(void *ptr, size_t size, int domain, void *fp)
{
    refmap_event_t event;
    if (_PyRefMap_BeginEvent(&event, NULL, fp) < 0) {
        return;
    }
    if (_PyRefMap_recorder.options.places) {
        _PyRefMap_AddRegion((uintptr_t)ptr, size);
    }
    uint64_t *at = _PyRefMap_recorder.options.blocks
                   ? _PyRefMap_TableAdd(&blocks, (uintptr_t)ptr) : NULL;
    if (at != NULL) {
        // Without the GIL nobody may look at frames of Python.
        uint64_t line = domain != 0 ? _PyRefMap_TapeCode() : 0;
        uint64_t *word = refmap_event_record(&event, REFMAP_ALLOC,
                                             5 + 2 * (size_t)event.n);
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
            _PyRefMap_TapeFrames(word, event.frames, event.n);
        }
    }
    _PyRefMap_EndEvent(&event);
}

void
_PyRefMap_RecordFreeBlock(void *ptr, void *fp)
{
    refmap_event_t event;
    if (_PyRefMap_BeginEvent(&event, NULL, fp) < 0) {
        return;
    }
    _PyRefMap_RemoveBlockRegion((uintptr_t)ptr);
    _PyRefMap_BaseGoes(&event, (uintptr_t)ptr);
    uint64_t *at = _PyRefMap_TableFind(&blocks, (uintptr_t)ptr);
    if (at != NULL) {
        if (*at != 0) {
            _PyRefMap_TapeErase(*at - 1);
        }
        _PyRefMap_TableRemove(&blocks, (uintptr_t)ptr);
    }
    _PyRefMap_EndEvent(&event);
}

void
_PyRefMap_RecordMoveBlock(void *from, void *to, size_t size, int domain, void *fp)
{
    refmap_thread_t *thread = _PyRefMap_EnterRecorder();
    if (thread != NULL) {
        _PyRefMap_MoveObject((uintptr_t)from, (uintptr_t)to);
        // The positions in it are to stay, at the same address, too.
        _PyRefMap_RemoveBlockRegion((uintptr_t)from);
        _PyRefMap_LeaveRecorder(thread);
    }
    if (from != to) {
        _PyRefMap_RecordFreeBlock(from, fp);
    }
    _PyRefMap_RecordAlloc(to, size, domain, fp);
}

void
_PyRefMap_ClearBlocks(void)
{
    _PyRefMap_TableClear(&blocks);
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
