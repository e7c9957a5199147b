//! The parts of an archive.

/// A part of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarPiece {
    /// Bytes that are no content: headers, padding, the end of the archive.
    Bytes(Vec<u8>),
    /// The content of a file.
    File(TarSplitFile),
}

/// A file whose content is a part of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarSplitFile {
    /// The name as in the archive.
    pub name: Vec<u8>,
    /// Number of bytes. Files without content, directories and others have 0.
    pub size: u64,
    /// The CRC-64 of the content; files with content have one.
    pub crc: Option<u64>,
}
