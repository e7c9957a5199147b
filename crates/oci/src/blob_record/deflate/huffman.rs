//! Canonical Huffman codes: a table to decode them, and their bits to write them.

/// Longest code, in bits.
const CODE_MAX: usize = 15;

/// Decodes symbols of one alphabet.
#[derive(Debug)]
pub(super) struct HuffmanTable {
    /// For the next bits: the symbol, and the length of its code; 0 if there is no such code.
    entries: Vec<(u16, u8)>,
    /// Length of the longest code.
    pub(super) bits: u32,
}

impl HuffmanTable {
    /// Makes the table. `None` if there are more codes than fit.
    pub(super) fn new(lengths: &[u8]) -> Option<Self> {
        let codes = codes(lengths)?;
        let bits = u32::from(lengths.iter().copied().max().unwrap_or(0)).max(1);
        let mut entries = vec![(0, 0); 1 << bits];
        for (symbol, (code, len)) in codes.iter().enumerate() {
            if *len > 0 {
                for entry in entries.iter_mut().skip(usize::from(*code)).step_by(1 << len) {
                    *entry = (symbol as u16, *len);
                }
            }
        }
        Some(Self { entries, bits })
    }

    /// Returns the symbol at the beginning of the bits and the length of its code.
    pub(super) fn symbol(&self, bits: u32) -> Option<(u16, u32)> {
        let (symbol, len) = *self.entries.get(bits as usize)?;
        (len > 0).then_some((symbol, u32::from(len)))
    }
}

/// Returns the code of each symbol, in the order of the bits in the stream, and its length. `None` if there are more
/// codes than fit.
pub(super) fn codes(lengths: &[u8]) -> Option<Vec<(u16, u8)>> {
    let mut counts = [0u32; CODE_MAX + 1];
    for len in lengths.iter().filter(|len| **len > 0) {
        *counts.get_mut(usize::from(*len))? += 1;
    }
    let (mut next, mut code) = ([0u32; CODE_MAX + 1], 0u32);
    for len in 1..=CODE_MAX {
        code = (code + counts[len - 1]) << 1;
        next[len] = code;
        if code + counts[len] > 1 << len {
            return None;
        }
    }
    let code_of = |len: &u8| {
        if *len == 0 {
            return (0, 0);
        }
        let code = next[usize::from(*len)];
        next[usize::from(*len)] += 1;
        ((code as u16).reverse_bits() >> (16 - len), *len)
    };
    Some(lengths.iter().map(code_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_specification() {
        // RFC 1951, section 3.2.2: lengths 3, 3, 3, 3, 3, 2, 4, 4 are 010, 011, 100, 101, 110, 00, 1110, 1111.
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]).unwrap();
        let bits: Vec<u16> = codes.iter().map(|(code, len)| code.reverse_bits() >> (16 - len)).collect();
        assert_eq!(bits, [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]);
    }

    #[test]
    fn too_many_codes_are_refused() {
        assert!(HuffmanTable::new(&[1, 1, 1]).is_none());
        assert!(HuffmanTable::new(&[1, 1]).is_some());
        assert!(HuffmanTable::new(&[16]).is_none());
    }
}
