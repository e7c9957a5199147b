//! DEFLATE streams are found in a content: those of gzip members.

use std::io;

use super::form::TokenForm;

/// First bytes of a gzip member: the magic number, and the method.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// Length of the header of a member without optional fields.
const HEADER_LEN: usize = 10;
/// Most streams of a content.
pub(super) const STREAMS_MAX: usize = 1 << 16;
/// Most bytes of tokens of streams that break off, for each byte of the content.
const VAIN_MAX: usize = 4;

/// Least work of a stream that breaks off: what it takes to begin one.
const VAIN_MIN: usize = 2048;

/// The streams of a content.
#[derive(Debug, Default)]
pub(super) struct FoundStreams {
    /// Number of bytes between the end of each stream and the beginning of the next one.
    pub(super) gaps: Vec<u64>,
    /// Form of the content.
    pub(super) form: Vec<u8>,
}

/// Finds the streams of a content, and makes its form. A content without streams has no form.
///
/// # Errors
///
/// If the form exceeds its limit.
pub(super) fn find_streams(content: &[u8]) -> io::Result<FoundStreams> {
    let (mut gaps, mut end, mut at) = (Vec::new(), 0, 0);
    let (mut form, mut stream) = (TokenForm::default(), TokenForm::default());
    let mut work = content.len().saturating_mul(VAIN_MAX);
    while let Some(found) = next_member(content, at).filter(|_| gaps.len() < STREAMS_MAX && work > 0) {
        at = found + GZIP.len();
        let Some(start) = end_of_header(content, found) else { continue };
        match stream.read_stream(content.get(start..).unwrap_or_default()) {
            Ok(len) => {
                gaps.push((start - end) as u64);
                form.plain(content.get(end..start).unwrap_or_default())?;
                form.append(&stream)?;
                (end, at) = (start + len, start + len);
            }
            Err(spent) => work = work.saturating_sub(spent.max(VAIN_MIN)),
        }
    }
    if !gaps.is_empty() {
        form.plain(content.get(end..).unwrap_or_default())?;
    }
    Ok(FoundStreams { gaps, form: form.into_bytes() })
}

fn next_member(content: &[u8], from: usize) -> Option<usize> {
    content.get(from..)?.windows(GZIP.len()).position(|window| window == GZIP).map(|at| from + at)
}

/// Returns the offset of the byte after the header of a member.
fn end_of_header(content: &[u8], start: usize) -> Option<usize> {
    let header = content.get(start..)?;
    let flags = *header.get(3)?;
    if flags & 0xe0 != 0 {
        return None;
    }
    let mut len = HEADER_LEN;
    if flags & 4 != 0 {
        len += 2 + usize::from(u16::from_le_bytes([*header.get(10)?, *header.get(11)?]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            len += header.get(len..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & 2 != 0 {
        len += 2;
    }
    (len < header.len()).then_some(start + len)
}
