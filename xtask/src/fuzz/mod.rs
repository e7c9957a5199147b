//! `cargo xtask fuzz`: feeds the targets of `fuzz/` for some time.
//!
//! All it makes is below `target/fuzz`: builds, the corpus each target has grown from its seeds, and the inputs that
//! ended a run.

mod blob_seeds;
mod boot_seeds;
mod chunked_seeds;
mod fuse_seeds;
mod libfuzzer;
mod oci_seeds;
mod ostree_seeds;
mod recipe_seeds;
mod seeds;
mod targets;
mod trust_seeds;

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};

use crate::crates_io::{self, Profile};
use crate::{paths, process, setup};
pub(crate) use libfuzzer::Outcome;
pub(crate) use targets::{Sanitizer, TARGETS, Target};

const CARGO_FUZZ: &str = "cargo-fuzz";
const VERSION: &str = "0.13.2";
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Seconds that one input may take; most take less than a millisecond.
const TIMEOUT: u32 = 5;
/// Memory limit of a run and of a single allocation. No input is longer than 64 KiB.
const MEMORY_MIB: u64 = 512;
/// Additional memory for the sanitizer, which keeps freed memory for a while.
const SANITIZER_MIB: u64 = 1024;
/// Number of targets that run at once: the CI machine has two CPUs.
pub(crate) const AT_ONCE: usize = 2;

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds that each target runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Number that the inputs are derived from, beginning with the seeds alone. Without it, each run makes other inputs
    /// and continues from the corpus of earlier runs.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seed: Option<u32>,
    /// The targets; all of them if none is named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
    targets: Vec<String>,
}

/// The task. It fails if any target does.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run()?;
    let wanted = |target: &&Target| options.targets.is_empty() || options.targets.iter().any(|n| n == target.name);
    let length = Length { seconds: options.seconds, seed: options.seed };
    let runs = feed(TARGETS.iter().filter(wanted).copied(), length)?;
    let failed = runs.into_iter().filter(|run| run.failure.is_some());
    match failed.map(|run| run.target).collect::<Vec<_>>().as_slice() {
        [] => Ok(()),
        failed => bail!("failed: {}", failed.join(", ")),
    }
}

/// Which inputs each target gets.
#[derive(Clone, Copy)]
pub(crate) struct Length {
    pub(crate) seconds: u32,
    /// With a number, a run repeats the inputs of each run with that number, as far as it comes.
    pub(crate) seed: Option<u32>,
}

/// The run of one target.
pub(crate) struct Run {
    pub(crate) target: &'static str,
    pub(crate) executions: u64,
    pub(crate) failure: Option<String>,
}

