//! Limits of what a blob may demand of the reader.

use super::{NotPartial, PlainSection};
use crate::compression::WINDOW_LOG;
use crate::tar::Limits;

/// Limits of a partial pull.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ChunkedLimits {
    /// Largest size of the compressed TOC, and of the compressed tar-split data, in bytes.
    pub compressed: u64,
    /// Largest size of the TOC, and of the tar-split data, after decompression, in bytes.
    pub plain: u64,
    /// Largest window of a zstd frame, as a binary logarithm.
    pub window_log: u32,
    /// Largest size of the archive, in bytes.
    pub archive: u64,
    /// Largest number of bytes to fetch. Beyond it pulling the whole blob is better.
    pub fetched: u64,
    /// Limits of the archive.
    pub tar: Limits,
}

impl Default for ChunkedLimits {
    fn default() -> Self {
        Self {
            compressed: 64 << 20,
            plain: 256 << 20,
            window_log: WINDOW_LOG,
            archive: u64::MAX,
            fetched: u64::MAX,
            tar: Limits::default(),
        }
    }
}

impl ChunkedLimits {
    pub(super) fn check_fetched(&self, fetched: u64) -> Result<(), NotPartial> {
        let limit = self.fetched;
        if fetched > limit { Err(NotPartial::LittleIsHere { fetched, limit }) } else { Ok(()) }
    }

    pub(super) fn check(&self, what: &'static str, section: &PlainSection) -> Result<(), NotPartial> {
        for (size, limit) in [(section.range.len(), self.compressed), (section.plain_len, self.plain)] {
            if size > limit {
                return Err(NotPartial::TooLarge { what, size, limit });
            }
        }
        Ok(())
    }
}
