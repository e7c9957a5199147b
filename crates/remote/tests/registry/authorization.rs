//! User names and passwords with a real registry, from the same auth file as skopeo.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use libcomposefs_remote::{ClientOptions, ErrorKind, Locations, RegistryDigest};

use crate::real::{Registry, Setup, has_programs};
use crate::transfers::upload_image;
use crate::{options, repository};

/// The user `user` with the password `password`, as `htpasswd -nbB` writes it.
const HTPASSWD: &str = "user:$2y$05$n27qd7t7ml/GxtgQhib9lejrQ4c8B74tFKkb3PRG.FCbVwFu7p4bm\n";
/// base64 of `user:password` and of `user:other`.
const RIGHT: &str = "dXNlcjpwYXNzd29yZA==";
const WRONG: &str = "dXNlcjpvdGhlcg==";

fn start(name: &str) -> Option<Registry> {
    let auth = "auth:\n  htpasswd:\n    realm: test\n    path: DIR/htpasswd\n";
    Registry::start(name, &Setup { auth, files: &[("htpasswd", HTPASSWD)], ..Setup::default() })
}

/// Options with an auth file of this text.
fn with_auth(registry: &Registry, file: &str, text: &str) -> (ClientOptions, PathBuf) {
    let path = registry.dir.path().join(file);
    fs::write(&path, text).expect("a file");
    let locations = Locations { auth_file: Some(path.clone()), ..Locations::default() };
    (ClientOptions { locations, ..options() }, path)
}

fn auths(key: &str, auth: &str) -> String {
    format!(r#"{{"auths": {{"{key}": {{"auth": "{auth}"}}}}}}"#)
}

#[test]
fn credentials_open_the_registry() {
    let Some(registry) = start("authorization::credentials_open_the_registry") else { return };
    let host = registry.host();
    let (options, _) = with_auth(&registry, "auth.json", &auths(&host, RIGHT));
    let repository = repository(&options, &host, "image");
    upload_image(&repository, b"layer", "one");
    assert!(repository.manifest("one").is_ok());
    assert!(repository.blob_exists(&RegistryDigest::of(b"layer")).expect("an answer"));
    // Credentials of one repository are not used for another one.
    let key = format!("{host}/image");
    let (options, _) = with_auth(&registry, "path.json", &auths(&key, RIGHT));
    assert!(crate::repository(&options, &host, "image").manifest("one").is_ok());
    let error = crate::repository(&options, &host, "other").manifest("one").expect_err("no credentials");
    assert_eq!(error.status(), Some(401), "{error}");
}

#[test]
fn without_credentials_the_message_names_files_and_command() {
    let name = "authorization::without_credentials_the_message_names_files_and_command";
    let Some(registry) = start(name) else { return };
    let host = registry.host();
    let home = registry.dir.path().join("home");
    let locations = Locations { home: Some(home.clone()), runtime_dir: Some(home.clone()), ..Locations::default() };
    let options = ClientOptions { locations, ..options() };
    let error = repository(&options, &host, "image").manifest("one").expect_err("no credentials");
    let ErrorKind::Unauthorized { had_credentials: false, searched, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(searched.len(), 4);
    let message = error.to_string();
    for file in ["home/containers/auth.json", "home/.docker/config.json", "home/.dockercfg"] {
        assert!(message.contains(file), "{message}");
    }
    assert!(message.contains(&format!("`podman login {host}`")) && message.contains("HTTP 401"), "{message}");
    let (options, path) = with_auth(&registry, "wrong.json", &auths(&host, WRONG));
    let error = repository(&options, &host, "image").manifest("one").expect_err("wrong credentials");
    let message = error.to_string();
    assert!(matches!(error.kind(), ErrorKind::Unauthorized { had_credentials: true, .. }), "{message}");
    assert!(message.contains("refuses the credentials") && message.contains(&path.display().to_string()), "{message}");
    assert!(!message.contains("other") && !message.contains(WRONG), "{message}");
}

#[test]
fn skopeo_agrees_about_auth_files() {
    let name = "authorization::skopeo_agrees_about_auth_files";
    if !has_programs(name, &["skopeo"]) {
        return;
    }
    let Some(registry) = start(name) else { return };
    let host = registry.host();
    let (options, _) = with_auth(&registry, "auth.json", &auths(&host, RIGHT));
    upload_image(&repository(&options, &host, "some/image"), b"layer", "one");
    let texts = [
        (auths(&host, RIGHT), true),
        (auths(&host, WRONG), false),
        (auths(&format!("{host}/some/image"), RIGHT), true),
        (auths(&format!("{host}/some"), RIGHT), true),
        (auths(&format!("{host}/som"), RIGHT), false),
        (auths(&format!("http://{host}/v2/"), RIGHT), true),
        (auths("127.0.0.1", RIGHT), false),
        (r#"{"auths": {}}"#.to_owned(), false),
        ("{}".to_owned(), false),
    ];
    for (index, (text, opens)) in texts.iter().enumerate() {
        let (options, path) = with_auth(&registry, &format!("{index}.json"), text);
        let ours = repository(&options, &host, "some/image").manifest("one").map(|manifest| manifest.bytes);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["inspect", "--raw", "--tls-verify=false", "--authfile"]).arg(path);
        let theirs = skopeo.arg(format!("docker://{host}/some/image:one")).output().expect("skopeo runs");
        assert_eq!((ours.is_ok(), theirs.status.success()), (*opens, *opens), "{text}");
        if let Ok(bytes) = ours {
            assert_eq!(bytes, theirs.stdout, "{text}");
        }
    }
}
