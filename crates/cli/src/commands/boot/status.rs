//! `composefs boot status`: what is booted, what verifies it, and what comes next.

use libcomposefs_disk::entries::rollback_target;
use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;
use libcomposefs_trust::{Moment, NamePattern};
use serde_json::{Value, json};

use super::booted::{BootedImage, FirmwareFacts};
use super::found::BootEntries;
use super::place::PlaceArgs;
use super::report::{self, EntryFacts};
use crate::commands::repository::RepositoryArgs;
use crate::output;
use crate::trust::{FloorsFile, ImageTrust, NamedImage, report as trust_report};

/// Show which image is booted, what verifies it, what is started next, and where a rollback leads.
///
/// The booted image is known by the mount of / and by the record of composefs-setup-root. Its command line is verified
/// if Secure Boot is on and the kernel is a unified kernel image. The policies of this machine say who vouches for it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BootStatusArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs boot status
  composefs boot status --json | jq -r .next.entry";

/// What the repository and the policies say of the booted image.
#[derive(Default)]
struct StoredFacts {
    names: Vec<String>,
    /// Whether the image file has fs-verity; `None` if the repository does not have it.
    is_sealed: Option<bool>,
    /// Lowest serial number that is booted by the rule by which the image was booted, if it was booted by a name.
    floor: Option<u64>,
    /// For each name, what the policies say, as text and as JSON.
    verdicts: Vec<(String, Vec<String>, Vec<Value>)>,
}

pub(super) fn run(args: &BootStatusArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let esp = args.place.esp()?;
    let repository = args.place.repository_if_any(selected);
    let booted = BootedImage::find();
    let firmware = FirmwareFacts::read();
    let entries = BootEntries::read(&esp)?;
    report::tell_unread(&entries);
    let digest = booted.as_ref().map(|booted| booted.digest);
    let facts = EntryFacts::of(&entries, repository.as_ref(), digest.as_ref());
    let target = rollback_target(&entries.uses(repository.as_ref(), digest.as_ref()));
    let mut stored = match (&booted, &repository) {
        (Some(booted), Some(repository)) => stored_facts(repository, &booted.digest)?,
        _ => StoredFacts::default(),
    };
    if let Some(signed) = booted.as_ref().and_then(|booted| booted.signed.as_ref()) {
        let (_, disk) = args.place.selected(selected)?;
        stored.floor = Some(FloorsFile::of_disk(&disk).read()?.of(&NamePattern::new(&signed.rule)?));
    }
    if args.json {
        let entry = |at: usize| report::entry_json(&entries.all[at], &facts[at]);
        output::json(&json!({
            "booted": booted.as_ref().map(|booted| booted_json(booted, &stored)),
            "secure_boot": firmware.secure_boot,
            "unified_kernel": firmware.is_unified,
            "command_line_verified": is_line_verified(&firmware),
            "next": entries.next().map(|(at, _)| entry(at)),
            "rollback": target.map(entry),
            "default_in_loader_conf": entries.default,
            "default_in_firmware": firmware.default,
            "once_in_firmware": firmware.once,
        }));
        return Ok(());
    }
    print_booted(booted.as_ref(), &firmware, &stored);
    let shown = |at: usize| {
        let digest = facts[at].digest.map_or_else(|| "no image".to_owned(), |digest| digest.to_hex());
        format!("{} ({digest})", entries.all[at].file_name())
    };
    out!("next: {}", entries.next().map_or_else(|| "no entry".to_owned(), |(at, _)| shown(at)));
    for (name, value) in [
        ("loader.conf has the default", &entries.default),
        ("the variable LoaderEntryDefault is", &firmware.default),
        ("the variable LoaderEntryOneShot is", &firmware.once),
    ] {
        if let Some(value) = value {
            out!("    {name} {value}");
        }
    }
    out!("rollback: {}", target.map_or_else(|| "no entry".to_owned(), shown));
    Ok(())
}

/// With Secure Boot, systemd-stub takes the command line of the signed file alone.
fn is_line_verified(firmware: &FirmwareFacts) -> bool {
    firmware.secure_boot == Some(true) && firmware.is_unified
}

