//! Checks of cold images: every pack is decoded, and each content compared with its digest. A pack whose base is cold
//! is compared with its own digest: its contents were compared when it was made, and the base is checked by itself.

use std::io::BufReader;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use libcomposefs_content::{Progress, digest_file};
use libcomposefs_image::Digest;

use super::directory::{ColdDir, base_ref};
use super::error::ColdError;
use super::list::ColdImage;
use super::pack_frames::pack_images;
use crate::{RefName, Repository, RepositoryError, layout};

/// A damage of a cold image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColdDamage {
    /// Path of the damaged file or name, below the repository.
    pub path: PathBuf,
    /// Description of the damage.
    pub found: String,
    /// The cold image.
    pub image: Digest,
    /// Names of the image.
    pub refs: Vec<RefName>,
}

impl Repository {
    /// Checks all cold images, on `threads` threads. Damages are no errors.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read.
    pub fn check_cold(
        &self,
        threads: NonZeroUsize,
        progress: &dyn Progress,
    ) -> Result<Vec<ColdDamage>, RepositoryError> {
        let Some(cold) = ColdDir::open(&self.dir)? else { return Ok(Vec::new()) };
        let reader = self.reader()?;
        let all = self.cold_images()?;
        let mut damages = Vec::new();
        for (image, error) in all.broken {
            let (path, found) = (PathBuf::from(layout::COLD).join(image.to_hex()), error.to_string());
            let named = self.cold_refs()?.into_iter().filter(|(_, named)| *named == image);
            let refs = named.map(|(name, _)| name).collect();
            damages.push(ColdDamage { path, found, image, refs });
        }
        for (name, image) in all.dangling {
            let path = PathBuf::from(layout::COLD_REFS).join(name.as_str());
            let found = format!("there is no cold image {image}");
            damages.push(ColdDamage { path, found, image, refs: vec![name] });
        }
        for one in all.images {
            if one.entry.base.is_some() && self.kept_base(&one.digest) != one.entry.base {
                let path = PathBuf::from(layout::IMAGE_REFS).join(base_ref(&one.digest).as_str());
                let found = "the ref is missing or leads to another image than the base: gc writes it".to_owned();
                damages.push(ColdDamage { path, found, image: one.digest, refs: one.refs.clone() });
            }
            reader.protect(one.entry.base.as_slice())?;
            // Unpacked or removed meanwhile.
            let Err(error) = self.check_pack(&cold, &one, threads, progress) else { continue };
            if matches!(cold.entry(&one.digest), Ok(Some(entry)) if entry == one.entry) {
                let path = PathBuf::from(layout::COLD).join(format!("{}.pack", one.digest));
                damages.push(ColdDamage { path, found: error.to_string(), image: one.digest, refs: one.refs });
            }
        }
        Ok(damages)
    }

    fn check_pack(
        &self,
        cold: &ColdDir,
        image: &ColdImage,
        threads: NonZeroUsize,
        progress: &dyn Progress,
    ) -> Result<(), ColdError> {
        let path = cold.pack_path(&image.digest);
        let file = cold.open_pack(&image.digest, &image.entry)?;
        // The contents of a base that is cold are not here to decode with.
        let has_cold_base = !self.cold_bases(cold, &image.digest, &image.entry)?.is_empty();
        let found = if has_cold_base {
            pack_images(&file, &path)?
        } else {
            self.verify_frames(threads, BufReader::with_capacity(1 << 20, &file), &path, progress)?
        };
        if found != [image.digest] {
            return Err(ColdError::OtherImage { path, expected: Box::new(image.digest), found: format!("{found:?}") });
        }
        if has_cold_base {
            let found = digest_file(file.as_fd(), self.algorithm(), threads);
            let found = found.map_err(|source| RepositoryError::Io { step: "read", path: path.clone(), source })?;
            progress.bytes(image.entry.bytes);
            if found != image.entry.pack_digest {
                let reason = "the pack does not have its digest: it is damaged".into();
                return Err(ColdError::Entry { path, reason });
            }
        }
        Ok(())
    }
}
