# Shared by the shell tests of this directory. A test is a function; run it by
#     check 'what it shows' function [argument...]
# Its output is shown only when it fails. 'summary' prints the closing line.

passed=0 failed=0

# The first false command of a test ends it: a shell of its own, because set -e
# has no effect in the condition of an if.
check() {
    title=$1
    shift
    set +e
    (set -eu; "$@") >"$work/output" 2>&1
    status=$?
    set -e
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok - $title"
    else
        failed=$((failed + 1))
        echo "not ok - $title"
        sed 's/^/    /' "$work/output"
    fi
}

# not COMMAND...: it fails. '! COMMAND' would assert nothing: set -e ignores it.
not() {
    if "$@"; then
        echo "it did not fail: $*"
        return 1
    fi
}

summary() {
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ]
}
