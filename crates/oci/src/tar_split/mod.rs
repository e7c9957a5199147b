//! Rebuilding archives bit by bit from tar-split data, which have their headers, and from the contents of their files,
//! which are elsewhere (`docs/format/zstd-chunked.md`, section 4).

mod line;
mod origins;
mod piece;
mod reader;
mod rebuild;

pub use origins::{ContentOrigin, NumberedObject, OriginSink, Origins};
pub use piece::{TarPiece, TarSplitFile};
pub use reader::{LINE_MAX, TarSplitReader};
pub use rebuild::{ArchiveRebuilder, ContentOpener, ContentProblem};

use crate::shown::shown;

/// The reasons why a tar-split cannot be read, or the archive cannot be rebuilt from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarSplitError {
    /// The data cannot be read or decompressed.
    #[error("read the tar-split data: {0}")]
    Read(std::io::Error),
    /// A line breaks a rule of the format.
    #[error("line {line} of the tar-split data {problem}")]
    Line {
        /// The number of the line, from 1.
        line: u64,
        /// The rule.
        problem: String,
    },
    /// The content of a file cannot be read.
    #[error("the content of {} (file {number} of the tar-split data) {problem}", shown_name(name))]
    Content {
        /// The number of the file with content, from 0.
        number: u64,
        /// The name of the file in the archive.
        name: Vec<u8>,
        /// The cause.
        problem: ContentProblem,
    },
}

fn shown_name(name: &[u8]) -> String {
    format!("{:?}", shown(name))
}
