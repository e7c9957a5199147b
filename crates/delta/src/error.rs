//! The errors of decoding a frame.

use std::io;

use libcomposefs_image::Digest;

/// The reason why a frame cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The coder's number is unknown.
    #[error("the frame is made by coder {0}, which this program does not know: a newer version is needed")]
    UnknownCoder(u8),
    /// The frame breaks a rule of its format.
    #[error("the frame breaks a rule after {decoded} of {size} bytes of content: {rule}")]
    Rule {
        /// Number of bytes of the objects that were decoded.
        decoded: u64,
        /// Size of all objects, as declared.
        size: u64,
        /// The rule.
        rule: FrameRule,
    },
    /// The compressed bytes cannot be read.
    #[error("read the compressed bytes of a frame")]
    Input(#[source] io::Error),
    /// A base cannot be opened or read.
    #[error("read object {digest}, from which other objects are decoded")]
    Base {
        /// Digest of the base.
        digest: Box<Digest>,
        /// The error.
        source: io::Error,
    },
    /// The receiver of the objects failed.
    #[error("write the objects of a frame")]
    Output(#[source] io::Error),
}

/// A rule of the format of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameRule {
    /// The compressed bytes end too early.
    #[error("the compressed bytes end too early")]
    Truncated,
    /// There are more compressed bytes than the content needs.
    #[error("there are compressed bytes after the end of the content")]
    Trailing,
    /// The content is longer than declared.
    #[error("the content is longer than the declared sizes")]
    TooLong,
    /// The content is shorter than declared.
    #[error("the content is shorter than the declared sizes")]
    TooShort,
    /// The library refuses the compressed bytes.
    #[error("the compressed bytes are damaged, or a base is: {0}")]
    Compressed(String),
    /// The map of addresses breaks a rule.
    #[error("the map of addresses is damaged")]
    Map,
    /// The tokens of DEFLATE streams break a rule.
    #[error("the tokens of DEFLATE streams are damaged, or a base is: {0}")]
    Tokens(String),
    /// The blocks of an LZ4 file break a rule.
    #[error("the blocks of an LZ4 file are damaged, or a base is: {0}")]
    Lz4(String),
    /// The sizes of the objects or of the bases exceed the limits.
    #[error("{0}")]
    Sizes(&'static str),
}
