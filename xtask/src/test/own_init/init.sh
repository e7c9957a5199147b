#!/bin/busybox sh
# The first program of the image: says on the second serial line whether the system is as a verified boot leaves it.
exec 9>/dev/ttyS1
busybox=/bin/busybox
echo "release=$($busybox uname -r)" >&9
status=0
holds() {
    "$@" || { status=1; echo "own init: does not hold: $*" >/dev/console; }
}
fails() {
    ! "$@" >/dev/null 2>&1
}
grep() {
    $busybox grep -q "$@"
}
hex=$($busybox sed 's/^{"digest":"\([0-9a-f]*\)".*/\1/' /run/composefs/boot.json)
words=" $($busybox cat /proc/cmdline) "
case $words in
*" composefs.name="*)
    holds grep '"signed":{"name":"os","rule":"os","serial":42,"keys":\["release"\]}}' /run/composefs/boot.json
    # The clock began in 1970.
    holds [ "$($busybox date +%Y)" = 1970 ]
    ;;
*) holds grep " composefs=$hex " /proc/cmdline ;;
esac
holds [ $$ = 1 ]
holds [ "$*" = "a-word another" ]
holds grep " / / .* - overlay composefs:$hex .*verity=require" /proc/self/mountinfo
holds grep " / /etc rw.* - overlay .*upperdir=/sysroot/sysroot/state/deploy/$hex/etc/upper" /proc/self/mountinfo
holds grep "^{\"digest\":\"$hex\",\"algorithm\":\"sha256\",\"verity\":\"require\"" /run/composefs/boot.json
holds [ "$($busybox readlink /run/systemd/volatile-root)" = "/dev/block/$($busybox cat /sys/class/block/vda2/dev)" ]
holds fails $busybox touch /usr/new
holds [ "$($busybox cat /etc/base)" = base ]
# Every object is verified by its tree on the disk; the one that was damaged there cannot be read.
for file in /usr/small /usr/large; do
    holds [ "$($busybox cat $file | $busybox wc -c)" = "$($busybox stat -c %s $file)" ]
done
holds fails $busybox cat /usr/damaged
holds [ "$($busybox cat /var/seed)" = seed ]
for file in /etc/new /var/new; do
    holds $busybox touch $file
done
holds [ -f "/sysroot/state/deploy/$hex/var/new" ]
holds [ -f /sysroot/composefs/meta.json ]
echo "exit=$status" >&9
exec 9>&-
$busybox sync
$busybox poweroff -f
