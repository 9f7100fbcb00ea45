/* The events of a recording: what the hooks tell, put together with the stack, with what
   functions return, and with where references lie in memory. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include "pycore_lock.h"          // PyMutex

#include <errno.h>
#include <pthread.h>              // pthread_key_create()

/* How much of the stack above an activation may hold what a function gave back through
   a pointer, in bytes. */
#define OUT_PARAMETERS ((uintptr_t)8192)
#define MAX_TOKENS ((size_t)1 << 20)
/* Tokens of one event, and of one activation, that are followed. */
#define MAX_AT_ONCE 64
#define MAX_CARRIED 4096
/* Tokens whose object may come to lie in memory without an event. It is searched 1, 2, 4 ...
   hooks after the token was made. */
#define PENDING 16
#define LAST_TRY 64
/* Searching does so much work without more ado, and for each hook as much again as the hook
   itself takes. It is not the time that counts: a recording must not depend on what else
   the machine does. */
#define ALLOWANCE ((uint64_t)20000000)
#define HOOK_WORK ((uint64_t)300)
/* Where only certain objects are watched, not all of a type, there is little to search, and
   nothing is to be left out. */
#define ALLOWANCE_OF_FEW ((uint64_t)2000000000)
/* Of a RETURN record. */
#define TOKENS_AT_ONCE 16

int _PyRefMap_recording;

static __thread refmap_thread_t *refmap_thread;

/* Guards all below. A thread holds it while it is busy. */
static PyMutex recorder_mutex;

static struct {
    uint64_t number;            // of recordings so far
    refmap_record_options_t options;
    refmap_table_t watched;     // address -> its newest token
    refmap_token_t *tokens;     // the first is none
    size_t ntokens, tokens_allocated;
    struct { uint32_t token; uint32_t hooks; } pending[PENDING];
    int npending;
    // Types that were seen: address -> their name << 1, 1 if wanted.
    refmap_table_t types;
    unsigned nthreads;
    uint64_t hooks;
    // The place that no more holds its object was noticed by the current hook.
    uintptr_t gone_object;
    uint32_t gone_token;
} recorder;


/* --- threads --------------------------------------------------------------------- */

static pthread_key_t thread_key;
static int has_thread_key;

static void
refmap_free_thread(void *arg)
{
    refmap_thread_t *thread = arg;
    refmap_thread = NULL;
    // Its stack is about to go: nothing on it is to be exchanged back.
    _PyRefMap_PruneActivations(thread, UINTPTR_MAX, _PyRefMap_DropActivation);
    _PyRefMap_RawFree(thread->activations, thread->activations_allocated
                                           * sizeof(*thread->activations));
    _PyRefMap_RawFree(thread, sizeof(*thread));
}

static refmap_thread_t *
refmap_new_thread(void)
{
    refmap_thread_t *thread = _PyRefMap_Malloc(sizeof(*thread));
    if (thread == NULL) {
        return NULL;
    }
    memset(thread, 0, sizeof(*thread));
    if (_PyRefMap_StackBounds(&thread->stack) < 0
        || pthread_setspecific(thread_key, thread) != 0)
    {
        _PyRefMap_RawFree(thread, sizeof(*thread));
        return NULL;
    }
    refmap_thread = thread;
    return thread;
}

static void
refmap_record_lock(void)
{
    // A detach would let other threads run in the middle of an incref.
    _PyMutex_LockTimed(&recorder_mutex, -1, _Py_LOCK_DONT_DETACH);
}

/* Begin what is not to be recorded itself. NULL: there is nothing to be recorded. */
static refmap_thread_t *
refmap_enter(void)
{
    refmap_thread_t *thread = refmap_thread;
    if (thread == NULL) {
        thread = refmap_new_thread();
    }
    if (thread == NULL && _PyRefMap_recording) {
        _PyRefMap_tape.lost_memory++;       // about so many: without the lock
    }
    if (thread == NULL || thread->busy) {
        return NULL;
    }
    thread->busy = 1;
    refmap_record_lock();
    if (!_PyRefMap_recording) {
        PyMutex_Unlock(&recorder_mutex);
        thread->busy = 0;
        return NULL;
    }
    if (thread->recording != recorder.number) {
        // What is left of another recording is of no interest.
        thread->recording = recorder.number;
        thread->number = recorder.nthreads++;
        thread->nlast = thread->ndeaths = 0;
        thread->last_object = 0;
        for (size_t i = 0; i < thread->nactivations; i++) {
            thread->activations[i].first = thread->activations[i].ntokens = 0;
        }
    }
    return thread;
}

