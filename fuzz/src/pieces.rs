//! An input that is made of several pieces, for targets that read more than one file.

/// One piece of an input.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'i> {
    /// The kind of the piece, as defined by the target.
    pub kind: u8,
    /// The bytes of the piece.
    pub bytes: &'i [u8],
}

impl<'i> Piece<'i> {
    /// Returns the bytes before and after the first NUL.
    #[must_use]
    pub fn name_and_content(self) -> Option<(&'i [u8], &'i [u8])> {
        let nul = self.bytes.iter().position(|byte| *byte == 0)?;
        Some((&self.bytes[..nul], &self.bytes[nul + 1..]))
    }
}

/// Splits an input into pieces: each is a byte for the kind, its length as two bytes (the lower one first), and its
/// bytes. The last one ends with the input at the latest.
pub fn pieces(mut input: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let ([kind, low, high], rest) = input.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (bytes, rest) = rest.split_at(len);
        input = rest;
        Some(Piece { kind: *kind, bytes })
    })
}
