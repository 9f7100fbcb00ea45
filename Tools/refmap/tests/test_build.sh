#!/bin/sh
# Tests of the scripts in Tools/refmap: sources, trees, patches, checkouts.
#
# usage: test_build.sh X.Y
#
# In a copy of this repository with an overlay and a series of its own, so that
# nothing here depends on what the hooks do. The tarball is the real one.
set -eu
me=test_build
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/testlib.sh"

# --- the copy ---------------------------------------------------------------

overlay="Include/internal/pycore_refmap.h Lib/refmap/__init__.py
         Lib/refmap/deep/er.py Objects/refmap.c"

make_repository() {
    mkdir -p "$repo/patches/$version" "$repo/Tools"
    cp -R "$refmap_root/Tools/refmap" "$repo/Tools/refmap"
    rm -f "$repo/Tools/refmap/tests/check-layers" "$repo/Tools/refmap/patches/check-series"
    cp -R "$refmap_root/configure-overlay" "$refmap_root/Makefile.pre.in.diff" "$repo"
    cp "$refmap_root/patches/$version/upstream" "$repo/patches/$version"
    for file in $overlay; do
        mkdir -p "$repo/$(dirname "$file")"
        echo "a new file" >"$repo/$file"
    done
    make_patch 0010-first.patch "Objects/object.c" 5 "/* first */"
    make_patch 0020-second.patch "Objects/object.c" 7 "/* second */"
    printf '%s\n' "# comment" 0010-first.patch "0020-second.patch  # why" \
        >"$repo/patches/$version/series"
    "$repo/Tools/refmap/patches/refresh-patches" "$version"
}

# make_patch NAME FILE LINE TEXT: inserts TEXT behind LINE, on top of the series.
make_patch() {
    mkdir -p "$work/tree/a/$(dirname "$2")"
    [ -f "$work/tree/b/$2" ] || {
        mkdir -p "$work/tree/b/$(dirname "$2")"
        cp "$stock/$2" "$work/tree/b/$2"
    }
    cp "$work/tree/b/$2" "$work/tree/a/$2"
    sed "$3a\\
$4" "$work/tree/a/$2" >"$work/tree/b/$2"
    {
        printf 'Description: a test\n why\nAuthor: test\nForwarded: no\n'
        printf 'Last-Update: 2026-01-01\n---\n'
        cd "$work/tree"
        diff -u -p --label "a/$2" --label "b/$2" "a/$2" "b/$2" || :
    } >"$repo/patches/$version/$1"
    cd "$work"
}

run() { script=$1; shift; "$repo/Tools/refmap/$script" "$@"; }

# refuses REGEX COMMAND...: it fails, and its last line matches.
refuses() {
    regex=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        cat "$work/said"
        echo "it did not fail"
        return 1
    fi
    tail -n 1 "$work/said" | grep -q -e "$regex" || {
        cat "$work/said"
        echo "it did not say: $regex"
        return 1
    }
}

# Names, kinds, modes and contents of all files below a directory.
fingerprint() {
    (cd "$1" && find . ! -path './.git*' -printf '%p %y %m\n' | LC_ALL=C sort
     find . -type f ! -path './.git*' -exec sha256sum {} + | LC_ALL=C sort) | sha256sum
}

mtimes() { (cd "$1" && find . -type f -printf '%p %T@\n' | LC_ALL=C sort); }

# --- sources ----------------------------------------------------------------

# A machine that reaches nothing.
offline() {
    mkdir -p "$work/offline"
    for tool in apt-get curl wget; do
        printf '#!/bin/sh\nexit 1\n' >"$work/offline/$tool"
        chmod +x "$work/offline/$tool"
    done
    PATH=$work/offline:$PATH "$@"
}

wrong_checksum_is_deleted() {
    export REFMAP_DIST="$work/dist"
    mkdir -p "$REFMAP_DIST"
    echo bad >"$REFMAP_DIST/$tarball_name"
    refuses "set PYTHON_TARBALL=" offline run build/fetch-source "$version"
    grep -q "expected $pinned" "$work/said"
    grep -q "found    $(echo bad | sha256sum | cut -d ' ' -f 1)" "$work/said"
    [ ! -e "$REFMAP_DIST/$tarball_name" ]
}

