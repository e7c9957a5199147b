//! Recording a gzip blob: its members, and what follows the last one.

use std::io::{self, Read};

use libcomposefs_deflate::ByteSource;

use super::recorder::DeflateRecorder;
use super::varint;
use libcomposefs_deflate::parse_deflate;

/// Largest header of a member, in bytes.
pub(super) const HEADER_MAX: usize = 128 << 10;
/// Mark of a member.
pub(super) const MEMBER: u8 = 1;
/// Mark of other bytes.
pub(super) const OTHER: u8 = 2;
/// Mark of the end.
pub(super) const END: u8 = 0;

/// Records all members.
pub(super) fn record_gzip(blob: &mut ByteSource<impl Read>, recorder: &mut DeflateRecorder) -> io::Result<u64> {
    let mut len = 0u64;
    while !blob.is_at_end()? {
        let Some(header) = member_header(blob)? else { break };
        let mut bytes = vec![MEMBER];
        varint::put(&mut bytes, header.len() as u64);
        bytes.extend_from_slice(&header);
        recorder.heads.put(&bytes)?;
        parse_deflate(blob, recorder)?;
        len = len.saturating_add(recorder.end_stream()?);
        let mut trailer = [0; 8];
        blob.read_exact(&mut trailer)?;
        recorder.heads.put(&trailer)?;
    }
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = blob.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let mut bytes = vec![OTHER];
        varint::put(&mut bytes, read as u64);
        recorder.heads.put(&bytes)?;
        recorder.heads.put(&buffer[..read])?;
    }
    recorder.heads.put(&[END])?;
    Ok(len)
}

/// Reads the header of a member. `None`, with nothing read, if there is no member.
fn member_header(blob: &mut ByteSource<impl Read>) -> io::Result<Option<Vec<u8>>> {
    let mut header = Vec::new();
    blob.take(2).read_to_end(&mut header)?;
    if header != [0x1f, 0x8b] {
        blob.unread(header.len());
        return Ok(None);
    }
    let mut more = |header: &mut Vec<u8>, len: usize| -> io::Result<()> {
        let at = header.len();
        header.resize(at + len, 0);
        blob.read_exact(&mut header[at..])
    };
    more(&mut header, 8)?;
    let flags = header[3];
    if header[2] != 8 || flags & 0xe0 != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the header of a gzip member is malformed"));
    }
    if flags & 4 != 0 {
        more(&mut header, 2)?;
        let len = u16::from_le_bytes([header[10], header[11]]);
        more(&mut header, usize::from(len))?;
    }
    for _ in 0..(flags >> 3 & 1) + (flags >> 4 & 1) {
        loop {
            more(&mut header, 1)?;
            if header.last() == Some(&0) {
                break;
            }
            if header.len() > HEADER_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the header of a gzip member is too long"));
            }
        }
    }
    if flags & 2 != 0 {
        more(&mut header, 2)?;
    }
    Ok(Some(header))
}
