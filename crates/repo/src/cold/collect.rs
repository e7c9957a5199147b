//! What gc does about cold images: those without a name are removed, and what a crash has left.

use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;
use libcomposefs_sys::tempfile::PREFIX;
use rustix::fs::{AtFlags, Dir, statat};

use super::directory::{LockedCold, PACK, base_ref, cold_image_of};
use super::list::listed;
use crate::image_link::LinkedImage;
use crate::lease::Lease;
use crate::lock::Locked;
use crate::{GcOptions, RefName, Refs, Repository, RepositoryError, io_error, layout, refs};

/// Counts of what [`Repository::collect_cold`] removed and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColdReport {
    /// Number of cold images that are kept.
    pub kept: u64,
    /// Cold images without a name that are kept because they are young.
    pub young: Vec<Digest>,
    /// Cold images that were removed.
    pub removed: Vec<Digest>,
    /// Size of their packs, in bytes.
    pub removed_bytes: u64,
    /// True if nothing was looked at, because another process packs or unpacks an image.
    pub is_busy: bool,
}

impl Repository {
    /// Removes cold images without a name, names that another image has by now, and what a crash has left. Run it
    /// before [`gc`](Self::gc), which then removes their bases if nothing else needs them.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written.
    pub fn collect_cold(&self, options: GcOptions) -> Result<ColdReport, RepositoryError> {
        let mut report = ColdReport::default();
        if self.dir.open_dir(layout::COLD)?.is_none() {
            return Ok(report);
        }
        if !options.dry_run {
            self.expect_writable()?;
        }
        let Some(cold) = LockedCold::try_lock(&self.dir)? else {
            report.is_busy = true;
            return Ok(report);
        };
        // While names move, no other process publishes.
        let alone = if options.dry_run { None } else { Some(Locked::exclusive(&self.dir)?) };
        let warm = self.refs()?;
        if !warm.broken.is_empty() {
            // As long as a ref cannot be read, nothing is removed.
            report.kept = listed(&cold, self)?.len() as u64;
            return Ok(report);
        }
        if let Some(alone) = &alone {
            let lease = self.lease()?;
            self.restore_warm_images(&cold, &lease, alone, &warm)?;
            self.restore_base_refs(&cold, &lease, alone)?;
        }
        let known = listed(&cold, self)?;
        let mut names = Vec::new();
        for (name, digest) in self.cold_refs()? {
            let is_of_other = self.has_another(&name, &digest)?;
            if !is_of_other && cold_image_of(&name).is_none_or(|image| known.contains(&image)) {
                names.push((name, digest));
            } else if !options.dry_run {
                self.remove_ref(layout::COLD_REFS, &name)?;
            }
        }
        self.collect_images(&cold, options, known, names, &mut report)?;
        if !options.dry_run {
            self.collect_leftovers(&cold)?;
        }
        Ok(report)
    }

    /// Makes cold images warm that have a ref and are here whole, as after an import of the same image.
    fn restore_warm_images(
        &self,
        cold: &LockedCold,
        lease: &Lease,
        alone: &Locked,
        warm: &Refs,
    ) -> Result<(), RepositoryError> {
        for digest in listed(cold, self)? {
            if warm.good.iter().any(|(_, image)| *image == digest) && self.is_whole(&digest)? {
                self.restore_names(cold, lease, alone, &digest)?;
            }
        }
        Ok(())
    }

    /// Writes the refs of bases that are missing or lead to other images.
    fn restore_base_refs(&self, cold: &LockedCold, lease: &Lease, alone: &Locked) -> Result<(), RepositoryError> {
        for image in self.cold_images()?.images {
            let Some(base) = image.entry.base.filter(|_| image.entry.base != self.kept_base(&image.digest)) else {
                continue;
            };
            let name = base_ref(&image.digest);
            if let Some(link) = LinkedImage::find(&self.dir, alone, &base)? {
                refs::write::write(&self.dir, lease, alone, &[(&name, &link)])?;
            } else if !matches!(cold.entry(&base), Ok(None)) {
                refs::write::write_to(&self.dir, layout::COLD_REFS, lease, &name, &base)?;
            }
        }
        Ok(())
    }

