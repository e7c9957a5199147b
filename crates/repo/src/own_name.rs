//! Names of streams that only this program writes: symlinks below `streams/refs/composefs-blobs` and
//! `streams/refs/composefs-layers`, by which the gc of other programs keeps the streams.
//!
//! Our gc keeps such a stream as long as a manifest that it keeps needs the stream, whatever its name here, and removes
//! this name together with the stream.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, fsync, unlinkat};
use rustix::io::Errno;

use crate::dir::{LinkEntry, RepoDir, put_link, read_link};
use crate::error::io_error;
use crate::lease::Lease;
use crate::lock::Locked;
use crate::oci_stream_kind::OciStreamKind;
use crate::stream_link::LinkedStream;
use crate::{RepositoryError, layout};

/// Returns the directory with the names of streams of this kind. `None` for streams of all programs.
fn directory_of(kind: OciStreamKind) -> Option<&'static str> {
    match kind {
        OciStreamKind::KeptBlob => Some(layout::BLOB_NAMES),
        OciStreamKind::LayerImages => Some(layout::LAYER_NAMES),
        OciStreamKind::Manifest | OciStreamKind::Config | OciStreamKind::Blob | OciStreamKind::Layer => None,
    }
}

/// Returns the directory and the file name of the name of a stream, which is its digest. `None` for streams of all
/// programs.
fn own_name(stream: &str) -> Option<(&'static str, &str)> {
    let kind = OciStreamKind::of_name(stream)?;
    Some((directory_of(kind)?, stream.strip_prefix(kind.prefix())?.strip_prefix('-')?))
}

/// Returns whether a path below `streams` is such a name of a stream of this kind.
pub(crate) fn is_own_name(kind: OciStreamKind, path: &str) -> bool {
    let directory = directory_of(kind).and_then(|directory| directory.strip_prefix(layout::STREAMS));
    let below = directory
        .and_then(|directory| directory.strip_prefix('/'))
        .and_then(|directory| path.strip_prefix(directory))
        .and_then(|rest| rest.strip_prefix('/'));
    below.is_some_and(|name| !name.contains('/'))
}

/// Writes these names of the streams that have one. They are on disk when this returns.
pub(crate) fn write_own_names<'s>(
    dir: &RepoDir,
    lease: &Lease,
    _locked: &Locked,
    streams: impl Iterator<Item = &'s LinkedStream>,
) -> Result<(), RepositoryError> {
    for stream in streams {
        let stream = stream.name().as_str();
        let Some((directory_path, name)) = own_name(stream) else { continue };
        let directory = dir.make_dir(directory_path)?;
        let path = dir.path.join(directory_path).join(name);
        let text = format!("../../{stream}").into_bytes();
        let found = read_link(directory.as_fd(), name.as_bytes()).map_err(io_error("read", &path))?;
        if found != LinkEntry::Link(text.clone()) {
            put_link(directory.as_fd(), name, &text, lease.temporary_name(), &path)?;
        }
    }
    Ok(())
}

/// Removes this name of a stream, durably, if the stream has one.
pub(crate) fn remove_own_name(dir: &RepoDir, stream: &str) -> Result<(), RepositoryError> {
    let Some((directory_path, name)) = own_name(stream) else { return Ok(()) };
    let Some(directory) = dir.open_dir(directory_path)? else { return Ok(()) };
    let path = dir.path.join(directory_path).join(name);
    match unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) => fsync(&directory).map_err(io_error("sync the directory of", path)),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(io_error("remove", path)(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_streams_of_this_program_have_such_names() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let (blob, layers) = (format!("composefs-blob-{digest}"), format!("composefs-layers-{digest}"));
        assert_eq!(own_name(&blob), Some((layout::BLOB_NAMES, &*digest)));
        assert_eq!(own_name(&layers), Some((layout::LAYER_NAMES, &*digest)));
        assert_eq!(own_name(&format!("oci-layer-{digest}")), None);
        assert_eq!(own_name("composefs-blob-../x"), None);
        let is_blob = |path: &str| is_own_name(OciStreamKind::KeptBlob, path);
        assert!(is_blob(&format!("refs/composefs-blobs/{digest}")));
        assert!(is_own_name(OciStreamKind::LayerImages, &format!("refs/composefs-layers/{digest}")));
        assert!(!is_own_name(OciStreamKind::Layer, &format!("refs/composefs-layers/{digest}")));
        for other in [
            "refs/oci/composefs-blobs",
            "refs/composefs-blobs",
            "refs/composefs-blobs/a/b",
            "composefs-blobs/a",
            "refs/composefs-layers/a",
        ] {
            assert!(!is_blob(other), "{other}");
        }
    }
}
