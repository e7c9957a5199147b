#!/bin/busybox sh
# The first program of the image: says on the second serial line which entry was booted, and whether it was verified.
exec 9>/dev/ttyS1
busybox=/bin/busybox
status=0
holds() {
    "$@" || { status=1; echo "e2e boot: does not hold: $*" >/dev/console; }
}
words=" $($busybox cat /proc/cmdline) "
word() {
    rest=${words##* "$1"=}
    echo "${rest%% *}"
}
hex=$(word composefs)
holds $busybox grep -q " / / .* - overlay composefs:$hex .*verity=require" /proc/self/mountinfo
holds $busybox grep -q "^{\"digest\":\"$hex\",\"algorithm\":\"sha256\",\"verity\":\"require\"" /run/composefs/boot.json
holds [ "$($busybox cat /usr/large | $busybox wc -c)" = 3000000 ]
holds $busybox touch /etc/new /var/new
secure=0
$busybox dmesg | $busybox grep -q 'Secure boot enabled' && secure=1
echo "entry=$(word entry)" >&9
echo "secure=$secure" >&9
echo "exit=$status" >&9
exec 9>&-
$busybox sync
$busybox poweroff -f
