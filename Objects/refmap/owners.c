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

#include "layers.h"
#include "pycore_dict.h"          // PyDictValues
#include "pycore_frame.h"         // _PyInterpreterFrame
#include "pycore_gc.h"            // _PyObject_GC_IS_TRACKED()
#include "pycore_moduleobject.h"  // PyModuleObject
#include "pycore_object.h"        // _PyObject_IS_GC()
#include "pycore_pystate.h"       // HEAD_LOCK()
#include "pycore_runtime.h"       // _PyRuntime
#include "pycore_weakref.h"       // PyWeakReference

/* So much memory is copied at once. */
#define PIECE 4096
/* Beyond these, blocks are not looked into, and owners are counted but not listed. */
#define MAX_BLOCK_BYTES ((size_t)1 << 30)
#define MAX_OWNERS_PER_TARGET 64
#define MAX_OWNERS ((size_t)200000)
#define FILTER_BITS ((size_t)1 << 18)

typedef struct {
    PyInterpreterState *interp;
    refmap_state_t *map;
    refmap_owners_t *result;
    int failed;                 // out of memory

    // The targets by address: an open hash table, at most half full.
    struct {
        uintptr_t address;
        size_t index;           // from 1; 0: free
    } *table;
    size_t table_size;          // a power of two
    // Bit n % FILTER_BITS for each target at n * ALIGNMENT: few words pass.
    uint64_t filter[FILTER_BITS / 64];
    // Where the current owner's entry for a target is, if it has one.
    size_t *entries;

    // Blocks that have an owner: an open hash table, at most half full; 0: free.
    uintptr_t *claimed;
    size_t claimed_size, nclaimed;
    size_t block_bytes;
    refmap_segments_t segments;

    // Of the owner that is looked at now.
    refmap_owner_t owner;
    PyObject *op;               // NULL: it is no object
    size_t first;               // its entries start here in result->owners
    int max_depth;
} sweep_t;


/* --- tables -------------------------------------------------------------------- */

/* 1 + the index of the target at `address`, or 0. */
static inline size_t
find_target(const sweep_t *s, uintptr_t address)
{
    size_t bit = address / ALIGNMENT % FILTER_BITS;
    if (!(s->filter[bit / 64] >> bit % 64 & 1)) {
        return 0;
    }
    size_t i = refmap_mix(address) & (s->table_size - 1);
    while (s->table[i].index != 0 && s->table[i].address != address) {
        i = (i + 1) & (s->table_size - 1);
    }
    return s->table[i].index;
}

static int
make_table(sweep_t *s)
{
    refmap_owners_t *result = s->result;
    s->table_size = 16;
    while (s->table_size < 2 * result->ntargets) {
        s->table_size *= 2;
    }
    s->table = _PyRefMap_Malloc(s->table_size * sizeof(*s->table));
    s->entries = _PyRefMap_Malloc((result->ntargets + 1) * sizeof(*s->entries));
    if (s->table == NULL || s->entries == NULL) {
        return -1;
    }
    memset(s->table, 0, s->table_size * sizeof(*s->table));
    memset(s->entries, 0, (result->ntargets + 1) * sizeof(*s->entries));
    for (size_t k = 0; k < result->ntargets; k++) {
        uintptr_t address = result->targets[k].address;
        size_t i = refmap_mix(address) & (s->table_size - 1);
        while (s->table[i].index != 0 && s->table[i].address != address) {
            i = (i + 1) & (s->table_size - 1);
        }
        s->table[i].address = address;
        s->table[i].index = k + 1;
        size_t bit = address / ALIGNMENT % FILTER_BITS;
        s->filter[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    return 0;
}

static size_t
claimed_place(const sweep_t *s, uintptr_t address)
{
    size_t i = refmap_mix(address) & (s->claimed_size - 1);
    while (s->claimed[i] != 0 && s->claimed[i] != address) {
        i = (i + 1) & (s->claimed_size - 1);
    }
    return i;
}

static int
is_claimed(const sweep_t *s, uintptr_t address)
{
    return s->claimed_size != 0 && s->claimed[claimed_place(s, address)] != 0;
}

static int
grow_claimed(sweep_t *s)
{
    uintptr_t *old = s->claimed;
    size_t old_size = s->claimed_size;
    size_t size = old_size ? 2 * old_size : 4096;
    uintptr_t *claimed = _PyRefMap_Malloc(size * sizeof(*claimed));
    if (claimed == NULL) {
        return -1;
    }
    memset(claimed, 0, size * sizeof(*claimed));
    s->claimed = claimed;
    s->claimed_size = size;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i] != 0) {
            s->claimed[claimed_place(s, old[i])] = old[i];
        }
    }
    _PyRefMap_RawFree(old, old_size * sizeof(*old));
    return 0;
}

