# Before check.sh: trees with all kinds of entries, as images in a registry: two of one layer, one of two, one compressed by gzip.
make_images() {
    export CONTAINERS_STORAGE_CONF=/t/conf/storage-build.conf
    rm -rf /t/src /t/registry /t/build; mkdir -p /t/src/r1/{bin,etc,usr/lib,dev,proc,sys,tmp,data/empty,run}
    cd /t/src/r1
    cp /bin/busybox bin/busybox
    for name in sh ls cat stat sleep id md5sum mount touch rm mkdir grep find wc sha256sum; do ln -s busybox bin/$name; done
    install -m 4755 bin/busybox bin/su; chmod 1777 tmp
    seq 1 450000 > data/big; seq 7 110000 > data/shared; cp data/shared data/shared-copy
    printf tiny > data/tiny; : > data/zero; seq 1 30 | head -c 64 > data/f64; seq 1 30 | head -c 65 > data/f65
    ln data/big data/big-hard; ln -s ../data/big data/sym; mkfifo data/fifo; mknod data/null c 1 3; mknod data/blk b 7 200
    printf x > 'data/sp ace'; printf y > 'data/eq=ual'; printf z > $'data/new\nline'; printf u > data/ünï; printf b > 'data/back\slash'
    printf d > data/-
    setfattr -n user.foo -v bar data/f65; setfattr -n user.bin -v $'\x01\x02=\\' data/f65; setcap cap_net_raw+ep data/f64
    setfattr -n trusted.overlay.opaque -v y data/empty
    echo a > data/acl; setfacl -m u:1234:r data/acl; chown 1234:4321 data/tiny
    for i in $(seq 1 300); do mkdir -p usr/lib/d$((i % 17)); seq $i $((i * 9)) > usr/lib/d$((i % 17))/f$i; done
    touch -d '1969-01-01 00:00:00.5' data/zero; touch -d '2020-02-02 02:02:02.123456789' data/f64
    cp -a /t/src/r1 /t/src/r2; cd /t/src/r2
    seq 3 9000 > data/only2; rm -r usr/lib/d3; echo changed > data/tiny
    cp -a /t/src/r2 /t/src/r4; echo gzip > /t/src/r4/data/only4
    for name in r1 r2 r4; do
        tar -C /t/src/$name --xattrs --xattrs-include='*' --format=pax -cf /t/src/$name.tar .
        podman import -q /t/src/$name.tar localhost/$name
    done
    # A layer that replaces and adds; what it removes, this podman shows all the same with composefs.
    local c m; c=$(buildah from localhost/r1); m=$(buildah mount $c)
    echo new > $m/usr/lib/new; echo layer2 > $m/data/tiny
    # What it then is: not copied from there, where overlayfs takes an attribute of r1 for its own.
    cp -a /t/src/r1 /t/src/r3
    cp -a $m/data/tiny /t/src/r3/data/tiny; cp -a $m/usr/lib/new /t/src/r3/usr/lib/new
    # buildah keeps whole seconds, and none of the root.
    local path
    for path in data/tiny data usr/lib/new usr/lib usr; do touch -d "@$(stat -c %Y $m/$path)" /t/src/r3/$path; done
    touch -d @0 /t/src/r3
    buildah umount $c; buildah commit -q $c localhost/r3; buildah rm $c
    start_registry
    for name in r1 r2 r3; do
        podman push -q --tls-verify=false --compression-format zstd:chunked --force-compression localhost/$name docker://$REGISTRY/$name
    done
    podman push -q --tls-verify=false --compression-format gzip --force-compression localhost/r4 docker://$REGISTRY/r4
    made > /t/made
}

# What the images were made by.
made() { declare -f make_images | sha256sum; }

start_registry() {
    (exec 3<>/dev/tcp/127.0.0.1/5055) 2>/dev/null && return
    docker-registry serve /t/conf/registry.yml > /t/registry.log 2>&1 &
    for _ in $(seq 50); do (exec 3<>/dev/tcp/127.0.0.1/5055) 2>/dev/null && return; sleep 0.2; done
    cat /t/registry.log; return 1
}

write_configuration() {
    mkdir -p /t/conf
    printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n[containers]\nnetns = "none"\ncgroups = "disabled"\n' \
        > /t/conf/containers.conf
    printf 'version: 0.1\nlog: {level: warn}\nstorage:\n  filesystem: {rootdirectory: /t/registry}\nhttp: {addr: "127.0.0.1:5055"}\n' \
        > /t/conf/registry.yml
    printf '[storage]\ndriver = "overlay"\ngraphroot = "/t/build/root"\nrunroot = "/run/t-build"\n' > /t/conf/storage-build.conf
    # The values are strings, not booleans.
    printf '%s\n' '[storage]' 'driver = "overlay"' 'graphroot = "/t/store/root"' 'runroot = "/run/t-store"' \
        '[storage.options.pull_options]' 'enable_partial_images = "true"' 'use_hard_links = "true"' 'convert_images = "true"' \
        '[storage.options.overlay]' 'use_composefs = "true"' > /t/conf/storage-composefs.conf
}
