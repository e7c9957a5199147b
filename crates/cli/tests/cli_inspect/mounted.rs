//! Compares the output of the commands with the same image mounted by the kernel.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_sys::mount::{MountFlags, mount_at_once};
use libcomposefs_testkit::{skip, stats};
use rustix::fs::{lgetxattr, llistxattr, major, minor};
use serde_json::Value;

use crate::fixture::{Place, below, bytes, composefs, program};
use crate::support::{MountPoint, make_odd_tree};

/// An image with its objects, and its mount point.
struct Mounted {
    place: Place,
    at: MountPoint,
    _tmpfs: MountPoint,
}

/// Builds and mounts the tree of unusual files; `None` if the test is skipped.
fn mounted(test: &str) -> Option<Mounted> {
    if !libcomposefs_testkit::privilege::is_root() {
        skip::announce(test, "mounting and making devices needs root");
        return None;
    }
    let place = Place::new();
    // A tmpfs can store every time.
    let tmpfs = MountPoint::new(place.path("tmpfs"));
    mount_at_once(OsStr::new("tmpfs"), &tmpfs.0, "tmpfs", MountFlags::empty(), c"").unwrap();
    let tree = tmpfs.0.join("tree");
    make_odd_tree(&tree);
    let mut store = OsString::from("--digest-store=");
    store.push(place.path("objects"));
    let image = place.path("image");
    let line = [OsStr::new("--hardlinks"), &store, tree.as_os_str(), image.as_os_str()];
    let _ = program("mkcomposefs").run(line, b"").ok();
    let at = MountPoint::new(place.path("mnt"));
    let mut options = OsString::from("basedir=");
    options.push(place.path("objects"));
    let line = [OsStr::new("mount"), OsStr::new("-o"), &options, image.as_os_str(), at.0.as_os_str()];
    let _ = composefs(line).ok();
    Some(Mounted { place, at, _tmpfs: tmpfs })
}

#[test]
fn output_matches_the_mount() {
    let Some(Mounted { place, at, .. }) = mounted("mounted::output_matches_the_mount") else { return };
    let found = place.json("find --json @image");
    let found = found.as_array().unwrap();
    let mut paths: Vec<PathBuf> = found.iter().map(|object| below(&at.0, &bytes(object, "path"))).collect();
    let listed = place.json("ls -R --json @image");
    let listed: BTreeSet<_> =
        listed.as_array().unwrap().iter().map(|object| below(&at.0, &bytes(object, "path"))).collect();
    let mut xattrs = 0;
    for (object, path) in found.iter().zip(&paths) {
        assert!(is_like(object, path), "{}: {object}", path.display());
        assert_eq!(listed.contains(path), path.as_path() != below(&at.0, b"/"), "{}", path.display());
        xattrs += compare_stat(&place, object, path);
    }
    paths.sort();
    let mut expected = walk(&at.0);
    expected.sort();
    assert_eq!(paths, expected);
    assert_eq!(listed.len() + 1, paths.len());
    assert!(paths.len() > 40 && xattrs >= 7, "{} {xattrs}", paths.len());
    stats::show(&format!("{} paths and {xattrs} xattrs are as the mount shows them", paths.len()));
}

fn walk(root: &Path) -> Vec<PathBuf> {
    let mut paths = vec![below(root, b"/")];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        if path.symlink_metadata().unwrap().is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    paths
}

fn is_like(object: &Value, path: &Path) -> bool {
    let meta = path.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let word = match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symlink",
        () if kind.is_char_device() => "character device",
        () if kind.is_block_device() => "block device",
        () if kind.is_fifo() => "fifo",
        () => "socket",
    };
    let is_device = kind.is_char_device() || kind.is_block_device();
    let rdev = format!("{}:{}", major(meta.rdev()), minor(meta.rdev()));
    // The size of a directory depends on the file system.
    let counts = (object["size"].as_u64(), object["nlink"].as_u64());
    object["type"] == word
        && object["mode"] == format!("{:04o}", meta.mode() & 0o7777)
        && (object["uid"].as_u64(), object["gid"].as_u64()) == (Some(meta.uid().into()), Some(meta.gid().into()))
        && (kind.is_dir() || counts == (Some(meta.size()), Some(meta.nlink())))
        && object.get("rdev").map(|rdev| rdev.as_str().unwrap()) == is_device.then_some(rdev.as_str())
        && object.get("target").map(|_| bytes(object, "target"))
            == kind.is_symlink().then(|| fs::read_link(path).unwrap().into_os_string().into_vec())
}

