//! Remotes on web servers.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use libcomposefs_delivery::{ExpectedFile, FileKind, FileName, Persistence, RemoteStore, Sha256Digest};
use libcomposefs_remote::WebStore;

use super::contract::{Kept, check_reads, pack, ref_name};
use super::fake::{Fake, Reply};
use super::{noise, options, servers};

fn open(url: &str) -> WebStore {
    WebStore::open(url, options(), &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Writes a file of a remote.
fn write(root: &Path, name: &FileName, content: &[u8]) {
    let path = root.join(name.path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn check(store: &WebStore, root: &Path, has_ranges: bool) {
    let content = noise(300_000);
    write(root, &pack(&content), &content);
    check_reads(store, &pack(&content), &content, has_ranges);
    let name = ref_name("with/slash and \u{e4}?#%2f");
    write(root, &name, b"document");
    assert_eq!(store.read(&name, 100).unwrap().unwrap().bytes, b"document");
    // Nothing is written, and the message says where one can write.
    let failures = [
        store.create(&pack(b"x"), &mut std::io::Cursor::new(b"x")).unwrap_err(),
        store.replace(&name, b"x", &ExpectedFile::Absent).unwrap_err(),
        store.delete(&name).unwrap_err(),
        store.list(FileKind::Pack).unwrap_err(),
    ];
    for failure in failures {
        let text = failure.to_string();
        assert!(text.contains("s3://") && text.contains("ssh://") && text.contains("oci://"), "{text}");
        assert_eq!(failure.persistence(), Persistence::Permanent);
    }
}

#[test]
fn nginx_sends_ranges() {
    let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let gzip = "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;";
    let Some(server) = servers::nginx("web::nginx_sends_ranges", root.path(), home.path(), gzip) else { return };
    check(&open(&format!("http://127.0.0.1:{}", server.port)), root.path(), true);
}

#[test]
fn python_sends_whole_files() {
    let root = tempfile::tempdir().unwrap();
    let Some(server) = servers::python("web::python_sends_whole_files", root.path()) else { return };
    let below = root.path().join("a b");
    fs::create_dir(&below).unwrap();
    check(&open(&format!("http://localhost:{}/a%20b/", server.port)), &below, false);
}

#[test]
fn credentials_come_from_netrc_or_the_url() {
    let fake = Fake::start(|seen| match seen.header("authorization") {
        // u:p
        Some("Basic dTpw") => Reply::new(200).body("document"),
        _ => Reply::new(401).body("no"),
    });
    let dir = tempfile::tempdir().unwrap();
    let netrc = dir.path().join("netrc");
    fs::write(&netrc, "machine other login x password y\nmachine 127.0.0.1 login u password p\n").unwrap();
    let url = format!("http://127.0.0.1:{}/", fake.port);
    let files = [dir.path().join("missing"), netrc.clone()];
    let name = ref_name("a");
    let with_netrc = WebStore::open(&url, options(), &files).unwrap();
    assert_eq!(with_netrc.read(&name, 100).unwrap().unwrap().bytes, b"document");
    let in_url = open(&url.replace("http://", "http://u:p@"));
    assert!(in_url.read(&name, 100).is_ok() && !in_url.location().contains("u:p"), "{}", in_url.location());
    let error = open(&url).read(&name, 100).unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("machine HOST"), "{error}");
    let wrong = open(&url.replace("http://", "http://u:geheim@"));
    let error = wrong.read(&name, 100).unwrap_err().to_string();
    assert!(error.contains("refuses the credentials") && !error.contains("geheim"), "{error}");
}

#[test]
fn redirects_carry_credentials_to_the_same_server_only() {
    let other = Arc::new(Fake::start(|_| Reply::new(200).body("document")));
    let target = format!("http://127.0.0.1:{}/x", other.port);
    let fake = Fake::start(move |seen| match seen.path.as_str() {
        "/refs/here" => Reply::new(302).header("Location", "/moved").body(""),
        "/moved" => Reply::new(200).body("document"),
        "/refs/loop" => Reply::new(302).header("Location", "/refs/loop").body(""),
        "/refs/file" => Reply::new(302).header("Location", "file:///etc/passwd").body(""),
        _ => Reply::new(307).header("Location", target.clone()).body(""),
    });
    let store = open(&format!("http://u:p@127.0.0.1:{}/", fake.port));
    for name in ["here", "there"] {
        assert_eq!(store.read(&ref_name(name), 100).unwrap().unwrap().bytes, b"document");
    }
    assert!(fake.seen().iter().all(|seen| seen.header("authorization") == Some("Basic dTpw")));
    assert!(!other.seen().is_empty() && other.seen().iter().all(|seen| seen.header("authorization").is_none()));
    for name in ["loop", "file"] {
        let error = store.read(&ref_name(name), 100).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}

#[test]
fn servers_without_head_are_asked_for_a_byte() {
    let fake = Fake::start(|seen| match (seen.method.as_str(), seen.header("range")) {
        ("HEAD", _) => Reply::new(405).body(""),
        (_, Some("bytes=0-0")) => Reply::new(206).header("Content-Range", "bytes 0-0/77").body("x"),
        _ => Reply::new(500).body(""),
    });
    let store = open(&format!("http://127.0.0.1:{}/", fake.port));
    assert_eq!(store.length(&FileName::Pack(Sha256Digest::of(b"x"))).unwrap(), Some(77));
    let error = store.read_range(&pack(b"x"), 5..6, &mut Kept::default()).unwrap_err();
    assert!(matches!(error.persistence(), Persistence::Temporary { pause: None }), "{error}");
}

#[test]
fn a_server_may_ask_for_a_pause() {
    let fake = Fake::start(|_| Reply::new(503).header("Retry-After", "7").body(""));
    let store = open(&format!("http://127.0.0.1:{}/", fake.port));
    let error = store.read(&ref_name("a"), 100).unwrap_err();
    let pause = Some(std::time::Duration::from_secs(7));
    assert_eq!(error.persistence(), Persistence::Temporary { pause }, "{error}");
    // A store repeats no request.
    assert_eq!(fake.seen().len(), 1);
}
