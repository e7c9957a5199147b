//! `composefs gc`: removes unneeded images, streams and objects.

use std::process::ExitCode;
use std::time::Duration;

use libcomposefs_repo::cold::ColdReport;
use libcomposefs_repo::partial::PartialReport;
use libcomposefs_repo::statfs::StatfsReport;
use libcomposefs_repo::{GcOptions, GcReport, SignatureReport};
use serde_json::json;

use super::{RepositoryArgs, counted};
use crate::exit::exit_partial;
use crate::inspect::size::human;
use crate::output;

/// Remove unneeded images, OCI images and objects from a repository.
///
/// An image is needed, with all its objects, if it has a name, is named by a needed stream, is mounted or otherwise
/// open, or is claimed by a running command. A stream is needed, with all that it refers to, if it has a name, is not
/// one of an OCI image, or is needed by such a stream: the streams of an OCI image without a tag are removed, except
/// those that a tagged image shares. A partial image is needed, with what is here of its objects, if it has a name, is
/// mounted or is claimed. Names and links in the form of other programs keep what they lead to. Other
/// commands may use the repository at the same time.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GcArgs {
    /// Only print what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Keep images and objects that were stored within this time: seconds, or a number followed by s, m, h or d
    #[arg(long, value_name = "AGE", default_value = "1h", value_parser = age)]
    grace: Duration,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images gc --dry-run
  composefs --repo=/srv/images gc --grace=0

--grace protects the images and objects of programs that store objects first, name the image later and take no lease.
The commands of composefs do not need it. The report gives the number of images and objects that only --grace keeps;
--grace=0 removes them.

If gc cannot interpret an entry among the images, refs or streams, it removes nothing.

Exit status: 0 if everything unneeded was removed; 1 if something was kept because an entry cannot be interpreted, a
ref leads to no image or an image is damaged, or on error.";

/// Parses an age: seconds, or a number followed by s, m, h or d.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err("expected a number followed by s, m, h or d".into()),
    };
    let number: u64 =
        number.parse().map_err(|_| "expected a number, optionally followed by s, m, h or d".to_owned())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(|| "the age is too large".into())
}

pub(crate) fn run(args: &GcArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_partial(collect(args, selected))
}

fn collect(args: &GcArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let repository = selected.open()?;
    let options = GcOptions { dry_run: args.dry_run, grace: args.grace };
    let cold = repository.collect_cold(options)?;
    let partial = repository.collect_partial(options)?;
    let report = repository.gc(options)?;
    // Nothing that is needed goes with them, so a damaged one is no reason to fail.
    let signatures = repository.collect_signatures(options).unwrap_or_else(|error| {
        tell!("composefs: warning: cannot remove the signatures of removed images: {error}");
        SignatureReport::default()
    });
    let statfs = repository.collect_statfs(options).unwrap_or_else(|error| {
        tell!("composefs: warning: cannot remove the directories in statfs/ of removed images: {error}");
        StatfsReport::default()
    });
    if !args.dry_run
        && let Err(error) = libcomposefs_oci::zstd_chunked::table::prune(&repository)
    {
        // A pull notices wrong places by itself.
        tell!("composefs: warning: cannot prune the table of contents for partial pulls in cache/: {error}");
    }
    if !args.dry_run
        && let Err(error) = libcomposefs_oci::pull::prune_received(&repository, args.grace)
    {
        tell!("composefs: warning: cannot remove parts of blobs that a pull has left in cache/: {error}");
    }
    if args.json {
        output::json(&report_json(&report, (&cold, &partial, &statfs), args));
    } else {
        print(&report, args);
        print_cold(&cold, args);
        print_partial(&partial, args);
        if !signatures.removed.is_empty() {
            let done = if args.dry_run { "would be removed" } else { "removed" };
            let images = counted(signatures.removed.len() as u64, "removed image");
            out!("signatures of {images} {done}");
        }
        if !statfs.removed.is_empty() {
            let done = if args.dry_run { "would be removed" } else { "removed" };
            let images = counted(statfs.removed.len() as u64, "removed image");
            out!("directories in statfs/ of {images} {done}");
        }
    }
    for (name, digest) in &report.dangling {
        tell!("composefs: {name} is a name of {digest}, but that image does not exist");
    }
    for unclear in &report.unclear {
        tell!(
            "composefs: {} {}: it may keep images or objects, so nothing is removed as long as it exists; run \
             `composefs fsck`, or move it out of the repository",
            unclear.path.display(),
            unclear.found
        );
    }
    for (_, error) in &report.unreadable {
        tell!(
            "composefs: {error}; no object was removed, because the objects it needs are unknown: run `composefs fsck`"
        );
    }
    Ok(report.dangling.is_empty() && report.unclear.is_empty() && report.unreadable.is_empty())
}

