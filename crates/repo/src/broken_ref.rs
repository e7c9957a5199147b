//! Entries among refs, images and streams that are not in this program's form.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use libcomposefs_image::Digest;

use crate::dir::{LinkEntry, RepoDir};
use crate::link_target::{Leads, leads_to};

/// Description of a stream whose object does not have its digest.
pub(crate) const WRONG_DIGEST: &str = "does not have its digest";
/// What is said of a manifest or configuration whose text is lost.
pub(crate) const LOST_TEXT: &str = "has a text whose object is missing or damaged: what it names is unknown";

/// An entry among the refs, images or streams that is not in this program's form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokenRef {
    /// Path of the entry, below the path that the repository was opened by.
    pub path: PathBuf,
    /// Description of the entry, as it is printed after its path.
    pub found: String,
    /// Target of the entry. gc keeps the target, and removes nothing at all while any entry is unclear.
    pub leads: Leads,
    /// The entry as it was read.
    pub(crate) seen: LinkEntry,
}

impl BrokenRef {
    /// Describes an entry, given its path below the repository.
    pub(crate) fn new(dir: &RepoDir, below: &[u8], seen: LinkEntry, has_good_name: bool) -> Self {
        let folder = below.iter().rposition(|byte| *byte == b'/').map_or(&below[..0], |slash| &below[..slash]);
        let (found, leads) = match &seen {
            LinkEntry::Link(text) => {
                let found = if has_good_name {
                    format!("leads to {}", String::from_utf8_lossy(text))
                } else {
                    "has a name that no ref can have".into()
                };
                (found, leads_to(folder, text, dir.algorithm))
            }
            LinkEntry::Nothing | LinkEntry::Other => ("is no link".into(), Leads::Unclear),
        };
        Self { path: dir.path.join(OsStr::from_bytes(below)), found, leads, seen }
    }

    /// Returns whether the target cannot be determined.
    #[must_use]
    pub fn is_unclear(&self) -> bool {
        self.leads == Leads::Unclear
    }

    /// Returns the entry of a stream that cannot be relied on.
    pub(crate) fn of_stream(path: PathBuf, found: &str) -> Self {
        Self { path, found: format!("is a stream that {found}"), leads: Leads::Unclear, seen: LinkEntry::Other }
    }

    /// Returns whether the entry is a stream whose object does not have its digest.
    pub(crate) fn has_wrong_digest(&self) -> bool {
        self.found.ends_with(WRONG_DIGEST)
    }

    /// Returns whether the entry is a manifest or configuration whose text is lost.
    pub(crate) fn has_lost_text(&self) -> bool {
        self.found.ends_with(LOST_TEXT)
    }

    /// Returns the digest that is the name of the entry, if it is one.
    pub(crate) fn named_digest(&self) -> Option<Digest> {
        self.path.file_name().and_then(|name| Digest::from_hex(name.as_bytes()).ok())
    }
}

/// Makes each entry unclear that leads to an entry which is not in `known` and has no target itself. `path_of` returns
/// the path of an entry below the repository.
pub(crate) fn settle(entries: &mut [BrokenRef], mut known: BTreeSet<Vec<u8>>, path_of: impl Fn(&BrokenRef) -> Vec<u8>) {
    known.extend(entries.iter().filter(|entry| matches!(entry.leads, Leads::To(_))).map(&path_of));
    // The kernel follows no more than 40 links either (`MAXSYMLINKS`).
    for _ in 0..40 {
        let leads_to_known = |entry: &&BrokenRef| matches!(&entry.leads, Leads::Entry(path) if known.contains(path));
        let new: Vec<Vec<u8>> =
            entries.iter().filter(leads_to_known).map(&path_of).filter(|path| !known.contains(path)).collect();
        if new.is_empty() {
            break;
        }
        known.extend(new);
    }
    for entry in entries {
        if matches!(&entry.leads, Leads::Entry(path) if !known.contains(path)) {
            entry.leads = Leads::Unclear;
        }
    }
}
