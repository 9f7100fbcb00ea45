/* Who owns an object: one pass over all living objects finds where the addresses of a
   few, the *targets*, are.

   A reference is *visited* if the tp_traverse of a living object reports it. A *word*
   is a place in memory that has the address: in the instance itself, in a memory block
   that leads from it, or in static data of a module. Words beyond what an object
   visits are *hidden*: a reference that its tp_traverse should report perhaps, a
   reference that it need not report, as to a string, or no reference at all (a borrowed
   one). Words that CPython is known to borrow are left out.

   A block of memory belongs to the object from which it is reached first; a module's
   state belongs to the module.

   Objects are only looked at, with the GIL held. tp_traverse is called with a function
   that only counts. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "sweep.h"
#include "pycore_dict.h"          // PyDictValues
#include "pycore_frame.h"         // _PyInterpreterFrame
#include "pycore_gc.h"            // _PyObject_GC_IS_TRACKED()
#include "pycore_moduleobject.h"  // PyModuleObject
#include "pycore_object.h"        // _PyObject_IS_GC()
#include "pycore_pystate.h"       // HEAD_LOCK()
#include "pycore_runtime.h"       // _PyRuntime


/* Do the map and the memory agree that an object lives in the slot? Binaries that
   were built for a stock interpreter change ob_refcnt behind the map's back, but
   births and deaths never pass it by. */
static int
is_alive(refmap_slot_t slot, const refmap_object_t *object)
{
    if (!refmap_is_living(slot) || (slot.birth & REFMAP_BIRTH_OWN)
        || object->type == REFMAP_TYPE_UNKNOWN)
    {
        return 0;
    }
    return refmap_refcnt_agrees(slot, object->refcnt)
           || (slot.birth != 0 && object->refcnt > 0);
}


/* --- instances --------------------------------------------------------------- */

/* What has no references in its memory. */
static int
is_plain(PyTypeObject *type)
{
    return type == &PyUnicode_Type || type == &PyLong_Type || type == &PyBytes_Type
           || type == &PyFloat_Type || type == &PyBool_Type
           || type == &PyComplex_Type;
}

/* How many bytes of an instance may have references. Where that depends on the
   number of items, their memory must be known: frames and generators have items, but
   no ob_size. */
static size_t
instance_size(const refmap_sweep_t *s, PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    size_t size = (size_t)type->tp_basicsize;
    if (type == &PyGen_Type || type == &PyCoro_Type || type == &PyAsyncGen_Type) {
        // tp_traverse knows the frame; what it leaves there is stale.
        return offsetof(PyGenObject, gi_iframe);
    }
    if (type == &PyFrame_Type) {
        return offsetof(PyFrameObject, _f_frame_data);
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_TYPE_SUBCLASS)
        && !PyType_HasFeature((PyTypeObject *)op, Py_TPFLAGS_HEAPTYPE))
    {
        return sizeof(PyTypeObject);
    }
    if (type->tp_itemsize < (Py_ssize_t)sizeof(PyObject *)
        || PyType_HasFeature(type, Py_TPFLAGS_LONG_SUBCLASS))
    {
        return size;
    }
    refmap_extent_t extent;
    size_t before = _PyType_PreHeaderSize(type);
    size_t n = (size_t)Py_ABS(((PyVarObject *)op)->ob_size);
    if (!_PyRefMap_BlockAt(s->interp, (uintptr_t)op - before, &extent)
        || extent.size < before + size)
    {
        return size;
    }
    size_t room = extent.size - before - size;
    return size + Py_MIN(n, room / (size_t)type->tp_itemsize)
                  * (size_t)type->tp_itemsize;
}

static void
look_at_part(refmap_sweep_t *s, Py_ssize_t offset, size_t size)
{
    refmap_extent_t extent = {(uintptr_t)s->op + (uintptr_t)offset, size, NULL, 1};
    refmap_path_t path = {0};
    _PyRefMap_LookAtWords(s, &extent, offset, path);
}

static void
look_at_dict_values(refmap_sweep_t *s, PyDictObject *dict)
{
    PyDictValues *values = dict->ma_values;
    if (values != NULL && !values->embedded) {
        refmap_extent_t extent = {(uintptr_t)values->values,
                                  values->capacity * sizeof(PyObject *), NULL, 1};
        refmap_path_t path = {1, {offsetof(PyDictObject, ma_values)}};
        _PyRefMap_LookAtWords(s, &extent, 0, path);
    }
}

