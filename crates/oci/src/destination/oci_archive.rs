//! An OCI image layout in a new tar archive.

use std::path::Path;

use super::index_json::{OCI_LAYOUT, with_image};
use super::new_archive::NewArchive;
use super::{BlobContent, BlobOutcome, BlobPlace, DestinationError, ImageDestination, check_name};
use crate::BlobDigest;
use crate::manifest::{ImageConfig, Manifest};

/// A new archive with one image.
#[derive(Debug)]
pub struct OciArchiveFile {
    name: Option<String>,
    archive: NewArchive,
}

impl OciArchiveFile {
    /// Begins an archive, which has no name until it is complete. `replaces` allows it to replace a file.
    ///
    /// # Errors
    ///
    /// If the file exists or cannot be made, or the name of the image is not valid.
    pub fn create(path: &Path, name: Option<&str>, replaces: bool) -> Result<Self, DestinationError> {
        name.map_or(Ok(()), check_name)?;
        let archive = NewArchive::create("oci-archive", path, replaces)?;
        let content = OCI_LAYOUT.as_bytes();
        archive.put("oci-layout", &BlobDigest::of(content), content.len() as u64, Some(&content))?;
        Ok(Self { name: name.map(str::to_owned), archive })
    }
}

/// Returns the path of a blob in a layout.
fn blob_path(digest: &BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl ImageDestination for OciArchiveFile {
    fn describe(&self) -> String {
        self.archive.describe().to_owned()
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
        self.archive.put(&blob_path(digest), digest, size, content)
    }

    fn publish(&self, manifest: &Manifest, _: &ImageConfig) -> Result<(), DestinationError> {
        let mut archive = self.archive.take()?;
        archive.append_bytes(&blob_path(&manifest.digest), &manifest.raw)?;
        let malformed = |reason| DestinationError::NoLayout { path: self.describe(), reason };
        let index = with_image(None, manifest, self.name.as_deref()).map_err(malformed)?;
        archive.append_bytes("index.json", &index)?;
        archive.publish()
    }
}
