//! Whole trees through image, store and mount, and through extraction: what is seen there is what was there.
//!
//! `COMPOSEFS_MINBASE` names the tree of a real system; `cargo xtask test` makes one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use composefs_sys::mount::{MountFlags, mount_at_once, unmount};
use composefs_testkit::figures;
use composefs_testkit::program::{Outcome, Program};
use composefs_testkit::skip;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, chownat, lgetxattr, linkat, llistxattr, lsetxattr,
    makedev, mknodat, utimensat,
};

fn composefs(name: &'static str) -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name }
}

/// A mount point that is free again when this is dropped.
struct MountPoint(PathBuf);

impl MountPoint {
    fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        while unmount(&self.0, true).is_ok() {}
    }
}

/// Why there is nothing to see here.
fn unable() -> Option<&'static str> {
    (!composefs_testkit::privilege::is_root()).then_some("mounting and making devices needs root")
}

#[test]
fn a_system_tree() {
    let tree = std::env::var_os("COMPOSEFS_MINBASE").map(PathBuf::from);
    let tree = match (unable(), tree.filter(|tree| tree.is_dir())) {
        (None, Some(tree)) => tree,
        (unable, _) => {
            return skip::announce("a_system_tree", unable.unwrap_or("COMPOSEFS_MINBASE does not name a tree"));
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let seen = round_trip(&tree, &dir.path().join("extracted"));
    assert!(seen.entries > 3000 && seen.bytes > 50 << 20, "{} is no system: {seen:?}", tree.display());
    let has = ["etc/passwd", "usr/bin/passwd", "dev/null"].map(|name| tree.join(name).symlink_metadata().is_ok());
    assert_eq!(has, [true; 3], "{} is no system", tree.display());
}

#[test]
fn odd_files() {
    if let Some(reason) = unable() {
        return skip::announce("odd_files", reason);
    }
    let dir = tempfile::tempdir().unwrap();
    // A tmpfs keeps every time there is; ext4 ends in 2446.
    let at = MountPoint::new(dir.path().join("tmpfs"));
    mount_at_once(OsStr::new("tmpfs"), &at.0, "tmpfs", MountFlags::empty(), c"").unwrap();
    let tree = at.0.join("tree");
    make_odd_tree(&tree);
    let seen = round_trip(&tree, &at.0.join("extracted"));
    assert!(seen.xattrs >= 7 && seen.links == 3, "{seen:?}");
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|e| panic!("{}: {name}: {e}", path.display()));
}

fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn make_odd_tree(root: &Path) {
    let path = |name: &str| root.join(name);
    fs::create_dir_all(path("d/e")).unwrap();
    // Of every length that is treated in a way of its own.
    for len in [0, 1, 64, 65, 4095, 4096, 4097, 100_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20] {
        let content: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
        fs::write(path(&format!("d/{len}")), content).unwrap();
    }
    File::create(path("d/sparse")).unwrap().set_len(200 << 20).unwrap();
    // Names that mean something elsewhere: those of the stubs in an image's root, overlayfs's older cousins, the store's.
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

/// What was compared.
#[derive(Debug, Default)]
struct Seen {
    entries: u64,
    bytes: u64,
    xattrs: u64,
    /// Files with several names.
    links: u64,
}

/// Image and store of a tree, mounted, extracted, checked, and compared with it.
fn round_trip(tree: &Path, extracted: &Path) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let (store, image) = (dir.path().join("store"), dir.path().join("image"));
    let option = |name: &str, value: &Path| {
        let mut option = OsString::from(name);
        option.push(value);
        option
    };
    let start = Instant::now();
    let arguments =
        [OsString::from("--hardlinks"), option("--digest-store=", &store), tree.into(), image.clone().into()];
    let _: Outcome = composefs("mkcomposefs").run(arguments, b"").ok();
    let built = start.elapsed();
    let at = MountPoint::new(dir.path().join("mnt"));
    let options = option("basedir=", &store);
    let arguments = [OsStr::new("-o"), &options, image.as_os_str(), at.0.as_os_str()];
    let _: Outcome = composefs("mount.composefs").run(arguments, b"").ok();
    let seen = compare(tree, &at.0);
    let basedir = option("--basedir=", &store);
    let arguments = [OsStr::new("extract"), &basedir, image.as_os_str(), extracted.as_os_str()];
    let start = Instant::now();
    let outcome = composefs("composefs").run(arguments, b"").ok();
    let extracting = start.elapsed();
    assert_eq!((&outcome.stdout[..], &outcome.stderr[..]), (&b""[..], ""));
    compare(&at.0, extracted);
    let arguments = [OsStr::new("check"), OsStr::new("--strict"), &basedir, image.as_os_str()];
    let outcome = composefs("composefs").run(arguments, b"").ok();
    assert!(outcome.line().contains(", canonical, "), "{}", outcome.line());
    figures::show(&format!(
        "{}: {} entries, {} bytes, {} xattrs and {} files of several names are the same; image of {} bytes, built in {:.1} s, \
         extracted in {:.1} s",
        tree.display(),
        seen.entries,
        seen.bytes,
        seen.xattrs,
        seen.links,
        image.metadata().unwrap().len(),
        built.as_secs_f32(),
        extracting.as_secs_f32()
    ));
    seen
}

/// All that `lstat`, `listxattr` and `readlink` tell.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    mode: u32,
    owner: (u32, u32),
    rdev: u64,
    /// Of a directory it is the file system's own.
    size: Option<u64>,
    links: Option<u64>,
    mtime: (i64, i64),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    target: Option<PathBuf>,
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut names, mut value) = (vec![0; 65_536], vec![0; 65_536]);
    let len = llistxattr(path, &mut names[..]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let len = lgetxattr(path, name, &mut value[..]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (name.to_vec(), value[..len].to_vec())
        })
        .collect()
}

