//! Destinations of images: what push and export write blobs and a manifest to.

mod archive_file;
mod docker_archive;
mod hashed_copy;
mod index_json;
mod layout_directory;
mod layout_stage;
mod new_archive;
mod oci_archive;
mod tar_header;

use std::io::{self, Read};

pub use docker_archive::DockerArchiveFile;
pub use layout_directory::LayoutDirectory;
pub use oci_archive::OciArchiveFile;

use crate::BlobDigest;
use crate::manifest::{ImageConfig, Manifest};

/// The reasons why a destination cannot take an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// A file or directory cannot be written.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The path.
        path: String,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The content of a blob cannot be read.
    #[error("cannot read the blob {digest}: {source}")]
    Content {
        /// The digest of the blob.
        digest: BlobDigest,
        /// The reason.
        source: io::Error,
    },
    /// The content of a blob has another digest or size.
    #[error(
        "the blob {expected} {found}: the repository is damaged; `composefs oci verify` names what, and a new pull \
         repairs it"
    )]
    Blob {
        /// The digest that names the blob.
        expected: BlobDigest,
        /// The difference.
        found: String,
    },
    /// A file has the name of the archive.
    #[error("{0} exists; --force replaces it")]
    Exists(String),
    /// The name of the archive is not that of a regular file.
    #[error("{0} is no regular file; name a new file")]
    NoFile(String),
    /// The directory has files, but is no layout.
    #[error("{path}: {reason}; name a new or empty directory, or an OCI image layout")]
    NoLayout {
        /// The path of the directory.
        path: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// The name of the image is not valid.
    #[error("the name {name:?} cannot be written: {reason}")]
    Name {
        /// The name.
        name: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The destination has not got a blob that it was expected to have, and no content was given.
    #[error("{destination} does not take the blob {digest} from another repository any more; run the command again")]
    NotMounted {
        /// The destination.
        destination: String,
        /// The digest of the blob.
        digest: BlobDigest,
    },
    /// The reference asks for another manifest.
    #[error("the reference names the manifest {expected}, but the image has {found}; give a tag instead")]
    Manifest {
        /// The digest in the reference.
        expected: BlobDigest,
        /// The digest of the manifest.
        found: BlobDigest,
    },
    /// Another error, of a registry.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// Bytes of a blob, which may be read several times, as an upload may have to start again.
pub trait BlobContent: Sync {
    /// Opens the bytes from the beginning. The destination compares their digest.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be opened.
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>>;
}

impl BlobContent for &[u8] {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(*self))
    }
}

/// Where a destination finds a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobPlace {
    /// The destination has it.
    Here,
    /// Another repository of the same registry has it, from which it can be mounted.
    Nearby,
    /// It has to be sent.
    Missing,
}

/// The way in which a blob came to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobOutcome {
    /// The destination had it.
    Present,
    /// It was mounted from another repository of the same registry.
    Mounted,
    /// Its bytes were sent.
    Sent,
}

/// The form of the layers that a destination stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerForm {
    /// Blobs as a manifest names them.
    Blobs,
    /// Uncompressed archives, named by their diff IDs; there is no manifest.
    Archives,
}

/// A place that takes an image: blobs first, in any order and from several threads, then the manifest, which gives the
/// image its name.
pub trait ImageDestination: Sync {
    /// Returns the reference, for messages.
    fn describe(&self) -> String;

    /// Returns the form of the layers that are stored.
    fn layer_form(&self) -> LayerForm {
        LayerForm::Blobs
    }

    /// Returns true if only OCI manifests can be stored, not those of docker.
    fn needs_oci_manifest(&self) -> bool {
        false
    }

    /// Finds a blob. Nothing is changed.
    ///
    /// # Errors
    ///
    /// If the destination cannot be read.
    fn find(&self, digest: &BlobDigest, size: u64) -> Result<BlobPlace, DestinationError>;

    /// Stores a blob, and compares its digest. Without a content it must be nearby.
    ///
    /// # Errors
    ///
    /// If the blob cannot be stored, or has another digest.
    fn put(
        &self,
        digest: &BlobDigest,
        size: u64,
        content: Option<&dyn BlobContent>,
    ) -> Result<BlobOutcome, DestinationError>;

    /// Stores the manifest and gives the image its name, as the last step. All blobs are stored.
    ///
    /// # Errors
    ///
    /// If the manifest or the name cannot be written.
    fn publish(&self, manifest: &Manifest, config: &ImageConfig) -> Result<(), DestinationError>;
}

/// Refuses names of images that programs would read in different ways.
fn check_name(name: &str) -> Result<(), DestinationError> {
    let refused = |reason| Err(DestinationError::Name { name: name.to_owned(), reason });
    if name.is_empty() {
        return refused("it is empty");
    }
    if name.len() > 1024 {
        return refused("it is longer than 1024 bytes");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte)) {
        return refused("it may have letters, digits and ._-/:@+");
    }
    Ok(())
}
