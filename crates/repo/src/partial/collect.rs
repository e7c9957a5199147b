//! What gc does about partial images: those without a name are removed, and what a crash has left.

use std::time::SystemTime;

use libcomposefs_image::Digest;
use libcomposefs_sys::tempfile::PREFIX;
use rustix::fs::{AtFlags, statat};

use super::directory::PartialDir;
use super::settle::finish;
use crate::cold::is_young;
use crate::lease::reader::LeaseReader;
use crate::lock::Locked;
use crate::{GcOptions, Repository, RepositoryError, io_error, layout};

/// Counts of what [`Repository::collect_partial`] removed and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialReport {
    /// Number of partial images that are kept.
    pub kept: u64,
    /// Partial images without a name that are kept because they are mounted, or open otherwise.
    pub in_use: Vec<Digest>,
    /// Partial images without a name that are kept because they are young.
    pub young: Vec<Digest>,
    /// Partial images that were removed. The next step of a gc removes their objects.
    pub removed: Vec<Digest>,
}

impl Repository {
    /// Removes partial images without a name, unless they are mounted, and what a crash has left. Run it before
    /// [`gc`](Self::gc), which then removes their objects.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written.
    pub fn collect_partial(&self, options: GcOptions) -> Result<PartialReport, RepositoryError> {
        let mut report = PartialReport::default();
        let Some(partial) = PartialDir::open(&self.dir)? else { return Ok(report) };
        if !options.dry_run {
            self.expect_writable()?;
        }
        let lease = if options.dry_run { None } else { Some(self.lease()?) };
        // While entries are judged, no other process publishes or adds one.
        let alone = if options.dry_run { None } else { Some(Locked::exclusive(&self.dir)?) };
        let mut leases = LeaseReader::look(&self.dir)?;
        if let Some(leases) = &mut leases {
            leases.read(|_| {})?;
        }
        let names = self.partial_refs()?;
        let now = SystemTime::now();
        for digest in self.partial_entries()? {
            if self.has_image(&digest)? {
                if let (Some(lease), Some(alone)) = (&lease, &alone) {
                    finish(self, lease, alone, &partial, &digest)?;
                }
                continue;
            }
            let path = partial.entry_path(&digest);
            let stat =
                statat(partial.fd(), digest.to_hex(), AtFlags::SYMLINK_NOFOLLOW).map_err(io_error("stat", &path))?;
            let is_claimed = leases.as_ref().is_some_and(|leases| leases.claimed.contains(&digest));
            if names.iter().any(|(_, named)| *named == digest) {
                report.kept += 1;
            } else if is_claimed || self.is_open(&digest).unwrap_or(true) {
                report.in_use.push(digest);
            } else if is_young(u64::try_from(stat.st_ctime).unwrap_or_default(), options.grace, now) {
                report.young.push(digest);
            } else {
                report.removed.push(digest);
                if !options.dry_run {
                    partial.remove(&digest.to_hex())?;
                }
            }
        }
        if alone.is_some() {
            self.collect_partial_leftovers(&partial)?;
            self.collect_arrived()?;
        }
        Ok(report)
    }

    /// Removes names without an entry, which is written before them, and files that were about to get a name.
    fn collect_partial_leftovers(&self, partial: &PartialDir) -> Result<(), RepositoryError> {
        let known = self.partial_entries()?;
        for (name, digest) in self.partial_refs()? {
            if known.binary_search(&digest).is_err() {
                self.remove_ref(layout::PARTIAL_REFS, &name)?;
            }
        }
        partial.names()?.iter().filter(|name| name.starts_with(PREFIX)).try_for_each(|name| partial.remove(name))
    }
}
