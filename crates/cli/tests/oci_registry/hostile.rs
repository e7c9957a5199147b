//! `composefs oci pull` of what a hostile server or layout has: bodies without end, redirects to another host, and
//! large windows of zstd. Each has a twin that is pulled.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use libcomposefs_oci::BlobDigest;
use libcomposefs_testkit::program::Outcome;
use serde_json::json;

use super::fake::{Fake, Reply};
use super::layout_server::manifests;
use super::writer::{self, WrittenFile, WrittenLayer};
use super::{Place, write_layout};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// base64 of `user:password`.
const AUTH: &str = "dXNlcjpwYXNzd29yZA==";

fn layer() -> WrittenLayer {
    let files: Vec<WrittenFile> = vec![("usr/file".to_owned(), vec![b"content".repeat(5000)])];
    writer::write(&files)
}

/// Answers a request with a blob or a manifest of a layout; `tag` is the tag of the manifest.
fn answer(layout: &Path, path: &str) -> Reply {
    let name = path.rsplit('/').next().unwrap();
    let name = if name == "tag" { manifests(layout).remove(0) } else { name.to_owned() };
    let file = layout.join("blobs/sha256").join(name.trim_start_matches("sha256:"));
    match fs::read(file) {
        Ok(body) if path.contains("/manifests/") => Reply::new(200).header("Content-Type", MANIFEST).body(body),
        Ok(body) => Reply::new(200).body(body),
        Err(_) => Reply::new(404).body(""),
    }
}

fn pull(place: &Place, host: &str, more: &[&str]) -> Outcome {
    let source = format!("docker://{host}/image:tag");
    place.ours(&[&["oci", "pull", &source, "--name=image", "--tls-verify=false"], more].concat())
}

/// Asserts that a pull has failed for a reason, and that nothing has a name.
fn expect_refused(place: &Place, outcome: &Outcome, reasons: &[&str]) {
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert!(reasons.iter().all(|reason| outcome.stderr.contains(reason)), "{reasons:?}: {outcome:?}");
    assert_eq!(place.ours(&["oci", "images", "-q"]).ok().stdout, b"");
    let streams = fs::read_dir(place.repo().join("streams"))
        .map_or(0, |entries| entries.filter(|entry| entry.as_ref().unwrap().file_name() != "refs").count());
    assert_eq!(streams, 0);
}

#[test]
fn bodies_have_an_end() {
    let place = Place::new();
    let (layout, layer) = (place.dir.path().join("layout"), layer());
    write_layout(&layout, &layer, "one");
    let blob = BlobDigest::of(&layer.blob).to_string();
    let serve = |endless: String| {
        let layout = layout.clone();
        Fake::start(move |seen| {
            let reply = answer(&layout, &seen.path);
            let is_endless = !endless.is_empty() && seen.path.ends_with(&endless);
            if !is_endless {
                return reply;
            }
            // Without a length, and with valid bytes as the beginning.
            let mut headers = reply.headers;
            headers.retain(|(name, _)| *name != "Content-Length");
            Reply { headers, is_endless, body: reply.body.repeat(100), ..reply }
        })
    };
    let of_manifest = serve("/manifests/tag".to_owned());
    expect_refused(
        &place,
        &pull(&place, &of_manifest.host(), &[]),
        &["the manifest of", ":tag: ", "more than 4194304 bytes"],
    );
    let of_layer = serve(blob.clone());
    for more in [&["--whole"][..], &[]] {
        expect_refused(&place, &pull(&place, &of_layer.host(), more), &[&blob, "more than"]);
    }
    let honest = serve(String::new());
    assert_eq!(pull(&place, &honest.host(), &[]).status, Some(0));
    assert_eq!(place.ours(&["oci", "verify", "image"]).status, Some(0));
}

