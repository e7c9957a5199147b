//! Numbers of variable length: groups of seven bits, the lowest first (`docs/format/frame.md`, section 5).

use std::io::{self, BufRead};

/// Appends a number.
pub(crate) fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number from the beginning of `bytes`. `None` if it is cut off or has more than 64 bits.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Reads a number.
pub(crate) fn read_number(input: &mut impl BufRead) -> io::Result<u64> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        bytes.extend_from_slice(&byte);
        if byte[0] & 0x80 == 0 || bytes.len() == 10 {
            let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a number is malformed");
            return take_number(&mut bytes.as_slice()).ok_or_else(malformed);
        }
    }
}
