//! Removing what nobody needs (`docs/format/repository.md`, section 5).
//!
//! Needed is what refs name, what is mounted, what those at work claim, and what streams name. Everything is first marked;
//! what is removed then goes in small steps, each alone with the repository and after another look at the claims.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use composefs_image::Digest;
use rustix::fs::{AtFlags, Dir, FileType, Stat, fsync, statat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::claims::LeaseReader;
use super::lease::Added;
use super::mark::Marks;
use super::refs::BrokenRef;
use super::{RefName, Repository, RepositoryError, io_error, layout};

/// How gc goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// Only look, and remove nothing.
    pub dry_run: bool,
    /// What is younger stays: other programs have no leases.
    pub grace: Duration,
}

/// What gc did, or with `dry_run` would do.
#[derive(Debug, Default)]
pub struct GcReport {
    /// How many images are needed.
    pub images_kept: u64,
    /// How many objects are needed.
    pub objects_kept: u64,
    /// Images without a name that stay as they are open, by a mount or a program.
    pub in_use: Vec<Digest>,
    /// Images without a name that stay as they are young.
    pub young_images: Vec<Digest>,
    /// Images that were removed.
    pub removed_images: Vec<Digest>,
    /// Objects that were removed.
    pub removed_objects: u64,
    /// What they took on the disk. What shares extents with files elsewhere frees less.
    pub removed_bytes: u64,
    /// Objects that nobody needs and that stay as they are young.
    pub young_objects: u64,
    /// Their size.
    pub young_bytes: u64,
    /// Objects that only those at work need.
    pub claimed_objects: u64,
    /// Names whose image is not there.
    pub dangling: Vec<(RefName, Digest)>,
    /// Names that are none.
    pub broken: Vec<BrokenRef>,
    /// Images that cannot be read, so that no object was removed: what they need is not known.
    pub unreadable: Vec<(Digest, RepositoryError)>,
    /// Leases of those who are gone.
    pub cleared_leases: u64,
}

/// Removes at once.
const NOW: GcOptions = GcOptions { dry_run: false, grace: Duration::ZERO };

struct Gc<'r> {
    repository: &'r Repository,
    options: GcOptions,
    now: SystemTime,
    marks: Marks,
    leases: Option<LeaseReader>,
    report: GcReport,
}

impl Repository {
    /// Removes what nobody needs: images without a name, and objects of no image.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read or written. What is wrong with single refs and images is in the report.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport, RepositoryError> {
        let leases = if options.dry_run {
            self.leases_to_look()?
        } else {
            self.expect_writable()?;
            Some(self.leases_to_remove()?)
        };
        let mut gc = Gc::new(self, options, leases);
        gc.mark()?;
        gc.sweep_images()?;
        if gc.marks.unreadable.is_empty() {
            gc.sweep_objects()?;
        }
        gc.finish()
    }

    /// Removes what was added for something that was not finished, unless somebody else has come to need it.
    pub(crate) fn take_back(&self, added: &Added) -> Result<(), RepositoryError> {
        if added.objects.is_empty() && added.images.is_empty() {
            return Ok(());
        }
        let leases = Some(self.leases_to_remove()?);
        let mut gc = Gc::new(self, NOW, leases);
        gc.mark()?;
        if let Some(directory) = self.directory(layout::IMAGES)? {
            for image in &added.images {
                gc.sweep_image(&directory, image)?;
            }
            gc.settle_images(&directory)?;
        }
        let (images, _) = self.image_links()?;
        images.iter().for_each(|image| gc.marks.image(self, image));
        for some in added.objects.chunks(1024) {
            let _alone = gc.alone()?;
            gc.read_claims()?;
            if !gc.marks.unreadable.is_empty() {
                break;
            }
            some.iter().try_for_each(|digest| gc.sweep_object(digest))?;
        }
        gc.finish().map(drop)
    }
}

impl<'r> Gc<'r> {
    fn new(repository: &'r Repository, options: GcOptions, leases: Option<LeaseReader>) -> Self {
        let (now, marks) = (SystemTime::now(), Marks::new(repository));
        Self { repository, options, now, marks, leases, report: GcReport::default() }
    }

    /// Marks what is named.
    fn mark(&mut self) -> Result<(), RepositoryError> {
        let refs = self.repository.refs()?;
        self.report.broken = refs.broken;
        for (_, digest) in &refs.good {
            self.marks.image(self.repository, digest);
        }
        self.report.dangling = refs.good.into_iter().filter(|(_, d)| self.marks.missing.contains(d)).collect();
        self.marks.streams(self.repository)?;
        self.read_claims()
    }

    /// Looks at what was claimed since the last look. Who claims an image relies on all it needs.
    fn read_claims(&mut self) -> Result<(), RepositoryError> {
        let Some(leases) = &mut self.leases else { return Ok(()) };
        let mut new = Vec::new();
        leases.read(|digest| new.push(digest))?;
        for digest in new {
            if !self.marks.images.contains(&digest) && self.repository.has_image(&digest)? {
                self.marks.image(self.repository, &digest);
            }
        }
        Ok(())
    }

