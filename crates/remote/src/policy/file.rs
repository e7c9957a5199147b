//! Parses policy.json.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::unique_json::{UniqueMap, UniqueValue};
use super::{Requirement, sigstore};

/// Requirements of the signature types that this program does not check.
const UNCHECKED: &[&str] = &["signedBy", "signedBaseLayer"];

type Transports = BTreeMap<String, BTreeMap<String, Vec<Requirement>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyJson {
    default: Vec<RequirementJson>,
    #[serde(default)]
    transports: UniqueMap<UniqueMap<Vec<RequirementJson>>>,
}

/// The fields of a requirement.
type RequirementJson = UniqueMap<UniqueValue>;

/// Parses a text into the default requirements and those of the transports.
pub(super) fn parse(text: &str) -> Result<(Vec<Requirement>, Transports), String> {
    let policy: PolicyJson = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let default = requirements(policy.default, "default")?;
    let mut transports = Transports::new();
    for (transport, scopes) in policy.transports.0 {
        let mut rules = BTreeMap::new();
        for (scope, list) in scopes.0 {
            let list = requirements(list, &format!("transports.{transport}.{scope:?}"))?;
            rules.insert(scope, list);
        }
        transports.insert(transport, rules);
    }
    Ok((default, transports))
}

fn requirements(list: Vec<RequirementJson>, rule: &str) -> Result<Vec<Requirement>, String> {
    if list.is_empty() {
        return Err(format!("{rule} has no requirement: write insecureAcceptAnything or reject"));
    }
    let one = |requirement: RequirementJson| {
        let mut fields: Map<String, Value> = requirement.0.into_iter().map(|(key, value)| (key, value.0)).collect();
        let Some(Value::String(kind)) = fields.remove("type") else {
            return Err(format!("{rule} has a requirement without a text \"type\""));
        };
        let simple = match kind.as_str() {
            "insecureAcceptAnything" => Requirement::AcceptAnything,
            "reject" => Requirement::Reject,
            sigstore::SIGSTORE_SIGNED => {
                return sigstore::requirement(fields).map_err(|reason| format!("{rule}: {reason}"));
            }
            other if UNCHECKED.contains(&other) => return Ok(Requirement::Unchecked(kind)),
            other => return Err(format!("{rule} has a requirement of the unknown type {other:?}")),
        };
        match fields.keys().next() {
            Some(other) => Err(format!("{rule} has the unknown field {other:?} in {kind:?}")),
            None => Ok(simple),
        }
    };
    list.into_iter().map(one).collect()
}
