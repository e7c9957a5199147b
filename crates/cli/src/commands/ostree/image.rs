//! `composefs ostree image`: builds the image of a commit.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_ostree::ContentUse;
use libcomposefs_store::publish::replace_file;
use serde_json::json;

use super::{CommitArgs, tree_of};
use crate::{lost_opaque, output, rlimits};

/// Build the image of a commit, like `ostree checkout --composefs`.
///
/// The image refers to objects by their paths in a bare repository, xx/….file, so it is mounted with
/// basedir=REPO/objects. Prints the digest.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OstreeImageArgs {
    #[command(flatten)]
    source: CommitArgs,
    /// Image file, or - for standard output; without it, only the digest is printed
    #[arg(value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// Write no digests of files, like `ostree checkout --composefs-noverity`; contents are then neither read nor
    /// compared with their checksums
    #[arg(long)]
    no_verity: bool,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print commit, digest and size as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs ostree image /ostree/repo fedora/stable .ostree.cfs
  composefs ostree image /ostree/repo fedora/stable --json
  mount -t composefs .ostree.cfs /mnt -o basedir=/ostree/repo/objects

Exit status: 0 if the image was written, 1 if not. An existing image is replaced once the new one is on disk.";

/// Mode of a new image, before the umask is applied.
const IMAGE_MODE: u32 = 0o666;

pub(super) fn run(args: &OstreeImageArgs) -> anyhow::Result<()> {
    let to_stdout = args.image.as_deref() == Some(Path::new("-"));
    if to_stdout && output::is_terminal() {
        bail!("standard output is a terminal: refusing to write an image to it");
    }
    let (repo, commit, plan) = args.source.open()?;
    let threads = rlimits::threads(args.threads);
    let contents = if args.no_verity { ContentUse::Skip } else { ContentUse::Digest(Algorithm::Sha256) };
    let tree = tree_of(&repo, &plan, contents, threads)?;
    let image = Image::plan(&tree, Versions::default()).with_context(|| format!("commit {}", commit.id))?;
    lost_opaque::warn("composefs", &image.lost_opaque());
    let digest = match args.image.as_deref() {
        None => image.write_and_digest(Algorithm::Sha256, threads, &mut io::sink())?,
        Some(_) if to_stdout => {
            image.write_and_digest(Algorithm::Sha256, threads, &mut output::data()).context("cannot write the image")?
        }
        Some(path) => {
            let write = |file: &mut std::fs::File| -> anyhow::Result<_> {
                image.write_and_digest(Algorithm::Sha256, threads, file).context("cannot write the image")
            };
            replace_file(path, IMAGE_MODE, write)?.1
        }
    };
    match (args.json, to_stdout) {
        (true, false) => {
            output::json(&json!({ "commit": commit.id.to_string(), "digest": digest.to_hex(), "size": image.len() }));
        }
        (false, false) => out!("{digest}"),
        (_, true) => tell!("{digest}"),
    }
    Ok(())
}