/// Compares times and xattrs; returns the number of xattrs.
fn compare_stat(place: &Place, object: &Value, path: &Path) -> usize {
    let name = OsString::from_vec(bytes(object, "path"));
    let image = place.path("image");
    let line = [OsStr::new("stat"), OsStr::new("--json"), image.as_os_str(), &name];
    let stat: Value = serde_json::from_slice(&composefs(line).ok().stdout).unwrap();
    let stat = &stat[0];
    let meta = path.symlink_metadata().unwrap();
    assert_eq!(
        (stat["mtime_sec"].as_i64(), stat["mtime_nsec"].as_i64()),
        (Some(meta.mtime()), Some(meta.mtime_nsec()))
    );
    assert_eq!((&stat["mtime"], &stat["nid"], &stat["size"]), (&object["mtime"], &object["nid"], &object["size"]));
    let (mut names, mut value) = (vec![0; 65_536], vec![0; 65_536]);
    let len = llistxattr(path, &mut names[..]).unwrap();
    let names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut expected: Vec<_> = names
        .map(|name| {
            let len = lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect();
    expected.sort();
    let found = stat["xattrs"].as_array().unwrap();
    let found: Vec<_> = found.iter().map(|xattr| (bytes(xattr, "name"), bytes(xattr, "value"))).collect();
    assert_eq!(found, expected, "{}", path.display());
    found.len()
}

#[test]
fn contents_match_the_mount() {
    let Some(Mounted { place, at, .. }) = mounted("mounted::contents_match_the_mount") else { return };
    let mut total = 0;
    for path in walk(&at.0).iter().filter(|path| path.symlink_metadata().unwrap().is_file()) {
        let name = path.strip_prefix(&at.0).unwrap();
        let (image, objects) = (place.path("image"), place.path("objects"));
        let line = [
            OsStr::new("cat"),
            OsStr::new("--basedir"),
            objects.as_os_str(),
            image.as_os_str(),
            OsStr::new("--"),
            name.as_os_str(),
        ];
        assert!(composefs(line).ok().stdout == fs::read(path).unwrap(), "{}", path.display());
        total += path.metadata().unwrap().len();
    }
    assert!(total > 200 << 20, "{total}");
}

/// Returns the output of another program in the mounted root.
fn there(at: &MountPoint, line: &[&str]) -> Vec<u8> {
    let out = Command::new(line[0]).args(&line[1..]).current_dir(&at.0).env("LC_ALL", "C").output().unwrap();
    assert!(out.status.success(), "{line:?}: {out:?}");
    out.stdout
}

/// Splits a list at its NUL bytes and sorts the records.
fn records(text: &[u8]) -> Vec<&[u8]> {
    let mut records: Vec<_> = text.split(|byte| *byte == 0).filter(|record| !record.is_empty()).collect();
    records.sort_unstable();
    records
}

#[test]
fn find_matches_find_1() {
    let Some(Mounted { place, at, .. }) = mounted("mounted::find_matches_find_1") else { return };
    for (ours, theirs) in [
        ("", "."),
        ("d", "./d"),
        ("--type f", ". -type f"),
        ("--type l,p,s", ". -type l,p,s"),
        ("--type c,b", ". -type c,b"),
        ("--name *e*", ". -name *e*"),
        ("--name [0-9]*", ". -name [0-9]*"),
        ("--type f --size +4096", ". -type f -size +4096c"),
        ("--type f --size -64", ". -type f -size -64c"),
        ("--type f --size 65", ". -type f -size 65c"),
        ("--type f --size +1M", ". -type f -size +1048576c"),
        ("--perm 0755", ". -perm 0755"),
        ("--perm -4000", ". -perm -4000"),
        ("--perm /6000", ". -perm /6000"),
        ("--type f,l,c --links +1", ". -type f,l,c -links +1"),
        ("--uid 65536", ". -uid 65536"),
        ("--gid 65537", ". -gid 65537"),
        ("--newer 2400-01-01", ". -newermt 2400-01-01T00:00:00Z"),
        ("--older 1970-01-01", ". ! -newermt @-0.000000001"),
    ] {
        let ours_out = place.run(&format!("find -0 @image {ours}")).ok().stdout;
        let mut line = vec!["find"];
        line.extend(theirs.split(' '));
        line.push("-print0");
        let theirs_out = there(&at, &line);
        // `.` is the root, `./d` is `/d`.
        let from_root = |path: &[u8]| if path == b"." { b"/".to_vec() } else { path[1..].to_vec() };
        let theirs_found: Vec<_> = records(&theirs_out).into_iter().map(from_root).collect();
        let ours_found = records(&ours_out);
        assert_eq!(ours_found, theirs_found, "{ours}");
        assert!(!ours_found.is_empty(), "{ours}");
    }
}

#[test]
fn ls_matches_ls_1() {
    let Some(Mounted { place, at, .. }) = mounted("mounted::ls_matches_ls_1") else { return };
    for (ours, theirs) in [
        ("ls @image", &["ls", "-A1"][..]),
        ("ls @image d", &["ls", "-A1", "d"]),
        ("ls -R @image d", &["ls", "-AR1", "d"]),
        ("ls @image d/e fifo d/65", &["ls", "-A1", "d/e", "fifo", "d/65"]),
        ("ls -d @image d d/e", &["ls", "-d1", "d", "d/e"]),
    ] {
        let ours_out = place.run(ours).ok().stdout;
        let theirs_out = there(&at, theirs);
        // `composefs ls` keeps the order of files named on the command line.
        let sort = |text: &[u8]| {
            let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if ours.contains("fifo") {
                lines.sort();
            }
            lines
        };
        assert_eq!(sort(&ours_out), sort(&theirs_out), "{ours}");
    }
    // Long lines, except those of directories, whose sizes and link counts depend on the file system.
    let words = |text: Vec<u8>, skip: &str| -> Vec<String> {
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines = text.lines().filter(|line| !line.starts_with(['d', 't']) && !line.contains(skip));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").replace(", ", ",")).collect()
    };
    let ours = words(place.run("ls -l @image d").ok().stdout, " e");
    let theirs = there(&at, &["ls", "-lnA", "--time-style=+%Y-%m-%dT%H:%M:%SZ", "d"]);
    // ls appends a `+` to the mode of files with ACLs.
    let theirs: Vec<_> = words(theirs, " e").iter().map(|line| line.replacen("+ ", " ", 1)).collect();
    assert_eq!(ours, theirs);
    assert!(ours.len() > 10);
}

#[test]
fn du_matches_du_1() {
    let Some(Mounted { place, at, .. }) = mounted("mounted::du_matches_du_1") else { return };
    let json = place.json("du --json --basedir=@objects @image");
    let sums = &json["images"][0];
    let sizes = there(&at, &["find", ".", "-type", "f", "-printf", "%s\n"]);
    let apparent: u64 = str::from_utf8(&sizes).unwrap().lines().map(|line| line.parse::<u64>().unwrap()).sum();
    assert_eq!(sums["apparent"].as_u64(), Some(apparent));
    let objects: Vec<_> = walk(&place.path("objects"))
        .into_iter()
        .map(|path| path.metadata().unwrap())
        .filter(|meta| meta.is_file())
        .collect();
    assert_eq!(sums["objects"].as_u64(), Some(objects.len() as u64));
    assert_eq!(sums["unique"].as_u64(), Some(objects.iter().map(|meta| meta.size()).sum()));
    assert_eq!(sums["disk"].as_u64(), Some(objects.iter().map(|meta| meta.blocks() * 512).sum()));
    assert_eq!((sums["missing"].as_u64(), sums["shared"].as_u64()), (Some(0), Some(0)));
    assert_eq!(sums["image"].as_u64(), Some(place.path("image").metadata().unwrap().len()));
}
