//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::ArgGroup;
use libcomposefs_image::Digest;
use libcomposefs_image::policy::{Inline, Policy};
use libcomposefs_image::tree::{MAX_INLINE, Timestamp};

use crate::rlimits;

/// Find out why a tree does not give the digest that it should.
///
/// Tools differ in what of a tree goes into an image: format version, hash, attributes, times, hard links and more. SOURCE is
/// read once, and the image's digest computed as each tool in the field would have it, the likeliest first. What gives the
/// digest wanted is printed as command lines.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("question").required(true).multiple(true))]
pub(in crate::commands) struct ExplainDigestArgs {
    /// A directory, an image or a dump; - is an image or a dump from standard input.
    pub(super) source: PathBuf,
    /// The digest wanted: 64 hex digits (SHA-256) or 128 (SHA-512).
    #[arg(long, value_name = "HEX", group = "question")]
    pub(super) want: Option<Digest>,
    /// An image or dump of the wanted side. If nothing gives its digest, tell which policy comes nearest to its tree and
    /// what still differs.
    #[arg(long, value_name = "FILE", group = "question")]
    pub(super) against: Option<PathBuf>,
    /// Print the digest of every policy.
    #[arg(long, group = "question", conflicts_with_all = ["want", "against", "policy"])]
    pub(super) list: bool,
    /// Print the digest of one policy, in the words of --list; what is left out is as mkcomposefs does it.
    #[arg(long, value_name = "FIELD=VALUE,...", group = "question", conflicts_with_all = ["want", "against"])]
    pub(super) policy: Option<Policy>,
    /// Also try that no time is later than this. If it is not given, $SOURCE_DATE_EPOCH if that is set.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    source_date_epoch: Option<i64>,
    /// Also try to keep contents of up to so many bytes in the image, beside 64 and 0. May be given again.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(..=MAX_INLINE as u64))]
    inline_max: Vec<u64>,
    /// Try every combination, also those that no tool in the field can be asked for.
    #[arg(long)]
    pub(super) thorough: bool,
    /// Go on behind the first policy that gives the digest, and tell all that do.
    #[arg(long)]
    pub(super) all: bool,
    /// Use so many threads.
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    pub(super) threads: Option<NonZeroUsize>,
    /// Print a JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs explain-digest rootfs/ --want=029cc8af231b4d76c3618cc37232dc590a33379e838d927f542e18455ca5e655
  composefs explain-digest rootfs/ --against=theirs.img
  composefs explain-digest rootfs/ --list --json
  composefs explain-digest rootfs/ --policy=version=2,xattrs=user,times=zero

Exit status: 0 if a policy gives what is wanted, 1 if none does, 2 if it could not be found out.";

impl ExplainDigestArgs {
    /// The limits of contents in the image to try beside the usual ones.
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

    /// A time that `SOURCE_DATE_EPOCH` may have been when the image was made.
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
