/* The tape: the records of a recording, one after the other in raw memory.  The format is
   in pycore_refmap_record.h. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

#include "pycore_code.h"          // PyCodeObject
#include "pycore_frame.h"         // _PyInterpreterFrame
#include "pycore_pystate.h"       // _PyThreadState_GET()

/* Read by gdb, too: see Tools/gdb/refmap_gdb/. */
struct _refmap_tape _PyRefMap_tape;

/* Python code that was met: by address, the index of its last CODE record. Code may have
   been freed, and other code be there. */
typedef struct {
    PyObject *qualname, *filename;
    int firstlineno;
    uint32_t index;
} refmap_code_t;
static refmap_table_t codes;        // address -> index in met
static refmap_code_t *met;
static size_t nmet, met_allocated;
static uint32_t last_index;

/* Types that were met: by address, the address of their name then. */
static refmap_table_t types;

int
_PyRefMap_StartTape(size_t limit)
{
    struct _refmap_tape *tape = &_PyRefMap_tape;
    _PyRefMap_ClearTape();
    limit = Py_MAX(limit, REFMAP_PAGE_SIZE) / sizeof(uint64_t);
    tape->words = _PyRefMap_Malloc(limit * sizeof(uint64_t));
    if (tape->words == NULL) {
        return -1;
    }
    tape->allocated = limit;
    return 0;
}

void
_PyRefMap_ClearTape(void)
{
    struct _refmap_tape *tape = &_PyRefMap_tape;
    if (tape->words != NULL) {
        _PyRefMap_RawFree(tape->words, tape->allocated * sizeof(uint64_t));
    }
    memset(tape, 0, sizeof(*tape));
    _PyRefMap_RawFree(met, met_allocated * sizeof(*met));
    met = NULL;
    nmet = met_allocated = 0;
    last_index = 0;
    _PyRefMap_TableClear(&codes);
    _PyRefMap_TableClear(&types);
}

/* What is written at the end has room of its own. */
#define END_WORDS ((size_t)32 << 10)

static uint64_t *
refmap_tape_take(int kind, int nframes, unsigned thread, size_t nwords,
                 size_t kept)
{
    struct _refmap_tape *tape = &_PyRefMap_tape;
    if (tape->used + nwords + kept > tape->allocated) {
        tape->lost_records++;
        return NULL;
    }
    uint64_t *word = tape->words + tape->used;
    tape->used += nwords;
    *word++ = (uint64_t)kind | (uint64_t)nframes << 8
              | (uint64_t)(thread & 0xffff) << 16 | (uint64_t)nwords << 32;
    return word;
}

uint64_t *
_PyRefMap_TapeRecord(int kind, int nframes, unsigned thread, size_t nwords)
{
    size_t kept = Py_MIN(END_WORDS, _PyRefMap_tape.allocated / 4);
    return refmap_tape_take(kind, nframes, thread, nwords, kept);
}

uint64_t *
_PyRefMap_TapeFrames(uint64_t *word, const refmap_frame_t *frames, int n)
{
    for (int i = 0; i < n; i++) {
        *word++ = frames[i].pc;
        *word++ = frames[i].slot;
    }
    return word;
}

void
_PyRefMap_TapeErase(size_t index)
{
    uint64_t *first = &_PyRefMap_tape.words[index];
    *first = *first >> 8 << 8 | REFMAP_VOID;
}

