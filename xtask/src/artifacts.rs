//! The program and the library, built as for a release.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use crate::{paths, process};

static BUILDS_QUICKLY: AtomicBool = AtomicBool::new(false);

/// From now on this process builds without optimization across crates, which takes half of the time of a release build.
/// For tests in their short form.
pub(crate) fn build_quickly() {
    BUILDS_QUICKLY.store(true, Ordering::Relaxed);
}

/// Builds `libcomposefs.so` and returns its path. Always as for a release: its size is tested.
pub(crate) fn library() -> Result<PathBuf> {
    process::run(release("build").args(["--quiet", "-p", "libcomposefs-capi"]))?;
    Ok(dir().join("libcomposefs.so"))
}

/// Builds the program `composefs` and returns its path.
pub(crate) fn program() -> Result<PathBuf> {
    process::run(cargo("build").args(["--quiet", "-p", "composefs-cli"]))?;
    Ok(dir().join("composefs"))
}

/// The directory of what [`cargo`] builds.
pub(crate) fn dir() -> PathBuf {
    paths::target().join("release")
}

/// Cargo with the task `build` or `test`, and the options of a release build, or of a quick one.
pub(crate) fn cargo(task: &str) -> Command {
    let mut cargo = release(task);
    if BUILDS_QUICKLY.load(Ordering::Relaxed) {
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    }
    cargo
}

fn release(task: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).args([task, "--release"]);
    cargo
}
