dnl PY_CHECK_REFCOUNT_MAP
dnl
dnl --with-refcount-map: an exact map of every reference count change, by object;
dnl =trace: with frame pointers and hooks that are functions, so that an optimised build
dnl can record who changes counts, too.
dnl --with-uthash=DIR:   where uthash.h is, when the compiler does not find it.
dnl
dnl Sets with_refcount_map to yes, trace or no.  Every refusal comes from here, early,
dnl so that nobody waits for a configure run that cannot end well.
AC_DEFUN([PY_CHECK_REFCOUNT_MAP], [
AC_MSG_CHECKING([for --with-refcount-map])
AC_ARG_WITH([refcount-map],
  [AS_HELP_STRING([--with-refcount-map@<:@=trace@:>@],
    [keep an exact map of all reference counts, by object; trace: optimised, but able to record who changes them (default is no)])],
  [], [with_refcount_map=no])
AS_CASE([$with_refcount_map],
  [yes|no|trace], [],
  [AC_MSG_ERROR([--with-refcount-map takes yes, trace or no, not $with_refcount_map])])
AC_MSG_RESULT([$with_refcount_map])

AC_MSG_CHECKING([for --with-uthash])
AC_ARG_WITH([uthash],
  [AS_HELP_STRING([--with-uthash=DIR],
    [directory of uthash.h, for --with-refcount-map (default is the compiler's search path)])],
  [], [with_uthash=no])
AC_MSG_RESULT([$with_uthash])

REFMAP_CEVAL_CFLAGS=
AC_SUBST([REFMAP_CEVAL_CFLAGS])
AS_VAR_IF([with_refcount_map], [no],
  [dnl Not "disabled": a build without the map says nothing of it.
   py_cv_module__testrefmap=n/a],
  [PY_REFCOUNT_MAP_ENABLE])
])

dnl PY_REFCOUNT_MAP_ENABLE: what --with-refcount-map does.
AC_DEFUN([PY_REFCOUNT_MAP_ENABLE], [
AS_VAR_IF([disable_gil], [yes],
  [AC_MSG_ERROR([--with-refcount-map cannot be used with --disable-gil])])
AC_COMPILE_IFELSE(
  [AC_LANG_PROGRAM([], [[int must_be_8_bytes[sizeof(void *) == 8 ? 1 : -1]; (void)must_be_8_bytes;]])],
  [],
  [AC_MSG_ERROR([--with-refcount-map needs a 64-bit platform])])

AS_CASE([$with_uthash],
  [no], [refmap_cppflags=],
  [yes|''], [AC_MSG_ERROR([--with-uthash needs a directory: --with-uthash=DIR])],
  [dnl The build may run elsewhere than configure's caller stands.
   refmap_dir=`cd "$with_uthash" 2>/dev/null && pwd`
   AS_IF([test -f "$refmap_dir/uthash.h"], [],
     [AC_MSG_ERROR([--with-uthash=$with_uthash: there is no uthash.h in that directory])])
   refmap_cppflags="-I$refmap_dir"])
AC_MSG_CHECKING([for uthash.h])
refmap_save_CPPFLAGS=$CPPFLAGS
CPPFLAGS="$CPPFLAGS $refmap_cppflags"
AC_PREPROC_IFELSE([AC_LANG_SOURCE([[#include <uthash.h>]])],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([--with-refcount-map needs uthash.h: install uthash-dev (uthash-devel), or give its directory by --with-uthash=DIR])])
CPPFLAGS=$refmap_save_CPPFLAGS
AS_IF([test -n "$refmap_cppflags"],
  [AS_VAR_APPEND([CFLAGS_NODIST], [" $refmap_cppflags"])])

AC_DEFINE([Py_REFCOUNT_MAP], [1],
  [Define to 1 to keep an exact map of all reference counts, by object.])
AC_DEFINE([Py_REF_DEBUG], [1],
  [Define to 1 to count all references: sys.gettotalrefcount().])

dnl Who changed a count is found by walking the stack by frame pointers, in debug
dnl builds and with =trace.  BASECFLAGS, so that extension modules built by this
dnl interpreter keep theirs, too.  Other optimised builds have none, as stock ones:
dnl with the hooks in it the evaluation loop is short of registers.  A function that ends
dnl with a jump to another one would not be seen to return.  In the loop -O2 also makes a smaller and faster loop than -O3,
dnl and GCC's manual advises against -fgcse where gotos are computed
dnl (Tools/refmap/bench/notes.md).
AS_VAR_IF([with_refcount_map], [trace],
  [AC_DEFINE([Py_REFCOUNT_MAP_TRACE], [1],
     [Define to 1 to be able to record who changes reference counts.])
   AX_CHECK_COMPILE_FLAG([-fno-optimize-sibling-calls],
     [AS_VAR_APPEND([BASECFLAGS],
       [" -fno-omit-frame-pointer -fno-optimize-sibling-calls"])], [], [-Werror])])
AS_VAR_IF([Py_DEBUG], [true],
  [AX_CHECK_COMPILE_FLAG([-fno-omit-frame-pointer],
    [AS_VAR_APPEND([BASECFLAGS], [" -fno-omit-frame-pointer"])], [], [-Werror])],
  [AS_CASE([$CFLAGS], [*-O*], [],
    [REFMAP_CEVAL_CFLAGS=-O2
     AX_CHECK_COMPILE_FLAG([-fno-gcse],
       [AS_VAR_APPEND([REFMAP_CEVAL_CFLAGS], [" -fno-gcse"])], [], [-Werror])])])
])
