//! Command line of `composefs explain-digest`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::ArgGroup;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_image::policy::{Inline, Policy};
use libcomposefs_image::tree::{MAX_INLINE, Timestamp};

use crate::complete;
use crate::operand::IMAGES;
use crate::rlimits;

/// Explain why a tree does not have the expected image digest.
///
/// Tools differ in how they convert a tree to an image: format version, digest algorithm, xattrs, times, hard links and
/// more. Reads SOURCE once, and computes the digest of its image as each known tool would build it, the most likely
/// first. If one of them is the expected digest, prints the command lines that reproduce it. If none is, and the
/// repository has the expected image, prints the differences from that image.
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{EXAMPLES}"))]
#[command(group = ArgGroup::new("question").required(true).multiple(true))]
pub(in crate::commands) struct ExplainDigestArgs {
    /// Directory, image, dump or OCI image; - is an image or a dump on standard input
    #[arg(add = ArgValueCompleter::new(complete::operands))]
    pub(super) source: PathBuf,
    /// Expected digest: 64 hex digits (SHA-256) or 128 (SHA-512)
    #[arg(long, value_name = "HEX", group = "question")]
    pub(super) want: Option<Digest>,
    /// Image or dump of the expected tree; if no policy gives its digest, print the policy that comes closest to its
    /// tree, and the remaining differences
    #[arg(long, value_name = "FILE", group = "question", add = ArgValueCompleter::new(complete::operands))]
    pub(super) against: Option<PathBuf>,
    /// Print the digest of every policy
    #[arg(long, group = "question", conflicts_with_all = ["want", "against", "policy"])]
    pub(super) list: bool,
    /// Print the digest of one policy, in the notation of --list; omitted choices are those of mkcomposefs
    #[arg(long, value_name = "FIELD=VALUE,...", group = "question", conflicts_with_all = ["want", "against"])]
    pub(super) policy: Option<Policy>,
    /// Also try to set later times to this one [default: $SOURCE_DATE_EPOCH, if set]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    source_date_epoch: Option<i64>,
    /// Also try to store contents of up to this many bytes in the image, besides 64 and 0; may be given several times
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(..=MAX_INLINE as u64))]
    inline_max: Vec<u64>,
    /// Try every combination, even if no known tool offers it
    #[arg(long)]
    pub(super) thorough: bool,
    /// Continue after the first policy that gives the digest, and print all that do
    #[arg(long)]
    pub(super) all: bool,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    pub(super) threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs explain-digest rootfs/ --want=029cc8af231b4d76c3618cc37232dc590a33379e838d927f542e18455ca5e655
  composefs explain-digest rootfs/ --against=theirs.img
  composefs explain-digest rootfs/ --list --json
  composefs explain-digest oci:layout:debian --want=$(cat uki.digest)
  composefs --repo=/srv/images explain-digest debian:13 --want=$(cat uki.digest)
  composefs explain-digest rootfs/ --policy=version=2,xattrs=user,times=zero

Exit status: 0 if a policy gives the expected digest, 1 if none does, 2 on error.";

impl ExplainDigestArgs {
    /// Returns the inline limits to try besides the usual ones.
    pub(super) fn limits(&self) -> Vec<u64> {
        let of_policy = self.policy.and_then(|policy| match policy.inline {
            Inline::UpTo(max) => Some(max),
            Inline::AsGiven => None,
        });
        self.inline_max.iter().copied().chain(of_policy).collect()
    }

    pub(super) fn thread_count(&self) -> NonZeroUsize {
        rlimits::threads(self.threads)
    }

    /// Returns the time in `SOURCE_DATE_EPOCH`, which may have been set when the image was built.
    pub(super) fn latest(&self) -> anyhow::Result<Option<Timestamp>> {
        const NAME: &str = "SOURCE_DATE_EPOCH";
        let of_environment = || {
            let Some(text) = std::env::var_os(NAME) else { return Ok(None) };
            let sec = text.to_str().and_then(|text| text.parse().ok());
            sec.map(Some).with_context(|| format!("{NAME} is {}: expected seconds since 1970", text.display()))
        };
        let sec = self.source_date_epoch.map_or_else(of_environment, |sec| Ok(Some(sec)))?;
        Ok(sec.map(|sec| Timestamp { sec, nsec: 0 }))
    }
}
