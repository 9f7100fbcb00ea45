/* What functions return: return addresses are exchanged for that of a trampoline, as the
   kernel's return probes do.

   The real return address of a slot is kept in the *mirror*, at an index that is made of
   the slot's address alone.  So the trampoline finds it without a search, and so
   do unwinders: the call frame information of the trampoline says where it is, as a DWARF
   expression.  C++ exceptions, pthread_exit() and gdb pass through exchanged
   frames as through any other. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include <errno.h>
#include <stdlib.h>               // abort()
#include <sys/mman.h>             // mmap()
#include <unistd.h>               // write()

/* The DWARF expression below can't name a variable, so the mirror is at a fixed
   address, far from where the kernel maps anything by itself: above the heap of an
   executable at 0x5555..., or one that is at a low address, and below libraries. It has an
   entry for each word of 512 MiB of stack; two slots that are a multiple of that
   apart can't both be exchanged. */
#define MIRROR_ADDRESS 0x1eaf00000000
#define MIRROR_BITS 26
#define MIRROR_MASK (((uintptr_t)1 << MIRROR_BITS) - 1)
#define MIRROR_SIZE (sizeof(uintptr_t) << MIRROR_BITS)

extern void _PyRefMap_Trampoline(void) __attribute__((visibility("hidden")));
__attribute__((used, visibility("hidden")))
extern uintptr_t _PyRefMap_OnReturn(uintptr_t slot, uintptr_t value);

/* A function returned here instead of to its caller: the stack pointer is that of the
   caller, just above the slot. What may be a returned value is kept.

   DWARF 5, sections 2.5.1 and 6.4.2.3: the canonical frame address (CFA) is the stack
   pointer; the return address is the value of DW_CFA_val_expression (0x16) for
   column 16: *(MIRROR_ADDRESS + (((CFA - 8) >> 3 & MIRROR_MASK) << 3)), with the CFA
   pushed first:
     lit8 minus  lit3 shr  const4u MASK and  lit3 shl  const8u ADDRESS plus  deref
   Unwinders look for the call in front of a return address, hence the nop. */
__asm__(
    ".text\n"
    ".globl _PyRefMap_Trampoline\n"
    ".hidden _PyRefMap_Trampoline\n"
    ".type _PyRefMap_Trampoline, @function\n"
    ".cfi_startproc\n"
    ".cfi_def_cfa rsp, 0\n"
    ".cfi_escape 0x16, 16, 23\n"
    ".cfi_escape 0x38, 0x1c, 0x33, 0x25, 0x0c, 0xff, 0xff, 0xff, 0x03, 0x1a\n"
    ".cfi_escape 0x33, 0x24, 0x0e, 0x00, 0x00, 0x00, 0x00, 0xaf, 0x1e, 0x00, 0x00\n"
    ".cfi_escape 0x22, 0x06\n"
    "    nop\n"
    "_PyRefMap_Trampoline:\n"
    "    sub $8, %rsp\n"            // for the return address
    "    .cfi_adjust_cfa_offset 8\n"
    "    push %rax\n"
    "    .cfi_adjust_cfa_offset 8\n"
    "    push %rdx\n"
    "    .cfi_adjust_cfa_offset 8\n"
    "    sub $40, %rsp\n"
    "    .cfi_adjust_cfa_offset 40\n"
    "    movups %xmm0, (%rsp)\n"
    "    movups %xmm1, 16(%rsp)\n"
    "    lea 56(%rsp), %rdi\n"
    "    mov %rax, %rsi\n"
    "    call _PyRefMap_OnReturn\n"
    "    mov %rax, 56(%rsp)\n"
    "    movups (%rsp), %xmm0\n"
    "    movups 16(%rsp), %xmm1\n"
    "    add $40, %rsp\n"
    "    .cfi_adjust_cfa_offset -40\n"
    "    pop %rdx\n"
    "    .cfi_adjust_cfa_offset -8\n"
    "    pop %rax\n"
    "    .cfi_adjust_cfa_offset -8\n"
    "    ret\n"
    ".cfi_endproc\n"
    ".size _PyRefMap_Trampoline, . - _PyRefMap_Trampoline\n");

static int has_mirror;

uintptr_t
_PyRefMap_TrampolineAddress(void)
{
    return (uintptr_t)_PyRefMap_Trampoline;
}

