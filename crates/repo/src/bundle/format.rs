//! The format of bundles of version 1, without files: a head, records, an end.

use std::io::{self, Write};

use libcomposefs_image::{Algorithm, Digest};

use crate::{RefName, StreamTag};

/// The magic bytes at the start of a bundle.
pub const MAGIC: &[u8; 16] = b"composefs-bundle";
pub(super) const VERSION: u32 = 1;
/// Limit of the names of one image.
pub(super) const NAMES_MAX: u16 = 1024;
/// Limit of the description of an OCI image, in bytes.
pub(super) const DOCUMENT_MAX: u64 = 4 << 20;

/// The byte at the start of a record that says its kind.
pub(super) const OBJECT: u8 = b'O';
pub(super) const IMAGE: u8 = b'I';
pub(super) const OCI: u8 = b'C';
pub(super) const END: u8 = b'E';

/// A record of a bundle. Its content follows, and must be read before the next record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An object.
    Object {
        /// Digest of the object, which the reader must compare.
        digest: Digest,
        /// Size of the object, in bytes.
        len: u64,
    },
    /// An image. All of its objects come before it, or are with the receiver.
    Image {
        /// Digest of the image, which the reader must compare.
        digest: Digest,
        /// Size of the image, in bytes.
        len: u64,
        /// Names of the image.
        names: Vec<RefName>,
    },
    /// The description of an OCI image. All of its objects come before it, or are with the receiver.
    Oci {
        /// Size of the description, in bytes.
        len: u64,
        /// Names of the image.
        names: Vec<StreamTag>,
    },
}

/// Reason why a bundle cannot be read.
#[derive(Debug)]
pub enum FormatError {
    /// The input cannot be read.
    Io(io::Error),
    /// The bundle breaks a rule of the format: the offset, and the rule.
    Rule(u64, String),
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        FormatError::Io(error)
    }
}

/// Writes the head of a bundle.
pub(super) fn write_head(out: &mut impl Write, algorithm: Algorithm) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&[algorithm.kernel_number(), 0, 0, 0])
}

/// Writes the head of a record. The content must follow.
pub(super) fn write_record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let (kind, digest, len) = match record {
        Record::Object { digest, len } => (OBJECT, digest.as_bytes(), len),
        Record::Image { digest, len, .. } => (IMAGE, digest.as_bytes(), len),
        Record::Oci { len, .. } => (OCI, &[][..], len),
    };
    out.write_all(&[kind])?;
    out.write_all(digest)?;
    out.write_all(&len.to_le_bytes())?;
    match record {
        Record::Object { .. } => Ok(()),
        Record::Image { names, .. } => write_names(out, names.iter().map(RefName::as_str)),
        Record::Oci { names, .. } => write_names(out, names.iter().map(StreamTag::as_str)),
    }
}

pub(super) fn write_names<'n>(out: &mut impl Write, names: impl ExactSizeIterator<Item = &'n str>) -> io::Result<()> {
    let count = u16::try_from(names.len()).ok().filter(|count| *count <= NAMES_MAX);
    out.write_all(&count.ok_or(io::ErrorKind::InvalidInput)?.to_le_bytes())?;
    for name in names {
        let bytes = name.as_bytes();
        out.write_all(&u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_le_bytes())?;
        out.write_all(bytes)?;
    }
    Ok(())
}

/// Writes the end of a bundle.
pub(super) fn write_end(out: &mut impl Write, records: u64) -> io::Result<()> {
    out.write_all(&[END])?;
    out.write_all(&records.to_le_bytes())
}
