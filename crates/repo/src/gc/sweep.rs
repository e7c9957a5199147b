//! Sweeping: images and objects are removed in small steps.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;
use rustix::fs::{AtFlags, Dir, FileType, Stat, fsync, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::Collector;
use crate::lease::reader::LeaseReader;
use crate::{RepositoryError, io_error, layout};

/// Number of images that are decided on in one step.
const IMAGES_AT_ONCE: usize = 64;
/// Number of objects at which a step ends: those of one of the 256 directories, or of several with few objects.
const OBJECTS_AT_ONCE: usize = 1024;

impl Collector<'_> {
    pub(super) fn sweep_images(&mut self) -> Result<(), RepositoryError> {
        let Some(directory) = self.repository.dir.open_dir(layout::IMAGES)? else { return Ok(()) };
        let all: Vec<Digest> = std::mem::take(&mut self.candidates).into_iter().collect();
        let mut unneeded = Vec::new();
        for digest in all {
            match self.judge(&directory, &digest)? {
                Fate::Kept => self.keep(&digest),
                Fate::Young => self.keep_young(&digest),
                Fate::Unneeded => unneeded.push(digest),
                Fate::Gone => {}
            }
        }
        self.candidates = unneeded.iter().copied().collect();
        for some in unneeded.chunks(IMAGES_AT_ONCE) {
            let (mut kept, mut young) = (Vec::new(), Vec::new());
            let Some(alone) = self.alone()? else { break };
            for digest in some {
                match self.sweep_image(&directory, digest)? {
                    Fate::Kept => kept.push(*digest),
                    Fate::Young => young.push(*digest),
                    Fate::Unneeded | Fate::Gone => {}
                }
                self.candidates.remove(digest);
            }
            drop(alone);
            // The objects that they need are read without the lock.
            kept.iter().for_each(|digest| self.keep(digest));
            young.iter().for_each(|digest| self.keep_young(digest));
        }
        self.settle_images(&directory)
    }

    /// Decides on an image that had no name when it was listed.
    fn judge(&self, directory: &OwnedFd, digest: &Digest) -> Result<Fate, RepositoryError> {
        if self.marks.images.contains(digest) || self.is_claimed(digest) {
            return Ok(Fate::Kept);
        }
        let name = digest.to_hex();
        let stat = match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Fate::Gone),
            Err(errno) => {
                return Err(io_error("stat", self.repository.dir.path.join(layout::IMAGES).join(name))(errno));
            }
        };
        Ok(match self.repository.is_open(digest) {
            Ok(false) if self.is_young(&stat) || self.young_marks.images.contains(digest) => Fate::Young,
            Ok(false) => Fate::Unneeded,
            // An image that cannot be opened here may be open elsewhere. The error is reported when the image is
            // marked.
            Ok(true) | Err(_) => Fate::Kept,
        })
    }

    /// Decides on an image with the repository locked, and removes its link if it is not needed.
    fn sweep_image(&mut self, directory: &OwnedFd, digest: &Digest) -> Result<Fate, RepositoryError> {
        let fate = self.judge(directory, digest)?;
        if !matches!(fate, Fate::Unneeded) {
            return Ok(fate);
        }
        if self.options.dry_run {
            self.spared.insert(*digest);
        } else {
            let name = digest.to_hex();
            let path = self.repository.dir.path.join(layout::IMAGES).join(&name);
            let Some(leases) = self.leases.as_ref() else { return Ok(Fate::Kept) };
            let aside = leases.aside(&name);
            match renameat(directory, &name, leases.directory(), &aside) {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(Fate::Gone),
                Err(errno) => return Err(io_error("move aside", path)(errno)),
            }
            // Another process may have resolved the image before the rename and opened it since: check again. The old
            // link is moved back, because on a full disk a new one could not be made.
            if self.repository.is_open(digest).unwrap_or(true) {
                renameat(leases.directory(), &aside, directory, &name).map_err(io_error("move back", path))?;
                return Ok(Fate::Kept);
            }
            unlinkat(leases.directory(), &aside, AtFlags::empty()).map_err(io_error("remove", path))?;
        }
        self.report.removed_images.push(*digest);
        Ok(Fate::Gone)
    }

    /// Keeps an image that nothing names, with all objects that it needs.
    fn keep(&mut self, digest: &Digest) {
        if self.marks.images.contains(digest) {
            return;
        }
        if self.repository.is_open(digest).is_ok_and(|is_open| is_open) {
            self.report.in_use.push(*digest);
        }
        self.marks.image(self.repository, digest);
    }

    /// Keeps the objects that a young image needs, counted as what a grace of zero removes.
    fn keep_young(&mut self, digest: &Digest) {
        self.report.young_images.push(*digest);
        self.young_images.insert(*digest);
        self.young_objects.insert(digest);
        let kept = self.repository.objects_of_image(digest, |object| {
            self.young_objects.insert(object);
        });
        if let Err(error) = kept
            && !matches!(self.repository.objects.open_object(digest), Ok(None))
        {
            self.put_unreadable(*digest, error);
        }
    }

    /// Notes an image that cannot be read: no object is removed.
    pub(super) fn put_unreadable(&mut self, digest: Digest, error: RepositoryError) {
        if self.marks.unreadable.iter().all(|(known, _)| *known != digest) {
            self.marks.unreadable.push((digest, error));
        }
    }

    /// Syncs the removed links. After a crash, no link may come back whose objects are gone.
    fn settle_images(&self, directory: &OwnedFd) -> Result<(), RepositoryError> {
        if self.options.dry_run || self.report.removed_images.is_empty() {
            return Ok(());
        }
        fsync(directory).map_err(io_error("sync", self.repository.dir.path.join(layout::IMAGES)))
    }

    /// Removes the objects that are not needed, unless the needs of an image are unknown.
    pub(super) fn sweep_objects(&mut self) -> Result<(), RepositoryError> {
        let mut unneeded: Vec<Digest> = Vec::new();
        for first in 0..=255u8 {
            let fan = self.repository.objects.list_fan(&format!("{first:02x}"))?;
            unneeded.extend(fan.into_iter().filter(|digest| !self.marks.objects.contains(digest)));
            if (unneeded.len() >= OBJECTS_AT_ONCE || first == u8::MAX) && !unneeded.is_empty() {
                let Some(_alone) = self.alone()? else { return Ok(()) };
                if !self.marks.unreadable.is_empty() {
                    return Ok(());
                }
                unneeded.drain(..).try_for_each(|digest| self.sweep_object(&digest))?;
            }
        }
        self.sweep_temporaries()
    }

    fn sweep_object(&mut self, digest: &Digest) -> Result<(), RepositoryError> {
        if self.marks.objects.contains(digest) {
            return Ok(());
        }
        if self.is_claimed(digest) {
            self.report.claimed_objects += 1;
            return Ok(());
        }
        let Ok(stat) = self.repository.objects.try_stat(digest) else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // A directory is not from this program; fsck reports it.
            return Ok(());
        }
        // Another hard link keeps the space.
        let bytes = if stat.st_nlink > 1 { 0 } else { u64::try_from(stat.st_blocks).unwrap_or_default() * 512 };
        let is_needed_by_young = self.young_objects.contains(digest) || self.young_marks.objects.contains(digest);
        if is_needed_by_young || self.is_young(&stat) {
            self.report.young_objects += 1;
            self.report.young_bytes += bytes;
            return Ok(());
        }
        if !self.options.dry_run {
            match self.repository.objects.remove(digest) {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(io_error("remove", self.repository.objects.path_of(digest))(errno)),
            }
        }
        self.report.removed_objects += 1;
        self.report.removed_bytes += bytes;
        Ok(())
    }

    /// Removes temporary files that killed processes have left, on file systems without `O_TMPFILE`.
    fn sweep_temporaries(&mut self) -> Result<(), RepositoryError> {
        if self.options.dry_run {
            return Ok(());
        }
        let path = self.repository.objects.path();
        let objects = match self.repository.objects.directory() {
            Err(Errno::NOENT) => return Ok(()),
            result => result.map_err(io_error("open the directory", path))?,
        };
        let mut temporaries = Vec::new();
        for entry in Dir::read_from(objects).map_err(io_error("list", path))? {
            let entry = entry.map_err(io_error("list", path))?;
            if entry.file_name().to_bytes().starts_with(libcomposefs_sys::tempfile::PREFIX.as_bytes()) {
                temporaries.push(entry.file_name().to_owned());
            }
        }
        if temporaries.is_empty() {
            return Ok(());
        }
        let Some(_alone) = self.alone()? else { return Ok(()) };
        // Checked after the files were listed: a process makes its lease before its first temporary file.
        if !self.leases.as_ref().map_or(Ok(true), LeaseReader::is_alone)? {
            return Ok(());
        }
        for name in temporaries {
            let is_old =
                |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && !self.is_young(stat);
            if statat(objects, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_old(&stat)) {
                let _ = unlinkat(objects, &name, AtFlags::empty());
            }
        }
        Ok(())
    }

    /// Compares the grace with the time of the last inode change, which cannot be set.
    pub(super) fn is_young(&self, stat: &Stat) -> bool {
        if self.options.grace.is_zero() {
            return false;
        }
        let changed = u64::try_from(stat.st_ctime).unwrap_or_default();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
        // If the clock was set back, things are young and not old.
        self.now.duration_since(changed).map_or(true, |age| age < self.options.grace)
    }
}

/// Decision on an image or stream that nothing needed when it was listed.
pub(super) enum Fate {
    /// It has a name by now, something needs it, a lease protects it, or it is open.
    Kept,
    /// It is kept because it, or a stream that needs it, is young.
    Young,
    /// Nothing needs it.
    Unneeded,
    /// It does not exist any more.
    Gone,
}