fn stored_facts(repository: &Repository, digest: &Digest) -> anyhow::Result<StoredFacts> {
    let refs = repository.refs()?.good;
    let of_image = refs.into_iter().filter(|(_, found)| found == digest).map(|(name, _)| name.as_str().to_owned());
    let names: Vec<String> = of_image.collect();
    let sealed = |object: libcomposefs_store::Object| object.kernel_vouches(digest);
    let is_sealed = repository.object(digest).ok().map(sealed).transpose()?;
    let trust = ImageTrust::load()?;
    let mut verdicts = Vec::new();
    if !trust.policies().is_empty() {
        let signatures = repository.signatures(digest)?;
        let hex = digest.to_hex();
        let own = |name: &&String| !name.starts_with("boot/");
        let asked: Vec<&str> = names.iter().filter(own).map(String::as_str).collect();
        for name in if asked.is_empty() { vec![hex.as_str()] } else { asked } {
            let found = trust.verdicts(NamedImage { name, digest: *digest }, Moment::Mount, &signatures)?;
            let text = found.iter().map(|(loaded, verdict)| match verdict {
                Ok(acceptance) => format!("{acceptance}, by {}", loaded.path.display()),
                Err(refusal) => format!("refused: {refusal}, by {}", loaded.path.display()),
            });
            verdicts.push((name.to_owned(), text.collect(), trust_report::verdicts_json(&found)));
        }
    }
    Ok(StoredFacts { names, is_sealed, verdicts, floor: None })
}

fn booted_json(booted: &BootedImage, stored: &StoredFacts) -> Value {
    let trust = stored.verdicts.iter().map(|(name, _, policies)| json!({ "name": name, "policies": policies }));
    json!({
        "digest": booted.digest.to_hex(),
        "names": stored.names,
        "verity": booted.verity,
        "word": booted.word,
        "signed": booted.signed.as_ref().map(|signed| json!({
            "name": signed.name,
            "rule": signed.rule,
            "serial": signed.serial,
            "keys": signed.keys,
            "floor": stored.floor,
        })),
        "mounted": booted.is_mounted,
        "sealed": stored.is_sealed,
        "trust": trust.collect::<Vec<_>>(),
    })
}

fn print_booted(booted: Option<&BootedImage>, firmware: &FirmwareFacts, stored: &StoredFacts) {
    let Some(booted) = booted else {
        out!("booted: no composefs image");
        return;
    };
    out!("booted: {}", booted.digest);
    if !stored.names.is_empty() {
        out!("    names: {}", stored.names.join(", "));
    }
    if let Some(signed) = &booted.signed {
        let keys = signed.keys.join(", ");
        out!("    by name: {}, serial number {}, signed by {keys} (rule {})", signed.name, signed.serial, signed.rule);
        match stored.floor {
            Some(floor) if floor < signed.serial => {
                out!("    floor: {floor}; it rises when the boot is good (composefs boot bless)");
            }
            Some(floor) => out!("    floor: {floor}"),
            None => {}
        }
    }
    if !booted.is_mounted {
        out!("    by the record of the boot: / is no mount of this image");
    }
    out!(
        "    image and files: {}",
        match booted.verity.as_deref() {
            Some("require") => "verified by the kernel at each read (fs-verity)",
            Some("off") => "not verified: the boot did not require fs-verity",
            _ => "fs-verity unknown: the boot has left no record",
        }
    );
    match stored.is_sealed {
        Some(true) => {}
        Some(false) => out!("    the image file has no fs-verity"),
        None => out!("    the image is not in the repository"),
    }
    out!(
        "    command line: {}",
        match (firmware.secure_boot, firmware.is_unified) {
            (Some(true), true) => "verified by the firmware (Secure Boot, unified kernel image)",
            (Some(true), false) => "not verified: Secure Boot is on, and the kernel is no unified kernel image",
            (Some(false), _) => "not verified: Secure Boot is off",
            (None, _) => "not verified: there is no Secure Boot, or its state is unknown",
        }
    );
    for (name, lines, _) in &stored.verdicts {
        for line in lines {
            out!("    {name}: {line}");
        }
    }
}
