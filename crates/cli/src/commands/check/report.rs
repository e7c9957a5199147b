//! Prints the results of a check, as text and as JSON.

use std::os::unix::ffi::OsStrExt;

use libcomposefs_image::dump::{Also, escape};
use libcomposefs_image::erofs::check::{Canonical, Finding, LIMIT, Severity};
use libcomposefs_store::ObjectError;
use serde_json::{Map, Value, json};

use super::image::Checked;
use super::objects::Objects;
use crate::json::put_bytes;
use crate::output;

fn shown(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    escape(bytes, Also::NotSpaces, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Prints all findings on an image, one per line, and finally whether it is sound.
pub(super) fn print_image(image: &Checked) {
    let name = image.path.display();
    for (severity, finding) in image.report.findings() {
        out!("{name}: {severity}: {finding}");
    }
    for severity in Severity::ALL {
        let more = image.report.count(severity).saturating_sub(LIMIT as u64);
        if more > 0 {
            out!("{name}: {more} more {severity} findings");
        }
    }
    if let Some(expected) = image.other_expected {
        out!("{name}: error: the digest is {}, expected {expected}", image.digest);
    }
    if image.kernel_disagrees() {
        out!(
            "{name}: error: the digest of fs-verity in the kernel differs from that of the content: {}",
            kernel(image)
        );
    }
    for lack in image.boot_lacks.iter().flatten() {
        out!("{name}: error: cannot be booted: {lack}");
    }
    let verdict = if image.is_sound(Severity::Error) { "sound" } else { "broken" };
    let counts = Severity::ALL.map(|severity| count(image.report.count(severity), severity.name()));
    let version = image.format_version.map_or_else(String::new, |version| format!(", version {version}"));
    out!(
        "{name}: {verdict}: {}, {} inodes, {} names{version}, {}, {} digest {}, fs-verity {}",
        counts.join(", "),
        image.report.inodes,
        image.report.names,
        canonical(&image.report.canonical),
        image.digest.algorithm(),
        image.digest,
        kernel(image),
    );
}

fn count(count: u64, name: &str) -> String {
    if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") }
}

fn kernel(image: &Checked) -> String {
    match image.kernel {
        None => "off".to_owned(),
        Some(None) => "on with an unknown digest".to_owned(),
        Some(Some(found)) if found == image.digest => "on with that digest".to_owned(),
        Some(Some(found)) => format!("on with {} digest {found}", found.algorithm()),
    }
}

fn canonical(canonical: &Canonical) -> String {
    match canonical {
        Canonical::Yes => "canonical".to_owned(),
        Canonical::No { offset, region } => {
            format!("not canonical (the first difference is at offset {offset}, in {region})")
        }
        Canonical::Refused(error) => format!("not canonical (cannot be written again: {error})"),
        Canonical::Unknown => "canonical: unknown".to_owned(),
    }
}

/// Prints the problems of objects, and how many objects are correct.
pub(super) fn print_objects(objects: &Objects) {
    for (error, needers) in objects.wrong() {
        let more = if needers.count > 1 { format!(" and {} more", needers.count - 1) } else { String::new() };
        out!("{}: {error}; needed by {}{more}", kind(error), shown(&needers.first));
    }
    let verified = &objects.verified;
    out!(
        "objects: {} of {} correct: {} read ({} bytes), {} verified by the kernel, {} without a digest",
        objects.count - verified.wrong.len(),
        objects.count,
        verified.read,
        verified.bytes,
        verified.vouched,
        verified.without_digest,
    );
}

/// Returns a short name for the problem of an object.
fn kind(error: &ObjectError) -> &'static str {
    match error {
        ObjectError::Missing { .. } => "missing",
        ObjectError::Size { .. } => "wrong size",
        ObjectError::Digest { .. } => "damaged",
        ObjectError::NotRegular { .. } | ObjectError::LeadsAway { .. } => "not an object",
        _ => "unreadable",
    }
}

/// Prints the results as JSON.
pub(super) fn print_json(images: &[Checked], objects: Option<&Objects>, is_sound: bool, worst: Severity) {
    let images: Vec<Value> = images.iter().map(|image| image_json(image, worst)).collect();
    output::json(&json!({ "sound": is_sound, "images": images, "objects": objects.map(objects_json) }));
}

fn image_json(image: &Checked, worst: Severity) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "path", image.path.as_os_str().as_bytes());
    let report = &image.report;
    let first_difference = match &report.canonical {
        Canonical::No { offset, region } => json!({ "offset": offset, "region": region.to_string() }),
        _ => Value::Null,
    };
    let canonical = match report.canonical {
        Canonical::Yes => Some(true),
        Canonical::No { .. } | Canonical::Refused(_) => Some(false),
        Canonical::Unknown => None,
    };
    let rest = json!({
        "sound": image.is_sound(worst),
        "format_version": image.format_version,
        "inodes": report.inodes,
        "names": report.names,
        "canonical": canonical,
        "first_difference": first_difference,
        "algorithm": image.digest.algorithm().name(),
        "digest": image.digest.to_hex(),
        "expected_digest": image.other_expected.map(|digest| digest.to_hex()),
        "kernel_digest": image.kernel.flatten().map(|digest| digest.to_hex()),
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "notes": report.count(Severity::Note),
        "boot_lacks": image.boot_lacks.as_ref().map(|lacks| lacks.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "findings": report.findings().map(|(severity, finding)| finding_json(severity, finding)).collect::<Vec<_>>(),
    });
    object.extend(rest.as_object().cloned().unwrap_or_default());
    Value::Object(object)
}

fn finding_json(severity: Severity, finding: &Finding) -> Value {
    let mut object = Map::new();
    object.insert("severity".to_owned(), severity.name().into());
    if let Some(path) = &finding.path {
        put_bytes(&mut object, "path", path);
    }
    if let Some(nid) = finding.nid {
        object.insert("inode".to_owned(), nid.into());
    }
    object.insert("offset".to_owned(), finding.offset.into());
    object.insert("message".to_owned(), finding.problem.to_string().into());
    Value::Object(object)
}

fn objects_json(objects: &Objects) -> Value {
    let wrong = objects.wrong().map(|(error, needers)| {
        let mut object = Map::new();
        object.insert("kind".to_owned(), kind(error).into());
        object.insert("message".to_owned(), error.to_string().into());
        put_bytes(&mut object, "path", &needers.first);
        object.insert("paths".to_owned(), needers.count.into());
        Value::Object(object)
    });
    let verified = &objects.verified;
    json!({
        "count": objects.count,
        "read": verified.read,
        "bytes": verified.bytes,
        "vouched": verified.vouched,
        "without_digest": verified.without_digest,
        "wrong": wrong.collect::<Vec<_>>(),
    })
}
