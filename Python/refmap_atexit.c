/* The reports at exit: what -X showrefcount and -X refmap=dump print of the map. */

#include "Python.h"

#ifdef Py_REFCOUNT_MAP

#include "pycore_fileutils.h"     // _Py_wfopen()
#include "pycore_initconfig.h"    // _PyStatus_ERR()
#include "pycore_pymem.h"         // _PyMem_RawWcsdup()
#include "pycore_refmap_log.h"    // _PyRefMap_CloseLogs()
#include "pycore_refmap_sys.h"

/* What is to be dumped. */
static int dump_wanted;
static wchar_t *dump_file;      // with %p; from PyMem_RawMalloc(); NULL: stderr


/* --- options ----------------------------------------------------------------- */

static PyStatus
set_dump(const wchar_t *value, int *wanted)
{
    static const wchar_t prefix[] = L"dump:";
    const size_t prefix_len = Py_ARRAY_LENGTH(prefix) - 1;
    PyMem_RawFree(dump_file);
    dump_file = NULL;
    dump_wanted = 1;
    if (wcscmp(value, L"dump") == 0) {
        return _PyStatus_OK();
    }
    if (wcsncmp(value, prefix, prefix_len) != 0
        || value[prefix_len] == L'\0')
    {
        dump_wanted = 0;
        *wanted = -1;
        return _PyStatus_OK();
    }
    dump_file = _PyMem_RawWcsdup(value + prefix_len);
    return dump_file ? _PyStatus_OK() : _PyStatus_NO_MEMORY();
}

/* A copy of `pattern` with the process's number in place of %p, and % in place of
   %%; NULL on out of memory. To be freed by PyMem_RawFree(). */
static wchar_t *
dump_name(const wchar_t *pattern)
{
    char pid[32];
    int digits = snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    size_t size = wcslen(pattern) * (size_t)digits + 1;
    wchar_t *name = PyMem_RawMalloc(size * sizeof(*name));
    wchar_t *end = name;
    for (const wchar_t *p = pattern; name != NULL && *p != L'\0'; p++) {
        if (p[0] != L'%' || (p[1] != L'p' && p[1] != L'%')) {
            *end++ = *p;
            continue;
        }
        p++;
        for (int i = 0; *p == L'p' && i < digits; i++) {
            *end++ = (wchar_t)pid[i];
        }
        if (*p == L'%') {
            *end++ = L'%';
        }
    }
    if (name != NULL) {
        *end = L'\0';
    }
    return name;
}

/* Open the file of the dump at its end: a child may have written to it, with the
   environment of its parent. NULL if it can't be opened. */
static FILE *
open_dump(void)
{
    wchar_t *name = dump_name(dump_file);
    FILE *file = name != NULL ? _Py_wfopen(name, L"a") : NULL;
    PyMem_RawFree(name);
    return file;
}

/* Find out now, not at exit, whether the file can be written. */
static PyStatus
check_dump_file(void)
{
    if (dump_file != NULL) {
        FILE *file = open_dump();
        if (file == NULL) {
            PyMem_RawFree(dump_file);
            dump_file = NULL;
            dump_wanted = 0;
            return _PyStatus_ERR("the file of the refmap dump "
                                 "can't be written");
        }
        fclose(file);
    }
    return _PyStatus_OK();
}

PyStatus
_PyRefMap_ReadConfig(const wchar_t *xoption, const char *env)
{
    PyStatus status;
    int wanted = 0;
    wchar_t *decoded = NULL;
    if (xoption == NULL && env != NULL && env[0] != '\0'
        && strcmp(env, "0") != 0)
    {
        // PYTHONREFMAPDUMP=1 like PYTHONDUMPREFS=1
        decoded = Py_DecodeLocale(strcmp(env, "1") == 0 ? "dump" : env, NULL);
        if (decoded == NULL) {
            return _PyStatus_NO_MEMORY();
        }
    }
    if (xoption == NULL && decoded == NULL) {
        return _PyStatus_OK();
    }
    status = set_dump(xoption ? xoption : decoded, &wanted);
    PyMem_RawFree(decoded);
    if (_PyStatus_EXCEPTION(status)) {
        return status;
    }
    if (wanted < 0) {
        return xoption
            ? _PyStatus_ERR("-X refmap takes dump or dump:FILE")
            : _PyStatus_ERR("PYTHONREFMAPDUMP takes 1, dump or dump:FILE");
    }
    return check_dump_file();
}


