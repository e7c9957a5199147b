//! The cold images whose packs have an object.

use libcomposefs_delta::FrameInfo;
use libcomposefs_image::Digest;

use super::directory::ColdDir;
use super::error::ColdError;
use super::list::ColdImage;
use super::pack_frames::find_frame;
use crate::Repository;

/// Result of [`Repository::cold_images_with`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PackedIn {
    /// Cold images that have the object in their packs.
    pub images: Vec<ColdImage>,
    /// Cold images whose description or pack cannot be read: they may have the object.
    pub unreadable: Vec<(Digest, ColdError)>,
}

impl Repository {
    /// Lists the cold images that have an object, or the image of this digest, in their packs. Of the packs only the
    /// descriptions are looked at. A pack that cannot be read does not hide the others.
    ///
    /// # Errors
    ///
    /// If the list of cold images cannot be read.
    pub fn cold_images_with(&self, object: &Digest) -> Result<PackedIn, ColdError> {
        let mut packed = PackedIn::default();
        let Some(cold) = ColdDir::open(&self.dir)? else { return Ok(packed) };
        let all = self.cold_images()?;
        packed.unreadable = all.broken;
        for image in all.images {
            match has_object(&cold, &image, object) {
                Ok(true) => packed.images.push(image),
                Ok(false) => {}
                // It was unpacked meanwhile.
                Err(_) if matches!(cold.entry(&image.digest), Ok(None)) => {}
                Err(error) => packed.unreadable.push((image.digest, error)),
            }
        }
        Ok(packed)
    }
}

fn has_object(cold: &ColdDir, image: &ColdImage, object: &Digest) -> Result<bool, ColdError> {
    let file = cold.open_pack(&image.digest, &image.entry)?;
    let has = |frame: &FrameInfo, _| frame.objects.iter().any(|(digest, _)| digest == object).then_some(());
    Ok(find_frame(&file, &cold.pack_path(&image.digest), has)?.is_some())
}
