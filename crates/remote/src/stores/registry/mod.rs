//! A remote in a repository of an OCI registry: a ref is a tag, whose manifest names the files as its layers.

mod tag;

use std::io::Read;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use libcomposefs_content::mutex::lock;
use libcomposefs_delivery::{
    Abilities, CompareAndSwap, CreateOutcome, ExpectedFile, FileKind, FileName, FileVersion, ListedFile, NewContent,
    RangeAnswer, RangeSink, ReadFile, RefDocument, RefReplacement, RemoteError, RemoteStore, Sha256Digest,
    version_document,
};
use libcomposefs_repo::RefName;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::body::{BodyEnd, RangeBody, read_whole};
use super::failure::{AccessStep, Dialect, FoundFile};
use crate::client::RegistryClient;
use crate::digest::RegistryDigest;
use crate::error::{Error, ErrorKind};
use crate::options::{ClientOptions, TlsVerify};
use crate::reference::Reference;
use crate::registries_conf::Endpoint;
use crate::repository::{BlobSource, RemoteManifest, RemoteRepository};
use crate::retry::RetryPolicy;

/// Type of the artifact that a manifest is.
const ARTIFACT_TYPE: &str = "application/vnd.composefs.image.v1";
/// Type of the manifest.
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Type of the ref document.
const DOCUMENT_TYPE: &str = "application/vnd.composefs.ref.v1+json";
/// Why a registry cannot list and remove files.
const NO_GC: &str = "a registry removes files itself: delete the tag of the ref there (`skopeo delete \
                     docker://HOST/REPOSITORY:TAG`), and run the garbage collection of the registry";

/// A remote in a registry.
#[derive(Debug)]
pub struct RegistryStore {
    repository: RemoteRepository,
    location: String,
}

/// The parts of a manifest that are read.
#[derive(Deserialize)]
struct ManifestJson {
    #[serde(rename = "artifactType")]
    artifact_type: Option<String>,
    config: LayerDescriptorJson,
}

#[derive(Deserialize)]
struct LayerDescriptorJson {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
}

/// Content of an upload, which may be read again.
struct UploadSource<'a>(Mutex<&'a mut dyn NewContent>);

/// The content from its first byte.
struct SourceReader<'a, 'b>(&'a Mutex<&'b mut dyn NewContent>);

impl Read for SourceReader<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        lock(self.0).read(buffer)
    }
}

impl BlobSource for UploadSource<'_> {
    fn open(&self) -> std::io::Result<Box<dyn Read + '_>> {
        lock(&self.0).rewind()?;
        Ok(Box::new(SourceReader(&self.0)))
    }
}

impl RegistryStore {
    /// Opens a remote at `oci://HOST/REPOSITORY`. A request is sent only if the host may use plain HTTP.
    ///
    /// # Errors
    ///
    /// If the URL, the certificates or the options are not valid.
    pub fn open(url: &str, mut options: ClientOptions) -> Result<Self, RemoteError> {
        let refuse = |reason: String| RemoteError::new(url, "open", reason);
        let name = url.strip_prefix("oci://").ok_or_else(|| refuse("the URL does not begin with oci://".to_owned()))?;
        let name = name.trim_end_matches('/');
        let reference: Reference = name.parse().map_err(|error| refuse(format!("the URL is not valid: {error}")))?;
        let last = name.rsplit('/').next().unwrap_or_default();
        let has_tag = name.contains('/') && last.contains([':', '@']);
        if has_tag {
            let reason = "the URL is not oci://HOST/REPOSITORY".to_owned();
            return Err(refuse(reason).remedy("the tag is the ref, which is given separately"));
        }
        // The caller repeats what fails: a pause that the registry asks for is told to it.
        options.retry = RetryPolicy { retries: 0, longest_asked: Duration::ZERO, ..options.retry };
        let is_insecure = matches!(&options.tls_verify, TlsVerify::InsecureHosts(_))
            && options.tls_verify.is_insecure(reference.host());
        let (host, path) = (reference.host().to_owned(), reference.path().to_owned());
        let endpoint = Endpoint { host, path, is_insecure, is_mirror: false };
        let client = RegistryClient::new(options).map_err(|kind| refuse(kind.to_string()))?;
        let repository = client.repository(&endpoint).map_err(|error| refuse(error.kind().to_string()))?;
        let location = format!("oci://{}/{}", endpoint.host, endpoint.path);
        Ok(Self { repository, location })
    }

