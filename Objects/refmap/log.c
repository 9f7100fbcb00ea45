/* The events of an event log: what the tracer and the hooks tell, as records. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"
#include "pycore_pystate.h"       // _PyThreadState_GET()

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

refmap_log_t *_PyRefMap_active_logs[REFMAP_LOG_KINDS];
int _PyRefMap_logging_references;


/* --- who may write --------------------------------------------------------------------- */

static PyMutex logs_mutex;

static inline int
refmap_lock_logs(refmap_state_t *first)
{
    first->in_log = 1;
    // Whoever makes a second map sees that, or is seen here.
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(first->next == NULL, 1)) {
        return 0;
    }
    first->in_log = 0;
    // A detach would let other threads run in the middle of an incref.
    _PyMutex_LockTimed(&logs_mutex, -1, _Py_LOCK_DONT_DETACH);
    return 1;
}

static inline void
refmap_unlock_logs(refmap_state_t *first, int locked)
{
    if (UNLIKELY(locked)) {
        PyMutex_Unlock(&logs_mutex);
    }
    else {
        first->in_log = 0;
    }
}

int
_PyRefMap_LockLogs(void)
{
    return refmap_lock_logs(_PyRefMap_Main());
}

void
_PyRefMap_UnlockLogs(int locked)
{
    refmap_unlock_logs(_PyRefMap_Main(), locked);
}

void
_PyRefMap_ReinitLogsLock(void)
{
    _PyMutex_at_fork_reinit(&logs_mutex);
    _PyRefMap_Main()->in_log = 0;
}


/* --- streams ---------------------------------------------------------------------------- */

static refmap_stream_t *
refmap_make_stream(refmap_log_t *log, refmap_state_t *map)
{
    refmap_stream_t *stream = _PyRefMap_Malloc(sizeof(*stream));
    if (stream == NULL) {
        return NULL;
    }
    memset(stream, 0, sizeof(*stream));
    stream->buffer = _PyRefMap_Malloc(REFMAP_LOG_FRONT + REFMAP_LOG_BUFFER);
    if (stream->buffer == NULL) {
        _PyRefMap_RawFree(stream, sizeof(*stream));
        return NULL;
    }
    stream->log = log;
    stream->map = map;
    stream->used = REFMAP_LOG_FRONT;
    stream->generation = 1;
    stream->number = log->nstreams++;
    stream->next = log->streams;
    log->streams = stream;
    if (log->options.kind == REFMAP_LOG_EVENTS) {
        _PyRefMap_LogLiving(stream);
    }
    return stream;
}

static Py_NO_INLINE refmap_stream_t *
refmap_find_stream(refmap_log_t *log, refmap_state_t *map)
{
    int is_active = _PyRefMap_active_logs[log->options.kind] == log;
    refmap_stream_t *stream = log->streams;
    while (stream != NULL && stream->map != map) {
        stream = stream->next;
    }
    if (stream == NULL) {
        stream = refmap_make_stream(log, map);
    }
    else if (is_active && log->options.kind == REFMAP_LOG_EVENTS
             && log->options.references)
    {
        // It was resumed.
        _PyRefMap_LogWatchWanted(stream);
    }
    if (stream == NULL) {
        log->lost++;
    }
    else if (is_active) {
        map->streams[log->options.kind] = stream;
    }
    return stream;
}

refmap_stream_t *
_PyRefMap_LogStream(refmap_log_t *log)
{
    refmap_state_t *map = refmap_current_map();
    if (UNLIKELY(map == NULL)) {
        return NULL;
    }
    refmap_stream_t *stream = map->streams[log->options.kind];
    return stream != NULL && stream->log == log ? stream
           : refmap_find_stream(log, map);
}


/* --- time, thread, memory --------------------------------------------------------------- */

static unsigned char *
refmap_put_thread(refmap_stream_t *stream, unsigned char *p,
                  const PyThreadState *tstate)
{
    stream->thread = tstate->id;
    stream->interp = (uint64_t)tstate->interp->id + 1;
    *p++ = REFMAP_LOG_THREAD;
    p = refmap_put(p, tstate->id);
    p = refmap_put(p, tstate->native_thread_id);
    return refmap_put(p, (uint64_t)tstate->interp->id);
}

