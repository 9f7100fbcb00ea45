/* The main map, and the sums of references that maps are checked against. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_object.h"        // _Py_RefTotal
#include "pycore_refmap_test.h"   // _PyRefMap_SetPause()
#include "pycore_runtime.h"       // _PyRuntime
#include "pycore_pystate.h"       // PyInterpreterState_Head()

static refmap_state_t main_map = {.epoch = 1};

/* See _PyRefMap_SetPause(). */
static void (*pause_callback)(int where);

void
_PyRefMap_SetPause(void (*callback)(int where))
{
    pause_callback = callback;
}

void
_PyRefMap_Pause(int where)
{
    if (pause_callback != NULL) {
        pause_callback(where);
    }
}

/* What closed maps and _Py_FinalizeRefTotal() left. */
static Py_ssize_t left_unattributed;

refmap_state_t *
_PyRefMap_Main(void)
{
    return &main_map;
}

/* Guards refmap_state_t.next. Taken before the mutex of a map. */
static PyMutex maps_mutex;

void
_PyRefMap_LockMaps(void)
{
    // A detach would let other threads run in the middle of an incref.
    PyMutex_LockFlags(&maps_mutex, _Py_LOCK_DONT_DETACH);
}

void
_PyRefMap_UnlockMaps(void)
{
    PyMutex_Unlock(&maps_mutex);
}

void
_PyRefMap_ReinitMapsLock(void)
{
    _PyMutex_at_fork_reinit(&maps_mutex);
}

void
_PyRefMap_EachMap(void (*see)(refmap_state_t *map, void *arg), void *arg)
{
    _PyRefMap_LockMaps();
    for (refmap_state_t *map = _PyRefMap_Main(); map != NULL; map = map->next) {
        see(map, arg);
    }
    _PyRefMap_UnlockMaps();
}

void
_PyRefMap_LeaveUnattributed(Py_ssize_t n)
{
    _Py_atomic_add_ssize(&left_unattributed, n);
}

void
_PyRefMap_FinalizeTotal(Py_ssize_t legacy)
{
    _PyRefMap_LeaveUnattributed(legacy);
}

/* Whoever closes a map of another interpreter takes the lock of the list of
   interpreters for it; see _PyRefMap_FiniInterp(). */
Py_ssize_t
_PyRefMap_HotTotal(PyInterpreterState *interp)
{
    const refmap_state_t *map = refmap_of(interp);
    Py_ssize_t sum = 0;
    if (map != NULL && map->hot->owner == interp) {
        if (map != &main_map) {
            _PyRefMap_Pause(REFMAP_PAUSE_TOTAL);
        }
        for (int i = 0; i < REFMAP_PARTS; i++) {
            sum += map->hot->totals[i];
        }
    }
    return sum;
}

Py_ssize_t
_PyRefMap_LeftUnattributed(void)
{
    return _Py_atomic_load_ssize(&_Py_RefTotal)
           + _Py_atomic_load_ssize(&left_unattributed);
}

void
_PyRefMap_Sums(refmap_state_t *map, Py_ssize_t *total, Py_ssize_t *unattributed)
{
    *total = 0;
    *unattributed = map->unattributed;
    // Other maps are not even read: their interpreters may be running.
    HEAD_LOCK(&_PyRuntime);
    PyInterpreterState *interp = PyInterpreterState_Head();
    for (; interp != NULL; interp = PyInterpreterState_Next(interp)) {
        if (refmap_of(interp) == map) {
            *total += interp->object_state.reftotal + _PyRefMap_HotTotal(interp);
        }
    }
    if (map == &main_map) {
        *total += _PyRefMap_LeftTotal();
        *unattributed += _PyRefMap_LeftUnattributed();
    }
    HEAD_UNLOCK(&_PyRuntime);
}

#endif  // Py_REFCOUNT_MAP
