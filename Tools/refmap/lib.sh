# Shared by the scripts of this directory and of those below it, which read it by
# '. lib.sh' after setting $me (their name). POSIX sh, coreutils, diffutils and
# patch only.
#
# build/        from a tarball to an interpreter, and away with it
# patches/      the series: into your own checkout and out, checked, written anew
# hunt/         hunts in CPython's whole suite
# bench/        timing
# tests/        of these scripts, and what decides about a log
# mutants/      releases taken out one by one: does the diagnosis find them?
# examples/     leaks to find
#
# refmap_root   the repository, the nearest directory above the script that is one
# The overlay   whole new files, at the same path here and in a CPython tree
# The hooks     small diffs to existing files (list_hooks)
# Generated     what autoconf writes; never patched

refmap_root=$(cd -P "$(dirname "$0")" &&
    while [ ! -f Makefile.pre.in.diff ] && [ "$PWD" != / ]; do cd ..; done && pwd)
scripts=$refmap_root/Tools/refmap
build=${REFMAP_BUILD:-$refmap_root/build}
overlay_dirs="Include Objects Python Modules Lib Doc Tools/gdb"
generated="configure pyconfig.h.in"
default_version=3.13
variants="debug release trace release-lto stock-debug stock-release stock-release-tuned stock-release-lto stock-release-lto-tuned stock-trace-refs off off-debug"

say() { echo "$me: $*" >&2; }
die() { say "$*"; exit 1; }

# What is needed can't be had here. Whatever else is wrong is no reason to skip tests.
unavailable=3
lack() { say "$*"; exit $unavailable; }

# pip_install LOG PYTHON ARGUMENT...: install from the package registry. What pip says
# of a registry that it can't reach begins with the warning, or ends with the error.
pip_install() {
    pip_log=$1 pip_python=$2
    shift 2
    "$pip_python" -m pip install -q --disable-pip-version-check --retries 1 --timeout 20 \
        "$@" >>"$pip_log" 2>&1 && return
    ! grep -Eq 'connection broken by|\(from versions: none\)' "$pip_log" ||
        lack "PyPI cannot be reached"
    return 1
}

sha_of() { sha256sum <"$1" | cut -d ' ' -f 1; }

# The versions that this repository has a series for, on one line.
known_versions() {
    (cd "$refmap_root/patches" && for d in */series; do
         [ -f "$d" ] && printf '%s ' "${d%/series}"; done; :) | sed 's/ $//'
}

require_version() {
    case $1 in
    '') die "VERSION is empty; known: $(known_versions)" ;;
    */*|.*) die "unknown VERSION $1; known: $(known_versions)" ;;
    esac
    [ -f "$refmap_root/patches/$1/series" ] ||
        die "unknown VERSION $1 (patches/$1/series is missing); known: $(known_versions)"
}

require_variant() {
    for known in $variants; do
        [ "$1" = "$known" ] && return 0
    done
    die "unknown VARIANT $1; known: $variants"
}

# Every file of the overlay, one path a line.
list_overlay() (
    cd "$refmap_root"
    for dir in $overlay_dirs; do
        [ -d "$dir" ] || continue
        find "$dir" -name __pycache__ -prune -o -type f \
            ! -name '*.py[co]' ! -name '*~' ! -name '.*' ! -name '#*' \
            ! -name '*.orig' ! -name '*.rej' ! -name '*.o' -print
    done | LC_ALL=C sort
)

# Where a file of the overlay lies in the repository.
overlay_source() {
    case $1 in
    refcount_map.m4) echo "$refmap_root/configure-overlay/refcount_map.m4" ;;
    *) echo "$refmap_root/$1" ;;
    esac
}

# The names of a series file, without comments and blank lines.
read_series() { sed -e 's/[ 	]*#.*//' -e 's/[ 	]*$//' -e '/^$/d' "$1"; }

# All hooks of one version, in the order they apply, relative to the repository.
list_hooks() {
    echo Makefile.pre.in.diff
    echo configure-overlay/configure.ac.diff
    read_series "$refmap_root/patches/$1/series" | sed "s|^|patches/$1/|"
}

