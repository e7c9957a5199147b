//! `cargo xtask moto`: moto, a server for S3, set up in the cache for the tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{paths, process};

/// The version: others may answer in another way.
const VERSION: &str = "5.2.1";

/// The task: prints the path of the program.
pub(crate) fn run() -> Result<()> {
    println!("{}", set_up()?.display());
    Ok(())
}

/// Sets up moto where it is missing, in an environment of its own, and returns the path of its program.
pub(crate) fn set_up() -> Result<PathBuf> {
    let dir = paths::cache("moto")?;
    let _lock = paths::lock(&dir)?;
    let (home, complete) = (dir.join(VERSION), dir.join(format!("{VERSION}.complete")));
    let program = home.join("bin/moto_server");
    if complete.exists() {
        return Ok(program);
    }
    // Not that of a version manager: its programs depend on the directory in which they are called.
    process::output(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).arg(format!("moto[server,s3]=={VERSION}"));
    process::output(&mut pip)?;
    std::fs::write(complete, "")?;
    Ok(program)
}
