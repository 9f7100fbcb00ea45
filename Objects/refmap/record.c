/* The recorder of references: which objects are watched, the hooks that tell of them, and
   recordings that begin and end. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

static refmap_table_t watched;      // address -> its newest token
/* Types that were seen: address -> their name << 1, 1 if wanted. */
static refmap_table_t types;


/* --- what is watched --------------------------------------------------------- */

static int
refmap_is_wanted_name(const char *name)
{
    const refmap_record_options_t *options = &_PyRefMap_recorder.options;
    for (size_t i = 0; i < options->nnames; i++) {
        if (strcmp(options->names[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Is each object of this type watched? */
static int
refmap_is_wanted_type(const PyTypeObject *type)
{
    if (_PyRefMap_recorder.options.nnames == 0) {
        return 0;
    }
    uint64_t *known = _PyRefMap_TableAdd(&types, (uintptr_t)type);
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
    const refmap_record_options_t *options = &_PyRefMap_recorder.options;
    uint64_t nth = (_PyRefMap_LivingBirth(address) - options->first_birth)
                   & REFMAP_BIRTH_SERIAL;
    return _PyRefMap_TableFind(&options->births, nth + 2) != NULL
           || refmap_is_wanted_type(Py_TYPE((PyObject *)address));
}

int
_PyRefMap_Watch(uintptr_t address)
{
    return _PyRefMap_TableAdd(&watched, address) != NULL ? 0 : -1;
}


/* --- hooks ------------------------------------------------------------------- */

void
_PyRefMap_RecordBirth(const void *op, void *fp)
{
    refmap_event_t event;
    if (_PyRefMap_BeginEvent(&event, op, fp) < 0) {
        return;
    }
    _PyRefMap_TableRemove(&watched, event.object);
    if (_PyRefMap_recorder.options.places) {
        _PyRefMap_BaseGoes(&event, event.object);
        _PyRefMap_AddObjectRegion(event.object);
    }
    if (refmap_is_wanted(event.object)) {
        uint64_t *newest = _PyRefMap_TableAdd(&watched, event.object);
        if (newest != NULL) {
            _PyRefMap_WriteChange(&event, REFMAP_BIRTH, 1, newest);
        }
        else {
            _PyRefMap_tape.lost_memory++;
        }
    }
    _PyRefMap_EndEvent(&event);
}

void
_PyRefMap_RecordChange(const void *op, Py_ssize_t n, void *fp)
{
    refmap_event_t event;
    if (_PyRefMap_BeginEvent(&event, op, fp) < 0) {
        return;
    }
    uint64_t *newest = _PyRefMap_TableFind(&watched, event.object);
    if (newest != NULL) {
        _PyRefMap_WriteChange(&event, REFMAP_CHANGE, n, newest);
    }
    _PyRefMap_EndEvent(&event);
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
    _PyRefMap_SetTokens(newest, 0);
    _PyRefMap_ForgetObject(event->object);
    _PyRefMap_TableRemove(&watched, event->object);
}

void
_PyRefMap_RecordDeath(PyObject *op, void *fp)
{
    refmap_event_t event;
    if (_PyRefMap_BeginEvent(&event, op, fp) < 0) {
        return;
    }
    uint64_t *newest = _PyRefMap_TableFind(&watched, event.object);
    if (newest != NULL) {
        refmap_write_death(&event, *newest);
    }
    if (_PyRefMap_recorder.options.places) {
        // Its tp_dealloc may give its memory back long before it ends.
        _PyRefMap_MarkDying(event.object);
        _PyRefMap_RemoveObjectRegion(event.object);
    }
    refmap_thread_t *thread = event.thread;
    if (thread->ndeaths < REFMAP_DEATHS && event.n > 0) {
        thread->deaths[thread->ndeaths++] = (refmap_death_t){
            event.object, (uintptr_t)Py_TYPE(op),
            _PyRefMap_LivingBirth(event.object), event.frames[0]};
        _PyRefMap_TapeType(Py_TYPE(op));
    }
    _PyRefMap_EndEvent(&event);
}

void
_PyRefMap_RecordMove(const void *from, const void *to, void *fp)
{
    refmap_event_t event;
    if (from == to || _PyRefMap_BeginEvent(&event, to, fp) < 0) {
        return;
    }
    uint64_t *newest = _PyRefMap_TableFind(&watched, (uintptr_t)from);
    if (newest != NULL) {
        uint64_t token = *newest;
        _PyRefMap_TableRemove(&watched, (uintptr_t)from);
        uint64_t *moved = _PyRefMap_TableAdd(&watched, event.object);
        if (moved != NULL) {
            *moved = token;
        }
        _PyRefMap_SetTokens(token, event.object);
        uint64_t *word = refmap_event_record(&event, REFMAP_MOVE,
                                             4 + 2 * (size_t)event.n);
        if (word != NULL) {
            *word++ = (uintptr_t)from;
            *word++ = event.object;
            *word++ = _PyRefMap_LivingBirth(event.object);
            _PyRefMap_TapeFrames(word, event.frames, event.n);
        }
    }
    // Who holds it is about to be told.
    _PyRefMap_ForgetObject((uintptr_t)from);
    _PyRefMap_EndEvent(&event);
}

void
_PyRefMap_RecordFree(const void *ptr)
{
    refmap_event_t event;
    if (_PyRefMap_BeginEvent(&event, ptr, __builtin_frame_address(0)) < 0) {
        return;
    }
    _PyRefMap_RemoveObjectRegion(event.object);
    _PyRefMap_BaseGoes(&event, event.object);
    _PyRefMap_EndEvent(&event);
}


/* --- on and off -------------------------------------------------------------- */

void
_PyRefMap_ClearWatch(refmap_record_options_t *options)
{
    for (size_t i = 0; i < options->nnames; i++) {
        _PyRefMap_FreeString(options->names[i]);
    }
    _PyRefMap_RawFree(options->names,
                      options->names_allocated * sizeof(*options->names));
    _PyRefMap_TableClear(&options->births);
    memset(options, 0, sizeof(*options));
}

static void
refmap_clear(void)
{
    _PyRefMap_TableClear(&watched);
    _PyRefMap_TableClear(&types);
    _PyRefMap_ClearBlocks();
    _PyRefMap_ClearTokens();
    _PyRefMap_ForgetPending();
    _PyRefMap_ClearWatch(&_PyRefMap_recorder.options);
}

int
_PyRefMap_PrepareRecording(refmap_record_options_t *options)
{
    refmap_clear();
    if (_PyRefMap_StartThreads() < 0 || _PyRefMap_StartTokens() < 0) {
        return -1;
    }
    _PyRefMap_recorder.options = *options;
    memset(options, 0, sizeof(*options));
    _PyRefMap_recorder.hooks = 0;
    return 0;
}

void
_PyRefMap_SwitchRecording(int on)
{
    _PyRefMap_LockRecorder();
    _PyRefMap_recording = on;
    if (!on) {
        _PyRefMap_StopPlaces();
        refmap_clear();
    }
    _PyRefMap_UnlockRecorder();
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
