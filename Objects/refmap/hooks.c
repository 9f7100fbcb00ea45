/* The hooks of the refcount map: what the rest of the interpreter does to references
   moves the total and the count of an object by the same amount. No Python object is
   created or touched here, and nothing is allocated through Python's allocators.

   A slot is *opened*, looked at, and *stored*. What does not fit into a slot, or has
   none because memory is short, is unattributed, so that the sum stays exact. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "layers.h"
#include "pycore_object.h"        // _Py_RefTotal
#include "pycore_refmap_log.h"    // _PyRefMap_logging_references
#include "pycore_refmap_record.h" // _PyRefMap_recording
#include "pycore_refmap_test.h"   // _PyRefMap_SetLastBirth()

#include <errno.h>
#include <unistd.h>               // write()

#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define FRAME __builtin_frame_address(0)


/* --- one slot --------------------------------------------------------------- */

static void
refmap_say(const char *message)
{
    (void)!write(STDERR_FILENO, message, strlen(message));
}

static void
refmap_warn_untracked(refmap_state_t *map)
{
    if (map->untracked++ == 0) {
        refmap_say("refmap: out of memory: "
                   "references are counted as unattributed\n");
    }
}

static void
refmap_warn_overflow(refmap_state_t *map, Py_ssize_t n)
{
    if (map->overflowed == 0) {
        refmap_say("refmap: more references to one object than the map can count: "
                   "some are unattributed\n");
    }
    map->overflowed += Py_ABS(n);
}

/* A slot that is to be changed. Where `block` is NULL, for lack of memory, its
   references are unattributed. */
typedef struct {
    refmap_block_t *block;
    size_t i;
    refmap_slot_t slot;         // as it was
} refmap_place_t;

/* Can this slot be changed? Where memory is short, `block` may be NULL, or be
   packed without it. */
static int
refmap_has_slot(refmap_block_t *block, size_t i)
{
    return block != NULL
           && (block->packed == NULL
               || refmap_packed_slot(block->packed, i) != NULL);
}

/* Out of line: gdb's py-refmap-break-negative stops here. */
static Py_NO_INLINE void
refmap_finding(refmap_state_t *map, uintptr_t address, Py_ssize_t count,
               refmap_type_t type, Py_ssize_t actual)
{
    map->findings[map->nfindings++ % REFMAP_FINDINGS] =
        (refmap_finding_t){address, type, count, actual};
}

/* The object in a slot was freed behind our back, by free() perhaps, as another one
   lies across it now. Its references become unattributed. */
static void
refmap_close_stale(refmap_state_t *map, refmap_place_t *place)
{
    if (place->slot.count != 0) {
        // Its true count is not known: its memory has become something else, or it
        // was initialised twice, and is not gone.
        refmap_finding(map,
                       refmap_slot_address(place->block, place->i, place->slot),
                       place->slot.count, REFMAP_TYPE_UNKNOWN, 0);
        map->unattributed += place->slot.count;
    }
    place->slot.count = 0;
    place->slot.birth = 0;
}

static Py_NO_INLINE refmap_place_t
refmap_open(refmap_state_t *map, uintptr_t address)
{
    // Nobody expects Py_INCREF() to change it.
    int saved_errno = errno;
    refmap_place_t place = {.i = refmap_slot_index(address)};
    refmap_block_t *block = _PyRefMap_WritableBlock(map, address);
    int is_odd = (address & 8) != 0;
    if (refmap_has_slot(block, place.i)) {
        place.block = block;
        place.slot = refmap_get(block, place.i);
        if (place.slot.is_odd != is_odd) {
            refmap_close_stale(map, &place);
        }
    }
    else {
        refmap_warn_untracked(map);
    }
    place.slot.is_odd = is_odd;
    errno = saved_errno;
    return place;
}

