//! Debian's podman on our programs: images pulled from a registry into a store on composefs, containers whose root is a
//! mount of ours, and containers of ours beside those of podman.

mod seccomp;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::chroot::Chroot;
use super::containers;
use crate::test::report::Suite;
use crate::{metadata, paths, peers};

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {}

/// Runs `cargo xtask e2e podman`.
pub(super) fn run(_options: &Options) -> Result<Vec<Suite>> {
    let chroot = containers::with_ours()?;
    chroot.write("opt/composefs/mkcomposefs.sh", include_str!("mkcomposefs.sh"), 0o755)?;
    chroot.install(&oci_run()?, "opt/composefs/oci_run")?;
    let parts = [include_str!("images.sh"), include_str!("containers.sh"), include_str!("signatures.sh")];
    let scripts = [&parts[..], &[include_str!("check.sh")]].concat();
    let mut suites = chroot.suite("podman", &scripts.join("\n"), &[])?;
    suites.push(seccomp::compare(&chroot)?);
    suites.push(beside_the_reference(&chroot)?);
    Ok(suites)
}

/// Builds the test program that runs containers on a directory.
fn oci_run() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).args([
        "test",
        "--quiet",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    metadata::test_program(cargo.args(["-p", "composefs-cli", "--test", "oci_run"]), "oci_run")
}

/// Compares the images that podman had our `mkcomposefs` build with those of the C tool.
fn beside_the_reference(chroot: &Chroot) -> Result<Suite> {
    let mut suite = Suite { kind: "e2e".into(), name: "podman".into(), finished: true, ..Suite::default() };
    let mkcomposefs = peers::set_up()?.join("mkcomposefs");
    let mut compared = 0;
    for call in fs::read_dir(chroot.path("t/recorded")).into_iter().flatten() {
        let call = call?.path();
        let dump = fs::File::open(call.join("stdin"))?;
        let theirs = Command::new(&mkcomposefs).args(["--from-file", "-", "-"]).stdin(dump).output()?;
        let ours = fs::read(call.join("stdout"))?;
        if !theirs.status.success() || ours.is_empty() || ours != theirs.stdout {
            suite.failures.push(format!("the image of {} is not that of the C tool", call.display()));
        }
        compared += 1;
    }
    if compared == 0 {
        suite.failures.push("no call of mkcomposefs was recorded".into());
    }
    println!("[podman] {compared} images compared with those of the C tool, {} differ", suite.failures.len());
    (suite.passed, suite.failed) = (u32::from(suite.failures.is_empty()), suite.failures.len() as u32);
    Ok(suite)
}
