//! Runs many processes at once that pull OCI images into one repository, verify and untag them, and collect garbage;
//! some are killed while they run. After each round each name leads to a whole image or to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libcomposefs_testkit::numbers::Numbers;
use libcomposefs_testkit::{oci, stats};

const WORKERS: usize = 6;
/// Layouts with several layers, with one layer twice, and with a sparse file.
const LAYOUTS: [&str; 4] = ["three-layers", "layer-same-twice", "whiteout", "sparse-pax-10"];

struct Place {
    dir: tempfile::TempDir,
    /// The name of the stream of each layout's manifest.
    manifests: Vec<String>,
    commands: AtomicU64,
    killed: AtomicU64,
}

/// The manifests that each name of a worker may lead to, or nothing. After a command was killed, both are possible.
type Known = BTreeMap<String, BTreeSet<Option<String>>>;

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        oci::unpack_layouts(dir.path());
        let (commands, killed) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut place = Self { dir, manifests: Vec::new(), commands, killed };
        for repository in ["repo", "other"] {
            place.run(repository, &["init", "--insecure", "--format=1"]).unwrap();
        }
        for layout in LAYOUTS {
            place.run("other", &["oci", "pull", &place.source(layout), "--name", layout]).unwrap();
            place.manifests.push(place.tag("other", layout).unwrap());
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn source(&self, layout: &str) -> String {
        format!("oci:{}", self.path(layout).display())
    }

    /// Returns the name of the stream that a tag leads to.
    fn tag(&self, repository: &str, name: &str) -> Option<String> {
        let link = fs::read_link(self.path(repository).join("streams/refs/oci").join(name)).ok()?;
        Some(link.file_name().unwrap().to_str().unwrap().to_owned())
    }

    fn command(&self, repository: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.arg("--repo").arg(self.path(repository)).args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.commands.fetch_add(1, Ordering::Relaxed);
        command
    }

    /// Runs a command, and returns its message if it failed.
    fn run(&self, repository: &str, arguments: &[&str]) -> Result<(), String> {
        result(&self.command(repository, arguments).output().unwrap())
    }

    /// Runs a command and may kill it while it runs; returns `None` if it was killed.
    fn run_or_kill(&self, numbers: &mut Numbers, arguments: &[&str]) -> Option<Result<(), String>> {
        if numbers.below(3) > 0 {
            return Some(self.run("repo", arguments));
        }
        let mut child = self.command("repo", arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(numbers.below(40_000) as u64));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.signal().is_some() {
            self.killed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(result(&output))
    }
}

fn result(output: &Output) -> Result<(), String> {
    let said = || [&output.stderr[..], &output.stdout].map(String::from_utf8_lossy).concat();
    if output.status.success() { Ok(()) } else { Err(said()) }
}

/// Runs a worker: commands in random order for some time.
fn work(place: &Place, worker: usize, numbers: &mut Numbers, known: &mut Known, until: Instant) {
    while Instant::now() < until {
        let name = format!("w{worker}-{}", numbers.below(3));
        let may_be = known.entry(name.clone()).or_insert_with(|| BTreeSet::from([None]));
        match numbers.below(12) {
            0..=5 => {
                let layout = numbers.below(LAYOUTS.len());
                let source = match numbers.below(3) {
                    0 => format!("repo:{}:{}", place.path("other").display(), LAYOUTS[layout]),
                    _ => place.source(LAYOUTS[layout]),
                };
                let new = Some(place.manifests[layout].clone());
                match place.run_or_kill(numbers, &["oci", "pull", &source, "--name", &name]) {
                    Some(Ok(())) => *may_be = BTreeSet::from([new]),
                    Some(Err(error)) => panic!("pull: {error}"),
                    None => drop(may_be.insert(new)),
                }
            }
            6 | 7 => match place.run_or_kill(numbers, &["oci", "untag", &name]) {
                Some(done) => {
                    assert!(done.is_ok() || may_be.contains(&None), "untag: {done:?}");
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
                let verified = place.run("repo", &["oci", "verify", &name]);
                assert!(verified.is_ok() || may_be.contains(&None), "verify: {verified:?}");
            }
            // The unfinished work of other processes is not damage.
            _ => place.run("repo", &["fsck", "--threads=1"]).unwrap_or_else(|error| panic!("fsck: {error}")),
        }
    }
}

/// Asserts what must hold when no process is running: every name is known and leads to a complete image.
fn check(place: &Place, known: &mut [Known]) {
    place.run("repo", &["fsck"]).unwrap_or_else(|error| panic!("fsck: {error}"));
    for (name, may_be) in known.iter_mut().flatten() {
        let found = place.tag("repo", name);
        assert!(may_be.contains(&found), "{name}: {found:?} is not one of {may_be:?}");
        if found.is_some() {
            place.run("repo", &["oci", "verify", name]).unwrap_or_else(|error| panic!("verify {name}: {error}"));
        }
        *may_be = BTreeSet::from([found]);
    }
}

/// Asserts that nothing is left when no image has a name.
fn expect_nothing_left(place: &Place) {
    place.run("repo", &["gc", "--grace=0"]).unwrap();
    let repository = place.path("repo");
    let names = |path: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&repository.join("streams")), BTreeSet::from(["refs".to_owned()]));
    assert!(names(&repository.join("images")).is_subset(&BTreeSet::from(["refs".to_owned()])));
    for fan in names(&repository.join("objects")) {
        assert_eq!(names(&repository.join("objects").join(fan)), BTreeSet::new());
    }
    assert_eq!(names(&repository.join("leases")), BTreeSet::from(["gc.lock".to_owned()]));
}

#[test]
fn a_name_leads_to_a_whole_image_or_to_nothing() {
    let time = if std::env::var_os("COMPOSEFS_FULL").is_some() { 300 } else { 9 };
    let place = Place::new();
    let mut known = vec![Known::new(); WORKERS];
    let end = Instant::now() + Duration::from_secs(time);
    let mut rounds = 0;
    // A machine with other work to do takes more rounds to run enough commands.
    let counts = || (place.commands.load(Ordering::Relaxed), place.killed.load(Ordering::Relaxed));
    let are_enough = |(commands, killed)| commands > 30 && killed > 2;
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
        check(&place, &mut known);
        rounds += 1;
    }
    for name in known.iter().flat_map(BTreeMap::keys).filter(|name| place.tag("repo", name).is_some()) {
        place.run("repo", &["oci", "untag", name]).unwrap();
    }
    expect_nothing_left(&place);
    let (commands, killed) = counts();
    stats::show(&format!("OCI: {WORKERS} workers, {rounds} rounds, {commands} commands, {killed} of them killed"));
    assert!(are_enough((commands, killed)), "{commands} commands, {killed} killed");
}