static Py_NO_INLINE void
refmap_read_rss(refmap_stream_t *stream, uint64_t now)
{
    refmap_log_t *log = stream->log;
    int64_t pages = _PyRefMap_ResidentPages(log);
    if (pages >= 0) {
        log->last_rss = pages;
    }
    stream->read_rss_at = now + _PyRefMap_TicksOf((uint64_t)log->options.rss_age);
}

static inline int64_t
refmap_resident(refmap_stream_t *stream, uint64_t now)
{
    if (UNLIKELY(now >= stream->read_rss_at)) {
        refmap_read_rss(stream, now);
    }
    return stream->log->last_rss;
}

int64_t
_PyRefMap_LogResident(refmap_stream_t *stream, uint64_t now)
{
    return refmap_resident(stream, now);
}

/* What every record with a clock does first: room for it, and what is different since the
   last one. */
static inline unsigned char *
refmap_begin(refmap_stream_t *stream, uint64_t *now)
{
    *now = _PyRefMap_Ticks();
    if (UNLIKELY(*now >= stream->flush_at)) {
        _PyRefMap_WriteStream(stream);
    }
    unsigned char *p = refmap_log_room(stream, 2 * REFMAP_LOG_EVENT);
    if (UNLIKELY(stream->clock == 0)) {
        *p++ = REFMAP_LOG_CLOCK;
        p = refmap_put(p, *now);
        stream->clock = *now;
    }
    const PyThreadState *tstate = _PyThreadState_GET();
    if (UNLIKELY(tstate == NULL)) {
        // The interpreter comes to its end.
        return p;
    }
    if (UNLIKELY(stream->thread != tstate->id
                 || stream->interp != (uint64_t)tstate->interp->id + 1))
    {
        p = refmap_put_thread(stream, p, tstate);
    }
    return p;
}

unsigned char *
_PyRefMap_LogBegin(refmap_stream_t *stream, uint64_t *now)
{
    return refmap_begin(stream, now);
}

static inline unsigned char *
refmap_begin_event(refmap_stream_t *stream, uint64_t *now)
{
    unsigned char *p = refmap_begin(stream, now);
    refmap_log_t *log = stream->log;
    if (log->options.rss_age >= 0) {
        int64_t pages = refmap_resident(stream, *now);
        if (UNLIKELY(pages != stream->rss)) {
            p = refmap_put_rss(stream, p, pages);
        }
    }
    log->events++;
    return p;
}

void
_PyRefMap_LogText(refmap_stream_t *stream, int kind, const char *text, size_t size)
{
    uint64_t now;
    size = Py_MIN(size, REFMAP_LOG_BUFFER / 4);
    (void)refmap_log_room(stream, size + 3 * REFMAP_LOG_EVENT);
    unsigned char *p = refmap_begin(stream, &now);
    *p++ = (unsigned char)kind;
    p = refmap_put(p, refmap_elapsed(stream, now));
    p = refmap_put(p, size);
    memcpy(p, text, size);
    refmap_log_done(stream, p + size);
}


/* --- births and deaths -------------------------------------------------------------------- */

/* The birth that the map knows of the object, which may just have died. */
static inline uint32_t
refmap_birth(const PyObject *op)
{
    uintptr_t entry = _PyRefMap_Entry(_PyRefMap_current, op);
    if (entry != 0 && ((uintptr_t)op & 8) == 0) {
        uint32_t word = (uint32_t)_PyRefMap_CountIn(entry, op)[REFMAP_LANES];
        return word & REFMAP_BIRTH_BORN ? word & REFMAP_BIRTH_SERIAL : 0;
    }
    return refmap_look(refmap_current_map(), (uintptr_t)op).birth
           & REFMAP_BIRTH_SERIAL;
}

/* What all events of objects begin with. */
static inline unsigned char *
refmap_begin_object(refmap_stream_t *stream, int kind, PyObject *op, uint32_t type,
                    void *fp)
{
    uint64_t now;
    uint32_t place = _PyRefMap_LogPlaceOf(stream, fp);
    unsigned char *p = refmap_begin_event(stream, &now);
    *p++ = (unsigned char)kind;
    p = refmap_put(p, refmap_elapsed(stream, now));
    p = refmap_put_address(p, (uintptr_t)op);
    p = refmap_put(p, type);
    return refmap_put(p, place);
}

