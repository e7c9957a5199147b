//! Other processes change a tree while it is scanned: the result is an error, or an image and objects that are correct.
#![allow(unsafe_code, reason = "memory that is mapped is written to behind the kernel's back")]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libcomposefs_image::{Algorithm, verity};
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::stats;
use rustix::fs::{RenameFlags, renameat_with};

const CHANGES_MIN: u64 = 1000;
const RUNS_MIN: u32 = 12;
const CHANGED: &str = "changed while it was being read";

/// Image and store of a tree that is changed during the scan.
struct Victim {
    dir: tempfile::TempDir,
    checked: BTreeSet<PathBuf>,
    succeeded: u32,
    failed: u32,
}

impl Victim {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        Self { dir, checked: BTreeSet::new(), succeeded: 0, failed: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `mkcomposefs` once. Asserts that every object in the store matches its name, whatever the result was.
    fn run(&mut self, few_descriptors: bool) -> Outcome {
        let mut option = OsString::from("--digest-store=");
        option.push(self.path("store"));
        let arguments = [option, self.path("tree").into(), self.path("image").into()];
        let program = Path::new(env!("CARGO_BIN_EXE_composefs"));
        let outcome = if few_descriptors {
            let (shell, link) = (Program { path: Path::new("/bin/sh"), name: "sh" }, self.path("mkcomposefs"));
            if !link.exists() {
                symlink(program, &link).unwrap();
            }
            let script = ["-c", "ulimit -n 40; exec \"$0\" \"$@\""].map(OsString::from);
            shell.run(script.into_iter().chain([link.into()]).chain(arguments), b"")
        } else {
            Program { path: program, name: "mkcomposefs" }.run(arguments, b"")
        };
        match outcome.status {
            Some(0) => self.succeeded += 1,
            Some(1) => {
                assert!(outcome.stderr.contains(CHANGED), "{}", outcome.stderr);
                self.failed += 1;
            }
            status => panic!("status {status:?}: {}", outcome.stderr),
        }
        for object in self.objects() {
            if self.checked.insert(object.clone()) {
                let content = fs::read(self.path("store").join(&object)).unwrap();
                let digest = verity::digest(Algorithm::Sha256, &content);
                assert_eq!(Path::new(&digest.object_path()), object, "an object under a wrong name");
            }
        }
        outcome
    }

    /// Returns the objects of the store, which must contain nothing else.
    fn objects(&self) -> Vec<PathBuf> {
        let mut objects = Vec::new();
        for folder in fs::read_dir(self.path("store")).unwrap().map(|entry| entry.unwrap()) {
            assert_eq!(folder.file_name().len(), 2, "{:?} was left in the store", folder.file_name());
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            objects.extend(names.map(|name| Path::new(&folder.file_name()).join(name)));
        }
        objects
    }

    /// Returns the objects that the image refers to, once for each reference, by searching for their paths.
    fn named(&self) -> Vec<PathBuf> {
        let image = fs::read(self.path("image")).unwrap();
        let is_path = |bytes: &[u8]| {
            let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
            bytes[0] == b'/' && bytes[3] == b'/' && bytes[1..3].iter().chain(&bytes[4..]).all(is_hex)
        };
        let paths = image.windows(66).filter(|bytes| is_path(bytes));
        paths.map(|bytes| PathBuf::from(std::str::from_utf8(&bytes[1..]).unwrap())).collect()
    }
}

/// Ways to rewrite a file.
#[derive(Clone, Copy, Debug)]
enum Way {
    InPlace,
    OtherSize,
    Replaced,
    /// Through a shared mapping: no timestamp shows it.
    Mapped,
}

/// Returns content number `n` for a file of about this size.
fn content(n: u64, len: usize) -> Vec<u8> {
    let mut content = vec![n as u8; len];
    content[..8].copy_from_slice(&n.to_le_bytes());
    content[len - 8..].copy_from_slice(&n.to_le_bytes());
    content
}

/// A shared mapping of a whole file.
struct Mapping(*mut u8, usize);

impl Mapping {
    fn new(file: &File, len: usize) -> Self {
        // SAFETY: creates a new mapping of a file that is open for reading and writing and has this length.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED);
        Self(at.cast(), len)
    }

    fn write(&self, content: &[u8]) {
        assert!(content.len() <= self.1);
        // SAFETY: the mapping has this length, and no reference in this process points into it.
        unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), self.0, content.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference points into it.
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}

/// Rewrites a file until the flag is set.
fn rewrite(path: &Path, len: usize, way: Way, stop: &AtomicBool, pause: &AtomicU64, count: &AtomicU64) {
    let mapped = matches!(way, Way::Mapped).then(|| {
        let file = File::options().read(true).write(true).open(path).unwrap();
        Mapping::new(&file, len)
    });
    for n in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match way {
            Way::InPlace => File::options().write(true).open(path).unwrap().write_all_at(&content(n, len), 0).unwrap(),
            Way::OtherSize => fs::write(path, content(n, len + n as usize % 100)).unwrap(),
            Way::Replaced => {
                let new = path.parent().unwrap().with_file_name("new");
                fs::write(&new, content(n, len)).unwrap();
                fs::rename(&new, path).unwrap();
            }
            Way::Mapped => mapped.as_ref().unwrap().write(&content(n, len)),
        }
        count.fetch_add(1, Ordering::Relaxed);
        let pause = pause.load(Ordering::Relaxed);
        if pause > 0 {
            std::thread::sleep(Duration::from_micros(pause));
        }
    }
}