static void
refmap_leave(refmap_thread_t *thread)
{
    PyMutex_Unlock(&recorder_mutex);
    thread->busy = 0;
}


/* --- events ------------------------------------------------------------------------ */

/* One hook: whose object it is about, and the stack. */
typedef struct {
    refmap_thread_t *thread;
    uintptr_t object;
    uintptr_t fp;
    int saved_errno;
    int n;
    refmap_frame_t frames[REFMAP_DEPTH];
} refmap_event_t;

static uint64_t *
refmap_event_record(const refmap_event_t *event, int kind, size_t nwords)
{
    return _PyRefMap_TapeRecord(kind, event->n, event->thread->number, nwords);
}

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

static void
refmap_changed(const refmap_position_t *position, uintptr_t now, void *arg)
{
    refmap_write_gone(arg, position, now, 0);
    recorder.gone_object = position->object;
    recorder.gone_token = position->token;
}

/* Search places; see _PyRefMap_SearchPlaces(). What is searched in passing leaves half of
   the work to what is searched thoroughly. Return -1 if none is left. */
static int
refmap_search(refmap_thread_t *thread, uintptr_t object, uintptr_t sp,
              int thoroughly, refmap_position_t found[REFMAP_FOUND])
{
    if (!recorder.options.places) {
        return -1;
    }
    uint64_t most = (recorder.options.nnames == 0 ? ALLOWANCE_OF_FEW : ALLOWANCE)
                    + recorder.hooks * HOOK_WORK;
    if (_PyRefMap_search_work > (thoroughly ? most : most / 2)) {
        _PyRefMap_tape.lost_tokens++;
        return -1;
    }
    return _PyRefMap_SearchPlaces(thread, object, sp, thoroughly, found);
}

/* Record that `position` was found, and watch it. */
static void
refmap_write_stored(const refmap_event_t *event, const refmap_position_t *position)
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
    int n = refmap_search(event->thread, object, event->fp + 16, 0, found);
    for (int i = 0; i < n; i++) {
        found[i].token = token;
        refmap_write_stored(event, &found[i]);
    }
    return n;
}


/* --- memory that goes ---------------------------------------------------------------- */

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
        refmap_write_stored(going->event, &going->found[going->next++]);
    }
}

/* Search where else than in the base that goes an object lies by now. */
static void
refmap_search_anew(refmap_going_t *going, const refmap_position_t *position)
{
    going->object = position->object;
    going->next = 0;
    int n = refmap_search(going->event->thread, position->object,
                          going->event->fp + 16, 0, going->found);
    going->n = Py_MIN(n, 0);
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
    else if (!may_move || going->n >= 0) {
        refmap_write_gone(event, position, now, 1);
    }
    for (int i = going->next; i < going->n; i++) {
        going->found[i].token = position->token;
    }
}

/* An object died, or a block of memory is given back. */
static void
refmap_base_goes(const refmap_event_t *event, uintptr_t base)
{
    refmap_going_t going = {.event = event};
    _PyRefMap_ForgetBase(base, refmap_went_with, &going);
    refmap_store_rest(&going);
}

/* Is there a younger token of the same object that is pending? */
static int
refmap_is_outdated(int i)
{
    uintptr_t object = recorder.tokens[recorder.pending[i].token].object;
    for (int k = i + 1; k < recorder.npending; k++) {
        if (recorder.tokens[recorder.pending[k].token].object == object) {
            return 1;
        }
    }
    return 0;
}

/* A token whose place is known has no other one: where it moves to is told when the memory
   goes in which that is. */
