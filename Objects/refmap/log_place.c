/* Where the program is when something happens: lines of Python, and the C functions on top
   of them.

   Most events happen where another one did just before.  So what was found for an
   instruction is kept, with the return addresses that were on the stack of C and where: to
   compare these takes a few nanoseconds, to walk the stack takes longer than all the
   rest of an event. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"
#include "pycore_frame.h"         // _PyInterpreterFrame
#include "pycore_pystate.h"       // _PyThreadState_GET()

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Bytes between the start of the bytecode and what runs. */
static inline uint32_t
refmap_offset(_PyInterpreterFrame *frame)
{
    return (uint32_t)((char *)frame->instr_ptr
                      - (char *)_PyCode_CODE(_PyFrame_GetCode(frame)));
}

/* The innermost frame that runs Python code, from `frame` on; NULL if there is none. */
static inline _PyInterpreterFrame *
refmap_complete(_PyInterpreterFrame *frame)
{
    while (frame != NULL && _PyFrame_IsIncomplete(frame)) {
        frame = frame->previous;
    }
    return frame;
}

int
_PyRefMap_OffsetOfLine(const PyCodeObject *code)
{
    _PyInterpreterFrame *frame = refmap_complete(
        _PyThreadState_GET()->current_frame);
    return frame != NULL && _PyFrame_GetCode(frame) == code
           ? (int)refmap_offset(frame) : 0;
}

static void
refmap_add_python(refmap_stream_t *stream, refmap_log_place_t *place,
                  _PyInterpreterFrame *frame)
{
    int depth = stream->log->options.depth;
    for (; frame != NULL && (int)place->npython < depth;
         frame = refmap_complete(frame->previous))
    {
        uint64_t code = _PyRefMap_LogCode(stream, _PyFrame_GetCode(frame));
        place->words[place->npython++] = code << 32 | refmap_offset(frame);
    }
}

/* The stack of the thread, for _PyRefMap_Walk(). */
static __thread refmap_stack_t stack;

/* Add C frames, and note them in `quick` if it is enough to compare them. Otherwise it is
   of no use the next time. */
static void
refmap_add_c(refmap_log_place_t *place, uintptr_t fp, int depth,
             refmap_quick_place_t *quick)
{
    refmap_frame_t frames[REFMAP_LOG_DEPTH];
    int is_fixed = 0;
    if (stack.high == 0) {
        (void)_PyRefMap_StackBounds(&stack);
    }
    int n = _PyRefMap_WalkToPython(&stack, fp, frames, depth, &is_fixed);
    for (int i = 0; i < n; i++) {
        place->words[place->npython + i] = frames[i].pc;
    }
    place->nc = (size_t)n;
    quick->nc = is_fixed && n <= REFMAP_LOG_QUICK_C ? n : -1;
    for (int i = 0; i < quick->nc; i++) {
        quick->c[i].pc = frames[i].pc;
        quick->c[i].offset = frames[i].slot - fp;
    }
}

/* Is the C stack what it was? */
static inline int
refmap_is_quick(const refmap_quick_place_t *quick, uintptr_t fp)
{
    int n = quick->nc;
    if (n <= 0 || fp < stack.low
        || fp + quick->c[n - 1].offset >= stack.high - sizeof(uintptr_t))
    {
        return n == 0;
    }
    for (int i = 0; i < n; i++) {
        if (*(const uintptr_t *)(fp + quick->c[i].offset) != quick->c[i].pc) {
            return 0;
        }
    }
    return 1;
}

static Py_NO_INLINE uint32_t
refmap_find_place(refmap_stream_t *stream, _PyInterpreterFrame *frame, uintptr_t fp,
                  refmap_quick_place_t *quick)
{
    refmap_log_place_t place;
    place.npython = place.nc = 0;
    quick->nc = 0;
    refmap_add_python(stream, &place, frame);
    if (stream->log->options.c_depth > 0) {
        refmap_add_c(&place, fp, stream->log->options.c_depth, quick);
    }
    return _PyRefMap_LogPlace(stream, &place);
}

uint32_t
_PyRefMap_LogPlaceOf(refmap_stream_t *stream, void *hook)
{
    uintptr_t fp = (uintptr_t)hook;
    _PyInterpreterFrame *frame = refmap_complete(_PyThreadState_GET()->current_frame);
    if (stream->log->options.depth != 1 || frame == NULL) {
        refmap_quick_place_t unused;
        return refmap_find_place(stream, frame, fp, &unused);
    }
    const void *instruction = frame->instr_ptr;
    // Of one instruction there are births and deaths, from several C functions, and deaths
    // within deaths.
    uintptr_t mixed = (uintptr_t)instruction >> 1 ^ ((const uintptr_t *)fp)[1] >> 2
                      ^ fp >> 4;
    refmap_quick_place_t *quick = &stream->quick_places[mixed % REFMAP_LOG_QUICK];
    if (UNLIKELY(quick->instruction != instruction || !refmap_is_quick(quick, fp))) {
        quick->instruction = NULL;
        quick->place = refmap_find_place(stream, frame, fp, quick);
        quick->instruction = instruction;
    }
    return quick->place;
}

#endif  // Py_REFCOUNT_MAP