/* Its keys, which tp_traverse visits, and no hashes: see is_known() in sweep.c. */
static void
look_at_set(refmap_sweep_t *s, PySetObject *set)
{
    int is_small = set->table == set->smalltable;
    refmap_path_t path = {is_small ? 1 : 2, {offsetof(PySetObject, table)}};
    Py_ssize_t *here = &path.offsets[path.len - 1];
    for (Py_ssize_t i = 0; set->table != NULL && i <= set->mask; i++) {
        PyObject **key = &set->table[i].key;
        size_t found = refmap_find_target(s, (uintptr_t)*key);
        if (found) {
            *here = (char *)key - (is_small ? (char *)set : (char *)set->table);
            _PyRefMap_NoteWord(s, found - 1, &path);
        }
    }
}

static void
look_at_instance(refmap_sweep_t *s, PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    size_t found = refmap_find_target(s, (uintptr_t)type);
    if (found && PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        refmap_path_t path = {1, {offsetof(PyObject, ob_type)}};
        _PyRefMap_NoteWord(s, found - 1, &path);
    }
    if (is_plain(type)) {
        return;
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_MANAGED_DICT)) {
        look_at_part(s, MANAGED_DICT_OFFSET, sizeof(PyObject *));
    }
    size_t size = instance_size(s, op);
    if (size > sizeof(PyObject)) {
        look_at_part(s, sizeof(PyObject), size - sizeof(PyObject));
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_INLINE_VALUES)
        && _PyObject_InlineValues(op)->valid)
    {
        look_at_part(s, sizeof(PyObject) + offsetof(PyDictValues, values),
                     _PyObject_InlineValues(op)->capacity * sizeof(PyObject *));
    }
    if (PyDict_Check(op)) {
        look_at_dict_values(s, (PyDictObject *)op);
    }
    if (PyAnySet_Check(op)) {
        look_at_set(s, (PySetObject *)op);
    }
}

static int
object_flags(PyObject *op)
{
    if (!_PyObject_IS_GC(op)) {
        return REFMAP_OBJECT_ALIVE;
    }
    return REFMAP_OBJECT_ALIVE | REFMAP_OBJECT_GC
           | (_PyObject_GC_IS_TRACKED(op) ? REFMAP_OBJECT_TRACKED : 0);
}

static void
look_at_object(refmap_sweep_t *s, PyObject *op)
{
    _PyRefMap_BeginOwner(s, REFMAP_OWNER_OBJECT, (uintptr_t)op, op);
    s->owner.type = (uintptr_t)Py_TYPE(op);
    s->owner.flags = object_flags(op);
    traverseproc traverse = Py_TYPE(op)->tp_traverse;
    if ((s->owner.flags & REFMAP_OBJECT_GC) && traverse != NULL) {
        (void)traverse(op, _PyRefMap_NoteVisit, s);
    }
    look_at_instance(s, op);
    _PyRefMap_EndOwner(s);
}

/* A module's state is what other objects may have pointers to, too. */
static void
look_at_module(refmap_sweep_t *s, PyObject *op)
{
    if (PyModule_Check(op)) {
        look_at_object(s, op);
    }
}

static void
look_at_others(refmap_sweep_t *s, PyObject *op)
{
    // Its references are not counted; see patches/*/0170-interned-strings.patch.
    if (!PyModule_Check(op)
        && op != s->interp->cached_objects.interned_strings)
    {
        look_at_object(s, op);
    }
}

static void
for_each_in_block(refmap_sweep_t *s, refmap_block_t *block,
                  void (*look)(refmap_sweep_t *, PyObject *))
{
    refmap_words_t words[REFMAP_SLOTS];
    refmap_copy_t copy;
    int copied = 0;
    // A tp_traverse that counts references may have the block replaced.
    const refmap_block_t here = *block;
    refmap_get_all(block, words);
    for (size_t i = 0; i < REFMAP_SLOTS && !s->failed; i++) {
        refmap_slot_t slot = refmap_decode(words[i]);
        if (!refmap_is_living(slot) || refmap_is_keys(slot)) {
            continue;
        }
        if (!copied) {
            _PyRefMap_ReadPage(&here, &copy);
            copied = 1;
            if (!copy.readable) {
                return;
            }
        }
        refmap_object_t object;
        _PyRefMap_ReadSlot(s->map, &here, i, slot, &copy, &object);
        if (is_alive(slot, &object)) {
            look(s, (PyObject *)object.address);
        }
    }
}

static void
for_each_object(refmap_sweep_t *s, void (*look)(refmap_sweep_t *, PyObject *))
{
    for (size_t i = 0; i < s->map->len && !s->failed; i++) {
        if (s->map->blocks[i] != NULL) {
            for_each_in_block(s, s->map->blocks[i], look);
        }
    }
}


/* --- threads ----------------------------------------------------------------- */

