//! Checks of cold images: every pack is decoded, and each content compared with its digest. A pack whose base is cold
//! is compared with its own digest: its contents were compared when it was made, and the base is checked by itself.

use std::fs::File;
use std::io::{self, BufReader, Seek as _};
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use libcomposefs_content::{Progress, digest_file};
use libcomposefs_image::Digest;

use super::directory::{ColdDir, base_ref};
use super::error::ColdError;
use super::list::ColdImage;
use crate::bundle::{FormatError, TypedRecord, TypedRecordReader};
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
        let found = images_in(&path, &file)?;
        if found != [image.digest] {
            return Err(ColdError::OtherImage { path, expected: Box::new(image.digest), found: format!("{found:?}") });
        }
        if !self.cold_bases(cold, &image.digest, &image.entry)?.is_empty() {
            let found = digest_file(file.as_fd(), self.algorithm(), threads);
            let found = found.map_err(|source| RepositoryError::Io { step: "read", path: path.clone(), source })?;
            progress.bytes(image.entry.bytes);
            return match found == image.entry.pack_digest {
                true => Ok(()),
                false => {
                    Err(ColdError::Entry { path, reason: "the pack does not have its digest: it is damaged".into() })
                }
            };
        }
        self.verify_frames(threads, BufReader::with_capacity(1 << 20, file), &path, progress)?;
        Ok(())
    }
}

/// Returns the images that a pack says it has, and goes back to its beginning.
fn images_in(path: &Path, mut file: &File) -> Result<Vec<Digest>, ColdError> {
    let failed = |source| RepositoryError::Io { step: "read", path: path.to_owned(), source };
    let wrong = |error| match error {
        FormatError::Rule(offset, rule) => {
            let reason = format!("the pack is wrong at byte {offset}: {rule}");
            ColdError::Entry { path: path.to_owned(), reason }
        }
        FormatError::Io(source) => failed(source).into(),
    };
    let mut reader = TypedRecordReader::new(BufReader::with_capacity(1 << 20, file)).map_err(wrong)?;
    let mut images = Vec::new();
    while let Some(record) = reader.next_record().map_err(wrong)? {
        if let TypedRecord::Image { frame, .. } = record {
            images.extend(frame.objects.iter().map(|(digest, _)| *digest));
        }
        io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
    }
    file.rewind().map_err(failed)?;
    Ok(images)
}
