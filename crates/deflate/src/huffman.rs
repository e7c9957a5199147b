//! Canonical Huffman codes: a table to decode them, and their bits to write them.

/// Longest code, in bits.
const CODE_MAX: usize = 15;

/// Longest code with a place in the table, in bits. Longer ones are rare, and a table of all takes long to fill.
const DIRECT_MAX: u32 = 10;

/// Decodes symbols of one alphabet.
#[derive(Debug)]
pub(super) struct HuffmanTable {
    /// For the next bits: the symbol, and the length of its code; 0 if its code is longer or missing.
    entries: Vec<(u16, u8)>,
    /// The longer codes: length, bits with the first one highest, and symbol, sorted.
    long: Vec<(u32, u32, u16)>,
    /// Length of the longest code.
    pub(super) bits: u32,
}

impl HuffmanTable {
    /// Makes the table. `None` if there are more codes than fit.
    pub(super) fn new(lengths: &[u8]) -> Option<Self> {
        let codes = codes(lengths)?;
        let bits = u32::from(lengths.iter().copied().max().unwrap_or(0)).max(1);
        let (mut entries, mut long) = (vec![(0, 0); 1 << bits.min(DIRECT_MAX)], Vec::new());
        for (symbol, (code, len)) in codes.iter().enumerate() {
            match u32::from(*len) {
                0 => {}
                1..=DIRECT_MAX => {
                    for entry in entries.iter_mut().skip(usize::from(*code)).step_by(1 << len) {
                        *entry = (symbol as u16, *len);
                    }
                }
                len => long.push((len, first_highest(u32::from(*code), len), symbol as u16)),
            }
        }
        long.sort_unstable();
        Some(Self { entries, long, bits })
    }

    /// Returns the symbol at the beginning of the bits and the length of its code.
    #[inline]
    pub(super) fn symbol(&self, bits: u32) -> Option<(u16, u32)> {
        let (symbol, len) = *self.entries.get(bits as usize & (self.entries.len() - 1))?;
        if len > 0 { Some((symbol, u32::from(len))) } else { self.long_symbol(bits) }
    }

    fn long_symbol(&self, bits: u32) -> Option<(u16, u32)> {
        (DIRECT_MAX + 1..=self.bits).find_map(|len| {
            let code = (len, first_highest(bits, len));
            let found = self.long.binary_search_by_key(&code, |long| (long.0, long.1)).ok()?;
            self.long.get(found).map(|long| (long.2, len))
        })
    }
}

/// Returns the lowest `len` bits in the opposite order.
fn first_highest(bits: u32, len: u32) -> u32 {
    bits.reverse_bits() >> (32 - len)
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

    /// Every symbol is found by its code, whatever follows, and bits that are no code are not found.
    #[test]
    fn codes_of_all_lengths_are_decoded() {
        // 1, 2, ..., 14, 15, 15: complete; then without the last one.
        let mut lengths: Vec<u8> = (1..=15).chain([15]).collect();
        for has_all in [true, false] {
            let table = HuffmanTable::new(&lengths).unwrap();
            for (symbol, (code, len)) in codes(&lengths).unwrap().into_iter().enumerate() {
                for rest in [0, 0x7fff] {
                    let bits = (u32::from(code) | rest << len) & 0x7fff;
                    assert_eq!(table.symbol(bits), Some((symbol as u16, u32::from(len))));
                }
            }
            assert_eq!(table.symbol(0x7fff).is_some(), has_all);
            lengths.pop();
        }
    }

    #[test]
    fn too_many_codes_are_refused() {
        assert!(HuffmanTable::new(&[1, 1, 1]).is_none());
        assert!(HuffmanTable::new(&[1, 1]).is_some());
        assert!(HuffmanTable::new(&[16]).is_none());
    }
}
