/* How a function's caller is found: by call frame information, as unwinders do it.

   Code of extensions and libraries may keep no frame pointer.  The section .eh_frame says
   for each instruction where the frame of its function ends (the canonical frame address,
   CFA), and where the caller's frame pointer is. x86-64 wants it of all code, and it is
   there in stripped files, too.  It is interpreted once for each return address; who walks
   stacks keeps the outcome.

   The formats: DWARF 5, section 6.4; Linux Standard Base, "Exception Frames"; x86-64 psABI,
   section 3.6. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include <link.h>                 // dl_iterate_phdr()

/* Numbers of registers; see the psABI, figure 3.36. */
enum { BP = 6, SP = 7, RETURN = 16 };

/* DW_CFA_remember_state within itself: compilers use one. */
#define STATES 8

/* --- reading ------------------------------------------------------------------- */

/* Bytes that are left. Who reads past their end gets zeros, and none are left. */
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

static uintptr_t
refmap_uleb(refmap_bytes_t *bytes)
{
    return (uintptr_t)refmap_leb(bytes, 0);
}

static refmap_bytes_t
refmap_sub(refmap_bytes_t *bytes, uintptr_t size)
{
    refmap_bytes_t sub = {bytes->at, bytes->end};
    if (size < (uintptr_t)(sub.end - sub.at)) {
        sub.end = sub.at + size;
    }
    bytes->at = sub.end;
    return sub;
}

/* An address as DW_EH_PE_* tell: absolute, or relative to where it stands. Return -1 for
   other encodings, which compilers do not use for code. */
static int
refmap_encoded(refmap_bytes_t *bytes, unsigned encoding, uintptr_t *address)
{
    uintptr_t base = (encoding & 0x70) == 0x10 ? (uintptr_t)bytes->at : 0;
    if ((encoding & 0xf0) != 0x10 && (encoding & 0xf0) != 0) {
        return -1;
    }
    switch (encoding & 0x0f) {
    case 0x00: case 0x04: case 0x0c:
        *address = base + refmap_fixed(bytes, 8);
        return 0;
    case 0x03:
        *address = base + refmap_fixed(bytes, 4);
        return 0;
    case 0x0b:
        *address = base + (uintptr_t)(int64_t)(int32_t)refmap_fixed(bytes, 4);
        return 0;
    default:
        return -1;
    }
}


/* --- from an address to its entry --------------------------------------------------- */

typedef struct {
    uintptr_t pc;
    refmap_bytes_t header;      // .eh_frame_hdr
    refmap_bytes_t frames;      // the segment that it is in, .eh_frame, too
    int is_known;
} refmap_module_t;

static int
refmap_covers(const struct dl_phdr_info *info, const ElfW(Phdr) *segment,
              uintptr_t address)
{
    return address - info->dlpi_addr - segment->p_vaddr < segment->p_memsz;
}

/* For dl_iterate_phdr(): is it the module with the code? */
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
    const unsigned char *start =
        (const unsigned char *)info->dlpi_addr + header->p_vaddr;
    module->header = (refmap_bytes_t){start, start + header->p_memsz};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R)
            && refmap_covers(info, segment, (uintptr_t)start))
        {
            start = (const unsigned char *)info->dlpi_addr + segment->p_vaddr;
            module->frames = (refmap_bytes_t){start, start + segment->p_memsz};
        }
    }
    return 1;
}

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
   the sorted table of .eh_frame_hdr. Return -1 if there is none. */
