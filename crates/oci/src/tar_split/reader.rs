//! Reading the lines, one after the other.

use std::io::{BufRead, Read as _};

use super::piece::TarPiece;
use super::{TarSplitError, line};

/// Longest line, in bytes. Writers divide the archive into pieces of at most 1 MiB, which become 1.4 MiB of text.
pub const LINE_MAX: u64 = 4 << 20;

/// Reads the parts of an archive from lines of JSON, which the caller has decompressed.
///
/// ```
/// use libcomposefs_oci::tar_split::{TarPiece, TarSplitReader};
///
/// let lines = br#"{"type":2,"payload":"aGVhZGVy","position":0}
/// {"type":1,"name":"etc/","payload":null,"position":1}
/// "#;
/// let pieces: Vec<_> = TarSplitReader::new(&lines[..]).collect::<Result<_, _>>()?;
/// assert_eq!(pieces[0], TarPiece::Bytes(b"header".to_vec()));
/// # Ok::<(), libcomposefs_oci::tar_split::TarSplitError>(())
/// ```
#[derive(Debug)]
pub struct TarSplitReader<R> {
    input: R,
    line: Vec<u8>,
    /// The number of lines so far, which is the position of the next.
    count: u64,
    has_failed: bool,
}

impl<R: BufRead> TarSplitReader<R> {
    /// Begins to read lines.
    pub fn new(input: R) -> Self {
        Self { input, line: Vec::new(), count: 0, has_failed: false }
    }

    fn piece(&mut self) -> Result<Option<TarPiece>, TarSplitError> {
        self.line.clear();
        (&mut self.input).take(LINE_MAX + 1).read_until(b'\n', &mut self.line).map_err(TarSplitError::Read)?;
        if self.line.is_empty() {
            return Ok(None);
        }
        let wrong = |problem| TarSplitError::Line { line: self.count + 1, problem };
        if self.line.len() as u64 > LINE_MAX {
            return Err(wrong(format!("is longer than {LINE_MAX} bytes")));
        }
        let piece = line::parse(&self.line, self.count).map_err(wrong)?;
        self.count += 1;
        Ok(Some(piece))
    }
}

impl<R: BufRead> Iterator for TarSplitReader<R> {
    type Item = Result<TarPiece, TarSplitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let piece = self.piece();
        self.has_failed = piece.is_err();
        piece.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar_split::TarSplitFile;

    fn read(lines: &str) -> Result<Vec<TarPiece>, TarSplitError> {
        TarSplitReader::new(lines.as_bytes()).collect()
    }

    #[test]
    fn lines_are_read() {
        let lines = concat!(
            r#"{"type":2,"payload":"aGVhZGVy","position":0}"#,
            "\n",
            r#"{"type":1,"name":"a\u003cb","size":3,"payload":"AAAAAAAAAAE=","position":1,"new":[{}]}"#,
            "\n",
            r#"{"type":1,"name_raw":"Zv9v","payload":null,"position":2}"#,
            "\n",
            r#"{"type":2,"payload":null,"position":3}"#,
        );
        let file = |name: &[u8], size, crc| TarPiece::File(TarSplitFile { name: name.to_vec(), size, crc });
        let expected = [
            TarPiece::Bytes(b"header".to_vec()),
            file(b"a<b", 3, Some(1)),
            file(b"f\xffo", 0, None),
            TarPiece::Bytes(Vec::new()),
        ];
        assert_eq!(read(lines).unwrap(), expected);
    }

    #[test]
    fn damaged_lines_are_refused() {
        assert!(read(r#"{"type":1,"name":"a","size":1,"payload":"AAAAAAAAAAE=","position":0}"#).is_ok());
        for (wrong, message) in [
            (r#"{"type":1,"name":"a","size":1,"payload":"AAAAAAAAAAE=","position":1}"#, "position"),
            (r#"{"type":1,"name":"a","size":1,"payload":"AAAAAAAAAAE="}"#, "position"),
            (r#"{"type":1,"name":"a","size":1,"payload":"AAAAAAAAAA==","position":0}"#, "8 bytes"),
            (r#"{"type":1,"name":"a","size":1,"payload":null,"position":0}"#, "no checksum"),
            (r#"{"type":1,"name":"a","size":-1,"payload":"AAAAAAAAAAE=","position":0}"#, "-1"),
            (r#"{"type":1,"size":1,"payload":"AAAAAAAAAAE=","position":0}"#, "no name"),
            (r#"{"type":1,"name":"a","name_raw":"YQ==","size":0,"position":0}"#, "both"),
            (r#"{"type":3,"position":0}"#, "type 3"),
            (r#"{"type":2,"payload":"?","position":0}"#, "base64"),
            (r#"{"type":2,"payload":"","position":0} {}"#, "trailing"),
            ("\n", "object"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(message) && error.starts_with("line 1"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_long_line_is_refused_before_it_is_parsed() {
        let line = |len: usize| {
            let rest = r#"{"type":2,"payload":"","position":0}"#.len();
            format!(r#"{{"type":2,"payload":"{}","position":0}}"#, "A".repeat(len - rest))
        };
        let longest = usize::try_from(LINE_MAX).unwrap();
        assert!(read(&line(longest)).is_ok());
        assert!(read(&line(longest + 4)).unwrap_err().to_string().contains("longer"));
    }
}
