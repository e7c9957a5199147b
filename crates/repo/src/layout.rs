//! The paths in a repository, and the text of its symlinks (`docs/format/repository.md`, section 1).

use libcomposefs_image::Digest;

use super::ref_name::RefName;

/// The settings. This file is written last: a directory without it is no repository.
pub(crate) const META: &str = "meta.json";
/// The object store, for contents of files, images and streams.
pub(crate) const OBJECTS: &str = "objects";
/// The directory of image links.
pub(crate) const IMAGES: &str = "images";
/// The directory of refs.
pub(crate) const IMAGE_REFS: &str = "images/refs";
/// The directory of links to streams, which other programs write.
pub(crate) const STREAMS: &str = "streams";
/// The directory of tags of OCI images.
pub(crate) const OCI_TAGS: &str = "streams/refs/oci";
/// The directory of names of kept blobs.
pub(crate) const BLOB_NAMES: &str = "streams/refs/composefs-blobs";
/// Directory of the names of the images of single layers.
pub(crate) const LAYER_NAMES: &str = "streams/refs/composefs-layers";
/// The directory of names in `images` and `streams`.
pub(crate) const REFS: &str = "refs";
/// The directory of leases: a file for each running process.
pub(crate) const LEASES: &str = "leases";

/// Directory of cold images.
pub(crate) const COLD: &str = "cold";
/// Directory of the names of cold images.
pub(crate) const COLD_REFS: &str = "cold/refs";
/// First part of the names that keep the bases of cold images.
pub(crate) const COLD_BASES: &str = "composefs-cold";

/// Directory of partial images.
pub(crate) const PARTIAL: &str = "partial";
/// Directory of the names of partial images.
pub(crate) const PARTIAL_REFS: &str = "partial/refs";
/// Directory of second names of objects that have just arrived.
pub(crate) const INCOMING: &str = "partial/incoming";

/// Directory of signed statements about images.
pub(crate) const SIGNATURES: &str = "signatures";

/// Directory of the empty directories that answer `statfs` for mounts.
pub(crate) const STATFS: &str = "statfs";

/// Directory of the remotes that have names.
pub(crate) const REMOTES: &str = "remotes";

/// The directory of caches, which other programs do not know.
pub(crate) const CACHE: &str = "cache";

/// Returns the text of the symlink `images/HEX` of an image.
#[must_use]
pub fn image_link(digest: &Digest) -> String {
    format!("../{OBJECTS}/{}", digest.object_path())
}

/// Returns the text of the symlink `images/refs/NAME` of a name.
#[must_use]
pub fn ref_link(name: &RefName, digest: &Digest) -> String {
    format!("{}{digest}", "../".repeat(name.parts().count()))
}

/// Returns the image that a ref leads to, if the text has the form of a ref.
pub(crate) fn parse_ref_link(name: &RefName, text: &[u8]) -> Option<Digest> {
    let up = name.parts().count() * 3;
    let (above, hex) = text.split_at_checked(up)?;
    let is_up = above.chunks(3).all(|part| part == b"../");
    (is_up && !hex.iter().any(u8::is_ascii_uppercase)).then(|| Digest::from_hex(hex).ok()).flatten()
}

/// Returns the object that the link of an image or stream leads to, if the text has that form.
pub(crate) fn parse_object_link(text: &[u8]) -> Option<Digest> {
    Digest::from_object_path(text.strip_prefix(b"../objects/")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_they_are_written() {
        let digest = Digest::from_hex("ab".repeat(32)).unwrap();
        assert_eq!(parse_object_link(image_link(&digest).as_bytes()), Some(digest));
        for (name, above) in [("one", "../"), ("a/b/c", "../../../")] {
            let name = RefName::new(name).unwrap();
            let link = ref_link(&name, &digest);
            assert_eq!(link, format!("{above}{}", "ab".repeat(32)));
            assert_eq!(parse_ref_link(&name, link.as_bytes()), Some(digest));
            for wrong in
                [format!("../{link}"), link[3..].to_owned(), link.replace("ab", "AB"), link.replace("..", "x.")]
            {
                assert_eq!(parse_ref_link(&name, wrong.as_bytes()), None, "{wrong}");
            }
        }
        for wrong in ["objects/ab/cd", "../objects/../x", "/objects/ab/cd", "", "../objects/"] {
            assert_eq!(parse_object_link(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
