//! The read-ahead of the image at mount.
//!
//! EROFS reads metadata block by block as it comes to them, and waits for each. The image is little else than metadata,
//! so a program that walks the tree on a cold cache saves thousands of those waits by a few large reads.

use std::fmt;

/// The number of bytes at the beginning of the image that are read when it is mounted, without waiting for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAhead(u64);

impl ReadAhead {
    /// Nothing is read ahead.
    pub const OFF: ReadAhead = ReadAhead(0);

    /// At most this many bytes are.
    #[must_use]
    pub fn up_to(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Parses a number of bytes, optionally followed by `K`, `M` or `G`, or the word `off`.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        if value == "off" {
            return Some(Self::OFF);
        }
        let (digits, shift) = match value.as_bytes().last()? {
            b'k' | b'K' => (&value[..value.len() - 1], 10),
            b'm' | b'M' => (&value[..value.len() - 1], 20),
            b'g' | b'G' => (&value[..value.len() - 1], 30),
            _ => (value, 0),
        };
        // `parse` alone would take a sign.
        let number: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        number.checked_mul(1 << shift).map(Self)
    }
}

/// The whole image of some 130000 files. A disk is done with so much in a moment (`docs/mount.md` has figures), and
/// what is read at random right after the mount waits no longer than that.
impl Default for ReadAhead {
    fn default() -> Self {
        Self(32 << 20)
    }
}

impl fmt::Display for ReadAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 != 0 && self.0.is_multiple_of(1 << shift)) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("off", 0), ("0", 0), ("4096", 4096), ("64k", 64 << 10), ("8M", 8 << 20), ("3g", 3 << 30), ("1G", 1 << 30)]
        {
            assert_eq!(ReadAhead::parse(text), Some(ReadAhead::up_to(bytes)), "{text}");
        }
        for bad in ["", "M", "on", "-1", "+1", "1T", "1 M", "0x10", "1.5M", "99999999999999999999", "99999999999G"] {
            assert_eq!(ReadAhead::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn it_is_shown_in_the_largest_unit_that_is_whole() {
        for (bytes, text) in [(64 << 20, "64 MiB"), (1 << 30, "1 GiB"), (1500 << 10, "1500 KiB"), (1001, "1001 bytes")]
        {
            assert_eq!(ReadAhead::up_to(bytes).to_string(), text);
        }
    }
}
