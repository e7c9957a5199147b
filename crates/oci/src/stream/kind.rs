//! The kinds of streams that OCI images have, and their names below `streams/`.

use std::fmt;

use crate::BlobDigest;

/// The kind of content of a stream: 8 bytes in its info section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType(pub [u8; 8]);

impl ContentType {
    /// The uncompressed tar archive of a layer.
    pub const LAYER: Self = Self(*b"ocilayer");
    /// The configuration of an image.
    pub const CONFIG: Self = Self(*b"ociconfg");
    /// The manifest of an image.
    pub const MANIFEST: Self = Self(*b"ocimanif");
    /// A blob of another kind.
    pub const BLOB: Self = Self(*b"oci_blob");
    /// The record from which the compressed blob of a layer is rebuilt.
    pub const RECORD: Self = Self(*b"cfs_recd");
    /// The compressed blob of a layer, whole.
    pub const KEPT_BLOB: Self = Self(*b"cfs_blob");
    /// The record by which a blob is rebuilt (`docs/format/blob-record.md`).
    pub const BLOB_RECORD: Self = Self(*b"cfsblobr");
    /// The list of the composefs images of single layers.
    pub const LAYER_IMAGES: Self = Self(*b"cfs_lyrs");
}

/// The name of a stream of an image: its kind, and the digest of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StreamKind {
    /// A layer, by the digest of its uncompressed archive (the diff ID).
    Layer(BlobDigest),
    /// The configuration of an image.
    Config(BlobDigest),
    /// The manifest of an image.
    Manifest(BlobDigest),
    /// A blob of another kind.
    Blob(BlobDigest),
    /// The compressed blob of a layer, by its digest: its record, or the blob itself.
    KeptBlob(BlobDigest),
    /// The composefs images of the single layers of an image, by the digest of its manifest.
    LayerImages(BlobDigest),
}

/// The beginning of the name of a kept blob.
const KEPT_BLOB: &str = "composefs-blob-";
/// The beginning of the name of the images of single layers.
const LAYER_IMAGES: &str = "composefs-layers-";

impl StreamKind {
    /// Reads the name of a stream below `streams/`. `None` if it is not one of an image.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(digest) = name.strip_prefix(KEPT_BLOB) {
            return digest.parse().ok().map(Self::KeptBlob);
        }
        if let Some(digest) = name.strip_prefix(LAYER_IMAGES) {
            return digest.parse().ok().map(Self::LayerImages);
        }
        let (kind, digest) = name.strip_prefix("oci-")?.split_once('-')?;
        let digest = digest.parse().ok()?;
        match kind {
            "layer" => Some(Self::Layer(digest)),
            "config" => Some(Self::Config(digest)),
            "manifest" => Some(Self::Manifest(digest)),
            "blob" => Some(Self::Blob(digest)),
            _ => None,
        }
    }

    /// Returns the kind of content; of a kept blob, that of a record.
    #[must_use]
    pub fn content_type(&self) -> ContentType {
        match self {
            Self::Layer(_) => ContentType::LAYER,
            Self::Config(_) => ContentType::CONFIG,
            Self::Manifest(_) => ContentType::MANIFEST,
            Self::Blob(_) => ContentType::BLOB,
            Self::KeptBlob(_) => ContentType::RECORD,
            Self::LayerImages(_) => ContentType::LAYER_IMAGES,
        }
    }

    /// Returns the digest in the name: of the content, or for images of single layers of the manifest.
    #[must_use]
    pub fn digest(&self) -> &BlobDigest {
        match self {
            Self::Layer(digest)
            | Self::Config(digest)
            | Self::Manifest(digest)
            | Self::Blob(digest)
            | Self::KeptBlob(digest)
            | Self::LayerImages(digest) => digest,
        }
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Layer(_) => "layer",
            Self::Config(_) => "config",
            Self::Manifest(_) => "manifest",
            Self::Blob(_) => "blob",
            Self::KeptBlob(digest) => return write!(out, "{KEPT_BLOB}{digest}"),
            Self::LayerImages(digest) => return write!(out, "{LAYER_IMAGES}{digest}"),
        };
        write!(out, "oci-{kind}-{}", self.digest())
    }
}
