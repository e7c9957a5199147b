//! policy.json decides about images in layouts, archives and the store of podman too, and `oci verify` says if the file
//! is missing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use libcomposefs_testkit::{privilege, skip};

use super::writer::{self, WrittenFile};
use super::{COMPOSEFS, Place, write_layout};

fn layout(dir: &Path) {
    let files: Vec<WrittenFile> = vec![("usr/file".to_owned(), vec![b"content".repeat(100)])];
    write_layout(dir, &writer::write(&files), "one");
}

/// Runs the program with a policy of the user.
fn with_policy(place: &Place, policy: &str, arguments: &[&str]) -> Output {
    let config = place.dir.path().join("config");
    fs::create_dir_all(config.join("containers")).unwrap();
    fs::write(config.join("containers/policy.json"), policy).unwrap();
    let mut command = Command::new(COMPOSEFS);
    command.env("XDG_CONFIG_HOME", config).arg("--repo").arg(place.repo()).args(arguments).output().unwrap()
}

#[test]
fn a_policy_decides_about_layouts_and_archives() {
    let place = Place::new();
    let dir = place.dir.path().canonicalize().unwrap();
    let (layouts, at) = (dir.join("layouts"), dir.display());
    layout(&layouts.join("a"));
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    let oci = format!("oci:{at}/layouts/a:one");
    let archive = format!("oci-archive:{at}/a.tar");
    let pull = |policy: &str, source: &str| with_policy(&place, policy, &["oci", "pull", source, "--name=image"]);
    let accepted = pull(&format!(r#"{{"default":{accept}}}"#), &oci);
    assert!(accepted.status.success(), "{accepted:?}");
    let exported = place.ours(&["oci", "export", "image", &archive]);
    assert_eq!(exported.status, Some(0), "{exported:?}");

    let reject = r#"{"default":[{"type":"reject"}]}"#;
    let signed = r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/key"}]}"#;
    for source in [&oci, &archive] {
        for (policy, rule) in [(reject, "reject"), (signed, "signedBy")] {
            let refused = pull(policy, source);
            let message = String::from_utf8_lossy(&refused.stderr);
            let names = source.split_once(':').unwrap().0;
            assert!(!refused.status.success(), "{source} {policy}");
            assert!(message.contains(names) && message.contains(rule) && message.contains("policy.json"), "{message}");
        }
    }
    // The scopes are directories above the layout.
    let scoped =
        |dir: &str| format!(r#"{{"default":[{{"type":"reject"}}],"transports":{{"oci":{{"{at}/{dir}":{accept}}}}}}}"#);
    assert!(pull(&scoped("layouts"), &oci).status.success());
    assert!(!pull(&scoped("elsewhere"), &oci).status.success());
    assert!(!pull(&scoped("layouts"), &archive).status.success());
}

/// Unpacks the store of podman that the tests of the crate `oci` have.
fn podman_store(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oci/tests/data/containers-storage.tar.gz");
    let unpacked = Command::new("tar").arg("--no-same-owner").arg("-xzf").arg(data).arg("-C").arg(dir).status();
    assert!(unpacked.unwrap().success());
}

#[test]
fn a_policy_decides_about_docker_archives_and_the_store_of_podman() {
    let place = Place::new();
    let dir = place.dir.path().canonicalize().unwrap();
    let (at, accept) = (dir.display(), r#"[{"type":"insecureAcceptAnything"}]"#);
    layout(&dir.join("layout"));
    podman_store(&dir.join("store"));
    let pull = |policy: &str, source: &str| with_policy(&place, policy, &["oci", "pull", source, "--name=image"]);
    let pulled = pull(&format!(r#"{{"default":{accept}}}"#), &format!("oci:{at}/layout:one"));
    assert!(pulled.status.success(), "{pulled:?}");
    let archive = format!("docker-archive:{at}/a.tar");
    let exported = place.ours(&["oci", "export", "image", &archive]);
    assert_eq!(exported.status, Some(0), "{exported:?}");
    let store = format!("containers-storage:[{at}/store]localhost/base:1");

    let by_scope = |transport: &str, scope: &str, rule: &str| {
        format!(r#"{{"default":[{{"type":"reject"}}],"transports":{{"{transport}":{{"{scope}":{rule}}}}}}}"#)
    };
    let signed = r#"[{"type":"sigstoreSigned","keyPath":"/key"}]"#;
    let root = format!("[overlay@{at}/store]");
    for (source, transport, scopes) in [
        (&archive, "docker-archive", vec![String::new()]),
        (
            &store,
            "containers-storage",
            vec![format!("{root}localhost/base:1"), format!("{root}localhost"), root.clone(), format!("[{at}/store]")],
        ),
    ] {
        for (policy, rule) in [
            (r#"{"default":[{"type":"reject"}]}"#.to_owned(), "reject"),
            (by_scope(transport, "", signed), "sigstoreSigned"),
            (by_scope("oci", "", accept), "reject"),
            (by_scope(transport, "/elsewhere", accept), "reject"),
        ] {
            let refused = pull(&policy, source);
            let message = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success(), "{source} {policy}");
            assert!(message.contains(rule) && message.contains("policy.json"), "{source} {policy}: {message}");
        }
        for scope in scopes {
            let accepted = pull(&by_scope(transport, &scope, accept), source);
            assert!(accepted.status.success(), "{source} {scope}: {accepted:?}");
            // A scope that is more specific than one that accepts.
            let refused = pull(&by_scope(transport, &scope, r#"[{"type":"reject"}]"#), source);
            assert!(!refused.status.success(), "{source} {scope}");
        }
    }
    // The name of the image decides, not the ID by which it was asked for.
    let other = by_scope("containers-storage", &format!("{root}localhost/upper:1"), accept);
    assert!(!pull(&other, &store).status.success());
    let upper = store.replace("localhost/base:1", "32c60641cc34");
    assert!(pull(&other, &upper).status.success());
}

#[test]
fn verify_tells_of_a_missing_policy() {
    let place = Place::new();
    layout(&place.dir.path().join("layout"));
    let source = format!("oci:{}/layout:one", place.dir.path().display());
    let accept = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    assert!(with_policy(&place, accept, &["oci", "pull", &source, "--name=image"]).status.success());
    let with = with_policy(&place, accept, &["oci", "verify", "image"]);
    assert!(with.status.success() && !String::from_utf8_lossy(&with.stdout).contains("policy"), "{with:?}");

    let system = Path::new("/etc/containers");
    let mut command = Command::new("unshare");
    if system.join("policy.json").exists() {
        if !privilege::is_root() {
            let reason = "the system has a policy, which only root can hide";
            return skip::announce("local_policy::verify_tells_of_a_missing_policy", reason);
        }
        let hide = "mount -t tmpfs none /etc/containers && exec \"$@\"";
        command.args(["--mount", "sh", "-c", hide, "sh", COMPOSEFS]);
    } else {
        command = Command::new(COMPOSEFS);
    }
    command.env("XDG_CONFIG_HOME", place.dir.path().join("none")).arg("--repo").arg(place.repo());
    let without = command.args(["oci", "verify", "image"]).output().unwrap();
    let text = String::from_utf8_lossy(&without.stdout);
    assert!(without.status.success() && text.contains("no policy.json"), "{without:?}");
}
