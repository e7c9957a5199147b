//! A tree of unusual files, and a mount point.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_sys::mount::unmount;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, chownat, linkat, lsetxattr, makedev, mknodat,
    utimensat,
};

/// A mount point that is unmounted when this is dropped.
pub(crate) struct MountPoint(pub(crate) PathBuf);

impl MountPoint {
    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        while unmount(&self.0, true).is_ok() {}
    }
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|e| panic!("{}: {name}: {e}", path.display()));
}

fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Creates a tree of everything that a file system can contain; needs root, and a file system that can store every
/// time.
pub(crate) fn make_odd_tree(root: &Path) {
    let path = |name: &str| root.join(name);
    fs::create_dir_all(path("d/e")).unwrap();
    // Files of every length that is handled in its own way.
    for len in [0, 1, 64, 65, 4095, 4096, 4097, 100_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20] {
        let content: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
        fs::write(path(&format!("d/{len}")), content).unwrap();
    }
    File::create(path("d/sparse")).unwrap().set_len(200 << 20).unwrap();
    // Names with a meaning elsewhere: of the stubs in an image's root, of older variants of overlayfs, and of the
    // store.
    for name in ["00", "ff", ".wh.gone", "-rf", " ", "a=b", "back\\slash", "line\nfeed", "comma,", ".composefs"] {
        fs::write(path(name), name.repeat(30)).unwrap();
    }
    fs::create_dir(path("ab")).unwrap();
    fs::write(path("ab/inside"), "a name of an object directory").unwrap();
    fs::write(path(&"n".repeat(255)), "long").unwrap();
    for name in [&b"\xff\xfe"[..], b"latin\xe9", b"\x01\x7f\x80"] {
        fs::write(root.join(OsStr::from_bytes(name)), name.repeat(40)).unwrap();
    }
    symlink("nowhere", path("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff/../\xe9"), path("odd-target")).unwrap();
    symlink("t".repeat(4095), path("long-target")).unwrap();
    let _socket = UnixListener::bind(path("socket")).unwrap();
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("loop", FileType::BlockDevice, makedev(7, 0)),
        ("large-numbers", FileType::CharacterDevice, makedev(4095, 0xf_ffff)),
    ] {
        mknodat(CWD, path(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
    for (name, target) in [("again", "d/100000"), ("d/e/again", "d/100000"), ("null-again", "null")] {
        linkat(CWD, path(target), CWD, path(name), AtFlags::empty()).unwrap();
    }
    linkat(CWD, path("dangling"), CWD, path("d/dangling"), AtFlags::empty()).unwrap();

    set_xattr(&path("d/65"), "user.one", b"value");
    set_xattr(&path("d/e"), "user.one", b"value");
    set_xattr(&path("d/64"), "user.\u{e9}", &[0, 255, b'=']);
    set_xattr(&path("d/64"), "user.empty", b"");
    set_xattr(&path("d/4096"), "user.long", &[7; 3000]);
    set_xattr(&path("d/4096"), "trusted.mine", b"of root");
    // cap_net_raw, permitted and effective.
    let capability: Vec<u8> = [0x0200_0001u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    set_xattr(&path("d/100000"), "security.capability", &capability);
    for arguments in [["-m", "u:12345:rw", "d/4097"], ["-dm", "g:54321:rx,u:7:r", "d"]] {
        let setfacl = Command::new("setfacl").args(arguments).current_dir(root).output().expect("setfacl");
        assert!(setfacl.status.success(), "{setfacl:?}");
    }

    for (name, mode) in [("d/65", 0o4755), ("d/4095", 0o2751), ("d/e", 0o3777), ("d/0", 0o000), ("null", 0o666)] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (name, id) in [("d/1", 65_535), ("d/e", 65_536), ("fifo", 4_000_000_000), ("dangling", 1234)] {
        let (uid, gid) = (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id + 1));
        chownat(CWD, path(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    const IN_1969: i64 = -86_400;
    const IN_2500: i64 = 16_730_000_000;
    for (name, sec, nsec) in [
        ("d/65", IN_1969, 123_456_789),
        ("fifo", IN_1969, 1),
        ("d/64", IN_2500, 999_999_999),
        ("null", IN_2500, 1),
        ("dangling", -1, 999_999_999),
        ("d/e", IN_2500, 500),
        ("", 0, 1),
    ] {
        set_mtime(&path(name), sec, nsec);
    }
    assert_eq!(path("d/64").metadata().unwrap().mtime(), IN_2500);
}
