//! Parsers of what registries send, without any request: challenges, refusals, kinds of manifests, parts of blobs.

mod challenge;
mod content_range;
mod manifest_kind;
mod multipart;
mod refusal;

#[cfg(feature = "fuzzing")]
pub(crate) use challenge::parse as parse_challenges;
pub(crate) use challenge::{Challenge, choose};
pub(crate) use content_range::ContentRange;
pub use manifest_kind::ManifestKind;
pub(crate) use manifest_kind::inspect;
pub(crate) use multipart::{Multipart, MultipartError};
pub(crate) use refusal::parse as parse_refusal;