static void
visit_word(refmap_sweep_t *s, PyObject *op, Py_ssize_t offset)
{
    size_t found = op != NULL ? refmap_find_target(s, (uintptr_t)op) : 0;
    if (found) {
        refmap_path_t path = {1, {offset}};
        _PyRefMap_NoteWord(s, found - 1, &path);
        (void)_PyRefMap_NoteVisit(op, s);
    }
}

/* A frame that runs: nobody visits its locals. What it has on its stack is known only
   where it called a Python function. */
static void
look_at_frame(refmap_sweep_t *s, _PyInterpreterFrame *frame)
{
    PyObject *executable = frame->f_executable;
    if (frame->owner == FRAME_OWNED_BY_CSTACK || executable == NULL
        || !PyCode_Check(executable))
    {
        return;
    }
    _PyRefMap_BeginOwner(s, REFMAP_OWNER_THREAD, (uintptr_t)executable, NULL);
    int n = Py_MAX(((PyCodeObject *)executable)->co_nlocalsplus, frame->stacktop);
    for (int i = 0; i < n; i++) {
        visit_word(s, frame->localsplus[i], i);
    }
    if (frame->owner == FRAME_OWNED_BY_THREAD) {
        visit_word(s, (PyObject *)frame->frame_obj, -1);
        visit_word(s, frame->f_locals, -1);
        visit_word(s, frame->f_funcobj, -1);
        visit_word(s, executable, -1);
    }
    _PyRefMap_EndOwner(s);
}

/* Threads that do not run wait for the GIL, or run code that knows no object. */
static void
look_at_thread(refmap_sweep_t *s, PyThreadState *tstate)
{
    if (refmap_of(tstate->interp) != s->map) {
        return;
    }
    PyObject *const others[] = {
        tstate->dict, tstate->context, tstate->current_exception,
        tstate->exc_state.exc_value, tstate->async_exc, tstate->c_profileobj,
        tstate->c_traceobj, tstate->async_gen_firstiter,
        tstate->async_gen_finalizer, tstate->delete_later,
        tstate->threading_local_key, tstate->threading_local_sentinel};
    _PyRefMap_BeginOwner(s, REFMAP_OWNER_THREAD, 0, NULL);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(others); i++) {
        visit_word(s, others[i], -1);
    }
    _PyRefMap_EndOwner(s);
    for (_PyInterpreterFrame *frame = tstate->current_frame; frame != NULL;
         frame = frame->previous)
    {
        look_at_frame(s, frame);
    }
}

/* Nobody is to look into the thread, nor into its interpreter, as a block of memory. */
static void
claim_thread(refmap_sweep_t *s, PyThreadState *tstate)
{
    _PyRefMap_Claim(s, (uintptr_t)tstate);
    _PyRefMap_Claim(s, (uintptr_t)tstate->interp);
    if (refmap_of(tstate->interp) != s->map) {
        return;         // it may run
    }
    for (_PyStackChunk *chunk = tstate->datastack_chunk; chunk != NULL;
         chunk = chunk->previous)
    {
        _PyRefMap_Claim(s, (uintptr_t)chunk);
    }
}

static void
for_each_thread(refmap_sweep_t *s, void (*look)(refmap_sweep_t *, PyThreadState *))
{
    HEAD_LOCK(&_PyRuntime);
    for (PyInterpreterState *interp = _PyRuntime.interpreters.head; interp != NULL;
         interp = interp->next)
    {
        for (PyThreadState *tstate = interp->threads.head; tstate != NULL;
             tstate = tstate->next)
        {
            look(s, tstate);
        }
    }
    HEAD_UNLOCK(&_PyRuntime);
}


/* --- static data ------------------------------------------------------------- */

/* Parts of an interpreter's own data: caches of borrowed references, lists of free
   objects, and a thread, which look_at_thread() knows. */
static int
is_left_out(const PyInterpreterState *interp, uintptr_t address)
{
#define IS_IN(part) (address - (uintptr_t)&interp->part < sizeof(interp->part))
    return IS_IN(types.type_cache) || IS_IN(func_state) || IS_IN(object_state)
           || IS_IN(_initial_thread) || IS_IN(gc);
#undef IS_IN
}

static void
look_at_static_data(refmap_sweep_t *s, const PyInterpreterState *interp,
                    uintptr_t start, uintptr_t end)
{
    const refmap_extent_t nowhere = {0};
    const refmap_path_t path = {1, {0}};
    uintptr_t words[REFMAP_PAGE_SIZE / sizeof(uintptr_t)];
    start = _Py_SIZE_ROUND_UP(start, sizeof(*words));
    for (; start < end && !s->failed; start += REFMAP_PAGE_SIZE) {
        size_t n = Py_MIN(REFMAP_PAGE_SIZE, end - start) / sizeof(*words);
        if (_PyRefMap_Read(start, words, n * sizeof(*words)) < 0) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            uintptr_t address = start + i * sizeof(*words);
            if (words[i] >= REFMAP_PAGE_SIZE && !is_left_out(interp, address)) {
                _PyRefMap_BeginOwner(s, REFMAP_OWNER_STATIC, address, NULL);
                _PyRefMap_LookAtWord(s, words[i], &path, &nowhere);
                _PyRefMap_EndOwner(s);
            }
        }
    }
}

