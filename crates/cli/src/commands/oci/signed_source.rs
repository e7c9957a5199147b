//! An image whose manifest must be signed by keys, as policy.json demands it: the signatures are read and judged before
//! the source gives out a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, anyhow, ensure};
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::layer::ImportedLayer;
use libcomposefs_oci::manifest::{BlobRef, Document, Manifest, Platform};
use libcomposefs_oci::source::{
    BlobParts, GivenBlob, ImageSource, LayerRequest, RootDocument, SourceError, find_manifest,
};
use libcomposefs_remote::Reference;
use libcomposefs_remote::policy::{PolicyDemand, SignedIdentity, SigstoreKeys};
use libcomposefs_sys::input;
use libcomposefs_trust::{COSIGN_PAYLOAD, COSIGN_PAYLOAD_MAX, COSIGN_SIGNATURE, CosignKey, CosignPayload};

use crate::error_text::{message, with_remedy};

/// Signatures of a manifest that are judged. The manifest of signatures of an image that is signed again and again
/// grows.
const SIGNATURES_MAX: usize = 128;
/// Greatest size of the file of a key, in bytes.
const KEY_MAX: u64 = 64 << 10;

/// Finds the image that a tag of the same repository or layout names; `None` if there is no such tag.
pub(super) type TagFinder = Box<dyn Fn(&str) -> Result<Option<Box<dyn ImageSource + Send>>, SourceError> + Send + Sync>;

/// What a policy says of an image that was read.
#[derive(Debug)]
pub(super) struct SignatureVerdict {
    pub(super) demand: PolicyDemand,
    /// The keys that have signed, after the manifest was read.
    signers: Mutex<Vec<String>>,
}

impl SignatureVerdict {
    pub(super) fn new(demand: PolicyDemand) -> Arc<Self> {
        Arc::new(Self { demand, signers: Mutex::default() })
    }

