//! Format versions as data: what a writer does differently from one to the next.

use super::error::WriteError;

/// What one format version asks of the writer.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// The number in the composefs header.
    pub format_version: u32,
    /// A directory that holds input whiteouts is marked opaque (`opaque=x`), so that the kernel looks for them.
    pub marks_whiteout_parents_opaque: bool,
}

/// All versions, each at its number.
pub const PROFILES: [Profile; 2] = [
    Profile { format_version: 0, marks_whiteout_parents_opaque: false },
    Profile { format_version: 1, marks_whiteout_parents_opaque: true },
];

/// The versions a caller allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The version to be used unless the tree needs a later one.
    pub min: u32,
    /// The latest version allowed; raised to `min` where it is smaller.
    pub max: u32,
}

impl Default for Versions {
    fn default() -> Self {
        Self { min: 0, max: 1 }
    }
}

impl Versions {
    /// Exactly this version.
    #[must_use]
    pub const fn exactly(version: u32) -> Self {
        Self { min: version, max: version }
    }

    /// The first allowed version that can express the tree: one with whiteouts wants its directories marked. Where
    /// none of those allowed can, the first.
    pub fn choose(self, has_whiteout: bool) -> Result<&'static Profile, WriteError> {
        let max = self.max.max(self.min);
        let allowed = PROFILES.get(self.min as usize..=max as usize).filter(|allowed| !allowed.is_empty());
        let allowed = allowed.ok_or(WriteError::Version { min: self.min, max })?;
        let fits = |profile: &&Profile| !has_whiteout || profile.marks_whiteout_parents_opaque;
        Ok(allowed.iter().find(fits).unwrap_or(&allowed[0]))
    }
}
