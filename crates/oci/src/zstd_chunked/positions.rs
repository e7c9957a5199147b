//! The positions of the TOC and the tar-split data in a blob: from the annotations of its descriptor, or its footer.

use super::{ByteRange, NotPartial};
use crate::BlobDigest;

/// The common beginning of the keys.
const PREFIX: &str = "io.github.containers.zstd-chunked.";
/// The length of the footer at the end of the blob, in bytes.
pub const FOOTER_LEN: usize = 64;
/// The length of the footer of older writers.
const OLD_FOOTER_LEN: usize = 40;
const MAGIC: &[u8; 8] = b"GNUlInUx";
/// Length of the header of a skippable frame, in bytes.
const FRAME_HEADER_LEN: u64 = 8;

/// A compressed part of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainSection {
    /// The compressed bytes.
    pub range: ByteRange,
    /// Number of bytes after decompression.
    pub plain_len: u64,
}

/// The positions of the TOC and of the tar-split data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkedPositions {
    /// The TOC.
    pub toc: PlainSection,
    /// The tar-split data.
    pub tar_split: PlainSection,
    /// The digest of the compressed TOC. A footer has none.
    pub toc_digest: Option<BlobDigest>,
}

impl ChunkedPositions {
    /// Reads the annotations of the descriptor of a blob. Returns `None` if the blob is not in this format. The
    /// annotations are covered by the digest of the manifest, which the footer is not.
    ///
    /// # Errors
    ///
    /// If the annotations are malformed, have no tar-split data, or contradict the size of the blob.
    pub fn from_annotations<'a>(
        get: impl Fn(&str) -> Option<&'a str>,
        blob_size: u64,
    ) -> Result<Option<Self>, NotPartial> {
        let get = |name: &str| {
            let key = format!("{PREFIX}{name}");
            get(&key).map(|value| Annotation { key, value })
        };
        let (Some(position), Some(checksum)) = (get("manifest-position"), get("manifest-checksum")) else {
            return Ok(None);
        };
        let toc_digest = Some(checksum.value.parse().map_err(|_| checksum.malformed())?);
        let [start, len, plain_len, toc_type] = position.numbers()?;
        let tar_split = get("tarsplit-position").ok_or(NotPartial::NoTarSplit)?;
        let [split_start, split_len, split_plain_len] = tar_split.numbers()?;
        Self {
            toc: section(start, len, plain_len)?,
            tar_split: section(split_start, split_len, split_plain_len)?,
            toc_digest,
        }
        .checked(toc_type, blob_size, 0)
        .map(Some)
    }

    /// Reads the footer: the last bytes of a blob, at least [`FOOTER_LEN`]. Not for blobs whose descriptor has the
    /// annotations: nothing but the digest of the whole blob covers a footer.
    ///
    /// # Errors
    ///
    /// If there is no footer, or one without tar-split data, or it contradicts the size of the blob.
    pub fn from_footer(end: &[u8], blob_size: u64) -> Result<Self, NotPartial> {
        let footer = end.last_chunk::<FOOTER_LEN>().ok_or(NotPartial::Footer)?;
        if footer.last_chunk() != Some(MAGIC) {
            return Err(NotPartial::Footer);
        }
        let number = |index: usize| {
            let bytes = footer.get(8 * index..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let numbers: [u64; 7] = std::array::from_fn(number);
        let [start, len, plain_len, toc_type, split_start, split_len, split_plain_len] = numbers;
        let positions = section(start, len, plain_len).and_then(|toc| {
            let tar_split = section(split_start, split_len, split_plain_len)?;
            let footer_len = FOOTER_LEN as u64 + FRAME_HEADER_LEN;
            Self { toc, tar_split, toc_digest: None }.checked(toc_type, blob_size, footer_len)
        });
        // The older form begins 24 bytes later: what comes before it is the end of its TOC and a frame header.
        match positions {
            Err(_) if is_old_footer(footer, blob_size) => Err(NotPartial::NoTarSplit),
            positions => positions,
        }
    }

    /// Returns the range that has both parts.
    #[must_use]
    pub fn range(&self) -> ByteRange {
        ByteRange {
            start: self.toc.range.start.min(self.tar_split.range.start),
            end: self.toc.range.end.max(self.tar_split.range.end),
        }
    }

    fn checked(self, toc_type: u64, blob_size: u64, footer_len: u64) -> Result<Self, NotPartial> {
        if toc_type != 1 {
            return Err(NotPartial::Version("type", toc_type));
        }
        let (toc, tar_split) = (self.toc.range, self.tar_split.range);
        if toc.end > tar_split.start && tar_split.end > toc.start {
            return Err(NotPartial::Positions("the two overlap"));
        }
        if self.range().end > blob_size.saturating_sub(footer_len) {
            return Err(NotPartial::Positions("they are outside of the blob"));
        }
        // Both are fetched by one request.
        if self.range().len() - toc.len() - tar_split.len() > 4096 {
            return Err(NotPartial::Positions("the two are not side by side"));
        }
        Ok(self)
    }
}

fn section(start: u64, len: u64, plain_len: u64) -> Result<PlainSection, NotPartial> {
    let end = start.checked_add(len).ok_or(NotPartial::Positions("a number is too large"))?;
    if len == 0 {
        return Err(NotPartial::Positions("a part is empty"));
    }
    Ok(PlainSection { range: ByteRange { start, end }, plain_len })
}

/// Tells whether this is a footer without the fields of the tar-split data: offset, compressed and plain length, type.
fn is_old_footer(footer: &[u8; FOOTER_LEN], blob_size: u64) -> bool {
    let Some(old) = footer.last_chunk::<OLD_FOOTER_LEN>() else { return false };
    let number = |at: usize| old.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let end = number(0).checked_add(number(8));
    number(24) == 1 && end.is_some_and(|end| end <= blob_size)
}

struct Annotation<'a> {
    key: String,
    value: &'a str,
}

