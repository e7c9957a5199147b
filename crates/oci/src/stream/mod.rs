//! Streams: files that hold a content of which parts are objects (splitstream; `docs/format/stream.md`).

mod kind;
mod reader;
mod writer;

pub use kind::{ContentType, StreamKind};
pub use reader::{StreamChunk, StreamReader};
pub use writer::{NamedRef, StreamWriter};

/// The reasons why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The file of the stream cannot be read.
    #[error("read the stream")]
    Io(#[from] std::io::Error),
    /// The file is no stream, or a table of it is damaged.
    #[error("the file {0}")]
    Tables(&'static str),
    /// The content of the stream breaks a rule of the format.
    #[error("the stream is damaged: {0}")]
    Damaged(&'static str),
}
