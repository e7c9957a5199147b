//! `composefs mount --warm`: reads files of the new mount ahead, in the background.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::exit;

use anyhow::Context as _;
use libcomposefs_mount::{half_of_available_memory, warm, warm_files};
use libcomposefs_sys::background::{BackgroundPart, split};
use libcomposefs_sys::mount::clone_mount;

use crate::commands::remote::read_trace;

/// The files that are read ahead.
pub(super) enum WarmFiles {
    All,
    /// Those with these paths, in this order.
    Traced(Vec<Vec<u8>>),
}

impl WarmFiles {
    /// Returns the files of a trace, or all files without one.
    pub(super) fn read(trace: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = trace else { return Ok(Self::All) };
        let objects = read_trace(path)?.objects;
        Ok(Self::Traced(objects.into_iter().map(|(_, path)| path).collect()))
    }
}

/// Begins to read files of the mount at `target` ahead in another process, which ends by itself. The mount can be
/// unmounted meanwhile.
pub(super) fn in_background(target: &Path, files: &WarmFiles) -> anyhow::Result<()> {
    let directory = own_mount(target).with_context(|| format!("cannot open {}", target.display()))?;
    let Some(limit) = half_of_available_memory() else { return Ok(()) };
    match split().context("cannot start a process that reads ahead")? {
        // It has begun, or has failed: the mount is complete in both cases.
        BackgroundPart::Foreground(waiting) => waiting.wait().map(drop).context("cannot wait for a process"),
        BackgroundPart::Background(report) => {
            let done = report.succeed().and_then(|()| match files {
                WarmFiles::All => warm(&directory, limit),
                WarmFiles::Traced(paths) => warm_files(&directory, paths, limit),
            });
            exit(i32::from(done.is_err()));
        }
    }
}

/// Opens a copy of the mount, which does not keep the mount itself busy. Without the privilege for it, opens the mount.
fn own_mount(target: &Path) -> io::Result<OwnedFd> {
    match clone_mount(target) {
        Ok(copy) => Ok(copy.into()),
        Err(_) => File::open(target).map(OwnedFd::from),
    }
}
