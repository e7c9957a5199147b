//! Images that a repository has: their manifests, configurations and layers, read from their streams.

use std::collections::HashMap;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Repository, RepositoryError, StreamName, StreamTag};
use libcomposefs_store::ObjectError;

use crate::blob_record::BlobRecordError;
use crate::layer::{LayerReadError, check_stream};
use crate::manifest::{DOCUMENT_MAX, Document, ImageConfig, Manifest, ManifestError};
use crate::stream::{NamedRef, StreamChunk, StreamError, StreamKind, StreamReader};
use crate::{BlobDigest, BlobHasher};

/// Largest size of the file of a stream, in bytes: the headers of some million entries.
pub const STREAM_MAX: u64 = 1 << 30;
/// Name of the reference from a configuration to its image in the older layout.
pub const IMAGE_REF: &str = "composefs.image";
/// Name of the reference from a configuration to its image of version 1.
pub const IMAGE_REF_V1: &str = "composefs.image.v1";
/// Name of the reference from a configuration to its bootable image in the older layout.
pub const BOOT_IMAGE_REF: &str = "composefs.image.boot";
/// Name of the reference from a configuration to its bootable image of version 1.
pub const BOOT_IMAGE_REF_V1: &str = "composefs.image.boot.v1";

/// The reasons why an image of a repository cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// The repository has no such image.
    #[error("no OCI image is called {name:?} in {repository}; `composefs oci images` lists them")]
    NoImage {
        /// The name.
        name: String,
        /// The path of the repository.
        repository: String,
    },
    /// The repository has no OCI image, or several.
    #[error("{0} has no OCI image, or several: a name is needed after the path; `composefs oci images` lists them")]
    NeedsName(String),
    /// A stream is missing.
    #[error("the repository has no stream {0}; pull the image again")]
    NoStream(StreamName),
    /// A stream cannot be read.
    #[error("stream {name}: {error}; pull the image again")]
    Stream {
        /// The name of the stream.
        name: StreamName,
        /// The reason.
        error: StreamError,
    },
    /// The content of a stream is not what its name says.
    #[error("stream {name}: its content has the digest {found}; pull the image again")]
    Content {
        /// The name of the stream.
        name: StreamName,
        /// The digest of the content.
        found: BlobDigest,
    },
    /// The archive of a layer breaks a rule.
    #[error("stream {name}: {error}; pull the image again")]
    Layer {
        /// The name of the stream.
        name: StreamName,
        /// The rule.
        error: Box<LayerReadError>,
    },
    /// A document is malformed.
    #[error("stream {name}: {error}")]
    Manifest {
        /// The name of the stream.
        name: StreamName,
        /// The rule that it breaks.
        error: ManifestError,
    },
    /// The record of a blob is damaged.
    #[error("stream {name}: {error}")]
    Record {
        /// The name of the stream.
        name: StreamName,
        /// The damage.
        error: Box<BlobRecordError>,
    },
    /// An object is missing.
    #[error("the repository has no object {0}; pull the image again")]
    NoObject(Digest),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// An object cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The content cannot be written.
    #[error("cannot write the content: {0}")]
    Output(std::io::Error),
}

/// Returns the name of a stream of an image.
///
/// # Panics
///
/// Never: the names are of digits and letters.
#[must_use]
pub fn stream_name(kind: StreamKind) -> StreamName {
    kind.to_string().parse().expect("the name of a stream of an image is valid")
}

/// Returns the stream of the manifest that a name leads to: the manifest with this digest, if the repository has it,
/// otherwise the manifest with this tag. So a digest never leads to another image, also where another program has
/// written a tag that looks like one.
///
/// # Errors
///
/// If the repository cannot be read.
pub fn image_stream(repository: &Repository, name: &StreamTag) -> Result<Option<StreamName>, RepositoryError> {
    if let Ok(digest) = name.as_str().parse() {
        let stream = stream_name(StreamKind::Manifest(digest));
        if repository.stream(&stream)?.is_some() {
            return Ok(Some(stream));
        }
    }
    repository.resolve_stream_tag(name)
}

