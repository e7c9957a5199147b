//! Names of streams and tags of OCI images (`docs/format/repository.md`, section 1).

use std::fmt;
use std::str::FromStr;

/// Longest file name, in bytes.
const FILE_NAME_MAX: usize = 255;

/// The name of a stream: a file name below `streams`.
///
/// ```
/// use libcomposefs_repo::StreamName;
///
/// assert!("oci-layer-sha256:00".parse::<StreamName>().is_ok());
/// assert!("refs".parse::<StreamName>().is_err());
/// assert!("a/b".parse::<StreamName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(String);

/// The tag of an OCI image: a name of the stream of its manifest. In the repository it is a file name below
/// `streams/refs/oci`, in which `%` and `/` are written as `%25` and `%2F`.
///
/// ```
/// use libcomposefs_repo::StreamTag;
///
/// let tag: StreamTag = "docker.io/library/debian:13".parse()?;
/// assert_eq!(tag.file_name(), "docker.io%2Flibrary%2Fdebian:13");
/// assert_eq!(StreamTag::from_file_name("docker.io%2Flibrary%2Fdebian:13"), Some(tag));
/// # Ok::<(), libcomposefs_repo::InvalidStreamName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamTag(String);

/// A name cannot be that of a stream or a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot be the {what}: {rule}")]
pub struct InvalidStreamName {
    name: String,
    what: &'static str,
    rule: &'static str,
}

impl StreamName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = InvalidStreamName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let invalid =
            |rule| InvalidStreamName { name: name.chars().take(300).collect(), what: "name of a stream", rule };
        if name.is_empty() || name.len() > FILE_NAME_MAX {
            return Err(invalid("it must have 1 to 255 bytes"));
        }
        if name.starts_with('.') || name == super::layout::REFS {
            return Err(invalid("it must not begin with a dot or be \"refs\""));
        }
        if name.contains('/') || name.chars().any(char::is_control) {
            return Err(invalid("it must have no slash and no control characters"));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl StreamTag {
    /// Returns the tag as people write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the file name of the tag below `streams/refs/oci`.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.0.replace('%', "%25").replace('/', "%2F")
    }

    /// Reads a file name below `streams/refs/oci`; `None` if it is not in the form that is written.
    #[must_use]
    pub fn from_file_name(file_name: &str) -> Option<Self> {
        let tag: Self = file_name.replace("%2F", "/").replace("%25", "%").parse().ok()?;
        (tag.file_name() == file_name).then_some(tag)
    }
}

impl FromStr for StreamTag {
    type Err = InvalidStreamName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let tag = Self(name.to_owned());
        let invalid =
            |rule| InvalidStreamName { name: name.chars().take(300).collect(), what: "name of an OCI image", rule };
        if name.is_empty() || tag.file_name().len() > FILE_NAME_MAX {
            return Err(invalid("it must have 1 to 255 bytes, where / and % count as 3"));
        }
        if name.starts_with(['.', '@', '-']) || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("it must not begin with a dot, a dash or @, and have no spaces or control characters"));
        }
        Ok(tag)
    }
}

impl fmt::Display for StreamTag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