/* Nobody is to look into the block at `address` any more. */
static void
claim(sweep_t *s, uintptr_t address)
{
    if (2 * (s->nclaimed + 1) > s->claimed_size && grow_claimed(s) < 0) {
        s->failed = 1;
        return;
    }
    s->claimed[claimed_place(s, address)] = address;
    s->nclaimed++;
}


/* --- what is found ----------------------------------------------------------------- */

static void
begin_owner(sweep_t *s, refmap_owner_kind_t kind, uintptr_t address, PyObject *op)
{
    memset(&s->owner, 0, sizeof(s->owner));
    s->owner.kind = kind;
    s->owner.address = address;
    s->op = op;
    s->first = s->result->len;
}

/* The current owner's entry for target `index`; NULL on out of memory. */
static refmap_owner_t *
entry_for(sweep_t *s, size_t index)
{
    refmap_owners_t *result = s->result;
    size_t i = s->entries[index];
    if (i >= s->first && i < result->len && result->owners[i].target == index) {
        return &result->owners[i];
    }
    if (_PyRefMap_Grow(&result->owners, &result->allocated, result->len + 1,
                       sizeof(*result->owners)) < 0)
    {
        s->failed = 1;
        return NULL;
    }
    s->entries[index] = result->len;
    refmap_owner_t *entry = &result->owners[result->len++];
    *entry = s->owner;
    entry->target = index;
    return entry;
}

static void
note_word(sweep_t *s, size_t index, const refmap_path_t *path)
{
    refmap_owner_t *entry = entry_for(s, index);
    if (entry == NULL) {
        return;
    }
    entry->words++;
    if (entry->npaths < REFMAP_OWNER_PATHS) {
        entry->paths[entry->npaths++] = *path;
    }
}

static int
note_visit(PyObject *op, void *arg)
{
    sweep_t *s = arg;
    size_t found = find_target(s, (uintptr_t)op);
    if (found) {
        refmap_owner_t *entry = entry_for(s, found - 1);
        if (entry != NULL) {
            entry->visits++;
        }
    }
    return 0;
}

/* Add up what the owner has, and keep as many entries as the bounds allow. */
static void
end_owner(sweep_t *s)
{
    refmap_owners_t *result = s->result;
    size_t len = s->first;
    for (size_t i = s->first; i < result->len; i++) {
        refmap_owner_t *entry = &result->owners[i];
        refmap_target_t *target = &result->targets[entry->target];
        target->visits += entry->visits;
        target->hidden += Py_MAX(entry->words - entry->visits, 0);
        if (target->nowners++ < MAX_OWNERS_PER_TARGET && len < MAX_OWNERS) {
            result->owners[len++] = *entry;
        }
        else {
            result->left_out++;
        }
    }
    result->len = len;
}


/* --- objects and the map ------------------------------------------------------------ */

static refmap_slot_t
slot_at(const sweep_t *s, uintptr_t address)
{
    refmap_slot_t nothing = {0};
    refmap_block_t *block = _PyRefMap_Find(s->map, refmap_page(address));
    return block ? refmap_get(block, refmap_slot_index(address)) : nothing;
}

static int
is_keys(refmap_slot_t slot)
{
    return (slot.birth & REFMAP_BIRTH_KEYS) != 0;
}

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

/* Does an object start in a block of `size` bytes, behind what precedes an object, or
   did one until it died? */
static int
has_object(const sweep_t *s, uintptr_t start, size_t size)
{
    for (size_t offset = 0; offset < Py_MIN(size, 64); offset += ALIGNMENT) {
        refmap_slot_t slot = slot_at(s, start + offset);
        if ((slot.count != 0 || slot.birth != 0) && !is_keys(slot)) {
            return 1;
        }
    }
    return 0;
}


