//! Zstandard frames with a prefix: the parameters of both directions.

use std::io::{self, BufRead, Write};

use zstd::stream::{read, write};

/// The smallest and the largest window that zstd knows, as logarithms.
const WINDOW_LOGS: std::ops::RangeInclusive<u32> = 10..=27;
/// Contents that are longer than this, with their prefix, are searched for long matches too, in bytes.
const LONG_MIN: usize = 24 << 20;
/// The highest level for them.
const LONG_LEVEL: i32 = 12;

/// Compresses `content` to one zstd frame, in which matches may lie in `prefix`.
pub(crate) fn compress(content: &[u8], prefix: &[u8], level: i32, out: &mut Vec<u8>) -> io::Result<()> {
    let is_long = content.len() + prefix.len() > LONG_MIN;
    // The search trees of higher levels forget most of a long prefix: 47 MB of node take 20 times the bytes with them.
    let level = if is_long { level.min(LONG_LEVEL) } else { level };
    let mut encoder = match prefix {
        [] => write::Encoder::new(out, level)?,
        _ => write::Encoder::with_ref_prefix(out, level, prefix)?,
    };
    // All of the prefix stays in reach as long as the window covers the content.
    encoder.window_log(window_log(content.len() as u64))?;
    if is_long {
        encoder.long_distance_matching(true)?;
    }
    encoder.include_checksum(false)?;
    encoder.include_contentsize(true)?;
    encoder.set_pledged_src_size(Some(content.len() as u64))?;
    encoder.write_all(content)?;
    encoder.finish()?;
    Ok(())
}

/// Begins to decompress one zstd frame of `len` bytes of content.
pub(crate) fn decoder<'p, R: BufRead>(input: R, prefix: &'p [u8], len: u64) -> io::Result<read::Decoder<'p, R>> {
    let mut decoder = read::Decoder::with_ref_prefix(input, prefix)?;
    decoder.window_log_max(window_log(len))?;
    Ok(decoder.single_frame())
}

/// The logarithm of the smallest window that covers a content of `len` bytes.
fn window_log(len: u64) -> u32 {
    len.next_power_of_two().ilog2().clamp(*WINDOW_LOGS.start(), *WINDOW_LOGS.end())
}
