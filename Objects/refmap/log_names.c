/* The names in an event log: each type, code, place and callable is written once, and has a
   number from then on.

   Addresses are used again.  So a type or code that dies is forgotten at once: its death is
   an event that comes by.  And when a log is resumed, what is known is looked at again by
   its birth: things may have died meanwhile. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "log.h"
#include "pycore_code.h"          // _PyCode_NBYTES()

#include <fnmatch.h>

/* Bytes of a table of lines that are kept. */
#define MAX_LINES ((size_t)64 << 10)

static uint32_t
refmap_birth_of(const void *op)
{
    return _PyRefMap_LivingBirth((uintptr_t)op);
}

static unsigned char *
refmap_put_bytes(unsigned char *p, const char *bytes, size_t size)
{
    p = refmap_put(p, size);
    memcpy(p, bytes, size);
    return p + size;
}

static unsigned char *
refmap_put_text(unsigned char *p, PyObject *text)
{
    char utf8[REFMAP_LOG_NAME];
    return refmap_put_bytes(p, utf8, _PyRefMap_CopyText(text, utf8, sizeof(utf8)));
}


/* --- types --------------------------------------------------------------------------- */

static int
refmap_matches(const PyTypeObject *type, const refmap_log_type_t *types, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (types[i].address != 0
            ? types[i].address == (uintptr_t)type
            : fnmatch(types[i].pattern, type->tp_name, 0) == 0)
        {
            return 1;
        }
    }
    return 0;
}

/* Is it one of the module builtins, or could be? */
static int
refmap_is_builtin(const PyTypeObject *type)
{
    return !(type->tp_flags & Py_TPFLAGS_HEAPTYPE)
           && strchr(type->tp_name, '.') == NULL;
}

static int
refmap_wants(const refmap_log_options_t *options, const PyTypeObject *type)
{
    if (refmap_matches(type, options->exclude, options->nexclude)) {
        return 0;
    }
    if (options->ninclude > 0) {
        return refmap_matches(type, options->include, options->ninclude);
    }
    return options->builtins || !refmap_is_builtin(type);
}

/* Fill in a type that is new, or has another name now. */
static int
refmap_meet_type(refmap_stream_t *stream, refmap_log_met_t *met, PyTypeObject *type)
{
    char *copy = _PyRefMap_CopyString(type->tp_name, REFMAP_LOG_NAME);
    if (copy == NULL) {
        return -1;
    }
    _PyRefMap_FreeString(met->copy);
    met->copy = copy;
    met->name = type->tp_name;
    met->address = (uintptr_t)type;
    met->birth = refmap_birth_of(type);
    met->index = 0;
    met->generation = stream->generation;
    met->is_wanted = refmap_wants(&stream->log->options, type);
    return 0;
}

/* A type that is not known, or is not what is known. */
static Py_NO_INLINE refmap_log_met_t *
refmap_new_type(refmap_stream_t *stream, PyTypeObject *type, uint64_t *at)
{
    if (*at != 0) {
        refmap_log_met_t *known = &stream->met[*at - 1];
        if (known->birth == refmap_birth_of(type)) {
            // It was resumed, or the type was renamed.
            known->generation = stream->generation;
            return known->name == type->tp_name
                   || refmap_meet_type(stream, known, type) == 0 ? known : NULL;
        }
    }
    refmap_log_met_t met = {0};
    if (refmap_meet_type(stream, &met, type) < 0) {
        return NULL;
    }
    if (_PyRefMap_Grow(&stream->met, &stream->met_allocated, stream->nmet + 1,
                       sizeof(*stream->met)) < 0) {
        _PyRefMap_FreeString(met.copy);
        return NULL;
    }
    stream->met[stream->nmet++] = met;
    *at = stream->nmet;
    return &stream->met[stream->nmet - 1];
}

refmap_log_met_t *
_PyRefMap_LogType(refmap_stream_t *stream, PyTypeObject *type)
{
    uint64_t *at = _PyRefMap_TableAdd(&stream->types, (uintptr_t)type);
    if (at == NULL) {
        return NULL;
    }
    refmap_log_met_t *met = *at != 0 ? &stream->met[*at - 1] : NULL;
    if (met == NULL || met->generation != stream->generation
        || met->name != type->tp_name)
    {
        met = refmap_new_type(stream, type, at);
    }
    if (met != NULL) {
        stream->quick_types[((uintptr_t)type >> 4) % REFMAP_LOG_QUICK] =
            (refmap_quick_type_t){type, (size_t)(met - stream->met)};
    }
    return met;
}

