# Writes an OCI layout with an image of busybox and of a file of 20,000 bytes.
mkdir -p root/bin root/etc root/usr root/tmp layout/blobs/sha256
cp -L /bin/busybox root/bin/busybox
for applet in sh cat dd echo grep head sleep tail wc; do ln -s busybox root/bin/$applet; done
echo 'root:x:0:0:root:/:/bin/sh' > root/etc/passwd
yes a | head -c 20000 > content
cp content root/etc/content
tar -cf layer -C root .
blob() {
    hex=$(sha256sum "$1") hex=${hex%% *}
    size=$(stat -c %s "$1")
    mv "$1" "layout/blobs/sha256/$hex"
    printf '"digest":"sha256:%s","size":%s' "$hex" "$size" > descriptor
}
blob layer
layer=$(cat descriptor) types=application/vnd.oci.image
printf '%s' "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$hex\"]}}" > config
blob config
config=$(cat descriptor)
printf '%s' "{\"schemaVersion\":2,\"mediaType\":\"$types.manifest.v1+json\",\"config\":{\"mediaType\":\"$types.config.v1+json\",$config},\"layers\":[{\"mediaType\":\"$types.layer.v1.tar\",$layer}]}" > manifest
blob manifest
printf '%s' "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"$types.manifest.v1+json\",$(cat descriptor)}]}" > layout/index.json
printf '%s' '{"imageLayoutVersion":"1.0.0"}' > layout/oci-layout
