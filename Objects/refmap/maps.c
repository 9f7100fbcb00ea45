/* Life of the refcount maps: one for each GIL. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_initconfig.h"    // _PyStatus_ERR()
#include "pycore_object.h"        // _Py_GetGlobalRefTotal()
#include "pycore_pystate.h"       // HEAD_LOCK()
#include "pycore_refmap_log.h"    // _PyRefMap_LogAfterFork()
#include "pycore_refmap_record.h" // _PyRefMap_RecordAfterFork()
#include "pycore_refmap_test.h"   // _PyRefMap_TableSizes()
#include "pycore_runtime.h"       // _PyRuntime

/* Stands in for the hot part of a map where there is no thread state. */
static refmap_state_t nobody;

/* Of maps that are opened from now on. */
static int is_bypassed;

void
_PyRefMap_Attach(PyThreadState *tstate)
{
    _PyRefMap_current = (tstate ? refmap_of(tstate->interp) : &nobody)->hot + 1;
}


/* --- opening -------------------------------------------------------------- */

/* Give `map` to `interp`, whose total will be counted there. */
static void
refmap_own(refmap_state_t *map, PyInterpreterState *interp)
{
    map->hot->map = map;
    map->hot->owner = interp;
    interp->object_state.refmap = map;
}

PyStatus
_PyRefMap_InitInterp(PyInterpreterState *interp)
{
    refmap_state_t *map = _PyRefMap_Main();
    if (map->hot == NULL
        && (_PyRefMap_ReserveHot(&nobody, 0) < 0
            || _PyRefMap_ReserveHot(map, 1) < 0))
    {
        return _PyStatus_ERR("the refcount map needs hundreds of gibibytes of "
                             "address space, which a limit forbids: see "
                             "ulimit -v");
    }
    interp->object_state.refmap = map;
    if (map->hot->owner == NULL) {
        // Python starts, perhaps not for the first time.
        map->keep_types = 0;
        refmap_own(map, interp);
    }
    return _PyStatus_OK();
}

PyStatus
_PyRefMap_InitOwnGIL(PyInterpreterState *interp)
{
    refmap_state_t *map = _PyRefMap_Malloc(sizeof(*map));
    if (map == NULL) {
        return _PyStatus_NO_MEMORY();
    }
    memset(map, 0, sizeof(*map));
    map->epoch = 1;
    if (_PyRefMap_ReserveHot(map, 1) < 0) {
        _PyRefMap_RawFree(map, sizeof(*map));
        return _PyStatus_ERR("no address space is left for the refcount map of "
                             "another interpreter with a GIL of its own: each "
                             "needs 256 GiB of it");
    }
    _PyRefMap_LockMaps();
    map->is_bypassed = is_bypassed;
    map->next = _PyRefMap_Main()->next;
    _PyRefMap_Main()->next = map;
    _PyRefMap_UnlockMaps();
    _PyRefMap_LogBeforeMap();
    // sys.gettotalrefcount() of another interpreter may be reading.
    HEAD_LOCK(&_PyRuntime);
    refmap_own(map, interp);
    HEAD_UNLOCK(&_PyRuntime);
    return _PyStatus_OK();
}

void
_PyRefMap_BypassAll(int on)
{
    _PyRefMap_LockMaps();
    is_bypassed = on;
    for (refmap_state_t *map = _PyRefMap_Main(); map != NULL; map = map->next) {
        refmap_lock(map);
        _PyRefMap_Bypass_lock_held(map, on);
        refmap_unlock(map);
    }
    _PyRefMap_UnlockMaps();
}


/* --- figures --------------------------------------------------------------- */

static void
refmap_add_info(refmap_state_t *map, refmap_info_t *info)
{
    for (size_t i = 0; i < map->len; i++) {
        const refmap_block_t *block = map->blocks[i];
        if (block == NULL) {
            continue;
        }
        info->blocks++;
        for (size_t k = 0; k < REFMAP_SLOTS; k++) {
            refmap_slot_t slot = refmap_get(block, k);
            info->mapped += slot.count;
            info->objects += slot.count != 0;
        }
    }
    info->bytes += _PyRefMap_DirectoryBytes(map);
    info->unattributed += map->unattributed - map->own;
    info->untracked += map->untracked;
    info->overflowed += map->overflowed;
}

/* Give back what the current map does not need. That of others may be in use. */
static void
refmap_tidy(refmap_state_t *map)
{
    refmap_lock(map);
    _PyRefMap_SettleOrphans_lock_held(map, SIZE_MAX);
    _PyRefMap_Reclaim_lock_held(map);
    refmap_unlock(map);
}

void
_PyRefMap_GetInfo(refmap_info_t *info)
{
    memset(info, 0, sizeof(*info));
    refmap_state_t *current = refmap_current_map();
    if (current != NULL) {
        refmap_tidy(current);
    }
    _PyRefMap_LockMaps();
    for (refmap_state_t *map = _PyRefMap_Main(); map != NULL; map = map->next) {
        refmap_lock(map);
        refmap_add_info(map, info);
        refmap_unlock(map);
    }
    info->unattributed += _PyRefMap_LeftUnattributed();
    info->total = _Py_GetGlobalRefTotal();
    _PyRefMap_UnlockMaps();
    info->bytes += _PyRefMap_UsedBytes();
}

