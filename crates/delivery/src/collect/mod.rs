//! A gc of a remote: files that no ref needs are removed.
//!
//! Mark from all refs, announce what is not marked and old enough, mark again, remove (`docs/format/remote.md`, section
//! 6).

mod announcement;

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use announcement::Announcement;
use announcement::{ANNOUNCED_MAX, Announced};

use crate::remote::Remote;
use crate::{DeliveryError, FileKind, FileName, ListedFile};

/// A gc removes nothing more when this time has passed since its announcement, as others may take it for dead.
const REMOVE_WITHIN: Duration = Duration::from_secs(1800);

/// Options of a gc of a remote.
#[derive(Clone, Copy, Debug)]
pub struct CollectOptions {
    /// Younger files are kept: a push may be about to name them.
    pub grace: Duration,
    /// Only tell what would be removed.
    pub dry_run: bool,
    /// Age at which the announcement of another gc is taken for that of a dead one.
    pub dead_after: Duration,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self { grace: Duration::from_secs(24 * 3600), dry_run: false, dead_after: announcement::DEAD_AFTER }
    }
}

/// The result of a gc of a remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectReport {
    /// Number of refs.
    pub refs: u64,
    /// Files that were removed, or would be.
    pub removed: Vec<FileName>,
    /// Number of bytes of these files.
    pub removed_bytes: u64,
    /// Number of files that are kept because a ref needs them.
    pub needed: u64,
    /// Number of files that are kept because they are young.
    pub young: u64,
}

/// Removes files that no ref needs.
///
/// # Errors
///
/// [`DeliveryError`]; nothing is removed if a ref cannot be read.
pub fn collect(remote: &Remote<'_>, options: &CollectOptions) -> Result<CollectReport, DeliveryError> {
    let abilities = remote.store().abilities();
    if let Some(reason) = abilities.read_only.or(abilities.no_gc) {
        return Err(DeliveryError::ReadOnly { location: remote.location(), reason });
    }
    remote.check_layout()?;
    let mut report = CollectReport::default();
    let needed = mark(remote, &mut report)?;
    let mut unneeded = Vec::new();
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Image] {
        let listed = remote.patience().access(|| remote.store().list(kind))?;
        for file in listed {
            if needed.contains(&file.name) {
                report.needed += 1;
            } else if is_young(&file, options.grace) {
                report.young += 1;
            } else {
                unneeded.push(file);
            }
        }
    }
    unneeded.sort_by(|a, b| a.name.cmp(&b.name));
    if options.dry_run {
        for file in unneeded {
            report.removed_bytes += file.length;
            report.removed.push(file.name);
        }
        return Ok(report);
    }
    for files in unneeded.chunks(ANNOUNCED_MAX) {
        remove(remote, files, options, &mut report)?;
    }
    Announcement::forget(remote, options.dead_after)?;
    Ok(report)
}

/// Announces files, and removes those that no ref needs by then.
fn remove(
    remote: &Remote<'_>,
    files: &[ListedFile],
    options: &CollectOptions,
    report: &mut CollectReport,
) -> Result<(), DeliveryError> {
    let begun = Instant::now();
    let names = files.iter().map(|file| file.name.clone()).collect();
    let announced = Announced::begin(remote, names, options.dead_after)?;
    let mut again = CollectReport::default();
    // A push that publishes its ref after this sees the announcement.
    let removed = mark(remote, &mut again).and_then(|needed| {
        for file in files.iter().filter(|file| !needed.contains(&file.name)) {
            remote.patience().proceed()?;
            if begun.elapsed() > REMOVE_WITHIN {
                break;
            }
            remote.patience().access(|| remote.store().delete(&file.name))?;
            report.removed_bytes += file.length;
            report.removed.push(file.name.clone());
        }
        Ok(())
    });
    let ended = announced.end(remote);
    removed.and(ended)
}

/// Returns the files that the refs need.
fn mark(remote: &Remote<'_>, report: &mut CollectReport) -> Result<HashSet<FileName>, DeliveryError> {
    let listed = remote.patience().access(|| remote.store().list(FileKind::Ref))?;
    let mut needed = HashSet::new();
    for file in listed {
        let FileName::Ref(name) = file.name else { continue };
        // A ref that went away meanwhile needs nothing.
        let Some(found) = remote.read_ref(&name)? else { continue };
        report.refs += 1;
        needed.extend(found.document.files().map(|(name, _)| name));
    }
    Ok(needed)
}

/// Returns whether a file is younger than the grace. One from the future is young.
fn is_young(file: &ListedFile, grace: Duration) -> bool {
    !grace.is_zero() && SystemTime::now().duration_since(file.modified).map_or(true, |age| age < grace)
}
