# Makes the directory $1 the root of these namespaces and runs the rest there. A real root, not a chroot: engines
# make mounts private and pivot themselves.
R=$1; shift
ip link set lo up 2>/dev/null || :
mount --bind "$R" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
# What podman wants is a hierarchy of the second version; that it has no controllers does not matter.
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount --rbind /dev "$R/dev"
mount -t tmpfs tmpfs "$R/run"
mount -t tmpfs tmpfs "$R/tmp"
mkdir -p "$R/.old"
cd "$R"
pivot_root . .old
exec chroot . /bin/sh -ec 'umount -l /.old; cd /root; exec "$@"' sh "$@"
