//! Prints the results of an extraction, as text and as JSON.

use std::os::unix::ffi::OsStrExt;

use libcomposefs_image::dump::{Also, escape};
use libcomposefs_store::Basedirs;
use libcomposefs_store::extract::{ExtractReport, LeftOut};
use serde_json::{Map, Value, json};

use super::ExtractArgs;
use crate::json::put_bytes;
use crate::output;

/// Number of failures that are printed.
const SHOWN: usize = 100;

fn shown(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    escape(bytes, Also::NotSpaces, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Prints what was not extracted or not restored; nothing if everything was.
pub(super) fn print_text(outcome: &ExtractReport, basedirs: &Basedirs) {
    for failure in outcome.failures.iter().take(SHOWN) {
        tell!("composefs: {}: {}", shown(&failure.path), failure.error);
    }
    let warn = |what: &str, left_out: &LeftOut| {
        let LeftOut { count, example, reason, .. } = left_out;
        let of = if *count == 1 { "inode" } else { "inodes" };
        tell!("composefs: warning: {what} of {count} {of}, such as {}: {reason}", shown(example));
    };
    if outcome.owners.count > 0 {
        warn("could not set the owner", &outcome.owners);
    }
    if outcome.devices.count > 0 {
        warn("left out the device", &outcome.devices);
    }
    for (name, left_out) in &outcome.xattrs {
        warn(&format!("could not set the xattr {}", shown(name)), left_out);
    }
    if !outcome.is_whole() {
        let hint = if basedirs.is_empty() { "; use --basedir to name the object directory" } else { "" };
        tell!("composefs: {} paths were not extracted{hint}", outcome.failures.len());
    }
}

/// Prints the results as JSON.
pub(super) fn print_json(args: &ExtractArgs, outcome: &ExtractReport) {
    let mut object = Map::new();
    put_bytes(&mut object, "image", args.image.as_os_str().as_bytes());
    put_bytes(&mut object, "target", args.target.as_os_str().as_bytes());
    for (key, count) in [
        ("directories", outcome.directories),
        ("files", outcome.files),
        ("others", outcome.others),
        ("links", outcome.links),
        ("bytes", outcome.bytes),
        ("cloned_bytes", outcome.cloned_bytes),
        ("unverified", outcome.unverified),
    ] {
        object.insert(key.to_owned(), count.into());
    }
    object.insert("owners_not_set".to_owned(), left_out(&outcome.owners));
    object.insert("devices_left_out".to_owned(), left_out(&outcome.devices));
    let xattrs = outcome.xattrs.iter().map(|(name, left)| {
        let mut object = Map::new();
        put_bytes(&mut object, "name", name);
        object.extend(left_out(left).as_object().cloned().unwrap_or_default());
        Value::Object(object)
    });
    object.insert("xattrs_not_set".to_owned(), xattrs.collect());
    let failures = outcome.failures.iter().map(|failure| {
        let mut object = Map::new();
        put_bytes(&mut object, "path", &failure.path);
        object.insert("error".to_owned(), failure.error.to_string().into());
        Value::Object(object)
    });
    object.insert("failures".to_owned(), failures.collect());
    output::json(&object);
}

fn left_out(left_out: &LeftOut) -> Value {
    if left_out.count == 0 {
        return json!({ "count": 0 });
    }
    let mut object = Map::new();
    object.insert("count".to_owned(), left_out.count.into());
    put_bytes(&mut object, "example", &left_out.example);
    object.insert("reason".to_owned(), left_out.reason.clone().into());
    Value::Object(object)
}
