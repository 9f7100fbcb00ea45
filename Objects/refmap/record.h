/* The recorder: what happens to the references of watched objects, with the C stack,
   until it is stopped.  Shared by record*.c only; who else wants a recording reads
   pycore_refmap_record.h, which also tells its format.

   While it is on, the lookaside of each map is bypassed, so that every hook takes
   the slow path, where one test of _PyRefMap_recording finds the recorder.

   An *activation* is one call of a C function; its *slot* is the address of the word
   that holds its return address.  A *token* is one reference of a watched object.  Its
   holder is an activation at first; when that returns, the token goes to the caller if
   the object is returned, to the activation on whose part of the stack a word came to
   hold the object, or to a *place* in memory. */
#ifndef Py_REFMAP_RECORD_H
#define Py_REFMAP_RECORD_H

#include "stacks.h"

#ifdef REFMAP_RECORDS

/* Frames of a record. Of 45 real leaks the guilty function was at most 17 deep. */
#define REFMAP_DEPTH 32
/* _Py_Dealloc() within _Py_Dealloc(): CPython's trashcan allows 50. */
#define REFMAP_DEATHS 64

/* An object whose _Py_Dealloc() runs. */
typedef struct {
    uintptr_t address;
    uintptr_t type;
    uint64_t birth;
    refmap_frame_t frame;       // in _Py_Dealloc()
} refmap_death_t;

/* An activation whose return address was exchanged. */
typedef struct {
    uintptr_t slot;
    uint32_t first;             // token, linked by .next_of_holder
    uint32_t ntokens;
} refmap_activation_t;

/* What the recorder keeps of a thread. Touched by that thread only. */
typedef struct _refmap_thread refmap_thread_t;
struct _refmap_thread {
    unsigned number;
    int busy;                   // in the recorder: what it does is not recorded
    uint64_t recording;         // the one that the rest belongs to
    refmap_stack_t stack;
    // The hook before this one.
    refmap_frame_t last[REFMAP_DEPTH];
    int nlast;
    uintptr_t last_object;
    refmap_death_t deaths[REFMAP_DEATHS];   // innermost last
    int ndeaths;
    refmap_activation_t *activations;       // innermost last
    size_t nactivations;
    size_t activations_allocated;
};

typedef struct {
    uintptr_t object;           // 0: it died
    int is_spent;               // given back: nobody asks where it is
    uint32_t next_of_object;
    uint32_t next_of_holder;
    uint32_t nolder;
    uintptr_t older[6];         // stack words that held the object before
} refmap_token_t;

/* --- record_mirror.c: the trampoline ------------------------------------------------ */

/* Reserve the memory that the trampoline needs; return -1 if that can't be had.
   `on_return` is called with the slot and the value when a function returns, and returns
   the real return address. */
extern int _PyRefMap_StartReturns(uintptr_t (*on_return)(uintptr_t slot,
                                                         uintptr_t value));
/* Exchange a return address. Return -1 where that can't be done. */
extern int _PyRefMap_Exchange(uintptr_t slot);
/* The real return address of a slot that is being left; the process ends if there is
   none. */
extern uintptr_t _PyRefMap_TakeReturn(uintptr_t slot);
/* The slot was left in another way. */
extern void _PyRefMap_ForgetReturn(uintptr_t slot);

/* --- record_return.c: what functions return ------------------------------------------ */

/* Exchange the return addresses of these frames, as far as memory allows. */
extern void _PyRefMap_ExchangeReturns(refmap_thread_t *thread,
                                      const refmap_frame_t *frames, int n);
/* Forget the activations that were left without a return, by longjmp() for example. `sp`:
   all below it is free. What they held is given to `abandon`. */
extern void _PyRefMap_PruneActivations(refmap_thread_t *thread, uintptr_t sp,
        void (*abandon)(refmap_thread_t *, refmap_activation_t));
/* For those of whom nothing more is to be said. */
extern void _PyRefMap_DropActivation(refmap_thread_t *thread,
                                     refmap_activation_t activation);
/* The activation at `slot`, borrowed, or NULL. */
extern refmap_activation_t *_PyRefMap_FindActivation(refmap_thread_t *thread,
                                                     uintptr_t slot);

/* --- record_tape.c: the records ------------------------------------------------------- */

struct _refmap_tape {
    uint64_t *words;
    size_t used, allocated;     // in words
    // What did not fit.
    uint64_t lost_records, lost_tokens, lost_memory;
};
extern struct _refmap_tape _PyRefMap_tape;