static void
refmap_try_pending(const refmap_event_t *event)
{
    refmap_position_t known;
    int kept = 0;
    for (int i = 0; i < recorder.npending; i++) {
        uint32_t token = recorder.pending[i].token;
        uintptr_t object = recorder.tokens[token].object;
        uint32_t hooks = ++recorder.pending[i].hooks;
        int is_power = (hooks & (hooks - 1)) == 0;
        if (object == 0 || recorder.tokens[token].is_spent || hooks > LAST_TRY
            || (is_power && !refmap_is_outdated(i)
                && (_PyRefMap_KnownPosition(token, &known)
                    || refmap_locate(event, object, token) > 0)))
        {
            continue;
        }
        recorder.pending[kept++] = recorder.pending[i];
    }
    recorder.npending = kept;
}

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
        uint64_t birth = death->birth;
        thread->ndeaths--;
        if (_PyRefMap_LivingBirth(address) != birth) {
            refmap_base_goes(event, address);
            // A free list may keep the memory, with what was in it.
            _PyRefMap_RemoveObjectRegion(address);
        }
    }
}

static void
refmap_write_return(refmap_thread_t *thread, refmap_activation_t activation,
                    uintptr_t value, int abandoned);

static void
refmap_abandon(refmap_thread_t *thread, refmap_activation_t activation)
{
    refmap_write_return(thread, activation, 0, 1);
}

/* What every hook does first. Return -1 if nothing is to be recorded. */
static int
refmap_begin(refmap_event_t *event, const void *op, void *fp)
{
    int saved_errno = errno;
    event->thread = refmap_enter();
    if (event->thread == NULL) {
        errno = saved_errno;
        return -1;
    }
    event->saved_errno = saved_errno;
    recorder.hooks++;
    event->object = (uintptr_t)op;
    event->fp = (uintptr_t)fp;
    event->n = _PyRefMap_Walk(&event->thread->stack, event->fp, event->frames,
                              REFMAP_DEPTH);
    _PyRefMap_PruneActivations(event->thread, event->fp, refmap_abandon);
    refmap_prune_deaths(event);
    recorder.gone_object = 0;
    _PyRefMap_PollPositions(refmap_changed, event);
    if (recorder.npending > 0) {
        refmap_try_pending(event);
    }
    return 0;
}

/* What every hook does last. */
static void
refmap_end(refmap_event_t *event)
{
    refmap_thread_t *thread = event->thread;
    memcpy(thread->last, event->frames,
           (size_t)event->n * sizeof(event->frames[0]));
    thread->nlast = event->n;
    thread->last_object = event->object;
    refmap_leave(thread);
    errno = event->saved_errno;
}


/* --- tokens ---------------------------------------------------------------------------- */

/* A new token of an object; 0 if there are too many. */
static uint32_t
refmap_new_token(uintptr_t object, uint64_t *newest)
{
    if (recorder.ntokens >= MAX_TOKENS
        || _PyRefMap_Grow(&recorder.tokens, &recorder.tokens_allocated,
                          recorder.ntokens + 1, sizeof(*recorder.tokens)) < 0)
    {
        _PyRefMap_tape.lost_tokens++;
        return 0;
    }
    uint32_t token = (uint32_t)recorder.ntokens++;
    recorder.tokens[token] = (refmap_token_t){
        .object = object, .next_of_object = (uint32_t)*newest};
    *newest = token;
    return token;
}

static void
refmap_carry(refmap_activation_t *activation, uint32_t token)
{
    if (activation->ntokens >= MAX_CARRIED) {
        _PyRefMap_tape.lost_tokens++;
        return;
    }
    recorder.tokens[token].next_of_holder = activation->first;
    activation->first = token;
    activation->ntokens++;
}

/* The words of the stack that hold the object before anything was done with the token. */
static void
refmap_note_older(const refmap_thread_t *thread, refmap_token_t *token,
                  uintptr_t slot)
{
    uintptr_t end = Py_MIN(thread->stack.high, slot + 8 + OUT_PARAMETERS);
    for (uintptr_t at = slot + 8; at < end; at += 8) {
        if (*(uintptr_t *)at == token->object
            && token->nolder < Py_ARRAY_LENGTH(token->older))
        {
            token->older[token->nolder++] = at;
        }
    }
}

/* The innermost frame whose function may hold a reference. */
static int
refmap_holding_frame(const refmap_event_t *event)
{
    int k = 0;
    while (k < event->n - 1 && _PyRefMap_IsTransparent(event->frames[k].pc)) {
        k++;
    }
    return k;
}

/* The newest token of the object that the activation holds, which is let go of; 0: none.
   Spent ones are dropped on the way, so that the list stays short. */
