//! An archive as `docker save` writes it: `manifest.json`, the configuration and uncompressed layers.

use std::path::Path;

use serde_json::json;

use super::new_archive::NewArchive;
use super::{BlobContent, BlobOutcome, BlobPlace, DestinationError, ImageDestination, LayerForm, check_name};
use crate::BlobDigest;
use crate::manifest::{ImageConfig, Manifest};

/// A new archive with one image, for `docker load` and `podman load`.
#[derive(Debug)]
pub struct DockerArchiveFile {
    name: Option<String>,
    archive: NewArchive,
}

impl DockerArchiveFile {
    /// Begins an archive, which has no name until it is complete. `replaces` allows it to replace a file. A name
    /// without a tag gets the tag `latest`, as programs expect one.
    ///
    /// # Errors
    ///
    /// If the file exists or cannot be made, or the name of the image is not valid.
    pub fn create(path: &Path, name: Option<&str>, replaces: bool) -> Result<Self, DestinationError> {
        let name = name.map(tagged).transpose()?;
        Ok(Self { name, archive: NewArchive::create("docker-archive", path, replaces)? })
    }
}

fn tagged(name: &str) -> Result<String, DestinationError> {
    check_name(name)?;
    if name.contains(['@', '+']) {
        let reason = "an archive of docker has names with tags, NAME:TAG";
        return Err(DestinationError::Name { name: name.to_owned(), reason });
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok(if last.contains(':') { name.to_owned() } else { format!("{name}:latest") })
}

fn layer_path(diff_id: &BlobDigest) -> String {
    format!("{}.tar", diff_id.hex())
}

impl ImageDestination for DockerArchiveFile {
    fn describe(&self) -> String {
        self.archive.describe().to_owned()
    }

    fn layer_form(&self) -> LayerForm {
        LayerForm::Archives
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
        self.archive.put(&layer_path(digest), digest, size, content)
    }

    fn publish(&self, _: &Manifest, config: &ImageConfig) -> Result<(), DestinationError> {
        let mut archive = self.archive.take()?;
        let config_path = format!("{}.json", config.digest.hex());
        archive.append_bytes(&config_path, &config.raw)?;
        let layers: Vec<String> = config.diff_ids.iter().map(layer_path).collect();
        let names: Option<Vec<&str>> = self.name.as_deref().map(|name| vec![name]);
        let list = json!([{ "Config": config_path, "RepoTags": names, "Layers": layers }]);
        archive.append_bytes("manifest.json", list.to_string().as_bytes())?;
        archive.publish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_a_tag() {
        for (name, expected) in [("app", "app:latest"), ("host:5000/app", "host:5000/app:latest"), ("a/b:1", "a/b:1")] {
            assert_eq!(tagged(name).unwrap(), expected);
        }
        for name in ["", "a b", "app@sha256:00", "a\nb"] {
            assert!(tagged(name).is_err(), "{name}");
        }
    }
}
