/* sys._refmap_log_*(): event logs, on behalf of refmap.EventLog, Profile and Trace.
   A log is an integer here; one that is closed raises ValueError. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_refmap_log.h"
#include "pycore_refmap_query.h"  // _PyRefMap_Malloc()
#include "pycore_refmap_sys.h"    // _PyRefMap_log_methods

#include <errno.h>

static int
convert_log(PyObject *number, void *result)
{
    uint64_t n = PyLong_AsUnsignedLongLong(number);
    if (n == (uint64_t)-1 && PyErr_Occurred()) {
        return 0;
    }
    *(refmap_log_t **)result = _PyRefMap_FindLog(n);
    if (*(refmap_log_t **)result == NULL) {
        PyErr_SetString(PyExc_ValueError, "the log is closed");
        return 0;
    }
    return 1;
}


/* --- opening ------------------------------------------------------------------------- */

static char *
copy_string(const char *text)
{
    char *copy = _PyRefMap_CopyString(text, SIZE_MAX);
    if (copy == NULL) {
        PyErr_NoMemory();
    }
    return copy;
}

static int
convert_type(PyObject *item, refmap_log_type_t *type)
{
    if (PyType_Check(item)) {
        type->address = (uintptr_t)item;
        return 0;
    }
    if (!PyUnicode_Check(item)) {
        PyErr_Format(PyExc_TypeError,
                     "types must be type objects or patterns for names, not %.100s",
                     Py_TYPE(item)->tp_name);
        return -1;
    }
    const char *pattern = PyUnicode_AsUTF8(item);
    type->pattern = pattern == NULL ? NULL : copy_string(pattern);
    return type->pattern == NULL ? -1 : 0;
}

