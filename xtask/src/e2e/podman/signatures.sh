# Before check.sh: skopeo signs images by keys, and judges by the policies that composefs judges by.
signing_skopeo() { skopeo --policy /t/sign/accept.json --registries.d /t/sign/registries.d "$@"; }

sign_images() {
    rm -rf /t/sign; mkdir -p /t/sign/registries.d /t/sign/containers; cd /t/sign
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' > accept.json
    printf "docker:\n  $REGISTRY:\n    use-sigstore-attachments: true\n" > registries.d/here.yaml
    printf secret > passphrase
    local key
    for key in release other; do
        skopeo generate-sigstore-key --output-prefix $key --passphrase-file passphrase
    done
    # Of the tag that a signature is for, and of another tag of the same manifest.
    for key in 1:release 2:other; do
        signing_skopeo copy -q --preserve-digests --src-tls-verify=false --dest-tls-verify=false \
            --sign-by-sigstore-private-key ${key#*:}.private --sign-passphrase-file passphrase \
            docker://$REGISTRY/r4 docker://$REGISTRY/signed:${key%:*}
    done
    signing_skopeo copy -q --preserve-digests --src-tls-verify=false --dest-tls-verify=false \
        --remove-signatures docker://$REGISTRY/r4 docker://$REGISTRY/unsigned:1
    rm -rf /t/sign/repo; composefs --repo /t/sign/repo init --insecure
}

# Expects skopeo and composefs to accept (0) or refuse (1) an image by a policy.
both_say() {
    local expected=$1 image=$2 requirements=$3 skopeo=0 ours=0
    echo "{\"default\":$requirements}" > containers/policy.json
    rm -rf copy; mkdir copy
    skopeo --policy containers/policy.json --registries.d registries.d copy -q --src-tls-verify=false \
        docker://$REGISTRY/$image dir:copy > skopeo.log 2>&1 || skopeo=1
    XDG_CONFIG_HOME=/t/sign composefs --repo /t/sign/repo oci pull docker://$REGISTRY/$image --name=judged \
        > ours.log 2>&1 || ours=1
    echo "$image $requirements: skopeo $skopeo, composefs $ours"
    [ $skopeo = $expected ] && [ $ours = $expected ] || { cat skopeo.log ours.log; return 1; }
    XDG_CONFIG_HOME=/t/sign composefs oci verify docker://$REGISTRY/$image > ours.log 2>&1 || ours=2
    [ $((ours > 0)) = $expected ] || { cat ours.log; return 1; }
}

signatures_judged() {
    cd /t/sign
    local one digest by; digest=$(skopeo inspect --tls-verify=false -f '{{.Digest}}' docker://$REGISTRY/signed:1)
    by() { echo "[{\"type\":\"sigstoreSigned\",\"keyPath\":\"/t/sign/$1.pub\"${2:+,\"signedIdentity\":$2}}]"; }
    one=$(by release)
    both_say 0 signed:1 "$one"
    both_say 0 signed@$digest "$one"
    both_say 1 signed:2 "$one"
    both_say 0 signed:2 "$(by other)"
    both_say 1 signed:1 "$(by other)"
    both_say 1 unsigned:1 "$one"
    both_say 0 signed:2 "$(by release '{"type":"matchRepository"}')"
    both_say 1 signed:2 "$(by release '{"type":"matchExact"}')"
    both_say 0 signed:1 "$(by release '{"type":"matchExact"}')"
    both_say 1 signed@$digest "$(by release '{"type":"matchExact"}')"
    both_say 0 signed:2 "$(by release "{\"type\":\"exactReference\",\"dockerReference\":\"$REGISTRY/signed:1\"}")"
    both_say 1 signed:1 "$(by release "{\"type\":\"exactReference\",\"dockerReference\":\"$REGISTRY/signed:2\"}")"
    both_say 0 signed:1 "$(by release "{\"type\":\"exactRepository\",\"dockerRepository\":\"$REGISTRY/signed\"}")"
    both_say 1 signed:1 "$(by release "{\"type\":\"exactRepository\",\"dockerRepository\":\"$REGISTRY/other\"}")"
    both_say 0 signed:1 "[${one:1:-1},{\"type\":\"insecureAcceptAnything\"}]"
    both_say 1 signed:1 "[${one:1:-1},{\"type\":\"reject\"}]"
}
