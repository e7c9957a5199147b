//! Changes by other processes after fsck has judged an entry and before it repairs it, as a check may take hours. Only
//! the entry that was judged may be moved or changed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libcomposefs_content::Progress;
use libcomposefs_repo::fsck::{DamageKind, FsckReport, Remedy};
use libcomposefs_repo::{GcOptions, Lease, Repository};

use crate::place::{Place, snapshot};

/// Does something when every object was judged, and nothing was mended yet.
struct WhenJudged<'a> {
    left: AtomicU64,
    then: &'a (dyn Fn() + Sync),
}

impl Progress for WhenJudged<'_> {
    fn begin(&self, _: u64, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    fn bytes(&self, bytes: u64) {
        // Empty objects come last; these tests do not use them.
        if bytes > 0 && self.left.fetch_sub(bytes, Ordering::SeqCst) == bytes {
            (self.then)();
        }
    }
}

fn fsck_while(place: &Place, then: &(dyn Fn() + Sync)) -> FsckReport {
    place.fsck_telling(true, &[], &WhenJudged { left: AtomicU64::new(0), then })
}

/// An object of the repository that is no image, with its content.
fn an_object(place: &Place) -> (PathBuf, Vec<u8>) {
    let is_image = |path: &Path| place.images.iter().any(|image| path.ends_with(image.object_path()));
    let object = place.objects().into_iter().find(|path| !is_image(path)).unwrap();
    let path = place.path("repo").join(object);
    let content = fs::read(&path).unwrap();
    (path, content)
}

/// Puts a file in the place of another, as a create does.
fn replace(path: &Path, content: &[u8]) {
    let other = path.with_extension("new");
    fs::write(&other, content).unwrap();
    fs::rename(&other, path).unwrap();
}

#[test]
fn an_object_that_was_put_right_is_left() {
    for damage in ["contents", "empty", "a link", "a directory"] {
        let place = Place::new(12);
        let before = snapshot(&place.path("repo"));
        let (object, content) = an_object(&place);
        match damage {
            "contents" => fs::write(&object, "rotten").unwrap(),
            "empty" => fs::write(&object, "").unwrap(),
            _ => {
                fs::remove_file(&object).unwrap();
                if damage == "a link" { symlink("nowhere", &object) } else { fs::create_dir(&object) }.unwrap();
            }
        }
        let mend = || {
            if damage == "a directory" {
                fs::remove_dir(&object).unwrap();
            }
            replace(&object, &content);
        };
        let report = fsck_while(&place, &mend);
        // An empty object comes last: another thread may judge it after it was put right.
        if damage != "empty" || !report.damages.is_empty() {
            assert_eq!(report.damages.len(), 1, "{damage}: {:?}", report.damages);
            assert_eq!(report.damages[0].remedy, Remedy::Repaired, "{damage}: {:?}", report.damages);
        }
        assert_eq!(snapshot(&place.path("repo")), before, "{damage}");
        assert!(place.fsck(false, &[]).damages.is_empty(), "{damage}");
    }
    // One that is as wrong as it was goes.
    let place = Place::new(12);
    let (object, _) = an_object(&place);
    fs::write(&object, "rotten").unwrap();
    let report = fsck_while(&place, &|| {});
    assert!(matches!(&report.damages[0].remedy, Remedy::Failed(why) if why.contains("quarantine")), "{report:?}");
    assert!(!object.exists());
}

/// Another wrong content is not the one that was judged either: it may be on its way to something.
#[test]
fn an_object_that_has_changed_is_left_and_told() {
    let place = Place::new(12);
    let (object, _) = an_object(&place);
    fs::write(&object, "rotten").unwrap();
    let report = fsck_while(&place, &|| replace(&object, b"rotten too"));
    assert!(matches!(&report.damages[0].remedy, Remedy::Failed(why) if why.contains("run this again")), "{report:?}");
    assert_eq!(fs::read(&object).unwrap(), b"rotten too");
    // The next one judges it anew.
    assert!(place.fsck(true, &["copy"]).is_sound());
}

#[test]
fn what_a_command_at_work_claims_is_left() {
    let place = Place::new(12);
    let (object, _) = an_object(&place);
    fs::write(&object, "rotten").unwrap();
    let digest = libcomposefs_image::Digest::from_object_path(
        object.strip_prefix(place.path("repo/objects")).unwrap().as_os_str().as_encoded_bytes(),
    );
    let repository = Repository::open(&place.path("repo")).unwrap();
    let lease: Lease = repository.lease().unwrap();
    lease.protect(&[digest.unwrap()]).unwrap();
    let report = place.fsck(true, &[]);
    assert!(
        matches!(&report.damages[0].remedy, Remedy::Failed(why) if why.contains("a running command")),
        "{report:?}"
    );
    assert!(object.exists());
    drop(lease);
    let _ = place.fsck(true, &[]);
    assert!(!object.exists());
}

