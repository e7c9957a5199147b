//! Annotations of manifests with digests of composefs images.

use libcomposefs_image::Digest;

/// Part of the keys of all annotations with digests of composefs.
const COMPOSEFS: &str = "composefs";
/// First part of the key of the annotation with the digest of the image of all layers, format version 1.
const MERGED: &str = "composefs.merged.erofs.v1.fsverity-";

/// First part of the key of the annotation with the digest of the bootable image, format version 1.
const MERGED_BOOTABLE: &str = "composefs.merged.bootable.erofs.v1.fsverity-";

/// Returns the key of the annotation with the digest of the image of all layers, of format version 1, with blocks of
/// 4096 bytes.
#[must_use]
pub fn merged_image_key(algorithm: libcomposefs_image::Algorithm) -> String {
    format!("{MERGED}{}-12", algorithm.name())
}

/// Returns the key of the annotation with the digest of the bootable image, of format version 1, with blocks of 4096
/// bytes.
#[must_use]
pub fn boot_image_key(algorithm: libcomposefs_image::Algorithm) -> String {
    format!("{MERGED_BOOTABLE}{}-12", algorithm.name())
}

/// Reports whether an annotation has a digest of composefs.
#[must_use]
pub fn is_composefs_key(key: &str) -> bool {
    key.contains(COMPOSEFS)
}

/// Reports whether the value of an annotation is a digest, in hexadecimal digits of either case.
pub(crate) fn is_digest(value: &str, digest: &Digest) -> bool {
    value
        .strip_prefix("sha256:")
        .or_else(|| value.strip_prefix("sha512:"))
        .unwrap_or(value)
        .eq_ignore_ascii_case(&digest.to_hex())
}