wrong_tarball_of_user_stays() {
    mkdir -p "$work/mine"
    echo bad >"$work/mine/$tarball_name"
    export PYTHON_TARBALL="$work/mine/$tarball_name"
    refuses "found  " run build/fetch-source "$version"
    [ -f "$PYTHON_TARBALL" ]
}

other_tarball_is_a_warning() {
    echo other >"$work/Python-$version.99.tar.xz"
    PYTHON_TARBALL=$work/Python-$version.99.tar.xz run build/fetch-source "$version" \
        >"$work/out" 2>"$work/err"
    [ "$(cat "$work/out")" = "$work/Python-$version.99.tar.xz" ]
    grep -q "warning: .*not pinned" "$work/err"
}

renamed_tarball_is_known() {
    ln -s "$tarball" "$work/renamed.tar.xz"
    PYTHON_TARBALL=$work/renamed.tar.xz run build/fetch-source "$version" >/dev/null 2>"$work/err"
    [ ! -s "$work/err" ]
}

missing_tarball() {
    PYTHON_TARBALL=/nowhere refuses "no such file" run build/fetch-source "$version"
}

unknown_names() {
    refuses "unknown VERSION 2.7 .*known: $version" run build/build 2.7 debug
    refuses "unknown VERSION" run build/build ../x debug
    refuses "unknown VARIANT fast; known: debug" run build/build "$version" fast
    refuses "PREFIX is empty" run build/install "$version" debug ""
}

# As a user without root and sudo, to whom all packages are missing.
no_root() {
    mkdir -p "$work/noroot"
    printf '#!/bin/sh\nexit 1\n' >"$work/noroot/dpkg-query"
    printf '#!/bin/sh\nexit 1\n' >"$work/noroot/sudo"
    printf '#!/bin/sh\necho 1000\n' >"$work/noroot/id"
    printf '#!/bin/sh\ntouch "%s/called"\n' "$work" >"$work/noroot/apt-get"
    chmod +x "$work"/noroot/*
    PATH=$work/noroot:$PATH refuses "^apt-get install -y .*uthash-dev" \
        run build/install-deps </dev/null
    [ ! -e "$work/called" ]
}

# --- trees ------------------------------------------------------------------

prepared_tree() {
    run build/prepare "$version"
    grep -q '/\* first \*/' "$tree/Objects/object.c"
    grep -q '/\* second \*/' "$tree/Objects/object.c"
    grep -q 'Objects/refmap/hooks.o' "$tree/Makefile.pre.in"
    grep -q 'with-refcount-map' "$tree/configure"
    grep -q 'Py_REFCOUNT_MAP' "$tree/pyconfig.h.in"
    for file in $overlay; do cmp "$repo/$file" "$tree/$file"; done
    [ ! -e "$tree/Tools/refmap" ]
    [ -z "$(find "$tree" -name '*.orig' -o -name '*.rej')" ]
}

nothing_changed_keeps_times() {
    mtimes "$tree" >"$work/before"
    run build/prepare "$version"
    mtimes "$tree" | diff "$work/before" -
}

bad_tarball_keeps_trees() {
    fingerprint "$repo/build" >"$work/before.trees"
    echo bad >"$work/bad.tar.xz"
    PYTHON_TARBALL=$work/bad.tar.xz \
        refuses "bad.tar.xz cannot be unpacked: " run build/prepare "$version"
    mkdir -p "$work/pack/none"
    echo none >"$work/pack/none/file"
    tar -C "$work/pack" -cf "$work/none.tar" none
    PYTHON_TARBALL=$work/none.tar \
        refuses "none.tar holds no CPython source tree, not" run build/prepare "$version"
    fingerprint "$repo/build" | cmp - "$work/before.trees"
}

good_tarball_replaces_trees() {
    fingerprint "$tree" >"$work/before.trees"
    cp -R "$work/slim" "$work/pack/good"
    echo other >"$work/pack/good/mark"
    tar -C "$work/pack" -cf "$work/good:1.tar" good
    PYTHON_TARBALL=$work/good:1.tar run build/prepare "$version"
    [ -f "$stock/mark" ]
    [ -f "$tree/mark" ]
    run build/prepare "$version"
    fingerprint "$tree" | cmp - "$work/before.trees"
}

