//! Trees with everything a file system can hold.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use libcomposefs_content::{ContentSink, DigestOnly, NoProgress, SinkError, SourceFile};
use libcomposefs_image::tree::{InodeId, Kind, Timestamp};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_scan::{Error, Mtime, Options, Patterns, XattrChoice, scan};
use libcomposefs_testkit::privilege::{is_root, without_root};
use libcomposefs_testkit::skip;
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, lsetxattr, makedev, mkdirat, mknodat, openat};
use support::{line, options, render, scan_default, scan_with};
use tempfile::tempdir;

#[test]
fn metadata_is_that_of_lstat() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("d")).unwrap();
    fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o1751)).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("small"), "x".repeat(64)).unwrap();
    fs::write(root.join("large"), "x".repeat(65)).unwrap();
    fs::set_permissions(root.join("large"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("where/ever", root.join("link")).unwrap();
    for name in ["d", "empty", "small", "large"] {
        let times = fs::FileTimes::new()
            .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789));
        fs::File::open(root.join(name)).unwrap().set_times(times).unwrap();
    }
    let tree = scan_default(root);
    let own = fs::symlink_metadata(root.join("large")).unwrap();
    let (owner, time) = (format!("{}:{}", own.uid(), own.gid()), "1234567890.123456789");
    let digest = verity::digest(Algorithm::Sha256, "x".repeat(65).as_bytes());
    assert_eq!(line(&tree, "/d"), format!("/d 41751 0 {owner} n1 r0 {time} dir []"));
    assert!(line(&tree, "/empty").contains(&format!("{time} content None payload None digest None")));
    let x64 = "x".repeat(64);
    assert!(line(&tree, "/small").contains(&format!("64 {owner} n1 r0 {time} content Some({x64:?}) payload None")));
    let payload = digest.object_path();
    assert_eq!(
        line(&tree, "/large"),
        format!(
            "/large 104755 65 {owner} n1 r0 {time} content None payload Some({payload:?}) digest Some({digest:?}) []"
        )
    );
    let link = line(&tree, "/link");
    assert!(link.starts_with("/link 120777 10 ") && link.contains("-> where/ever"), "{link}");
    assert_eq!(tree.entry_count(), 5);
}

#[test]
fn inline_max_and_algorithm_are_obeyed() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "12345").unwrap();
    let with = |inline_max, digest_inline, algorithm| {
        let options = Options { inline_max, digest_inline, algorithm, ..options(1) };
        line(&scan(dir.path(), &options, &DigestOnly(algorithm), &NoProgress).unwrap(), "/f")
    };
    let sha256 = verity::digest(Algorithm::Sha256, b"12345");
    let sha512 = verity::digest(Algorithm::Sha512, b"12345");
    assert!(with(5, false, Algorithm::Sha256).contains("content Some(\"12345\") payload None digest None"));
    assert!(with(5, true, Algorithm::Sha256).contains(&format!("digest Some({sha256:?})")));
    assert!(
        with(4, false, Algorithm::Sha256).contains(&format!("content None payload Some({:?})", sha256.object_path()))
    );
    assert!(with(0, false, Algorithm::Sha512).contains(&format!("digest Some({sha512:?})")));
}

#[test]
fn files_of_more_than_a_buffer_are_hashed_whole() {
    let dir = tempdir().unwrap();
    for len in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 5] {
        let content: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
        fs::write(dir.path().join("f"), &content).unwrap();
        let digest = verity::digest(Algorithm::Sha256, &content);
        assert!(line(&scan_default(dir.path()), "/f").contains(&digest.to_hex()), "{len}");
    }
}

#[test]
fn names_are_bytes() {
    let dir = tempdir().unwrap();
    for name in [&b"\xff\xfe"[..], b"a b\n\t", b"\\", &[b'n'; 255]] {
        fs::write(dir.path().join(OsStr::from_bytes(name)), name).unwrap();
        symlink(OsStr::from_bytes(&name[..name.len().min(100)]), {
            let mut link = name[..name.len().min(200)].to_vec();
            link.extend_from_slice(b".link");
            dir.path().join(OsStr::from_bytes(&link))
        })
        .unwrap();
    }
    let tree = scan_default(dir.path());
    assert_eq!(tree.entry_count(), 8);
    let entry = tree.child(InodeId::ROOT, b"\xff\xfe").unwrap();
    assert_eq!(tree.inode(entry.inode).size(), 2);
    assert!(tree.child(InodeId::ROOT, &[b'n'; 255]).is_some());
    assert!(line(&tree, "/\\xff\\xfe.link").contains("-> \\xff\\xfe"));
}

#[test]
fn pipes_and_sockets_are_not_opened() {
    let dir = tempdir().unwrap();
    mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let tree = scan_default(dir.path());
    let kind = |name: &[u8]| tree.inode(tree.child(InodeId::ROOT, name).unwrap().inode).kind();
    assert_eq!((kind(b"pipe"), kind(b"socket")), (Kind::Fifo, Kind::Socket));
}

