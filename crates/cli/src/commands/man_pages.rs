//! `composefs man-pages`, for who makes packages

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

/// Write the man pages of composefs and its commands into a directory.
#[derive(clap::Args)]
pub(crate) struct ManPagesArgs {
    /// The directory, created if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &ManPagesArgs, command: clap::Command) -> anyhow::Result<()> {
    let written = fs::create_dir_all(&args.dir).and_then(|()| clap_mangen::generate_to(command, &args.dir));
    written.with_context(|| format!("cannot write to {}", args.dir.display()))
}
