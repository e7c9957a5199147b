//! `cargo xtask bench`: sets up the peers and runs `bench/` over the small and the large tree.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::crates_io::Profile;
use crate::{minbase, paths, peers, process, setup};

/// The large tree: a machine has none larger that is sure to be there.
const LARGE_TREE: &str = "/usr/share";

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the Rust implementation, which takes minutes to build the first time.
    #[arg(long)]
    without_rust: bool,
    /// Arguments for `bench/`: `--only`, `--rounds`, `--check`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// The task. It fails if `--check` is given and a ratio is clearly missed.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run()?;
    let peers = if options.without_rust { peers::set_up()? } else { peers::set_up_all(Profile::Release)? };
    let small = minbase::set_up()?.context("the small tree takes root to build")?;
    let cargo = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(paths::checkout());
        cargo
    };
    let packages = ["-p", "composefs-cli", "-p", "libcomposefs-capi", "-p", "composefs-bench"];
    process::run(cargo().args(["build", "--quiet", "--release"]).args(packages))?;
    let release = paths::target().join("release");
    let program = release.join("composefs-bench");
    let mut bench = Command::new(&program);
    if fs::metadata("/proc/self")?.uid() == 0 {
        // Whatever it mounts goes with the process.
        bench = Command::new("unshare");
        bench.args(["--mount", "--propagation=private"]).arg(program);
    }
    bench.current_dir(paths::target()).arg("--composefs").arg(release.join("composefs")).arg("--peers").arg(peers);
    for tree in [&small, Path::new(LARGE_TREE)] {
        bench.arg("--tree").arg(tree);
    }
    if !bench.args(&options.arguments).status().context("cannot run the benchmarks")?.success() {
        bail!("the benchmarks failed, or a ratio is clearly below the one wanted");
    }
    Ok(())
}
