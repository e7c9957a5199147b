//! `composefs doctor` on this machine: its findings must be true, whatever they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{privilege, stats};

fn composefs(arguments: &[&str]) -> Outcome {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" }.run(arguments, b"")
}

fn has_fs_verity(dir: &Path) -> bool {
    use libcomposefs_sys::verity::{Enabled, enable};
    let file = dir.join("verity");
    fs::write(&file, "x").unwrap();
    let enabled = enable(fs::File::open(&file).unwrap(), 1, 4096);
    fs::remove_file(&file).unwrap();
    matches!(enabled, Ok(Enabled::Now))
}

#[test]
fn findings_are_true() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let json = composefs(&["doctor", "--json", path]);
    let said: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let findings: Vec<_> =
        said["sections"].as_array().unwrap().iter().flat_map(|s| s["findings"].as_array().unwrap()).collect();
    let status =
        |name: &str| findings.iter().find(|f| f["name"] == name).map(|f| f["status"].as_str().unwrap().to_owned());
    assert_eq!(status("fs-verity").as_deref() == Some("ok"), has_fs_verity(dir.path()), "{said:#}");
    assert_eq!(status("permissions").as_deref() == Some("ok"), privilege::is_root(), "{said:#}");
    let way = findings.iter().find(|finding| finding["name"] == "way to mount").unwrap();
    let is_kernel = way["found"].as_str().unwrap().starts_with("kernel; ");
    assert_eq!(is_kernel, privilege::is_root(), "{way}");
    let works = status("verified mount").as_deref() == Some("ok");
    assert_eq!(json.status, Some(i32::from(!works)));
    assert_eq!(said["verified_mounts"], works);
    assert!(!works || has_fs_verity(dir.path()));
    for finding in &findings {
        assert!(["ok", "warning", "missing", "unknown"].contains(&finding["status"].as_str().unwrap()), "{finding}");
        assert!(
            !finding["found"].as_str().unwrap().is_empty() && !finding["means"].as_str().unwrap().is_empty(),
            "{finding}"
        );
    }
    // No file or mount is left.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(path));
    let text = composefs(&["doctor", path]);
    assert_eq!(text.status, json.status);
    let last = text.line().lines().last().unwrap().to_owned();
    assert!(
        last.starts_with(if works { "verified mounts work here" } else { "verified mounts do not work here: " }),
        "{last}"
    );
    stats::show(&format!("doctor: {} findings; {last}", findings.len()));
}

#[test]
fn missing_privilege_to_mount_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.path().to_str().unwrap();
    let outcome = privilege::without_root(|| composefs(&["doctor", path]));
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    assert!(outcome.line().contains("without CAP_SYS_ADMIN"), "{}", outcome.line());
    assert!(outcome.line().contains("way to mount: fuse; a server of this user"), "{}", outcome.line());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_failed_probe_is_an_error() {
    assert_eq!(composefs(&["doctor", "/nonexistent"]).status, Some(2));
    let outcome = composefs(&["doctor", "/proc"]);
    assert_eq!(outcome.status, Some(2), "{}", outcome.line());
    assert!(outcome.stderr.contains("cannot determine"), "{}", outcome.stderr);
}

#[test]
fn a_repository_is_checked_too() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo").to_str().unwrap().to_owned();
    fs::create_dir(dir.path().join("tree")).unwrap();
    let _ = composefs(&["init", "--insecure", &repo]).ok();
    let _ = composefs(&["--repo", &repo, "create", dir.path().join("tree").to_str().unwrap(), "--name", "a"]).ok();
    let said = composefs(&["--repo", &repo, "doctor"]);
    assert!(said.line().contains("repository: sha256, without fs-verity"), "{}", said.line());
    assert!(said.line().contains("ok       images: 1 image"), "{}", said.line());
    assert!(said.line().contains("mode 0700"), "{}", said.line());
    fs::set_permissions(&repo, fs::Permissions::from_mode(0o777)).unwrap();
    fs::remove_dir_all(format!("{repo}/images")).unwrap();
    fs::create_dir_all(format!("{repo}/images/refs")).unwrap();
    std::os::unix::fs::symlink("nowhere", format!("{repo}/images/refs/b")).unwrap();
    let said = composefs(&["--repo", &repo, "doctor"]);
    assert!(said.line().contains("0 images; a name is invalid"), "{}", said.line());
    assert!(said.line().contains("remedy: chmod go-w"), "{}", said.line());
    fs::write(format!("{repo}/meta.json"), "{").unwrap();
    let said = composefs(&["--repo", &repo, "doctor"]);
    assert!(said.line().contains("missing  repository:") && said.line().contains("fsck --repair"), "{}", said.line());
}
