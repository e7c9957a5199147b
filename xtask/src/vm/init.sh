#!/bin/busybox sh
# The first program of a guest: devices, modules, the scratch disk; then the payload's command; then its exit status.
busybox=/bin/busybox
$busybox mount -t devtmpfs dev /dev
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
# The applets stand behind everything the payload brings: its mount(8) is the real one.
$busybox mkdir -p /opt/busybox
$busybox --install -s /opt/busybox
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/opt/busybox HOME=/root LANG=C.UTF-8

modprobe -a -q virtio_pci virtio_blk virtio_console ext4 erofs overlay loop 2>/dev/null
mkdir -p /dev/shm /dev/pts
for dir in /tmp /run /dev/shm; do mount -t tmpfs tmpfs $dir; done
chmod 1777 /tmp /dev/shm
mount -t devpts devpts /dev/pts
ip link set lo up

# The ports are announced one after the other, some time after the driver is there: wait for both names.
port() { grep -lx "$1" /sys/class/virtio-ports/*/name 2>/dev/null | sed 's,.*/\(vport[^/]*\)/name,/dev/\1,'; }
tries=0
until { [ -n "$(port out)" ] && [ -n "$(port err)" ]; } || [ $tries -ge 200 ]; do
    tries=$((tries + 1))
    usleep 50000
done
# The serial line for the verdict is always there, and no terminal settings may touch it.
stty -F /dev/ttyS1 raw -echo
exec 9>/dev/ttyS1

status=125
if [ -z "$(port out)" ] || [ -z "$(port err)" ]; then
    echo "failed=the virtio ports did not appear" >&9
elif [ -b /dev/vda ] && ! mount -t ext4 /dev/vda /mnt; then
    echo "failed=the scratch disk cannot be mounted" >&9
else
    echo "release=$(uname -r)" >&9
    cd /mnt
    /usr/sbin/sh /payload/command >"$(port out)" 2>"$(port err)" </dev/null 9>&-
    status=$?
fi
cd /
sync
umount /mnt 2>/dev/null || umount -l /mnt 2>/dev/null
sync
echo "exit=$status" >&9
exec 9>&-
poweroff -f