    /// Returns the keys that have signed the manifest that was read last, one for each requirement.
    pub(super) fn signers(&self) -> Vec<String> {
        self.signers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A source that gives out only manifests that are signed as a policy demands it: the manifest of the image, or the
/// index that names it.
pub(super) struct SignedSource {
    inner: Box<dyn ImageSource + Send>,
    find: TagFinder,
    verdict: Arc<SignatureVerdict>,
    requirements: Vec<SignatureKeys>,
    /// Reference of the image, if it is in a registry.
    reference: Option<Reference>,
    judged: Mutex<JudgedManifests>,
}

#[derive(Default)]
struct JudgedManifests {
    /// Manifests and indexes that are signed as the policy demands it.
    accepted: BTreeSet<BlobDigest>,
    /// Whether the index that the reference leads to is signed: with it, all manifests that it names are.
    is_index_signed: bool,
}

/// A requirement whose keys were read.
struct SignatureKeys {
    keys: BTreeMap<String, CosignKey>,
    identity: SignedIdentity,
}

/// One signature of a manifest.
struct FoundSignature {
    payload: Vec<u8>,
    signature: String,
}

impl SignedSource {
    /// Wraps a source, and reads the keys.
    pub(super) fn new(
        inner: Box<dyn ImageSource + Send>,
        find: TagFinder,
        verdict: Arc<SignatureVerdict>,
        reference: Option<Reference>,
    ) -> anyhow::Result<Self> {
        let PolicyDemand { file, rule, signatures } = &verdict.demand;
        let requirements = signatures.iter().map(|requirement| {
            let keys = read_keys(&requirement.keys);
            let keys = keys.with_context(|| format!("the policy {}: {rule}", file.display()))?;
            Ok(SignatureKeys { keys, identity: requirement.identity.clone() })
        });
        let requirements = requirements.collect::<anyhow::Result<_>>()?;
        Ok(Self { inner, find, verdict, requirements, reference, judged: Mutex::default() })
    }

    /// Checks that a manifest or index is signed as the policy demands.
    fn judge(&self, digest: BlobDigest) -> Result<(), SourceError> {
        if self.judged().accepted.contains(&digest) {
            return Ok(());
        }
        let tag = format!("sha256-{}.sig", digest.hex());
        let result = self.signatures(&tag).and_then(|found| self.judge_by(digest, &tag, &found));
        let accept = |()| {
            self.judged().accepted.insert(digest);
        };
        result.map(accept).map_err(|reason| {
            let PolicyDemand { file, rule, .. } = &self.verdict.demand;
            let file = file.display();
            let text = format!(
                "{} is refused by the policy {file}: {rule} asks for a signature of {digest}, and {}",
                self.inner.describe(),
                message(&reason)
            );
            let remedy = "pull an image that is signed (cosign sign --key, skopeo copy \
                          --sign-by-sigstore-private-key), or change the rule";
            SourceError::Other(with_remedy(&text, remedy).context(text).into())
        })
    }

    fn judge_by(&self, digest: BlobDigest, tag: &str, found: &[FoundSignature]) -> anyhow::Result<()> {
        let mut signers = Vec::new();
        for requirement in &self.requirements {
            let mut reasons = Vec::new();
            let mut results = found.iter().map(|one| requirement.judge(digest, self.reference.as_ref(), one));
            let by = results.find_map(|result| result.map_err(|reason| reasons.push(reason)).ok());
            let Some(by) = by else {
                reasons.dedup();
                let keys = requirement.keys.keys().cloned().collect::<Vec<_>>().join(", ");
                let more = reasons.len().saturating_sub(3);
                let more = if more > 0 { format!("; {more} others do not count either") } else { String::new() };
                reasons.truncate(3);
                return Err(anyhow!("none at the tag {tag} counts for {keys}: {}{more}", reasons.join("; ")));
            };
            signers.push(by);
        }
        *self.verdict.signers.lock().unwrap_or_else(PoisonError::into_inner) = signers;
        Ok(())
    }

    /// Reads the signatures at a tag.
    fn signatures(&self, tag: &str) -> anyhow::Result<Vec<FoundSignature>> {
        let found = (self.find)(tag).with_context(|| format!("the tag {tag} cannot be read"))?;
        let source = found.with_context(|| format!("there is no tag {tag} with signatures beside it"))?;
        let cannot_read = || format!("the tag {tag} cannot be read");
        let manifest = find_manifest(&*source, &Platform::of_machine()).with_context(cannot_read)?;
        let signatures = signature_layers(&manifest);
        ensure!(signatures.len() <= SIGNATURES_MAX, "the tag {tag} has more than {SIGNATURES_MAX} signatures");
        ensure!(!signatures.is_empty(), "the tag {tag} has no signature of a key");
        let read = |(blob, signature): (&BlobRef, &String)| {
            let payload = read_payload(&*source, blob).with_context(cannot_read)?;
            Ok(FoundSignature { payload, signature: signature.clone() })
        };
        signatures.into_iter().map(read).collect()
    }

    fn judged(&self) -> MutexGuard<'_, JudgedManifests> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignatureKeys {
    /// Returns the key that has made a signature, or the reason why the signature does not count.
    fn judge(&self, digest: BlobDigest, image: Option<&Reference>, one: &FoundSignature) -> Result<String, String> {
        // The payload is read after its signature was verified.
        let mut by = self.keys.iter().filter(|(_, key)| key.has_signed(&one.payload, &one.signature));
        let (name, _) = by.next().ok_or("a signature is by another key, or of other bytes")?;
        let payload =
            CosignPayload::parse(&one.payload).map_err(|reason| format!("a signature by {name}: {reason}"))?;
        if payload.manifest != digest.to_string() {
            let other: String = payload.manifest.chars().take(80).collect();
            return Err(format!("a signature by {name} is of another manifest, {other:?}"));
        }
        let accepted = self.identity.accepts(image, &payload.reference);
        accepted.map_err(|reason| format!("a signature by {name} does not count: {reason}"))?;
        Ok(name.clone())
    }
}

/// Returns the layers of a manifest that are payloads, with their signatures.
fn signature_layers(manifest: &Manifest) -> Vec<(&BlobRef, &String)> {
    let payloads = manifest.layers.iter().filter(|blob| blob.media_type == COSIGN_PAYLOAD);
    payloads.filter_map(|blob| Some((blob, blob.annotations.get(COSIGN_SIGNATURE)?))).collect()
}

/// Reads a payload, and compares its size and digest.
fn read_payload(source: &dyn ImageSource, blob: &BlobRef) -> anyhow::Result<Vec<u8>> {
    ensure!(blob.size <= COSIGN_PAYLOAD_MAX, "a payload has {} bytes; {COSIGN_PAYLOAD_MAX} is the limit", blob.size);
    let mut payload = Vec::new();
    source.blob(blob)?.take(COSIGN_PAYLOAD_MAX + 1).read_to_end(&mut payload)?;
    let found = BlobDigest::of(&payload);
    ensure!(found == blob.digest, "a payload has the digest {found}, but {} was asked for", blob.digest);
    Ok(payload)
}

/// Reads the keys of a requirement.
fn read_keys(keys: &SigstoreKeys) -> anyhow::Result<BTreeMap<String, CosignKey>> {
    let parse = |name: String, pem: &[u8]| match CosignKey::parse(pem) {
        Ok(key) => Ok((name, key)),
        Err(reason) => Err(anyhow!("the key {name}: {reason}")),
    };
    match keys {
        SigstoreKeys::Files(paths) => {
            let read = |path: &PathBuf| {
                let shown = path.display();
                let file = input::open(path).with_context(|| format!("cannot open the key {shown}"))?;
                let mut pem = Vec::new();
                let read = file.take(KEY_MAX).read_to_end(&mut pem);
                read.with_context(|| format!("cannot read the key {shown}"))?;
                parse(shown.to_string(), &pem)
            };
            paths.iter().map(read).collect()
        }
        SigstoreKeys::Data(data) => {
            data.iter().enumerate().map(|(number, pem)| parse(format!("key {} of keyData", number + 1), pem)).collect()
        }
    }
}

impl ImageSource for SignedSource {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        let mut root = self.inner.root()?;
        // What is judged is what is given out.
        let digest = BlobDigest::of(&root.raw);
        root.digest = root.digest.or(Some(digest));
        let is_index = matches!(Document::parse(root.raw.clone(), root.media_type.as_deref()), Ok(Document::Index(_)));
        let judged = self.judge(digest);
        self.judged().is_index_signed = is_index && judged.is_ok();
        match judged {
            // The manifest that the index names may be signed itself.
            Err(error) if !is_index => Err(error),
            _ => Ok(root),
        }
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        let raw = self.inner.manifest(blob)?;
        let is_index = || matches!(Document::parse(raw.clone(), Some(&blob.media_type)), Ok(Document::Index(_)));
        let is_index_signed = self.judged().is_index_signed;
        if !is_index_signed && !is_index() {
            self.judge(BlobDigest::of(&raw))?;
        }
        Ok(raw)
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        self.inner.blob(blob)
    }

    fn blob_from(&self, blob: &BlobRef, offset: u64) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        self.inner.blob_from(blob, offset)
    }

    fn kept_blob(&self, blob: &BlobRef) -> Result<Option<GivenBlob<'_>>, SourceError> {
        self.inner.kept_blob(blob)
    }

    fn import_layer(&self, request: LayerRequest<'_>) -> Option<Result<ImportedLayer, SourceError>> {
        self.inner.import_layer(request)
    }

    fn parts(&self, blob: &BlobRef) -> Option<Box<dyn BlobParts + '_>> {
        self.inner.parts(blob)
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn has_blobs(&self) -> bool {
        self.inner.has_blobs()
    }
}
