//! Names of kept blobs: symlinks below `streams/refs/composefs-blobs`, by which the gc of other programs keeps them.
//!
//! Our gc keeps a kept blob as long as a manifest that it keeps names the blob, whatever its name here, and removes
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

/// Returns the file name of the name of a kept blob: its digest. `None` for other streams.
fn file_name(stream: &str) -> Option<&str> {
    let kind = OciStreamKind::of_name(stream).filter(|kind| *kind == OciStreamKind::KeptBlob)?;
    stream.strip_prefix(kind.prefix())?.strip_prefix('-')
}

/// Returns whether a path below `streams` is the name of a kept blob.
pub(crate) fn is_blob_name(path: &str) -> bool {
    let below = path.strip_prefix(layout::REFS).and_then(|rest| rest.strip_prefix("/composefs-blobs/"));
    below.is_some_and(|name| !name.contains('/'))
}

/// Writes the names of the kept blobs among some streams. They are on disk when this returns.
pub(crate) fn write_blob_names<'s>(
    dir: &RepoDir,
    lease: &Lease,
    _locked: &Locked,
    streams: impl Iterator<Item = &'s LinkedStream>,
) -> Result<(), RepositoryError> {
    for stream in streams {
        let stream = stream.name().as_str();
        let Some(name) = file_name(stream) else { continue };
        let directory = dir.make_dir(layout::BLOB_NAMES)?;
        let path = dir.path.join(layout::BLOB_NAMES).join(name);
        let text = format!("../../{stream}").into_bytes();
        let found = read_link(directory.as_fd(), name.as_bytes()).map_err(io_error("read", &path))?;
        if found != LinkEntry::Link(text.clone()) {
            put_link(directory.as_fd(), name, &text, lease.temporary_name(), &path)?;
        }
    }
    Ok(())
}

/// Removes the name of a stream, durably, if it is a kept blob.
pub(crate) fn remove_blob_name(dir: &RepoDir, stream: &str) -> Result<(), RepositoryError> {
    let Some(name) = file_name(stream) else { return Ok(()) };
    let Some(directory) = dir.open_dir(layout::BLOB_NAMES)? else { return Ok(()) };
    let path = dir.path.join(layout::BLOB_NAMES).join(name);
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
    fn only_kept_blobs_have_such_names() {
        let hex = "0a".repeat(32);
        assert_eq!(file_name(&format!("composefs-blob-sha256:{hex}")), Some(&*format!("sha256:{hex}")));
        assert_eq!(file_name(&format!("oci-layer-sha256:{hex}")), None);
        assert_eq!(file_name("composefs-blob-../x"), None);
        assert!(is_blob_name(&format!("refs/composefs-blobs/sha256:{hex}")));
        for other in
            ["refs/oci/composefs-blobs", "refs/composefs-blobs", "refs/composefs-blobs/a/b", "composefs-blobs/a"]
        {
            assert!(!is_blob_name(other), "{other}");
        }
    }
}