/// Builds targets, runs each, and prints their progress and results.
pub(crate) fn feed(targets: impl Iterator<Item = Target>, length: Length) -> Result<Vec<Run>> {
    // The last one is taken first.
    let mut targets: Vec<_> = targets.collect();
    targets.reverse();
    build(&targets)?;
    let (waiting, done) = (Mutex::new(targets), Mutex::new(Vec::new()));
    let next = || waiting.lock().ok()?.pop();
    let work = || {
        while let Some(target) = next() {
            let run = feed_one(&target, length);
            if let Ok(mut done) = done.lock() {
                done.push(run);
            }
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    Ok(done.into_inner()?)
}

/// Builds targets, without running them.
pub(crate) fn build(targets: &[Target]) -> Result<()> {
    let home = paths::cache(&format!("{CARGO_FUZZ}/{VERSION}"))?;
    let lock = paths::lock(&home)?;
    let cargo_fuzz = crates_io::install(CARGO_FUZZ, VERSION, CARGO_FUZZ, &home, Profile::Unoptimized)?;
    drop(lock);
    for sanitizer in Sanitizer::ALL {
        let names = targets.iter().filter(|target| target.sanitizer == sanitizer).map(|target| target.name);
        let names: Vec<_> = names.collect();
        // cargo-fuzz builds one target or all, and all of them on every CPU.
        if names.len() * 2 > TARGETS.len() {
            build_with(&cargo_fuzz, sanitizer, None)?;
        } else {
            names.into_iter().try_for_each(|name| build_with(&cargo_fuzz, sanitizer, Some(name)))?;
        }
    }
    Ok(())
}

/// Builds one target, or all targets, with a sanitizer.
fn build_with(cargo_fuzz: &Path, sanitizer: Sanitizer, target: Option<&str>) -> Result<()> {
    let mut build = Command::new(cargo_fuzz);
    build.current_dir(paths::checkout()).args(["fuzz", "build"]).args(target);
    build.args(["--sanitizer", sanitizer.name(), "--target", TARGET, "--target-dir"]).arg(build_dir(sanitizer));
    // Instruments the code by options that a stable compiler has but does not promise.
    build.env("RUSTC_BOOTSTRAP", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    process::output(&mut build)
        .with_context(|| format!("cannot build the fuzz targets ({})", target.unwrap_or("all")))?;
    Ok(())
}

fn dir() -> PathBuf {
    paths::target().join("fuzz")
}

fn build_dir(sanitizer: Sanitizer) -> PathBuf {
    dir().join("build").join(sanitizer.name())
}

/// Whatever happens, it gives a result.
fn feed_one(target: &Target, length: Length) -> Run {
    let name = target.name;
    match follow(target, length) {
        Ok((outcome, failure)) => {
            let Outcome { executions, per_second, coverage, ref budgets, .. } = outcome;
            println!("fuzz: {name}: {executions} executions, {per_second} a second, {coverage} edges covered");
            budgets.iter().for_each(|used| println!("fuzz: {name}: budget of {used}"));
            if let Some(failure) = &failure {
                println!("{}\nfuzz: {name}: {failure}", outcome.said.join("\n"));
            }
            Run { target: name, executions, failure }
        }
        Err(error) => {
            println!("fuzz: {name}: {error:#}");
            Run { target: name, executions: 0, failure: Some(format!("{error:#}")) }
        }
    }
}

/// Feeds a target; gives what it came to, and why it failed if it did.
fn follow(target: &Target, length: Length) -> Result<(Outcome, Option<String>)> {
    let program = build_dir(target.sanitizer).join(TARGET).join("release").join(target.name);
    // For targets that need files. What a run leaves behind, also one that is ended, goes with it.
    let (scratch, grown) = (scratch()?, scratch()?);
    let corpus = match length.seed {
        Some(_) => grown.path().to_owned(),
        None => dir().join("corpus").join(target.name),
    };
    let seeds = dir().join("seeds").join(target.name);
    let crashes = dir().join("crashes").join(target.name);
    if seeds.exists() {
        fs::remove_dir_all(&seeds).with_context(|| format!("cannot remove {}", seeds.display()))?;
    }
    for dir in [&corpus, &seeds, &crashes] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    (target.seed)(&seeds, target.max_len)?;
    let (reader, writer) = io::pipe()?;
    let mut command = command(&program, target);
    command.arg(format!("-max_total_time={}", length.seconds)).arg("-print_final_stats=1");
    command.args(length.seed.map(|seed| format!("-seed={seed}")));
    command.arg(format!("-artifact_prefix={}/", crashes.display())).args([&corpus, &seeds]);
    command.env("TMPDIR", scratch.path());
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    // The builder of the command keeps the pipe open otherwise.
    drop(command);
    let mut outcome = Outcome::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if outcome.line(&line) {
            println!("[{}] {}", target.name, line.replace('\t', " "));
        }
    }
    let status = child.wait()?;
    let failure = match &outcome {
        _ if !status.success() => {
            let again = outcome.artefact.as_ref().map(|file| format!("\n    {} {file}", program.display()));
            Some(format!("{}: {status}{}", outcome.reason(), again.unwrap_or_default()))
        }
        Outcome { executions: 0, .. } => Some("it was never executed".to_owned()),
        Outcome { coverage: 0, .. } => Some("nothing was covered".to_owned()),
        _ => None,
    };
    Ok((outcome, failure))
}

/// A directory in memory, if there is a place for one.
fn scratch() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let made = tempfile::Builder::new().prefix("composefs-fuzz.").tempdir_in(memory).or_else(|_| tempfile::tempdir());
    made.context("cannot make a temporary directory")
}

/// The program with its limits.
fn command(program: &Path, target: &Target) -> Command {
    let mut command = match target.sanitizer {
        // It reserves address space for all there is, but sees every allocation.
        Sanitizer::Address => {
            let mut command = Command::new(program);
            // Leaks are found by tracing all threads, which not every sandbox allows.
            command.env("ASAN_OPTIONS", "detect_leaks=0").arg(format!("-malloc_limit_mb={MEMORY_MIB}"));
            command.arg(format!("-rss_limit_mb={}", MEMORY_MIB + SANITIZER_MIB));
            command
        }
        Sanitizer::None => {
            let mut command = Command::new("prlimit");
            command.arg(format!("--as={}", MEMORY_MIB << 20)).arg(program).arg(format!("-rss_limit_mb={MEMORY_MIB}"));
            command
        }
    };
    command.arg(format!("-timeout={TIMEOUT}")).arg(format!("-max_len={}", target.max_len));
    if let Some(dictionary) = target.dictionary {
        command.arg(format!("-dict={}", paths::checkout().join("fuzz").join(dictionary).display()));
    }
    command
}
