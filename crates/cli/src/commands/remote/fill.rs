//! `composefs fill`: fetches what a lazy mount lacks.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use libcomposefs_delivery::{DeliveryPlan, DeliveryPullOptions, RefDocument, Remote, plan_document, pull};
use libcomposefs_repo::Repository;
use libcomposefs_repo::partial::PartialImage;
use libcomposefs_sys::background::{self, BackgroundPart};
use serde_json::json;

use super::lazy::ServerStatus;
use super::open::{open, patience};
use super::operand::RemoteOperand;
use super::progress::TransferDisplay;
use super::pull::{CONNECTIONS, admit, connections, rate};
use super::server_args::ServerArgs;
use crate::commands::repository::{RepositoryArgs, counted};
use crate::exit::exit_status;
use crate::inspect::size::human;
use crate::interrupt::Interrupt;
use crate::output;

/// Fetch all objects that a lazy mount lacks.
///
/// The objects come from the remote of the mount as by `composefs pull`, into the same repository, while the mount is
/// used. When all are here, the image is published under its names, and is no partial image any more; the mount stays
/// as it is. Without --wait the command returns when the remote has answered, and a process in the background fetches:
/// `composefs status` shows how far it is.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FillArgs {
    /// Mount point of a lazy mount
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Wait until everything is here
    #[arg(long)]
    wait: bool,
    /// Most bytes for each second; k, M and G are powers of 1024
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    limit_rate: Option<u64>,
    /// Number of requests at once
    #[arg(long, value_name = "NUMBER", default_value = CONNECTIONS, value_parser = connections)]
    connections: NonZeroUsize,
    /// Print the result as JSON
    #[arg(long, requires = "wait")]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  composefs fill /mnt --wait
  composefs fill /mnt --limit-rate=2M && composefs status /mnt

Exit status: 0 if everything is here, or without --wait if the fetch has begun; 1 if not; 128 plus the signal number if
a signal cancelled the command.";

pub(crate) fn run(args: &FillArgs) -> ExitCode {
    if args.wait {
        let interrupt = Interrupt::watch();
        return interrupt.end(fill(args, &interrupt, || Ok(())));
    }
    // Threads for the network begin in the background.
    match background::split() {
        Ok(BackgroundPart::Background(report)) => {
            let interrupt = Interrupt::watch();
            interrupt.end(fill(args, &interrupt, || Ok(report.succeed()?)))
        }
        Ok(BackgroundPart::Foreground(waiting)) => match waiting.wait() {
            Ok(None | Some(0)) => ExitCode::SUCCESS,
            // The other process has printed the reason.
            Ok(Some(status)) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
            Err(error) => exit_status(Err(error.into())),
        },
        Err(error) => exit_status(Err(error).context("cannot start a process in the background")),
    }
}

/// Fetches what is missing. `begun` is called when the remote has answered.
fn fill(args: &FillArgs, interrupt: &Interrupt, begun: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let status = ServerStatus::ask(&args.target)?;
    let repository = status.open_repository()?.interrupted_by(interrupt.flag());
    let Some(image) = repository.partial_image(&status.digest)? else {
        if !repository.has_image(&status.digest)? {
            bail!(
                "the image {} is no longer in {}: unmount {} and mount it again",
                status.digest,
                status.repository.display(),
                args.target.display()
            );
        }
        return print(args, &status, None);
    };
    let operand = RemoteOperand::stored(&image.entry.remote);
    let store = open(&operand, &RepositoryArgs::default(), &args.server)?;
    let remote = Remote::new(&*store, patience(interrupt));
    let plan = planned(&repository, &remote, &image)?;
    begun()?;
    let display = TransferDisplay::start();
    let options = DeliveryPullOptions {
        connections: args.connections,
        rate_limit: args.limit_rate,
        make_file: &super::make_file,
        progress: &display,
    };
    let pulled = pull(&repository, &remote, &plan, image.refs, &options)?;
    drop(display);
    print(args, &status, Some((pulled.new_objects, pulled.received)))
}

/// Plans the pull of exactly this image, whatever the ref of the remote leads to by now.
pub(super) fn planned(
    repository: &Repository,
    remote: &Remote<'_>,
    image: &PartialImage,
) -> anyhow::Result<DeliveryPlan> {
    let document = RefDocument::parse(image.entry.document.as_bytes());
    let document = document.context("the description of the partial image cannot be used: mount it again")?;
    if document.image.digest != image.digest {
        bail!("the description of the partial image {} is that of another one: mount it again", image.digest);
    }
    admit(repository, image.digest, &image.refs, &document.signatures())?;
    Ok(plan_document(repository, remote, document)?)
}

fn print(args: &FillArgs, status: &ServerStatus, fetched: Option<(u64, u64)>) -> anyhow::Result<()> {
    let (digest, (objects, received)) = (status.digest, fetched.unwrap_or_default());
    if args.json {
        output::json(&json!({ "digest": digest.to_hex(), "objects": { "new": objects }, "received": received }));
    } else if fetched.is_none() {
        out!("{digest}: complete");
    } else {
        out!("{digest}: complete, {}, {} received", counted(objects, "new object"), human(received));
    }
    Ok(())
}
