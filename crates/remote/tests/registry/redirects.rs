//! Redirects: credentials go to no other host, and there is an end.

use std::fs;
use std::io::Read as _;

use libcomposefs_remote::{ClientOptions, ErrorKind, Locations, RegistryDigest};

use crate::fake::{Fake, Reply};
use crate::{options, repository};

/// base64 of `user:password`.
const AUTH: &str = "dXNlcjpwYXNzd29yZA==";

/// Options with credentials for these hosts.
fn with_credentials(dir: &tempfile::TempDir, hosts: &[String]) -> ClientOptions {
    let entries: Vec<_> = hosts.iter().map(|host| format!(r#""{host}": {{"auth": "{AUTH}"}}"#)).collect();
    let path = dir.path().join("auth.json");
    fs::write(&path, format!(r#"{{"auths": {{{}}}}}"#, entries.join(","))).expect("a file");
    ClientOptions { locations: Locations { auth_file: Some(path), ..Locations::default() }, ..options() }
}

fn challenge() -> Reply {
    Reply::new(401).header("WWW-Authenticate", "Basic realm=\"test\"").body("")
}

#[test]
fn credentials_stay_with_the_registry() {
    let dir = tempfile::tempdir().expect("a directory");
    let storage = Fake::start(|_| Reply::new(200).body("abc"));
    let other = storage.host();
    let registry = Fake::start(move |seen| match (seen.header("authorization"), seen.path.ends_with("/moved")) {
        (None, _) => challenge(),
        (Some(_), true) => Reply::new(200).body("abc"),
        (Some(_), false) if seen.path.contains("/here/") => {
            Reply::new(307).header("Location", "/v2/here/moved").body("")
        }
        _ => Reply::new(307).header("Location", format!("http://{other}/blob?signature=x")).body(""),
    });
    // The other host has credentials as well; they are of no use there.
    let options = with_credentials(&dir, &[registry.host(), storage.host()]);
    let digest = RegistryDigest::of(b"abc");
    let read = |path: &str| {
        let mut text = String::new();
        let reader = repository(&options, &registry.host(), path).blob(&digest, 3, 0);
        reader.unwrap_or_else(|error| panic!("{error}")).read_to_string(&mut text).expect("the blob is read");
        text
    };
    assert_eq!(read("away"), "abc");
    let seen = storage.seen();
    assert_eq!((seen.len(), seen[0].header("authorization")), (1, None));
    assert_eq!(seen[0].path, "/blob?signature=x");
    assert_eq!(read("here"), "abc");
    let last = registry.seen().pop().expect("requests");
    assert_eq!(last.header("authorization"), Some(format!("Basic {AUTH}").as_str()));
}

#[test]
fn another_host_gets_no_credentials_by_a_challenge_or_a_way_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let greedy = Fake::start(|_| challenge());
    let other = greedy.host();
    let registry = Fake::start(move |seen| match seen.header("authorization") {
        None => challenge(),
        Some(_) => Reply::new(307).header("Location", format!("http://{other}/")).body(""),
    });
    let options = with_credentials(&dir, &[registry.host(), greedy.host()]);
    let error = repository(&options, &registry.host(), "image").manifest("one").expect_err("a challenge");
    assert_eq!(error.status(), Some(401), "{error}");
    assert!(greedy.seen().iter().all(|seen| seen.header("authorization").is_none()));
    // The other host sends the request back to a path of its choice.
    let registry = Fake::start(|seen| match seen.header("authorization") {
        _ if seen.path == "/elsewhere" => Reply::new(200).body("abc"),
        None => challenge(),
        Some(_) => {
            let back = seen.header("host").expect("a host").to_owned();
            let sender =
                Fake::start(move |_| Reply::new(302).header("Location", format!("http://{back}/elsewhere")).body(""));
            Reply::new(307).header("Location", format!("http://{}/", sender.host())).body("")
        }
    });
    let options = with_credentials(&dir, &[registry.host()]);
    assert!(repository(&options, &registry.host(), "image").blob(&RegistryDigest::of(b"abc"), 3, 0).is_ok());
    let last = registry.seen().pop().expect("requests");
    assert_eq!((last.path.as_str(), last.header("authorization")), ("/elsewhere", None));
}

#[test]
fn an_upload_elsewhere_gets_no_credentials() {
    let dir = tempfile::tempdir().expect("a directory");
    let storage = Fake::start(|_| Reply::new(201).body(""));
    let other = storage.host();
    let registry = Fake::start(move |seen| match seen.header("authorization") {
        None => challenge(),
        Some(_) => Reply::new(202).header("Location", format!("http://{other}/upload")).body(""),
    });
    let options = with_credentials(&dir, &[registry.host(), storage.host()]);
    let repository = repository(&options, &registry.host(), "image");
    repository.upload_blob(&RegistryDigest::of(b"abc"), 3, &b"abc"[..]).unwrap_or_else(|error| panic!("{error}"));
    let seen = storage.seen();
    assert_eq!((seen.len(), seen[0].header("authorization"), seen[0].body.as_slice()), (1, None, &b"abc"[..]));
}

#[test]
fn redirects_have_an_end() {
    let fake = Fake::start(|seen| {
        let step: u32 = seen.path.rsplit('/').next().and_then(|step| step.parse().ok()).unwrap_or(0);
        let last = if seen.path.contains("ten") { 10 } else { 11 };
        let name = if seen.path.contains("ten") { "ten" } else { "eleven" };
        match step {
            step if step == last => Reply::new(200).body("abc"),
            step => Reply::new(302).header("Location", format!("/{name}/{}", step + 1)).body(""),
        }
    });
    let blob = |path: &str| repository(&options(), &fake.host(), path).blob(&RegistryDigest::of(b"abc"), 3, 0);
    assert!(blob("ten").is_ok());
    let error = blob("eleven").expect_err("too many");
    assert!(matches!(error.kind(), ErrorKind::Redirect { .. }) && error.to_string().contains("10"), "{error}");
}

#[test]
fn redirects_to_nowhere_are_refused() {
    for (location, reason) in [("", "no Location"), ("file:///etc/passwd", "which is refused"), ("http://[", "no URL")]
    {
        let fake = Fake::start(move |_| match location {
            "" => Reply::new(307).body(""),
            _ => Reply::new(307).header("Location", location).body(""),
        });
        let error = repository(&options(), &fake.host(), "image").manifest("one").expect_err("no target");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(fake.seen().len(), 1);
    }
}
