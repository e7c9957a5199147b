//! The choices of a tool that give one tree many digests (`docs/digests.md`).
//!
//! A [`Policy`] holds all of them as plain data. [`apply`](Policy::apply) makes the tree that such a tool would have
//! made of the same files, [`plan`](Policy::plan) its image, and a [`Space`] has every policy that tools in the field
//! use, as far as it makes a difference for the given tree.

mod apply;
mod candidates;
mod contents;
mod equivalence;
mod text;

pub use apply::NotKnown;
pub use candidates::{Choice, Space};
pub use contents::FileContents;
pub use text::InvalidPolicy;

use crate::digest::Algorithm;
use crate::erofs::format_version::{LEGACY, PROFILES, WriterProfile};
use crate::erofs::{Image, WriteError};
use crate::tree::{Timestamp, Tree};

/// The choices by which a tree becomes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The format version: 0, 1, or the legacy 2.
    pub version: u32,
    /// The algorithm of the digests, and of that of the image.
    pub algorithm: Algorithm,
    /// The extended attributes that are kept.
    pub xattrs: XattrPolicy,
    /// The treatment of the times.
    pub times: Times,
    /// Several names of one inode stay one inode; otherwise each name has an inode of its own.
    pub hardlinks: bool,
    /// The contents that are kept in the image.
    pub inline: Inline,
    /// Set if character and block devices are kept, including whiteouts.
    pub devices: bool,
    /// The change to some directories of the root.
    pub transform: Transform,
}

/// The choice of extended attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XattrPolicy {
    /// All extended attributes.
    All,
    /// Those whose names begin with `user.`.
    User,
    /// No extended attributes.
    None,
    /// The attribute `security.capability` alone.
    Capability,
    /// The attribute `security.capability` and all whose names begin with `user.`.
    CapabilityAndUser,
}

/// The treatment of the times of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Times {
    /// They do not change.
    Keep,
    /// All times are 0.
    Zero,
    /// Those of directories are 0.
    ZeroDirectories,
    /// Those of everything but directories are 0.
    KeepDirectories,
    /// None is later than this.
    ClampTo(Timestamp),
}

/// The choice of contents that are kept in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inline {
    /// Those that the tree has: what a writer does that is given a dump or an image.
    AsGiven,
    /// Contents of at most this number of bytes, as far as they are known.
    UpTo(u64),
}

/// The change to some directories of the root. All but the first need a directory `/usr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transform {
    /// No change.
    Nothing,
    /// The root has the metadata of `/usr`: mode, owner, group, time, attributes.
    Root,
    /// That, and `/run` is empty and has the time of `/usr`: what engines leave in a container goes.
    Container,
    /// `/boot` and `/sysroot`, both of which must be there, are empty and have the time of `/usr`; no inode has a
    /// `security.selinux`.
    Boot,
    /// Both of these changes.
    ContainerAndBoot,
}

impl Transform {
    /// Returns `true` if the root gets the metadata of `/usr`.
    fn copies_root(self) -> bool {
        matches!(self, Transform::Root | Transform::Container | Transform::ContainerAndBoot)
    }

    /// The directories that are emptied, and whether they must be there.
    fn emptied(self) -> &'static [(&'static str, bool)] {
        const RUN: (&str, bool) = ("run", false);
        const BOOT: (&str, bool) = ("boot", true);
        const SYSROOT: (&str, bool) = ("sysroot", true);
        match self {
            Transform::Nothing | Transform::Root => &[],
            Transform::Container => &[RUN],
            Transform::Boot => &[BOOT, SYSROOT],
            Transform::ContainerAndBoot => &[RUN, BOOT, SYSROOT],
        }
    }

    /// Returns `true` if the transform takes away all SELinux labels. A tool that makes such an image then gives new
    /// ones by the policy in the tree, if it has one ([`Tree::relabel`]).
    #[must_use]
    pub fn drops_labels(self) -> bool {
        matches!(self, Transform::Boot | Transform::ContainerAndBoot)
    }
}

impl Policy {
    /// The policy of `mkcomposefs` without options, for a tree without whiteouts.
    pub const MKCOMPOSEFS: Policy = Policy {
        version: 0,
        algorithm: Algorithm::Sha256,
        xattrs: XattrPolicy::All,
        times: Times::Keep,
        hardlinks: false,
        inline: Inline::UpTo(64),
        devices: true,
        transform: Transform::Nothing,
    };

    /// Lays out a tree that [`apply`](Self::apply) has made.
    ///
    /// # Errors
    ///
    /// If the format version is unknown or cannot express the tree.
    pub fn plan(self, applied: &Tree) -> Result<Image<'_>, WriteError> {
        Image::plan_as(applied, self.profile()?)
    }

    fn profile(self) -> Result<&'static WriterProfile, WriteError> {
        let mut profiles = PROFILES.iter().chain([&LEGACY]);
        let found = profiles.find(|profile| profile.format_version == self.version);
        found.ok_or(WriteError::Version { min: self.version, max: self.version })
    }
}
