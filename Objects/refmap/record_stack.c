/* The C stack, walked from return address to return address: each has a rule that leads to
   the next one, found once, with frame pointers or without (see record_unwind.c).  The
   rules may be wrong, so every step is checked: a frame lies in the thread's stack above
   the one before, and its return address comes after a call instruction in mapped code. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "stacks.h"

#ifdef REFMAP_WALKS

#include "pycore_ceval.h"         // _PyEval_EvalFrameDefault()

#include <fcntl.h>                // open()
#include <pthread.h>              // pthread_getattr_np()
#include <unistd.h>               // read()

/* --- mappings ----------------------------------------------------------------- */

/* A line of /proc/self/maps is a few numbers and a path. */
#define LINE_MAX_SIZE 4352

/* See proc_pid_maps(5). */
static int
refmap_parse_mapping(char *line, refmap_mapping_t *mapping)
{
    char *p = line;
    mapping->start = strtoull(p, &p, 16);
    if (*p++ != '-') {
        return -1;
    }
    mapping->end = strtoull(p, &p, 16);
    if (strlen(p) < 6) {
        return -1;
    }
    mapping->readable = p[1] == 'r';
    mapping->writable = p[2] == 'w';
    mapping->executable = p[3] == 'x';
    mapping->offset = strtoull(p + 6, &p, 16);
    // Device and inode.
    for (int i = 0; i < 2; i++) {
        p += strspn(p, " ");
        p += strcspn(p, " ");
    }
    mapping->path = p + strspn(p, " ");
    return 0;
}

int
_PyRefMap_EachMapping(int (*see)(const refmap_mapping_t *, void *), void *arg)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    char line[LINE_MAX_SIZE];
    size_t len = 0;
    int stop = 0;
    while (!stop) {
        ssize_t n = read(fd, line + len, sizeof(line) - 1 - len);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
        char *start = line, *end;
        while (!stop
               && (end = memchr(start, '\n', len - (size_t)(start - line))) != NULL)
        {
            *end = '\0';
            refmap_mapping_t mapping;
            stop = refmap_parse_mapping(start, &mapping) == 0
                   && see(&mapping, arg);
            start = end + 1;
        }
        len -= (size_t)(start - line);
        memmove(line, start, len);
    }
    close(fd);
    return 0;
}


/* --- code ------------------------------------------------------------------------ */

#define MAX_TEXTS 1024
/* Return addresses that were looked at before: each is in one of WAYS places. */
#define KNOWN 16384
#define WAYS 4
/* How often an unknown address may lead to a look at the mappings. */
#define MAX_REREADS 200

enum { IS_RETURN = 1, IS_TRANSPARENT = 2, HAS_RULE = 4, IS_PYTHON = 8 };

static struct { uintptr_t start, end; } texts[MAX_TEXTS];
static size_t ntexts;
static int nreads, nrereads;
typedef struct {
    uintptr_t pc;
    int what;
    refmap_rule_t rule;
} refmap_known_t;
static refmap_known_t known[KNOWN + WAYS];
static uintptr_t (*transparent)[2];     // sorted
static size_t ntransparent;

static int
refmap_see_text(const refmap_mapping_t *mapping, void *Py_UNUSED(arg))
{
    if (strstr(mapping->path, "/_greenlet.") != NULL) {
        _PyRefMap_StacksMove();
    }
    if (!mapping->readable || !mapping->executable) {
        return 0;
    }
    if (ntexts > 0 && texts[ntexts - 1].end == mapping->start) {
        // A call may end where one of the two does.
        texts[ntexts - 1].end = mapping->end;
    }
    else {
        texts[ntexts].start = mapping->start;
        texts[ntexts].end = mapping->end;
        ntexts++;
    }
    return ntexts == MAX_TEXTS;
}

static void
refmap_read_texts(void)
{
    nreads++;
    ntexts = 0;
    (void)_PyRefMap_EachMapping(refmap_see_text, NULL);
}

int
_PyRefMap_MappingsSeen(void)
{
    return nreads;
}

static int
refmap_in_text(uintptr_t pc)
{
    size_t low = 0, high = ntexts;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (texts[middle].end <= pc) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    // The longest call instruction has seven bytes.
    return low < ntexts && texts[low].start + 7 <= pc;
}

/* Is there a call, relative (E8) or indirect (FF /2), in front of `pc`? See Intel's
   manual, volume 2, "CALL". */
