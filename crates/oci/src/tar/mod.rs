//! Reading tar archives as layers have them: a parser without IO that is told one header block after the other
//! (`docs/format/oci.md`, section 2).

mod block;
mod header;
mod number;
mod parser;
mod pax;
mod sparse;
mod sparse_map;

pub use block::BLOCK;
pub use header::{EntryKind, TarEntry};
pub use parser::{Limits, TarParser, TarStep};
pub use sparse_map::{SparseMap, SparseSegment};

/// The reasons why an archive cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The checksum of a header does not match its bytes.
    #[error("the header has a wrong checksum: this is no tar archive, or it is damaged")]
    Checksum,
    /// A number of a header cannot be read.
    #[error("the field {0} of the header is no octal or base-256 number, or is out of range")]
    Number(&'static str),
    /// The type of an entry has no meaning in a layer.
    #[error("the entry has the unknown type {0:?}")]
    EntryType(char),
    /// A record of a PAX header is malformed.
    #[error("the PAX header is malformed: {0}")]
    Pax(&'static str),
    /// The map of a sparse file is malformed.
    #[error("the map of the sparse file is malformed: {0}")]
    Sparse(&'static str),
    /// An extension header is larger than the limit.
    #[error("an extension header of {0} bytes: at most {1} are read")]
    ExtensionSize(u64, u64),
    /// A name, a link target or an attribute is too long.
    #[error("{0} of {1} bytes: at most {2} are allowed")]
    TooLong(&'static str, u64, u64),
    /// An extension header is not followed by an entry.
    #[error("an extension header is followed by the end of the archive")]
    LoneExtension,
    /// A block of zeros is followed by an entry.
    #[error("one block of zeros is followed by an entry: the end of an archive has two")]
    LoneZeroBlock,
    /// The archive ends within a header.
    #[error("the archive ends within a header")]
    TruncatedHeader,
    /// The archive ends within the data of an entry.
    #[error("the archive ends within the data of the entry: {0} bytes are missing")]
    TruncatedData(u64),
    /// The archive has more entries than the limit.
    #[error("more than {0} entries")]
    TooManyEntries(u64),
}