/* Store a slot. `count` and `birth` are the new ones; the count may be any number. */
static inline void
refmap_store(refmap_state_t *map, const refmap_place_t *place, Py_ssize_t count,
             uint32_t birth)
{
    if (UNLIKELY(place->block == NULL)) {
        map->unattributed += count;
        return;
    }
    Py_ssize_t fits = Py_MAX(Py_MIN(count, REFMAP_COUNT_MAX), REFMAP_COUNT_MIN);
    if (UNLIKELY(fits != count)) {
        refmap_warn_overflow(map, count - fits);
        map->unattributed += count - fits;
    }
    refmap_slot_t slot = {fits, birth, place->slot.is_odd};
    refmap_set(place->block, place->i, slot);
}

Py_ssize_t
_PyRefMap_Count(void *op)
{
    return refmap_look(refmap_current_map(), (uintptr_t)op).count;
}

uint32_t
_PyRefMap_BirthAt(uintptr_t address)
{
    return address % sizeof(void *) == 0 ? _PyRefMap_LivingBirth(address) : 0;
}


/* --- references ---------------------------------------------------------------- */

/* Is what does not say that it is the keys of a dict an object? Of what was born while memory
   was short that is not known. */
static inline int
refmap_is_object(const refmap_state_t *map, const refmap_slot_t *slot)
{
    return (slot->birth & REFMAP_BIRTH_BORN) || map->untracked == 0;
}

/* Add `n` to the total and to the count of `op`. */
static Py_NO_INLINE void
refmap_add(const void *op, Py_ssize_t n)
{
    refmap_state_t *map = refmap_current_map();
    if (map == NULL) {
        // The legacy total belongs to no interpreter; it is unattributed.
        _Py_atomic_add_ssize(&_Py_RefTotal, n);
        return;
    }
    refmap_place_t place = refmap_open(map, (uintptr_t)op);
    refmap_store(map, &place, place.slot.count + n, place.slot.birth);
    map->hot->totals[REFMAP_PART_SLOW] += n;
    if (UNLIKELY(_PyRefMap_recording)) {
        _PyRefMap_RecordChange(op, n, FRAME);
    }
    if (UNLIKELY(_PyRefMap_logging_references)
        && !(place.slot.birth & REFMAP_BIRTH_KEYS))
    {
        _PyRefMap_LogChange(refmap_is_object(map, &place.slot) ? op : NULL, n,
                            place.slot.count + n, FRAME);
    }
}

/* The hot path ended: take back what it did, and do it properly. */
static void
refmap_move_slow(const void *op, int n)
{
    uintptr_t entry = _PyRefMap_Entry(_PyRefMap_current, op);
    if (entry != 0) {
        int32_t *count = _PyRefMap_CountIn(entry, op);
        *count = (int32_t)((uint32_t)*count - (uint32_t)n);
    }
    refmap_add(op, n);
}

void
_PyRefMap_IncrefSlow(PyObject *op)
{
    refmap_move_slow(op, 1);
}

void
_PyRefMap_DecrefSlow(PyObject *op)
{
    refmap_move_slow(op, -1);
}

void
_PyRefMap_Incref(PyObject *op)
{
    if (UNLIKELY(_PyRefMap_current == NULL)) {
        refmap_add(op, 1);
    }
    else if (UNLIKELY(!_PyRefMap_TryMove(op, 1))) {
        refmap_move_slow(op, 1);
    }
}

void
_PyRefMap_Decref(PyObject *op)
{
    if (UNLIKELY(_PyRefMap_current == NULL)) {
        refmap_add(op, -1);
    }
    else if (UNLIKELY(!_PyRefMap_TryMove(op, -1))) {
        refmap_move_slow(op, -1);
    }
}

void
_PyRefMap_Add(PyThreadState *Py_UNUSED(tstate), void *op, Py_ssize_t n)
{
    refmap_add(op, n);
}

void
_PyRefMap_Unattributed(PyThreadState *Py_UNUSED(tstate), Py_ssize_t n)
{
    refmap_current_map()->unattributed += n;
}