/* An empty tape for `limit` bytes. Return -1 on out of memory. */
extern int _PyRefMap_StartTape(size_t limit);
extern void _PyRefMap_ClearTape(void);
/* Room for a record of `nwords` words, the first of which is filled in; NULL: there is
   no room, which is counted. */
extern uint64_t *_PyRefMap_TapeRecord(int kind, int nframes, unsigned thread,
                                      size_t nwords);
extern uint64_t *_PyRefMap_TapeFrames(uint64_t *word,
                                      const refmap_frame_t *frames, int n);
/* The Python code that runs, and its line: (index << 32) | line, or 0. */
extern uint64_t _PyRefMap_TapeCode(void);
/* Record a type, its bases, too, if that was not done yet. NULL is allowed. */
extern void _PyRefMap_TapeType(PyTypeObject *type);
/* The record whose second word has this index is none any more. */
extern void _PyRefMap_TapeErase(size_t index);
/* Record which code is mapped where, and what was lost. */
extern void _PyRefMap_TapeEnd(void);

/* --- record_shapes.c: what objects look like ---------------------------------------------- */

/* Does an object, or a table of dict keys, live there? */
static inline int
refmap_lives_at(uintptr_t address)
{
    return (address & 7) == 0
           && refmap_is_living(refmap_look(refmap_current_map(), address));
}

/* If so, is it a table of dict keys? */
static inline int
refmap_is_keys_at(uintptr_t address)
{
    return (refmap_look(refmap_current_map(), address).birth & REFMAP_BIRTH_KEYS) != 0;
}

/* What is of interest of a type. One that was freed and made anew at its address may be
   taken for the old one: its objects are read with the wrong size, but carefully. */
typedef struct {
    Py_ssize_t basicsize, itemsize;
    unsigned long flags;
    int is_module;
} refmap_shape_t;

/* The shape of a type's objects, borrowed until the next call; NULL if it can't be
   read. */
extern const refmap_shape_t *_PyRefMap_ShapeOf(uintptr_t type);
/* Bytes of an instance, inline values included. `head`: a copy of how it begins. */
extern size_t _PyRefMap_InstanceSize(uintptr_t address, const PyVarObject *head,
                                     const refmap_shape_t *shape);
/* Bytes of a table of dict keys; 0 if it can't be read, or is none. */
extern size_t _PyRefMap_KeysSize(uintptr_t keys);
extern void _PyRefMap_ClearShapes(void);

/* --- record_young.c: young memory --------------------------------------------------------- */

typedef struct {
    uintptr_t start;
    size_t size;                // 0: it is gone
} refmap_region_t;

/* The newest pieces of memory: a ring. */
#define REFMAP_REGIONS 2048
struct _refmap_young {
    refmap_region_t regions[REFMAP_REGIONS];
    size_t next;                // how many there were
};
extern struct _refmap_young _PyRefMap_young;

static inline size_t
refmap_nregions(void)
{
    return Py_MIN(_PyRefMap_young.next, REFMAP_REGIONS);
}

/* They are numbered from the newest one, 0, back. */
static inline const refmap_region_t *
refmap_region(size_t i)
{
    return &_PyRefMap_young.regions[(_PyRefMap_young.next - 1 - i) % REFMAP_REGIONS];
}

/* A block was allocated, or is freed or moved: what was in it then is gone, the object
   of which only the birth told, too. */
extern void _PyRefMap_AddRegion(uintptr_t start, size_t size);
extern void _PyRefMap_RemoveBlockRegion(uintptr_t start);
/* The object was born, or died; its memory may be from a free list. */
extern void _PyRefMap_AddObjectRegion(uintptr_t address);
extern void _PyRefMap_RemoveObjectRegion(uintptr_t address);
/* The object in a block of memory, and its type, 0 of a table of dict keys; or the block
   itself, and 0. */
extern uintptr_t _PyRefMap_BaseOf(uintptr_t start, uintptr_t *type);
extern void _PyRefMap_ClearYoung(void);

/* --- record_positions.c: positions that are watched --------------------------------------- */

/* A word in memory that holds a watched object. */
typedef struct {
    uintptr_t location;
    uintptr_t object;
    uintptr_t base;             // object or block that it lies in; 0: unknown
    uintptr_t type;             // of an object; 0; REFMAP_THREAD_STATE; REFMAP_CUT_OFF
    uint32_t token;
    uint32_t is_dying;          // the base dies: its memory may go at any time
} refmap_position_t;

/* In the place of the type of a base: the position is no more, as its block has become
   smaller. */
#define REFMAP_CUT_OFF ((uintptr_t)2)

