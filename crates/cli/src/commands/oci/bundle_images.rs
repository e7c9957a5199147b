//! OCI images of bundles, for `composefs export` and `composefs import`.

use anyhow::Context as _;
use libcomposefs_image::Digest;
use libcomposefs_oci::pull::{AnnotationRule, PullOptions, PulledImage, pull};
use libcomposefs_oci::source::BundleSource;
use libcomposefs_oci::stored::stream_name;
use libcomposefs_oci::stream::StreamKind;
use libcomposefs_repo::{Reader, Repository, StreamTag};
use serde_json::{Value, json};

use super::bootable::boot_tree;
use super::progress::LayerBars;
use super::warnings;

/// An OCI image of a bundle that is in the repository, and has no name yet.
pub(crate) struct UnnamedImage {
    pulled: PulledImage,
}

impl UnnamedImage {
    /// Imports an image whose objects are in the repository: all digests are compared, and the composefs images are
    /// made again. `reader` protects it from gc.
    pub(crate) fn import(repository: &Repository, reader: &Reader<'_>, description: &[u8]) -> anyhow::Result<Self> {
        let source = BundleSource::new(repository, description)?;
        let mut options = PullOptions::default();
        options.per_layer = source.has_layer_images();
        // The repository that the bundle was exported from had the image, so it was accepted there.
        options.annotations = AnnotationRule::Warn;
        options.bootable = source.has_boot_image().then_some(boot_tree);
        let bars = LayerBars::default();
        let pulled = pull(repository, &source, &options, &bars)?;
        drop(bars);
        warnings::tell(&pulled.warnings);
        if let Some(stream) = repository.stream(&stream_name(StreamKind::Manifest(pulled.manifest)))? {
            reader.protect(&[stream])?;
        }
        Ok(Self { pulled })
    }

    /// Gives the image its names.
    pub(crate) fn tag(&self, repository: &Repository, names: &[StreamTag]) -> anyhow::Result<()> {
        let stream = stream_name(StreamKind::Manifest(self.pulled.manifest));
        for name in names {
            let is_tagged = repository.tag_stream(&stream, name)?;
            is_tagged.then_some(()).with_context(|| {
                format!("a gc has removed the OCI image {name} before it had a name: import the bundle again")
            })?;
        }
        Ok(())
    }

    /// Returns the digest of the composefs image.
    pub(crate) fn digest(&self) -> Digest {
        self.pulled.image
    }

    /// Returns the digests of the composefs images: of the whole file system, and the bootable one.
    pub(crate) fn images(&self) -> impl Iterator<Item = Digest> {
        std::iter::once(self.pulled.image).chain(self.pulled.boot_image)
    }

    /// Returns the digest of the manifest.
    pub(crate) fn manifest(&self) -> String {
        self.pulled.manifest.to_string()
    }

    pub(crate) fn json(&self, names: &[StreamTag]) -> Value {
        json!({
            "manifest": self.manifest(),
            "image": self.pulled.image.to_hex(),
            "boot_image": self.pulled.boot_image.map(|image| image.to_hex()),
            "names": names.iter().map(StreamTag::as_str).collect::<Vec<_>>(),
        })
    }
}
