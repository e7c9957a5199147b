//! Destinations of `composefs oci export` on the command line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_oci::destination::{DockerArchiveFile, ImageDestination, LayoutDirectory, OciArchiveFile};

/// Opens the destination that an operand names, and returns it with the directory for temporary files.
pub(super) fn open(operand: &OsStr, replaces: bool) -> anyhow::Result<(Box<dyn ImageDestination>, PathBuf)> {
    let shown = operand.to_string_lossy();
    if shown.starts_with("docker://") {
        bail!("{shown:?} is a reference to a registry: `composefs oci push` sends images there");
    }
    let colon = operand.as_bytes().iter().position(|byte| *byte == b':');
    let Some(colon) = colon else {
        bail!("{shown:?} has no transport: oci:DIR, oci-archive:FILE or docker-archive:FILE is expected");
    };
    let (path, name) = divide(&operand.as_bytes()[colon + 1..]);
    let name = name.map(std::str::from_utf8).transpose();
    let name = name.with_context(|| format!("{shown:?}: the name of the image is not UTF-8"))?;
    if path.as_os_str().is_empty() {
        bail!("{shown:?} has no path");
    }
    let transport = &operand.as_bytes()[..colon];
    let destination: Box<dyn ImageDestination> = match transport {
        b"oci" if replaces => bail!("--force replaces archives; other images of a layout always stay"),
        b"oci" => Box::new(LayoutDirectory::open(path, name)?),
        b"oci-archive" => Box::new(OciArchiveFile::create(path, name, replaces)?),
        b"docker-archive" => Box::new(DockerArchiveFile::create(path, name, replaces)?),
        _ => bail!(
            "{shown:?}: images are exported to oci:DIR, oci-archive:FILE and docker-archive:FILE; skopeo copies them \
             elsewhere"
        ),
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((destination, parent.to_owned()))
}

/// Divides `PATH[:REF]`: at the first colon after a path that exists, as paths may have colons, or else at the first.
fn divide(text: &[u8]) -> (&Path, Option<&[u8]>) {
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let colons = || text.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    if path(text).exists() {
        return (path(text), None);
    }
    match colons().find(|at| path(&text[..*at]).exists()).or_else(|| colons().next()) {
        Some(at) => (path(&text[..at]), Some(&text[at + 1..])),
        None => (path(text), None),
    }
}
