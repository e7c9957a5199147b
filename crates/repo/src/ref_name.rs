//! Names of images: refs and digests.

use std::fmt;
use std::str::FromStr;

use libcomposefs_image::Digest;

/// Longest part of a name, as file systems allow.
const PART_MAX: usize = 255;
/// Longest name, which must fit into a path.
const NAME_MAX: usize = 1024;

/// The name of an image: `rootfs`, `debian/13/minbase`. It is a path of ordinary file names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

/// Error of a string that cannot be the name of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot name an image: {rule}")]
pub struct InvalidRefName {
    name: String,
    rule: &'static str,
}

impl RefName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`InvalidRefName`] with the rule that the name breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidRefName> {
        let name = name.into();
        match broken_rule(&name) {
            Some(rule) => Err(InvalidRefName { name, rule }),
            None => Ok(Self(name)),
        }
    }

    /// Returns the name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the parts between slashes, at least one.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the directory of the name, and the last part.
    pub(crate) fn folder_and_last(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    if name.len() > NAME_MAX {
        return Some("it is longer than 1024 bytes");
    }
    if Digest::from_hex(name).is_ok() {
        return Some("it would be taken for a digest");
    }
    name.split('/').find_map(|part| match part {
        "" => Some("a part between slashes is empty"),
        "." | ".." => Some("a part is . or .."),
        _ if part.starts_with('.') => Some("a part begins with a dot"),
        _ if part.len() > PART_MAX => Some("a part is longer than 255 bytes"),
        _ if part.chars().any(char::is_control) => Some("it has a control character"),
        _ => None,
    })
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RefName {
    type Err = InvalidRefName;

    fn from_str(name: &str) -> Result<Self, InvalidRefName> {
        Self::new(name)
    }
}

/// A name of an image as users give it: a ref or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageName {
    /// Name of a ref.
    Ref(RefName),
    /// Digest of the image.
    Digest(Digest),
}

impl FromStr for ImageName {
    type Err = InvalidRefName;

    fn from_str(text: &str) -> Result<Self, InvalidRefName> {
        match Digest::from_hex(text) {
            Ok(digest) => Ok(ImageName::Digest(digest)),
            Err(_) => RefName::new(text).map(ImageName::Ref),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageName::Ref(name) => name.fmt(f),
            ImageName::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_of_ordinary_names() {
        for name in ["a", "debian/13", "a b", "ä:1", "sha256:x", &"f".repeat(63), &"x".repeat(255)] {
            assert_eq!(RefName::new(name).unwrap().as_str(), name);
        }
        let long = ["x".repeat(256), vec!["y"; 600].join("/"), "f".repeat(64), "0A".repeat(64)];
        let bad = ["", "/a", "a/", "a//b", ".", "..", "a/../b", ".tmp", "a\nb", "a\0"];
        for name in bad.into_iter().chain(long.iter().map(String::as_str)) {
            assert!(RefName::new(name).is_err(), "{name:?}");
        }
    }
}
