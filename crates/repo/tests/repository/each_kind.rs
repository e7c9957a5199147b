//! fsck of single damages, with and without a source of the right contents.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use libcomposefs_repo::fsck::{DamageKind, Remedy};

use crate::place::{Place, copy_repository, snapshot};

/// Flips a byte of an object of the repository, no image.
fn flip(place: &Place) -> std::path::PathBuf {
    let is_image = |path: &Path| place.images.iter().any(|image| path.ends_with(image.object_path()));
    let object = place.objects().into_iter().find(|path| !is_image(path)).unwrap();
    let path = place.path("repo").join(&object);
    let mut content = fs::read(&path).unwrap();
    content[0] ^= 1;
    fs::write(&path, content).unwrap();
    object
}

#[test]
fn contents_come_from_repositories_objects_and_trees() {
    let sources: [&[&str]; 4] = [&["copy"], &["copy/objects"], &["tree0", "tree1", "tree2"], &["tree0", "copy"]];
    for from in sources {
        let place = Place::new(12);
        let object = flip(&place);
        let report = place.fsck(true, from);
        assert_eq!(report.damages.len(), 1, "{from:?}: {:?}", report.damages);
        let damage = &report.damages[0];
        assert_eq!((damage.kind, &damage.path, &damage.remedy), (DamageKind::Contents, &object, &Remedy::Repaired));
        assert!(damage.needed_by.as_ref().is_some_and(|by| by.name.is_some()));
        assert_eq!(snapshot(&place.path("repo")), snapshot(&place.path("copy")));
        // What was wrong is kept.
        let kept = fs::read_dir(place.path("repo/quarantine")).unwrap().next().unwrap().unwrap().path().join(&object);
        assert_eq!(fs::read(&kept).unwrap()[1..], fs::read(place.path("repo").join(&object)).unwrap()[1..]);
    }
}

#[test]
fn what_is_nowhere_is_told_and_taken_away() {
    let place = Place::new(12);
    let object = flip(&place);
    // Nothing is done before it is asked for.
    let report = place.fsck(false, &[]);
    assert!(!report.is_sound());
    assert_eq!(report.damages[0].remedy, Remedy::Left);
    assert!(place.path("repo").join(&object).exists());
    // A tree that has not got it.
    fs::create_dir(place.path("empty")).unwrap();
    let report = place.fsck(true, &["empty"]);
    assert!(!report.is_sound());
    assert!(matches!(&report.damages[0].remedy, Remedy::Failed(why) if why.contains("--from")), "{:?}", report.damages);
    assert!(!place.path("repo").join(&object).exists());
    let report = place.fsck(false, &[]);
    assert_eq!((report.damages[0].kind, &report.damages[0].path), (DamageKind::Missing, &object));
    // With a source the repository is sound again.
    assert!(place.fsck(true, &["copy"]).is_sound());
    assert_eq!(snapshot(&place.path("repo")), snapshot(&place.path("copy")));
}

#[test]
fn a_wrong_name_is_put_right_without_help() {
    let place = Place::new(12);
    let object = flip(&place);
    fs::copy(place.path("copy").join(&object), place.path("repo").join(&object)).unwrap();
    fs::create_dir_all(place.path("repo/objects/00")).unwrap();
    let other = format!("objects/00/{}", "1".repeat(62));
    fs::rename(place.path("repo").join(&object), place.path("repo").join(&other)).unwrap();
    let report = place.fsck(true, &[]);
    assert!(report.is_sound(), "{:?}", report.damages);
    let kinds: Vec<_> = report.damages.iter().map(|damage| damage.kind).collect();
    assert_eq!(kinds, [DamageKind::Missing, DamageKind::Misnamed]);
    assert!(!place.path("repo").join(&other).exists());
    assert!(place.fsck(false, &[]).damages.is_empty());
}

#[test]
fn an_image_that_is_gone_comes_back_with_all_it_needs() {
    let place = Place::new(12);
    // Nothing is left but the names.
    for entry in fs::read_dir(place.path("repo/objects")).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    for image in &place.images {
        fs::remove_file(place.path("repo/images").join(image.to_hex())).unwrap();
    }
    let report = place.fsck(true, &["copy"]);
    assert!(report.is_sound(), "{:?}", report.damages);
    assert_eq!(snapshot(&place.path("repo")), snapshot(&place.path("copy")));
}

#[test]
fn hostile_repositories_are_mended_within() {
    for planted in ["objects/xx", "quarantine", "images/refs/folder"] {
        let place = Place::new(12);
        fs::create_dir(place.path("outside")).unwrap();
        fs::write(place.path("outside/sentinel"), "sentinel").unwrap();
        let before = snapshot(&place.path("outside"));
        if planted == "objects/xx" {
            for entry in fs::read_dir(place.path("repo/objects")).unwrap() {
                let path = entry.unwrap().path();
                fs::remove_dir_all(&path).unwrap();
                symlink(place.path("outside"), path).unwrap();
            }
        } else {
            let _ = fs::remove_dir_all(place.path("repo").join(planted));
            symlink(place.path("outside"), place.path("repo").join(planted)).unwrap();
            flip(&place);
        }
        let (repository, meta) = libcomposefs_repo::fsck::open_anyway(&place.path("repo")).unwrap();
        let source = libcomposefs_repo::fsck::RepairSource::open(&place.path("copy"), repository.algorithm()).unwrap();
        let options = libcomposefs_repo::fsck::FsckOptions {
            repair: true,
            sources: vec![source],
            threads: std::num::NonZeroUsize::MIN,
        };
        // Refused or done: but not there.
        let _ = repository.fsck(meta, &options, &libcomposefs_content::NoProgress);
        assert_eq!(snapshot(&place.path("outside")), before, "{planted}");
    }
    let place = Place::new(12);
    copy_repository(&place.path("repo"), &place.path("another"));
    assert!(place.fsck(true, &["another"]).damages.is_empty());
}
