//! Images between skopeo, the registry and the client, and mirrors by registries.conf.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use libcomposefs_remote::{
    EndpointError, ErrorKind, ManifestKind, Reference, RegistriesConf, RegistryClient, RegistryDigest,
};

use crate::real::{Registry, Setup, has_programs};
use crate::transfers::upload_image;
use crate::{bytes, options, repository};

/// Writes an OCI layout with an image of one layer under the tag `one`, and returns its manifest.
fn write_layout(dir: &Path, layer: &[u8]) -> Vec<u8> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let write = |kind: &str, content: &[u8]| {
        let digest = RegistryDigest::of(content);
        fs::write(blobs.join(digest.hex()), content).expect("a blob");
        let media_type = format!("application/vnd.oci.image.{kind}");
        format!(r#""mediaType":"{media_type}","digest":"{digest}","size":{}"#, content.len())
    };
    let layer_descriptor = write("layer.v1.tar", layer);
    let diff_id = RegistryDigest::of(layer);
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
    let config = write("config.v1+json", config.as_bytes());
    let media_type = ManifestKind::OciManifest.media_type();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{{{config}}},"layers":[{{{layer_descriptor}}}]}}"#
    );
    let descriptor = write("manifest.v1+json", manifest.as_bytes());
    let annotations = r#""annotations":{"org.opencontainers.image.ref.name":"one"}"#;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{{descriptor},{annotations}}}]}}"#);
    fs::write(dir.join("index.json"), index).expect("a file");
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    manifest.into_bytes()
}

fn copy(from: &str, to: &str) {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--preserve-digests"]);
    skopeo.args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
    let output = skopeo.output().expect("skopeo runs");
    assert!(output.status.success(), "{from} {to}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_image_of_skopeo_is_read() {
    let name = "skopeo::an_image_of_skopeo_is_read";
    if !has_programs(name, &["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(name, &Setup::default()) else { return };
    let layout = registry.dir.path().join("layout");
    // A tar archive without entries.
    let layer = vec![0; 10_240];
    let manifest = write_layout(&layout, &layer);
    copy(&format!("oci:{}:one", layout.display()), &format!("docker://{}/some/image:one", registry.host()));
    let repository = repository(&options(), &registry.host(), "some/image");
    let found = repository.manifest("one").expect("the manifest");
    assert_eq!((found.kind, &found.bytes), (ManifestKind::OciManifest, &manifest));
    let mut blob = Vec::new();
    let reader = repository.blob(&RegistryDigest::of(&layer), layer.len() as u64, 0);
    reader.expect("the layer").read_to_end(&mut blob).expect("the layer is read");
    assert_eq!(blob, layer);
}

#[test]
fn an_image_of_the_client_is_read_by_skopeo() {
    let name = "skopeo::an_image_of_the_client_is_read_by_skopeo";
    if !has_programs(name, &["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(name, &Setup::default()) else { return };
    let layer = bytes(3_000_000);
    let mut options = options();
    options.upload_piece = 1_000_000;
    let manifest = upload_image(&repository(&options, &registry.host(), "some/image"), &layer, "one");
    let layout = registry.dir.path().join("out");
    copy(&format!("docker://{}/some/image:one", registry.host()), &format!("oci:{}:one", layout.display()));
    let blob = |digest: &RegistryDigest| fs::read(layout.join("blobs/sha256").join(digest.hex())).expect("a blob");
    assert!(blob(&RegistryDigest::of(&layer)) == layer);
    assert_eq!(blob(&RegistryDigest::of(manifest.as_bytes())), manifest.as_bytes());
}

#[test]
fn mirrors_are_tried_before_the_registry() {
    let name = "skopeo::mirrors_are_tried_before_the_registry";
    let (Some(first), Some(second)) =
        (Registry::start(name, &Setup::default()), Registry::start(name, &Setup::default()))
    else {
        return;
    };
    let (one, two) = (first.host(), second.host());
    upload_image(&repository(&options(), &one, "image"), b"only in the registry", "one");
    upload_image(&repository(&options(), &two, "cache/image"), b"in the mirror", "two");
    upload_image(&repository(&options(), &one, "image"), b"in the registry", "two");
    let text = format!(
        "[[registry]]\nlocation = \"{one}\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1/none\"\n\
         [[registry.mirror]]\nlocation = \"{two}/cache\"\n\
         [[registry]]\nlocation = \"{one}/blocked\"\nblocked = true\n"
    );
    let mut conf = RegistriesConf::default();
    conf.add(&text, Path::new("registries.conf")).expect("a valid file");
    let client = RegistryClient::new(options()).expect("a client");
    let pull = |name: &str| {
        let reference: Reference = format!("{one}/{name}").parse().expect("a reference");
        client.pull_source(&reference, &conf)
    };
    let by_mirror = pull("image:two").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (by_mirror.repository.endpoint().host.as_str(), by_mirror.repository.endpoint().is_mirror),
        (&*two, true)
    );
    assert!(by_mirror.repository.blob_exists(&RegistryDigest::of(b"in the mirror")).expect("an answer"));
    let by_registry = pull("image:one").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(by_registry.repository.endpoint().host, one);
    let error = pull("image:three").expect_err("no such tag");
    assert!(error.is_not_found() && error.host() == one, "{error}");
    let error = pull("blocked:one").expect_err("blocked");
    assert!(matches!(error.kind(), ErrorKind::Endpoint(EndpointError::Blocked { .. })), "{error}");
}
