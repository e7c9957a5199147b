//! `composefs boot rollback`: makes the previous entry the next one.

use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use libcomposefs_disk::entries::{BootEntryText, OwnEntryName, rollback_target};
use serde_json::json;

use super::booted::{BootedImage, FirmwareFacts};
use super::found::{BootEntries, BootEntry};
use super::install_plan::SORT_KEY;
use super::objects::check_objects;
use super::place::PlaceArgs;
use super::publish;
use crate::commands::repository::RepositoryArgs;
use crate::error_text::with_remedy;
use crate::output;

/// Make the previous entry the one that is started next.
///
/// That is the next entry in the order of the boot loader that boots another image and has not failed. It gets the
/// highest number, and so becomes the first one: neither variables of the firmware nor loader.conf are used, which
/// would take precedence over the counters of attempts. The replaced entry stays, as the second one: a second rollback
/// leads back to it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Print the entry, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs boot rollback
  composefs boot rollback --dry-run --json";

pub(super) fn run(args: &RollbackArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let (selected, _) = args.place.selected(selected)?;
    let esp = args.place.esp()?;
    esp.lock()?;
    let repository = selected.open()?;
    let reader = repository.reader()?;
    let booted = BootedImage::find().map(|booted| booted.digest);
    let entries = BootEntries::read(&esp)?;
    if let (Some(default), Some((_, true))) = (&entries.default, entries.next()) {
        let error =
            format!("loader.conf has `default {default}`, which takes precedence over the order of the entries");
        return Err(with_remedy(error, "remove that line, or change it"));
    }
    if let Some(default) = FirmwareFacts::read().default {
        let error = format!("the variable LoaderEntryDefault chooses {default}, whatever the order of the entries is");
        return Err(with_remedy(error, "remove it: bootctl set-default ''"));
    }
    let uses = entries.uses(Some(&repository), booted.as_ref());
    let target =
        rollback_target(&uses).context("there is no other entry that boots another image and has not failed")?;
    let (entry, digest) = (&entries.all[target], uses[target].digest.context("the entry names no image")?);
    let shown = entry.file_name();
    if !repository.has_image(&digest)? {
        let error = format!("{shown} boots the image {digest}, which is not in {}", repository.path().display());
        return Err(with_remedy(error, "import the image, or remove the entry"));
    }
    let _held = reader.protect(&[digest])?;
    let needs_verity = entry.named.iter().any(|named| named.digest == digest && !named.is_verity_optional);
    let tree = repository.tree_of_image(&digest)?;
    let check = check_objects(&repository, &digest, &tree, needs_verity, &AtomicBool::new(false))?;
    if let Some(problem) = check.problems.first() {
        let error = format!("{shown} would not boot: {problem}");
        return Err(with_remedy(error, "composefs fsck --repair --from=REPOSITORY, or import the image again"));
    }
    let generation = publish::new_generation(&entries)?;
    let name = OwnEntryName::new(generation, &digest.to_hex()).file_name(entry.rank.name.counter);
    if !args.dry_run {
        publish::protect(&repository, &digest)?;
        publish::write_entry(&esp, &name, &moved(entry, generation))?;
        if entry.own.is_some() {
            // With both names on disk, the higher number counts.
            esp.remove(&entry.path)?;
        }
    }
    if args.json {
        output::json(&json!({
            "entry": name.to_string(),
            "previous_name": shown,
            "digest": digest.to_hex(),
            "generation": generation,
            "dry_run": args.dry_run,
        }));
    } else {
        out!("{name}");
    }
    Ok(())
}

/// Returns the text of an entry with another number. A unified kernel image of another program gets an entry that leads
/// to it.
fn moved(entry: &BootEntry, generation: u64) -> BootEntryText {
    let mut text = entry.text.clone().unwrap_or_else(|| {
        let mut text = BootEntryText::default();
        text.push("title", entry.title.as_deref().unwrap_or(entry.file_name()));
        text.push("efi", &format!("/{}", entry.path));
        text
    });
    text.set("sort-key", SORT_KEY);
    text.set("version", &generation.to_string());
    text.remove("machine-id");
    text
}
