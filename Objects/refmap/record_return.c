/* The activations whose return address was exchanged, of each thread. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

refmap_activation_t *
_PyRefMap_FindActivation(refmap_thread_t *thread, uintptr_t slot)
{
    size_t low = 0, high = thread->nactivations;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (thread->activations[middle].slot > slot) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low < thread->nactivations && thread->activations[low].slot == slot
           ? &thread->activations[low] : NULL;
}

static int
refmap_reserve_activation(refmap_thread_t *thread)
{
    return _PyRefMap_Grow(&thread->activations, &thread->activations_allocated,
                          thread->nactivations + 1,
                          sizeof(*thread->activations));
}

/* Add an activation where it belongs: the innermost is the last. There is room for
   it. */
static void
refmap_add_activation(refmap_thread_t *thread, uintptr_t slot)
{
    size_t i = thread->nactivations++;
    for (; i > 0 && thread->activations[i - 1].slot < slot; i--) {
        thread->activations[i] = thread->activations[i - 1];
    }
    thread->activations[i] = (refmap_activation_t){.slot = slot};
}

void
_PyRefMap_ExchangeReturns(refmap_thread_t *thread, const refmap_frame_t *frames,
                          int n)
{
    // The outermost first: it goes to the end of the array.
    for (int i = n - 1; i >= 0; i--) {
        uintptr_t slot = frames[i].slot;
        if ((slot & 7) != 0 || slot < thread->stack.low || slot >= thread->stack.high) {
            continue;
        }
        // The last frame of the walk was not looked at so far.
        if (_PyRefMap_IsReturnAddress(*(uintptr_t *)slot)
            && refmap_reserve_activation(thread) == 0
            && _PyRefMap_Exchange(slot) == 0)
        {
            refmap_add_activation(thread, slot);
        }
    }
}

void
_PyRefMap_PruneActivations(refmap_thread_t *thread, uintptr_t sp,
        void (*abandon)(refmap_thread_t *, refmap_activation_t))
{
    while (thread->nactivations > 0) {
        refmap_activation_t *last = &thread->activations[thread->nactivations - 1];
        if (last->slot >= sp
            && *(uintptr_t *)last->slot == refmap_trampoline_address())
        {
            return;
        }
        _PyRefMap_ForgetReturn(last->slot);
        thread->nactivations--;
        abandon(thread, *last);
    }
}

void
_PyRefMap_DropActivation(refmap_thread_t *Py_UNUSED(thread),
                         refmap_activation_t Py_UNUSED(activation))
{
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
