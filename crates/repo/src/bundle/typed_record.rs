//! The records of version 2 of bundles, written: a type with a critical bit, a length and a payload.

use std::io::{self, Read, Write};

use libcomposefs_delta::FrameInfo;
use libcomposefs_image::{Algorithm, Digest};

use super::format::{MAGIC, write_names};
use crate::{RefName, StreamTag};

/// The version of bundles with typed records.
pub(super) const VERSION: u32 = 2;
/// The bit of a type that has readers refuse a record they do not know.
pub(super) const CRITICAL: u16 = 0x8000;
/// The types of records.
pub(super) const FRAME: u16 = CRITICAL | 1;
pub(super) const IMAGE: u16 = CRITICAL | 2;
pub(super) const OCI: u16 = CRITICAL | 3;
pub(super) const END: u16 = CRITICAL | 4;

/// A record of a bundle of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypedRecord {
    /// Objects. The compressed bytes follow, and must be read before the next record.
    Frame(FrameInfo),
    /// An image. The compressed bytes follow, and must be read before the next record.
    Image {
        /// The frame, which has one object: the image.
        frame: FrameInfo,
        /// Names of the image.
        names: Vec<RefName>,
    },
    /// The description of an OCI image. It follows, and must be read before the next record.
    Oci {
        /// Size of the description, in bytes.
        len: u64,
        /// Names of the image.
        names: Vec<StreamTag>,
    },
    /// A record of a type that this program does not know, and that is not critical.
    Unknown {
        /// The type.
        kind: u16,
        /// The payload.
        payload: Vec<u8>,
    },
}

/// Writes the head of a bundle.
pub(super) fn write_head(out: &mut dyn Write, algorithm: Algorithm) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&[algorithm.kernel_number(), 0, 0, 0])
}

/// Writes a record whose payload is in two parts, of which the second has `rest_len` bytes.
pub(super) fn write_record(
    out: &mut dyn Write,
    kind: u16,
    head: &[u8],
    rest: &mut dyn Read,
    rest_len: u64,
) -> io::Result<()> {
    let len = rest_len.checked_add(head.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(head)?;
    match io::copy(&mut rest.take(rest_len), out)? {
        copied if copied == rest_len => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes a frame of objects.
pub(super) fn write_frame(out: &mut dyn Write, frame: &FrameInfo, bytes: &mut dyn Read) -> io::Result<()> {
    write_record(out, FRAME, &frame_head(frame)?, bytes, frame.length)
}

/// Writes an image.
pub(super) fn write_image(
    out: &mut dyn Write,
    frame: &FrameInfo,
    names: &[RefName],
    bytes: &mut dyn Read,
) -> io::Result<()> {
    let mut head = Vec::new();
    write_names(&mut head, names.iter().map(RefName::as_str))?;
    head.extend(frame_head(frame)?);
    write_record(out, IMAGE, &head, bytes, frame.length)
}

/// Writes the description of an OCI image.
pub(super) fn write_oci(out: &mut dyn Write, names: &[StreamTag], text: &[u8]) -> io::Result<()> {
    let mut head = Vec::new();
    write_names(&mut head, names.iter().map(StreamTag::as_str))?;
    write_record(out, OCI, &head, &mut &text[..], text.len() as u64)
}

/// Writes the end of a bundle.
pub(super) fn write_end(out: &mut dyn Write, records: u64) -> io::Result<()> {
    write_record(out, END, &records.to_le_bytes(), &mut io::empty(), 0)
}

fn frame_head(frame: &FrameInfo) -> io::Result<Vec<u8>> {
    let count = |list: &[(Digest, u64)]| u16::try_from(list.len()).map_err(|_| io::ErrorKind::InvalidInput);
    let mut head = vec![frame.coder.number(), 0];
    head.extend(count(&frame.objects)?.to_le_bytes());
    head.extend(count(&frame.bases)?.to_le_bytes());
    for (digest, size) in frame.objects.iter().chain(&frame.bases) {
        head.extend(digest.as_bytes());
        head.extend(size.to_le_bytes());
    }
    Ok(head)
}
