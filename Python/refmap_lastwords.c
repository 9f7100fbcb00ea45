/* sys._refmap_last_words(): what is to be said when a fatal signal ends the process.

   A hunt may crash what it hunts in: an over-decref is the reason for many crashes.
   Python can't run any more then. So the text is made before, and the handler of the
   signal writes it. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

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

PyMethodDef _PyRefMap_lastwords_methods[] = {
    {"_refmap_last_words", sys_refmap_last_words, METH_VARARGS,
     refmap_last_words_doc},
    {NULL}
};

#endif  // Py_REFCOUNT_MAP