    /// Returns the image that the ref of the base of a cold image keeps, if there is such a ref.
    pub(super) fn kept_base(&self, image: &Digest) -> Option<Digest> {
        let name = base_ref(image);
        let cold = || refs::read(&self.dir, layout::COLD_REFS, &name).ok().flatten();
        self.read_ref(&name).ok().flatten().or_else(cold)
    }

    fn collect_images(
        &self,
        cold: &LockedCold,
        options: GcOptions,
        mut images: Vec<Digest>,
        mut names: Vec<(RefName, Digest)>,
        report: &mut ColdReport,
    ) -> Result<(), RepositoryError> {
        let is_named = |names: &[(RefName, Digest)], digest: &Digest| names.iter().any(|(_, named)| named == digest);
        // An image that is removed no longer keeps its base, which is looked at again.
        while let Some(at) = self.find_removable(cold, options, &images, |digest| is_named(&names, digest))? {
            let digest = images.remove(at);
            let pack = statat(cold.fd(), format!("{digest}{PACK}"), AtFlags::SYMLINK_NOFOLLOW);
            report.removed_bytes += pack.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or_default());
            report.removed.push(digest);
            names.retain(|(name, _)| cold_image_of(name) != Some(digest));
            if !options.dry_run {
                self.forget_cold(cold, &digest)?;
            }
        }
        report.kept = images.len() as u64;
        report.young = images.into_iter().filter(|digest| !is_named(&names, digest)).collect();
        Ok(())
    }

    /// Returns the place of the first image without a name that is not young.
    fn find_removable(
        &self,
        cold: &LockedCold,
        options: GcOptions,
        images: &[Digest],
        is_named: impl Fn(&Digest) -> bool,
    ) -> Result<Option<usize>, RepositoryError> {
        for (at, digest) in images.iter().enumerate().filter(|(_, digest)| !is_named(digest)) {
            let stat = statat(cold.fd(), digest.to_hex(), AtFlags::SYMLINK_NOFOLLOW);
            let changed = stat.map_err(io_error("stat", cold.entry_path(digest)))?.st_ctime;
            if !is_young(u64::try_from(changed).unwrap_or_default(), options.grace, SystemTime::now()) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Removes packs without an entry, files without a name, and names of bases that no cold image has.
    fn collect_leftovers(&self, cold: &LockedCold) -> Result<(), RepositoryError> {
        let path = self.dir.path.join(layout::COLD);
        let known = listed(cold, self)?;
        let mut leftovers = Vec::new();
        for entry in Dir::read_from(cold.fd()).map_err(io_error("list", &path))? {
            let entry = entry.map_err(io_error("list", &path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let pack_of = name.strip_suffix(PACK).and_then(|hex| Digest::from_hex(hex).ok());
            if name.starts_with(PREFIX) || pack_of.is_some_and(|digest| !known.contains(&digest)) {
                leftovers.push(name);
            }
        }
        leftovers.iter().try_for_each(|name| cold.remove_file(name))?;
        for (name, _) in self.refs()?.good {
            if cold_image_of(&name).is_some_and(|digest| !known.contains(&digest)) {
                self.remove_ref(layout::IMAGE_REFS, &name)?;
            }
        }
        Ok(())
    }
}

/// Compares the grace with the time of the last change. If the clock was set back, entries are young and not old.
pub(crate) fn is_young(changed: u64, grace: Duration, now: SystemTime) -> bool {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
    !grace.is_zero() && now.duration_since(changed).map_or(true, |age| age < grace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_young_within_the_grace() {
        let (now, hour) = (1_767_225_600, Duration::from_secs(3600));
        let is_young = |changed, grace| is_young(changed, grace, SystemTime::UNIX_EPOCH + Duration::from_secs(now));
        assert!(is_young(now - 10, hour));
        assert!(!is_young(now - 7200, hour));
        assert!(!is_young(now, Duration::ZERO));
        assert!(is_young(now + 1000, Duration::from_secs(1)));
    }
}
