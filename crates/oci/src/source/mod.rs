//! Sources of images: what a pull reads manifests and blobs from.

mod archive_files;
mod bundle;
mod directory_files;
mod docker_archive;
mod oci_layout;
mod repository_image;
mod storage_image;

use std::io::Read;

use libcomposefs_store::Batch;

pub use archive_files::ArchiveFiles;
pub use bundle::BundleSource;
pub use directory_files::DirectoryFiles;
pub use docker_archive::DockerArchive;
pub use oci_layout::OciLayout;
pub use repository_image::RepositorySource;
pub use storage_image::StorageImageSource;

use crate::layer::{ImportedLayer, LayerSink};
use crate::manifest::{BlobRef, Document, Manifest, ManifestError, Platform, for_platform};
use crate::zstd_chunked::RangeFetcher;
use crate::{BlobDigest, shown::shown};

/// Indexes that a reference may lead through.
const INDEX_DEPTH_MAX: usize = 4;
/// Most indexes that are read to find a manifest.
const INDEXES_MAX: usize = 16;

/// The reasons why a source cannot give something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The path of the file, in the source.
        path: String,
        /// The error of the kernel, or of the archive.
        source: std::io::Error,
    },
    /// The source has no image of this name.
    #[error("{0}")]
    NoImage(String),
    /// A layout has another version than the only one that is known, or its file `oci-layout` is malformed.
    #[error(
        "{layout}: the file oci-layout does not say imageLayoutVersion 1.0.0, the only version that can be read: copy \
         the image into a layout of that version (skopeo copy), or write the file again if it is damaged"
    )]
    LayoutVersion {
        /// The transport and path of the layout.
        layout: String,
    },
    /// A document is malformed.
    #[error("{what}: {error}")]
    Manifest {
        /// The document.
        what: String,
        /// The rule that it breaks.
        error: ManifestError,
    },
    /// The bytes have another digest than the one that names them.
    #[error("{what} has the digest {found}, but {expected} was asked for: its source is damaged or not to be trusted")]
    Digest {
        /// The document or blob.
        what: String,
        /// The expected digest.
        expected: BlobDigest,
        /// The digest of the bytes.
        found: BlobDigest,
    },
    /// A document has another size than the descriptor that names it says.
    #[error("{what} has {found} bytes, but its descriptor says {expected}: its source is damaged or not to be trusted")]
    Size {
        /// The document.
        what: String,
        /// The size of the descriptor.
        expected: u64,
        /// The size of the document.
        found: u64,
    },
    /// Another error, of a registry.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// A layer that a source imports in a way of its own.
#[derive(Clone, Copy)]
pub struct LayerRequest<'a> {
    /// The number of the layer, from 0.
    pub number: usize,
    /// The expected digest of its archive.
    pub diff_id: BlobDigest,
    /// Where the contents go.
    pub sink: &'a dyn LayerSink,
    /// The sink as a batch, which can clone files, if it is one.
    pub batch: Option<&'a Batch<'a>>,
    /// Largest size of the archive, in bytes.
    pub size_max: u64,
}

/// Fetches parts of a blob.
///
/// An error of the kind `InvalidData` means that the server cannot give these parts; the whole blob is read then. Any
/// other error ends the pull.
pub trait BlobParts: RangeFetcher {
    /// Returns a reader of the whole blob, from its beginning, if the server has begun to send it in place of parts:
    /// the fetch has failed then. The caller checks size and digest.
    fn take_whole(&mut self) -> Option<Box<dyn Read + Send>>;
}

/// What another repository, or a bundle, has kept of a blob.
pub enum GivenBlob<'s> {
    /// A record.
    Record(Vec<u8>),
    /// The blob.
    Whole(Box<dyn Read + Send + 's>),
}

/// A place that has manifests and blobs.
pub trait ImageSource: Sync {
    /// Returns the reference, for messages.
    fn describe(&self) -> String;

    /// Returns the bytes that the reference leads to, a manifest or an index, with the media type that the source says,
    /// and the digest that names it, if one does.
    ///
    /// # Errors
    ///
    /// If there is no such image, or it cannot be read.
    fn root(&self) -> Result<RootDocument, SourceError>;

    /// Returns the bytes of a manifest or index of an index.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError>;

    /// Opens a blob. The caller checks its size and digest.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError>;

    /// Opens a blob at an offset. The caller checks its size and digest. A source without a network has no use for it,
    /// and gives the bytes before the offset in vain.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    fn blob_from(&self, blob: &BlobRef, offset: u64) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        let mut reader = self.blob(blob)?;
        let path = || format!("blob {}", blob.digest);
        std::io::copy(&mut (&mut reader).take(offset), &mut std::io::sink())
            .map_err(|source| SourceError::Io { path: path(), source })?;
        Ok(reader)
    }

    /// Returns what the source has kept of a blob, beside a way of its own to import the layer. The caller compares it.
    /// `None` if nothing was kept.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    fn kept_blob(&self, _blob: &BlobRef) -> Result<Option<GivenBlob<'_>>, SourceError> {
        Ok(None)
    }

    /// Imports a layer in a way of the source's own, which does not read its blob. `None` if the source has no such
    /// way.
    fn import_layer(&self, _request: LayerRequest<'_>) -> Option<Result<ImportedLayer, SourceError>> {
        None
    }

    /// Returns a way to fetch parts of a blob; `None` if the source has no such way, or reading the whole blob costs
    /// no more.
    fn parts(&self, _blob: &BlobRef) -> Option<Box<dyn BlobParts + '_>> {
        None
    }

    /// Returns true if layers come over a network, so that finished layers are published at once: a pull that is
    /// repeated after it was cut does not fetch them again.
    fn is_remote(&self) -> bool {
        false
    }

    /// Returns true if the digests of the layers are those of blobs. They are not if the source stores only
    /// uncompressed archives.
    fn has_blobs(&self) -> bool {
        true
    }
}

