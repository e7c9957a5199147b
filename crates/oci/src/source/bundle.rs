//! An OCI image of a bundle whose objects are in the repository. Nothing of it is trusted: its documents are compared
//! with their digests, and the archives of its layers are read like those of any source.

use std::collections::BTreeMap;
use std::io::Read;

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use super::repository_image::{given_blob, import_stream};
use super::{GivenBlob, ImageSource, LayerRequest, RootDocument, SourceError};
use crate::BlobDigest;
use crate::blob::KeptBlob;
use crate::bundle_document::ParsedBundledImage;
use crate::layer::ImportedLayer;
use crate::manifest::{BlobRef, DOCUMENT_MAX};
use crate::stored::{StoredError, stream_name};
use crate::stream::StreamKind;

/// An image of a bundle.
#[derive(Debug)]
pub struct BundleSource<'r> {
    repository: &'r Repository,
    manifest: Vec<u8>,
    config: Vec<u8>,
    layers: BTreeMap<BlobDigest, Digest>,
    blobs: BTreeMap<BlobDigest, Digest>,
    per_layer: bool,
    bootable: bool,
}

impl<'r> BundleSource<'r> {
    /// Reads the description of an image. Its objects must be in the repository, and protected from gc.
    ///
    /// # Errors
    ///
    /// If the description is malformed, or the manifest or the configuration is missing.
    pub fn new(repository: &'r Repository, text: &[u8]) -> Result<Self, SourceError> {
        let malformed = |what: &str| SourceError::NoImage(format!("the bundle describes an OCI image wrongly: {what}"));
        let image = ParsedBundledImage::parse(text).map_err(|error| malformed(&error))?;
        let read = |digest: &Digest| -> Result<Vec<u8>, SourceError> {
            let text = repository.read_object(digest, DOCUMENT_MAX);
            text.map_err(|error| SourceError::Other(Box::new(error)))
        };
        let (manifest, config) = (read(&image.manifest)?, read(&image.config)?);
        let ParsedBundledImage { layers, blobs, per_layer, bootable, .. } = image;
        Ok(Self { repository, manifest, config, layers, blobs, per_layer, bootable })
    }

    /// Returns whether the image has had images of its single layers where it came from.
    #[must_use]
    pub fn has_layer_images(&self) -> bool {
        self.per_layer
    }

    /// Returns whether the image has had a bootable image where it came from.
    #[must_use]
    pub fn has_boot_image(&self) -> bool {
        self.bootable
    }

    fn missing(&self, what: &str, digest: &BlobDigest) -> SourceError {
        SourceError::NoImage(format!("the bundle has no {what} {digest}: it is incomplete, or not to be trusted"))
    }
}

impl ImageSource for BundleSource<'_> {
    fn describe(&self) -> String {
        "the bundle".to_owned()
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        Ok(RootDocument { raw: self.manifest.clone(), media_type: None, digest: None })
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        Err(self.missing("manifest", &blob.digest))
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        if BlobDigest::of(&self.config) == blob.digest {
            return Ok(Box::new(&self.config[..]));
        }
        Err(self.missing("blob", &blob.digest))
    }

    fn has_blobs(&self) -> bool {
        false
    }

    fn kept_blob(&self, blob: &BlobRef) -> Result<Option<GivenBlob<'_>>, SourceError> {
        let Some(stream) = self.blobs.get(&blob.digest) else { return Ok(None) };
        let kept = KeptBlob::of_stream(self.repository, &blob.digest, stream);
        let given = kept.and_then(|kept| given_blob(self.repository, kept));
        given.map(Some).map_err(|error| SourceError::Other(Box::new(error)))
    }

    fn import_layer(&self, request: LayerRequest<'_>) -> Option<Result<ImportedLayer, SourceError>> {
        let Some(stream) = self.layers.get(&request.diff_id) else {
            return Some(Err(self.missing("layer", &request.diff_id)));
        };
        let named = (stream_name(StreamKind::Layer(request.diff_id)), *stream);
        let imported = import_stream(self.repository, named, request);
        Some(imported.map_err(|error: StoredError| SourceError::Other(Box::new(error))))
    }
}
