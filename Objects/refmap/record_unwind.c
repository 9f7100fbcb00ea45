/* How a function's caller is found: by call frame information, as unwinders do it.

   Code of extensions and libraries may keep no frame pointer.  The section .eh_frame says
   for each instruction where the frame of its function ends (the canonical frame address,
   CFA), and where the caller's frame pointer is. x86-64 wants it of all code, and it is
   there in stripped files, too.  It is interpreted once for each return address; who walks
   stacks keeps the outcome.

   Why not libgcc's _Unwind_Backtrace()?  Each hook walks the stack, in about a
   microsecond all in all; libgcc takes five for 32 frames, and a run that is recorded
   may take 30 times as long as another one, not 75.  And libgcc reads the stack as the
   description says: where that is wrong, as of assembler code that uses the frame
   pointer, or where the stack was moved, it reads any address.  Here each step is
   checked; see record_stack.c.

   Only what compilers and linkers emit is understood.  Of all else there is no rule, and
   the stack ends.  Nothing outside the segment with the description is read.

   The formats: DWARF 5, section 6.4; Linux Standard Base, "Exception Frames"; x86-64 psABI,
   section 3.6. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "stacks.h"

#ifdef REFMAP_WALKS

#include <dlfcn.h>                // _dl_find_object()
#include <link.h>                 // dl_iterate_phdr()

/* Numbers of registers; see the psABI, section 3.6.2. */
enum { BP = 6, SP = 7, RETURN = 16 };

/* DW_CFA_remember_state within itself: compilers use one. */
#define STATES 8

/* --- reading ------------------------------------------------------------------- */

/* Bytes that are left. Who reads past their end gets 0, and none are left. */
typedef struct {
    const unsigned char *at, *end;
} refmap_bytes_t;

static uint64_t
refmap_fixed(refmap_bytes_t *bytes, size_t size)
{
    uint64_t value = 0;
    if ((size_t)(bytes->end - bytes->at) < size) {
        bytes->at = bytes->end;
        return 0;
    }
    memcpy(&value, bytes->at, size);
    bytes->at += size;
    return value;
}

/* LEB128; `sign`: is it signed? */
static int64_t
refmap_leb(refmap_bytes_t *bytes, int sign)
{
    uint64_t value = 0;
    unsigned shift = 0, byte;
    do {
        byte = (unsigned)refmap_fixed(bytes, 1);
        if (shift < 64) {
            value |= (uint64_t)(byte & 0x7f) << shift;
        }
        shift += 7;
    } while (byte & 0x80);
    if (sign && shift < 64 && (byte & 0x40)) {
        value |= ~(uint64_t)0 << shift;
    }
    return (int64_t)value;
}

/* So many of the bytes, which are passed over. */
static refmap_bytes_t
refmap_sub(refmap_bytes_t *bytes, uint64_t size)
{
    refmap_bytes_t sub = *bytes;
    if (size < (uint64_t)(sub.end - sub.at)) {
        sub.end = sub.at + size;
    }
    bytes->at = sub.end;
    return sub;
}

/* A difference of 4 bytes. */
static uintptr_t
refmap_signed(refmap_bytes_t *bytes)
{
    return (uintptr_t)(int64_t)(int32_t)refmap_fixed(bytes, 4);
}


/* --- from an address to its entry --------------------------------------------------- */

typedef struct {
    uintptr_t pc;
    refmap_bytes_t frames;      // the segment with .eh_frame_hdr and .eh_frame
    refmap_bytes_t header;      // .eh_frame_hdr, and what follows it
    int is_known;
} refmap_module_t;

static int
refmap_covers(const struct dl_phdr_info *info, const ElfW(Phdr) *segment,
              uintptr_t address)
{
    return address - info->dlpi_addr - segment->p_vaddr < segment->p_memsz;
}

/* As for dl_iterate_phdr(): is it the module with the code? */
static int
refmap_see_module(struct dl_phdr_info *info, size_t Py_UNUSED(size), void *arg)
{
    refmap_module_t *module = arg;
    const ElfW(Phdr) *header = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_GNU_EH_FRAME) {
            header = segment;
        }
        module->is_known |= segment->p_type == PT_LOAD
                            && refmap_covers(info, segment, module->pc);
    }
    if (!module->is_known || header == NULL) {
        return module->is_known;
    }
    uintptr_t address = info->dlpi_addr + header->p_vaddr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R)
            && refmap_covers(info, segment, address))
        {
            const unsigned char *start = (const unsigned char *)(
                info->dlpi_addr + segment->p_vaddr);
            module->frames = (refmap_bytes_t){start, start + segment->p_memsz};
            module->header = (refmap_bytes_t){(const unsigned char *)address,
                                              module->frames.end};
        }
    }
    return 1;
}