    fn step<'a>(&'a self, verb: &'static str, name: &'a FileName) -> AccessStep<'a> {
        AccessStep { location: &self.location, dialect: &Dialect::Registry, verb, name: Some(name) }
    }

    fn failed(&self, verb: &'static str, name: &FileName, error: Error) -> RemoteError {
        self.step(verb, name).failed(error.into_kind())
    }

    /// Reads the manifest of a ref.
    fn manifest(&self, name: &FileName, ref_name: &RefName) -> FoundFile<RemoteManifest> {
        match self.repository.manifest(&tag::tag(ref_name)) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(self.failed("read", name, error)),
        }
    }

    fn read_ref(&self, name: &FileName, ref_name: &RefName, limit: u64) -> FoundFile<ReadFile> {
        let Some(manifest) = self.manifest(name, ref_name)? else { return Ok(None) };
        let invalid = |reason: String| self.step("read", name).error(reason);
        let parsed: ManifestJson = serde_json::from_slice(&manifest.bytes)
            .map_err(|error| invalid(format!("the manifest of its tag is not valid: {error}")))?;
        if parsed.artifact_type.as_deref() != Some(ARTIFACT_TYPE) || parsed.config.media_type != DOCUMENT_TYPE {
            let reason = "its tag is an image of another kind".to_owned();
            return Err(invalid(reason).remedy("`composefs oci pull` pulls container images"));
        }
        if parsed.config.size > limit {
            return Err(self.step("read", name).failed(ErrorKind::TooLong { limit }));
        }
        let digest: RegistryDigest = parsed.config.digest.parse().map_err(|error| invalid(format!("{error}")))?;
        let bytes = self.read_blob(name, &digest, limit)?;
        let bytes = bytes.ok_or_else(|| {
            invalid(format!("the registry has its manifest, but not its blob {digest}")).remedy("push it again")
        })?;
        Ok(Some(ReadFile { bytes, version: Some(FileVersion(manifest.digest.to_string())) }))
    }

    /// Reads a whole blob, and checks its digest.
    fn read_blob(&self, name: &FileName, digest: &RegistryDigest, limit: u64) -> FoundFile<Vec<u8>> {
        let step = self.step("read", name);
        let answer = self.repository.blob_answer(digest, None).map_err(|error| self.failed("read", name, error))?;
        let Some(mut answer) = answer else { return Ok(None) };
        let bytes = read_whole(&mut answer.body, limit).map_err(|end| step.body_failed(end))?;
        let found = RegistryDigest::of(&bytes);
        if found != *digest {
            return Err(step.failed(ErrorKind::Digest { expected: digest.clone(), found }));
        }
        Ok(Some(bytes))
    }

    /// Uploads a blob that the repository does not have.
    fn upload(
        &self,
        name: &FileName,
        digest: &RegistryDigest,
        content: &mut dyn NewContent,
    ) -> Result<CreateOutcome, RemoteError> {
        let failed = |error| self.failed("write", name, error);
        if self.repository.blob_length(digest).map_err(failed)?.is_some() {
            return Ok(CreateOutcome::Existed);
        }
        let size = content.length();
        self.repository.upload_blob(digest, size, &UploadSource(Mutex::new(content))).map_err(failed)?;
        Ok(CreateOutcome::New)
    }
}

/// Returns the digest of a file that a registry can have.
fn blob(name: &FileName) -> Option<RegistryDigest> {
    name.sha256().and_then(registry_digest)
}

fn registry_digest(sha256: &Sha256Digest) -> Option<RegistryDigest> {
    format!("sha256:{sha256}").parse().ok()
}

/// Makes the manifest of a ref document.
fn manifest(document: &RefDocument, bytes: &[u8]) -> Vec<u8> {
    let layers: Vec<_> = document
        .files()
        .filter_map(|(name, size)| {
            let kind = match name {
                FileName::Image(_) => "metadata",
                FileName::Index(_) => "index",
                _ => "pack",
            };
            let media_type = format!("application/vnd.composefs.{kind}.v1");
            Some(json!({ "mediaType": media_type, "digest": blob(&name)?.as_str(), "size": size }))
        })
        .collect();
    let config = json!({
        "mediaType": DOCUMENT_TYPE, "digest": RegistryDigest::of(bytes).as_str(), "size": bytes.len(),
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "artifactType": ARTIFACT_TYPE, "config": config,
        "layers": layers,
    });
    manifest.to_string().into_bytes()
}

