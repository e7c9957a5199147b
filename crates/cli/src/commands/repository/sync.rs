//! `composefs sync`

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

/// Bring names, with their images and what is missing of their objects, from another repository.
///
/// All names, or those given. A name that leads elsewhere here is moved; names that are only here stay. Every image is written
/// anew and compared, every object compared with its digest; extents are shared where the file system can.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SyncArgs {
    /// The other repository
    #[arg(value_name = "OTHER-REPO")]
    other: PathBuf,
    /// The names
    #[arg(value_name = "REF")]
    names: Vec<RefName>,
    /// Only tell what would be brought
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Use so many threads
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images sync /mnt/usb/images
  composefs --user sync /sysroot/composefs debian/13 --dry-run

Exit status: 0 if all is here, 1 if not, 128 and the number of the signal if one ended it.";

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
            line.push_str(": is here");
        } else if args.dry_run {
            line.push_str(if step.has_image { ": only the name" } else { ": the image, and what objects are missing" });
        } else {
            let progress = progress::Objects::start();
            let created = repository.sync(&other, &step, threads, &|bytes| progress.done(bytes))?;
            drop(progress);
            create::warn(&created, &repository);
            let objects = &created.objects;
            line.push_str(&format!(": {} brought, {}", counted(objects.new, "object"), human(objects.bytes_written)));
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
