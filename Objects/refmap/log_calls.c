/* Calls, returns and lines as events of a log.  Who asks for a trigger wants only those
   between which resident memory changed: the event that shows it, and the one
   before, after which it happened. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"
#include "pycore_instruments.h"   // PY_MONITORING_EVENT_CALL
#include "pycore_pystate.h"       // _PyThreadState_GET()

static int
refmap_is_of_c(int event)
{
    return event == REFMAP_C_CALL || event == REFMAP_C_RETURN
           || event == REFMAP_C_RAISE;
}

static unsigned char *
refmap_put_references(refmap_stream_t *stream, unsigned char *p, int64_t references)
{
    *p++ = REFMAP_LOG_REFS;
    p = refmap_put_signed(p, references - stream->references);
    stream->references = references;
    return p;
}

static void
refmap_write_call(refmap_stream_t *stream, const refmap_log_call_t *call, int mark)
{
    const refmap_log_options_t *options = &stream->log->options;
    unsigned char *p = refmap_log_room(stream, REFMAP_LOG_EVENT);
    if (options->rss_age >= 0 && call->rss != stream->rss) {
        p = refmap_put_rss(stream, p, call->rss);
    }
    if (options->references && call->references != stream->references) {
        p = refmap_put_references(stream, p, call->references);
    }
    if (mark != 0) {
        *p++ = (unsigned char)mark;
    }
    *p++ = (unsigned char)call->event;
    p = refmap_put(p, refmap_elapsed(stream, call->clock));
    p = refmap_put(p, call->place);
    if (refmap_is_of_c(call->event)) {
        p = refmap_put(p, call->callable);
    }
    refmap_log_done(stream, p);
    stream->log->events++;
}

/* Write the event if it is worth it, and the one before it. */
static void
refmap_judge_call(refmap_stream_t *stream, const refmap_log_call_t *call)
{
    int64_t trigger = stream->log->options.rss_trigger;
    int64_t by = call->rss - stream->triggered_rss;
    if (trigger == 0) {
        refmap_write_call(stream, call, 0);
        return;
    }
    if (Py_ABS(by) < trigger) {
        stream->kept = *call;
        return;
    }
    if (stream->kept.event != 0 && stream->kept.thread == call->thread
        && stream->kept.interp == call->interp)
    {
        refmap_write_call(stream, &stream->kept, REFMAP_LOG_PREV);
    }
    stream->kept.event = 0;
    stream->triggered_rss = call->rss;
    refmap_write_call(stream, call, REFMAP_LOG_NEXT);
}

/* The place of a call, by the quick way; 0: of our own, or unknown. */
static uint32_t
refmap_place_of_call(refmap_stream_t *stream, const PyCodeObject *code, int offset)
{
    const char *instruction = (const char *)_PyCode_CODE(code) + offset;
    refmap_quick_place_t *quick =
        &stream->quick_places[((uintptr_t)instruction >> 1) % REFMAP_LOG_QUICK];
    if (quick->instruction != instruction) {
        const refmap_log_code_t *known = _PyRefMap_LogKnownCode(stream, code);
        quick->instruction = NULL;
        quick->place = 0;
        if (known != NULL && !known->is_own) {
            refmap_log_place_t place = {.npython = 1};
            place.words[0] = (uint64_t)_PyRefMap_LogCode(stream, code) << 32
                             | (uint32_t)offset;
            quick->place = _PyRefMap_LogPlace(stream, &place);
        }
        quick->instruction = instruction;
    }
    return quick->place;
}