/// The document that a reference leads to.
#[derive(Clone, Debug)]
pub struct RootDocument {
    /// The bytes.
    pub raw: Vec<u8>,
    /// The media type that the source says.
    pub media_type: Option<String>,
    /// The digest that names the document.
    pub digest: Option<BlobDigest>,
}

/// Finds the manifest that a reference leads to, for a platform, through indexes.
///
/// # Errors
///
/// If the source has no such image, or a document is malformed or has another digest than the one that names it.
pub fn find_manifest(source: &dyn ImageSource, platform: &Platform) -> Result<Manifest, SourceError> {
    let RootDocument { raw, media_type, digest } = source.root()?;
    let what = source.describe();
    if let Some(expected) = digest {
        check(&what, &raw, expected)?;
    }
    let document = Document::parse(raw, media_type.as_deref());
    let document = document.map_err(|error| SourceError::Manifest { what: what.clone(), error })?;
    Descent { source, platform, indexes_left: INDEXES_MAX }.manifest(what, document, 0)
}

/// The way through indexes to a manifest.
struct Descent<'s> {
    source: &'s dyn ImageSource,
    platform: &'s Platform,
    /// Number of indexes that may be read yet.
    indexes_left: usize,
}

impl Descent<'_> {
    /// Finds the manifest that a document leads to: by the platform, or in the indexes that it lists without one.
    fn manifest(&mut self, what: String, document: Document, depth: usize) -> Result<Manifest, SourceError> {
        let index = match document {
            Document::Manifest(manifest) => return Ok(*manifest),
            Document::Index(index) => index,
        };
        let too_many = |what: String| SourceError::NoImage(format!("{}: {what}", self.source.describe()));
        if depth == INDEX_DEPTH_MAX {
            return Err(too_many(format!("more than {INDEX_DEPTH_MAX} indexes lead to it")));
        }
        self.indexes_left = self
            .indexes_left
            .checked_sub(1)
            .ok_or_else(|| too_many(format!("it is not in the first {INDEXES_MAX} indexes")))?;
        let missing = match for_platform(&index.entries, self.platform) {
            Ok(entry) => return self.follow(&entry.blob, depth),
            Err(error) => SourceError::Manifest { what, error },
        };
        for nested in index.entries.iter().filter(|entry| entry.is_nested_index()) {
            match self.follow(&nested.blob, depth) {
                Err(SourceError::Manifest { error: ManifestError::NoPlatform { .. }, .. }) => {}
                found => return found,
            }
        }
        Err(missing)
    }

    fn follow(&mut self, blob: &BlobRef, depth: usize) -> Result<Manifest, SourceError> {
        let what = format!("manifest {}", blob.digest);
        let raw = self.source.manifest(blob)?;
        check(&what, &raw, blob.digest)?;
        check_size(&what, &raw, blob.size)?;
        let document = Document::parse(raw, Some(&blob.media_type));
        let document = document.map_err(|error| SourceError::Manifest { what: what.clone(), error })?;
        self.manifest(what, document, depth + 1)
    }
}

fn check(what: &str, raw: &[u8], expected: BlobDigest) -> Result<(), SourceError> {
    let found = BlobDigest::of(raw);
    if found == expected { Ok(()) } else { Err(SourceError::Digest { what: what.to_owned(), expected, found }) }
}

fn check_size(what: &str, raw: &[u8], expected: u64) -> Result<(), SourceError> {
    let found = raw.len() as u64;
    if found == expected { Ok(()) } else { Err(SourceError::Size { what: what.to_owned(), expected, found }) }
}

/// The files of a layout or archive.
pub trait SourceFiles: Sync {
    /// Opens a regular file by its path in the layout, and returns it with its size.
    ///
    /// # Errors
    ///
    /// `NotFound`, or another error of the kernel.
    fn open(&self, path: &str) -> std::io::Result<(Box<dyn Read + Send + '_>, u64)>;
}

/// Reads a whole file of at most `max` bytes.
fn read_file(files: &dyn SourceFiles, path: &str, max: u64) -> Result<Vec<u8>, SourceError> {
    let failed = |source| SourceError::Io { path: shown(path.as_bytes()), source };
    let (file, size) = files.open(path).map_err(failed)?;
    if size > max {
        return Err(failed(std::io::Error::other(format!("it has {size} bytes: at most {max} are read"))));
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
