//! Comparison of images of version 2 with those of cfsctl 0.9.4, the only other program that writes them: the digests
//! of random directories must be equal.
//!
//! `cfsctl.rs` compares the images of a real tree byte for byte.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::program::Program;
use libcomposefs_testkit::{skip, stats};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mknodat, utimensat};

/// Pseudo-random numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn name(&mut self) -> String {
        let len = self.of(&[1, 2, 8, 60, 200]);
        (0..len).map(|_| char::from(self.of(b"abz-!+~.0_A"))).collect()
    }
}

/// Creates a tree of everything whose position in an image depends on its length.
fn make_tree(root: &Path, random: &mut Random) {
    fs::create_dir(root).unwrap();
    let (mut directories, mut files) = (vec![root.to_owned()], Vec::new());
    for _ in 0..random.of(&[5, 30, 120]) {
        let path = directories[random.below(directories.len())].join(random.name());
        if path.symlink_metadata().is_ok() || path.ends_with("..") || path.as_os_str().len() > 3000 {
            continue;
        }
        match random.below(20) {
            0..5 => {
                fs::create_dir(&path).unwrap();
                fill(&path, random.of(&[0, 0, 1900, 2048, 2100, 4000, 4095, 4096, 4097, 6144, 8192, 9000]));
                directories.push(path);
            }
            5..10 => symlink("t".repeat(random.of(&[1, 30, 500, 1000, 1024])), &path).unwrap(),
            10..18 => {
                let len = random.of(&[0, 1, 32, 63, 64, 65, 4096, 70_000]);
                fs::write(&path, vec![random.below(256) as u8; len]).unwrap();
                files.push(path);
            }
            18 if !files.is_empty() => fs::hard_link(&files[random.below(files.len())], &path).unwrap(),
            _ => {
                let kind = random.of(&[FileType::CharacterDevice, FileType::BlockDevice, FileType::Fifo]);
                let device = rustix::fs::makedev(random.of(&[0, 1, 8]), random.of(&[0, 3, 300]));
                mknodat(CWD, &path, kind, Mode::from_raw_mode(0o644), device).unwrap();
            }
        }
    }
    for path in directories.iter().chain(&files) {
        for _ in 0..random.of(&[0, 0, 0, 1, 3, 12]) {
            let prefix = random.of(&["user.", "trusted.", "security.", "trusted.overlay.", "user.overlay."]);
            let name =
                format!("{prefix}{}", random.of(&["a", "bb", "opaque", "selinux", "whiteout", "cccccccccccccccccccc"]));
            lsetxattr(path, name, &vec![b'A'; random.of(&[0, 1, 5, 100])], XattrFlags::empty()).unwrap();
        }
    }
    for path in files.iter().chain(directories.iter().rev()) {
        let (tv_sec, tv_nsec) = random.of(&[(0, 0), (1_700_000_000, 0), (1_600_000_000, 123_456_789)]);
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Fills a directory with names until its dirents have about `len` bytes.
fn fill(directory: &Path, wanted: usize) {
    let mut len = 27;
    while len < wanted {
        let name = format!("{len:05}{}", "x".repeat((wanted - len).saturating_sub(17).min(195)));
        fs::write(directory.join(&name), "").unwrap();
        len += 12 + name.len();
    }
}

fn cfsctl() -> Option<PathBuf> {
    let path = std::env::var_os("COMPOSEFS_PEERS").map(|peers| PathBuf::from(peers).join("cfsctl"));
    path.filter(|path| path.exists())
}

#[test]
fn digests_of_version_2_equal_those_of_cfsctl() {
    let name = "digests_of_version_2_equal_those_of_cfsctl";
    let Some(cfsctl) = cfsctl() else {
        return stats::show("cfsctl 0.9.4 is not there: no random tree is compared in version 2");
    };
    if !is_root() {
        return skip::announce(name, "devices and trusted attributes are root's");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for seed in 1..=if std::env::var_os("COMPOSEFS_FULL").is_some() { 300 } else { 30 } {
        let tree = dir.path().join("tree");
        make_tree(&tree, &mut Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)));
        for algorithm in ["sha256", "sha512"] {
            let line = ["--no-repo", "--hash", algorithm, "--erofs-version", "2", "compute-id"];
            let line = line.into_iter().chain(["--no-propagate-usr-to-root"]).map(OsStr::new).chain([tree.as_os_str()]);
            let theirs = Program { path: &cfsctl, name: "cfsctl" }.run(line, b"").ok();
            let policy = format!("--policy=version=2,hash={algorithm},hardlinks=yes");
            let ours = Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" };
            let ours = ours.run([OsStr::new("explain-digest"), OsStr::new(&policy), tree.as_os_str()], b"").ok();
            assert_eq!(ours.line().split(' ').next(), Some(theirs.line().trim()), "seed {seed}, {algorithm}");
            compared += 1;
        }
        fs::remove_dir_all(&tree).unwrap();
    }
    stats::show(&format!("compared with cfsctl 0.9.4: {compared} digests of random trees in version 2"));
}
