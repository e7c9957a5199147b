//! Uploads and downloads with a real registry.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::slice::from_ref;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use libcomposefs_remote::{
    ErrorKind, ManifestKind, Mount, RangesAnswer, RegistryClient, RegistryDigest, RemoteRepository, TransferProgress,
};

use crate::real::{Registry, Setup};
use crate::{bytes, endpoint, options, repository};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// Uploads an image of one layer, and returns the text of its manifest.
pub(crate) fn upload_image(repository: &RemoteRepository, layer: &[u8], tag: &str) -> String {
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let mut descriptors = Vec::new();
    for (media_type, content) in [("config.v1+json", &config[..]), ("layer.v1.tar", layer)] {
        let digest = RegistryDigest::of(content);
        repository.upload_blob(&digest, content.len() as u64, content).unwrap_or_else(|error| panic!("{error}"));
        let media_type = format!("application/vnd.oci.image.{media_type}");
        descriptors.push(format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#, content.len()));
    }
    let (config, layer) = (&descriptors[0], &descriptors[1]);
    let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI}","config":{config},"layers":[{layer}]}}"#);
    repository.put_manifest(tag, OCI, manifest.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    manifest
}

fn read(repository: &RemoteRepository, content: &[u8], from: usize) -> Vec<u8> {
    let mut found = Vec::new();
    let reader = repository.blob(&RegistryDigest::of(content), content.len() as u64, from as u64);
    reader.expect("the blob exists").read_to_end(&mut found).expect("the blob is read");
    found
}

#[test]
fn what_is_uploaded_is_read_back() {
    let Some(registry) = Registry::start("transfers::what_is_uploaded_is_read_back", &Setup::default()) else { return };
    let mut options = options();
    options.upload_piece = 64 << 10;
    let repository = repository(&options, &registry.host(), "some/image");
    // In pieces, in one request, and nothing at all.
    for length in [1_000_000, 64 << 10, 1, 0] {
        let content = bytes(length);
        let digest = RegistryDigest::of(&content);
        assert!(!repository.blob_exists(&digest).expect("an answer"), "{length}");
        repository.upload_blob(&digest, length as u64, content.as_slice()).unwrap_or_else(|error| panic!("{error}"));
        assert!(repository.blob_exists(&digest).expect("an answer"), "{length}");
        assert!(read(&repository, &content, 0) == content, "{length}");
        assert!(read(&repository, &content, length / 3) == content[length / 3..], "{length}");
        assert!(read(&repository, &content, length).is_empty(), "{length}");
    }
    let text = upload_image(&repository, b"layer", "one");
    let by_tag = repository.manifest("one").expect("the manifest exists");
    assert_eq!((by_tag.bytes.as_slice(), by_tag.kind), (text.as_bytes(), ManifestKind::OciManifest));
    assert_eq!(repository.manifest(by_tag.digest.as_str()).expect("the manifest exists"), by_tag);
}

#[test]
fn missing_content_is_named_with_the_code_of_the_registry() {
    let name = "transfers::missing_content_is_named_with_the_code_of_the_registry";
    let Some(registry) = Registry::start(name, &Setup::default()) else { return };
    let repository = repository(&options(), &registry.host(), "some/image");
    upload_image(&repository, b"layer", "one");
    let error = repository.manifest("two").expect_err("no such tag");
    let message = error.to_string();
    assert!(error.is_not_found() && error.status() == Some(404), "{message}");
    for part in
        ["the manifest of ", "MANIFEST_UNKNOWN", &registry.host(), "some/image:two", "HTTP 404", "list-tags docker://"]
    {
        assert!(message.contains(part), "{message}");
    }
    let digest = RegistryDigest::of(b"other");
    let error = repository.blob(&digest, 5, 0).expect_err("no such blob");
    assert!(error.is_not_found() && error.identifier() == Some(digest.as_str()), "{error}");
    let layer = RegistryDigest::of(b"layer");
    let error = repository.blob(&layer, 4, 0).expect_err("another size");
    assert!(matches!(error.kind(), ErrorKind::Size { expected: 4, found: 5 }), "{error}");
    let source = || Ok(&b"layed"[..]);
    let error = repository.upload_blob(&RegistryDigest::of(b"another"), 5, &source).expect_err("another content");
    assert!(matches!(error.kind(), ErrorKind::Digest { .. }), "{error}");
    let error = repository.upload_blob(&layer, 6, &source).expect_err("a short source");
    assert!(matches!(error.kind(), ErrorKind::Local(_)), "{error}");
    let text = String::from_utf8(repository.manifest("one").expect("it exists").bytes).expect("text");
    let missing = text.replace(layer.as_str(), digest.as_str());
    let error = repository.put_manifest("x", OCI, missing.as_bytes()).expect_err("a missing blob");
    assert!(error.to_string().contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
    assert!(repository.manifest("../../x").is_err() && repository.manifest("one").is_ok());
}

#[test]
fn blobs_are_mounted_from_other_repositories() {
    let name = "transfers::blobs_are_mounted_from_other_repositories";
    let Some(registry) = Registry::start(name, &Setup::default()) else { return };
    let client = RegistryClient::new(options()).expect("a client");
    let open = |path: &str| client.repository(&endpoint(&registry.host(), path)).expect("a repository");
    let (one, two) = (open("one"), open("two"));
    let (content, other) = (bytes(1000), RegistryDigest::of(b"other"));
    let digest = RegistryDigest::of(&content);
    one.upload_blob(&digest, 1000, content.as_slice()).expect("an upload");
    assert!(!two.blob_exists(&digest).expect("an answer"));
    assert_eq!(two.mount_blob(&digest, "one").expect("an answer"), Mount::Mounted);
    assert!(two.blob_exists(&digest).expect("an answer"));
    assert_eq!(two.mount_blob(&other, "one").expect("an answer"), Mount::Refused);
    let uploads = registry.dir.path().join("storage/docker/registry/v2/repositories/two/_uploads");
    let uploads = std::fs::read_dir(uploads).expect("the registry has begun an upload");
    let is_open =
        |upload: std::io::Result<std::fs::DirEntry>| upload.expect("an entry").path().join("startedat").exists();
    assert!(!uploads.into_iter().any(is_open), "the upload is cancelled");
    assert!(two.mount_blob(&digest, "../one").is_err());
}

#[test]
fn tags_and_referrers_are_listed() {
    let Some(registry) = Registry::start("transfers::tags_and_referrers_are_listed", &Setup::default()) else { return };
    let repository = repository(&options(), &registry.host(), "image");
    assert!(repository.tags().expect_err("no repository").is_not_found());
    let text = upload_image(&repository, b"layer", "b");
    repository.put_manifest("a", OCI, text.as_bytes()).expect("another tag");
    let mut tags = repository.tags().expect("a list");
    tags.sort();
    assert_eq!(tags, ["a", "b"]);
    let digest = RegistryDigest::of(text.as_bytes());
    assert_eq!(repository.referrers(&digest, None).expect("an empty list"), []);
    // This registry has only the tag.
    let descriptor = |kind: &str| {
        format!(r#"{{"mediaType":"{OCI}","digest":"{digest}","size":{},"artifactType":"{kind}"}}"#, text.len())
    };
    let list = "application/vnd.oci.image.index.v1+json";
    let (one, two) = (descriptor("kind/one"), descriptor("kind/two"));
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{list}","manifests":[{one},{two}]}}"#);
    repository.put_manifest(&format!("sha256-{}", digest.hex()), list, index.as_bytes()).expect("an index");
    assert_eq!(repository.referrers(&digest, None).expect("a list").len(), 2);
    let found = repository.referrers(&digest, Some("kind/two")).expect("a list");
    assert_eq!((found.len(), found[0].artifact_type.as_deref()), (1, Some("kind/two")));
    assert_eq!((found[0].size, &found[0].annotations), (text.len() as u64, &BTreeMap::new()));
}

#[test]
fn ranges_are_read_in_one_request_or_several() {
    let name = "transfers::ranges_are_read_in_one_request_or_several";
    let Some(registry) = Registry::start(name, &Setup::default()) else { return };
    let repository = repository(&options(), &registry.host(), "image");
    let content = bytes(300_000);
    let digest = RegistryDigest::of(&content);
    repository.upload_blob(&digest, 300_000, content.as_slice()).expect("an upload");
    let many: Vec<_> = (0..200).map(|at| at * 1500..at * 1500 + 700).collect();
    let one = std::iter::once(0..1).collect();
    for ranges in [one, vec![5..100_000, 100_000..100_001, 299_999..300_000], many, vec![]] {
        let mut found = vec![0; 300_000];
        let mut sink = |at: u64, bytes: &[u8]| {
            let at = at as usize;
            assert!(found[at..at + bytes.len()].iter().all(|byte| *byte == 0), "once");
            found[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        };
        let answer = repository.ranges(&digest, 300_000, &ranges, &mut sink).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(answer, RangesAnswer::Done));
        let mut expected = vec![0; 300_000];
        for range in ranges {
            let range = range.start as usize..range.end as usize;
            expected[range.clone()].copy_from_slice(&content[range]);
        }
        assert!(found == expected);
    }
    let mut sink = |_: u64, _: &[u8]| Ok(());
    let error = repository.ranges(&digest, 400_000, from_ref(&(350_000..350_001)), &mut sink).expect_err("outside");
    assert!(matches!(error.kind(), ErrorKind::Range { size: Some(300_000) }) && error.status() == Some(416), "{error}");
    let error = repository.ranges(&digest, 300_000, &[5..6, 0..1], &mut sink).expect_err("not sorted");
    assert!(matches!(error.kind(), ErrorKind::BadRanges { size: 300_000 }), "{error}");
    let mut full = |_: u64, _: &[u8]| Err(std::io::Error::other("the disk is full"));
    let error = repository.ranges(&digest, 300_000, from_ref(&(5..6)), &mut full).expect_err("a full disk");
    assert!(error.to_string().contains("the disk is full"), "{error}");
}

#[derive(Default)]
struct Counted {
    received: Mutex<BTreeMap<String, u64>>,
    sent: Mutex<u64>,
}

impl TransferProgress for Counted {
    fn received(&self, digest: &RegistryDigest, bytes: u64) {
        *self.received.lock().expect("no panic").entry(digest.to_string()).or_default() += bytes;
    }

    fn sent(&self, _digest: &RegistryDigest, bytes: u64) {
        *self.sent.lock().expect("no panic") += bytes;
    }

    fn retrying(&self, reason: &str, _pause: Duration) {
        panic!("{reason}");
    }
}

#[test]
fn threads_share_a_client_and_progress_counts_all_bytes() {
    let name = "transfers::threads_share_a_client_and_progress_counts_all_bytes";
    let Some(registry) = Registry::start(name, &Setup::default()) else { return };
    let counted = Arc::new(Counted::default());
    let mut options = options();
    options.upload_piece = 100_000;
    let client = RegistryClient::with_progress(options, Arc::<Counted>::clone(&counted)).expect("a client");
    let repository = client.repository(&endpoint(&registry.host(), "image")).expect("a repository");
    let contents: Vec<_> = (1..=6).map(|index| bytes(index * 70_000)).collect();
    let total: usize = contents.iter().map(Vec::len).sum();
    thread::scope(|scope| {
        for content in &contents {
            let repository = repository.clone();
            scope.spawn(move || {
                let digest = RegistryDigest::of(content);
                repository.upload_blob(&digest, content.len() as u64, content.as_slice()).expect("an upload");
                assert!(read(&repository, content, 0) == *content);
            });
        }
    });
    let received = counted.received.lock().expect("no panic");
    assert_eq!((received.len(), received.values().sum::<u64>()), (6, total as u64));
    assert_eq!(*counted.sent.lock().expect("no panic"), total as u64);
}
