#!/bin/bash
# The dracut module composefs: add_dracutmodules+=" composefs "
# `boot_by_name=yes` in /etc/composefs/initramfs.conf adds the program that boots by name, and the policy of the machine.

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
    local program=/usr/lib/composefs/composefs-setup-root boot_by_name=no policy=
    if [[ -e "$dracutsysrootdir/etc/composefs/initramfs.conf" ]]; then
        . "$dracutsysrootdir/etc/composefs/initramfs.conf"
    fi
    if [[ $boot_by_name == yes ]]; then
        program+=-by-name
        for file in /etc/composefs/policy.toml /usr/lib/composefs/policy.toml; do
            if [[ -e "$dracutsysrootdir$file" ]]; then
                policy=$file
                break
            fi
        done
        if [[ -z $policy ]]; then
            dfatal "composefs: boot_by_name=yes needs a policy: /etc/composefs/policy.toml does not exist"
            # A module that fails is left out: without the program, the bare disk would be booted.
            exit 1
        fi
        inst_simple "$policy"
    fi
    inst_binary "$program" /usr/lib/composefs/composefs-setup-root
    inst_simple "$moddir/composefs-setup-root.service" "$systemdsystemunitdir/composefs-setup-root.service"
    local wants="$systemdsystemunitdir/initrd-root-fs.target.requires"
    mkdir -p "$initdir$wants"
    ln -sf ../composefs-setup-root.service "$initdir$wants/composefs-setup-root.service"
    if [[ -e "$dracutsysrootdir/usr/lib/composefs/setup-root-conf.toml" ]]; then
        inst_simple /usr/lib/composefs/setup-root-conf.toml
    fi
}
