//! Defaults of podman 5 for a container without privileges.

use oci_spec::runtime::Capability;

/// Capabilities of a container's root, and the bounding set of its other users.
pub const CAPABILITIES: [Capability; 11] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::NetBindService,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Returns the names of [`CAPABILITIES`], such as `CAP_CHOWN`.
#[must_use]
pub fn capability_names() -> Vec<String> {
    CAPABILITIES.iter().map(|capability| format!("CAP_{capability}")).collect()
}

/// Directories that are writable in memory if the root is read-only.
pub const READ_ONLY_TMPFS: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// Files and directories that the runtime hides.
pub(super) const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Files and directories of `/proc` that the runtime makes read-only.
pub(super) const READ_ONLY_PATHS: [&str; 6] =
    ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `systemd-detect-virt` knows this name as that of any OCI runtime.
pub(super) const CONTAINER: &str = "oci";

/// Length of a period of the CPU quota, in microseconds.
pub(super) const CPU_PERIOD: u64 = 100_000;

pub(super) const UMASK: u32 = 0o022;

/// Destination, type, source and options of the file systems that every container has.
pub(super) const FILE_SYSTEMS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=64000k"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"]),
];
