//! Chains of cold images: the base of a cold image can be cold too.
//!
//! A base is never cold when an image is packed with it, and becomes cold later, so a chain has no loop unless files
//! were changed by hand.

use std::collections::HashMap;

use libcomposefs_image::Digest;

use super::directory::ColdDir;
use super::entry::ColdEntry;
use super::error::ColdError;
use super::list::ColdImage;
use crate::{ImageName, Repository};

/// Most packs that are read to unpack one image. An image on which a longer chain would depend is packed without a
/// base.
pub(super) const PACKS_MAX: usize = 16;
/// Longest chain that is followed. It has room for chains of programs that pack with another limit.
const FOLLOWED_MAX: usize = 64;

impl Repository {
    /// Returns the number of packs that are read to unpack an image: 0 if it is not cold. If images are unpacked in the
    /// order of these numbers, no pack is read twice.
    ///
    /// # Errors
    ///
    /// If the description of the image, or of one in its chain of bases, cannot be read.
    pub fn packs_to_unpack(&self, image: &ImageName) -> Result<usize, ColdError> {
        let (Some(digest), Some(cold)) = (self.cold_image(image)?, ColdDir::open(&self.dir)?) else { return Ok(0) };
        let Some(entry) = cold.entry(&digest)? else { return Ok(0) };
        Ok(1 + self.cold_bases(&cold, &digest, &entry)?.len())
    }

    /// Returns the cold bases of a cold image, the nearest first. The last one has no base, or one that is not cold.
    pub(super) fn cold_bases(
        &self,
        cold: &ColdDir,
        image: &Digest,
        entry: &ColdEntry,
    ) -> Result<Vec<(Digest, ColdEntry)>, ColdError> {
        let mut chain: Vec<(Digest, ColdEntry)> = Vec::new();
        let mut next = entry.base;
        while let Some(base) = next {
            if self.has_image(&base)? {
                break;
            }
            let Some(found) = cold.entry(&base)? else {
                let reason = format!("its base {base} is missing");
                return Err(ColdError::Entry { path: cold.pack_path(image), reason });
            };
            if chain.len() == FOLLOWED_MAX || base == *image {
                let reason = format!("its chain of bases is a loop, or has more than {FOLLOWED_MAX} images");
                return Err(ColdError::Entry { path: cold.entry_path(image), reason });
            }
            next = found.base;
            chain.push((base, found));
        }
        Ok(chain)
    }
}

/// Returns the number of packs in the longest chain of cold images that lead to an image as base.
pub(super) fn packs_above(images: &[ColdImage], base: &Digest) -> usize {
    let mut by_base: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for image in images {
        if let Some(base) = image.entry.base {
            by_base.entry(base).or_default().push(image.digest);
        }
    }
    let mut level = vec![*base];
    for packs in 0..FOLLOWED_MAX {
        level = level.iter().filter_map(|base| by_base.get(base)).flatten().copied().collect();
        if level.is_empty() {
            return packs;
        }
    }
    FOLLOWED_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcomposefs_image::Algorithm;

    #[test]
    fn the_longest_chain_counts() {
        let digest = |byte: u8| Digest::new(Algorithm::Sha256, &[byte; 32]).unwrap();
        let image = |own: u8, base: Option<u8>| {
            let (pack_digest, base) = (digest(0), base.map(digest));
            let entry = ColdEntry { base, pack_digest, pack_size: 1, objects: 1, bytes: 1 };
            ColdImage { digest: digest(own), refs: Vec::new(), entry }
        };
        let images = [image(1, Some(2)), image(2, Some(4)), image(3, Some(4)), image(5, None)];
        assert_eq!([1, 2, 3, 4, 5].map(|own| packs_above(&images, &digest(own))), [0, 1, 0, 2, 0]);
        // A loop, made by hand.
        let images = [image(1, Some(2)), image(2, Some(1))];
        assert_eq!(packs_above(&images, &digest(1)), FOLLOWED_MAX);
    }
}