#if defined(DLFO_EH_SEGMENT_TYPE) && !defined(dl_iterate_phdr)

/* Since glibc 2.35 a module is found without a lock, which in a forked child might be
   that of a thread which is not there any more. */
static void
refmap_find_module(refmap_module_t *module)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)module->pc, &found) != 0) {
        return;
    }
    // Linkers let the first segment begin with the header of the file.
    const char *start = found.dlfo_map_start;
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)start;
    size_t size = header->e_phoff + header->e_phnum * sizeof(ElfW(Phdr));
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0
        || size > REFMAP_PAGE_SIZE)
    {
        module->is_known = 1;
        return;
    }
    struct dl_phdr_info info = {
        .dlpi_addr = found.dlfo_link_map->l_addr,
        .dlpi_phdr = (const ElfW(Phdr) *)(start + header->e_phoff),
        .dlpi_phnum = header->e_phnum};
    (void)refmap_see_module(&info, sizeof(info), module);
}

#else

static void
refmap_find_module(refmap_module_t *module)
{
    (void)dl_iterate_phdr(refmap_see_module, module);
}

#endif

/* Set `entry` to the rest of the segment from `address` on. Return -1 if it is not in
   there. */
static int
refmap_seek(const refmap_module_t *module, uintptr_t address,
            refmap_bytes_t *entry)
{
    if (address - (uintptr_t)module->frames.at
        >= (uintptr_t)(module->frames.end - module->frames.at))
    {
        return -1;
    }
    *entry = (refmap_bytes_t){(const unsigned char *)address, module->frames.end};
    return 0;
}

/* Find the description (FDE) of the last function that begins at or before the code, by
   the sorted table of .eh_frame_hdr: pairs of differences to that. Return -1 if there is
   none. */
static int
refmap_find_entry(const refmap_module_t *module, refmap_bytes_t *entry)
{
    refmap_bytes_t header = module->header;
    uintptr_t base = (uintptr_t)header.at;
    // Version 1, and encodings; linkers write no others.
    if (refmap_fixed(&header, 4) != 0x3b031b01) {
        return -1;
    }
    (void)refmap_fixed(&header, 4);
    uint64_t high = refmap_fixed(&header, 4), low = 0;
    high = Py_MIN(high, (uint64_t)(header.end - header.at) / 8);
    const unsigned char *table = header.at;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        refmap_bytes_t pair = {table + 8 * middle, header.end};
        if (base + refmap_signed(&pair) <= module->pc) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    if (low == 0) {
        return -1;
    }
    refmap_bytes_t second = {table + 8 * low - 4, header.end};
    return refmap_seek(module, base + refmap_signed(&second), entry);
}


/* --- interpreting it ------------------------------------------------------------------ */

/* What holds at an instruction. */
typedef struct {
    refmap_rule_t rule;
    int has_caller;             // the return address is right below the CFA
    int has_no_caller;
    int is_unknown;             // something is said that is not understood
} refmap_row_t;

/* What a CIE and its FDE say. */
typedef struct {
    uint64_t code_align;
    int64_t data_align;
    refmap_bytes_t initial, rest;
    uintptr_t start;            // of the function
} refmap_entry_t;

typedef struct {
    unsigned op;
    uint64_t operand[2];
    refmap_bytes_t block;
} refmap_instruction_t;

/* Operands, by operation: u: LEB128; b: a block; 1, 2, 4: a number of so many bytes. Those
   left out are not used by compilers. */
static const char *const operands[0x30] = {
    [0x00] = "", [0x02] = "1", [0x03] = "2", [0x04] = "4", [0x05] = "uu",
    [0x06] = "u", [0x07] = "u", [0x08] = "u", [0x09] = "uu", [0x0a] = "",
    [0x0b] = "", [0x0c] = "uu", [0x0d] = "u", [0x0e] = "u", [0x0f] = "b", [0x10] = "ub",
    [0x16] = "ub", [0x2e] = "u",
};