# A stub in place of configure, which takes half a minute. A call of it leaves a
# line in the build directory.
stub_configure() {
    cp -p "$stock/configure" "$work/configure.saved"
    trap 'cp -p "$work/configure.saved" "$stock/configure"' EXIT
    cat >"$stock/configure" <<'STUB'
#!/bin/sh
echo "$*" >>configured
printf 'all:\n\techo true >python && chmod +x python\n' >Makefile
STUB
    mkdir -p "$work/dpkg"
    printf '#!/bin/sh\ncat "%s/packages"\n' "$work" >"$work/dpkg/dpkg-query"
    chmod +x "$work/dpkg/dpkg-query"
}

# configured_times N: by all builds so far, and the next build does not do it again.
configured_times() {
    for again in once twice; do
        PATH=$work/dpkg:$PATH run build/build "$version" stock-release
        [ "$(wc -l <"$repo/build/$version-stock-release/configured")" -eq "$1" ]
    done
}

configured_anew() {
    stub_configure
    printf 'ii  liba-dev 1\nun  libb-dev \n' >"$work/packages"
    configured_times 1
    printf 'ii  liba-dev 1\nii  libb-dev 2\n' >"$work/packages"
    configured_times 2
    export CONFIGURE_ARGS=--without-pymalloc
    configured_times 3
    rm -rf "$repo/build/$version-stock-release"
}

# only_touches FILE: prepare gives that file another time, and no other one.
only_touches() {
    sleep 0.01
    run build/prepare "$version"
    mtimes "$tree" >"$work/after"
    [ "$(diff "$work/before" "$work/after" | sed -n 's/^> \.\/\([^ ]*\) .*/\1/p' |
         grep -v -x .refmap-files)" = "$1" ]
}

overlay_edit_touches_one_file() {
    mtimes "$tree" >"$work/before"
    echo changed >"$repo/Objects/refmap.c"
    only_touches Objects/refmap.c
}

patch_edit_touches_one_file() {
    mtimes "$tree" >"$work/before"
    sed -i 's,/\* second \*/,/* zweite */,' "$repo/patches/$version/0020-second.patch"
    only_touches Objects/object.c
}

removed_files_vanish() {
    rm -r "$repo/Lib/refmap/deep"
    sed -i '/0020/d' "$repo/patches/$version/series"
    run build/prepare "$version"
    [ ! -e "$tree/Lib/refmap/deep" ]
    not grep -q zweite "$tree/Objects/object.c"
    fingerprint "$tree" >"$work/grown"
    rm -rf "$tree"
    run build/prepare "$version"
    fingerprint "$tree" | cmp - "$work/grown"
}

tree_names_the_hook() {
    sed -i 's,^ .*Generic.*,-was never there,;s,^ /\*.*,-was never there,' \
        "$repo/patches/$version/0020-second.patch"
    refuses "the hook patches/$version/0020-second.patch does not apply" run build/prepare "$version"
}

fuzz_is_refused() {
    sed 's,^ #include "Python.h".*, #include "Pithon.h",' \
        "$repo/patches/$version/0010-first.patch" >"$work/fuzzy"
    not cmp -s "$work/fuzzy" "$repo/patches/$version/0010-first.patch"
    cp "$work/fuzzy" "$repo/patches/$version/0010-first.patch"
    refuses "0010-first.patch does not apply" run build/prepare "$version"
}

# with_copy TEST...: the patches are put back afterwards, a git is taken away. By a trap of the shell
# that 'check' made: behind 'TEST ||' set -e would have no effect.
with_copy() {
    cp -R "$repo/patches" "$work/patches.saved"
    trap 'rm -rf "$repo/.git" "$repo/patches"; mv "$work/patches.saved" "$repo/patches"' EXIT
    "$@"
}

# --- configure --------------------------------------------------------------

# configure_refuses REGEX ARGUMENT...: what it says is one line.
configure_refuses() {
    regex=$1
    shift
    rm -rf "$work/configure"
    mkdir "$work/configure"
    cd "$work/configure"
    refuses "^configure: error: $regex" "$tree/configure" -q --with-refcount-map "$@"
}

hidden_uthash() {
    mkdir -p "$work/hide"
    echo '#error hidden' >"$work/hide/uthash.h"
    CPPFLAGS="-I$work/hide" configure_refuses "--with-refcount-map needs uthash.h"
}

