//! The names of an object store as nodes of a file system: 256 directories, and objects below them by their digests.

use libcomposefs_image::Digest;

use crate::protocol::{Attributes, ROOT_ID};

/// Node of the directory `00`; those of `01` to `ff` follow.
pub(crate) const FIRST_DIRECTORY: u64 = ROOT_ID + 1;

/// Returns the first byte of the digests of a directory.
pub(crate) fn directory_of(node: u64) -> Option<u8> {
    node.checked_sub(FIRST_DIRECTORY).and_then(|byte| u8::try_from(byte).ok())
}

/// Returns the byte that a name of a directory stands for.
pub(crate) fn directory_named(name: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(name).ok().filter(|text| text.len() == 2)?;
    let byte = u8::from_str_radix(text, 16).ok()?;
    (format!("{byte:02x}") == text).then_some(byte)
}

/// Returns the digest of the object with a name in a directory.
pub(crate) fn digest_of(byte: u8, name: &[u8]) -> Option<Digest> {
    Digest::from_object_path(&[format!("{byte:02x}/").as_bytes(), name].concat())
}

/// Returns the attributes of a directory.
pub(crate) fn directory(node: u64) -> Attributes {
    Attributes { ino: node, mode: 0o040_555, nlink: 2, ..Attributes::default() }
}

#[cfg(test)]
mod tests {
    use libcomposefs_image::Algorithm;

    use super::*;

    #[test]
    fn names_are_those_of_a_store() {
        assert_eq!(["00", "0f", "ff"].map(|name| directory_named(name.as_bytes())), [Some(0), Some(15), Some(255)]);
        for wrong in ["", "0", "FF", "fff", "+1", " 1", "..", "0x"] {
            assert_eq!(directory_named(wrong.as_bytes()), None, "{wrong}");
        }
        let digest = Digest::new(Algorithm::Sha256, &[0xab; 32]).unwrap();
        assert_eq!(digest_of(0xab, "ab".repeat(31).as_bytes()), Some(digest));
        for wrong in ["AB".repeat(31), "ab".repeat(30), "ab".repeat(32), format!("{}/x", "ab".repeat(30)), "".into()] {
            assert_eq!(digest_of(0xab, wrong.as_bytes()), None, "{wrong}");
        }
        let nodes = [ROOT_ID, FIRST_DIRECTORY, FIRST_DIRECTORY + 255, FIRST_DIRECTORY + 256];
        assert_eq!(nodes.map(directory_of), [None, Some(0), Some(255), None]);
    }
}
