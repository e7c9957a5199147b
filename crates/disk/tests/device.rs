//! Writing over old bytes, as on a device: what the disk needs is overwritten, and a cancelled write leaves no disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libcomposefs_disk::{DiskError, DiskOptions, DiskPlan};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{Format, Repository, Settings};
use libcomposefs_scan as scan;

const SIZE: u64 = 560 << 20;

fn judge(program: &str, words: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let ran = Command::new(program).args(words).env("PATH", path).output();
    let ran = ran.unwrap_or_else(|error| panic!("{program}: {error} (cargo xtask setup installs it)"));
    assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stdout));
}

/// Makes a repository with an image.
fn repository(dir: &Path) -> (Repository, Digest) {
    let tree = dir.join("tree");
    for name in ["etc", "var/lib", "usr"] {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    for (name, len) in [("usr/file", 300_000), ("usr/one", 100), ("var/lib/file", 5000)] {
        fs::write(tree.join(name), vec![b'x'; len]).unwrap();
    }
    let settings = Settings { algorithm: Algorithm::Sha256, format: Format::One, demands_verity: false };
    let (repository, _) = Repository::init(&dir.join("repository"), settings).unwrap();
    let created = repository.create(&tree, &scan::Options::default(), None, &|_: u64| {}).unwrap();
    (repository, created.digest)
}

/// Makes a file that has no byte of zero.
fn old_disk(path: &Path) -> File {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    let bytes = vec![0xff; 1 << 20];
    for _ in 0..SIZE >> 20 {
        file.write_all(&bytes).unwrap();
    }
    file
}

#[test]
fn old_bytes_are_not_taken_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (repository, digest) = repository(dir.path());
    let path = dir.path().join("disk");
    let file = old_disk(&path);
    let mut options = DiskOptions::default();
    options.size = Some(SIZE);
    let plan = DiskPlan::new(&repository, digest, options).unwrap();
    let report = plan.write(&file, false, &|_| {}).unwrap();
    let [esp, root] = &report.partitions;
    let shown = path.to_str().unwrap();
    judge("sfdisk", &["--verify", shown]);
    judge("e2fsck", &["-f", "-n", &format!("{shown}?offset={}", root.start)]);
    let mut head = vec![0; 2 << 20];
    file.read_exact_at(&mut head, esp.start).unwrap();
    let part = dir.path().join("esp");
    fs::write(&part, head).unwrap();
    File::options().write(true).open(&part).unwrap().set_len(esp.len).unwrap();
    judge("fsck.fat", &["-n", part.to_str().unwrap()]);
}

#[test]
fn a_cancelled_write_leaves_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (repository, digest) = repository(dir.path());
    let file = tempfile::tempfile().unwrap();
    let write = |cancelled: bool| {
        let mut options = DiskOptions::default();
        options.interrupt = Some(Arc::new(AtomicBool::new(cancelled)));
        DiskPlan::new(&repository, digest, options).unwrap().write(&file, true, &|_| {})
    };
    let has_table = || {
        let mut signature = [0; 8];
        file.read_exact_at(&mut signature, 512).unwrap();
        signature == *b"EFI PART"
    };
    assert!(matches!(write(true), Err(DiskError::Interrupted)));
    assert!(!has_table());
    write(false).unwrap();
    assert!(has_table());
}
