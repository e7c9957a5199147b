#!/bin/sh
# What podman finds under the name: records the call, and is ours.
call=$(mktemp -d /t/calls/XXXXXX)
for word; do printf '%s\n' "$word"; done > $call/words
cat > $call/stdin
# A dump that is not well-formed, where the script asks for a failure.
[ ! -e /t/spoil ] || echo 'not/absolute' >> $call/stdin
/usr/local/bin/mkcomposefs "$@" < $call/stdin > $call/stdout 2> $call/stderr
status=$?
echo $status > $call/status
cat $call/stderr >&2; cat $call/stdout; exit $status
