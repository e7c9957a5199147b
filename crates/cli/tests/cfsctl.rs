//! Comparison with cfsctl 0.9.4, the Rust implementation: the only other tool that writes SHA-512 images and preserves
//! hard links.
//!
//! Building cfsctl takes minutes, so its output for one tree is recorded here, and its images elsewhere. If
//! `COMPOSEFS_PEERS` has the program (`cargo xtask peers --rust`), it is run again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use libcomposefs_image::erofs::Image;
use libcomposefs_image::erofs::format_version::LEGACY;
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::program::Program;
use libcomposefs_testkit::{golden, skip, stats};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

/// Algorithm, format version, and what `cfsctl --no-repo --hash ALGORITHM --erofs-version VERSION compute-id
/// --no-propagate-usr-to-root TREE` printed for the tree of [`make_tree`].
const RECORDED: [(&str, &str, &str); 4] = [
    ("sha256", "0", "75de49cd6f57af98ade06b88bf2787642a28e4dcd6a26fbef3f4f3e51df4234c"),
    ("sha256", "1", "eb0c8f8ca0498b954696dcbded821140e683df275d93f6319b3ef4ad6d53306d"),
    (
        "sha512",
        "0",
        "64df8b334310a47f0ebb6e5df85fec6ec0e3726c42b0925ff205af907060b559\
         65d3aee9a69770e303d58e09141a4d48cb39a950aedc79ec497711a94d7ce4bd",
    ),
    (
        "sha512",
        "1",
        "9d3d4f8cff937653c29fdad638469a62dc02e2ba20eb07aa5667376b0836830e\
         654e949d3f037fd49a3181a13061baab4521b23ec4bdd412b454b1c9f0ee099c",
    ),
];

