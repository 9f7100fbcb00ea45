/* The reader of call frame information, on a file of its own; see test_unwind.py.

   usage: unwind FILE
          unwind FILE SEED TIMES

   FILE is an ELF file.  Reads link addresses from standard input.  First: prints the rule for
   each, or "none".  Second: damages a copy of the segment that has the call frame information,
   TIMES times, and looks all addresses up in it.  The copy is exactly as long as the segment
   claims to be, so that the address sanitizer sees any read outside.

   The map's own file is included; its dl_iterate_phdr() is ours. */

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tell_module(int (*see)(struct dl_phdr_info *, size_t, void *), void *arg);
#define dl_iterate_phdr tell_module
#include "record_unwind.c"
#undef dl_iterate_phdr

#define MAX_HEADERS 32
#define MAX_ADDRESSES 100000

static struct {
    unsigned char *file;
    ElfW(Phdr) headers[MAX_HEADERS];
    ElfW(Phdr) *segment;        // the one that is copied
    unsigned char *copy;
    int n;
} elf;

static int
tell_module(int (*see)(struct dl_phdr_info *, size_t, void *), void *arg)
{
    struct dl_phdr_info info = {
        .dlpi_addr = (uintptr_t)elf.copy - elf.segment->p_vaddr,
        .dlpi_phdr = elf.headers, .dlpi_phnum = (ElfW(Half))elf.n};
    return see(&info, sizeof(info), arg);
}

static void
fail(const char *message)
{
    fprintf(stderr, "unwind: %s\n", message);
    exit(2);
}

static void
read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fail("the file can't be read");
    }
    size_t size = (size_t)ftell(file);
    rewind(file);
    elf.file = malloc(size);
    if (elf.file == NULL || fread(elf.file, 1, size, file) != size) {
        fail("the file can't be read");
    }
    fclose(file);
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)elf.file;
    if (size < sizeof(*header) || header->e_phnum > MAX_HEADERS) {
        fail("this is no ELF file");
    }
    elf.n = header->e_phnum;
    memcpy(elf.headers, elf.file + header->e_phoff, sizeof(ElfW(Phdr)) * (size_t)elf.n);
}

static void
find_segment(void)
{
    for (int i = 0; i < elf.n; i++) {
        for (int k = 0; k < elf.n; k++) {
            ElfW(Phdr) *segment = &elf.headers[k];
            if (elf.headers[i].p_type == PT_GNU_EH_FRAME && segment->p_type == PT_LOAD
                && elf.headers[i].p_vaddr - segment->p_vaddr < segment->p_filesz)
            {
                elf.segment = segment;
                return;
            }
        }
    }
    fail("there is no call frame information");
}

/* Make a copy of the first `size` bytes of the segment. */
static void
make_copy(size_t size)
{
    const unsigned char *bytes = elf.file + elf.segment->p_offset;
    elf.segment->p_memsz = size;
    free(elf.copy);
    elf.copy = malloc(size);
    if (elf.copy == NULL) {
        fail("out of memory");
    }
    memcpy(elf.copy, bytes, size);
}

static int
look_up(uintptr_t address, refmap_rule_t *rule)
{
    return _PyRefMap_FindCaller(
        address + (uintptr_t)elf.copy - elf.segment->p_vaddr, rule);
}

static uintptr_t addresses[MAX_ADDRESSES];
static size_t naddresses;

static void
damage(unsigned seed, int times)
{
    size_t whole = elf.segment->p_filesz;
    size_t found = 0;
    srand(seed);
    for (int i = 0; i < times; i++) {
        // Each fourth one ends early, too.
        make_copy(i % 4 ? whole : 1 + (size_t)rand() % whole);
        for (size_t at = 0; at < elf.segment->p_memsz; at++) {
            if (rand() % 64 == 0) {
                elf.copy[at] = (unsigned char)rand();
            }
        }
        // The same instruction, again and again.
        for (int k = 0; k < 100; k++) {
            size_t at = (size_t)rand() % elf.segment->p_memsz;
            memset(elf.copy + at, rand() % 0x30,
                   Py_MIN((size_t)16, elf.segment->p_memsz - at));
        }
        if (i % 2 && elf.segment->p_memsz == whole) {
            // The table is whole, so that the entries are reached.
            for (int k = 0; k < elf.n; k++) {
                if (elf.headers[k].p_type == PT_GNU_EH_FRAME) {
                    size_t offset = elf.headers[k].p_vaddr - elf.segment->p_vaddr;
                    memcpy(elf.copy + offset,
                           elf.file + elf.segment->p_offset + offset,
                           elf.headers[k].p_filesz);
                }
            }
        }
        refmap_rule_t rule;
        for (size_t k = 0; k < naddresses; k++) {
            found += look_up(addresses[k], &rule) == 0;
        }
    }
    printf("%zu of %zu\n", found, (size_t)times * naddresses);
}

int
main(int argc, char **argv)
{
    if (argc != 2 && argc != 4) {
        fail("usage: unwind FILE [SEED TIMES]");
    }
    read_file(argv[1]);
    find_segment();
    make_copy(elf.segment->p_filesz);
    while (naddresses < MAX_ADDRESSES
           && scanf("%lx", &addresses[naddresses]) == 1)
    {
        naddresses++;
    }
    if (argc == 4) {
        damage((unsigned)atoi(argv[2]), atoi(argv[3]));
        return 0;
    }
    for (size_t i = 0; i < naddresses; i++) {
        refmap_rule_t rule;
        if (look_up(addresses[i], &rule) < 0) {
            puts("none");
        }
        else {
            printf("%d %d %d %d\n", rule.cfa, rule.cfa_offset, rule.bp, rule.bp_offset);
        }
    }
    return 0;
}