/* Fill an array from a tuple. */
static int
convert_types(PyObject *items, refmap_log_type_t **types, size_t *n)
{
    size_t len = (size_t)PyTuple_GET_SIZE(items);
    if (len == 0) {
        return 0;
    }
    *types = _PyRefMap_Malloc(len * sizeof(**types));
    if (*types == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(*types, 0, len * sizeof(**types));
    *n = len;
    for (size_t i = 0; i < len; i++) {
        if (convert_type(PyTuple_GET_ITEM(items, i), &(*types)[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *
open_log(refmap_log_options_t *options)
{
    refmap_log_t *log = _PyRefMap_OpenLog(options);
    if (log != NULL) {
        return PyLong_FromUnsignedLongLong(_PyRefMap_LogNumber(log));
    }
    if (errno == ENOMEM) {
        return PyErr_NoMemory();
    }
    return PyErr_SetFromErrnoWithFilename(PyExc_OSError, options->path);
}

PyDoc_STRVAR(log_open_doc,
"_refmap_log_open($module, kind, path, header, include=(), exclude=(),\n"
"                 builtins=False, references=False, depth=1, c_depth=0,\n"
"                 rss_age=-1, rss_trigger=0, /)\n"
"--\n"
"\n"
"Open an event log, which is suspended; return its number.\n"
"\n"
"  kind         0: events, 1: profile, 2: trace\n"
"  path         bytes; None: only count\n"
"  header       JSON, see Doc/log-format.md\n"
"  include      type objects, or patterns for their names; none: all\n"
"  exclude      the same; these are left out\n"
"  builtins     also builtin types that `include` does not name\n"
"  references   reference changes of such objects, too\n"
"  depth        Python frames of a place\n"
"  c_depth      C frames of a place\n"
"  rss_age      ns that the figure for resident memory may be old; -1: none\n"
"  rss_trigger  pages: only events after such a change; 0: all events\n"
"\n"
"Raise OSError if the file can't be written.");

/* A path as bytes, which are borrowed, or NULL for None. Return 0 with an exception set. */
static int
convert_path(PyObject *path, void *result)
{
    char *text = NULL;
    if (path != Py_None && PyBytes_AsStringAndSize(path, &text, NULL) < 0) {
        return 0;
    }
    *(const char **)result = text;
    return 1;
}

static PyObject *
log_open(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *path, *header;
    PyObject *include = NULL, *exclude = NULL, *result = NULL;
    long long age = -1, trigger = 0;
    refmap_log_options_t options = {.depth = 1};
    if (!PyArg_ParseTuple(args, "iO&s|O!O!ppiiLL:_refmap_log_open", &options.kind,
                          convert_path, &path, &header, &PyTuple_Type, &include, &PyTuple_Type,
                          &exclude, &options.builtins, &options.references,
                          &options.depth, &options.c_depth, &age, &trigger)) {
        return NULL;
    }
    if (options.kind < 0 || options.kind >= REFMAP_LOG_KINDS
        || options.depth < 0 || options.depth > 64
        || options.c_depth < 0 || options.c_depth > 64)
    {
        PyErr_SetString(PyExc_ValueError, "at most 64 frames can be logged");
        return NULL;
    }
    options.rss_age = age;
    options.rss_trigger = trigger;
    options.header_size = strlen(header);
    options.header = copy_string(header);
    options.path = path == NULL ? NULL : copy_string(path);
    if (options.header != NULL && (path == NULL || options.path != NULL)
        && (include == NULL
            || convert_types(include, &options.include, &options.ninclude) == 0)
        && (exclude == NULL
            || convert_types(exclude, &options.exclude, &options.nexclude) == 0))
    {
        result = open_log(&options);
    }
    _PyRefMap_ClearLogOptions(&options);
    return result;
}


/* --- on and off ------------------------------------------------------------------------- */

PyDoc_STRVAR(log_resume_doc,
"_refmap_log_resume($module, log, why, /)\n"
"--\n"
"\n"
"Make `log` the active one of its kind, instead of the one that is. Both say why.\n"
"\n"
"Raise RuntimeError if sys.refmap_record() is on, and it logs references.");

static PyObject *
log_resume(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *why;
    refmap_log_t *log;
    if (!PyArg_ParseTuple(args, "O&s:_refmap_log_resume", convert_log, &log, &why)) {
        return NULL;
    }
    if (_PyRefMap_ResumeLog(log, why) < 0) {
        if (errno == EBUSY) {
            PyErr_SetString(PyExc_RuntimeError, "references can't be logged while "
                            "sys.refmap_record() is on");
            return NULL;
        }
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(log_suspend_doc,
"_refmap_log_suspend($module, log, why, /)\n"
"--\n"
"\n"
"If `log` is active, it is no more. It says why, but for None.");

static PyObject *
log_suspend(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *why;
    refmap_log_t *log;
    if (!PyArg_ParseTuple(args, "O&z:_refmap_log_suspend", convert_log, &log, &why)) {
        return NULL;
    }
    _PyRefMap_SuspendLog(log, why);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(log_close_doc,
"_refmap_log_close($module, log, why, /)\n"
"--\n"
"\n"
"Close a log; its last record says why. Raise OSError if not all was written.");

static PyObject *
log_close(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *why;
    refmap_log_t *log;
    if (!PyArg_ParseTuple(args, "O&s:_refmap_log_close", convert_log, &log, &why)) {
        return NULL;
    }
    int error = _PyRefMap_CloseLog(log, why);
    if (error != 0) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}


/* --- what is told ----------------------------------------------------------------------- */

PyDoc_STRVAR(log_message_doc,
"_refmap_log_message($module, log, text, /)\n"
"--\n"
"\n"
"Write a text into a log.");

static PyObject *
log_message(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *text;
    Py_ssize_t size;
    refmap_log_t *log;
    if (!PyArg_ParseTuple(args, "O&s#:_refmap_log_message", convert_log, &log,
                          &text, &size)) {
        return NULL;
    }
    _PyRefMap_LogMessage(log, text, (size_t)size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(log_flush_doc,
"_refmap_log_flush($module, log, /)\n"
"--\n"
"\n"
"Write out what is in memory.");

static PyObject *
log_flush(PyObject *Py_UNUSED(module), PyObject *number)
{
    refmap_log_t *log;
    if (!convert_log(number, &log)) {
        return NULL;
    }
    _PyRefMap_FlushLog(log);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(log_counts_doc,
"_refmap_log_counts($module, log, /)\n"
"--\n"
"\n"
"Return (births, deaths, events written, bytes written, errno or 0).");

static PyObject *
log_counts(PyObject *Py_UNUSED(module), PyObject *number)
{
    refmap_log_t *log;
    refmap_log_counts_t counts;
    if (!convert_log(number, &log)) {
        return NULL;
    }
    _PyRefMap_LogCounts(log, &counts);
    return Py_BuildValue("KKKKi", (unsigned long long)counts.births,
                         (unsigned long long)counts.deaths,
                         (unsigned long long)counts.events,
                         (unsigned long long)counts.bytes, counts.error);
}

PyDoc_STRVAR(log_types_doc,
"_refmap_log_types($module, log, /)\n"
"--\n"
"\n"
"Return a list of (name, living when the log began, births, deaths), for each\n"
"type that was met and is wanted.");

static int
append_type(const char *name, int64_t living, uint64_t births, uint64_t deaths,
            void *list)
{
    PyObject *text = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "replace");
    PyObject *item = text == NULL ? NULL
                     : Py_BuildValue("NLKK", text, (long long)living,
                                     (unsigned long long)births,
                                     (unsigned long long)deaths);
    int result = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return result;
}

static PyObject *
log_types(PyObject *Py_UNUSED(module), PyObject *number)
{
    refmap_log_t *log;
    if (!convert_log(number, &log)) {
        return NULL;
    }
    PyObject *list = PyList_New(0);
    if (list != NULL && _PyRefMap_LogTypes(log, append_type, list) < 0) {
        Py_CLEAR(list);
    }
    return list;
}


/* --- events of sys.monitoring ------------------------------------------------------------- */

/* What sys.monitoring calls: a function has code and, but for lines, an offset in front,
   then what the event has besides. */
static PyObject *
on_event(int kind, int event, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs >= 2 && PyCode_Check(args[0]) && PyLong_Check(args[1])) {
        int offset = event == REFMAP_LINE
                     ? _PyRefMap_OffsetOfLine((PyCodeObject *)args[0])
                     : (int)PyLong_AsLong(args[1]);
        _PyRefMap_LogMonitored(kind, event, args[0], offset,
                               nargs >= 3 ? args[2] : NULL);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(log_tool_doc,
"_refmap_log_tool($module, kind, tool, /)\n"
"--\n"
"\n"
"The tool of sys.monitoring that was given the functions for a kind; -1: none.");

static PyObject *
log_tool(PyObject *Py_UNUSED(module), PyObject *args)
{
    int kind, tool;
    if (!PyArg_ParseTuple(args, "ii:_refmap_log_tool", &kind, &tool)) {
        return NULL;
    }
    if (kind < 0 || kind >= REFMAP_LOG_KINDS || tool < -1 || tool > 7) {
        PyErr_SetString(PyExc_ValueError, "no such kind of logs, or no such tool");
        return NULL;
    }
    _PyRefMap_LogTool(kind, tool);
    Py_RETURN_NONE;
}

#define CALLBACK(NAME, KIND, EVENT) \
    static PyObject * \
    NAME(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) \
    { \
        return on_event((KIND), (EVENT), args, nargs); \
    }

CALLBACK(on_call, REFMAP_LOG_PROFILE, REFMAP_CALL)
CALLBACK(on_return, REFMAP_LOG_PROFILE, REFMAP_RETURN_OF_CALL)
CALLBACK(on_raise, REFMAP_LOG_PROFILE, REFMAP_RAISE)
CALLBACK(on_c_call, REFMAP_LOG_PROFILE, REFMAP_C_CALL)
CALLBACK(on_c_return, REFMAP_LOG_PROFILE, REFMAP_C_RETURN)
CALLBACK(on_c_raise, REFMAP_LOG_PROFILE, REFMAP_C_RAISE)
CALLBACK(on_line, REFMAP_LOG_TRACE, REFMAP_LINE)
CALLBACK(on_trace_call, REFMAP_LOG_TRACE, REFMAP_CALL)
CALLBACK(on_trace_return, REFMAP_LOG_TRACE, REFMAP_RETURN_OF_CALL)
CALLBACK(on_trace_raise, REFMAP_LOG_TRACE, REFMAP_RAISE)

#define EVENT(NAME, FUNCTION) \
    {"_refmap_" NAME, _PyCFunction_CAST(FUNCTION), METH_FASTCALL, \
     PyDoc_STR("For sys.monitoring, of an event log.")}

PyMethodDef _PyRefMap_log_methods[] = {
    {"_refmap_log_open", log_open, METH_VARARGS, log_open_doc},
    {"_refmap_log_resume", log_resume, METH_VARARGS, log_resume_doc},
    {"_refmap_log_suspend", log_suspend, METH_VARARGS, log_suspend_doc},
    {"_refmap_log_close", log_close, METH_VARARGS, log_close_doc},
    {"_refmap_log_message", log_message, METH_VARARGS, log_message_doc},
    {"_refmap_log_flush", log_flush, METH_O, log_flush_doc},
    {"_refmap_log_counts", log_counts, METH_O, log_counts_doc},
    {"_refmap_log_types", log_types, METH_O, log_types_doc},
    {"_refmap_log_tool", log_tool, METH_VARARGS, log_tool_doc},
    EVENT("on_call", on_call),
    EVENT("on_return", on_return),
    EVENT("on_raise", on_raise),
    EVENT("on_c_call", on_c_call),
    EVENT("on_c_return", on_c_return),
    EVENT("on_c_raise", on_c_raise),
    EVENT("on_line", on_line),
    EVENT("on_trace_call", on_trace_call),
    EVENT("on_trace_return", on_trace_return),
    EVENT("on_trace_raise", on_trace_raise),
    {NULL}
};

#endif  // Py_REFCOUNT_MAP