static uint32_t
refmap_let_go(refmap_activation_t *holder, uintptr_t object)
{
    uint32_t *link = &holder->first, token;
    while ((token = *link) != 0) {
        const refmap_token_t *t = &recorder.tokens[token];
        int is_it = t->object == object && !t->is_spent;
        if (is_it || t->is_spent) {
            *link = t->next_of_holder;
            holder->ntokens--;
        }
        else {
            link = &recorder.tokens[token].next_of_holder;
        }
        if (is_it) {
            return token;
        }
    }
    return 0;
}

/* The token that a reference which is given back was for sure: that of the place which
   was just cleared, or one that the same activation holds. 0: somebody else's. */
static uint32_t
refmap_spend(const refmap_event_t *event)
{
    uint32_t token = 0;
    int k = refmap_holding_frame(event);
    if (recorder.gone_object == event->object) {
        token = recorder.gone_token;
    }
    else if (k < event->n) {
        refmap_activation_t *holder = _PyRefMap_FindActivation(
            event->thread, event->frames[k].slot);
        token = holder != NULL ? refmap_let_go(holder, event->object) : 0;
    }
    if (token != 0) {
        recorder.tokens[token].is_spent = 1;
    }
    return token;
}

/* Let the innermost function that may hold a reference hold `token`. */
static void
refmap_hold(const refmap_event_t *event, uint32_t token)
{
    int k = refmap_holding_frame(event);
    if (!recorder.options.returns || k >= event->n) {
        return;
    }
    _PyRefMap_ExchangeReturns(event->thread, event->frames + k, event->n - k);
    refmap_activation_t *holder = _PyRefMap_FindActivation(
        event->thread, event->frames[k].slot);
    if (holder != NULL) {
        refmap_carry(holder, token);
        refmap_note_older(event->thread, &recorder.tokens[token],
                          holder->slot);
    }
}

static void
refmap_await(uint32_t token)
{
    if (!recorder.options.places) {
        return;
    }
    if (recorder.npending == PENDING) {
        memmove(recorder.pending, recorder.pending + 1,
                (PENDING - 1) * sizeof(recorder.pending[0]));
        recorder.npending--;
    }
    recorder.pending[recorder.npending].token = token;
    recorder.pending[recorder.npending++].hooks = 0;
}

/* Where the object lies already is no matter of a token that is about to be made. */
static void
refmap_locate_before(const refmap_event_t *event)
{
    uint32_t older = 0;
    for (int i = 0; i < recorder.npending; i++) {
        uint32_t token = recorder.pending[i].token;
        if (recorder.tokens[token].object == event->object) {
            older = token;
        }
    }
    (void)refmap_locate(event, event->object, older);
}

/* Make `n` tokens of the event's object; return the first, 0 if there is none. */
static uint32_t
refmap_make_tokens(const refmap_event_t *event, Py_ssize_t n, uint64_t *newest)
{
    uint32_t first = 0;
    if (*newest != 0) {
        refmap_locate_before(event);
    }
    for (Py_ssize_t i = 0; i < Py_MIN(n, MAX_AT_ONCE); i++) {
        uint32_t token = refmap_new_token(event->object, newest);
        if (token == 0) {
            break;
        }
        first = first == 0 ? token : first;
        refmap_hold(event, token);
        refmap_await(token);
    }
    return first;
}

/* Record a BIRTH or CHANGE of the event's object. `newest`: its newest token. */
static void
refmap_write_change(const refmap_event_t *event, int kind, Py_ssize_t n,
                    uint64_t *newest)
{
    const refmap_thread_t *thread = event->thread;
    PyObject *op = (PyObject *)event->object;
    uint32_t token = n > 0 ? refmap_make_tokens(event, n, newest)
                     : n == -1 ? refmap_spend(event) : 0;
    _PyRefMap_TapeType(Py_TYPE(op));
    uint64_t line = _PyRefMap_TapeCode();
    size_t ndeaths = (size_t)thread->ndeaths;
    uint64_t *word = refmap_event_record(
        event, kind, 9 + 2 * (size_t)event->n + 4 * ndeaths);
    if (word == NULL) {
        return;
    }
    *word++ = event->object;
    *word++ = (uint64_t)n;
    *word++ = _PyRefMap_LivingBirth(event->object);
    *word++ = (uintptr_t)Py_TYPE(op);
    *word++ = (uint64_t)op->ob_refcnt;
    *word++ = token;
    *word++ = line;
    *word++ = ndeaths;
    word = _PyRefMap_TapeFrames(word, event->frames, event->n);
    while (ndeaths-- > 0) {
        *word++ = thread->deaths[ndeaths].address;
        *word++ = thread->deaths[ndeaths].type;
        *word++ = thread->deaths[ndeaths].birth;
        *word++ = thread->deaths[ndeaths].frame.slot;
    }
}


