//! Timings of composefs beside its peers, printed as the tables of `bench/RESULTS.md`.
//!
//! `cargo xtask bench` builds the program, sets up the peers and runs this. With `--check` it fails where a ratio is
//! more than a tenth below the one wanted.

mod apt_versions;
mod capi;
mod cold;
mod cost;
mod delta;
mod derive;
mod disk;
mod dump;
mod floor;
mod fuse;
mod hash;
mod measure;
mod mount;
mod oci;
mod remote;
mod report;
mod repository;
mod store;
mod tree;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use report::Report;

/// The groups of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Topic {
    /// Hashing in memory and of one big file.
    Hash,
    /// The digest of a tree, without storing.
    Tree,
    /// Into an object store, empty and full.
    Store,
    /// An image from a dump.
    Dump,
    /// Writing an image through the C library's interface.
    Capi,
    /// Opening, listing and marking a repository of up to a million objects.
    Repository,
    /// Mounting, `ls -lR` and reading, beside other file systems.
    Mount,
    /// Pulling OCI images, beside cfsctl and podman.
    Oci,
    /// Bytes of updates, beside ostree and casync.
    Delta,
    /// A pull from a web server over a slow link, beside a download.
    Remote,
    /// Space of ten versions of a tree, nine of them cold.
    Cold,
    /// Derived images and their proof.
    Derive,
    /// Walking and reading a mount in user space, beside the kernel's and the C tool's.
    Fuse,
}

#[derive(Parser)]
struct Arguments {
    /// Measure only this; may be given more than once.
    #[arg(long, value_enum)]
    only: Vec<Topic>,
    /// The number of runs of each candidate.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Fail where a ratio is more than a tenth below the one wanted.
    #[arg(long)]
    check: bool,
    /// The program under test.
    #[arg(long)]
    composefs: PathBuf,
    /// The folder with the peers' programs.
    #[arg(long)]
    peers: PathBuf,
    /// Trees to be measured, the small one first.
    #[arg(long)]
    tree: Vec<PathBuf>,
    /// The most that a layer of the OCI image has, in MB before compression.
    #[arg(long, default_value_t = 190)]
    layer_mb: u64,
    /// Measure only this part of the topic `oci`; may be given more than once.
    #[arg(long, value_enum)]
    part: Vec<oci::OciPart>,
    /// Measure only this update of the topic `delta`, by its name; may be given more than once.
    #[arg(long, value_parser = delta::names())]
    update: Vec<String>,
    /// A layer of 5 GB for the memory of a pull.
    #[arg(long)]
    full: bool,
}

/// The settings that all measurements share.
struct Setting {
    rounds: usize,
    composefs: PathBuf,
    peers: PathBuf,
    trees: Vec<PathBuf>,
    /// The most that a layer of the OCI image has, in bytes before compression.
    layer_bytes: u64,
    /// The parts of the topic `oci`; all of them if the list is empty.
    parts: Vec<oci::OciPart>,
    /// The updates of the topic `delta`; all of them if the list is empty.
    updates: Vec<String>,
    /// Set if the largest inputs are measured too.
    is_full: bool,
    /// A directory of this run's own, on the disk.
    scratch: PathBuf,
    /// The directory with `mkcomposefs`, which is ours by that name.
    names: PathBuf,
}

impl Setting {
    /// Returns a command that runs our `mkcomposefs`.
    fn ours(&self) -> Command {
        Command::new(self.names.join("mkcomposefs"))
    }

    /// Returns a command that runs the C tool.
    fn theirs(&self) -> Command {
        Command::new(self.peers.join("mkcomposefs"))
    }

    /// The Rust tool, where it is set up.
    fn cfsctl(&self) -> Option<PathBuf> {
        Some(self.peers.join("cfsctl")).filter(|program| program.exists())
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let scratch = tempfile::tempdir_in(".").context("cannot make a scratch directory here")?;
    let names = scratch.path().join("names");
    std::fs::create_dir(&names)?;
    std::os::unix::fs::symlink(arguments.composefs.canonicalize()?, names.join("mkcomposefs"))?;
    let setting = Setting {
        rounds: arguments.rounds,
        composefs: arguments.composefs.clone(),
        peers: arguments.peers.clone(),
        trees: arguments.tree.clone(),
        layer_bytes: arguments.layer_mb * 1_000_000,
        parts: arguments.part.clone(),
        updates: arguments.update.clone(),
        is_full: arguments.full,
        scratch: scratch.path().to_owned(),
        names,
    };
    let mut report = Report::default();
    let wants = |topic| arguments.only.is_empty() || arguments.only.contains(&topic);
    for topic in Topic::value_variants().iter().copied().filter(|topic| wants(*topic)) {
        match topic {
            Topic::Hash => hash::run(&setting, &mut report)?,
            Topic::Tree => tree::run(&setting, &mut report)?,
            Topic::Store => store::run(&setting, &mut report)?,
            Topic::Dump => dump::run(&setting, &mut report)?,
            Topic::Capi => capi::run(&setting, &mut report)?,
            Topic::Repository => repository::run(&setting, &mut report)?,
            Topic::Mount => mount::run(&setting, &mut report)?,
            Topic::Oci => oci::run(&setting, &mut report)?,
            Topic::Delta => delta::run(&setting, &mut report)?,
            Topic::Remote => remote::run(&setting, &mut report)?,
            Topic::Cold => cold::run(&setting, &mut report)?,
            Topic::Derive => derive::run(&setting, &mut report)?,
            Topic::Fuse => fuse::run(&setting, &mut report)?,
        }
    }
    for goal in report.regressions() {
        println!("REGRESSION: {}: {:.2}, wanted {:.2}", goal.what, goal.ratio, goal.wanted);
    }
    Ok(!arguments.check || report.regressions().is_empty())
}
