#!/bin/bash
# Says on the second serial line whether the system is as a verified boot leaves it, and switches the machine off.
status=0
holds() {
    "$@" || { status=1; echo "e2e boot: does not hold: $*" >/dev/console; }
}
while state=$(systemctl is-system-running); [ "$state" = starting ] || [ "$state" = initializing ]; do
    sleep 1
done
if [ "$state" != running ]; then
    systemctl --failed --no-legend --plain >/dev/console
fi
holds [ "$state" = running ]
holds systemctl --quiet is-active multi-user.target
holds [ "$(cat /proc/1/comm)" = systemd ]
line=$(cat /proc/cmdline)
hex=${line##* composefs=}
hex=${hex%% *}
reboots=$(systemctl show --property=SoftRebootsCount --value)
record=boot
if [[ $line == *e2e.soft-reboot* ]]; then
    if [ "$reboots" = 0 ]; then
        mkdir -p /run/nextroot
        if /usr/lib/composefs/composefs-setup-root --config= --cmdline="rw composefs=$hex" --target=/run/nextroot; then
            systemctl soft-reboot
            exit 0
        fi
        status=1
    fi
    holds [ "$reboots" = 1 ]
    record=nextroot
else
    holds [ "$reboots" = 0 ]
fi
holds grep -q " / / .* - overlay composefs:$hex .*verity=require" /proc/self/mountinfo
holds grep -q " / /etc rw.* - overlay .*/state/deploy/$hex/etc/upper" /proc/self/mountinfo
holds grep -q "^{\"digest\":\"$hex\",\"algorithm\":\"sha256\",\"verity\":\"require\"" /run/composefs/$record.json
holds test -f /sysroot/composefs/meta.json
holds touch /etc/new /var/new
holds test -f "/sysroot/state/deploy/$hex/etc/upper/new"
if touch /usr/new 2>/dev/null; then
    status=1
fi
{
    echo "release=$(uname -r)"
    echo "exit=$status"
} >/dev/ttyS1
systemctl poweroff
