//! `cargo xtask test`: everything that proves the project, and one table of what was run, skipped and why.

mod arm;
mod fuzzing;
pub(crate) mod libtest;
pub(crate) mod own_init;
mod packages;
mod power;
pub(crate) mod programs;
pub(crate) mod report;
mod suites;
mod workspace;

use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};

use crate::e2e::{self, Engines};
use crate::kernel::Kernel;
use crate::{artifacts, process, setup};
use report::{Report, Suite};
use workspace::Tests;

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run the long forms too: more random cases, larger trees.
    #[arg(long)]
    full: bool,
    /// Run only this kind (unit, golden, property, reference, cli, kernel, integration, arm, package, fuzz, vm, power,
    /// e2e); may be given more than once.
    #[arg(long)]
    only: Vec<String>,
    /// Run the suites in guests of this kernel only; may be given more than once. By default all with --full, else 6.1
    /// and new.
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

    /// The kernels of the guests that run the suites.
    fn kernels(&self) -> Vec<Kernel> {
        match (self.kernel.as_slice(), self.full) {
            ([], true) => Kernel::ALL.to_vec(),
            ([], false) => Kernel::OF_SHORT_FORM.to_vec(),
            (named, _) => Kernel::ALL.into_iter().filter(|kernel| named.contains(kernel)).collect(),
        }
    }

    fn forbids_skips(&self) -> bool {
        self.no_skip || std::env::var_os("CI").is_some_and(|ci| ci == "true")
    }
}

/// Runs `cargo xtask test`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    setup::run()?;
    let mut report = Report::default();
    let is_wanted = |engine: &str| {
        options.wants("e2e") && options.filter.as_ref().is_none_or(|part| engine.contains(part.as_str()))
    };
    if !options.full {
        artifacts::build_quickly();
    }
    let engines = e2e::engines(options.full, is_wanted);
    let preparing = engines.prepare();
    let tests = workspace::build(options)?;
    report.step("build the workspace's tests and cfsctl", start);
    on_host(options, tests.as_ref(), &engines, &mut report)?;
    in_machines(options, engines, preparing, &mut report)?;
    report.step("all", start);
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

/// Runs the tests of the workspace. Many of them wait rather than compute, so that the programs of the later kinds are
/// built at the same time, with a lower priority.
fn on_host(options: &Options, tests: Option<&Tests>, engines: &Engines, report: &mut Report) -> Result<()> {
    let start = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let ahead = scope.spawn(|| build_ahead(options, engines));
        if let Some(tests) = tests {
            report.extend(workspace::run(tests, options)?);
        }
        report.step("run the workspace's tests", start);
        // The kinds that need these programs build them again and report what fails.
        let _ = ahead.join();
        report.step("run the workspace's tests and build for the rest", start);
        Ok(())
    })?;
    report.extend(arm::run(options)?);
    report.extend(packages::run(options)?);
    Ok(())
}

/// Builds the programs of the guests, of the fuzz targets and of the engines.
fn build_ahead(options: &Options, engines: &Engines) -> Result<()> {
    process::lower_priority_of_thread();
    if options.wants("vm") || options.wants("power") {
        programs::Programs::build()?;
    }
    engines.build()?;
    fuzzing::build(options)
}

/// Runs the fuzz targets, then the suites in guests and the power cuts. The engines run at the same time: they use one
/// CPU, one after another, and wait for much.
fn in_machines(
    options: &Options,
    engines: Engines,
    preparing: Option<JoinHandle<()>>,
    report: &mut Report,
) -> Result<()> {
    let start = Instant::now();
    let mut step = |name, suites: Vec<Suite>| {
        report.extend(suites);
        report.step(name, start);
    };
    std::thread::scope(|scope| -> Result<()> {
        let engines = scope.spawn(move || {
            // The engine that needs a system reports why it could not be built.
            let _ = preparing.map(JoinHandle::join);
            engines.run()
        });
        step("run the fuzz targets", fuzzing::run(options)?);
        let power = scope.spawn(|| power::run(options));
        step("run the suites in guests, after the fuzz targets", suites::run(options)?);
        let power = power.join().map_err(|_| anyhow!("the power cuts panicked"))?;
        step("run the power cuts, after the fuzz targets", power?);
        let engines = engines.join().map_err(|_| anyhow!("the engines panicked"))?;
        step("run the engines, beside all these", engines);
        Ok(())
    })
}