fn print_cold(cold: &ColdReport, args: &GcArgs) {
    let done = if args.dry_run { "would be removed" } else { "removed" };
    if !cold.removed.is_empty() {
        let images = counted(cold.removed.len() as u64, "cold image");
        out!("{images} without a ref {done}, {}", human(cold.removed_bytes));
    }
    if cold.kept > 0 {
        out!("{} kept", counted(cold.kept, "cold image"));
    }
    if !cold.young.is_empty() {
        let images = counted(cold.young.len() as u64, "cold image");
        out!("{images} without a ref, packed less than {} ago: kept (--grace)", age_text(args.grace));
    }
    if cold.is_busy {
        out!("cold images were left alone: another process packs or unpacks one");
    }
}

fn print_partial(partial: &PartialReport, args: &GcArgs) {
    let done = if args.dry_run { "would be removed" } else { "removed" };
    if !partial.removed.is_empty() {
        out!("{} without a ref {done}", counted(partial.removed.len() as u64, "partial image"));
    }
    if partial.kept > 0 {
        out!("{} kept", counted(partial.kept, "partial image"));
    }
    partial.in_use.iter().for_each(|digest| out!("{digest} is partial and has no name, but is mounted or open"));
    if !partial.young.is_empty() {
        let images = counted(partial.young.len() as u64, "partial image");
        out!("{images} without a ref, added less than {} ago: kept (--grace)", age_text(args.grace));
    }
}

fn print(report: &GcReport, args: &GcArgs) {
    let (images, objects) =
        (counted(report.removed_images.len() as u64, "image"), counted(report.removed_objects, "object"));
    let done = if args.dry_run { "would be removed" } else { "removed" };
    out!("{images} and {objects} {done}, {}", human(report.removed_bytes));
    if !report.removed_streams.is_empty() {
        let streams = counted(report.removed_streams.len() as u64, "stream");
        out!("{streams} of OCI images without a tag {done}");
    }
    out!("{} and {} kept", counted(report.images_kept, "image"), counted(report.objects_kept, "object"));
    if report.streams_kept > 0 {
        out!("{} kept", counted(report.streams_kept, "stream"));
    }
    kept_by_grace(report, args.grace).iter().for_each(|line| out!("{line}"));
    if report.claimed_objects > 0 {
        out!("{} of running commands: kept", counted(report.claimed_objects, "object"));
    }
    report.in_use.iter().for_each(|digest| out!("{digest} has no name, but is mounted or open"));
    for name in &report.streams_in_use {
        out!("stream {name} has no tag, but is open");
    }
    for other in &report.others {
        out!("{} {}, and keeps what it leads to", other.path.display(), other.found);
    }
}

/// Returns the lines about images and objects that a later gc removes.
fn kept_by_grace(report: &GcReport, grace: Duration) -> Vec<String> {
    let (mut lines, age) = (Vec::new(), age_text(grace));
    if !report.young_images.is_empty() {
        let images = counted(report.young_images.len() as u64, "image");
        let needed = if report.young_streams.is_empty() { "" } else { " or needed by such a stream" };
        lines.push(format!("{images} without a ref, published less than {age} ago{needed}: kept (--grace)"));
    }
    if !report.young_streams.is_empty() {
        let streams = counted(report.young_streams.len() as u64, "stream");
        lines.push(format!(
            "{streams} of OCI images without a tag, pulled less than {age} ago or needed by such a stream: kept \
             (--grace)"
        ));
    }
    if report.young_objects > 0 {
        let needed = match (report.young_images.is_empty(), report.young_streams.is_empty()) {
            (true, true) => "",
            (false, true) => " or needed by such an image",
            (_, false) => " or needed by such an image or stream",
        };
        let (objects, size) = (counted(report.young_objects, "object"), human(report.young_bytes));
        lines.push(format!("{objects}, {size}, stored less than {age} ago{needed}: kept (--grace)"));
    }
    lines
}

