//! Prints the findings as JSON.

use std::io::Write;

use libcomposefs_image::diff::{Field, Side};
use libcomposefs_image::policy::Policy;
use libcomposefs_oci::layer::WhiteoutRule;
use serde_json::{Map, Value, json};

use super::{Findings, Near, Tried};
use crate::json::{put_bytes, write_pretty};

/// Prints the findings as one object. Digests and policies of a second reading follow those of the first.
pub(super) fn write(all: &[Findings<'_>], out: &mut impl Write) -> anyhow::Result<()> {
    let mut objects = all.iter().map(object);
    let mut first = objects.next().unwrap_or_default();
    for mut other in objects {
        for key in ["digests", "found"] {
            if let (Some(Value::Array(list)), Some(Value::Array(more))) = (first.get_mut(key), other.get_mut(key)) {
                list.append(more);
            }
        }
    }
    Ok(write_pretty(out, &first)?)
}

fn object(findings: &Findings<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    put_bytes(&mut object, "source", std::os::unix::ffi::OsStrExt::as_bytes(findings.args.source.as_os_str()));
    object.insert("policies".to_owned(), findings.policies.len().into());
    object.insert("tried".to_owned(), findings.tried.len().into());
    object.insert("indifferent".to_owned(), indifferent(findings));
    if findings.args.list || findings.args.policy.is_some() {
        object.insert("digests".to_owned(), findings.tried.iter().map(|tried| self::tried(findings, tried)).collect());
    } else {
        object.insert("want".to_owned(), findings.want.map(|want| want.to_hex()).into());
        object.insert("found".to_owned(), findings.found().map(|found| policy(findings, found)).collect());
        object.insert("nearest".to_owned(), findings.nearest.as_ref().map(|near| nearest(findings, near)).into());
    }
    object
}

fn indifferent(findings: &Findings<'_>) -> Value {
    findings.space.indifferent().into_iter().map(|choice| Value::from(choice.name())).collect()
}

fn tried(findings: &Findings<'_>, tried: &Tried) -> Value {
    let policy = tried.policy.to_string();
    let value = match &tried.digest {
        Ok(digest) => json!({ "policy": policy, "digest": digest.to_hex() }),
        Err(error) => json!({ "policy": policy, "error": error }),
    };
    with_whiteouts(findings, value)
}

/// Adds the effect of whiteouts, if it makes a difference: `--whiteouts` of `oci digest`.
fn with_whiteouts(findings: &Findings<'_>, mut value: Value) -> Value {
    if let (Some(rule), Value::Object(object)) = (findings.source.whiteouts, &mut value) {
        let rule = if rule == WhiteoutRule::LowerLayers { "spec" } else { "in-order" };
        object.insert("whiteouts".to_owned(), rule.into());
    }
    value
}

fn policy(findings: &Findings<'_>, policy: &Policy) -> Value {
    let commands = findings.reproduce().commands(policy);
    let commands: Vec<_> = commands.iter().map(|c| json!({ "tool": c.tool, "line": c.line })).collect();
    with_whiteouts(findings, json!({ "policy": policy.to_string(), "commands": commands }))
}

fn nearest(findings: &Findings<'_>, near: &Near<'_>) -> Value {
    let diff = near.diff();
    let counts = diff.counts();
    let fields = Field::ALL.into_iter().filter(|&field| counts.field(field) > 0);
    let fields: Map<_, _> = fields.map(|field| (field.name().to_owned(), counts.field(field).into())).collect();
    let changes = diff.changes().iter().map(|change| {
        let mut object = Map::new();
        put_bytes(&mut object, "path", &diff.path(change));
        match change.only() {
            Some(side) => {
                let side = if side == Side::A { "source" } else { "wanted" };
                object.insert("only".to_owned(), side.into());
            }
            None => {
                let names = change.fields().iter().map(|field| Value::from(field.name())).collect();
                object.insert("fields".to_owned(), names);
            }
        }
        Value::Object(object)
    });
    let mut object = Map::new();
    if let Value::Object(policy) = policy(findings, &near.policy) {
        object.extend(policy);
    }
    object.insert("differing".to_owned(), counts.differing().into());
    object.insert("common".to_owned(), counts.common.into());
    object.insert("only_source".to_owned(), counts.only_a.into());
    object.insert("only_wanted".to_owned(), counts.only_b.into());
    object.insert("fields".to_owned(), fields.into());
    object.insert("changes".to_owned(), changes.collect());
    Value::Object(object)
}
