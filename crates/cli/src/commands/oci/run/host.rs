//! Gathers the facts about the host that the configuration of a container depends on.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use libcomposefs_oci::runtime::{
    KernelVersion, LinuxSeccomp, MappedIds, ProcessLimit, SeccompProfile, SeccompTarget, capability_names,
};
use rustix::process::{Resource, getrlimit};
use rustix::rand::{GetRandomFlags, getrandom};

use super::args::Cgroups;
use super::mapped_ids::mapped_ids;

/// Files with the seccomp profile: that of the administrator, and that of the distribution.
const SECCOMP_PROFILES: [&str; 2] = ["/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json"];
/// Largest limit on open files and processes that a container gets, as in podman.
const LARGEST_LIMIT: u64 = 1 << 20;
/// Largest number of processes and threads of a container, as in podman.
const PIDS: u64 = 2048;

/// Facts about the host, and the random identifier of a new container.
pub(super) struct HostFacts {
    id: String,
    /// Host name of the host.
    pub(super) hostname: String,
    /// Filter of system calls for the kernel and the architecture.
    pub(super) seccomp: LinuxSeccomp,
    /// Limits that the process gets.
    pub(super) limits: Vec<ProcessLimit>,
    /// Who makes the control group of the container.
    pub(super) cgroups: CgroupManager,
    /// Largest number of processes; `None` if the kernel cannot limit it.
    pub(super) pids: Option<u64>,
    /// IDs of the user namespace; `None` in that of the host.
    pub(super) mapped: Option<MappedIds>,
}

/// Who makes the control group of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CgroupManager {
    /// systemd, which owns the control groups of a host where it runs.
    Systemd,
    /// The runtime.
    FileSystem,
    /// No program: the container stays in the group of the caller.
    Disabled,
}

impl HostFacts {
    /// Gathers the facts.
    pub(super) fn gather(cgroups: Cgroups) -> anyhow::Result<Self> {
        let uname = rustix::system::uname();
        let kernel = KernelVersion::parse(&uname.release().to_string_lossy());
        let mapped = mapped_ids()?;
        let cgroups = match cgroups {
            Cgroups::Disabled => CgroupManager::Disabled,
            // The control groups of the host belong to its root.
            Cgroups::Enabled if mapped.is_some() => CgroupManager::Disabled,
            Cgroups::Enabled if Path::new("/run/systemd/system").is_dir() => CgroupManager::Systemd,
            Cgroups::Enabled => CgroupManager::FileSystem,
        };
        Ok(Self {
            id: random_id()?,
            hostname: uname.nodename().to_string_lossy().into_owned(),
            seccomp: seccomp(kernel)?,
            limits: limits(),
            cgroups,
            pids: Some(PIDS).filter(|_| cgroups != CgroupManager::Disabled && has_pids_controller()),
            mapped,
        })
    }

    /// Identifier of the container for the runtime, and its host name if it has a network of its own.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Path of the control group in the form that the runtime expects.
    pub(super) fn cgroups_path(&self) -> Option<String> {
        match self.cgroups {
            CgroupManager::Systemd => Some(format!("machine.slice:composefs:{}", self.id)),
            CgroupManager::FileSystem => Some(format!("/composefs-{}", self.id)),
            CgroupManager::Disabled => None,
        }
    }
}

fn random_id() -> anyhow::Result<String> {
    let mut bytes = [0; 6];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("cannot get random bytes for the container's identifier")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn seccomp(kernel: Option<KernelVersion>) -> anyhow::Result<LinuxSeccomp> {
    for path in SECCOMP_PROFILES {
        let profile = match fs::read(path) {
            Ok(profile) => profile,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        let capabilities = capability_names();
        let target = SeccompTarget { arch: std::env::consts::ARCH, kernel, capabilities: &capabilities };
        let filter = SeccompProfile::parse(&profile).and_then(|profile| profile.filter(&target));
        return filter.with_context(|| path.to_owned());
    }
    bail!(
        "{} is missing: install the seccomp profile of containers (Debian: golang-github-containers-common)",
        SECCOMP_PROFILES[1]
    )
}

/// Returns the limits of this process, as far as they do not exceed those of podman.
fn limits() -> Vec<ProcessLimit> {
    let of = |resource| {
        let limit = getrlimit(resource);
        let at_most = |value: Option<u64>| value.unwrap_or(u64::MAX).min(LARGEST_LIMIT);
        (at_most(limit.current), at_most(limit.maximum))
    };
    let ((files, most_files), (processes, most_processes)) = (of(Resource::Nofile), of(Resource::Nproc));
    vec![ProcessLimit::OpenFiles(files, most_files), ProcessLimit::Processes(processes, most_processes)]
}

fn has_pids_controller() -> bool {
    let listed = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
        .is_ok_and(|controllers| controllers.split_ascii_whitespace().any(|name| name == "pids"));
    listed || Path::new("/sys/fs/cgroup/pids").is_dir()
}
