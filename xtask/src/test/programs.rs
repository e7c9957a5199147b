//! The programs a guest runs: the product and the tests, static, since a guest has no libraries of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::install::NAMES;
use crate::vm::payload::Payload;
use crate::{metadata, paths, process};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// With an explicit target these apply to the programs alone, not to build scripts and macros, which cannot be static.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=debuginfo";

/// Test programs of crates that need a kernel with everything: crate and target. What they skip on this machine for
/// want of something, they do in a guest.
const GUEST_TESTS: &[(&str, &str)] = &[("libcomposefs-mount", "kernel")];

/// The static programs, built.
pub(crate) struct Programs {
    /// Path of the program `composefs`.
    pub(crate) composefs: PathBuf,
    /// The name in the guest and the file of each test program.
    tests: Vec<(String, PathBuf)>,
}

impl Programs {
    /// Builds the product alone, as it would be released.
    pub(crate) fn build_product() -> Result<Self> {
        process::run(cargo("build").args(["--quiet", "-p", "composefs-cli"]))?;
        Ok(Self { composefs: release().join("composefs"), tests: Vec::new() })
    }

    /// Builds product and tests.
    pub(crate) fn build() -> Result<Self> {
        let mut build = cargo("build");
        // A guest has no network: the libraries for it would take a third of the time. The engines test the program as
        // it is released, optimized across crates.
        build.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        build.args(["--quiet", "--no-default-features", "-p", "composefs-cli", "-p", "composefs-vmtest"]);
        process::run(&mut build)?;
        let dir = release();
        let mut tests = vec![("vmtest".to_owned(), dir.join("vmtest"))];
        for (package, target) in GUEST_TESTS {
            let mut build = cargo("test");
            build.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
            build.args([
                "--quiet",
                "--no-run",
                "--message-format=json-render-diagnostics",
                "-p",
                package,
                "--test",
                target,
            ]);
            let program = metadata::test_program(&mut build, target)?;
            tests.push((format!("{package}-{target}"), program));
        }
        Ok(Self { composefs: dir.join("composefs"), tests })
    }

    /// The names of the test programs in the guest; the first is the suite made for it.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().map(|(name, _)| name.as_str())
    }

    /// Puts them into a guest, the product under all its names.
    pub(crate) fn install(&self, payload: &mut Payload) {
        for (name, file) in &self.tests {
            payload.file(format!("usr/local/bin/{name}"), file);
        }
        payload.file("usr/local/bin/composefs", &self.composefs);
        for name in NAMES {
            payload.link(format!("usr/sbin/{name}"), "../local/bin/composefs");
        }
    }
}

fn release() -> PathBuf {
    paths::target().join(TARGET).join("release")
}

fn cargo(task: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).env("RUSTFLAGS", FLAGS);
    cargo.args([task, "--release", "--target", TARGET]);
    cargo
}
