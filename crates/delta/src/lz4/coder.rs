//! Frames of unpacked blocks.

use std::io;

use super::blocks::Lz4Blocks;
use super::chains::{Chains, NO_RANK};
use crate::number::push_number;
use crate::rebase::{no_map, rebased};
use crate::segment::segments_of;
use crate::zstd_coder;

/// Most bytes of the object, and of its base.
pub(crate) const LZ4_MAX: u64 = 64 << 20;
/// Size of a segment of the unpacked blocks.
pub(crate) const SEGMENT_SIZE: u64 = 2 << 20;

/// Encodes a content, if it and its base have blocks.
pub(crate) fn encode(content: &[u8], base: &[u8], level: i32) -> io::Result<Option<Vec<u8>>> {
    if content.len().max(base.len()) as u64 > LZ4_MAX {
        return Ok(None);
    }
    let Some(new) = Lz4Blocks::find(content) else { return Ok(None) };
    let Some(old) = Lz4Blocks::find(base) else { return Ok(None) };
    let (outline, ranks) = (new.outline(content), ranks(&new));
    if ranks.len() > content.len() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let numbers = [old.start, old.infos.len(), new.start, new.infos.len()].into_iter();
    let numbers = numbers.chain(new.infos.iter().flat_map(|info| [info.unpacked, info.matches]));
    numbers.for_each(|number| push_number(&mut bytes, number as u64));
    zstd_coder::compress(&outline, &old.outline(base), level, &mut bytes)?;
    zstd_coder::compress(&ranks, &[], level, &mut bytes)?;
    let (moved, map) = match rebased(&new.content, &old.content)? {
        Some(found) => found,
        None => (old.content, no_map()?),
    };
    bytes.extend_from_slice(&map);
    let mut rest = new.content.as_slice();
    for segment in segments_of(SEGMENT_SIZE, rest.len() as u64, moved.len() as u64) {
        let (piece, after) = rest.split_at(segment.len as usize);
        zstd_coder::compress(
            piece,
            &moved[segment.prefix as usize..][..segment.prefix_len as usize],
            level,
            &mut bytes,
        )?;
        rest = after;
    }
    Ok(Some(bytes))
}

fn ranks(blocks: &Lz4Blocks) -> Vec<u8> {
    let (mut ranks, mut chains) = (Vec::new(), Chains::new());
    let (mut lengths, mut distances) = (blocks.lengths.iter().copied(), blocks.distances.iter());
    let mut rest = blocks.content.as_slice();
    for info in &blocks.infos {
        let (block, after) = rest.split_at(info.unpacked);
        (rest, _) = (after, chains.clear());
        let mut at = 0;
        for distance in distances.by_ref().take(info.matches) {
            let token = lengths.next().unwrap_or_default();
            at += length(token >> 4, &mut lengths);
            let len = length(token & 15, &mut lengths) + super::blocks::MATCH_MIN;
            match chains.rank(block, at, len, *distance) {
                Some(rank) => ranks.push(rank),
                None => {
                    ranks.push(NO_RANK);
                    ranks.extend_from_slice(&distance.to_le_bytes());
                }
            }
            at += len;
        }
        let token = lengths.next().unwrap_or_default();
        length(token >> 4, &mut lengths);
    }
    ranks
}

fn length(first: u8, lengths: &mut impl Iterator<Item = u8>) -> usize {
    let mut len = usize::from(first);
    let mut last = if first == 15 { 255 } else { 0 };
    while last == 255 {
        last = lengths.next().unwrap_or_default();
        len += usize::from(last);
    }
    len
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
