//! Names of entries, as the path of a tree (`docs/format/oci.md`, section 1.1).

use super::LayerError;

/// Longest path from the root, in names.
const DEPTH_MAX: usize = 1000;
/// Longest name, in bytes.
const NAME_MAX: usize = libcomposefs_image::tree::MAX_NAME;

/// Divides a path of an archive into its names. Empty names and `.` are dropped; an empty result is the root.
///
/// # Errors
///
/// If a name is `..`, too long or has a NUL, or the path has too many names.
pub(super) fn names(path: &[u8]) -> Result<Vec<&[u8]>, LayerError> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    if names.iter().any(|name| *name == b"..") {
        return Err(LayerError::ParentName);
    }
    if names.iter().any(|name| name.len() > NAME_MAX || name.contains(&0)) {
        return Err(LayerError::Name);
    }
    if names.len() > DEPTH_MAX {
        return Err(LayerError::Depth(DEPTH_MAX));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_dots_have_no_meaning() {
        for path in [&b"a/b"[..], b"/a/b", b"./a/b", b"a//b/", b"a/./b/."] {
            assert_eq!(names(path).unwrap(), [b"a", b"b"], "{path:?}");
        }
        assert!(names(b"./").unwrap().is_empty());
        assert!(matches!(names(b"a/../b"), Err(LayerError::ParentName)));
        assert!(matches!(names(b".."), Err(LayerError::ParentName)));
        assert!(matches!(names(&[b'a'; 256]), Err(LayerError::Name)));
        assert!(names(&[b'a'; 255]).is_ok());
        assert!(matches!(names(&b"a/".repeat(1001)), Err(LayerError::Depth(1000))));
    }
}
