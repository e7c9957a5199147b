//! The tests that need no guest: `cargo test` over the workspace, its report read as it goes by.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::Options;
use super::libtest::Reader;
use super::report::{Report, Suite};
use crate::{metadata, minbase, place};

/// Tests that cannot run here say so by a line in the file of this name: the test's name, a tab, the reason.
const SKIP_LOG: &str = "COMPOSEFS_SKIP_LOG";
/// Set where such a test is to fail instead.
const NO_SKIP: &str = "COMPOSEFS_NO_SKIP";
/// Names a tree of a real system.
const MINBASE: &str = "COMPOSEFS_MINBASE";
/// Set for the long forms of the tests.
const FULL: &str = "COMPOSEFS_FULL";

/// Runs those of the kinds asked for.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let Some(targets) = targets(options)? else { return Ok(()) };
    let skip_log = tempfile::NamedTempFile::new()?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(place::checkout()).args(["test", "--workspace", "--no-fail-fast", "--color=never"]);
    cargo.args(targets).env(SKIP_LOG, skip_log.path());
    if options.forbids_skips() {
        cargo.env(NO_SKIP, "1");
    }
    if options.full {
        cargo.env(FULL, "1");
    }
    if let Some(tree) = minbase::set_up()? {
        cargo.env(MINBASE, tree);
    }
    cargo.arg("--").args(&options.filter);
    let mut suites = follow(&mut cargo)?;
    count_skips(skip_log.path(), &mut suites)?;
    report.extend(suites);
    Ok(())
}

/// Which of cargo's targets the kinds asked for are: all, some, or none.
fn targets(options: &Options) -> Result<Option<Vec<String>>> {
    if options.only.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut arguments = Vec::new();
    if options.wants("unit") {
        arguments.extend(["--lib".to_owned(), "--bins".to_owned()]);
    }
    for target in metadata::crates()?.into_iter().flat_map(|one| one.tests) {
        let kind = target.split(['_', '-']).next().unwrap_or_default();
        if options.wants(kind) || options.wants(&target) {
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

/// Turns the tests that wrote to the log from passed into skipped.
fn count_skips(log: &Path, suites: &mut [Suite]) -> Result<()> {
    for line in fs::read_to_string(log)?.lines() {
        let (test, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
        let unknown = |suite: &&mut Suite| !suite.skips.iter().any(|(name, _)| name == test);
        let of_test = |suite: &&mut Suite| suite.passes.iter().any(|name| name == test);
        if let Some(suite) = suites.iter_mut().filter(of_test).find(unknown) {
            suite.turn_into_skip(test, reason);
        }
    }
    Ok(())
}
