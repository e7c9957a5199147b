//! Disk images for a machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Disk;
use crate::process;

impl Disk {
    /// The image file; a fresh one is made in `dir` under `name`. Tells whether it is new.
    pub(super) fn prepare(&self, dir: &Path, name: &str) -> Result<(PathBuf, bool)> {
        let (file, mib) = match self {
            Disk::Fresh { mib } => (dir.join(name), *mib),
            Disk::Kept { file, mib } => (file.clone(), *mib),
            Disk::Served { socket } => return Ok((socket.clone(), false)),
        };
        if file.exists() {
            return Ok((file, false));
        }
        let image = File::create(&file).with_context(|| format!("cannot create {}", file.display()))?;
        image.set_len(mib << 20)?;
        Ok((file, true))
    }

    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Disk::Kept { .. })
    }
}

/// Makes an ext4 with fs-verity. Only one that outlives its machine, or is to survive a power cut, needs a journal.
pub(crate) fn make_ext4(file: &Path, journal: bool) -> Result<()> {
    make_ext4_of(file, journal, None)
}

/// Creates one of this size in MiB, which may be less than the file has.
pub(crate) fn make_ext4_of(file: &Path, journal: bool, mib: Option<u64>) -> Result<()> {
    let features = if journal { "verity" } else { "verity,^has_journal" };
    let quick = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    let mut mke2fs = Command::new(process::require("mke2fs")?);
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-O", features, "-E", quick]).arg(file);
    mke2fs.args(mib.map(|mib| format!("{mib}M")));
    process::output(&mut mke2fs).map(drop)
}
