//! Remotes in Debian's docker-registry.

use std::process::Command;

use libcomposefs_delivery::{FileKind, FileName, RemoteStore};
use libcomposefs_remote::RegistryStore;

use super::contract::{check_writes, ref_name};
use super::options;
use super::real::{Registry, Setup, has_programs};

fn open(registry: &Registry, path: &str) -> RegistryStore {
    RegistryStore::open(&format!("oci://{}/{path}", registry.host()), options())
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_repository_of_a_registry_is_a_remote() {
    let test = "registry::a_repository_of_a_registry_is_a_remote";
    let Some(registry) = Registry::start(test, &Setup::default()) else { return };
    let store = open(&registry, "some/images");
    check_writes(&store, 9 << 20);
    assert!(store.read(&FileName::Version, 1000).unwrap().is_some());
    // What a registry cannot do, it says, with the way round.
    for error in [store.list(FileKind::Pack).unwrap_err(), store.delete(&ref_name("plain")).unwrap_err()] {
        assert!(error.to_string().contains("skopeo delete"), "{error}");
    }
    // Another client sees an artifact with all files.
    if !has_programs(test, &["skopeo"]) {
        return;
    }
    let image = format!("docker://{}/some/images:plain", registry.host());
    let output = Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &image]).output().unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.composefs.image.v1");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 3);
}

#[test]
fn an_image_of_another_kind_is_refused() {
    let test = "registry::an_image_of_another_kind_is_refused";
    let Some(registry) = Registry::start(test, &Setup::default()) else { return };
    let client = libcomposefs_remote::RegistryClient::new(options()).unwrap();
    let endpoint = libcomposefs_remote::Endpoint {
        host: registry.host(),
        path: "image".to_owned(),
        is_insecure: false,
        is_mirror: false,
    };
    let repository = client.repository(&endpoint).unwrap();
    let config = libcomposefs_remote::RegistryDigest::of(b"{}");
    repository.upload_blob(&config, 2, &b"{}"[..]).unwrap();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.to_string(), "size": 2 },
        "layers": [],
    });
    let manifest = manifest.to_string();
    repository.put_manifest("latest", kind, manifest.as_bytes()).unwrap();
    let error = open(&registry, "image").read(&ref_name("latest"), 1 << 20).unwrap_err().to_string();
    assert!(error.contains("oci pull"), "{error}");
}
