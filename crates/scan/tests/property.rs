//! Random trees written to disk and scanned again are unchanged.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::{Data, InodeId, Tree};
use libcomposefs_image::verity;
use libcomposefs_scan::Options;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
use support::{options, render, scan_with};

#[derive(Clone, Debug)]
enum Node {
    Directory(BTreeMap<Vec<u8>, Node>),
    File { content: Vec<u8>, mode: u32, mtime: (u32, u32), xattrs: BTreeMap<String, Vec<u8>> },
    Symlink(Vec<u8>),
    Pipe,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![6 => b'a'..=b'z', 1 => 1..=255u8].prop_filter("no slash", |b| *b != b'/');
    prop::collection::vec(byte, 1..12).prop_filter("no dots", |n| !n.iter().all(|b| *b == b'.'))
}

fn node() -> impl Strategy<Value = Node> {
    let size = prop_oneof![Just(0), 1..64usize, Just(64), Just(65), 66..9000usize];
    let content =
        (size, any::<u8>()).prop_map(|(size, seed)| (0..size).map(|i| (i as u8).wrapping_mul(seed)).collect());
    let xattrs = prop::collection::btree_map("user\\.[a-c]{1,3}", prop::collection::vec(any::<u8>(), 0..20), 0..3);
    let time = (any::<u32>(), 0..1_000_000_000u32);
    let file = (content, 0o400..0o10000u32, time, xattrs).prop_map(|(content, mode, mtime, xattrs)| Node::File {
        content,
        mode: mode | 0o400,
        mtime,
        xattrs,
    });
    let leaf = prop_oneof![
        6 => file,
        1 => prop::collection::vec(1..=255u8, 1..60).prop_map(Node::Symlink),
        1 => Just(Node::Pipe),
    ];
    leaf.prop_recursive(4, 60, 10, |node| prop::collection::btree_map(name(), node, 0..10).prop_map(Node::Directory))
}

fn tree() -> impl Strategy<Value = BTreeMap<Vec<u8>, Node>> {
    prop::collection::btree_map(name(), node(), 0..12)
}

fn make(path: &Path, node: &Node, with_xattrs: bool) {
    match node {
        Node::Directory(entries) => {
            fs::create_dir_all(path).unwrap();
            entries.iter().for_each(|(name, node)| make(&path.join(OsStr::from_bytes(name)), node, with_xattrs));
        }
        Node::File { content, mode, mtime, xattrs } => {
            fs::write(path, content).unwrap();
            for (name, value) in xattrs.iter().filter(|_| with_xattrs) {
                lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
            }
            let file = fs::File::open(path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::new(mtime.0.into(), mtime.1)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        Node::Symlink(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
        Node::Pipe => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap(),
    }
}

fn compare(tree: &Tree, id: InodeId, path: &Path, node: &Node, with_xattrs: bool) {
    let inode = tree.inode(id);
    let own = fs::symlink_metadata(path).unwrap();
    assert_eq!((inode.mode(), inode.uid(), inode.gid()), (own.mode(), own.uid(), own.gid()));
    assert_eq!((inode.mtime().sec, i64::from(inode.mtime().nsec)), (own.mtime(), own.mtime_nsec()));
    match (node, inode.data()) {
        (Node::Directory(entries), Data::Directory) => {
            let found: Vec<_> = tree.children(id).map(|e| e.name.to_vec()).collect();
            assert_eq!(found, entries.keys().cloned().collect::<Vec<_>>());
            for (entry, (name, node)) in tree.children(id).zip(entries) {
                compare(tree, entry.inode, &path.join(OsStr::from_bytes(name)), node, with_xattrs);
            }
        }
        (Node::File { content, mode, mtime, xattrs }, Data::Regular { content: inline, payload, digest }) => {
            assert_eq!(inode.size(), content.len() as u64);
            assert_eq!(inode.mode() & 0o7777, *mode);
            assert_eq!((inode.mtime().sec, inode.mtime().nsec), (i64::from(mtime.0), mtime.1));
            let external = (content.len() > 64).then(|| verity::digest(Algorithm::Sha256, content));
            assert_eq!(digest, external);
            assert_eq!(payload.map(|p| p.into_owned()), external.map(|d| d.object_path().into_bytes()));
            assert_eq!(inline, (1..=64).contains(&content.len()).then_some(&content[..]));
            let found: BTreeMap<String, Vec<u8>> = inode
                .xattrs()
                .map(|x| (String::from_utf8(x.name.to_vec()).unwrap(), x.value.to_vec()))
                .filter(|(name, _)| name.starts_with("user."))
                .collect();
            assert_eq!(found, if with_xattrs { xattrs.clone() } else { BTreeMap::new() });
        }
        (Node::Symlink(target), Data::Symlink(found)) => assert_eq!(found, &target[..]),
        (Node::Pipe, Data::Special) => {}
        (node, data) => panic!("{node:?} came back as {data:?}"),
    }
}

#[test]
fn a_random_tree_comes_back() {
    let probe = tempfile::NamedTempFile::new().unwrap();
    let with_xattrs = lsetxattr(probe.path(), "user.a", b"", XattrFlags::empty()).is_ok();
    if !with_xattrs {
        libcomposefs_testkit::skip::announce("a_random_tree_comes_back (xattrs)", "the file system has no user xattrs");
    }
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(entries in tree())| {
        let dir = tempfile::tempdir().unwrap();
        let root = Node::Directory(entries);
        make(dir.path(), &root, with_xattrs);
        let scanned = scan_with(dir.path(), &options(1)).unwrap();
        compare(&scanned, InodeId::ROOT, dir.path(), &root, with_xattrs);
        let links = Options { hardlinks: true, ..options(3) };
        for options in [options(2), options(5), links] {
            assert_eq!(render(&scan_with(dir.path(), &options).unwrap()), render(&scanned));
        }
    });
}
