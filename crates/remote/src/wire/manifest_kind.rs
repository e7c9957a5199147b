//! The kinds of manifests, by their media types and their contents.

use serde::Deserialize;

use crate::printable::printable;

/// Kind of a manifest, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// List of manifests, of OCI.
    OciIndex,
    /// Manifest of one image, of OCI.
    OciManifest,
    /// List of manifests, of docker.
    DockerList,
    /// Manifest of one image, of docker (schema 2).
    DockerManifest,
}

impl ManifestKind {
    /// All kinds.
    pub(crate) const ALL: [Self; 4] = [Self::OciIndex, Self::OciManifest, Self::DockerList, Self::DockerManifest];

    /// Returns the media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    /// Reports whether it is a list of manifests.
    #[must_use]
    pub fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    fn of(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type().eq_ignore_ascii_case(media_type))
    }
}

/// The fields that tell kinds of manifests apart. A field that occurs twice is an error of the parser.
#[derive(Deserialize)]
struct KindJson {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

/// Determines the kind of a manifest. Header and contents must agree: readers that disagree about the kind would see
/// different images under one digest.
pub(crate) fn inspect(bytes: &[u8], content_type: Option<&str>) -> Result<ManifestKind, String> {
    let json: KindJson = serde_json::from_slice(bytes).map_err(|error| format!("the manifest is no JSON: {error}"))?;
    let header =
        content_type.and_then(|value| value.split(';').next()).map(str::trim).filter(|value| !value.is_empty());
    let inside = json.media_type.as_deref();
    let (Some(media_type), other) = (header.or(inside), inside) else {
        return Err("the manifest has no media type, neither in Content-Type nor in mediaType".to_owned());
    };
    if let Some(other) = other.filter(|other| !other.eq_ignore_ascii_case(media_type)) {
        let (header, inside) = (printable(media_type, 100), printable(other, 100));
        return Err(format!("the manifest has the Content-Type {header:?}, but the mediaType {inside:?}"));
    }
    let Some(kind) = ManifestKind::of(media_type) else {
        let found = printable(media_type, 100);
        return Err(format!("the manifest has the media type {found:?}, which is neither of OCI nor docker schema 2"));
    };
    if kind.is_index() && (json.layers.is_some() || json.config.is_some()) {
        return Err("the manifest is a list, but has `layers` or `config`".to_owned());
    }
    if !kind.is_index() && json.manifests.is_some() {
        return Err("the manifest is of one image, but has `manifests`".to_owned());
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    #[test]
    fn kinds_by_header_and_contents() {
        let text = |media_type: &str| format!(r#"{{"schemaVersion": 2, "mediaType": "{media_type}"}}"#);
        for kind in ManifestKind::ALL {
            let media_type = kind.media_type();
            assert_eq!(inspect(text(media_type).as_bytes(), Some(media_type)), Ok(kind));
            assert_eq!(inspect(b"{}", Some(&format!("{media_type}; charset=utf-8"))), Ok(kind));
            assert_eq!(inspect(text(media_type).as_bytes(), None), Ok(kind));
        }
    }

    #[test]
    fn disagreements_are_refused() {
        let reason = |text: &str, header: Option<&str>| inspect(text.as_bytes(), header).expect_err("a bad manifest");
        assert!(reason(&format!(r#"{{"mediaType": "{OCI}"}}"#), Some(INDEX)).contains("but the mediaType"));
        assert!(reason(&format!(r#"{{"mediaType": "{OCI}"}}"#), Some("text/plain")).contains("\"text/plain\""));
        assert!(reason("{}", None).contains("no media type"));
        assert!(reason("{}", Some("application/vnd.docker.distribution.manifest.v1+json")).contains("schema 2"));
        assert!(reason(r#"{"layers": [], "manifests": []}"#, Some(OCI)).contains("`manifests`"));
        assert!(reason(r#"{"layers": [], "manifests": []}"#, Some(INDEX)).contains("`layers`"));
        assert!(reason(r#"{"mediaType": "a", "mediaType": "b"}"#, Some(OCI)).contains("duplicate"));
        assert!(reason("<html>", Some(OCI)).contains("no JSON"));
    }
}
