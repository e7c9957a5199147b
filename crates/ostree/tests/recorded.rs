//! Repositories written by ostree (`data/README.md`): the images are identical to those of ostree, and changed
//! objects are refused.

use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use libcomposefs_content::NoProgress;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_ostree::{CommitPlan, ContentUse, Error, Id, Payloads, Repo, gather};
use libcomposefs_store::{ObjectDir, StorePolicy};
use libcomposefs_testkit::{privilege, skip, stats};
use sha2::{Digest as _, Sha256};

struct Recorded {
    mode: &'static str,
    commit: &'static str,
    digest: &'static str,
    without_digests: &'static str,
}

const COMMIT: &str = "388982b6f1117edfb817b10988f28556cb43ad9f4c199a4f7e6299deb3dcdc8d";
const DIGEST: &str = "8edfa108ddce5e2d0971dd2e04687ebd40e373a545ae5b5c6fa7df040af4d207";
const PLAIN: &str = "56ebab2cc069185cc5885e356daab0ff379376ff1a34cb4148ccec2e0bdf8d00";

const BARE: Recorded = Recorded { mode: "bare", commit: COMMIT, digest: DIGEST, without_digests: PLAIN };
const BARE_USER: Recorded = Recorded { mode: "bare-user", ..BARE };
const ARCHIVE: Recorded = Recorded { mode: "archive", ..BARE };
const BARE_USER_ONLY: Recorded = Recorded {
    mode: "bare-user-only",
    commit: "572618320dd9a65559c2e39900bd8819ebb7a671036b1d5b4b66e21d86bc4ee9",
    digest: "86a6455985456f76fd60be181d469f1cda26f7c7317279dfa4b637b2306abbb9",
    without_digests: "851f530be780394450871d1f144ab89d45a6028c4a7103f1938db05409f81cb4",
};

/// Unpacks a repository. Returns `None` if owners or xattrs could not be restored.
fn unpack(recorded: &Recorded, into: &Path) -> PathBuf {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{}.tar.xz", recorded.mode));
    let mut tar = Command::new("tar");
    tar.arg("-xJf").arg(archive).arg("-C").arg(into).args(["--xattrs", "--xattrs-include=*", "--numeric-owner"]);
    if !privilege::is_root() {
        tar.arg("--no-same-owner");
    }
    let status = tar.status().unwrap();
    assert!(status.success(), "{status}");
    into.join(recorded.mode)
}

fn digest(path: &Path, name: &str, contents: ContentUse<'_>) -> Result<Digest, Error> {
    let repo = Repo::open(path)?;
    let commit = repo.commit(&repo.resolve(name)?)?;
    let plan = CommitPlan::of(&repo, &commit)?;
    let gathered = gather(&repo, plan.contents(), contents, NonZeroUsize::new(2).unwrap(), &NoProgress)?;
    let tree = plan.tree(&gathered, Payloads::Ostree, Algorithm::Sha256)?;
    Ok(Image::plan(&tree, Versions::default()).unwrap().digest(Algorithm::Sha256))
}

const WITH_DIGESTS: ContentUse<'_> = ContentUse::Digest(Algorithm::Sha256);

fn check(recorded: &Recorded) {
    let dir = tempfile::tempdir().unwrap();
    let path = unpack(recorded, dir.path());
    assert_eq!(digest(&path, "zt", WITH_DIGESTS).unwrap().to_hex(), recorded.digest);
    assert_eq!(digest(&path, "zt", ContentUse::Skip).unwrap().to_hex(), recorded.without_digests);
    assert_eq!(digest(&path, recorded.commit, WITH_DIGESTS).unwrap().to_hex(), recorded.digest);
    assert_eq!(digest(&path, "no/digest", WITH_DIGESTS).unwrap().to_hex(), recorded.digest);
    let repo = Repo::open(&path).unwrap();
    let recorded_in = |name: &str| repo.commit(&repo.resolve(name).unwrap()).unwrap().object.digest;
    let recorded_digest = recorded_in("zt").unwrap();
    assert_eq!(Digest::new(Algorithm::Sha256, &recorded_digest).unwrap().to_hex(), recorded.digest);
    assert_eq!(recorded_in("no/digest"), None);
}

