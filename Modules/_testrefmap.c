/* An extension that misbehaves on purpose, so that Lib/test/test_refmap sees
   what the refcount map says about it.

   Most functions leave the process in a state that no healthy interpreter is
   in: call those in a subprocess. An argument called `address` is an integer
   as of id(). */

#ifndef Py_BUILD_CORE_BUILTIN
#  define Py_BUILD_CORE_MODULE 1
#endif

#include "Python.h"
#include "pycore_interp.h"        // PyInterpreterState
#include "pycore_object.h"        // _Py_IMMORTAL_REFCNT
#include "pycore_refmap_query.h"  // _PyRefMap_Hide()
#include "pycore_refmap_test.h"   // _PyRefMap_LimitAllocations()

#include "_testrefmap_owners.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>               // max_align_t, offsetof()
#include <stdint.h>
#include <sys/mman.h>             // mmap()
#include <time.h>                 // clock_gettime()

#ifndef Py_REFCOUNT_MAP
#  error "_testrefmap needs --with-refcount-map"
#endif

typedef struct {
    PyTypeObject *plain;        // an object that is nothing but a head
    PyTypeObject *sized;        // with items, collected by the GC
    PyTypeObject *odd;          // in memory of malloc(), 8 bytes into 16
    PyTypeObject *undead;       // comes back to life in tp_dealloc
    PyTypeObject *cell;         // lives in the arena
    PyTypeObject *embedded;     // 8 bytes into memory of PyObject_Malloc()
    PyObject *survivors;        // list of Undead objects that came back
} module_state;

static inline module_state *
get_state(PyObject *module)
{
    return (module_state *)PyModule_GetState(module);
}

static PyObject *
address_of(void *ptr)
{
    return PyLong_FromVoidPtr(ptr);
}


/* --- references that are counted wrongly -------------------------------- */

PyDoc_STRVAR(leak_reference_doc,
"leak_reference(object, /)\n--\n\n"
"Incref without a decref.");

static PyObject *
leak_reference(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_INCREF(op);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(over_decref_doc,
"over_decref(object, /)\n--\n\n"
"Decref without owning the reference. The object must have others.");

static PyObject *
over_decref(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_DECREF(op);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(leak_object_doc,
"leak_object()\n--\n\n"
"Create a _testrefmap.Plain, forget it, and return its address.");

static PyObject *
leak_object(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    PyObject *op = PyObject_New(PyObject, get_state(module)->plain);
    return op ? address_of(op) : NULL;
}

PyDoc_STRVAR(release_doc,
"release(address, /)\n--\n\n"
"Decref the object at the address, which a leak_*() function returned.");

static PyObject *
release(PyObject *Py_UNUSED(module), PyObject *address)
{
    PyObject *op = PyLong_AsVoidPtr(address);
    if (op == NULL) {
        return NULL;
    }
    Py_DECREF(op);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(write_refcnt_doc,
"write_refcnt(object, n, /)\n--\n\n"
"Add n to ob_refcnt; neither the total nor the map hear of it.");

static PyObject *
write_refcnt(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *op;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "On:write_refcnt", &op, &n)) {
        return NULL;
    }
    op->ob_refcnt += n;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(call_with_refcnt_doc,
"call_with_refcnt(object, n, callable, /)\n--\n\n"
"Call something while ob_refcnt is n, whatever that is, and return the result.");

static PyObject *
call_with_refcnt(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *op, *callable;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "OnO:call_with_refcnt", &op, &n, &callable)) {
        return NULL;
    }
    Py_ssize_t refcnt = op->ob_refcnt;
    op->ob_refcnt = n;
    PyObject *result = PyObject_CallNoArgs(callable);
    op->ob_refcnt = refcnt;
    return result;
}

PyDoc_STRVAR(immortalise_doc,
"immortalise(object, /)\n--\n\n"
"Make the object immortal as extensions do: by writing ob_refcnt.\n"
"Return the ob_refcnt that it had without the caller's argument.");

static PyObject *
immortalise(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_ssize_t refcnt = Py_REFCNT(op);
    op->ob_refcnt = _Py_IMMORTAL_REFCNT;
    return PyLong_FromSsize_t(refcnt);
}

PyDoc_STRVAR(make_mortal_doc,
"make_mortal(object, refcnt, /)\n--\n\n"
"Write ob_refcnt of an immortal object.");

static PyObject *
make_mortal(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *op;
    Py_ssize_t refcnt;
    if (!PyArg_ParseTuple(args, "On:make_mortal", &op, &refcnt)) {
        return NULL;
    }
    op->ob_refcnt = refcnt;
    Py_RETURN_NONE;
}


/* --- references of foreign binaries ------------------------------------- */

PyDoc_STRVAR(foreign_incref_doc,
"foreign_incref(object, n=1, /)\n--\n\n"
"n increfs as an extension does them that was built for a stock release.");

static PyObject *
foreign_incref(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *op;
    Py_ssize_t n = 1;
    if (!PyArg_ParseTuple(args, "O|n:foreign_incref", &op, &n)) {
        return NULL;
    }
    op->ob_refcnt += n;
    Py_RETURN_NONE;
}

static void
decref_without_hooks(PyObject *op)
{
    if (--op->ob_refcnt == 0) {
        _Py_Dealloc(op);
    }
}

PyDoc_STRVAR(foreign_decref_doc,
"foreign_decref(object, /)\n--\n\n"
"A decref as an extension does it that was built for a stock release.");

