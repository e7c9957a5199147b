//! What a tool decides that a tree does not: the choices that give one tree many digests (`docs/digests.md`).
//!
//! A [`Policy`] is all of them as plain data. [`apply`](Policy::apply) makes the tree that such a tool would have made of
//! the same files, [`plan`](Policy::plan) its image, and a [`Space`] knows every policy that tools in the field use, as far
//! as they make a difference on the tree at hand.

mod apply;
mod contents;
mod effect;
mod space;
mod text;

pub use apply::NotKnown;
pub use contents::Contents;
pub use space::{Choice, Space};
pub use text::InvalidPolicy;

use crate::digest::Algorithm;
use crate::erofs::profile::{LEGACY, PROFILES, Profile};
use crate::erofs::{Image, WriteError};
use crate::tree::{Timestamp, Tree};

/// How a tree becomes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// The format version: 0, 1, or the legacy 2.
    pub version: u32,
    /// The algorithm of the digests, and of that of the image.
    pub algorithm: Algorithm,
    /// Which extended attributes are kept.
    pub xattrs: Attributes,
    /// What becomes of the times.
    pub times: Times,
    /// Several names of one inode stay one inode; otherwise each name has an inode of its own.
    pub hardlinks: bool,
    /// Which contents are kept in the image.
    pub inline: Inline,
    /// Whether there are character and block devices, whiteouts included.
    pub devices: bool,
    /// What is done to some directories of the root.
    pub transform: Transform,
}

/// Which extended attributes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attributes {
    /// All.
    All,
    /// Those whose names begin with `user.`.
    User,
    /// None.
    None,
    /// `security.capability` alone.
    Capability,
    /// `security.capability` and those whose names begin with `user.`.
    CapabilityAndUser,
}

/// What becomes of the times of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Times {
    /// They stay.
    Keep,
    /// All are 0.
    Zero,
    /// Those of directories are 0.
    ZeroDirectories,
    /// Those of everything but directories are 0.
    KeepDirectories,
    /// None is later than this.
    ClampTo(Timestamp),
}

/// Which contents are kept in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inline {
    /// Those that the tree has: what a writer does that is given a dump or an image.
    AsGiven,
    /// Those of at most so many bytes, as far as they are known.
    UpTo(u64),
}

/// What is done to some directories of the root. All but the first need a directory `/usr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transform {
    /// Nothing.
    Nothing,
    /// The root has the metadata of `/usr`: mode, owner, group, time, attributes.
    Root,
    /// That, and `/run` is empty and has the time of `/usr`: what engines leave in a container goes.
    Container,
    /// `/boot` and `/sysroot`, both of which must be there, are empty and have the time of `/usr`; no inode has a
    /// `security.selinux`.
    Boot,
    /// Both of these.
    ContainerAndBoot,
}

impl Transform {
    /// Whether the root has the metadata of `/usr`.
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

    fn drops_labels(self) -> bool {
        matches!(self, Transform::Boot | Transform::ContainerAndBoot)
    }
}

impl Policy {
    /// What `mkcomposefs` does without an option, to a tree without whiteouts.
    pub const MKCOMPOSEFS: Policy = Policy {
        version: 0,
        algorithm: Algorithm::Sha256,
        xattrs: Attributes::All,
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
    /// If the format version cannot express the tree, or is none.
    pub fn plan(self, applied: &Tree) -> Result<Image<'_>, WriteError> {
        Image::plan_as(applied, self.profile()?)
    }

    fn profile(self) -> Result<&'static Profile, WriteError> {
        let mut profiles = PROFILES.iter().chain([&LEGACY]);
        let found = profiles.find(|profile| profile.format_version == self.version);
        found.ok_or(WriteError::Version { min: self.version, max: self.version })
    }
}
