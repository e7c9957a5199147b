#!/bin/sh
# Makes compressed layers of parts of /usr with all encoders that are installed, for the table of records:
#
#     bench/blob-records/layers.sh DIRECTORY
#
# Needs gzip, python3, tar; uses pigz, busybox, go with the packages klauspost/compress and klauspost/pgzip of Debian,
# skopeo (whose library podman and buildah have too), libdeflate-gzip, zstd, and the Python package zlib-ng.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
has() { command -v "$1" >/dev/null 2>&1; }
tree() {
    name=$1
    size=$2
    shift 2
    [ -e "$name.tar" ] || tar --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner -cf - "$@" 2>/dev/null |
        head -c "$size" >"$name.tar"
}
python=$(python3 -c 'import os; print(os.path.dirname(os.__file__))')
tree python 6000000 "$python/asyncio" "$python/email" "$python/encodings" "$python/test"
tree programs 6000000 /usr/bin/perl /usr/bin/openssl /usr/bin/git
tree docs 6000000 /usr/share/doc /usr/share/man
tree libraries 6000000 /usr/lib/*-linux-gnu/libcrypto.so.3 /usr/lib/*-linux-gnu/libc.so.6 /usr/lib/*-linux-gnu/perl-base
tree headers 6000000 /usr/include
tree mixed 6000000 /etc /usr/share/perl5 /usr/share/zoneinfo
if has go && [ ! -e encoders ]; then
    GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$PWD/.gocache" go build -o encoders "$here/encoders.go" || true
fi
python_zlib='import sys, gzip; sys.stdout.buffer.write(gzip.compress(sys.stdin.buffer.read(), int(sys.argv[1]), mtime=0))'
zlib_ng='import sys; from zlib_ng import gzip_ng as g
sys.stdout.buffer.write(g.compress(sys.stdin.buffer.read(), int(sys.argv[1]), mtime=0))'
# One member for each 64 KiB, as eStargz has at least one for each file.
members='import sys, gzip
while piece := sys.stdin.buffer.read(int(sys.argv[1])): sys.stdout.buffer.write(gzip.compress(piece, 6, mtime=0))'

skopeo_layer() {
    rm -rf in out
    mkdir -p in/blobs/sha256
    blob() {
        digest=$(sha256sum <"$1" | cut -d' ' -f1)
        cp "$1" "in/blobs/sha256/$digest"
        size=$(wc -c <"$1")
    }
    blob "$1"
    layer=$digest layer_size=$size
    printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$layer" >in/document
    blob in/document
    config=$digest config_size=$size
    type=application/vnd.oci.image
    printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"%s.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
        "$type" "$type" "$config" "$config_size" "$type" "$layer" "$layer_size" >in/document
    blob in/document
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%s}]}' \
        "$type" "$digest" "$size" >in/index.json
    printf '{"imageLayoutVersion":"1.0.0"}' >in/oci-layout
    skopeo --insecure-policy copy -q oci:in oci:out:x
    cp "out/blobs/sha256/$(ls -S out/blobs/sha256 | head -1)" "$2"
    rm -rf in out
}

for tar in *.tar; do
    for level in 1 2 3 4 5 6 7 8 9; do gzip -n "-$level" <"$tar" >"gzip-$level.$tar.gz"; done
    for level in 1 6 9; do python3 -c "$python_zlib" "$level" <"$tar" >"zlib-$level.$tar.gz"; done
    if has pigz; then for level in 1 6 9; do pigz -n "-$level" <"$tar" >"pigz-$level.$tar.gz"; done; fi
    if has busybox; then busybox gzip <"$tar" >"busybox.$tar.gz"; fi
    if [ -x encoders ]; then
        for level in -1 1 2 4 9; do ./encoders go "$level" <"$tar" >"go-$level.$tar.gz"; done
        for level in -1 1 6 9; do ./encoders pgzip "$level" <"$tar" >"pgzip-$level.$tar.gz"; done
        ./encoders kgzip -1 <"$tar" >"klauspost--1.$tar.gz"
        ./encoders kzstd 2 <"$tar" >"klauspost-zstd.$tar.zst"
    fi
    if has skopeo; then skopeo_layer "$tar" "skopeo.$tar.gz"; fi
    if has libdeflate-gzip; then
        for level in 1 6 12; do libdeflate-gzip "-$level" -c <"$tar" >"libdeflate-$level.$tar.gz"; done
    fi
    if python3 -c 'import zlib_ng' 2>/dev/null; then
        for level in 1 6 9; do python3 -c "$zlib_ng" "$level" <"$tar" >"zlib-ng-$level.$tar.gz"; done
    fi
    python3 -c "$members" 65536 <"$tar" >"members-64k.$tar.gz"
    python3 -c "$members" 4096 <"$tar" >"members-4k.$tar.gz"
    if has zstd; then for level in 1 3 19; do zstd -q "-$level" -c <"$tar" >"zstd-$level.$tar.zst"; done; fi
done
