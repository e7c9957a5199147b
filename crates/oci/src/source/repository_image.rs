//! An image of another composefs repository. Nothing of that repository is trusted: its documents are compared with
//! their digests, and the archives of its layers are read like those of any source.

use std::io::Read;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Lease, Repository, StreamName, StreamTag};

use super::{GivenBlob, ImageSource, LayerRequest, RootDocument, SourceError};
use crate::BlobDigest;
use crate::blob::{BlobKind, KeptBlob, LayerArchive, blob_kind, open_object};
use crate::blob_record::RECORD_MAX;
use crate::layer::{ImportedLayer, import_layer};
use crate::manifest::BlobRef;
use crate::stored::{StoredError, StoredImage, stream_name};
use crate::stored_layer_images::stored_layer_images;
use crate::stream::StreamKind;
use crate::tar::Limits;
use crate::tar_split::{OriginSink, Origins};

/// An image of an open repository.
#[derive(Debug)]
pub struct RepositorySource {
    repository: Repository,
    /// The tag, or `@` and the digest of the manifest.
    name: String,
    image: StoredImage,
    /// Keeps a gc from removing the image; `None` if this user cannot write to the repository.
    _lease: Option<Lease>,
}

impl RepositorySource {
    /// Finds an image by its tag, or by `@` and the digest of its manifest; without a name, the only one.
    ///
    /// # Errors
    ///
    /// If there is no such image, or its manifest or configuration is missing or damaged.
    pub fn open(repository: Repository, image: Option<&str>) -> Result<Self, StoredError> {
        let path = repository.path().display().to_string();
        let no_image = |name: &str| StoredError::NoImage { name: name.to_owned(), repository: path.clone() };
        let name = match image {
            Some(image) => image.to_owned(),
            None => match repository.stream_tags()?.as_slice() {
                [(only, _)] => only.to_string(),
                _ => return Err(StoredError::NeedsName(path)),
            },
        };
        let stream = || -> Result<StreamName, StoredError> {
            if let Some(digest) = name.strip_prefix('@') {
                let digest: BlobDigest = digest.parse().map_err(|_| no_image(&name))?;
                let manifest = stream_name(StreamKind::Manifest(digest));
                return repository.stream(&manifest)?.map(|_| manifest).ok_or_else(|| no_image(&name));
            }
            let tag: StreamTag = name.parse().map_err(|_| no_image(&name))?;
            repository.resolve_stream_tag(&tag)?.ok_or_else(|| no_image(&name))
        };
        let lease = repository.lease().ok();
        if let (Some(lease), Some(manifest)) = (&lease, repository.stream(&stream()?)?) {
            lease.protect(&[manifest]).map_err(libcomposefs_repo::RepositoryError::from)?;
        }
        let image = StoredImage::by_stream(&repository, &stream()?)?;
        Ok(Self { repository, name, image, _lease: lease })
    }

    /// Returns the tag, if the image was found by one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| !name.starts_with('@'))
    }

    /// Returns the image as the other repository has it.
    #[must_use]
    pub fn image(&self) -> &StoredImage {
        &self.image
    }

    /// Returns whether the other repository has images of the single layers.
    #[must_use]
    pub fn has_layer_images(&self) -> bool {
        matches!(stored_layer_images(&self.repository, &self.image), Ok(Some(_)))
    }

    /// Returns whether the other repository has kept something of a blob of the image that `here` cannot give.
    ///
    /// # Errors
    ///
    /// If a repository cannot be read.
    pub fn has_blobs_missing_in(&self, here: &Repository) -> Result<bool, StoredError> {
        for (blob, diff_id) in self.image.manifest.layers.iter().zip(&self.image.config.diff_ids) {
            if KeptBlob::find(&self.repository, &blob.digest)?.is_some()
                // What cannot be read here is written anew.
                && matches!(blob_kind(here, blob, diff_id), Ok(BlobKind::None) | Err(StoredError::Stream { .. }))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn import(&self, request: LayerRequest<'_>) -> Result<ImportedLayer, SourceError> {
        let failed = |error: StoredError| SourceError::Other(Box::new(error));
        let name = stream_name(StreamKind::Layer(request.diff_id));
        let digest = self.repository.stream(&name).map_err(|error| failed(error.into()))?;
        let digest = digest.ok_or_else(|| failed(StoredError::NoStream(name.clone())))?;
        import_stream(&self.repository, (name, digest), request).map_err(failed)
    }
}

/// Imports the archive of a layer from the object of its stream. Contents of its objects are shared where the file
/// system can.
pub(super) fn import_stream(
    repository: &Repository,
    (name, digest): (StreamName, Digest),
    LayerRequest { diff_id, sink, batch, size_max, .. }: LayerRequest<'_>,
) -> Result<ImportedLayer, StoredError> {
    let origins = batch.map(Origins::stored_in).unwrap_or_default();
    let sink = OriginSink::new(sink, &origins);
    // Nothing is compared here: the importer computes the digests of the archive and of each object that it stores.
    let mut archive = LayerArchive::of_stream(repository, &diff_id, &digest)?.with_origins(&origins);
    import_layer(&mut archive, &sink, Limits::default(), size_max)
        .map_err(|error| StoredError::Layer { name, error: Box::new(error) })
}

/// Opens what a repository has kept of a blob.
pub(super) fn given_blob(repository: &Repository, kept: KeptBlob) -> Result<GivenBlob<'_>, StoredError> {
    Ok(match kept {
        KeptBlob::Record { object, .. } => GivenBlob::Record(repository.read_object(&object, RECORD_MAX)?),
        KeptBlob::Whole { object, .. } => GivenBlob::Whole(Box::new(open_object(repository, &object)?)),
    })
}

impl ImageSource for RepositorySource {
    fn describe(&self) -> String {
        let colon = if self.name.starts_with('@') { "" } else { ":" };
        format!("repo:{}{colon}{}", self.repository.path().display(), self.name)
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        let manifest = &self.image.manifest;
        let media_type = Some(manifest.media_type.clone());
        Ok(RootDocument { raw: manifest.raw.clone(), media_type, digest: Some(manifest.digest) })
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::NoImage(format!("{}: the repository has no manifest {}", self.describe(), blob.digest)))
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        if self.image.config.digest == blob.digest {
            return Ok(Box::new(&self.image.config.raw[..]));
        }
        Err(SourceError::NoImage(format!("{}: the repository does not keep the blob {}", self.describe(), blob.digest)))
    }

    fn has_blobs(&self) -> bool {
        false
    }

    fn kept_blob(&self, blob: &BlobRef) -> Result<Option<GivenBlob<'_>>, SourceError> {
        let failed = |error: StoredError| SourceError::Other(Box::new(error));
        let kept = KeptBlob::find(&self.repository, &blob.digest).map_err(failed)?;
        kept.map(|kept| given_blob(&self.repository, kept)).transpose().map_err(failed)
    }

    fn import_layer(&self, request: LayerRequest<'_>) -> Option<Result<ImportedLayer, SourceError>> {
        Some(self.import(request))
    }
}