/* --- the end of an activation -------------------------------------------------------------- */

/* A word of the stack above `slot` that came to hold the token's object, and the
   activation that it belongs to; NULL if there is none. */
static refmap_activation_t *
refmap_find_on_stack(refmap_thread_t *thread, refmap_token_t *token,
                     uintptr_t slot)
{
    uintptr_t end = Py_MIN(thread->stack.high, slot + 8 + OUT_PARAMETERS);
    for (uintptr_t at = slot + 8; at < end; at += 8) {
        if (*(uintptr_t *)at != token->object) {
            continue;
        }
        int is_older = 0;
        for (uint32_t i = 0; i < token->nolder; i++) {
            is_older |= token->older[i] == at;
        }
        if (is_older) {
            continue;
        }
        for (size_t i = thread->nactivations; i-- > 0;) {
            if (thread->activations[i].slot > at) {
                if (token->nolder < Py_ARRAY_LENGTH(token->older)) {
                    token->older[token->nolder++] = at;
                }
                return &thread->activations[i];
            }
        }
        return NULL;
    }
    return NULL;
}

/* Tokens of an activation that came to an end, and what became of them. */
typedef struct {
    uint32_t token[TOKENS_AT_ONCE];
    int outcome[TOKENS_AT_ONCE];
    uintptr_t to[TOKENS_AT_ONCE];
    int n;
    refmap_position_t places[TOKENS_AT_ONCE + REFMAP_FOUND];
    int nplaces;
} refmap_outcomes_t;

static int
refmap_settle_token(refmap_thread_t *thread, uint32_t number, uintptr_t slot,
                    uintptr_t value, refmap_outcomes_t *outcomes)
{
    refmap_token_t *token = &recorder.tokens[number];
    refmap_activation_t *to = NULL;
    int outcome = REFMAP_NOWHERE;
    if (token->object == 0) {
        return REFMAP_DIED;
    }
    if (token->object == value) {
        outcome = REFMAP_RETURNED;
        to = thread->nactivations > 0
             ? &thread->activations[thread->nactivations - 1] : NULL;
    }
    else {
        to = refmap_find_on_stack(thread, token, slot);
        outcome = to != NULL ? REFMAP_ON_STACK : REFMAP_NOWHERE;
    }
    if (outcome != REFMAP_NOWHERE) {
        outcomes->to[outcomes->n] = to != NULL ? to->slot : 0;
        if (to != NULL) {
            refmap_carry(to, number);
        }
        return outcome;
    }
    refmap_position_t found[REFMAP_FOUND];
    int n = _PyRefMap_KnownPosition(number, &found[0]);
    if (n == 0) {
        n = refmap_search(thread, token->object, slot + 8, 1, found);
    }
    if (n < 0) {
        return REFMAP_UNSEARCHED;
    }
    n = Py_MIN(n, (int)Py_ARRAY_LENGTH(outcomes->places) - outcomes->nplaces);
    for (int i = 0; i < n; i++) {
        found[i].token = number;
        _PyRefMap_TapeType((PyTypeObject *)found[i].type);
        _PyRefMap_WatchPosition(&found[i]);
        outcomes->places[outcomes->nplaces++] = found[i];
    }
    return n > 0 ? REFMAP_IN_MEMORY : REFMAP_NOWHERE;
}

/* How many frames of the last hook there are to be told of the activation at `slot`: none
   if the hook was before its time. */
static int
refmap_last_frames(const refmap_thread_t *thread, uintptr_t slot)
{
    for (int i = 0; i < thread->nlast; i++) {
        if (thread->last[i].slot == slot) {
            return thread->nlast;
        }
    }
    return 0;
}

