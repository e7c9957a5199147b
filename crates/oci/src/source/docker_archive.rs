//! An archive of `docker save`: `manifest.json` names the configuration and the layers by their paths.

use std::collections::HashMap;
use std::io::Read;

use serde::Deserialize;
use serde_json::json;

use super::{ArchiveFiles, ImageSource, RootDocument, SourceError, SourceFiles, read_file};
use crate::BlobDigest;
use crate::full_names::full_names;
use crate::manifest::{BlobRef, DOCUMENT_MAX, ImageConfig, ManifestError};

/// An image in an archive of `docker save`.
#[derive(Debug)]
pub struct DockerArchive {
    files: ArchiveFiles,
    described: String,
    config: Vec<u8>,
    /// The paths of layers, by their diff IDs.
    layers: HashMap<BlobDigest, String>,
    manifest: Vec<u8>,
    name: Option<String>,
}

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl DockerArchive {
    /// Finds an image in an archive: by one of its names, by `@` and its number from 0, or the only one. The archive
    /// has no manifest in the form of a registry; one is made of uncompressed layers, as skopeo does.
    ///
    /// # Errors
    ///
    /// If the archive has no such image, or its configuration is malformed.
    pub fn new(files: ArchiveFiles, described: String, image: Option<&str>) -> Result<Self, SourceError> {
        let malformed = |error| SourceError::Manifest { what: format!("manifest.json of {described}"), error };
        let text = read_file(&files, "manifest.json", DOCUMENT_MAX)?;
        let saved: Vec<SavedImage> =
            serde_json::from_slice(&text).map_err(|error| malformed(ManifestError::Json("manifest.json", error)))?;
        let saved = choose(saved, &described, image)?;
        let name = match saved.repo_tags.as_deref() {
            Some([only]) => Some(only.clone()),
            _ => None,
        };
        let raw = read_file(&files, &saved.config, DOCUMENT_MAX)?;
        let config = ImageConfig::parse(raw).map_err(malformed)?;
        let (count, diff_ids) = (saved.layers.len(), config.diff_ids.len());
        if count != diff_ids {
            return Err(malformed(ManifestError::LayerCount { layers: count, diff_ids }));
        }
        let (mut layers, mut descriptors) = (HashMap::new(), Vec::new());
        for (diff_id, path) in config.diff_ids.iter().zip(saved.layers) {
            let failed = |source| SourceError::Io { path: path.clone(), source };
            let (_, size) = files.open(&path).map_err(failed)?;
            descriptors.push(json!({
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                "size": size,
                "digest": diff_id.to_string(),
            }));
            layers.insert(*diff_id, path);
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.raw.len(),
                "digest": config.digest.to_string(),
            },
            "layers": descriptors,
        });
        let manifest = manifest.to_string().into_bytes();
        Ok(Self { files, described, config: config.raw, layers, manifest, name })
    }

    /// Returns the name of the image in the archive, if it has exactly one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

fn choose(images: Vec<SavedImage>, described: &str, image: Option<&str>) -> Result<SavedImage, SourceError> {
    let tags: Vec<String> = images.iter().flat_map(|image| image.repo_tags.iter().flatten().cloned()).collect();
    let count = images.len();
    let no_image = |what: String| {
        let all = if tags.is_empty() { "it has no names".to_owned() } else { format!("it has {}", tags.join(", ")) };
        SourceError::NoImage(format!("{described}: {what}; {all}; @0 is the first image"))
    };
    let mut images = images.into_iter();
    let Some(image) = image else {
        return match (images.next(), count) {
            (Some(only), 1) => Ok(only),
            _ => Err(no_image(format!("the archive has {count} images, so that a name is needed after the path"))),
        };
    };
    let number = image.strip_prefix('@').and_then(|number| number.parse::<usize>().ok());
    let mut images: Vec<SavedImage> = images.collect();
    let place = match number {
        Some(number) => Some(number).filter(|number| *number < images.len()),
        // As skopeo does, which writes whole names.
        None => full_names(image)
            .iter()
            .find_map(|name| images.iter().position(|saved| saved.repo_tags.iter().flatten().any(|tag| tag == name))),
    };
    let found = place.map(|place| images.swap_remove(place));
    found.ok_or_else(|| no_image(format!("no image is called {image:?}")))
}

impl ImageSource for DockerArchive {
    fn describe(&self) -> String {
        self.described.clone()
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        Ok(RootDocument { raw: self.manifest.clone(), media_type: None, digest: None })
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::NoImage(format!("{}: no manifest {}", self.described, blob.digest)))
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        if BlobDigest::of(&self.config) == blob.digest {
            return Ok(Box::new(&self.config[..]));
        }
        let missing = || SourceError::NoImage(format!("{}: no layer {}", self.described, blob.digest));
        let path = self.layers.get(&blob.digest).ok_or_else(missing)?;
        let failed = |source| SourceError::Io { path: path.clone(), source };
        let (file, _) = self.files.open(path).map_err(failed)?;
        Ok(file)
    }

    fn has_blobs(&self) -> bool {
        false
    }
}
