# Works in a repository on the recorded disk, and marks in its list what was begun and what has returned.
# CONTROL is the number of the disk's last block, ROUNDS how long it goes on.
set -e
mark() { printf '%s' "$*" | dd of=/dev/vda bs=4096 seek="$CONTROL" conv=sync,notrunc oflag=direct 2> /dev/null; }
fail() { echo "$1" >&2; exit 1; }

# Trees on another file system, whose files overlap.
mkdir /trees
seq 200000 > /all
for tree in 0 1 2 3 4 5; do
    mkdir "/trees/$tree"
    for file in 0 1 2 3 4 5 6 7; do
        from=$(((tree * 5 + file) * 1000))
        tail -n +$((from + 1)) /all | head -n $((60 + file * file * 150)) > "/trees/$tree/$file"
    done
    eval "digest$tree=$(mkcomposefs --print-digest-only "/trees/$tree")"
done
digest_of() { eval "echo \$digest$1"; }

C="composefs --repo r"
create() {
    mark "MAYBE $2 $(digest_of "$1")"
    [ "$($C create "/trees/$1" --name "$2")" = "$(digest_of "$1")" ] || fail "create $1: another digest"
    mark "IS $2 $(digest_of "$1")"
}
tag() {
    mark "MAYBE $2 $(digest_of "$3")"
    $C tag "$1" "$2"
    mark "IS $2 $(digest_of "$3")"
}
untag() {
    mark "MAYBE $1 -"
    $C untag "$1"
    mark "IS $1 -"
}
gc() { $C gc --grace=0 > /dev/null; }

$C init
mark BEGIN
round=0
while [ $round -lt "$ROUNDS" ]; do
    first=$((round % 6)) second=$(((round + 1) % 6)) third=$(((round + 3) % 6))
    create $first a
    tag a folder/b $first
    create $second c
    # At once: one makes something while the other removes things.
    mark "MAYBE d $(digest_of $third)"
    $C create "/trees/$third" --name d > /dev/null & creating=$!
    gc
    wait $creating
    mark "IS d $(digest_of $third)"
    untag c
    gc
    tag d a $third
    untag folder/b
    # An image without a name, for the next gc.
    $C create "/trees/$second" > /dev/null
    round=$((round + 1))
done
mark END
