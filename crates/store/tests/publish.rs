//! Tests of replacing one file.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use libcomposefs_store::Error;
use libcomposefs_store::publish::{ReplaceOutcome, replace_file};
use libcomposefs_testkit::privilege::without_root;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::tempdir;

fn publish(path: &Path, content: &str) -> Result<ReplaceOutcome, Error> {
    let write = |file: &mut File| file.write_all(content.as_bytes()).map_err(Error::from);
    replace_file(path, 0o644, write).map(|(published, ())| published)
}

#[test]
fn a_new_file_and_one_that_is_replaced() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("image");
    assert_eq!(publish(&path, "one").unwrap(), ReplaceOutcome::Created);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let mut old = File::open(&path).unwrap();
    let inode = path.metadata().unwrap().ino();
    assert_eq!(publish(&path, "two").unwrap(), ReplaceOutcome::Replaced);
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
    assert_ne!(path.metadata().unwrap().ino(), inode);
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one");
    assert_eq!(support::files(dir.path()).len(), 1);
}

#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("image");
    for there in [false, true] {
        if there {
            fs::write(&path, "old").unwrap();
        }
        let failed = replace_file(&path, 0o644, |file| {
            file.write_all(b"half")?;
            Err::<(), Error>(std::io::Error::other("the writer gives up").into())
        });
        assert!(failed.is_err());
        assert_eq!(path.exists(), there);
        assert_eq!(support::files(dir.path()).len(), usize::from(there));
    }
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn symlinks_stay_and_their_targets_are_replaced() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let (link, further) = (dir.path().join("link"), dir.path().join("d/further"));
    symlink("d/further", &link).unwrap();
    symlink("../target", &further).unwrap();
    assert_eq!(publish(&link, "one").unwrap(), ReplaceOutcome::Created);
    assert_eq!(publish(&link, "two").unwrap(), ReplaceOutcome::Replaced);
    assert_eq!(fs::read(dir.path().join("target")).unwrap(), b"two");
    assert!(link.is_symlink() && further.is_symlink());
    symlink("loop", dir.path().join("loop")).unwrap();
    assert!(publish(&dir.path().join("loop"), "x").is_err());
}

#[test]
fn special_files_are_written_in_place() {
    let dir = tempdir().unwrap();
    assert_eq!(publish(Path::new("/dev/null"), "x").unwrap(), ReplaceOutcome::InPlace);
    let pipe = dir.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    assert_eq!(publish(&pipe, "through").unwrap(), ReplaceOutcome::InPlace);
    assert_eq!(reader.join().unwrap(), b"through");
    assert!(publish(dir.path(), "x").is_err());

    // An open file by its number: also if it is a regular file, and by a symlink such as /dev/stdout.
    let file = File::create(dir.path().join("open")).unwrap();
    let inode = file.metadata().unwrap().ino();
    let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
    symlink(&magic, dir.path().join("stdout")).unwrap();
    for path in [Path::new(&magic), &dir.path().join("stdout")] {
        assert_eq!(publish(path, "by number").unwrap(), ReplaceOutcome::InPlace);
        assert_eq!(dir.path().join("open").metadata().unwrap().ino(), inode);
        assert_eq!(fs::read(dir.path().join("open")).unwrap(), b"by number");
    }
}

#[test]
fn a_file_that_may_not_be_written_is_not_replaced() {
    without_root(|| {
        let dir = tempdir().unwrap();
        let path = dir.path().join("image");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(publish(&path, "new").unwrap_err().to_string().contains("Permission denied"));
        // A directory that is not writable: the file is written in place.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
        assert_eq!(publish(&path, "new").unwrap(), ReplaceOutcome::InPlace);
        assert_eq!(fs::read(&path).unwrap(), b"new");
    });
}
