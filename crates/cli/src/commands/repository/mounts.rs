//! `composefs mounts`: lists the composefs mounts.

use anyhow::Context as _;
use libcomposefs_mount::MountEntry;
use serde_json::{Value, json};

use super::RepositoryArgs;
use crate::output;
use crate::trust::mount_record;

/// List the composefs mounts that are visible in this mount namespace.
///
/// If a policy has accepted the image at the mount, a line says by whose signatures and under which rule.
///
/// With --repo, --user or --system, lists only mounts of images of that repository. Mounts in other mount namespaces
/// are not listed, but gc detects them too.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MountsArgs {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs mounts
  composefs --repo=/srv/images mounts --json";

pub(crate) fn run(args: &MountsArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let mut mounts =
        libcomposefs_mount::mounts().context("cannot list the mounts from /proc/self/mountinfo: is /proc mounted?")?;
    let mut refs = Vec::new();
    if selected.is_given() {
        let repository = selected.open()?;
        refs = repository.refs()?.good;
        let (images, _) = repository.image_links()?;
        mounts.retain(|mount| mount.digest.is_some_and(|digest| images.contains(&digest)));
    }
    let names_of = |mount: &MountEntry| -> Vec<&str> {
        let own = refs.iter().filter(|(_, digest)| Some(*digest) == mount.digest);
        own.map(|(name, _)| name.as_str()).collect()
    };
    if args.json {
        let list = mounts.iter().map(|mount| {
            json!({
                "target": mount.target.to_string_lossy(),
                "digest": mount.digest.map(|digest| digest.to_hex()),
                "refs": names_of(mount),
                "options": mount.options,
                "trust": mount_record::read(mount).map(|record| trust_json(&record)),
            })
        });
        output::json(&serde_json::Value::Array(list.collect()));
        return Ok(());
    }
    for mount in &mounts {
        let digest = mount.digest.map_or_else(|| "-".to_owned(), |digest| digest.to_hex());
        out!("{} {digest} {}", mount.target.display(), names_of(mount).join(" "));
        if let Some(record) = mount_record::read(mount) {
            print_trust(&record);
        }
    }
    Ok(())
}

fn trust_json(record: &Value) -> Value {
    json!({ "name": record["name"], "policies": record["policies"] })
}

/// Prints by whose signatures and under which rule an image was accepted, a line for each policy.
fn print_trust(record: &Value) {
    let name = record["name"].as_str().unwrap_or_default();
    for policy in record["policies"].as_array().into_iter().flatten() {
        let keys: Vec<_> = policy["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let path = policy["policy"].as_str().unwrap_or_default();
        match (policy["rule"].as_str(), keys.is_empty()) {
            (Some(rule), false) => out!("    {name}: trusted: {} (rule {rule}), by {path}", keys.join(", ")),
            (Some(rule), true) => out!("    {name}: accepted: the rule {rule} asks for nothing, by {path}"),
            (None, _) => out!("    {name}: accepted without a rule, by {path}"),
        }
    }
}
