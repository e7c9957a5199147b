//! Freezing: the objects of an image are packed, and its names move to `cold`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _};
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;

use libcomposefs_content::{NoProgress, Progress, digest_file};
use libcomposefs_image::Digest;
use libcomposefs_sys::tempfile::Temporary;

use super::chain::{PACKS_MAX, packs_above};
use super::directory::{LockedCold, base_ref};
use super::entry::ColdEntry;
use super::error::{ColdError, shown};
use super::list::ColdImage;
use crate::bundle::{FrameOptions, Have};
use crate::digest_set::DigestSet;
use crate::image_link::LinkedImage;
use crate::lease::Lease;
use crate::lock::Locked;
use crate::stream_graph::{StreamGraph, StreamKeeper};
use crate::{ImageName, Reader, RefName, Repository, RepositoryError, layout, refs};

/// Options of [`Repository::freeze`].
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct FreezeOptions<'a> {
    /// How objects are packed.
    pub frames: FrameOptions<'a>,
    /// The image whose objects are bases. Without it, the image is taken that has a name and most bytes in common.
    pub base: Option<&'a ImageName>,
}

impl<'a> FreezeOptions<'a> {
    /// Makes options that choose the base.
    #[must_use]
    pub fn new(frames: FrameOptions<'a>) -> Self {
        Self { frames, base: None }
    }
}

impl Repository {
    /// Makes an image cold: packs the objects that its base lacks, verifies the pack, and moves the names of the image.
    /// The next gc removes the objects. The pack is on disk before the first name moves.
    ///
    /// # Errors
    ///
    /// [`ColdError::Refused`], or if the image cannot be read or the pack not be written. The image is then what it was
    /// before.
    pub fn freeze(
        &self,
        image: &ImageName,
        options: &FreezeOptions<'_>,
        progress: &(dyn Progress + Sync),
    ) -> Result<ColdImage, ColdError> {
        self.expect_writable()?;
        let cold = LockedCold::lock(&self.dir)?;
        let (reader, lease) = (self.reader()?, self.lease()?);
        let (digest, _held) = reader.hold_named(image)?;
        lease.protect(&[digest]).map_err(RepositoryError::from)?;
        self.expect_may_freeze(image, &digest)?;
        let may_have_base = packs_above(&self.cold_images()?.images, &digest) + 1 < PACKS_MAX;
        let base = match options.base {
            Some(_) if !may_have_base => {
                let reason = format!("{PACKS_MAX} packs would be read to unpack an image: leave --base out");
                return Err(refused(image, &reason));
            }
            Some(base) => Some(self.resolve(base)?),
            None if may_have_base => self.closest_image(&reader, &digest)?,
            None => None,
        };
        let base_image = base.map(|base| reader.hold_named(&ImageName::Digest(base))).transpose()?;
        lease.protect(base.as_slice()).map_err(RepositoryError::from)?;
        if base == Some(digest) {
            return Err(refused(image, "an image cannot be its own base: give another one with --base"));
        }
        for image in [Some(digest), base].into_iter().flatten() {
            // Its description, if it has one, is of a pack that nothing needs: the image is here.
            if !matches!(cold.entry(&image), Ok(None)) {
                self.restore_names(&cold, &lease, &Locked::exclusive(&self.dir)?, &image)?;
            }
        }
        let (pack, entry) = self.write_pack(&cold, &reader, &digest, base, options, progress)?;
        self.verify_pack(&cold, &digest, &pack, options.frames.threads)?;
        if let (Some(base), Some(_)) = (base, base_image) {
            self.keep_base(&lease, &digest, &base)?;
        }
        cold.publish(&digest, pack, &entry)?;
        let refs = self.move_names(&lease, &digest)?;
        Ok(ColdImage { digest, refs, entry })
    }

    /// Checks that nothing but its own names needs the image.
    fn expect_may_freeze(&self, image: &ImageName, digest: &Digest) -> Result<(), ColdError> {
        let names: Vec<RefName> =
            self.refs()?.good.into_iter().filter(|(_, named)| named == digest).map(|(name, _)| name).collect();
        if names.is_empty() {
            return Err(refused(image, "it has no name, so gc would remove it: `composefs tag` gives it one"));
        }
        let keepers = StreamGraph::read(self, &[*digest])?.keepers_of(digest);
        match keepers.iter().find(|keeper| keeper.is_kept()) {
            Some(StreamKeeper { name, .. }) => {
                Err(refused(image, &format!("streams/{name} needs it: the image of an OCI image stays as it is")))
            }
            None => Ok(()),
        }
    }

