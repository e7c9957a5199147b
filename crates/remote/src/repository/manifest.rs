//! Reads and writes manifests: the digest and the media type are checked.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::{Access, RemoteRepository};
use crate::digest::RegistryDigest;
use crate::error::{Error, ErrorKind};
use crate::printable::printable;
use crate::reference;

/// The longest manifest, as in the distribution specification.
const LONGEST: u64 = 4 << 20;
pub(super) const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");

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

/// Manifest as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteManifest {
    /// Bytes of the manifest, of which `digest` is the digest.
    pub bytes: Vec<u8>,
    /// Kind of the manifest.
    pub kind: ManifestKind,
    /// Media type of the manifest.
    pub media_type: String,
    /// Digest of the manifest.
    pub digest: RegistryDigest,
}

impl ManifestKind {
    const ALL: [Self; 4] = [Self::OciIndex, Self::OciManifest, Self::DockerList, Self::DockerManifest];

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

impl RemoteRepository {
    /// Reads a manifest by its tag or digest.
    ///
    /// # Errors
    ///
    /// If the registry does not have it, if it is longer than 4 MiB, or if its digest or kind is not what the request or
    /// the answer says.
    pub fn manifest(&self, tag_or_digest: &str) -> Result<RemoteManifest, Error> {
        let mut call = self.manifest_call(Access::Pull, Method::GET, tag_or_digest, "get the manifest")?;
        for kind in ManifestKind::ALL {
            call.headers.append(ACCEPT, HeaderValue::from_static(kind.media_type()));
        }
        let answer = self.exchange.fetch(&call, LONGEST)?;
        let failed = |kind: ErrorKind| Error::new(&call.subject, kind);
        let found = RegistryDigest::of(&answer.body);
        let announced = announced_digest(&answer.headers).map_err(|reason| failed(ErrorKind::Protocol { reason }))?;
        for expected in [tag_or_digest.parse().ok(), announced].into_iter().flatten() {
            if expected != found {
                return Err(failed(ErrorKind::Digest { expected, found }));
            }
        }
        let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = inspect(&answer.body, content_type).map_err(|reason| failed(ErrorKind::Protocol { reason }))?;
        Ok(RemoteManifest { bytes: answer.body, kind, media_type: kind.media_type().to_owned(), digest: found })
    }

    /// Stores a manifest under a tag, or under its digest. Its blobs must exist in the repository.
    ///
    /// # Errors
    ///
    /// If the registry refuses it, or reports another digest.
    pub fn put_manifest(&self, tag_or_digest: &str, media_type: &str, bytes: &[u8]) -> Result<RegistryDigest, Error> {
        let mut call = self.manifest_call(Access::Push, Method::PUT, tag_or_digest, "put the manifest")?;
        let failed = |kind: ErrorKind| Error::new(&call.subject, kind);
        let digest = RegistryDigest::of(bytes);
        if let Some(expected) = tag_or_digest.parse().ok().filter(|expected| *expected != digest) {
            return Err(failed(ErrorKind::Digest { expected, found: digest }));
        }
        let content_type = HeaderValue::from_str(media_type);
        let content_type =
            content_type.map_err(|_| failed(ErrorKind::Invalid("the media type is not valid".to_owned())))?;
        call.headers.insert(CONTENT_TYPE, content_type);
        call.body = Bytes::copy_from_slice(bytes);
        let answer = self.exchange.fetch(&call, LONGEST)?;
        let failed = |kind: ErrorKind| Error::new(&call.subject, kind);
        match announced_digest(&answer.headers).map_err(|reason| failed(ErrorKind::Protocol { reason }))? {
            Some(found) if found != digest => Err(failed(ErrorKind::Digest { expected: digest, found })),
            _ => Ok(digest),
        }
    }

    fn manifest_call(
        &self,
        access: Access,
        method: Method,
        tag_or_digest: &str,
        action: &'static str,
    ) -> Result<crate::exchange::Call, Error> {
        let is_digest = tag_or_digest.parse::<RegistryDigest>().is_ok();
        if !is_digest && !reference::is_tag(tag_or_digest) {
            let subject = self.subject(action, &printable(tag_or_digest, 130));
            let reason = "it is neither a tag nor a digest `sha256:HEX`".to_owned();
            return Err(Error::new(&subject, ErrorKind::Invalid(reason)));
        }
        Ok(self.call(access, method, &format!("manifests/{tag_or_digest}"), action, tag_or_digest))
    }
}

/// Returns the digest that an answer announces.
pub(super) fn announced_digest(headers: &HeaderMap) -> Result<Option<RegistryDigest>, String> {
    let Some(value) = headers.get(DIGEST_HEADER) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    // Registries may use another algorithm for what is asked for by tag.
    if text.starts_with("sha512:") {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("Docker-Content-Digest is {:?}", printable(&text, 100)))
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
