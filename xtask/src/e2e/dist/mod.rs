//! The packages of `cargo xtask dist`, installed by Debian's package manager in place of Debian's own, under Debian's
//! ostree.

use anyhow::{Context as _, Result};

use super::{ostree, sid};
use crate::dist;
use crate::test::report::Suite;

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also the installed tests of ostree that write images, which take minutes.
    #[arg(long)]
    pub(super) all: bool,
}

/// Runs `cargo xtask e2e dist`.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    let pristine = sid::set_up()?;
    let work = tempfile::tempdir()?;
    let files = dist::build(work.path())?;
    let chroot = pristine.copy("dist")?;
    for file in &files {
        let name = file.file_name().context("no name")?.to_string_lossy();
        chroot.install(file, &format!("srv/dist/{name}"))?;
    }
    chroot.write("srv/hello.c", include_str!("hello.c"), 0o644)?;
    let mut suites = chroot.suite("dist", include_str!("check.sh"), &[])?;
    let long = if options.all { "all" } else { "" };
    suites.extend(chroot.suite("dist ostree", ostree::SCRIPT, &[long, &ostree::WRITERS.join(" "), "packaged"])?);
    chroot.remove()?;
    Ok(suites)
}