void
_PyRefMap_LogForgetName(refmap_stream_t *stream, PyObject *op)
{
    if (PyType_Check(op)) {
        _PyRefMap_TableRemove(&stream->types, (uintptr_t)op);
        _PyRefMap_TableRemove(&stream->callables, (uintptr_t)op);
        stream->quick_types[((uintptr_t)op >> 4) % REFMAP_LOG_QUICK].type = NULL;
    }
    else {
        _PyRefMap_TableRemove(&stream->codes, (uintptr_t)op);
        memset(stream->quick_places, 0, sizeof(stream->quick_places));
    }
}

void
_PyRefMap_LogDoubtNames(refmap_stream_t *stream)
{
    stream->generation++;
    memset(stream->quick_types, 0, sizeof(stream->quick_types));
    memset(stream->quick_places, 0, sizeof(stream->quick_places));
}

uint32_t
_PyRefMap_LogTypeIndex(refmap_stream_t *stream, refmap_log_met_t *met)
{
    if (met->index == 0) {
        const PyTypeObject *type = (PyTypeObject *)met->address;
        unsigned char *p = refmap_log_room(stream, REFMAP_LOG_EVENT + REFMAP_LOG_NAME);
        *p++ = REFMAP_LOG_TYPE;
        p = refmap_put_address(p, met->address);
        p = refmap_put(p, type->tp_flags);
        p = refmap_put(p, (uint64_t)type->tp_basicsize);
        p = refmap_put(p, (uint64_t)type->tp_itemsize);
        // Of a type that was renamed the objects go on.
        p = refmap_put(p, (uint64_t)Py_MAX(met->living + (int64_t)(met->births
                                                        - met->deaths), 0));
        p = refmap_put_bytes(p, met->copy, strlen(met->copy));
        refmap_log_done(stream, p);
        met->index = ++stream->ntypes;
    }
    return met->index;
}


/* --- code ------------------------------------------------------------------------------ */

static void
refmap_write_code(refmap_stream_t *stream, const PyCodeObject *code)
{
    size_t nlines = (size_t)PyBytes_GET_SIZE(code->co_linetable);
    nlines = nlines > MAX_LINES ? 0 : nlines;
    unsigned char *p = refmap_log_room(stream,
                                       REFMAP_LOG_EVENT + nlines + 2 * REFMAP_LOG_NAME);
    *p++ = REFMAP_LOG_CODE;
    p = refmap_put(p, (uint64_t)Py_MAX(code->co_firstlineno, 0));
    p = refmap_put(p, (uint64_t)_PyCode_NBYTES(code));
    p = refmap_put_bytes(p, PyBytes_AS_STRING(code->co_linetable), nlines);
    p = refmap_put_text(p, code->co_qualname);
    p = refmap_put_text(p, code->co_filename);
    refmap_log_done(stream, p);
}

