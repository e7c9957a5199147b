//! The specifications of the formats, as pages of the documentation.
//!
//! The pages are those of `docs/format/` in the repository. Blocks in them are not run as tests.

#[cfg_attr(not(doctest), doc = include_str!("../docs/format/image.md"))]
pub mod image {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/format/dump.md"))]
pub mod dump {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/format/verity.md"))]
pub mod verity {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/format/recipe.md"))]
pub mod recipe {}