/// Formats an age in the largest unit that gives a whole number: `1 h`, `90 s`.
fn age_text(age: Duration) -> String {
    let seconds = age.as_secs();
    let (unit, name) = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")]
        .into_iter()
        .find(|(unit, _)| seconds.is_multiple_of(*unit))
        .unwrap_or((1, "s"));
    format!("{} {name}", seconds / unit)
}

fn report_json(
    report: &GcReport,
    (cold, partial, statfs): (&ColdReport, &PartialReport, &StatfsReport),
    args: &GcArgs,
) -> serde_json::Value {
    let hex = |digests: &[libcomposefs_image::Digest]| digests.iter().map(|d| d.to_hex()).collect::<Vec<_>>();
    json!({
        "dry_run": args.dry_run,
        "grace_seconds": args.grace.as_secs(),
        "removed": {
            "images": hex(&report.removed_images),
            "streams": report.removed_streams,
            "objects": report.removed_objects,
            "bytes": report.removed_bytes,
        },
        "kept": {
            "images": report.images_kept,
            "streams": report.streams_kept,
            "objects": report.objects_kept,
        },
        "in_use": hex(&report.in_use),
        "streams_in_use": report.streams_in_use,
        "young": {
            "images": hex(&report.young_images),
            "streams": report.young_streams,
            "objects": report.young_objects,
            "bytes": report.young_bytes,
        },
        "cold": {
            "removed": hex(&cold.removed),
            "removed_bytes": cold.removed_bytes,
            "kept": cold.kept,
            "young": hex(&cold.young),
            "busy": cold.is_busy,
        },
        "partial": {
            "removed": hex(&partial.removed),
            "kept": partial.kept,
            "in_use": hex(&partial.in_use),
            "young": hex(&partial.young),
        },
        "statfs": { "removed": hex(&statfs.removed), "kept": statfs.kept },
        "claimed_objects": report.claimed_objects,
        "cleared_leases": report.cleared_leases,
        "dangling": report.dangling.iter()
            .map(|(name, digest)| json!({ "ref": name.as_str(), "digest": digest.to_hex() })).collect::<Vec<_>>(),
        "others": report.others.iter()
            .map(|b| json!({ "path": b.path.to_string_lossy(), "found": b.found })).collect::<Vec<_>>(),
        "unclear": report.unclear.iter()
            .map(|b| json!({ "path": b.path.to_string_lossy(), "found": b.found })).collect::<Vec<_>>(),
        "unreadable": report.unreadable.iter()
            .map(|(digest, error)| json!({ "digest": digest.to_hex(), "error": error.to_string() }))
            .collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_formatted_in_the_largest_whole_unit() {
        for (seconds, text) in [(3600, "1 h"), (90, "90 s"), (120, "2 min"), (172_800, "2 d"), (5400, "90 min")] {
            assert_eq!(age_text(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn kept_images_and_objects_are_explained_with_the_grace() {
        let image = libcomposefs_image::Digest::from_hex("ab".repeat(32)).unwrap();
        let mut report = GcReport { young_objects: 2, young_bytes: 8192, ..GcReport::default() };
        assert_eq!(
            kept_by_grace(&report, Duration::from_secs(7200)),
            ["2 objects, 8.0k, stored less than 2 h ago: kept (--grace)"]
        );
        report.young_images = vec![image];
        assert_eq!(
            kept_by_grace(&report, Duration::from_secs(3600)),
            [
                "1 image without a ref, published less than 1 h ago: kept (--grace)",
                "2 objects, 8.0k, stored less than 1 h ago or needed by such an image: kept (--grace)"
            ]
        );
        report.young_streams = vec!["oci-layer-sha256:00".into(); 3];
        let lines = kept_by_grace(&report, Duration::from_secs(3600));
        assert_eq!(
            lines,
            [
                "1 image without a ref, published less than 1 h ago or needed by such a stream: kept (--grace)",
                "3 streams of OCI images without a tag, pulled less than 1 h ago or needed by such a stream: kept \
                 (--grace)",
                "2 objects, 8.0k, stored less than 1 h ago or needed by such an image or stream: kept (--grace)"
            ]
        );
        assert!(kept_by_grace(&GcReport::default(), Duration::ZERO).is_empty());
    }

    #[test]
    fn ages_with_units_are_parsed() {
        for (text, seconds) in [("0", 0), ("5", 5), ("5s", 5), ("2m", 120), ("1h", 3600), ("3d", 259_200)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "h", "-1", "1w", "1 h", "99999999999999999999", "9999999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