# --- checkouts --------------------------------------------------------------

# As much of the source as apply looks at: it is copied often.
make_slim() {
    mkdir "$work/slim"
    (cd "$stock" && find . -maxdepth 1 -type f ! -name '.refmap*' -print &&
     find ./Include ./Objects ./Lib/test/libregrtest ./Modules/Setup* -type f) |
        tar -C "$stock" -cf - -T - | tar -C "$work/slim" -xf -
}

new_checkout() {
    rm -rf "$checkout"
    cp -R "$work/slim" "$checkout"
    fingerprint "$checkout" >"$work/pristine"
}

unchanged() { fingerprint "$checkout" | cmp - "$work/pristine"; }

apply_unapply() {
    new_checkout
    run patches/apply "$checkout"
    grep -q '/\* second \*/' "$checkout/Objects/object.c"
    grep -q refcount-map "$checkout/configure"
    [ -x "$checkout/configure" ]
    run patches/unapply "$checkout"
    unchanged
}

git_stays_clean() {
    new_checkout
    cd "$checkout"
    git init -q
    git add -f configure.ac configure Makefile.pre.in pyconfig.h.in aclocal.m4 \
        Include Objects Modules Lib/test/libregrtest
    git -c user.name=t -c user.email=t@localhost commit -q -m pristine
    git status --short >"$work/status"
    run patches/apply .
    git status --short >"$work/status.applied"
    not cmp -s "$work/status" "$work/status.applied"
    not grep -F .refmap "$work/status.applied"
    run patches/unapply .
    git status --short | cmp - "$work/status"
    git diff --exit-code
}

# Changes from before apply, in a file that hooks touch, and from after it.
local_changes_stay() {
    new_checkout
    echo '/* mine, before */' >>"$checkout/Objects/object.c"
    sed -i '1i /* mine, at the top */' "$checkout/Objects/object.c"
    cp "$checkout/Objects/object.c" "$work/object.c"
    run patches/apply "$checkout"
    echo '/* mine, after */' | tee -a "$checkout/Objects/object.c" >>"$work/object.c"
    echo '# mine' >>"$checkout/configure"
    echo 'mine' >"$checkout/Lib/refmap/mine.py"
    run patches/unapply "$checkout" 2>"$work/err"
    grep -q 'note: configure was changed' "$work/err"
    cmp "$work/object.c" "$checkout/Objects/object.c"
    { cat "$stock/configure"; echo '# mine'; } | cmp - "$checkout/configure"
    [ "$(find "$checkout/Lib/refmap")" = "$checkout/Lib/refmap
$checkout/Lib/refmap/mine.py" ]
}

refused_twice() {
    new_checkout
    run patches/apply "$checkout"
    refuses "already in" run patches/apply "$checkout"
    run patches/unapply "$checkout"
    refuses "refmap is not in" run patches/unapply "$checkout"
    unchanged
}

refused_directory() {
    mkdir -p "$work/empty"
    refuses "is no CPython source tree" run patches/apply "$work/empty"
    refuses "is no directory" run patches/apply "$work/nowhere"
    refuses "usage" run patches/apply ""
    refuses "refmap is not in" run patches/unapply "$work/empty"
    [ -z "$(ls -A "$work/empty")" ]
}

refused_version() {
    new_checkout
    sed -i 's/^#define PY_MINOR_VERSION .*/#define PY_MINOR_VERSION 2/' \
        "$checkout/Include/patchlevel.h"
    fingerprint "$checkout" >"$work/pristine"
    refuses "is CPython 3.2, for which there is no series; .*$version" run patches/apply "$checkout"
    unchanged
}

refused_overwrite() {
    new_checkout
    echo "my own" >"$checkout/Objects/refmap.c"
    fingerprint "$checkout" >"$work/pristine"
    refuses "Objects/refmap.c is already there; nothing was changed" run patches/apply "$checkout"
    unchanged
}

refused_hook() {
    new_checkout
    sed -i '5,9d' "$checkout/Objects/object.c"
    fingerprint "$checkout" >"$work/pristine"
    refuses "the hook patches/$version/0010-first.patch does not apply; nothing was changed" \
        run patches/apply "$checkout"
    unchanged
}

refused_makefile() {
    new_checkout
    sed -i '/Objects\/rangeobject\.o/d' "$checkout/Makefile.pre.in"
    fingerprint "$checkout" >"$work/pristine"
    refuses "the hook Makefile.pre.in.diff does not apply" run patches/apply "$checkout"
    unchanged
}

refused_unapply_hook() {
    new_checkout
    run patches/apply "$checkout"
    sed -i '/\/\* second \*\//d' "$checkout/Objects/object.c"
    fingerprint "$checkout" >"$work/pristine"
    refuses "the hook 0020-second.patch cannot be taken out; nothing was changed" \
        run patches/unapply "$checkout"
    unchanged
}

refused_unapply_overlay() {
    new_checkout
    run patches/apply "$checkout"
    echo more >>"$checkout/Objects/refmap.c"
    fingerprint "$checkout" >"$work/pristine"
    refuses "Objects/refmap.c came with refmap, but you changed it" run patches/unapply "$checkout"
    unchanged
}

# A file system that is full half-way.
interrupted_apply() {
    new_checkout
    mkdir -p "$work/full"
    cat >"$work/full/cp" <<'CP'
#!/bin/sh
case $# in
2) case $2 in */checkout/configure.ac) exit 1 ;; esac ;;
esac
exec /bin/cp "$@"
CP
    chmod +x "$work/full/cp"
    PATH=$work/full:$PATH refuses "could not be changed; it is as it was" \
        run patches/apply "$checkout"
    unchanged
}

