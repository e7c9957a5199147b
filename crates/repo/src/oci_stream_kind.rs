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
    /// A blob of another kind.
    Blob,
    /// A layer, or another part of an artifact.
    Layer,
}

impl OciStreamKind {
    /// Returns the kind of the stream with this name below `streams/`. `None` if the name has not exactly the form
    /// `oci-KIND-sha256:HEX`, with lowercase digits.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (kind, digest) = name.strip_prefix("oci-")?.split_once('-')?;
        let hex = digest.strip_prefix("sha256:")?;
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match kind {
            _ if !is_hex => None,
            "manifest" => Some(Self::Manifest),
            "config" => Some(Self::Config),
            "blob" => Some(Self::Blob),
            "layer" => Some(Self::Layer),
            _ => None,
        }
    }

    /// Returns the word of the kind in names.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Blob => "blob",
            Self::Layer => "layer",
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
        for kind in [OciStreamKind::Manifest, OciStreamKind::Config, OciStreamKind::Blob, OciStreamKind::Layer] {
            let name = format!("oci-{}-sha256:{hex}", kind.word());
            assert_eq!(OciStreamKind::of_name(&name), Some(kind));
            for wrong in [
                format!("{name}0"),
                format!("x{name}"),
                name[..name.len() - 1].to_owned(),
                name.replace('a', "A"),
                name.replace("sha256:", "sha512:"),
                name.replace("sha256:", ""),
                name.replace("oci-", "oci-x"),
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
