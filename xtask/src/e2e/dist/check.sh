# Our packages in a Debian sid that has Debian's.
VARIABLES=PACKAGES
PACKAGES="composefs libcomposefs1 libcomposefs-dev"

theirs() {
    dpkg-query -W -f '${Package} ${Version}\n' $PACKAGES | tee /tmp/versions
    [ "$(grep -c ' 1\.0\.8-' /tmp/versions)" = 3 ]
    # Their pkg-config file wants OpenSSL's, on which their package does not depend.
    gcc -o /srv/hello /srv/hello.c -lcomposefs
    /srv/hello > /srv/hello.theirs; cat /srv/hello.theirs
}
install() {
    apt-get install --yes /srv/dist/*.deb
    dpkg-query -W -f '${Package} ${Version}\n' $PACKAGES | tee /tmp/versions
    [ "$(grep -c '+rs' /tmp/versions)" = 3 ]
    # Nothing of Debian's is left, everything of ours is whole, and the package manager is content.
    dpkg --verify $PACKAGES > /tmp/verify; cat /tmp/verify; [ ! -s /tmp/verify ]
    apt-get check; dpkg --audit > /tmp/audit; [ ! -s /tmp/audit ]
}
programs() {
    for name in mkcomposefs composefs-info composefs-dump composefs-fuse; do
        $name --version | grep "^$name (composefs) "
    done
    composefs --version
    mkdir -p /srv/mnt; cd /srv; cp -a /usr/share/doc/libc6 tree
    mkcomposefs --digest-store=objects tree tree.img
    mount -t composefs tree.img mnt -o basedir=/srv/objects
    diff -r tree mnt; umount mnt
    composefs-fuse -o source=tree.img,basedir=objects mnt
    grep ' /srv/mnt .*fuse.composefs' /proc/self/mountinfo
    diff -r tree mnt; composefs umount mnt
}
# A program that was linked to Debian's library, and one linked to ours: as every program that depends on it.
library() {
    ldconfig -p | grep 'libcomposefs.so.1 '
    [ "$(/srv/hello)" = "$(cat /srv/hello.theirs)" ]
    gcc -o /srv/hello2 /srv/hello.c $(pkg-config --cflags --libs composefs)
    [ "$(/srv/hello2)" = "$(cat /srv/hello.theirs)" ]
    pkg-config --atleast-version=1.0.8 composefs
    local library; library=$(ldd /usr/bin/ostree | grep -o '/[^ ]*libcomposefs.so.1')
    dpkg -S "$(readlink -f $library)" "$library" || dpkg -S "/usr$library"
    [ $(stat -L -c %s $library) -le 1000000 ]
    # The packages of others are content with its version: what dpkg-shlibdeps would write.
    cat /var/lib/dpkg/info/libcomposefs1*.shlibs
}
initramfs() {
    local program=/usr/lib/composefs/composefs-setup-root status=0
    dpkg --verify composefs-initramfs > /tmp/verify; [ ! -s /tmp/verify ]
    $program --version | grep '^composefs-setup-root '
    ls -l $program; [ -z "$(readelf -d $program | grep NEEDED)" ]
    $program --sysroot=/srv --config= --cmdline=composefs=abc 2> /tmp/refused || status=$?; cat /tmp/refused
    [ $status = 1 ]; grep -q 'BOOT REFUSED: composefs=abc: not a digest' /tmp/refused
    for file in /usr/share/initramfs-tools/hooks/composefs /usr/share/initramfs-tools/scripts/local-bottom/composefs; do
        [ -x $file ]; sh -n $file; [ -z "$($file prereqs)" ]
    done
    bash -n /usr/lib/dracut/modules.d/37composefs/module-setup.sh
    [ -f /usr/lib/dracut/modules.d/37composefs/composefs-setup-root.service ]
    # The units run a program that is there.
    local unit
    for unit in composefs-check composefs-lazy@; do
        unit=/usr/lib/systemd/system/$unit.service
        dpkg -S $unit; [ -x "$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' $unit)" ]
    done
}
man_pages() {
    local page count=0
    for page in $(dpkg -L composefs composefs-initramfs | grep '/man/.*\.gz$'); do
        count=$((count + 1))
        LC_ALL=C.UTF-8 MANROFFSEQ= man --warnings=w -l $page 2> /tmp/warnings > /tmp/page
        [ ! -s /tmp/warnings ] || { echo $page; cat /tmp/warnings; return 1; }
        [ $(wc -l < /tmp/page) -gt 10 ]
    done
    echo "$count pages"; [ $count -gt 35 ]
    zgrep -q 'ostree' /usr/share/man/man1/composefs-ostree-image.1.gz
}
completions() {
    bash -c '. /usr/share/bash-completion/bash_completion; . /usr/share/bash-completion/completions/composefs; complete -p composefs'
    grep composefs /usr/share/zsh/vendor-completions/_composefs
    grep composefs /usr/share/fish/vendor_completions.d/composefs.fish
}
tarball() {
    cd /srv; rm -rf unpacked; mkdir unpacked; tar -C unpacked -xf dist/*.tar.xz
    cmp unpacked/composefs-*/bin/composefs /usr/bin/composefs
    unpacked/composefs-*/bin/mkcomposefs --print-digest-only tree
    ls unpacked/composefs-*/{lib/*/libcomposefs.so.1,include/libcomposefs/lcfs-writer.h,share/man/man8/mount.composefs.8.gz}
}

check debians_own_packages_are_there strictly theirs
check ours_take_their_place strictly install
check programs_run strictly programs
check programs_linked_to_either_library_run strictly library
check the_program_of_an_initramfs_runs strictly initramfs
check man_pages_are_well_formed strictly man_pages
check completions_are_found strictly completions
check the_tarball_has_the_same strictly tarball
finish