# --- the linter -------------------------------------------------------------

lint_is_content() { run patches/lint-patches "$version"; }

# finds REGEX: the linter says that.
finds() {
    if run patches/lint-patches "$version" >"$work/said" 2>&1; then
        echo "it found nothing"
        return 1
    fi
    grep -q -e "$1" "$work/said" || { cat "$work/said"; return 1; }
}

first() { echo "$repo/patches/$version/0010-first.patch"; }

lint_unlisted() {
    cp "$(first)" "$repo/patches/$version/0030-extra.patch"
    finds "0030-extra.patch: the series does not name it"
}
lint_missing() {
    echo 0030-gone.patch >>"$repo/patches/$version/series"
    finds "series: 0030-gone.patch is missing"
}
lint_order() {
    printf '%s\n' 0020-second.patch 0010-first.patch >"$repo/patches/$version/series"
    finds "not unique and increasing"
}
lint_header_fields() {
    for field in Description Author Forwarded Last-Update; do
        sed -i "s/^$field:/X-&/" "$(first)"
        finds "0010-first.patch: the header has no .*$field"
    done
}
lint_offset() {
    sed -i 's/^@@ -3,6 +3,7 @@/@@ -2,6 +2,7 @@/' "$(first)"
    finds "0010-first.patch: a refresh changes it"
    run patches/refresh-patches "$version"
    run patches/lint-patches "$version"
}
lint_white_space() {
    sed -i 's,^+/\* first \*/,& ,' "$(first)"
    finds "0010-first.patch: an added line ends in white space"
}
lint_generated() {
    make_patch 0030-generated.patch configure 5 "# no"
    echo 0030-generated.patch >>"$repo/patches/$version/series"
    finds "0030-generated.patch: configure is generated, never patched"
}
lint_big() {
    awk 'BEGIN { for (i = 0; i < 90; i++) printf "int x%d;%s\n", i, i < 89 ? "\\" : "" }' >"$work/big"
    make_patch 0030-big.patch Objects/listobject.c 5 "$(cat "$work/big")"
    echo 0030-big.patch >>"$repo/patches/$version/series"
    finds "0030-big.patch: it adds 90 lines"
}
lint_machine() {
    cd "$repo"
    git init -q
    echo "see /ro""ot/notes" >"$repo/notes"
    git add notes
    finds "notes:1: names a machine"
    rm "$repo/notes"
}

# --- counting ---------------------------------------------------------------

# counts STATUS EXPECTED TEXT
counts() {
    printf "$3" >"$work/log"
    found=$(run tests/count-results "$work/log" "$1" | sed -n 1p)
    [ "$found" = "$2" ] || { echo "found $found, expected $2"; return 1; }
}

