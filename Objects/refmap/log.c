/* The events of an event log: what the tracer and the hooks tell, as records. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"
#include "pycore_frame.h"         // _PyInterpreterFrame
#include "pycore_pystate.h"       // _PyThreadState_GET()

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

refmap_log_t *_PyRefMap_active_logs[REFMAP_LOG_KINDS];
int _PyRefMap_logging_references;


/* --- who may write --------------------------------------------------------------------- */

static PyMutex logs_mutex;

int
_PyRefMap_LockLogs(void)
{
    refmap_state_t *first = _PyRefMap_Main();
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

void
_PyRefMap_UnlockLogs(int locked)
{
    if (UNLIKELY(locked)) {
        PyMutex_Unlock(&logs_mutex);
    }
    else {
        _PyRefMap_Main()->in_log = 0;
    }
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
    refmap_stream_t *stream = log->streams;
    while (stream != NULL && stream->map != map) {
        stream = stream->next;
    }
    if (stream == NULL) {
        stream = refmap_make_stream(log, map);
    }
    if (stream == NULL) {
        log->lost++;
    }
    else if (_PyRefMap_active_logs[log->options.kind] == log) {
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


/* --- places -------------------------------------------------------------------------------- */

/* Bytes between the start of the bytecode and what runs. */
static inline uint32_t
refmap_offset(const _PyInterpreterFrame *frame)
{
    return (uint32_t)((char *)frame->instr_ptr
                      - (char *)_PyCode_CODE(_PyFrame_GetCode(frame)));
}

static inline void
refmap_add_python(refmap_stream_t *stream, refmap_log_place_t *place, int depth)
{
    const PyThreadState *tstate = _PyThreadState_GET();
    for (_PyInterpreterFrame *frame = tstate->current_frame;
         frame != NULL && (int)place->npython < depth; frame = frame->previous)
    {
        if (_PyFrame_IsIncomplete(frame)) {
            continue;
        }
        uint64_t code = _PyRefMap_LogCode(stream, _PyFrame_GetCode(frame));
        place->words[place->npython++] = code << 32 | refmap_offset(frame);
    }
}

/* The stack of the thread, for _PyRefMap_Walk(). */
static __thread refmap_stack_t stack;

static void
refmap_add_c(refmap_log_place_t *place, void *fp, int depth)
{
    uintptr_t *pcs = (uintptr_t *)&place->words[place->npython];
    if (UNLIKELY(stack.high == 0)) {
        (void)_PyRefMap_StackBounds(&stack);
    }
    place->nc = (size_t)_PyRefMap_WalkToPython(&stack, (uintptr_t)fp, pcs, depth);
}

/* Where the program is. What stands in front of the record is written, too: it must not be
   begun before. */
static inline uint32_t
refmap_place(refmap_stream_t *stream, void *fp)
{
    const refmap_log_options_t *options = &stream->log->options;
    refmap_log_place_t place;
    place.npython = place.nc = 0;
    refmap_add_python(stream, &place, options->depth);
    if (options->c_depth > 0) {
        refmap_add_c(&place, fp, options->c_depth);
    }
    return _PyRefMap_LogPlace(stream, &place);
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

static void
refmap_write_new(refmap_stream_t *stream, PyObject *op, uint32_t type, void *fp)
{
    uint64_t now;
    uint32_t place = refmap_place(stream, fp), birth = refmap_birth(op);
    unsigned char *p = refmap_begin_event(stream, &now);
    *p++ = REFMAP_LOG_NEW;
    p = refmap_put(p, refmap_elapsed(stream, now));
    p = refmap_put_address(p, (uintptr_t)op);
    p = refmap_put(p, type);
    p = refmap_put(p, place);
    p = refmap_put_signed(p, (int64_t)birth - stream->last_birth - 1);
    stream->last_birth = birth;
    refmap_log_done(stream, p);
}

static void
refmap_write_del(refmap_stream_t *stream, PyObject *op, uint32_t type, void *fp)
{
    uint64_t now;
    uint32_t place = refmap_place(stream, fp);
    unsigned char *p = refmap_begin_event(stream, &now);
    *p++ = REFMAP_LOG_DEL;
    p = refmap_put(p, refmap_elapsed(stream, now));
    p = refmap_put_address(p, (uintptr_t)op);
    p = refmap_put(p, type);
    p = refmap_put(p, place);
    p = refmap_put_signed(p, (int64_t)stream->last_birth - refmap_birth(op));
    refmap_log_done(stream, p);
}

static inline void
refmap_trace(refmap_stream_t *stream, PyObject *op, int is_birth, void *fp)
{
    refmap_log_met_t *met = _PyRefMap_LogType(stream, Py_TYPE(op));
    if (UNLIKELY(met == NULL)) {
        stream->log->lost++;
        return;
    }
    if (met->is_wanted) {
        *(is_birth ? &met->births : &met->deaths) += 1;
        if (stream->log->options.path != NULL) {
            uint32_t type = _PyRefMap_LogTypeIndex(stream, met);
            (is_birth ? refmap_write_new : refmap_write_del)(stream, op, type, fp);
        }
        if (is_birth && _PyRefMap_logging_references
            && _PyRefMap_Entry(_PyRefMap_current, op) != 0)
        {
            _PyRefMap_WatchPage(stream->map, (uintptr_t)op);
        }
    }
    if (UNLIKELY((met->is_type || met->is_code) && !is_birth)) {
        _PyRefMap_LogForgetName(stream, met, op);
    }
}

static void
refmap_log_lifetime(PyObject *op, int is_birth, void *fp)
{
    int locked = _PyRefMap_LockLogs();
    refmap_log_t *log = _PyRefMap_active_logs[REFMAP_LOG_EVENTS];
    if (log != NULL && log->error == 0) {
        refmap_stream_t *stream = _PyRefMap_LogStream(log);
        if (stream != NULL) {
            refmap_trace(stream, op, is_birth, fp);
        }
    }
    _PyRefMap_UnlockLogs(locked);
}


/* --- the tracer ------------------------------------------------------------------------------ */

/* The tracer that somebody else set, while ours is installed. */
static struct _reftracer_runtime_state others;
static int is_installed;

static int
refmap_tracer(PyObject *op, PyRefTracerEvent event, void *Py_UNUSED(data))
{
    // Without a thread state there are no events, but there may be a death.
    if (_PyThreadState_GET() != NULL) {
        refmap_log_lifetime(op, event == PyRefTracer_CREATE,
                            __builtin_frame_address(0));
    }
    return others.tracer_func == NULL ? 0
           : others.tracer_func(op, event, others.tracer_data);
}

void
_PyRefMap_InstallTracer(int on)
{
    struct _reftracer_runtime_state *slot = &_PyRuntime.ref_tracer;
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
    refmap_log_met_t *met = _PyRefMap_LogType(stream, Py_TYPE(op));
    if (met == NULL || !met->is_wanted) {
        stream->log->lost += met == NULL;
        return;
    }
    uint64_t now;
    uint32_t type = _PyRefMap_LogTypeIndex(stream, met);
    uint32_t place = refmap_place(stream, fp);
    unsigned char *p = refmap_begin_event(stream, &now);
    *p++ = n > 0 ? REFMAP_LOG_INC : REFMAP_LOG_DEC;
    p = refmap_put(p, refmap_elapsed(stream, now));
    p = refmap_put_address(p, (uintptr_t)op);
    p = refmap_put(p, type);
    p = refmap_put(p, place);
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
        if (stream != NULL) {
            refmap_write_change(stream, (PyObject *)op, n, count, fp);
        }
    }
    _PyRefMap_UnlockLogs(locked);
}

#endif  // Py_REFCOUNT_MAP
