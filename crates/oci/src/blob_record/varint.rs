//! Numbers of variable length: seven bits in a byte, the lowest first.

use std::io::{self, Read};

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number. A number of more than 64 bits is an error.
pub(super) fn take(input: &mut impl Read) -> io::Result<u64> {
    let (mut number, mut shift) = (0u64, 0);
    loop {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        let bits = u64::from(byte[0] & 0x7f);
        if shift > 63 || (shift == 63 && bits > 1) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a number has more than 64 bits"));
        }
        number |= bits << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(take(&mut &bytes[..]).unwrap(), number);
        }
        assert!(take(&mut &[0xff; 9][..]).is_err(), "truncated");
        assert!(take(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]).is_err(), "65 bits");
    }
}
