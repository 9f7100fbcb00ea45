#!/bin/sh
# Off means off: the patched tree configured without --with-refcount-map
# compiles to what the pristine tree compiles to.
#
# usage: test_off.sh X.Y
#
# Compares, at CPython's own optimization and --with-pydebug, instructions and
# defined symbols of every C file that a hook touches, and of those that count
# most. Line numbers, which assertions and some error messages of CPython have,
# are made the same in both. What the patched build compiles in addition must
# define no symbol.
set -eu
me=test_off
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/testlib.sh"

# Instructions and what they refer to. The offsets of strings are left out: with
# the name of the source directory, their places in the string table differ.
instructions() {
    LC_ALL=C objdump -dr --no-show-raw-insn "$1" |
        sed -e '/file format/d' -e '/R_[A-Z0-9]*_/s/[+-]0x[0-9a-f]*$//'
}

same_instructions() {
    instructions "$stock/$1" >"$work/stock.s"
    instructions "$off/$1" >"$work/off.s"
    [ -s "$work/stock.s" ]
    diff -u "$work/stock.s" "$work/off.s" | head -n 40 >"$work/diff"
    cat "$work/diff"
    [ ! -s "$work/diff" ]
}

same_symbols() {
    nm --defined-only "$stock/$1" >"$work/stock.nm"
    nm --defined-only "$off/$1" >"$work/off.nm"
    cut -c 18- "$work/stock.nm" >"$work/stock.names"
    cut -c 18- "$work/off.nm" | diff -u "$work/stock.names" -
}

# A file that is missing, or is no object file, makes nm fail.
no_symbols() {
    nm --defined-only "$off/$1" >"$work/off.nm" 2>"$work/off.err" || {
        cat "$work/off.err"
        return 1
    }
    not grep . "$work/off.nm"
}

# All objects of which DIR's Makefile makes the interpreter.
makefile_objects() {
    printf 'include Makefile\n%s:\n\t@printf "%%s\\n" %s\n' print-objects \
        '$(LIBRARY_OBJS) $(MODOBJS) Programs/python.o' |
        env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$1" -f - print-objects |
        LC_ALL=C sort -u
}

# list_added_objects: those that the patched build has and the stock build has not.
list_added_objects() {
    makefile_objects "$stock" >"$work/stock.objects"
    makefile_objects "$off" >"$work/off.objects"
    LC_ALL=C comm -13 "$work/stock.objects" "$work/off.objects"
}

objects_are_added() {
    [ -s "$work/stock.objects" ]
    echo "added: $added"
    [ -n "$added" ]
}

same_pyconfig() {
    for dir in "$stock" "$off"; do
        grep '^#define' "$dir/pyconfig.h" >"$work/$(basename "$dir").defines"
    done
    diff -u "$work/$(basename "$stock").defines" "$work/$(basename "$off").defines"
}

# Apart from our own lines, and from the names of the directories.
same_makefile() {
    for dir in "$stock" "$off"; do
        sed -e "s|$(basename "$stock")|BUILD|g; s|$(basename "$off")|BUILD|g" \
            -e "s|src-$version-stock|SOURCE|g; s|src-$version|SOURCE|g" \
            -e '/[Rr][Ee][Ff][Mm][Aa][Pp]/d; /^#/d; /^$/d' \
            "$dir/Makefile" >"$work/$(basename "$dir").mk"
    done
    diff -u "$work/$(basename "$stock").mk" "$work/$(basename "$off").mk"
}

[ $# -eq 1 ] || die "usage: test_off.sh X.Y"
version=$1
require_version "$version"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

objects=$({ printf '%s\n' Objects/object.o Objects/dictobject.o Objects/listobject.o \
                Objects/typeobject.o Python/ceval.o
            list_hooks "$version" | while IFS= read -r hook; do
                touched_by "$refmap_root/$hook"
            done | sed -n 's/^\(\(Objects\|Python\)\/[^/]*\)\.c$/\1.o/p'
          } | LC_ALL=C sort -u)

# compile VARIANT OBJECT...: anew, with a line number that no other build wants.
compile() {
    variant=$1
    shift
    (cd "$build/$version-$variant" 2>/dev/null && rm -f "$@") || :
    "$scripts/build/build" "$version" "$variant" \
        "EXTRA_CFLAGS=-D__LINE__=1" "$@" >"$work/messages" 2>&1 || {
        cat "$work/messages"
        die "$version-$variant cannot be compiled"
    }
}

# compare STOCK OFF: two variants that should be the same.
compare() {
    stock=$build/$version-$1
    off=$build/$version-$2
    # shellcheck disable=SC2086  # words
    compile "$1" $objects
    # shellcheck disable=SC2086
    compile "$2" $objects
    added=$(list_added_objects)
    # shellcheck disable=SC2086
    [ -z "$added" ] || compile "$2" $added
    check "$2: there are objects that stock has not" objects_are_added
    check "$2: pyconfig.h defines the same" same_pyconfig
    check "$2: the Makefile differs by the overlay's files only" same_makefile
    for object in $objects; do
        check "$2, $object: the same instructions" same_instructions "$object"
        check "$2, $object: the same symbols" same_symbols "$object"
    done
    for object in $added; do
        check "$2, $object: no symbols" no_symbols "$object"
    done
    # shellcheck disable=SC2086
    (cd "$stock" && rm -f $objects) && (cd "$off" && rm -f $objects $added)
}

compare stock-release off
compare stock-debug off-debug
summary
