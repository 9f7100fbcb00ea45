/* A sweep over memory: which words are addresses of targets, and what the words that
   are not lead to. See owners.c.

   A block of memory belongs to the object from which it is reached first. Words that
   CPython is known to borrow are left out. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "sweep.h"
#include "pycore_dict.h"          // PyDictKeysObject
#include "pycore_weakref.h"       // PyWeakReference

/* Beyond these, blocks are not looked into, and owners are counted but not listed, but
   for owners that are targets. */
#define MAX_BLOCK_BYTES ((size_t)1 << 30)
#define MAX_OWNERS_PER_TARGET 64
#define MAX_OWNERS ((size_t)200000)


/* --- tables ------------------------------------------------------------------ */

static int
make_table(refmap_sweep_t *s)
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
        size_t bit = address / ALIGNMENT % REFMAP_FILTER_BITS;
        s->filter[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    return 0;
}

static size_t
claimed_place(const refmap_sweep_t *s, uintptr_t address)
{
    size_t i = refmap_mix(address) & (s->claimed_size - 1);
    while (s->claimed[i] != 0 && s->claimed[i] != address) {
        i = (i + 1) & (s->claimed_size - 1);
    }
    return i;
}

static int
is_claimed(const refmap_sweep_t *s, uintptr_t address)
{
    return s->claimed_size != 0 && s->claimed[claimed_place(s, address)] != 0;
}

static int
grow_claimed(refmap_sweep_t *s)
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

void
_PyRefMap_Claim(refmap_sweep_t *s, uintptr_t address)
{
    if (2 * (s->nclaimed + 1) > s->claimed_size && grow_claimed(s) < 0) {
        s->failed = 1;
        return;
    }
    s->claimed[claimed_place(s, address)] = address;
    s->nclaimed++;
}


/* --- what is found ----------------------------------------------------------- */

void
_PyRefMap_BeginOwner(refmap_sweep_t *s, refmap_owner_kind_t kind,
                     uintptr_t address, PyObject *op)
{
    memset(&s->owner, 0, sizeof(s->owner));
    s->owner.kind = kind;
    s->owner.address = address;
    s->op = op;
    s->first = s->result->len;
}

/* The current owner's entry for target `index`; NULL on out of memory. */
static refmap_owner_t *
entry_for(refmap_sweep_t *s, size_t index)
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

void
_PyRefMap_NoteWord(refmap_sweep_t *s, size_t index, const refmap_path_t *path)
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

int
_PyRefMap_NoteVisit(PyObject *op, void *arg)
{
    refmap_sweep_t *s = arg;
    size_t found = refmap_find_target(s, (uintptr_t)op);
    if (found) {
        refmap_owner_t *entry = entry_for(s, found - 1);
        if (entry != NULL) {
            entry->visits++;
        }
    }
    return 0;
}

void
_PyRefMap_EndOwner(refmap_sweep_t *s)
{
    refmap_owners_t *result = s->result;
    size_t len = s->first;
    // What leaked objects have of each other is needed to tell causes.
    int is_target = refmap_find_target(s, s->owner.address) != 0;
    for (size_t i = s->first; i < result->len; i++) {
        refmap_owner_t *entry = &result->owners[i];
        refmap_target_t *target = &result->targets[entry->target];
        target->visits += entry->visits;
        target->hidden += Py_MAX(entry->words - entry->visits, 0);
        int is_listed = is_target || target->nowners < MAX_OWNERS_PER_TARGET;
        target->nowners++;
        if (is_listed && len < MAX_OWNERS) {
            result->owners[len++] = *entry;
        }
        else {
            result->left_out++;
        }
    }
    result->len = len;
}


/* --- objects and the map ----------------------------------------------------- */

static refmap_slot_t
slot_at(const refmap_sweep_t *s, uintptr_t address)
{
    refmap_slot_t nothing = {0};
    refmap_block_t *block = _PyRefMap_Find(s->map, refmap_page(address));
    return block ? refmap_get(block, refmap_slot_index(address)) : nothing;
}

/* Does an object start in a block of `size` bytes, or did one until it died? Then it is
   the memory of that object, or no block at all. */
