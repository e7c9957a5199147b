//! Converts whole trees to an image and store, mounts and extracts them, and compares the results with the trees.
//!
//! `COMPOSEFS_MINBASE` names the tree of a real system; `cargo xtask test` creates one.

mod support;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use libcomposefs_sys::mount::{MountFlags, mount_at_once};
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::skip;
use libcomposefs_testkit::stats;
use rustix::fs::{lgetxattr, llistxattr};
use support::{MountPoint, make_odd_tree};

fn composefs(name: &'static str) -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name }
}

/// Reason to skip the test.
fn unable() -> Option<&'static str> {
    (!libcomposefs_testkit::privilege::is_root()).then_some("mounting and making devices needs root")
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
    // A tmpfs can store every time; ext4 ends in 2446.
    let at = MountPoint::new(dir.path().join("tmpfs"));
    mount_at_once(OsStr::new("tmpfs"), &at.0, "tmpfs", MountFlags::empty(), c"").unwrap();
    let tree = at.0.join("tree");
    make_odd_tree(&tree);
    let seen = round_trip(&tree, &at.0.join("extracted"));
    assert!(seen.xattrs >= 7 && seen.links == 3, "{seen:?}");
}

/// Numbers of things compared.
#[derive(Debug, Default)]
struct Seen {
    entries: u64,
    bytes: u64,
    xattrs: u64,
    /// Number of files with several names.
    links: u64,
}

/// Creates image and store of a tree, mounts, extracts and checks them, and compares them with the tree.
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
    stats::show(&format!(
        "{}: {} entries, {} bytes, {} xattrs and {} files of several names are the same; \
         image of {} bytes, built in {:.1} s, \
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

/// All results of `lstat`, `listxattr` and `readlink`.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    mode: u32,
    owner: (u32, u32),
    rdev: u64,
    /// Size of the file; for a directory it depends on the file system.
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

/// Returns the names of each file, except directories.
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

/// Returns the length of two files if their contents are equal.
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
                more => Err(format!("{more} bytes or more after its end at {len}")),
            };
        }
        b.read_exact(&mut buffers[1][..read]).map_err(|e| format!("at {len}: {e}"))?;
        if buffers[0][..read] != buffers[1][..read] {
            return Err(format!("the content differs between {len} and {}", len + read as u64));
        }
        len += read as u64;
    }
}
