//! What a scan takes from a tree, and how.

use std::num::NonZeroUsize;

use libcomposefs_image::digest::Algorithm;
use libcomposefs_image::tree::Timestamp;

use crate::patterns::Patterns;
use libcomposefs_content::thread_count;

/// Which extended attributes are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XattrChoice {
    /// All that the process may see.
    #[default]
    All,
    /// Only those whose name begins with `user.`.
    UserOnly,
    /// None; they are not even listed.
    None,
}

/// Which time of modification the inodes get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mtime {
    /// The file's own.
    #[default]
    Keep,
    /// The same for all.
    Fixed(Timestamp),
    /// The file's own, but none later than this: what `SOURCE_DATE_EPOCH` asks for
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

/// How a tree is scanned. The default is what `mkcomposefs` does when no option is given.
#[derive(Clone, Debug)]
pub struct Options {
    /// The algorithm of the digests.
    pub algorithm: Algorithm,
    /// Contents of at most so many bytes are kept in the tree; longer ones go to the sink. Up to
    /// [`MAX_INLINE`](libcomposefs_image::tree::MAX_INLINE).
    pub inline_max: u64,
    /// Whether the files kept in the tree get a digest too.
    pub digest_inline: bool,
    /// Whether several names of one inode become one inode of the tree. Otherwise each name gets an inode of its own
    /// with a link count of 1.
    pub hardlinks: bool,
    /// Leaves out character and block devices.
    pub skip_devices: bool,
    /// Which extended attributes are taken.
    pub xattrs: XattrChoice,
    /// Which times of modification.
    pub mtime: Mtime,
    /// What is left out.
    pub patterns: Patterns,
    /// Whether the root may be a symlink to a directory. Symlinks below it are never followed.
    pub follow_root: bool,
    /// How many threads; as many as the process may use CPUs if not said.
    pub threads: Option<NonZeroUsize>,
}

impl Options {
    /// How many threads that is on this machine.
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
