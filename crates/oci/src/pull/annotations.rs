//! Compares annotations with digests of composefs with what the pull computes.

use std::collections::BTreeMap;

use libcomposefs_repo::Format;

use super::boot_image::MadeImages;
use super::{AnnotationRule, PullError, PullOptions, PullWarning};
use crate::annotation::{boot_image_key, is_composefs_key, is_digest, merged_image_key};
use crate::layer::{WhiteoutRule, XattrFilter};
use crate::manifest::Manifest;

/// Refuses a manifest whose annotation has another digest than the image that was made, unless the options say
/// otherwise, and returns a warning for each annotation that differs or cannot be compared.
pub(super) fn check(
    manifest: &Manifest,
    images: &MadeImages,
    format: Format,
    options: &PullOptions,
) -> Result<Vec<PullWarning>, PullError> {
    let is_usual = options.xattrs == XattrFilter::Allowlist && options.whiteouts == WhiteoutRule::InOrder;
    let algorithm = images.image.algorithm();
    let known = [(merged_image_key(algorithm), Some(images.image)), (boot_image_key(algorithm), images.boot_image)];
    let image_of = |key: &String| {
        let known = known.iter().find(|(known, _)| known == key && is_usual && format == Format::One);
        known.and_then(|(_, image)| *image)
    };
    let mut unchecked = Vec::new();
    for (key, value) in manifest.annotations.iter().filter(|(key, _)| is_composefs_key(key)) {
        let Some(image) = image_of(key) else {
            unchecked.push(PullWarning::Unchecked { key: key.clone(), layers: 0 });
            continue;
        };
        if !is_digest(value, &image) {
            let (key, expected, found) = (key.clone(), value.clone(), image.to_hex());
            match options.annotations {
                AnnotationRule::Warn => unchecked.push(PullWarning::OtherDigest { key, expected, found }),
                AnnotationRule::Refuse => {
                    return Err(PullError::Annotation { manifest: manifest.digest, key, expected, found });
                }
            }
        }
    }
    let mut of_layers: BTreeMap<&String, usize> = BTreeMap::new();
    for key in manifest.layers.iter().flat_map(|layer| layer.annotations.keys()).filter(|key| is_composefs_key(key)) {
        *of_layers.entry(key).or_default() += 1;
    }
    unchecked.extend(of_layers.into_iter().map(|(key, layers)| PullWarning::Unchecked { key: key.clone(), layers }));
    Ok(unchecked)
}
