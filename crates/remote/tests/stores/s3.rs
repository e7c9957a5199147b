//! Remotes in buckets, on moto.

use std::fs;

use libcomposefs_delivery::{ExpectedFile, FileKind, RemoteStore};
use libcomposefs_remote::{S3Environment, S3Store};

use super::contract::{check_lists, check_writes, document, ref_name};
use super::{options, servers};

fn environment(port: u16) -> S3Environment {
    S3Environment {
        access_key: Some("key".to_owned()),
        secret_key: Some("secret".to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        ..S3Environment::default()
    }
}

#[test]
fn a_bucket_is_a_remote() {
    let Some(server) = servers::moto("s3::a_bucket_is_a_remote") else { return };
    servers::make_bucket(server.port, "bucket");
    let store = S3Store::open("s3://bucket/some/prefix", options(), &environment(server.port)).unwrap();
    // More than two parts.
    check_writes(&store, 17 << 20);
    check_lists(&store);
    // Another prefix is another remote.
    let other = S3Store::open("s3://bucket/some", options(), &environment(server.port)).unwrap();
    assert_eq!(other.read(&ref_name("plain"), 1 << 20).unwrap(), None);
    // A profile has the same rights.
    let dir = tempfile::tempdir().unwrap();
    let (credentials, config) = (dir.path().join("credentials"), dir.path().join("config"));
    fs::write(&credentials, "[p]\naws_access_key_id = key\naws_secret_access_key = secret\n").unwrap();
    fs::write(&config, format!("[profile p]\nendpoint_url = http://127.0.0.1:{}\n", server.port)).unwrap();
    let by_profile = S3Environment {
        profile: Some("p".to_owned()),
        credentials_file: Some(credentials),
        config_file: Some(config),
        ..S3Environment::default()
    };
    let store = S3Store::open("s3://bucket/some/prefix", options(), &by_profile).unwrap();
    assert!(store.read(&ref_name("plain"), 1 << 20).unwrap().is_some());
}

#[test]
fn a_missing_bucket_is_an_error() {
    let Some(server) = servers::moto("s3::a_missing_bucket_is_an_error") else { return };
    let store = S3Store::open("s3://nowhere", options(), &environment(server.port)).unwrap();
    let failures = [
        store.read(&ref_name("a"), 100).unwrap_err().to_string(),
        store.list(FileKind::Ref).unwrap_err().to_string(),
        store.replace(&ref_name("a"), &document([b"a", b"b", b"c"]), &ExpectedFile::Absent).unwrap_err().to_string(),
    ];
    for failure in failures {
        assert!(failure.contains("bucket") && !failure.contains("secret"), "{failure}");
    }
}