#[test]
fn devices_have_the_kernels_numbers() {
    let dir = tempdir().unwrap();
    if !is_root() {
        return skip::announce("devices_have_the_kernels_numbers", "making devices takes root");
    }
    let make = |name: &str, kind, major, minor| {
        mknodat(CWD, dir.path().join(name), kind, Mode::from_raw_mode(0o640), makedev(major, minor))
    };
    if let Err(errno) = make("whiteout", FileType::CharacterDevice, 0, 0) {
        return skip::announce("devices_have_the_kernels_numbers", &errno.to_string());
    }
    make("char", FileType::CharacterDevice, 4, 65).unwrap();
    make("block", FileType::BlockDevice, 259, 0x12345).unwrap();
    let tree = scan_default(dir.path());
    assert!(tree.has_whiteout());
    assert!(line(&tree, "/char").contains(" r441 "));
    // new_encode_dev: (minor & 0xff) | major << 8 | (minor & ~0xff) << 12.
    assert!(line(&tree, "/block").contains(" r12310345 "), "{}", line(&tree, "/block"));
    let without = scan_with(dir.path(), &Options { skip_devices: true, ..options(1) }).unwrap();
    assert_eq!(without.entry_count(), 0);
}

#[test]
fn xattrs_all_some_or_none() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    fs::write(root.join("file"), "x".repeat(100)).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    let big = vec![b'v'; 3000];
    let set = |path: &Path, name: &str, value: &[u8]| lsetxattr(path, name, value, XattrFlags::empty());
    if let Err(errno) = set(&root.join("file"), "user.a", b"1") {
        return skip::announce("xattrs_all_some_or_none", &errno.to_string());
    }
    for path in [root.to_owned(), root.join("file"), root.join("empty"), root.join("dir")] {
        set(&path, "user.a", b"1\0\xff").unwrap();
        set(&path, "user.big", &big).unwrap();
    }
    let trusted = set(&root.join("file"), "trusted.t", b"t").is_ok();
    symlink("nowhere", root.join("link")).unwrap();
    let on_link = is_root() && set(&root.join("link"), "trusted.l", b"l").is_ok();
    let want = format!("[\"user.a=1\\\\x00\\\\xff\", \"user.big={}\"]", "v".repeat(3000));
    let tree = scan_default(root);
    for path in ["", "/empty", "/dir"] {
        let line = line(&tree, path);
        assert!(line.ends_with(&want), "{line}");
    }
    assert_eq!(line(&tree, "/file").contains("trusted.t=t"), trusted);
    assert_eq!(line(&tree, "/link").contains("trusted.l=l"), on_link);
    let choose = |xattrs| scan_with(root, &Options { xattrs, ..options(1) }).unwrap();
    assert!(line(&choose(XattrChoice::UserOnly), "/file").ends_with(&want));
    assert!(render(&choose(XattrChoice::None)).iter().all(|l| l.ends_with("[]")));
}

#[test]
fn times_can_be_fixed_or_clamped() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(50);
    fs::File::create(dir.path().join("old")).unwrap().set_modified(old).unwrap();
    fs::write(dir.path().join("new"), "").unwrap();
    let with = |mtime| render(&scan_with(dir.path(), &Options { mtime, ..options(1) }).unwrap());
    let epoch = Timestamp { sec: 100, nsec: 0 };
    assert!(with(Mtime::Fixed(epoch)).iter().all(|l| l.contains(" 100.000000000 ")));
    for line in with(Mtime::ClampTo(epoch)) {
        let time = if line.starts_with("/old") { " 50.000000000 " } else { " 100.000000000 " };
        assert!(line.contains(time), "{line}");
    }
}

#[test]
fn links_are_one_inode_only_if_asked_for() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("b")).unwrap();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("b/one"), "x".repeat(100)).unwrap();
    fs::hard_link(root.join("b/one"), root.join("z")).unwrap();
    fs::hard_link(root.join("b/one"), root.join("a/two")).unwrap();
    let tree = scan_default(root);
    assert_eq!((tree.inode_count(), tree.entry_count()), (6, 5));
    assert!(render(&tree).iter().all(|l| l.contains(" n1 ") && !l.contains("link ")));
    for threads in 1..5 {
        let tree = scan_with(root, &Options { hardlinks: true, ..options(threads) }).unwrap();
        assert_eq!((tree.inode_count(), tree.entry_count()), (4, 5));
        // The inode is at the first path in order, whichever name was read first.
        assert!(line(&tree, "/a/two").starts_with("/a/two 100644 100 "));
        assert!(line(&tree, "/b/one").starts_with("/b/one link "));
        assert!(line(&tree, "/z").starts_with("/z link ") && line(&tree, "/z").contains(" n3 "));
    }
}

