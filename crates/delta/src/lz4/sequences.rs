//! The sequences of a packed block: literals, and the match that follows them.

/// Shortest match.
pub(super) const MATCH_MIN: usize = 4;

/// Literals and a match; the last sequence of a block has no match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence<'p> {
    /// The token, and the bytes that continue the number of literals.
    pub(super) head: &'p [u8],
    pub(super) literals: &'p [u8],
    /// Distance of the match; `None` for the last sequence.
    pub(super) distance: Option<u16>,
    /// The bytes that continue the length of the match.
    pub(super) tail: &'p [u8],
    /// Length of the match, or 0.
    pub(super) len: usize,
}

/// Calls `visit` with the sequences of a packed block that has at most `room` bytes unpacked, and returns how many it
/// has; `None` if it is malformed, which may be found after some of its sequences.
pub(super) fn sequences<'p>(mut packed: &'p [u8], room: usize, visit: &mut impl FnMut(Sequence<'p>)) -> Option<usize> {
    let mut unpacked = 0;
    loop {
        let start = packed;
        let (&token, rest) = packed.split_first()?;
        packed = rest;
        let literals = length(token >> 4, &mut packed)?;
        let head = &start[..start.len() - packed.len()];
        let (literals, rest) = packed.split_at_checked(literals)?;
        if literals.len() > room - unpacked {
            return None;
        }
        unpacked += literals.len();
        let Some((distance, rest)) = rest.split_first_chunk() else {
            visit(Sequence { head, literals, distance: None, tail: &[], len: 0 });
            return (rest.is_empty() && unpacked > 0).then_some(unpacked);
        };
        packed = rest;
        let distance = u16::from_le_bytes(*distance);
        let len = length(token & 15, &mut packed)? + MATCH_MIN;
        if distance == 0 || usize::from(distance) > unpacked || len > room - unpacked {
            return None;
        }
        unpacked += len;
        visit(Sequence { head, literals, distance: Some(distance), tail: &rest[..rest.len() - packed.len()], len });
    }
}

/// Reads the rest of a length that begins with four bits.
pub(super) fn length(first: u8, bytes: &mut &[u8]) -> Option<usize> {
    let mut len = usize::from(first);
    let mut last = if first == 15 { 255 } else { 0 };
    while last == 255 {
        (last, *bytes) = bytes.split_first().map(|(byte, rest)| (*byte, rest))?;
        len += usize::from(last);
    }
    Some(len)
}

/// Appends the bytes of a sequence to those that precede it.
pub(super) fn append(content: &mut Vec<u8>, sequence: &Sequence<'_>) {
    content.extend_from_slice(sequence.literals);
    let Some(distance) = sequence.distance else { return };
    let (from, mut len) = (content.len() - usize::from(distance), sequence.len);
    while len > 0 {
        let piece = len.min(content.len() - from);
        content.extend_from_within(from..from + piece);
        len -= piece;
    }
}
