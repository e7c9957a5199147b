//! `composefs ostree verify`: verifies the objects of a commit by their checksums, and the image digest that the
//! commit records.

use std::num::NonZeroUsize;

use anyhow::{Context as _, bail};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_ostree::ContentUse;
use serde_json::json;

use super::{CommitArgs, signed, tree_of};
use crate::error_text::with_remedy;
use crate::output;
use crate::rlimits;

/// Verify the objects of a commit, and the digest of its image that is recorded in it.
///
/// Reads every object that the commit needs, and compares it with its checksum. The digest is stored under
/// `ostree.composefs.digest.v0` by `ostree commit --generate-composefs-metadata`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OstreeVerifyArgs {
    #[command(flatten)]
    source: CommitArgs,
    /// Public key of Ed25519 that must have signed the commit, in base64, or a file with a key in each line; one of
    /// several is enough
    #[arg(long, value_name = "KEY|FILE")]
    key: Vec<String>,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print commit and digests as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs ostree verify /ostree/repo fedora/stable
  composefs ostree verify /ostree/repo fedora/stable --key=/etc/ostree/trusted.ed25519

Exit status: 0 if everything matches, 1 if not, or if no digest is recorded.";

pub(super) fn run(args: &OstreeVerifyArgs) -> anyhow::Result<()> {
    let (repo, commit, plan) = args.source.open()?;
    let signer = (!args.key.is_empty()).then(|| signed::check_keys(&repo, &commit, &args.key)).transpose()?;
    let tree = tree_of(&repo, &plan, ContentUse::Digest(Algorithm::Sha256), rlimits::threads(args.threads))?;
    let image = Image::plan(&tree, Versions::default()).with_context(|| format!("commit {}", commit.id))?;
    let found = image.digest(Algorithm::Sha256);
    let recorded = commit.object.digest.as_deref().map(|bytes| {
        Digest::new(Algorithm::Sha256, bytes).with_context(|| {
            format!("commit {}: the recorded digest has {} bytes, expected 32", commit.id, bytes.len())
        })
    });
    let recorded = recorded.transpose()?;
    if args.json {
        let recorded = recorded.map(|digest| digest.to_hex());
        let json = json!({
            "commit": commit.id.to_string(),
            "digest": found.to_hex(),
            "recorded": recorded,
            "signed_by": signer.as_ref().map(ToString::to_string),
        });
        output::json(&json);
    }
    match recorded {
        None => {
            let id = commit.id;
            return Err(with_remedy(
                format!(
                    "commit {id} records no digest of its image: every object matches its checksum, and the digest of \
                     the image would be {found}"
                ),
                "use `ostree commit --generate-composefs-metadata` to record it",
            ));
        }
        Some(recorded) if recorded != found => {
            bail!("commit {} records the digest {recorded}, but the digest of its image is {found}", commit.id)
        }
        Some(_) if !args.json => {
            out!("{found}");
            if let Some(key) = signer {
                out!("signed by {key}");
            }
        }
        Some(_) => {}
    }
    Ok(())
}
