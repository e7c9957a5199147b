#!/bin/bash
# The dracut module composefs: add_dracutmodules+=" composefs "

check() {
    return 255
}

depends() {
    echo systemd-initrd
}

installkernel() {
    instmods erofs overlay loop
}

install() {
    inst /usr/lib/composefs/composefs-setup-root
    inst_simple "$moddir/composefs-setup-root.service" "$systemdsystemunitdir/composefs-setup-root.service"
    local wants="$systemdsystemunitdir/initrd-root-fs.target.requires"
    mkdir -p "$initdir$wants"
    ln -sf ../composefs-setup-root.service "$initdir$wants/composefs-setup-root.service"
    if [[ -e /usr/lib/composefs/setup-root-conf.toml ]]; then
        inst_simple /usr/lib/composefs/setup-root-conf.toml
    fi
}
