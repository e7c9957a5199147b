//! `composefs ostree import`: imports a commit into a repository.

use std::num::NonZeroUsize;

use anyhow::{Context as _, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_ostree::{ContentUse, Payloads, gather};
use libcomposefs_repo::RefName;
use libcomposefs_trust::CommitAcceptance;

use super::{CommitArgs, signed};
use crate::commands::repository::{RepositoryArgs, create, progress};
use crate::interrupt::Interrupt;
use crate::{complete, rlimits};

/// Import a commit into a composefs repository.
///
/// Contents are shared with the ostree repository if the file system can (reflinks), otherwise copied; each is compared
/// with its checksum. The image has the same tree as ostree's own image, but refers to objects as all images in the
/// repository do, so its digest differs. If the commit records the digest of ostree's image, that is compared too.
///
/// If a policy has a rule for commits (`[[commit]]`) about the name, the commit must be signed by keys of the rule, and
/// be of the branch by which it was found (docs/format/trust.md).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OstreeImportArgs {
    #[command(flatten)]
    source: CommitArgs,
    /// Name for the image; another image that has the name loses it
    #[arg(long, value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    name: Option<RefName>,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images ostree import /ostree/repo fedora/stable --name=fedora/stable
  composefs --repo=/srv/images mount fedora/stable /mnt

Exit status: 0 if the commit was imported, 1 if not, 128 plus the signal number if a signal cancelled the command.";

pub(super) fn run(args: &OstreeImportArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let algorithm = repository.algorithm();
    let (repo, commit, plan) = args.source.open()?;
    // Before anything is stored.
    let accepted = match &args.name {
        Some(name) => signed::judge(&repo, &commit, &args.source.commit, name.as_str())?,
        None => Vec::new(),
    };
    let transaction = repository.transaction()?;
    let progress = progress::ObjectProgress::start();
    let (contents, threads) = (ContentUse::Store(transaction.batch()), rlimits::threads(args.threads));
    let gathered = gather(&repo, plan.contents(), contents, threads, &|bytes| progress.done(bytes))?;
    drop(progress);
    if let Some(recorded) = commit.object.digest.as_deref().filter(|_| algorithm == Algorithm::Sha256) {
        let theirs = plan.tree(&gathered, Payloads::Ostree, algorithm)?;
        let found = Image::plan(&theirs, Versions::default())?.digest(algorithm);
        if found.as_bytes() != recorded {
            bail!("commit {}: the digest of its image is {found}, but it records another one", commit.id);
        }
    }
    let tree = plan.tree(&gathered, Payloads::Objects, algorithm)?;
    let image = repository.meta().format.plan(&tree).with_context(|| format!("commit {}", commit.id))?;
    let created = transaction.commit_image(&tree, &image, args.name.clone().into_iter().collect())?;
    create::print_created(&created, args.name.as_ref(), &repository, args.json);
    for CommitAcceptance { rule, keys } in accepted.iter().filter(|_| !args.json) {
        out!("commit {} trusted: {} (rule {rule} for commits)", commit.id, keys.join(", "));
    }
    Ok(())
}