static PyObject *
foreign_decref(PyObject *Py_UNUSED(module), PyObject *op)
{
    decref_without_hooks(op);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(foreign_pop_doc,
"foreign_pop(list, /)\n--\n\n"
"Take the last item of the list and decref it as an extension does that was\n"
"built for a stock release; the item dies if nobody else has it.");

static PyObject *
foreign_pop(PyObject *Py_UNUSED(module), PyObject *list)
{
    if (!PyList_CheckExact(list) || PyList_GET_SIZE(list) == 0) {
        PyErr_SetString(PyExc_TypeError, "a list with an item is needed");
        return NULL;
    }
    Py_ssize_t last = PyList_GET_SIZE(list) - 1;
    PyObject *item = PyList_GET_ITEM(list, last);
    Py_SET_SIZE(list, last);
    decref_without_hooks(item);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stock_debug_incref_doc,
"stock_debug_incref(object, /)\n--\n\n"
"An incref as an extension does it that was built for a stock debug build.");

static PyObject *
stock_debug_incref(PyObject *Py_UNUSED(module), PyObject *op)
{
    _Py_INCREF_IncRefTotal();
    op->ob_refcnt++;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stock_debug_decref_doc,
"stock_debug_decref(object, /)\n--\n\n"
"A decref as an extension does it that was built for a stock debug build.");

static PyObject *
stock_debug_decref(PyObject *Py_UNUSED(module), PyObject *op)
{
    _Py_DECREF_DecRefTotal();
    decref_without_hooks(op);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(forget_unattributed_doc,
"forget_unattributed(n, /)\n--\n\n"
"Take n references of no object out of the total, so that a test that leaves\n"
"some behind can be run under regrtest -R.");

static PyObject *
forget_unattributed(PyObject *Py_UNUSED(module), PyObject *arg)
{
    Py_ssize_t n = PyLong_AsSsize_t(arg);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    for (; n > 0; n--) {
        _Py_DECREF_DecRefTotal();
    }
    for (; n < 0; n++) {
        _Py_INCREF_IncRefTotal();
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(limited_incref_doc,
"limited_incref(object, /)\n--\n\n"
"Two increfs, by the two functions of the limited API.");

static PyObject *
limited_incref(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_IncRef(op);
    _Py_IncRef(op);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(limited_decref_doc,
"limited_decref(object, /)\n--\n\n"
"Two decrefs, by the two functions of the limited API.");

static PyObject *
limited_decref(PyObject *Py_UNUSED(module), PyObject *op)
{
    Py_DecRef(op);
    _Py_DecRef(op);
    Py_RETURN_NONE;
}

typedef struct {
    void (*function)(void *);
    void *arg;
    PyThread_type_lock done;
} thread_job;

static void
thread_main(void *arg)
{
    thread_job *job = arg;
    job->function(job->arg);
    PyThread_release_lock(job->done);
}

/* Call function(arg) in a thread that C code started, and wait for it. Return
   -1 with an exception set if that can't be. */
static int
run_thread(void (*function)(void *), void *arg)
{
    thread_job job = {function, arg, PyThread_allocate_lock()};
    if (job.done == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyThread_acquire_lock(job.done, WAIT_LOCK);
    if (PyThread_start_new_thread(thread_main, &job)
        == PYTHREAD_INVALID_THREAD_ID)
    {
        PyThread_free_lock(job.done);
        PyErr_SetString(PyExc_RuntimeError, "can't start a thread");
        return -1;
    }
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(job.done, WAIT_LOCK);
    Py_END_ALLOW_THREADS
    PyThread_free_lock(job.done);
    return 0;
}

typedef struct {
    PyObject *op;
    Py_ssize_t n;
} incref_args;

static void
incref_in_thread(void *arg)
{
    incref_args *args = arg;
#ifndef Py_DEBUG
    PyObject_Free(NULL);    // a debug build's own checks want the GIL
#endif
    for (Py_ssize_t i = 0; i < args->n; i++) {
        Py_INCREF(args->op);
    }
    for (Py_ssize_t i = 0; i > args->n; i--) {
        Py_DECREF(args->op);
    }
}

PyDoc_STRVAR(incref_without_thread_state_doc,
"incref_without_thread_state(object, n, new_thread=False, /)\n--\n\n"
"n increfs, or -n decrefs, and a PyObject_Free(NULL) by a thread that has no\n"
"thread state; if `new_thread` is true by one that never had any.");

static PyObject *
incref_without_thread_state(PyObject *Py_UNUSED(module), PyObject *args)
{
    incref_args job;
    int new_thread = 0;
    if (!PyArg_ParseTuple(args, "On|p:incref_without_thread_state", &job.op,
                          &job.n, &new_thread)) {
        return NULL;
    }
    if (!new_thread) {
        PyThreadState *tstate = PyThreadState_Swap(NULL);
        incref_in_thread(&job);
        PyThreadState_Swap(tstate);
    }
    else if (run_thread(incref_in_thread, &job) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(incref_often_doc,
"incref_often(object, n, /)\n--\n\n"
"Incref n times in the map and the total only; ob_refcnt stays.");

static PyObject *
incref_often(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *op;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "On:incref_often", &op, &n)) {
        return NULL;
    }
    for (; n > 0; n--) {
        _PyRefMap_Incref(op);
    }
    for (; n < 0; n++) {
        _PyRefMap_Decref(op);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(add_references_doc,
"add_references(object, n, /)\n--\n\n"
"Count n references, which may be any number, in the map and the total only, by a\n"
"single addition; ob_refcnt stays.");

static PyObject *
add_references(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *op;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "On:add_references", &op, &n)) {
        return NULL;
    }
    _PyRefMap_Add(PyThreadState_Get(), op, n);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(errno_after_touch_doc,
"errno_after_touch(address, errno, /)\n--\n\n"
"Set errno, incref and decref in the map only, and return what errno is then.\n"
"C code relies on it that Py_INCREF() leaves errno alone.");

static PyObject *
errno_after_touch(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *address;
    int value;
    if (!PyArg_ParseTuple(args, "Oi:errno_after_touch", &address, &value)) {
        return NULL;
    }
    PyObject *op = PyLong_AsVoidPtr(address);
    if (op == NULL) {
        return NULL;
    }
    errno = value;
    _PyRefMap_Incref(op);
    _PyRefMap_Decref(op);
    return PyLong_FromLong(errno);
}


/* --- memory that is freed while it is counted ---------------------------- */

/* An object in foreign memory; it doesn't own a reference to its type, as
   nobody will ever drop that. */
static PyObject *
init_in_place(void *memory, PyTypeObject *type)
{
    PyObject *op = memory;
    Py_SET_TYPE(op, type);
    _Py_NewReference(op);
    return op;
}

PyDoc_STRVAR(free_counted_doc,
"free_counted(kind, refs=1, /)\n--\n\n"
"Create an object with `refs` references and free its memory.\n\n"
"`kind` says how the memory was allocated and is freed: 'object' by\n"
"PyObject_Free(), 'gc' by PyObject_GC_Del(), 'malloc' by free(), 'mmap' by\n"
"munmap(), so that it can't be read any more. Return the address.");

static PyObject *
free_counted(PyObject *module, PyObject *args)
{
    module_state *state = get_state(module);
    const char *kind;
    int refs = 1;
    if (!PyArg_ParseTuple(args, "s|i:free_counted", &kind, &refs)) {
        return NULL;
    }
    const size_t page = 4096;
    PyObject *op = NULL;
    switch (kind[1]) {
    case 'b':
        op = PyObject_New(PyObject, state->plain);
        break;
    case 'c':
        op = (PyObject *)PyObject_GC_NewVar(PyVarObject, state->sized, 0);
        break;
    case 'a':
        // So little that free() of the C library writes over it at once.
        op = init_in_place(malloc(sizeof(PyObject)), state->plain);
        break;
    case 'm':
        op = init_in_place(mmap(NULL, page, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                           state->plain);
        break;
    default:
        PyErr_Format(PyExc_ValueError, "unknown kind %s", kind);
    }
    if (op == NULL) {
        return NULL;
    }
    PyObject *result = address_of(op);
    for (int i = 1; i < refs; i++) {
        Py_INCREF(op);
    }
    switch (kind[1]) {
    case 'b':
        Py_DECREF(Py_TYPE(op));
        PyObject_Free(op);
        break;
    case 'c':
        Py_DECREF(Py_TYPE(op));
        PyObject_GC_Del(op);
        break;
    case 'a':
        free(op);
        break;
    case 'm':
        munmap(op, page);
        break;
    }
    return result;
}


/* --- memory that moves ---------------------------------------------------- */

PyDoc_STRVAR(resize_bytes_doc,
"resize_bytes(before, after, /)\n--\n\n"
"Return a bytes object of length `before`, resized to `after`.");

static PyObject *
resize_bytes(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t before, after;
    if (!PyArg_ParseTuple(args, "nn:resize_bytes", &before, &after)) {
        return NULL;
    }
    PyObject *op = PyBytes_FromStringAndSize(NULL, before);
    if (op != NULL) {
        memset(PyBytes_AS_STRING(op), 'x', before);
        (void)_PyBytes_Resize(&op, after);
    }
    return op;
}

PyDoc_STRVAR(resize_tuple_doc,
"resize_tuple(before, after, /)\n--\n\n"
"Return a tuple of `before` times None, resized to `after`.");

static PyObject *
resize_tuple(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t before, after;
    if (!PyArg_ParseTuple(args, "nn:resize_tuple", &before, &after)) {
        return NULL;
    }
    PyObject *op = PyTuple_New(before);
    if (op == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < before; i++) {
        PyTuple_SET_ITEM(op, i, Py_None);
    }
    if (_PyTuple_Resize(&op, after) < 0) {
        return NULL;
    }
    for (Py_ssize_t i = before; i < after; i++) {
        PyTuple_SET_ITEM(op, i, Py_None);
    }
    return op;
}

PyDoc_STRVAR(resize_str_doc,
"resize_str(before, after, /)\n--\n\n"
"Return a str of length `before`, resized to `after`.");

static PyObject *
resize_str(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t before, after;
    if (!PyArg_ParseTuple(args, "nn:resize_str", &before, &after)) {
        return NULL;
    }
    PyObject *op = PyUnicode_New(before, 127);
    if (op == NULL) {
        return NULL;
    }
    memset(PyUnicode_1BYTE_DATA(op), 'x', before);
    if (PyUnicode_Resize(&op, after) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    for (Py_ssize_t i = before; i < after; i++) {
        PyUnicode_1BYTE_DATA(op)[i] = 'x';
    }
    return op;
}

typedef struct {
    PyObject_VAR_HEAD
    PyObject *items[1];
} SizedObject;

PyDoc_STRVAR(resize_gc_doc,
"resize_gc(before, after, /)\n--\n\n"
"Return a _testrefmap.Sized with `before` items, resized to `after`.");

static PyObject *
resize_gc(PyObject *module, PyObject *args)
{
    Py_ssize_t before, after;
    if (!PyArg_ParseTuple(args, "nn:resize_gc", &before, &after)) {
        return NULL;
    }
    SizedObject *op = PyObject_GC_NewVar(SizedObject,
                                         get_state(module)->sized, before);
    if (op == NULL) {
        return NULL;
    }
    memset(op->items, 0, before * sizeof(PyObject *));
    SizedObject *larger = PyObject_GC_Resize(SizedObject, op, after);
    if (larger == NULL) {
        Py_DECREF(op);
        return NULL;
    }
    memset(larger->items, 0, after * sizeof(PyObject *));
    PyObject_GC_Track(larger);
    return (PyObject *)larger;
}

static int
sized_traverse(SizedObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void
sized_dealloc(SizedObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyType_Slot sized_slots[] = {
    {Py_tp_traverse, sized_traverse},
    {Py_tp_dealloc, sized_dealloc},
    {0, NULL}
};

static PyType_Spec sized_spec = {
    .name = "_testrefmap.Sized",
    .basicsize = offsetof(SizedObject, items),
    .itemsize = sizeof(PyObject *),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = sized_slots,
};


/* --- objects in odd places ------------------------------------------------- */

/* For tp_free of an object whose memory is not given back. */
static void
leave_memory(void *Py_UNUSED(ptr))
{
}

static void
plain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot plain_slots[] = {
    {Py_tp_dealloc, plain_dealloc},
    {0, NULL}
};

static PyType_Spec plain_spec = {
    .name = "_testrefmap.Plain",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = plain_slots,
};

static PyObject *
odd_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
        PyObject *Py_UNUSED(kwargs))
{
    char *memory = malloc(sizeof(PyObject) + 8);
    if (memory == NULL) {
        return PyErr_NoMemory();
    }
    return PyObject_Init((PyObject *)(memory + 8), type);
}

static void
odd_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    free((char *)self - 8);
    Py_DECREF(type);
}

static PyType_Slot odd_slots[] = {
    {Py_tp_new, odd_new},
    {Py_tp_dealloc, odd_dealloc},
    {0, NULL}
};

static PyType_Spec odd_spec = {
    .name = "_testrefmap.Odd",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = odd_slots,
};

PyDoc_STRVAR(static_object_doc,
"static_object(odd, /)\n--\n\n"
"Return an object in static memory that is mortal; it is 8-aligned only if\n"
"`odd` is true. It starts with an ob_refcnt of 1 that nobody counted.");

static PyObject *
static_object(PyObject *Py_UNUSED(module), PyObject *odd)
{
    static union {
        max_align_t align;
        PyObject objects[4];
    } memory;
    int is_odd = PyObject_IsTrue(odd);
    if (is_odd < 0) {
        return NULL;
    }
    char *ptr = (char *)&memory.objects[is_odd ? 2 : 0] + (is_odd ? 8 : 0);
    PyObject *op = (PyObject *)ptr;
    if (op->ob_type == NULL) {
        // What a static initialiser would have done.
        op->ob_refcnt = 1;
        op->ob_type = &PyBaseObject_Type;
    }
    return Py_NewRef(op);
}

/* struct { long word; PyObject object; } as C++ classes and pools have it. */
#define EMBEDDED_OFFSET 8
#define EMBEDDED_SIZE (EMBEDDED_OFFSET + sizeof(PyObject))

static void
embedded_dealloc(PyObject *self)
{
    // No reference to the type: see init_in_place().
    PyObject_Free((char *)self - EMBEDDED_OFFSET);
}

static PyType_Slot embedded_slots[] = {
    {Py_tp_dealloc, embedded_dealloc},
    {0, NULL}
};

static PyType_Spec embedded_spec = {
    .name = "_testrefmap.Embedded",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = embedded_slots,
};

/* Let an object be born and die at `ptr`; its memory stays. */
static void
live_in_place(void *ptr, PyTypeObject *type)
{
    PyObject *op = init_in_place(ptr, type);
    Py_INCREF(type);            // for plain_dealloc()
    freefunc tp_free = type->tp_free;
    type->tp_free = leave_memory;
    Py_DECREF(op);
    type->tp_free = tp_free;
}

PyDoc_STRVAR(embedded_doc,
"embedded(pooled, /)\n--\n\n"
"An object is born and dies in memory of PyObject_Malloc(), which is given back\n"
"unless `pooled` is true. Return one that is made by hand 8 bytes later; nobody\n"
"counted the reference that is returned.");

static PyObject *
embedded(PyObject *module, PyObject *pooled)
{
    module_state *state = get_state(module);
    int is_pooled = PyObject_IsTrue(pooled);
    char *memory = is_pooled < 0 ? NULL : PyObject_Malloc(EMBEDDED_SIZE);
    if (memory == NULL) {
        return is_pooled < 0 ? NULL : PyErr_NoMemory();
    }
    live_in_place(memory, state->plain);
    if (!is_pooled) {
        uintptr_t freed = (uintptr_t)memory;
        PyObject_Free(memory);
        memory = PyObject_Malloc(EMBEDDED_SIZE);
        if ((uintptr_t)memory != freed) {
            PyObject_Free(memory);
            PyErr_SetString(PyExc_RuntimeError, "the memory is not used again");
            return NULL;
        }
    }
    PyObject *op = (PyObject *)(memory + EMBEDDED_OFFSET);
    op->ob_type = state->embedded;
    op->ob_refcnt = 1;
    return op;
}


/* --- coming back to life ---------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    int how;
    int lives;
} UndeadObject;

static int
undead_init(UndeadObject *self, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    self->lives = 1;
    return PyArg_ParseTuple(args, "i|i:Undead", &self->how, &self->lives)
           ? 0 : -1;
}

/* With one reference again, in one of the ways that are seen in the wild. */
static void
undead_revive(UndeadObject *self)
{
    switch (self->how) {
    case 0:
        Py_INCREF(self);
        break;
    case 1:
        // As a free list does.
        _Py_NewReference((PyObject *)self);
        break;
    default:
        // The total doesn't hear of it.
        Py_SET_REFCNT(self, 1);
        break;
    }
}

static void
undead_dealloc(UndeadObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    module_state *state = PyType_GetModuleState(type);
    if (self->lives-- > 0 && state != NULL && state->survivors != NULL) {
        undead_revive(self);
        PyObject *exc = PyErr_GetRaisedException();
        if (PyList_Append(state->survivors, (PyObject *)self) < 0) {
            PyErr_WriteUnraisable(NULL);
        }
        PyErr_SetRaisedException(exc);
        // Now that the list has a reference, the reviving one is not needed.
        Py_DECREF(self);
        return;
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot undead_slots[] = {
    {Py_tp_init, undead_init},
    {Py_tp_dealloc, undead_dealloc},
    {Py_tp_doc, (void *)PyDoc_STR(
        "Undead(how, lives=1)\n--\n\n"
        "When it dies, it comes back to life `lives` times and is appended to\n"
        "_testrefmap.survivors; by an incref (how=0), as from a free list (1)\n"
        "or by writing ob_refcnt (2).")},
    {0, NULL}
};

static PyType_Spec undead_spec = {
    .name = "_testrefmap.Undead",
    .basicsize = sizeof(UndeadObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = undead_slots,
};


/* --- threads ----------------------------------------------------------------- */

static int
churn_objects(PyTypeObject *type, PyObject *shared, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *op = PyObject_New(PyObject, type);
        if (op == NULL) {
            return -1;
        }
        Py_INCREF(shared);
        if (i % 64 == 0) {
            Py_BEGIN_ALLOW_THREADS
            Py_END_ALLOW_THREADS
        }
        Py_DECREF(shared);
        Py_DECREF(op);
    }
    return 0;
}

typedef struct {
    PyTypeObject *type;
    PyObject *shared;
    Py_ssize_t n;
} churn_args;

static void
churn_in_thread(void *arg)
{
    churn_args *args = arg;
    PyGILState_STATE gil = PyGILState_Ensure();
    if (churn_objects(args->type, args->shared, args->n) < 0) {
        PyErr_WriteUnraisable(NULL);
    }
    PyGILState_Release(gil);
}

PyDoc_STRVAR(churn_doc,
"churn(object, n, new_thread=False, /)\n--\n\n"
"Create and destroy n objects and references to `object`, giving the GIL away\n"
"from time to time; in a thread that C code started if `new_thread` is true.");

static PyObject *
churn(PyObject *module, PyObject *args)
{
    churn_args job = {.type = get_state(module)->plain};
    int new_thread = 0;
    if (!PyArg_ParseTuple(args, "On|p:churn", &job.shared, &job.n,
                          &new_thread)) {
        return NULL;
    }
    if (new_thread ? run_thread(churn_in_thread, &job) < 0
                   : churn_objects(job.type, job.shared, job.n) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}


/* --- out of memory ------------------------------------------------------------- */

PyDoc_STRVAR(limit_allocations_doc,
"limit_allocations(n, /)\n--\n\n"
"Let the next n allocations of the refcount map succeed and those after them\n"
"fail; -1 turns that off.");

static PyObject *
limit_allocations(PyObject *Py_UNUSED(module), PyObject *arg)
{
    Py_ssize_t n = PyLong_AsSsize_t(arg);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    _PyRefMap_LimitAllocations(n);
    Py_RETURN_NONE;
}


PyDoc_STRVAR(sweep_doc,
"sweep()\n--\n\n"
"Let the map save memory: pack what was not touched since the last call.");

static PyObject *
sweep(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    _PyRefMap_Sweep();
    Py_RETURN_NONE;
}


PyDoc_STRVAR(table_sizes_doc,
"table_sizes()\n--\n\n"
"Return the most items and the most buckets of a hash table of the map.");

static PyObject *
table_sizes(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    size_t items, buckets;
    _PyRefMap_TableSizes(&items, &buckets);
    return Py_BuildValue("nn", (Py_ssize_t)items, (Py_ssize_t)buckets);
}

PyDoc_STRVAR(memory_doc,
"memory()\n--\n\n"
"Return the number of blocks that are not packed, the map's patience, and the bytes\n"
"that all maps use, without giving any back as sys.refmap_info() does.");

static PyObject *
memory(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    refmap_memory_t memory;
    _PyRefMap_GetMemory(&memory);
    return Py_BuildValue("nnn", (Py_ssize_t)memory.loose,
                         (Py_ssize_t)memory.patience, memory.bytes);
}


/* --- a map is closed while another thread reads its total ----------------------- */

// Who reads has read; beside REFMAP_PAUSE_*.
#define RACE_READ 4

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int hold;                   // where who closes the map is held up
    int reached[5];
} race = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0}};

/* Wait until a thread was at `where`, or for so many milliseconds. */
static void
race_wait(int where, long milliseconds)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += milliseconds % 1000 * 1000000;
    end.tv_sec += milliseconds / 1000 + end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    while (!race.reached[where]
           && pthread_cond_timedwait(&race.changed, &race.mutex, &end) == 0)
    {
    }
}

static void
race_pause(int where)
{
    pthread_mutex_lock(&race.mutex);
    int first = !race.reached[where];
    race.reached[where] = 1;
    pthread_cond_broadcast(&race.changed);
    if (first && race.hold == REFMAP_PAUSE_CLOSING) {
        if (where == REFMAP_PAUSE_CLOSING) {
            // Who closes the map goes on when the other one has begun to read.
            race_wait(REFMAP_PAUSE_TOTAL, 10000);
        }
        else if (where == REFMAP_PAUSE_TOTAL) {
            // If it can be closed now, let it.
            race_wait(REFMAP_PAUSE_CLOSED, 500);
        }
    }
    else if (first && where == REFMAP_PAUSE_LEAVING) {
        // If the sums can be read now, let them.
        race_wait(RACE_READ, 500);
    }
    pthread_mutex_unlock(&race.mutex);
}

/* Call start(), and wait until the thread that it started is held up at `where`.
   Return -1 with an exception set if it never comes there. */
static int
race_begin(PyObject *start, int where)
{
    memset(race.reached, 0, sizeof(race.reached));
    race.hold = where;
    _PyRefMap_SetPause(race_pause);
    PyObject *started = PyObject_CallNoArgs(start);
    if (started == NULL) {
        _PyRefMap_SetPause(NULL);
        return -1;
    }
    Py_DECREF(started);
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&race.mutex);
    race_wait(where, 10000);
    pthread_mutex_unlock(&race.mutex);
    Py_END_ALLOW_THREADS
    if (!race.reached[where]) {
        _PyRefMap_SetPause(NULL);
        PyErr_SetString(PyExc_RuntimeError, "no map was closed meanwhile");
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(total_while_closing_doc,
"total_while_closing(start, /)\n--\n\n"
"Call start(), and wait until the thread that it started is about to close the map\n"
"of an own GIL, which goes on once this one reads the total of that map. Return\n"
"sys.gettotalrefcount().");

static PyObject *
total_while_closing(PyObject *Py_UNUSED(module), PyObject *start)
{
    if (race_begin(start, REFMAP_PAUSE_CLOSING) < 0) {
        return NULL;
    }
    Py_ssize_t total = _Py_GetGlobalRefTotal();
    int read = race.reached[REFMAP_PAUSE_TOTAL];
    _PyRefMap_SetPause(NULL);
    if (!read) {
        PyErr_SetString(PyExc_RuntimeError, "no total of the map was read");
        return NULL;
    }
    return PyLong_FromSsize_t(total);
}

PyDoc_STRVAR(call_while_leaving_doc,
"call_while_leaving(start, function, /)\n--\n\n"
"Call start(), and wait until the thread that it started has moved half of what an\n"
"interpreter leaves behind that had a GIL of its own. Let it go on after function(),\n"
"or after half a second, and return what function() returned.");

static PyObject *
call_while_leaving(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *start, *function;
    if (!PyArg_ParseTuple(args, "OO:call_while_leaving", &start, &function)
        || race_begin(start, REFMAP_PAUSE_LEAVING) < 0)
    {
        return NULL;
    }
    PyObject *result = PyObject_CallNoArgs(function);
    _PyRefMap_SetPause(NULL);
    race_pause(RACE_READ);
    return result;
}


/* --- the arena -------------------------------------------------------------------

   Memory whose addresses the test chooses: objects of the type Cell are born,
   move and die where the test wants them. While the arena is open, the
   allocator of objects leaves its memory alone. One arena for the process. */

static struct {
    char *memory;
    size_t size;
    char *moved;                // where the next realloc() goes; NULL: it fails
    int fail_realloc;           // of any memory
    int installed;
    PyMemAllocatorEx previous;
} arena;

static int
in_arena(void *ptr)
{
    return arena.memory != NULL && (char *)ptr >= arena.memory
           && (char *)ptr < arena.memory + arena.size;
}

static void *
arena_malloc(void *Py_UNUSED(ctx), size_t size)
{
    return arena.previous.malloc(arena.previous.ctx, size);
}

static void *
arena_calloc(void *Py_UNUSED(ctx), size_t nelem, size_t elsize)
{
    return arena.previous.calloc(arena.previous.ctx, nelem, elsize);
}

static void *
arena_realloc(void *Py_UNUSED(ctx), void *ptr, size_t size)
{
    if (!in_arena(ptr)) {
        return arena.fail_realloc
            ? NULL : arena.previous.realloc(arena.previous.ctx, ptr, size);
    }
    if (arena.moved != NULL) {
        memmove(arena.moved, ptr, sizeof(PyObject));
    }
    return arena.moved;
}

static void
arena_free(void *Py_UNUSED(ctx), void *ptr)
{
    if (!in_arena(ptr)) {
        arena.previous.free(arena.previous.ctx, ptr);
    }
}

static void
arena_install(void)
{
    PyMemAllocatorEx allocator = {
        NULL, arena_malloc, arena_calloc, arena_realloc, arena_free};
    if (!arena.installed) {
        PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &arena.previous);
        PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &allocator);
        arena.installed = 1;
    }
}

static void
arena_uninstall(void)
{
    if (arena.installed) {
        PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &arena.previous);
        arena.installed = 0;
    }
}

PyDoc_STRVAR(arena_open_doc,
"arena_open(pages, /)\n--\n\n"
"Reserve so many pages of 4 KiB and return the address of the first.");

static PyObject *
arena_open(PyObject *Py_UNUSED(module), PyObject *arg)
{
    size_t pages = PyLong_AsSize_t(arg);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (arena.memory != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the arena is open");
        return NULL;
    }
    void *memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return PyErr_NoMemory();
    }
    arena.size = pages * 4096;
    arena.memory = memory;
    arena_install();
    return address_of(memory);
}

PyDoc_STRVAR(arena_close_doc,
"arena_close()\n--\n\n"
"Give the memory of the arena back. No object may be left in it.");

static PyObject *
arena_close(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    arena_uninstall();
    if (arena.memory != NULL) {
        munmap(arena.memory, arena.size);
        arena.memory = NULL;
    }
    Py_RETURN_NONE;
}

/* A place in the arena; NULL with an exception. */
static char *
arena_place(PyObject *address)
{
    char *ptr = PyLong_AsVoidPtr(address);
    if (ptr != NULL && !in_arena(ptr)) {
        PyErr_SetString(PyExc_ValueError, "not in the arena");
        return NULL;
    }
    return ptr;
}

PyDoc_STRVAR(arena_birth_doc,
"arena_birth(address, /)\n--\n\n"
"A Cell is born at the address; nobody has its one reference.");

static PyObject *
arena_birth(PyObject *module, PyObject *address)
{
    char *ptr = arena_place(address);
    if (ptr == NULL) {
        return NULL;
    }
    init_in_place(ptr, get_state(module)->cell);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(arena_by_hand_doc,
"arena_by_hand(address, /)\n--\n\n"
"Make a Cell at the address by hand, as static objects are: with one reference in\n"
"ob_refcnt that nobody counted, and without a birth.");

static PyObject *
arena_by_hand(PyObject *module, PyObject *address)
{
    PyObject *op = (PyObject *)arena_place(address);
    if (op == NULL) {
        return NULL;
    }
    op->ob_type = get_state(module)->cell;
    op->ob_refcnt = 1;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(arena_add_doc,
"arena_add(address, n, /)\n--\n\n"
"n increfs or -n decrefs; the Cell dies when none is left.");

static PyObject *
arena_add(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *address;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "On:arena_add", &address, &n)) {
        return NULL;
    }
    PyObject *op = (PyObject *)arena_place(address);
    if (op == NULL) {
        return NULL;
    }
    for (; n > 0; n--) {
        Py_INCREF(op);
    }
    for (; n < 0; n++) {
        Py_DECREF(op);
    }
    Py_RETURN_NONE;
}

static void
decref_in_thread(void *op)
{
    Py_DecRef(op);
}

PyDoc_STRVAR(arena_decref_detached_doc,
"arena_decref_detached(address, /)\n--\n\n"
"Take a reference from the Cell, which dies if it was the last, in a thread that\n"
"never had a thread state.");

static PyObject *
arena_decref_detached(PyObject *Py_UNUSED(module), PyObject *address)
{
    char *ptr = arena_place(address);
    if (ptr == NULL || run_thread(decref_in_thread, ptr) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(arena_repeat_doc,
"arena_repeat(address, n, /)\n--\n\n"
"Return a list with n references to the Cell, which a single addition made.");

static PyObject *
arena_repeat(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *address;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "On:arena_repeat", &address, &n)) {
        return NULL;
    }
    PyObject *op = (PyObject *)arena_place(address);
    PyObject *one = op ? PyList_New(1) : NULL;
    if (one == NULL) {
        return NULL;
    }
    PyList_SET_ITEM(one, 0, Py_NewRef(op));
    PyObject *many = PySequence_Repeat(one, n);
    Py_DECREF(one);
    return many;
}

PyDoc_STRVAR(arena_move_doc,
"arena_move(address, to, /)\n--\n\n"
"PyObject_Realloc() moves the Cell to another place, or nowhere (to=None:\n"
"it fails, and the Cell stays).");

static PyObject *
arena_move(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *address, *to;
    if (!PyArg_ParseTuple(args, "OO:arena_move", &address, &to)) {
        return NULL;
    }
    char *ptr = arena_place(address);
    arena.moved = NULL;
    if (ptr == NULL || (to != Py_None
                        && (arena.moved = arena_place(to)) == NULL)) {
        return NULL;
    }
    return PyBool_FromLong(PyObject_Realloc(ptr, sizeof(PyObject)) != NULL);
}

PyDoc_STRVAR(arena_object_free_doc,
"arena_object_free(address, /)\n--\n\n"
"PyObject_Free() the memory, whatever is counted there.");

static PyObject *
arena_object_free(PyObject *Py_UNUSED(module), PyObject *address)
{
    char *ptr = arena_place(address);
    if (ptr == NULL) {
        return NULL;
    }
    PyObject_Free(ptr);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(arena_poke_doc,
"arena_poke(address, word, /)\n--\n\n"
"Write the word at the address and return what was there.");

static PyObject *
arena_poke(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *address;
    Py_ssize_t word, old;
    if (!PyArg_ParseTuple(args, "On:arena_poke", &address, &word)) {
        return NULL;
    }
    char *ptr = arena_place(address);
    if (ptr == NULL) {
        return NULL;
    }
    memcpy(&old, ptr, sizeof(old));
    memcpy(ptr, &word, sizeof(word));
    return PyLong_FromSsize_t(old);
}

PyDoc_STRVAR(fail_realloc_doc,
"fail_realloc(function, *args)\n--\n\n"
"Call the function while each PyObject_Realloc() fails.");

static PyObject *
fail_realloc(PyObject *Py_UNUSED(module), PyObject *args)
{
    if (PyTuple_GET_SIZE(args) < 1) {
        PyErr_SetString(PyExc_TypeError, "a function is needed");
        return NULL;
    }
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    if (rest == NULL) {
        return NULL;
    }
    int was_installed = arena.installed;
    arena_install();
    arena.fail_realloc = 1;
    PyObject *result = PyObject_CallObject(PyTuple_GET_ITEM(args, 0), rest);
    arena.fail_realloc = 0;
    if (!was_installed) {
        arena_uninstall();
    }
    Py_DECREF(rest);
    return result;
}

static void
cell_dealloc(PyObject *self)
{
    // No reference to the type: see init_in_place().
    PyObject_Free(self);
}

static PyType_Slot cell_slots[] = {
    {Py_tp_dealloc, cell_dealloc},
    {0, NULL}
};

static PyType_Spec cell_spec = {
    .name = "_testrefmap.Cell",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = cell_slots,
};


/* --- what the map does for itself --------------------------------------------------- */

PyDoc_STRVAR(hide_doc,
"hide(object, /)\n--\n\n"
"Let no diff show references to the object, as to those of refmap itself.");

static PyObject *
hide(PyObject *Py_UNUSED(module), PyObject *op)
{
    _PyRefMap_Hide(op);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_last_birth_doc,
"set_last_birth(serial, /)\n--\n\n"
"Let the next birth have the number after that.");

static PyObject *
set_last_birth(PyObject *Py_UNUSED(module), PyObject *arg)
{
    unsigned long serial = PyLong_AsUnsignedLong(arg);
    if (serial == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    _PyRefMap_SetLastBirth((uint32_t)serial);
    Py_RETURN_NONE;
}


/* --- a map that is wrong ----------------------------------------------------------- */

PyDoc_STRVAR(forge_total_doc,
"forge_total(n, /)\n--\n\n"
"Add n to the interpreter's total of references, which the map hears nothing\n"
"of: it is inexact until -n is added.");

static PyObject *
forge_total(PyObject *Py_UNUSED(module), PyObject *arg)
{
    Py_ssize_t n = PyLong_AsSsize_t(arg);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyInterpreterState_Get()->object_state.reftotal += n;
    Py_RETURN_NONE;
}


/* --- the module -------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"leak_reference", leak_reference, METH_O, leak_reference_doc},
    {"over_decref", over_decref, METH_O, over_decref_doc},
    {"leak_object", leak_object, METH_NOARGS, leak_object_doc},
    {"release", release, METH_O, release_doc},
    {"write_refcnt", write_refcnt, METH_VARARGS, write_refcnt_doc},
    {"call_with_refcnt", call_with_refcnt, METH_VARARGS, call_with_refcnt_doc},
    {"immortalise", immortalise, METH_O, immortalise_doc},
    {"make_mortal", make_mortal, METH_VARARGS, make_mortal_doc},
    {"foreign_incref", foreign_incref, METH_VARARGS, foreign_incref_doc},
    {"foreign_decref", foreign_decref, METH_O, foreign_decref_doc},
    {"foreign_pop", foreign_pop, METH_O, foreign_pop_doc},
    {"stock_debug_incref", stock_debug_incref, METH_O, stock_debug_incref_doc},
    {"stock_debug_decref", stock_debug_decref, METH_O, stock_debug_decref_doc},
    {"forget_unattributed", forget_unattributed, METH_O,
     forget_unattributed_doc},
    {"limited_incref", limited_incref, METH_O, limited_incref_doc},
    {"limited_decref", limited_decref, METH_O, limited_decref_doc},
    {"incref_without_thread_state", incref_without_thread_state, METH_VARARGS,
     incref_without_thread_state_doc},
    {"incref_often", incref_often, METH_VARARGS, incref_often_doc},
    {"add_references", add_references, METH_VARARGS, add_references_doc},
    {"errno_after_touch", errno_after_touch, METH_VARARGS,
     errno_after_touch_doc},
    {"free_counted", free_counted, METH_VARARGS, free_counted_doc},
    {"resize_bytes", resize_bytes, METH_VARARGS, resize_bytes_doc},
    {"resize_tuple", resize_tuple, METH_VARARGS, resize_tuple_doc},
    {"resize_str", resize_str, METH_VARARGS, resize_str_doc},
    {"resize_gc", resize_gc, METH_VARARGS, resize_gc_doc},
    {"static_object", static_object, METH_O, static_object_doc},
    {"embedded", embedded, METH_O, embedded_doc},
    {"churn", churn, METH_VARARGS, churn_doc},
    {"limit_allocations", limit_allocations, METH_O, limit_allocations_doc},
    {"sweep", sweep, METH_NOARGS, sweep_doc},
    {"table_sizes", table_sizes, METH_NOARGS, table_sizes_doc},
    {"memory", memory, METH_NOARGS, memory_doc},
    {"total_while_closing", total_while_closing, METH_O,
     total_while_closing_doc},
    {"call_while_leaving", call_while_leaving, METH_VARARGS,
     call_while_leaving_doc},
    {"arena_open", arena_open, METH_O, arena_open_doc},
    {"arena_close", arena_close, METH_NOARGS, arena_close_doc},
    {"arena_birth", arena_birth, METH_O, arena_birth_doc},
    {"arena_by_hand", arena_by_hand, METH_O, arena_by_hand_doc},
    {"arena_add", arena_add, METH_VARARGS, arena_add_doc},
    {"arena_decref_detached", arena_decref_detached, METH_O,
     arena_decref_detached_doc},
    {"arena_repeat", arena_repeat, METH_VARARGS, arena_repeat_doc},
    {"arena_move", arena_move, METH_VARARGS, arena_move_doc},
    {"arena_object_free", arena_object_free, METH_O, arena_object_free_doc},
    {"arena_poke", arena_poke, METH_VARARGS, arena_poke_doc},
    {"fail_realloc", fail_realloc, METH_VARARGS, fail_realloc_doc},
    {"hide", hide, METH_O, hide_doc},
    {"set_last_birth", set_last_birth, METH_O, set_last_birth_doc},
    {"forge_total", forge_total, METH_O, forge_total_doc},
    {NULL}
};

static int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static int
module_exec(PyObject *module)
{
    module_state *state = get_state(module);
    state->survivors = PyList_New(0);
    if (PyModule_AddObjectRef(module, "survivors", state->survivors) < 0
        || add_type(module, &plain_spec, &state->plain) < 0
        || add_type(module, &sized_spec, &state->sized) < 0
        || add_type(module, &odd_spec, &state->odd) < 0
        || add_type(module, &undead_spec, &state->undead) < 0
        || add_type(module, &cell_spec, &state->cell) < 0
        || add_type(module, &embedded_spec, &state->embedded) < 0
        || _testrefmap_add_owners(module) < 0)
    {
        return -1;
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = get_state(module);
    Py_VISIT(state->plain);
    Py_VISIT(state->sized);
    Py_VISIT(state->odd);
    Py_VISIT(state->undead);
    Py_VISIT(state->cell);
    Py_VISIT(state->embedded);
    Py_VISIT(state->survivors);
    return 0;
}

static int
module_clear(PyObject *module)
{
    module_state *state = get_state(module);
    Py_CLEAR(state->plain);
    Py_CLEAR(state->sized);
    Py_CLEAR(state->odd);
    Py_CLEAR(state->undead);
    Py_CLEAR(state->cell);
    Py_CLEAR(state->embedded);
    Py_CLEAR(state->survivors);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {0, NULL}
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_testrefmap",
    .m_doc = PyDoc_STR("What no extension should do."),
    .m_size = sizeof(module_state),
    .m_methods = methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__testrefmap(void)
{
    return PyModuleDef_Init(&module_def);
}