/* Watch a position from now on. */
extern void _PyRefMap_WatchPosition(const refmap_position_t *position);
extern int _PyRefMap_IsWatchedPosition(uintptr_t location);
/* May a reference be elsewhere when the base of its position is gone? */
extern int _PyRefMap_MayMove(const refmap_position_t *position);
/* The position that was found for a token: 1 if there is one. */
extern int _PyRefMap_KnownPosition(uint32_t token, refmap_position_t *position);
/* Call `gone` for each position that holds its object no more, and forget it. */
extern void _PyRefMap_PollPositions(
        void (*gone)(const refmap_position_t *, uintptr_t now, void *),
        void *arg);
/* Forget the positions in `base`; call `gone` for those that still hold theirs, for those
   of one object one after the other. */
extern void _PyRefMap_ForgetBase(uintptr_t base,
        void (*gone)(const refmap_position_t *, uintptr_t now, void *),
        void *arg);
/* An object begins to die. */
extern void _PyRefMap_MarkDying(uintptr_t base);
/* `object` died, or moved. */
extern void _PyRefMap_ForgetObject(uintptr_t object);
/* realloc() moved a block, which may not be looked at any more, or made it larger or
   smaller. Return whether it is elsewhere, and has positions. */
extern int _PyRefMap_MoveBlock(uintptr_t from, uintptr_t to, size_t size);
extern void _PyRefMap_ClearPositions(void);

/* --- record_places.c: places in memory --------------------------------------------------- */

#define REFMAP_FOUND 8          // positions at most, of one search

/* What was done by searches of this recording; a unit is about a nanosecond. */
extern uint64_t _PyRefMap_search_work;

/* Begin, or end: no memory is young, and no position is watched. */
extern int _PyRefMap_StartPlaces(void);
extern void _PyRefMap_StopPlaces(void);
/* Where to search: in young memory and the thread's state, then in objects that the stack
   leads to, then everywhere. */
typedef enum {
    REFMAP_NOTHING, REFMAP_YOUNG, REFMAP_REACHABLE, REFMAP_EVERYWHERE
} refmap_reach_t;

/* Search words that hold `object` and are not known yet, as far as `reach` says; the stack
   is that from `sp` on. Return how many were found, -1 if none was and everywhere was
   searched too often before. */
extern int _PyRefMap_SearchPlaces(const refmap_thread_t *thread, uintptr_t object,
                                  uintptr_t sp, refmap_reach_t reach,
                                  refmap_position_t found[REFMAP_FOUND]);
/* The same, in young memory only. */
extern int _PyRefMap_SearchYoung(uintptr_t object,
                                 refmap_position_t found[REFMAP_FOUND]);

/* --- record_entry.c: entering the recorder, and its state -------------------------------- */

/* What is watched, and what is recorded besides; owned. */
typedef struct {
    char **names;               // of types
    size_t nnames, names_allocated;
    refmap_table_t births;      // n of the n-th birth after `first_birth`, plus 2
    uint64_t first_birth;
    int returns, places, blocks;
} refmap_record_options_t;

/* Of the recording that is on, what more than one file needs. A thread that has entered the
   recorder may touch it. record.c clears it. */
struct _refmap_recorder {
    refmap_record_options_t options;
    refmap_token_t *tokens;     // the first is none
    size_t ntokens, tokens_allocated;
    uint64_t hooks;             // so far
};
extern struct _refmap_recorder _PyRefMap_recorder;

/* Borrowed until the next token is made. */
static inline refmap_token_t *
refmap_token(uint32_t token)
{
    return &_PyRefMap_recorder.tokens[token];
}

/* Begin what is not to be recorded itself. NULL: there is nothing to be recorded. */
extern refmap_thread_t *_PyRefMap_EnterRecorder(void);
extern void _PyRefMap_LeaveRecorder(refmap_thread_t *thread);
/* What is kept of the calling thread; NULL if it never entered the recorder. */
extern refmap_thread_t *_PyRefMap_CurrentThread(void);
/* For who starts and stops a recording, which is more than entering it. */
extern void _PyRefMap_LockRecorder(void);
extern void _PyRefMap_UnlockRecorder(void);
/* What is kept of threads is from another recording from now on. Return -1 if threads can
   have nothing of their own. */
extern int _PyRefMap_StartThreads(void);

/* One hook: whose object it is about, and the stack. */
typedef struct {
    refmap_thread_t *thread;
    uintptr_t object;
    uintptr_t fp;
    int saved_errno;
    // The place that no more holds its object was noticed by this hook; 0: none was.
    uintptr_t gone_object;
    uint32_t gone_token;
    int n;
    refmap_frame_t frames[REFMAP_DEPTH];
} refmap_event_t;

