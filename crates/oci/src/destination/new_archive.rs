//! A new archive as a destination: what the archives of both formats share.

use std::path::Path;
use std::sync::Mutex;

use libcomposefs_content::mutex::lock;

use super::archive_file::ArchiveFile;
use super::{BlobContent, BlobOutcome, DestinationError};
use crate::BlobDigest;

/// An archive that takes the blobs of one image, from several threads.
#[derive(Debug)]
pub(super) struct NewArchive {
    described: String,
    /// The archive; `None` when it was published.
    archive: Mutex<Option<ArchiveFile>>,
}

impl NewArchive {
    /// Begins an archive, which has no name until it is complete. `replaces` allows it to replace a file.
    pub(super) fn create(transport: &str, path: &Path, replaces: bool) -> Result<Self, DestinationError> {
        let archive = Mutex::new(Some(ArchiveFile::create(path, replaces)?));
        Ok(Self { described: format!("{transport}:{}", path.display()), archive })
    }

    /// Returns the reference, for messages.
    pub(super) fn describe(&self) -> &str {
        &self.described
    }

    /// Appends a blob under a name. An archive takes no blob from another place.
    pub(super) fn put(
        &self,
        name: &str,
        digest: &BlobDigest,
        size: u64,
        content: Option<&dyn BlobContent>,
    ) -> Result<BlobOutcome, DestinationError> {
        let (Some(archive), Some(content)) = (&mut *lock(&self.archive), content) else {
            return Err(DestinationError::NotMounted { destination: self.described.clone(), digest: *digest });
        };
        archive.append(name, digest, size, content)?;
        Ok(BlobOutcome::Sent)
    }

    /// Takes the archive, to complete it.
    pub(super) fn take(&self) -> Result<ArchiveFile, DestinationError> {
        lock(&self.archive).take().ok_or_else(|| DestinationError::Exists(self.described.clone()))
    }
}