impl RemoteStore for RegistryStore {
    fn location(&self) -> &str {
        &self.location
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            read_only: None,
            no_gc: Some(NO_GC.to_owned()),
            compare_and_swap: CompareAndSwap::ReadAgain,
            is_near: false,
        }
    }

    fn read(&self, name: &FileName, limit: u64) -> FoundFile<ReadFile> {
        match name {
            FileName::Ref(ref_name) => self.read_ref(name, ref_name, limit),
            // The manifests say what the repository holds.
            FileName::Version => Ok(Some(ReadFile { bytes: version_document(), version: None })),
            _ => match blob(name) {
                Some(digest) => {
                    let bytes = self.read_blob(name, &digest, limit)?;
                    Ok(bytes.map(|bytes| ReadFile { bytes, version: None }))
                }
                None => Ok(None),
            },
        }
    }

    fn read_range(&self, name: &FileName, range: Range<u64>, sink: &mut dyn RangeSink) -> FoundFile<RangeAnswer> {
        let Some(digest) = blob(name) else { return Ok(None) };
        let step = self.step("read", name);
        let answer = self.repository.blob_answer(&digest, Some(&range));
        let Some(answer) = answer.map_err(|error| self.failed("read", name, error))? else { return Ok(None) };
        let mut body = RangeBody::new(answer, &range).map_err(|kind| step.failed(kind))?;
        match body.give(sink) {
            BodyEnd::Whole => Ok(Some(body.answer())),
            other => Err(step.body_failed(other)),
        }
    }

    fn length(&self, name: &FileName) -> FoundFile<u64> {
        if let FileName::Ref(ref_name) = name {
            return Ok(self.manifest(name, ref_name)?.map(|manifest| manifest.bytes.len() as u64));
        }
        let Some(digest) = blob(name) else {
            return Ok(matches!(name, FileName::Version).then(|| version_document().len() as u64));
        };
        self.repository.blob_length(&digest).map_err(|error| self.failed("look for", name, error))
    }

    fn create(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        match blob(name) {
            Some(digest) => self.upload(name, &digest, content),
            None => Err(self.step("write", name).error("a registry has no such files")),
        }
    }

    fn replace(&self, name: &FileName, bytes: &[u8], expected: &ExpectedFile) -> Result<RefReplacement, RemoteError> {
        let step = self.step("replace", name);
        let ref_name = match name {
            FileName::Ref(ref_name) => ref_name,
            // Every repository of a registry can be a remote.
            FileName::Version => return Ok(RefReplacement::Done(None)),
            _ => return Err(step.error("a registry has no such files").remedy(NO_GC)),
        };
        let document = RefDocument::parse(bytes).map_err(|error| step.error(format!("the ref document: {error}")))?;
        let now = self.manifest(name, ref_name)?.map(|manifest| FileVersion(manifest.digest.to_string()));
        let is_expected = match expected {
            ExpectedFile::Absent => now.is_none(),
            ExpectedFile::Version(version) => now.as_ref() == Some(version),
        };
        if !is_expected {
            return Ok(RefReplacement::Changed);
        }
        let mut content = std::io::Cursor::new(bytes);
        self.upload(name, &RegistryDigest::of(bytes), &mut content)?;
        let manifest = manifest(&document, bytes);
        let digest = self.repository.put_manifest(&tag::tag(ref_name), MANIFEST_TYPE, &manifest);
        let digest = digest.map_err(|error| self.failed("replace", name, error))?;
        Ok(RefReplacement::Done(Some(FileVersion(digest.to_string()))))
    }

    fn list(&self, _kind: FileKind) -> Result<Vec<ListedFile>, RemoteError> {
        Err(RemoteError::new(&self.location, "list the files of", "a registry lists no files").remedy(NO_GC))
    }

    fn delete(&self, name: &FileName) -> Result<(), RemoteError> {
        Err(self.step("remove", name).error("a registry removes no single files").remedy(NO_GC))
    }
}

impl RemoteRepository {
    /// Asks for a blob, or for a range of it; `None` if the repository does not have it.
    fn blob_answer(
        &self,
        digest: &RegistryDigest,
        range: Option<&Range<u64>>,
    ) -> Result<Option<crate::transport::Answer>, Error> {
        let mut call = self.blob_call(digest);
        call.headers.extend(range.map(super::http_files::range_header).unwrap_or_default());
        let answer = self.exchange().send(&call, &mut self.exchange().backoff())?;
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.exchange().refuse(&call, answer)),
        }
    }

    /// Returns the length of a blob; `None` if the repository does not have it.
    fn blob_length(&self, digest: &RegistryDigest) -> Result<Option<u64>, Error> {
        let mut call = self.blob_call(digest);
        call.method = reqwest::Method::HEAD;
        let answer = self.exchange().send(&call, &mut self.exchange().backoff())?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.exchange().refuse(&call, answer)),
        }
        let length = answer.header(&reqwest::header::CONTENT_LENGTH).and_then(|length| length.trim().parse().ok());
        let missing = || ErrorKind::Protocol { reason: "it has no Content-Length".to_owned() };
        length.map(Some).ok_or_else(|| Error::new(&call.subject, missing()))
    }
}