int
_PyRefMap_StartReturns(void)
{
    if (has_mirror) {
        return 0;
    }
    // Zeroed memory that costs nothing until it is touched.
    void *wanted = (void *)MIRROR_ADDRESS;
    void *ptr = mmap(wanted, MIRROR_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
                     | MAP_FIXED_NOREPLACE, -1, 0);
    if (ptr == MAP_FAILED) {
        return -1;
    }
    if (ptr != wanted) {
        // A kernel before 4.17, which takes the address for a hint.
        (void)munmap(ptr, MIRROR_SIZE);
        return -1;
    }
    has_mirror = 1;
    return 0;
}

static uintptr_t *
refmap_mirror(uintptr_t slot)
{
    return (uintptr_t *)MIRROR_ADDRESS + (slot >> 3 & MIRROR_MASK);
}

uintptr_t
_PyRefMap_RealReturn(uintptr_t slot)
{
    return has_mirror ? *refmap_mirror(slot) : 0;
}

refmap_activation_t *
_PyRefMap_FindActivation(refmap_thread_t *thread, uintptr_t slot)
{
    size_t low = 0, high = thread->nactivations;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (thread->activations[middle].slot > slot) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low < thread->nactivations && thread->activations[low].slot == slot
           ? &thread->activations[low] : NULL;
}

/* Add an activation where it belongs: the innermost is the last. */
static int
refmap_add_activation(refmap_thread_t *thread, uintptr_t slot)
{
    if (_PyRefMap_Grow(&thread->activations, &thread->activations_allocated,
                       thread->nactivations + 1,
                       sizeof(*thread->activations)) < 0) {
        return -1;
    }
    size_t i = thread->nactivations++;
    for (; i > 0 && thread->activations[i - 1].slot < slot; i--) {
        thread->activations[i] = thread->activations[i - 1];
    }
    thread->activations[i] = (refmap_activation_t){.slot = slot};
    return 0;
}

void
_PyRefMap_ExchangeReturns(refmap_thread_t *thread, const refmap_frame_t *frames,
                          int n)
{
    uintptr_t trampoline = _PyRefMap_TrampolineAddress();
    // The outermost first: it goes to the end of the array.
    for (int i = n - 1; i >= 0; i--) {
        uintptr_t slot = frames[i].slot;
        if ((slot & 7) != 0 || slot < thread->low || slot >= thread->high) {
            continue;
        }
        uintptr_t pc = *(uintptr_t *)slot;
        uintptr_t *mirror = refmap_mirror(slot);
        // The last frame of the walk was not looked at so far.
        if (pc == trampoline || *mirror != 0 || !_PyRefMap_IsReturnAddress(pc)
            || refmap_add_activation(thread, slot) < 0)
        {
            continue;
        }
        *mirror = pc;
        *(uintptr_t *)slot = trampoline;
    }
}

void
_PyRefMap_PruneActivations(refmap_thread_t *thread, uintptr_t sp,
        void (*abandon)(refmap_thread_t *, refmap_activation_t))
{
    while (thread->nactivations > 0) {
        refmap_activation_t *last = &thread->activations[thread->nactivations - 1];
        if (last->slot >= sp
            && *(uintptr_t *)last->slot == _PyRefMap_TrampolineAddress())
        {
            return;
        }
        *refmap_mirror(last->slot) = 0;
        thread->nactivations--;
        abandon(thread, *last);
    }
}

void
_PyRefMap_DropActivation(refmap_thread_t *Py_UNUSED(thread),
                         refmap_activation_t Py_UNUSED(activation))
{
}

/* Called by the trampoline: return the real return address. */
uintptr_t
_PyRefMap_OnReturn(uintptr_t slot, uintptr_t value)
{
    int saved_errno = errno;
    uintptr_t *mirror = refmap_mirror(slot);
    uintptr_t pc = *mirror;
    if (pc == 0) {
        static const char message[] =
            "refmap: a stack was copied or moved while return addresses of it were "
            "exchanged: sys.refmap_record(returns=False) does not\n";
        (void)!write(STDERR_FILENO, message, sizeof(message) - 1);
        abort();
    }
    refmap_thread_t *thread = _PyRefMap_RecordThread();
    if (thread != NULL) {
        if (!thread->busy) {
            _PyRefMap_RecordReturn(thread, (refmap_activation_t){.slot = slot},
                                   value);
        }
        else {
            _PyRefMap_PruneActivations(thread, slot + 1, _PyRefMap_DropActivation);
        }
    }
    *mirror = 0;
    errno = saved_errno;
    return pc;
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
