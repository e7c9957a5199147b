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

/// Divides a path into the bytes before its last slash and a name, if the name is one that [`names`] keeps. The path
/// may have no slash.
pub(super) fn plain_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.iter().rposition(|byte| *byte == b'/');
    let (above, name) = at.map_or((&path[..0], path), |at| (&path[..at], &path[at + 1..]));
    let is_plain = !matches!(name, b"" | b"." | b"..") && name.len() <= NAME_MAX && !name.contains(&0);
    is_plain.then_some((above, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_those_of_the_path() {
        assert_eq!(plain_name(b"usr/lib/a"), Some((&b"usr/lib"[..], &b"a"[..])));
        assert_eq!(plain_name(b"a"), Some((&b""[..], &b"a"[..])));
        for path in [&b""[..], b"a/", b"a/.", b"a/..", b"..", b"a/\0", &[b'a'; 256]] {
            assert_eq!(plain_name(path), None, "{path:?}");
        }
    }

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