void
_PyRefMap_GetOwnInfo(refmap_info_t *info)
{
    memset(info, 0, sizeof(*info));
    refmap_state_t *map = refmap_current_map();
    refmap_tidy(map);
    // Interpreters with maps of their own may be closed meanwhile.
    _PyRefMap_LockMaps();
    refmap_lock(map);
    refmap_add_info(map, info);
    refmap_unlock(map);
    Py_ssize_t unattributed;
    _PyRefMap_Sums(map, &info->total, &unattributed);
    info->unattributed += unattributed - map->unattributed;
    _PyRefMap_UnlockMaps();
    info->bytes += _PyRefMap_UsedBytes();
}

void
_PyRefMap_TableSizes(size_t *items, size_t *buckets)
{
    const refmap_state_t *map = refmap_current_map();
    const UT_hash_table *tables[] = {
        map->table != NULL ? map->table->hh.tbl : NULL,
        map->names != NULL ? map->names->hh.tbl : NULL,
        map->types != NULL ? map->types->hh.tbl : NULL,
    };
    *items = *buckets = 0;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(tables); i++) {
        if (tables[i] != NULL) {
            *items = Py_MAX(*items, tables[i]->num_items);
            *buckets = Py_MAX(*buckets, tables[i]->num_buckets);
        }
    }
}

void
_PyRefMap_GetMemory(refmap_memory_t *memory)
{
    const refmap_state_t *map = refmap_current_map();
    memory->loose = map->nloose;
    memory->patience = map->patience;
    memory->bytes = _PyRefMap_UsedBytes();
}


/* --- closing --------------------------------------------------------------- */

static void
refmap_destroy(refmap_state_t *map)
{
    _PyRefMap_SnapshotDecref(map->baseline);
    _PyRefMap_AbandonSnapshots(map);
    for (size_t i = 0; i < map->len; i++) {
        if (map->blocks[i] != NULL) {
            _PyRefMap_RemoveFromTable_lock_held(map, map->blocks[i]);
            _PyRefMap_FreeBlock_lock_held(map, map->blocks[i]);
        }
    }
    _PyRefMap_FreeNames(map);
    _PyRefMap_ReleaseHot(map);
    _PyRefMap_RawFree(map->ranges,
                      map->ranges_allocated * sizeof(*map->ranges));
    _PyRefMap_RawFree(map->holes,
                      map->holes_allocated * sizeof(*map->holes));
    _PyRefMap_RawFree(map->blocks, map->allocated * sizeof(*map->blocks));
    _PyRefMap_RawFree(map, sizeof(*map));
}

/* Let go of `interp`: its total is left behind, and `left` references that its map
   holds. With the lock of the list of interpreters, as another one may be reading
   the hot part, or both sums. */
static void
refmap_leave(refmap_state_t *map, PyInterpreterState *interp, Py_ssize_t left)
{
    HEAD_LOCK(&_PyRuntime);
    interp->runtime->object_state.interpreter_leaks +=
        interp->object_state.reftotal + _PyRefMap_HotTotal(interp);
    _PyRefMap_Pause(REFMAP_PAUSE_LEAVING);
    _PyRefMap_LeaveUnattributed(left);
    interp->object_state.reftotal = 0;
    if (map->hot->owner == interp) {
        map->hot->owner = NULL;
        memset(map->hot->totals, 0, sizeof(map->hot->totals));
    }
    interp->object_state.refmap = _PyRefMap_Main();
    HEAD_UNLOCK(&_PyRuntime);
}

static void
refmap_unlink(refmap_state_t *map)
{
    refmap_state_t *prev = _PyRefMap_Main();
    while (prev->next != map) {
        prev = prev->next;
    }
    prev->next = map->next;
}

void
_PyRefMap_FiniInterp(PyInterpreterState *interp)
{
    refmap_state_t *map = refmap_of(interp);
    if (map == NULL) {
        return;
    }
    if (map == _PyRefMap_Main()) {
        refmap_leave(map, interp, 0);
        return;
    }
    _PyRefMap_Pause(REFMAP_PAUSE_CLOSING);
    _PyRefMap_LogForgetMap(map);
    _PyRefMap_LockMaps();
    refmap_info_t info = {0};
    refmap_add_info(map, &info);
    refmap_unlink(map);
    refmap_leave(map, interp, info.mapped + info.unattributed);
    _PyRefMap_UnlockMaps();
    if (_PyRefMap_current == map->hot + 1) {
        _PyRefMap_current = _PyRefMap_Main()->hot + 1;
    }
    refmap_destroy(map);
    _PyRefMap_Pause(REFMAP_PAUSE_CLOSED);
}

void
_PyRefMap_AfterFork(void)
{
    _PyRefMap_ReinitMapsLock();
    for (refmap_state_t *map = _PyRefMap_Main(); map != NULL; map = map->next) {
        _PyMutex_at_fork_reinit(&map->mutex);
    }
    _PyRefMap_RecordAfterFork();
    _PyRefMap_LogAfterFork();
}

#endif  // Py_REFCOUNT_MAP