static void
refmap_write_new(refmap_stream_t *stream, PyObject *op, uint32_t type, void *fp)
{
    uint32_t birth = refmap_birth(op);
    unsigned char *p = refmap_begin_object(stream, REFMAP_LOG_NEW, op, type, fp);
    p = refmap_put_signed(p, (int64_t)birth - stream->last_birth - 1);
    stream->last_birth = birth;
    refmap_log_done(stream, p);
}

static void
refmap_write_del(refmap_stream_t *stream, PyObject *op, uint32_t type, void *fp)
{
    unsigned char *p = refmap_begin_object(stream, REFMAP_LOG_DEL, op, type, fp);
    p = refmap_put_signed(p, (int64_t)stream->last_birth - refmap_birth(op));
    refmap_log_done(stream, p);
}

/* Types whose births and deaths are of no interest. Each is in one of a few places that
   begin where its address says, so that two of them do not push each other out in turn:
   who is not found here takes twenty times as long. */
#define BORING_BITS 12
#define BORING_PLACES 4
static const PyTypeObject *boring[(1 << BORING_BITS) + BORING_PLACES - 1];

static inline const PyTypeObject **
refmap_boring_places(const PyTypeObject *type)
{
    // Knuth's multiplicative hashing: types lie at like distances.
    return &boring[(uintptr_t)type * UINT64_C(0x9E3779B97F4A7C15) >> (64 - BORING_BITS)];
}

static inline int
refmap_is_boring(const PyTypeObject *type)
{
    const PyTypeObject **places = refmap_boring_places(type);
    for (int i = 0; i < BORING_PLACES; i++) {
        if (places[i] == type) {
            return 1;
        }
    }
    return 0;
}

static void
refmap_note_boring(const PyTypeObject *type)
{
    const PyTypeObject **places = refmap_boring_places(type);
    int i = 0;
    while (i < BORING_PLACES - 1 && places[i] != NULL) {
        i++;
    }
    // Where all are taken the last one goes.
    places[i] = type;
}

static void
refmap_forget_boring(const PyTypeObject *type)
{
    const PyTypeObject **places = refmap_boring_places(type);
    for (int i = 0; i < BORING_PLACES; i++) {
        if (places[i] == type) {
            places[i] = NULL;
        }
    }
}

/* Does the log name such objects? */
static inline int
refmap_is_named(PyObject *op)
{
    return PyType_Check(op) || PyCode_Check(op);
}

/* No log knows a type, or code, by its address any more. */
static void
refmap_forget(PyObject *op)
{
    const refmap_state_t *map = refmap_current_map();
    for (int kind = 0; map != NULL && kind < REFMAP_LOG_KINDS; kind++) {
        if (map->streams[kind] != NULL) {
            _PyRefMap_LogForgetName(map->streams[kind], op);
        }
    }
    if (PyType_Check(op)) {
        refmap_forget_boring((PyTypeObject *)op);
    }
}

static inline void
refmap_trace(refmap_stream_t *stream, PyObject *op, int is_birth, void *fp)
{
    refmap_log_met_t *met = refmap_log_type(stream, Py_TYPE(op));
    if (UNLIKELY(met == NULL)) {
        stream->log->lost++;
        return;
    }
    if (met->is_wanted) {
        if (stream->log->options.path != NULL) {
            uint32_t type = _PyRefMap_LogTypeIndex(stream, met);
            (is_birth ? refmap_write_new : refmap_write_del)(stream, op, type, fp);
        }
        *(is_birth ? &met->births : &met->deaths) += 1;
        if (is_birth && _PyRefMap_logging_references
            && _PyRefMap_Entry(_PyRefMap_current, op) != 0)
        {
            _PyRefMap_WatchPage(stream->map, (uintptr_t)op);
        }
    }
    else if (!refmap_is_named(op)) {
        refmap_note_boring(Py_TYPE(op));
    }
}

