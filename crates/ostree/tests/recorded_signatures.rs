//! A repository with commits that ostree has signed by Ed25519 (`data/README.md`): signatures and branches are read,
//! and malformed metadata are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_ostree::{Id, Repo};

fn unpack(into: &Path) -> PathBuf {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/signed.tar.xz");
    let status = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(into).arg("--no-same-owner").status();
    assert!(status.unwrap().success());
    into.join("signed")
}

fn detached(path: &Path, id: &Id) -> PathBuf {
    path.join("objects").join(id.path("commitmeta"))
}

#[test]
fn signatures_and_branches_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = unpack(dir.path());
    let repo = Repo::open(&path).unwrap();
    for (branch, signatures, bound) in
        [("os/one", 1, true), ("os/two", 2, true), ("os/unsigned", 0, true), ("os/unbound", 1, false)]
    {
        let id = repo.resolve(branch).unwrap();
        let (commit, signed) = (repo.commit(&id).unwrap(), repo.signed_commit(&id).unwrap());
        assert_eq!(signed.bytes, fs::read(path.join("objects").join(id.path("commit"))).unwrap());
        assert_eq!(signed.signatures.iter().map(Vec::len).collect::<Vec<_>>(), vec![64; signatures], "{branch}");
        assert_eq!(commit.object.bound_refs, if bound { vec![branch] } else { Vec::new() });
    }
}

#[test]
fn malformed_signatures_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = unpack(dir.path());
    let repo = Repo::open(&path).unwrap();
    let id = repo.resolve("os/one").unwrap();
    let good = fs::read(detached(&path, &id)).unwrap();
    let mut wrong_type = good.clone();
    let at = good.windows(3).position(|bytes| bytes == b"aay").unwrap();
    wrong_type[at..at + 3].copy_from_slice(b"aas");
    for (bytes, reason) in [
        (good[..good.len() - 1].to_vec(), "commitmeta"),
        ([&good[..], b"x"].concat(), "commitmeta"),
        (wrong_type, "commitmeta"),
        (vec![0; (1 << 20) + 1], "1048576 bytes"),
    ] {
        fs::write(detached(&path, &id), bytes).unwrap();
        let error = repo.signed_commit(&id).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    fs::write(detached(&path, &id), good).unwrap();
    assert_eq!(repo.signed_commit(&id).unwrap().signatures.len(), 1);
}
