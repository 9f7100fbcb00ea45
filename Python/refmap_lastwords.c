/* What is to be said when a fatal signal ends the process.

   A hunt may crash what it hunts in: an over-decref is the reason for many crashes.
   Python can't run any more then. So with sys._refmap_last_words() the text is made
   before, and the handler of the signal writes it; or, where making it would disturb the
   hunt, a process that was forked by sys._refmap_fork() makes it when it is needed. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_pystate.h"       // _PyInterpreterState_HasFeature()
#include "pycore_refmap_query.h"  // _PyRefMap_OnFatalSignal()
#include "pycore_refmap_sys.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int fd;
    pid_t pid;              // a child that crashes has nothing to say
    size_t len;
    char text[];
} words_t;

/* Changed with the GIL held. What a fatal signal calls only reads it. */
static words_t *last_words, *previous;      // `previous` may still be read

static void
write_all(const words_t *words)
{
    const char *text = words->text;
    size_t left = words->len;
    while (left > 0) {
        ssize_t n = write(words->fd, text, left);
        if (n < 0 && errno != EINTR) {
            return;
        }
        text += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
}

/* On a fatal signal. */
static void
say_last_words(void)
{
    const words_t *words = __atomic_exchange_n(&last_words, NULL, __ATOMIC_ACQ_REL);
    if (words != NULL && words->pid == getpid()) {
        write_all(words);
    }
}

static void
exchange_words(words_t *words)
{
    words_t *old = __atomic_exchange_n(&last_words, words, __ATOMIC_ACQ_REL);
    _PyRefMap_OnFatalSignal(REFMAP_FATAL_WORDS, words != NULL ? say_last_words : NULL);
    PyMem_RawFree(previous);
    previous = old;
}

PyDoc_STRVAR(refmap_last_words_doc,
"_refmap_last_words($module, text, fd=2, /)\n--\n\n"
"Write a text when a fatal signal ends the process.\n\n"
"  text  bytes, in the place of those given before; None: write nothing\n"
"  fd    a file descriptor that stays open\n"
"The signals are SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT. Handlers that were\n"
"there before are called afterwards. Nothing is written in a child of a fork.\n"
"Raise TypeError for other arguments, MemoryError.");

static PyObject *
sys_refmap_last_words(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *text;
    int fd = 2;
    if (!PyArg_ParseTuple(args, "O|i:_refmap_last_words", &text, &fd)) {
        return NULL;
    }
    words_t *words = NULL;
    if (text != Py_None) {
        if (!PyBytes_Check(text)) {
            return PyErr_Format(PyExc_TypeError,
                                "text must be bytes or None, not %.200s",
                                Py_TYPE(text)->tp_name);
        }
        size_t len = (size_t)PyBytes_GET_SIZE(text);
        words = PyMem_RawMalloc(sizeof(*words) + len);
        if (words == NULL) {
            return PyErr_NoMemory();
        }
        words->fd = fd;
        words->pid = getpid();
        words->len = len;
        memcpy(words->text, PyBytes_AS_STRING(text), len);
    }
    exchange_words(words);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(refmap_fork_doc,
"_refmap_fork($module, /)\n--\n\n"
"Fork, so that the program does not notice: nothing that was registered by\n"
"os.register_at_fork() is called, here or in the child, nor in its children.\n\n"
"Return what os.fork() does. Raise OSError, also in an interpreter that must not fork,\n"
"or where there is another one: CPython can't take it down in the child, and aborts.");

static int
may_fork(PyInterpreterState *interp)
{
    return _PyInterpreterState_HasFeature(interp, Py_RTFLAGS_FORK)
           && PyInterpreterState_Next(PyInterpreterState_Head()) == NULL;
}

static PyObject *
sys_refmap_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyInterpreterState *interp = _PyInterpreterState_GET();
    if (!may_fork(interp)) {
        errno = ENOTSUP;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    PyObject *before = interp->before_forkers;
    PyObject *in_parent = interp->after_forkers_parent;
    PyObject *in_child = interp->after_forkers_child;
    interp->before_forkers = interp->after_forkers_parent = NULL;
    interp->after_forkers_child = NULL;
    PyOS_BeforeFork();
    pid_t pid = fork();
    int saved_errno = errno;
    if (pid == 0) {
        // The child does without the handlers, which it keeps: no object may die.
        PyOS_AfterFork_Child();
        return PyLong_FromPid(pid);
    }
    PyOS_AfterFork_Parent();
    interp->before_forkers = before;
    interp->after_forkers_parent = in_parent;
    interp->after_forkers_child = in_child;
    errno = saved_errno;
    return pid < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromPid(pid);
}

PyMethodDef _PyRefMap_lastwords_methods[] = {
    {"_refmap_fork", sys_refmap_fork, METH_NOARGS, refmap_fork_doc},
    {"_refmap_last_words", sys_refmap_last_words, METH_VARARGS,
     refmap_last_words_doc},
    {NULL}
};

#endif  // Py_REFCOUNT_MAP
