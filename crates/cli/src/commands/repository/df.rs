//! `composefs df`

use libcomposefs_repo::{RefUsage, Usage};
use serde_json::json;

use super::RepositoryArgs;
use crate::inspect::size::Sizes;
use crate::output;

/// Tell what names take on the disk, what they share, and what removing each would free.
///
/// EXCLUSIVE is what no other name needs. FREED is what is there to be used when the name is gone and gc was there: less than
/// that where objects have other hard links, or share extents with files elsewhere. The sum of all is less than what is
/// freed by removing several names that share.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DfArgs {
    /// Print sizes in k, M and G
    #[arg(short = 'H', long)]
    human: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images df --human
  composefs --repo=/srv/images df --json | jq '.refs | max_by(.freed) | .name'";

pub(crate) fn run(args: &DfArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let usage = selected.open()?.usage()?;
    if args.json {
        output::json(&usage_json(&usage));
        return Ok(());
    }
    let size = |bytes: u64| Sizes::human(args.human).show(bytes);
    out!("{:>12} {:>12} {:>12} {:>12}  NAME", "USED", "EXCLUSIVE", "SHARED", "FREED");
    for one in &usage.refs {
        let RefUsage { used, exclusive, freed, .. } = *one;
        let note = match (one.missing, one.in_use) {
            (0, false) => String::new(),
            (0, true) => "  (mounted or open: freed when it is not)".into(),
            (missing, _) => format!("  ({missing} objects are missing: see composefs fsck)"),
        };
        out!(
            "{:>12} {:>12} {:>12} {:>12}  {}{note}",
            size(used),
            size(exclusive),
            size(used - exclusive),
            size(freed),
            one.name
        );
    }
    out!(
        "{:>12} in {} objects; {} in {} that no name needs",
        size(usage.used),
        usage.objects,
        size(usage.unneeded_used),
        usage.unneeded
    );
    Ok(())
}

fn usage_json(usage: &Usage) -> serde_json::Value {
    let refs = usage.refs.iter().map(|one| {
        json!({
            "name": one.name.as_str(),
            "digest": one.digest.to_hex(),
            "objects": one.objects,
            "apparent": one.apparent,
            "used": one.used,
            "exclusive": one.exclusive,
            "shared": one.used - one.exclusive,
            "freed": one.freed,
            "missing": one.missing,
            "in_use": one.in_use,
        })
    });
    json!({
        "refs": refs.collect::<Vec<_>>(),
        "objects": usage.objects,
        "used": usage.used,
        "unneeded": usage.unneeded,
        "unneeded_used": usage.unneeded_used,
    })
}
