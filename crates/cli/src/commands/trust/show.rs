//! `composefs trust show`: prints the policies.

use libcomposefs_trust::TrustPolicy;
use serde_json::json;

use crate::output;
use crate::trust::{ImageTrust, LoadedPolicy};

/// Show the policies: their keys, their rules, and the serial numbers accepted so far.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowArgs {
    /// Print the policies as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs trust show
  composefs trust show --json

Exit status: 0 also if there is no policy, 1 if a policy cannot be used.";

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<()> {
    let trust = ImageTrust::load()?;
    if args.json {
        let policies: Result<Vec<_>, _> = trust.policies().iter().map(policy_json).collect();
        output::json(&json!({ "policies": policies? }));
        return Ok(());
    }
    if trust.policies().is_empty() {
        out!("no policy: nothing is demanded of images (/etc/composefs/policy.toml does not exist)");
    }
    trust.policies().iter().try_for_each(print)
}

fn print(loaded: &LoadedPolicy) -> anyhow::Result<()> {
    let policy = &loaded.policy;
    out!("{}:", loaded.path.display());
    for (name, revoked) in policy.keys() {
        let fingerprint = policy.fingerprint(name).unwrap_or_default();
        let revoked = revoked.map(|reason| format!(" revoked: {reason}")).unwrap_or_default();
        out!("    key {name} {fingerprint}{revoked}");
    }
    for (pattern, demand) in policy.rules() {
        let floor = loaded.floor_of(pattern)?;
        let floor = if floor > 0 { format!("; serial number {floor} was accepted") } else { String::new() };
        out!("    {pattern}: {demand}{floor}");
    }
    for (pattern, demand) in policy.commit_rules() {
        out!("    commits of ostree for {pattern}: {demand}");
    }
    out!("    other names: {}", other_names(policy));
    Ok(())
}

fn other_names(policy: &TrustPolicy) -> &'static str {
    if policy.accepts_names_without_rule() { "accepted" } else { "refused" }
}

fn policy_json(loaded: &LoadedPolicy) -> anyhow::Result<serde_json::Value> {
    let policy = &loaded.policy;
    let keys: Vec<_> = policy
        .keys()
        .map(|(name, revoked)| json!({ "name": name, "fingerprint": policy.fingerprint(name), "revoked": revoked }))
        .collect();
    let rule = |(pattern, demand): (&libcomposefs_trust::NamePattern, String)| -> anyhow::Result<serde_json::Value> {
        Ok(json!({ "name": pattern.as_str(), "demand": demand, "accepted_serial": loaded.floor_of(pattern)? }))
    };
    let rules: Result<Vec<_>, _> = policy.rules().map(rule).collect();
    let commits = policy.commit_rules();
    let commits = commits.map(|(pattern, demand)| json!({ "name": pattern.as_str(), "demand": demand }));
    Ok(json!({
        "commits": commits.collect::<Vec<_>>(),
        "path": loaded.path.display().to_string(),
        "keys": keys,
        "rules": rules?,
        "other_names": other_names(policy),
    }))
}
