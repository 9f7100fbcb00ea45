/* The event log: how events become bytes of a file.  Shared by log*.c only; who else wants
   a log reads pycore_refmap_log.h.  Doc/log-format.md has the format.

   The hooks know nothing of it while it is off: births and deaths come from the tracer that
   CPython has for them, and reference changes from the slow path of the hooks, which the
   pages of wanted objects take while they are *watched*: the directory leaves them
   out.

   A *stream* has the events of one map, so of all threads that share a GIL, and belongs to
   one log.  Who writes to it holds that GIL.  Only where there are more maps than one a
   mutex guards all streams: see refmap_log_lock(). */
#ifndef Py_REFMAP_LOG_H
#define Py_REFMAP_LOG_H

#include "stacks.h"
#include "pycore_refmap_log.h"

/* The kinds of records that are not in pycore_refmap_log.h. */
enum {
    REFMAP_LOG_NEW = 1, REFMAP_LOG_DEL, REFMAP_LOG_INC, REFMAP_LOG_DEC,
    REFMAP_LOG_SYNC = 16, REFMAP_LOG_THREAD, REFMAP_LOG_RSS, REFMAP_LOG_REFS,
    REFMAP_LOG_PREV, REFMAP_LOG_NEXT, REFMAP_LOG_CLOCK,
    REFMAP_LOG_TYPE = 32, REFMAP_LOG_CODE, REFMAP_LOG_PLACE, REFMAP_LOG_CALLABLE,
    REFMAP_LOG_MODULE,
    REFMAP_LOG_MESSAGE = 48, REFMAP_LOG_SUSPEND, REFMAP_LOG_RESUME, REFMAP_LOG_FORK,
    REFMAP_LOG_LOST, REFMAP_LOG_END
};

/* Bytes of a name that are kept. */
#define REFMAP_LOG_NAME ((size_t)512)

/* A type, since the stream began or was resumed. */
typedef struct {
    uintptr_t address;
    uint32_t birth;             // of the type object; 0: it was never born
    uint32_t index;             // of its TYPE record; 0: none yet
    uint32_t generation;        // of the stream, when it was seen to be the same
    int is_wanted;
    int64_t living;             // when the log began
    uint64_t births, deaths;
    const char *name;           // tp_name then, borrowed: it may be gone
    char *copy;                 // of the name; owned
} refmap_log_met_t;

/* Code that was met. */
typedef struct {
    uint32_t birth;
    uint32_t index;             // of its CODE record; 0: none yet
    uint32_t generation;
    int is_own;                 // of what switches logs on and off
} refmap_log_code_t;

/* Words that stand for a place: (code << 32 | offset) for each Python frame, then return
   addresses. */
#define REFMAP_LOG_DEPTH 64
typedef struct {
    size_t npython, nc;
    uint64_t words[2 * REFMAP_LOG_DEPTH];
} refmap_log_place_t;

/* Places by their words. */
typedef struct {
    uint32_t *buckets;          // of places + 1; 0: free
    size_t mask;
    struct { uint64_t hash; size_t first; uint32_t npython, nc; } *places;
    size_t nplaces, places_allocated;
    uint64_t *words;
    size_t nwords, words_allocated;
} refmap_log_places_t;

/* What was found last for a type, and for a place that is one line of Python: looked at in
   each event, by the lowest bits of an address. */
#define REFMAP_LOG_QUICK 256
typedef struct {
    const PyTypeObject *type;   // NULL: none
    size_t i;                   // in met
} refmap_quick_type_t;
#define REFMAP_LOG_QUICK_C 8
typedef struct {
    const void *instruction;    // of living code; NULL: none
    uint32_t place;
    int nc;
    // C frames: return addresses, and where they are, from the hook's frame on.
    struct { uintptr_t offset, pc; } c[REFMAP_LOG_QUICK_C];
} refmap_quick_place_t;

/* Bytes of a stream that are not written yet. */
#define REFMAP_LOG_BUFFER ((size_t)256 << 10)
/* In front of them, for what a chunk begins with. */
#define REFMAP_LOG_FRONT 64
/* Bytes that any record but names and messages fits into. */
#define REFMAP_LOG_EVENT 128

typedef struct _refmap_stream refmap_stream_t;

/* A call, a return or a line. */
typedef struct {
    int event;                  // 0: none
    uint64_t clock, thread, interp;
    uint32_t place, callable;
    int64_t rss, references;
} refmap_log_call_t;

