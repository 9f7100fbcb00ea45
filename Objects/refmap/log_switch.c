/* Event logs come and go: open, active, suspended, closed, and what becomes of them in the
   child of a fork(). */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"
#include "pycore_refmap_query.h"  // _PyRefMap_OnFatalSignal()
#include "pycore_refmap_record.h" // _PyRefMap_recording
#include "pycore_pystate.h"       // _PyThreadState_GET()

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>          // __NR_membarrier
#include <unistd.h>               // getpid()

/* --- options --------------------------------------------------------------------------- */

static void
refmap_free_types(refmap_log_type_t *types, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        _PyRefMap_FreeString(types[i].pattern);
    }
    _PyRefMap_RawFree(types, n * sizeof(*types));
}

void
_PyRefMap_ClearLogOptions(refmap_log_options_t *options)
{
    _PyRefMap_FreeString(options->path);
    _PyRefMap_FreeString(options->header);
    refmap_free_types(options->include, options->ninclude);
    refmap_free_types(options->exclude, options->nexclude);
    memset(options, 0, sizeof(*options));
}


/* --- opening ----------------------------------------------------------------------------- */

/* In the handler of a fatal signal. Another thread may just be writing to a stream: then
   its last record may be torn, but no more. */
static void
refmap_write_last(void)
{
    for (refmap_log_t *log = _PyRefMap_logs; log != NULL; log = log->next) {
        for (refmap_stream_t *s = log->streams; s != NULL; s = s->next) {
            _PyRefMap_WriteStream(s);
        }
    }
}

