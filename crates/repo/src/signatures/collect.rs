//! What gc does about signatures: those of images that are not here are removed.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;
use rustix::fs::{AtFlags, Dir, fstat, unlinkat};
use rustix::io::Errno;

use super::directory_of;
use crate::layout::SIGNATURES;
use crate::lock::Locked;
use crate::{GcOptions, ImageName, Repository, RepositoryError, io_error};

/// Counts of what [`Repository::collect_signatures`] removed and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignatureReport {
    /// Number of images that are here and have signatures.
    pub kept: u64,
    /// Number of images that are not here, whose signatures are kept because they are young: the image may be arriving.
    pub young: u64,
    /// Images that are not here, whose signatures were removed.
    pub removed: Vec<Digest>,
}

impl Repository {
    /// Removes the signatures of images that the repository does not have. Run it after [`gc`](Self::gc).
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written.
    pub fn collect_signatures(&self, options: GcOptions) -> Result<SignatureReport, RepositoryError> {
        let mut report = SignatureReport::default();
        let Some(directory) = self.dir.open_dir(SIGNATURES)? else { return Ok(report) };
        if !options.dry_run {
            self.expect_writable()?;
        }
        // While images are looked for, no other process publishes one.
        let _alone = if options.dry_run { None } else { Some(Locked::exclusive(&self.dir)?) };
        let now = SystemTime::now();
        for digest in self.signed_images(directory.as_fd())? {
            let path = directory_of(&digest);
            let Some(opened) = self.dir.open_dir(&path)? else { continue };
            let stat = fstat(&opened).map_err(io_error("stat", self.dir.path.join(&path)))?;
            let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            let is_here = self.has_image(&digest)? || self.cold_image(&ImageName::Digest(digest))?.is_some();
            if is_here || self.partial_entries()?.binary_search(&digest).is_ok() {
                report.kept += 1;
            } else if !options.grace.is_zero() && now.duration_since(changed).unwrap_or_default() < options.grace {
                report.young += 1;
            } else {
                if !options.dry_run {
                    self.remove_signatures(opened.as_fd(), directory.as_fd(), &digest)?;
                }
                report.removed.push(digest);
            }
        }
        Ok(report)
    }

    /// Lists the images that have a directory of signatures, sorted. Other names are left alone.
    pub(super) fn signed_images(&self, directory: BorrowedFd<'_>) -> Result<Vec<Digest>, RepositoryError> {
        let failed = |errno: Errno| io_error("read the directory", self.dir.path.join(SIGNATURES))(errno);
        let mut digests = Vec::new();
        for entry in Dir::read_from(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            let digest = Digest::from_hex(&name).ok().filter(|digest| digest.to_hex().as_bytes() == name);
            digests.extend(digest.filter(|digest| digest.algorithm() == self.algorithm()));
        }
        digests.sort();
        Ok(digests)
    }

    fn remove_signatures(
        &self,
        opened: BorrowedFd<'_>,
        above: BorrowedFd<'_>,
        digest: &Digest,
    ) -> Result<(), RepositoryError> {
        let path = self.dir.path.join(directory_of(digest));
        let names = Dir::read_from(opened).map_err(io_error("read the directory", &path))?;
        for name in names {
            let name = name.map_err(io_error("read the directory", &path))?.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match unlinkat(opened, &name, AtFlags::empty()) {
                // A directory is not of this program: it stays, and so does the one above it.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => return Err(io_error("remove a signature in", &path)(errno)),
            }
        }
        match unlinkat(above, digest.to_hex(), AtFlags::REMOVEDIR) {
            // Another process has added a signature meanwhile.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(errno) => Err(io_error("remove", &path)(errno)),
        }
    }
}
