//! The tests that need no guest: `cargo test` over the workspace, its report read as it goes by.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};

use super::Options;
use super::libtest::{Reader, kind_of};
use super::report::Suite;
use crate::crates_io::Profile;
use crate::{corpora, metadata, minbase, moto, paths, peers};

/// Tests that cannot run here say so by a line in the file of this name: the test's name, a tab, the reason.
const SKIP_LOG: &str = "COMPOSEFS_SKIP_LOG";
/// The directory of the implementations to compare with.
const PEERS: &str = "COMPOSEFS_PEERS";
/// The directory of the odd tar archives.
const CORPORA: &str = "COMPOSEFS_TAR_CORPORA";
/// The program of moto, a server for S3.
const MOTO: &str = "COMPOSEFS_MOTO";
/// Names a tree of a real system.
const MINBASE: &str = "COMPOSEFS_MINBASE";
/// Set for the long forms of the tests.
const FULL: &str = "COMPOSEFS_FULL";

/// The tests that were selected, built, and the peers they compare with.
pub(super) struct Tests {
    targets: Vec<String>,
    peers: PathBuf,
}

/// Builds the tests that the options select and sets up the peers; `None` if no test is selected.
pub(super) fn build(options: &Options) -> Result<Option<Tests>> {
    let Some(targets) = targets(options)? else { return Ok(None) };
    // The Rust peer takes minutes to build when the cache is cold: the tests are built at the same time.
    let preparing = std::thread::spawn(|| peers::set_up_all(Profile::Quick));
    // The run reports what fails here.
    let _ = tests_of(&targets).arg("--no-run").status();
    let peers = match preparing.join().map_err(|_| anyhow!("the set-up of the peers panicked"))? {
        Err(error) if !options.forbids_skips() => {
            eprintln!("cfsctl cannot be set up, so its tests are skipped: {error:#}");
            peers::set_up()?
        }
        result => result?,
    };
    Ok(Some(Tests { targets, peers }))
}

/// Runs the tests and returns their results.
pub(super) fn run(tests: &Tests, options: &Options) -> Result<Vec<Suite>> {
    let skip_log = tempfile::NamedTempFile::new()?;
    let mut cargo = tests_of(&tests.targets);
    cargo.env(SKIP_LOG, skip_log.path()).env(PEERS, &tests.peers);
    if options.full {
        cargo.env(FULL, "1");
    }
    match corpora::set_up() {
        Ok(dir) => {
            cargo.env(CORPORA, dir);
        }
        Err(error) if !options.forbids_skips() => {
            eprintln!("the odd tar archives cannot be fetched, so their test is skipped: {error:#}");
        }
        Err(error) => return Err(error),
    }
    match moto::set_up() {
        Ok(program) => {
            cargo.env(MOTO, program);
        }
        Err(error) if !options.forbids_skips() => {
            eprintln!("moto cannot be set up, so its tests are skipped: {error:#}");
        }
        Err(error) => return Err(error),
    }
    if let Some(tree) = minbase::set_up()? {
        cargo.env(MINBASE, tree);
    }
    cargo.arg("--").args(&options.filter);
    let mut suites = follow(&mut cargo)?;
    count_skips(skip_log.path(), &mut suites)?;
    Ok(suites)
}

/// The command that runs the tests of some targets.
fn tests_of(targets: &[String]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).args(["test", "--workspace", "--no-fail-fast", "--color=never"]);
    // Its programs are no tests, but `--bins` would have them as such.
    cargo.args(["--exclude", "composefs-fuzz"]).args(targets);
    cargo
}

/// Returns cargo's arguments for the selected kinds: none for all targets; `None` if no target is selected.
fn targets(options: &Options) -> Result<Option<Vec<String>>> {
    if options.only.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut arguments = Vec::new();
    // Documentation tests have no flag that goes with others; they run with the whole.
    if options.wants("unit") {
        arguments.extend(["--lib".to_owned(), "--bins".to_owned()]);
    }
    // A name may belong to tests of several crates; cargo takes them all.
    let targets: BTreeSet<_> = metadata::crates()?.into_iter().flat_map(|one| one.tests).collect();
    for target in targets {
        if options.wants(kind_of(&target)) || options.wants(&target) {
            arguments.extend(["--test".to_owned(), target]);
        }
    }
    Ok(Some(arguments).filter(|arguments| !arguments.is_empty()))
}

/// Runs cargo, passing on and reading what it prints: its own words and the programs' reports in one stream, since the
/// former say whose the latter are.
fn follow(cargo: &mut Command) -> Result<Vec<Suite>> {
    let (reader, writer) = io::pipe()?;
    cargo.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = cargo.spawn().context("cannot run cargo")?;
    // The builder of the command keeps the pipe open otherwise.
    cargo.stdout(Stdio::null()).stderr(Stdio::null());
    let mut report = Reader::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        report.line(&line);
    }
    let status = child.wait()?;
    let mut suites = report.finish();
    if !status.success() && suites.iter().all(|suite| suite.failed == 0) {
        suites.push(Suite::broken("unit", "workspace", format!("cargo test: {status}")));
    }
    Ok(suites)
}

/// Counts the tests that wrote to the log as skipped, where their program counted them as passed.
fn count_skips(log: &Path, suites: &mut [Suite]) -> Result<()> {
    for line in fs::read_to_string(log)?.lines() {
        let (test, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
        if let Some(suite) = suites.iter_mut().find(|suite| suite.has_passed(test)) {
            suite.turn_into_skip(test, reason);
        }
    }
    Ok(())
}
