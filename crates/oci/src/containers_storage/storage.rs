//! Finding images and their layers, in one store or in several that share layers.

use std::path::Path;

use super::big_data::file_name;
use super::files::read_file;
use super::root::StorageRoot;
use super::{StorageError, StorageImage, StorageLayer};
use crate::BlobDigest;

/// Largest number of layers of an image.
const DEPTH_MAX: usize = 1000;
/// Largest size of a manifest or configuration, in bytes.
const BLOB_MAX: u64 = 4 << 20;

/// An open store. Its locks are held until it is dropped: podman can read, and waits before it writes.
#[derive(Debug)]
pub struct ContainersStorage {
    pub(super) roots: Vec<StorageRoot>,
}

/// The manifest and configuration of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBlobs {
    /// The bytes of the manifest. Its digest is that of the image, but the layers that it names are not kept.
    pub manifest: Vec<u8>,
    /// The bytes of the configuration, whose digest is the ID of the image.
    pub config: Vec<u8>,
}

impl ContainersStorage {
    /// Opens stores by their graph roots. The first is searched first; the others are what podman calls additional
    /// image stores. A process must not open a store twice at a time: closing one would drop the locks of the other.
    ///
    /// `wait` is called while another process writes; false ends the waiting.
    ///
    /// # Errors
    ///
    /// If a directory is no store of the driver overlay, or its lists cannot be read.
    pub fn open(roots: &[&Path], mut wait: impl FnMut() -> bool) -> Result<Self, StorageError> {
        let roots = roots.iter().map(|root| StorageRoot::open(root, &mut wait)).collect::<Result<_, _>>()?;
        Ok(Self { roots })
    }

    /// Returns all images.
    pub fn images(&self) -> impl Iterator<Item = &StorageImage> {
        self.roots.iter().flat_map(|root| &root.images)
    }

    /// Finds an image by its name, its ID or the beginning of it, or the digest of its manifest. A name without tag has
    /// the tag `latest`, one without host is one of `localhost` or else `docker.io`, as for podman.
    ///
    /// # Errors
    ///
    /// If there is no such image, or several have IDs that begin so.
    pub fn find(&self, name: &str) -> Result<&StorageImage, StorageError> {
        for name in crate::full_names::full_names(name) {
            if let Some(image) = self.images().find(|image| image.names.contains(&name)) {
                return Ok(image);
            }
        }
        if let Some(image) = self.images().find(|image| image.id == name || image.digest == name) {
            return Ok(image);
        }
        let id = name.strip_prefix("sha256:").unwrap_or(name);
        if id.len() < 3 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StorageError::NoImage(name.to_owned()));
        }
        let mut found = self.images().filter(|image| image.id.starts_with(id));
        let image = found.next().ok_or_else(|| StorageError::NoImage(name.to_owned()))?;
        // The same image in two stores is one.
        if found.any(|other| other.id != image.id) {
            return Err(StorageError::Ambiguous(name.to_owned()));
        }
        Ok(image)
    }

    /// Reads the manifest and the configuration of an image, and compares them with their digests.
    ///
    /// # Errors
    ///
    /// If they are missing or were changed.
    pub fn blobs(&self, image: &StorageImage) -> Result<ImageBlobs, StorageError> {
        let wrong = |problem: &str| StorageError::Image { image: image.id.clone(), problem: problem.to_owned() };
        let Ok(digest) = image.digest.parse::<BlobDigest>() else {
            return Err(wrong("the store has no SHA-256 of its manifest"));
        };
        let manifest = match self.big_data(image, &format!("manifest-{digest}"))? {
            Some(manifest) => manifest,
            None => self.big_data(image, "manifest")?.ok_or_else(|| wrong("it has no manifest"))?,
        };
        if BlobDigest::of(&manifest) != digest {
            return Err(wrong("its manifest was changed"));
        }
        let config = self.big_data(image, &format!("sha256:{}", image.id))?;
        let config = config.ok_or_else(|| wrong("it has no configuration"))?;
        if BlobDigest::of(&config).hex() != image.id {
            return Err(wrong("its configuration was changed"));
        }
        Ok(ImageBlobs { manifest, config })
    }

    /// Returns the layers of an image, the lowest first.
    ///
    /// # Errors
    ///
    /// If a layer is missing, or the layers form a circle.
    pub fn layers(&self, image: &StorageImage) -> Result<Vec<&StorageLayer>, StorageError> {
        let mut layers = Vec::new();
        let mut id = &image.layer;
        while !id.is_empty() {
            let wrong = |problem| StorageError::Chain { image: image.id.clone(), layer: id.clone(), problem };
            let layer = self.roots.iter().find_map(|root| root.layers.get(id)).ok_or_else(|| wrong("is missing"))?;
            if layers.len() == DEPTH_MAX {
                return Err(wrong("has more than 1000 layers below it"));
            }
            layers.push(layer);
            id = &layer.parent;
        }
        layers.reverse();
        Ok(layers)
    }

    fn big_data(&self, image: &StorageImage, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let name = format!("overlay-images/{}/{}", image.id, file_name(key));
        for root in &self.roots {
            if root.images.iter().any(|other| other.id == image.id)
                && let Some(bytes) = read_file(&root.directory, &root.path, &name, BLOB_MAX)?
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
