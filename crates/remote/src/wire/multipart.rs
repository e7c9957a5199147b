//! Parses `multipart/byteranges`: several ranges in one answer.
//!
//! Each part announces its range, so its length is known, and the bytes pass through without a search for the boundary.

use super::content_range::ContentRange;

/// The longest head of a part, and the longest text before the first part.
const LONGEST_HEAD: usize = 8 << 10;
/// The longest boundary, as RFC 2046 has it.
const LONGEST_BOUNDARY: usize = 70;

/// Parser of a body that arrives in pieces.
#[derive(Debug)]
pub(crate) struct Multipart {
    boundary: String,
    state: PartState,
    /// Bytes of a head that is not complete.
    head: Vec<u8>,
    /// Place of the boundary in `head`, once it is found.
    found: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartState {
    /// Before a part: boundary and head.
    Head {
        is_first: bool,
    },
    /// In a part, at this offset of the blob.
    Body {
        at: u64,
        left: u64,
    },
    End,
}

impl Multipart {
    /// Makes a parser for the value of `Content-Type`; `None` if the type is another one.
    pub(crate) fn new(content_type: &str) -> Option<Self> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/byteranges") {
            return None;
        }
        let boundary = parameters.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
        })?;
        let is_valid = (1..=LONGEST_BOUNDARY).contains(&boundary.len()) && !boundary.contains(char::is_control);
        let state = PartState::Head { is_first: true };
        is_valid.then(|| Self { boundary: boundary.to_owned(), state, head: Vec::new(), found: None })
    }

    /// Reports whether the last boundary was seen.
    pub(crate) fn is_at_end(&self) -> bool {
        self.state == PartState::End
    }

    /// Takes a piece of the body. `part` gets the offset in the blob and the bytes. `size` is that of the blob, which
    /// each part may announce.
    pub(crate) fn feed<E>(
        &mut self,
        mut piece: &[u8],
        size: u64,
        part: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), MultipartError<E>> {
        while !piece.is_empty() {
            match self.state {
                // An epilogue means nothing.
                PartState::End => break,
                PartState::Body { at, left } => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                    let (bytes, rest) = piece.split_at(length);
                    part(at, bytes).map_err(MultipartError::Receiver)?;
                    piece = rest;
                    let left = left - length as u64;
                    let next = PartState::Body { at: at + length as u64, left };
                    self.state = if left == 0 { PartState::Head { is_first: false } } else { next };
                }
                PartState::Head { is_first } => {
                    let before = self.head.len();
                    let room = LONGEST_HEAD.saturating_sub(before);
                    if room == 0 {
                        return Err(MultipartError::Invalid("the head of a part has more than 8192 bytes"));
                    }
                    let (taken, _) = piece.split_at(room.min(piece.len()));
                    self.head.extend_from_slice(taken);
                    let used = self.parse_head(is_first, before, size).map_err(MultipartError::Invalid)?;
                    // Without a complete head, all that was taken is in it.
                    let used = used.map_or(taken.len(), |used| used.saturating_sub(before));
                    if !matches!(self.state, PartState::Head { .. }) {
                        self.head.clear();
                        self.found = None;
                    }
                    piece = piece.get(used..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    /// Parses boundary and head, if they are complete, and returns their length. `before` bytes were searched before.
    fn parse_head(&mut self, is_first: bool, before: usize, size: u64) -> Result<Option<usize>, &'static str> {
        let delimiter = format!("--{}", self.boundary);
        self.found = self.found.or_else(|| find(&self.head, delimiter.as_bytes(), before));
        let Some(start) = self.found else { return Ok(None) };
        // Only before the first part there may be other text.
        if !is_first && !self.head[..start].iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err("a part is longer than its range");
        }
        let after = start + delimiter.len();
        let rest = self.head.get(after..).unwrap_or_default();
        if rest.starts_with(b"--") {
            self.state = PartState::End;
            return Ok(Some(after + 2));
        }
        let Some(end) = find(rest, b"\r\n\r\n", before.saturating_sub(after)) else { return Ok(None) };
        let fields = std::str::from_utf8(rest.get(..end).unwrap_or_default()).map_err(|_| "a head is not UTF-8")?;
        let range = fields.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-range").then(|| ContentRange::parse(value))
        });
        let range = range.flatten().ok_or("a part has no valid Content-Range")?;
        if range.end > size || range.total.is_some_and(|total| total != size) {
            return Err("a part has a Content-Range outside the size of the blob");
        }
        self.state = PartState::Body { at: range.first, left: range.end - range.first };
        Ok(Some(after + end + 4))
    }
}

/// The error of a body, or of the receiver of its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MultipartError<E> {
    Invalid(&'static str),
    Receiver(E),
}

/// Returns the first place of a word that is not within the first `searched` bytes.
fn find(text: &[u8], word: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(word.len() - 1);
    text.get(from..)?.windows(word.len()).position(|window| window == word).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "preamble\r\n--b c\r\nContent-Type: x\r\nContent-Range: bytes 2-4/10\r\n\r\nabc\r\n--b c\r\n\
                        content-range: bytes 7-7/10\r\n\r\n-\r\n--b c--\r\nepilogue";

    /// Parses a body in pieces of this length.
    fn parse(body: &str, piece: usize) -> Result<Vec<(u64, String)>, MultipartError<()>> {
        let mut parser = Multipart::new("Multipart/ByteRanges; boundary=\"b c\"").expect("the type");
        let mut parts: Vec<(u64, String)> = Vec::new();
        for piece in body.as_bytes().chunks(piece) {
            parser.feed(piece, 10, &mut |at, bytes| {
                let text = String::from_utf8_lossy(bytes);
                match parts.last_mut().filter(|(first, text)| first + text.len() as u64 == at) {
                    Some((_, last)) => last.push_str(&text),
                    None => parts.push((at, text.into_owned())),
                }
                Ok(())
            })?;
        }
        assert!(parser.is_at_end(), "{parser:?}");
        Ok(parts)
    }

    #[test]
    fn parts_in_pieces_of_any_length() {
        let expected = [(2, "abc".to_owned()), (7, "-".to_owned())];
        for piece in 1..BODY.len() {
            assert_eq!(parse(BODY, piece).as_deref(), Ok(&expected[..]), "{piece}");
        }
    }

    #[test]
    fn bad_bodies_are_refused() {
        let reason = |body: &str| match parse(body, 7) {
            Err(MultipartError::Invalid(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason(&BODY.replace("2-4/10", "2-3/10")).contains("longer"));
        assert!(reason(&BODY.replace("2-4/10", "2-4/11")).contains("outside"));
        assert!(reason(&BODY.replace("2-4/10", "2-10/*")).contains("outside"));
        assert!(reason(&BODY.replace("Content-Range", "Range")).contains("no valid"));
        assert!(reason(&"x".repeat(10_000)).contains("8192"));
        assert_eq!(parse(&BODY.replace("2-4/10", "2-4/*"), 7).map(|parts| parts.len()), Ok(2));
    }

    #[test]
    fn other_types_are_no_multipart() {
        for other in
            ["text/plain", "multipart/byteranges", "multipart/mixed; boundary=a", "multipart/byteranges; boundary="]
        {
            assert!(Multipart::new(other).is_none(), "{other}");
        }
    }
}