refmap_log_t *
_PyRefMap_OpenLog(refmap_log_options_t *options)
{
    refmap_log_t *log = _PyRefMap_Malloc(sizeof(*log));
    if (log == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    memset(log, 0, sizeof(*log));
    log->fd = log->rss_fd = -1;
    log->pid = getpid();
    log->options = *options;
    if (options->path != NULL && _PyRefMap_OpenLogFile(log) < 0) {
        _PyRefMap_RawFree(log, sizeof(*log));
        return NULL;
    }
    memset(options, 0, sizeof(*options));
    int locked = _PyRefMap_LockLogs();
    static uint64_t number;
    log->number = ++number;
    log->next = _PyRefMap_logs;
    _PyRefMap_logs = log;
    _PyRefMap_UnlockLogs(locked);
    _PyRefMap_OnFatalSignal(REFMAP_FATAL_LOG, refmap_write_last);
    return log;
}


uint64_t
_PyRefMap_LogNumber(const refmap_log_t *log)
{
    return log->number;
}

refmap_log_t *
_PyRefMap_FindLog(uint64_t number)
{
    int locked = _PyRefMap_LockLogs();
    refmap_log_t *log = _PyRefMap_logs;
    while (log != NULL && log->number != number) {
        log = log->next;
    }
    _PyRefMap_UnlockLogs(locked);
    return log;
}


/* --- switching ------------------------------------------------------------------------------ */

/* Say in the log of the current thread's map what happens to it. */
static void
refmap_say(refmap_log_t *log, int kind, const char *text)
{
    refmap_stream_t *stream = log->options.path == NULL ? NULL
                              : _PyRefMap_LogStream(log);
    if (stream != NULL) {
        _PyRefMap_LogText(stream, kind, text, strlen(text));
    }
}

/* A map has no stream of this kind any more. */
static void
refmap_leave_stream(refmap_state_t *map, void *kind)
{
    map->streams[*(const int *)kind] = NULL;
    if (*(const int *)kind == REFMAP_LOG_EVENTS) {
        _PyRefMap_UnwatchPages(map);
    }
}

/* The tracer is for profiles, too: they name types and code that may die. */
static void
refmap_set_tracer(void)
{
    int is_active = 0;
    for (int kind = 0; kind < REFMAP_LOG_KINDS; kind++) {
        is_active |= _PyRefMap_active_logs[kind] != NULL;
    }
    _PyRefMap_InstallTracer(is_active);
}

static void
refmap_suspend(refmap_log_t *log, const char *why)
{
    int kind = log->options.kind;
    if (why != NULL) {
        refmap_say(log, REFMAP_LOG_SUSPEND, why);
    }
    _PyRefMap_active_logs[kind] = NULL;
    if (kind == REFMAP_LOG_EVENTS) {
        _PyRefMap_logging_references = 0;
    }
    refmap_set_tracer();
    _PyRefMap_EachMap(refmap_leave_stream, &kind);
}

/* -1 on out of memory. */
static int
refmap_resume(refmap_log_t *log, const char *why)
{
    int kind = log->options.kind;
    for (refmap_stream_t *stream = log->streams; stream != NULL; stream = stream->next) {
        _PyRefMap_LogDoubtNames(stream);
    }
    if (why != NULL && log->streams != NULL) {
        refmap_say(log, REFMAP_LOG_RESUME, why);
    }
    _PyRefMap_active_logs[kind] = log;
    if (_PyRefMap_LogStream(log) == NULL) {
        _PyRefMap_active_logs[kind] = NULL;
        return -1;
    }
    if (kind == REFMAP_LOG_EVENTS) {
        _PyRefMap_logging_references = log->options.references;
    }
    refmap_set_tracer();
    return 0;
}

/* Logs of one interpreter make room for each other; see logs.py. A log that is active all
   the same is another interpreter's: it is displaced until the one that begins is closed,
   unless its own interpreter suspends or closes it first. */

/* Nobody gives its place back to `log`; who displaced it gives it to the one before. */
static void
refmap_forget_displaced(const refmap_log_t *log)
{
    for (refmap_log_t *other = _PyRefMap_logs; other != NULL; other = other->next) {
        if (other->displaced == log) {
            other->displaced = log->displaced;
        }
    }
}

/* The recorder and a log of references can't be at work at the same time. */
static int
refmap_may_resume(const refmap_log_t *log)
{
    return log->options.kind != REFMAP_LOG_EVENTS || !log->options.references
           || !_PyRefMap_recording;
}

static void
refmap_give_back(const refmap_log_t *log)
{
    refmap_log_t *before = log->displaced;
    if (before != NULL && _PyRefMap_active_logs[log->options.kind] == NULL
        && refmap_may_resume(before))
    {
        (void)refmap_resume(before, "the log of another interpreter ended");
    }
}

int
_PyRefMap_ResumeLog(refmap_log_t *log, const char *why)
{
    if (!refmap_may_resume(log)) {
        errno = EBUSY;
        return -1;
    }
    int result = 0, locked = _PyRefMap_LockLogs();
    refmap_log_t *before = _PyRefMap_active_logs[log->options.kind];
    if (before != log && before != NULL) {
        refmap_suspend(before, "a log of another interpreter began");
        refmap_forget_displaced(log);
        log->displaced = before;
    }
    if (before != log && refmap_resume(log, why) < 0) {
        errno = ENOMEM;
        result = -1;
    }
    _PyRefMap_UnlockLogs(locked);
    return result;
}

void
_PyRefMap_SuspendLog(refmap_log_t *log, const char *why)
{
    int locked = _PyRefMap_LockLogs();
    if (_PyRefMap_active_logs[log->options.kind] == log) {
        refmap_suspend(log, why);
    }
    refmap_forget_displaced(log);
    _PyRefMap_UnlockLogs(locked);
}


/* --- closing ---------------------------------------------------------------------------------- */

static void
refmap_free_stream(refmap_stream_t *stream)
{
    _PyRefMap_LogClearNames(stream);
    _PyRefMap_RawFree(stream->buffer, REFMAP_LOG_FRONT + REFMAP_LOG_BUFFER);
    _PyRefMap_RawFree(stream, sizeof(*stream));
}

/* The number of events that are lost, in front of the end. */
static void
refmap_write_lost(refmap_log_t *log, refmap_stream_t *stream)
{
    if (log->lost > 0) {
        unsigned char *p = refmap_log_room(stream, REFMAP_LOG_EVENT);
        *p++ = REFMAP_LOG_LOST;
        refmap_log_done(stream, refmap_put(p, log->lost));
    }
}

static void
refmap_write_end(refmap_log_t *log, const char *why)
{
    refmap_stream_t *stream = _PyRefMap_LogStream(log);
    if (stream == NULL) {
        // No thread state is left, or no memory.
        stream = log->streams;
    }
    if (stream != NULL && log->options.path != NULL) {
        refmap_write_lost(log, stream);
        _PyRefMap_LogText(stream, REFMAP_LOG_END, why, strlen(why));
        // Last in the file, too.
        for (refmap_stream_t *s = log->streams; s != NULL; s = s->next) {
            if (s != stream) {
                _PyRefMap_WriteStream(s);
            }
        }
        _PyRefMap_WriteStream(stream);
    }
}

static void
refmap_unlink_log(refmap_log_t *log)
{
    refmap_log_t **at = &_PyRefMap_logs;
    while (*at != log) {
        at = &(*at)->next;
    }
    *at = log->next;
}

static int
refmap_close(refmap_log_t *log, const char *why)
{
    if (_PyRefMap_active_logs[log->options.kind] == log) {
        refmap_suspend(log, NULL);
    }
    refmap_write_end(log, why);
    refmap_unlink_log(log);
    refmap_forget_displaced(log);
    refmap_give_back(log);
    _PyRefMap_CloseLogFile(log);
    int error = log->error;
    while (log->streams != NULL) {
        refmap_stream_t *stream = log->streams;
        log->streams = stream->next;
        refmap_free_stream(stream);
    }
    _PyRefMap_FreeString(log->parent_path);
    _PyRefMap_ClearLogOptions(&log->options);
    _PyRefMap_RawFree(log, sizeof(*log));
    return error;
}

int
_PyRefMap_CloseLog(refmap_log_t *log, const char *why)
{
    int locked = _PyRefMap_LockLogs();
    int error = refmap_close(log, why);
    if (_PyRefMap_logs == NULL) {
        _PyRefMap_OnFatalSignal(REFMAP_FATAL_LOG, NULL);
    }
    _PyRefMap_UnlockLogs(locked);
    return error;
}

void
_PyRefMap_CloseLogs(const char *why)
{
    while (_PyRefMap_logs != NULL) {
        (void)_PyRefMap_CloseLog(_PyRefMap_logs, why);
    }
}

void
_PyRefMap_LogForgetMap(refmap_state_t *map)
{
    int locked = _PyRefMap_LockLogs();
    for (refmap_log_t *log = _PyRefMap_logs; log != NULL; log = log->next) {
        for (refmap_stream_t *s = log->streams; s != NULL; s = s->next) {
            if (s->map == map) {
                _PyRefMap_WriteStream(s);
                s->map = NULL;
            }
        }
    }
    _PyRefMap_UnlockLogs(locked);
}

/* All threads of the process see what this one wrote before; see membarrier(2). */
static void
refmap_barrier(void)
{
#ifdef __NR_membarrier
    if (syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) {
        return;
    }
#endif
    // No store waits for so long.
    (void)usleep(1000);
}

void
_PyRefMap_LogBeforeMap(void)
{
    // Who is in the middle of an event does not know of the new map yet. That takes less
    // than a microsecond, but the thread may have lost its CPU.
    if (_PyRefMap_logs != NULL) {
        refmap_barrier();
        while (__atomic_load_n(&_PyRefMap_Main()->in_log, __ATOMIC_ACQUIRE)) {
            (void)usleep(100);
        }
    }
}


/* --- what is told ------------------------------------------------------------------------------- */

void
_PyRefMap_LogMessage(refmap_log_t *log, const char *text, size_t size)
{
    int locked = _PyRefMap_LockLogs();
    refmap_stream_t *stream = log->options.path == NULL ? NULL
                              : _PyRefMap_LogStream(log);
    if (stream != NULL) {
        _PyRefMap_LogText(stream, REFMAP_LOG_MESSAGE, text, size);
    }
    _PyRefMap_UnlockLogs(locked);
}

static void
refmap_flush(refmap_log_t *log)
{
    for (refmap_stream_t *s = log->streams; s != NULL; s = s->next) {
        _PyRefMap_WriteStream(s);
    }
}

void
_PyRefMap_FlushLog(refmap_log_t *log)
{
    int locked = _PyRefMap_LockLogs();
    refmap_flush(log);
    _PyRefMap_UnlockLogs(locked);
}

void
_PyRefMap_FlushLogs(void)
{
    int locked = _PyRefMap_LockLogs();
    for (refmap_log_t *log = _PyRefMap_logs; log != NULL; log = log->next) {
        refmap_flush(log);
    }
    _PyRefMap_UnlockLogs(locked);
}

void
_PyRefMap_LogCounts(refmap_log_t *log, refmap_log_counts_t *counts)
{
    memset(counts, 0, sizeof(*counts));
    int locked = _PyRefMap_LockLogs();
    for (refmap_stream_t *s = log->streams; s != NULL; s = s->next) {
        for (size_t i = 0; i < s->nmet; i++) {
            counts->births += s->met[i].births;
            counts->deaths += s->met[i].deaths;
        }
    }
    counts->events = log->events;
    counts->bytes = log->bytes;
    counts->error = log->error;
    _PyRefMap_UnlockLogs(locked);
}

/* Copy what is known of the i-th type of a stream, and its name; 0: there is none. */
static int
refmap_copy_met(const refmap_stream_t *stream, size_t i, refmap_log_met_t *met,
                char *name)
{
    int locked = _PyRefMap_LockLogs(), is_there = i < stream->nmet;
    if (is_there) {
        *met = stream->met[i];
        strcpy(name, met->copy);
    }
    _PyRefMap_UnlockLogs(locked);
    return is_there;
}

int
_PyRefMap_LogTypes(refmap_log_t *log,
                   int (*see)(const char *name, int64_t living, uint64_t births,
                              uint64_t deaths, void *arg),
                   void *arg)
{
    refmap_log_met_t met;
    char name[REFMAP_LOG_NAME + 1];
    // `see` makes objects, which are events: nothing is locked meanwhile, and types may be
    // added.
    for (refmap_stream_t *s = log->streams; s != NULL; s = s->next) {
        for (size_t i = 0; refmap_copy_met(s, i, &met, name); i++) {
            int result = met.is_wanted
                         ? see(name, met.living, met.births, met.deaths, arg) : 0;
            if (result != 0) {
                return result;
            }
        }
    }
    return 0;
}


/* --- fork ---------------------------------------------------------------------------------------- */

/* FILE of the parent becomes FILE.PID of the child. Return -1 on out of memory. */
static int
refmap_rename_log(refmap_log_t *log)
{
    size_t size = strlen(log->options.path) + 24;
    char *path = _PyRefMap_Malloc(size), *copy = NULL;
    if (path != NULL) {
        (void)snprintf(path, size, "%s.%ld", log->options.path, (long)getpid());
        copy = _PyRefMap_CopyString(path, size);
        _PyRefMap_RawFree(path, size);
    }
    if (copy == NULL) {
        return -1;
    }
    _PyRefMap_FreeString(log->parent_path);
    log->parent_path = log->options.path;
    log->options.path = copy;
    return 0;
}

/* What the parent has not written yet is its own; the child begins anew. */
static void
refmap_restart_stream(refmap_stream_t *stream)
{
    stream->used = REFMAP_LOG_FRONT;
    stream->clock = stream->thread = stream->interp = 0;
    stream->rss = stream->references = 0;
    stream->last_birth = 0;
    stream->kept.event = 0;
    stream->read_rss_at = 0;
    _PyRefMap_LogRenameAll(stream);
}

static void
refmap_log_of_child(refmap_log_t *log)
{
    if (log->options.path == NULL) {
        return;
    }
    int error = log->error;
    _PyRefMap_CloseLogFile(log);
    log->parent = log->pid;
    log->pid = getpid();
    log->bytes = log->events = log->lost = 0;
    log->error = refmap_rename_log(log) < 0 ? ENOMEM : error;
    for (refmap_stream_t *s = log->streams; s != NULL && log->error == 0; s = s->next) {
        refmap_restart_stream(s);
    }
}

void
_PyRefMap_LogAfterFork(void)
{
    _PyRefMap_ReinitLogsLock();
    for (refmap_log_t *log = _PyRefMap_logs; log != NULL; log = log->next) {
        refmap_log_of_child(log);
    }
}

#endif  // Py_REFCOUNT_MAP
