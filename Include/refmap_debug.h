/* refmap_debug.h: macros for who looks for a wrong reference count in an extension.

   Copy this file into your extension and include it after Python.h. Compiled with the
   headers of an interpreter that has a refcount map the macros print to stderr; with
   any other headers, or if REFMAP_NDEBUG is defined, they compile to nothing. An
   extension that was compiled with the map still loads in an interpreter without it:
   there they do nothing.

     MARKER()            the code came along here
     COUNTREFS()         the total of all reference counts
     DESCRIBE(x)         an object: its type and reference count. It may be freed
                         already, or garbage. A number or a string: its value. Any
                         other pointer: its address
     DESCRIBE_HEX(x)     the same; numbers in hexadecimal
     REFMAP_SCOPE(name)  at the end of the block, however it is left: which reference
                         counts changed since this line
     REFMAP_EXPECT(n)    at the end of the block: if the total did not change by n
                         since this line, which counts changed. With REFMAP_ABORT
                         defined the process then ends by abort()

   The first four are expressions without a value, and evaluate x at most once. The
   last two stand among the declarations of a block; there may be one of them on a line.
   Of a scope that is left by longjmp() nothing is said. What other threads do
   meanwhile counts, too, and so do references that the block gives to its caller.

   The caller has the GIL; without it the macros say so. No macro creates a Python
   object, runs Python code, or touches an exception or a reference count.

   C11 or C++17, gcc or clang, with the limited API or not.

   SPDX-License-Identifier: MIT

   Copyright (c) 2026 the refmap developers

   Permission is hereby granted, free of charge, to any person obtaining a copy of this
   software and associated documentation files (the "Software"), to deal in the Software
   without restriction, including without limitation the rights to use, copy, modify,
   merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
   permit persons to whom the Software is furnished to do so, subject to the following
   conditions:

   The above copyright notice and this permission notice shall be included in all copies
   or substantial portions of the Software.

   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
   INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A
   PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
   HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
   CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE
   OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */
#ifndef REFMAP_DEBUG_H
#define REFMAP_DEBUG_H

#ifndef PY_VERSION_HEX
#  error "include Python.h before refmap_debug.h"
#endif

#if !defined(Py_REFCOUNT_MAP) || defined(REFMAP_NDEBUG)

/* x is used, and not evaluated. */
#define MARKER()            ((void)0)
#define COUNTREFS()         ((void)0)
#define DESCRIBE(x)         ((void)sizeof(x))
#define DESCRIBE_HEX(x)     ((void)sizeof(x))
#define REFMAP_SCOPE(name)  ((void)sizeof(name))
#define REFMAP_EXPECT(n)    ((void)sizeof(n))

#else

#include <stdio.h>
#include <stdlib.h>

/* --- what the interpreter offers ----------------------------------------- */

/* The functions of cpython/refmap.h. They are weak: where the interpreter has no map
   they are NULL, and the extension loads all the same. */
#ifdef __cplusplus
extern "C" {
#endif
struct _PyUnstable_RefMap_Snapshot;
#define REFMAP_WEAK __attribute__((weak))
extern REFMAP_WEAK const char *PyUnstable_RefMap_ErrorText(int);
extern REFMAP_WEAK Py_ssize_t PyUnstable_RefMap_Total(void);
extern REFMAP_WEAK int PyUnstable_RefMap_Describe(PyObject *, FILE *);
extern REFMAP_WEAK struct _PyUnstable_RefMap_Snapshot *
PyUnstable_RefMap_TakeSnapshot(void);
extern REFMAP_WEAK void PyUnstable_RefMap_FreeSnapshot(
    struct _PyUnstable_RefMap_Snapshot *);
extern REFMAP_WEAK Py_ssize_t PyUnstable_RefMap_SnapshotTotal(
    const struct _PyUnstable_RefMap_Snapshot *);
extern REFMAP_WEAK int PyUnstable_RefMap_PrintDiff(
    struct _PyUnstable_RefMap_Snapshot *, struct _PyUnstable_RefMap_Snapshot *,
    FILE *);
#ifdef __cplusplus
}
#endif

/* --- lines --------------------------------------------------------------- */

/* Begin a line; return 0 if there is no map. One function stands for all: they come
   together. */
static inline int
refmap_debug_begin(const char *file, int line)
{
    if (PyUnstable_RefMap_Total == NULL) {
        return 0;
    }
    fprintf(stderr, "%s:%d:", file, line);
    return 1;
}

