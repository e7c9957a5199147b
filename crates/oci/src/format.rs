//! The specifications of the formats, as pages of the documentation.
//!
//! The pages are those of `docs/format/` in the repository. Blocks in them are not run as tests.

#[cfg_attr(not(doctest), doc = include_str!("../docs/format/oci.md"))]
pub mod oci {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/format/stream.md"))]
pub mod stream {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/format/blob-record.md"))]
pub mod blob_record {}