/* --- reports ------------------------------------------------------------------ */

static int
compare_types(const void *left, const void *right)
{
    const refmap_record_t *a = left, *b = right;
    int order = strcmp(a->type, b->type);
    return order ? order : (a->address > b->address) - (a->address < b->address);
}

static int
compare_counts(const void *left, const void *right)
{
    const refmap_record_t *a = left, *b = right;
    if (a->before != b->before) {
        return a->before > b->before ? -1 : 1;
    }
    return strcmp(a->type, b->type);
}

/* Merge the records to one per type, with the references in `before` and the
   number of objects in `after`. */
static void
merge_types(refmap_records_t *records)
{
    size_t n = 0;
    qsort(records->items, records->len, sizeof(*records->items),
          compare_types);
    for (size_t i = 0; i < records->len; i++) {
        // A copy, because the place may be its own.
        const refmap_record_t record = records->items[i];
        if (n == 0 || strcmp(records->items[n - 1].type, record.type) != 0) {
            records->items[n] = record;
            records->items[n].before = 0;
            records->items[n].after = 0;
            n++;
        }
        records->items[n - 1].before += record.before;
        records->items[n - 1].after++;
    }
    records->len = n;
    qsort(records->items, n, sizeof(*records->items), compare_counts);
}

static void
print_types(FILE *file, refmap_records_t *records)
{
    refmap_info_t info;
    _PyRefMap_GetInfo(&info);
    if (records->len > 0) {
        merge_types(records);
    }
    for (size_t i = 0; i < records->len; i++) {
        const refmap_record_t *record = &records->items[i];
        fprintf(file, "refs left of type %s: %zd in %zd objects\n",
                record->type, record->before, record->after);
    }
    if (info.unattributed != 0) {
        fprintf(file, "refs left unattributed: %zd\n", info.unattributed);
    }
}

static void
print_objects(FILE *file, const refmap_records_t *records)
{
    fprintf(file, "Remaining objects of the refcount map of process %ld:\n",
            (long)getpid());
    for (size_t i = 0; i < records->len; i++) {
        const refmap_record_t *record = &records->items[i];
        fprintf(file, "%p [%zd] %s\n", (void *)record->address,
                record->before, record->type);
    }
}

static void
dump_objects(const refmap_records_t *records)
{
    if (dump_file == NULL) {
        print_objects(stderr, records);
        return;
    }
    FILE *file = open_dump();
    if (file == NULL) {
        fprintf(stderr, "refmap: cannot create file: %ls\n", dump_file);
        return;
    }
    print_objects(file, records);
    int failed = ferror(file);
    if (fclose(file) != 0 || failed) {
        fprintf(stderr, "refmap: cannot write to file: %ls\n", dump_file);
    }
}

void
_PyRefMap_BeforeExit(int per_type)
{
    if (per_type || dump_wanted) {
        _PyRefMap_KeepTypes(_PyRefMap_Main());
    }
}

void
_PyRefMap_AtExit(int per_type)
{
    refmap_records_t records = {0};
    _PyRefMap_CloseLogs("exit");
    if (!per_type && !dump_wanted) {
        return;
    }
    if (_PyRefMap_List(_PyRefMap_Main(), &records) < 0) {
        fprintf(stderr, "refmap: no memory to list what is left\n");
    }
    else {
        if (dump_wanted) {
            dump_objects(&records);
        }
        if (per_type) {
            print_types(stderr, &records);
        }
    }
    _PyRefMap_ClearRecords(&records);
    // Python may start once more, without the option.
    PyMem_RawFree(dump_file);
    dump_file = NULL;
    dump_wanted = 0;
}

#endif  // Py_REFCOUNT_MAP