static void
refmap_write_outcomes(const refmap_thread_t *thread, uintptr_t slot,
                      uintptr_t value, const refmap_outcomes_t *outcomes)
{
    int nlast = refmap_last_frames(thread, slot);
    size_t nwords = 5 + 2 * (size_t)nlast + 3 * (size_t)outcomes->n
                    + 4 * (size_t)outcomes->nplaces;
    uint64_t *word = _PyRefMap_TapeRecord(REFMAP_RETURN, nlast, thread->number,
                                          nwords);
    if (word == NULL) {
        return;
    }
    *word++ = slot;
    *word++ = value;
    *word++ = (uint64_t)outcomes->n;
    *word++ = (uint64_t)outcomes->nplaces;
    word = _PyRefMap_TapeFrames(word, thread->last, nlast);
    for (int i = 0; i < outcomes->n; i++) {
        *word++ = outcomes->token[i];
        *word++ = (uint64_t)outcomes->outcome[i];
        *word++ = outcomes->to[i];
    }
    for (int i = 0; i < outcomes->nplaces; i++) {
        *word++ = outcomes->places[i].token;
        *word++ = outcomes->places[i].location;
        *word++ = outcomes->places[i].base;
        *word++ = outcomes->places[i].type;
    }
}

/* `activation`, which is none of the thread's any more, has come to an end. */
static void
refmap_write_return(refmap_thread_t *thread, refmap_activation_t activation,
                    uintptr_t value, int abandoned)
{
    uint32_t token = activation.first;
    while (token != 0) {
        refmap_outcomes_t outcomes;
        outcomes.n = outcomes.nplaces = 0;
        while (token != 0 && outcomes.n < TOKENS_AT_ONCE) {
            // Settling puts it into the list of another holder.
            uint32_t next = recorder.tokens[token].next_of_holder;
            if (recorder.tokens[token].is_spent) {
                token = next;
                continue;
            }
            outcomes.token[outcomes.n] = token;
            outcomes.to[outcomes.n] = 0;
            outcomes.outcome[outcomes.n] = abandoned ? REFMAP_ABANDONED
                : refmap_settle_token(thread, token, activation.slot, value,
                                      &outcomes);
            outcomes.n++;
            token = next;
        }
        if (outcomes.n > 0) {
            refmap_write_outcomes(thread, activation.slot, value, &outcomes);
        }
    }
}

/* The activation at `slot` of the calling thread returns `value`. */
static void
refmap_end_activation(refmap_thread_t *thread, uintptr_t slot, uintptr_t value)
{
    int is_on = refmap_enter() != NULL;
    _PyRefMap_PruneActivations(thread, slot, is_on ? refmap_abandon
                                                   : _PyRefMap_DropActivation);
    size_t n = thread->nactivations;
    if (n > 0 && thread->activations[n - 1].slot == slot) {
        refmap_activation_t ended = thread->activations[--thread->nactivations];
        if (is_on) {
            refmap_write_return(thread, ended, value, 0);
        }
    }
    if (is_on) {
        refmap_leave(thread);
    }
}

uintptr_t
_PyRefMap_OnReturn(uintptr_t slot, uintptr_t value)
{
    int saved_errno = errno;
    if (refmap_thread != NULL) {
        refmap_end_activation(refmap_thread, slot, value);
    }
    uintptr_t pc = _PyRefMap_TakeReturn(slot);
    errno = saved_errno;
    return pc;
}


/* --- what is watched ------------------------------------------------------------------------ */

