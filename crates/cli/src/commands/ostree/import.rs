//! `composefs ostree import`

use std::num::NonZeroUsize;

use anyhow::{Context as _, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_ostree::{ContentUse, Payloads, gather};
use libcomposefs_repo::RefName;

use super::Source;
use crate::commands::repository::{RepositoryArgs, create, progress};
use crate::interrupt::Interrupt;
use crate::{complete, rlimits};

/// Take a commit into a repository of composefs.
///
/// Contents are shared with the repository of ostree where the file system can (reflinks), and copied elsewhere; each is compared
/// with its checksum. The image has the tree that ostree's would have; its objects are named as everywhere in the repository, so its
/// digest is another one. If the commit records the digest of ostree's image, that is compared too.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OstreeImportArgs {
    #[command(flatten)]
    source: Source,
    /// Give the image this name, which another may have had
    #[arg(long, value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    name: Option<RefName>,
    /// Use so many threads
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images ostree import /ostree/repo fedora/stable --name=fedora/stable
  composefs --repo=/srv/images mount fedora/stable /mnt

Exit status: 0 if the image is there, 1 if not, 128 and the number of the signal if one ended it.";

pub(super) fn run(args: &OstreeImportArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let algorithm = repository.algorithm();
    let (repo, commit, plan) = args.source.open()?;
    let created = repository.making(|mut creation| -> anyhow::Result<_> {
        let progress = progress::Objects::start();
        let (contents, threads) = (ContentUse::Store(&creation.batch), rlimits::threads(args.threads));
        let gathered = gather(&repo, plan.contents(), contents, threads, &|bytes| progress.done(bytes))?;
        drop(progress);
        if let Some(recorded) = commit.object.digest.as_deref().filter(|_| algorithm == Algorithm::Sha256) {
            let theirs = plan.tree(&gathered, Payloads::Ostree, algorithm)?;
            let found = Image::plan(&theirs, Versions::default())?.digest(algorithm);
            if found.as_bytes() != recorded {
                bail!("commit {}: its image has the digest {found}, which is not the one it records", commit.id);
            }
        }
        let tree = plan.tree(&gathered, Payloads::Objects, algorithm)?;
        let image = repository.meta().format.plan(&tree).with_context(|| format!("commit {}", commit.id))?;
        creation.add(&image, args.name.clone().into_iter().collect())?;
        Ok(creation.publish_one([tree])?)
    })?;
    create::tell(&created, args.name.as_ref(), &repository, args.json);
    Ok(())
}
