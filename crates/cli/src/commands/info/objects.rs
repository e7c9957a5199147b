//! `composefs-info objects` and `missing-objects`: prints the objects that images need.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, statat};

use crate::image_file::ImageFile;

/// Prints the paths of the objects of all images, each once, in byte order. With `missing`, prints only objects that
/// are not in its directory, or all of them without a directory.
pub(super) fn print(
    images: &[PathBuf],
    only: &[&[u8]],
    missing: Option<Option<&OwnedFd>>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut objects = BTreeSet::new();
    for path in images {
        let image = ImageFile::read(path)?;
        let loaded = image.load(&image.reader()?, only)?;
        objects.extend(loaded.tree.payloads().map(|payload| payload.path().into_owned()));
    }
    for object in objects {
        let is_there = |basedir: &OwnedFd| statat(basedir.as_fd(), below(&object), AtFlags::empty()).is_ok();
        if missing.flatten().is_some_and(is_there) {
            continue;
        }
        out.write_all(&object)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Converts a payload to a path relative to the object directory.
fn below(payload: &[u8]) -> &OsStr {
    let slashes = payload.iter().take_while(|byte| **byte == b'/').count();
    OsStr::from_bytes(&payload[slashes..])
}