# The files that a diff touches, without their first path component.
touched_by() {
    awk '/^--- / { old = 1; next }
         old && /^\+\+\+ / { sub(/^\+\+\+ [^\/]*\//, ""); sub(/\t.*/, ""); print }
         { old = 0 }' "$1"
}

# copy_touched DIFF FROM TO: copies what the diff touches, unless it is there.
copy_touched() {
    touched_by "$1" | while IFS= read -r file; do
        [ -e "$3/$file" ] && continue
        [ -f "$2/$file" ] || { echo "there is no $file"; exit 1; }
        mkdir -p "$3/$(dirname "$file")"
        cp "$2/$file" "$3/$file"
    done
}

# apply_diff DIFF DIR [patch option...]: offsets are fine, fuzz is not. Prints
# what patch says, and is false when a hunk fails. Without --forward, --batch
# would guess the direction.
apply_diff() {
    diff=$1 dir=$2
    shift 2
    LC_ALL=C patch -p1 -F0 --batch --forward --no-backup-if-mismatch -r - "$@" \
        -d "$dir" <"$diff" 2>&1
}

# stage_hooks VERSION FROM TO: patched copies of the touched files of the tree
# FROM, in TO. Stops at the first hook that does not apply, and names it.
stage_hooks() {
    list_hooks "$1" >"$3.hooks"
    while IFS= read -r hook; do
        [ -f "$refmap_root/$hook" ] || die "$hook is in the series, but is missing"
        copy_touched "$refmap_root/$hook" "$2" "$3" >"$3.log" &&
        apply_diff "$refmap_root/$hook" "$3" >>"$3.log" || {
            sed 's/^/  /' "$3.log" >&2
            die "the hook $hook does not apply${4:+; $4}"
        }
    done <"$3.hooks"
}

# list_landing: the overlay and the m4 macros.
list_landing() { list_overlay; echo refcount_map.m4; }

stage_overlay() {
    list_landing | while IFS= read -r file; do
        mkdir -p "$1/$(dirname "$file")"
        cp "$(overlay_source "$file")" "$1/$file"
    done
}

# stage_generated FROM TO: what autoconf makes of TO/configure.ac. The result is
# kept: no other step takes as long.
stage_generated() {
    for tool in autoconf autoheader; do
        command -v $tool >/dev/null || die "$tool is missing; run Tools/refmap/build/install-deps"
    done
    key=$({ cat "$2/configure.ac" "$2/refcount_map.m4" "$1/aclocal.m4"
            autoconf --version; } | sha256sum | cut -c1-16)
    cache=$build/cache/configure-$key
    [ -d "$cache" ] || regenerate "$1" "$2" "$cache"
    for file in $generated; do cp "$cache/$file" "$2/$file"; done
}

# regenerate FROM TO CACHE: with the tree's own aclocal.m4, not with the macros
# of this machine, so that configure differs from the tree's by our lines only.
# In a directory of its own, since autoconf leaves a cache.
regenerate() (
    say "regenerating configure"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch" "$3.new"' EXIT
    cp "$2/configure.ac" "$2/refcount_map.m4" "$scratch/"
    for file in aclocal.m4 $generated; do cp "$1/$file" "$scratch/"; done
    (cd "$scratch" && autoconf -f -W error && autoheader -f -W error) \
        >"$scratch/log" 2>&1 || {
        sed 's/^/  /' "$scratch/log" >&2
        die "autoconf fails on configure.ac (it needs version 2.71)"
    }
    # In two steps: an interrupted call must not leave half of it.
    rm -rf "$3.new"
    mkdir -p "$3.new"
    for file in $generated; do mv "$scratch/$file" "$3.new/"; done
    mv "$3.new" "$3"
)

# stage VERSION FROM TO [CONSEQUENCE]: every file that a patched tree has and FROM
# has not, or has with other content. CONSEQUENCE ends the message about a hook
# that does not apply.
stage() {
    stage_hooks "$@"
    stage_overlay "$3"
    stage_generated "$2" "$3"
}

# All files below a directory, one path a line.
list_files() { (cd "$1" && find . -type f | sed 's|^\./||' | LC_ALL=C sort); }

# Times a file's content changed, not the times somebody looked at it, decide
# what make compiles.
update() { cmp -s "$1" "$2" || { mkdir -p "$(dirname "$2")"; cp "$1" "$2"; }; }

# version_of TREE: X.Y of a CPython tree; prints nothing when it is none.
version_of() {
    for file in configure configure.ac Makefile.pre.in Objects/object.c; do
        [ -f "$1/$file" ] || return 0
    done
    awk '$1 == "#define" && $2 == "PY_MAJOR_VERSION" { major = $3 }
         $1 == "#define" && $2 == "PY_MINOR_VERSION" { minor = $3 }
         END { if (major != "" && minor != "") print major "." minor }' \
        "$1/Include/patchlevel.h" 2>/dev/null || :
}

# patch_header FILE, patch_body FILE: before, and from, the first diff line.
patch_header() { awk '/^--- [^ ]/ { exit } { print }' "$1"; }
patch_body() { awk '/^--- [^ ]/ { body = 1 } body { print }' "$1"; }

# refresh_series VERSION TREE WORK: what each patch of the series would be when
# its diff was made again, in WORK/NAME. The format is that of quilt refresh
# -p ab --no-timestamps --no-index, with diff's -p. WORK/NAME.log has what patch
# said; a patch that does not apply ends it.
refresh_series() {
    mkdir -p "$3/a" "$3/b"
    list_hooks "$1" >"$3/hooks"
    while IFS= read -r hook; do
        name=$(basename "$hook")
        rm -rf "$3/a"
        cp -R "$3/b" "$3/a"
        copy_touched "$refmap_root/$hook" "$2" "$3/a" >"$3/$name.log" &&
        copy_touched "$refmap_root/$hook" "$2" "$3/b" >>"$3/$name.log" &&
        apply_diff "$refmap_root/$hook" "$3/b" >>"$3/$name.log" || return 1
        patch_header "$refmap_root/$hook" >"$3/$name"
        touched_by "$refmap_root/$hook" | while IFS= read -r file; do
            LC_ALL=C diff -u -p --label "a/$file" --label "b/$file" \
                "$3/a/$file" "$3/b/$file" || :
        done >>"$3/$name"
    done <"$3/hooks"
}
