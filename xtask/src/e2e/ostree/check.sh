# Debian's ostree, its library replaced by ours by LD_LIBRARY_PATH, or if $3 is "packaged" by the package manager. $1 is "all" for
# the long form, with the tests $2.
L=/opt/composefs
[ "$3" != packaged ] || L=
HOME_OF_OURS=${L:-/usr/lib/x86_64-linux-gnu}
TESTS=/usr/libexec/installed-tests/libostree
VARIABLES='L TESTS HOME_OF_OURS'
o() { LD_LIBRARY_PATH=$L ostree "$@"; }
digest_of() { ostree --repo=$1 show --print-hex --print-metadata-key ostree.composefs.digest.v0 $2; }

make_tree() {
    rm -rf /root/modes; mkdir -p /root/modes; cd /root/modes
    mkdir -p tree/usr/bin tree/usr/share/doc tree/opt
    printf hello > tree/usr/bin/small; seq 1 20000 > tree/usr/share/big; : > tree/usr/share/empty
    ln -s ../bin/small tree/usr/share/link
    chmod 4755 tree/usr/bin/small; chmod 1777 tree/opt; chown 1000:1001 tree/usr/share/big
    setfattr -n user.foo -v bar tree/usr/share/big; setfattr -n user.d -v x tree/usr/share
    setfattr -n trusted.overlay.opaque -v y tree/opt; setfattr -n user.r -v r tree
    cp -a /usr/bin tree/usr/more
}

# A commit with its digest, and checkouts with and without file digests, byte for byte as with Debian's library.
mode() {
    cd /root/modes
    o --repo=$1 init --mode=$1
    o --repo=$1 commit -b zt --timestamp=@1 --generate-composefs-metadata --tree=dir=tree
    o --repo=$1 checkout --composefs zt $1.cfs
    o --repo=$1 checkout --composefs-noverity zt $1-plain.cfs
    [ "$(digest_of $1 zt)" = "$(composefs-info measure-file $1.cfs)" ]
    ostree --repo=$1 checkout --composefs zt reference.cfs
    cmp reference.cfs $1.cfs
    ostree --repo=$1 checkout --composefs-noverity zt reference-plain.cfs
    cmp reference-plain.cfs $1-plain.cfs
    ostree --repo=$1 commit -b theirs --timestamp=@1 --generate-composefs-metadata --tree=dir=tree
    [ "$(digest_of $1 zt)" = "$(digest_of $1 theirs)" ]
    # Read without ostree.
    composefs ostree image $1 zt - 2>/dev/null | cmp - reference.cfs
    composefs ostree image --no-verity $1 zt - 2>/dev/null | cmp - reference-plain.cfs
    composefs ostree verify $1 zt
    rm reference*.cfs
}

# Commits in a repository of composefs: one image of the three modes that keep everything, and its tree is ostree's.
imported() {
    cd /root/modes; rm -rf composefs one two; C='composefs --repo composefs'
    $C init --insecure
    for mode in bare bare-user archive bare-user-only; do $C ostree import $mode zt --name=$mode; done
    $C fsck
    $C images | tee images
    grep 'archive bare bare-user$' images; [ $(wc -l < images) = 2 ]
    mkdir one two
    $C mount bare one
    mount -t composefs bare.cfs two -o basedir=bare/objects
    diff -r --no-dereference one two
    (cd one; find . -printf '%P %y %m %U:%G %s %l\n' | sort) > one.list; (cd two; find . -printf '%P %y %m %U:%G %s %l\n' | sort) > two.list
    wc -l < one.list; cmp one.list two.list
    umount one; umount two
}
# A commit whose recorded digest is another one, or none.
refused() {
    cd /root/modes
    o --repo=bare commit -b plain --timestamp=@1 --tree=dir=tree
    ! composefs ostree verify bare plain 2> said; grep 'records no digest' said
    o --repo=bare commit -b wrong --timestamp=@1 --tree=dir=tree "--add-metadata=ostree.composefs.digest.v0=[byte 0x00]"
    ! composefs ostree verify bare wrong 2> said; grep 'has 1 bytes' said
    local zeros; zeros=$(printf 'byte 0x00, %.0s' $(seq 31))
    o --repo=bare commit -b other --timestamp=@1 --tree=dir=tree "--add-metadata=ostree.composefs.digest.v0=[${zeros}byte 0x00]"
    ! composefs ostree verify bare other 2> said; grep 'records the digest 0000' said
    ! composefs --repo composefs ostree import bare other 2> said; grep 'but it records another one' said
}

