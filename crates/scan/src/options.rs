//! Options of a scan.

use std::num::NonZeroUsize;

use libcomposefs_image::digest::Algorithm;
use libcomposefs_image::tree::Timestamp;

use crate::patterns::Patterns;
use libcomposefs_content::thread_count;

/// Selects the extended attributes to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum XattrChoice {
    /// All attributes that the process may see.
    #[default]
    All,
    /// Only attributes whose name begins with `user.`.
    UserOnly,
    /// No attributes; they are not even listed.
    None,
}

/// Selects the mtime of the inodes in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mtime {
    /// The mtime of the file.
    #[default]
    Keep,
    /// The same mtime for all inodes.
    Fixed(Timestamp),
    /// The mtime of the file, but no later than this, as `SOURCE_DATE_EPOCH` demands
    /// (<https://reproducible-builds.org/specs/source-date-epoch/>).
    ClampTo(Timestamp),
}

impl Mtime {
    pub(crate) fn apply(self, own: Timestamp) -> Timestamp {
        match self {
            Mtime::Keep => own,
            Mtime::Fixed(fixed) => fixed,
            Mtime::ClampTo(latest) => own.min(latest),
        }
    }
}

/// Options of a scan. The default is that of `mkcomposefs` without options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Algorithm of the content digests.
    pub algorithm: Algorithm,
    /// Contents of up to this many bytes are kept in the tree; longer ones are passed to the sink. At most
    /// [`MAX_INLINE`](libcomposefs_image::tree::MAX_INLINE).
    pub inline_max: u64,
    /// Computes a digest of the contents kept in the tree too.
    pub digest_inline: bool,
    /// Makes several names of one inode one inode of the tree. Otherwise each name gets an inode of its own with a
    /// link count of 1.
    pub hardlinks: bool,
    /// Leaves out character and block devices.
    pub skip_devices: bool,
    /// Selects the extended attributes to read.
    pub xattrs: XattrChoice,
    /// Selects the mtime of the inodes in the tree.
    pub mtime: Mtime,
    /// Patterns of the paths to leave out.
    pub patterns: Patterns,
    /// Accepts a symlink to a directory as the root. Symlinks below it are never followed.
    pub follow_root: bool,
    /// Number of threads; one per available CPU by default.
    pub threads: Option<NonZeroUsize>,
}

impl Options {
    /// Returns the number of threads to use on this machine.
    #[must_use]
    pub fn thread_count(&self) -> NonZeroUsize {
        thread_count(self.threads)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            inline_max: 64,
            digest_inline: false,
            hardlinks: false,
            skip_devices: false,
            xattrs: XattrChoice::default(),
            mtime: Mtime::default(),
            patterns: Patterns::default(),
            follow_root: false,
            threads: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_clamped_to_the_epoch_given_but_not_raised() {
        let at = |sec, nsec| Timestamp { sec, nsec };
        let clamp = Mtime::ClampTo(at(100, 0));
        assert_eq!(clamp.apply(at(99, 999_999_999)), at(99, 999_999_999));
        assert_eq!(clamp.apply(at(100, 1)), at(100, 0));
        assert_eq!(clamp.apply(at(-5, 7)), at(-5, 7));
        assert_eq!(Mtime::Fixed(at(1, 2)).apply(at(3, 4)), at(1, 2));
        assert_eq!(Mtime::Keep.apply(at(3, 4)), at(3, 4));
    }
}
