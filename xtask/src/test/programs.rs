//! The programs that a guest runs: the product and the tests, with the libraries that they load.

use std::path::PathBuf;

use anyhow::Result;

use crate::install::NAMES;
use crate::vm::payload::Payload;
use crate::{artifacts, metadata, process};

/// Test programs of crates that need a kernel with everything: crate and target. What they skip on this machine for
/// want of something, they do in a guest.
const GUEST_TESTS: &[(&str, &str)] = &[("libcomposefs-mount", "kernel"), ("composefs-boot", "kernel")];

/// The programs, built.
pub(crate) struct Programs {
    /// Path of the program `composefs`.
    pub(crate) composefs: PathBuf,
    /// Programs of an initramfs, if tests need them.
    pub(crate) boot: Option<artifacts::BootPrograms>,
    /// The name in the guest and the file of each test program.
    tests: Vec<(String, PathBuf)>,
}

impl Programs {
    /// Builds the product alone.
    pub(crate) fn build_product() -> Result<Self> {
        Ok(Self { composefs: artifacts::program()?, boot: None, tests: Vec::new() })
    }

    /// Builds product and tests.
    pub(crate) fn build() -> Result<Self> {
        let composefs = artifacts::program()?;
        process::run(artifacts::cargo("build").args(["--quiet", "-p", "composefs-vmtest"]))?;
        let mut tests = vec![("vmtest".to_owned(), artifacts::dir().join("vmtest"))];
        for (package, target) in GUEST_TESTS {
            let mut build = artifacts::cargo("test");
            build.args(["--quiet", "--no-run", "--message-format=json-render-diagnostics", "-p", package]);
            let program = metadata::test_program(build.args(["--test", target]), target)?;
            tests.push((format!("{package}-{target}"), program));
        }
        Ok(Self { composefs, boot: Some(artifacts::boot_programs()?), tests })
    }

    /// The names of the test programs in the guest; the first is the suite made for it.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().map(|(name, _)| name.as_str())
    }

    /// Puts them into a guest, the product under all its names.
    pub(crate) fn install(&self, payload: &mut Payload) -> Result<()> {
        for (name, file) in &self.tests {
            payload.executable(format!("usr/local/bin/{name}"), file)?;
        }
        payload.executable("usr/local/bin/composefs", &self.composefs)?;
        if let Some(boot) = &self.boot {
            payload.file(format!("usr/local/bin/{}", artifacts::BOOT_PROGRAM), &boot.plain);
            payload.file(format!("usr/local/bin/{}", artifacts::BY_NAME_PROGRAM), &boot.by_name);
        }
        for name in NAMES {
            payload.link(format!("usr/sbin/{name}"), "../local/bin/composefs");
        }
        Ok(())
    }
}