#[test]
fn excluded_directories_are_not_entered() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("usr/cache/deep")).unwrap();
    fs::write(root.join("usr/cache/deep/keep.txt"), "").unwrap();
    fs::write(root.join("usr/a.o"), "").unwrap();
    fs::write(root.join("usr/keep.o"), "").unwrap();
    let mut patterns = Patterns::default();
    patterns.exclude("*.o").unwrap();
    patterns.include("keep.o").unwrap();
    patterns.exclude("/usr/cache/").unwrap();
    patterns.include("keep.txt").unwrap();
    let tree = scan_with(root, &Options { patterns, ..options(1) }).unwrap();
    let paths: Vec<_> = render(&tree).iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(paths, ["", "/usr", "/usr/keep.o"]);
}

#[test]
fn ten_thousand_files_in_one_directory() {
    let dir = tempdir().unwrap();
    for i in 0..10_000 {
        fs::write(dir.path().join(format!("file-{i}")), format!("content {i} {}", "-".repeat(i % 100))).unwrap();
    }
    let expected = render(&scan_with(dir.path(), &options(1)).unwrap());
    assert_eq!(expected.len(), 10_001);
    for threads in [2, 3, 8] {
        assert!(render(&scan_with(dir.path(), &options(threads)).unwrap()) == expected, "{threads} threads differ");
    }
}

#[test]
fn the_source_must_be_a_directory() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    symlink("d", dir.path().join("link")).unwrap();
    for (name, errno) in [("file", "Not a directory"), ("link", "Not a directory"), ("none", "No such file")] {
        let error = scan_with(&dir.path().join(name), &options(1)).unwrap_err().to_string();
        assert!(error.contains(errno) && error.contains(name), "{error}");
    }
}

#[test]
fn unreadable_files_are_errors_with_their_path() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/secret"), "x").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir.path().join("d/secret"), fs::Permissions::from_mode(0o0)).unwrap();
    let scanned = without_root(|| scan_with(dir.path(), &options(2)).map(drop));
    let error = scanned.unwrap_err();
    assert_eq!(error.path(), dir.path().join("d/secret"));
    assert!(error.to_string().starts_with("cannot open "), "{error}");
}

/// Makes nested directories, `width` in each of the levels, the last of them with a file in it.
fn make_deep(root: &Path, depth: usize, width: usize) {
    let mode = Mode::from_raw_mode(0o755);
    let mut at = openat(CWD, root, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        for i in 0..width {
            mkdirat(&at, format!("side-{i}"), mode).unwrap();
        }
        mkdirat(&at, "a-rather-long-name-to-pass-the-limit", mode).unwrap();
        at = openat(&at, "a-rather-long-name-to-pass-the-limit", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let file = openat(&at, "bottom", OFlags::CREATE | OFlags::WRONLY, mode).unwrap();
    rustix::io::write(file, &[b'x'; 70]).unwrap();
}

#[test]
fn two_thousand_levels_and_paths_beyond_path_max() {
    for (depth, width) in [(2000, 0), (2000, 2)] {
        let dir = tempdir().unwrap();
        make_deep(dir.path(), depth, width);
        for threads in [1, 2] {
            let tree = scan_with(dir.path(), &options(threads)).unwrap();
            assert_eq!(tree.entry_count(), depth * (width + 1) + 1);
            let mut at = InodeId::ROOT;
            for _ in 0..depth {
                at = tree.child(at, b"a-rather-long-name-to-pass-the-limit").unwrap().inode;
            }
            assert_eq!(tree.inode(tree.child(at, b"bottom").unwrap().inode).size(), 70);
        }
    }
}

/// Changes a file while it is scanned, like an unrelated process.
struct Meddler<'a>(&'a Path);

impl ContentSink for Meddler<'_> {
    fn take_small(&self, content: &[u8], digest: &Digest) -> Result<(), SinkError> {
        DigestOnly(Algorithm::Sha256).take_small(content, digest)
    }

    fn whole_max(&self) -> usize {
        0
    }

    fn take_bytes(&self, content: &[u8], source: &SourceFile<'_>) -> Result<Digest, SinkError> {
        DigestOnly(Algorithm::Sha256).take_bytes(content, source)
    }

    fn take_file(&self, source: &SourceFile<'_>, buffer: &mut [u8]) -> Result<Digest, SinkError> {
        let digest = DigestOnly(Algorithm::Sha256).take_file(source, buffer)?;
        // The same size, and a later time on the coarsest clock.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let file = fs::File::options().write(true).open(self.0)?;
        rustix::io::pwrite(file, b"changed", 0)?;
        Ok(digest)
    }
}

#[test]
fn a_change_after_the_read_is_seen() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("large");
    fs::write(&path, vec![b'x'; 2 << 20]).unwrap();
    let error = scan(dir.path(), &options(1), &Meddler(&path), &NoProgress).unwrap_err();
    assert!(matches!(&error, Error::ChangedWhileReading { path: found } if *found == path), "{error}");
}
