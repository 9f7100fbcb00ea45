/* C stacks, and tables of addresses: what the recorder and the event log share. */
#ifndef Py_REFMAP_STACKS_H
#define Py_REFMAP_STACKS_H

#include "layers.h"
#include "pycore_refmap_record.h"

/* --- record_table.c: address -> number --------------------------------------- */

/* Open addressing. Zero-initialise, then _PyRefMap_TableClear(). */
typedef struct {
    struct { uintptr_t key; uint64_t value; } *items;
    size_t used;                // erased ones included
    size_t mask;                // size - 1, a power of two
} refmap_table_t;

/* Where the number of `key`, which is neither 0 nor 1, is kept; NULL: nowhere. */
extern uint64_t *_PyRefMap_TableFind(const refmap_table_t *table, uintptr_t key);
/* The same; it is added with the number 0 if need be. NULL on out of memory. */
extern uint64_t *_PyRefMap_TableAdd(refmap_table_t *table, uintptr_t key);
extern void _PyRefMap_TableRemove(refmap_table_t *table, uintptr_t key);
extern void _PyRefMap_TableClear(refmap_table_t *table);

/* Where stacks can't be walked they have no frames. */
typedef struct {
    uintptr_t pc;               // a return address in the function
    uintptr_t slot;             // of the function's activation; 0: not known
} refmap_frame_t;

/* The stack of a thread: its lowest address, and the one behind it. */
typedef struct {
    uintptr_t low, high;
} refmap_stack_t;

#ifdef REFMAP_WALKS

/* --- record_mirror.c: the trampoline ------------------------------------------------ */

extern void _PyRefMap_Trampoline(void) __attribute__((visibility("hidden")));
/* The address by which return addresses are exchanged. In line: it is compared with each
   return address of each hook. */
static inline uintptr_t
refmap_trampoline_address(void)
{
    return (uintptr_t)_PyRefMap_Trampoline;
}

/* What the return address in `slot` was before it was exchanged; 0: it was not. */
extern uintptr_t _PyRefMap_RealReturn(uintptr_t slot);
/* From now on stacks are moved: nothing can be exchanged any more. */
extern void _PyRefMap_StacksMove(void);

/* --- record_unwind.c: how a function's caller is found -------------------------------- */

/* Where a value is found: nowhere; the stack pointer plus the offset; the frame pointer
   plus the offset; the word there; the word at the CFA plus the offset; the frame
   pointer as it is. */
enum { REFMAP_NONE, REFMAP_FROM_SP, REFMAP_FROM_BP, REFMAP_WORD_AT_BP,
       REFMAP_WORD_AT_CFA, REFMAP_SAME };
/* Of a function at a call: where its frame ends (the CFA, right above its return address),
   and where its caller's frame pointer is. `cfa` is REFMAP_NONE where nobody called it. */
typedef struct {
    uint8_t cfa, bp;
    int32_t cfa_offset, bp_offset;
    uintptr_t start;            // of the function
} refmap_rule_t;
/* Find the rule for the function that the return address `pc` is in. It takes some
   microseconds. Return -1 if that is not known. */
extern int _PyRefMap_FindCaller(uintptr_t pc, refmap_rule_t *rule);

/* --- record_stack.c: C stacks ---------------------------------------------------- */

/* Call `see` for each mapping of this process, by address, until it does not return
   0. `path` may be empty. Return -1 if they can't be read. */
typedef struct {
    uintptr_t start, end, offset;
    int readable, writable, executable;
    const char *path;
} refmap_mapping_t;
extern int _PyRefMap_EachMapping(int (*see)(const refmap_mapping_t *, void *),
                                 void *arg);
/* How often the mappings were read, by which new code was found. */
extern int _PyRefMap_MappingsSeen(void);
/* Forget what is known of code; `transparent` are (start, length), copied. Return -1 on
   out of memory. */
extern int _PyRefMap_StartStacks(const uintptr_t (*transparent)[2], size_t n);
/* Does a call instruction of mapped code come before `pc`? */
extern int _PyRefMap_IsReturnAddress(uintptr_t pc);
/* Is it in a function that never holds a reference of its own? */
extern int _PyRefMap_IsTransparent(uintptr_t pc);
/* Walk the stack from the frame at `fp`, whose function is left out. Return how many frames
   were found, at most `max`. Where a function's caller can't be found the slot of the last
   one is 0. */
extern int _PyRefMap_Walk(const refmap_stack_t *stack, uintptr_t fp,
                          refmap_frame_t *frames, int max);
/* The same, up to the evaluation loop, which is the last. `*is_fixed`: wherever the same
   return addresses are in slots as far from `fp` as these are, the stack is the same: no
   function is left by its frame pointer, which may have another value. */
extern int _PyRefMap_WalkToPython(const refmap_stack_t *stack, uintptr_t fp,
                                  refmap_frame_t *frames, int max, int *is_fixed);
/* Fill the bounds of the calling thread's stack. Return -1 if they are unknown. */
extern int _PyRefMap_StackBounds(refmap_stack_t *stack);

#else

#  define _PyRefMap_MappingsSeen() 0
#  define _PyRefMap_EachMapping(see, arg) (-1)
#  define _PyRefMap_StackBounds(stack) (-1)
#  define _PyRefMap_WalkToPython(stack, fp, frames, max, is_fixed) 0
#  define _PyRefMap_StartStacks(transparent, n) 0

#endif  // REFMAP_WALKS
#endif  // !Py_REFMAP_STACKS_H
