//! `composefs boot bless`: raises the floor of a name after a good boot.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use libcomposefs_trust::NamePattern;
use serde_json::json;

use super::booted::BootedImage;
use crate::output;
use crate::trust::FloorsFile;

/// Accept a boot by name as good: images with lower serial numbers are not booted by that name from then on.
///
/// A boot with composefs.name= on the kernel command line takes the newest signed image whose serial number is not
/// below the floor of its rule. The floor is in state/serials.json of the disk. Without --rule it rises to the number
/// of the booted image; the unit composefs-bless.service does this after boot-complete.target.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BlessArgs {
    /// Set the floor of this rule of the policy, also to a lower number, to go back on purpose
    #[arg(long, value_name = "PATTERN", requires = "serial")]
    rule: Option<String>,
    /// The lowest serial number that is booted by the rule
    #[arg(long, value_name = "NUMBER", requires = "rule")]
    serial: Option<u64>,
    /// Directory at which the disk with the directory `state` is mounted
    #[arg(long, value_name = "DIR", default_value = "/sysroot")]
    sysroot: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs boot bless
  composefs boot bless --rule='os/*' --serial=41

Exit status: 0 if the number is on disk, 1 if not, or without --rule if the system was not booted by a name.";

pub(super) fn run(args: &BlessArgs) -> anyhow::Result<()> {
    if !args.sysroot.join("state").is_dir() {
        bail!("{} is no disk of a boot: it has no directory state", args.sysroot.display());
    }
    let file = FloorsFile::of_disk(&args.sysroot);
    let (rule, serial) = match (&args.rule, args.serial) {
        (Some(rule), Some(serial)) => {
            let rule = NamePattern::new(rule)?;
            let before = file.read()?.of(&rule);
            file.set(&rule, serial)?;
            return tell(args, &rule, before, serial);
        }
        _ => booted_number()?,
    };
    let before = file.read()?.of(&rule);
    file.raise(&rule, serial)?;
    tell(args, &rule, before, serial.max(before))
}

/// Returns the rule and the serial number by which the running system was booted.
fn booted_number() -> anyhow::Result<(NamePattern, u64)> {
    let booted = BootedImage::find().context(
        "this system was not booted from an image: /run/composefs/boot.json is missing, and / is no composefs mount",
    )?;
    if !booted.is_mounted {
        bail!("/run/composefs/boot.json is not about the root of this system: / is no mount of {}", booted.digest);
    }
    let signed = booted.signed.with_context(|| {
        format!("{} was booted by its digest, not by a name: only names have serial numbers", booted.digest)
    })?;
    Ok((NamePattern::new(&signed.rule)?, signed.serial))
}

fn tell(args: &BlessArgs, rule: &NamePattern, before: u64, now: u64) -> anyhow::Result<()> {
    if args.json {
        output::json(&json!({ "rule": rule.as_str(), "before": before, "now": now }));
        return Ok(());
    }
    match before == now {
        true => out!("{rule}: serial number {now} or higher is booted, as before"),
        false => out!("{rule}: serial number {now} or higher is booted, {before} or higher before"),
    }
    Ok(())
}