static void
refmap_log_call(refmap_stream_t *stream, int event, PyCodeObject *code, int offset,
                PyObject *callable)
{
    const PyThreadState *tstate = _PyThreadState_GET();
    uint32_t place = refmap_place_of_call(stream, code, offset);
    if (place == 0) {
        return;
    }
    refmap_log_call_t call = {
        .event = event, .thread = tstate->id,
        .interp = (uint64_t)tstate->interp->id,
        .place = place,
        .callable = callable != NULL ? _PyRefMap_LogCallable(stream, callable) : 0,
    };
    unsigned char *p = _PyRefMap_LogBegin(stream, &call.clock);
    refmap_log_done(stream, p);
    if (stream->log->options.rss_age >= 0) {
        call.rss = _PyRefMap_LogResident(stream, call.clock);
    }
    if (stream->log->options.references) {
        call.references = _PyRefMap_HotTotal(_PyInterpreterState_Main());
    }
    refmap_judge_call(stream, &call);
}

static void
refmap_call(int kind, int event, PyObject *code, int offset, PyObject *callable)
{
    int locked = _PyRefMap_LockLogs();
    refmap_log_t *log = _PyRefMap_active_logs[kind];
    if (log != NULL && log->error == 0) {
        refmap_stream_t *stream = _PyRefMap_LogStream(log);
        if (stream != NULL) {
            refmap_log_call(stream, event, (PyCodeObject *)code, offset, callable);
        }
    }
    _PyRefMap_UnlockLogs(locked);
}


/* --- sys.monitoring -------------------------------------------------------------------- */

int _PyRefMap_monitoring;
static struct {
    PyInterpreterState *interp;
    unsigned tools;             // a bit, or 0
} monitor[REFMAP_LOG_KINDS];

void
_PyRefMap_LogTool(int kind, int tool)
{
    monitor[kind].interp = _PyThreadState_GET()->interp;
    monitor[kind].tools = tool < 0 ? 0 : 1U << tool;
    _PyRefMap_monitoring = (monitor[REFMAP_LOG_PROFILE].tools
                            | monitor[REFMAP_LOG_TRACE].tools) != 0;
}

/* What the events of sys.monitoring are here; 0: nothing. LINE comes another way. */
static const unsigned char events[_PY_MONITORING_EVENTS] = {
    [PY_MONITORING_EVENT_PY_START] = REFMAP_CALL,
    [PY_MONITORING_EVENT_PY_RESUME] = REFMAP_CALL,
    [PY_MONITORING_EVENT_PY_THROW] = REFMAP_CALL,
    [PY_MONITORING_EVENT_PY_RETURN] = REFMAP_RETURN_OF_CALL,
    [PY_MONITORING_EVENT_PY_YIELD] = REFMAP_RETURN_OF_CALL,
    [PY_MONITORING_EVENT_PY_UNWIND] = REFMAP_RAISE,
    [PY_MONITORING_EVENT_CALL] = REFMAP_C_CALL,
    [PY_MONITORING_EVENT_C_RETURN] = REFMAP_C_RETURN,
    [PY_MONITORING_EVENT_C_RAISE] = REFMAP_C_RAISE,
};

/* Calls of Python code are known by that it starts. */
static int
refmap_is_python(PyObject *callable)
{
    return PyFunction_Check(callable) || PyMethod_Check(callable);
}

void
_PyRefMap_LogMonitored(int kind, int event, PyObject *code, int offset,
                       PyObject *callable)
{
    int is_c = refmap_is_of_c(event);
    if (!is_c || (callable != NULL && !refmap_is_python(callable))) {
        refmap_call(kind, event, code, offset, is_c ? callable : NULL);
    }
}

int
_PyRefMap_Monitor(PyThreadState *tstate, int event, PyCodeObject *code, int offset,
                  PyObject *const *args, unsigned tools)
{
    for (int kind = REFMAP_LOG_PROFILE; kind <= REFMAP_LOG_TRACE; kind++) {
        if (monitor[kind].tools == tools && monitor[kind].interp == tstate->interp
            && events[event] != 0)
        {
            _PyRefMap_LogMonitored(kind, events[event], (PyObject *)code, offset,
                                   refmap_is_of_c(events[event]) ? args[0] : NULL);
            return 1;
        }
    }
    return 0;
}

#endif  // Py_REFCOUNT_MAP
