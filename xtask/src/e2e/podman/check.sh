# Debian's podman, its mkcomposefs ours.
REGISTRY=127.0.0.1:5055
RUN="podman run --rm --network=none --cgroups=disabled"
STORE=/t/store/root
VARIABLES='REGISTRY RUN STORE OCI_RUN ROOT FACTS'

prepare() {
    write_configuration
    export CONTAINERS_CONF=/t/conf/containers.conf
    made | cmp -s - /t/made || make_images
    rm -rf /t/store /t/calls /t/spoil /t/rootfs; mkdir -p /t/calls
    install -D -m 755 /opt/composefs/mkcomposefs.sh /t/path/mkcomposefs
}

pull() { podman pull -q --tls-verify=false $REGISTRY/$1; }

# One call for each new layer, with the words that podman always has; its output is the blob of a layer.
called() {
    local n=0 call
    for call in /t/calls/*; do
        n=$((n + 1))
        [ "$(cat $call/words)" = $'--from-file\n-\n-' ]
        [ "$(cat $call/status)" = 0 ]
        local blob found=
        for blob in $STORE/overlay/*/composefs-data/composefs.blob; do cmp -s $blob $call/stdout && found=$blob; done
        [ -n "$found" ] || { echo "the image of $call is in no layer"; return 1; }
    done
    echo "$n calls"
    [ $n = 4 ]
}

# Everything that can be asked of every path.
attributes() {
    cd $1
    find . -printf '%P|%y|%m|%U:%G|%T@|%l' \( -type d -printf '\n' -o -printf '|%n|%s\n' \) | LC_ALL=C sort
    find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
    find . -type f -print0 | sort -z | xargs -0 sha256sum
    find . -mindepth 1 -print0 | LC_ALL=C sort -z | while IFS= read -r -d '' path; do
        getfattr -P -h -d -m - -e hex -- "$path" 2>/dev/null | LC_ALL=C sort
    done
}
as_its_source() {
    local mount; mount=$(podman image mount $REGISTRY/$1)
    grep "$mount .* - overlay overlay .*composefs-layers/.*metacopy=on" /proc/self/mountinfo
    (attributes /t/src/$1) > /t/wanted; (attributes $mount) > /t/found
    podman image umount $REGISTRY/$1
    wc -l < /t/wanted
    [ "$(wc -l < /t/wanted)" -gt 600 ]
    diff /t/wanted /t/found
}

