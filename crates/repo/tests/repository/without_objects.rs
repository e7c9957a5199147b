//! Repositories without the directory `objects`, as other programs make them.

use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

use libcomposefs_content::NoProgress;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::fsck::{FsckOptions, open_anyway};
use libcomposefs_repo::{GcOptions, ImageName, RefName, Repository};
use libcomposefs_scan as scan;

use crate::place::{SETTINGS, snapshot};

#[test]
fn reading_does_not_make_the_directory_and_storing_does() {
    let dir = tempfile::tempdir().unwrap();
    let (path, tree) = (dir.path().join("repo"), dir.path().join("tree"));
    Repository::init(&path, SETTINGS).unwrap();
    fs::remove_dir(path.join("objects")).unwrap();
    let before = snapshot(&path);

    let digest = Digest::new(Algorithm::Sha256, &[1; 32]).unwrap();
    let name = RefName::new("one").unwrap();
    let early = Repository::open(&path).unwrap();
    assert!(early.refs().unwrap().good.is_empty() && early.image_links().unwrap().0.is_empty());
    assert!(early.resolve(&ImageName::Ref(name.clone())).is_err());
    assert!(early.objects().list().next().is_none() && early.objects().open_object(&digest).unwrap().is_none());
    assert!(early.reader().unwrap().open_named(&ImageName::Digest(digest)).is_err());
    early.gc(GcOptions { dry_run: false, grace: Duration::ZERO }).unwrap();
    let options = FsckOptions { repair: false, sources: Vec::new(), threads: NonZeroUsize::MIN };
    let (repository, meta) = open_anyway(&path).unwrap();
    let report = repository.fsck(meta, &options, &NoProgress).unwrap();
    assert!(report.damages.is_empty(), "{report:?}");
    assert_eq!(snapshot(&path), before);

    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), [b'x'; 5000]).unwrap();
    let repository = Repository::open(&path).unwrap();
    let made = repository.create(&tree, &scan::Options::default(), Some(&name), &NoProgress).unwrap();
    assert!(path.join("objects").join(made.digest.object_path()).exists());
    // A repository that was opened before finds what another one stored.
    assert_eq!(early.objects().list().filter_map(Result::ok).count(), 2);
    early.reader().unwrap().open_named(&ImageName::Digest(made.digest)).unwrap();
}

#[test]
fn a_symlink_in_place_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    Repository::init(&path, SETTINGS).unwrap();
    fs::rename(path.join("objects"), dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), path.join("objects")).unwrap();
    let error = Repository::open(&path).unwrap_err().to_string();
    assert!(error.contains("objects"), "{error}");
}
