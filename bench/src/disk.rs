//! A file system of its own on a loop device.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::mount::UnmountFlags;

use crate::measure::{Watch, program};

/// Size of the file system, most of which is a hole of its file, in bytes.
const DISK_BYTES: u64 = 12 << 30;

/// A file system of its own. It is unmounted and its file is removed when it is dropped.
pub(crate) struct LoopDisk {
    pub(crate) at: PathBuf,
    image: PathBuf,
}

impl LoopDisk {
    /// Makes a file system of a kind, and mounts it below `scratch`.
    pub(crate) fn new(scratch: &Path, kind: &str) -> Result<Self> {
        let disk = Self { image: scratch.join(format!("{kind}.img")), at: scratch.join(kind) };
        std::fs::File::create(&disk.image)?.set_len(DISK_BYTES)?;
        std::fs::create_dir_all(&disk.at)?;
        program(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&disk.image), Watch::Clock)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", "loop"]).arg(&disk.image).arg(&disk.at);
        program(&mut mount, Watch::Clock).context("it takes root")?;
        Ok(disk)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // The loop device goes with the mount.
        let _ = rustix::mount::unmount(&self.at, UnmountFlags::NOFOLLOW);
        let _ = std::fs::remove_file(&self.image);
    }
}
