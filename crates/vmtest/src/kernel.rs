//! The version of the running kernel, and the versions a test is for.

use std::fmt;

/// Major and minor version.
pub(crate) type Version = (u32, u32);

/// Returns the kernel's release, as `uname -r` prints it.
pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The version a release begins with.
pub(crate) fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The kernels a test is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// Every kernel version.
    All,
    /// This version and all later ones.
    Since(Version),
    /// All versions earlier than this.
    Before(Version),
}

impl Kernels {
    /// Returns true if the set contains a version.
    pub(crate) fn include(self, version: Version) -> bool {
        match self {
            Kernels::All => true,
            Kernels::Since(first) => version >= first,
            Kernels::Before(end) => version < end,
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kernels::All => f.write_str("for all"),
            Kernels::Since((major, minor)) => write!(f, "for {major}.{minor} and later"),
            Kernels::Before((major, minor)) => write!(f, "for those before {major}.{minor}"),
        }
    }
}