    /// Returns the image with a name that has most bytes in common with another one.
    fn closest_image(&self, reader: &Reader<'_>, digest: &Digest) -> Result<Option<Digest>, RepositoryError> {
        let mut own = DigestSet::new(self.algorithm());
        self.objects_of_image(digest, |object| {
            own.insert(object);
        })?;
        let mut candidates: Vec<Digest> = self.refs()?.good.into_iter().map(|(_, image)| image).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut best: Option<(u64, Digest)> = None;
        for candidate in candidates.into_iter().filter(|candidate| candidate != digest) {
            let Some(_held) = reader.hold(&candidate)? else { continue };
            // fsck says what is wrong with it.
            let Ok(tree) = self.tree_of_image(&candidate) else { continue };
            let shared = tree.objects().filter(|object| own.contains(&object.digest)).map(|object| object.size).sum();
            if best.is_none_or(|(most, _)| shared > most) {
                best = Some((shared, candidate));
            }
        }
        Ok(best.map(|(_, candidate)| candidate))
    }

    fn write_pack(
        &self,
        cold: &LockedCold,
        reader: &Reader<'_>,
        digest: &Digest,
        base: Option<Digest>,
        options: &FreezeOptions<'_>,
        progress: &(dyn Progress + Sync),
    ) -> Result<(Temporary, ColdEntry), ColdError> {
        let path = cold.pack_path(digest);
        let failed = |step| {
            let path = path.clone();
            move |source: io::Error| RepositoryError::Io { step, path, source }
        };
        let pack = cold.temporary()?;
        let file = File::from(pack.as_fd().try_clone_to_owned().map_err(failed("open"))?);
        let have = Have { images: base.map(ImageName::Digest).into_iter().collect(), objects: Vec::new() };
        let mut out = BufWriter::with_capacity(1 << 20, &file);
        let images = [ImageName::Digest(*digest)];
        let exported = reader.export_frames(&images, &[], &have, &options.frames, &mut out, progress)?;
        drop(out);
        file.sync_all().map_err(failed("sync"))?;
        let pack_size = file.metadata().map_err(failed("stat"))?.len();
        let pack_digest =
            digest_file(file.as_fd(), self.algorithm(), options.frames.threads).map_err(failed("read"))?;
        let (objects, bytes) = (exported.objects, exported.bytes);
        Ok((pack, ColdEntry { base, pack_digest, pack_size, objects, bytes }))
    }

    /// Reads the pack back: what it does not give again would be lost.
    fn verify_pack(
        &self,
        cold: &LockedCold,
        digest: &Digest,
        pack: &Temporary,
        threads: NonZeroUsize,
    ) -> Result<(), ColdError> {
        let path = cold.pack_path(digest);
        let failed = |source: io::Error| RepositoryError::Io { step: "read", path: path.clone(), source };
        let mut file = File::from(pack.as_fd().try_clone_to_owned().map_err(failed)?);
        file.rewind().map_err(failed)?;
        let images = self.verify_frames(threads, BufReader::with_capacity(1 << 20, file), &path, &NoProgress)?;
        if images == [*digest] {
            return Ok(());
        }
        Err(ColdError::OtherImage { path, expected: Box::new(*digest), found: format!("{images:?}") })
    }

    /// Gives the base a name that every program respects.
    fn keep_base(&self, lease: &Lease, digest: &Digest, base: &Digest) -> Result<(), ColdError> {
        let locked = Locked::shared(&self.dir)?;
        let name = base_ref(digest);
        let Some(link) = LinkedImage::find(&self.dir, &locked, base)? else {
            return Err(self.no_image(&ImageName::Digest(*base), base).into());
        };
        refs::write::write(&self.dir, lease, &locked, &[(&name, &link)])?;
        Ok(())
    }

    /// Moves all names of an image to `cold`. No other process publishes meanwhile.
    fn move_names(&self, lease: &Lease, digest: &Digest) -> Result<Vec<RefName>, RepositoryError> {
        let _alone = Locked::exclusive(&self.dir)?;
        let mut moved = Vec::new();
        for (name, _) in self.refs()?.good.into_iter().filter(|(_, named)| named == digest) {
            refs::write::write_to(&self.dir, layout::COLD_REFS, lease, &name, digest)?;
            match refs::write::remove(&self.dir, layout::IMAGE_REFS, &name) {
                Ok(_) => moved.push(name),
                // `untag` needs no lock.
                Err(RepositoryError::NoSuchRef { .. }) => {
                    refs::write::remove(&self.dir, layout::COLD_REFS, &name)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }
}

fn refused(image: &ImageName, reason: &str) -> ColdError {
    ColdError::Refused { image: shown(image), reason: reason.to_owned() }
}
