//! `composefs oci pull` leaves no half image after Ctrl-C or a moved tag, refuses a FIFO in a layout at once, and its
//! messages name the command that helps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use libcomposefs_testkit::program::{Outcome, Program};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::layout_server::{LayoutServer, manifests};
use super::writer::{self, WrittenFile};
use super::{COMPOSEFS, Place, noise, write_layout};

fn layer(text: &str) -> writer::WrittenLayer {
    let files: Vec<WrittenFile> = vec![
        ("usr/file".to_owned(), vec![text.repeat(100).into_bytes()]),
        ("usr/noise".to_owned(), vec![noise(7, 300_000)]),
    ];
    writer::write(&files)
}

/// Writes a layout with one image, and returns the path, the digest of its manifest and that of its layer.
fn layout(place: &Place, text: &str) -> (PathBuf, String, String) {
    let dir = place.dir.path().join("layout");
    let layer = layer(text);
    write_layout(&dir, &layer, "one");
    let manifest = manifests(&dir).remove(0);
    (dir, manifest, libcomposefs_oci::BlobDigest::of(&layer.blob).to_string())
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs/sha256").join(&digest["sha256:".len()..])
}

fn in_repository(place: &Place, repository: &str, arguments: &[&str]) -> Outcome {
    let repository = place.dir.path().join(repository);
    let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
    program.run([&["--repo", repository.to_str().unwrap()], arguments].concat(), b"")
}

#[test]
fn a_tag_that_moves_meanwhile_gives_one_whole_image() {
    let place = Place::new();
    let (dir, first, _) = layout(&place, "first");
    let (_, second, _) = layout(&place, "second");
    assert_ne!(first, second);
    let server = LayoutServer::start(&dir, vec![first.clone(), second], None);
    let source = format!("docker://127.0.0.1:{}/image:moving", server.port);
    let report = place.ours(&["oci", "pull", &source, "--name=image", "--json"]);
    assert_eq!(report.status, Some(0), "{report:?}");
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["manifest"], server.tag_requests.load(Ordering::SeqCst)), (&Value::from(first), 1));
    assert_eq!(place.ours(&["oci", "verify", "image"]).status, Some(0));
}

#[test]
fn a_name_without_a_transport_is_looked_up_in_registries_conf() {
    let place = Place::new();
    let (dir, manifest, _) = layout(&place, "content");
    let server = LayoutServer::start(&dir, vec![manifest.clone(); 4], None);
    let host = format!("127.0.0.1:{}", server.port);
    let conf = place.dir.path().join("registries.conf");
    let pull = |text: &str, name: &str| {
        fs::write(&conf, text).unwrap();
        let mut pull = Command::new(COMPOSEFS);
        pull.env("CONTAINERS_REGISTRIES_CONF", &conf).arg("--repo").arg(place.repo());
        let output = pull.args(["oci", "pull", name, "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (report, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let full = Value::from(format!("{host}/image:moving"));
    let alias = format!("[aliases]\n\"tiny\" = \"{host}/image\"\n");
    assert_eq!(pull(&alias, "tiny:moving").0["name"], full);
    assert_eq!(pull("", &format!("{host}/image:moving")).0["name"], full);
    // The first registry that has the image; without a list, no registry is guessed.
    let search = format!("unqualified-search-registries = [\"127.0.0.1:1\", {host:?}]\nshort-name-mode = ");
    let (report, said) = pull(&format!("{search}\"permissive\"\n"), "image:moving");
    assert!(report["name"] == full && said.contains("image:moving may mean 127.0.0.1:1/image:moving"), "{said}");
    let (_, said) = pull(&format!("{search}\"enforcing\"\n"), "image:moving");
    assert!(said.contains("may mean 127.0.0.1:1/image:moving or 127.0.0.1"), "{said}");
    let (_, said) = pull("", "image:moving");
    assert!(said.contains("begins with no transport: docker://image:moving is"), "{said}");
    let (_, said) = pull(&alias, "./tiny:moving");
    assert!(said.contains("no transport"), "{said}");
}

#[test]
fn an_interrupted_pull_leaves_no_image() {
    let place = Place::new();
    let (dir, manifest, layer) = layout(&place, "content");
    let server = LayoutServer::start(&dir, vec![manifest.clone()], Some(layer));
    let pull = |port: u16| {
        let mut command = Command::new(COMPOSEFS);
        let source = format!("docker://127.0.0.1:{port}/image:moving");
        command.arg("--repo").arg(place.repo()).args(["oci", "pull", &source, "--whole", "--name=image"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut child = pull(server.port);
    server.stopped.recv().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.ours(&["oci", "images", "-q"]).ok().stdout, b"");
    assert_eq!(place.ours(&["fsck"]).status, Some(0));
    assert!(place.ours(&["gc", "--grace=0"]).ok().stdout.starts_with(b"0 images and 0 objects removed"));
    let server = LayoutServer::start(&dir, vec![manifest], None);
    assert!(pull(server.port).wait().unwrap().success());
    assert_eq!(place.ours(&["oci", "verify", "image"]).status, Some(0));
}

#[test]
fn what_is_no_file_in_a_layout_is_refused_at_once() {
    let place = Place::new();
    let (dir, manifest, layer) = layout(&place, "content");
    let source = format!("oci:{}", dir.display());
    for path in [dir.join("index.json"), blob(&dir, &manifest), blob(&dir, &layer)] {
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // No program writes to it: one that opens it for reading waits for ever.
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let refused = place.ours(&["oci", "pull", &source, "--name=image"]);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("no regular file"), "{refused:?}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, content).unwrap();
    }
    assert_eq!(place.ours(&["oci", "pull", &source, "--name=image"]).status, Some(0));
}

#[test]
fn without_a_repository_the_message_names_the_command() {
    let place = Place::new();
    let (dir, ..) = layout(&place, "content");
    let source = format!("oci:{}", dir.display());
    let pull = ["oci", "pull", &source, "--name=image"];
    let missing = in_repository(&place, "other", &pull);
    assert_eq!(missing.status, Some(1), "{missing:?}");
    let init = ["init", "--algorithm=sha512", "--format=1"];
    assert!(missing.stderr.contains(&init.join(" ")), "{missing:?}");
    assert_eq!(in_repository(&place, "other", &[&init[..], &["--insecure"]].concat()).status, Some(0));
    assert_eq!(in_repository(&place, "other", &pull).status, Some(0));
}

#[test]
fn a_repository_of_format_0_gets_the_image_that_others_have() {
    let place = Place::new();
    let (dir, ..) = layout(&place, "content");
    let source = format!("oci:{}", dir.display());
    assert_eq!(in_repository(&place, "old", &["init", "--insecure", "--format=0"]).status, Some(0));
    let image = |repository: &str| -> Value {
        let pulled = in_repository(&place, repository, &["oci", "pull", &source, "--name=image", "--json"]);
        assert_eq!(pulled.status, Some(0), "{pulled:?}");
        serde_json::from_slice::<Value>(&pulled.stdout).unwrap()["image"].clone()
    };
    let digest = place.ours(&["oci", "digest", "--algorithm=sha256", &source]).ok();
    let digest = Value::from(String::from_utf8(digest.stdout).unwrap().trim());
    assert_eq!((image("old"), image("repo")), (digest.clone(), digest));
    assert_eq!(in_repository(&place, "old", &["oci", "verify", "image"]).status, Some(0));
}
