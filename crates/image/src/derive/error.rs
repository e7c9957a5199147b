//! The errors of recipes and of the trees that they make.

use super::ids::IdError;
use super::{MAX_BASES, MAX_RANGES, MAX_RECIPE, MAX_STEPS, RECIPE_VERSION};
use crate::digest::Algorithm;
use crate::display::shown;
use crate::erofs::WriteError;
use crate::tree::{OverlayError, XattrError};

/// Reasons why a text or a value is not a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The text is too long.
    #[error("a recipe of more than {MAX_RECIPE} bytes")]
    TooLong,
    /// The text is not JSON of the form of a recipe.
    #[error("not a recipe: {}", shown(.0.to_string().as_bytes()))]
    Json(#[from] serde_json::Error),
    /// The recipe has another version.
    #[error("a recipe of version {0}: this program knows version {RECIPE_VERSION}")]
    Version(u32),
    /// A field has a value that is not allowed.
    #[error("{field} of the recipe is {value:?}: expected {expected}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A list has too few or too many members.
    #[error(
        "the recipe has {found} {what}: 1 to {MAX_BASES} bases, up to {MAX_STEPS} steps, 1 to {MAX_RANGES} ranges of \
         IDs and at least one path are allowed"
    )]
    Count {
        /// Name of the list.
        what: &'static str,
        /// Number of its members.
        found: usize,
    },
    /// A range of IDs is wrong.
    #[error("step {step} of the recipe: {source}")]
    Ids {
        /// Number of the step, from 1.
        step: usize,
        /// The reason.
        source: IdError,
    },
    /// The text is a recipe, but not in the one form that recipes have.
    #[error("not a canonical recipe: byte {at} differs from the canonical form; `jq -cS . FILE` writes that form")]
    NotCanonical {
        /// Offset of the first byte that differs.
        at: usize,
    },
}

/// Reasons why a recipe does not make an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// The number of trees is not that of the bases.
    #[error("{found} bases for a recipe of {expected}")]
    BaseCount {
        /// Number of bases in the recipe.
        expected: usize,
        /// Number of trees given.
        found: usize,
    },
    /// A base has digests of another algorithm than the result.
    #[error(
        "base {base} names its contents by {found} digests, and the result would need their {expected} digests, which \
         only the contents can give: use --algorithm={found}, or create the base from its contents with {expected}"
    )]
    Algorithm {
        /// Number of the base, from 1.
        base: usize,
        /// Its algorithm.
        found: Algorithm,
        /// The algorithm of the result.
        expected: Algorithm,
    },
    /// The bases cannot be layers of one tree.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// A step names a path that the tree does not have.
    #[error("step {step}: the tree has no {} at that point; symlinks are not followed", shown(path))]
    NoSuchPath {
        /// Number of the step, from 1.
        step: usize,
        /// The path.
        path: Vec<u8>,
    },
    /// An ID of an inode cannot be mapped.
    #[error("step {step}: {}: {source}", shown(path))]
    Id {
        /// Number of the step, from 1.
        step: usize,
        /// Path of the inode.
        path: Vec<u8>,
        /// The reason.
        source: IdError,
    },
    /// The new attributes of an inode break a limit.
    #[error("step {step}: {}: {source}", shown(path))]
    Xattrs {
        /// Number of the step, from 1.
        step: usize,
        /// Path of the inode.
        path: Vec<u8>,
        /// The reason.
        source: XattrError,
    },
    /// The tree has no image of the format.
    #[error("the derived tree has no image of format {format}: {source}")]
    Write {
        /// Format version.
        format: u32,
        /// The reason.
        source: WriteError,
    },
}
