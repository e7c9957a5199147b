//! `composefs ostree`: works with commits in ostree repositories.

mod image;
mod import;
mod signed;
mod verify;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::Tree;
use libcomposefs_ostree::{Commit, CommitPlan, ContentUse, Payloads, Repo, gather};

use super::repository::{RepositoryArgs, WithRepository, progress};
use crate::exit::exit_status;
use crate::interrupt::Interrupt;

/// Work with commits in ostree repositories, without ostree.
///
/// Reads repositories of the modes bare, bare-user, bare-user-only and archive. Every object is compared with its
/// checksum.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OstreeArgs {
    #[command(subcommand)]
    command: OstreeCommand,
}

const EXAMPLES: &str = "\
Examples:
  composefs ostree image /ostree/repo fedora/stable .ostree.cfs
  composefs ostree verify /ostree/repo fedora/stable
  composefs --repo=/srv/images ostree import /ostree/repo fedora/stable --name=fedora/stable";

#[derive(Subcommand)]
enum OstreeCommand {
    Image(image::OstreeImageArgs),
    Verify(verify::OstreeVerifyArgs),
    Import(WithRepository<import::OstreeImportArgs>),
}

/// Options that select a commit.
#[derive(clap::Args)]
struct CommitArgs {
    /// Path of the ostree repository
    #[arg(value_name = "REPO")]
    ostree: PathBuf,
    /// Branch, REMOTE:BRANCH or checksum of the commit
    #[arg(value_name = "REF")]
    commit: String,
}

impl CommitArgs {
    fn open(&self) -> anyhow::Result<(Repo, Commit, CommitPlan)> {
        crate::rlimits::allow_open_files();
        let repo = Repo::open(&self.ostree)?;
        let commit = repo.commit(&repo.resolve(&self.commit)?)?;
        let plan = CommitPlan::of(&repo, &commit).with_context(|| format!("cannot read commit {}", commit.id))?;
        Ok((repo, commit, plan))
    }
}

/// Returns the tree that ostree's own image of a commit has.
fn tree_of(repo: &Repo, plan: &CommitPlan, contents: ContentUse<'_>, threads: NonZeroUsize) -> anyhow::Result<Tree> {
    let progress = progress::ObjectProgress::start();
    let gathered = gather(repo, plan.contents(), contents, threads, &|bytes| progress.done(bytes))?;
    Ok(plan.tree(&gathered, Payloads::Ostree, Algorithm::Sha256)?)
}

pub(crate) fn run(args: &OstreeArgs, selected: &RepositoryArgs) -> ExitCode {
    match &args.command {
        // There is nothing to undo: a signal ends these at once.
        OstreeCommand::Image(args) => exit_status(image::run(args)),
        OstreeCommand::Verify(args) => exit_status(verify::run(args)),
        OstreeCommand::Import(args) => {
            let interrupt = Interrupt::watch();
            interrupt.end(args.run(selected, |args, selected| import::run(args, selected, &interrupt)))
        }
    }
}
