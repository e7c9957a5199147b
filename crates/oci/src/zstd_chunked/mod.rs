//! Importing layers in the format zstd:chunked by partial pulls, which fetch only the missing contents
//! (`docs/format/zstd-chunked.md`).
//!
//! The table of contents (TOC) says where in the blob each content is, and has its SHA-256. It is a hint: the archive
//! is rebuilt from the tar-split data and the contents, and counts only if its digest is the diff ID of the image. The
//! tree comes from that archive alone.

mod contents;
mod fetch;
mod fetched;
mod import;
mod layer;
mod limits;
mod local;
mod plan;
mod positions;
mod ranges;
mod spool;
pub mod table;
mod toc;
mod toc_json;

use crate::BlobDigest;
use crate::layer::LayerReadError;
use crate::tar_split::TarSplitError;

pub use fetch::{FileRanges, RangeFetcher};
pub use import::{ChunkedImport, ChunkedSource, import_chunked};
pub use layer::ChunkedLayer;
pub use limits::ChunkedLimits;
pub use local::{LocalContents, NoContents};
pub use plan::{PullPlan, RANGES_PER_REQUEST, REQUESTS_MAX};
pub use positions::{ChunkedPositions, FOOTER_LEN, PlainSection};
pub use ranges::{ByteRange, merge};
pub use toc::{ChunkData, Toc, TocChunk, TocFile};

/// The reasons why a layer cannot be pulled in parts. Each is remedied by pulling the whole blob.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPartial {
    /// The configuration has no diff ID.
    #[error("the configuration of the image has no diff ID that the result could be compared with")]
    NoDiffId,
    /// The blob has no tar-split data.
    #[error("the layer has no tar-split data, so that its archive cannot be rebuilt")]
    NoTarSplit,
    /// The TOC has no digest of the tar-split data.
    #[error("the TOC has no digest of the tar-split data")]
    NoTarSplitDigest,
    /// An annotation cannot be read.
    #[error("the annotation {key} has the value {value:?}, which is malformed")]
    Annotation {
        /// The key.
        key: String,
        /// The beginning of the value.
        value: String,
    },
    /// The footer cannot be read.
    #[error("the blob does not end in a footer of zstd:chunked")]
    Footer,
    /// The positions contradict each other or the size of the blob.
    #[error("the positions of the TOC and the tar-split data are wrong: {0}")]
    Positions(&'static str),
    /// The TOC is of another type or version.
    #[error("the TOC has the {0} {1}: only 1 is known")]
    Version(&'static str, u64),
    /// A part of the blob is larger than the limit.
    #[error("{what} has {size} bytes: at most {limit} are read")]
    TooLarge {
        /// The part.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A part of the blob has another digest than it must have.
    #[error("{what} has the digest {found}, but {expected} is expected")]
    Digest {
        /// The part.
        what: String,
        /// The digest that it must have.
        expected: BlobDigest,
        /// The digest of its bytes.
        found: BlobDigest,
    },
    /// A part of the blob cannot be decompressed.
    #[error("{what} cannot be decompressed: {problem}")]
    Compression {
        /// The part.
        what: String,
        /// The cause.
        problem: String,
    },
    /// The TOC breaks a rule of the format.
    #[error("the TOC is damaged: {0}")]
    Toc(String),
    /// The TOC does not fit to the tar-split data.
    #[error("the TOC does not fit to the tar-split data: {0}")]
    Pairing(String),
    /// The archive cannot be rebuilt.
    #[error(transparent)]
    TarSplit(#[from] TarSplitError),
    /// Nearly all of the blob would be fetched.
    #[error("{fetched} bytes would be fetched in parts, more than the limit of {limit}")]
    LittleIsHere {
        /// Number of bytes that would be fetched.
        fetched: u64,
        /// The limit.
        limit: u64,
    },
    /// A content that was found here cannot be read any more.
    #[error("a content of the repository that is a part of the layer cannot be read any more: {0}")]
    Local(std::io::Error),
    /// The rebuilt archive is another one.
    #[error("the rebuilt archive has the digest {found}, but the diff ID of the image is {expected}")]
    DiffId {
        /// The diff ID.
        expected: BlobDigest,
        /// The digest of the rebuilt archive.
        found: BlobDigest,
    },
}

/// The reasons why a partial pull fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkedError {
    /// The layer cannot be pulled in parts.
    #[error("{0}; pull the whole blob instead")]
    NotPartial(#[from] NotPartial),
    /// Bytes of the blob cannot be fetched.
    #[error("fetch parts of the layer: {0}")]
    Fetch(std::io::Error),
    /// The temporary file for repeated contents cannot be used.
    #[error("use the temporary file for repeated contents: {0}")]
    Spool(std::io::Error),
    /// The rebuilt archive cannot be read or stored.
    #[error(transparent)]
    Layer(#[from] LayerReadError),
}

impl ChunkedError {
    /// Returns true if pulling the whole blob can succeed.
    #[must_use]
    pub fn whole_pull_may_succeed(&self) -> bool {
        matches!(self, Self::NotPartial(_) | Self::Layer(LayerReadError::Tar { .. }))
    }
}
