# The story of `cargo xtask demo`, for dash and busybox: TREE is shown in WORK, by the programs on the PATH.
# VERIFIED=yes: the file system of WORK has fs-verity.
set -u
cd "$WORK" || exit 1
step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
# Shows a command and runs it.
run() { printf '   $ %s\n' "$*"; "$@" 2>&1 | sed 's/^/     /'; }
die() { say "UNEXPECTED: $*"; failed=1; }
mounts=
failed=0
mount_at() { mkdir -p "$2"; printf '   $ mount.composefs %s %s -o %s\n' "$1" "$2" "$3"
    mount.composefs "$1" "$2" -o "$3" && mounts="$2 $mounts"; }
clean_up() { for m in $mounts; do umount "$WORK/$m"; done; mounts=; }
trap clean_up EXIT
objects() { find objects -type f | wc -l; }
bytes() { find "$1" -type f -exec stat -c %s {} + | awk '{ n += $1 } END { printf "%d", n }'; }
mib() { awk "BEGIN { printf \"%.1f MiB\", $1 / 1048576 }"; }

step "1. Build an image and its object store from $TREE"
start=$(date +%s)
run mkcomposefs --digest-store=objects "$TREE" one.img
digest=$(mkcomposefs --print-digest-only "$TREE")
[ -s one.img ] || die "no image"

step "2. Sizes"
say "the tree:    $(find "$TREE" | wc -l) entries, $(mib "$(bytes "$TREE")") in files"
say "the image:   $(mib "$(stat -c %s one.img)"), all names and metadata, and every file of up to 64 bytes"
say "the objects: $(objects) files, $(mib "$(bytes objects)"), each content once"
say "its digest:  $digest"

step "3. Mount it"
options="basedir=objects"
if [ "$VERIFIED" = yes ]; then
    say "The digest vouches for every name, mode and byte; the image must have fs-verity to be measured."
    run fsverity enable one.img
    options="basedir=objects,digest=$digest"
fi
mount_at one.img one "$options" || die "the mount failed"
grep " $WORK/one " /proc/mounts | sed 's/^/     /'

step "4. Read it"
compared=0
find "$TREE" -xdev -type f > files
while read -r file; do
    cmp -s "$file" "one${file#"$TREE"}" || die "$file differs"
    compared=$((compared + 1))
done < files
say "$compared files compared with the source: $([ $failed = 0 ] && echo all equal || echo NOT EQUAL)"

step "5. A second image with other times shares every file"
before=$(objects)
run mkcomposefs --digest-store=objects --use-epoch "$TREE" two.img
say "new objects: $(($(objects) - before)); new bytes: $(stat -c %s two.img) of image"
mount_at two.img two basedir=objects || die "the mount failed"
[ "$(objects)" = "$before" ] || die "objects were added"

step "6. Tamper with an object"
# A mount on which nothing was opened yet: overlayfs keeps the object that an open file was found to be.
mount_at two.img three "basedir=objects$([ "$VERIFIED" = yes ] && echo ,verity)" || die "the mount failed"
object_of() { fsverity digest --compact "$1" | sed 's,^..,&/,'; }
name= twin=
while read -r file; do
    [ "$(stat -c %s "$file")" -gt 4096 ] || continue
    if [ -z "$name" ]; then
        name=${file#"$TREE"} victim=objects/$(object_of "$file")
    elif [ "objects/$(object_of "$file")" != "$victim" ]; then
        twin=${file#"$TREE"}
        break
    fi
done < files
[ -n "$twin" ] || die "the tree has no two files of more than 4096 bytes"
say "$name is $victim"
cp "$victim" good
{ printf MODIFIED; tail -c +9 good; } > bad
say '$ rm OBJECT; { printf MODIFIED; tail -c +9 GOOD; } > OBJECT'
rm "$victim" && cp bad "$victim"
if [ "$VERIFIED" = yes ]; then
    printf '   $ cat three%s\n' "$name"
    if cat "three$name" > /dev/null 2> error; then die "the tampered file was served"; fi
    sed 's/^/     /' error
    dmesg | grep -F "overlayfs: lower file" | tail -n 1 | sed 's/^/     kernel: /'
    cat "three$twin" > /dev/null && say "its neighbour $twin still reads" || die "the twin does not read"
else
    printf '   $ head -c 8 three%s\n     %s\n' "$name" "$(head -c 8 "three$name")"
    say "Without fs-verity nobody refuses it. In the next part the kernel has fs-verity, and does."
fi
say "The size is the same; a build that reads what is there finds the damage and repairs it:"
run mkcomposefs --verify-store --digest-store=objects "$TREE" two.img
cmp -s "$victim" good && say "$victim is whole again" || die "the object was not repaired"

step "7. A wrong digest is refused"
wrong=$(echo "$digest" | tr 0123456789abcdef fedcba9876543210)
mkdir -p refused
printf '   $ mount.composefs one.img refused -o basedir=objects,digest=%s\n' "$wrong"
if mount.composefs one.img refused -o "basedir=objects,digest=$wrong" 2> error; then
    mounts="refused $mounts"; die "it was mounted"
fi
sed 's/^/     /' error
say "took $(($(date +%s) - start)) seconds"
exit $failed
