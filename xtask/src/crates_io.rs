//! Programs from crates.io that tasks use, built in one pinned version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;

/// The program, built into `dir` if it is not there.
pub(crate) fn install(package: &str, version: &str, program: &str, dir: &Path) -> Result<PathBuf> {
    let file = dir.join("bin").join(program);
    if !file.exists() {
        eprintln!("building {package} {version}");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["install", "--quiet", "--locked", package, "--version", version, "--root"]).arg(dir);
        // Its own target directory would be the workspace's otherwise.
        process::output(cargo.env("CARGO_TARGET_DIR", dir.join("target")))?;
        fs::remove_dir_all(dir.join("target"))?;
    }
    Ok(file)
}
