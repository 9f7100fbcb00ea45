/* Recording on and off.  What is to be recorded is prepared first: while that may fail,
   nothing has changed. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "record.h"

#ifdef REFMAP_RECORDS

/* --- allocators ------------------------------------------------------------------ */

/* What the hooked allocators were before. They stay what they are when recording stops:
   another thread may just be on its way. */
static PyMemAllocatorEx allocators[3];
static int is_hooked[3];
#define DOMAINS ((int)Py_ARRAY_LENGTH(allocators))

static_assert(PYMEM_DOMAIN_RAW == 0 && PYMEM_DOMAIN_MEM == 1
              && PYMEM_DOMAIN_OBJ == 2, "they are named in the documentation");

static PyMemAllocatorEx *
refmap_allocator(void *domain)
{
    return &allocators[(intptr_t)domain];
}

static void *
refmap_note_alloc(void *domain, void *ptr, size_t size, void *fp)
{
    if (ptr != NULL && _PyRefMap_recording) {
        _PyRefMap_RecordAlloc(ptr, size, (int)(intptr_t)domain, fp);
    }
    return ptr;
}

static void *
refmap_hook_malloc(void *domain, size_t size)
{
    PyMemAllocatorEx *a = refmap_allocator(domain);
    return refmap_note_alloc(domain, a->malloc(a->ctx, size), size,
                             __builtin_frame_address(0));
}

static void *
refmap_hook_calloc(void *domain, size_t n, size_t size)
{
    PyMemAllocatorEx *a = refmap_allocator(domain);
    return refmap_note_alloc(domain, a->calloc(a->ctx, n, size), n * size,
                             __builtin_frame_address(0));
}

static void *
refmap_hook_realloc(void *domain, void *ptr, size_t size)
{
    PyMemAllocatorEx *a = refmap_allocator(domain);
    void *moved = a->realloc(a->ctx, ptr, size), *fp = __builtin_frame_address(0);
    if (moved != NULL && ptr != NULL && _PyRefMap_recording) {
        _PyRefMap_RecordMoveBlock(ptr, moved, size, (int)(intptr_t)domain, fp);
        return moved;
    }
    return refmap_note_alloc(domain, moved, size, fp);
}

static void
refmap_hook_free(void *domain, void *ptr)
{
    PyMemAllocatorEx *a = refmap_allocator(domain);
    if (ptr != NULL && _PyRefMap_recording) {
        _PyRefMap_RecordFreeBlock(ptr, __builtin_frame_address(0));
    }
    a->free(a->ctx, ptr);
}

static void
refmap_hook_allocators(int with_raw)
{
    for (int domain = with_raw ? 0 : 1; domain < DOMAINS; domain++) {
        PyMemAllocatorEx hook = {
            (void *)(intptr_t)domain, refmap_hook_malloc, refmap_hook_calloc,
            refmap_hook_realloc, refmap_hook_free};
        PyMem_GetAllocator((PyMemAllocatorDomain)domain, &allocators[domain]);
        PyMem_SetAllocator((PyMemAllocatorDomain)domain, &hook);
        is_hooked[domain] = 1;
    }
}

/* Whoever hooked the allocators after that is left alone: ours then does nothing. */
static void
refmap_unhook_allocators(void)
{
    for (int domain = 0; domain < DOMAINS; domain++) {
        PyMemAllocatorEx now;
        if (!is_hooked[domain]) {
            continue;
        }
        PyMem_GetAllocator((PyMemAllocatorDomain)domain, &now);
        if (now.malloc == refmap_hook_malloc) {
            PyMem_SetAllocator((PyMemAllocatorDomain)domain, &allocators[domain]);
            is_hooked[domain] = 0;
        }
    }
}


/* --- what is to be recorded --------------------------------------------------------- */

static int
refmap_copy_names(const refmap_watch_t *watch, refmap_record_options_t *options)
{
    if (watch->ntypes == 0) {
        return 0;
    }
    if (_PyRefMap_Grow(&options->names, &options->names_allocated, watch->ntypes,
                       sizeof(*options->names)) < 0) {
        return -1;
    }
    for (size_t i = 0; i < watch->ntypes; i++) {
        char *name = _PyRefMap_CopyString(watch->types[i], SIZE_MAX);
        if (name == NULL) {
            return -1;
        }
        options->names[options->nnames++] = name;
    }
    return 0;
}

static int
refmap_copy_watch(const refmap_watch_t *watch, refmap_record_options_t *options)
{
    for (size_t i = 0; i < watch->nbirths; i++) {
        // 0 and 1 are no keys.
        if (_PyRefMap_TableAdd(&options->births, watch->births[i] + 2) == NULL) {
            return -1;
        }
    }
    options->first_birth = refmap_current_map()->hot->births
                           & REFMAP_BIRTH_SERIAL;
    options->returns = watch->returns;
    options->places = watch->places;
    options->blocks = watch->blocks;
    return refmap_copy_names(watch, options);
}

static int
refmap_prepare(const refmap_watch_t *watch, uint32_t *birth)
{
    refmap_record_options_t options = {0};
    if (_PyRefMap_StartTape(watch->limit) < 0
        || _PyRefMap_StartStacks(watch->transparent, watch->ntransparent) < 0
        || _PyRefMap_StartPlaces() < 0
        || refmap_copy_watch(watch, &options) < 0)
    {
        _PyRefMap_ClearWatch(&options);
        return -1;
    }
    *birth = (uint32_t)options.first_birth;
    if (_PyRefMap_PrepareRecording(&options) < 0) {
        _PyRefMap_ClearWatch(&options);
        return -1;
    }
    for (size_t i = 0; i < watch->naddresses; i++) {
        if (_PyRefMap_Watch(watch->addresses[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

int
_PyRefMap_StartRecording(const refmap_watch_t *watch, uint32_t *birth)
{
    if (_PyRefMap_recording) {
        return -2;
    }
    if (watch->returns && _PyRefMap_StartReturns(_PyRefMap_OnReturn) < 0) {
        return -3;
    }
    if (refmap_prepare(watch, birth) < 0) {
        _PyRefMap_ClearTape();
        return -1;
    }
    if (watch->places || watch->blocks) {
        refmap_hook_allocators(watch->blocks);
    }
    _PyRefMap_BypassAll(1);
    _PyRefMap_SwitchRecording(1);
    return 0;
}

int
_PyRefMap_StopRecording(const void **words, size_t *bytes)
{
    if (!_PyRefMap_recording) {
        return -1;
    }
    _PyRefMap_SwitchRecording(0);
    _PyRefMap_BypassAll(0);
    refmap_unhook_allocators();
    _PyRefMap_TapeEnd();
    *words = _PyRefMap_tape.words;
    *bytes = _PyRefMap_tape.used * sizeof(uint64_t);
    return 0;
}

void
_PyRefMap_DropRecording(void)
{
    _PyRefMap_ClearTape();
}

#endif  // REFMAP_RECORDS
#endif  // Py_REFCOUNT_MAP