/* Read one instruction. Return -1 if it is unknown. */
static int
refmap_read_instruction(refmap_bytes_t *bytes, refmap_instruction_t *found)
{
    unsigned byte = (unsigned)refmap_fixed(bytes, 1), high = byte >> 6;
    memset(found, 0, sizeof(*found));
    if (high != 0) {
        // Short forms of advance_loc, offset and restore.
        static const unsigned char long_form[] = {0, 0x04, 0x05, 0x06};
        found->op = long_form[high];
        found->operand[0] = byte & 0x3f;
        found->operand[1] = high == 2 ? (uint64_t)refmap_leb(bytes, 0) : 0;
        return 0;
    }
    if (byte >= Py_ARRAY_LENGTH(operands) || operands[byte] == NULL) {
        return -1;
    }
    found->op = byte;
    for (int i = 0; operands[byte][i] != '\0'; i++) {
        char kind = operands[byte][i];
        if (kind == 'b') {
            uint64_t size = (uint64_t)refmap_leb(bytes, 0);
            found->block = refmap_sub(bytes, size);
        }
        else {
            found->operand[i] = kind == 'u'
                                ? (uint64_t)refmap_leb(bytes, 0)
                                : refmap_fixed(bytes, (size_t)(kind - '0'));
        }
    }
    return 0;
}

/* Is it the expression "the frame pointer, and so much", and `rest` behind it, or nothing
   for 0? So compilers describe a function that aligns its stack. */
static int
refmap_is_at_bp(refmap_bytes_t block, unsigned rest, int32_t *offset)
{
    if (refmap_fixed(&block, 1) != 0x70 + BP) {     // DW_OP_breg
        return 0;
    }
    *offset = (int32_t)refmap_leb(&block, 1);
    return refmap_fixed(&block, 1) == rest && block.at == block.end;
}

/* Take in what an instruction says of the CFA, of the frame pointer and of the return
   address; return -1 if that is not understood. `initial`: what holds at the start of the
   function. */
static int
refmap_apply(const refmap_entry_t *entry, const refmap_instruction_t *i,
             const refmap_row_t *initial, refmap_row_t *row)
{
    uint64_t number = i->operand[0];
    refmap_rule_t *rule = &row->rule;
    switch (i->op) {
    case 0x0c:                  // def_cfa
        rule->cfa_offset = (int32_t)i->operand[1];
        // Fall through
    case 0x0d:                  // def_cfa_register
        rule->cfa = number == BP ? REFMAP_FROM_BP
                    : number == SP ? REFMAP_FROM_SP : REFMAP_NONE;
        return 0;
    case 0x0e:                  // def_cfa_offset
        rule->cfa_offset = (int32_t)number;
        return 0;
    case 0x0f:                  // def_cfa_expression
        rule->cfa = REFMAP_WORD_AT_BP;
        return refmap_is_at_bp(i->block, 0x06, &rule->cfa_offset) ? 0 : -1;
    }
    if (number == RETURN) {
        row->has_no_caller |= i->op == 0x07;        // undefined
        row->has_caller = i->op == 0x05             // offset
                          && (int64_t)i->operand[1] * entry->data_align == -8;
        return row->has_caller || row->has_no_caller ? 0 : -1;
    }
    if (number != BP) {
        return 0;
    }
    switch (i->op) {
    case 0x05:                  // offset
        rule->bp = REFMAP_WORD_AT_CFA;
        rule->bp_offset = (int32_t)((int64_t)i->operand[1] * entry->data_align);
        return 0;
    case 0x06:                  // restore
        rule->bp = initial->rule.bp;
        rule->bp_offset = initial->rule.bp_offset;
        return 0;
    case 0x08:                  // same_value
        rule->bp = REFMAP_SAME;
        return 0;
    case 0x10:                  // expression
        rule->bp = REFMAP_WORD_AT_BP;
        return refmap_is_at_bp(i->block, 0, &rule->bp_offset) ? 0 : -1;
    }
    return -1;
}

/* Interpret instructions, up to those that are for code beyond `pc`. Return -1 if they are
   not understood. */
