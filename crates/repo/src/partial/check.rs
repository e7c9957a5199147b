//! Checks of partial images. What is missing is not damage: it is counted.

use std::path::PathBuf;

use libcomposefs_image::Digest;

use super::list::{PartialImage, PartialProgress};
use crate::{RefName, Repository, RepositoryError, layout};

/// A damage of a partial image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialDamage {
    /// Path of the damaged file or name, below the repository.
    pub path: PathBuf,
    /// Description of the damage.
    pub found: String,
    /// The partial image.
    pub image: Digest,
    /// Names of the image.
    pub refs: Vec<RefName>,
}

/// The result of checking all partial images.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PartialCheck {
    /// The sound images, and how much of them is here.
    pub images: Vec<(PartialImage, PartialProgress)>,
    /// What is wrong.
    pub damages: Vec<PartialDamage>,
}

impl Repository {
    /// Checks all partial images: names, descriptions, and the images themselves. Their objects are among those that
    /// [`fsck`](Self::fsck) reads.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read.
    pub fn check_partial(&self) -> Result<PartialCheck, RepositoryError> {
        let mut check = PartialCheck::default();
        let all = self.partial_images()?;
        for (image, error) in all.broken {
            let (path, found) = (PathBuf::from(layout::PARTIAL).join(image.to_hex()), error.to_string());
            check.damages.push(PartialDamage { path, found, image, refs: Vec::new() });
        }
        for (name, image) in all.dangling {
            let path = PathBuf::from(layout::PARTIAL_REFS).join(name.as_str());
            let found = format!("there is no partial image {image}");
            check.damages.push(PartialDamage { path, found, image, refs: vec![name] });
        }
        for one in all.images {
            match self.progress_of_image(&one.digest) {
                Ok(progress) => check.images.push((one, progress)),
                // It was removed meanwhile.
                Err(_) if matches!(self.partial_image(&one.digest), Ok(None)) => {}
                Err(error) => {
                    let (path, image) = (PathBuf::from(layout::PARTIAL).join(one.digest.to_hex()), one.digest);
                    check.damages.push(PartialDamage { path, found: error.to_string(), image, refs: one.refs });
                }
            }
        }
        Ok(check)
    }
}