struct _refmap_stream {
    refmap_log_t *log;
    refmap_state_t *map;        // NULL: it was closed
    refmap_stream_t *next;      // of the log
    uint32_t number;
    unsigned char *buffer;
    size_t used;                // of the buffer, REFMAP_LOG_FRONT included
    uint64_t clock;             // ticks, of the last event
    uint64_t flush_at;          // ticks
    uint64_t read_rss_at;
    // What the reader knows.
    uint64_t thread, interp;
    int64_t rss;                // pages, as written
    int64_t references;
    uint32_t last_birth;
    // Names.
    uint32_t generation;
    refmap_table_t types;       // address -> index in met, + 1
    refmap_log_met_t *met;
    size_t nmet, met_allocated;
    uint32_t ntypes;
    refmap_table_t codes;       // address -> index in known, + 1
    refmap_log_code_t *known;
    size_t nknown, known_allocated;
    uint32_t ncodes;
    refmap_table_t callables;   // see log_calls.c
    uint32_t ncallables;
    refmap_log_places_t places;
    refmap_quick_type_t quick_types[REFMAP_LOG_QUICK];
    refmap_quick_place_t quick_places[REFMAP_LOG_QUICK];
    int has_modules;
    // An event of a profile that was kept back.
    refmap_log_call_t kept;
    int64_t triggered_rss;      // pages, when an event was last worth writing
};

struct _refmap_log {
    refmap_log_options_t options;
    refmap_log_t *next;         // of all that are open
    refmap_log_t *displaced;    // goes on when this one is closed, or NULL
    uint64_t number;
    refmap_stream_t *streams;
    uint32_t nstreams;
    int fd;                     // -1: not opened yet
    dev_t device;               // of its file
    ino_t inode;
    int rss_fd;
    int error;                  // errno why nothing more is written
    pid_t pid, parent;          // parent: of a child's log that has no FORK record yet
    char *parent_path;
    uint64_t bytes, events, lost;
    int64_t last_rss;           // pages, as read
};

/* --- log_file.c: bytes, clocks, the file ------------------------------------------------ */

/* The clock of the log: some nanoseconds each. */
extern uint64_t _PyRefMap_Ticks(void);
/* How many ticks so many nanoseconds are. */
extern uint64_t _PyRefMap_TicksOf(uint64_t ns);
/* Pages of resident memory; -1 where that is not known. */
extern int64_t _PyRefMap_ResidentPages(refmap_log_t *log);
/* Open the file. Return -1 with errno set. */
extern int _PyRefMap_OpenLogFile(refmap_log_t *log);
extern void _PyRefMap_CloseLogFile(refmap_log_t *log);
/* Write out what is in the buffer of a stream, after which it is empty. */
extern void _PyRefMap_WriteStream(refmap_stream_t *stream);
/* Write out all that is in memory, of all logs that are in this list. Fatal signals write
   it, too. */
extern refmap_log_t *_PyRefMap_logs;

/* Room for a record of at most `size` bytes, which is less than half of the buffer. */
static inline unsigned char *
refmap_log_room(refmap_stream_t *stream, size_t size)
{
    if (stream->used + size > REFMAP_LOG_FRONT + REFMAP_LOG_BUFFER) {
        _PyRefMap_WriteStream(stream);
    }
    return stream->buffer + stream->used;
}

/* The record that begins in that room ends at `end`. */
static inline void
refmap_log_done(refmap_stream_t *stream, const unsigned char *end)
{
    stream->used = (size_t)(end - stream->buffer);
}

/* `u` of the format. */
static inline unsigned char *
refmap_put(unsigned char *p, uint64_t n)
{
    while (n >= 0x80) {
        *p++ = (unsigned char)(n | 0x80);
        n >>= 7;
    }
    *p++ = (unsigned char)n;
    return p;
}

/* `z` of the format. */
static inline unsigned char *
refmap_put_signed(unsigned char *p, int64_t n)
{
    return refmap_put(p, (uint64_t)n << 1 ^ (uint64_t)(n >> 63));
}

/* `p` of the format; two bytes behind it are overwritten. */
static inline unsigned char *
refmap_put_address(unsigned char *p, uintptr_t address)
{
    memcpy(p, &address, sizeof(address));
    return p + 6;
}

/* --- log_names.c: types, code, places ------------------------------------------------------ */

/* What is known of a type; NULL on out of memory. */
extern refmap_log_met_t *_PyRefMap_LogType(refmap_stream_t *stream,
                                           PyTypeObject *type);
