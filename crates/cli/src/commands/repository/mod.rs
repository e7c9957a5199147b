//! The commands that work in a repository, and which one that is.

pub(super) mod create;
pub(super) mod df;
pub(super) mod export;
pub(super) mod fsck;
pub(super) mod gc;
pub(super) mod images;
pub(super) mod import;
pub(super) mod init;
pub(super) mod mount;
pub(super) mod mounts;
pub(super) mod progress;
pub(super) mod sync;
pub(super) mod tag;
pub(super) mod untag;
pub(super) mod why;

use std::path::{Path, PathBuf};

use anyhow::Context;
use composefs_store::repository::Repository;

/// Where the system's repository is.
const SYSTEM: &str = "/sysroot/composefs";
/// Where a user's own is, in the home directory.
const USER: &str = ".var/lib/composefs";

/// Which repository to work in.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Which {
    /// The repository to work in [default: the system's for root, else the user's]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Repository")]
    repo: Option<PathBuf>,
    /// Work in the user's own repository, ~/.var/lib/composefs
    #[arg(long, global = true, conflicts_with = "repo", help_heading = "Repository")]
    user: bool,
    /// Work in the system's repository, /sysroot/composefs
    #[arg(long, global = true, conflicts_with_all = ["repo", "user"], help_heading = "Repository")]
    system: bool,
}

impl Which {
    /// Whether the command line says it.
    pub(crate) fn is_given(&self) -> bool {
        self.repo.is_some() || self.user || self.system
    }

    /// Its path.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.repo {
            return Ok(path.clone());
        }
        if self.system || !self.user && rustix::process::geteuid().is_root() {
            return Ok(SYSTEM.into());
        }
        let home = std::env::var_os("HOME").context("HOME is not set: give --repo=DIR")?;
        Ok(Path::new(&home).join(USER))
    }

    /// The repository, open.
    pub(crate) fn open(&self) -> anyhow::Result<Repository> {
        crate::limits::allow_open_files();
        Ok(Repository::open(&self.path()?)?.telling(tell_of_waiting))
    }
}

/// Others of ours are done in a moment; a `cfsctl` holds the lock as long as it runs.
fn tell_of_waiting(path: &Path) {
    eprintln!("composefs: waiting for others who have {} locked", path.display());
}

/// `1 object`, `2 objects`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