static inline void
refmap_debug_marker(const char *file, int line)
{
    if (refmap_debug_begin(file, line)) {
        fprintf(stderr, "\n");
    }
}

static inline void
refmap_debug_countrefs(const char *file, int line)
{
    if (refmap_debug_begin(file, line)) {
        fprintf(stderr, " %lld refs\n", (long long)PyUnstable_RefMap_Total());
    }
}

#define MARKER()    refmap_debug_marker(__FILE__, __LINE__)
#define COUNTREFS() refmap_debug_countrefs(__FILE__, __LINE__)

/* --- values -------------------------------------------------------------- */

/* Where the value stands, what it is called; 0, or the size of a number in bytes if it is
   to be shown in hexadecimal. */
#define REFMAP_DEBUG_WHERE const char *file, int line, const char *name, size_t hex

static inline void
refmap_debug_unsigned(REFMAP_DEBUG_WHERE, unsigned long long value)
{
    if (refmap_debug_begin(file, line)) {
        fprintf(stderr, hex ? " %s = 0x%llx\n" : " %s = %llu\n", name, value);
    }
}

static inline void
refmap_debug_signed(REFMAP_DEBUG_WHERE, long long value)
{
    if (hex) {
        unsigned long long bits = (unsigned long long)value;
        if (hex < sizeof(bits)) {
            bits &= (1ULL << 8 * hex) - 1;
        }
        refmap_debug_unsigned(file, line, name, hex, bits);
    }
    else if (refmap_debug_begin(file, line)) {
        fprintf(stderr, " %s = %lld\n", name, value);
    }
}

static inline void
refmap_debug_double(REFMAP_DEBUG_WHERE, double value)
{
    if (refmap_debug_begin(file, line)) {
        fprintf(stderr, hex ? " %s = %a\n" : " %s = %.17g\n", name, value);
    }
}

/* What is printed of a string at the most: 200 bytes. */
static inline void
refmap_debug_string(REFMAP_DEBUG_WHERE, const char *value)
{
    (void)hex;
    if (refmap_debug_begin(file, line)) {
        if (value == NULL) {
            fprintf(stderr, " %s = NULL\n", name);
        }
        else {
            fprintf(stderr, " %s = \"%.200s\"\n", name, value);
        }
    }
}

/* The interpreter tells an object from other memory. */
static inline void
refmap_debug_pointer(REFMAP_DEBUG_WHERE, const volatile void *value)
{
    (void)hex;
    if (refmap_debug_begin(file, line)) {
        fprintf(stderr, " %s = ", name);
        (void)PyUnstable_RefMap_Describe((PyObject *)value, stderr);
    }
}

#ifndef __cplusplus