/* Is it code of the package by which people log? */
static int
refmap_is_own_code(const PyCodeObject *code)
{
    static const char *const tails[] = {
        "/refmap/logs.py", "/refmap/eventlog.py", "/refmap/profiling.py"};
    char file[REFMAP_LOG_NAME];
    size_t size = _PyRefMap_CopyText(code->co_filename, file, sizeof(file));
    for (size_t i = 0; i < Py_ARRAY_LENGTH(tails); i++) {
        size_t n = strlen(tails[i]);
        if (size >= n && memcmp(file + size - n, tails[i], n) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Code that is not known, or is not what is known. */
static Py_NO_INLINE refmap_log_code_t *
refmap_new_code(refmap_stream_t *stream, const PyCodeObject *code, uint64_t *at)
{
    refmap_log_code_t now = {
        .birth = refmap_birth_of(code), .generation = stream->generation};
    if (*at != 0 && stream->known[*at - 1].birth == now.birth) {
        stream->known[*at - 1].generation = stream->generation;
        return &stream->known[*at - 1];
    }
    if (_PyRefMap_Grow(&stream->known, &stream->known_allocated, stream->nknown + 1,
                       sizeof(*stream->known)) < 0) {
        return NULL;
    }
    now.is_own = refmap_is_own_code(code);
    stream->known[stream->nknown++] = now;
    *at = stream->nknown;
    return &stream->known[stream->nknown - 1];
}

refmap_log_code_t *
_PyRefMap_LogKnownCode(refmap_stream_t *stream, const PyCodeObject *code)
{
    uint64_t *at = _PyRefMap_TableAdd(&stream->codes, (uintptr_t)code);
    if (at == NULL) {
        return NULL;
    }
    if (*at != 0 && stream->known[*at - 1].generation == stream->generation) {
        return &stream->known[*at - 1];
    }
    return refmap_new_code(stream, code, at);
}

uint32_t
_PyRefMap_LogCode(refmap_stream_t *stream, const PyCodeObject *code)
{
    refmap_log_code_t *known = _PyRefMap_LogKnownCode(stream, code);
    if (known == NULL) {
        return 0;
    }
    if (known->index == 0) {
        known->index = ++stream->ncodes;
        refmap_write_code(stream, code);
    }
    return known->index;
}


/* --- places ----------------------------------------------------------------------------- */

static uint64_t
refmap_place_hash(const refmap_log_place_t *place)
{
    uint64_t hash = place->npython;
    for (size_t i = 0; i < place->npython + place->nc; i++) {
        hash = (hash ^ place->words[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

static int
refmap_resize_places(refmap_log_places_t *t)
{
    size_t mask = t->buckets == NULL ? 1023 : 2 * t->mask + 1;
    uint32_t *buckets = _PyRefMap_Malloc((mask + 1) * sizeof(*buckets));
    if (buckets == NULL) {
        return -1;
    }
    memset(buckets, 0, (mask + 1) * sizeof(*buckets));
    for (size_t k = 0; k < t->nplaces; k++) {
        size_t i = t->places[k].hash & mask;
        while (buckets[i] != 0) {
            i = (i + 1) & mask;
        }
        buckets[i] = (uint32_t)k + 1;
    }
    if (t->buckets != NULL) {
        _PyRefMap_RawFree(t->buckets, (t->mask + 1) * sizeof(*t->buckets));
    }
    t->buckets = buckets;
    t->mask = mask;
    return 0;
}

/* The code of C that is mapped by now, of which an address leads to a function. */
static int
refmap_write_module(const refmap_mapping_t *mapping, void *arg)
{
    refmap_stream_t *stream = arg;
    if (!mapping->executable || mapping->path[0] != '/') {
        return 0;
    }
    size_t size = strlen(mapping->path);
    unsigned char *p = refmap_log_room(stream, REFMAP_LOG_EVENT + size);
    *p++ = REFMAP_LOG_MODULE;
    p = refmap_put_address(p, mapping->start);
    p = refmap_put_address(p, mapping->end);
    p = refmap_put(p, mapping->offset);
    p = refmap_put_bytes(p, mapping->path, size);
    refmap_log_done(stream, p);
    return 0;
}

static void
refmap_write_place(refmap_stream_t *stream, const refmap_log_place_t *place)
{
    if (place->nc > 0 && stream->has_modules != _PyRefMap_MappingsSeen()) {
        stream->has_modules = _PyRefMap_MappingsSeen();
        (void)_PyRefMap_EachMapping(refmap_write_module, stream);
    }
    unsigned char *p = refmap_log_room(
        stream, REFMAP_LOG_EVENT + 12 * (place->npython + place->nc));
    const uint64_t *word = place->words;
    *p++ = REFMAP_LOG_PLACE;
    p = refmap_put(p, place->npython);
    for (size_t i = 0; i < place->npython; i++, word++) {
        p = refmap_put(p, *word >> 32);
        p = refmap_put(p, (uint32_t)*word);
    }
    p = refmap_put(p, place->nc);
    for (size_t i = 0; i < place->nc; i++) {
        p = refmap_put_address(p, *word++);
    }
    refmap_log_done(stream, p);
}

static Py_NO_INLINE uint32_t
refmap_new_place(refmap_stream_t *stream, const refmap_log_place_t *place,
                 uint64_t hash)
{
    refmap_log_places_t *t = &stream->places;
    size_t n = place->npython + place->nc;
    if ((2 * t->nplaces >= t->mask && refmap_resize_places(t) < 0)
        || _PyRefMap_Grow(&t->places, &t->places_allocated, t->nplaces + 1,
                          sizeof(*t->places)) < 0
        || _PyRefMap_Grow(&t->words, &t->words_allocated, t->nwords + n,
                          sizeof(*t->words)) < 0)
    {
        return 0;
    }
    t->places[t->nplaces].hash = hash;
    t->places[t->nplaces].first = t->nwords;
    t->places[t->nplaces].npython = (uint32_t)place->npython;
    t->places[t->nplaces].nc = (uint32_t)place->nc;
    memcpy(t->words + t->nwords, place->words, n * sizeof(*t->words));
    t->nwords += n;
    size_t i = hash & t->mask;
    while (t->buckets[i] != 0) {
        i = (i + 1) & t->mask;
    }
    t->buckets[i] = (uint32_t)++t->nplaces;
    refmap_write_place(stream, place);
    return (uint32_t)t->nplaces;
}

uint32_t
_PyRefMap_LogPlace(refmap_stream_t *stream, const refmap_log_place_t *place)
{
    refmap_log_places_t *t = &stream->places;
    size_t n = place->npython + place->nc;
    if (n == 0) {
        return 0;
    }
    uint64_t hash = refmap_place_hash(place);
    if (t->buckets != NULL) {
        for (size_t i = hash & t->mask; t->buckets[i] != 0; i = (i + 1) & t->mask) {
            size_t k = t->buckets[i] - 1;
            if (t->places[k].hash == hash && t->places[k].npython == place->npython
                && t->places[k].nc == place->nc
                && memcmp(t->words + t->places[k].first, place->words,
                          n * sizeof(*t->words)) == 0)
            {
                return t->buckets[i];
            }
        }
    }
    return refmap_new_place(stream, place, hash);
}


/* --- what C functions are called ----------------------------------------------------------- */

/* The name of a builtin function or method, of a type, or of the type of what else is
   called. */
static void
refmap_write_callable(refmap_stream_t *stream, PyObject *callable)
{
    const char *name = Py_TYPE(callable)->tp_name;
    PyObject *module = NULL;
    if (PyCFunction_Check(callable)) {
        name = ((PyCFunctionObject *)callable)->m_ml->ml_name;
        module = ((PyCFunctionObject *)callable)->m_module;
    }
    else if (Py_IS_TYPE(callable, &PyMethodDescr_Type)) {
        name = ((PyMethodDescrObject *)callable)->d_method->ml_name;
    }
    else if (PyType_Check(callable)) {
        name = ((PyTypeObject *)callable)->tp_name;
    }
    unsigned char *p = refmap_log_room(stream, REFMAP_LOG_EVENT + 2 * REFMAP_LOG_NAME);
    *p++ = REFMAP_LOG_CALLABLE;
    p = refmap_put_bytes(p, name, strnlen(name, REFMAP_LOG_NAME));
    p = refmap_put_text(p, module != NULL && PyUnicode_Check(module) ? module : NULL);
    refmap_log_done(stream, p);
}

/* What is told apart: the function, not the object that it is bound to. */
static uintptr_t
refmap_callable_key(PyObject *callable)
{
    if (PyCFunction_Check(callable)) {
        return (uintptr_t)((PyCFunctionObject *)callable)->m_ml;
    }
    if (Py_IS_TYPE(callable, &PyMethodDescr_Type)) {
        return (uintptr_t)((PyMethodDescrObject *)callable)->d_method;
    }
    return (uintptr_t)(PyType_Check(callable) ? callable
                       : (PyObject *)Py_TYPE(callable));
}

uint32_t
_PyRefMap_LogCallable(refmap_stream_t *stream, PyObject *callable)
{
    uint64_t *at = callable == NULL ? NULL
                   : _PyRefMap_TableAdd(&stream->callables,
                                        refmap_callable_key(callable));
    if (at == NULL) {
        return 0;
    }
    if (*at == 0) {
        *at = ++stream->ncallables;
        refmap_write_callable(stream, callable);
    }
    return (uint32_t)*at;
}


/* --- all of them ----------------------------------------------------------------------------- */

static void
refmap_clear_places(refmap_log_places_t *t)
{
    if (t->buckets != NULL) {
        _PyRefMap_RawFree(t->buckets, (t->mask + 1) * sizeof(*t->buckets));
    }
    _PyRefMap_RawFree(t->places, t->places_allocated * sizeof(*t->places));
    _PyRefMap_RawFree(t->words, t->words_allocated * sizeof(*t->words));
    memset(t, 0, sizeof(*t));
}

/* All but types, which have numbers that are asked for. */
static void
refmap_clear_other_names(refmap_stream_t *stream)
{
    _PyRefMap_TableClear(&stream->codes);
    _PyRefMap_TableClear(&stream->callables);
    _PyRefMap_RawFree(stream->known,
                      stream->known_allocated * sizeof(*stream->known));
    stream->known = NULL;
    stream->nknown = stream->known_allocated = 0;
    stream->ncodes = stream->ncallables = 0;
    stream->has_modules = 0;
    memset(stream->quick_places, 0, sizeof(stream->quick_places));
    refmap_clear_places(&stream->places);
}

void
_PyRefMap_LogRenameAll(refmap_stream_t *stream)
{
    refmap_clear_other_names(stream);
    stream->ntypes = 0;
    for (size_t i = 0; i < stream->nmet; i++) {
        refmap_log_met_t *met = &stream->met[i];
        met->index = 0;
        met->living += (int64_t)(met->births - met->deaths);
        met->births = met->deaths = 0;
    }
}

void
_PyRefMap_LogClearNames(refmap_stream_t *stream)
{
    refmap_clear_other_names(stream);
    for (size_t i = 0; i < stream->nmet; i++) {
        _PyRefMap_FreeString(stream->met[i].copy);
    }
    _PyRefMap_TableClear(&stream->types);
    _PyRefMap_RawFree(stream->met, stream->met_allocated * sizeof(*stream->met));
    stream->met = NULL;
    stream->nmet = stream->met_allocated = 0;
}

#endif  // Py_REFCOUNT_MAP