static inline uint64_t *
refmap_event_record(const refmap_event_t *event, int kind, size_t nwords)
{
    return _PyRefMap_TapeRecord(kind, event->n, event->thread->number, nwords);
}

/* --- record_search.c: where objects lie by now -------------------------------------------- */

/* Search places; see _PyRefMap_SearchPlaces(). What is searched in passing leaves half of
   the work to what is searched thoroughly. Return -1 if none was found, and not all was
   searched that should be, as there was too much work before. */
extern int _PyRefMap_Search(const refmap_thread_t *thread, uintptr_t object,
                            uintptr_t sp, int thoroughly,
                            refmap_position_t found[REFMAP_FOUND]);
/* Record that `position` was found, and watch it. */
extern void _PyRefMap_WriteStored(const refmap_event_t *event,
                                  const refmap_position_t *position);
/* The object of `token` may come to lie in memory without an event: search it at some of
   the next hooks. */
extern void _PyRefMap_Await(uint32_t token);
/* Search for the tokens whose turn it is. */
extern void _PyRefMap_TryPending(const refmap_event_t *event);
extern void _PyRefMap_ForgetPending(void);
/* Where the event's object lies already is no matter of a token that is about to be
   made. */
extern void _PyRefMap_LocateBefore(const refmap_event_t *event);

/* --- record_tokens.c: tokens and who holds them -------------------------------------------- */

/* Return -1 on out of memory. There are none. */
extern int _PyRefMap_StartTokens(void);
extern void _PyRefMap_ClearTokens(void);
/* Let an activation hold a token. */
extern void _PyRefMap_Carry(refmap_activation_t *activation, uint32_t token);
/* A word of the stack above `slot` that came to hold the token's object, and the
   activation that it belongs to; NULL if there is none. */
extern refmap_activation_t *_PyRefMap_FindOnStack(refmap_thread_t *thread,
                                                  refmap_token_t *token,
                                                  uintptr_t slot);
/* The object whose newest token this is has moved to another address; 0: it died. */
extern void _PyRefMap_SetTokens(uint64_t newest, uintptr_t object);
/* Record a BIRTH or CHANGE of the event's object. `newest`: its newest token. */
extern void _PyRefMap_WriteChange(const refmap_event_t *event, int kind, Py_ssize_t n,
                                  uint64_t *newest);

/* --- record_outcome.c: the end of an activation --------------------------------------------- */

/* For _PyRefMap_StartReturns(). */
extern uintptr_t _PyRefMap_OnReturn(uintptr_t slot, uintptr_t value);
/* For _PyRefMap_PruneActivations(): record what the activation held. */
extern void _PyRefMap_Abandon(refmap_thread_t *thread, refmap_activation_t activation);

/* --- record_event.c: what every hook does ---------------------------------------------------- */

/* Fill `event`, and enter the recorder until _PyRefMap_EndEvent(). Return -1 if nothing is
   to be recorded. */
extern int _PyRefMap_BeginEvent(refmap_event_t *event, const void *op, void *fp);
/* The same for a block of memory that realloc() has moved, or made larger or smaller. */
extern int _PyRefMap_BeginMove(refmap_event_t *event, uintptr_t from, uintptr_t to,
                               size_t size, void *fp);
extern void _PyRefMap_EndEvent(refmap_event_t *event);
/* An object died, or a block of memory is given back. */
extern void _PyRefMap_BaseGoes(const refmap_event_t *event, uintptr_t base);

/* --- record_blocks.c: memory blocks ------------------------------------------------------------ */

/* A block of memory was allocated, was freed, or moved. Domain: 0 raw, 1 mem, 2 obj. */
extern void _PyRefMap_RecordAlloc(void *ptr, size_t size, int domain, void *fp);
extern void _PyRefMap_RecordFreeBlock(void *ptr, void *fp);
extern void _PyRefMap_RecordMoveBlock(void *from, void *to, size_t size,
                                      int domain, void *fp);
extern void _PyRefMap_ClearBlocks(void);

/* --- record.c: the hooks of references ----------------------------------------------------------- */

/* Begin a new recording, which is off so far; `options` become the recorder's. Return -1
   on out of memory. */
extern int _PyRefMap_PrepareRecording(refmap_record_options_t *options);
/* Watch the object at `address`. Return -1 on out of memory. */
extern int _PyRefMap_Watch(uintptr_t address);
extern void _PyRefMap_SwitchRecording(int on);
extern void _PyRefMap_ClearWatch(refmap_record_options_t *options);

#endif  // REFMAP_RECORDS
#endif  // !Py_REFMAP_RECORD_H