static inline refmap_log_met_t *
refmap_log_type(refmap_stream_t *stream, PyTypeObject *type)
{
    const refmap_quick_type_t *quick =
        &stream->quick_types[((uintptr_t)type >> 4) % REFMAP_LOG_QUICK];
    if (quick->type == type) {
        refmap_log_met_t *met = &stream->met[quick->i];
        // It may have been renamed.
        if (met->name == type->tp_name) {
            return met;
        }
    }
    return _PyRefMap_LogType(stream, type);
}

/* What is known by its address may have died meanwhile. */
extern void _PyRefMap_LogDoubtNames(refmap_stream_t *stream);
/* Forget a type, or code, that dies. */
extern void _PyRefMap_LogForgetName(refmap_stream_t *stream, PyObject *op);
/* Write the type's record if that was not done yet; return its index. */
extern uint32_t _PyRefMap_LogTypeIndex(refmap_stream_t *stream,
                                       refmap_log_met_t *met);
/* What is known of code; NULL on out of memory. */
extern refmap_log_code_t *_PyRefMap_LogKnownCode(refmap_stream_t *stream,
                                                 const PyCodeObject *code);
/* The index of code; 0 on out of memory. */
extern uint32_t _PyRefMap_LogCode(refmap_stream_t *stream, const PyCodeObject *code);
/* The index of a place; 0: unknown. */
extern uint32_t _PyRefMap_LogPlace(refmap_stream_t *stream,
                                   const refmap_log_place_t *place);
extern uint32_t _PyRefMap_LogCallable(refmap_stream_t *stream, PyObject *callable);
/* All names are to be written anew, as it is another file. What was counted is part of what
   lived when it began. */
extern void _PyRefMap_LogRenameAll(refmap_stream_t *stream);
extern void _PyRefMap_LogClearNames(refmap_stream_t *stream);

/* --- log_place.c: where the program is --------------------------------------------------- */

/* The index of the place where the program is; `fp`: of the hook, which has a frame pointer.
   Records may be written: that of the event must not have been begun before. */
extern uint32_t _PyRefMap_LogPlaceOf(refmap_stream_t *stream, void *fp);

/* --- log_living.c: what lives when a log begins ---------------------------------------------- */

/* Count the living objects of each type; watch the pages of the wanted ones if references
   are logged. Types that memory is missing for count as having none. */
extern void _PyRefMap_LogLiving(refmap_stream_t *stream);
/* Watch those pages again, after UnwatchPages(). */
extern void _PyRefMap_LogWatchWanted(refmap_stream_t *stream);
extern void _PyRefMap_UnwatchPages(refmap_state_t *map);
/* Have the hooks on the page of `address` take the slow path. */
extern void _PyRefMap_WatchPage(refmap_state_t *map, uintptr_t address);

/* --- log.c: the events ------------------------------------------------------------------------ */

/* The active logs. */
extern refmap_log_t *_PyRefMap_active_logs[REFMAP_LOG_KINDS];
/* The stream of the current map in a log, made where that is needed; NULL on out of memory,
   or without a map. */
extern refmap_stream_t *_PyRefMap_LogStream(refmap_log_t *log);
/* Room for two records, the clock of the second one, and what is in front of it: the clock
   of the stream and the thread, as far as that is news. */
extern unsigned char *_PyRefMap_LogBegin(refmap_stream_t *stream, uint64_t *now);
/* How much memory is resident, as old as the log allows. */
extern int64_t _PyRefMap_LogResident(refmap_stream_t *stream, uint64_t now);
/* Time since the last event of the stream, in ticks; now it is this one. */
static inline uint64_t
refmap_elapsed(refmap_stream_t *stream, uint64_t now)
{
    // Clocks of two CPUs may differ a little.
    uint64_t elapsed = now > stream->clock ? now - stream->clock : 0;
    stream->clock += elapsed;
    return elapsed;
}

/* `pages` are resident from now on: the record that says so. */
static inline unsigned char *
refmap_put_rss(refmap_stream_t *stream, unsigned char *p, int64_t pages)
{
    *p++ = REFMAP_LOG_RSS;
    p = refmap_put_signed(p, pages - stream->rss);
    stream->rss = pages;
    return p;
}

/* Write a record that has a text. */
extern void _PyRefMap_LogText(refmap_stream_t *stream, int kind, const char *text,
                              size_t size);
/* Let the tracer of CPython be ours, or the one that was set before. */
extern void _PyRefMap_InstallTracer(int on);

/* Guards all logs and streams where there are more maps than one. Each map but the first
   is made by a thread that holds another GIL, so that the number changes for all
   who matter. */
extern int _PyRefMap_LockLogs(void);
extern void _PyRefMap_UnlockLogs(int locked);
extern void _PyRefMap_ReinitLogsLock(void);

#endif  // !Py_REFMAP_LOG_H