runs() {
    local out
    out=$($RUN $REGISTRY/r1 /bin/sh -c 'cat /data/tiny; echo " written" > /data/tiny; cat /data/tiny; rm /data/f65
        ls /data/f65 2>&1 | wc -l; grep -c "composefs-layers.*metacopy=on" /proc/mounts')
    echo "$out"; [ "$out" = $'tiny written\n1\n1' ]
    [ "$($RUN $REGISTRY/r1 cat /data/tiny)" = tiny ]
    [ "$($RUN $REGISTRY/r3 cat /data/tiny /usr/lib/new)" = $'layer2\nnew' ]
    [ "$($RUN --user 1234:4321 $REGISTRY/r2 cat /data/tiny)" = changed ]
    [ "$($RUN --read-only $REGISTRY/r4 cat /data/tiny)" = changed ]
    [ "$($RUN --uidmap 0:100000:65536 --gidmap 0:100000:65536 $REGISTRY/r1 stat -c %u:%g /data/tiny)" = 1234:4321 ]
}

# Equal files of two images are one inode, in the page cache once.
shared() {
    local payload files
    payload=$(awk '$1 == "/data/big" { print $9 }' /t/calls/*/stdin | sort -u)
    files=($STORE/overlay/*/diff/$payload)
    echo "${#files[@]} layers have $payload"; [ ${#files[@]} -ge 2 ]
    [ "$(stat -c %i "${files[@]}" | sort -u | wc -l)" = 1 ]
    sync -f ${files[0]}; dd if=${files[0]} iflag=nocache count=0
    $RUN $REGISTRY/r1 md5sum /data/big
    local pages; pages=($(fincore -n -o PAGES "${files[@]}"))
    echo "pages: ${pages[*]}"
    [ ${pages[0]} -gt 700 ] && [ ${pages[0]} = ${pages[1]} ]
}

# What our program says of a dump that it refuses reaches whoever ran podman, whole.
fails_loudly() {
    podman rmi -a -f; rm -rf /t/calls/*; touch /t/spoil
    ! podman pull --tls-verify=false $REGISTRY/r1 > /t/out 2> /t/err
    rm /t/spoil
    cat /t/err
    local said; said=$(cat /t/calls/*/stderr)
    echo "mkcomposefs said: $said"
    [ -n "$said" ] && grep -F "$said" /t/err
    [ -z "$(podman images -q)" ]
    podman pull -q --tls-verify=false $REGISTRY/r1
}

nothing_stays() {
    podman rmi -a -f
    [ -z "$(ls -d $STORE/overlay/*/composefs-data 2>/dev/null)" ]
}

# A mount of our mount.composefs as the lower directory, the container's work directory as the upper one.
rootfs() {
    export CONTAINERS_STORAGE_CONF=/t/conf/storage-build.conf
    mkdir -p /t/rootfs/mnt; cd /t/rootfs
    mkcomposefs --digest-store=objects /t/src/r1 r1.img
    mount -t composefs r1.img mnt -o basedir=/t/rootfs/objects
    (attributes mnt) > before
    local out
    out=$($RUN --rootfs /t/rootfs/mnt:O /bin/sh -c 'cat /data/tiny; echo written > /data/tiny; cat /data/tiny; rm -r /usr/lib/d5
        ls /usr/lib | grep -c d5; grep " / " /proc/mounts')
    echo "$out"
    [ "$(head -n 3 <<< "$out")" = $'tinywritten\n0\n'"$(sed -n 3p <<< "$out")" ]
    grep 'lowerdir=/t/rootfs/mnt,upperdir=/t/build/root/overlay-containers/.*workdir=' <<< "$out"
    (attributes mnt) > after
    umount mnt
    diff before after
    # The upper directory of a container that is kept has what it changed, and nothing else.
    mount -t composefs r1.img mnt -o basedir=/t/rootfs/objects
    podman run --name kept --network=none --cgroups=disabled --rootfs /t/rootfs/mnt:O /bin/sh -c 'echo kept > /data/tiny'
    local upper; upper=$(ls -d /t/build/root/overlay-containers/*/rootfs/upper)
    [ "$(cat $upper/data/tiny)" = kept ]
    find $upper -type f | grep -v /etc/ | tee /t/rootfs/changed
    [ "$(grep -vc /run/ /t/rootfs/changed)" = 1 ]
    podman rm kept; umount mnt
}

check images_are_in_a_registry strictly prepare
start_registry
export CONTAINERS_CONF=/t/conf/containers.conf CONTAINERS_STORAGE_CONF=/t/conf/storage-composefs.conf
export PATH=/t/path:$PATH
for image in r1 r2 r3 r4; do check "pull_$image" strictly pull $image; done
check our_mkcomposefs_was_called strictly called
check r1_is_as_its_source strictly as_its_source r1
check r2_is_as_its_source strictly as_its_source r2
check r3_of_two_layers_is_as_its_source strictly as_its_source r3
check r4_converted_from_gzip_is_as_its_source strictly as_its_source r4
check containers_run strictly runs
check two_images_share_inodes_and_page_cache strictly shared
mkdir -p /t/recorded; rm -rf /t/recorded/*; cp -r /t/calls/* /t/recorded/
check a_failure_of_ours_is_told_whole strictly fails_loudly
check skopeo_signs_images strictly sign_images
check signatures_are_judged_as_by_skopeo strictly signatures_judged
check nothing_stays_behind strictly nothing_stays
check rootfs_is_a_composefs_mount strictly rootfs
containers
finish
