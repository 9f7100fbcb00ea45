/* Entering the recorder: what it keeps of each thread, its lock, and what that guards. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include "pycore_lock.h"          // PyMutex

#include <pthread.h>              // pthread_key_create()

int _PyRefMap_recording;

struct _refmap_recorder _PyRefMap_recorder;

/* Guards _PyRefMap_recorder, and all that is recorded. A thread holds it while it is
   busy. */
static PyMutex recorder_mutex;

/* Recordings so far, and threads in this one. */
static uint64_t nrecordings;
static unsigned nthreads;

static __thread refmap_thread_t *current_thread;
static pthread_key_t thread_key;
static int has_thread_key;

static void
refmap_free_thread(void *arg)
{
    refmap_thread_t *thread = arg;
    current_thread = NULL;
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
    current_thread = thread;
    return thread;
}

void
_PyRefMap_LockRecorder(void)
{
    // A detach would let other threads run in the middle of an incref.
    _PyMutex_LockTimed(&recorder_mutex, -1, _Py_LOCK_DONT_DETACH);
}

void
_PyRefMap_UnlockRecorder(void)
{
    PyMutex_Unlock(&recorder_mutex);
}

refmap_thread_t *
_PyRefMap_CurrentThread(void)
{
    return current_thread;
}

refmap_thread_t *
_PyRefMap_EnterRecorder(void)
{
    refmap_thread_t *thread = current_thread;
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
    _PyRefMap_LockRecorder();
    if (!_PyRefMap_recording) {
        PyMutex_Unlock(&recorder_mutex);
        thread->busy = 0;
        return NULL;
    }
    if (thread->recording != nrecordings) {
        // What is left of another recording is of no interest.
        thread->recording = nrecordings;
        thread->number = nthreads++;
        thread->nlast = thread->ndeaths = 0;
        thread->last_object = 0;
        for (size_t i = 0; i < thread->nactivations; i++) {
            thread->activations[i].first = thread->activations[i].ntokens = 0;
        }
    }
    return thread;
}

void
_PyRefMap_LeaveRecorder(refmap_thread_t *thread)
{
    PyMutex_Unlock(&recorder_mutex);
    thread->busy = 0;
}

int
_PyRefMap_StartThreads(void)
{
    if (!has_thread_key) {
        if (pthread_key_create(&thread_key, refmap_free_thread) != 0) {
            return -1;
        }
        has_thread_key = 1;
    }
    nrecordings++;
    nthreads = 0;
    return 0;
}

void
_PyRefMap_RecordAfterFork(void)
{
    _PyMutex_at_fork_reinit(&recorder_mutex);
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
