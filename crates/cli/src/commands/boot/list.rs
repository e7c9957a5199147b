//! `composefs boot list`: lists the entries of the boot loader.

use serde_json::json;

use super::booted::BootedImage;
use super::found::BootEntries;
use super::place::PlaceArgs;
use super::report::{self, EntryFacts};
use crate::commands::repository::RepositoryArgs;
use crate::output;

/// List the entries of the boot loader, in the order in which it starts them.
///
/// A line has the name of the entry, the first digits of the image's digest, and how the boot loader regards the entry:
/// good, trying (attempts are counted), failed (no attempt is left) or broken (a file is missing). The order is that of
/// systemd-boot; a choice by variables of the firmware is in `boot status`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListEntriesArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs boot list
  composefs boot list --esp=/mnt/esp --sysroot=/mnt/disk --json";

pub(super) fn run(args: &ListEntriesArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let esp = args.place.esp()?;
    let repository = args.place.repository_if_any(selected);
    let booted = BootedImage::find().map(|booted| booted.digest);
    let entries = BootEntries::read(&esp)?;
    let facts = EntryFacts::of(&entries, repository.as_ref(), booted.as_ref());
    report::tell_unread(&entries);
    if args.json {
        let list = entries.all.iter().zip(&facts).map(|(entry, facts)| report::entry_json(entry, facts));
        let unread = entries.unread.iter().map(|(path, reason)| json!({ "path": path, "reason": reason }));
        output::json(&json!({
            "entries": list.collect::<Vec<_>>(),
            "unread": unread.collect::<Vec<_>>(),
            "default": entries.default,
        }));
    } else {
        report::print_list(&entries, &facts);
    }
    Ok(())
}
