//! What the policies say, as JSON.

use libcomposefs_trust::Acceptance;
use serde_json::{Value, json};

use super::{LoadedPolicy, TrustVerdict};

/// Returns what each policy says.
pub(crate) fn verdicts_json(verdicts: &[(&LoadedPolicy, TrustVerdict)]) -> Vec<Value> {
    let each = verdicts.iter().map(|(loaded, verdict)| {
        let mut json = verdict_json(verdict);
        json["policy"] = loaded.path.display().to_string().into();
        json
    });
    each.collect()
}

fn verdict_json(verdict: &TrustVerdict) -> Value {
    match verdict {
        Ok(Acceptance::Signed { rule, keys, serial, expired, .. }) => json!({
            "accepted": true,
            "rule": rule.as_str(),
            "keys": keys,
            "serial": serial,
            "expired": expired.is_some(),
        }),
        Ok(Acceptance::Unconditional { rule, .. }) => json!({ "accepted": true, "rule": rule.as_str() }),
        Ok(_) => json!({ "accepted": true }),
        Err(refusal) => json!({ "accepted": false, "reason": refusal.to_string(), "remedy": refusal.remedy() }),
    }
}
