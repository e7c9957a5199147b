//! Manifests, indexes and configurations, parsed from their raw bytes, which are kept because their digest names them.

use std::collections::BTreeMap;

use oci_spec::image::{Arch, Descriptor, DigestAlgorithm, ImageConfiguration, ImageIndex, ImageManifest, Os};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{BlobDigest, InvalidBlobDigest};

/// Largest size of a manifest, an index or a configuration, in bytes (OCI distribution specification).
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// Largest number of layers of an image.
const LAYERS_MAX: usize = 4096;

/// Media types of indexes.
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// Media types of manifests.
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// Media types of configurations of images.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// The reasons why a document cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The document is larger than the limit.
    #[error("{0} bytes: a manifest or configuration has at most {DOCUMENT_MAX}")]
    Size(u64),
    /// The document is no JSON of its kind.
    #[error("it is no valid {0}: {reason}", reason = json_reason(.1))]
    Json(&'static str, serde_json::Error),
    /// A digest cannot be checked.
    #[error(transparent)]
    Digest(#[from] InvalidBlobDigest),
    /// The document says that it is of another kind than its source says.
    #[error("its media type is {found:?}, but its source says {expected:?}")]
    MediaType {
        /// The media type in the document.
        found: String,
        /// The media type of the source.
        expected: String,
    },
    /// The document has the fields of an index and those of a manifest.
    #[error("it has fields of an index and of a manifest: programs would read it in different ways")]
    Ambiguous,
    /// The document is no image.
    #[error("it is no image: {0}")]
    NoImage(String),
    /// The number of layers differs.
    #[error("the manifest has {layers} layers, but the configuration has {diff_ids} diff IDs")]
    LayerCount {
        /// Number of layers of the manifest.
        layers: usize,
        /// Number of diff IDs of the configuration.
        diff_ids: usize,
    },
    /// The index has no image for the platform.
    #[error(
        "the index has no image for {platform}; it has {available}; --platform, or the digest of a manifest \
         (@sha256:HEX), chooses one"
    )]
    NoPlatform {
        /// The wanted platform.
        platform: String,
        /// The platforms of the index.
        available: String,
    },
    /// The only image is for another platform than the one that was asked for.
    #[error("the only image is for {found}, not for {platform}; without --platform it is taken as it is")]
    OtherPlatform {
        /// The wanted platform.
        platform: String,
        /// The platform of the image.
        found: String,
    },
}

/// Returns the text of an error of JSON. That of the library for digests does not say what a digest is.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let of_digest = ["Invalid encoded value ", "Invalid non-hexadecimal character in digest: "];
    match of_digest.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        Some(rest) => {
            let place = rest.rfind(" at line ").unwrap_or(rest.len());
            let (value, place) = rest.split_at(place);
            format!("{value:?} is no value of a digest: 64 lowercase hexadecimal digits for sha256{place}")
        }
        None => text,
    }
}

/// A blob, as a descriptor names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// The digest of the blob.
    pub digest: BlobDigest,
    /// The size of the blob, in bytes.
    pub size: u64,
    /// The media type.
    pub media_type: String,
    /// The annotations of the descriptor.
    pub annotations: BTreeMap<String, String>,
}

impl BlobRef {
    fn new(descriptor: &Descriptor) -> Result<Self, InvalidBlobDigest> {
        let annotations = descriptor.annotations().iter().flatten();
        Ok(Self {
            digest: descriptor.digest().to_string().parse()?,
            size: descriptor.size(),
            media_type: descriptor.media_type().to_string(),
            annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
        })
    }
}

/// The manifest of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The bytes as they were received.
    pub raw: Vec<u8>,
    /// The digest of the bytes.
    pub digest: BlobDigest,
    /// The media type.
    pub media_type: String,
    /// The configuration.
    pub config: BlobRef,
    /// The layers, the lowest first.
    pub layers: Vec<BlobRef>,
    /// The annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The manifest or index.
    pub blob: BlobRef,
    /// The platform, if the entry has one.
    pub platform: Option<Platform>,
}

impl IndexEntry {
    /// Returns whether the entry is an index, for which no platform is said.
    pub(crate) fn is_nested_index(&self) -> bool {
        self.platform.is_none() && INDEXES.contains(&self.blob.media_type.as_str())
    }
}

/// A document that a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// The manifest of one image.
    Manifest(Box<Manifest>),
    /// Images for several platforms, or of several names.
    Index(DocumentIndex),
}

/// The entries of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentIndex {
    /// The entries that can be read.
    pub entries: Vec<IndexEntry>,
    /// Entries whose digests are of an algorithm other than sha256: their annotations, and the reason.
    pub unchecked: Vec<(BTreeMap<String, String>, InvalidBlobDigest)>,
}

/// The fields that tell the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentKind {
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
}

