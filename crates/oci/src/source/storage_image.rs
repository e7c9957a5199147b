//! An image in the store of podman, buildah or CRI-O.

use std::io::Read;

use super::{ImageSource, LayerRequest, RootDocument, SourceError};
use crate::BlobDigest;
use crate::containers_storage::{ContainersStorage, ImageBlobs, StorageError, StorageLayer, import_storage_layer};
use crate::layer::ImportedLayer;
use crate::manifest::BlobRef;
use crate::tar::Limits;
use crate::tar_split::{OriginSink, Origins};

/// An image in an open store.
#[derive(Debug)]
pub struct StorageImageSource {
    storage: ContainersStorage,
    described: String,
    blobs: ImageBlobs,
    layers: Vec<StorageLayer>,
    digest: Option<BlobDigest>,
}

impl StorageImageSource {
    /// Finds an image by its name, ID or digest.
    ///
    /// # Errors
    ///
    /// If there is no such image, or its data in the store is damaged.
    pub fn new(storage: ContainersStorage, name: &str) -> Result<Self, StorageError> {
        let image = storage.find(name)?;
        let blobs = storage.blobs(image)?;
        let layers = storage.layers(image)?.into_iter().cloned().collect();
        let digest = image.digest.parse().ok();
        let described = format!("containers-storage:{name}");
        Ok(Self { described, blobs, layers, digest, storage })
    }
}

impl ImageSource for StorageImageSource {
    fn describe(&self) -> String {
        self.described.clone()
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        Ok(RootDocument { raw: self.blobs.manifest.clone(), media_type: None, digest: self.digest })
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::NoImage(format!("{}: the store has no manifest {}", self.described, blob.digest)))
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        if BlobDigest::of(&self.blobs.config) == blob.digest {
            return Ok(Box::new(&self.blobs.config[..]));
        }
        Err(SourceError::NoImage(format!("{}: the store does not keep the blob {}", self.described, blob.digest)))
    }

    fn has_blobs(&self) -> bool {
        false
    }

    fn import_layer(&self, request: LayerRequest<'_>) -> Option<Result<ImportedLayer, SourceError>> {
        let LayerRequest { number, diff_id, sink, batch, size_max } = request;
        let Some(layer) = self.layers.get(number) else {
            let count = self.layers.len();
            return Some(Err(SourceError::NoImage(format!("{}: the store has only {count} layers", self.described))));
        };
        let origins = batch.map(Origins::stored_in).unwrap_or_default();
        let sink = OriginSink::new(sink, &origins);
        let imported =
            import_storage_layer(&self.storage, layer, diff_id, &sink, &origins, Limits::default(), size_max);
        Some(imported.map_err(|error| SourceError::Other(Box::new(error))))
    }
}
