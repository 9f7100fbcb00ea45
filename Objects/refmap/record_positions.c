/* Positions: words in memory that were found to hold watched objects.

   Nobody scans pages for them: each is looked at again at every hook, until its memory
   goes. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include "pycore_pystate.h"       // _PyThreadState_GET()

#define POSITIONS 2048
/* What is in more places is an object that everybody uses: they tell nothing of one. */
#define POSITIONS_OF_ONE 64

static refmap_position_t positions[POSITIONS];
static size_t npositions, next_forgotten;

void
_PyRefMap_ClearPositions(void)
{
    npositions = 0;
    // Addresses that are left here would look like references.
    memset(positions, 0, sizeof(positions));
}

int
_PyRefMap_IsWatchedPosition(uintptr_t location)
{
    for (size_t i = 0; i < npositions; i++) {
        if (positions[i].location == location) {
            return 1;
        }
    }
    return 0;
}

void
_PyRefMap_WatchPosition(const refmap_position_t *position)
{
    size_t of_object = 0;
    for (size_t i = 0; i < npositions; i++) {
        if (positions[i].location == position->location) {
            return;
        }
        of_object += positions[i].object == position->object;
    }
    // Where memory belongs to nobody known, it may go without notice.
    if (position->base == 0 || of_object >= POSITIONS_OF_ONE) {
        return;
    }
    if (npositions < POSITIONS) {
        positions[npositions++] = *position;
    }
    else {
        // The newest tell more: one of the others is forgotten.
        positions[next_forgotten++ % POSITIONS] = *position;
    }
}

int
_PyRefMap_MayMove(const refmap_position_t *position)
{
    if (position->type == 0 || position->type == REFMAP_THREAD_STATE) {
        return 1;
    }
    const refmap_shape_t *shape = _PyRefMap_ShapeOf(position->type);
    return shape != NULL && (shape->flags & Py_TPFLAGS_INLINE_VALUES)
           && position->location >= position->base + (uintptr_t)shape->basicsize;
}

int
_PyRefMap_KnownPosition(uint32_t token, refmap_position_t *position)
{
    for (size_t i = 0; i < npositions; i++) {
        if (positions[i].token == token) {
            *position = positions[i];
            return 1;
        }
    }
    return 0;
}

void
_PyRefMap_MarkDying(uintptr_t base)
{
    for (size_t i = 0; i < npositions; i++) {
        if (positions[i].base == base) {
            positions[i].is_dying = 1;
        }
    }
}

/* What is at a position now: its object, if that can't be read any more, as another hook
   will tell that the memory is gone. */
static uintptr_t
refmap_word_at(const refmap_position_t *position)
{
    uintptr_t word;
    if (position->type == REFMAP_CUT_OFF) {
        return 0;
    }
    if (!position->is_dying) {
        return *(volatile uintptr_t *)position->location;
    }
    return _PyRefMap_Read(position->location, &word, sizeof(word)) == 0
           ? word : position->object;
}

void
_PyRefMap_PollPositions(
        void (*gone)(const refmap_position_t *, uintptr_t, void *), void *arg)
{
    // Of another thread nobody tells that its state is gone; this one's is there.
    const uintptr_t state = (uintptr_t)_PyThreadState_GET();
    for (size_t i = 0; i < npositions;) {
        if (positions[i].type == REFMAP_THREAD_STATE && positions[i].base != state) {
            i++;
            continue;
        }
        uintptr_t now = refmap_word_at(&positions[i]);
        if (now == positions[i].object) {
            i++;
            continue;
        }
        refmap_position_t position = positions[i];
        positions[i] = positions[--npositions];
        gone(&position, now, arg);
    }
}

void
_PyRefMap_ForgetBase(uintptr_t base,
        void (*gone)(const refmap_position_t *, uintptr_t, void *), void *arg)
{
    for (size_t i = 0; i < npositions;) {
        if (positions[i].base != base) {
            i++;
            continue;
        }
        // Those of one object one after the other.
        uintptr_t object = positions[i].object;
        for (size_t k = i; k < npositions;) {
            if (positions[k].base != base || positions[k].object != object) {
                k++;
                continue;
            }
            refmap_position_t position = positions[k];
            positions[k] = positions[--npositions];
            gone(&position, position.object, arg);
        }
    }
}

void
_PyRefMap_ForgetObject(uintptr_t object)
{
    for (size_t i = 0; i < npositions;) {
        if (positions[i].object == object) {
            positions[i] = positions[--npositions];
        }
        else {
            i++;
        }
    }
}

/* Where the block of memory begins in which a position lies: an object may have something
   in front of it. See _PyType_PreHeaderSize(). */
static uintptr_t
refmap_block_of(const refmap_position_t *position)
{
    const refmap_shape_t *shape = _PyRefMap_ShapeOf(position->type);
    uintptr_t header = 0;
    if (shape != NULL) {
        header += shape->flags & Py_TPFLAGS_PREHEADER ? 2 * sizeof(PyObject *) : 0;
        header += shape->flags & Py_TPFLAGS_HAVE_GC ? sizeof(PyGC_Head) : 0;
    }
    return position->base - header;
}

int
_PyRefMap_MoveBlock(uintptr_t from, uintptr_t to, size_t size)
{
    const uintptr_t most = 2 * sizeof(PyObject *) + sizeof(PyGC_Head);
    int found = 0;
    for (size_t i = 0; i < npositions; i++) {
        refmap_position_t *position = &positions[i];
        if (position->base - from > most || refmap_block_of(position) != from) {
            continue;
        }
        position->location += to - from;
        position->base += to - from;
        if (position->location + sizeof(PyObject *) > to + size) {
            position->type = REFMAP_CUT_OFF;
        }
        found = 1;
    }
    return found && from != to;
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
