//! The commands that use a repository, and the messages they share: waiting for a lock, who may open the directory,
//! counts.

mod args;
mod copy_signatures;
pub(super) mod create;
pub(super) mod df;
pub(crate) mod export;
pub(super) mod fsck;
pub(crate) mod gc;
pub(super) mod images;
mod images_trust;
pub(super) mod import;
pub(super) mod init;
pub(super) mod mounts;
mod names;
pub(crate) mod partial;
pub(super) mod progress;
pub(super) mod repack;
pub(super) mod sync;
pub(super) mod tag;
mod unpack;
pub(super) mod untag;
pub(super) mod why;
mod why_target;

use std::path::Path;

use libcomposefs_repo::{LockHolder, Opener, READER_WAITS, Repository, Waiting};

pub(crate) use args::{RepositoryArgs, WithNames, WithRepository, WithSources};
pub(crate) use copy_signatures::copy_signatures;
pub(crate) use names::{NameKind, NameOperand, ResolvedName};

/// Prints that a lock is held. Other commands of this program hold it briefly; cfsctl holds it as long as it runs.
pub(crate) fn tell_of_waiting(path: &Path, waiting: Waiting) {
    let locked = path.display();
    match waiting {
        Waiting::Begins => {
            // The kernel's list of locks can lack one while others change.
            let look = |_| Repository::open(path).map(|repository| repository.lock_holders()).unwrap_or_default();
            let holders = (0..3).map(look).find(|holders| !holders.is_empty()).unwrap_or_default();
            let holders = holders.iter().map(LockHolder::to_string).collect::<Vec<_>>().join(", ");
            let holders = if holders.is_empty() { "another process".into() } else { holders };
            tell!("composefs: waiting for {holders}, which has locked {locked}");
        }
        Waiting::Ends => {
            let seconds = READER_WAITS.as_secs();
            tell!(
                "composefs: {locked} is still locked after {seconds} seconds: continuing without the lock, to read only"
            );
        }
    }
}

/// Returns a note on users other than the owner who may open, and so lock, the directory of a repository; `None`
/// without such users.
pub(crate) fn openers_text(openers: &[Opener]) -> Option<String> {
    let last = openers.last()?;
    let reach = if *last == Opener::Everyone { " who can reach it" } else { "" };
    let users = openers.iter().map(Opener::to_string).collect::<Vec<_>>().join(", ");
    Some(format!("{users}{reach} may open and lock the directory, which prevents others from writing"))
}

/// Formats a count with a noun: `1 object`, `2 objects`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
