//! Refs: names of images, listed and resolved.

pub(crate) mod write;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use libcomposefs_image::Digest;
use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use rustix::io::Errno;

use crate::broken_ref::{BrokenRef, settle};
use crate::dir::{LinkEntry, RepoDir, read_link};
use crate::error::io_error;
use crate::link_target::Leads;
use crate::walk::{RefEntry, RefWalk};
use crate::{RefName, RepositoryError, layout};

/// The refs of a repository, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    /// Each ref with the image that it leads to.
    pub good: Vec<(RefName, Digest)>,
    /// Entries that are no refs in this program's form.
    pub broken: Vec<BrokenRef>,
}

/// Lists the refs in a directory of the repository.
///
/// # Errors
///
/// If a directory cannot be read. A single wrong entry is in the list.
pub(crate) fn list(dir: &RepoDir, top: &str) -> Result<Refs, RepositoryError> {
    let mut refs = Refs::default();
    let walk = RefWalk::of(dir, top)?;
    let mut known: BTreeSet<Vec<u8>> = walk.folders.into_iter().collect();
    for RefEntry { path: below, found } in walk.entries {
        let name = below.get(top.len() + 1..).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.and_then(|name| RefName::new(name).ok());
        let digest = match (&name, &found) {
            (Some(name), LinkEntry::Link(text)) => layout::parse_ref_link(name, text),
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
        let name = below.get(top.len() + 1..).and_then(|name| std::str::from_utf8(name).ok());
        // The directory may contain refs of this program. Only gc needs the names of other programs.
        if name.is_none_or(|name| RefName::new(name).is_ok()) {
            return Err(error);
        }
        let found = format!("cannot be read ({error})");
        refs.broken.push(BrokenRef {
            found,
            leads: Leads::Unclear,
            ..BrokenRef::new(dir, &below, LinkEntry::Other, true)
        });
    }
    settle(&mut refs.broken, known, |entry| dir.below(&entry.path));
    refs.good.sort();
    refs.broken.sort();
    Ok(refs)
}

/// Returns the image that a ref in a directory of the repository leads to; `None` if there is no such ref. The image
/// itself may be missing.
///
/// # Errors
///
/// [`RepositoryError::Link`], or the kernel's answer.
pub(crate) fn read(dir: &RepoDir, top: &str, name: &RefName) -> Result<Option<Digest>, RepositoryError> {
    let (folder, last) = name.folder_and_last();
    let path = dir.path.join(top).join(name.as_str());
    let Some(top) = dir.open_dir(top)? else { return Ok(None) };
    let directory = match open_folder(&top, folder) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        result => result.map_err(io_error("open the directory of", &path))?,
    };
    let wrong = |found: String| RepositoryError::Link { path: path.clone(), found, expected: "an image" };
    match read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", &path))? {
        LinkEntry::Nothing => Ok(None),
        LinkEntry::Other => Err(wrong("is no link".into())),
        LinkEntry::Link(text) => match layout::parse_ref_link(name, &text) {
            Some(digest) => Ok(Some(digest)),
            None => Err(wrong(format!("leads to {}", String::from_utf8_lossy(&text)))),
        },
    }
}

/// Refuses the names that keep bases of cold images: only the commands that pack and unpack these write them.
pub(crate) fn expect_not_reserved(name: &RefName) -> Result<(), RepositoryError> {
    match name.as_str().split_once('/') {
        Some((layout::COLD_BASES, _)) => Err(RepositoryError::ReservedName { name: name.clone() }),
        _ => Ok(()),
    }
}

/// Checks that all names can be refs at once: none is a directory of another, or of an existing ref.
pub(crate) fn expect_room(dir: &RepoDir, names: &[&RefName]) -> Result<(), RepositoryError> {
    let all: BTreeSet<&str> = names.iter().map(|name| name.as_str()).collect();
    let top = dir.open_dir(layout::IMAGE_REFS)?;
    for name in names {
        expect_not_reserved(name)?;
        for (slash, _) in name.as_str().match_indices('/') {
            let folder = &name.as_str()[..slash];
            let opened = top.as_ref().map(|top| open_folder(top, folder));
            if all.contains(folder) || matches!(opened, Some(Err(Errno::NOTDIR | Errno::LOOP))) {
                return Err(in_the_way(name, folder));
            }
        }
        if found_under(dir, name)? == LinkEntry::Other {
            return Err(in_the_way(name, &format!("{}/", name.as_str())));
        }
    }
    Ok(())
}

/// Reads the entry of a name.
fn found_under(dir: &RepoDir, name: &RefName) -> Result<LinkEntry, RepositoryError> {
    let (folder, last) = name.folder_and_last();
    let path = || dir.path.join(layout::IMAGE_REFS).join(name.as_str());
    let Some(top) = dir.open_dir(layout::IMAGE_REFS)? else { return Ok(LinkEntry::Nothing) };
    match open_folder(&top, folder) {
        Ok(directory) => read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", path())),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(LinkEntry::Nothing),
        Err(errno) => Err(io_error("open the directory of", path())(errno)),
    }
}

pub(crate) fn open_folder(top: &OwnedFd, folder: &str) -> rustix::io::Result<OwnedFd> {
    open_directory_beneath(top.as_fd(), if folder.is_empty() { b"." } else { folder.as_bytes() })
}

fn in_the_way(name: &RefName, other: &str) -> RepositoryError {
    RepositoryError::NameInTheWay { name: name.clone(), other: other.to_owned() }
}