/* --- memory -------------------------------------------------------------------------- */

static void follow(sweep_t *s, uintptr_t word, const refmap_path_t *path);

/* Is the word at `offset` of an instance known to be no reference of its own? */
static int
is_borrowed(PyObject *op, Py_ssize_t offset)
{
    PyTypeObject *type = Py_TYPE(op);
    if (offset == type->tp_weaklistoffset && offset > 0) {
        return 1;
    }
    if (PyWeakref_Check(op)) {
        return offset < (Py_ssize_t)sizeof(PyWeakReference)
               && offset != offsetof(PyWeakReference, wr_callback);
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_TYPE_SUBCLASS)) {
        return offset == offsetof(PyHeapTypeObject, _spec_cache.getitem)
               || offset == offsetof(PyHeapTypeObject, _spec_cache.init);
    }
    return 0;
}

/* Do the object's blocks have bytes that anybody may have put there? */
static int
has_plain_data(PyObject *op)
{
    return PyByteArray_Check(op)
           || strcmp(Py_TYPE(op)->tp_name, "array.array") == 0;
}

static void
look_at_word(sweep_t *s, uintptr_t word, const refmap_path_t *path,
             const refmap_extent_t *extent)
{
    size_t found = find_target(s, word);
    if (found && !_PyRefMap_IsFree(extent)
        && !(s->op != NULL && path->len == 1 && is_borrowed(s->op, path->offsets[0]))
        && !(s->op != NULL && path->len > 1 && has_plain_data(s->op)))
    {
        note_word(s, found - 1, path);
    }
    if (path->len < s->max_depth) {
        follow(s, word, path);
    }
}

/* Look at the words of `extent`, which lies at `offset` from where `path` leads. */
static void
look_at_words(sweep_t *s, const refmap_extent_t *extent, Py_ssize_t offset,
              refmap_path_t path)
{
    uintptr_t copy[PIECE / sizeof(uintptr_t)];
    Py_ssize_t *here = &path.offsets[path.len++];
    for (size_t at = 0; at < extent->size && !s->failed; at += PIECE) {
        const uintptr_t *words = (const uintptr_t *)(extent->start + at);
        size_t n = Py_MIN(PIECE, extent->size - at) / sizeof(*words);
        if (!extent->stays) {
            if (_PyRefMap_Read(extent->start + at, copy, n * sizeof(*words)) < 0) {
                return;
            }
            words = copy;
        }
        for (size_t i = 0; i < n; i++) {
            *here = offset + (Py_ssize_t)(at + i * sizeof(*words));
            if (words[i] >= REFMAP_PAGE_SIZE) {
                look_at_word(s, words[i], &path, extent);
            }
        }
    }
}

/* If `word` leads to a block that no object lives in, look into it. */
static void
follow(sweep_t *s, uintptr_t word, const refmap_path_t *path)
{
    refmap_extent_t extent;
    if (word % ALIGNMENT != 0 || word >> 47 != 0
        || (refmap_is_living(slot_at(s, word)) && !is_keys(slot_at(s, word)))
        || is_claimed(s, word) || _PyRefMap_InSegment(&s->segments, word)
        || !_PyRefMap_BlockAt(s->interp, word, &extent)
        || has_object(s, word, extent.size))
    {
        return;
    }
    claim(s, word);
    if (s->block_bytes + extent.size > MAX_BLOCK_BYTES) {
        s->result->skipped++;
        return;
    }
    s->block_bytes += extent.size;
    look_at_words(s, &extent, 0, *path);
}


/* --- instances ------------------------------------------------------------------------- */

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
instance_size(const sweep_t *s, PyObject *op)
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
look_at_part(sweep_t *s, Py_ssize_t offset, size_t size)
{
    refmap_extent_t extent = {(uintptr_t)s->op + (uintptr_t)offset, size, NULL, 1};
    refmap_path_t path = {0};
    look_at_words(s, &extent, offset, path);
}

static void
look_at_dict_values(sweep_t *s, PyDictObject *dict)
{
    PyDictValues *values = dict->ma_values;
    if (values != NULL && !values->embedded) {
        refmap_extent_t extent = {(uintptr_t)values->values,
                                  values->capacity * sizeof(PyObject *), NULL, 1};
        refmap_path_t path = {1, {offsetof(PyDictObject, ma_values)}};
        look_at_words(s, &extent, 0, path);
    }
}

