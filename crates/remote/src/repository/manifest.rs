//! Reads and writes manifests: the digest and the media type are checked.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::{Access, RemoteRepository};
use crate::digest::RegistryDigest;
use crate::error::{Error, ErrorKind};
use crate::printable::printable;
use crate::reference;
use crate::wire::{ManifestKind, inspect};

/// The longest manifest, as in the distribution specification.
const LONGEST: u64 = 4 << 20;
pub(super) const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");

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

impl RemoteRepository {
    /// Reads a manifest by its tag or digest.
    ///
    /// # Errors
    ///
    /// If the registry does not have it, if it is longer than 4 MiB, or if its digest or kind is not what the request
    /// or the answer says.
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