#[test]
fn what_is_foreign_is_taken_away_only_as_it_was() {
    let place = Place::new(12);
    let (object, _) = an_object(&place);
    let fan = object.parent().unwrap();
    let (first, second) = (fan.join("README"), place.path("repo/objects/zz"));
    fs::write(&first, "foreign").unwrap();
    fs::create_dir(&second).unwrap();
    let change = || {
        replace(&first, b"another");
        fs::write(second.join("new"), "new").unwrap();
    };
    let report = fsck_while(&place, &change);
    assert_eq!(report.damages.len(), 2);
    assert!(report.damages.iter().all(|damage| matches!(damage.remedy, Remedy::Failed(_))), "{report:?}");
    assert!(first.exists() && second.join("new").exists());
    assert!(place.fsck(true, &[]).is_sound());
    assert!(!first.exists() && !second.exists());
}

#[test]
fn a_name_or_link_that_was_put_right_is_left() {
    let place = Place::new(12);
    let before = snapshot(&place.path("repo"));
    let broken = [
        (place.path("repo/images/refs/one"), format!("../{}", place.images[0])),
        (
            place.path("repo/images").join(place.images[1].to_hex()),
            format!("../objects/{}", place.images[1].object_path()),
        ),
        // A name that no ref can have.
        (place.path("repo/images/refs/.other"), format!("../{}", place.images[0])),
    ];
    for (path, _) in &broken {
        let _ = fs::remove_file(path);
        symlink("nowhere", path).unwrap();
    }
    let mend = || {
        for (path, target) in &broken {
            fs::remove_file(path).unwrap();
            symlink(target, path).unwrap();
        }
    };
    let _ = place.fsck_telling(true, &["copy"], &WhenJudged { left: AtomicU64::new(0), then: &mend });
    fs::remove_file(&broken[2].0).unwrap();
    assert_eq!(snapshot(&place.path("repo")), before);
    assert!(place.fsck(false, &[]).damages.is_empty());
}

/// The mode of a file that has a name elsewhere is not changed; that of one that is only an object is.
#[test]
fn a_hard_link_is_not_changed_in_place() {
    let place = Place::new(12);
    let (object, content) = an_object(&place);
    let program = place.path("program");
    fs::set_permissions(&object, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(&object, &program).unwrap();
    let report = place.fsck(true, &[]);
    assert_eq!((report.damages[0].kind, &report.damages[0].remedy), (DamageKind::Mode, &Remedy::Repaired));
    let (stat, other) = (fs::metadata(&object).unwrap(), fs::metadata(&program).unwrap());
    assert_eq!((stat.mode() & 0o7777, other.mode() & 0o7777), (0o644, 0o4755));
    assert_eq!(fs::read(&object).unwrap(), content);
    assert!(stat.ino() != other.ino() && other.nlink() == 1);

    let number = stat.ino();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(place.fsck(true, &[]).is_sound());
    let stat = fs::metadata(&object).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.ino()), (0o644, number));
    assert!(place.fsck(false, &[]).damages.is_empty());

    // A mode that was put right meanwhile is no concern any more.
    fs::set_permissions(&object, fs::Permissions::from_mode(0o666)).unwrap();
    let report = fsck_while(&place, &|| fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap());
    assert_eq!(report.damages[0].remedy, Remedy::Repaired);
    assert_eq!(fs::metadata(&object).unwrap().mode() & 0o7777, 0o600);
}

/// A gc was killed after it had moved the link of an image aside: the next one moves it back, and decides anew.
#[test]
fn a_link_that_a_killed_gc_moved_aside_comes_back() {
    let place = Place::new(12);
    let image = place.images[0].to_hex();
    let (link, aside) = (place.path("repo/images").join(&image), place.path("repo/leases").join(format!("gc.{image}")));
    let before = snapshot(&place.path("repo/images"));
    fs::rename(&link, &aside).unwrap();
    let repository = Repository::open(&place.path("repo")).unwrap();
    let hour = GcOptions { dry_run: false, grace: Duration::from_secs(3600) };
    repository.gc(hour).unwrap();
    assert_eq!(snapshot(&place.path("repo/images")), before);
    assert!(!aside.exists());
    // One whose object is gone stays away.
    fs::rename(&link, &aside).unwrap();
    fs::remove_file(place.path("repo/objects").join(place.images[0].object_path())).unwrap();
    repository.gc(hour).unwrap();
    assert!(fs::symlink_metadata(&link).is_err() && fs::symlink_metadata(&aside).is_err());
}
