/* The event log of the refcount map: births, deaths, reference changes and calls as they
   happen, written to a file.  Doc/log-format.md tells what is written, Objects/refmap/log.h
   how. */
#ifndef Py_INTERNAL_REFMAP_LOG_H
#define Py_INTERNAL_REFMAP_LOG_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#include "pycore_refmap.h"

#ifdef Py_REFCOUNT_MAP

typedef struct _refmap_log refmap_log_t;

/* A type that is wanted, or not: by its address, or by a pattern for its name. */
typedef struct {
    uintptr_t address;              // 0: by pattern
    char *pattern;                  // see fnmatch(3); owned
} refmap_log_type_t;

/* Of each kind one log may be active at a time. */
enum { REFMAP_LOG_EVENTS, REFMAP_LOG_PROFILE, REFMAP_LOG_TRACE, REFMAP_LOG_KINDS };

/* Owned by the log once it is open; strings and arrays are from
   _PyRefMap_CopyString() and _PyRefMap_Malloc(). */
typedef struct {
    int kind;
    char *path;                     // NULL: only count
    char *header;                   // JSON
    size_t header_size;
    refmap_log_type_t *include, *exclude;
    size_t ninclude, nexclude;      // no `include`: all types
    int builtins;                   // also those that `include` does not name
    int references;                 // INC and DEC
    int depth;                      // Python frames of a place
    int c_depth;                    // C frames of a place
    int64_t rss_age;                // ns that a figure may be old; -1: none are wanted
    int64_t rss_trigger;            // of calls: pages that make one worth writing; 0: all are
} refmap_log_options_t;

/* --- life ---------------------------------------------------------------------------- */

/* Open a log, which is suspended; `options` become its own. NULL with errno set: the file
   can't be written, or ENOMEM. */
extern refmap_log_t *_PyRefMap_OpenLog(refmap_log_options_t *options);
extern void _PyRefMap_ClearLogOptions(refmap_log_options_t *options);
/* The number of a log, from 1; the log that has it, NULL if that is closed. */
extern uint64_t _PyRefMap_LogNumber(const refmap_log_t *log);
extern refmap_log_t *_PyRefMap_FindLog(uint64_t number);
/* Make a log the active one of its kind; that which was is suspended. Both say why. Return -1
   with errno set if memory is short; EBUSY: a recording is on. */
extern int _PyRefMap_ResumeLog(refmap_log_t *log, const char *why);
/* If it is active, it is no more. It says why, but for NULL. */
extern void _PyRefMap_SuspendLog(refmap_log_t *log, const char *why);
/* Close a log, which may be active, and free it. Return what went wrong while it was
   written, as an errno, or 0. */
extern int _PyRefMap_CloseLog(refmap_log_t *log, const char *why);
/* All that are open, at the end of the process. */
extern void _PyRefMap_CloseLogs(const char *why);

/* --- what is told ----------------------------------------------------------------------- */

/* Write a text into a log, which need not be active. `size`: in bytes. */
extern void _PyRefMap_LogMessage(refmap_log_t *log, const char *text, size_t size);
/* Write out what is in memory. */
extern void _PyRefMap_FlushLog(refmap_log_t *log);
extern void _PyRefMap_FlushLogs(void);

typedef struct {
    uint64_t births, deaths;        // that were seen
    uint64_t events;                // written
    uint64_t bytes;                 // of the file
    int error;                      // why nothing more is written, as an errno, or 0
} refmap_log_counts_t;
extern void _PyRefMap_LogCounts(refmap_log_t *log, refmap_log_counts_t *counts);
/* Call `see` for each type that was met and is wanted; the name is borrowed. It stops when
   `see` does not return 0, and returns that. */
extern int _PyRefMap_LogTypes(refmap_log_t *log,
        int (*see)(const char *name, int64_t living, uint64_t births,
                   uint64_t deaths, void *arg),
        void *arg);

/* The events of Profile and Trace; their numbers are those of the format. */
enum { REFMAP_CALL = 5, REFMAP_RETURN_OF_CALL, REFMAP_C_CALL, REFMAP_C_RETURN,
       REFMAP_LINE, REFMAP_RAISE, REFMAP_C_RAISE };
/* For the active log of `kind`, if there is one: Python code at `offset`, in bytes, of its
   bytecode. `callable`: what is called, or was, for the events of C; others ignore it, and
   those are none if it is Python code. */
extern void _PyRefMap_LogMonitored(int kind, int event, PyObject *code, int offset,
                                   PyObject *callable);
/* The offset at which `code` runs in the current frame, where a line begins. 0: it does not
   run there. */
extern int _PyRefMap_OffsetOfLine(const PyCodeObject *code);

/* sys.monitoring has `tool` of the current interpreter for the log of `kind`; -1: none any
   more. */
extern void _PyRefMap_LogTool(int kind, int tool);

/* --- hooks ------------------------------------------------------------------------------ */

/* Does sys.monitoring have a tool for a log? Tested where it has any only. */
extern int _PyRefMap_monitoring;
/* An event of sys.monitoring is for `tools` only. If that is the one of a log, log it, and
   return 1: a call of Python's takes longer. `args`: what the event has besides. */
extern int _PyRefMap_Monitor(PyThreadState *tstate, int event, PyCodeObject *code,
                             int offset, PyObject *const *args, unsigned tools);

/* Is there an active log with INC and DEC? Tested on slow paths only. */
extern int _PyRefMap_logging_references;
/* `op` NULL: a change that may be that of an object is lost. */
extern void _PyRefMap_LogChange(const void *op, Py_ssize_t n, Py_ssize_t count,
                                void *fp);
/* Where the tracer of PyRefTracer_SetTracer() is kept: while the event log has the place
   that is looked at, in another one, from where the log calls it. */
extern struct _reftracer_runtime_state *_PyRefMap_TracerSlot(void);
/* A finaliser made another reference to an object of which the tracer was told that it
   dies. */
extern void _PyRefMap_LogResurrected(PyObject *op);
extern void _PyRefMap_LogAfterFork(void);

#else

#  define _PyRefMap_TracerSlot() (&_PyRuntime.ref_tracer)
#  define _PyRefMap_FlushLogs() ((void)0)
#  define _PyRefMap_LogResurrected(op) ((void)0)
#  define _PyRefMap_monitoring 0
#  define _PyRefMap_Monitor(tstate, event, code, offset, args, tools) 0

#endif  // Py_REFCOUNT_MAP

#ifdef __cplusplus
}
#endif
#endif  // !Py_INTERNAL_REFMAP_LOG_H
