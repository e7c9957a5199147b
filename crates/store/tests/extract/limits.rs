//! Extracting without root, without disk space, and without write permission.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use libcomposefs_image::tree::{NewInode, Xattr};
use libcomposefs_store::extract::{ExtractError, Options, Owners};
use libcomposefs_testkit::privilege::{is_root, without_root};
use libcomposefs_testkit::skip;

use crate::place::{Place, ROOT, Tmpfs, builder, directory, external, failures, inode, names, noise};

#[test]
fn an_ordinary_user_gets_permitted_metadata_only() {
    let place = Place::new();
    if !is_root() {
        return skip::announce("limits::an_ordinary_user_gets_permitted_metadata_only", "needs root");
    }
    let xattrs = [
        Xattr { name: b"trusted.mine", value: b"x" },
        Xattr { name: b"user.mine", value: b"y" },
        Xattr { name: b"security.capability", value: b"z" },
    ];
    let digest = place.object(&noise(9000, 1));
    let mut tree = builder();
    let suid = NewInode { mode: 0o106755, xattrs: &xattrs, ..external(&digest, 9000) };
    // Directories without search permission and files without write permission, once their modes are set.
    let closed = tree.add(ROOT, b"closed", &NewInode { mode: 0o040000, xattrs: &xattrs, ..directory() }).unwrap();
    tree.add(closed, b"file", &NewInode { mode: 0o100000, ..suid }).unwrap();
    tree.add(ROOT, b"suid", &suid).unwrap();
    tree.add(ROOT, b"null", &NewInode { rdev: 0x103, ..inode(0o020666) }).unwrap();
    tree.add(ROOT, b"fifo", &inode(0o010640)).unwrap();
    tree.add(ROOT, b"other", &NewInode { uid: 1234, ..inode(0o100600) }).unwrap();
    let tree = tree.finish();
    let home = place.path("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = without_root(|| place.extract_to(&tree, &home.join("out"), &Options::default())).unwrap();
    assert!(outcome.is_whole(), "{:?}", failures(&outcome));
    let stat = |name: &str| home.join("out").join(name).symlink_metadata().unwrap();
    assert_eq!((stat("suid").mode(), stat("suid").uid()), (0o100755, 65534));
    assert_eq!((stat("closed").mode(), stat("closed/file").mode()), (0o040000, 0o100000));
    assert_eq!((stat("suid").mtime(), stat("suid").mtime_nsec()), (1_600_000_000, 7));
    assert_eq!(fs::read(home.join("out/suid")).unwrap(), noise(9000, 1));
    assert_eq!(names(&home.join("out")), ["closed", "fifo", "other", "suid"]);
    assert_eq!((outcome.devices.count, &outcome.devices.example[..]), (1, &b"/null"[..]));
    // All files of root or of user 1234.
    assert_eq!(outcome.owners.count, 6);
    let missing: Vec<_> = outcome.xattrs.iter().map(|(name, left)| (&name[..], left.count)).collect();
    assert_eq!(missing, [(&b"security.capability"[..], 3), (b"trusted.mine", 3)]);
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(home.join("out/suid"), "user.mine", &mut value), Ok(1));

    // Owners that are not requested are not reported; root sets all.
    let options = Options { owners: Owners::Mine, ..Options::default() };
    let outcome = without_root(|| place.extract_to(&tree, &home.join("mine"), &options)).unwrap();
    assert_eq!(outcome.owners.count, 0);
    let outcome = place.extract(&tree);
    assert_eq!((outcome.owners.count, outcome.devices.count), (0, 0));
    let stat = |name: &str| place.path("out").join(name).symlink_metadata().unwrap();
    assert_eq!((stat("suid").mode(), stat("null").rdev(), stat("other").uid()), (0o106755, 0x103, 1234));
}

#[test]
fn a_full_file_system_ends_it_and_leaves_no_half_file() {
    let place = Place::new();
    let test = "limits::a_full_file_system_ends_it_and_leaves_no_half_file";
    if !is_root() {
        return skip::announce(test, "mounting takes root");
    }
    let tmpfs = match Tmpfs::new(place.path("full"), "size=2M") {
        Ok(tmpfs) => tmpfs,
        Err(reason) => return skip::announce(test, &reason),
    };
    let mut tree = builder();
    for number in 0..100 {
        let content = noise(100_000, number);
        tree.add(ROOT, format!("f{number}").as_bytes(), &external(&place.object(&content), 100_000)).unwrap();
    }
    let tree = tree.finish();
    let out = tmpfs.0.join("out");
    let error = place.extract_to(&tree, &out, &Options::default()).unwrap_err();
    assert!(
        matches!(&error, ExtractError::Stopped { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    let there = names(&out);
    assert!(there.len() > 5 && there.len() < 25, "{there:?}");
    for name in there {
        let number: u32 = name.strip_prefix('f').unwrap().parse().unwrap();
        assert!(fs::read(out.join(&name)).unwrap() == noise(100_000, number), "{name} is half a file");
    }
    assert!(place.extract(&tree).is_whole());
}

#[test]
fn a_target_that_cannot_be_written_is_told() {
    let place = Place::new();
    let test = "limits::a_target_that_cannot_be_written_is_told";
    if !is_root() {
        return skip::announce(test, "mounting takes root");
    }
    let tree = builder().finish();
    let tmpfs = match Tmpfs::new(place.path("read-only"), "ro") {
        Ok(tmpfs) => tmpfs,
        Err(reason) => return skip::announce(test, &reason),
    };
    for target in [tmpfs.0.clone(), tmpfs.0.join("out")] {
        let error = place.extract_to(&tree, &target, &Options::default()).unwrap_err();
        assert!(error.to_string().contains("Read-only file system"), "{error}");
    }
    let error = without_root(|| place.extract_to(&tree, &place.path("nobody"), &Options::default())).unwrap_err();
    assert!(error.to_string().contains("Permission denied"), "{error}");
    fs::write(place.path("file"), "").unwrap();
    let error = place.extract_to(&tree, &place.path("file"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("Not a directory"), "{error}");
}
