//! Names of images: listed, followed, given and taken.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;
use libcomposefs_sys::beneath::open_directory_beneath;
use rustix::fs::{AtFlags, fsync, unlinkat};
use rustix::io::Errno;

use super::dir::{Found, make_directory_in, read_link};
use super::lease::Lease;
use super::link_target::{Leads, leads_to, settle};
use super::walk::Entry;
use super::{ImageName, RefName, Repository, RepositoryError, io_error, layout};

/// All names, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    /// Each with the image it leads to.
    pub good: Vec<(RefName, Digest)>,
    /// What is among them and is no name of an image in this program's form.
    pub broken: Vec<BrokenRef>,
}

/// Something among the names, images or streams that is not in this program's form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokenRef {
    /// Its path in the repository.
    pub path: PathBuf,
    /// What it is.
    pub found: String,
    /// What it leads to all the same. gc keeps that, and removes nothing at all while there is an entry that is unclear.
    pub leads: Leads,
    /// What was under the name.
    pub(crate) seen: Found,
}

impl BrokenRef {
    /// Whether nothing can be said of what it keeps.
    #[must_use]
    pub fn is_unclear(&self) -> bool {
        self.leads == Leads::Unclear
    }

    /// The digest that the entry has for a name.
    pub(crate) fn named_digest(&self) -> Option<Digest> {
        self.path.file_name().and_then(|name| Digest::from_hex(name.as_bytes()).ok())
    }
}

impl Repository {
    /// Lists the names of images.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read. What is wrong with a single name is in the list.
    pub fn refs(&self) -> Result<Refs, RepositoryError> {
        let mut refs = Refs::default();
        let walk = self.walk(layout::IMAGE_REFS)?;
        let mut known: BTreeSet<Vec<u8>> = walk.folders.into_iter().collect();
        for Entry { path: below, found } in walk.entries {
            let name = below.get(layout::IMAGE_REFS.len() + 1..).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.and_then(|name| RefName::new(name).ok());
            let digest = match (&name, &found) {
                (Some(name), Found::Link(text)) => layout::parse_ref_link(name, text),
                _ => None,
            };
            match (name, digest.filter(|digest| digest.algorithm() == self.algorithm())) {
                (Some(name), Some(digest)) => {
                    known.insert(below);
                    refs.good.push((name, digest));
                }
                (name, _) => refs.broken.push(self.broken(&below, found, name.is_some())),
            }
        }
        for (below, error) in walk.unreadable {
            let name = below.get(layout::IMAGE_REFS.len() + 1..).and_then(|name| std::str::from_utf8(name).ok());
            // Names of this program may be in it. Of others only gc needs to know.
            if name.is_none_or(|name| RefName::new(name).is_ok()) {
                return Err(error);
            }
            let found = format!("cannot be read ({error})");
            refs.broken.push(BrokenRef { found, leads: Leads::Unclear, ..self.broken(&below, Found::Other, true) });
        }
        settle(&mut refs.broken, known, |entry| self.below(&entry.path));
        refs.good.sort();
        refs.broken.sort();
        Ok(refs)
    }

    /// An entry, given by its path below the repository, that is not in this program's form.
    pub(crate) fn broken(&self, below: &[u8], seen: Found, has_good_name: bool) -> BrokenRef {
        let folder = below.iter().rposition(|byte| *byte == b'/').map_or(&below[..0], |slash| &below[..slash]);
        let (found, leads) = match &seen {
            Found::Link(text) => {
                let found = if has_good_name {
                    format!("leads to {}", String::from_utf8_lossy(text))
                } else {
                    "has a name that no ref can have".into()
                };
                (found, leads_to(folder, text, self.algorithm()))
            }
            Found::Nothing | Found::Other => ("is no link".into(), Leads::Unclear),
        };
        BrokenRef { path: self.path.join(OsStr::from_bytes(below)), found, leads, seen }
    }

    /// The path below the repository of one in it.
    pub(crate) fn below(&self, path: &Path) -> Vec<u8> {
        path.strip_prefix(&self.path).unwrap_or(path).as_os_str().as_bytes().to_vec()
    }

