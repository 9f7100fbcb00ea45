/* Where the objects of tokens lie by now: what may be searched, and when. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

/* Tokens whose object may come to lie in memory without an event. It is searched 1, 2, 4 ...
   hooks after the token was made. */
#define PENDING 16
#define LAST_TRY 64
/* Searching does so much work without more ado, and for each hook as much again as the hook
   itself takes. It is not the time that counts: a recording must not depend on what else
   the machine does. */
#define ALLOWANCE ((uint64_t)300000000)
#define HOOK_WORK ((uint64_t)1000)
/* Young memory, in which most of what is stored lies, is searched for so much more: it is
   little. */
#define ALLOWANCE_OF_YOUNG ((uint64_t)1000000000)
/* Where only certain objects are watched, not all of a type, there is little to search, and
   nothing is to be left out. */
#define ALLOWANCE_OF_FEW ((uint64_t)2000000000)

static struct { uint32_t token; uint32_t hooks; } pending[PENDING];
static int npending;

/* Which memory may still be searched; REFMAP_NOTHING: none. */
static refmap_reach_t
refmap_reach(int thoroughly)
{
    const struct _refmap_recorder *recorder = &_PyRefMap_recorder;
    uint64_t most = (recorder->options.nnames == 0 ? ALLOWANCE_OF_FEW : ALLOWANCE)
                    + recorder->hooks * HOOK_WORK;
    if (_PyRefMap_search_work <= (thoroughly ? most : most / 2)) {
        return thoroughly ? REFMAP_EVERYWHERE : REFMAP_REACHABLE;
    }
    return _PyRefMap_search_work <= most + ALLOWANCE_OF_YOUNG ? REFMAP_YOUNG
                                                              : REFMAP_NOTHING;
}

int
_PyRefMap_Search(const refmap_thread_t *thread, uintptr_t object, uintptr_t sp,
                 int thoroughly, refmap_position_t found[REFMAP_FOUND])
{
    if (!_PyRefMap_recorder.options.places) {
        return -1;
    }
    refmap_reach_t reach = refmap_reach(thoroughly);
    int n = reach == REFMAP_NOTHING
            ? 0 : _PyRefMap_SearchPlaces(thread, object, sp, reach, found);
    if (n == 0 && reach <= REFMAP_YOUNG) {
        n = -1;                 // it may be elsewhere
    }
    if (n < 0) {
        _PyRefMap_tape.lost_tokens++;
    }
    return n;
}

void
_PyRefMap_WriteStored(const refmap_event_t *event,
                      const refmap_position_t *position)
{
    _PyRefMap_TapeType((PyTypeObject *)position->type);
    _PyRefMap_WatchPosition(position);
    uint64_t *word = refmap_event_record(event, REFMAP_STORED,
                                         6 + 2 * (size_t)event->n);
    if (word != NULL) {
        *word++ = position->token;
        *word++ = position->object;
        *word++ = position->location;
        *word++ = position->base;
        *word++ = position->type;
        _PyRefMap_TapeFrames(word, event->frames, event->n);
    }
}

/* Search where the event's `object` lies by now, on behalf of `token`. Return how many
   places were found. */
static int
refmap_locate(const refmap_event_t *event, uintptr_t object, uint32_t token)
{
    refmap_position_t found[REFMAP_FOUND];
    int n = _PyRefMap_Search(event->thread, object, event->fp + 16, 0, found);
    for (int i = 0; i < n; i++) {
        found[i].token = token;
        _PyRefMap_WriteStored(event, &found[i]);
    }
    return n;
}


/* --- pending tokens ---------------------------------------------------------- */

/* Is there a younger token of the same object that is pending? */
static int
refmap_is_outdated(int i)
{
    uintptr_t object = refmap_token(pending[i].token)->object;
    for (int k = i + 1; k < npending; k++) {
        if (refmap_token(pending[k].token)->object == object) {
            return 1;
        }
    }
    return 0;
}

void
_PyRefMap_TryPending(const refmap_event_t *event)
{
    refmap_position_t known;
    int kept = 0;
    for (int i = 0; i < npending; i++) {
        uint32_t token = pending[i].token;
        uintptr_t object = refmap_token(token)->object;
        uint32_t hooks = ++pending[i].hooks;
        int is_power = (hooks & (hooks - 1)) == 0;
        if (object == 0 || refmap_token(token)->is_spent || hooks > LAST_TRY
            || (is_power && !refmap_is_outdated(i)
                // Where a known place moves to is told when its memory goes.
                && (_PyRefMap_KnownPosition(token, &known)
                    || refmap_locate(event, object, token) > 0)))
        {
            continue;
        }
        pending[kept++] = pending[i];
    }
    npending = kept;
}

void
_PyRefMap_Await(uint32_t token)
{
    if (!_PyRefMap_recorder.options.places) {
        return;
    }
    if (npending == PENDING) {
        memmove(pending, pending + 1, (PENDING - 1) * sizeof(pending[0]));
        npending--;
    }
    pending[npending].token = token;
    pending[npending++].hooks = 0;
}

void
_PyRefMap_LocateBefore(const refmap_event_t *event)
{
    uint32_t older = 0;
    for (int i = 0; i < npending; i++) {
        uint32_t token = pending[i].token;
        if (refmap_token(token)->object == event->object) {
            older = token;
        }
    }
    (void)refmap_locate(event, event->object, older);
}

void
_PyRefMap_ForgetPending(void)
{
    npending = 0;
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