static int
has_object(const refmap_sweep_t *s, uintptr_t start, size_t size)
{
    uintptr_t end = start + size;
    while (start < end) {
        uintptr_t next = Py_MIN(end, (start | (REFMAP_PAGE_SIZE - 1)) + 1);
        refmap_block_t *block = _PyRefMap_Find(s->map, refmap_page(start));
        for (; block != NULL && start < next; start += ALIGNMENT) {
            refmap_slot_t slot = refmap_get(block, refmap_slot_index(start));
            if ((slot.count != 0 || slot.birth != 0) && !refmap_is_keys(slot)) {
                return 1;
            }
        }
        start = next;
    }
    return 0;
}


/* --- memory ------------------------------------------------------------------ */

static void follow(refmap_sweep_t *s, uintptr_t word, const refmap_path_t *path);

/* Is it an element of a cache of functools? */
static int
is_element(uintptr_t address)
{
    PyTypeObject *type;
    char name[sizeof("functools._lru_list_elem")];
    uintptr_t at = address + offsetof(PyObject, ob_type);
    return _PyRefMap_Read(at, &type, sizeof(type)) == 0
           && _PyRefMap_Read((uintptr_t)type + offsetof(PyTypeObject, tp_name), &at,
                             sizeof(at)) == 0
           && _PyRefMap_Read(at, name, sizeof(name)) == 0
           && memcmp(name, "functools._lru_list_elem", sizeof(name)) == 0;
}

/* Is the word at `offset` of an instance known to be no reference of its own, or to be
   found elsewhere? Tables of sets have hashes, which are the addresses of what is asked
   for where somebody keeps these in a set; look_at_set() in owners.c finds the keys. */