# The dynamic loader says which library it was.
ours_is_loaded() {
    LD_LIBRARY_PATH=$L LD_DEBUG=libs ostree --repo=/root/modes/bare refs 2>&1 | grep "calling init: $L/libcomposefs.so.1"
    LD_DEBUG=libs ostree --repo=/root/modes/bare refs 2>&1 | grep "calling init:.*/libcomposefs.so.1" | grep -v $L
}

# A test of ostree's own; every program in it must have loaded ours and none Debian's.
installed() {
    local dir; dir=$(mktemp -d /var/tmp/ostree.XXXXXX); mkdir $dir/work $dir/libs; cd $dir/work
    LD_LIBRARY_PATH=$L LD_DEBUG=libs LD_DEBUG_OUTPUT=$dir/libs/log G_TEST_SRCDIR=$TESTS G_TEST_BUILDDIR=$TESTS \
        timeout 300 $TESTS/$1 || { status=$?; chattr -R -f -i $dir || :; return $status; }
    cat $dir/libs/* | grep -o "calling init: .*libcomposefs.*" | sort | uniq -c > $dir/loaded || :
    cat $dir/loaded
    grep -q " $HOME_OF_OURS/libcomposefs.so.1" $dir/loaded
    ! grep -v " $HOME_OF_OURS/libcomposefs.so.1" $dir/loaded
    cd /; chattr -R -f -i $dir || :; rm -rf $dir
}

deploy() {
    chattr -i /root/d/phys/ostree/deploy/*/deploy/*.0 2>/dev/null || :
    rm -rf /root/d; mkdir /root/d; cd /root/d; export LD_LIBRARY_PATH=$L OSTREE_SYSROOT=/root/d/phys
    local T=tree S=$OSTREE_SYSROOT; mkdir $S
    mkdir -p $T/usr/bin $T/usr/lib/modules/6.1.0-x $T/usr/etc $T/usr/lib/ostree
    mkdir $T/sysroot $T/boot $T/var $T/proc $T/sys $T/dev $T/run $T/tmp
    ln -s sysroot/ostree $T/ostree; ln -s usr/bin $T/bin; ln -s usr/lib $T/lib; ln -s ../usr/lib/os-release $T/usr/etc/os-release
    echo kernel > $T/usr/lib/modules/6.1.0-x/vmlinuz; echo initrd > $T/usr/lib/modules/6.1.0-x/initramfs.img
    printf 'NAME=TestOS\nID=testos\nVERSION_ID=1\nPRETTY_NAME=TestOS\n' > $T/usr/lib/os-release
    cp /usr/bin/true $T/usr/bin/true; seq 1 9000 > $T/usr/bin/data
    printf '[composefs]\nenabled=verity\n' > $T/usr/lib/ostree/prepare-root.conf
    ostree admin init-fs --modern $S; ostree admin os-init testos
    ostree --repo=$S/ostree/repo config set sysroot.bootloader none
    ostree --repo=$S/ostree/repo commit -b main --generate-composefs-metadata --owner-uid=0 --owner-gid=0 --timestamp=@1 --tree=dir=$T
    ostree admin deploy --os=testos --karg=root=LABEL=x main
    [ "$(digest_of $S/ostree/repo main)" = "$(composefs-info measure-file $S/ostree/deploy/testos/deploy/*.0/.ostree.cfs)" ]
}

# The program that mounts a deployment at boot, in a root of its own. $1: the configuration, $2: what shall be seen.
prepare_root() {
    local seen; seen=$(unshare -m --propagation private bash -euc '
        mkdir -p /sysroot /root/new; mount --bind / /root/new; cd /root/new
        mount -t tmpfs tmpfs run; mount -t proc proc proc; mount --rbind /dev dev; mount --bind /root/d/phys sysroot
        exec chroot . bash -euc "$3" _ "$1" "$2"
    ' _ "$1" "$L" '
        T=$(cd sysroot && ls -d ostree/boot.1/testos/*/0)
        mkdir -p /etc/ostree; printf "$1" > /etc/ostree/prepare-root.conf
        trap "rm -f /etc/ostree/prepare-root.conf" EXIT
        if ! LD_LIBRARY_PATH=$2 /usr/lib/ostree/ostree-prepare-root /sysroot "ostree=/$T" > /run/said 2>&1; then
            cat /run/said >&2; echo failed; exit
        fi
        cmp -s /sysroot/usr/bin/data /root/d/tree/usr/bin/data && data=same || data=unreadable
        /sysroot/usr/bin/true 2>/dev/null && exec=runs || exec=fails
        touch /sysroot/usr/x 2>/dev/null && usr=writable || usr=readonly
        touch /sysroot/etc/x 2>/dev/null && etc=writable || etc=readonly
        verity=$(grep -c " /sysroot .*verity=require" /proc/self/mountinfo) || :
        source=$(awk "\$5 == \"/sysroot\" { print \$(NF-1) }" /proc/self/mountinfo | head -n 1)
        echo "$source data=$data exec=$exec usr=$usr etc=$etc verity=$verity"')
    echo "seen: $seen"; [ "$seen" = "$2" ]
}
without_an_image() {
    local image; image=$(ls /root/d/phys/ostree/deploy/testos/deploy/*.0/.ostree.cfs)
    chattr -i "$(dirname "$image")"; mv "$image" /root/d/kept
    local status=0
    prepare_root '[composefs]\nenabled=maybe\n' '/dev/vda data=same exec=runs usr=readonly etc=writable verity=0' > /tmp/maybe || :
    grep -q 'data=same' /tmp/maybe || status=1
    ! grep -q '^seen: composefs' /tmp/maybe || status=2
    prepare_root '[composefs]\nenabled=true\n' failed || status=3
    mv /root/d/kept "$image"; cat /tmp/maybe
    return $status
}

check a_tree_of_a_whole_usr_bin strictly make_tree
for mode in bare bare-user archive bare-user-only; do check "mode_$mode" strictly mode $mode; done
check imported_into_a_repository strictly imported
check other_digests_are_refused strictly refused
[ "$3" = packaged ] || check ours_is_loaded_and_theirs_without_it strictly ours_is_loaded
check installed::test-composefs.sh strictly installed test-composefs.sh
check installed::test-admin-deploy-composefs.sh strictly installed test-admin-deploy-composefs.sh
check deploy strictly deploy
check prepare_root_true strictly prepare_root '[composefs]\nenabled=true\n' \
    'composefs data=same exec=runs usr=readonly etc=writable verity=0'
check prepare_root_maybe strictly prepare_root '[composefs]\nenabled=maybe\n' \
    'composefs data=same exec=runs usr=readonly etc=writable verity=0'
# This kernel has no fs-verity: the mount is made and nothing can be read. The guest shows the other side.
check prepare_root_verity strictly prepare_root '[composefs]\nenabled=verity\n' \
    'composefs data=unreadable exec=fails usr=readonly etc=writable verity=1'
check prepare_root_transient strictly prepare_root '[composefs]\nenabled=true\n[root]\ntransient=true\n' \
    'composefs data=same exec=runs usr=writable etc=writable verity=0'
check prepare_root_without_an_image strictly without_an_image
if [ "$1" = all ]; then
    for test in ${2:?}; do check "installed::$test" strictly installed $test; done
fi
finish