static int
refmap_is_wanted_name(const char *name)
{
    for (size_t i = 0; i < recorder.options.nnames; i++) {
        if (strcmp(recorder.options.names[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Is each object of this type watched? */
static int
refmap_is_wanted_type(const PyTypeObject *type)
{
    if (recorder.options.nnames == 0) {
        return 0;
    }
    uint64_t *known = _PyRefMap_TableAdd(&recorder.types, (uintptr_t)type);
    uint64_t name = (uint64_t)(uintptr_t)type->tp_name << 1;
    if (known != NULL && *known >> 1 << 1 == name) {
        return (int)(*known & 1);
    }
    int is_wanted = refmap_is_wanted_name(type->tp_name);
    if (known != NULL) {
        *known = name | (uint64_t)is_wanted;
    }
    return is_wanted;
}

static int
refmap_is_wanted(uintptr_t address)
{
    uint64_t nth = (_PyRefMap_LivingBirth(address) - recorder.options.first_birth)
                   & REFMAP_BIRTH_SERIAL;
    return _PyRefMap_TableFind(&recorder.options.births, nth + 2) != NULL
           || refmap_is_wanted_type(Py_TYPE((PyObject *)address));
}

int
_PyRefMap_Watch(uintptr_t address)
{
    return _PyRefMap_TableAdd(&recorder.watched, address) != NULL ? 0 : -1;
}


/* --- hooks ------------------------------------------------------------------------------------- */

void
_PyRefMap_RecordBirth(const void *op, void *fp)
{
    refmap_event_t event;
    if (refmap_begin(&event, op, fp) < 0) {
        return;
    }
    _PyRefMap_TableRemove(&recorder.watched, event.object);
    if (recorder.options.places) {
        refmap_base_goes(&event, event.object);
        _PyRefMap_AddObjectRegion(event.object);
    }
    if (refmap_is_wanted(event.object)) {
        uint64_t *newest = _PyRefMap_TableAdd(&recorder.watched, event.object);
        if (newest != NULL) {
            refmap_write_change(&event, REFMAP_BIRTH, 1, newest);
        }
        else {
            _PyRefMap_tape.lost_memory++;
        }
    }
    refmap_end(&event);
}

void
_PyRefMap_RecordChange(const void *op, Py_ssize_t n, void *fp)
{
    refmap_event_t event;
    if (refmap_begin(&event, op, fp) < 0) {
        return;
    }
    uint64_t *newest = _PyRefMap_TableFind(&recorder.watched, event.object);
    if (newest != NULL) {
        refmap_write_change(&event, REFMAP_CHANGE, n, newest);
    }
    refmap_end(&event);
}

static void
refmap_write_death(const refmap_event_t *event, uint64_t newest)
{
    uint64_t line = _PyRefMap_TapeCode();
    uint64_t *word = refmap_event_record(event, REFMAP_DEATH,
                                         5 + 2 * (size_t)event->n);
    if (word != NULL) {
        *word++ = event->object;
        *word++ = _PyRefMap_LivingBirth(event->object);
        *word++ = (uintptr_t)Py_TYPE((PyObject *)event->object);
        *word++ = line;
        _PyRefMap_TapeFrames(word, event->frames, event->n);
    }
    for (uint32_t token = (uint32_t)newest; token != 0;
         token = recorder.tokens[token].next_of_object)
    {
        recorder.tokens[token].object = 0;
    }
    _PyRefMap_ForgetObject(event->object);
    _PyRefMap_TableRemove(&recorder.watched, event->object);
}

void
_PyRefMap_RecordDeath(PyObject *op, void *fp)
{
    refmap_event_t event;
    if (refmap_begin(&event, op, fp) < 0) {
        return;
    }
    uint64_t *newest = _PyRefMap_TableFind(&recorder.watched, event.object);
    if (newest != NULL) {
        refmap_write_death(&event, *newest);
    }
    refmap_thread_t *thread = event.thread;
    if (thread->ndeaths < REFMAP_DEATHS && event.n > 0) {
        thread->deaths[thread->ndeaths++] = (refmap_death_t){
            event.object, (uintptr_t)Py_TYPE(op),
            _PyRefMap_LivingBirth(event.object), event.frames[0]};
        _PyRefMap_TapeType(Py_TYPE(op));
    }
    refmap_end(&event);
}

void
_PyRefMap_RecordMove(const void *from, const void *to, void *fp)
{
    refmap_event_t event;
    if (from == to || refmap_begin(&event, to, fp) < 0) {
        return;
    }
    uint64_t *newest = _PyRefMap_TableFind(&recorder.watched, (uintptr_t)from);
    if (newest != NULL) {
        uint64_t token = *newest;
        _PyRefMap_TableRemove(&recorder.watched, (uintptr_t)from);
        uint64_t *moved = _PyRefMap_TableAdd(&recorder.watched, event.object);
        if (moved != NULL) {
            *moved = token;
        }
        for (; token != 0; token = recorder.tokens[token].next_of_object) {
            recorder.tokens[token].object = event.object;
        }
        uint64_t *word = refmap_event_record(&event, REFMAP_MOVE,
                                             4 + 2 * (size_t)event.n);
        if (word != NULL) {
            *word++ = (uintptr_t)from;
            *word++ = event.object;
            *word++ = _PyRefMap_LivingBirth(event.object);
            _PyRefMap_TapeFrames(word, event.frames, event.n);
        }
    }
    _PyRefMap_MoveObject((uintptr_t)from, event.object);
    refmap_end(&event);
}

void
_PyRefMap_RecordFree(const void *ptr)
{
    refmap_event_t event;
    if (refmap_begin(&event, ptr, __builtin_frame_address(0)) < 0) {
        return;
    }
    _PyRefMap_RemoveObjectRegion(event.object);
    refmap_base_goes(&event, event.object);
    refmap_end(&event);
}


/* --- memory blocks --------------------------------------------------------------------------------- */

/* Where the ALLOC record of a block is, plus one. */
static refmap_table_t blocks;

void
_PyRefMap_RecordAlloc(void *ptr, size_t size, int domain, void *fp)
{
    refmap_event_t event;
    if (refmap_begin(&event, NULL, fp) < 0) {
        return;
    }
    if (recorder.options.places) {
        _PyRefMap_AddRegion((uintptr_t)ptr, size);
    }
    uint64_t *at = recorder.options.blocks
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
    refmap_end(&event);
}

void
_PyRefMap_RecordFreeBlock(void *ptr, void *fp)
{
    refmap_event_t event;
    if (refmap_begin(&event, NULL, fp) < 0) {
        return;
    }
    _PyRefMap_RemoveRegion((uintptr_t)ptr);
    refmap_base_goes(&event, (uintptr_t)ptr);
    uint64_t *at = _PyRefMap_TableFind(&blocks, (uintptr_t)ptr);
    if (at != NULL) {
        if (*at != 0) {
            _PyRefMap_TapeErase(*at - 1);
        }
        _PyRefMap_TableRemove(&blocks, (uintptr_t)ptr);
    }
    refmap_end(&event);
}

void
_PyRefMap_RecordMoveBlock(void *from, void *to, size_t size, int domain, void *fp)
{
    refmap_thread_t *thread = refmap_enter();
    if (thread != NULL) {
        _PyRefMap_MoveObject((uintptr_t)from, (uintptr_t)to);
        // The positions in it are to stay, at the same address, too.
        _PyRefMap_RemoveRegion((uintptr_t)from);
        refmap_leave(thread);
    }
    if (from != to) {
        _PyRefMap_RecordFreeBlock(from, fp);
    }
    _PyRefMap_RecordAlloc(to, size, domain, fp);
}


/* --- on and off ---------------------------------------------------------------------------------------- */

void
_PyRefMap_ClearWatch(refmap_record_options_t *options)
{
    for (size_t i = 0; i < options->nnames; i++) {
        _PyRefMap_RawFree(options->names[i], strlen(options->names[i]) + 1);
    }
    _PyRefMap_RawFree(options->names,
                      options->names_allocated * sizeof(*options->names));
    _PyRefMap_TableClear(&options->births);
    memset(options, 0, sizeof(*options));
}

static void
refmap_clear(void)
{
    _PyRefMap_TableClear(&recorder.watched);
    _PyRefMap_TableClear(&recorder.types);
    _PyRefMap_TableClear(&blocks);
    _PyRefMap_RawFree(recorder.tokens, recorder.tokens_allocated
                                       * sizeof(*recorder.tokens));
    recorder.tokens = NULL;
    recorder.ntokens = recorder.tokens_allocated = 0;
    recorder.npending = 0;
    _PyRefMap_ClearWatch(&recorder.options);
}

int
_PyRefMap_PrepareRecording(refmap_record_options_t *options)
{
    if (!has_thread_key) {
        if (pthread_key_create(&thread_key, refmap_free_thread) != 0) {
            return -1;
        }
        has_thread_key = 1;
    }
    refmap_clear();
    uint64_t none = 0;
    // Token 0 is none.
    if (refmap_new_token(0, &none) != 0 || recorder.ntokens == 0) {
        return -1;
    }
    recorder.options = *options;
    memset(options, 0, sizeof(*options));
    recorder.number++;
    recorder.nthreads = 0;
    recorder.hooks = 0;

    return 0;
}

void
_PyRefMap_SwitchRecording(int on)
{
    refmap_record_lock();
    _PyRefMap_recording = on;
    if (!on) {
        _PyRefMap_StopPlaces();
        refmap_clear();
    }
    PyMutex_Unlock(&recorder_mutex);
}

void
_PyRefMap_RecordAfterFork(void)
{
    _PyMutex_at_fork_reinit(&recorder_mutex);
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
