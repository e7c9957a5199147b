//! Listing the objects of a store.

use std::os::fd::OwnedFd;

use libcomposefs_image::digest::Digest;
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::error::Error;
use crate::object_dir::ObjectDir;

impl ObjectDir {
    /// Lists the digests of all objects in order, by name only. The files are not checked, and all other names, for
    /// example those of temporary files, are skipped.
    pub fn list(&self) -> impl Iterator<Item = Result<Digest, Error>> + '_ {
        (0..=255u8).flat_map(|first| {
            let (digests, error) = match self.list_fan(&format!("{first:02x}")) {
                Ok(digests) => (digests, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            digests.into_iter().map(Ok).chain(error)
        })
    }

    /// Returns the digests of the objects in one of the 256 directories, sorted.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened or read. One that does not exist is empty.
    pub fn list_fan(&self, name: &str) -> Result<Vec<Digest>, Error> {
        let failed = |errno: Errno| Error::Io { step: "list", path: self.path().join(name), source: errno.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |store| openat(store, name, flags, Mode::empty());
        let directory: OwnedFd = match self.directory().and_then(open) {
            Ok(directory) => directory,
            // A symlink or a file is not an object directory.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            Err(errno) => return Err(failed(errno)),
        };
        let mut digests = Vec::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = [name.as_bytes(), b"/", entry.file_name().to_bytes()].concat();
            digests.extend(Digest::from_object_path(&path).filter(|d| d.algorithm() == self.algorithm()));
        }
        digests.sort_unstable();
        Ok(digests)
    }
}
