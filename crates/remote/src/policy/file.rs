//! Parses policy.json.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

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

#[derive(Deserialize)]
struct RequirementJson {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

/// A map whose keys occur once: with two rules for a scope, it would not be clear which one restricts it.
struct UniqueMap<V>(BTreeMap<String, V>);

impl<V> Default for UniqueMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnceEach<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for OnceEach<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<UniqueMap<V>, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = entries.next_entry::<String, V>()? {
                    if map.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("the key {key:?} occurs twice")));
                    }
                    map.insert(key, value);
                }
                Ok(UniqueMap(map))
            }
        }
        deserializer.deserialize_map(OnceEach(PhantomData))
    }
}

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
        let simple = match requirement.kind.as_str() {
            "insecureAcceptAnything" => Requirement::AcceptAnything,
            "reject" => Requirement::Reject,
            sigstore::SIGSTORE_SIGNED => {
                return sigstore::requirement(requirement.others).map_err(|reason| format!("{rule}: {reason}"));
            }
            other if UNCHECKED.contains(&other) => return Ok(Requirement::Unchecked(requirement.kind)),
            other => return Err(format!("{rule} has a requirement of the unknown type {other:?}")),
        };
        match requirement.others.keys().next() {
            Some(other) => Err(format!("{rule} has the unknown field {other:?} in {:?}", requirement.kind)),
            None => Ok(simple),
        }
    };
    list.into_iter().map(one).collect()
}
