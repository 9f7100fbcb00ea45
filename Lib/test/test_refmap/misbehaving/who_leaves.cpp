// Leaves functions in every way but by returning, with the recorder's trampoline on
// their frames: C++ exceptions, longjmp(), the end of a thread. For test_who_recorder.
//
// Each function here balances its references, but for those that a jump loses,
// which the caller of leap() is told.

#include "Python.h"
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdexcept>

namespace {

// Gives its reference up when an exception passes, as C++ wrappers of objects do.
class Owned {
public:
    explicit Owned(PyObject *object) : object_(object) {}
    ~Owned() { Py_XDECREF(object_); }
    Owned(const Owned &) = delete;
    Owned &operator=(const Owned &) = delete;
    PyObject *get() const { return object_; }
private:
    PyObject *object_;
};

enum class End { Return, Throw, Jump, Exit, Trace };

jmp_buf target;
int traced;

void
end_here(End end)
{
    switch (end) {
    case End::Throw:
        throw std::runtime_error("thrown");
    case End::Jump:
        longjmp(target, 1);
    case End::Exit:
        pthread_exit(nullptr);
    case End::Trace: {
        void *frames[64];
        traced = backtrace(frames, 64);
        break;
    }
    case End::Return:
        break;
    }
}

// Nothing that the compiler could leave out: each level has objects, and hooks have
// seen its frame before the end comes.
__attribute__((noinline)) PyObject *
dive(int depth, End end, PyObject *callable)
{
    PyObject *list = PyList_New(depth);
    Owned owned(end == End::Jump ? nullptr : list);
    if (callable != Py_None) {
        Owned result(PyObject_CallOneArg(callable, list));
        if (result.get() == nullptr) {
            PyErr_Clear();
        }
    }
    if (depth == 0) {
        end_here(end);
    }
    else {
        Owned deeper(dive(depth - 1, end, callable));
        if (deeper.get() == nullptr) {
            return nullptr;
        }
    }
    return PyDict_New();
}

PyObject *
plunge(PyObject *, PyObject *args)
{
    int depth;
    PyObject *callable;
    if (!PyArg_ParseTuple(args, "iO", &depth, &callable)) {
        return nullptr;
    }
    return dive(depth, End::Return, callable);
}

// True if the exception that was thrown is the one that was caught.
PyObject *
throw_through(PyObject *, PyObject *args)
{
    int depth;
    PyObject *callable;
    if (!PyArg_ParseTuple(args, "iO", &depth, &callable)) {
        return nullptr;
    }
    try {
        Owned result(dive(depth, End::Throw, callable));
    }
    catch (const std::runtime_error &error) {
        return PyBool_FromLong(!strcmp(error.what(), "thrown"));
    }
    Py_RETURN_FALSE;
}

// Loses depth + 1 lists.
PyObject *
leap(PyObject *, PyObject *args)
{
    int depth;
    PyObject *callable;
    if (!PyArg_ParseTuple(args, "iO", &depth, &callable)) {
        return nullptr;
    }
    if (setjmp(target) == 0) {
        Py_XDECREF(dive(depth, End::Jump, callable));
        Py_RETURN_FALSE;
    }
    Py_RETURN_TRUE;
}

// How many frames backtrace() sees below `depth` levels.
PyObject *
trace(PyObject *, PyObject *args)
{
    int depth;
    PyObject *callable;
    if (!PyArg_ParseTuple(args, "iO", &depth, &callable)) {
        return nullptr;
    }
    traced = 0;
    Py_XDECREF(dive(depth, End::Trace, callable));
    return PyLong_FromLong(traced);
}

// The thread's end unwinds its stack; Python must have let go of it by then.
struct Thread {
    PyGILState_STATE state;
    ~Thread() { PyGILState_Release(state); }
};

void *
ending(void *depth)
{
    Thread thread{PyGILState_Ensure()};
    Owned result(dive(static_cast<int>(reinterpret_cast<intptr_t>(depth)), End::Exit,
                      Py_None));
    return result.get();
}

PyObject *
end_thread(PyObject *, PyObject *arg)
{
    long depth = PyLong_AsLong(arg);
    if (depth == -1 && PyErr_Occurred()) {
        return nullptr;
    }
    pthread_t thread;
    if (pthread_create(&thread, nullptr, ending,
                       reinterpret_cast<void *>(static_cast<intptr_t>(depth)))) {
        PyErr_SetString(PyExc_RuntimeError, "no thread");
        return nullptr;
    }
    Py_BEGIN_ALLOW_THREADS
    pthread_join(thread, nullptr);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"plunge", plunge, METH_VARARGS, nullptr},
    {"throw_through", throw_through, METH_VARARGS, nullptr},
    {"leap", leap, METH_VARARGS, nullptr},
    {"trace", trace, METH_VARARGS, nullptr},
    {"end_thread", end_thread, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "who_leaves", nullptr, 0, methods,
    nullptr, nullptr, nullptr, nullptr,
};

}  // namespace

PyMODINIT_FUNC
PyInit_who_leaves()
{
    return PyModuleDef_Init(&definition);
}
