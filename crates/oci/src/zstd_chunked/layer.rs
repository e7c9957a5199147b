//! A layer whose TOC and tar-split data were fetched and verified.

use std::io::{BufRead, BufReader, Read};

use zstd::stream::read::Decoder;

use super::limits::ChunkedLimits;
use super::{ByteRange, ChunkedPositions, NotPartial, PlainSection, Toc};
use crate::BlobDigest;
use crate::tar_split::{TarPiece, TarSplitReader};

/// A layer in the format zstd:chunked.
#[derive(Debug)]
pub struct ChunkedLayer {
    toc: Toc,
    tar_split: Vec<u8>,
    tar_split_len: u64,
    window_log: u32,
    /// The number of bytes that were fetched for the TOC and the tar-split data.
    fetched: u64,
}

impl ChunkedLayer {
    /// Checks the TOC and the tar-split data of a blob. `bytes` is the range [`ChunkedPositions::range`].
    ///
    /// # Errors
    ///
    /// If a digest is missing or wrong, or the data are damaged or do not belong together.
    pub fn new(positions: &ChunkedPositions, bytes: &[u8], limits: &ChunkedLimits) -> Result<Self, NotPartial> {
        let part = |what: &'static str, section: &PlainSection| {
            limits.check(what, section)?;
            part_of(bytes, positions.range(), section.range).ok_or(NotPartial::Positions("bytes are missing"))
        };
        let compressed_toc = part("the TOC", &positions.toc)?;
        if let Some(expected) = positions.toc_digest {
            compare("the TOC", compressed_toc, expected)?;
        }
        let window_log = limits.window_log;
        let plain = plain("the TOC", compressed_toc, positions.toc.plain_len, window_log)?;
        let toc = Toc::parse(plain)?;
        let contents_end = toc.end();
        if contents_end > positions.range().start {
            return Err(NotPartial::Toc(format!(
                "the bytes of contents end at {contents_end}, after the beginning of the TOC or the tar-split data"
            )));
        }
        let tar_split = part("the tar-split data", &positions.tar_split)?;
        compare("the tar-split data", tar_split, toc.tar_split_digest().ok_or(NotPartial::NoTarSplitDigest)?)?;
        let (tar_split, tar_split_len) = (tar_split.to_vec(), positions.tar_split.plain_len);
        let layer = Self { toc, tar_split, tar_split_len, window_log, fetched: bytes.len() as u64 };
        layer.pair()?;
        Ok(layer)
    }

    /// Returns the table of contents.
    #[must_use]
    pub fn toc(&self) -> &Toc {
        &self.toc
    }

    /// Returns a reader of the lines of the tar-split data.
    ///
    /// # Errors
    ///
    /// If the data cannot be decompressed.
    pub fn tar_split(&self) -> Result<impl BufRead + '_, NotPartial> {
        plain("the tar-split data", &self.tar_split, self.tar_split_len, self.window_log)
    }

    pub(super) fn fetched(&self) -> u64 {
        self.fetched
    }

    pub(super) fn window_log(&self) -> u32 {
        self.window_log
    }

    /// Compares the files of the TOC with those of the tar-split data: the same sizes in the same order. Names are not
    /// compared, because the TOC has no bytes that are not UTF-8.
    fn pair(&self) -> Result<(), NotPartial> {
        let mut files = self.toc.files().iter();
        let mut number = 0u64;
        for piece in TarSplitReader::new(self.tar_split()?) {
            let TarPiece::File(file) = piece? else { continue };
            if file.size == 0 {
                continue;
            }
            match files.next() {
                Some(listed) if listed.size == file.size => number += 1,
                Some(listed) => {
                    let (listed, size) = (listed.size, file.size);
                    let problem = format!("file {number} has {listed} bytes in the TOC, but {size} in the archive");
                    return Err(NotPartial::Pairing(problem));
                }
                None => return Err(NotPartial::Pairing(format!("the TOC has only {number} files with content"))),
            }
        }
        match files.len() {
            0 => Ok(()),
            more => Err(NotPartial::Pairing(format!("the TOC has {more} more files with content"))),
        }
    }
}

/// Returns the bytes of a range from those of a larger one.
fn part_of(bytes: &[u8], whole: ByteRange, part: ByteRange) -> Option<&[u8]> {
    let start = usize::try_from(part.start.checked_sub(whole.start)?).ok()?;
    let end = usize::try_from(part.end.checked_sub(whole.start)?).ok()?;
    bytes.get(start..end)
}

fn compare(what: &str, bytes: &[u8], expected: BlobDigest) -> Result<(), NotPartial> {
    let found = BlobDigest::of(bytes);
    if found == expected { Ok(()) } else { Err(NotPartial::Digest { what: what.to_owned(), expected, found }) }
}

/// Decompresses bytes, of which there must not be more than `len`.
fn plain<'b>(what: &'static str, bytes: &'b [u8], len: u64, window_log: u32) -> Result<impl BufRead + 'b, NotPartial> {
    let wrong = |error: std::io::Error| NotPartial::Compression { what: what.to_owned(), problem: error.to_string() };
    let mut decoder = Decoder::with_buffer(bytes).map_err(wrong)?;
    decoder.window_log_max(window_log).map_err(wrong)?;
    Ok(BufReader::with_capacity(64 << 10, decoder.take(len)))
}
