//! What gc does about directories that answer `statfs`: those of images that are not here are removed.

use std::collections::BTreeMap;

use libcomposefs_image::Digest;
use rustix::fs::Dir;

use super::{StatfsDir, UNFINISHED};
use crate::lock::Locked;
use crate::{GcOptions, Repository, RepositoryError, io_error, layout};

/// Counts of what [`Repository::collect_statfs`] removed and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatfsReport {
    /// Number of images that are here, or mounted, and have directories.
    pub kept: u64,
    /// Images that are not here, whose directories were removed.
    pub removed: Vec<Digest>,
}

impl Repository {
    /// Removes the directories that answer `statfs` for images that the repository does not have. Run it after
    /// [`gc`](Self::gc), which keeps images that are mounted: a mount whose directory is removed has an empty root.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written.
    pub fn collect_statfs(&self, options: GcOptions) -> Result<StatfsReport, RepositoryError> {
        let mut report = StatfsReport::default();
        let Some(directory) = self.dir.open_dir(layout::STATFS)? else { return Ok(report) };
        if !options.dry_run {
            self.expect_writable()?;
        }
        // While images are looked for, no other process publishes one, and none makes a directory.
        let _alone = if options.dry_run { None } else { Some(Locked::exclusive(&self.dir)?) };
        let above = StatfsDir { directory, path: self.dir.path.join(layout::STATFS) };
        let above = if options.dry_run { above } else { above.lock()? };
        let mut images: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for entry in Dir::read_from(&above.directory).map_err(io_error("read the directory", &above.path))? {
            let name = entry.map_err(io_error("read the directory", &above.path))?.file_name().to_owned();
            let Ok(name) = name.into_string() else { continue };
            let image = Digest::from_hex(name.split('.').next().unwrap_or_default());
            if let Ok(image) = image {
                images.entry(image).or_default().push(name);
            }
        }
        for (image, names) in images {
            // An image that cannot be judged may be mounted.
            if self.has_image(&image)? || self.is_open(&image).unwrap_or(true) {
                report.kept += 1;
                continue;
            }
            if !options.dry_run {
                names.iter().try_for_each(|name| above.remove(name))?;
            }
            report.removed.push(image);
        }
        if !options.dry_run {
            above.remove(UNFINISHED)?;
        }
        Ok(report)
    }
}
