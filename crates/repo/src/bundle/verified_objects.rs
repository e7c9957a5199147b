//! Objects of a repository that are opened after their content was compared with their digest.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Mutex;

use libcomposefs_content::mutex::lock;
use libcomposefs_image::Digest;
use libcomposefs_store::Object;
use rustix::fs::fstat;

use crate::{Repository, RepositoryError, io_error};

/// Opens objects, and compares the content of each with its digest once.
#[derive(Debug)]
pub struct VerifiedObjects<'r> {
    repository: &'r Repository,
    verified: Mutex<HashSet<Digest>>,
}

impl<'r> VerifiedObjects<'r> {
    /// Begins without any object.
    #[must_use]
    pub fn new(repository: &'r Repository) -> Self {
        Self { repository, verified: Mutex::default() }
    }

    /// Opens an object, and compares its content with its digest if that was not done before.
    ///
    /// # Errors
    ///
    /// If the object is missing or damaged.
    pub fn open(&self, digest: &Digest) -> Result<File, RepositoryError> {
        let objects = self.repository.objects();
        let path = objects.path_of(digest);
        let Some(file) = objects.open_object(digest)? else {
            return Err(io_error("open", &path)(rustix::io::Errno::NOENT));
        };
        let stat = fstat(file.as_fd()).map_err(io_error("stat", &path))?;
        let copy =
            file.try_clone().map_err(|source| RepositoryError::Io { step: "open", path: path.clone(), source })?;
        if !lock(&self.verified).contains(digest) {
            Object::new(file, path, &stat).verify(digest)?;
            lock(&self.verified).insert(*digest);
        }
        Ok(File::from(copy))
    }
}