    /// The image that a name leads to. Whether it is there is another question.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoSuchRef`], [`RepositoryError::Link`]
    pub fn resolve(&self, name: &ImageName) -> Result<Digest, RepositoryError> {
        match name {
            ImageName::Digest(digest) => Ok(*digest),
            ImageName::Ref(name) => {
                let no_such = || RepositoryError::NoSuchRef { name: name.clone(), path: self.path.clone() };
                self.read_ref(name)?.ok_or_else(no_such)
            }
        }
    }

    pub(crate) fn read_ref(&self, name: &RefName) -> Result<Option<Digest>, RepositoryError> {
        let (folder, last) = name.folder_and_last();
        let path = self.path.join(layout::IMAGE_REFS).join(name.as_str());
        let Some(top) = self.directory(layout::IMAGE_REFS)? else { return Ok(None) };
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

    /// Gives an image a name, which another may have had: that one is returned. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoSuchImage`], [`RepositoryError::NameInTheWay`], or what the kernel says.
    pub fn tag(&self, image: &ImageName, name: &RefName) -> Result<(Digest, Option<Digest>), RepositoryError> {
        let lease = self.lease()?;
        let digest = self.resolve(image)?;
        lease.protect(&[digest])?;
        let _lock = self.lock_shared()?;
        self.expect_image(image, &digest)?;
        let replaced = self.write_ref(&lease, name, &digest)?;
        Ok((digest, replaced))
    }

    /// Demands that all names can be given at once: none is in the way of another, or of what is there.
    pub(crate) fn expect_room(&self, names: &[(&RefName, Digest)]) -> Result<(), RepositoryError> {
        let all: BTreeSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        let top = self.directory(layout::IMAGE_REFS)?;
        for (name, _) in names {
            for (slash, _) in name.as_str().match_indices('/') {
                let folder = &name.as_str()[..slash];
                let opened = top.as_ref().map(|top| open_folder(top, folder));
                if all.contains(folder) || matches!(opened, Some(Err(Errno::NOTDIR | Errno::LOOP))) {
                    return Err(in_the_way(name, folder));
                }
            }
            if self.found_under(name)? == Found::Other {
                return Err(in_the_way(name, name.as_str()));
            }
        }
        Ok(())
    }

    /// Writes refs. The images are there, and stay as the caller claims them. For each name the other image is returned that
    /// had it. If one cannot be written, those before it are what they were.
    pub(crate) fn write_refs(
        &self,
        lease: &Lease,
        names: &[(&RefName, Digest)],
    ) -> Result<Vec<Option<Digest>>, RepositoryError> {
        let mut replaced = Vec::new();
        let mut before: Vec<Found> = Vec::new();
        for (name, digest) in names {
            let written = self.found_under(name).and_then(|found| {
                before.push(found);
                self.write_ref(lease, name, digest)
            });
            match written {
                Ok(old) => replaced.push(old),
                Err(error) => {
                    for ((name, digest), before) in names.iter().zip(&before).rev() {
                        self.put_back(lease, name, digest, before)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(replaced)
    }

    /// What is under a name.
    fn found_under(&self, name: &RefName) -> Result<Found, RepositoryError> {
        let (folder, last) = name.folder_and_last();
        let path = || self.path.join(layout::IMAGE_REFS).join(name.as_str());
        let Some(top) = self.directory(layout::IMAGE_REFS)? else { return Ok(Found::Nothing) };
        match open_folder(&top, folder) {
            Ok(directory) => read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", path())),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Found::Nothing),
            Err(errno) => Err(io_error("open the directory of", path())(errno)),
        }
    }

    /// Gives a name that leads to `digest` by now to what had it before.
    fn put_back(&self, lease: &Lease, name: &RefName, digest: &Digest, before: &Found) -> Result<(), RepositoryError> {
        let ours = Found::Link(layout::ref_link(name, digest).into_bytes());
        // It was not written, or another command has written it since.
        if *before == ours || self.found_under(name)? != ours {
            return Ok(());
        }
        let (folder, last) = name.folder_and_last();
        let path = self.path.join(layout::IMAGE_REFS).join(name.as_str());
        let Some(top) = self.directory(layout::IMAGE_REFS)? else { return Ok(()) };
        let directory = open_folder(&top, folder).map_err(io_error("open the directory of", &path))?;
        match before {
            Found::Link(text) => self.put_link(lease, directory.as_fd(), last, text, &path),
            Found::Nothing | Found::Other => {
                unlinkat(&directory, last, AtFlags::empty()).map_err(io_error("remove", &path))?;
                fsync(&directory).map_err(io_error("sync the directory of", &path))?;
                remove_empty(&top, folder);
                Ok(())
            }
        }
    }

    /// Writes a ref. The image is there, and stays as the caller claims it.
    pub(crate) fn write_ref(
        &self,
        lease: &Lease,
        name: &RefName,
        digest: &Digest,
    ) -> Result<Option<Digest>, RepositoryError> {
        let (folder, last) = name.folder_and_last();
        let path = self.path.join(layout::IMAGE_REFS).join(name.as_str());
        let mut tries = 8;
        loop {
            tries -= 1;
            let result = self.folder_to_write(name, folder).and_then(|directory| {
                let old = read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", &path))?;
                let old = match old {
                    Found::Link(text) => layout::parse_ref_link(name, &text),
                    Found::Nothing => None,
                    Found::Other => return Err(in_the_way(name, name.as_str())),
                };
                if old == Some(*digest) {
                    // Who wrote it may not have synced it.
                    fsync(&directory).map_err(io_error("sync the directory of", &path))?;
                } else {
                    self.put_link(lease, directory.as_fd(), last, layout::ref_link(name, digest).as_bytes(), &path)?;
                }
                Ok(old.filter(|old| old != digest))
            });
            match result {
                // An untag took away the folder meanwhile.
                Err(RepositoryError::Io { source, .. })
                    if source.raw_os_error() == Some(Errno::NOENT.raw_os_error()) && tries > 0 => {}
                result => return result,
            }
        }
    }

    fn folder_to_write(&self, name: &RefName, folder: &str) -> Result<OwnedFd, RepositoryError> {
        let mut at = self.make_directory(layout::IMAGE_REFS)?;
        let mut done = String::new();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            if !done.is_empty() {
                done.push('/');
            }
            done.push_str(part);
            at = match make_directory_in(at.as_fd(), part, &self.path.join(layout::IMAGE_REFS).join(&done)) {
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

    /// Takes a name away. Its image stays until the next gc. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NoSuchRef`], or what the kernel says.
    pub fn untag(&self, name: &RefName) -> Result<Option<Digest>, RepositoryError> {
        self.expect_writable()?;
        let (folder, last) = name.folder_and_last();
        let path = self.path.join(layout::IMAGE_REFS).join(name.as_str());
        let no_such = || RepositoryError::NoSuchRef { name: name.clone(), path: self.path.clone() };
        let top = self.directory(layout::IMAGE_REFS)?.ok_or_else(no_such)?;
        let directory = match open_folder(&top, folder) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(no_such()),
            result => result.map_err(io_error("open the directory of", &path))?,
        };
        let digest = match read_link(directory.as_fd(), last.as_bytes()).map_err(io_error("read", &path))? {
            Found::Nothing => return Err(no_such()),
            // A broken one is what one wants to be rid of.
            Found::Link(text) => layout::parse_ref_link(name, &text),
            Found::Other => {
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
}

/// Removes a folder and those above it that are empty. One that is not stays; should one come back after a crash, it is empty.
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

fn open_folder(top: &OwnedFd, folder: &str) -> rustix::io::Result<OwnedFd> {
    open_directory_beneath(top.as_fd(), if folder.is_empty() { b"." } else { folder.as_bytes() })
}

fn in_the_way(name: &RefName, other: &str) -> RepositoryError {
    RepositoryError::NameInTheWay { name: name.clone(), other: other.to_owned() }
}