/// Files around every significant size, hard links, a symlink, xattrs, and distinct times.
fn make_tree(root: &Path) {
    let directories = ["", "d", "d/e", "f"];
    for directory in directories {
        fs::create_dir(root.join(directory)).unwrap();
        fs::set_permissions(root.join(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (n, len) in [0usize, 1, 63, 64, 65, 4095, 4096, 4097, 300_000].into_iter().enumerate() {
        let path = root.join(["d", "d/e", "f"][n % 3]).join(format!("file-{len}"));
        let content: Vec<u8> = (0..len).map(|i| (i * 7 + n) as u8).collect();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode([0o644, 0o755, 0o4711][n % 3])).unwrap();
        set_time(&path, 1_600_000_000 + n as i64, 123 * n as i64);
    }
    // Hard links that sort before and after their target.
    for link in ["a-link", "d/link", "z-link"] {
        fs::hard_link(root.join("f/file-300000"), root.join(link)).unwrap();
    }
    symlink("d/e/../file-0", root.join("symlink")).unwrap();
    set_time(&root.join("symlink"), 1_600_000_100, 5);
    lsetxattr(root.join("d"), "user.of-directory", b"value", XattrFlags::empty()).unwrap();
    lsetxattr(root.join("f/file-63"), "user.of-file", b"", XattrFlags::empty()).unwrap();
    lsetxattr(root.join("f/file-300000"), "user.of-directory", b"value", XattrFlags::empty()).unwrap();
    for directory in directories.iter().rev() {
        set_time(&root.join(directory), 1_500_000_000, 0);
    }
}

fn set_time(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn ours(algorithm: &str, version: &str, tree: &Path) -> String {
    let program = Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "mkcomposefs" };
    let options = ["--print-digest-only", "--hardlinks"].map(str::to_owned);
    let algorithm = [format!("--algorithm={algorithm}"), format!("--min-version={version}")];
    let arguments = options.iter().chain(&algorithm).map(OsStr::new).chain([tree.as_os_str()]);
    program.run(arguments, b"").ok().line().to_owned()
}

/// Path of cfsctl, if it is installed.
fn cfsctl() -> Option<PathBuf> {
    let path = std::env::var_os("COMPOSEFS_PEERS").map(|peers| PathBuf::from(peers).join("cfsctl"));
    path.filter(|path| path.exists())
}

/// Output of cfsctl, if it is installed.
fn theirs(algorithm: &str, version: &str, tree: &Path) -> Option<String> {
    let path = cfsctl()?;
    let program = Program { path: &path, name: "cfsctl" };
    let line =
        ["--no-repo", "--hash", algorithm, "--erofs-version", version, "compute-id", "--no-propagate-usr-to-root"];
    let out = program.run(line.map(OsStr::new).into_iter().chain([tree.as_os_str()]), b"").ok();
    Some(OsStr::from_bytes(&out.stdout).to_string_lossy().trim().to_owned())
}

#[test]
fn trees_with_hard_links_have_the_same_digests() {
    let name = "trees_with_hard_links_have_the_same_digests";
    if !is_root() {
        return skip::announce(name, "the recorded tree is root's");
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    make_tree(&tree);
    let mut asked = 0;
    let mut ask_again = |algorithm, version, tree: &Path, digest: &str| {
        if let Some(theirs) = theirs(algorithm, version, tree) {
            assert_eq!(digest, theirs, "{}: {algorithm}, version {version}", tree.display());
            asked += 1;
        }
    };
    for (algorithm, version, recorded) in RECORDED {
        let digest = ours(algorithm, version, &tree);
        ask_again(algorithm, version, &tree, &digest);
        assert_eq!(digest, recorded, "{algorithm}, version {version}");
        if let Some(real) = std::env::var_os("COMPOSEFS_MINBASE").map(PathBuf::from) {
            ask_again(algorithm, version, &real, &ours(algorithm, version, &real));
        }
    }
    stats::show(&format!("compared with cfsctl 0.9.4: {} recorded digests, {asked} asked again", RECORDED.len()));
}

/// Image that cfsctl writes into a new repository.
fn their_image(cfsctl: &Path, algorithm: &str, version: &str, tree: &Path, repository: &Path) -> PathBuf {
    let program = Program { path: cfsctl, name: "cfsctl" };
    let run = |words: &[&OsStr]| {
        let line = [OsStr::new("--repo"), repository.as_os_str(), OsStr::new("--erofs-version"), OsStr::new(version)];
        program.run(line.iter().chain(words), b"").ok()
    };
    let init = ["init", "--insecure", "--algorithm", &format!("fsverity-{algorithm}-12")];
    let _ = run(&init.map(OsStr::new));
    let create = ["create-image", "--no-propagate-usr-to-root"].map(OsStr::new);
    let out = run(&[&create[..], &[tree.as_os_str(), OsStr::new("name")]].concat());
    let digest = out.line().rsplit(':').next().unwrap().to_owned();
    repository.join("objects").join(&digest[..2]).join(&digest[2..])
}

#[test]
fn cfsctl_images_are_read_and_copied() {
    // Its recorded images are read in `crates/image/tests/reader/cfsctl.rs`.
    let Some(cfsctl) = cfsctl() else {
        return stats::show("cfsctl 0.9.4 is not there: only recorded images of it are read");
    };
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("tree");
    make_tree(&small);
    let minbase = std::env::var_os("COMPOSEFS_MINBASE").map(PathBuf::from);
    let (mut images, mut bytes) = (0, 0);
    for tree in std::iter::once(&small).chain(&minbase) {
        for algorithm in ["sha256", "sha512"] {
            // The last image has the earlier format version, for comparison.
            let mut dumps = Vec::new();
            for version in ["0", "1", "2"] {
                let repository = tempfile::tempdir().unwrap();
                let image = their_image(&cfsctl, algorithm, version, tree, repository.path());
                let program = |name| Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name };
                let dump = program("composefs-info").run([Path::new("dump"), &image], b"").ok().stdout;
                dumps.push(without_what_version_2_lacks(&dump));
                let copy = dir.path().join("copy");
                let copied = program("composefs-dump").run([&image, &copy], b"");
                let theirs = fs::read(&image).unwrap();
                let ours = if version == "2" {
                    assert!(copied.stderr.contains("format versions 2 to 2"), "{}", copied.stderr);
                    written_as_version_2(&theirs)
                } else {
                    let _ = copied.ok();
                    fs::read(&copy).unwrap()
                };
                assert!(ours == theirs, "{}: {algorithm} version {version}", tree.display());
                images += 1;
                bytes += fs::metadata(&image).unwrap().len();
            }
            assert!(dumps[0] == dumps[1] && dumps[1] == dumps[2], "{algorithm}: the versions are different trees");
        }
    }
    stats::show(&format!("read: {images} images of cfsctl 0.9.4 in versions 0, 1 and 2, {bytes} bytes"));
}

/// Loads an image of version 2 and writes it again.
fn written_as_version_2(image: &[u8]) -> Vec<u8> {
    let loaded = load(&ImageReader::new(image).unwrap(), &[]).unwrap();
    let mut again = Vec::new();
    Image::plan_as(&loaded.tree, &LEGACY).unwrap().write(&mut again).unwrap();
    again
}

/// Returns the sorted lines of a dump without nanoseconds and without the sizes of directories.
fn without_what_version_2_lacks(dump: &[u8]) -> Vec<String> {
    let text = String::from_utf8(dump.to_vec()).unwrap();
    let line = |line: &str| {
        let mut fields: Vec<_> = line.split(' ').collect();
        if fields[2].starts_with('4') && fields[2].len() == 5 {
            fields[1] = "";
        }
        fields[7] = fields[7].split('.').next().unwrap();
        // Xattrs are in the order of the image.
        fields[11..].sort_unstable();
        fields.join(" ")
    };
    text.lines().map(line).collect()
}

/// Goldens for which its `composefs-info` differs: images it rejects, and payloads that are not the path of a digest,
/// which it does not print.
const OBJECTS_DIFFER: [&str; 7] = [
    "external-no-payload",
    "external-payload-long",
    "external-payload-slashes",
    "hardlink-nlink-from-dump",
    "syntax-digest-upper-long",
    "syntax-numbers",
    "whiteout-hardlinked",
];
/// Goldens for which it prints the target of a second hard link again, or takes whiteouts for stubs.
const LISTS_DIFFER: [&str; 4] = ["hardlink-kinds", "mixed-tree-300", "mixed-tree-4000", "whiteout-stub-names"];

#[test]
fn info_prints_the_same_as_cfsctl_for_goldens() {
    let Some(cfsctl) = cfsctl() else {
        return stats::show("cfsctl 0.9.4 is not there: its composefs-info is not asked");
    };
    let ours = Path::new(env!("CARGO_BIN_EXE_composefs"));
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let mut same = 0;
    for case in golden::good() {
        let program = Program { path: ours, name: "mkcomposefs" };
        let out = program.run(["--min-version=1", "--from-file", "-", "-"], &case.dump).ok();
        fs::write(&image, out.stdout).unwrap();
        for command in ["ls", "objects"] {
            let say = |path| {
                let program = Program { path, name: "composefs-info" };
                let out = program.run([Path::new(command), &image], b"");
                (out.status, out.stdout)
            };
            let name = case.name.as_str();
            let differ = OBJECTS_DIFFER.contains(&name) || command == "ls" && LISTS_DIFFER.contains(&name);
            assert_eq!(say(&cfsctl) != say(ours), differ, "{command} {name}");
            same += u32::from(!differ);
        }
    }
    stats::show(&format!("compared with cfsctl 0.9.4: ls and objects of goldens are the same {same} times"));
}
