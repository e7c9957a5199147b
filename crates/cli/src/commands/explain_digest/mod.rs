//! `composefs explain-digest`: which choices of a tool make a tree's digest the one that it is.

mod known;
mod reproduce;
mod search;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use composefs_image::Digest;
use composefs_image::policy::{Policy, Space};
use composefs_image::tree::Timestamp;

use known::Known;
use reproduce::Reproduce;
use search::{Search, Tried};

/// Find out why a tree does not give the digest that it should.
///
/// Tools choose differently what of a tree goes into an image: the format version, the hash, attributes, times, hard links,
/// and more. The source is read once, and its image made as every tool in the field would make it, the likeliest first.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A directory, an image or a dump.
    source: PathBuf,
    /// The digest wanted: 64 hex digits (SHA-256) or 128 (SHA-512).
    #[arg(long, value_name = "HEX")]
    want: Option<Digest>,
    /// Print the digest of every policy.
    #[arg(long)]
    list: bool,
    /// Print the digest of this policy, as the other two name them.
    #[arg(long, value_name = "FIELD=VALUE,...")]
    policy: Option<Policy>,
    /// Try the times no later than this, too. Default: $SOURCE_DATE_EPOCH, where it is set.
    #[arg(long, value_name = "SECONDS")]
    source_date_epoch: Option<i64>,
    /// Try this limit of contents in the image, beside 64 and 0; may be given again.
    #[arg(long, value_name = "BYTES")]
    inline_max: Vec<u64>,
    /// Go on after the first policy that gives the digest.
    #[arg(long)]
    all: bool,
    /// Use so many threads.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs explain-digest rootfs/ --want=da42...
  composefs explain-digest --list rootfs/

Exit status: 0 if a policy gives the digest, 1 if none does, 2 if it could not be found out.";

/// Runs the command.
pub(super) fn run(args: &Args) -> ExitCode {
    match explain(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("composefs: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn explain(args: &Args) -> anyhow::Result<bool> {
    let only = args.want.map(|want| want.algorithm()).or(args.policy.map(|policy| policy.algorithm));
    let known = Known::scan(&args.source, only, &args.inline_max, args.threads)?;
    let latest = args.source_date_epoch.map(|sec| Timestamp { sec, nsec: 0 });
    let space = Space::of(&known.tree, &known.contents, &known.inline, latest);
    let space = only.map_or(space.clone(), |only| space.with_algorithm(only));
    let policies = args.policy.map_or_else(|| space.policies(), |policy| vec![policy]);
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let until = args.want.filter(|_| !args.all);
    let search = Search { tree: &known.tree, contents: &known.contents, policies: &policies, until, threads };
    let start = std::time::Instant::now();
    let tried = search.run(&|| {});
    eprintln!(
        "{} of {} policies, {:?}, indifferent {:?}",
        tried.len(),
        policies.len(),
        start.elapsed(),
        space.indifferent()
    );
    let mut out = io::stdout().lock();
    let indifferent = space.indifferent();
    let reproduce = Reproduce { source: &args.source, known: &known, indifferent: &indifferent };
    for Tried { policy, digest } in tried {
        match digest {
            Ok(digest) if args.want.is_none_or(|want| want == digest) => {
                writeln!(out, "{digest}  {policy}")?;
                if args.want.is_some() {
                    for command in reproduce.commands(&policy) {
                        writeln!(out, "  {}: {}", command.tool, command.line)?;
                    }
                }
            }
            Ok(_) => {}
            Err(error) => eprintln!("{policy}: {error}"),
        }
    }
    Ok(true)
}