    fn sweep_images(&mut self) -> Result<(), RepositoryError> {
        let (digests, broken) = self.repository.image_links()?;
        self.report.broken.extend(broken);
        let Some(directory) = self.repository.directory(layout::IMAGES)? else { return Ok(()) };
        for digest in digests {
            if self.marks.images.contains(&digest) {
                continue;
            }
            let link = statat(&directory, digest.to_hex(), AtFlags::SYMLINK_NOFOLLOW);
            if link.is_ok_and(|stat| self.is_young(&stat)) {
                self.report.young_images.push(digest);
                self.marks.image(self.repository, &digest);
                continue;
            }
            self.sweep_image(&directory, &digest)?;
        }
        self.settle_images(&directory)
    }

    /// Removes the link of an image, unless somebody claims it or has it open.
    fn sweep_image(&mut self, directory: &OwnedFd, digest: &Digest) -> Result<(), RepositoryError> {
        let name = digest.to_hex();
        let path = self.repository.path.join(layout::IMAGES).join(&name);
        let _alone = self.alone()?;
        self.read_claims()?;
        // It may have been claimed before it was there, by who made it since.
        if self.leases.as_ref().is_some_and(|leases| leases.claimed.contains(digest)) {
            self.marks.image(self.repository, digest);
        }
        if self.marks.images.contains(digest) {
            return Ok(());
        }
        let mut is_open = self.repository.is_open(digest)?;
        if !is_open && !self.options.dry_run {
            match unlinkat(directory, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(io_error("remove", path)(errno)),
            }
            // Who had found it before and opened it since is in time.
            is_open = self.repository.is_open(digest)?;
            if is_open {
                symlinkat(layout::image_link(digest), directory, &name).map_err(io_error("make", path))?;
            }
        }
        if is_open {
            self.report.in_use.push(*digest);
            self.marks.image(self.repository, digest);
        } else {
            self.report.removed_images.push(*digest);
        }
        Ok(())
    }

    /// After a crash no image is there whose objects are not.
    fn settle_images(&self, directory: &OwnedFd) -> Result<(), RepositoryError> {
        if self.options.dry_run || self.report.removed_images.is_empty() {
            return Ok(());
        }
        fsync(directory).map_err(io_error("sync", self.repository.path.join(layout::IMAGES)))
    }

    fn sweep_objects(&mut self) -> Result<(), RepositoryError> {
        for first in 0..=255u8 {
            let mut unneeded = self.repository.objects.list_fan(&format!("{first:02x}"))?;
            unneeded.retain(|digest| !self.marks.objects.contains(digest));
            if unneeded.is_empty() {
                continue;
            }
            let _alone = self.alone()?;
            self.read_claims()?;
            if !self.marks.unreadable.is_empty() {
                return Ok(());
            }
            for digest in unneeded {
                self.sweep_object(&digest)?;
            }
        }
        self.sweep_temporaries()
    }

    fn sweep_object(&mut self, digest: &Digest) -> Result<(), RepositoryError> {
        if self.marks.objects.contains(digest) {
            return Ok(());
        }
        if self.leases.as_ref().is_some_and(|leases| leases.claimed.contains(digest)) {
            self.report.claimed_objects += 1;
            return Ok(());
        }
        let Ok(stat) = self.repository.objects.try_stat(digest) else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // It was not made by us, and is for fsck to tell of.
            return Ok(());
        }
        // Another link keeps the space.
        let bytes = if stat.st_nlink > 1 { 0 } else { u64::try_from(stat.st_blocks).unwrap_or_default() * 512 };
        if self.is_young(&stat) {
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

    /// What a killed writer leaves where files cannot be without a name.
    fn sweep_temporaries(&mut self) -> Result<(), RepositoryError> {
        if self.options.dry_run || !self.leases.as_ref().map_or(Ok(true), LeaseReader::is_alone)? {
            return Ok(());
        }
        let objects: &OwnedFd = &self.repository.objects.directory;
        let path = self.repository.objects.path();
        for entry in Dir::read_from(objects).map_err(io_error("list", path))? {
            let entry = entry.map_err(io_error("list", path))?;
            if !entry.file_name().to_bytes().starts_with(composefs_sys::tempfile::PREFIX.as_bytes()) {
                continue;
            }
            let stat = statat(objects, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            let is_old =
                |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && !self.is_young(stat);
            if stat.is_ok_and(|stat| is_old(&stat)) {
                let _ = unlinkat(objects, entry.file_name(), AtFlags::empty());
            }
        }
        Ok(())
    }

    /// Only a removal has to be alone.
    fn alone(&self) -> Result<Option<super::lock::Locked>, RepositoryError> {
        if self.options.dry_run { Ok(None) } else { self.repository.lock_alone().map(Some) }
    }

    /// By when the inode was last changed, which nobody can set.
    fn is_young(&self, stat: &Stat) -> bool {
        if self.options.grace.is_zero() {
            return false;
        }
        let changed = u64::try_from(stat.st_ctime).unwrap_or_default();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
        // A clock that was set back makes things young, not old.
        self.now.duration_since(changed).map_or(true, |age| age < self.options.grace)
    }

    fn finish(mut self) -> Result<GcReport, RepositoryError> {
        if let Some(leases) = &mut self.leases {
            if !self.options.dry_run {
                leases.clear()?;
            }
            self.report.cleared_leases = leases.cleared;
        }
        self.report.images_kept = self.marks.images.len() as u64;
        self.report.objects_kept = self.marks.objects.count() as u64;
        self.report.unreadable = self.marks.unreadable;
        Ok(self.report)
    }
}
