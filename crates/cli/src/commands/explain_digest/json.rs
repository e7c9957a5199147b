//! Prints the findings as JSON.

use std::io::Write;

use libcomposefs_image::diff::{Field, Side};
use libcomposefs_image::policy::Policy;
use serde_json::{Map, Value, json};

use super::{Findings, Near, Tried};
use crate::json::{put_bytes, write_pretty};

/// Prints the findings as one object.
pub(super) fn write(findings: &Findings<'_>, out: &mut impl Write) -> anyhow::Result<()> {
    let mut object = Map::new();
    put_bytes(&mut object, "source", std::os::unix::ffi::OsStrExt::as_bytes(findings.args.source.as_os_str()));
    object.insert("policies".to_owned(), findings.policies.into());
    object.insert("tried".to_owned(), findings.tried.len().into());
    object.insert("indifferent".to_owned(), indifferent(findings));
    if findings.args.list || findings.args.policy.is_some() {
        object.insert("digests".to_owned(), findings.tried.iter().map(tried).collect());
    } else {
        object.insert("want".to_owned(), findings.want.map(|want| want.to_hex()).into());
        object.insert("found".to_owned(), findings.found().map(|found| policy(findings, found)).collect());
        object.insert("nearest".to_owned(), findings.nearest.as_ref().map(|near| nearest(findings, near)).into());
    }
    Ok(write_pretty(out, &object)?)
}

fn indifferent(findings: &Findings<'_>) -> Value {
    findings.space.indifferent().into_iter().map(|choice| Value::from(choice.name())).collect()
}

fn tried(tried: &Tried) -> Value {
    let policy = tried.policy.to_string();
    match &tried.digest {
        Ok(digest) => json!({ "policy": policy, "digest": digest.to_hex() }),
        Err(error) => json!({ "policy": policy, "error": error }),
    }
}

fn policy(findings: &Findings<'_>, policy: &Policy) -> Value {
    let commands = findings.reproduce().commands(policy);
    let commands: Vec<_> = commands.iter().map(|c| json!({ "tool": c.tool, "line": c.line })).collect();
    json!({ "policy": policy.to_string(), "commands": commands })
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
