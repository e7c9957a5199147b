//! `composefs pull`: gets an image from a remote.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_delivery::{DeliveryPullOptions, Pulled, Remote, plan, pull, pull_digest, pull_metadata};
use libcomposefs_image::Digest;
use libcomposefs_repo::{ImageName, RefName, Repository, StoredSignature};
use libcomposefs_store::publish::replace_file;
use libcomposefs_trust::Moment;
use serde_json::json;

use super::open::{open, patience};
use super::operand::RemoteOperand;
use super::plan::print_plan;
use super::progress::TransferDisplay;
use super::server_args::ServerArgs;
use crate::commands::repository::{RepositoryArgs, counted};
use crate::inspect::size::human;
use crate::interrupt::Interrupt;
use crate::trust::{ImageTrust, NamedImage};
use crate::{complete, output};

/// Number of requests at once.
pub(super) const CONNECTIONS: &str = "8";

/// Get an image from a remote, with the objects that the repository lacks.
///
/// Takes the cheapest way, as `composefs plan` shows: whole objects, or differences from objects of the repository. The
/// remote is not trusted: every object is compared with its digest before it has a name, and the image is written again
/// and compared. If the command is cancelled or fails, the objects that have arrived stay until the next gc, and are
/// not fetched again.
///
/// By its digest, an image also comes from a directory of objects, or a repository, behind a web server.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PullArgs {
    /// Remote: a name, a URL or a directory
    #[arg(value_name = "REMOTE", add = ArgValueCompleter::new(complete::remotes))]
    remote: RemoteOperand,
    /// Image: its name in the remote, or its digest
    #[arg(value_name = "REF|DIGEST")]
    image: ImageName,
    /// Name of the image here [default: the name in the remote]
    #[arg(long, value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    name: Option<RefName>,
    /// Only print what each way would cost
    #[arg(short = 'n', long, conflicts_with = "metadata_only")]
    dry_run: bool,
    /// Only get the image itself, without objects, and write it to the file given with --output
    #[arg(long, requires = "output")]
    metadata_only: bool,
    /// File for the image of --metadata-only
    #[arg(short, long, value_name = "FILE", requires = "metadata_only")]
    output: Option<PathBuf>,
    /// Most bytes for each second; k, M and G are powers of 1024
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    limit_rate: Option<u64>,
    /// Number of requests at once
    #[arg(long, value_name = "NUMBER", default_value = CONNECTIONS, value_parser = connections)]
    connections: NonZeroUsize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images pull backup debian/13
  composefs --repo=/srv/images pull /mnt/backup/images debian/13 --name=debian/current --limit-rate=2M
  composefs --repo=/srv/images pull backup debian/13 --dry-run
  composefs pull backup debian/13 --metadata-only --output=debian.img

Exit status: 0 if the image is in the repository under the name, 1 if not, 128 plus the signal number if a signal
cancelled the command.";

/// Parses a rate such as `500k`.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number of bytes above 0, optionally followed by k, M or G".to_owned();
    let (number, shift) = match text.chars().last() {
        Some('k' | 'K') => (&text[..text.len() - 1], 10),
        Some('M') => (&text[..text.len() - 1], 20),
        Some('G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|rate| *rate > 0).ok_or_else(wrong)
}

/// Parses a number of connections.
pub(super) fn connections(text: &str) -> Result<NonZeroUsize, String> {
    let number: Option<NonZeroUsize> = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 64);
    number.ok_or_else(|| "expected a number from 1 to 64".into())
}

pub(crate) fn run(args: &PullArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(pull_image(args, selected, &interrupt))
}

fn pull_image(args: &PullArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let store = open(&args.remote, selected, &args.server)?;
    let remote = Remote::new(&*store, patience(interrupt));
    if args.metadata_only {
        return metadata_only(args, &remote);
    }
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let display = TransferDisplay::start();
    let options = DeliveryPullOptions {
        connections: args.connections,
        rate_limit: args.limit_rate,
        make_file: &super::make_file,
        progress: &display,
    };
    let pulled = match &args.image {
        ImageName::Digest(_) if args.dry_run => bail!("--dry-run needs a ref: a digest has no index"),
        ImageName::Digest(digest) => {
            let names: Vec<RefName> = args.name.clone().into_iter().collect();
            admit(&repository, *digest, &names, &[])?;
            pull_digest(&repository, &remote, digest, names, &options)?
        }
        ImageName::Ref(name) => {
            let plan = plan(&repository, &remote, name)?;
            if args.dry_run {
                drop(display);
                print_plan(&plan, name, args.json);
                return Ok(());
            }
            let names = vec![args.name.clone().unwrap_or_else(|| name.clone())];
            let signatures = plan.document.signatures();
            admit(&repository, plan.document.image.digest, &names, &signatures)?;
            for signature in &signatures {
                repository.add_signature(&plan.document.image.digest, signature)?;
            }
            pull(&repository, &remote, &plan, names, &options)?
        }
    };
    drop(display);
    print(args, &pulled);
    Ok(())
}

/// Judges an image before any content of it is fetched, by its signatures here and in the remote. What is pulled then
/// has this digest.
pub(in crate::commands) fn admit(
    repository: &Repository,
    digest: Digest,
    names: &[RefName],
    signatures: &[StoredSignature],
) -> anyhow::Result<()> {
    let trust = ImageTrust::load()?;
    for name in names {
        let image = NamedImage { name: name.as_str(), digest };
        trust.judge_with(repository, image, Moment::FirstUse, || Ok::<_, anyhow::Error>(signatures.to_vec()))?;
    }
    Ok(())
}

fn metadata_only(args: &PullArgs, remote: &Remote<'_>) -> anyhow::Result<()> {
    let (ImageName::Ref(name), Some(path)) = (&args.image, &args.output) else {
        bail!("--metadata-only needs a ref and --output");
    };
    let display = TransferDisplay::start();
    let (document, bytes) = pull_metadata(remote, name, &display)?;
    drop(display);
    replace_file(path, 0o666, |file: &mut std::fs::File| {
        std::io::Write::write_all(file, &bytes).with_context(|| format!("cannot write {}", path.display()))
    })?;
    let digest = document.image.digest;
    if args.json {
        output::json(&json!({ "digest": digest.to_hex(), "size": bytes.len() }));
    } else {
        out!("{digest}");
    }
    Ok(())
}

fn print(args: &PullArgs, pulled: &Pulled) {
    let Pulled { digest, is_new, replaced, new_objects, received, .. } = pulled;
    if args.json {
        output::json(&json!({
            "digest": digest.to_hex(),
            "new": is_new,
            "replaced": replaced.iter().map(libcomposefs_image::Digest::to_hex).collect::<Vec<_>>(),
            "objects": { "new": new_objects },
            "received": received,
        }));
    } else if *received == 0 {
        out!("{digest}: up to date");
    } else {
        out!("{digest}: {}, {} received", counted(*new_objects, "new object"), human(*received));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        for (text, expected) in [("1", 1), ("500k", 512_000), ("2M", 2 << 20), ("1G", 1 << 30)] {
            assert_eq!(rate(text), Ok(expected));
        }
        for wrong in ["", "0", "k", "-1", "1T", "99999999999999999999G", "18446744073709551615k", "ä"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert!(connections("64").is_ok() && connections("65").is_err() && connections("0").is_err());
    }
}
