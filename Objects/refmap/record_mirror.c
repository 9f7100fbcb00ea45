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

#ifdef REFMAP_WALKS

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

/* What the trampoline calls; it takes the slot and what the function returned, and
   returns the real return address. */
uintptr_t (*_PyRefMap_on_return)(uintptr_t slot, uintptr_t value)
    __attribute__((visibility("hidden")));

/* A function returned here instead of to its caller: the stack pointer is that of the
   caller, just above the slot. What may be a returned value is kept.

   To unwinders the trampoline is a frame of its own, between the function and its
   caller. It needs a canonical frame address (CFA) that no other frame has: libgcc tells
   frames apart by it. That of the function is the stack pointer, and a multiple of 16. So
   it is 8 more here, and the stack pointer of the caller is 8 less.

   The return address is the value of DW_CFA_val_expression (0x16) for column 16; see
   DWARF 5, sections 2.5.1 and 6.4.2.3. With the CFA pushed first, it is
   *(MIRROR_ADDRESS + (((CFA - 16) >> 3 & MIRROR_MASK) << 3)):
     lit16 minus  lit3 shr  const4u MASK and  lit3 shl  const8u ADDRESS plus  deref
   Unwinders look for the call in front of a return address, hence the nop. */
__asm__(
    ".text\n"
    ".type refmap_return_recorded, @function\n"
    "refmap_return_recorded:\n"
    ".cfi_startproc\n"
    ".cfi_def_cfa rsp, 8\n"
    ".cfi_val_offset rsp, -8\n"
    ".cfi_escape 0x16, 16, 23\n"
    ".cfi_escape 0x40, 0x1c, 0x33, 0x25, 0x0c, 0xff, 0xff, 0xff, 0x03, 0x1a\n"
    ".cfi_escape 0x33, 0x24, 0x0e, 0x00, 0x00, 0x00, 0x00, 0xaf, 0x1e, 0x00, 0x00\n"
    ".cfi_escape 0x22, 0x06\n"
    "    nop\n"
    ".globl _PyRefMap_Trampoline\n"
    ".hidden _PyRefMap_Trampoline\n"
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
    "    call *_PyRefMap_on_return(%rip)\n"
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
    ".size refmap_return_recorded, . - refmap_return_recorded\n");

static int has_mirror;

/* Code is loaded that moves parts of a stack away and back. What was exchanged stays in
   the mirror until then, and nothing else is exchanged any more. */
static int stacks_move;

void
_PyRefMap_StacksMove(void)
{
    stacks_move = 1;
}

int
_PyRefMap_StartReturns(uintptr_t (*on_return)(uintptr_t, uintptr_t))
{
    _PyRefMap_on_return = on_return;
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

int
_PyRefMap_Exchange(uintptr_t slot)
{
    uintptr_t *mirror = refmap_mirror(slot), pc = *(uintptr_t *)slot;
    if (stacks_move || pc == refmap_trampoline_address() || *mirror != 0) {
        return -1;
    }
    *mirror = pc;
    *(uintptr_t *)slot = refmap_trampoline_address();
    return 0;
}

uintptr_t
_PyRefMap_TakeReturn(uintptr_t slot)
{
    uintptr_t *mirror = refmap_mirror(slot), pc = *mirror;
    if (pc == 0) {
        static const char message[] =
            "refmap: a C stack was moved while return addresses of it were exchanged: "
            "sys.refmap_record(returns=False) exchanges none\n";
        (void)!write(STDERR_FILENO, message, sizeof(message) - 1);
        abort();
    }
    *mirror = 0;
    return pc;
}

void
_PyRefMap_ForgetReturn(uintptr_t slot)
{
    if (!stacks_move) {
        *refmap_mirror(slot) = 0;
    }
}

#endif  // REFMAP_WALKS
#endif  // Py_REFCOUNT_MAP
