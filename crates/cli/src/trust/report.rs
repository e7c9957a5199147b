//! What the policies say, as JSON.

use libcomposefs_trust::Acceptance;
use serde_json::{Value, json};

use super::{AcceptedBy, LoadedPolicy, TrustVerdict};

/// Returns what each policy says.
pub(crate) fn verdicts_json(verdicts: &[(&LoadedPolicy, TrustVerdict)]) -> Vec<Value> {
    let each = verdicts.iter().map(|(loaded, verdict)| {
        let mut json = verdict_json(verdict);
        json["policy"] = loaded.path.display().to_string().into();
        json
    });
    each.collect()
}

/// Returns what a policy says that accepts an image.
pub(super) fn accepted_json(accepted: &AcceptedBy) -> Value {
    let mut json = acceptance_json(&accepted.acceptance);
    json["policy"] = accepted.policy.display().to_string().into();
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