counting() {
    counts 0 "1204 0" 'Total tests: run=1,234 skipped=30\nResult: SUCCESS\n'
    counts 2 "1202 2" 'Total tests: run=1,234 failures=2 skipped=30\n'
    counts 1 "1234 1" 'Total tests: run=1,234\nResult: FAILURE\n'
    counts 0 "0 1"    'Total tests: run=3 skipped=3\n'
    counts 0 "0 1"    'Ran 0 tests in 0.0s\n\nOK\n'
    counts 0 "9 0"    'Ran 12 tests in 1s\n\nOK (skipped=3, expected failures=2)\n'
    counts 1 "9 2"    'Ran 12 tests in 1s\n\nFAILED (failures=1, errors=1, skipped=1)\n'
    counts 1 "3 2"    '3 passed, 2 failed\n'
    counts 0 "1 0"    'built\n'
    counts 1 "0 1"    'not built\n'
}

reasons_are_listed() {
    cat >"$work/log" <<'LOG'
test_a (test.test_x.T.test_a) ... skipped 'no gdb'
test_b (test.test_x.T.test_b) ... ok
test_c (test.test_x.T.test_c) ... a warning
skipped "it isn't there"
test_d (test.test_x.T.test_d) ... skipped "it isn't there"
test_y skipped -- No module named 'y'
OK (skipped=3)
LOG
    run tests/count-results "$work/log" 0 >"$work/counted"
    sed 1d "$work/counted" | diff - /dev/fd/3 3<<'EXPECTED'
2 skipped: it isn't there
1 skipped: all of test_y: No module named 'y'
1 skipped: no gdb
EXPECTED
}

# check_steps STEP...: prints the last lines; all of them are in $work/said.
check_steps() {
    run check "$version" "$@" >"$work/said" 2>&1 || echo "exit status $?" >>"$work/said"
    tail -n 3 "$work/said"
}

# A step that cannot run says why; when it was the only one, nothing was checked.
all_skipped_is_failure() {
    [ "$(check_steps layers gdb | tail -n 2)" = "0 passed, 0 failed
exit status 1" ]
    grep -q "^layers: skipped, there is no Tools/refmap/tests/check-layers" "$work/said"
    grep -q "^gdb: skipped, there is no Lib/test/test_gdb/test_refmap/__init__.py" "$work/said"
}

# fake_pip TEXT: the release variant becomes an interpreter whose pip says TEXT and fails.
fake_pip() {
    fake=$repo/build/$version-release
    rm -rf "$fake" "$repo/build/wheels" "$repo/build/pytest"
    mkdir -p "$fake"
    cat >"$fake/python" <<SCRIPT
#!/bin/sh
case \$2 in
venv) mkdir -p "\$3/bin" && cp "\$0" "\$3/bin/python" ;;
*)    echo "$1" >&2; exit 1 ;;
esac
SCRIPT
    chmod +x "$fake/python"
}

# Steps that need packages are skipped where these cannot be had, and fail where
# something else is wrong.
registry_cannot_be_reached() {
    trap 'rm -rf "$fake" "$repo/build/wheels" "$repo/build/pytest"' EXIT
    for text in "WARNING: Retrying after connection broken by 'NewConnectionError'" \
                "ERROR: Could not find a version of it (from versions: none)"; do
        fake_pip "$text"
        check_steps wheels pytest >/dev/null
        printf '%s: skipped, PyPI cannot be reached\n' wheels pytest >"$work/expected"
        grep ": skipped" "$work/said" | diff - "$work/expected"
    done
    fake_pip "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"
    check_steps wheels pytest >/dev/null
    not grep ": skipped" "$work/said"
    [ "$(grep -c "DO NOT MATCH THE HASHES" "$work/said")" -ge 2 ]
}

# Not looked at without git, nor when no patch changed.
series_wants_a_change() {
    cd "$repo"
    cat >Tools/refmap/patches/check-series <<SCRIPT
#!/bin/sh
echo "\$*" >"$work/series"
SCRIPT
    chmod +x Tools/refmap/patches/check-series
    check_steps series >/dev/null
    grep -q "^series: skipped, there is no commit HEAD~1" "$work/said"
    git init -q
    git add patches Makefile.pre.in.diff
    git -c user.name=t -c user.email=t@localhost commit -q -m one
    REFMAP_BASE=HEAD check_steps series >/dev/null
    grep -q "^series: skipped, no patch changed since HEAD" "$work/said"
    [ ! -e "$work/series" ]
    echo "# more" >>"patches/$version/series"
    REFMAP_BASE=HEAD check_steps series >/dev/null
    [ "$(cat "$work/series")" = "$version --since HEAD" ]
    rm Tools/refmap/patches/check-series
}

