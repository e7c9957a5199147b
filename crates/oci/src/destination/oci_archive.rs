//! An OCI image layout in a new tar archive.

use std::path::Path;
use std::sync::Mutex;

use libcomposefs_content::mutex::lock;

use super::archive_file::ArchiveFile;
use super::index_json::{OCI_LAYOUT, with_image};
use super::{BlobContent, BlobOutcome, BlobPlace, DestinationError, ImageDestination, check_name};
use crate::BlobDigest;
use crate::manifest::{ImageConfig, Manifest};

/// A new archive with one image.
#[derive(Debug)]
pub struct OciArchiveFile {
    described: String,
    name: Option<String>,
    /// The archive; `None` when it was published.
    archive: Mutex<Option<ArchiveFile>>,
}

impl OciArchiveFile {
    /// Begins an archive, which has no name until it is complete. `replaces` allows it to replace a file.
    ///
    /// # Errors
    ///
    /// If the file exists or cannot be made, or the name of the image is not valid.
    pub fn create(path: &Path, name: Option<&str>, replaces: bool) -> Result<Self, DestinationError> {
        name.map_or(Ok(()), check_name)?;
        let mut archive = ArchiveFile::create(path, replaces)?;
        archive.append_bytes("oci-layout", OCI_LAYOUT.as_bytes())?;
        let described = format!("oci-archive:{}", path.display());
        Ok(Self { described, name: name.map(str::to_owned), archive: Mutex::new(Some(archive)) })
    }
}

/// Returns the path of a blob in a layout.
fn blob_path(digest: &BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl ImageDestination for OciArchiveFile {
    fn describe(&self) -> String {
        self.described.clone()
    }

    fn needs_oci_manifest(&self) -> bool {
        true
    }

    fn find(&self, _: &BlobDigest, _: u64) -> Result<BlobPlace, DestinationError> {
        Ok(BlobPlace::Missing)
    }

    fn put(
        &self,
        digest: &BlobDigest,
        size: u64,
        content: Option<&dyn BlobContent>,
    ) -> Result<BlobOutcome, DestinationError> {
        let (Some(archive), Some(content)) = (&mut *lock(&self.archive), content) else {
            return Err(DestinationError::NotMounted { destination: self.describe(), digest: *digest });
        };
        archive.append(&blob_path(digest), digest, size, content)?;
        Ok(BlobOutcome::Sent)
    }

    fn publish(&self, manifest: &Manifest, _: &ImageConfig) -> Result<(), DestinationError> {
        let archive = lock(&self.archive).take();
        let Some(mut archive) = archive else {
            return Err(DestinationError::Exists(self.describe()));
        };
        archive.append_bytes(&blob_path(&manifest.digest), &manifest.raw)?;
        let malformed = |reason| DestinationError::NoLayout { path: self.describe(), reason };
        let index = with_image(None, manifest, self.name.as_deref()).map_err(malformed)?;
        archive.append_bytes("index.json", &index)?;
        archive.publish()
    }
}