/// Tests a file of one size that is rewritten in one way.
fn rewritten(way: Way, len: usize) {
    let mut victim = Victim::new();
    let tree = victim.path("tree");
    let hot = tree.join("hot");
    fs::write(&hot, content(0, len)).unwrap();
    for n in 0..40 {
        fs::write(tree.join(format!("calm{n}")), format!("{n}").repeat(5000)).unwrap();
    }
    let (stop, pause, count) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut during, mut runs) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| rewrite(&hot, len, way, &stop, &pause, &count));
        // The writer must end even if this panics.
        let _stopped = StopOnDrop(&stop);
        let deadline = Instant::now() + Duration::from_secs(60);
        while during < CHANGES_MIN || runs < RUNS_MIN {
            assert!(Instant::now() < deadline, "only {during} changes during {runs} runs");
            // Some runs compete with a writer at full speed, others with one that pauses at times.
            pause.store([0, 200, 8_000][runs as usize % 3], Ordering::Relaxed);
            let before = count.load(Ordering::Relaxed);
            let outcome = victim.run(false);
            during += count.load(Ordering::Relaxed) - before;
            runs += 1;
            if outcome.status == Some(0) {
                let (objects, named) = (victim.objects(), victim.named());
                // A file that is truncated before it is rewritten may be scanned while it is empty.
                let may_be_empty = matches!(way, Way::OtherSize);
                assert!(named.len() == 41 || may_be_empty && named.len() == 40, "an image without some of its files");
                for object in named {
                    assert!(objects.contains(&object), "{} is missing", object.display());
                }
            } else {
                assert!(outcome.stderr.contains("tree/hot "), "another file: {}", outcome.stderr);
            }
        }
    });
    stats::show(&format!(
        "{way:?}, {len} bytes: rewritten {during} times during {runs} runs, of which {} gave an image and {} an error; \
         {} objects, all under their names",
        victim.succeeded,
        victim.failed,
        victim.checked.len()
    ));
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sizes of a file that is read at once, and of one that is copied in pieces.
const LENGTHS: [usize; 2] = [150_000, (1 << 20) + 5000];

#[test]
fn a_file_rewritten_in_place() {
    for len in LENGTHS {
        rewritten(Way::InPlace, len);
    }
}

#[test]
fn a_file_rewritten_with_other_sizes() {
    for len in LENGTHS {
        rewritten(Way::OtherSize, len);
    }
}

#[test]
fn a_file_replaced_by_others() {
    for len in LENGTHS {
        rewritten(Way::Replaced, len);
    }
}

#[test]
fn a_file_written_through_memory() {
    for len in LENGTHS {
        rewritten(Way::Mapped, len);
    }
}

/// Marker that must never occur in an image or a store.
const SECRET: &str = "SECRET";

/// Creates a directory with files of every kind of storage, and subdirectories.
fn make_folder(root: &Path, text: &str, deep: usize) {
    fs::create_dir(root).unwrap();
    for n in 0..20 {
        fs::write(root.join(format!("inline{n}")), format!("{text} {n}")).unwrap();
        fs::write(root.join(format!("object{n}")), format!("{text} {n}").repeat(100)).unwrap();
    }
    if deep > 0 {
        make_folder(&root.join("deeper"), text, deep - 1);
    }
}

#[test]
fn a_directory_swapped_with_a_symlink() {
    let mut victim = Victim::new();
    let (tree, outside) = (victim.path("tree"), victim.path("outside"));
    // Both sides have the same names: following the symlink by path would cause no error.
    make_folder(&outside, SECRET, 6);
    fs::write(outside.join(format!("{SECRET} name")), "").unwrap();
    make_folder(&tree.join("folder"), "mine", 6);
    symlink(&outside, tree.join("link")).unwrap();
    symlink("../../outside/deeper", tree.join("folder/deep-link")).unwrap();
    symlink(outside.join("object1"), tree.join("folder/file-link")).unwrap();
    // Uses descriptors: paths would lead the swaps themselves out of the tree.
    let [tree, folder] = [&tree, &tree.join("folder")].map(|path| File::open(path).unwrap());
    let pairs = [(&folder, "deeper", "deep-link"), (&folder, "object1", "file-link"), (&tree, "folder", "link")];
    let stop = AtomicBool::new(false);
    let swaps = AtomicU64::new(0);
    let (mut during, mut runs) = (0, 0);
    std::thread::scope(|scope| {
        for (at, a, b) in pairs {
            let (stop, swaps) = (&stop, &swaps);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    renameat_with(at, a, at, b, RenameFlags::EXCHANGE).unwrap();
                    swaps.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
        }
        let _stopped = StopOnDrop(&stop);
        let deadline = Instant::now() + Duration::from_secs(60);
        while during < CHANGES_MIN || runs < 2 * RUNS_MIN {
            assert!(Instant::now() < deadline, "only {during} swaps during {runs} runs");
            let before = swaps.load(Ordering::Relaxed);
            let outcome = victim.run(runs % 2 == 1);
            during += swaps.load(Ordering::Relaxed) - before;
            runs += 1;
            if outcome.status == Some(0) {
                assert!(!has_secret(&fs::read(victim.path("image")).unwrap()), "the image has something of outside");
            }
        }
    });
    for object in &victim.checked {
        let content = fs::read(victim.path("store").join(object)).unwrap();
        assert!(!has_secret(&content), "{} is from outside", object.display());
    }
    // Checks that the search would find the marker.
    let plain = Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "mkcomposefs" };
    let image = plain.run([outside.as_os_str(), OsStr::new("-")], b"").ok().stdout;
    assert!(has_secret(&image));
    stats::show(&format!(
        "{during} swaps with symlinks during {runs} runs, of which {} gave an image and {} an error; {} objects, \
         none from elsewhere",
        victim.succeeded,
        victim.failed,
        victim.checked.len()
    ));
}

fn has_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}