static int
is_known(PyObject *op, Py_ssize_t offset, uintptr_t word)
{
    PyTypeObject *type = Py_TYPE(op);
    if (offset == type->tp_weaklistoffset && offset > 0) {
        return 1;
    }
    if (PyAnySet_Check(op)) {
        return offset < (Py_ssize_t)sizeof(PySetObject);
    }
    if (PyWeakref_Check(op)) {
        return offset < (Py_ssize_t)sizeof(PyWeakReference)
               && offset != offsetof(PyWeakReference, wr_callback);
    }
    if (strncmp(type->tp_name, "functools._lru_", 15) == 0) {
        // A list of elements, which begins at the wrapper: of its two links the second
        // one owns the next element. The last one leads back to the wrapper.
        const Py_ssize_t previous = sizeof(PyObject), next = previous + sizeof(void *);
        return offset == previous || (offset == next && !is_element(word));
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

void
_PyRefMap_LookAtWord(refmap_sweep_t *s, uintptr_t word, const refmap_path_t *path,
                     const refmap_extent_t *extent)
{
    size_t found = refmap_find_target(s, word);
    if (found && !_PyRefMap_IsFree(extent)
        && !(s->op != NULL && path->len == 1 && is_known(s->op, path->offsets[0], word))
        && !(s->op != NULL && path->len > 1 && has_plain_data(s->op)))
    {
        _PyRefMap_NoteWord(s, found - 1, path);
    }
    if (path->len < REFMAP_PATH_LEN) {
        follow(s, word, path);
    }
}

void
_PyRefMap_LookAtWords(refmap_sweep_t *s, const refmap_extent_t *extent,
                      Py_ssize_t offset, refmap_path_t path)
{
    uintptr_t copy[REFMAP_PAGE_SIZE / sizeof(uintptr_t)];
    Py_ssize_t *here = &path.offsets[path.len++];
    for (size_t at = 0; at < extent->size && !s->failed; at += REFMAP_PAGE_SIZE) {
        const uintptr_t *words = (const uintptr_t *)(extent->start + at);
        size_t n = Py_MIN(REFMAP_PAGE_SIZE, extent->size - at) / sizeof(*words);
        if (!extent->stays) {
            if (_PyRefMap_Read(extent->start + at, copy, n * sizeof(*words)) < 0) {
                return;
            }
            words = copy;
        }
        for (size_t i = 0; i < n; i++) {
            *here = offset + (Py_ssize_t)(at + i * sizeof(*words));
            if (words[i] >= REFMAP_PAGE_SIZE) {
                _PyRefMap_LookAtWord(s, words[i], &path, extent);
            }
        }
    }
}

/* Only what is in use of a table of a dict, and no hashes: those of integers are the
   addresses of what is asked for where somebody has a dict of these. */
static void
look_at_keys(refmap_sweep_t *s, PyDictKeysObject *keys, refmap_path_t path)
{
    const refmap_extent_t nowhere = {0};
    int is_unicode = DK_IS_UNICODE(keys);
    path.len++;
    for (Py_ssize_t i = 0; i < keys->dk_nentries; i++) {
        PyObject **key = is_unicode ? &DK_UNICODE_ENTRIES(keys)[i].me_key
                                    : &DK_ENTRIES(keys)[i].me_key;
        // The value is next to the key.
        for (int k = 0; k < 2; k++) {
            path.offsets[path.len - 1] = (char *)&key[k] - (char *)keys;
            if (key[k] != NULL) {
                _PyRefMap_LookAtWord(s, (uintptr_t)key[k], &path, &nowhere);
            }
        }
    }
}

/* May a block start there? This is quick, and right if it says no. */
static int
is_candidate(const refmap_sweep_t *s, uintptr_t word)
{
    if (word % ALIGNMENT != 0 || word >> 47 != 0
        // A type has pointers to other parts of it.
        || (s->op != NULL && word - (uintptr_t)s->op
                             < (uintptr_t)Py_TYPE(s->op)->tp_basicsize))
    {
        return 0;
    }
    refmap_slot_t slot = slot_at(s, word);
    return (!refmap_is_living(slot) || refmap_is_keys(slot))
           && !is_claimed(s, word)
           && (s->writable.len == 0 || _PyRefMap_InSegment(&s->writable, word))
           && !_PyRefMap_InSegment(&s->segments, word);
}

/* Does a path lead to the items of a list? Behind them is what it gave up. */
static int
leads_to_items(const refmap_sweep_t *s, const refmap_path_t *path)
{
    return s->op != NULL && PyList_Check(s->op) && path->len == 1
           && path->offsets[0] == offsetof(PyListObject, ob_item);
}

/* If `word` leads to a block that no object lives in, look into it. */
static void
follow(refmap_sweep_t *s, uintptr_t word, const refmap_path_t *path)
{
    refmap_extent_t extent;
    if (!is_candidate(s, word)) {
        return;
    }
    // What is no block is asked about once, too.
    _PyRefMap_Claim(s, word);
    if (refmap_is_keys(slot_at(s, word))) {
        look_at_keys(s, (PyDictKeysObject *)word, *path);
        return;
    }
    if (s->op != NULL && path->len == 1 && is_known(s->op, path->offsets[0], word)) {
        return;
    }
    if (!_PyRefMap_BlockAt(s->interp, word, &extent)
        || has_object(s, word, extent.size))
    {
        return;
    }
    if (s->block_bytes + extent.size > MAX_BLOCK_BYTES) {
        s->result->skipped++;
        return;
    }
    s->block_bytes += extent.size;
    if (leads_to_items(s, path)) {
        size_t in_use = (size_t)Py_SIZE(s->op) * sizeof(PyObject *);
        extent.size = Py_MIN(extent.size, in_use);
    }
    _PyRefMap_LookAtWords(s, &extent, 0, *path);
}


/* --- the whole --------------------------------------------------------------- */

int
_PyRefMap_BeginSweep(refmap_sweep_t *s)
{
    return make_table(s) < 0 || _PyRefMap_Segments(&s->segments) < 0
           || _PyRefMap_WritableMemory(&s->writable) < 0 ? -1 : 0;
}

void
_PyRefMap_EndSweep(refmap_sweep_t *s)
{
    _PyRefMap_RawFree(s->table, s->table_size * sizeof(*s->table));
    _PyRefMap_RawFree(s->entries,
                      (s->result->ntargets + 1) * sizeof(*s->entries));
    _PyRefMap_RawFree(s->claimed, s->claimed_size * sizeof(*s->claimed));
    _PyRefMap_ClearSegments(&s->segments);
    _PyRefMap_ClearSegments(&s->writable);
}

#endif  // Py_REFCOUNT_MAP