/* Set the count of a slot; the total does not move. */
static Py_NO_INLINE void
refmap_settle(refmap_state_t *map, uintptr_t address, Py_ssize_t count)
{
    refmap_place_t place = refmap_open(map, address);
    map->unattributed += place.slot.count - count;
    refmap_store(map, &place, count, place.slot.birth);
}

void
_PyRefMap_SetMortal(PyObject *op, Py_ssize_t refcnt)
{
    refmap_settle(refmap_current_map(), (uintptr_t)op, refcnt);
}


/* --- births -------------------------------------------------------------------- */

/* `op` is born next; births on the hot path had ended before it. Out of line: gdb's
   py-refmap-break-birth stops here. */
static Py_NO_INLINE __attribute__((used)) void
refmap_birth_reached(const _PyRefMap_hot *hot, const void *op, uint32_t flags)
{
    // A compiler must not find out that nobody else needs them.
    __asm__ volatile("" : : "r" (hot), "r" (op), "r" (flags));
}

static Py_NO_INLINE void
refmap_end_births(_PyRefMap_hot *hot, const void *op, uint32_t flags)
{
    if (hot->births == REFMAP_BIRTH_LAST) {
        hot->births = REFMAP_BIRTH_BORN;
    }
    hot->births_end = REFMAP_BIRTH_LAST;
    // gdb may set it again.
    refmap_birth_reached(hot, op, flags);
}

static void
refmap_new(void *op, uint32_t flags)
{
    uintptr_t address = (uintptr_t)op;
    refmap_state_t *map = refmap_current_map();
    if (UNLIKELY(map == NULL)) {
        refmap_add(op, 1);
        return;
    }
    refmap_place_t place = refmap_open(map, address);
    if (place.block != NULL) {
        refmap_close_stale(map, &place);
    }
    _PyRefMap_hot *hot = map->hot;
    if (UNLIKELY(hot->births >= hot->births_end)) {
        refmap_end_births(hot, op, flags);
    }
    refmap_store(map, &place, 1, ++hot->births | flags);
    hot->totals[REFMAP_PART_SLOW]++;
    if (UNLIKELY(_PyRefMap_recording && flags == 0)) {
        _PyRefMap_RecordBirth(op, FRAME);
    }
}

void
_PyRefMap_New(PyObject *op)
{
    refmap_new(op, 0);
}

void
_PyRefMap_NewKeys(PyThreadState *Py_UNUSED(tstate), void *keys)
{
    if (UNLIKELY(!_PyRefMap_TryNew(keys, REFMAP_BIRTH_KEYS))) {
        refmap_new(keys, REFMAP_BIRTH_KEYS);
    }
}

void
_PyRefMap_SetLastBirth(uint32_t serial)
{
    refmap_current_map()->hot->births = REFMAP_BIRTH_BORN | serial;
}


/* --- deaths -------------------------------------------------------------------- */

/* Nothing is counted at `address` any more; `birth` is what is left of a birth. */
static Py_NO_INLINE void
refmap_close(refmap_state_t *map, uintptr_t address, uint32_t birth)
{
    refmap_place_t place = refmap_open(map, address);
    map->unattributed += place.slot.count;
    refmap_store(map, &place, 0, birth);
}

/* `frame`: whose caller runs as long as the object dies. */
static void
refmap_dealloc(PyObject *op, void *frame)
{
    if (UNLIKELY(_PyRefMap_recording)) {
        _PyRefMap_RecordDeath(op, frame);
    }
    refmap_state_t *map = refmap_current_map();
    refmap_slot_t slot = refmap_look(map, (uintptr_t)op);
    if (refmap_is_living(slot)) {
        refmap_close(map, (uintptr_t)op, refmap_dead(slot.birth));
    }
}

void
_PyRefMap_DeallocSlow(PyObject *op)
{
    refmap_dealloc(op, FRAME);
}

