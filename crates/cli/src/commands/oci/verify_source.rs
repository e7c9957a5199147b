//! `composefs oci verify` of an image outside a repository: what policy.json says of it.

use std::ffi::OsStr;

use libcomposefs_oci::pull::{PullOptions, read_documents};
use serde_json::json;

use super::source::{self, SourceArgs};
use crate::output;

/// Reads the manifest and the configuration of an image, and says by which rule and signatures it is accepted.
pub(super) fn run(operand: &OsStr, origin: &SourceArgs, as_json: bool) -> anyhow::Result<()> {
    let opened = source::open(operand, origin)?;
    let mut options = PullOptions::default();
    options.platform = origin.platform().cloned();
    let (manifest, _) = read_documents(&*opened.source, &options)?;
    let signers = opened.verdict.as_ref().map(|verdict| verdict.signers()).unwrap_or_default();
    let demand = opened.verdict.as_ref().map(|verdict| &verdict.demand);
    let described = opened.source.describe();
    if as_json {
        output::json(&json!({
            "name": described,
            "manifest": manifest.digest.to_string(),
            "policy": demand.map(|demand| demand.file.display().to_string()),
            "rule": demand.map(|demand| &demand.rule),
            "signed_by": signers,
        }));
        return Ok(());
    }
    out!("{described}: the manifest is {}", manifest.digest);
    match demand {
        Some(demand) => {
            let file = demand.file.display();
            let by = if signers.is_empty() { "no signature".to_owned() } else { signers.join(", ") };
            out!("accepted by {file}: {} (signed by: {by})", demand.rule);
        }
        None => out!("no policy.json decides about it: who made the image was not checked"),
    }
    Ok(())
}