/// An image of a repository.
#[derive(Debug)]
pub struct StoredImage {
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// The composefs images, by the names of their references.
    pub images: Vec<NamedRef>,
}

impl StoredImage {
    /// Reads an image by its tag.
    ///
    /// # Errors
    ///
    /// If there is no such image, or one of its streams is missing or damaged.
    pub fn by_tag(repository: &Repository, tag: &StreamTag) -> Result<Self, StoredError> {
        let name = repository.resolve_stream_tag(tag)?.ok_or_else(|| StoredError::NoImage {
            name: tag.to_string(),
            repository: repository.path().display().to_string(),
        })?;
        Self::by_stream(repository, &name)
    }

    /// Reads an image by its name: a tag, or the digest of its manifest. [`image_stream`] has the rule.
    ///
    /// # Errors
    ///
    /// If there is no such image, or one of its streams is missing or damaged.
    pub fn by_name(repository: &Repository, name: &StreamTag) -> Result<Self, StoredError> {
        match image_stream(repository, name)? {
            Some(stream) => Self::by_stream(repository, &stream),
            None => Self::by_tag(repository, name),
        }
    }

    /// Reads an image by the digest of its manifest.
    ///
    /// # Errors
    ///
    /// If there is no such image, or one of its streams is missing or damaged.
    pub fn by_digest(repository: &Repository, digest: &BlobDigest) -> Result<Self, StoredError> {
        Self::by_stream(repository, &stream_name(StreamKind::Manifest(*digest)))
    }

    pub(crate) fn by_stream(repository: &Repository, name: &StreamName) -> Result<Self, StoredError> {
        let malformed = |name: &StreamName| {
            let name = name.clone();
            move |error| StoredError::Manifest { name, error }
        };
        let (raw, refs) = read_document(repository, name)?;
        let document = Document::parse(raw, None).map_err(malformed(name))?;
        let Document::Manifest(manifest) = document else {
            return Err(malformed(name)(ManifestError::NoImage("an index".into())));
        };
        let config_name = stream_name(StreamKind::Config(manifest.config.digest));
        let reference = format!("config:{}", manifest.config.digest);
        let digest = refs.into_iter().find(|named| named.name == reference).map(|named| named.digest);
        let digest = digest.ok_or_else(|| StoredError::NoStream(config_name.clone()))?;
        let (raw, refs) = read_document_at(repository, &config_name, &digest)?;
        let config = manifest.parse_config(raw).map_err(malformed(&config_name))?;
        let images = refs.into_iter().filter(|named| named.name.starts_with(IMAGE_REF)).collect();
        Ok(Self { manifest: *manifest, config, images })
    }

    /// Returns the composefs image of the whole file system: of version 1, or else of the older layout.
    #[must_use]
    pub fn image(&self) -> Option<Digest> {
        self.named(IMAGE_REF_V1).or_else(|| self.named(IMAGE_REF))
    }

    /// Returns the bootable image: of version 1, or else of the older layout.
    #[must_use]
    pub fn boot_image(&self) -> Option<Digest> {
        self.named(BOOT_IMAGE_REF_V1).or_else(|| self.named(BOOT_IMAGE_REF))
    }

    fn named(&self, name: &str) -> Option<Digest> {
        self.images.iter().find(|image| image.name == name).map(|image| image.digest)
    }
}

/// Returns the composefs images that a stream of a configuration refers to; none if the stream cannot be read.
pub(crate) fn image_refs(
    repository: &Repository,
    config: &BlobDigest,
    stream: &Digest,
) -> Result<Vec<NamedRef>, RepositoryError> {
    let name = stream_name(StreamKind::Config(*config));
    match read_document_at(repository, &name, stream) {
        Ok((_, refs)) => Ok(refs.into_iter().filter(|named| named.name.starts_with(IMAGE_REF)).collect()),
        Err(StoredError::Repository(error @ RepositoryError::Io { .. })) => Err(error),
        // It is written anew.
        Err(_) => Ok(Vec::new()),
    }
}