static int
refmap_after_call(uintptr_t pc)
{
    const unsigned char *p = (const unsigned char *)pc;
    if (p[-5] == 0xe8) {
        return 1;
    }
    for (int k = 2; k <= 7; k++) {
        if (p[-k] == 0xff && (p[-k + 1] & 0x38) == 0x10) {
            return 1;
        }
    }
    return 0;
}

static int
refmap_in_transparent(uintptr_t pc)
{
    // A return address may be the first after its function.
    uintptr_t address = pc - 1;
    size_t low = 0, high = ntransparent;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (transparent[middle][0] + transparent[middle][1] <= address) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low < ntransparent && transparent[low][0] <= address;
}

/* Is `pc` in mapped code? It may be of a library that was loaded meanwhile. */
static int
refmap_is_code(uintptr_t pc)
{
    if (refmap_in_text(pc)) {
        return 1;
    }
    if (pc >> REFMAP_ADDRESS_BITS != 0 || pc < REFMAP_PAGE_SIZE
        || nrereads >= MAX_REREADS)
    {
        return 0;
    }
    nrereads++;
    refmap_read_texts();
    return refmap_in_text(pc);
}

static const refmap_known_t *
refmap_learn(uintptr_t pc, refmap_known_t *at)
{
    refmap_known_t *place = at;
    for (int i = WAYS - 1; i >= 0; i--) {
        if (at[i].pc == pc) {
            return &at[i];
        }
        place = at[i].pc == 0 ? &at[i] : place;
    }
    if (!refmap_is_code(pc)) {
        return NULL;
    }
    *place = (refmap_known_t){.pc = pc};
    place->what = (refmap_after_call(pc) ? IS_RETURN : 0)
                  | (refmap_in_transparent(pc) ? IS_TRANSPARENT : 0);
    if ((place->what & IS_RETURN)
        && _PyRefMap_FindCaller(pc, &place->rule) == 0)
    {
        place->what |= HAS_RULE;
        if (place->rule.start == (uintptr_t)_PyEval_EvalFrameDefault) {
            place->what |= IS_PYTHON;
        }
    }
    return place;
}

/* What is known of a return address; NULL if it is not in mapped code. */
static inline const refmap_known_t *
refmap_know(uintptr_t pc)
{
    refmap_known_t *at = &known[(pc ^ pc >> 14) % KNOWN];
    return at->pc == pc ? at : refmap_learn(pc, at);
}

static int
refmap_is(uintptr_t pc, int what)
{
    const refmap_known_t *it = refmap_know(pc);
    return it != NULL && (it->what & what) != 0;
}

int
_PyRefMap_IsReturnAddress(uintptr_t pc)
{
    return refmap_is(pc, IS_RETURN);
}

int
_PyRefMap_IsTransparent(uintptr_t pc)
{
    return refmap_is(pc, IS_TRANSPARENT);
}

static int
refmap_compare_ranges(const void *left, const void *right)
{
    uintptr_t a = *(const uintptr_t *)left, b = *(const uintptr_t *)right;
    return (a > b) - (a < b);
}

int
_PyRefMap_StartStacks(const uintptr_t (*ranges)[2], size_t n)
{
    _PyRefMap_RawFree(transparent, ntransparent * sizeof(*transparent));
    transparent = NULL;
    ntransparent = 0;
    memset(known, 0, sizeof(known));
    nrereads = 0;
    refmap_read_texts();
    if (n > 0) {
        transparent = _PyRefMap_Malloc(n * sizeof(*transparent));
        if (transparent == NULL) {
            return -1;
        }
        memcpy(transparent, ranges, n * sizeof(*transparent));
        qsort(transparent, n, sizeof(*transparent), refmap_compare_ranges);
        ntransparent = n;
    }
    return 0;
}


/* --- frames ------------------------------------------------------------------------ */

/* A function at a call. */
typedef struct {
    const refmap_stack_t *stack;
    uintptr_t pc;               // where the call returns to
    uintptr_t sp;               // its stack pointer after that
    uintptr_t bp;               // what its frame pointer is, or whatever is in there
} refmap_cursor_t;

/* Is there a word of the stack, not below the frame? */
static int
refmap_is_above(const refmap_cursor_t *cursor, uintptr_t address)
{
    return (address & 7) == 0 && address >= cursor->sp
           && address < cursor->stack->high - 2 * sizeof(uintptr_t);
}

/* Go on to the caller by a rule. Return the slot of the activation that was left, or 0 if
   that leads nowhere. */
