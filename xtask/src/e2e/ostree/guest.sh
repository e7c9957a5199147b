# In a guest with fs-verity: the deployment is mounted by ostree-prepare-root with enabled=verity, before and after one object
# was replaced by another content. Reports as Rust's tests do.
check() {
    if "$2" > /tmp/log 2>&1; then echo "test $1 ... ok"; passed=$((passed + 1))
    else echo "test $1 ... FAILED"; cat /tmp/log; dmesg | tail -n 5; bad=$((bad + 1)); fi
}
passed=0 bad=0 new=/mnt/new objects=/mnt/new/sysroot/ostree/repo/objects
fail() { echo "$1"; exit 1; }

seal() (
    cp -a /payload/root $new || exit 1
    find $objects -name '*.file' -type f -size +0 > /tmp/objects
    [ "$(wc -l < /tmp/objects)" -ge 4 ] || fail "no objects"
    while read -r object; do fsverity enable "$object" || exit 1; done < /tmp/objects
)
boot() {
    mount --bind $new $new && mount -t tmpfs tmpfs $new/run && mount -t proc proc $new/proc && mount --rbind /dev $new/dev &&
        mount --bind $new/sysroot $new/sysroot || return 1
    target=$(cd $new/sysroot && ls -d ostree/boot.1/testos/*/0)
    LD_LIBRARY_PATH=/opt/composefs chroot $new /usr/lib/ostree/ostree-prepare-root /sysroot "ostree=/$target" || return 1
    grep " $new/sysroot .*verity=require" /proc/self/mountinfo
}
verified() {
    boot || return 1
    seq 1 9000 | cmp - $new/sysroot/usr/bin/data && grep TestOS $new/sysroot/usr/lib/os-release
}
# Another content, sealed: fs-verity alone would take it.
replaced() {
    while umount -l $new 2>/dev/null; do :; done
    umount -l $new/sysroot 2>/dev/null
    echo 3 > /proc/sys/vm/drop_caches
    object=$(find $objects -name '*.file' -type f -size +0 -exec grep -lx 8999 {} +)
    [ -f "$object" ] || fail "no object: $object"
    seq 1 9000 | sed s/8999/8998/ > $object.new && chmod --reference="$object" $object.new 2>/dev/null
    mv $object.new $object && fsverity enable $object && boot || return 1
    grep TestOS $new/sysroot/usr/lib/os-release || return 1
    if cat $new/sysroot/usr/bin/data > /tmp/out 2> /tmp/err; then fail "the other content can be read"; fi
    grep -i 'input/output error' /tmp/err
}
# The C program that asks for fs-verity: measured, enabled, and mounts that demand it.
c_program() (
    mkdir $new/c && mount --bind $new $new && mount -t proc proc $new/proc && mount --rbind /dev $new/dev &&
        mount -t tmpfs tmpfs $new/run || exit 1
    LD_LIBRARY_PATH=/opt/composefs chroot $new /opt/verity /c mount > /tmp/said || { cat /tmp/said; exit 1; }
    cat /tmp/said; grep -x 'fs-verity: yes' /tmp/said
)
echo "running 4 tests"
check ostree_objects_are_sealed seal
check c_interface_asks_for_fs_verity c_program
while umount -l $new 2>/dev/null; do :; done
check ostree_prepare_root_verified verified
check ostree_replaced_object_is_refused replaced
echo "test result: $([ $bad = 0 ] && echo ok || echo FAILED). $passed passed; $bad failed; 0 ignored;"
exit $bad
