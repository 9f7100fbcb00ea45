/* Tokens: made by a +1, held by activations, spent by a -1. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

/* How much of the stack above an activation may hold what a function gave back through
   a pointer, in bytes. */
#define OUT_PARAMETERS ((uintptr_t)8192)
#define MAX_TOKENS ((size_t)1 << 20)
/* Tokens of one event, and of one activation, that are followed. */
#define MAX_AT_ONCE 64
#define MAX_CARRIED 4096


/* --- tokens and their holders ------------------------------------------------ */

/* A new token of an object; 0 if there are too many. */
static uint32_t
refmap_new_token(uintptr_t object, uint64_t *newest)
{
    struct _refmap_recorder *recorder = &_PyRefMap_recorder;
    if (recorder->ntokens >= MAX_TOKENS
        || _PyRefMap_Grow(&recorder->tokens, &recorder->tokens_allocated,
                          recorder->ntokens + 1, sizeof(*recorder->tokens)) < 0)
    {
        _PyRefMap_tape.lost_tokens++;
        return 0;
    }
    uint32_t token = (uint32_t)recorder->ntokens++;
    recorder->tokens[token] = (refmap_token_t){
        .object = object, .next_of_object = (uint32_t)*newest};
    *newest = token;
    return token;
}

void
_PyRefMap_Carry(refmap_activation_t *activation, uint32_t token)
{
    if (activation->ntokens >= MAX_CARRIED) {
        _PyRefMap_tape.lost_tokens++;
        return;
    }
    refmap_token(token)->next_of_holder = activation->first;
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

refmap_activation_t *
_PyRefMap_FindOnStack(refmap_thread_t *thread, refmap_token_t *token,
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

void
_PyRefMap_SetTokens(uint64_t newest, uintptr_t object)
{
    for (uint32_t token = (uint32_t)newest; token != 0;
         token = refmap_token(token)->next_of_object)
    {
        refmap_token(token)->object = object;
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
        const refmap_token_t *t = refmap_token(token);
        int is_it = t->object == object && !t->is_spent;
        if (is_it || t->is_spent) {
            *link = t->next_of_holder;
            holder->ntokens--;
        }
        else {
            link = &refmap_token(token)->next_of_holder;
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
    if (event->gone_object == event->object) {
        token = event->gone_token;
    }
    else if (k < event->n) {
        refmap_activation_t *holder = _PyRefMap_FindActivation(
            event->thread, event->frames[k].slot);
        token = holder != NULL ? refmap_let_go(holder, event->object) : 0;
    }
    if (token != 0) {
        refmap_token(token)->is_spent = 1;
    }
    return token;
}

/* Let the innermost function that may hold a reference hold `token`. */
static void
refmap_hold(const refmap_event_t *event, uint32_t token)
{
    int k = refmap_holding_frame(event);
    if (!_PyRefMap_recorder.options.returns || k >= event->n) {
        return;
    }
    _PyRefMap_ExchangeReturns(event->thread, event->frames + k, event->n - k);
    refmap_activation_t *holder = _PyRefMap_FindActivation(
        event->thread, event->frames[k].slot);
    if (holder != NULL) {
        _PyRefMap_Carry(holder, token);
        refmap_note_older(event->thread, refmap_token(token), holder->slot);
    }
}


/* --- changes ----------------------------------------------------------------- */

/* Make `n` tokens of the event's object; return the first, 0 if there is none. */
static uint32_t
refmap_make_tokens(const refmap_event_t *event, Py_ssize_t n, uint64_t *newest)
{
    uint32_t first = 0;
    if (*newest != 0) {
        _PyRefMap_LocateBefore(event);
    }
    for (Py_ssize_t i = 0; i < Py_MIN(n, MAX_AT_ONCE); i++) {
        uint32_t token = refmap_new_token(event->object, newest);
        if (token == 0) {
            break;
        }
        first = first == 0 ? token : first;
        refmap_hold(event, token);
        _PyRefMap_Await(token);
    }
    return first;
}

void
_PyRefMap_WriteChange(const refmap_event_t *event, int kind, Py_ssize_t n,
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


/* --- all tokens -------------------------------------------------------------- */

void
_PyRefMap_ClearTokens(void)
{
    struct _refmap_recorder *recorder = &_PyRefMap_recorder;
    _PyRefMap_RawFree(recorder->tokens, recorder->tokens_allocated
                                        * sizeof(*recorder->tokens));
    recorder->tokens = NULL;
    recorder->ntokens = recorder->tokens_allocated = 0;
}

int
_PyRefMap_StartTokens(void)
{
    uint64_t none = 0;
    // Token 0 is none.
    (void)refmap_new_token(0, &none);
    return _PyRefMap_recorder.ntokens == 1 ? 0 : -1;
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