impl Document {
    /// Parses a manifest or an index. `media_type` is what its source says of it.
    ///
    /// # Errors
    ///
    /// If the bytes are neither, or are ambiguous.
    pub fn parse(raw: Vec<u8>, media_type: Option<&str>) -> Result<Self, ManifestError> {
        if raw.len() as u64 > DOCUMENT_MAX {
            return Err(ManifestError::Size(raw.len() as u64));
        }
        let kind: DocumentKind =
            serde_json::from_slice(&raw).map_err(|error| ManifestError::Json("manifest", error))?;
        // Some tools write an empty type for none.
        let own = kind.media_type.as_deref().filter(|own| !own.is_empty());
        if let (Some(found), Some(expected)) = (own, media_type)
            && found != expected
        {
            return Err(ManifestError::MediaType { found: found.to_owned(), expected: expected.to_owned() });
        }
        if kind.manifests.is_some() && (kind.layers.is_some() || kind.config.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        match own.or(media_type) {
            Some(said) if INDEXES.contains(&said) => Self::index(&raw),
            Some(said) if MANIFESTS.contains(&said) => Self::manifest(raw, Some(said.to_owned())),
            // A registry may say a general type, such as application/json. The document itself does not.
            Some(said) if own.is_some() || said.ends_with("+json") || said.ends_with("+prettyjws") => {
                Err(ManifestError::NoImage(format!("the media type {said:?} is not supported")))
            }
            _ if kind.manifests.is_some() => Self::index(&raw),
            _ => Self::manifest(raw, None),
        }
    }

    fn index(raw: &[u8]) -> Result<Self, ManifestError> {
        let index: ImageIndex = serde_json::from_slice(raw).map_err(|error| ManifestError::Json("index", error))?;
        let mut read = DocumentIndex::default();
        for descriptor in index.manifests() {
            let platform = descriptor.platform().as_ref();
            let platform = platform.map(|platform| Platform {
                os: platform.os().to_string(),
                architecture: platform.architecture().to_string(),
                variant: platform.variant().clone(),
            });
            match BlobRef::new(descriptor) {
                Ok(blob) => read.entries.push(IndexEntry { blob, platform }),
                Err(error) if *descriptor.digest().algorithm() != DigestAlgorithm::Sha256 => {
                    let annotations = descriptor.annotations().iter().flatten();
                    let annotations = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
                    read.unchecked.push((annotations, error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self::Index(read))
    }

    fn manifest(raw: Vec<u8>, media_type: Option<String>) -> Result<Self, ManifestError> {
        let parsed: ImageManifest =
            serde_json::from_slice(&raw).map_err(|error| ManifestError::Json("manifest", error))?;
        if parsed.schema_version() != 2 {
            return Err(ManifestError::NoImage(format!("its schema version is {}", parsed.schema_version())));
        }
        let layers: Result<Vec<_>, _> = parsed.layers().iter().map(BlobRef::new).collect();
        let annotations = parsed.annotations().iter().flatten();
        Ok(Self::Manifest(Box::new(Manifest {
            digest: BlobDigest::of(&raw),
            media_type: media_type.unwrap_or_else(|| MANIFESTS[0].to_owned()),
            config: BlobRef::new(parsed.config())?,
            layers: layers?,
            annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
            raw,
        })))
    }
}

impl Manifest {
    /// Parses the configuration of the image, and compares the number of its layers.
    ///
    /// # Errors
    ///
    /// If the manifest is not that of an image, or the configuration cannot be parsed.
    pub fn parse_config(&self, raw: Vec<u8>) -> Result<ImageConfig, ManifestError> {
        let media_type = &self.config.media_type;
        if !CONFIGS.contains(&media_type.as_str()) {
            return Err(ManifestError::NoImage(format!(
                "the media type of its configuration is {media_type:?}, that of an artifact"
            )));
        }
        let config = ImageConfig::parse(raw)?;
        let (layers, diff_ids) = (self.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(ManifestError::LayerCount { layers, diff_ids });
        }
        if layers > LAYERS_MAX {
            return Err(ManifestError::NoImage(format!("it has {layers} layers, more than {LAYERS_MAX}")));
        }
        Ok(config)
    }
}

/// The configuration of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// The bytes as they were received.
    pub raw: Vec<u8>,
    /// The digest of the bytes.
    pub digest: BlobDigest,
    /// The digests of the uncompressed archives of the layers, the lowest first.
    pub diff_ids: Vec<BlobDigest>,
    /// All fields.
    pub parsed: ImageConfiguration,
}

impl ImageConfig {
    /// Parses a configuration.
    ///
    /// # Errors
    ///
    /// If the bytes are no configuration of an image.
    pub fn parse(raw: Vec<u8>) -> Result<Self, ManifestError> {
        let parsed: ImageConfiguration =
            serde_json::from_slice(&raw).map_err(|error| ManifestError::Json("image configuration", error))?;
        let diff_ids: Result<Vec<_>, _> = parsed.rootfs().diff_ids().iter().map(|id| id.parse()).collect();
        Ok(Self { digest: BlobDigest::of(&raw), diff_ids: diff_ids?, parsed, raw })
    }
}

/// An operating system and CPU that an image is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The operating system, as Go names it.
    pub os: String,
    /// The architecture, as Go names it.
    pub architecture: String,
    /// The variant of the architecture, such as `v8`.
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform of this machine.
    #[must_use]
    pub fn of_machine() -> Self {
        Self { os: Os::default().to_string(), architecture: Arch::default().to_string(), variant: None }
    }

    /// Fails if an image that no index offers is for another platform. Its variant is not compared: few configurations
    /// have one.
    pub(crate) fn check(&self, config: &ImageConfig) -> Result<(), ManifestError> {
        let (os, architecture) = (config.parsed.os().to_string(), config.parsed.architecture().to_string());
        if (&os, &architecture) == (&self.os, &self.architecture) {
            return Ok(());
        }
        Err(ManifestError::OtherPlatform { platform: self.to_string(), found: format!("{os}/{architecture}") })
    }

    fn matches(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || self.variant == wanted.variant)
    }
}

impl std::str::FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(os), Some(architecture), variant, None) if !os.is_empty() && !architecture.is_empty() => Ok(Self {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.map(str::to_owned),
            }),
            _ => Err(format!("{text:?} is no platform: expected OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT")),
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(out, "/{variant}"))
    }
}