#[test]
fn an_archive() {
    check(&ARCHIVE);
}

#[test]
fn bare_user_only() {
    check(&BARE_USER_ONLY);
}

#[test]
fn bare_user() {
    let scratch = tempfile::tempdir().unwrap();
    let probe = scratch.path().join("probe");
    fs::write(&probe, "").unwrap();
    let path = std::ffi::CString::new(probe.to_str().unwrap()).unwrap();
    if rustix::fs::setxattr(&path, "user.x", b"y", rustix::fs::XattrFlags::empty()).is_err() {
        return skip::announce("bare_user", "the directory for temporary files takes no attributes of users");
    }
    check(&BARE_USER);
}

#[test]
fn bare() {
    if !privilege::is_root() {
        return skip::announce("bare", "only root can restore the owners of files");
    }
    check(&BARE);
}

/// Lists the object files of a repository.
fn objects(path: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(path.join("objects")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut files: Vec<_> = files.filter(|file| file.symlink_metadata().unwrap().is_file()).collect();
    files.sort();
    files
}

/// Changes each byte of each object, and truncates there: the result is an error, or the same image as without the
/// change.
#[test]
fn every_change_is_noticed() {
    let (mut refused, mut harmless) = (0, 0);
    for recorded in [&ARCHIVE, &BARE_USER_ONLY] {
        let dir = tempfile::tempdir().unwrap();
        let path = unpack(recorded, dir.path());
        for object in objects(&path) {
            let whole = fs::read(&object).unwrap();
            fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
            let is_metadata = object.extension().is_some_and(|e| e != "file" && e != "filez");
            // The large object is long, and its mode is part of a bare object.
            let step = whole.len() / 200 + 1;
            for at in (0..whole.len()).step_by(step) {
                let mut changed = whole.clone();
                changed[at] ^= 1 << (at % 8);
                for bytes in [&changed[..], &whole[..at]] {
                    fs::write(&object, bytes).unwrap();
                    match digest(&path, "zt", WITH_DIGESTS) {
                        Err(_) => refused += 1,
                        Ok(found) => {
                            assert_eq!(found.to_hex(), recorded.digest, "{} at {at}", object.display());
                            // One of the two commits is not read; deflated data may end in bits without a meaning.
                            assert!(is_metadata || recorded.mode == "archive", "{} at {at}", object.display());
                            harmless += 1;
                        }
                    }
                }
            }
            fs::write(&object, &whole).unwrap();
        }
    }
    stats::show(&format!("ostree objects changed or cut: {refused} refused, {harmless} without effect"));
    assert!(refused > 1000);
}

#[test]
fn other_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Repo::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("no file config"), "{error}");
    let path = unpack(&ARCHIVE, dir.path());
    let repo = Repo::open(&path).unwrap();
    for name in ["", "nope", "../config", "..", "remote:nope", "a/../zt", "/zt", &"0".repeat(63)] {
        let error = repo.resolve(name).unwrap_err();
        assert!(matches!(error, Error::NoRef { .. }), "{name}: {error}");
    }
    let error = repo.commit(&libcomposefs_ostree::Id::new([7; 32])).unwrap_err().to_string();
    assert!(error.ends_with("No such file or directory (os error 2)"), "{error}");
    // A dirtree is not a commit.
    let tree = objects(&path).into_iter().find(|object| object.extension().is_some_and(|e| e == "dirtree")).unwrap();
    let folder = tree.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let hex = format!("{folder}{}", tree.file_stem().unwrap().to_str().unwrap());
    fs::copy(&tree, tree.with_extension("commit")).unwrap();
    let error = repo.commit(&repo.resolve(&hex).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

/// Objects that are links, FIFOs and directories: nothing outside is read, and no open waits for a writer.
#[test]
fn planted_things_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = unpack(&BARE_USER_ONLY, dir.path());
    let outside = dir.path().join("outside");
    let files: Vec<_> = objects(&path).into_iter().filter(|o| o.extension().is_some_and(|e| e == "file")).collect();
    for object in files {
        let whole = fs::read(&object).unwrap();
        fs::rename(&object, &outside).unwrap();
        std::os::unix::fs::symlink(&outside, &object).unwrap();
        assert!(digest(&path, "zt", WITH_DIGESTS).is_err(), "{} is a link", object.display());
        fs::remove_file(&object).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &object, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(digest(&path, "zt", WITH_DIGESTS).is_err(), "{} is a FIFO", object.display());
        fs::remove_file(&object).unwrap();
        fs::create_dir(&object).unwrap();
        assert!(digest(&path, "zt", WITH_DIGESTS).is_err(), "{} is a directory", object.display());
        fs::remove_dir(&object).unwrap();
        assert!(digest(&path, "zt", WITH_DIGESTS).is_err(), "{} is not there", object.display());
        fs::rename(&outside, &object).unwrap();
        assert_eq!(fs::read(&object).unwrap(), whole);
    }
    assert_eq!(digest(&path, "zt", WITH_DIGESTS).unwrap().to_hex(), BARE_USER_ONLY.digest);
}

