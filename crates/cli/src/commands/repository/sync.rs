//! `composefs sync`: copies names and images from another repository.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_repo::{ImageName, RefName, Repository, StreamTag};
use libcomposefs_trust::Moment;
use serde_json::{Value, json};

use super::{RepositoryArgs, copy_signatures, counted, create, progress, tell_of_waiting};
use crate::commands::oci;
use crate::complete;
use crate::inspect::names::shell_word;
use crate::inspect::size::human;
use crate::interrupt::Interrupt;
use crate::output;
use crate::rlimits;
use crate::trust::{ImageTrust, NamedImage};

/// Copy names, with their images and missing objects, from another repository.
///
/// Copies all names, or those given. A name that leads to another image here is moved; names that exist only here stay.
/// Every image is written again and compared, and every object is compared with its digest; extents are shared if the
/// file system can. OCI images are copied if no refs are given, or --oci names them: their layers, and what was kept of
/// their blobs, are compared with their digests, and the composefs image is made from them here, as `oci pull
/// repo:OTHER-REPO:NAME` does.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SyncArgs {
    /// Repository to copy from
    #[arg(value_name = "OTHER-REPO")]
    other: PathBuf,
    /// Refs to copy [default: all refs and OCI images, or none with --oci]
    #[arg(value_name = "REF")]
    names: Vec<RefName>,
    /// OCI image to copy; may be given several times
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names_elsewhere))]
    oci: Vec<StreamTag>,
    /// Only print what would be copied
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images sync /mnt/usb/images
  composefs --user sync /sysroot/composefs debian/13 --dry-run
  composefs --repo=/srv/images sync /mnt/usb/images --oci=docker.io/library/debian:13

Exit status: 0 if everything was copied, 1 if not, 128 plus the signal number if a signal cancelled the command.";

pub(crate) fn run(args: &SyncArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(sync(args, selected, &interrupt))
}

fn sync(args: &SyncArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let mut done = Vec::new();
    let mut report = |line: String, json| {
        if args.json {
            done.push(json);
        } else {
            out!("{line}");
        }
    };
    if args.oci.is_empty() || !args.names.is_empty() {
        sync_names(args, &repository, interrupt, &mut report)?;
    }
    let all = args.oci.is_empty() && args.names.is_empty();
    let tags = if all { Repository::open(&args.other)?.stream_tags()? } else { Vec::new() };
    for tag in args.oci.iter().chain(tags.iter().map(|(tag, _)| tag)) {
        let copied = oci::sync::copy(&repository, &args.other, tag, args.dry_run)?;
        report(copied.line, copied.json);
    }
    if args.json {
        output::json(&Value::Array(done));
    }
    Ok(())
}

/// Copies names with their images.
fn sync_names(
    args: &SyncArgs,
    repository: &Repository,
    interrupt: &Interrupt,
    report: &mut dyn FnMut(String, Value),
) -> anyhow::Result<()> {
    let other = Repository::open(&args.other)?.telling(tell_of_waiting).interrupted_by(interrupt.flag());
    let threads = rlimits::threads(args.threads);
    for name in &args.names {
        if other.cold_image(&ImageName::Ref(name.clone()))?.is_some() {
            let path = shell_word(other.path());
            bail!("{name} is cold in {path}: unpack it with `composefs --repo={path} repack --warm {name}`");
        }
    }
    let trust = ImageTrust::load()?;
    for step in repository.plan_sync(&other, &args.names)? {
        let mut json = json!({
            "name": step.name.as_str(),
            "digest": step.digest.to_hex(),
            "here": step.here.map(|digest| digest.to_hex()),
        });
        let mut line = format!("{} {}", step.digest, step.name);
        if step.is_done() {
            line.push_str(": up to date");
        } else if args.dry_run {
            line.push_str(if step.has_image { ": only the name" } else { ": the image and missing objects" });
        } else {
            let image = NamedImage { name: step.name.as_str(), digest: step.digest };
            trust.judge_with(repository, image, Moment::FirstUse, || other.signatures(&step.digest))?;
            let progress = progress::ObjectProgress::start();
            let created = repository.sync(&other, &step, threads, &|bytes| progress.done(bytes))?;
            drop(progress);
            create::warn(&created, repository);
            let objects = &created.objects;
            line.push_str(&format!(": {} copied, {}", counted(objects.new, "object"), human(objects.bytes_written)));
            json["objects"] = json!({ "new": objects.new, "present": objects.present, "bytes": objects.bytes_written });
        }
        if !args.dry_run {
            copy_signatures(repository, &other, &[step.digest], &mut line, &mut json)?;
        }
        json["done"] = (!args.dry_run || step.is_done()).into();
        report(line, json);
    }
    Ok(())
}