static uintptr_t
refmap_step(refmap_cursor_t *cursor, const refmap_rule_t *rule)
{
    uintptr_t cfa = (rule->cfa == REFMAP_FROM_SP ? cursor->sp : cursor->bp)
                    + (uintptr_t)(intptr_t)rule->cfa_offset;
    if (rule->cfa == REFMAP_WORD_AT_BP) {
        if (!refmap_is_above(cursor, cfa)) {
            return 0;
        }
        cfa = *(const uintptr_t *)cfa;
    }
    uintptr_t slot = cfa - sizeof(uintptr_t);
    uintptr_t saved = (rule->bp == REFMAP_WORD_AT_CFA ? cfa : cursor->bp)
                      + (uintptr_t)(intptr_t)rule->bp_offset;
    if (!refmap_is_above(cursor, slot)
        || (rule->bp != REFMAP_SAME && !refmap_is_above(cursor, saved)))
    {
        return 0;
    }
    if (rule->bp != REFMAP_SAME) {
        cursor->bp = *(const uintptr_t *)saved;
    }
    cursor->pc = *(const uintptr_t *)slot;
    if (cursor->pc == refmap_trampoline_address()) {
        cursor->pc = _PyRefMap_RealReturn(slot);
    }
    cursor->sp = cfa;
    return slot;
}

/* The caller of the function at `fp`, which has a frame pointer: a hook. Return -1 if there
   is none. */
static int
refmap_start_walk(refmap_cursor_t *cursor, const refmap_stack_t *stack, uintptr_t fp)
{
    static const refmap_rule_t hook = {REFMAP_FROM_BP, REFMAP_WORD_AT_CFA, 16, -16, 0};
    *cursor = (refmap_cursor_t){stack, 0, fp, fp};
    return fp < stack->low || refmap_step(cursor, &hook) == 0 ? -1 : 0;
}

int
_PyRefMap_Walk(const refmap_stack_t *stack, uintptr_t fp, refmap_frame_t *frames,
               int max)
{
    refmap_cursor_t cursor;
    int n = 0;
    if (refmap_start_walk(&cursor, stack, fp) < 0) {
        return 0;
    }
    while (n < max && cursor.pc != 0) {
        const refmap_known_t *it = refmap_know(cursor.pc);
        if (it == NULL || !(it->what & IS_RETURN)) {
            // The step before led astray.
            if (n > 0) {
                frames[n - 1].slot = 0;
            }
            break;
        }
        if ((it->what & HAS_RULE) && it->rule.cfa == REFMAP_NONE) {
            break;
        }
        frames[n].pc = cursor.pc;
        frames[n].slot = it->what & HAS_RULE ? refmap_step(&cursor, &it->rule) : 0;
        if (frames[n++].slot == 0) {
            break;
        }
    }
    return n;
}

int
_PyRefMap_WalkToPython(const refmap_stack_t *stack, uintptr_t fp,
                       refmap_frame_t *frames, int max, int *is_fixed)
{
    refmap_cursor_t cursor;
    int n = 0;
    *is_fixed = 0;
    if (refmap_start_walk(&cursor, stack, fp) < 0) {
        return 0;
    }
    int by_sp = 1;
    uintptr_t slot = fp + sizeof(uintptr_t);
    while (n < max && slot != 0) {
        const refmap_known_t *it = refmap_know(cursor.pc);
        if (it == NULL || !(it->what & IS_RETURN)) {
            return n;
        }
        // Here a slot is where the return address was found.
        frames[n++] = (refmap_frame_t){cursor.pc, slot};
        if (it->what & IS_PYTHON) {
            break;
        }
        by_sp &= it->rule.cfa == REFMAP_FROM_SP;
        slot = (it->what & HAS_RULE) && it->rule.cfa != REFMAP_NONE
               ? refmap_step(&cursor, &it->rule) : 0;
    }
    *is_fixed = by_sp && slot != 0;
    return n;
}

int
_PyRefMap_StackBounds(refmap_stack_t *stack)
{
    pthread_attr_t attr;
    void *low;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attr) != 0) {
        return -1;
    }
    int failed = pthread_attr_getstack(&attr, &low, &size);
    pthread_attr_destroy(&attr);
    if (failed) {
        return -1;
    }
    stack->low = (uintptr_t)low;
    stack->high = (uintptr_t)low + size;
    return 0;
}

#endif  // REFMAP_WALKS
#endif  // Py_REFCOUNT_MAP
