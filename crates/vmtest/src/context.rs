//! The context of a test: the kernel it runs under, a scratch directory, the program under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use libcomposefs_image::Digest;

use crate::command::{self, Ran};
use crate::kernel::{self, Version};

/// The scratch file system: an ext4 with fs-verity on `/dev/vda`.
const SCRATCH: &str = "/mnt";
/// The path of the program in the guest.
const COMPOSEFS: &str = "/usr/local/bin/composefs";

/// The context that each test is called with.
pub(crate) struct Context {
    /// The version of the kernel that runs.
    pub(crate) kernel: Version,
}

impl Context {
    pub(crate) fn new(release: &str) -> Result<Self> {
        Ok(Self { kernel: kernel::version(release).with_context(|| format!("odd kernel release {release:?}"))? })
    }

    /// A new, empty directory on the scratch file system.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let unused = |n: &u32| !Path::new(SCRATCH).join(format!("{name}.{n}")).exists();
        let n = (0..).find(unused).context("no unused name")?;
        let dir = Path::new(SCRATCH).join(format!("{name}.{n}"));
        std::fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// The program under test, to be run with [`command::run`].
    pub(crate) fn composefs(&self) -> Command {
        Command::new(COMPOSEFS)
    }

    /// The digest the kernel has for a file with fs-verity, asked through fsverity-utils.
    pub(crate) fn measure(&self, file: &Path) -> Result<Digest> {
        let Ran { stdout, .. } = command::run(Command::new("fsverity").arg("measure").arg(file))?.success()?;
        // algorithm:digest path
        let hex = stdout.split_once(':').and_then(|(_, rest)| rest.split_whitespace().next());
        Ok(Digest::from_hex(hex.with_context(|| format!("odd output: {stdout}"))?)?)
    }
}

/// The error of a test that cannot run here; the run counts it as skipped, with this reason.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}