#[test]
fn a_host_that_blobs_are_redirected_to_gets_no_credentials() {
    let place = Place::new();
    let layout = place.dir.path().join("layout");
    write_layout(&layout, &layer(), "one");
    let blobs = layout.clone();
    let storage = Fake::start(move |seen| answer(&blobs, &seen.path));
    let (other, documents) = (storage.host(), layout.clone());
    let registry = Fake::start(move |seen| {
        if seen.header("authorization") != Some(&format!("Basic {AUTH}")) {
            return Reply::new(401).header("WWW-Authenticate", "Basic realm=\"test\"").body("");
        }
        match seen.path.contains("/blobs/") {
            true => Reply::new(307).header("Location", format!("http://{other}{}", seen.path)).body(""),
            false => answer(&documents, &seen.path),
        }
    });
    let authfile = place.dir.path().join("auth.json");
    let write = |hosts: &[String]| {
        let entries: serde_json::Map<_, _> = hosts.iter().map(|host| (host.clone(), json!({ "auth": AUTH }))).collect();
        fs::write(&authfile, json!({ "auths": entries }).to_string()).unwrap();
    };
    let option = format!("--authfile={}", authfile.display());
    write(&[storage.host()]);
    let refused = pull(&place, &registry.host(), &[&option]);
    expect_refused(&place, &refused, &["podman login"]);
    assert!(storage.seen().is_empty());
    // The other host is in the file as well: what is redirected has no use for it.
    write(&[registry.host(), storage.host()]);
    assert_eq!(pull(&place, &registry.host(), &[&option]).status, Some(0));
    let seen = storage.seen();
    assert!(seen.len() >= 2, "the configuration and the layer: {seen:?}");
    assert!(seen.iter().all(|seen| seen.header("authorization").is_none()), "{seen:?}");
    assert!(seen.iter().all(|seen| !seen.head.contains(AUTH)), "{seen:?}");
}

/// Compresses an archive with a window, which the frame declares whatever the size of the archive is.
fn with_window(layer: &WrittenLayer, log: u32) -> WrittenLayer {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    encoder.write_all(&layer.archive).unwrap();
    encoder.flush().unwrap();
    let blob = encoder.finish().unwrap();
    WrittenLayer { blob, diff_id: layer.diff_id, annotations: Default::default(), archive: layer.archive.clone() }
}

#[test]
fn windows_above_the_limit_are_refused() {
    let place = Place::new();
    let layer = layer();
    let source = |log: u32| {
        let layout = place.dir.path().join(log.to_string());
        write_layout(&layout, &with_window(&layer, log), "one");
        format!("oci:{}", layout.display())
    };
    let (usual, large) = (source(27), source(28));
    let pull = |source: &str, more: &[&str]| place.ours(&[&["oci", "pull", source, "--name=image"], more].concat());
    let limit = ["more than 128 MiB", "--max-window", "layer 1 of 1"];
    expect_refused(&place, &pull(&large, &[]), &limit);
    expect_refused(&place, &pull(&usual, &["--max-window=64"]), &["more than 64 MiB"]);
    let digest = place.ours(&["oci", "digest", &large]);
    assert!(digest.status == Some(1) && digest.stderr.contains(limit[0]), "{digest:?}");
    for wrong in ["--max-window=100", "--max-window=0", "--max-window=4096"] {
        assert_eq!(pull(&usual, &[wrong]).status, Some(2), "{wrong}");
    }
    let expected = pull(&usual, &[]).ok();
    assert_eq!(place.ours(&["oci", "untag", "image"]).status, Some(0));
    assert_eq!(place.ours(&["gc", "--grace=0"]).status, Some(0));
    let raised = pull(&large, &["--max-window=256"]).ok();
    let image = |outcome: &Outcome| outcome.line().lines().find(|line| line.starts_with("image")).unwrap().to_owned();
    assert_eq!(image(&raised), image(&expected));
    assert_eq!(place.ours(&["oci", "digest", &large, "--max-window=2048"]).status, Some(0));
    assert_eq!(place.ours(&["oci", "verify", "image"]).status, Some(0));
}