/// Chooses the entry of an index for a platform. An index of one entry without a platform has only this choice.
///
/// # Errors
///
/// [`ManifestError::NoPlatform`]
pub fn for_platform<'i>(entries: &'i [IndexEntry], wanted: &Platform) -> Result<&'i IndexEntry, ManifestError> {
    let fits = |entry: &&IndexEntry| entry.platform.as_ref().is_some_and(|platform| platform.matches(wanted));
    let mut general = entries.iter().filter(|entry| entry.platform.is_none());
    let only = match (general.next(), general.next()) {
        (only, None) => only,
        _ => None,
    };
    entries.iter().find(fits).or(only).ok_or_else(|| {
        // Documents about images, such as attestations, are for the platform "unknown".
        let platforms = entries.iter().filter_map(|entry| entry.platform.as_ref());
        let names: Vec<String> =
            platforms.filter(|platform| platform.os != "unknown").map(ToString::to_string).collect();
        let available = if names.is_empty() { "no entry with a platform".to_owned() } else { names.join(", ") };
        ManifestError::NoPlatform { platform: wanted.to_string(), available }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_digest_is_named_with_the_rule() {
        for (value, shown) in [("x\u{1b}y", "\"x\\u{1b}y\""), (&"z".repeat(64), "zz\" is")] {
            let text = String::from_utf8(manifest("")).unwrap();
            let written = serde_json::Value::from(value).to_string();
            let text = text.replacen(&"ab".repeat(32), written.trim_matches('"'), 1);
            let error = Document::parse(text.into_bytes(), None).unwrap_err().to_string();
            assert!(error.contains(shown) && error.contains("64 lowercase hexadecimal digits"), "{error}");
            assert!(error.contains("at line 1"), "{error}");
        }
    }

    #[test]
    fn documents_for_no_platform_are_not_offered() {
        let entry = |os: &str, architecture: &str| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{:064}","size":1,
                "platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
                0
            )
        };
        let entries = [entry("linux", "s390x"), entry("unknown", "unknown")].join(",");
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
        let Document::Index(index) = Document::parse(index.into_bytes(), None).unwrap() else { panic!("no index") };
        let wanted: Platform = "linux/amd64".parse().unwrap();
        let error = for_platform(&index.entries, &wanted).unwrap_err().to_string();
        assert!(error.contains("it has linux/s390x;"), "{error}");
    }

    /// A manifest that says this media type of itself.
    fn manifest(own: &str) -> Vec<u8> {
        let descriptor = |media_type: &str| {
            format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{}","size":1}}"#, "ab".repeat(32))
        };
        let config = descriptor(CONFIGS[0]);
        format!(r#"{{"schemaVersion":2,{own}"config":{config},"layers":[]}}"#).into_bytes()
    }

    #[test]
    fn a_document_that_says_another_type_of_itself_is_refused() {
        for right in ["", r#""mediaType":"","#, r#""mediaType":"application/vnd.oci.image.manifest.v1+json","#] {
            for source in [None, Some(MANIFESTS[0])] {
                assert!(matches!(Document::parse(manifest(right), source), Ok(Document::Manifest(_))), "{right}");
            }
        }
        assert!(Document::parse(manifest(""), Some("application/json")).is_ok());
        for wrong in ["application/json", "application/vnd.oci.image.manifest.v1", "x"] {
            let refused = Document::parse(manifest(&format!(r#""mediaType":"{wrong}","#)), None);
            assert!(matches!(refused, Err(ManifestError::NoImage(_))), "{refused:?}");
        }
    }
}
