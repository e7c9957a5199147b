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

# OCI layouts, each with a layer of its own and one that it shares with the next.
blob() {
    hex=$(sha256sum "$1") hex=${hex%% *}
    size=$(stat -c %s "$1")
    mv "$1" "$layout/blobs/sha256/$hex"
}
mkdir /layouts
for image in 0 1 2; do
    layout=/layouts/$image layers='' diff_ids=''
    mkdir -p $layout/blobs/sha256
    for tree in $image $(((image + 1) % 3)); do
        mkdir -p /layer/usr
        cp -r /trees/$tree /layer/usr
        tar -cf /tar -C /layer usr
        rm -r /layer
        diff_id=$(sha256sum /tar) diff_id=${diff_id%% *}
        gzip -c /tar > /blob
        blob /blob
        media=application/vnd.oci.image.layer.v1.tar+gzip
        layers="$layers,{\"mediaType\":\"$media\",\"digest\":\"sha256:$hex\",\"size\":$size}"
        diff_ids="$diff_ids,\"sha256:$diff_id\""
    done
    rootfs="{\"type\":\"layers\",\"diff_ids\":[${diff_ids#,}]}"
    printf '%s' "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":$rootfs}" > /blob
    blob /blob
    config="{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$hex\",\"size\":$size}"
    media=application/vnd.oci.image.manifest.v1+json
    printf '%s' "{\"schemaVersion\":2,\"mediaType\":\"$media\",\"config\":$config,\"layers\":[${layers#,}]}" > /blob
    blob /blob
    eval "manifest$image=$hex"
    printf '%s' "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"$media\",\"digest\":\"sha256:$hex\",
        \"size\":$size}]}" > $layout/index.json
    printf '%s' '{"imageLayoutVersion":"1.0.0"}' > $layout/oci-layout
done
manifest_of() { eval "echo \$manifest$1"; }

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
# Names of OCI images have the prefix `oci:`, and the digest of the manifest for a digest.
pull() {
    mark "MAYBE oci:$2 $(manifest_of "$1")"
    $C oci pull "oci:/layouts/$1" --name "$2" > /dev/null
    mark "IS oci:$2 $(manifest_of "$1")"
}
untag_oci() {
    mark "MAYBE oci:$1 -"
    $C oci untag "$1"
    mark "IS oci:$1 -"
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
    pull $((round % 3)) x
    pull $(((round + 1) % 3)) y
    # Packed, with its objects removed, and unpacked: the name stays. Each other time its base is packed too.
    $C repack --cold d --base=a > /dev/null
    [ $((round % 2)) = 0 ] || $C repack --cold a > /dev/null
    gc
    $C repack --warm d a > /dev/null
    tag d a $third
    untag_oci x
    untag folder/b
    # An image without a name, for the next gc.
    $C create "/trees/$second" > /dev/null
    round=$((round + 1))
done
mark END