static int
refmap_find_entry(const refmap_module_t *module, refmap_bytes_t *entry)
{
    refmap_bytes_t header = module->header;
    uintptr_t base = (uintptr_t)header.at;
    // Version 1; .eh_frame relative to here, in 4 bytes; their number in 4 bytes; addresses
    // relative to the header, in 4 bytes. Linkers write no other.
    if (refmap_fixed(&header, 4) != 0x3b031b01) {
        return -1;
    }
    header.at += 4;
    size_t high = (size_t)refmap_fixed(&header, 4), low = 0;
    high = Py_MIN(high, (size_t)(header.end - header.at) / 8);
    const unsigned char *table = header.at;
    int32_t at[2] = {0, 0};
    while (low < high) {
        size_t middle = (low + high) / 2;
        memcpy(at, table + 8 * middle, 4);
        if (base + (uintptr_t)(int64_t)at[0] <= module->pc) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    if (low == 0) {
        return -1;
    }
    memcpy(at, table + 8 * (low - 1), 8);
    return refmap_seek(module, base + (uintptr_t)(int64_t)at[1], entry);
}


/* --- interpreting it ------------------------------------------------------------------ */

/* Where a frame ends, and where the caller's frame pointer is. */
typedef struct {
    uintptr_t cfa_register;
    int64_t cfa_offset;
    int is_at;                  // the CFA is the word there
    int bp_is_saved;            // at the CFA + bp_offset
    int bp_is_at;               // at the frame pointer + bp_offset
    int64_t bp_offset;
    int has_no_caller;
    int is_unknown;             // it says what is not understood here
} refmap_row_t;

/* What a CIE and its FDE say. */
typedef struct {
    uintptr_t code_align;
    int64_t data_align;
    unsigned encoding;          // of addresses
    int has_augmentation;
    refmap_bytes_t initial, rest;
    uintptr_t start;            // of the function
} refmap_entry_t;

/* The operands of the instructions from 0x00 on: u, s: LEB128; b: a block; 1, 2, 4: a number
   of so many bytes. */
static const char *const operands[0x30] = {
    [0x00] = "", [0x02] = "1", [0x03] = "2", [0x04] = "4", [0x05] = "uu",
    [0x06] = "u", [0x07] = "u", [0x08] = "u", [0x09] = "uu", [0x0a] = "",
    [0x0b] = "", [0x0c] = "uu", [0x0d] = "u", [0x0e] = "u", [0x0f] = "b",
    [0x10] = "ub", [0x11] = "us", [0x12] = "us", [0x13] = "s", [0x14] = "uu",
    [0x15] = "us", [0x16] = "ub", [0x2e] = "u",
};

typedef struct {
    unsigned op;
    uintptr_t operand[2];
    refmap_bytes_t block;
} refmap_instruction_t;

/* Read one instruction. Return -1 if it is unknown. */
static int
refmap_read_instruction(refmap_bytes_t *bytes, refmap_instruction_t *found)
{
    unsigned byte = (unsigned)refmap_fixed(bytes, 1), op = byte >> 6;
    memset(found, 0, sizeof(*found));
    if (op != 0) {
        // Advance, offset, restore: what has an operand of its own, too.
        static const unsigned char same[] = {0, 0x04, 0x05, 0x06};
        found->op = same[op];
        found->operand[0] = byte & 0x3f;
        found->operand[1] = op == 2 ? refmap_uleb(bytes) : 0;
        return 0;
    }
    if (byte >= Py_ARRAY_LENGTH(operands) || operands[byte] == NULL) {
        return -1;
    }
    found->op = byte;
    for (int i = 0; operands[byte][i] != '\0'; i++) {
        char kind = operands[byte][i];
        if (kind == 'b') {
            found->block = refmap_sub(bytes, refmap_uleb(bytes));
        }
        else {
            found->operand[i] =
                kind == 'u' || kind == 's'
                ? (uintptr_t)refmap_leb(bytes, kind == 's')
                : (uintptr_t)refmap_fixed(bytes, (size_t)(kind - '0'));
        }
    }
    return 0;
}

/* Is it the expression "the frame pointer, and so much"? `then`: of DW_OP_*, what follows,
   or -1. This is what compilers write of a function that aligns its stack. */
static int
refmap_is_at_bp(refmap_bytes_t block, int then, int64_t *offset)
{
    if (refmap_fixed(&block, 1) != 0x70 + BP) {
        return 0;
    }
    *offset = refmap_leb(&block, 1);
    return (then < 0 || refmap_fixed(&block, 1) == (uint64_t)then)
           && block.at == block.end;
}

/* A register was saved at the CFA + `offset`, or is as it was (`is_saved`: 0). */
static void
refmap_set_register(refmap_row_t *row, uintptr_t number, int is_saved,
                    int64_t offset)
{
    if (number == BP) {
        row->bp_is_saved = is_saved;
        row->bp_is_at = 0;
        row->bp_offset = offset;
    }
    // The return address is always right below the CFA.
    row->is_unknown |= number == RETURN && (!is_saved || offset != -8);
}

/* What an instruction says of the CFA. */
static void
refmap_apply_cfa(const refmap_entry_t *entry, const refmap_instruction_t *i,
                 refmap_row_t *row)
{
    switch (i->op) {
    case 0x0c: case 0x12:       // def_cfa, def_cfa_sf
        row->cfa_register = i->operand[0];
        row->cfa_offset = (int64_t)i->operand[1]
                          * (i->op == 0x12 ? entry->data_align : 1);
        row->is_at = 0;
        break;
    case 0x0d:                  // def_cfa_register
        row->cfa_register = i->operand[0];
        break;
    case 0x0e: case 0x13:       // def_cfa_offset, def_cfa_offset_sf
        row->cfa_offset = (int64_t)i->operand[0]
                          * (i->op == 0x13 ? entry->data_align : 1);
        break;
    case 0x0f:                  // def_cfa_expression; DW_OP_deref
        row->is_at = refmap_is_at_bp(i->block, 0x06, &row->cfa_offset);
        row->cfa_register = row->is_at ? BP : RETURN;   // unknown
        break;
    }
}

/* What an instruction says of other registers. `initial`: what holds at the start of the
   function. */
static void
refmap_apply_register(const refmap_entry_t *entry,
                      const refmap_instruction_t *i,
                      const refmap_row_t *initial, refmap_row_t *row)
{
    uintptr_t number = i->operand[0];
    switch (i->op) {
    case 0x05: case 0x11:       // offset_extended, offset_extended_sf
        refmap_set_register(row, number, 1,
                            (int64_t)i->operand[1] * entry->data_align);
        break;
    case 0x06:                  // restore_extended
        if (number == BP) {
            refmap_set_register(row, BP, initial->bp_is_saved,
                                initial->bp_offset);
        }
        break;
    case 0x07:                  // undefined
        row->has_no_caller |= number == RETURN;
        break;
    case 0x08:                  // same_value
        refmap_set_register(row, number, 0, 0);
        break;
    case 0x10:                  // expression
        if (number == BP) {
            row->bp_is_at = refmap_is_at_bp(i->block, -1, &row->bp_offset);
        }
        row->is_unknown |= number == RETURN || (number == BP && !row->bp_is_at);
        break;
    case 0x09: case 0x14: case 0x15: case 0x16: // register, val_*
        row->is_unknown |= number == BP || number == RETURN;
        break;
    }
}

/* Interpret the instructions up to the one for code at `pc`. `initial` may be NULL. Return
   -1 if they are not understood. */
static int
refmap_interpret(const refmap_entry_t *entry, refmap_bytes_t bytes,
                 uintptr_t pc, const refmap_row_t *initial, refmap_row_t *row)
{
    refmap_row_t states[STATES], first = *row;
    uintptr_t location = entry->start;
    int n = 0;
    while (bytes.at < bytes.end) {
        refmap_instruction_t i;
        if (refmap_read_instruction(&bytes, &i) < 0) {
            return -1;
        }
        if (i.op >= 0x02 && i.op <= 0x04) {     // advance_loc
            location += i.operand[0] * entry->code_align;
            if (location > pc) {
                break;
            }
        }
        else if (i.op == 0x0a) {                // remember_state
            if (n == STATES) {
                return -1;
            }
            states[n++] = *row;
        }
        else if (i.op == 0x0b) {                // restore_state
            if (n == 0) {
                return -1;
            }
            *row = states[--n];
        }
        else {
            refmap_apply_cfa(entry, &i, row);
            refmap_apply_register(entry, &i, initial ? initial : &first, row);
        }
    }
    return 0;
}

/* Read a CIE. Return -1 if it is not understood. */
static int
refmap_read_cie(refmap_bytes_t bytes, refmap_entry_t *entry)
{
    uintptr_t length = refmap_fixed(&bytes, 4), address;
    bytes = refmap_sub(&bytes, length);
    if (refmap_fixed(&bytes, 4) != 0) {         // its id
        return -1;
    }
    unsigned version = (unsigned)refmap_fixed(&bytes, 1);
    const char *augmentation = (const char *)bytes.at;
    while (refmap_fixed(&bytes, 1) != 0) {
    }
    if ((version != 1 && version != 3) || bytes.at == bytes.end) {
        return -1;
    }
    entry->code_align = refmap_uleb(&bytes);
    entry->data_align = refmap_leb(&bytes, 1);
    uintptr_t number = version == 1 ? refmap_fixed(&bytes, 1)
                                    : refmap_uleb(&bytes);
    entry->has_augmentation = augmentation[0] == 'z';
    entry->encoding = 0;
    if (number != RETURN || (augmentation[0] && !entry->has_augmentation)) {
        return -1;
    }
    refmap_bytes_t data = {NULL, NULL};
    if (entry->has_augmentation) {
        data = refmap_sub(&bytes, refmap_uleb(&bytes));
    }
    entry->initial = bytes;
    for (const char *p = augmentation + entry->has_augmentation; *p; p++) {
        unsigned encoding = *p == 'S' ? 0 : (unsigned)refmap_fixed(&data, 1);
        if (*p == 'R') {
            entry->encoding = encoding;
        }
        // Of a signal frame the next one is another function's from the middle of an
        // instruction: nobody calls it.
        else if (*p == 'S' || (*p == 'P'
                 && refmap_encoded(&data, encoding & 0x1f, &address) < 0)
                 || (*p != 'P' && *p != 'L'))
        {
            return -1;
        }
    }
    return 0;
}

/* Read an FDE and its CIE. Return -1 if it is not one of the code, or not understood. */
static int
refmap_read_fde(const refmap_module_t *module, refmap_bytes_t bytes,
                refmap_entry_t *entry)
{
    uintptr_t length = refmap_fixed(&bytes, 4), size;
    bytes = refmap_sub(&bytes, length);         // of 64 bits: until the end
    uintptr_t here = (uintptr_t)bytes.at, back = refmap_fixed(&bytes, 4);
    refmap_bytes_t cie;
    if (length == 0 || length == 0xffffffff || back == 0
        || refmap_seek(module, here - back, &cie) < 0
        || refmap_read_cie(cie, entry) < 0
        || refmap_encoded(&bytes, entry->encoding, &entry->start) < 0
        || refmap_encoded(&bytes, entry->encoding & 0x0f, &size) < 0
        || module->pc - entry->start >= size)
    {
        return -1;
    }
    if (entry->has_augmentation) {
        (void)refmap_sub(&bytes, refmap_uleb(&bytes));
    }
    entry->rest = bytes;
    return 0;
}

/* Turn a row into a rule. Return -1 if it is not understood. */
static int
refmap_rule_of(const refmap_row_t *row, refmap_rule_t *rule)
{
    if (row->has_no_caller) {
        *rule = (refmap_rule_t){REFMAP_NONE, REFMAP_SAME, 0, 0};
        return 0;
    }
    if (row->is_unknown
        || (row->cfa_register != SP && row->cfa_register != BP)
        || row->cfa_offset != (int32_t)row->cfa_offset
        || row->bp_offset != (int32_t)row->bp_offset)
    {
        return -1;
    }
    rule->cfa = row->is_at ? REFMAP_WORD_AT_BP
                : row->cfa_register == BP ? REFMAP_FROM_BP : REFMAP_FROM_SP;
    rule->cfa_offset = (int32_t)row->cfa_offset;
    rule->bp = row->bp_is_at ? REFMAP_WORD_AT_BP
               : row->bp_is_saved ? REFMAP_WORD_AT_CFA : REFMAP_SAME;
    rule->bp_offset = (int32_t)row->bp_offset;
    return 0;
}

int
_PyRefMap_FindCaller(uintptr_t pc, refmap_rule_t *rule)
{
    // The call before the return address may be the last instruction of a function.
    refmap_module_t module = {.pc = pc - 1};
    (void)dl_iterate_phdr(refmap_see_module, &module);
    if (!module.is_known) {
        // CPython's trampoline for perf is copied to memory of its own. What stands there
        // is all of it: sub $8, %rsp; call *%rcx
        *rule = (refmap_rule_t){REFMAP_FROM_SP, REFMAP_SAME, 16, 0};
        return memcmp((const void *)(pc - 6), "\x48\x83\xec\x08\xff\xd1", 6) ? -1
               : 0;
    }
    refmap_bytes_t bytes;
    refmap_entry_t entry;
    if (refmap_find_entry(&module, &bytes) < 0
        || refmap_read_fde(&module, bytes, &entry) < 0)
    {
        return -1;
    }
    refmap_row_t initial = {0}, row;
    if (refmap_interpret(&entry, entry.initial, UINTPTR_MAX, NULL, &initial) < 0) {
        return -1;
    }
    row = initial;
    if (refmap_interpret(&entry, entry.rest, module.pc, &initial, &row) < 0) {
        return -1;
    }
    return refmap_rule_of(&row, rule);
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
