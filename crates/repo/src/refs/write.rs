//! Refs are written, replaced and removed.

use std::os::fd::{AsFd, OwnedFd};

use libcomposefs_image::Digest;
use rustix::fs::{AtFlags, fsync, unlinkat};
use rustix::io::Errno;

use super::{found_under, in_the_way, open_folder};
use crate::dir::{LinkEntry, RepoDir, make_directory_in, put_link, read_link};
use crate::error::io_error;
use crate::image_link::LinkedImage;
use crate::lease::Lease;
use crate::lock::Locked;
use crate::{RefName, RepositoryError, layout};

/// Writes refs to images that the lease protects. Returns for each name the image that it had before, if that is
/// another. If a ref cannot be written, those written before it are restored.
pub(crate) fn write(
    dir: &RepoDir,
    lease: &Lease,
    _locked: &Locked,
    names: &[(&RefName, &LinkedImage)],
) -> Result<Vec<Option<Digest>>, RepositoryError> {
    let mut replaced = Vec::new();
    let mut before: Vec<LinkEntry> = Vec::new();
    for (name, image) in names {
        let written = found_under(dir, name).and_then(|found| {
            before.push(found);
            write_ref(dir, lease, name, image)
        });
        match written {
            Ok(old) => replaced.push(old),
            Err(error) => {
                for ((name, image), before) in names.iter().zip(&before).rev() {
                    put_back(dir, lease, name, image.digest(), before)?;
                }
                return Err(error);
            }
        }
    }
    Ok(replaced)
}

/// Restores what was under a name that leads to `digest` now.
fn put_back(
    dir: &RepoDir,
    lease: &Lease,
    name: &RefName,
    digest: &Digest,
    before: &LinkEntry,
) -> Result<(), RepositoryError> {
    let ours = LinkEntry::Link(layout::ref_link(name, digest).into_bytes());
    // It was not written, or another command has written it since.
    if *before == ours || found_under(dir, name)? != ours {
        return Ok(());
    }
    let (folder, last) = name.folder_and_last();
    let path = dir.path.join(layout::IMAGE_REFS).join(name.as_str());
    let Some(top) = dir.open_dir(layout::IMAGE_REFS)? else { return Ok(()) };
    let directory = open_folder(&top, folder).map_err(io_error("open the directory of", &path))?;
    match before {
        LinkEntry::Link(text) => put_link(directory.as_fd(), last, text, lease.temporary_name(), &path),
        LinkEntry::Nothing | LinkEntry::Other => {
            unlinkat(&directory, last, AtFlags::empty()).map_err(io_error("remove", &path))?;
            fsync(&directory).map_err(io_error("sync the directory of", &path))?;
            remove_empty(&top, folder);
            Ok(())
        }
    }
}

fn write_ref(
    dir: &RepoDir,
    lease: &Lease,
    name: &RefName,
    image: &LinkedImage,
) -> Result<Option<Digest>, RepositoryError> {
    write_to(dir, layout::IMAGE_REFS, lease, name, image.digest())
}

/// Writes a ref to a directory of refs. It is on disk when this returns.
pub(crate) fn write_to(
    dir: &RepoDir,
    top: &str,
    lease: &Lease,
    name: &RefName,
    digest: &Digest,
) -> Result<Option<Digest>, RepositoryError> {
    let (folder, last) = name.folder_and_last();
    let path = dir.path.join(top).join(name.as_str());
    let mut tries = 8;
    loop {
        tries -= 1;
        let result = folder_to_write(dir, top, name, folder).and_then(|directory| {
            let old = read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", &path))?;
            let old = match old {
                LinkEntry::Link(text) => layout::parse_ref_link(name, &text),
                LinkEntry::Nothing => None,
                LinkEntry::Other => return Err(in_the_way(name, &format!("{}/", name.as_str()))),
            };
            if old == Some(*digest) {
                // The process that wrote it may not have synced it.
                fsync(&directory).map_err(io_error("sync the directory of", &path))?;
            } else {
                put_link(
                    directory.as_fd(),
                    last,
                    layout::ref_link(name, digest).as_bytes(),
                    lease.temporary_name(),
                    &path,
                )?;
            }
            Ok(old.filter(|old| old != digest))
        });
        match result {
            // An untag has removed the directory meanwhile.
            Err(RepositoryError::Io { source, .. })
                if source.raw_os_error() == Some(Errno::NOENT.raw_os_error()) && tries > 0 => {}
            result => return result,
        }
    }
}

fn folder_to_write(dir: &RepoDir, top: &str, name: &RefName, folder: &str) -> Result<OwnedFd, RepositoryError> {
    let mut at = dir.make_dir(top)?;
    let mut done = String::new();
    for part in folder.split('/').filter(|part| !part.is_empty()) {
        if !done.is_empty() {
            done.push('/');
        }
        done.push_str(part);
        at = match make_directory_in(at.as_fd(), part, &dir.path.join(top).join(&done)) {
            Err(RepositoryError::Io { source, .. })
                if matches!(Errno::from_io_error(&source), Some(Errno::NOTDIR | Errno::LOOP)) =>
            {
                return Err(in_the_way(name, &done));
            }
            result => result?,
        };
    }
    Ok(at)
}

/// Removes a ref from a directory of refs, durably, and returns the image that it led to, if it was a sound ref.
///
/// # Errors
///
/// [`RepositoryError::NoSuchRef`], or the kernel's answer.
pub(crate) fn remove(dir: &RepoDir, top: &str, name: &RefName) -> Result<Option<Digest>, RepositoryError> {
    let (folder, last) = name.folder_and_last();
    let path = dir.path.join(top).join(name.as_str());
    let no_such = || RepositoryError::NoSuchRef { name: name.clone(), path: dir.path.clone() };
    let top = dir.open_dir(top)?.ok_or_else(no_such)?;
    let directory = match open_folder(&top, folder) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(no_such()),
        result => result.map_err(io_error("open the directory of", &path))?,
    };
    let digest = match read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", &path))? {
        LinkEntry::Nothing => return Err(no_such()),
        // A broken ref can be removed too.
        LinkEntry::Link(text) => layout::parse_ref_link(name, &text),
        LinkEntry::Other => {
            return Err(RepositoryError::Link { path, found: "is no link".into(), expected: "an image" });
        }
    };
    match unlinkat(&directory, last, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Err(no_such()),
        Err(errno) => return Err(io_error("remove", &path)(errno)),
    }
    fsync(&directory).map_err(io_error("sync the directory of", &path))?;
    remove_empty(&top, folder);
    Ok(digest)
}

/// Removes a directory of refs and those above it, as far as they are empty. A directory that comes back after a crash
/// is empty.
fn remove_empty(top: &OwnedFd, mut folder: &str) {
    while !folder.is_empty() {
        let (above, this) = folder.rsplit_once('/').unwrap_or(("", folder));
        let removed = open_folder(top, above).and_then(|above| unlinkat(above, this, AtFlags::REMOVEDIR));
        if removed.is_err() {
            break;
        }
        folder = above;
    }
}
