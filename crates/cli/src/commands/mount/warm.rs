//! `composefs mount --warm`: reads the files of the new mount ahead, in the background.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::exit;

use anyhow::Context as _;
use libcomposefs_mount::{half_of_available_memory, warm};
use libcomposefs_sys::background::{BackgroundPart, split};
use libcomposefs_sys::mount::clone_mount;

/// Begins to read the files of the mount at `target` ahead in another process, which ends by itself. The mount can be
/// unmounted meanwhile.
pub(super) fn in_background(target: &Path) -> anyhow::Result<()> {
    let directory = own_mount(target).with_context(|| format!("cannot open {}", target.display()))?;
    let Some(limit) = half_of_available_memory() else { return Ok(()) };
    match split().context("cannot start a process that reads ahead")? {
        // It has begun, or has failed: the mount is complete in both cases.
        BackgroundPart::Foreground(waiting) => waiting.wait().map(drop).context("cannot wait for a process"),
        BackgroundPart::Background(report) => {
            let done = report.succeed().and_then(|()| warm(&directory, limit));
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
