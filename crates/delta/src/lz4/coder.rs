//! Frames of unpacked blocks.

use std::io;

use super::blocks::{LIST_MAX, Lz4Blocks, fits};
use super::chains::{Chains, NO_RANK};
use super::sequences::{MATCH_MIN, length};
use crate::elf::matching::find_map;
use crate::elf::references::replace_references;
use crate::number::push_number;
use crate::rebase::write_map;
use crate::segment::segments_of;
use crate::zstd_coder;

/// Most bytes of the object, and of its base.
pub(crate) const LZ4_MAX: u64 = 64 << 20;
/// Size of a segment of the unpacked blocks.
pub(crate) const SEGMENT_SIZE: u64 = 2 << 20;

/// Encodes a content, if it and its base have blocks.
pub(crate) fn encode(content: &[u8], base: &[u8], level: i32) -> io::Result<Option<Vec<u8>>> {
    let larger = content.len().max(base.len());
    if larger as u64 > LZ4_MAX {
        return Ok(None);
    }
    let Some(new) = Lz4Blocks::find(content) else { return Ok(None) };
    let Some(old) = Lz4Blocks::find(base) else { return Ok(None) };
    let mut bytes = Vec::new();
    if !write_lists((content, &new), (base, &old), larger, level, &mut bytes)? {
        return Ok(None);
    }
    // The blocks are unpacked twice, so that no third form of them is in memory.
    let map = find_map(old.content(base), new.content(content)).unwrap_or_default();
    let map_bytes = map.to_bytes();
    let mut moved = old.content(base);
    if write_map(&map_bytes, &mut bytes)? {
        replace_references(&mut moved, &mut map.replacer());
    }
    let unpacked = new.content(content);
    let mut rest = unpacked.as_slice();
    for segment in segments_of(SEGMENT_SIZE, rest.len() as u64, moved.len() as u64) {
        let (piece, after) = rest.split_at(segment.len as usize);
        let prefix = &moved[segment.prefix as usize..][..segment.prefix_len as usize];
        zstd_coder::compress(piece, prefix, level, &mut bytes)?;
        rest = after;
    }
    Ok(Some(bytes))
}

/// Writes everything before the map: numbers, outline and ranks. Returns `false` if a decoder has no room for them.
fn write_lists(
    (content, new): (&[u8], &Lz4Blocks),
    (base, old): (&[u8], &Lz4Blocks),
    larger: usize,
    level: i32,
    bytes: &mut Vec<u8>,
) -> io::Result<bool> {
    let (outline, old_outline) = (new.outline(content), old.outline(base));
    if old_outline.len() > LIST_MAX || !fits(old.unpacked, outline.len(), new.distances.len(), larger) {
        return Ok(false);
    }
    let ranks = ranks(new, &new.content(content));
    if ranks.len() > content.len() || !fits(old.unpacked, outline.len(), ranks.len(), larger) {
        return Ok(false);
    }
    let numbers = [old.start, old.infos.len(), new.start, new.infos.len()].into_iter();
    let numbers = numbers.chain(new.infos.iter().flat_map(|info| [info.unpacked, info.matches]));
    numbers.for_each(|number| push_number(bytes, number as u64));
    zstd_coder::compress(&outline, &old_outline, level, bytes)?;
    zstd_coder::compress(&ranks, &[], level, bytes)?;
    Ok(true)
}

fn ranks(blocks: &Lz4Blocks, content: &[u8]) -> Vec<u8> {
    let (mut ranks, mut chains) = (Vec::new(), Chains::new());
    let (mut lengths, mut distances) = (blocks.lengths.as_slice(), blocks.distances.iter());
    let mut next = |token: Option<u8>, shift: u8| {
        let token = token.or_else(|| lengths.split_off_first().copied()).unwrap_or_default();
        (token, length(token >> shift & 15, &mut lengths).unwrap_or_default())
    };
    let mut rest = content;
    for info in &blocks.infos {
        let (block, after) = rest.split_at(info.unpacked);
        (rest, _) = (after, chains.clear());
        let mut at = 0;
        for distance in distances.by_ref().take(info.matches) {
            let (token, literals) = next(None, 4);
            at += literals;
            let len = next(Some(token), 0).1 + MATCH_MIN;
            match chains.rank(block, at, len, *distance) {
                Some(rank) => ranks.push(rank),
                None => {
                    ranks.push(NO_RANK);
                    ranks.extend_from_slice(&distance.to_le_bytes());
                }
            }
            at += len;
        }
        next(None, 4);
    }
    ranks
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