impl Annotation<'_> {
    fn malformed(&self) -> NotPartial {
        NotPartial::Annotation { key: self.key.clone(), value: self.value.chars().take(100).collect() }
    }

    /// Reads decimal numbers divided by colons.
    fn numbers<const N: usize>(&self) -> Result<[u64; N], NotPartial> {
        let numbers: Option<Vec<u64>> = self.value.split(':').take(N + 1).map(decimal).collect();
        numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| self.malformed())
    }
}

fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(position: &str, tar_split: Option<&str>, size: u64) -> Result<Option<ChunkedPositions>, NotPartial> {
        let digest = BlobDigest::of(b"").to_string();
        ChunkedPositions::from_annotations(
            |key| match key.strip_prefix(PREFIX)? {
                "manifest-checksum" => Some(&*digest),
                "manifest-position" => Some(position),
                "tarsplit-position" => tar_split,
                _ => None,
            },
            size,
        )
        .map(|positions| positions.map(|positions| ChunkedPositions { toc_digest: None, ..positions }))
    }

    #[test]
    fn annotations_are_read_and_checked() {
        let positions = read("100:10:50:1", Some("118:20:70"), 210).unwrap().unwrap();
        assert_eq!(positions.toc, PlainSection { range: (100..110).into(), plain_len: 50 });
        assert_eq!(positions.tar_split, PlainSection { range: (118..138).into(), plain_len: 70 });
        assert_eq!(positions.range(), (100..138).into());
        for (position, tar_split, size) in [
            ("100:10:50:2", Some("118:20:70"), 210),
            ("100:10:50", Some("118:20:70"), 210),
            ("100:10:50:1:1", Some("118:20:70"), 210),
            ("+100:10:50:1", Some("118:20:70"), 210),
            ("100:10:50:", Some("118:20:70"), 210),
            ("100:0:50:1", Some("118:20:70"), 210),
            ("100:10:50:1", Some("109:20:70"), 210),
            ("100:10:50:1", Some("118:20:70"), 137),
            ("100:10:50:1", Some("11800:20:70"), 50_000),
            ("100:10:50:1", Some("18446744073709551615:20:70"), 210),
            ("100:10:50:1", None, 210),
        ] {
            assert!(read(position, tar_split, size).is_err(), "{position} {tar_split:?} {size}");
        }
        assert!(matches!(ChunkedPositions::from_annotations(|_| None, 1), Ok(None)));
    }

    #[test]
    fn footers_are_read_and_checked() {
        let footer = |numbers: &[u64]| {
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            bytes.extend_from_slice(MAGIC);
            bytes
        };
        let new = footer(&[100, 10, 50, 1, 118, 20, 70]);
        let expected = read("100:10:50:1", Some("118:20:70"), 210).unwrap().unwrap();
        assert_eq!(ChunkedPositions::from_footer(&new, 210).unwrap(), expected);
        let long = [&[7; 100][..], &new].concat();
        assert_eq!(ChunkedPositions::from_footer(&long, 210).unwrap(), expected);
        assert!(matches!(ChunkedPositions::from_footer(&new[1..], 210), Err(NotPartial::Footer)));
        assert!(matches!(ChunkedPositions::from_footer(&new, 138 + 71), Err(NotPartial::Positions(_))));
        let old = [&[7; 24][..], &footer(&[100, 10, 50, 1])].concat();
        assert!(matches!(ChunkedPositions::from_footer(&old, 210), Err(NotPartial::NoTarSplit)));
    }
}
