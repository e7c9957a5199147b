//! The project's own tasks: `cargo xtask demo|test|vm|tidy|...`.
//!
//! One file per task; everything a task fetches or builds outside the checkout goes to one cache directory
//! ([`paths::cache`]), so that a fresh clone and an old one behave alike.

mod apt;
mod artifacts;
mod bench;
mod corpora;
mod crates_io;
mod demo;
mod dist;
mod e2e;
mod fuzz;
mod install;
mod kernel;
mod metadata;
mod minbase;
mod moto;
mod paths;
mod peers;
mod process;
mod setup;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make an image of a real tree, mount it, tamper with it: the whole story, as root.
    Demo(demo::Options),
    /// Install what the tests need and is missing (Debian packages, as root).
    Setup,
    /// Fetch the kernels the VM tests boot and print their versions.
    Kernels,
    /// Run everything that proves the project: the workspace's tests, then the VM suites.
    Test(test::Options),
    /// Run a command in a virtual machine with fs-verity.
    Vm(vm::interactive::Options),
    /// Check the rules of the project: formatting, lints, crate edges, fences, words, links, files.
    Tidy(tidy::Options),
    /// Write the code map of ARCHITECTURE.md from the first lines of the modules.
    Map,
    /// Set up the existing implementations as black boxes to compare with, and print their directory.
    Peers(peers::Options),
    /// Fetch the odd tar archives that the tests read, and print their directory.
    Corpora,
    /// Set up moto, a server for S3 that the tests use, and print the path of its program.
    Moto,
    /// Time the program beside its peers.
    Bench(bench::Options),
    /// Feed the fuzz targets for some time.
    Fuzz(fuzz::Options),
    /// Run the engines that use composefs, the real ones, on what is built here.
    E2e(e2e::Options),
    /// Build the tarball and the Debian packages of a release.
    Dist(dist::Options),
    /// Build the release and install it.
    Install(install::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Demo(options) => demo::run(&options),
        Task::Setup => setup::run(),
        Task::Kernels => kernel::run(),
        Task::Test(options) => test::run(&options),
        Task::Vm(options) => vm::interactive::run(options),
        Task::Tidy(options) => tidy::run(&options),
        Task::Map => tidy::map::run(),
        Task::Peers(options) => peers::run(&options),
        Task::Corpora => corpora::run(),
        Task::Moto => moto::run(),
        Task::Bench(options) => bench::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::E2e(options) => e2e::run(&options),
        Task::Dist(options) => dist::run(&options),
        Task::Install(options) => install::run(&options),
    }
}