static void
refmap_log_lifetime(PyObject *op, int is_birth, void *fp)
{
    refmap_state_t *first = _PyRefMap_Main();
    int locked = refmap_lock_logs(first);
    refmap_log_t *log = _PyRefMap_active_logs[REFMAP_LOG_EVENTS];
    if (log != NULL && log->error == 0) {
        refmap_stream_t *stream = _PyRefMap_LogStream(log);
        if (stream != NULL) {
            refmap_trace(stream, op, is_birth, fp);
        }
    }
    else if (!refmap_is_named(op)) {
        // Of a profile: it has no births and deaths.
        refmap_note_boring(Py_TYPE(op));
    }
    if (UNLIKELY(!is_birth && refmap_is_named(op))) {
        refmap_forget(op);
    }
    refmap_unlock_logs(first, locked);
}


/* --- the tracer ------------------------------------------------------------------------------ */

/* The tracer that somebody else set, while ours is installed. */
static struct _reftracer_runtime_state others;
static int is_installed;

static Py_NO_INLINE int
refmap_tracer_slow(PyObject *op, PyRefTracerEvent event)
{
    // Without a thread state there are no events, but there may be a death.
    if (_PyThreadState_GET() != NULL) {
        refmap_log_lifetime(op, event == PyRefTracer_CREATE,
                            __builtin_frame_address(0));
    }
    return others.tracer_func == NULL ? 0
           : others.tracer_func(op, event, others.tracer_data);
}

static int
refmap_tracer(PyObject *op, PyRefTracerEvent event, void *Py_UNUSED(data))
{
    if (refmap_is_boring(Py_TYPE(op)) && others.tracer_func == NULL) {
        return 0;
    }
    return refmap_tracer_slow(op, event);
}

void
_PyRefMap_LogResurrected(PyObject *op)
{
    if (is_installed && _PyThreadState_GET() != NULL) {
        refmap_log_lifetime(op, 1, __builtin_frame_address(0));
    }
}

void
_PyRefMap_InstallTracer(int on)
{
    struct _reftracer_runtime_state *slot = &_PyRuntime.ref_tracer;
    memset(boring, 0, sizeof(boring));
    if (on && !is_installed) {
        others = *slot;
        *slot = (struct _reftracer_runtime_state){refmap_tracer, NULL};
    }
    else if (!on && is_installed) {
        *slot = others;
    }
    is_installed = on;
}

struct _reftracer_runtime_state *
_PyRefMap_TracerSlot(void)
{
    return is_installed ? &others : &_PyRuntime.ref_tracer;
}


/* --- references ------------------------------------------------------------------------------- */

static void
refmap_write_change(refmap_stream_t *stream, PyObject *op, Py_ssize_t n,
                    Py_ssize_t count, void *fp)
{
    refmap_log_met_t *met = refmap_log_type(stream, Py_TYPE(op));
    if (met == NULL || !met->is_wanted) {
        stream->log->lost += met == NULL;
        return;
    }
    unsigned char *p = refmap_begin_object(
        stream, n > 0 ? REFMAP_LOG_INC : REFMAP_LOG_DEC, op,
        _PyRefMap_LogTypeIndex(stream, met), fp);
    p = refmap_put_signed(p, n);
    p = refmap_put_signed(p, count);
    refmap_log_done(stream, p);
}

void
_PyRefMap_LogChange(const void *op, Py_ssize_t n, Py_ssize_t count, void *fp)
{
    if (_PyThreadState_GET() == NULL) {
        return;
    }
    int locked = _PyRefMap_LockLogs();
    refmap_log_t *log = _PyRefMap_active_logs[REFMAP_LOG_EVENTS];
    if (log != NULL && log->options.references && log->error == 0
        && log->options.path != NULL)
    {
        refmap_stream_t *stream = _PyRefMap_LogStream(log);
        if (stream != NULL && op != NULL) {
            refmap_write_change(stream, (PyObject *)op, n, count, fp);
        }
        log->lost += op == NULL;
    }
    _PyRefMap_UnlockLogs(locked);
}

#endif  // Py_REFCOUNT_MAP
