//! A repository of a registry as a destination.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Mutex;

use anyhow::{Context as _, bail};
use libcomposefs_content::mutex::lock;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::destination::{BlobContent, BlobOutcome, BlobPlace, DestinationError, ImageDestination};
use libcomposefs_oci::manifest::{ImageConfig, Manifest};
use libcomposefs_oci::stored::image_stream;
use libcomposefs_remote::{
    BlobSource, Endpoint, Mount, Reference, RegistriesConf, RegistryClient, RegistryDigest, RemoteRepository,
};
use libcomposefs_repo::{Repository, StreamTag};

use super::locations::locations;
use super::registry::{RegistryArgs, options};

/// The repository, and others of the same registry that may have the blobs.
#[derive(Debug)]
pub(super) struct RegistryDestination {
    reference: Reference,
    repository: RemoteRepository,
    from: Vec<RemoteRepository>,
    /// The path of the repository that a blob can be mounted from.
    nearby: Mutex<HashMap<BlobDigest, String>>,
}

/// Returns all names of an image: by default the reference that it was pulled by is among them.
pub(super) fn names_of(repository: &Repository, name: &StreamTag) -> anyhow::Result<Vec<String>> {
    let stream = image_stream(repository, name)?;
    let tags = repository.stream_tags()?.into_iter();
    Ok(tags.filter(|(_, found)| Some(found) == stream.as_ref()).map(|(tag, _)| tag.to_string()).collect())
}

/// Opens a repository to push to. `from` are references in the same registry; of `names`, which may be anything, those
/// that are such references count as well.
pub(super) fn open(
    text: &str,
    args: &RegistryArgs,
    from: &[String],
    names: &[String],
) -> anyhow::Result<RegistryDestination> {
    let reference: Reference = text.parse()?;
    let mut paths: Vec<String> = Vec::new();
    for hint in from {
        let hint = hint.strip_prefix("docker://").unwrap_or(hint);
        let hint: Reference = hint.parse().with_context(|| format!("--from={hint}"))?;
        if hint.host() != reference.host() {
            bail!("--from={hint} is in another registry than {reference}: blobs can be mounted only within one");
        }
        paths.push(hint.path().to_owned());
    }
    let known = names.iter().filter(|name| Reference::has_host(name)).filter_map(|name| name.parse::<Reference>().ok());
    paths.extend(known.filter(|known| known.host() == reference.host()).map(|known| known.path().to_owned()));
    paths.retain(|path| path != reference.path());
    paths.dedup();
    let locations = locations(args.authfile.clone());
    libcomposefs_remote::credentials::check_named_file(&locations, reference.host(), reference.path())?;
    let conf = RegistriesConf::load(&locations)?;
    let client = RegistryClient::new(options(locations, args, &reference))?;
    let endpoint = conf.push_endpoint(&reference)?;
    let beside = |path: String| client.repository(&Endpoint { path, ..endpoint.clone() });
    let from = paths.into_iter().map(beside).collect::<Result<_, _>>()?;
    let repository = client.repository(&endpoint)?;
    Ok(RegistryDestination { reference, repository, from, nearby: Mutex::default() })
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> DestinationError {
    DestinationError::Other(Box::new(error))
}

fn digest_of(blob: &BlobDigest) -> Result<RegistryDigest, DestinationError> {
    blob.to_string().parse().map_err(other)
}

/// The content of a blob, for the client.
struct UploadedContent<'a>(&'a dyn BlobContent);

impl BlobSource for UploadedContent<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        let reader: Box<dyn Read> = self.0.open()?;
        Ok(reader)
    }
}

impl ImageDestination for RegistryDestination {
    fn describe(&self) -> String {
        format!("docker://{}", self.reference)
    }

    fn find(&self, digest: &BlobDigest, _: u64) -> Result<BlobPlace, DestinationError> {
        let found = digest_of(digest)?;
        if self.repository.blob_exists(&found).map_err(other)? {
            return Ok(BlobPlace::Here);
        }
        // Nothing can be mounted from a repository that may not be read.
        let Some(from) = self.from.iter().find(|from| from.blob_exists(&found).unwrap_or(false)) else {
            return Ok(BlobPlace::Missing);
        };
        lock(&self.nearby).insert(*digest, from.endpoint().path.clone());
        Ok(BlobPlace::Nearby)
    }

    fn put(
        &self,
        digest: &BlobDigest,
        size: u64,
        content: Option<&dyn BlobContent>,
    ) -> Result<BlobOutcome, DestinationError> {
        let blob = digest_of(digest)?;
        let from = lock(&self.nearby).get(digest).cloned();
        if let Some(from) = from {
            match (self.repository.mount_blob(&blob, &from), content) {
                (Ok(Mount::Mounted), _) => return Ok(BlobOutcome::Mounted),
                (Err(error), None) => return Err(other(error)),
                _ => {}
            }
        }
        let Some(content) = content else {
            return Err(DestinationError::NotMounted { destination: self.describe(), digest: *digest });
        };
        self.repository.upload_blob(&blob, size, &UploadedContent(content)).map_err(other)?;
        Ok(BlobOutcome::Sent)
    }

    fn publish(&self, manifest: &Manifest, _: &ImageConfig) -> Result<(), DestinationError> {
        let name = self.reference.tag().unwrap_or(self.reference.identifier());
        if let Some(expected) = self.reference.digest().filter(|digest| digest.hex() != manifest.digest.hex()) {
            let expected = expected.as_str().parse().map_err(other)?;
            return Err(DestinationError::Manifest { expected, found: manifest.digest });
        }
        self.repository.put_manifest(name, &manifest.media_type, &manifest.raw).map_err(other)?;
        Ok(())
    }
}
