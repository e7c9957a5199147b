//! Metadata, and what a read-only file system refuses.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use libcomposefs_fuse::{ServedMount, Trust};
use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::{InodeId, NewInode, Timestamp, TreeBuilder, Xattr};
use libcomposefs_sys::verity::{Measurement, measure};

use crate::fixture::{Place, directory, tree_of};

fn file() -> NewInode<'static> {
    NewInode { mode: 0o100_644, ..NewInode::default() }
}

pub(super) fn attributes() {
    let place = Place::new();
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &directory()).unwrap();
    let mtime = Timestamp { sec: 1_234_567_890, nsec: 987_654_321 };
    let new = NewInode { mode: 0o104_751, uid: 70_000, gid: 80_000, mtime, size: 3, content: Some(b"abc"), ..file() };
    let id = builder.add(InodeId::ROOT, b"file", &new).unwrap();
    builder.add_link(InodeId::ROOT, b"link", id).unwrap();
    let target = "t".repeat(3000);
    let symlink = NewInode { mode: 0o120_777, payload: Some(target.as_bytes()), ..NewInode::default() };
    builder.add(InodeId::ROOT, b"symlink", &symlink).unwrap();
    builder.add(InodeId::ROOT, b"null", &NewInode { mode: 0o020_666, rdev: 0x103, ..NewInode::default() }).unwrap();
    builder.add(InodeId::ROOT, b"fifo", &NewInode { mode: 0o010_600, ..NewInode::default() }).unwrap();
    let mounted = place.mount(&builder.finish_with_counted_links(), Trust::Verify);
    let stat = |name: &str| fs::symlink_metadata(mounted.path(name)).unwrap();
    let found = stat("file");
    assert_eq!((found.mode(), found.uid(), found.gid(), found.size()), (0o104_751, 70_000, 80_000, 3));
    assert_eq!((found.mtime(), found.mtime_nsec(), found.nlink()), (mtime.sec, mtime.nsec.into(), 2));
    assert_eq!((stat("link").ino(), stat("link").dev()), (found.ino(), found.dev()));
    assert_eq!(fs::read_link(mounted.path("symlink")).unwrap(), Path::new(&target));
    assert!(stat("null").file_type().is_char_device() && stat("null").rdev() == rustix::fs::makedev(1, 3));
    assert!(stat("fifo").file_type().is_fifo());
    for missing in ["none", "file/none"] {
        assert!(fs::symlink_metadata(mounted.path(missing)).is_err());
    }
}

pub(super) fn extended_attributes() {
    let place = Place::new();
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &directory()).unwrap();
    let own = [
        Xattr { name: b"user.a", value: b"1" },
        Xattr { name: b"trusted.b", value: b"2" },
        Xattr { name: b"security.selinux", value: b"label" },
        Xattr { name: b"trusted.overlay.redirect", value: b"/etc/passwd" },
        Xattr { name: b"user.overlay.whiteout", value: b"" },
    ];
    builder.add(InodeId::ROOT, b"file", &NewInode { xattrs: &own, ..file() }).unwrap();
    builder.add(InodeId::ROOT, b"plain", &file()).unwrap();
    let mounted = place.mount(&builder.finish_with_counted_links(), Trust::Verify);
    let expected: BTreeMap<Vec<u8>, Vec<u8>> =
        own.iter().map(|xattr| (xattr.name.to_vec(), xattr.value.to_vec())).collect();
    assert_eq!(xattrs(&mounted.path("file")), expected);
    assert_eq!(xattrs(&mounted.path("plain")), BTreeMap::new());
    assert_eq!(xattrs(&mounted.path("")), BTreeMap::new(), "the root's `opaque` is overlayfs's own");
    let get = |name: &str| rustix::fs::lgetxattr(mounted.path("file"), name, &mut [0u8; 1][..]);
    assert_eq!(get("user.none"), Err(rustix::io::Errno::NODATA));
    assert_eq!(get("security.selinux"), Err(rustix::io::Errno::RANGE));
    assert_eq!(get("system.posix_acl_access"), Err(rustix::io::Errno::OPNOTSUPP));
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0u8; 4096];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(errno) => panic!("{}: {errno}", path.display()),
    };
    let value = |name: &[u8]| {
        let mut value = vec![0u8; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..len].to_vec()
    };
    let names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.map(|name| (name.to_vec(), value(name))).collect()
}

pub(super) fn no_verity() {
    let place = Place::new();
    let digest = place.store(Algorithm::Sha256, &[1; 5000]);
    let mounted = place.mount(&tree_of(Algorithm::Sha256, [("one", 5000, digest)]), Trust::Verify);
    assert_eq!(measure(File::open(mounted.path("one")).unwrap()).unwrap(), Measurement::Unsupported);
}

pub(super) fn statistics() {
    let place = Place::new();
    let mounted = place.mount(&tree_of(Algorithm::Sha256, []), Trust::Verify);
    let [ours, theirs] = [mounted.path(""), place.objects()].map(|path| rustix::fs::statvfs(path).unwrap());
    assert_eq!((ours.f_blocks, ours.f_bsize, ours.f_frsize), (theirs.f_blocks, theirs.f_bsize, theirs.f_frsize));
    assert!(ours.f_bavail > 0 && ours.f_namemax == 255);
    assert!(ours.f_files > 0 && ours.f_files < theirs.f_files.max(1_000));
}

pub(super) fn read_only() {
    let place = Place::new();
    let digest = place.store(Algorithm::Sha256, &[1; 5000]);
    let mounted = place.mount(&tree_of(Algorithm::Sha256, [("one", 5000, digest)]), Trust::Verify);
    let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    const EROFS: Option<i32> = Some(30);
    assert_eq!(errno(fs::write(mounted.path("one"), "x")), EROFS);
    assert_eq!(errno(fs::write(mounted.path("new"), "x")), EROFS);
    assert_eq!(errno(fs::remove_file(mounted.path("one"))), EROFS);
    assert_eq!(errno(fs::create_dir(mounted.path("dir"))), EROFS);
}

pub(super) fn unmount() {
    let place = Place::new();
    let digest = place.store(Algorithm::Sha256, &[1; 5000]);
    let mounted = place.mount(&tree_of(Algorithm::Sha256, [("one", 5000, digest)]), Trust::Verify);
    assert_eq!(fs::read(mounted.path("one")).unwrap(), [1; 5000]);
    assert_eq!(mounted.unmount().unwrap(), ServedMount::Unmounted);
    assert_eq!(fs::read_dir(place.target()).unwrap().count(), 0);
}