one_default_version() { grep -x "VERSION = $default_version" "$refmap_root/Makefile"; }

# ----------------------------------------------------------------------------

[ $# -eq 1 ] || die "usage: test_build.sh X.Y"
version=$1
require_version "$version"
tarball=$("$scripts/build/fetch-source" "$version")
tarball_name=$(sed -n 's/^file: *//p' "$refmap_root/patches/$version/upstream")
pinned=$(sed -n 's/^sha256: *//p' "$refmap_root/patches/$version/upstream")
unset PYTHON_TARBALL REFMAP_BUILD REFMAP_BASE
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
repo=$work/repository
checkout=$work/checkout
stock=$repo/build/src-$version-stock
tree=$repo/build/src-$version
mkdir -p "$repo/build/dist"
ln -s "$tarball" "$repo/build/dist/$tarball_name"
mkdir -p "$stock"
tar -xf "$tarball" -C "$stock" --strip-components=1 --no-same-owner
sha_of "$tarball" >"$stock/.refmap-upstream"
make_repository 2>/dev/null
make_slim

check "a wrong checksum deletes the file and says both" wrong_checksum_is_deleted
check "a wrong PYTHON_TARBALL is left alone" wrong_tarball_of_user_stays
check "another PYTHON_TARBALL is a warning" other_tarball_is_a_warning
check "the pinned tarball by another name is no warning" renamed_tarball_is_known
check "a missing PYTHON_TARBALL" missing_tarball
check "unknown versions, variants and an empty prefix" unknown_names
check "without root: one command to run, nothing installed" no_root
check "results are counted" counting
check "what was skipped is listed" reasons_are_listed
check "a check of which all was skipped fails" all_skipped_is_failure
check "a registry that cannot be reached skips steps" registry_cannot_be_reached
check "the patches are compiled one by one when one changed" with_copy series_wants_a_change
check "Makefile and scripts have the same default version" one_default_version
check "prepare patches and adds files" prepared_tree
check "prepare changes no file when nothing changed" nothing_changed_keeps_times
check "a bad tarball leaves both trees alone" bad_tarball_keeps_trees
check "another good tarball replaces both trees" good_tarball_replaces_trees
check "a build is configured anew when a library came" configured_anew
check "apply and unapply leave a checkout as it was" apply_unapply
check "git sees nothing of apply and unapply" git_stays_clean
check "local changes stay" local_changes_stay
check "apply twice, unapply twice" refused_twice
check "apply refuses what is no CPython tree" refused_directory
check "apply refuses an unknown version" refused_version
check "apply does not overwrite files" refused_overwrite
check "apply names a hook that fails" refused_hook
check "apply names a Makefile hook that fails" refused_makefile
check "unapply names a hook that fails" refused_unapply_hook
check "unapply keeps overlay files that were edited" refused_unapply_overlay
check "apply takes back what it did when copying fails" interrupted_apply
check "configure refuses --disable-gil" \
    configure_refuses "--with-refcount-map cannot be used with --disable-gil" --disable-gil
check "configure refuses a missing uthash.h" hidden_uthash
check "configure refuses a wrong --with-uthash" \
    configure_refuses "--with-uthash=/nowhere: there is no uthash.h" --with-uthash=/nowhere
check "the linter is content" lint_is_content
for test in lint_unlisted lint_missing lint_order lint_header_fields lint_offset \
            lint_white_space lint_generated lint_big lint_machine; do
    check "the linter finds: ${test#lint_}" with_copy $test
done
check "prepare names a hook that fails" with_copy tree_names_the_hook
check "fuzz is refused" with_copy fuzz_is_refused
check "an edit of the overlay touches one file" overlay_edit_touches_one_file
check "an edit of a patch touches one file" patch_edit_touches_one_file
check "removed files and hooks vanish from the tree" removed_files_vanish
check "the numbers of bench and hunt-suite" python3 "$scripts/tests/test_bench.py"
check "call frame information" python3 "$scripts/tests/test_unwind.py"
check "what judge-hooks takes for a hook" python3 "$scripts/tests/test_judge.py"
summary
