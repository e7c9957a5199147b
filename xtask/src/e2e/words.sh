# What the scripts of all engines have in common: each check has a name, and reports as Rust's tests do.
passed=0 bad=0
check() { # NAME COMMAND...: runs the command, whose words are shown if it fails
    local name=$1; shift
    if "$@" >/tmp/check.log 2>&1; then
        echo "test $name ... ok"; passed=$((passed + 1))
    else
        echo "test $name ... FAILED"; sed 's/^/    /' /tmp/check.log | tail -n 40; bad=$((bad + 1))
    fi
}
say() { printf '%s\n' "$*"; }
# To be called last.
finish() {
    echo "test result: $([ $bad = 0 ] && echo ok || echo FAILED). $passed passed; $bad failed; 0 ignored;"
    [ $bad = 0 ]
}
# Runs the rest by a shell that stops at the first failure, which none does that is called in a condition.
strictly() {
    bash -euo pipefail -c "$(declare -f); $(declare -p $VARIABLES); \"\$@\"" strictly "$@"
}
echo "running 1 test"