static Py_NO_INLINE void
refmap_last_slow(PyObject *op, void *frame)
{
    _PyRefMap_Decref(op);
    refmap_dealloc(op, frame);
}

void
_PyRefMap_Last(PyObject *op)
{
    if (UNLIKELY(!_PyRefMap_TryLast(op))) {
        refmap_last_slow(op, FRAME);
    }
}

static Py_NO_INLINE void
refmap_free_counted(refmap_state_t *map, uintptr_t address)
{
    int saved_errno = errno;
    refmap_block_t *block = _PyRefMap_Find(map, refmap_page(address));
    size_t i = refmap_slot_index(address);
    refmap_slot_t slot = refmap_get(block, i);
    refmap_copy_t copy;
    refmap_object_t object;
    _PyRefMap_ReadPage(block, &copy);
    _PyRefMap_ReadSlot(map, block, i, slot, &copy, &object);
    int is_count = object.refcnt > 0 && object.refcnt <= REFMAP_COUNT_MAX;
    refmap_finding(map, object.address, slot.count, object.type,
                   is_count ? object.refcnt : 0);
    errno = saved_errno;
}

void
_PyRefMap_FreeSlow(void *ptr)
{
    refmap_state_t *map = refmap_current_map();
    refmap_slot_t slot = refmap_look(map, (uintptr_t)ptr);
    if (slot.count != 0) {
        refmap_free_counted(map, (uintptr_t)ptr);
    }
    if (slot.count != 0 || slot.birth != 0) {
        refmap_close(map, (uintptr_t)ptr, 0);
    }
    if (UNLIKELY(_PyRefMap_recording)) {
        _PyRefMap_RecordFree(ptr);
    }
}


/* --- moves ---------------------------------------------------------------------- */

refmap_moved_t
_PyRefMap_Take(void *ptr)
{
    refmap_state_t *map = refmap_current_map();
    refmap_slot_t slot = refmap_look(map, (uintptr_t)ptr);
    if (!refmap_is_living(slot)) {
        return (refmap_moved_t){0};
    }
    refmap_place_t place = refmap_open(map, (uintptr_t)ptr);
    refmap_store(map, &place, 0, 0);
    return (refmap_moved_t){slot.count, slot.birth, ptr};
}

void
_PyRefMap_Put(void *ptr, refmap_moved_t moved)
{
    if (moved.count == 0 && moved.birth == 0) {
        return;
    }
    refmap_state_t *map = refmap_current_map();
    refmap_place_t place = refmap_open(map, (uintptr_t)ptr);
    if (place.block != NULL) {
        refmap_close_stale(map, &place);
    }
    refmap_store(map, &place, moved.count, moved.birth);
    if (UNLIKELY(_PyRefMap_recording)) {
        _PyRefMap_RecordMove(moved.from, ptr, FRAME);
    }
}


/* --- refmap's own objects ---------------------------------------------------------- */

void
_PyRefMap_Hide(PyObject *op)
{
    refmap_state_t *map = refmap_current_map();
    refmap_place_t place = refmap_open(map, (uintptr_t)op);
    uint32_t birth = place.slot.birth;
    if (place.block != NULL) {
        // Without a birth, for lack of memory, there is nothing to be marked.
        refmap_store(map, &place, place.slot.count,
                     birth != 0 ? birth | REFMAP_BIRTH_OWN : 0);
    }
}

void
_PyRefMap_Own(PyObject *op)
{
    _PyRefMap_Hide(op);
    refmap_current_map()->hot->totals[REFMAP_PART_SLOW]--;
    refmap_current_map()->own++;
}

void
_PyRefMap_Disown(PyObject *Py_UNUSED(op))
{
    refmap_current_map()->hot->totals[REFMAP_PART_SLOW]++;
    refmap_current_map()->own--;
}

#endif  // Py_REFCOUNT_MAP
