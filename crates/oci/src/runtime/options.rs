//! Options of a container that the user chooses.

use std::path::PathBuf;

/// Options of a container that the user chooses. The default is what `composefs oci run N` has without options.
#[derive(Debug, Default, Clone)]
pub struct RunOptions {
    /// Command instead of the image's `Cmd`; empty to keep it.
    pub command: Vec<String>,
    /// Environment variables in addition to, or instead of, the image's.
    pub env: Vec<(String, String)>,
    /// Files and directories of the host that are visible in the container.
    pub binds: Vec<BindMount>,
    /// Empty file systems in memory.
    pub tmpfs: Vec<TmpfsMount>,
    /// Network that the container sees.
    pub network: ContainerNetwork,
    /// The process has a terminal of its own.
    pub terminal: bool,
    /// The root is read-only.
    pub read_only: bool,
    /// Limits that the container's control group gets.
    pub limits: CgroupLimits,
}

/// A file or directory of the host that is visible in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub destination: String,
    /// Mount options of the runtime besides `rbind`, such as `ro`.
    pub options: Vec<String>,
}

/// An empty file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Path in the container, whose files in the image are copied into the file system.
    pub destination: String,
    /// Mount options, such as `size=1m`.
    pub options: Vec<String>,
}

/// Network that the container sees.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ContainerNetwork {
    /// A loopback interface of its own.
    #[default]
    None,
    /// The interfaces of the host.
    Host,
}

/// Limits that the container's control group gets.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Largest number of bytes of memory. As much again may be swapped out.
    pub memory: Option<u64>,
    /// CPU time in microseconds that the container may use in each period of 100 ms.
    pub cpu_quota: Option<u64>,
    /// Largest number of processes and threads.
    pub pids: Option<u64>,
}
