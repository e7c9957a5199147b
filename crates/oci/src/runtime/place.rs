//! Facts about the host and the bundle that a container's configuration refers to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::LinuxSeccomp;

use super::ContainerUser;

/// Facts about the host and the bundle that a container's configuration refers to.
#[derive(Debug, Clone)]
pub struct ContainerPlace {
    /// Path of the root file system, absolute or relative to the bundle.
    pub root: PathBuf,
    /// Host name in the container.
    pub hostname: String,
    /// Files that replace the image's.
    pub files: GeneratedFiles,
    /// User of the process.
    pub user: ContainerUser,
    /// Limits of the process, such as `RLIMIT_NOFILE`.
    pub limits: Vec<ProcessLimit>,
    /// Path of the control group; `None` leaves it to the runtime.
    pub cgroups_path: Option<PathBuf>,
    /// Filter of system calls; `None` for no filter.
    pub seccomp: Option<LinuxSeccomp>,
    /// Rows and columns of the terminal, if the process has one of a known size.
    pub terminal_size: Option<(u16, u16)>,
    /// Attributes of the directories of the image's volumes, by their clean paths.
    pub volumes: BTreeMap<String, VolumeAttributes>,
    /// IDs of the user namespace that the container is started in; `None` for that of the host.
    pub user_namespace: Option<MappedIds>,
}

/// Numbers of IDs that a user namespace maps, from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedIds {
    /// User IDs.
    pub uids: u32,
    /// Group IDs.
    pub gids: u32,
}

/// Mode and owner of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeAttributes {
    /// Permission bits.
    pub mode: u32,
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// Files on the host that replace those of the image.
#[derive(Debug, Clone, Default)]
pub struct GeneratedFiles {
    /// Path of the file for `/etc/hosts`.
    pub hosts: PathBuf,
    /// Path of the file for `/etc/hostname`.
    pub hostname: PathBuf,
    /// Path of the file for `/etc/resolv.conf`; `None` keeps the image's file.
    pub resolv_conf: Option<PathBuf>,
}

/// A limit of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessLimit {
    /// Number of open files (`RLIMIT_NOFILE`), soft and hard.
    OpenFiles(u64, u64),
    /// Number of processes of the user (`RLIMIT_NPROC`), soft and hard.
    Processes(u64, u64),
}
