//! Writes the headers of tar archives: regular files that are the same in each run.

use crate::tar::BLOCK;

/// Sizes below this are written in octal, as all readers expect; others in base 256.
const OCTAL_MAX: u64 = 1 << 33;

/// Returns the header of a regular file. `name` has at most 100 bytes.
#[expect(clippy::big_endian_bytes, reason = "the numbers of tar are big-endian")]
pub(super) fn file_header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < OCTAL_MAX {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Returns the number of bytes that fill the last block of a file.
pub(super) fn padding(size: u64) -> usize {
    ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{Limits, TarParser, TarStep};

    #[test]
    fn the_parser_reads_what_is_written() {
        for size in [0, 1, 511, 512, OCTAL_MAX - 1, OCTAL_MAX, OCTAL_MAX * 1000] {
            let mut parser = TarParser::new(Limits::default());
            let TarStep::Entry(entry) = parser.header(&file_header("blobs/x", size)).unwrap() else { panic!("{size}") };
            assert_eq!((entry.path.as_slice(), entry.stored_size), (&b"blobs/x"[..], size));
            assert_eq!((size + padding(size) as u64) % BLOCK as u64, 0);
        }
    }
}
