//! `cargo xtask test`: everything that proves the project, and one table of what was run, skipped and why.

mod arm;
mod fuzzing;
pub(crate) mod libtest;
mod power;
pub(crate) mod programs;
pub(crate) mod report;
mod suites;
mod workspace;

use std::thread::JoinHandle;

use anyhow::{Result, bail};

use crate::kernel::Kernel;
use crate::{e2e, setup};
use report::Report;

/// Its command line.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run the long forms too: more random cases, larger trees.
    #[arg(long)]
    full: bool,
    /// Run only this kind (unit, golden, property, reference, cli, kernel, integration, arm, fuzz, vm, power, e2e); may be given more than once.
    #[arg(long)]
    only: Vec<String>,
    /// Boot only this kernel; may be given more than once.
    #[arg(long, value_enum)]
    kernel: Vec<Kernel>,
    /// Run only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// A test that can run nowhere fails the whole; always so under CI=true.
    #[arg(long)]
    no_skip: bool,
}

impl Options {
    fn wants(&self, kind: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == kind)
    }

    /// The same of a kind that is only run when asked for, by its name or by `--full`.
    fn wants_long(&self, kind: &str) -> bool {
        self.wants(kind) && (self.full || !self.only.is_empty())
    }

    fn forbids_skips(&self) -> bool {
        self.no_skip || std::env::var_os("CI").is_some_and(|ci| ci == "true")
    }
}

/// The task.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run()?;
    let mut report = Report::default();
    let is_wanted = |engine: &str| {
        options.wants("e2e") && options.filter.as_ref().is_none_or(|part| engine.contains(part.as_str()))
    };
    let engines = e2e::engines(options.full, is_wanted);
    let preparing = engines.prepare();
    workspace::run(options, &mut report)?;
    arm::run(options, &mut report)?;
    fuzzing::run(options, &mut report)?;
    suites::run(options, &mut report)?;
    power::run(options, &mut report)?;
    // What went wrong there is told by the engine that it was for.
    let _ = preparing.map(JoinHandle::join);
    report.extend(engines.run());
    if report.is_empty() {
        bail!("no test was run: --only names kinds, --filter a part of a test's name");
    }
    report.settle();
    report.print();
    if report.failed() > 0 {
        std::process::exit(1);
    }
    if options.forbids_skips() && report.skipped() > 0 {
        eprintln!("skipped tests are failures here (CI=true or --no-skip)");
        std::process::exit(1);
    }
    Ok(())
}
