//! A store that has everything, with fs-verity: nothing of it is read, and each object costs three calls.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command;
use crate::context::Context;
use crate::kernel::Kernels;

super::tests! { "full_store", Kernels::All => [what_fs_verity_vouches_for_is_not_read] }

/// Enough to be seen beside what every run has; each takes the guest some milliseconds to seal.
const FILES: u64 = 300;

/// The most that the loader reads of the program's libraries: the heads of three files.
const LOADER_MAX: u64 = 3 * 1024;

/// The system calls of a run.
#[derive(Debug, Default)]
struct Counted {
    /// The number of calls, by name.
    calls: BTreeMap<String, u64>,
    /// Bytes read from files.
    read: u64,
}

impl Counted {
    /// All but those for the clock, which the processor answers where it is a real one, and for waiting.
    fn all(&self) -> u64 {
        let counts = |name: &str| !matches!(name, "clock_gettime" | "futex");
        self.calls.iter().filter(|(name, _)| counts(name)).map(|(_, count)| count).sum()
    }

    fn of(&self, name: &str) -> u64 {
        self.calls.get(name).copied().unwrap_or(0)
    }
}

fn what_fs_verity_vouches_for_is_not_read(context: &Context) -> Result<()> {
    let dir = context.scratch("full")?;
    let (tree, store) = (dir.join("tree"), dir.join("store"));
    fs::create_dir(&tree)?;
    let mut bytes = 0;
    for number in 0..FILES {
        // Some longer than what is read whole.
        let len = if number % 100 == 0 { 1_200_000 } else { 100 + 37 * number };
        fs::write(tree.join(format!("{number}")), vec![number as u8; usize::try_from(len)?])?;
        bytes += len;
    }
    let program = dir.join("mkcomposefs");
    symlink(context.composefs().get_program(), &program)?;
    let store = format!("--digest-store={}", store.display());
    let digest_only = ["--threads=1", "--print-digest-only"];
    let into_store = ["--threads=1", "--print-digest-only", &store];
    let filled = command::run(Command::new(&program).args(into_store).arg(&tree))?.success()?;

    let alone = count(&program, &digest_only, &tree, &filled.stdout)?;
    let full = count(&program, &into_store, &tree, &filled.stdout)?;
    ensure!(full.read == alone.read, "{alone:?}\n{full:?}\nthe store is read");
    let at_start = alone.read.checked_sub(bytes);
    ensure!(at_start.is_some_and(|read| read <= LOADER_MAX), "{alone:?}\nread others than {bytes} bytes");
    let objects = distinct_objects(&dir.join("store"))?;
    ensure!(objects > 250, "{objects} objects");
    ensure!(full.of("ioctl") >= objects, "no object was asked for: {full:?}");
    // And the store, its 256 directories at most, opened, and two syncs.
    let more = full.all() - alone.all();
    // Each is opened, measured and closed, and statx says whether the kernel checks its reads.
    ensure!(more <= 4 * objects + 2 * 256 + 40, "{more} calls more for {objects} objects:\n{alone:?}\n{full:?}");

    // Without the measure the contents would have to be read.
    let verified =
        count(&program, &["--threads=1", "--print-digest-only", "--verify-store", &store], &tree, &filled.stdout)?;
    ensure!(verified.read == alone.read, "fs-verity vouches under --verify-store too: {verified:?}");
    println!("{objects} objects, {bytes} bytes read by both; calls {} and {}: {} more", alone.all(), full.all(), more);
    Ok(())
}

/// Counts what a run does, which has to give this digest.
fn count(program: &Path, options: &[&str], tree: &Path, digest: &str) -> Result<Counted> {
    let traces = program.with_file_name("traces");
    fs::create_dir(&traces)?;
    let mut strace = Command::new("strace");
    // A file for each thread: in one, the calls of several stand in pieces.
    strace.args(["-ff", "-o"]).arg(traces.join("of")).arg(program).args(options).arg(tree);
    let ran = command::run(&mut strace)?.success()?;
    ensure!(ran.stdout == digest, "{strace:?}: {}, expected {digest}", ran.stdout);
    let mut counted = Counted::default();
    for trace in fs::read_dir(&traces)? {
        for line in fs::read_to_string(trace?.path())?.lines() {
            // pread64(5, "..."..., 4096, 0) = 100
            let Some((name, rest)) = line.split_once('(') else { continue };
            *counted.calls.entry(name.to_owned()).or_default() += 1;
            if name == "pread64" {
                let result = rest.rsplit_once("= ").map(|(_, result)| result.trim());
                counted.read += result.and_then(|r| r.parse::<u64>().ok()).with_context(|| line.to_owned())?;
            }
        }
    }
    fs::remove_dir_all(&traces)?;
    Ok(counted)
}

/// The objects, each of which has to be sealed.
fn distinct_objects(store: &Path) -> Result<u64> {
    let mut objects = 0;
    for folder in fs::read_dir(store)? {
        for object in fs::read_dir(folder?.path())? {
            let path = object?.path();
            // The kernel would say of any that is not; one is asked here, so that the counts mean what they seem to.
            if objects == 0 {
                command::run(Command::new("fsverity").arg("measure").arg(path))?.success()?;
            }
            objects += 1;
        }
    }
    Ok(objects)
}
