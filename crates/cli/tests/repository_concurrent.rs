//! Runs many processes at once in one repository: creates, tags, untags, gcs, checks, listings, and mounts if root may
//! mount; some are killed while they run. After each round nothing is lost, and nothing is left over.
//!
//! Each worker has names of its own, so that it knows what must exist: the images that its finished commands have
//! published. The trees share contents, so that one worker may be about to use an object that another's gc could
//! remove.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::tree::Data;
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_testkit::numbers::Numbers;
use libcomposefs_testkit::{privilege, stats};

const WORKERS: usize = 8;
const TREES: usize = 12;
const FILES: usize = 120;

struct Place {
    dir: tempfile::TempDir,
    /// Digest of the image of each tree.
    digests: Vec<String>,
    commands: AtomicU64,
    killed: AtomicU64,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for tree in 0..TREES {
            let path = dir.path().join(format!("trees/{tree}"));
            fs::create_dir_all(&path).unwrap();
            for file in 0..FILES {
                // Every other tree contains the file of the previous one.
                let content = (file * 31 + (tree + file) / 3) as u32;
                let len = 100 + (content as usize * 7919) % 30_000;
                let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(content | 1) >> 3) as u8).collect();
                fs::write(path.join(file.to_string()), bytes).unwrap();
            }
        }
        let mut place = Self { dir, digests: Vec::new(), commands: AtomicU64::new(0), killed: AtomicU64::new(0) };
        for repository in ["scratch", "repo"] {
            place.run(repository, &["init", "--insecure"]).unwrap();
        }
        for tree in 0..TREES {
            place.digests.push(place.run("scratch", &["create", &place.tree(tree)]).unwrap());
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tree(&self, tree: usize) -> String {
        self.path(&format!("trees/{tree}")).to_str().unwrap().to_owned()
    }

    fn command(&self, repository: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.arg("--repo").arg(self.path(repository)).args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.commands.fetch_add(1, Ordering::Relaxed);
        command
    }

    /// Returns the output of a command, or its message if it failed.
    fn run(&self, repository: &str, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(repository, arguments).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned()),
            false => Err(said(&output)),
        }
    }

    /// Runs a command and may kill it while it runs; returns `None` if it was killed.
    fn run_or_kill(&self, numbers: &mut Numbers, arguments: &[&str]) -> Option<Result<String, String>> {
        if numbers.below(4) > 0 {
            return Some(self.run("repo", arguments));
        }
        let mut child = self.command("repo", arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(numbers.below(60_000) as u64));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.signal().is_some() {
            self.killed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned()),
            false => Err(said(&output)),
        })
    }
}

fn said(output: &Output) -> String {
    [&output.stderr[..], &output.stdout].map(String::from_utf8_lossy).concat()
}

impl Drop for Place {
    fn drop(&mut self) {
        for worker in 0..WORKERS {
            // Something is left to unmount only after a failure.
            let _ = self.run("repo", &["umount", "--lazy", self.path(&format!("mnt{worker}")).to_str().unwrap()]);
        }
    }
}

/// Possible states of each name of a worker: an image, or nothing. After a command was killed, both are possible.
type Known = BTreeMap<String, BTreeSet<Option<String>>>;

