# Debian's LXC: two containers, each an overlay on one composefs mount, in place of a loop-mounted image.
VARIABLES='D'
D=/t/lxc

image() {
    umount -l $D/mnt 2>/dev/null || :
    rm -rf $D; mkdir -p $D/mnt; cd $D
    mkcomposefs --digest-store=objects /srv/rootfs rootfs.img
    mount -t composefs rootfs.img mnt -o basedir=$D/objects
    for name in one two; do
        mkdir -p $name/upper
        printf '%s\n' "lxc.uts.name = $name" "lxc.rootfs.path = overlay:$D/mnt:$D/$name/upper" 'lxc.net.0.type = empty' \
            'lxc.mount.auto = proc:mixed sys:ro' 'lxc.tty.max = 0' 'lxc.apparmor.profile = unconfined' \
            'lxc.init.cmd = /usr/bin/sleep 1000' > $name/config
    done
}
mounted() { [ -e $D/mnt/etc/debian_version ] || mount -t composefs $D/rootfs.img $D/mnt -o basedir=$D/objects; }

runs() {
    mounted
    local said; said=$(lxc-execute -n one -f $D/one/config -- /bin/sh -c '
        cat /etc/debian_version; hostname; echo changed > /etc/motd; cat /etc/motd; rm /etc/issue; ls /etc/issue 2>&1 | wc -l
        grep " / " /proc/mounts')
    echo "$said"
    [ "$(head -n 4 <<< "$said")" = "$(cat /srv/rootfs/etc/debian_version)"$'\none\nchanged\n1' ]
    grep "overlay.*lowerdir=$D/mnt,upperdir=$D/one/upper" <<< "$said"
}
# What it changed is in its upper directory, and nothing else is; the image is as it was.
changes() {
    mounted
    [ "$(cat $D/one/upper/etc/motd)" = changed ]
    [ "$(stat -c %t:%T $D/one/upper/etc/issue)" = 0:0 ]
    find $D/one/upper -type f | grep -v -e '/etc/motd$' > $D/more || :
    cat $D/more; [ ! -s $D/more ]
    cmp $D/mnt/etc/motd /srv/rootfs/etc/motd; cmp $D/mnt/etc/issue /srv/rootfs/etc/issue
    diff -r --no-dereference --exclude=dev /srv/rootfs $D/mnt
}
# Both at once, with init of their own; one does not see what the other does.
both() {
    mounted
    local name; mkdir -p $D/lib
    for name in one two; do lxc-start -P $D/lib -n $name -f $D/$name/config; lxc-wait -P $D/lib -n $name -s RUNNING -t 20; done
    lxc-attach -P $D/lib -n one -- /bin/sh -c 'echo one > /root/who'
    lxc-attach -P $D/lib -n two -- /bin/sh -c 'echo two > /root/who'
    [ "$(lxc-attach -P $D/lib -n one -- cat /root/who)" = one ]
    [ "$(lxc-attach -P $D/lib -n two -- cat /root/who)" = two ]
    [ "$(lxc-attach -P $D/lib -n two -- cat /etc/motd)" != changed ]
    # What one has read is in memory for the other: the object is one, whichever mount it is read through.
    local object; object=$D/objects/$(composefs-info dump $D/rootfs.img | awk '$1 == "/usr/bin/perl" { print $9 }')
    sync -f $object; dd if=$object iflag=nocache count=0
    lxc-attach -P $D/lib -n one -- sh -c 'cat /usr/bin/perl > /dev/null'
    local pages; pages=$(fincore -n -o PAGES $object)
    echo "$pages pages of $object"; [ $pages -gt 500 ]
    lxc-attach -P $D/lib -n two -- sha256sum /usr/bin/perl | grep "$(sha256sum < $object | cut -d' ' -f1)"
    for name in one two; do lxc-stop -P $D/lib -n $name -k; done
}
# A new version of the image, beside the old one: only what is new is stored.
next_version() {
    cd $D; cp -a /srv/rootfs rootfs2; echo 2 > rootfs2/etc/version; seq 100000 > rootfs2/usr/share/new
    local before after; before=$(du -s objects | cut -f1)
    mkcomposefs --digest-store=objects rootfs2 rootfs2.img
    after=$(du -s objects | cut -f1)
    echo "$before KiB, $after KiB"; [ $((after - before)) -lt 1000 ] && [ $after -gt $before ]
    mkdir -p mnt2 three/upper; mount -t composefs rootfs2.img mnt2 -o basedir=$D/objects
    sed "s,$D/mnt:$D/one,$D/mnt2:$D/three," one/config > three/config
    [ "$(lxc-execute -n three -f three/config -- cat /etc/version)" = 2 ]
    umount mnt2; rm -rf rootfs2
}

check an_image_and_its_containers strictly image
check a_container_runs strictly runs
check only_changes_are_in_the_upper_directory strictly changes
check two_containers_at_once strictly both
check a_new_version_shares_what_is_the_same strictly next_version
finish
