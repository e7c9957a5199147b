//! Lists the manifests that refer to another one, such as signatures.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;

use super::{Access, RemoteRepository};
use crate::digest::RegistryDigest;
use crate::error::{Error, ErrorKind};

/// A manifest that refers to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Digest of the manifest.
    pub digest: RegistryDigest,
    /// Media type of the manifest.
    pub media_type: String,
    /// Size of the manifest in bytes.
    pub size: u64,
    /// Type of the artifact that the manifest describes.
    pub artifact_type: Option<String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct IndexJson {
    manifests: Option<Vec<DescriptorJson>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorJson {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl RemoteRepository {
    /// Returns the manifests that refer to `digest`, of one artifact type or of all.
    ///
    /// A registry without this function may have the list under the tag `sha256-HEX`, which is read then.
    ///
    /// # Errors
    ///
    /// If the registry refuses, or if the list is not valid.
    pub fn referrers(&self, digest: &RegistryDigest, artifact_type: Option<&str>) -> Result<Vec<Referrer>, Error> {
        let action = "list the referrers of";
        let mut call = self.call(Access::Pull, Method::GET, &format!("referrers/{digest}"), action, digest.as_str());
        if let Some(wanted) = artifact_type {
            call.url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut found = Vec::new();
        let listed = self.pages(call.clone(), &mut |page| {
            found.extend(parse(&page.body)?);
            Ok(found.len())
        });
        match listed {
            Ok(()) => {}
            Err(error) if matches!(error.status(), Some(404 | 405 | 501)) => {
                found = match self.manifest(&format!("sha256-{}", digest.hex())) {
                    Ok(manifest) if manifest.kind.is_index() => parse(&manifest.bytes)
                        .map_err(|reason| Error::new(&call.subject, ErrorKind::Protocol { reason }))?,
                    Ok(_) => Vec::new(),
                    Err(error) if error.is_not_found() => Vec::new(),
                    Err(error) => return Err(error),
                };
            }
            Err(error) => return Err(error),
        }
        // Not every registry filters.
        found.retain(|one| artifact_type.is_none() || one.artifact_type.as_deref() == artifact_type);
        Ok(found)
    }
}

fn parse(text: &[u8]) -> Result<Vec<Referrer>, String> {
    let index: IndexJson =
        serde_json::from_slice(text).map_err(|error| format!("the list of referrers is not valid: {error}"))?;
    let one = |descriptor: DescriptorJson| {
        let DescriptorJson { media_type, digest, size, artifact_type, annotations } = descriptor;
        let digest = digest.parse().map_err(|error| format!("the list of referrers is not valid: {error}"))?;
        Ok(Referrer { digest, media_type, size, artifact_type, annotations: annotations.unwrap_or_default() })
    };
    index.manifests.unwrap_or_default().into_iter().map(one).collect()
}
