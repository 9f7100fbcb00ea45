/* What every hook of the recorder does first and last: it looks for memory that changed or
   went since the hook before it. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include <errno.h>


/* --- what is no longer there ------------------------------------------------- */

static void
refmap_write_gone(const refmap_event_t *event, const refmap_position_t *position,
                  uintptr_t now, int base_died)
{
    const refmap_thread_t *thread = event->thread;
    uint64_t *word = refmap_event_record(
        event, REFMAP_GONE, 10 + 2 * (size_t)(event->n + thread->nlast));
    if (word == NULL) {
        return;
    }
    *word++ = position->token;
    *word++ = position->object;
    *word++ = position->location;
    *word++ = position->base;
    *word++ = (uint64_t)base_died;
    *word++ = now;
    *word++ = thread->last_object;
    *word++ = event->object;
    *word++ = (uint64_t)thread->nlast;
    word = _PyRefMap_TapeFrames(word, event->frames, event->n);
    _PyRefMap_TapeFrames(word, thread->last, thread->nlast);
}


/* --- memory that goes -------------------------------------------------------- */

/* What goes when a base of positions does. Where the same object was in several places of
   it, and is in several others now, each of the old ones has one of the new ones. */
typedef struct {
    const refmap_event_t *event;
    uintptr_t object;                       // of `found`
    refmap_position_t found[REFMAP_FOUND];  // the first `next` are taken
    int n, next;
} refmap_going_t;

static void
refmap_write_shifted(const refmap_event_t *event, const refmap_position_t *before,
                     const refmap_position_t *now)
{
    _PyRefMap_TapeType((PyTypeObject *)now->type);
    _PyRefMap_WatchPosition(now);
    uint64_t *word = refmap_event_record(event, REFMAP_SHIFTED,
                                         7 + 2 * (size_t)event->n);
    if (word != NULL) {
        *word++ = now->token;
        *word++ = now->object;
        *word++ = before->location;
        *word++ = now->location;
        *word++ = now->base;
        *word++ = now->type;
        _PyRefMap_TapeFrames(word, event->frames, event->n);
    }
}

/* Places that nothing of the base was moved to. */
static void
refmap_store_rest(refmap_going_t *going)
{
    while (going->next < going->n) {
        _PyRefMap_WriteStored(going->event, &going->found[going->next++]);
    }
}

/* Search where else than in the base that goes an object lies by now. */
static void
refmap_search_anew(refmap_going_t *going, const refmap_position_t *position)
{
    going->object = position->object;
    going->next = 0;
    int n = _PyRefMap_Search(going->event->thread, position->object,
                             going->event->fp + 16, 0, going->found);
    if (n < 0) {
        // What it was moved to was allocated right before.
        n = _PyRefMap_SearchYoung(position->object, going->found);
    }
    going->n = 0;
    for (int i = 0; i < n; i++) {
        if (going->found[i].base != position->base) {
            going->found[going->n++] = going->found[i];
        }
    }
}

/* The base of a position is gone. A table of a dict, of a set or of a list that grows is
   given back once its references are in another one: then they moved. So did the inline
   values of an object whose dict outlives it. */
static void
refmap_went_with(const refmap_position_t *position, uintptr_t now, void *arg)
{
    refmap_going_t *going = arg;
    const refmap_event_t *event = going->event;
    int may_move = _PyRefMap_MayMove(position);
    if (may_move && going->object != position->object) {
        refmap_store_rest(going);
        refmap_search_anew(going, position);
    }
    if (may_move && going->next < going->n) {
        refmap_position_t *moved = &going->found[going->next++];
        moved->token = position->token;
        refmap_write_shifted(event, position, moved);
    }
    else {
        refmap_write_gone(event, position, now, 1);
    }
    for (int i = going->next; i < going->n; i++) {
        going->found[i].token = position->token;
    }
}

void
_PyRefMap_BaseGoes(const refmap_event_t *event, uintptr_t base)
{
    refmap_going_t going = {.event = event};
    _PyRefMap_ForgetBase(base, refmap_went_with, &going);
    refmap_store_rest(&going);
}


/* --- memory that changes ----------------------------------------------------- */

