/* What becomes of tokens when the activation that holds them comes to an end. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include <errno.h>

/* Of a RETURN record. */
#define TOKENS_AT_ONCE 16

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
    refmap_token_t *token = refmap_token(number);
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
        to = _PyRefMap_FindOnStack(thread, token, slot);
        outcome = to != NULL ? REFMAP_ON_STACK : REFMAP_NOWHERE;
    }
    if (outcome != REFMAP_NOWHERE) {
        outcomes->to[outcomes->n] = to != NULL ? to->slot : 0;
        if (to != NULL) {
            _PyRefMap_Carry(to, number);
        }
        return outcome;
    }
    refmap_position_t found[REFMAP_FOUND];
    int n = _PyRefMap_KnownPosition(number, &found[0]);
    if (n == 0) {
        n = _PyRefMap_Search(thread, token->object, slot + 8, 1, found);
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
            uint32_t next = refmap_token(token)->next_of_holder;
            if (refmap_token(token)->is_spent) {
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

void
_PyRefMap_Abandon(refmap_thread_t *thread, refmap_activation_t activation)
{
    refmap_write_return(thread, activation, 0, 1);
}

/* The activation at `slot` of the calling thread returns `value`. */
static void
refmap_end_activation(refmap_thread_t *thread, uintptr_t slot, uintptr_t value)
{
    int is_on = _PyRefMap_EnterRecorder() != NULL;
    _PyRefMap_PruneActivations(thread, slot, is_on ? _PyRefMap_Abandon
                                                   : _PyRefMap_DropActivation);
    size_t n = thread->nactivations;
    if (n > 0 && thread->activations[n - 1].slot == slot) {
        refmap_activation_t ended = thread->activations[--thread->nactivations];
        if (is_on) {
            refmap_write_return(thread, ended, value, 0);
        }
    }
    if (is_on) {
        _PyRefMap_LeaveRecorder(thread);
    }
}

uintptr_t
_PyRefMap_OnReturn(uintptr_t slot, uintptr_t value)
{
    int saved_errno = errno;
    refmap_thread_t *thread = _PyRefMap_CurrentThread();
    if (thread != NULL) {
        refmap_end_activation(thread, slot, value);
    }
    uintptr_t pc = _PyRefMap_TakeReturn(slot);
    errno = saved_errno;
    return pc;
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