#define REFMAP_DEBUG_VALUE(x, hex)                                                 \
    _Generic((x),                                                                  \
        _Bool: refmap_debug_unsigned, char: refmap_debug_signed,                   \
        signed char: refmap_debug_signed, short: refmap_debug_signed,              \
        int: refmap_debug_signed, long: refmap_debug_signed,                       \
        long long: refmap_debug_signed, unsigned char: refmap_debug_unsigned,      \
        unsigned short: refmap_debug_unsigned, unsigned: refmap_debug_unsigned,    \
        unsigned long: refmap_debug_unsigned,                                      \
        unsigned long long: refmap_debug_unsigned,                                 \
        float: refmap_debug_double, double: refmap_debug_double,                   \
        char *: refmap_debug_string, const char *: refmap_debug_string,            \
        default: refmap_debug_pointer)(__FILE__, __LINE__, #x, (hex), (x))

#else

#define REFMAP_DEBUG_AS(type, kind)                                                \
    static inline void refmap_debug_any(REFMAP_DEBUG_WHERE, type value)            \
    {                                                                              \
        refmap_debug_##kind(file, line, name, hex, value);                         \
    }
REFMAP_DEBUG_AS(bool, unsigned)
REFMAP_DEBUG_AS(char, signed)
REFMAP_DEBUG_AS(signed char, signed)
REFMAP_DEBUG_AS(short, signed)
REFMAP_DEBUG_AS(int, signed)
REFMAP_DEBUG_AS(long, signed)
REFMAP_DEBUG_AS(long long, signed)
REFMAP_DEBUG_AS(unsigned char, unsigned)
REFMAP_DEBUG_AS(unsigned short, unsigned)
REFMAP_DEBUG_AS(unsigned, unsigned)
REFMAP_DEBUG_AS(unsigned long, unsigned)
REFMAP_DEBUG_AS(unsigned long long, unsigned)
REFMAP_DEBUG_AS(double, double)
REFMAP_DEBUG_AS(const char *, string)
REFMAP_DEBUG_AS(const volatile void *, pointer)

#define REFMAP_DEBUG_VALUE(x, hex)                                                 \
    refmap_debug_any(__FILE__, __LINE__, #x, (hex), (x))

#endif

#define DESCRIBE(x)     REFMAP_DEBUG_VALUE(x, (size_t)0)
#define DESCRIBE_HEX(x) REFMAP_DEBUG_VALUE(x, sizeof(x))

/* --- scopes -------------------------------------------------------------- */

/* From where to the end of the block. */
typedef struct {
    const char *file;
    int line;
    const char *name;           // NULL: the change is to be as expected
    long long expected;
    struct _PyUnstable_RefMap_Snapshot *snapshot;
} refmap_debug_scope_t;

static inline refmap_debug_scope_t
refmap_debug_enter(const char *file, int line, const char *name, long long expected)
{
    refmap_debug_scope_t scope = {file, line, name, expected, NULL};
    if (PyUnstable_RefMap_Total != NULL) {
        scope.snapshot = PyUnstable_RefMap_TakeSnapshot();
        if (scope.snapshot == NULL) {
            (void)refmap_debug_begin(file, line);
            fprintf(stderr, " no snapshot: no memory, or not the GIL\n");
        }
    }
    return scope;
}

static inline void
refmap_debug_leave(refmap_debug_scope_t *scope)
{
    if (scope->snapshot == NULL) {
        return;
    }
    long long change = (long long)(PyUnstable_RefMap_Total()
                       - PyUnstable_RefMap_SnapshotTotal(scope->snapshot));
    if (scope->name == NULL && change == scope->expected) {
        PyUnstable_RefMap_FreeSnapshot(scope->snapshot);
        return;
    }
    (void)refmap_debug_begin(scope->file, scope->line);
    if (scope->name != NULL) {
        fprintf(stderr, " scope %s: %+lld refs\n", scope->name, change);
    }
    else {
        fprintf(stderr, " expected %+lld refs, got %+lld\n", scope->expected, change);
    }
    int error = PyUnstable_RefMap_PrintDiff(scope->snapshot, NULL, stderr);
    if (error < 0) {
        fprintf(stderr, "no diff: %s\n", PyUnstable_RefMap_ErrorText(error));
    }
    PyUnstable_RefMap_FreeSnapshot(scope->snapshot);
#ifdef REFMAP_ABORT
    if (scope->name == NULL) {
        abort();
    }
#endif
}

#define REFMAP_DEBUG_PASTE(a, b) a##b
#define REFMAP_DEBUG_VARIABLE(line) REFMAP_DEBUG_PASTE(refmap_debug_at_, line)

#ifndef __cplusplus
#  define REFMAP_DEBUG_ENTER(name, expected)                                       \
    __attribute__((cleanup(refmap_debug_leave), unused)) refmap_debug_scope_t      \
        REFMAP_DEBUG_VARIABLE(__LINE__) = refmap_debug_enter(                      \
            __FILE__, __LINE__, (name), (expected))
#else
struct refmap_debug_guard_t {
    refmap_debug_scope_t scope;
    explicit refmap_debug_guard_t(const refmap_debug_scope_t &entered)
        : scope(entered) {}
    ~refmap_debug_guard_t() { refmap_debug_leave(&scope); }
    refmap_debug_guard_t(const refmap_debug_guard_t &) = delete;
    refmap_debug_guard_t &operator=(const refmap_debug_guard_t &) = delete;
};
#  define REFMAP_DEBUG_ENTER(name, expected)                                       \
    const refmap_debug_guard_t REFMAP_DEBUG_VARIABLE(__LINE__)(refmap_debug_enter( \
        __FILE__, __LINE__, (name), (expected)))
#endif

#define REFMAP_SCOPE(name) REFMAP_DEBUG_ENTER(name, 0)
#define REFMAP_EXPECT(n)   REFMAP_DEBUG_ENTER(NULL, n)

#endif  // Py_REFCOUNT_MAP, REFMAP_NDEBUG
#endif  // !REFMAP_DEBUG_H