static size_t
refmap_words_of(size_t bytes)
{
    return (bytes + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

static uint64_t *
refmap_tape_text(uint64_t *word, const char *text, size_t size)
{
    size_t n = refmap_words_of(size);
    if (n > 0) {
        word[n - 1] = 0;
        memcpy(word, text, size);
    }
    return word + n;
}


/* --- Python code --------------------------------------------------------------- */

#define MAX_NAME 512

static uint32_t
refmap_new_code(const PyCodeObject *code)
{
    char name[MAX_NAME], file[MAX_NAME];
    size_t name_size = _PyRefMap_CopyText(code->co_qualname, name, sizeof(name));
    size_t file_size = _PyRefMap_CopyText(code->co_filename, file, sizeof(file));
    uint64_t *word = _PyRefMap_TapeRecord(
        REFMAP_CODE, 0, 0,
        5 + refmap_words_of(name_size) + refmap_words_of(file_size));
    if (word == NULL) {
        return 0;
    }
    *word++ = ++last_index;
    *word++ = (uint64_t)code->co_firstlineno;
    *word++ = name_size;
    *word++ = file_size;
    word = refmap_tape_text(word, name, name_size);
    refmap_tape_text(word, file, file_size);
    return last_index;
}

static uint32_t
refmap_code_index(const PyCodeObject *code)
{
    uint64_t *at = _PyRefMap_TableAdd(&codes, (uintptr_t)code);
    if (at == NULL) {
        return 0;
    }
    refmap_code_t now = {code->co_qualname, code->co_filename,
                         code->co_firstlineno, 0};
    if (*at == 0) {
        if (_PyRefMap_Grow(&met, &met_allocated, nmet + 1, sizeof(*met)) < 0) {
            return 0;
        }
        met[nmet++] = now;
        *at = nmet;
    }
    refmap_code_t *known = &met[*at - 1];
    if (known->index == 0 || known->qualname != now.qualname
        || known->filename != now.filename
        || known->firstlineno != now.firstlineno)
    {
        *known = now;
        known->index = refmap_new_code(code);
    }
    return known->index;
}

uint64_t
_PyRefMap_TapeCode(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    _PyInterpreterFrame *frame = tstate != NULL ? tstate->current_frame : NULL;
    while (frame != NULL && _PyFrame_IsIncomplete(frame)) {
        frame = frame->previous;
    }
    if (frame == NULL) {
        return 0;
    }
    PyCodeObject *code = _PyFrame_GetCode(frame);
    int line = PyUnstable_InterpreterFrame_GetLine(frame);
    return (uint64_t)refmap_code_index(code) << 32 | (uint32_t)Py_MAX(line, 0);
}


/* --- types ------------------------------------------------------------------------ */

static void
refmap_tape_type(const PyTypeObject *type)
{
    size_t size = strnlen(type->tp_name, MAX_NAME);
    uint64_t *word = _PyRefMap_TapeRecord(REFMAP_TYPE, 0, 0,
                                          11 + refmap_words_of(size));
    if (word == NULL) {
        return;
    }
    *word++ = (uintptr_t)type;
    *word++ = (uint64_t)type->tp_basicsize;
    *word++ = (uint64_t)type->tp_itemsize;
    *word++ = type->tp_flags;
    *word++ = (uintptr_t)type->tp_dealloc;
    *word++ = (uintptr_t)type->tp_traverse;
    *word++ = (uintptr_t)type->tp_clear;
    *word++ = (uintptr_t)type->tp_base;
    *word++ = (uintptr_t)type->tp_iternext;
    *word++ = size;
    refmap_tape_text(word, type->tp_name, size);
}

void
_PyRefMap_TapeType(PyTypeObject *type)
{
    if ((uintptr_t)type == REFMAP_THREAD_STATE) {
        return;
    }
    for (; type != NULL; type = type->tp_base) {
        uint64_t *name = _PyRefMap_TableAdd(&types, (uintptr_t)type);
        if (name == NULL || *name == (uintptr_t)type->tp_name) {
            return;
        }
        *name = (uintptr_t)type->tp_name;
        refmap_tape_type(type);
    }
}


/* --- the end ------------------------------------------------------------------------ */

static int
refmap_tape_module(const refmap_mapping_t *mapping, void *Py_UNUSED(arg))
{
    if (!mapping->executable || mapping->path[0] != '/') {
        return 0;
    }
    size_t size = strlen(mapping->path);
    uint64_t *word = refmap_tape_take(REFMAP_MODULE, 0, 0,
                                      5 + refmap_words_of(size), 4);
    if (word == NULL) {
        return 1;
    }
    *word++ = mapping->start;
    *word++ = mapping->end;
    *word++ = mapping->offset;
    *word++ = size;
    refmap_tape_text(word, mapping->path, size);
    return 0;
}

void
_PyRefMap_TapeEnd(void)
{
    struct _refmap_tape *tape = &_PyRefMap_tape;
    (void)_PyRefMap_EachMapping(refmap_tape_module, NULL);
    uint64_t *word = refmap_tape_take(REFMAP_LOST, 0, 0, 4, 0);
    if (word != NULL) {
        *word++ = tape->lost_records;
        *word++ = tape->lost_tokens;
        *word++ = tape->lost_memory;
    }
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