/// An object that is missing may be in the parent repository.
#[test]
fn a_parent_has_missing_objects() {
    let dir = tempfile::tempdir().unwrap();
    let path = unpack(&ARCHIVE, dir.path());
    let child = dir.path().join("child");
    fs::create_dir_all(child.join("objects")).unwrap();
    fs::create_dir_all(child.join("refs/heads")).unwrap();
    fs::copy(path.join("refs/heads/zt"), child.join("refs/heads/zt")).unwrap();
    fs::write(child.join("config"), "[core]\nrepo_version=1\nmode=bare\n").unwrap();
    assert!(digest(&child, "zt", WITH_DIGESTS).is_err());
    let config = format!("[core]\nrepo_version=1\nmode=bare\nparent={}\n", path.display());
    fs::write(child.join("config"), config).unwrap();
    assert_eq!(digest(&child, "zt", WITH_DIGESTS).unwrap().to_hex(), ARCHIVE.digest);
    // A repository that is its own parent.
    fs::write(child.join("config"), "[core]\nrepo_version=1\nmode=bare\nparent=.\n").unwrap();
    let error = Repo::open(&child).unwrap_err().to_string();
    assert!(error.contains("more than 16 parent repositories"), "{error}");
}

/// Creates an archive with one content object: a file of these bytes.
#[expect(clippy::big_endian_bytes, reason = "the numbers of ostree are big-endian")]
fn archive_of(content: &[u8], at: &Path) -> Id {
    // `(uuuusa(ayay))`: owner, mode, device, target, xattrs; the target ends at 17.
    let mut header = [0u32, 0, 0o100_644, 0].map(u32::to_be_bytes).concat();
    header.extend([0, 17]);
    let mut hasher = Sha256::new();
    hasher.update([&18u32.to_be_bytes()[..], &[0; 4], &header, content].concat());
    let id = Id::new(hasher.finalize().into());
    // `(tuuuusa(ayay))`: the size comes first.
    let header = [&(content.len() as u64).to_be_bytes()[..], &header[..17], &[25]].concat();
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflated.write_all(content).unwrap();
    let object = at.join("objects").join(id.path("filez"));
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::write(at.join("config"), "[core]\nrepo_version=1\nmode=archive-z2\n").unwrap();
    let head = [&26u32.to_be_bytes()[..], &[0; 4], &header].concat();
    fs::write(object, [head, deflated.finish().unwrap()].concat()).unwrap();
    id
}

#[test]
fn zeros_of_an_archive_become_holes() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = vec![0; 20_000_000];
    content[7_000_000] = 1;
    let id = archive_of(&content, dir.path());
    let repo = Repo::open(dir.path()).unwrap();
    let store = ObjectDir::create(&dir.path().join("store"), Algorithm::Sha256, StorePolicy::default()).unwrap();
    let batch = store.batch();
    let contents = ContentUse::Store(&batch);
    let gathered = gather(&repo, &[id], contents, NonZeroUsize::MIN, &NoProgress).unwrap();
    let digest = gathered[0].digest.unwrap();
    batch.finish().unwrap();
    assert_eq!(digest, verity::digest(Algorithm::Sha256, &content));
    let object = fs::metadata(dir.path().join("store").join(digest.object_path())).unwrap();
    assert_eq!((object.len(), object.blocks() <= 32), (20_000_000, true), "{} blocks", object.blocks());
}