fn record(path: &Path) -> (Record, (u64, u64)) {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let other_than_directory = |value| (!meta.is_dir()).then_some(value);
    let record = Record {
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        rdev: meta.rdev(),
        size: other_than_directory(meta.size()),
        links: other_than_directory(meta.nlink()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        xattrs: xattrs(path),
        target: meta.is_symlink().then(|| fs::read_link(path).unwrap()),
    };
    (record, (meta.dev(), meta.ino()))
}

fn names(path: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// The names of each file, other than directories.
type Groups = BTreeMap<(u64, u64), Vec<PathBuf>>;

fn compare(source: &Path, mounted: &Path) -> Seen {
    let mut seen = Seen::default();
    let mut differences = Vec::new();
    let mut groups = [Groups::new(), Groups::new()];
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let at = [source.join(&path), mounted.join(&path)];
        let [(want, want_key), (got, got_key)] = [record(&at[0]), record(&at[1])];
        seen.entries += 1;
        seen.xattrs += want.xattrs.len() as u64;
        if want != got {
            differences.push(format!("{}: {want:?} became {got:?}", path.display()));
            continue;
        }
        let kind = want.mode & 0o170_000;
        if kind == 0o040_000 {
            let [want, got] = [names(&at[0]), names(&at[1])];
            if want != got {
                differences.push(format!("{}: {want:?} became {got:?}", path.display()));
                continue;
            }
            open.extend(want.into_iter().map(|name| path.join(name)));
            continue;
        }
        groups[0].entry(want_key).or_default().push(path.clone());
        groups[1].entry(got_key).or_default().push(path.clone());
        if kind == 0o100_000 {
            match same_content(&at[0], &at[1]) {
                Ok(len) => seen.bytes += len,
                Err(difference) => differences.push(format!("{}: {difference}", path.display())),
            }
        }
    }
    let [want, got] = groups.map(|groups| {
        let mut groups: Vec<_> = groups.into_values().filter(|names| names.len() > 1).collect();
        groups.iter_mut().for_each(|names| names.sort());
        groups.sort();
        groups
    });
    assert!(
        differences.is_empty(),
        "{} differences: {:#?}",
        differences.len(),
        &differences[..differences.len().min(5)]
    );
    assert_eq!(want, got, "hard links");
    seen.links = want.len() as u64;
    seen
}

/// The length of two files, if they hold the same.
fn same_content(a: &Path, b: &Path) -> Result<u64, String> {
    let open = |path: &Path| File::open(path).map_err(|e| format!("{}: {e}", path.display()));
    let (mut a, mut b) = (open(a)?, open(b)?);
    let mut buffers = [vec![0; 1 << 20], vec![0; 1 << 20]];
    let mut len = 0;
    loop {
        let read = a.read(&mut buffers[0]).map_err(|e| e.to_string())?;
        if read == 0 {
            return match b.read(&mut buffers[1]).map_err(|e| e.to_string())? {
                0 => Ok(len),
                more => Err(format!("{more} bytes or more behind its end at {len}")),
            };
        }
        b.read_exact(&mut buffers[1][..read]).map_err(|e| format!("at {len}: {e}"))?;
        if buffers[0][..read] != buffers[1][..read] {
            return Err(format!("the content differs between {len} and {}", len + read as u64));
        }
        len += read as u64;
    }
}
