//! Names of images: listed, followed, given and taken.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use composefs_image::Digest;
use composefs_sys::beneath::open_directory_beneath;
use rustix::fs::{AtFlags, Dir, FileType, fsync, statat, unlinkat};
use rustix::io::Errno;

use super::lease::Lease;
use super::links::{Found, make_directory_in, read_link};
use super::{ImageName, RefName, Repository, RepositoryError, io_error, layout};

/// All names, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    /// Each with the image it leads to.
    pub good: Vec<(RefName, Digest)>,
    /// What is among them and is no name of an image.
    pub broken: Vec<BrokenRef>,
}

/// Something among the names that leads to no place of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokenRef {
    /// Its path in the repository.
    pub path: PathBuf,
    /// What it is.
    pub found: String,
}

impl Repository {
    /// Lists the names of images.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read. What is wrong with a single name is in the list.
    pub fn refs(&self) -> Result<Refs, RepositoryError> {
        let mut refs = Refs::default();
        let Some(top) = self.directory(layout::IMAGE_REFS)? else { return Ok(refs) };
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let path = self.path.join(layout::IMAGE_REFS).join(&folder);
            let directory = match open_folder(&top, &folder) {
                // Removed meanwhile: it was empty.
                Err(Errno::NOENT) => continue,
                result => result.map_err(io_error("open the directory", &path))?,
            };
            for entry in Dir::read_from(&directory).map_err(io_error("list", &path))? {
                let entry = entry.map_err(io_error("list", &path))?;
                let bytes = entry.file_name().to_bytes();
                if matches!(bytes, b"." | b"..") {
                    continue;
                }
                let last = String::from_utf8_lossy(bytes).into_owned();
                let full = if folder.is_empty() { last.clone() } else { format!("{folder}/{last}") };
                let broken = |found: &str| BrokenRef { path: path.join(&last), found: found.into() };
                let Ok(name) = RefName::new(full.clone()) else {
                    refs.broken.push(broken("has a name that no ref can have"));
                    continue;
                };
                match read_link(directory.as_fd(), bytes).map_err(io_error("read", path.join(&last)))? {
                    Found::Nothing => {}
                    Found::Link(text) => match layout::parse_ref_link(&name, &text) {
                        Some(digest) if digest.algorithm() == self.algorithm() => refs.good.push((name, digest)),
                        _ => refs.broken.push(broken(&format!("leads to {}", String::from_utf8_lossy(&text)))),
                    },
                    Found::Other => match statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => folders.push(full),
                        Ok(_) => refs.broken.push(broken("is no link")),
                        Err(_) => {}
                    },
                }
            }
        }
        refs.good.sort();
        refs.broken.sort();
        Ok(refs)
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
        lease.claim(&[digest])?;
        let _lock = self.lock_shared()?;
        self.expect_image(image, &digest)?;
        let replaced = self.write_ref(&lease, name, &digest)?;
        Ok((digest, replaced))
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
                    self.put_link(lease, directory.as_fd(), last, &layout::ref_link(name, digest), &path)?;
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
        let (mut folder, last) = name.folder_and_last();
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
        // Folders that nobody needs any more. One that is not empty stays; should it come back after a crash, it is empty.
        while !folder.is_empty() {
            let (above, this) = folder.rsplit_once('/').unwrap_or(("", folder));
            let removed = open_folder(&top, above).and_then(|above| unlinkat(above, this, AtFlags::REMOVEDIR));
            if removed.is_err() {
                break;
            }
            folder = above;
        }
        Ok(digest)
    }
}

fn open_folder(top: &OwnedFd, folder: &str) -> rustix::io::Result<OwnedFd> {
    open_directory_beneath(top.as_fd(), if folder.is_empty() { b"." } else { folder.as_bytes() })
}

fn in_the_way(name: &RefName, other: &str) -> RepositoryError {
    RepositoryError::NameInTheWay { name: name.clone(), other: other.to_owned() }
}
