//! The programs a guest runs: the product and the tests, static, since a guest has no libraries of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::install::NAMES;
use crate::vm::payload::Payload;
use crate::{place, process};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// With an explicit target these apply to the programs alone, not to build scripts and macros, which cannot be static.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=debuginfo";

/// The static programs, built.
pub(crate) struct Programs {
    /// The product.
    pub(crate) composefs: PathBuf,
    vmtest: PathBuf,
}

impl Programs {
    /// Builds them as they would be released.
    pub(crate) fn build() -> Result<Self> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(place::checkout()).env("RUSTFLAGS", FLAGS);
        cargo.args(["build", "--quiet", "--release", "--target", TARGET, "-p", "composefs", "-p", "composefs-vmtest"]);
        process::run(&mut cargo)?;
        let dir = place::target().join(TARGET).join("release");
        Ok(Self { composefs: dir.join("composefs"), vmtest: dir.join("vmtest") })
    }

    /// Puts them into a guest, the product under all its names.
    pub(crate) fn install(&self, payload: &mut Payload) {
        payload.file("usr/local/bin/vmtest", &self.vmtest);
        payload.file("usr/local/bin/composefs", &self.composefs);
        for name in NAMES {
            payload.link(format!("usr/sbin/{name}"), "../local/bin/composefs");
        }
    }
}