static void
look_at_instance(sweep_t *s, PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    size_t found = find_target(s, (uintptr_t)type);
    if (found && PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        refmap_path_t path = {1, {offsetof(PyObject, ob_type)}};
        note_word(s, found - 1, &path);
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
look_at_object(sweep_t *s, PyObject *op)
{
    begin_owner(s, REFMAP_OWNER_OBJECT, (uintptr_t)op, op);
    s->owner.type = (uintptr_t)Py_TYPE(op);
    s->owner.flags = object_flags(op);
    traverseproc traverse = Py_TYPE(op)->tp_traverse;
    if ((s->owner.flags & REFMAP_OBJECT_GC) && traverse != NULL) {
        (void)traverse(op, note_visit, s);
    }
    look_at_instance(s, op);
    end_owner(s);
}

/* A module's state is what other objects may have pointers to, too. */
static void
look_at_module(sweep_t *s, PyObject *op)
{
    if (PyModule_Check(op)) {
        look_at_object(s, op);
    }
}

static void
look_at_others(sweep_t *s, PyObject *op)
{
    // Its references are not counted; see patches/*/0170-interned-strings.patch.
    if (!PyModule_Check(op)
        && op != s->interp->cached_objects.interned_strings)
    {
        look_at_object(s, op);
    }
}

static void
for_each_in_block(sweep_t *s, refmap_block_t *block,
                  void (*look)(sweep_t *, PyObject *))
{
    refmap_words_t words[REFMAP_SLOTS];
    refmap_copy_t copy;
    int copied = 0;
    // A tp_traverse that counts references may have the block replaced.
    const refmap_block_t here = *block;
    refmap_get_all(block, words);
    for (size_t i = 0; i < REFMAP_SLOTS && !s->failed; i++) {
        refmap_slot_t slot = refmap_decode(words[i]);
        if (!refmap_is_living(slot) || is_keys(slot)) {
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
for_each_object(sweep_t *s, void (*look)(sweep_t *, PyObject *))
{
    for (size_t i = 0; i < s->map->len && !s->failed; i++) {
        if (s->map->blocks[i] != NULL) {
            for_each_in_block(s, s->map->blocks[i], look);
        }
    }
}


/* --- threads ------------------------------------------------------------------------------ */

static void
visit_word(sweep_t *s, PyObject *op, Py_ssize_t offset)
{
    size_t found = op != NULL ? find_target(s, (uintptr_t)op) : 0;
    if (found) {
        refmap_path_t path = {1, {offset}};
        note_word(s, found - 1, &path);
        (void)note_visit(op, s);
    }
}

/* A frame that runs: nobody visits its locals. What it has on its stack is known only
   where it called a Python function. */
static void
look_at_frame(sweep_t *s, _PyInterpreterFrame *frame)
{
    PyObject *executable = frame->f_executable;
    if (frame->owner == FRAME_OWNED_BY_CSTACK || executable == NULL
        || !PyCode_Check(executable))
    {
        return;
    }
    begin_owner(s, REFMAP_OWNER_THREAD, (uintptr_t)executable, NULL);
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
    end_owner(s);
}

static void
look_at_thread(sweep_t *s, PyThreadState *tstate)
{
    PyObject *const others[] = {
        tstate->dict, tstate->context, tstate->current_exception,
        tstate->exc_state.exc_value, tstate->async_exc, tstate->c_profileobj,
        tstate->c_traceobj, tstate->async_gen_firstiter,
        tstate->async_gen_finalizer, tstate->delete_later,
        tstate->threading_local_key, tstate->threading_local_sentinel};
    begin_owner(s, REFMAP_OWNER_THREAD, 0, NULL);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(others); i++) {
        visit_word(s, others[i], -1);
    }
    end_owner(s);
    for (_PyInterpreterFrame *frame = tstate->current_frame; frame != NULL;
         frame = frame->previous)
    {
        look_at_frame(s, frame);
    }
}

/* Threads that do not run wait for the GIL, or run code that knows no object. */
static void
look_at_threads(sweep_t *s)
{
    HEAD_LOCK(&_PyRuntime);
    for (PyInterpreterState *interp = _PyRuntime.interpreters.head; interp != NULL;
         interp = interp->next)
    {
        for (PyThreadState *tstate = interp->threads.head;
             tstate != NULL && refmap_of(interp) == s->map; tstate = tstate->next)
        {
            look_at_thread(s, tstate);
        }
    }
    HEAD_UNLOCK(&_PyRuntime);
}


/* --- static data --------------------------------------------------------------------------- */

/* Parts of the interpreter's own data: caches of borrowed references, lists of free
   objects, and a thread, which look_at_threads() knows. */
static int
is_left_out(uintptr_t address)
{
    const PyInterpreterState *interp = &_PyRuntime._main_interpreter;
#define IS_IN(part) (address - (uintptr_t)&interp->part < sizeof(interp->part))
    return IS_IN(types.type_cache) || IS_IN(func_state) || IS_IN(object_state)
           || IS_IN(_initial_thread) || IS_IN(gc);
#undef IS_IN
}

static void
look_at_static_word(sweep_t *s, uintptr_t word, uintptr_t address)
{
    refmap_extent_t nowhere = {0};
    refmap_path_t path = {1, {0}};
    int is_ours = address - (uintptr_t)&_PyRuntime < sizeof(_PyRuntime);
    if (is_ours && is_left_out(address)) {
        return;
    }
    // The interpreter's pointers lead to its threads.
    s->max_depth = is_ours ? 1 : 2;
    begin_owner(s, REFMAP_OWNER_STATIC, address, NULL);
    look_at_word(s, word, &path, &nowhere);
    end_owner(s);
}

static void
look_at_segment(sweep_t *s, const refmap_segment_t *segment)
{
    uintptr_t words[PIECE / sizeof(uintptr_t)];
    uintptr_t start = _Py_SIZE_ROUND_UP(segment->start, sizeof(*words));
    for (uintptr_t at = start; at < segment->end && !s->failed; at += PIECE) {
        size_t n = Py_MIN(PIECE, segment->end - at) / sizeof(*words);
        if (_PyRefMap_Read(at, words, n * sizeof(*words)) < 0) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            if (words[i] >= REFMAP_PAGE_SIZE) {
                look_at_static_word(s, words[i], at + i * sizeof(*words));
            }
        }
    }
}


/* --- the whole ------------------------------------------------------------------------------- */

static void
describe_target(const sweep_t *s, refmap_target_t *target)
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
    if (is_keys(slot)) {
        target->flags = REFMAP_OBJECT_ALIVE | REFMAP_OBJECT_KEYS;
        return;
    }
    PyObject *op = (PyObject *)target->address;
    target->type = (uintptr_t)Py_TYPE(op);
    target->flags = object_flags(op);
}

static int
prepare(sweep_t *s, const uintptr_t *addresses, size_t n)
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
        claim(s, (uintptr_t)((PyDictObject *)interned)->ma_keys);
    }
    return s->failed || make_table(s) < 0
           || _PyRefMap_Segments(&s->segments) < 0 ? -1 : 0;
}

static void
finish(sweep_t *s)
{
    _PyRefMap_RawFree(s->table, s->table_size * sizeof(*s->table));
    _PyRefMap_RawFree(s->entries,
                      (s->result->ntargets + 1) * sizeof(*s->entries));
    _PyRefMap_RawFree(s->claimed, s->claimed_size * sizeof(*s->claimed));
    _PyRefMap_ClearSegments(&s->segments);
}

static void
look_at_everything(sweep_t *s)
{
    s->max_depth = REFMAP_PATH_LEN;
    for_each_object(s, look_at_module);
    for_each_object(s, look_at_others);
    look_at_threads(s);
    for (size_t i = 0; i < s->segments.len; i++) {
        if (s->segments.items[i].writable) {
            look_at_segment(s, &s->segments.items[i]);
        }
    }
}

int
_PyRefMap_Owners(const uintptr_t *addresses, size_t n, refmap_owners_t *result)
{
    PyInterpreterState *interp = _PyInterpreterState_GET();
    sweep_t *s = _PyRefMap_Malloc(sizeof(*s));
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
    finish(s);
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