static void
look_at_modules(refmap_sweep_t *s)
{
    for (size_t i = 0; i < s->segments.len; i++) {
        const refmap_segment_t *segment = &s->segments.items[i];
        if (segment->writable) {
            look_at_static_data(s, &_PyRuntime._main_interpreter, segment->start,
                                segment->end);
        }
    }
}

/* Interpreters beside the main one are not static, but alike. */
static void
look_at_interpreters(refmap_sweep_t *s)
{
    HEAD_LOCK(&_PyRuntime);
    for (PyInterpreterState *interp = _PyRuntime.interpreters.head; interp != NULL;
         interp = interp->next)
    {
        if (interp != &_PyRuntime._main_interpreter && refmap_of(interp) == s->map) {
            look_at_static_data(s, interp, (uintptr_t)interp,
                                (uintptr_t)(interp + 1));
        }
    }
    HEAD_UNLOCK(&_PyRuntime);
}


/* --- the whole --------------------------------------------------------------- */

static void
describe_target(const refmap_sweep_t *s, refmap_target_t *target)
{
    refmap_block_t *block = _PyRefMap_Find(s->map, refmap_page(target->address));
    size_t i = refmap_slot_index(target->address);
    if (block == NULL) {
        return;
    }
    refmap_slot_t slot = refmap_get(block, i);
    refmap_copy_t copy;
    refmap_object_t object;
    _PyRefMap_ReadPage(block, &copy);
    _PyRefMap_ReadSlot(s->map, block, i, slot, &copy, &object);
    if (object.address != target->address || !copy.readable
        || !is_alive(slot, &object))
    {
        return;
    }
    target->count = slot.count;
    target->refcnt = object.refcnt;
    if (refmap_is_keys(slot)) {
        target->flags = REFMAP_OBJECT_ALIVE | REFMAP_OBJECT_KEYS;
        return;
    }
    PyObject *op = (PyObject *)target->address;
    target->type = (uintptr_t)Py_TYPE(op);
    target->flags = object_flags(op);
}

static int
prepare(refmap_sweep_t *s, const uintptr_t *addresses, size_t n)
{
    refmap_owners_t *result = s->result;
    result->targets = _PyRefMap_Malloc((n + 1) * sizeof(*result->targets));
    if (result->targets == NULL) {
        return -1;
    }
    result->ntargets = n;
    memset(result->targets, 0, (n + 1) * sizeof(*result->targets));
    for (size_t i = 0; i < n; i++) {
        result->targets[i].address = addresses[i];
        describe_target(s, &result->targets[i]);
    }
    PyObject *interned = s->interp->cached_objects.interned_strings;
    if (interned != NULL) {
        _PyRefMap_Claim(s, (uintptr_t)((PyDictObject *)interned)->ma_keys);
    }
    return s->failed ? -1 : _PyRefMap_BeginSweep(s);
}

static void
look_at_everything(refmap_sweep_t *s)
{
    for_each_thread(s, claim_thread);
    for_each_object(s, look_at_module);
    for_each_object(s, look_at_others);
    for_each_thread(s, look_at_thread);
    look_at_interpreters(s);
    look_at_modules(s);
}

int
_PyRefMap_Owners(const uintptr_t *addresses, size_t n, refmap_owners_t *result)
{
    PyInterpreterState *interp = _PyInterpreterState_GET();
    refmap_sweep_t *s = _PyRefMap_Malloc(sizeof(*s));
    if (s == NULL) {
        return -1;
    }
    memset(s, 0, sizeof(*s));
    s->interp = interp;
    s->map = refmap_of(interp);
    s->result = result;
    _PyRefMap_ForgetTypes(s->map);
    int res = prepare(s, addresses, n);
    if (res == 0) {
        look_at_everything(s);
        res = s->failed ? -1 : 0;
    }
    _PyRefMap_EndSweep(s);
    _PyRefMap_RawFree(s, sizeof(*s));
    return res;
}

void
_PyRefMap_ClearOwners(refmap_owners_t *result)
{
    _PyRefMap_RawFree(result->targets,
                      (result->ntargets + 1) * sizeof(*result->targets));
    _PyRefMap_RawFree(result->owners,
                      result->allocated * sizeof(*result->owners));
    memset(result, 0, sizeof(*result));
}

#endif  // Py_REFCOUNT_MAP
