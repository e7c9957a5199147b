//! `composefs trust check`: says what a mount would say.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_trust::Moment;
use serde_json::json;

use crate::commands::repository::{NameOperand, RepositoryArgs};
use crate::exit::exit_partial;
use crate::trust::{ImageTrust, NamedImage, report};
use crate::{complete, output};

/// Say whether the policies accept an image of a repository.
///
/// Prints a line for each policy: by whose signatures and under which rule it accepts the image, or why it refuses it.
/// Nothing is changed; a mount also remembers the serial number that was accepted.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckTrustArgs {
    /// Image, by name or digest
    #[arg(value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    image: NameOperand,
    /// Judge the image as one that arrives or gets a name: expired statements are refused
    #[arg(long)]
    first_use: bool,
    /// Judge the bootable image of an OCI image (`oci pull --bootable`), not its image for containers
    #[arg(long)]
    bootable: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images trust check debian/13
  composefs --repo=/srv/images trust check debian/13 --first-use --json
  composefs --repo=/srv/images trust check registry.example/os:2 --bootable

Exit status: 0 if all policies accept the image or no policy exists, 1 if a policy refuses the image or on failure.";

pub(super) fn run(args: &CheckTrustArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_partial(check(args, selected))
}

fn check(args: &CheckTrustArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let repository = selected.open()?;
    let name = args.image.to_string();
    let image = args.image.resolve_as(&repository, selected.names(), args.bootable)?.image;
    let (digest, _) = repository.reader()?.open_named(&image)?;
    let moment = if args.first_use { Moment::FirstUse } else { Moment::Mount };
    let trust = ImageTrust::load()?;
    let signatures = repository.signatures(&digest)?;
    let verdicts = trust.verdicts(NamedImage { name: &name, digest }, moment, &signatures)?;
    let is_accepted = verdicts.iter().all(|(_, verdict)| verdict.is_ok());
    if args.json {
        let policies = report::verdicts_json(&verdicts);
        let (digest, count) = (digest.to_hex(), signatures.len());
        output::json(&json!({
            "name": name,
            "digest": digest,
            "signatures": count,
            "accepted": is_accepted,
            "policies": policies,
        }));
        return Ok(is_accepted);
    }
    if verdicts.is_empty() {
        out!("accepted: this machine has no policy, and nothing is demanded");
    }
    for (loaded, verdict) in &verdicts {
        let policy = loaded.path.display();
        match verdict {
            Ok(acceptance) => out!("{policy}: {acceptance}"),
            Err(refusal) => {
                out!("{policy}: refused: {refusal}");
                out!("    {}", refusal.remedy());
            }
        }
    }
    Ok(is_accepted)
}
