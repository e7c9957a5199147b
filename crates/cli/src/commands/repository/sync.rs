//! `composefs sync`: copies names and images from another repository.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use libcomposefs_repo::{RefName, Repository};
use serde_json::json;

use super::{RepositoryArgs, counted, create, progress, tell_of_waiting};
use crate::inspect::size::human;
use crate::interrupt::Interrupt;
use crate::output;
use crate::rlimits;

/// Copy names, with their images and missing objects, from another repository.
///
/// Copies all names, or those given. A name that leads to another image here is moved; names that exist only here stay.
/// Every image is written again and compared, and every object is compared with its digest; extents are shared if the
/// file system can.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SyncArgs {
    /// Repository to copy from
    #[arg(value_name = "OTHER-REPO")]
    other: PathBuf,
    /// Names to copy [default: all]
    #[arg(value_name = "REF")]
    names: Vec<RefName>,
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

Exit status: 0 if everything was copied, 1 if not, 128 plus the signal number if a signal cancelled the command.";

pub(crate) fn run(args: &SyncArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(sync(args, selected, &interrupt))
}

fn sync(args: &SyncArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let other = Repository::open(&args.other)?.telling(tell_of_waiting).interrupted_by(interrupt.flag());
    let threads = rlimits::threads(args.threads);
    let mut done = Vec::new();
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
            let progress = progress::ObjectProgress::start();
            let created = repository.sync(&other, &step, threads, &|bytes| progress.done(bytes))?;
            drop(progress);
            create::warn(&created, &repository);
            let objects = &created.objects;
            line.push_str(&format!(": {} copied, {}", counted(objects.new, "object"), human(objects.bytes_written)));
            json["objects"] = json!({ "new": objects.new, "present": objects.present, "bytes": objects.bytes_written });
        }
        json["done"] = (!args.dry_run || step.is_done()).into();
        if args.json {
            done.push(json);
        } else {
            out!("{line}");
        }
    }
    if args.json {
        output::json(&serde_json::Value::Array(done));
    }
    Ok(())
}