/// Runs a worker: commands in random order for some time.
fn work(place: &Place, worker: usize, numbers: &mut Numbers, known: &mut Known, until: Instant) {
    while Instant::now() < until {
        let tree = numbers.below(TREES);
        let name = format!("w{worker}/{}", numbers.below(3));
        let may_be = known.entry(name.clone()).or_insert_with(|| BTreeSet::from([None]));
        match numbers.below(12) {
            0..=4 => {
                let new = Some(place.digests[tree].clone());
                match place.run_or_kill(numbers, &["create", &place.tree(tree), "--name", &name]) {
                    Some(Ok(digest)) => {
                        assert_eq!(digest, place.digests[tree]);
                        *may_be = BTreeSet::from([new]);
                    }
                    Some(Err(error)) => panic!("create: {error}"),
                    None => drop(may_be.insert(new)),
                }
            }
            5 => {
                let other = format!("w{worker}/{}", numbers.below(3));
                match place.run_or_kill(numbers, &["tag", &other, &name]) {
                    Some(Ok(_)) => {
                        let of_other = known[&other].clone().into_iter().filter(Option::is_some).collect();
                        known.insert(name, of_other);
                    }
                    Some(Err(error)) => {
                        assert!(known.get(&other).is_none_or(|other| other.contains(&None)), "tag: {error}");
                        if let Some(other) = known.get_mut(&other) {
                            *other = BTreeSet::from([None]);
                        }
                    }
                    None => {
                        let of_other = known.get(&other).cloned().unwrap_or_default();
                        known.get_mut(&name).unwrap().extend(of_other);
                    }
                }
            }
            6 | 7 => match place.run_or_kill(numbers, &["untag", &name]) {
                Some(Ok(_)) => *may_be = BTreeSet::from([None]),
                Some(Err(error)) => {
                    assert!(may_be.contains(&None), "untag: {error}");
                    *may_be = BTreeSet::from([None]);
                }
                None => drop(may_be.insert(None)),
            },
            8 | 9 => {
                if let Some(Err(error)) = place.run_or_kill(numbers, &["gc", "--grace=0"]) {
                    panic!("gc: {error}")
                }
            }
            10 => {
                // The unfinished work of other processes is not damage.
                for arguments in [&["images"][..], &["fsck", "--threads=1"]] {
                    place.run("repo", arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
                }
            }
            _ if privilege::is_root() => mount(place, worker, &name, may_be),
            _ => {}
        }
    }
}

/// Mounts an image of the worker, removes its name, waits for a gc, and reads the whole image.
fn mount(place: &Place, worker: usize, name: &str, may_be: &mut BTreeSet<Option<String>>) {
    let target = place.path(&format!("mnt{worker}"));
    fs::create_dir_all(&target).unwrap();
    let target_text = target.to_str().unwrap();
    let mounted = place.run("repo", &["mount", name, target_text]);
    if let Err(error) = &mounted {
        assert!(may_be.contains(&None), "mount: {error}");
        return;
    }
    place.run("repo", &["untag", name]).unwrap();
    *may_be = BTreeSet::from([None]);
    let gone = place.run("repo", &["gc", "--grace=0"]);
    let read = fs::read_dir(&target).unwrap().map(|entry| fs::read(entry.unwrap().path())).collect::<Vec<_>>();
    // A program that another thread is starting may briefly inherit our open descriptors.
    let until = Instant::now() + Duration::from_secs(90);
    while let Err(error) = place.run("repo", &["umount", target_text]) {
        assert!(error.contains("busy") && Instant::now() < until, "umount: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(gone.as_ref().err(), None);
    assert_eq!(read.len(), FILES);
    read.into_iter().for_each(|content| drop(content.unwrap()));
}

/// Asserts what must hold when no process is running: every name is known and leads to a complete image.
fn check(place: &Place, known: &[Known]) {
    let repository = place.path("repo");
    let mut found = BTreeMap::new();
    for worker in 0..WORKERS {
        let folder = repository.join(format!("images/refs/w{worker}"));
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry.unwrap();
            let link = fs::read_link(entry.path()).unwrap();
            let digest = link.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(entry.path().exists(), "{} leads nowhere", entry.path().display());
            found.insert(format!("w{worker}/{}", entry.file_name().to_str().unwrap()), digest);
        }
    }
    for known in known {
        for (name, may_be) in known {
            assert!(
                may_be.contains(&found.get(name).cloned()),
                "{name}: {:?} is not one of {may_be:?}",
                found.get(name)
            );
        }
    }
    for digest in found.values().collect::<BTreeSet<_>>() {
        for object in objects_of(&repository, digest) {
            expect_whole(&repository, &object);
        }
    }
}

/// Returns the objects of an image, including its own.
fn objects_of(repository: &Path, digest: &str) -> BTreeSet<String> {
    let bytes = fs::read(repository.join("images").join(digest)).unwrap();
    assert_eq!(verity::digest(Algorithm::Sha256, &bytes).to_hex(), digest);
    let tree = load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap().tree;
    let objects = tree.inodes().filter_map(|inode| match inode.data() {
        Data::Regular { payload: Some(payload), .. } => Some(String::from_utf8(payload.into_owned()).unwrap()),
        _ => None,
    });
    objects.chain([Digest::from_hex(digest).unwrap().object_path()]).collect()
}

fn expect_whole(repository: &Path, object: &str) {
    let content = fs::read(repository.join("objects").join(object)).unwrap_or_else(|error| panic!("{object}: {error}"));
    assert_eq!(verity::digest(Algorithm::Sha256, &content).object_path(), object);
}

/// Asserts that after a gc without other processes exactly the needed objects exist.
fn expect_nothing_left(place: &Place, known: &mut [Known]) {
    place.run("repo", &["gc", "--grace=0"]).unwrap();
    let repository = place.path("repo");
    let mut needed = BTreeSet::new();
    for entry in fs::read_dir(repository.join("images")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "refs" {
            needed.extend(objects_of(&repository, &name));
        }
    }
    let mut there = BTreeSet::new();
    for fan in fs::read_dir(repository.join("objects")).unwrap() {
        let fan = fan.unwrap();
        let first = fan.file_name().into_string().unwrap();
        assert_eq!(first.len(), 2, "{first}");
        for entry in fs::read_dir(fan.path()).unwrap() {
            there.insert(format!("{first}/{}", entry.unwrap().file_name().into_string().unwrap()));
        }
    }
    assert_eq!(there, needed);
    let leases: Vec<_> = fs::read_dir(repository.join("leases")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(leases, ["gc.lock"]);
    check(place, known);
}

#[test]
fn nothing_is_lost_or_left_over() {
    let time = if std::env::var_os("COMPOSEFS_FULL").is_some() { 300 } else { 12 };
    let place = Place::new();
    let mut known = vec![Known::new(); WORKERS];
    let end = Instant::now() + Duration::from_secs(time);
    let mut rounds = 0;
    // A machine with other work to do takes more rounds to run enough commands.
    let counts = || (place.commands.load(Ordering::Relaxed), place.killed.load(Ordering::Relaxed));
    let are_enough = |(commands, killed)| commands > 50 && killed > 3;
    while Instant::now() < end || (!are_enough(counts()) && rounds < 60) {
        let until = Instant::now() + Duration::from_millis(1500);
        std::thread::scope(|scope| {
            for (worker, known) in known.iter_mut().enumerate() {
                let place = &place;
                scope.spawn(move || {
                    let seed = 0x9e37_79b9_7f4a_7c15 ^ ((rounds * WORKERS + worker + 1) as u64) << 20;
                    work(place, worker, &mut Numbers(seed), known, until);
                });
            }
        });
        check(&place, &known);
        if rounds % 4 == 3 {
            expect_nothing_left(&place, &mut known);
        }
        rounds += 1;
    }
    expect_nothing_left(&place, &mut known);
    let (commands, killed) = counts();
    stats::show(&format!("at once: {WORKERS} workers, {rounds} rounds, {commands} commands, {killed} of them killed"));
    assert!(are_enough((commands, killed)), "{commands} commands, {killed} killed");
}
