//! The program and the library, built as for a release.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{paths, process};

/// Builds `libcomposefs.so` and returns its path.
pub(crate) fn library() -> Result<PathBuf> {
    process::run(cargo().args(["build", "--quiet", "--release", "-p", "libcomposefs-capi"]))?;
    Ok(paths::target().join("release/libcomposefs.so"))
}

/// Builds the program `composefs` and returns its path.
pub(crate) fn program() -> Result<PathBuf> {
    process::run(cargo().args(["build", "--quiet", "--release", "-p", "composefs-cli"]))?;
    Ok(paths::target().join("release/composefs"))
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout());
    cargo
}