/// Reads a stream whose content is a document, and compares the digest in its name.
fn read_document(repository: &Repository, name: &StreamName) -> Result<(Vec<u8>, Vec<NamedRef>), StoredError> {
    let digest = repository.stream(name)?.ok_or_else(|| StoredError::NoStream(name.clone()))?;
    read_document_at(repository, name, &digest)
}

fn read_document_at(
    repository: &Repository,
    name: &StreamName,
    digest: &Digest,
) -> Result<(Vec<u8>, Vec<NamedRef>), StoredError> {
    let file = repository.read_object(digest, STREAM_MAX)?;
    let damaged = |error| StoredError::Stream { name: name.clone(), error };
    let mut stream = StreamReader::new(&file, repository.algorithm()).map_err(damaged)?;
    if stream.size() > DOCUMENT_MAX {
        return Err(damaged(StreamError::Damaged("its content is too large for a document")));
    }
    let mut content = Vec::new();
    read_content(repository, &mut stream, name, |piece| {
        content.extend_from_slice(piece);
        Ok(())
    })?;
    let found = BlobDigest::of(&content);
    if StreamKind::from_name(name.as_str()).is_some_and(|kind| *kind.digest() != found) {
        return Err(StoredError::Content { name: name.clone(), found });
    }
    let refs = stream.refs().to_vec();
    Ok((content, refs))
}

/// Passes the content of a stream to `take`, piece by piece. Objects are compared with their digests before.
///
/// # Errors
///
/// If the stream or an object is damaged, or `take` fails.
pub fn read_content(
    repository: &Repository,
    stream: &mut StreamReader<'_>,
    name: &StreamName,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), StoredError> {
    let damaged = |error| StoredError::Stream { name: name.clone(), error };
    let (mut total, mut buffer) = (0u64, vec![0; 64 << 10]);
    while let Some(chunk) = stream.next().map_err(damaged)? {
        match chunk {
            StreamChunk::Inline(len) => {
                total = total.saturating_add(len);
                loop {
                    match stream.read_inline(&mut buffer).map_err(damaged)? {
                        0 => break,
                        read => take(&buffer[..read]).map_err(StoredError::Output)?,
                    }
                }
            }
            StreamChunk::Object(digest) => {
                let object = repository.object(&digest)?;
                total = total.saturating_add(object.size());
                if total > stream.size() {
                    break;
                }
                object.copy_verified(&digest, |piece| take(piece).map_err(StoredError::Output))?;
            }
        }
    }
    if total != stream.size() {
        return Err(damaged(StreamError::Damaged("its content has another size than it says")));
    }
    Ok(())
}

/// Reads the whole content of a layer, compares its diff ID, and checks that the chunks of the stream are where the
/// archive has contents. Returns the file of its stream.
///
/// # Errors
///
/// If the stream or an object is damaged, or the content has another digest.
pub fn verify_layer(repository: &Repository, digest: &Digest, diff_id: &BlobDigest) -> Result<Vec<u8>, StoredError> {
    let name = stream_name(StreamKind::Layer(*diff_id));
    let algorithm = repository.algorithm();
    let file = repository.read_object(digest, STREAM_MAX)?;
    let mut hasher = BlobHasher::default();
    let damaged = |error| StoredError::Stream { name: name.clone(), error };
    let mut stream = StreamReader::new(&file, algorithm).map_err(damaged)?;
    read_content(repository, &mut stream, &name, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    let found = hasher.finish();
    if found != *diff_id {
        return Err(StoredError::Content { name, found });
    }
    let mut sizes = HashMap::new();
    for object in stream.objects() {
        sizes.insert(*object, repository.object(object)?.size());
    }
    drop(stream);
    check_stream(&file, algorithm, &sizes).map_err(|error| match error {
        LayerReadError::Stream(error) => damaged(error),
        error => StoredError::Layer { name: name.clone(), error: Box::new(error) },
    })?;
    Ok(file)
}
