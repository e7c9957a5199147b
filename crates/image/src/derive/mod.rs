//! Images derived from images: recipes, which are plain data, and the trees that they make (`docs/format/recipe.md`).
//!
//! A [`Recipe`] names its bases by their digests and lists the steps. [`apply`](Recipe::apply) makes the tree of the
//! result from the trees of the bases, and [`plan`](Recipe::plan) lays out its image. Neither needs the content of a
//! file, so everyone with the images of the bases can compute the digest of the result.
//!
//! ```
//! use libcomposefs_image::derive::{Recipe, RecipeBase, RecipeStep};
//! use libcomposefs_image::tree::{InodeId, NewInode, TreeBuilder};
//! use libcomposefs_image::{Algorithm, verity};
//!
//! let root = NewInode { mode: 0o40755, uid: 5, ..NewInode::default() };
//! let base = TreeBuilder::new(Algorithm::Sha256, &root)?.finish();
//! let mut recipe = Recipe::new(Algorithm::Sha256, 0);
//! recipe.bases.push(RecipeBase::layer(verity::digest(Algorithm::Sha256, b"the image of the base")));
//! recipe.steps.push(RecipeStep::ShiftIds { by: 1000 });
//!
//! let derived = recipe.apply(&[&base])?;
//! assert_eq!(derived.inode(InodeId::ROOT).uid(), 1005);
//! let again = Recipe::parse(recipe.to_text().as_bytes())?;
//! assert_eq!(again, recipe);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apply;
mod error;
mod extension;
mod ids;
mod os_release;
mod path_text;
mod recipe_text;

pub use error::{DeriveError, RecipeError};
pub use extension::{ExtensionCheck, ExtensionError, ExtensionMismatch, ReadContent, extension_kind};
pub use ids::{IdError, IdRange};
pub use os_release::OsRelease;

use crate::digest::{Algorithm, Digest};
use crate::policy::XattrPolicy;
use crate::tree::Timestamp;

/// Longest text of a recipe, in bytes.
pub const MAX_RECIPE: usize = 1 << 20;
/// Largest number of bases of a recipe. overlayfs allows 500 layers.
pub const MAX_BASES: usize = 500;
/// Largest number of steps of a recipe.
pub const MAX_STEPS: usize = 1000;
/// Largest number of ranges of one step, as in a user namespace.
pub const MAX_RANGES: usize = 340;
/// The version of recipes that this program knows.
pub const RECIPE_VERSION: u32 = 1;

/// The way to make one image from others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recipe {
    /// Algorithm of the digests of the result, and of its own digest.
    pub algorithm: Algorithm,
    /// Format version of the result: 0, 1, or the legacy 2.
    pub format: u32,
    /// Bases, the lowest layer first.
    pub bases: Vec<RecipeBase>,
    /// Steps, in the order in which they are made.
    pub steps: Vec<RecipeStep>,
}

/// A base of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecipeBase {
    /// Digest of the image.
    pub digest: Digest,
    /// The part that the base has in the result.
    pub kind: BaseKind,
}

impl RecipeBase {
    /// Returns a base of any kind.
    #[must_use]
    pub fn new(digest: Digest, kind: BaseKind) -> Self {
        Self { digest, kind }
    }

    /// Returns a base that is merged as a whole.
    #[must_use]
    pub fn layer(digest: Digest) -> Self {
        Self::new(digest, BaseKind::Layer)
    }
}

/// The part that a base has in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BaseKind {
    /// All of its tree, as a layer of overlayfs.
    Layer,
    /// Its `/usr` and `/opt`: a system extension image (systemd-sysext(8)).
    Sysext,
    /// Its `/etc`: a configuration extension image (systemd-confext(8)).
    Confext,
    /// The parts of both kinds of extensions.
    SysextAndConfext,
}

impl BaseKind {
    const NAMES: [(&'static str, BaseKind); 4] = [
        ("layer", BaseKind::Layer),
        ("sysext", BaseKind::Sysext),
        ("confext", BaseKind::Confext),
        ("sysext+confext", BaseKind::SysextAndConfext),
    ];

    /// Returns the name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("?", |(name, _)| name)
    }

    /// Returns the directories of the root that are merged; none for a whole layer.
    #[must_use]
    pub fn hierarchies(self) -> &'static [&'static str] {
        match self {
            BaseKind::Layer => &[],
            BaseKind::Sysext => &["usr", "opt"],
            BaseKind::Confext => &["etc"],
            BaseKind::SysextAndConfext => &["usr", "opt", "etc"],
        }
    }
}

/// A step of a recipe. A path begins with `/`; its symlinks are not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecipeStep {
    /// Removes these paths with everything below them, at the same time. Each must be there.
    Remove {
        /// Paths, in the order given.
        paths: Vec<Vec<u8>>,
    },
    /// Adds a number to all user and group IDs.
    ShiftIds {
        /// The number, which may be negative.
        by: i64,
    },
    /// Maps all user IDs by ranges.
    MapUids {
        /// Ranges that do not overlap.
        ranges: Vec<IdRange>,
    },
    /// Maps all group IDs by ranges.
    MapGids {
        /// Ranges that do not overlap.
        ranges: Vec<IdRange>,
    },
    /// Sets owner and group of a path and of everything below it.
    SetOwner {
        /// Path that must be there.
        path: Vec<u8>,
        /// User ID of the new owner.
        uid: u32,
        /// Group ID of the new owner.
        gid: u32,
    },
    /// Removes the extended attributes that are not chosen.
    KeepXattrs {
        /// The attributes that stay.
        which: XattrPolicy,
    },
    /// Sets later times of modification to this one.
    ClampMtime {
        /// The latest time.
        latest: Timestamp,
    },
    /// Sets the SELinux label of a path and of everything below it.
    SetLabel {
        /// Path that must be there.
        path: Vec<u8>,
        /// The label, without the NUL that ends the attribute.
        label: Vec<u8>,
    },
}

impl Recipe {
    /// Returns a recipe without bases and steps.
    #[must_use]
    pub fn new(algorithm: Algorithm, format: u32) -> Self {
        Self { algorithm, format, bases: Vec::new(), steps: Vec::new() }
    }
}
