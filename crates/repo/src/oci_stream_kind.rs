//! The kinds of streams that OCI images have, by their names.

use crate::layout;

/// Kind of a stream of an OCI image. The order is the one in which gc removes links: a manifest needs configurations
/// and layers, a configuration needs layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OciStreamKind {
    /// The manifest of an image.
    Manifest,
    /// The configuration of an image.
    Config,
    /// The composefs images of the single layers of an image.
    LayerImages,
    /// A blob of another kind.
    Blob,
    /// What was kept of the compressed blob of a layer, so that it comes back exactly.
    KeptBlob,
    /// A layer, or another part of an artifact.
    Layer,
}

impl OciStreamKind {
    /// Returns the kind of the stream with this name below `streams/`. `None` if the name has not exactly the form
    /// `KIND-sha256:HEX`, with lowercase digits.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (kind, hex) = name.split_once("-sha256:")?;
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match kind {
            _ if !is_hex => None,
            "oci-manifest" => Some(Self::Manifest),
            "oci-config" => Some(Self::Config),
            "oci-blob" => Some(Self::Blob),
            "composefs-blob" => Some(Self::KeptBlob),
            "composefs-layers" => Some(Self::LayerImages),
            "oci-layer" => Some(Self::Layer),
            _ => None,
        }
    }

    /// Returns the beginning of names of this kind.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Manifest => "oci-manifest",
            Self::Config => "oci-config",
            Self::Blob => "oci-blob",
            Self::KeptBlob => "composefs-blob",
            Self::LayerImages => "composefs-layers",
            Self::Layer => "oci-layer",
        }
    }
}

/// Returns the tag that a path below `streams` is: what follows `refs/oci/`, with `%2F` and `%25` decoded. `None` if
/// the path is not the one of a tag.
pub(crate) fn tag_of_path(path: &str) -> Option<String> {
    let encoded = path.strip_prefix(layout::REFS)?.strip_prefix("/oci/")?;
    Some(encoded.replace("%2F", "/").replace("%25", "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_have_a_kind() {
        let hex = "0a".repeat(32);
        use OciStreamKind::{Blob, Config, KeptBlob, Layer, LayerImages, Manifest};
        for kind in [Manifest, Config, LayerImages, Blob, KeptBlob, Layer] {
            let name = format!("{}-sha256:{hex}", kind.prefix());
            assert_eq!(OciStreamKind::of_name(&name), Some(kind));
            for wrong in [
                format!("{name}0"),
                format!("x{name}"),
                name[..name.len() - 1].to_owned(),
                name.replace('a', "A"),
                name.replace("sha256:", "sha512:"),
                name.replace("sha256:", ""),
                name.replacen('-', "-x", 1),
            ] {
                assert_eq!(OciStreamKind::of_name(&wrong), None, "{wrong}");
            }
        }
    }

    #[test]
    fn tags_are_decoded() {
        for (path, tag) in [
            ("refs/oci/plain:1", "plain:1"),
            ("refs/oci/example%2Fthree:1", "example/three:1"),
            ("refs/oci/100%25", "100%"),
            ("refs/oci/%252F", "%2F"),
        ] {
            assert_eq!(tag_of_path(path).as_deref(), Some(tag));
        }
        for other in ["refs/other/tag", "refs/ocitag", "oci-layer", "refs/oci-referrers/a/b"] {
            assert_eq!(tag_of_path(other), None, "{other}");
        }
    }
}