static int
refmap_interpret(const refmap_entry_t *entry, refmap_bytes_t bytes,
                 uintptr_t pc, const refmap_row_t *initial, refmap_row_t *row)
{
    refmap_row_t states[STATES];
    refmap_instruction_t i;
    uintptr_t location = entry->start;
    for (int n = 0; bytes.at < bytes.end;) {
        if (refmap_read_instruction(&bytes, &i) < 0) {
            return -1;
        }
        switch (i.op) {
        case 0x00: case 0x2e:                       // nop, GNU_args_size
            break;
        case 0x02: case 0x03: case 0x04:            // advance_loc
            location += i.operand[0] * entry->code_align;
            if (location > pc) {
                return 0;
            }
            break;
        case 0x0a:                                  // remember_state
            if (n == STATES) {
                return -1;
            }
            states[n++] = *row;
            break;
        case 0x0b:                                  // restore_state
            if (n == 0) {
                return -1;
            }
            *row = states[--n];
            break;
        default:
            row->is_unknown |= refmap_apply(entry, &i, initial, row) < 0;
        }
    }
    return 0;
}

/* Read a CIE. Return -1 if it is not one as assemblers write them. */
static int
refmap_read_cie(refmap_bytes_t bytes, refmap_entry_t *entry)
{
    bytes = refmap_sub(&bytes, refmap_fixed(&bytes, 4));
    uint64_t id = refmap_fixed(&bytes, 4), version = refmap_fixed(&bytes, 1);
    unsigned char first = 0, letter, last = 0;
    while ((letter = (unsigned char)refmap_fixed(&bytes, 1)) != '\0') {
        if (letter == 'S') {
            return -1;          // of signals: nothing is called there
        }
        first = first == 0 ? letter : first;
        last = letter;
    }
    entry->code_align = (uint64_t)refmap_leb(&bytes, 0);
    entry->data_align = refmap_leb(&bytes, 1);
    uint64_t number = refmap_fixed(&bytes, 1);
    // Its last byte is the encoding of addresses: differences of 4 bytes.
    refmap_bytes_t augmentation = refmap_sub(&bytes,
                                             (uint64_t)refmap_leb(&bytes, 0));
    entry->initial = bytes;
    return id == 0 && version == 1 && number == RETURN && first == 'z'
           && last == 'R' && augmentation.at < augmentation.end
           && augmentation.end[-1] == 0x1b ? 0 : -1;
}

/* Read an FDE and its CIE. Return -1 if it is not one of the code, or not understood. */
static int
refmap_read_fde(const refmap_module_t *module, refmap_bytes_t bytes,
                refmap_entry_t *entry)
{
    bytes = refmap_sub(&bytes, refmap_fixed(&bytes, 4));
    uintptr_t here = (uintptr_t)bytes.at;
    refmap_bytes_t cie;
    if (refmap_seek(module, here - refmap_fixed(&bytes, 4), &cie) < 0
        || refmap_read_cie(cie, entry) < 0)
    {
        return -1;
    }
    here = (uintptr_t)bytes.at;
    entry->start = here + refmap_signed(&bytes);
    uint64_t size = refmap_fixed(&bytes, 4);
    (void)refmap_sub(&bytes, (uint64_t)refmap_leb(&bytes, 0));
    entry->rest = bytes;
    return module->pc - entry->start < size ? 0 : -1;
}

int
_PyRefMap_FindCaller(uintptr_t pc, refmap_rule_t *rule)
{
    // The call before the return address may be the last instruction of a function.
    refmap_module_t module = {.pc = pc - 1};
    refmap_find_module(&module);
    if (!module.is_known) {
        // CPython's trampoline for perf is copied to memory of its own. What stands there
        // is all of it: sub $8, %rsp; call *%rcx
        *rule = (refmap_rule_t){REFMAP_FROM_SP, REFMAP_SAME, 16, 0, 0};
        return memcmp((const void *)(pc - 6), "\x48\x83\xec\x08\xff\xd1", 6) ? -1
               : 0;
    }
    refmap_bytes_t bytes;
    refmap_entry_t entry;
    refmap_row_t initial = {.rule.bp = REFMAP_SAME}, row;
    if (refmap_find_entry(&module, &bytes) < 0
        || refmap_read_fde(&module, bytes, &entry) < 0
        || refmap_interpret(&entry, entry.initial, UINTPTR_MAX, &initial,
                            &initial) < 0)
    {
        return -1;
    }
    row = initial;
    if (refmap_interpret(&entry, entry.rest, module.pc, &initial, &row) < 0) {
        return -1;
    }
    *rule = row.rule;
    rule->start = entry.start;
    if (row.has_no_caller) {
        rule->cfa = REFMAP_NONE;
        return 0;
    }
    return row.has_caller && !row.is_unknown && rule->cfa != REFMAP_NONE ? 0 : -1;
}

#endif  // REFMAP_WALKS
#endif  // Py_REFCOUNT_MAP
