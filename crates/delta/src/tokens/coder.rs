//! Frames of tokens: the places of the streams in the bases, then the form of the content.

use std::io::{self, BufRead, Read};

use super::find::{STREAMS_MAX, find_streams};
use super::form::{FORM_MAX, invalid, token_form};
use super::rebuilder::Rebuilder;
use crate::number::{push_number, read_number};
use crate::zstd_coder;

/// Most bytes of the objects of a frame, and of its bases.
pub(crate) const TOKENS_MAX: u64 = 8 << 20;

/// Encodes a content, if it and its bases have streams that are rebuilt exactly.
pub(crate) fn encode(content: &[u8], bases: &[u8], level: i32) -> io::Result<Option<Vec<u8>>> {
    if content.len().max(bases.len()) as u64 > TOKENS_MAX {
        return Ok(None);
    }
    // An error is a form that exceeds its limit.
    let Ok(found) = find_streams(content) else { return Ok(None) };
    if found.gaps.is_empty() {
        return Ok(None);
    }
    let Ok(in_bases) = find_streams(bases) else { return Ok(None) };
    let too_long = found.form.len() as u64 > form_max(content.len() as u64);
    if in_bases.gaps.is_empty() || too_long || !rebuilds(&found.form, content) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    push_number(&mut bytes, in_bases.gaps.len() as u64);
    in_bases.gaps.iter().for_each(|gap| push_number(&mut bytes, *gap));
    zstd_coder::compress(&found.form, &in_bases.form, level, &mut bytes)?;
    Ok(Some(bytes))
}

fn rebuilds(form: &[u8], content: &[u8]) -> bool {
    let mut rebuilt = Vec::with_capacity(content.len());
    let read = Rebuilder::new(form).take(content.len() as u64 + 1).read_to_end(&mut rebuilt);
    read.is_ok() && rebuilt == content
}

/// Reads the places of the streams in the bases, and returns the form of the bases.
pub(crate) fn read_bases_form(input: &mut impl BufRead, bases: &[u8]) -> io::Result<Vec<u8>> {
    let count = read_number(input)?;
    if count > STREAMS_MAX as u64 {
        return Err(invalid("there are more than 65,536 streams"));
    }
    let gaps = (0..count).map(|_| read_number(input)).collect::<io::Result<Vec<u64>>>()?;
    token_form(bases, &gaps)
}

/// Reads the form of a content of `size` bytes.
pub(crate) fn read_form(input: &mut impl BufRead, bases_form: &[u8], size: u64) -> io::Result<Vec<u8>> {
    let mut form = Vec::new();
    let limit = form_max(size);
    zstd_coder::decoder(input, bases_form, limit)?.take(limit + 1).read_to_end(&mut form)?;
    if form.len() as u64 > limit { Err(invalid("there are too many tokens for the content")) } else { Ok(form) }
}

/// Most bytes of the form of a content: a match may have two bits, and has four bytes in the form.
fn form_max(size: u64) -> u64 {
    (size * 16 + 64).min(FORM_MAX as u64)
}