/* A position has something else now. An exception that the state of the thread had is
   elsewhere in it, perhaps, as it is handled; or it will be there again. */
static void
refmap_changed(const refmap_position_t *position, uintptr_t now, void *arg)
{
    refmap_event_t *event = arg;
    if (position->type == REFMAP_THREAD_STATE) {
        refmap_position_t found[REFMAP_FOUND];
        int n = _PyRefMap_Search(event->thread, position->object, event->fp + 16, 0,
                                 found);
        if (n > 0) {
            found[0].token = position->token;
            refmap_write_shifted(event, position, &found[0]);
            return;
        }
        if (position->token != 0) {
            _PyRefMap_Await(position->token);
        }
    }
    refmap_write_gone(event, position, now, 0);
    event->gone_object = position->object;
    event->gone_token = position->token;
}


/* --- beginning and end ------------------------------------------------------- */

/* Forget the _Py_Dealloc() calls that are over. What their objects still seem to hold was
   not given back. */
static void
refmap_prune_deaths(const refmap_event_t *event)
{
    refmap_thread_t *thread = event->thread;
    while (thread->ndeaths > 0) {
        const refmap_death_t *death = &thread->deaths[thread->ndeaths - 1];
        int i = 0;
        while (i < event->n && event->frames[i].slot < death->frame.slot) {
            i++;
        }
        // Beyond what was walked, or a later address in the same function.
        if (i == event->n
            || (event->frames[i].slot == death->frame.slot
                && event->frames[i].pc - death->frame.pc + 512 < 1024))
        {
            return;
        }
        uintptr_t address = death->address;
        thread->ndeaths--;
        // What lives there was resurrected, or is another one: its birth told that the
        // memory had gone.
        if (!refmap_lives_at(address)) {
            _PyRefMap_BaseGoes(event, address);
            // A free list may keep the memory, with what was in it.
            _PyRefMap_RemoveObjectRegion(address);
        }
    }
}

static int
refmap_enter(refmap_event_t *event, uintptr_t object, void *fp)
{
    int saved_errno = errno;
    event->thread = _PyRefMap_EnterRecorder();
    if (event->thread == NULL) {
        errno = saved_errno;
        return -1;
    }
    event->saved_errno = saved_errno;
    _PyRefMap_recorder.hooks++;
    event->object = object;
    event->fp = (uintptr_t)fp;
    event->n = _PyRefMap_Walk(&event->thread->stack, event->fp, event->frames,
                              REFMAP_DEPTH);
    return 0;
}

static void
refmap_look_around(refmap_event_t *event)
{
    _PyRefMap_PruneActivations(event->thread, event->fp, _PyRefMap_Abandon);
    refmap_prune_deaths(event);
    event->gone_object = 0;
    _PyRefMap_PollPositions(refmap_changed, event);
    _PyRefMap_TryPending(event);
}

int
_PyRefMap_BeginEvent(refmap_event_t *event, const void *op, void *fp)
{
    if (refmap_enter(event, (uintptr_t)op, fp) < 0) {
        return -1;
    }
    refmap_look_around(event);
    return 0;
}

int
_PyRefMap_BeginMove(refmap_event_t *event, uintptr_t from, uintptr_t to, size_t size,
                    void *fp)
{
    if (refmap_enter(event, 0, fp) < 0) {
        return -1;
    }
    // Before anything is looked at: the memory at `from` may be gone.
    _PyRefMap_RemoveBlockRegion(from);
    if (_PyRefMap_MoveBlock(from, to, size)) {
        uint64_t *word = _PyRefMap_TapeRecord(REFMAP_BLOCK_MOVED, 0,
                                              event->thread->number, 3);
        if (word != NULL) {
            *word++ = from;
            *word++ = to;
        }
    }
    refmap_look_around(event);
    return 0;
}

void
_PyRefMap_EndEvent(refmap_event_t *event)
{
    refmap_thread_t *thread = event->thread;
    memcpy(thread->last, event->frames,
           (size_t)event->n * sizeof(event->frames[0]));
    thread->nlast = event->n;
    thread->last_object = event->object;
    _PyRefMap_LeaveRecorder(thread);
    errno = event->saved_errno;
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
