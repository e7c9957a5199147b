//! The reasons why a mount cannot have the numbers of the objects' file system.

/// The reason why a mount cannot have the numbers of the objects' file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatfsRefusal {
    /// No directory was given that answers.
    #[error("it needs an empty directory on the file system of the objects, for which an image file has no place")]
    NoDirectory,
    /// The upper directory is the topmost layer.
    #[error("with upperdir= the file system of the upper directory answers already")]
    Upper,
    /// The owner of the directory would not be mapped.
    #[error("idmap= does not map the owner of the directory that answers")]
    Idmap,
}

impl StatfsRefusal {
    /// Returns what can be done about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoDirectory => {
                "mount an image of a repository (`composefs --repo=REPO mount REF DIR --statfs=objects`), or in user \
                 space (--via=fuse), or leave out statfs="
            }
            Self::Upper | Self::Idmap => "leave out one of the two",
        }
    }
}
