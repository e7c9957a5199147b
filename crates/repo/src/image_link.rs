//! Image links: `images/HEX`, by which a repository vouches for an image.
//!
//! The types hold the order of publishing. A link can only be written of a [`CompleteImage`], and a ref only to a
//! [`LinkedImage`]; both only while the repository is [`Locked`].

use std::os::fd::AsFd;

use libcomposefs_image::Digest;
use libcomposefs_store::ObjectDir;
use rustix::fs::{Dir, fsync};

use crate::broken_ref::{BrokenRef, settle};
use crate::dir::{LinkEntry, RepoDir, put_link, read_link};
use crate::error::io_error;
use crate::lease::Lease;
use crate::lock::Locked;
use crate::{RepositoryError, layout};

/// An image whose object, and all objects that it needs, were found in the repository.
#[derive(Debug)]
pub(crate) struct CompleteImage(Digest);

/// An image that has a link, which is on disk.
#[derive(Debug)]
pub(crate) struct LinkedImage(Digest);

impl CompleteImage {
    /// Checks images and the objects that they need. If any object is missing, returns the missing ones, sorted.
    pub(crate) fn check_all(
        objects: &ObjectDir,
        images: &[Digest],
        needed: impl Iterator<Item = Digest>,
    ) -> Result<Vec<Self>, Vec<Digest>> {
        let mut missing: Vec<Digest> = needed.chain(images.iter().copied()).collect();
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|digest| objects.try_stat(digest).is_err());
        if missing.is_empty() { Ok(images.iter().copied().map(Self).collect()) } else { Err(missing) }
    }

    /// Writes the link of the image, and returns whether there was none. The link is on disk when this returns.
    pub(crate) fn link(
        &self,
        dir: &RepoDir,
        lease: &Lease,
        _locked: &Locked,
    ) -> Result<(LinkedImage, bool), RepositoryError> {
        let digest = self.0;
        let directory = dir.make_dir(layout::IMAGES)?;
        let path = dir.path.join(layout::IMAGES).join(digest.to_hex());
        let is_there = exists(dir, &digest)?;
        if is_there {
            // The process that wrote it may not have synced it.
            fsync(&directory).map_err(io_error("sync the directory of", &path))?;
        } else {
            let (name, text) = (digest.to_hex(), layout::image_link(&digest));
            put_link(directory.as_fd(), &name, text.as_bytes(), lease.temporary_name(), &path)?;
        }
        Ok((LinkedImage(digest), !is_there))
    }
}

impl LinkedImage {
    /// Finds an image of the repository; `None` if it has no link.
    pub(crate) fn find(dir: &RepoDir, _locked: &Locked, digest: &Digest) -> Result<Option<Self>, RepositoryError> {
        Ok(exists(dir, digest)?.then_some(Self(*digest)))
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.0
    }
}

/// Returns whether the repository has a link of this image.
pub(crate) fn exists(dir: &RepoDir, digest: &Digest) -> Result<bool, RepositoryError> {
    let Some(directory) = dir.open_dir(layout::IMAGES)? else { return Ok(false) };
    let path = || dir.path.join(layout::IMAGES).join(digest.to_hex());
    match read_link(directory.as_fd(), digest.to_hex().as_bytes()).map_err(io_error("read", path()))? {
        LinkEntry::Link(text) => Ok(layout::parse_object_link(&text) == Some(*digest)),
        LinkEntry::Nothing | LinkEntry::Other => Ok(false),
    }
}

/// Lists the digests of all images, sorted, and the entries of the directory that are not in this program's form.
///
/// # Errors
///
/// If the directory cannot be read.
pub(crate) fn list(dir: &RepoDir) -> Result<(Vec<Digest>, Vec<BrokenRef>), RepositoryError> {
    let (mut digests, mut broken) = (Vec::new(), Vec::new());
    let Some(directory) = dir.open_dir(layout::IMAGES)? else { return Ok((digests, broken)) };
    let path = dir.path.join(layout::IMAGES);
    for entry in Dir::read_from(&directory).map_err(io_error("list", &path))? {
        let entry = entry.map_err(io_error("list", &path))?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b".." | b"refs") {
            continue;
        }
        let found = read_link(directory.as_fd(), name).map_err(io_error("read", &path))?;
        let digest = Digest::from_hex(name)
            .ok()
            .filter(|digest| digest.algorithm() == dir.algorithm && digest.to_hex().as_bytes() == name);
        match (digest, found) {
            (_, LinkEntry::Nothing) => {}
            (Some(digest), LinkEntry::Link(text)) if layout::parse_object_link(&text) == Some(digest) => {
                digests.push(digest);
            }
            (_, found) => {
                broken.push(BrokenRef::new(dir, &[layout::IMAGES.as_bytes(), b"/", name].concat(), found, true))
            }
        }
    }
    let known = digests.iter().map(|digest| format!("{}/{digest}", layout::IMAGES).into_bytes()).collect();
    settle(&mut broken, known, |entry| dir.below(&entry.path));
    digests.sort_unstable();
    broken.sort();
    Ok((digests, broken))
}
