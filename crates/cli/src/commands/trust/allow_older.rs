//! `composefs trust allow-older`: accepts older images of a name again.

use anyhow::bail;

use crate::output;
use crate::trust::ImageTrust;

/// Accept older images of a name again, to go back on purpose.
///
/// A mount remembers the serial number of the statement that it accepted, for the rule of the policy; statements with
/// lower numbers are refused from then on. This command sets the number that is remembered.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AllowOlderArgs {
    /// Name of an image, to whose rule this applies
    #[arg(value_name = "NAME")]
    name: String,
    /// Lowest serial number to accept
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    serial: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs trust allow-older debian/13
  composefs trust allow-older debian/13 --serial=41

Exit status: 0 if the number is on disk, 1 if not.";

pub(super) fn run(args: &AllowOlderArgs) -> anyhow::Result<()> {
    let trust = ImageTrust::load()?;
    let mut changed = Vec::new();
    for loaded in trust.policies() {
        if let Some(rule) = loaded.signed_rule(&args.name) {
            let before = loaded.floor_of(rule)?;
            if args.serial < before {
                loaded.set_floor(rule, args.serial)?;
                changed.push((loaded.path.display().to_string(), rule.as_str().to_owned(), before));
            }
        }
    }
    if trust.policies().iter().all(|loaded| loaded.signed_rule(&args.name).is_none()) {
        bail!(
            "no policy has a rule for {} that asks for signatures: `composefs trust show` lists the rules",
            args.name
        );
    }
    if args.json {
        let rules = changed.iter().map(
            |(policy, rule, before)| serde_json::json!({ "policy": policy, "rule": rule, "before": before, "now": args.serial }),
        );
        output::json(&serde_json::Value::Array(rules.collect()));
        return Ok(());
    }
    if changed.is_empty() {
        out!("nothing to do: serial number {} of {} is accepted already", args.serial, args.name);
    }
    for (_, rule, before) in changed {
        out!("{rule}: serial number {before} or higher was accepted, now {} or higher", args.serial);
    }
    Ok(())
}
