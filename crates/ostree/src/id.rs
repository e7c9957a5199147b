//! The checksum that names an ostree object: the SHA-256 of its bytes.

use std::fmt;

/// A checksum of 32 bytes, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 32]);

impl Id {
    /// Wraps the bytes of a checksum.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a checksum in the binary form used in other objects.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// Parses a checksum in the form used in refs: 64 lowercase digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// Returns the path below `objects/` of an object with this extension.
    #[must_use]
    pub fn path(&self, extension: &str) -> String {
        let hex = self.to_string();
        format!("{}/{}.{extension}", &hex[..2], &hex[2..])
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let hex = "0123456789abcdef".repeat(4);
        let id = Id::from_hex(&hex).unwrap();
        assert_eq!(id.to_string(), hex);
        assert_eq!(id.path("file"), format!("01/{}.file", &hex[2..]));
        assert_eq!(Id::from_bytes(&[1; 32]).unwrap().to_string(), "01".repeat(32));
        assert_eq!(Id::from_bytes(&[1; 31]), None);
        for wrong in ["", "ab", &hex.to_uppercase(), &format!("{hex}0"), &hex.replace('f', "g"), &"é".repeat(32)] {
            assert_eq!(Id::from_hex(wrong), None, "{wrong}");
        }
    }
}
