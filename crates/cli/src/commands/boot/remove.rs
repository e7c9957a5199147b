//! `composefs boot remove`: removes an entry.

use anyhow::bail;
use serde_json::json;

use super::booted::BootedImage;
use super::found::BootEntries;
use super::place::PlaceArgs;
use super::publish;
use crate::commands::repository::RepositoryArgs;
use crate::error_text::with_remedy;
use crate::output;

/// Remove an entry of the boot loader, and the kernel that no other entry needs.
///
/// Removes entries that `boot install` has made, and no others. The entry of the booted image stays, and so does the
/// one that is started next. The image stays until the next gc, unless another ref keeps it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoveEntryArgs {
    /// Name of the entry, as `boot list` shows it, with or without the counter
    entry: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs boot remove composefs-3-029cc8af231b4d76.conf";

pub(super) fn run(args: &RemoveEntryArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let (selected, _) = args.place.selected(selected)?;
    let esp = args.place.esp()?;
    esp.lock()?;
    let repository = selected.open()?;
    let booted = BootedImage::find().map(|booted| booted.digest);
    let entries = BootEntries::read(&esp)?;
    let is_it = |name: &str, id: &str| args.entry == name || args.entry == id;
    let Some(at) = entries.all.iter().position(|entry| is_it(entry.file_name(), &entry.id())) else {
        bail!("{} has no entry {}: composefs boot list shows the entries", esp.path().display(), args.entry);
    };
    let entry = &entries.all[at];
    if entry.own.is_none() {
        bail!("{} is an entry of another program, which composefs boot does not change", args.entry);
    }
    let uses = entries.uses(Some(&repository), booted.as_ref());
    let is_last_booted = uses[at].is_booted && uses.iter().filter(|other| other.is_booted).count() == 1;
    if is_last_booted {
        let remedy = "boot another image first, and remove the entry then";
        return Err(with_remedy(format!("{} is the entry of the booted image", args.entry), remedy));
    }
    if entries.next().is_some_and(|(next, _)| next == at) {
        let remedy = "composefs boot rollback makes another entry the next one";
        return Err(with_remedy(format!("{} is the entry that is started next", args.entry), remedy));
    }
    let removed = publish::remove_entries(&esp, Some(&repository), &[entry])?;
    if args.json {
        output::json(&json!({ "removed": removed }));
    }
    Ok(())
}
