//! What the policies say, as JSON.

use std::path::Path;

use libcomposefs_trust::Acceptance;
use serde_json::{Value, json};

use super::{AcceptedBy, LoadedPolicy, TrustVerdict};

/// Returns what each policy says.
pub(crate) fn verdicts_json(verdicts: &[(&LoadedPolicy, TrustVerdict)]) -> Vec<Value> {
    verdicts.iter().map(|(loaded, verdict)| of_policy(&loaded.path, verdict_json(verdict))).collect()
}

/// Returns what a policy says that accepts an image.
pub(super) fn accepted_json(accepted: &AcceptedBy) -> Value {
    of_policy(&accepted.policy, acceptance_json(&accepted.acceptance))
}

/// Adds the path of the policy that says this.
fn of_policy(path: &Path, mut json: Value) -> Value {
    json["policy"] = path.display().to_string().into();
    json
}

fn verdict_json(verdict: &TrustVerdict) -> Value {
    match verdict {
        Ok(acceptance) => acceptance_json(acceptance),
        Err(refusal) => json!({ "accepted": false, "reason": refusal.to_string(), "remedy": refusal.remedy() }),
    }
}

fn acceptance_json(acceptance: &Acceptance) -> Value {
    match acceptance {
        Acceptance::Signed { rule, keys, serial, expired, .. } => json!({
            "accepted": true,
            "rule": rule.as_str(),
            "keys": keys,
            "serial": serial,
            "expired": expired.is_some(),
        }),
        Acceptance::Unconditional { rule, .. } => json!({ "accepted": true, "rule": rule.as_str() }),
        _ => json!({ "accepted": true }),
    }
}
