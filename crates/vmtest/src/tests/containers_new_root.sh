# Runs the command line $1 in the same directory below a root that is mounted: pivot_root(2), which runtimes use,
# refuses the first file system of a kernel as the old root. All mounts end with the mount namespace.
export dir=$PWD line=$1
exec unshare -m sh -euc '
    mkdir -p /run/root /var/tmp
    mount --rbind / /run/root
    cd /run/root
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    echo "+cpu +memory +pids" > sys/fs/cgroup/cgroup.subtree_control
    mount --move . /
    exec chroot . sh -euc "cd \"$dir\"; $line"
'
