/* Calls, returns and lines as events of a log.  Who asks for a trigger wants only those
   between which resident memory changed: the event that shows it, and the one
   before, after which it happened. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"
#include "pycore_pystate.h"       // _PyThreadState_GET()

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
    if (call->event == REFMAP_C_CALL || call->event == REFMAP_C_RETURN
        || call->event == REFMAP_C_RAISE)
    {
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

static void
refmap_log_call(refmap_stream_t *stream, int event, PyCodeObject *code, int offset,
                PyObject *callable)
{
    const PyThreadState *tstate = _PyThreadState_GET();
    refmap_log_place_t place = {.npython = 1};
    place.words[0] = (uint64_t)_PyRefMap_LogCode(stream, code) << 32
                     | (uint32_t)offset;
    refmap_log_call_t call = {
        .event = event, .thread = tstate->id,
        .interp = (uint64_t)tstate->interp->id,
        .place = _PyRefMap_LogPlace(stream, &place),
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

void
_PyRefMap_LogCall(int kind, int event, PyObject *code, int offset, PyObject *callable)
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

#endif  // Py_REFCOUNT_MAP
