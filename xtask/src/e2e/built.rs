//! What is built here for the engines.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::chroot::Chroot;
use crate::install::NAMES;
use crate::{place, process};

/// The library, built as for a release.
pub(crate) fn library() -> Result<PathBuf> {
    process::run(cargo().args(["build", "--quiet", "--release", "-p", "composefs-capi"]))?;
    Ok(place::target().join("release/libcomposefs.so"))
}

/// The program, built as for a release.
pub(crate) fn program() -> Result<PathBuf> {
    process::run(cargo().args(["build", "--quiet", "--release", "-p", "composefs"]))?;
    Ok(place::target().join("release/composefs"))
}

/// Puts the program into a system, under all its names.
pub(crate) fn install(chroot: &Chroot) -> Result<()> {
    let program = program()?;
    for name in ["composefs"].iter().chain(NAMES) {
        chroot.install(&program, &format!("usr/local/bin/{name}"))?;
    }
    // Where mount(8) looks.
    chroot.install(&program, "usr/sbin/mount.composefs")
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(place::checkout());
    cargo
}
