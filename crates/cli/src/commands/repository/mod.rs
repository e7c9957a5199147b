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

use anyhow::{Context, bail};
use libcomposefs_repo::{LockHolder, Opener, READER_WAITS, Repository, Waiting};

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
        let home = std::env::var_os("HOME").context("HOME is not set: set it, or give --repo=DIR")?;
        let home = Path::new(&home);
        // A relative one would make a repository wherever the command happens to be run.
        if !home.is_absolute() {
            bail!("HOME is {home:?}, which is no absolute path: set it to the home directory, or give --repo=DIR");
        }
        Ok(home.join(USER))
    }

    /// The repository, open.
    pub(crate) fn open(&self) -> anyhow::Result<Repository> {
        crate::rlimits::allow_open_files();
        Ok(Repository::open(&self.path()?)?.telling(tell_of_waiting))
    }
}

/// Other commands of this program hold the lock for a moment; a `cfsctl` holds it as long as it runs.
pub(crate) fn tell_of_waiting(path: &Path, waiting: Waiting) {
    let locked = path.display();
    match waiting {
        Waiting::Begins => {
            let holders = Repository::open(path).map(|repository| repository.lock_holders()).unwrap_or_default();
            let holders = holders.iter().map(LockHolder::to_string).collect::<Vec<_>>().join(", ");
            let holders = if holders.is_empty() { "another process".into() } else { holders };
            tell!("composefs: waiting for {holders}, which has {locked} locked");
        }
        Waiting::Ends => {
            let seconds = READER_WAITS.as_secs();
            tell!(
                "composefs: {locked} is still locked after {seconds} seconds: going on without the lock, to read only"
            );
        }
    }
}

/// What it means that users other than the owner may open the directory of a repository; `None` if there are none.
pub(crate) fn openers_text(openers: &[Opener]) -> Option<String> {
    let last = openers.last()?;
    let reach = if *last == Opener::Everyone { " who can reach it" } else { "" };
    let users = openers.iter().map(Opener::to_string).collect::<Vec<_>>().join(", ");
    Some(format!("{users}{reach} may open the directory and lock it, which keeps others from writing"))
}

/// `1 object`, `2 objects`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
