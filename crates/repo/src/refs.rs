//! Refs: names of images, listed and followed.

pub(crate) mod write;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use libcomposefs_image::Digest;
use libcomposefs_sys::beneath::open_directory_beneath;
use rustix::io::Errno;

use crate::broken_ref::{BrokenRef, settle};
use crate::dir::{Found, RepoDir, read_link};
use crate::error::io_error;
use crate::link_target::Leads;
use crate::walk::{Entry, Walk};
use crate::{RefName, RepositoryError, layout};

/// All names, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    /// Each with the image it leads to.
    pub good: Vec<(RefName, Digest)>,
    /// What is among them and is no name of an image in this program's form.
    pub broken: Vec<BrokenRef>,
}

/// Lists the names of images.
///
/// # Errors
///
/// If a directory cannot be read. What is wrong with a single name is in the list.
pub(crate) fn list(dir: &RepoDir) -> Result<Refs, RepositoryError> {
    let mut refs = Refs::default();
    let walk = Walk::of(dir, layout::IMAGE_REFS)?;
    let mut known: BTreeSet<Vec<u8>> = walk.folders.into_iter().collect();
    for Entry { path: below, found } in walk.entries {
        let name = below.get(layout::IMAGE_REFS.len() + 1..).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.and_then(|name| RefName::new(name).ok());
        let digest = match (&name, &found) {
            (Some(name), Found::Link(text)) => layout::parse_ref_link(name, text),
            _ => None,
        };
        match (name, digest.filter(|digest| digest.algorithm() == dir.algorithm)) {
            (Some(name), Some(digest)) => {
                known.insert(below);
                refs.good.push((name, digest));
            }
            (name, _) => refs.broken.push(BrokenRef::new(dir, &below, found, name.is_some())),
        }
    }
    for (below, error) in walk.unreadable {
        let name = below.get(layout::IMAGE_REFS.len() + 1..).and_then(|name| std::str::from_utf8(name).ok());
        // Names of this program may be in it. Of others only gc needs to know.
        if name.is_none_or(|name| RefName::new(name).is_ok()) {
            return Err(error);
        }
        let found = format!("cannot be read ({error})");
        refs.broken.push(BrokenRef { found, leads: Leads::Unclear, ..BrokenRef::new(dir, &below, Found::Other, true) });
    }
    settle(&mut refs.broken, known, |entry| dir.below(&entry.path));
    refs.good.sort();
    refs.broken.sort();
    Ok(refs)
}

/// Returns the image that a ref leads to; `None` if there is no such ref. The image itself may be missing.
///
/// # Errors
///
/// [`RepositoryError::Link`], or the kernel's answer.
pub(crate) fn read(dir: &RepoDir, name: &RefName) -> Result<Option<Digest>, RepositoryError> {
    let (folder, last) = name.folder_and_last();
    let path = dir.path.join(layout::IMAGE_REFS).join(name.as_str());
    let Some(top) = dir.open_dir(layout::IMAGE_REFS)? else { return Ok(None) };
    let directory = match open_folder(&top, folder) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        result => result.map_err(io_error("open the directory of", &path))?,
    };
    let wrong = |found: String| RepositoryError::Link { path: path.clone(), found, expected: "an image" };
    match read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", &path))? {
        Found::Nothing => Ok(None),
        Found::Other => Err(wrong("is no link".into())),
        Found::Link(text) => match layout::parse_ref_link(name, &text) {
            Some(digest) => Ok(Some(digest)),
            None => Err(wrong(format!("leads to {}", String::from_utf8_lossy(&text)))),
        },
    }
}

/// Demands that all names can be given at once: none is in the way of another, or of what is there.
pub(crate) fn expect_room(dir: &RepoDir, names: &[&RefName]) -> Result<(), RepositoryError> {
    let all: BTreeSet<&str> = names.iter().map(|name| name.as_str()).collect();
    let top = dir.open_dir(layout::IMAGE_REFS)?;
    for name in names {
        for (slash, _) in name.as_str().match_indices('/') {
            let folder = &name.as_str()[..slash];
            let opened = top.as_ref().map(|top| open_folder(top, folder));
            if all.contains(folder) || matches!(opened, Some(Err(Errno::NOTDIR | Errno::LOOP))) {
                return Err(in_the_way(name, folder));
            }
        }
        if found_under(dir, name)? == Found::Other {
            return Err(in_the_way(name, name.as_str()));
        }
    }
    Ok(())
}

/// What is under a name.
fn found_under(dir: &RepoDir, name: &RefName) -> Result<Found, RepositoryError> {
    let (folder, last) = name.folder_and_last();
    let path = || dir.path.join(layout::IMAGE_REFS).join(name.as_str());
    let Some(top) = dir.open_dir(layout::IMAGE_REFS)? else { return Ok(Found::Nothing) };
    match open_folder(&top, folder) {
        Ok(directory) => read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", path())),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Found::Nothing),
        Err(errno) => Err(io_error("open the directory of", path())(errno)),
    }
}

fn open_folder(top: &OwnedFd, folder: &str) -> rustix::io::Result<OwnedFd> {
    open_directory_beneath(top.as_fd(), if folder.is_empty() { b"." } else { folder.as_bytes() })
}

fn in_the_way(name: &RefName, other: &str) -> RepositoryError {
    RepositoryError::NameInTheWay { name: name.clone(), other: other.to_owned() }
}
